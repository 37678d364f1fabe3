"""The largest value of each window; its error goes back to where that value stood."""

import numpy as np

from ..graph.geometry import geometry
from ..graph.rounding import INT8_MIN
from . import pooled
from .exact import windows
from .operator import Contribution, Operator


def oracle(graph, op, p, xs):
    window = (op.attrs[name] for name in ("kernel", "stride", "pad"))
    views = windows(xs[0].astype(np.int64), *window, INT8_MIN)
    return np.clip(np.maximum.reduce([v for _, _, v in views]), p["act_min"], p["act_max"])


def gradient(lower, op, index):
    pooled.need_open(lower, op)
    g = geometry(lower.graph, op)
    return Contribution("max_dx", dict(x=lower.activation(op.inputs[0]), row=lower.scratch(4 * g["ic"]), **g))


OPERATOR = Operator(
    "max_pool",
    attributes=("kernel", "stride", "pad", "act"),
    tflite=pooled.tflite("MAX_POOL_2D"),
    params=pooled.params,
    oracle=oracle,
    forward=pooled.forward("max_pool_fwd"),
    gradient=gradient,
)
