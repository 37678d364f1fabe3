"""Rounding and multipliers: how integer arithmetic stands for real numbers.

Multipliers of the forward pass are those of TensorFlow Lite's reference kernels, bit for bit. Scales are
float32 in the model file. Where those kernels compute in float32 rather than float64, the code here does too,
because one unit in the last place moves a multiplier. Multipliers of gradients are our own: shorter, and
rounded once.
"""

import math
from collections.abc import Iterable
from typing import Any

import numpy as np
import numpy.typing as npt

Ints = Any  # an integer, or an array of them: each element for itself, in int64
Reals = Any  # a float, or an array of them

INT8_MIN, INT8_MAX = -128, 127
CLAMPS = {
    "none": (None, None),
    "relu": (0, None),
    "relu6": (0, 6),
    "relu_n1_to_1": (-1, 1),
}  # fused activations


def quantize_multiplier(real: float) -> tuple:
    """real = m * 2**(shift - 31) with m in [2**30, 2**31), or (0, 0) when it is too small to matter."""
    if real == 0:
        return 0, 0
    fraction, shift = math.frexp(real)
    m = math.floor(fraction * 2**31 + 0.5)
    if m == 2**31:
        m, shift = 2**30, shift + 1
    return (m, shift) if shift >= -31 else (0, 0)


def quantize_multipliers(reals: Iterable[float]) -> tuple:
    """One multiplier per channel -> two int32 arrays (channels,)."""
    pairs = [quantize_multiplier(float(r)) for r in reals]
    return tuple(np.array(column, np.int32) for column in zip(*pairs))


def exact_multiplier(real: float, reach: int) -> tuple:
    """A multiplier whose once-rounded product equals the reference's float64 one, for every int32 acc.

    The reference's fully connected kernel computes round(acc * real) in float64, ties away from zero.
    Both are steps, so they agree when they step at the same acc: with T the smallest acc that rounds to k,
    (k - 1/2) / T < m / 2**bits < (k - 1/2) / (T - 1) for k = 1..reach + 1. Where no m satisfies all, the
    smallest accs win.
    """
    first, shift = quantize_multiplier(real)
    if first == 0:
        return first, shift
    bits = 31 - shift
    low, high = 1 << 29, (1 << 31) - 1
    for k in range(1, reach + 2):
        step = _first_reaching(k, real)
        if step >= 1 << 31:
            break
        half = (2 * k - 1) << (bits - 1)  # (k - 1/2) * 2**bits, exact
        tighter = max(low, half // step + 1), min(high, -(-half // (step - 1)) - 1 if step > 1 else high)
        if tighter[0] > tighter[1]:
            break
        low, high = tighter
    return min(max(first, low), high), shift


def _first_reaching(k, real):
    """Smallest acc >= 1 with acc * real >= k - 1/2 in float64."""
    acc = max(math.floor((k - 0.5) / real) - 2, 1)
    while acc * real < k - 0.5:
        acc += 1
    return acc


def high_mul(a: Ints, b: Ints) -> Ints:
    """Upper half of 2ab, rounded to nearest, ties up. |ab| <= 2**62, so int64 holds it."""
    return (np.int64(a) * np.int64(b) + (1 << 30)) >> 31


def shift_right_away(value: Ints, bits: Ints) -> Ints:
    """value / 2**bits rounded to nearest, ties away from zero; bits may be an array, 0 changes nothing."""
    value, bits = np.int64(value), np.int64(bits)
    half = np.where(bits > 0, np.int64(1) << np.maximum(bits - 1, 0), 0)
    return np.where(bits > 0, (value + half + (value >> 63)) >> bits, value)


def multiply_twice_rounded(acc: Ints, m: Ints, shift: Ints) -> Ints:
    """acc * m * 2**(shift - 31), rounded once by the high multiply and once by the shift."""
    left, right = np.maximum(np.int64(shift), 0), np.maximum(-np.int64(shift), 0)
    return shift_right_away(high_mul(np.int64(acc) << left, m), right)


def multiply_once_rounded(acc: Ints, m: Ints, shift: Ints) -> Ints:
    """acc * m * 2**(shift - 31), rounded once, ties up. shift <= 30."""
    total = 31 - np.int64(shift)
    return (np.int64(acc) * np.int64(m) + (np.int64(1) << (total - 1))) >> total


def round_away(x: Reals) -> Reals:
    """To the nearest integer, ties away from zero, in the precision of x."""
    return np.copysign(np.floor(np.abs(x) + np.asarray(0.5, np.asarray(x).dtype)), x)


def saturate32(v: Ints) -> Ints:
    return np.clip(v, -(1 << 31), (1 << 31) - 1)


def act_range(act: str, scale: float, zero_point: int) -> tuple:
    """The int8 range that a fused activation leaves."""
    low, high = CLAMPS[act]

    def level(real):
        return zero_point + int(round_away(np.float32(real) / np.float32(scale)))

    act_min = INT8_MIN if low is None else max(INT8_MIN, level(low))
    act_max = INT8_MAX if high is None else min(INT8_MAX, level(high))
    return act_min, act_max


# --- The multipliers of gradients and updates.


def mantissa(real: float, bits: int) -> tuple:
    """real ~ m * 2^e with m in [2^(bits-1), 2^bits)."""
    if real <= 0:
        return 0, 0
    fraction, e = math.frexp(real)
    m = round(fraction * (1 << bits))
    if m == 1 << bits:
        m, e = m >> 1, e + 1
    return m, e - bits


def factors(reals: npt.ArrayLike) -> tuple:
    """15-bit multipliers with one common exponent: reals[i] ~ m[i] * 2^e."""
    top = max(float(np.max(reals)), 1e-30)
    e = math.frexp(top)[1] - 15
    return np.minimum(np.rint(np.asarray(reals, np.float64) / 2.0**e), 32767).astype(np.int16), e


def qas(reals: Iterable[float]) -> np.ndarray:
    """Update multipliers as uint16: 8-bit mantissa, shift + 128 above it; 0 where a channel is skipped."""
    words = []
    for real in reals:
        m, e = mantissa(real, 8)
        if m and not -128 <= -e <= 127:
            m, e = (0, 0) if e < 0 else (255, 128)
        words.append(m | (128 - e) << 8 if m else 0)
    return np.array(words, np.uint16)
