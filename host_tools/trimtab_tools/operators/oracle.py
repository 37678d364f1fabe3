"""A slow, plain executor of the graph: the host's oracle for every kernel.

It equals TensorFlow Lite's reference kernels bit for bit. Everything is int64, so nothing overflows unseen.
The first axis may hold any number of samples.
"""

import math

import numpy as np

from ..graph.rounding import (
    ADD_SHIFT,
    INT8_MAX,
    INT8_MIN,
    high_mul,
    multiply_once_rounded,
    multiply_twice_rounded,
    params,
    reciprocal_of_one_plus,
    shift_right_away,
)
from . import tinytl


def forward(graph, x):
    """x int8 (n, ...) -> every activation by tensor name, int8 (n, ...)."""
    values = {graph.inputs[0]: np.asarray(x, np.int8)}
    for op in graph.ops:
        p = params(graph, op)
        y = KERNELS[op.kind](graph, op, p, [values.get(name) for name in op.inputs])
        shape = graph[op.outputs[0]].shape
        values[op.outputs[0]] = y.astype(np.int8).reshape(len(y), *shape[1:])
    return values


def _finish(acc, p):
    return np.clip(acc + p["y_zero"], p["act_min"], p["act_max"])


def _windows(x, kernel, stride, pad, fill):
    """Yield (ky, kx, view) with view (n, oh, ow, c): what each tap of the kernel sees."""
    top, left, bottom, right = pad
    x = np.pad(x, ((0, 0), (top, bottom), (left, right), (0, 0)), constant_values=fill)
    oh = (x.shape[1] - kernel[0]) // stride[0] + 1
    ow = (x.shape[2] - kernel[1]) // stride[1] + 1
    for ky in range(kernel[0]):
        for kx in range(kernel[1]):
            rows = slice(ky, ky + (oh - 1) * stride[0] + 1, stride[0])
            cols = slice(kx, kx + (ow - 1) * stride[1] + 1, stride[1])
            yield ky, kx, x[:, rows, cols, :]


def _matmul(a, b):
    """Exact: every partial sum of int8 products stays far below 2**53."""
    return np.rint(a.astype(np.float64) @ b.astype(np.float64)).astype(np.int64)


def _bias(graph, op):
    return graph[op.inputs[2]].data.astype(np.int64)


def _conv(graph, op, p, xs):
    w = graph[op.inputs[1]].data  # (o, kh, kw, i)
    x = xs[0].astype(np.int64) - p["x_zero"]
    acc = _bias(graph, op)
    for ky, kx, view in _windows(x, w.shape[1:3], op.attrs["stride"], op.attrs["pad"], 0):
        acc = acc + _matmul(view, w[:, ky, kx, :].T)
    return _finish(multiply_twice_rounded(acc, p["multiplier"], p["shift"]), p)


def _depthwise(graph, op, p, xs):
    w = graph[op.inputs[1]].data.astype(np.int64)  # (1, kh, kw, c * m)
    x = xs[0].astype(np.int64) - p["x_zero"]
    x = np.repeat(x, w.shape[3] // x.shape[3], axis=3)
    acc = _bias(graph, op)
    for ky, kx, view in _windows(x, w.shape[1:3], op.attrs["stride"], op.attrs["pad"], 0):
        acc = acc + view * w[0, ky, kx]
    return _finish(multiply_twice_rounded(acc, p["multiplier"], p["shift"]), p)


def _dense(graph, op, p, xs):
    w = graph[op.inputs[1]].data  # (o, i)
    x = xs[0].astype(np.int64).reshape(len(xs[0]), -1) - p["x_zero"]
    return _finish(multiply_once_rounded(_matmul(x, w.T) + _bias(graph, op), p["multiplier"], p["shift"]), p)


def _add(graph, op, p, xs):
    m, shift = p["multiplier"], p["shift"]
    zeros = (p["a_zero"], p["b_zero"])
    terms = [
        multiply_twice_rounded((x.astype(np.int64) - zero) << ADD_SHIFT, m[i], shift[i])
        for i, (x, zero) in enumerate(zip(xs, zeros))
    ]
    return _finish(multiply_twice_rounded(terms[0] + terms[1], m[2], shift[2]), p)


def _avg_pool(graph, op, p, xs):
    a = op.attrs
    mean = _window_means(xs[0].astype(np.int64), a["kernel"], a["stride"], a["pad"])
    return np.clip(mean, p["act_min"], p["act_max"])


def _window_means(x, kernel, stride, pad):
    total = sum(v for _, _, v in _windows(x, kernel, stride, pad, 0))
    count = sum(v for _, _, v in _windows(np.ones_like(x), kernel, stride, pad, 0))
    return _divide(total, count)


def _divide(a, n):
    """To the nearest, ties away from zero."""
    return np.sign(a) * ((np.abs(a) + n // 2) // n)


def _max_pool(graph, op, p, xs):
    a = op.attrs
    views = _windows(xs[0].astype(np.int64), a["kernel"], a["stride"], a["pad"], INT8_MIN)
    return np.clip(np.maximum.reduce([v for _, _, v in views]), p["act_min"], p["act_max"])


def _mean(graph, op, p, xs):
    total = xs[0].astype(np.int64).sum(axis=tuple(op.attrs["axes"])) - p["count"] * p["x_zero"]
    return _finish(multiply_twice_rounded(total, p["multiplier"], p["shift"]), p)


def _pad(graph, op, p, xs):
    return np.pad(xs[0], ((0, 0), *op.attrs["pad"][1:]), constant_values=p["fill"])


def _softmax(graph, op, p, xs):
    x = xs[0].astype(np.int64)
    e = p["table"].astype(np.int64)[255 + x - x.max(axis=-1, keepdims=True)]  # Q0.31
    total = shift_right_away(e, 12).sum(axis=-1, keepdims=True)  # Q12.19
    head_room = 32 - np.frexp(total.astype(np.float64))[1].astype(np.int64)  # leading zeros of 32 bits
    scale = reciprocal_of_one_plus((total << head_room) - (1 << 31))
    y = shift_right_away(high_mul(scale, e), 12 - head_room + 31 - 8)
    return np.clip(y + INT8_MIN, INT8_MIN, INT8_MAX)


def _lookup(graph, op, p, xs):
    return p["table"][xs[0].view(np.uint8)]


def _reshape(graph, op, p, xs):
    return xs[0]


def _concat(graph, op, p, xs):
    return np.concatenate(xs, axis=op.attrs["axis"])


def _requantize(graph, op, p, xs):
    return _finish(
        multiply_twice_rounded(xs[0].astype(np.int64) - p["x_zero"], p["multiplier"], p["shift"]), p
    )


def _lite(graph, op, p, xs):
    """y and the module's output, upsampled. plain/tinytl.py has the formats."""
    s, (w1, affine1, w2, affine2) = tinytl.sizes(graph, op), (graph[name].data for name in op.inputs[2:])
    x, (h, w) = xs[1].astype(np.int64), xs[0].shape[1:3]
    pooled = _window_means(x, (2, 2), (2, 2), (0, 0, x.shape[1] % 2, x.shape[2] % 2)) - p["x_zero"]
    hidden = np.clip(_rsh(_affine(_normalized(pooled, w1, s, 0), affine1), 8), 0, 127)
    made = _rsh(_affine(_normalized(hidden, w2, s, 1), affine2), 12)
    return _finish(xs[0].astype(np.int64) + made.repeat(2, axis=1).repeat(2, axis=2)[:, :h, :w], p)


def _rsh(v, s):
    """v / 2^s to the nearest, ties up."""
    return (v + (1 << np.asarray(s, np.int64) >> 1)) >> s


def _affine(xhat, affine):
    gamma, beta = affine.astype(np.int64)
    return _rsh(gamma, 8) * xhat + _rsh(beta, 4)


def _normalized(x, w, s, i):
    """A grouped convolution's sums, normalized by groups of channels: int8 with 4 fraction bits."""
    g, norm, part = s.convs[i], s.norms[i], w.shape[-1]
    pad = (
        g["pt"],
        g["pl"],
        *(
            max(0, (g[o] - 1) * g[step] + g[k] - g[n] - g[at])
            for o, step, k, n, at in (("oh", "sh", "kh", "ih", "pt"), ("ow", "sw", "kw", "iw", "pl"))
        ),
    )
    width = g["oc"] * part // g["ic"]
    acc = 0
    for ky, kx, view in _windows(x, (g["kh"], g["kw"]), (g["sh"], g["sw"]), pad, 0):
        parts = [
            _matmul(view[..., c : c + part], w[o : o + width, ky, kx].T)
            for c, o in zip(range(0, g["ic"], part), range(0, g["oc"], width))
        ]
        acc = acc + np.concatenate(parts, axis=-1)
    a = _rsh(acc, tinytl.pre_shift(g, part, norm)).reshape(len(x), -1, g["oc"] // norm, norm)
    axes, n = (1, 3), a.shape[1] * norm
    a = a - _divide(a.sum(axes, keepdims=True), n)
    a = _rsh(
        a,
        np.maximum(
            _bits(np.abs(a).max(axes, keepdims=True)) - min(11, (29 - int(n - 1).bit_length()) >> 1), 0
        ),
    )
    squares = np.square(a).sum(axes, keepdims=True)
    up, up_n = (30 - _bits(squares)) & ~1, (30 - n.bit_length()) & ~1
    root = np.maximum(np.floor(np.sqrt(squares << up)).astype(np.int64), 1)
    scale = ((math.isqrt(n << up_n) << 15) + (root >> 1)) // root
    xhat = np.clip(_rsh(a * scale, 11 + ((up_n - up) >> 1)), -127, 127)
    return xhat.reshape(acc.shape)


def _bits(v):
    return np.frexp(v.astype(np.float64))[1].astype(np.int64)


KERNELS = {
    "conv": _conv,
    "depthwise": _depthwise,
    "dense": _dense,
    "add": _add,
    "avg_pool": _avg_pool,
    "max_pool": _max_pool,
    "mean": _mean,
    "pad": _pad,
    "reshape": _reshape,
    "softmax": _softmax,
    "relu": _lookup,
    "relu6": _lookup,
    "hard_swish": _lookup,
    "logistic": _lookup,
    "concat": _concat,
    "requantize": _requantize,
    "lite": _lite,
}
