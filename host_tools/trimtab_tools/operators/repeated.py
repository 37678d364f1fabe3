"""TILE and RESIZE_NEAREST_NEIGHBOR by whole factors: copies of blocks, one behind the other."""

import math

from .operator import Entry, Reader, Tflite

MOST = 16  # copies along one axis


def read_tile(file: Reader, entry: Entry) -> None:
    x, y, counts = file.x(entry), file.activation(entry.outputs[0]), file.argument(entry).reshape(-1).tolist()
    shape = [n * count for n, count in zip(x.shape, counts)]
    if len(counts) != len(x.shape) or counts[0] != 1 or y.shape != tuple(shape):
        file.refuse(f"repeats {list(x.shape)} {counts} times", "repeat along axes behind the batch")
    file.same_quantization(entry, x, y)
    for axis, count in enumerate(counts):
        x = _copies(file, x, axis, count, x.shape[axis])
    file.node("reshape", (x.name,), y)


def read_resize(file: Reader, entry: Entry) -> None:
    """Nearest neighbours of a whole factor: however centres are counted, each pixel becomes a square."""
    x, y = file.x(entry, 4), file.activation(entry.outputs[0])
    size = tuple(file.argument(entry).reshape(-1).tolist())
    if y.shape != (1, *size, x.shape[3]) or any(n % old for n, old in zip(size, x.shape[1:3])):
        file.refuse(f"resizes {list(x.shape)} to {list(y.shape)}", "enlarge by whole factors")
    if entry.options["AlignCorners"]:
        file.refuse("aligns corners", "resize without aligned corners")
    file.same_quantization(entry, x, y)
    for axis in (1, 2):
        x = _copies(file, x, axis, size[axis - 1] // x.shape[axis], 1)
    file.node("reshape", (x.name,), y)


def _copies(file, x, axis, count, block):
    """x with `count` copies of each `block` neighbours along an axis."""
    if count == 1:
        return x
    if not 1 <= count <= MOST:
        file.refuse(f"repeats {count} times along one axis", f"repeat at most {MOST} times")
    run = block * math.prod(x.shape[axis + 1 :])
    blocks = x.size // run
    each = file.reshaped(x, (1, blocks, 1, run))
    both = file.node("concat", (each.name,) * count, file.like("concat", x, (1, blocks, count, run)), axis=2)
    shape = list(x.shape)
    shape[axis] *= count
    return file.reshaped(both, shape)


SPELLINGS = (
    Tflite("TILE", 3, "TileOptions", read=read_tile, reference=False),
    Tflite("RESIZE_NEAREST_NEIGHBOR", 2, "ResizeNearestNeighborOptions", ("AlignCorners",), read_resize),
)
