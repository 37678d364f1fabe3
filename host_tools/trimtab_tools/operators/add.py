"""The sum of two tensors, each with a scale of its own. One may be smaller, or a constant."""

import numpy as np

from ..graph.ir import Graph, Op
from ..graph.rounding import factors, multiply_twice_rounded, quantize_multipliers
from . import spread
from .exact import finish, output, scale
from .operator import Contribution, Lowering, Operator, Tflite

HEAD_ROOM = 20  # bits that both inputs are shifted up by: 255 * 2**20 * 2 < 2**31


def read(file, entry):
    a, b, y = spread.read(file, entry)
    if 2 * max(a.scale[0], b.scale[0]) >= y.scale[0] * (1 << HEAD_ROOM):
        file.refuse(
            "has an output scale far below its inputs'", "quantize with samples that are like the data"
        )
    return (a.name, b.name), {"act": file.act(entry)}


def write(file, op):
    return {"FusedActivationFunction": file.act(op)}


def params(graph, op):
    """Multipliers of both inputs, which go up to twice the larger scale, and of their sum."""
    a, b, y = (graph[n] for n in (*op.inputs, op.outputs[0]))
    twice = 2 * max(scale(a), scale(b))
    reals = (scale(a) / twice, scale(b) / twice, twice / ((1 << HEAD_ROOM) * scale(y)))
    m, shift = quantize_multipliers(reals)
    zeros = {"a_zero": a.zero_point, "b_zero": b.zero_point}
    return {"multiplier": m, "shift": shift, **zeros, **output(graph, op)}


def oracle(graph: Graph, op: Op, p: dict, xs: list, sign: int = 1) -> np.ndarray:
    m, shift = p["multiplier"], p["shift"]
    a, b = (
        multiply_twice_rounded((x - zero) << HEAD_ROOM, m[i], shift[i])
        for i, (x, zero) in enumerate(zip(spread.aligned(graph, op, xs), (p["a_zero"], p["b_zero"])))
    )
    return finish(multiply_twice_rounded(a + sign * b, m[2], shift[2]), p)


def forward(lower: Lowering, op: Op, sign: int = 1) -> None:
    """Two activations of one shape have a kernel of their own, which knows no other case and is faster."""
    p = params(lower.graph, op)
    m, s = p["multiplier"], p["shift"]
    sum_of = dict(mult_y=m[2], shift_y=s[2])
    values = spread.values(lower, op, p)
    if sign == 1 and _alike(lower.graph, op):
        values = {**values, "n": values["n"] * values["c"]}
        for name in ("c", "n2", "c2"):
            del values[name]
        each = dict(mult=m[0], shift=s[0], mult2=m[1], shift2=s[1])
        lower.emit("add_fwd", {**values, **each, **sum_of}, op.name)
        return
    i = spread.larger(lower.graph, op)
    each = dict(mult=m[i], shift=s[i], mult2=m[1 - i], shift2=s[1 - i])
    signs = dict(sign=(1, sign)[i], sign2=(sign, 1)[i])
    lower.emit("sum_fwd", {**values, **each, **sum_of, **signs}, op.name)


def _alike(graph, op):
    """Whether both inputs are activations of one shape."""
    a, b = (graph[name] for name in op.inputs)
    return a.size == b.size and not (a.constant or b.constant)


def gradient(lower: Lowering, op: Op, index: int, sign: int = 1) -> Contribution:
    graph, y = lower.graph, lower.graph[op.outputs[0]]
    ratios = [graph[name].scale[0] / y.scale[0] for name in op.inputs]
    sign = sign if index else 1
    if graph[op.inputs[index]].size < y.size:
        return spread.gradient(lower, op, index, sign * ratios[index], None)
    m, e = factors(ratios)
    return Contribution(None, {}, sign * int(m[index]), e)


OPERATOR = Operator(
    "add",
    attributes=("act",),
    activations=2,
    tflite=Tflite("ADD", 2, "AddOptions", ("FusedActivationFunction",), read, write),
    params=params,
    oracle=oracle,
    forward=forward,
    gradient=gradient,
    masks=True,
)
