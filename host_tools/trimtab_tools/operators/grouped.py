"""A convolution in groups: ordinary ones of some channels each, one behind the other."""

from dataclasses import replace

from ..graph.ir import Tensor
from .operator import Entry, Reader


def read(file: Reader, entry: Entry, x: Tensor, inputs: tuple) -> None:
    """Add a slice and a convolution for each group, and what joins them."""
    _, w, b = (file.tensors.pop(name) if name != x.name else x for name in inputs)
    each, groups = w.shape[3], x.shape[3] // w.shape[3]
    if x.shape[3] % each or w.shape[0] % groups:
        what = f"has weights of shape {list(w.shape)} for {x.shape[3]} channels"
        file.refuse(what, "convert the model again")
    attrs, size = file.window(entry, x, w.shape[1:3])
    y, outputs = file.y(entry, (1, *size, w.shape[0])), w.shape[0] // groups
    parts = []
    for group in range(groups):
        part = file.between("slice", x, (*x.shape[:3], each), begin=(0, 0, group * each))
        own = [_of_group(file, t, group, outputs) for t in (w, b)]
        leaves = file.like("conv", y, (1, *size, outputs))
        name = f"{file.layer}/group_{group + 1}"
        parts.append(file.node("conv", (part.name, *own), leaves, name, **attrs).name)
    file.node("concat", tuple(parts), y, axis=3)


def _of_group(file, t, group, outputs):
    """The name of a constant with a group's output channels only."""
    rows = slice(group * outputs, (group + 1) * outputs)
    name = f"{t.name}/group_{group + 1}"
    data, scale = t.data[rows], t.scale[rows]
    file.tensors[name] = replace(t, name=name, shape=data.shape, data=data, scale=scale, index=None)
    return name
