"""Other spellings of slices: STRIDED_SLICE, SPLIT, SPLIT_V, UNPACK. And PACK, the way back."""

import math

from . import slice
from .operator import Entry, Reader, Tflite

BEGIN, END, NEW, ELLIPSIS, SHRINK = MASKS = (
    "BeginMask",
    "EndMask",
    "NewAxisMask",
    "EllipsisMask",
    "ShrinkAxisMask",
)


def read_strided(file: Reader, entry: Entry) -> None:
    x, y = file.x(entry), file.activation(entry.outputs[0])
    begin, end, step = (file.argument(entry, i).reshape(-1).tolist() for i in (1, 2, 3))
    masks = entry.options
    if masks[NEW] or masks[ELLIPSIS] or not len(begin) == len(end) == len(step) == len(x.shape):
        file.refuse("adds axes or leaves some out", "slice every axis, and reshape before or after")
    if any(s < 1 for s in step) or step[0] != 1 or (max(step) > 1 and (step[-1] != 1 or len(step) != 4)):
        file.refuse(f"takes steps of {step}", "take steps along height and width only, forward")
    first, last = zip(*(_range(masks, i, b, e, n) for i, (b, e, n) in enumerate(zip(begin, end, x.shape))))
    first, last = (0, *first[1:]), (1, *last[1:])
    shape = tuple(e - b for b, e in zip(first, last))
    if max(step) > 1 and min(shape) > 0:
        slice.check(file, entry, x, y, first, shape)
        _every(file, file.between("slice", x, shape, begin=first[1:]), y, tuple(step[1:3]))
        return
    if y.size != math.prod(shape):
        file.refuse(f"says shape {list(y.shape)} but computes {list(shape)}", "convert the model again")
    _part(file, entry, x, y, first, shape)


def _every(file, x, y, step):
    """Every so many rows and columns: pools whose window is one pixel."""
    _, h, w, c = x.shape
    size = (1, -(-h // step[0]), -(-w // step[1]), c)
    if y.size != math.prod(size):
        file.refuse(f"says shape {list(y.shape)} but computes {list(size)}", "convert the model again")
    attrs = {"kernel": (1, 1), "stride": step, "pad": (0, 0, 0, 0), "act": "none"}
    file.node("reshape", (file.between("max_pool", x, size, **attrs).name,), y)


def _range(masks, i, begin, end, size):
    """(first, last + 1) along axis i."""
    begin = 0 if masks[BEGIN] >> i & 1 else begin + size * (begin < 0)
    if masks[SHRINK] >> i & 1:
        return begin, begin + 1
    return begin, size if masks[END] >> i & 1 else min(end + size * (end < 0), size)


def _part(file, entry, x, y, begin, shape):
    """The nodes that take a part of x; y may have it under another shape."""
    slice.check(file, entry, x, y, begin, shape)
    attrs = {"begin": tuple(begin[1:])}
    if y.shape == shape:
        file.node("slice", (x.name,), y, **attrs)
    else:
        file.node("reshape", (file.between("slice", x, shape, **attrs).name,), y)


def read_split(file: Reader, entry: Entry) -> None:
    axis = int(file.constant(entry.inputs[0], "int32").reshape(-1)[0])
    _split(file, entry, entry.inputs[1], axis)


def read_split_v(file: Reader, entry: Entry) -> None:
    _split(file, entry, entry.inputs[0], int(file.argument(entry, 2).reshape(-1)[0]))


def read_unpack(file: Reader, entry: Entry) -> None:
    _split(file, entry, entry.inputs[0], entry.options["Axis"])


def _split(file, entry, number, axis):
    """A slice for each output that is used, one behind the other along the axis."""
    x, at = file.activation(number, stacked=True), 0
    axis = _axis(file, axis, number, x)
    rest = x.size // x.shape[axis]
    for output in entry.outputs:
        y = file.activation(output)
        if axis == 0 or y.size % rest or at + y.size // rest > x.shape[axis]:
            file.refuse(f"splits {list(x.shape)} along axis {axis}", "split behind the batch")
        shape, begin = list(x.shape), [0] * len(x.shape)
        shape[axis], begin[axis] = y.size // rest, at
        at += shape[axis]
        if output in file.wanted:
            _part(file, entry, x, y, begin, tuple(shape))


def _axis(file, axis, number, t):
    """An axis of the file's tensor as one of the graph's, which puts a batch before steps."""
    return axis + len(t.shape) - (len(file.file.tensors[number].shape) if axis >= 0 else 0)


def read_pack(file: Reader, entry: Entry) -> None:
    xs = [file.activation(i) for i in entry.inputs]
    y = file.activation(entry.outputs[0], stacked=True)
    axis = _axis(file, entry.options["Axis"], entry.outputs[0], y)
    shape = [n if i != axis else 1 for i, n in enumerate(y.shape)]
    if axis == 0 or y.shape[axis] != len(xs) or any(x.size != math.prod(shape) for x in xs):
        file.refuse("stacks shapes that do not fit", "stack tensors of one shape behind the batch")
    for x in xs:
        file.same_quantization(entry, x, y)
    names = tuple(file.reshaped(x, shape).name for x in xs)
    file.node("concat", names, y, axis=axis)


SPELLINGS = (
    Tflite("STRIDED_SLICE", 2, "StridedSliceOptions", MASKS, read_strided),
    Tflite("SPLIT", 2, "SplitOptions", read=read_split),
    Tflite("SPLIT_V", 2, "SplitVOptions", read=read_split_v),
    Tflite("UNPACK", 2, "UnpackOptions", ("Axis",), read_unpack),
    Tflite("PACK", 2, "PackOptions", ("Axis",), read_pack),
)
