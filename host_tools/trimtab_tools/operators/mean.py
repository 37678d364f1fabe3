"""The mean over the first axes, as over height and width, with a scale of its own.

Over others it is the mean of a transpose, which has them first.
"""

import math
from collections.abc import Collection

import numpy as np

from ..graph.ir import Tensor
from ..graph.rounding import multiply_twice_rounded, quantize_multiplier
from . import pooled
from .exact import finish, output, scale
from .operator import Entry, Operator, Reader, Tflite


def read(file, entry):
    x = file.x(entry)
    x, axes, y = reduction(file, entry, x)
    if file.tensors[y.name].shape == reduced(x.shape, axes, entry.options["KeepDims"]):
        return (x.name,), {"axes": axes}
    flat = file.node("mean", (x.name,), file.like("mean", y, reduced(x.shape, axes, False)), axes=axes)
    file.node("reshape", (flat.name,), y)
    return None


def reduction(file: Reader, entry: Entry, x: Tensor) -> tuple[Tensor, tuple, Tensor]:
    """(x with the axes that are reduced before the others, those axes, the output)."""
    rank = len(x.shape)
    axes = sorted({int(a) % rank for a in file.argument(entry).reshape(-1)})
    if not axes or axes[0] == 0:
        file.refuse(f"reduces axes {axes}", "reduce axes behind the batch")
    y = file.y(entry, reduced(x.shape, axes, entry.options["KeepDims"]))
    first = tuple(range(1, len(axes) + 1))
    if tuple(axes) != first:
        order = (0, *axes, *(i for i in range(1, rank) if i not in axes))
        x = file.between("transpose", x, [x.shape[i] for i in order], order=order)
    return x, first, y


def reduced(shape: tuple, axes: Collection[int], keep: bool) -> tuple:
    """The shape that is left: without these axes, or with 1 in their place."""
    return tuple(1 if i in axes else n for i, n in enumerate(shape) if keep or i not in axes)


def sizes(shape: tuple, axes: tuple) -> tuple[int, int, int]:
    """(height, width, channels): the first axis, the other ones that are reduced, and those that stay."""
    last = axes[-1] + 1
    return shape[1], math.prod(shape[2:last]), math.prod(shape[last:])


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
    p = params(lower.graph, op)
    h, w, c = sizes(lower.graph[op.inputs[0]].shape, op.attrs["axes"])
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
    h, w, c = sizes(lower.graph[op.inputs[0]].shape, op.attrs["axes"])
    whole = dict(ih=h, iw=w, ic=c, oh=1, ow=1, oc=c, kh=h, kw=w, sh=1, sw=1, pt=0, pl=0)
    return pooled.mean_gradient(lower, op, whole, full=True)


OPERATOR = Operator(
    "mean",
    attributes=("axes",),  # 1, 2, ...; the output keeps those axes or not
    tflite=Tflite(
        "MEAN", 2, "ReducerOptions", ("KeepDims",), read, write, lambda graph, op: (op.attrs["axes"],)
    ),
    params=params,
    oracle=oracle,
    forward=forward,
    gradient=gradient,
    masks=True,
)
