"""Operators of one input that look each int8 value up: y8 = table[x8 & 255].

Such an operator is a real function, its slope, and the table of the integers that TensorFlow Lite computes.
"""

import math
from collections.abc import Callable
from functools import partial

import numpy as np

from ..graph.geometry import image
from ..graph.ir import Tensor
from ..graph.rounding import INT8_MAX, INT8_MIN
from .operator import Contribution, Operator, Tflite

LEVELS = np.concatenate([np.arange(0, 128), np.arange(-128, 0)]).astype(np.int64)  # x8 in order of its byte


def operator(
    kind: str,
    code: str,
    version: int,
    options: str = "",
    fields: tuple = (),
    *,
    function: Callable,  # of real values
    slope: Callable,  # its derivative
    table: Callable,  # (x, y), the tensors -> the 256 outputs in order of LEVELS
    attributes: tuple = (),  # that all three take too, by name, in the order of `fields`
    refuse: Callable = lambda file, x, y: None,  # what the reference does not compute
    paper: str = "smooth",
    reference: bool = True,
) -> Operator:
    """A row of the registry from what is particular to an operator of this family."""

    def read(file, entry):
        x = file.x(entry)
        refuse(file, x, file.y(entry, x.shape))
        return (x.name,), {name: entry.options[field] for name, field in zip(attributes, fields)}

    def write(file, op):
        return {field: op.attrs[name] for name, field in zip(attributes, fields)}

    return Operator(
        kind,
        attributes=attributes,
        tflite=Tflite(code, version, options, fields, read, write, reference=reference),
        **rules(function, slope, table, attributes),
        paper=paper,
    )


def rules(function: Callable, slope: Callable, table: Callable, attributes: tuple) -> dict:
    """What a row needs to compute a function of its first input."""

    def given(op):
        return {name: op.attrs[name] for name in attributes}

    def params(graph, op):
        values = table(graph[op.inputs[0]], graph[op.outputs[0]], **given(op))
        return {"table": np.clip(values, INT8_MIN, INT8_MAX).astype(np.int8)}

    def gradient(lower, op, index):
        own = given(op)
        return _gradient(lower, op, partial(function, **own), partial(slope, **own))

    return dict(
        params=params,
        oracle=lambda graph, op, p, xs: p["table"][xs[0].view(np.uint8)],
        forward=lambda lower, op: _forward(lower, op, params),
        gradient=gradient,
    )


def reals(x: Tensor) -> np.ndarray:
    """The real value of each level, in float32 as the reference computes it."""
    return np.float32(x.scale[0]) * (LEVELS - x.zero_point).astype(np.float32)


def ordered(table: np.ndarray) -> np.ndarray:
    """A table as records have it: from byte order to x + 128."""
    return np.roll(table, 128)


def _forward(lower, op, params):
    table = ordered(params(lower.graph, op)["table"])
    values = dict(
        y=lower.activation(op.outputs[0]),
        x=lower.activation(op.inputs[0]),
        table=lower.const(table, np.int8),
        n=lower.graph[op.outputs[0]].size,
    )
    lower.emit("lut_fwd", values, op.name)


def _gradient(lower, op, function, slope):
    x, y = lower.graph[op.inputs[0]], lower.graph[op.outputs[0]]
    table, e = slopes(x, y, function, slope)
    ih, iw, ic = image(x.shape)
    values = dict(
        x=lower.activation(op.inputs[0]),
        slope=lower.const(table, np.int16),
        row=lower.scratch(4 * ic),
        **dict(ih=ih, iw=iw, ic=ic),
        m_exp=e,
    )
    return Contribution("lut_dx", values)


def slopes(x: Tensor, y: Tensor, function: Callable, slope: Callable) -> tuple:
    """(slopes at the 256 inputs, times s_x / s_y, 0 where the output is clipped; their common exponent)."""
    real = (np.arange(-128, 128) - x.zero_point) * x.scale[0]
    out = function(real) / y.scale[0] + y.zero_point
    steps = slope(real) * x.scale[0] / y.scale[0]
    steps = np.where((out < INT8_MIN - 0.5) | (out > INT8_MAX + 0.5), 0, steps)
    e = math.frexp(max(float(np.abs(steps).max()), 1e-30))[1] - 15
    return np.clip(np.rint(steps / 2.0**e), -32767, 32767), e
