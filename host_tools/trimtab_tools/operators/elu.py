"""x above zero, exp(x) - 1 below it."""

import numpy as np

from ..graph.ir import Tensor
from ..graph.rounding import Reals, round_away
from .table import operator, reals


def elu(v: Reals) -> Reals:
    return np.where(v < 0, np.expm1(np.minimum(v, 0)), v)


def table(x: Tensor, y: Tensor) -> np.ndarray:
    """In float32, as the reference has it."""
    value = elu(reals(x).astype(np.float64)).astype(np.float32)
    return round_away(value * (np.float32(1) / np.float32(y.scale[0]))) + y.zero_point


OPERATOR = operator(
    "elu",
    "ELU",
    1,
    function=elu,
    slope=lambda v: np.exp(np.minimum(v, 0)),
    table=table,
    reference=False,
)
