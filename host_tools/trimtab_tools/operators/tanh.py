"""The hyperbolic tangent."""

import numpy as np

from ..graph.ir import Tensor
from ..graph.rounding import round_away
from .operator import Reader
from .table import operator, reals

SCALE, ZERO = 1 / 128, 0  # the output quantization that TensorFlow Lite's specification asks for


def table(x: Tensor, y: Tensor) -> np.ndarray:
    """In float32, as the reference has it."""
    value = np.tanh(reals(x).astype(np.float64)).astype(np.float32)
    return round_away(value * (np.float32(1) / np.float32(y.scale[0]))) + y.zero_point


def refuse(file: Reader, x: Tensor, y: Tensor) -> None:
    if y.scale[0] != SCALE or y.zero_point != ZERO:
        file.refuse("has an output scale other than 1/128", "convert the model again")


OPERATOR = operator(
    "tanh",
    "TANH",
    2,
    function=np.tanh,
    slope=lambda v: 1 - np.tanh(v) ** 2,
    table=table,
    refuse=refuse,
)
