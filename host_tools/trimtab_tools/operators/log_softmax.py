"""Logarithms of probabilities of the last axis, in fixed point as the reference computes them.

It ends classifiers of PyTorch. A head that trains takes its place, so boards have no kernel for it.
"""

import numpy as np

from ..errors import ModelError
from ..graph.rounding import (
    INT8_MAX,
    INT8_MIN,
    Ints,
    high_mul,
    multiply_twice_rounded,
    quantize_multiplier,
    saturate32,
    shift_right_away,
)
from .exact import scale
from .operator import Operator, Tflite
from .softmax import EXP_BITS, exp_of_negative, radius, reciprocal_of_one_plus

SCALE, ZERO = 1 / 16, 127  # the only output quantization that the reference has
SUM_BITS = 12  # integer bits of the sum of exponentials
LOG_BITS = EXP_BITS + 1  # of the logarithm, while it is summed


def read(file, entry):
    x = file.x(entry)
    y = file.y(entry, x.shape)
    if y.scale[0] != SCALE or y.zero_point != ZERO:
        file.refuse("has an output scale other than 1/16", "convert the model again")
    if not x.scale[0] * (1 << 26) > 1:
        file.refuse("has an input scale of nearly zero", "quantize with samples that are like the data")
    return (x.name,), {}


def params(graph, op):
    """Multipliers from steps of x to Q5.26 and back, and the least difference to the maximum that counts."""
    real = min(scale(graph[op.inputs[0]]) * 2.0 ** (31 - EXP_BITS), 2.0**31 - 1)
    m, shift = quantize_multiplier(real)
    back, back_shift = quantize_multiplier(2.0 ** (31 - shift) / m)
    return {"multiplier": m, "shift": shift, "back": back, "back_shift": back_shift, "least": -radius(shift)}


def oracle(graph, op, p, xs):
    x = xs[0].astype(np.int64)
    below = x - x.max(axis=-1, keepdims=True)
    fine = multiply_twice_rounded(np.maximum(below, p["least"]), p["multiplier"], p["shift"])
    exps = np.where(below >= p["least"], shift_right_away(exp_of_negative(fine), SUM_BITS), 0)
    log = log_of(exps.sum(axis=-1, keepdims=True))
    least = multiply_twice_rounded(log - (1 << 31), p["back"], p["back_shift"])
    y = shift_right_away(fine - log, 31 - EXP_BITS - 4) + ZERO
    return np.where(below > np.maximum(p["least"] - 1, least), np.clip(y, INT8_MIN, INT8_MAX), INT8_MIN)


def log_of(z: Ints) -> Ints:
    """The logarithm, Q5.26, of z >= 1 in Q12.19.

    z is a power of 2 times r near the fourth root of 1/2; around there a quotient of polynomials is used.
    """
    half, centre = 1518500250, 1805811301  # roots of 1/2, Q0.31: the second and the fourth
    quarter = 1 << (31 - LOG_BITS - 2)
    room = _leading_zeros(z)
    r_a = saturate32(high_mul(_up(z, room - 1), half) << 1)
    power_a = ((SUM_BITS - room) << (31 - LOG_BITS)) + quarter
    room = _leading_zeros(high_mul(z, half)) - 1
    power_b = ((SUM_BITS - room) << (31 - LOG_BITS)) - quarter
    r, power = np.minimum(r_a, _up(z, room)), np.maximum(power_a, power_b)
    p, q = _half_sum(r, centre), 2 * (r - centre)
    square = high_mul(q, q)
    over = high_mul(q, r) + high_mul(high_mul(q, square), 117049297)  # 11/240 of the fourth root of 2
    under = high_mul(p, 1057819769 + q + high_mul(127690142, square)) + high_mul(638450708, q)
    quotient = high_mul(shift_right_away(over, LOG_BITS), reciprocal_of_one_plus(under))
    return saturate32((high_mul(power, 1488522236) + quotient) << 1)  # log(2)


def _leading_zeros(v):
    return 32 - np.frexp(np.asarray(v, np.float64))[1].astype(np.int64)


def _up(v, bits):
    return saturate32(np.asarray(v, np.int64) << bits)


def _half_sum(a, b):
    """To the nearest, ties away from zero."""
    return np.sign(a + b) * ((np.abs(a + b) + 1) // 2)


def forward(lower, op):
    raise ModelError(
        f"layer {op.name}: boards do not compute logarithms of probabilities: train a head in its place with "
        "--labels or --classes, or cut the model before it"
    )


OPERATOR = Operator(
    "log_softmax",
    tflite=Tflite("LOG_SOFTMAX", 2, "LogSoftmaxOptions", read=read),
    params=params,
    oracle=oracle,
    forward=forward,
)
