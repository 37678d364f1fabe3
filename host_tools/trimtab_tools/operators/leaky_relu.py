"""x above zero, alpha * x below it."""

import numpy as np

from ..graph.ir import Tensor
from ..graph.rounding import Reals, multiply_twice_rounded, quantize_multipliers
from .table import LEVELS, operator


def leaky(v: Reals, alpha: float) -> Reals:
    return np.where(v < 0, alpha * v, v)


def table(x: Tensor, y: Tensor, alpha: float) -> np.ndarray:
    """Each side has a multiplier of its own, made in float32."""
    sx, sy = np.float32(x.scale[0]), np.float32(y.scale[0])
    value = LEVELS - x.zero_point
    m, shift = quantize_multipliers([float(sx / sy), float(sx * np.float32(alpha) / sy)])
    above, below = (multiply_twice_rounded(value, m[i], shift[i]) for i in range(2))
    return np.where(value < 0, below, above) + y.zero_point


OPERATOR = operator(
    "leaky_relu",
    "LEAKY_RELU",
    2,
    "LeakyReluOptions",
    ("Alpha",),
    attributes=("alpha",),
    function=leaky,
    slope=lambda v, alpha: np.where(v < 0, alpha, 1.0),
    table=table,
    paper="relu",
)
