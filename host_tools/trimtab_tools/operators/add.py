"""The sum of two tensors of one shape, each with a scale of its own."""

import numpy as np

from ..errors import ModelError
from ..graph.rounding import factors, multiply_twice_rounded, quantize_multipliers
from .exact import finish, output, scale
from .operator import Contribution, Operator, Tflite

HEAD_ROOM = 20  # bits that both inputs are shifted up by: 255 * 2**20 * 2 < 2**31


def read(file, entry):
    if len(entry.inputs) != 2:
        file.refuse("needs two inputs", "convert the model again")
    a, b = (file.activation(i) for i in entry.inputs)
    if a.shape != b.shape:
        file.refuse(f"adds {list(a.shape)} and {list(b.shape)}", "bring both to one shape before adding")
    y = file.y(entry, a.shape)
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


def oracle(graph, op, p, xs):
    m, shift = p["multiplier"], p["shift"]
    a, b = (
        multiply_twice_rounded((x.astype(np.int64) - zero) << HEAD_ROOM, m[i], shift[i])
        for i, (x, zero) in enumerate(zip(xs, (p["a_zero"], p["b_zero"])))
    )
    return finish(multiply_twice_rounded(a + b, m[2], shift[2]), p)


def forward(lower, op):
    graph = lower.graph
    if graph[op.inputs[0]].shape != graph[op.inputs[1]].shape:
        raise ModelError(
            f"layer {op.name}: add of different shapes is not supported: give both inputs one shape"
        )
    p = params(graph, op)
    m, s = p["multiplier"], p["shift"]
    values = dict(
        y=lower.activation(op.outputs[0]),
        x=lower.activation(op.inputs[0]),
        x2=lower.activation(op.inputs[1]),
        mask=lower.mask(op.outputs[0]),
        n=graph[op.outputs[0]].size,
        zx=p["a_zero"],
        zx2=p["b_zero"],
        zy=p["y_zero"],
        **dict(mult=m[0], shift=s[0], mult2=m[1], shift2=s[1], mult_y=m[2], shift_y=s[2]),
        lo=p["act_min"],
        hi=p["act_max"],
    )
    lower.emit("add_fwd", values, op.name)


def gradient(lower, op, index):
    y = lower.graph[op.outputs[0]]
    m, e = factors([lower.graph[n].scale[0] / y.scale[0] for n in op.inputs])
    return Contribution(None, {}, int(m[index]), e)


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
