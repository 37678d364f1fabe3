"""A convolution with holes along a line: an ordinary one on a map whose rows are as long as the holes.

A kernel with dilation 2 sees every second number of the line t0 t1 t2 ... On the map with the rows (t0 t1),
(t2 t3), ... it sees neighbours in a column.
"""

from dataclasses import replace


def dilation(entry, w) -> int:
    """How far apart the weights of a file's kernel lie; 0 where they do along both axes."""
    o = entry.options
    apart = [d for d, k in zip((o["DilationHFactor"], o["DilationWFactor"]), w.shape[1:3]) if d > 1 and k > 1]
    return (apart or [1])[0] if len(apart) < 2 else 0


def read(file, entry, kind, x, inputs) -> None:
    """Add the nodes of a dilated layer of this kind."""
    w = file.tensors[inputs[1]]
    d, k = dilation(entry, w), max(w.shape[1:3])
    if not d or min(w.shape[1:3]) > 1 or min(x.shape[1:3]) > 1:
        file.refuse("is dilated on a map of several rows", "use dilation 1, or sequences as inputs")
    if (entry.options["StrideH"], entry.options["StrideW"]) != (1, 1):
        file.refuse("is dilated and has strides", "use stride 1")
    length, span = x.shape[1] * x.shape[2], (k - 1) * d
    same = file.same(entry)
    before = span // 2 if same else 0
    after = span - before if same else 0
    wanted, channels = length + before + after - span, w.shape[0 if kind == "conv" else 3]
    if wanted < 1:
        file.refuse("has a kernel larger than its input", "use padding or a smaller kernel")
    line, pad = _padded(file, x, length, before, after, d)
    x = file.reshaped(line, (1, line.shape[2] // d, d, x.shape[3]))
    rows = x.shape[1] + sum(pad) - k + 1
    file.tensors[w.name] = replace(w, shape=_upright(w.shape), data=w.data.reshape(_upright(w.shape)))
    y = file.activation(entry.outputs[0])
    leaves = file.like(kind, y, (1, rows, d, channels))
    attrs = {"stride": (1, 1), "pad": (pad[0], 0, pad[1], 0), "act": file.act(entry)}
    found = file.node(kind, (x.name, *inputs[1:]), leaves, file.layer, **attrs)
    found = file.reshaped(found, (1, 1, rows * d, channels))
    if rows * d > wanted:
        found = file.between("slice", found, (1, 1, wanted, channels), begin=(0, 0, 0))
    if y.size != found.size:
        file.refuse(f"says shape {list(y.shape)} but computes {list(found.shape)}", "convert the model again")
    file.node("reshape", (found.name,), y)


def _padded(file, x, length, before, after, d):
    """(the line in whole rows, rows of zeros that the layer itself adds above and below)."""
    line = file.reshaped(x, (1, 1, length, x.shape[3]))
    if not (length % d or before % d or after % d):
        return line, (before // d, after // d)
    after += -(length + before + after) % d  # what that adds to the output is cut off
    pad = ((0, 0), (0, 0), (before, after), (0, 0))
    return file.between("pad", line, (1, 1, length + before + after, x.shape[3]), pad=pad), (0, 0)


def _upright(shape):
    first, kh, kw, last = shape
    return first, max(kh, kw), 1, last
