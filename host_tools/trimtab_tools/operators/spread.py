"""What operators of two inputs share, where one may be smaller: it repeats over the larger one.

So channels get a factor of their own (squeeze-and-excite), or positions (attention), or a constant is added.
"""

import math

import numpy as np

from ..errors import ModelError
from ..graph.ir import Graph, Op
from ..graph.rounding import factors
from .operator import Contribution, Lowering

TERMS = 1 << 30  # sums of products stay below it


def read(file, entry) -> tuple:
    """(first input, second, output): activations, or int8 constants."""
    if len(entry.inputs) != 2:
        file.refuse("needs two inputs", "convert the model again")
    a, b = (file.operand(number) for number in entry.inputs)
    if a.constant and b.constant:
        file.refuse("computes with constants only", "convert the model again, with constants folded")
    y = file.activation(entry.outputs[0])
    if math.prod(y.shape) not in (a.size, b.size) or not all(repeats(y.shape, t.shape) for t in (a, b)):
        cure = "give one input the output's shape, and the other one 1 along whole axes"
        file.refuse(f"joins {list(a.shape)} and {list(b.shape)}", cure)
    return a, b, y


def repeats(whole: tuple, part: tuple) -> tuple | None:
    """(n, c, n2, c2) of a shape whose rows and columns repeat over another one; None if they do not."""
    part = (1,) * (len(whole) - len(part)) + tuple(part)
    for axis in range(len(whole) - 1, 0, -1):
        rows, columns = _circle(whole[:axis], part[:axis]), _circle(whole[axis:], part[axis:])
        if rows and columns:
            return math.prod(whole[:axis]), math.prod(whole[axis:]), rows, columns
    return None


def _circle(whole, part):
    """The size of a part that repeats as a block: 1 along the first axes, whole along the others."""
    ones = next((i for i, n in enumerate(part) if n != 1), len(part))
    return math.prod(part) if part[ones:] == whole[ones:] else 0


def circles(graph: Graph, op: Op, name: str) -> tuple:
    """repeats() of an input over the output, which `read` found to fit."""
    found = repeats(graph[op.outputs[0]].shape, graph[name].shape)
    assert found, name
    return found


def larger(graph: Graph, op: Op) -> int:
    """The number of the input that has the output's size, of two such one that is no constant."""
    a, b = (graph[name] for name in op.inputs)
    size = graph[op.outputs[0]].size
    return 0 if a.size == size and not (a.constant and b.size == size) else 1


def aligned(graph: Graph, op: Op, xs: list) -> list:
    """Inputs (samples, ...) as int64 that numpy repeats over each other. Constants have one sample."""
    rank = len(graph[op.outputs[0]].shape)
    shapes = [((1,) * rank + tuple(graph[name].shape))[-rank:][1:] for name in op.inputs]
    return [x.astype(np.int64).reshape(-1, *shape) for x, shape in zip(xs, shapes)]


def values(lower: Lowering, op: Op, p: dict) -> dict:
    """What the forward records have in common: the larger input first. `zeros` are in the order of inputs."""
    graph, first = lower.graph, larger(lower.graph, op)
    large, small = op.inputs[first], op.inputs[1 - first]
    n, c, n2, c2 = circles(graph, op, small)
    return dict(
        y=lower.activation(op.outputs[0]),
        x=lower.operand(large),
        x2=lower.operand(small),
        mask=lower.mask(op.outputs[0]),
        **dict(n=n, c=c, n2=n2, c2=c2),
        zx=graph[large].zero_point,
        zx2=graph[small].zero_point,
        zy=p["y_zero"],
        lo=p["act_min"],
        hi=p["act_max"],
    )


def gradient(lower: Lowering, op: Op, index: int, ratio: float, other: str | None) -> Contribution:
    """The error of an input: gy * ratio, times the other input where there is one, summed where it repeats.

    |gy * m| < 2^22, and the shift keeps `terms` of them, each times at most 255, below TERMS.
    """
    graph = lower.graph
    n, c, gn, ic = circles(graph, op, op.inputs[index])
    if n > 32767 and gn == n:
        raise ModelError(f"layer {op.name} has {n} positions: train layers behind it, or on smaller pictures")
    m, e = factors([abs(ratio)])
    shift, terms = 8, n * c // (gn * ic)
    while terms * ((127 * 32767 >> shift) + 1) * 255 > TERMS:
        shift += 1
    zero = graph[other].zero_point if other else 0
    place = lower.operand(other) if other else lower.const([1], np.int8)
    _, _, n2, c2 = circles(graph, op, other) if other else (n, c, 1, 1)
    return Contribution(
        "mul_dx",
        dict(
            row=lower.scratch(4 * ic),
            x2=place,
            **dict(n=n, c=c, n2=n2, c2=c2, zx2=zero, m=int(m[0]) * (1 if ratio > 0 else -1)),
            **dict(m_shift=shift, m_exp=e, ih=1, iw=gn, ic=ic, gn=gn),
        ),
    )
