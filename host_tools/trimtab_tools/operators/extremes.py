"""The smaller, or the larger, of x and a constant. And the larger of two tensors, which is a pool of both."""

import functools

import numpy as np

from . import table
from .operator import Entry, Operator, Reader, Tflite


def read(file: Reader, entry: Entry, kind: str) -> tuple[tuple, dict] | None:
    a, b = (file.operand(number) for number in entry.inputs[:2])
    y = file.activation(entry.outputs[0])
    for t in (a, b):
        file.same_quantization(entry, t, y)
    if not (a.constant or b.constant):
        return _of_two(file, kind, a, b, y)
    x, c = (b, a) if a.constant else (a, b)
    if c.constant and c.size != 1 or x.constant or x.size != y.size:
        file.refuse(f"compares {list(a.shape)} with {list(b.shape)}", "compare with one number")
    bound = (int(c.data.reshape(-1)[0]) - c.zero_point) * c.scale[0]
    return (x.name, c.name), {"bound": float(bound)}


def _of_two(file, kind, a, b, y):
    """Both as rows of one map, and the larger of each column."""
    if kind == "minimum" or a.shape != b.shape or a.shape != y.shape:
        file.refuse(
            f"is the {kind} of two tensors", "use the maximum of two tensors of one shape, or add them"
        )
    n, c = y.size // y.shape[-1], y.shape[-1]
    rows = tuple(file.reshaped(t, (1, 1, n, c)).name for t in (a, b))
    both = file.node("concat", rows, file.like("concat", y, (1, 2, n, c)), axis=1)
    attrs = {"kernel": (2, 1), "stride": (1, 1), "pad": (0, 0, 0, 0), "act": "none"}
    file.node("reshape", (file.between("max_pool", both, (1, 1, n, c), **attrs).name,), y)


def _row(kind, code, pick, sign):
    """sign * (bound - v) is positive where v passes."""

    def levels(x, y, bound):
        return pick(table.LEVELS, round(bound / x.scale[0]) + x.zero_point)

    rules = table.rules(
        lambda v, bound: pick(v, bound),
        lambda v, bound: np.where(sign * (bound - v) > 0, 1.0, 0.0),
        levels,
        ("bound",),
    )
    compute = rules.pop("forward")

    def forward(lower, op):
        lower.operand(op.inputs[1])  # which export will want
        compute(lower, op)

    return Operator(
        kind,
        attributes=("bound",),
        activations=2,
        tflite=Tflite(code, 2, "MaximumMinimumOptions", read=functools.partial(read, kind=kind)),
        forward=forward,
        **rules,
        paper="relu",
    )


MINIMUM = _row("minimum", "MINIMUM", np.minimum, 1)
MAXIMUM = _row("maximum", "MAXIMUM", np.maximum, -1)
