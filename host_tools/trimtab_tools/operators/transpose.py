"""The axes in another order: axis i of the output is axis `order[i]` of the input. The batch stays first."""

import numpy as np

from . import moved
from .operator import Operator, Tflite


def read(file, entry):
    x, order = file.x(entry), file.argument(entry).reshape(-1).tolist()
    if sorted(order) != list(range(len(x.shape))):
        file.refuse(f"has the order {order}", "convert the model again")
    if order[0] != 0:
        file.refuse("moves the batch", "keep the first axis first")
    y = file.y(entry, [x.shape[i] for i in order])
    file.same_quantization(entry, x, y)
    return (x.name,), {"order": tuple(order)}


def forward(lower, op):
    apart = moved.steps(lower.graph[op.inputs[0]].shape)
    moved.forward(lower, op, tuple(apart[i - 1] for i in op.attrs["order"][1:]))


def gradient(lower, op, index):
    shape, order = lower.graph[op.inputs[0]].shape, op.attrs["order"]
    apart = moved.steps(lower.graph[op.outputs[0]].shape)
    back = tuple(apart[order.index(i) - 1] for i in range(1, len(order)))
    return moved.gradient(lower, op, back, (0,) * len(back), shape[1:])


OPERATOR = Operator(
    "transpose",
    attributes=("order",),
    tflite=Tflite(
        "TRANSPOSE", 2, "TransposeOptions", read=read, arguments=lambda graph, op: (op.attrs["order"],)
    ),
    oracle=lambda graph, op, p, xs: np.transpose(xs[0], op.attrs["order"]),
    forward=forward,
    gradient=gradient,
)
