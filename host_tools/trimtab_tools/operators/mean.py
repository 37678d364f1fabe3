"""The mean over height and width, with a scale of its own."""

import math

import numpy as np

from ..errors import ModelError
from ..graph.geometry import image, whole
from ..graph.rounding import multiply_twice_rounded, quantize_multiplier
from . import pooled
from .exact import finish, output, scale
from .operator import Operator, Tflite


def read(file, entry):
    x = file.x(entry, 4)
    axes = file.argument(entry).reshape(-1) % 4
    if sorted(axes) != [1, 2]:
        file.refuse(f"averages over axes {axes.tolist()}", "average over height and width")
    c = x.shape[3]
    file.y(entry, (1, 1, 1, c) if entry.options["KeepDims"] else (1, c))
    return (x.name,), {"axes": (1, 2)}


def write(file, op):
    x, y = (file.graph[n] for n in (op.inputs[0], op.outputs[0]))
    return {"KeepDims": len(y.shape) == len(x.shape)}


def params(graph, op):
    """The division by the count joins the multiplier, which first goes up by as many bits as it can take."""
    x, y = graph[op.inputs[0]], graph[op.outputs[0]]
    count = math.prod(x.shape[a] for a in op.attrs["axes"])
    m, shift = quantize_multiplier(scale(x) / scale(y))
    up = min(count.bit_length() - 1, 32, 31 + shift)
    numbers = {"multiplier": (m << up) // count, "shift": shift - up, "count": count}
    return {**numbers, "x_zero": x.zero_point, **output(graph, op)}


def oracle(graph, op, p, xs):
    total = xs[0].astype(np.int64).sum(axis=tuple(op.attrs["axes"])) - p["count"] * p["x_zero"]
    return finish(multiply_twice_rounded(total, p["multiplier"], p["shift"]), p)


def forward(lower, op):
    if tuple(op.attrs["axes"]) != (1, 2):
        raise ModelError(f"layer {op.name}: mean over axes {op.attrs['axes']} is not supported: use (1, 2)")
    p = params(lower.graph, op)
    h, w, c = image(lower.graph[op.inputs[0]].shape)
    values = dict(
        y=lower.activation(op.outputs[0]),
        x=lower.activation(op.inputs[0]),
        mask=lower.mask(op.outputs[0]),
        n=h * w,
        ic=c,
        zx=p["x_zero"],
        zy=p["y_zero"],
        mult=p["multiplier"],
        shift=p["shift"],
    )
    lower.emit("mean_fwd", values, op.name)


def gradient(lower, op, index):
    return pooled.mean_gradient(lower, op, whole(lower.graph, op), full=True)


OPERATOR = Operator(
    "mean",
    attributes=("axes",),  # over (1, 2) of NHWC; the output keeps those axes or not
    tflite=Tflite(
        "MEAN", 2, "ReducerOptions", ("KeepDims",), read, write, lambda graph, op: op.attrs["axes"]
    ),
    params=params,
    oracle=oracle,
    forward=forward,
    gradient=gradient,
    masks=True,
)
