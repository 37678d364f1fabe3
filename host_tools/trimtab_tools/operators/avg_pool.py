"""The mean of each window, over what lies inside the map."""

import numpy as np

from ..graph.geometry import geometry
from . import pooled
from .exact import window_means
from .operator import Operator


def oracle(graph, op, p, xs):
    means = window_means(xs[0].astype(np.int64), *(op.attrs[name] for name in ("kernel", "stride", "pad")))
    return np.clip(means, p["act_min"], p["act_max"])


def gradient(lower, op, index):
    pooled.need_open(lower, op)
    return pooled.mean_gradient(lower, op, geometry(lower.graph, op), full=False)


OPERATOR = Operator(
    "avg_pool",
    attributes=("kernel", "stride", "pad", "act"),
    tflite=pooled.tflite("AVERAGE_POOL_2D"),
    params=pooled.params,
    oracle=oracle,
    forward=pooled.forward("avg_pool_fwd"),
    gradient=gradient,
)
