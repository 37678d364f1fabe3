"""What transpose and slice share: elements of x at steps of their own, along four axes behind the batch."""

import math

from ..graph.ir import Op
from .operator import Contribution, Lowering


def four(sizes: tuple) -> tuple:
    """Sizes or numbers of axes behind the batch as four."""
    return (1,) * (4 - len(sizes)) + tuple(sizes)


def steps(shape: tuple) -> tuple:
    """How far apart neighbours along each axis behind the batch lie."""
    return tuple(math.prod(shape[i + 1 :]) for i in range(1, len(shape)))


def forward(lower: Lowering, op: Op, apart: tuple, first: int = 0) -> None:
    """The record that moves element `first` of x, and others `apart` from it along the axes of y, to y."""
    y, n = lower.activation(op.outputs[0]), four(lower.graph[op.outputs[0]].shape[1:])
    s = four(apart)
    x = lower.activation(op.inputs[0]).at(first)
    lower.emit("move_fwd", dict(y=y, x=x, **_numbered(n=n, s=s), size=_reach(n, s)), op.name)


def gradient(lower: Lowering, op: Op, apart: tuple, first: tuple, count: tuple) -> Contribution:
    """gy for `count` elements of x from `first` on, which lie `apart` in gy along the axes of x; else 0."""
    n0, n1, iw, ic = four(lower.graph[op.inputs[0]].shape[1:])
    f, c, s = (0,) * (4 - len(first)) + tuple(first), four(count), four(apart)
    sizes = dict(n0=n0, n1=n1, ih=n0 * n1, iw=iw, ic=ic, size=_reach(c, s))
    return Contribution("move_dx", dict(row=lower.scratch(4 * ic), **sizes, **_numbered(f=f, c=c, s=s)))


def _numbered(**rows):
    return {f"{name}{i}": value for name, row in rows.items() for i, value in enumerate(row)}


def _reach(n, s):
    """Elements from the first one up to the last."""
    return 1 + sum((size - 1) * step for size, step in zip(n, s))
