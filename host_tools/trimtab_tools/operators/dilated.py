"""A convolution with holes: an ordinary one on a map that has neighbours where the kernel looks.

Of the line t0 t1 t2 ..., a kernel with dilation 2 sees every second number. On the map with the rows (t0 t1),
(t2 t3), ... it sees neighbours in a column. Of a map with holes both ways, every second row and column is a
map of its own; all of them stand one below the other.
"""

from dataclasses import replace

from ..graph.ir import Tensor
from .operator import Entry, Reader


def holes(entry: Entry, w: Tensor) -> bool:
    """Whether the weights of a file's kernel lie apart."""
    return any(d > 1 and k > 1 for d, k in zip(_dilation(entry), w.shape[1:3]))


def _dilation(entry):
    return entry.options["DilationHFactor"], entry.options["DilationWFactor"]


def read(file: Reader, entry: Entry, kind: str, x: Tensor, inputs: tuple) -> None:
    """Add the nodes of a dilated layer of this kind."""
    if (entry.options["StrideH"], entry.options["StrideW"]) != (1, 1):
        file.refuse("is dilated and has strides", "use stride 1")
    w, y = file.tensors[inputs[1]], file.activation(entry.outputs[0])
    d = tuple(dilation if k > 1 else 1 for dilation, k in zip(_dilation(entry), w.shape[1:3]))
    span = [(k - 1) * dilation for k, dilation in zip(w.shape[1:3], d)]
    same = file.same(entry)
    wanted = [n if same else n - lost for n, lost in zip(x.shape[1:3], span)]
    if min(wanted) < 1:
        file.refuse("has a kernel larger than its input", "use padding or a smaller kernel")
    if y.shape != (1, *wanted, y.shape[3]):
        file.refuse(f"says shape {list(y.shape)} but computes {wanted}", "convert the model again")
    pairs = [(lost // 2, lost - lost // 2) if same else (0, 0) for lost in span]
    compute = _on_line if min(x.shape[1:3]) == 1 and min(w.shape[1:3]) == 1 else _on_map
    attrs = {"stride": (1, 1), "act": file.act(entry)}
    found = compute(file, kind, x, inputs, y, d, pairs, attrs)
    if found.shape[1:3] != tuple(wanted):
        found = file.between("slice", found, y.shape, begin=(0, 0, 0))
    file.node("reshape", (found.name,), y)


def _on_line(file, kind, x, inputs, y, d, pairs, attrs):
    """The map has a row for each run of d numbers, and the kernel stands upright."""
    w, step = file.tensors[inputs[1]], max(d)
    first, kh, kw, last = w.shape
    before, after = (sum(ends) for ends in zip(*pairs))
    length, k, upright = x.shape[1] * x.shape[2], max(kh, kw), (first, max(kh, kw), 1, last)
    file.tensors[w.name] = replace(w, shape=upright, data=w.data.reshape(upright))
    x = file.reshaped(x, (1, 1, length, x.shape[3]))
    above, below = before // step, after // step
    if length % step or before % step or after % step:
        x, above, below = _padded(file, x, (1, step), ((0, 0), (before, after))), 0, 0
    x = file.reshaped(x, (1, x.shape[2] // step, step, x.shape[3]))
    rows = x.shape[1] + above + below - k + 1
    leaves = file.like(kind, y, (1, rows, step, y.shape[3]))
    pad = (above, 0, below, 0)
    found = file.node(kind, (x.name, *inputs[1:]), leaves, file.layer, pad=pad, **attrs)
    sizes = (1, rows * step) if kw > 1 else (rows * step, 1)
    return file.reshaped(found, (1, *sizes, y.shape[3]))


def _on_map(file, kind, x, inputs, y, d, pairs, attrs):
    """All maps of every dh-th row and dw-th column, one below the other."""
    (dh, dw), (kh, kw) = d, file.tensors[inputs[1]].shape[1:3]
    x = _padded(file, x, d, pairs)
    _, h, w, c = x.shape
    h, w = h // dh, w // dw
    x = _moved(file, file.reshaped(x, (1, h, dh, w * dw * c)), (0, 2, 1, 3))
    x = _moved(file, file.reshaped(x, (1, dh * h, w, dw, c)), (0, 3, 1, 2, 4))
    x = file.reshaped(x, (1, dw * dh * h, w, c))
    rows, w, c = dw * dh * h, w - kw + 1, y.shape[3]
    leaves = file.like(kind, y, (1, rows - kh + 1, w, c))
    found = file.node(kind, (x.name, *inputs[1:]), leaves, file.layer, pad=(0, 0, 0, 0), **attrs)
    if kh > 1:  # rows that see two maps are cut off
        pad = ((0, 0), (0, kh - 1), (0, 0), (0, 0))
        found = file.reshaped(file.between("pad", found, (1, rows, w, c), pad=pad), (1, dw * dh, h, w * c))
        h -= kh - 1
        found = file.between("slice", found, (1, dw * dh, h, w * c), begin=(0, 0, 0))
    found = _moved(file, file.reshaped(found, (1, dw, dh * h, w, c)), (0, 2, 3, 1, 4))
    found = _moved(file, file.reshaped(found, (1, dh, h, w * dw * c)), (0, 2, 1, 3))
    return file.reshaped(found, (1, h * dh, w * dw, c))


def _padded(file, x, d, pairs):
    """x with its border, and behind it what makes its sides multiples of the dilation."""
    pairs = [
        (before, after + -(n + before + after) % step)
        for n, step, (before, after) in zip(x.shape[1:3], d, pairs)
    ]
    if not any(map(any, pairs)):
        return x
    sizes = [n + sum(pair) for n, pair in zip(x.shape[1:3], pairs)]
    return file.between("pad", x, (1, *sizes, x.shape[3]), pad=((0, 0), *pairs, (0, 0)))


def _moved(file, x, order):
    return file.between("transpose", x, [x.shape[i] for i in order], order=order)
