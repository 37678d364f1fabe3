"""x * relu6(x + 3) / 6."""

import numpy as np

from ..graph.ir import Tensor
from ..graph.rounding import quantize_multiplier, shift_right_away
from .operator import Reader
from .table import LEVELS, operator


def table(x: Tensor, y: Tensor) -> np.ndarray:
    """The reference's 16 bits: 128 steps for each level of the input, 32768 for the real value 3."""
    fine = np.float32(1 / 128) * np.float32(x.scale[0])
    m_y, shift_y = _multiplier16(fine / np.float32(y.scale[0]))
    m_gate, shift_gate = _multiplier16(fine / np.float32(3 / 32768))
    value = (LEVELS - x.zero_point) << 7
    product = ((_gate(value, m_gate, shift_gate) + (1 << 15)) >> 1) * _high_mul16(value, m_y)
    product = np.sign(product) * (np.abs(product) >> 15)  # this one truncates toward zero
    return shift_right_away(product, -shift_y) + y.zero_point


def _multiplier16(real):
    m, shift = quantize_multiplier(float(real))
    return min((m + (1 << 15)) >> 16, (1 << 15) - 1), shift


def _gate(value, m, shift):
    """x / 3 as 16 bits, held within -1 and 1. The last bit of a left shift comes after the product."""
    if shift > 0:
        value = _saturate16(value << (shift - 1))
    value = _high_mul16(value, m)
    if shift > 0:
        value = _saturate16(value << 1)
    return shift_right_away(value, max(-shift, 0))


def _high_mul16(a, b):
    return (a * b + (1 << 14)) >> 15


def _saturate16(v):
    return np.clip(v, -(1 << 15), (1 << 15) - 1)


def refuse(file: Reader, x: Tensor, y: Tensor) -> None:
    if x.scale[0] >= 128 * y.scale[0]:
        file.refuse(
            "has an output scale far below its input's", "quantize with samples that are like the data"
        )


OPERATOR = operator(
    "hard_swish",
    "HARD_SWISH",
    1,
    "HardSwishOptions",
    function=lambda v: v * np.clip(v + 3, 0, 6) / 6,
    slope=lambda v: np.where(v <= -3, 0.0, np.where(v >= 3, 1.0, v / 3 + 0.5)),
    table=table,
    refuse=refuse,
)
