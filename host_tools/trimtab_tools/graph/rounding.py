"""The integer numbers behind every operator: multipliers, shifts, clamping ranges, tables.

This file and `reference` state what TensorFlow Lite's reference kernels compute, operator by operator.
Whatever writes a package takes its numbers from `params`; nothing else derives them.
Scales are float32 in the model file; where the file's own kernels compute in float32 instead of float64,
so does the code here, because one unit in the last place moves a multiplier.
"""

import math

import numpy as np

INT8_MIN, INT8_MAX = -128, 127
ADD_SHIFT = 20  # head room that `add` gives its inputs: 255 * 2**20 * 2 < 2**31
EXP_BITS = 5  # softmax sees (x - max) * beta * scale as Q5.26: exp(-32) is nothing


def quantize_multiplier(real):
    """real = m * 2**(shift - 31) with m in [2**30, 2**31), or (0, 0) when it is too small to matter."""
    if real == 0:
        return 0, 0
    fraction, shift = math.frexp(real)
    m = math.floor(fraction * 2**31 + 0.5)
    if m == 2**31:
        m, shift = 2**30, shift + 1
    return (m, shift) if shift >= -31 else (0, 0)


def quantize_multipliers(reals):
    """One multiplier per channel -> two int32 arrays (channels,)."""
    pairs = [quantize_multiplier(float(r)) for r in reals]
    return tuple(np.array(column, np.int32) for column in zip(*pairs))


def exact_multiplier(real, reach):
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


def high_mul(a, b):
    """Upper half of 2ab, rounded to nearest, ties up. |ab| <= 2**62, so int64 holds it."""
    return (np.int64(a) * np.int64(b) + (1 << 30)) >> 31


def shift_right_away(value, bits):
    """value / 2**bits rounded to nearest, ties away from zero; bits may be an array, 0 changes nothing."""
    value, bits = np.int64(value), np.int64(bits)
    half = np.where(bits > 0, np.int64(1) << np.maximum(bits - 1, 0), 0)
    return np.where(bits > 0, (value + half + (value >> 63)) >> bits, value)


def multiply_twice_rounded(acc, m, shift):
    """acc * m * 2**(shift - 31), rounded once by the high multiply and once by the shift."""
    left, right = np.maximum(np.int64(shift), 0), np.maximum(-np.int64(shift), 0)
    return shift_right_away(high_mul(np.int64(acc) << left, m), right)


def multiply_once_rounded(acc, m, shift):
    """acc * m * 2**(shift - 31), rounded once, ties up. shift <= 30."""
    total = 31 - np.int64(shift)
    return (np.int64(acc) * np.int64(m) + (np.int64(1) << (total - 1))) >> total


def round_away(x):
    """To the nearest integer, ties away from zero, in the precision of x."""
    return np.copysign(np.floor(np.abs(x) + np.asarray(0.5, np.asarray(x).dtype)), x)


def act_range(act, scale, zero_point):
    """The int8 range that a fused activation leaves."""
    low, high = {"none": (None, None), "relu": (0, None), "relu6": (0, 6), "relu_n1_to_1": (-1, 1)}[act]

    def level(real):
        return zero_point + int(round_away(np.float32(real) / np.float32(scale)))

    act_min = INT8_MIN if low is None else max(INT8_MIN, level(low))
    act_max = INT8_MAX if high is None else min(INT8_MAX, level(high))
    return act_min, act_max


# --- Fixed-point functions on raw int32 values; Qn.m names integer and fraction bits.


def _saturate32(v):
    return np.clip(v, -(1 << 31), (1 << 31) - 1)


def exp_of_negative(a):
    """exp(a) as Q0.31 for a <= 0 in Q5.26."""
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


def reciprocal_of_one_plus(a):
    """1 / (1 + a) as Q0.31 for a in [0, 1) in Q0.31: Newton's method, three rounds in Q2.29."""
    half = (np.asarray(a, np.int64) + (1 << 31)) >> 1  # (a + 1) / 2
    x = 1515870810 + high_mul(half, -1010580540)  # 48/17 - 32/17 * half
    for _ in range(3):
        x = x + _saturate32(high_mul(x, (1 << 29) - high_mul(half, x)) << 2)
    return _saturate32(x << 1)


# --- Tables of one-input operators: y8 = table[x8 & 255].

LEVELS = np.concatenate([np.arange(0, 128), np.arange(-128, 0)]).astype(np.int64)  # x8 in order of its byte


def clamp_table(x, y, low, high):
    """relu and relu6: rescale, then clamp to the real range [low, high]."""
    m, shift = quantize_multiplier(float(np.float32(x.scale[0]) / np.float32(y.scale[0])))
    values = multiply_twice_rounded(LEVELS - x.zero_point, m, shift) + y.zero_point
    scale = np.float32(y.scale[0])
    top = (
        INT8_MAX if high is None else min(INT8_MAX, y.zero_point + int(round_away(np.float32(high) / scale)))
    )
    bottom = max(INT8_MIN, y.zero_point + int(round_away(np.float32(low) / scale)))
    return np.clip(values, bottom, top).astype(np.int8)


def hard_swish_table(x, y):
    """x * relu6(x + 3) / 6 in 16 bits: 128 steps per input level, 32768 for the real value 3."""
    hires = np.float32(1 / 128) * np.float32(x.scale[0])
    m_y, shift_y = quantize_multiplier(float(hires / np.float32(y.scale[0])))
    m_relu, shift_relu = quantize_multiplier(float(hires / np.float32(3 / 32768)))
    m_y, m_relu = (min((m + (1 << 15)) >> 16, (1 << 15) - 1) for m in (m_y, m_relu))
    value = (LEVELS - x.zero_point) << 7
    on_y = _high_mul16(value, m_y)
    reluish = value
    if shift_relu > 0:
        reluish = _saturate16(reluish << (shift_relu - 1))
    reluish = _high_mul16(reluish, m_relu)
    if shift_relu > 0:
        reluish = _saturate16(reluish << 1)
    reluish = shift_right_away(reluish, max(-shift_relu, 0))
    product = ((reluish + (1 << 15)) >> 1) * on_y
    product = np.sign(product) * (np.abs(product) >> 15)  # this one truncates toward zero
    return np.clip(shift_right_away(product, -shift_y) + y.zero_point, INT8_MIN, INT8_MAX).astype(np.int8)


def _high_mul16(a, b):
    return (a * b + (1 << 14)) >> 15


def _saturate16(v):
    return np.clip(v, -(1 << 15), (1 << 15) - 1)


def logistic_table(x, y):
    """1 / (1 + exp(-x)) in float32, as the reference has it."""
    real = np.float32(x.scale[0]) * (LEVELS - x.zero_point).astype(np.float32)
    exp = np.exp(-np.minimum(np.abs(real), np.float32(80)).astype(np.float64) * np.sign(real)).astype(
        np.float32
    )
    value = np.float32(1) / (np.float32(1) + exp)
    levels = round_away(value * (np.float32(1) / np.float32(y.scale[0]))) + y.zero_point
    return np.clip(levels, INT8_MIN, INT8_MAX).astype(np.int8)


def softmax_radius(left_shift):
    """Largest max - x8 that still counts: beyond it exp is taken as zero."""
    return math.floor(((1 << EXP_BITS) - 1) * 2.0 ** (31 - EXP_BITS) / 2.0**left_shift)


def softmax_table(x, beta):
    """exp((i - 255) * scale * beta) as Q0.31 for i = 0..255: indexed by 255 + x8 - max."""
    real = min(float(np.float32(beta)) * float(np.float32(x.scale[0])) * (1 << (31 - EXP_BITS)), 2.0**31 - 1)
    m, shift = quantize_multiplier(real)
    diff = np.arange(-255, 1, dtype=np.int64)
    radius = softmax_radius(shift)
    table = exp_of_negative(high_mul(np.maximum(diff, -radius) << shift, m))
    return np.where(diff >= -radius, table, 0).astype(np.int32)


# --- params(graph, op): the integers that a package record needs, one function per operator.


def params(graph, op):
    """The integer parameters of one operator, by name; see the functions below for each kind."""
    return PARAMS[op.kind](graph, op)


def _out(graph, op):
    y = graph[op.outputs[0]]
    act_min, act_max = act_range(op.attrs.get("act", "none"), y.scale[0], y.zero_point)
    return {"y_zero": y.zero_point, "act_min": act_min, "act_max": act_max}


def _scale(tensor):
    return float(np.float32(tensor.scale[0]))


def _conv(graph, op):
    x = graph[op.inputs[0]]
    m, shift = quantize_multipliers(_output_scales(graph, op))
    return {"multiplier": m, "shift": shift, "x_zero": x.zero_point, **_out(graph, op)}


def _dense(graph, op):
    x, out = graph[op.inputs[0]], _out(graph, op)
    reach = max(out["act_max"] - out["y_zero"], out["y_zero"] - out["act_min"])
    pairs = {real: exact_multiplier(real, reach) for real in set(_output_scales(graph, op))}
    m, shift = zip(*(pairs[real] for real in _output_scales(graph, op)))
    return {
        "multiplier": np.array(m, np.int32),
        "shift": np.array(shift, np.int32),
        "x_zero": x.zero_point,
        **out,
    }


def _output_scales(graph, op):
    x, w, y = graph[op.inputs[0]], graph[op.inputs[1]], graph[op.outputs[0]]
    return [_scale(x) * float(np.float32(s)) / _scale(y) for s in w.scale]


def _add(graph, op):
    a, b, y = graph[op.inputs[0]], graph[op.inputs[1]], graph[op.outputs[0]]
    twice = 2 * max(_scale(a), _scale(b))
    reals = (_scale(a) / twice, _scale(b) / twice, twice / ((1 << ADD_SHIFT) * _scale(y)))
    m, shift = quantize_multipliers(reals)
    return {
        "multiplier": m,
        "shift": shift,
        "a_zero": a.zero_point,
        "b_zero": b.zero_point,
        **_out(graph, op),
    }


def _rescale(graph, op):
    x, y = graph[op.inputs[0]], graph[op.outputs[0]]
    m, shift = quantize_multiplier(_scale(x) / _scale(y))
    return {"multiplier": m, "shift": shift, "x_zero": x.zero_point, **_out(graph, op)}


def _lite(graph, op):
    """y, x: what is joined keeps y's zero point, so there is none to add."""
    return {"x_zero": graph[op.inputs[1]].zero_point, "y_zero": 0, "act_min": INT8_MIN, "act_max": INT8_MAX}


def _mean(graph, op):
    x, y = graph[op.inputs[0]], graph[op.outputs[0]]
    count = math.prod(x.shape[a] for a in op.attrs["axes"])
    m, shift = quantize_multiplier(_scale(x) / _scale(y))
    up = min(count.bit_length() - 1, 32, 31 + shift)
    return {
        "multiplier": (m << up) // count,
        "shift": shift - up,
        "count": count,
        "x_zero": x.zero_point,
        **_out(graph, op),
    }


def _pool(graph, op):
    return {"x_zero": graph[op.inputs[0]].zero_point, **_out(graph, op)}


def _pad(graph, op):
    return {"fill": graph[op.outputs[0]].zero_point}


def _softmax(graph, op):
    return {"table": softmax_table(graph[op.inputs[0]], op.attrs["beta"])}


def _lookup(make, *limits):
    return lambda graph, op: {"table": make(graph[op.inputs[0]], graph[op.outputs[0]], *limits)}


def _nothing(graph, op):
    return {}


PARAMS = {
    "conv": _conv,
    "depthwise": _conv,
    "dense": _dense,
    "add": _add,
    "avg_pool": _pool,
    "max_pool": _pool,
    "mean": _mean,
    "pad": _pad,
    "reshape": _nothing,
    "softmax": _softmax,
    "relu": _lookup(clamp_table, 0, None),
    "relu6": _lookup(clamp_table, 0, 6),
    "hard_swish": _lookup(hard_swish_table),
    "logistic": _lookup(logistic_table),
    "concat": _nothing,
    "requantize": _rescale,
    "lite": _lite,
}
