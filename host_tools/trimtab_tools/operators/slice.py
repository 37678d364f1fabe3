"""A part of a tensor: `shape` elements from `begin` on, along the axes behind the batch.

STRIDED_SLICE, SPLIT, SPLIT_V and UNPACK are other spellings of it.
"""

from collections.abc import Sequence

from ..graph.ir import Tensor
from . import moved
from .operator import Entry, Operator, Reader, Tflite


def read(file, entry):
    x, y = file.x(entry), file.activation(entry.outputs[0])
    begin, size = (file.argument(entry, i).reshape(-1).tolist() for i in (1, 2))
    if len(begin) != len(x.shape) or len(size) != len(x.shape):
        file.refuse("has the wrong number of axes", "convert the model again")
    shape = [n - b if m == -1 else m for n, b, m in zip(x.shape, begin, size)]
    if y.shape != tuple(shape):
        file.refuse(f"says shape {list(y.shape)} but computes {shape}", "convert the model again")
    check(file, entry, x, y, begin, shape)
    return (x.name,), {"begin": tuple(begin[1:])}


def check(
    file: Reader, entry: Entry, x: Tensor, y: Tensor, begin: Sequence[int], shape: Sequence[int]
) -> None:
    """Refuse a part that is not in x."""
    if begin[0] or any(b < 0 or m < 1 or b + m > n for b, m, n in zip(begin, shape, x.shape)):
        file.refuse(f"takes {list(shape)} of {list(x.shape)} from {list(begin)}", "convert the model again")
    file.same_quantization(entry, x, y)


def arguments(graph, op):
    return (0, *op.attrs["begin"]), graph[op.outputs[0]].shape


def oracle(graph, op, p, xs):
    window = (slice(b, b + n) for b, n in zip(op.attrs["begin"], graph[op.outputs[0]].shape[1:]))
    return xs[0][(slice(None), *window)]


def forward(lower, op):
    apart = moved.steps(lower.graph[op.inputs[0]].shape)
    first = sum(b * step for b, step in zip(op.attrs["begin"], apart))
    moved.forward(lower, op, apart, first)


def gradient(lower, op, index):
    shape = lower.graph[op.outputs[0]].shape
    return moved.gradient(lower, op, moved.steps(shape), op.attrs["begin"], shape[1:])


OPERATOR = Operator(
    "slice",
    attributes=("begin",),
    tflite=Tflite("SLICE", 2, "SliceOptions", read=read, arguments=arguments),
    oracle=oracle,
    forward=forward,
    gradient=gradient,
)
