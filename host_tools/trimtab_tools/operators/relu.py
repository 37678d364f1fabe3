"""relu and relu6 as operators of their own: rescale, then clamp to the real range."""

import functools

import numpy as np

from ..graph.ir import Tensor
from ..graph.rounding import act_range, multiply_twice_rounded, quantize_multiplier
from .exact import scale
from .table import LEVELS, operator


def table(x: Tensor, y: Tensor, act: str) -> np.ndarray:
    m, shift = quantize_multiplier(float(np.float32(x.scale[0]) / np.float32(y.scale[0])))
    values = multiply_twice_rounded(LEVELS - x.zero_point, m, shift) + y.zero_point
    return np.clip(values, *act_range(act, scale(y), y.zero_point))


RELU = operator(
    "relu",
    "RELU",
    2,
    function=lambda v: np.maximum(v, 0),
    slope=lambda v: np.where(v > 0, 1.0, 0.0),
    table=functools.partial(table, act="relu"),
    paper="relu",
)
RELU6 = operator(
    "relu6",
    "RELU6",
    2,
    function=lambda v: np.clip(v, 0, 6),
    slope=lambda v: np.where((v > 0) & (v < 6), 1.0, 0.0),
    table=functools.partial(table, act="relu6"),
    paper="relu",
)
