"""A change of scale and zero point."""

import numpy as np

from ..graph.rounding import factors, multiply_twice_rounded, quantize_multiplier
from .exact import finish, output, scale
from .operator import Contribution, Operator, Tflite


def read(file, entry):
    x = file.x(entry)
    file.y(entry, x.shape)
    return (x.name,), {}


def params(graph, op):
    x, y = graph[op.inputs[0]], graph[op.outputs[0]]
    m, shift = quantize_multiplier(scale(x) / scale(y))
    return {"multiplier": m, "shift": shift, "x_zero": x.zero_point, **output(graph, op)}


def oracle(graph, op, p, xs):
    return finish(
        multiply_twice_rounded(xs[0].astype(np.int64) - p["x_zero"], p["multiplier"], p["shift"]), p
    )


def forward(lower, op):
    p = params(lower.graph, op)
    values = dict(
        y=lower.activation(op.outputs[0]),
        x=lower.activation(op.inputs[0]),
        mask=lower.mask(op.outputs[0]),
        n=lower.graph[op.outputs[0]].size,
        zx=p["x_zero"],
        zy=p["y_zero"],
        mult=p["multiplier"],
        shift=p["shift"],
    )
    lower.emit("requantize_fwd", values, op.name)


def gradient(lower, op, index):
    """gy in the steps of x."""
    m, e = factors([lower.graph[op.inputs[0]].scale[0] / lower.graph[op.outputs[0]].scale[0]])
    return Contribution(None, {}, int(m[0]), e)


OPERATOR = Operator(
    "requantize",
    tflite=Tflite("QUANTIZE", 2, "QuantizeOptions", read=read),
    params=params,
    oracle=oracle,
    forward=forward,
    gradient=gradient,
    masks=True,
)
