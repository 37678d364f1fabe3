"""Any number of inputs, one behind the other along an axis; all have the output's scale."""

import numpy as np

from ..errors import ModelError
from ..graph.ir import Graph, Op
from . import copied
from .operator import Operator, Tflite

KEEP = 256  # the fill that leaves the rest of the output as it is


def read(file, entry):
    xs = [file.activation(i) for i in entry.inputs]
    axis = entry.options["Axis"] % len(xs[0].shape)
    others = {(*x.shape[:axis], *x.shape[axis + 1 :]) for x in xs}
    if axis == 0 or len(others) > 1 or len({len(x.shape) for x in xs}) > 1:
        file.refuse("joins shapes that do not fit", "make all but the joined axis equal")
    shape = list(xs[0].shape)
    shape[axis] = sum(x.shape[axis] for x in xs)
    y = file.y(entry, shape)
    for x in xs:
        file.same_quantization(entry, x, y)
    if file.act(entry) != "none":
        file.refuse("has a fused activation", "put the activation in a layer of its own")
    return tuple(x.name for x in xs), {"axis": axis}


def write(file, op):
    return {"Axis": op.attrs["axis"]}


def oracle(graph, op, p, xs):
    return np.concatenate(xs, axis=op.attrs["axis"])


def forward(lower, op):
    for index in range(len(op.inputs)):
        copied.copy(lower, op, index, place(lower.graph, op, index), KEEP)


def place(graph: Graph, op: Op, index: int) -> dict:
    """Where an input begins in the output."""
    shapes = [graph[n].shape for n in op.inputs]
    axis = op.attrs["axis"] % len(shapes[0])
    if axis == 0:
        raise ModelError(f"layer {op.name}: joins batches: concatenate along another axis")
    start = dict(top=0, left=0, first=0)
    start[list(start)[axis - len(shapes[0])]] = sum(s[axis] for s in shapes[:index])
    return start


OPERATOR = Operator(
    "concat",
    attributes=("axis",),
    tflite=Tflite(
        "CONCATENATION", 2, "ConcatenationOptions", ("Axis", "FusedActivationFunction"), read, write
    ),
    oracle=oracle,
    forward=forward,
    gradient=copied.gradient(place),
)
