"""The sigmoid, 1 / (1 + exp(-x))."""

import numpy as np

from ..graph.ir import Tensor
from ..graph.rounding import Reals, round_away
from .operator import Reader
from .table import operator, reals

SCALE, ZERO = 1 / 256, -128  # the only output quantization that the reference has


def sigmoid(v: Reals) -> Reals:
    return 1 / (1 + np.exp(-v))


def table(x: Tensor, y: Tensor) -> np.ndarray:
    """In float32, as the reference has it."""
    real = reals(x)
    clipped = np.minimum(np.abs(real), np.float32(80)).astype(np.float64) * np.sign(real)
    value = np.float32(1) / (np.float32(1) + np.exp(-clipped).astype(np.float32))
    return round_away(value * (np.float32(1) / np.float32(y.scale[0]))) + y.zero_point


def refuse(file: Reader, x: Tensor, y: Tensor) -> None:
    if y.scale[0] != SCALE or y.zero_point != ZERO:
        file.refuse("has an output scale other than 1/256", "convert the model again")


OPERATOR = operator(
    "logistic",
    "LOGISTIC",
    2,
    function=sigmoid,
    slope=lambda v: sigmoid(v) * (1 - sigmoid(v)),
    table=table,
    refuse=refuse,
)
