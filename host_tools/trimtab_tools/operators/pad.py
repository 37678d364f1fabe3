"""A border of zeros, which are the zero point in int8."""

import numpy as np

from ..errors import ModelError
from ..graph.ir import Graph, Op
from . import copied
from .operator import Operator, Tflite

LARGEST = 1 << 15


def read(file, entry):
    x, pairs = file.x(entry), file.argument(entry)
    if pairs.shape != (len(x.shape), 2) or (pairs < 0).any() or (pairs > LARGEST).any() or pairs[0].any():
        file.refuse(f"pads by {pairs.tolist()}", "pad height, width or channels by zero or more")
    pad = tuple((int(a), int(b)) for a, b in pairs)
    y = file.y(entry, [n + a + b for n, (a, b) in zip(x.shape, pad)])
    file.same_quantization(entry, x, y)
    return (x.name,), {"pad": pad}


def params(graph, op):
    return {"fill": graph[op.outputs[0]].zero_point}


def oracle(graph, op, p, xs):
    return np.pad(xs[0], ((0, 0), *op.attrs["pad"][1:]), constant_values=p["fill"])


def forward(lower, op):
    copied.copy(lower, op, 0, place(lower.graph, op, 0), params(lower.graph, op)["fill"])


def place(graph: Graph, op: Op, index: int) -> dict:
    """Where the input begins in the output."""
    batch, *pairs = op.attrs["pad"]
    if tuple(batch) != (0, 0):
        raise ModelError(f"layer {op.name}: pads the batch: remove that pad")
    before = [0] * (3 - len(pairs)) + [a for a, _ in pairs]
    return dict(zip(("top", "left", "first"), before))


OPERATOR = Operator(
    "pad",
    attributes=("pad",),  # ((before, after), ...), one pair for each axis
    tflite=Tflite("PAD", 2, "PadOptions", read=read, arguments=lambda graph, op: (op.attrs["pad"],)),
    params=params,
    oracle=oracle,
    forward=forward,
    gradient=copied.gradient(place),
)
