"""Probabilities of the last axis, in fixed point as the reference computes them.

Qn.m names the integer and fraction bits of a raw int32 value.
"""

import math

import numpy as np

from ..graph.ir import Tensor
from ..graph.rounding import (
    INT8_MAX,
    INT8_MIN,
    Ints,
    high_mul,
    quantize_multiplier,
    saturate32,
    shift_right_away,
)
from .exact import scale
from .operator import Operator, Tflite

EXP_BITS = 5  # exp sees (x - max) * beta * scale as Q5.26: exp(-32) is nothing
SCALE, ZERO = 1 / 256, -128  # the only output quantization that the reference has


def read(file, entry):
    x = file.x(entry)
    y = file.y(entry, x.shape)
    beta = entry.options["Beta"]
    if y.scale[0] != SCALE or y.zero_point != ZERO:
        file.refuse("has an output scale other than 1/256", "convert the model again")
    if not beta * x.scale[0] * (1 << 26) > 1:  # or not a number
        file.refuse(
            "has an input scale or a beta of nearly zero", "quantize with samples that are like the data"
        )
    return (x.name,), {"beta": float(beta)}


def write(file, op):
    return {"Beta": op.attrs["beta"]}


def params(graph, op):
    return {"table": table(graph[op.inputs[0]], op.attrs["beta"])}


def table(x: Tensor, beta: float) -> np.ndarray:
    """exp((i - 255) * scale * beta) as Q0.31 for i = 0..255: indexed by 255 + x8 - max."""
    real = min(float(np.float32(beta)) * scale(x) * (1 << (31 - EXP_BITS)), 2.0**31 - 1)
    m, shift = quantize_multiplier(real)
    diff = np.arange(-255, 1, dtype=np.int64)
    reach = radius(shift)
    values = exp_of_negative(high_mul(np.maximum(diff, -reach) << shift, m))
    return np.where(diff >= -reach, values, 0).astype(np.int32)


def radius(left_shift: int) -> int:
    """Largest max - x8 that still counts: beyond it exp is taken as zero."""
    return math.floor(((1 << EXP_BITS) - 1) * 2.0 ** (31 - EXP_BITS) / 2.0**left_shift)


def oracle(graph, op, p, xs):
    x = xs[0].astype(np.int64)
    e = p["table"].astype(np.int64)[255 + x - x.max(axis=-1, keepdims=True)]  # Q0.31
    total = shift_right_away(e, 12).sum(axis=-1, keepdims=True)  # Q12.19
    head_room = 32 - np.frexp(total.astype(np.float64))[1].astype(np.int64)  # leading zeros of 32 bits
    inverse = reciprocal_of_one_plus((total << head_room) - (1 << 31))
    y = shift_right_away(high_mul(inverse, e), 12 - head_room + 31 - 8)
    return np.clip(y + INT8_MIN, INT8_MIN, INT8_MAX)


def exp_of_negative(a: Ints) -> Ints:
    """exp(a) as Q0.31 for a <= 0 in Q5.26: a series below 1/4, then a factor for each bit above."""
    a = np.asarray(a, np.int64)
    fraction_bits = 31 - EXP_BITS
    quarter = 1 << (fraction_bits - 2)
    rest = (a & (quarter - 1)) - quarter  # in [-1/4, 0)
    x = (rest << EXP_BITS) + (1 << 28)  # Q0.31, series around -1/8
    x2 = high_mul(x, x)
    x3, x4 = high_mul(x2, x), high_mul(x2, x2)
    tail = shift_right_away(high_mul(shift_right_away(x4, 2) + x3, 715827883) + x2, 1)  # 1/3 in Q0.31
    at_centre = 1895147668  # exp(-1/8) in Q0.31
    result = at_centre + high_mul(at_centre, x + tail)
    remainder = rest - a
    for power in range(-2, EXP_BITS):
        factor = int(np.floor(np.exp(-(2.0**power)) * 2**31 + 0.5))
        bit = (remainder >> (fraction_bits + power)) & 1
        result = np.where(bit == 1, high_mul(result, factor), result)
    return np.where(a == 0, (1 << 31) - 1, result)


def reciprocal_of_one_plus(a: Ints) -> Ints:
    """1 / (1 + a) as Q0.31 for a in [0, 1) in Q0.31: Newton's method, three rounds in Q2.29."""
    half = (np.asarray(a, np.int64) + (1 << 31)) >> 1  # (a + 1) / 2
    x = 1515870810 + high_mul(half, -1010580540)  # 48/17 - 32/17 * half
    for _ in range(3):
        x = x + saturate32(high_mul(x, (1 << 29) - high_mul(half, x)) << 2)
    return saturate32(x << 1)


def forward(lower, op):
    y = lower.graph[op.outputs[0]]
    values = dict(
        y=lower.activation(op.outputs[0]),
        x=lower.activation(op.inputs[0]),
        table=lower.const(params(lower.graph, op)["table"], np.int32),
        rows=y.size // y.shape[-1],
        n=y.shape[-1],
    )
    lower.emit("softmax_fwd", values, op.name)


OPERATOR = Operator(
    "softmax",
    attributes=("beta",),
    tflite=Tflite("SOFTMAX", 2, "SoftmaxOptions", ("Beta",), read, write),
    params=params,
    oracle=oracle,
    forward=forward,
)
