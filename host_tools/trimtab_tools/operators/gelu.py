"""x times the probability that a normal number lies below x."""

import math

import numpy as np

from ..graph.ir import Tensor
from ..graph.rounding import Reals, round_away
from .table import operator, reals

PER_ROOT2 = math.sqrt(0.5)
DENSITY = 1 / math.sqrt(2 * math.pi)  # of a normal number at 0
TWICE = math.sqrt(2 / math.pi)
CUBE = 0.044715

erfc = np.vectorize(math.erfc)


def gelu(v: Reals, approximate: bool) -> Reals:
    if approximate:
        return 0.5 * v * (1 + np.tanh(TWICE * (v + CUBE * v**3)))
    return 0.5 * v * erfc(-v * PER_ROOT2)


def slope(v: Reals, approximate: bool) -> Reals:
    if not approximate:
        return 0.5 * erfc(-v * PER_ROOT2) + v * DENSITY * np.exp(-(v**2) / 2)
    t = np.tanh(TWICE * (v + CUBE * v**3))
    return 0.5 * (1 + t) + 0.5 * v * (1 - t**2) * TWICE * (1 + 3 * CUBE * v**2)


def table(x: Tensor, y: Tensor, approximate: bool) -> np.ndarray:
    """In float32, as the reference has it."""
    v, half = reals(x), np.float32(0.5)
    if approximate:
        inner = np.float32(TWICE) * (v + np.float32(CUBE) * v * v * v)
        value = half * v * (np.float32(1) + np.tanh(inner.astype(np.float64)).astype(np.float32))
    else:
        inner = v * np.float32(-PER_ROOT2)
        value = half * v * erfc(inner.astype(np.float64)).astype(np.float32)
    return round_away(value * (np.float32(1) / np.float32(y.scale[0]))) + y.zero_point


OPERATOR = operator(
    "gelu",
    "GELU",
    2,
    "GeluOptions",
    ("Approximate",),
    attributes=("approximate",),
    function=gelu,
    slope=slope,
    table=table,
)
