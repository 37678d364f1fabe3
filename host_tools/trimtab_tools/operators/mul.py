"""The product of two tensors, each with a scale of its own. One may be smaller, or a constant."""

import numpy as np

from ..graph.rounding import multiply_twice_rounded, quantize_multiplier
from . import spread
from .exact import finish, output, scale
from .operator import Operator, Tflite

LARGEST_SHIFT = 14  # a product of 17 bits, shifted up so far, still fits 32


def read(file, entry):
    a, b, y = spread.read(file, entry)
    if quantize_multiplier(_ratio(a, b, y))[1] > LARGEST_SHIFT:
        file.refuse(
            "has an output scale far below its inputs'", "quantize with samples that are like the data"
        )
    return (a.name, b.name), {"act": file.act(entry)}


def write(file, op):
    return {"FusedActivationFunction": file.act(op)}


def _ratio(a, b, y):
    """In float32, as the reference computes it."""
    sa, sb, sy = (np.float32(t.scale[0]) for t in (a, b, y))
    return float(sa * sb / sy)


def params(graph, op):
    a, b, y = (graph[name] for name in (*op.inputs, op.outputs[0]))
    m, shift = quantize_multiplier(_ratio(a, b, y))
    zeros = {"a_zero": a.zero_point, "b_zero": b.zero_point}
    return {"multiplier": m, "shift": shift, **zeros, **output(graph, op)}


def oracle(graph, op, p, xs):
    a, b = spread.aligned(graph, op, xs)
    product = (a - p["a_zero"]) * (b - p["b_zero"])
    return finish(multiply_twice_rounded(product, p["multiplier"], p["shift"]), p)


def forward(lower, op):
    p = params(lower.graph, op)
    numbers = dict(mult=p["multiplier"], shift=p["shift"])
    lower.emit("mul_fwd", {**spread.values(lower, op, p), **numbers}, op.name)


def gradient(lower, op, index):
    other = op.inputs[1 - index]
    a, b, y = (scale(lower.graph[name]) for name in (*op.inputs, op.outputs[0]))
    return spread.gradient(lower, op, index, a * b / y, other)


OPERATOR = Operator(
    "mul",
    attributes=("act",),
    activations=2,
    tflite=Tflite("MUL", 2, "MulOptions", ("FusedActivationFunction",), read, write),
    params=params,
    oracle=oracle,
    forward=forward,
    gradient=gradient,
    masks=True,
)
