"""A float64 model of a trunk, its head and its loss: what the gradients of the integer step should be.

Values lie on the int8 grid; rounding counts as the identity, a clamp passes where the rounded value fits.
Written with index arrays, apart from every other implementation of the operators. One sample at a time.

`Exact` backpropagates real numbers. `Same` rounds where the integer step does: multipliers of 15 bits, errors
of int8 with the exponents that the step chose. Only with `Same` can equality be asked for.
"""

import math

import numpy as np
from trimtab_tools.graph.head import COSINES
from trimtab_tools.graph.rounding import (
    act_range,
    multiply_once_rounded,
    multiply_twice_rounded,
    round_away,
)
from trimtab_tools.operators import registry


def half_up(v):
    return np.floor(np.asarray(v, np.float64) + 0.5)


def positions(size, outs, kernel, stride, before):
    """(outs, kernel): which input each tap of each output reads along one axis; -1 outside."""
    at = np.arange(outs)[:, None] * stride - before + np.arange(kernel)
    return np.where((at >= 0) & (at < size), at, -1)


class Window:
    """A sliding window: its taps as indices into the flat input, the last index meaning outside."""

    def __init__(self, x_shape, y_shape, kernel, stride, pad):
        (_, h, w, c), (_, oh, ow, _) = x_shape, y_shape
        rows = positions(h, oh, kernel[0], stride[0], pad[0])[:, None, :, None]
        cols = positions(w, ow, kernel[1], stride[1], pad[1])[None, :, None, :]
        self.taps = np.where((rows < 0) | (cols < 0), h * w, rows * w + cols).reshape(oh * ow, -1)
        self.inside = self.taps < h * w  # (outputs, taps)
        self.cells, self.channels = h * w, c

    def gather(self, x, fill=0.0):
        """(outputs, taps, channels)"""
        return np.concatenate([x.reshape(self.cells, self.channels), np.full((1, self.channels), fill)])[
            self.taps
        ]

    def scatter(self, d):
        """The transpose of gather."""
        out = np.zeros((self.cells + 1, self.channels))
        np.add.at(out, self.taps, d)
        return out[:-1]


def window(graph, op):
    x, y = graph[op.inputs[0]].shape, graph[op.outputs[0]].shape
    kernel = op.attrs["kernel"] if "kernel" in op.attrs else graph[op.inputs[1]].shape[1:3]
    return Window(x, y, kernel, op.attrs["stride"], op.attrs["pad"])


class Exact:
    """Real arithmetic."""

    def times(self, name, gy, reals, index=Ellipsis, bits=7, spare=0):
        """(gy * reals[index], unit): the error of tensor `name` times factors that share a rounding.

        They have 15 bits, or `spare` fewer.
        """
        return gy * np.atleast_1d(reals)[index], None

    def same(self, name, gy):
        """gy itself, with its unit."""
        return gy, None

    def join(self, name, parts, mask):
        """A tensor's error from (value, unit, whether only a multiple) of each consumer, the last first."""
        return mask * sum(value for value, _, _ in parts)

    def first(self, name, acc, scale, mask):
        """The error that the head sends back: acc * scale."""
        return acc * scale * mask


class Same(Exact):
    """The arithmetic of the step. exponents: {tensor: those of its parts and its error, as written}."""

    def __init__(self, exponents):
        self.left = {name: list(e) for name, e in exponents.items()}
        self.now = {}

    def times(self, name, gy, reals, index=Ellipsis, bits=7, spare=0):
        reals = np.atleast_1d(np.asarray(reals, np.float64))
        e = int(np.floor(np.log2(max(np.abs(reals).max(), 1e-30)))) - 14
        m = half_up(np.clip(np.rint(reals / 2.0**e), -32767, 32767)[index] / 2.0**spare)
        e += spare
        unit = self.now[name] + e + bits
        return half_up(gy / 2.0 ** self.now[name] * m / 2.0**bits) * 2.0**unit, unit

    def same(self, name, gy):
        return gy, self.now[name]

    def join(self, name, parts, mask):
        waiting = None
        for i, (value, unit, multiple) in enumerate(parts):
            last = i == len(parts) - 1
            if multiple and not last and waiting is None:
                waiting = value, unit
                continue
            if waiting:
                other, other_unit = waiting
                unit = max(unit, other_unit - 14)
                value = half_up(value / 2.0**unit) + half_up(other / 2.0**unit)
                value = value * 2.0**unit
            waiting = self.store(name, value * mask if last else value)
        return waiting[0]

    def store(self, name, value):
        self.now[name] = e = self.left[name].pop(0)
        return np.clip(half_up(value / 2.0**e), -127, 127) * 2.0**e, e

    def first(self, name, acc, scale, mask):
        """22 bits of acc times 8 bits of the scale."""
        acc = acc * mask
        pre = max(0, int(np.abs(acc).max()).bit_length() - 22)
        e = int(np.floor(np.log2(scale))) - 7
        m = np.rint(scale / 2.0**e)
        return self.store(name, half_up(acc / 2.0**pre) * m * 2.0 ** (pre + e))[0]


# -- operators: forward gives y before rounding and clamping; backward gives (dx, unit, whether dx is only a
#    multiple of gy) for each input, and what the gradients of weights need


def _scales(graph, op):
    x, w, y = (graph[n] for n in (*op.inputs[:2], op.outputs[0]))
    return x.scale[0] * np.asarray(w.scale) / y.scale[0]


def _weighted(columns, forward, backward):
    """A layer with weights from its columns (positions, taps, channels) and two contractions."""

    def fwd(graph, op, xs):
        acc = (
            forward(graph[op.inputs[1]].data.astype(float), columns(graph, op, xs[0])[0])
            + graph[op.inputs[2]].data
        )
        return acc * _scales(graph, op) + graph[op.outputs[0]].zero_point

    def bwd(graph, op, xs, gy, rounding):
        cols, back = columns(graph, op, xs[0])
        gy = gy.reshape(len(cols), -1)
        every = np.broadcast_to(_scales(graph, op), gy.shape[1:])
        d, unit = rounding.times(op.outputs[0], gy, every, bits=8, spare="gain" in op.attrs)
        dcols, dw = backward(graph[op.inputs[1]].data.astype(float), cols, d, gy)
        return [(back(dcols), unit, False)], {"weights": dw, "bias": gy.sum(0), "scale": every}

    return fwd, bwd


def _columns(graph, op, x):
    win = window(graph, op)
    return win.gather(x - graph[op.inputs[0]].zero_point), win.scatter


def _many(w, cols):
    return np.repeat(cols, w.shape[-1] // cols.shape[-1], axis=2)  # output c * multiplier + m reads channel c


def _conv_forward(w, cols):
    return np.einsum("ptc,otc->po", cols, w.reshape(len(w), -1, w.shape[-1]))


def _conv_backward(w, cols, d, gy):
    dw = np.einsum("po,ptc->otc", gy, cols).reshape(w.shape)
    return np.einsum("po,otc->ptc", d, w.reshape(len(w), -1, w.shape[-1])), dw


def _depthwise_forward(w, cols):
    return np.einsum("pto,to->po", _many(w, cols), w.reshape(-1, w.shape[-1]))


def _depthwise_backward(w, cols, d, gy):
    dw = np.einsum("po,pto->to", gy, _many(w, cols)).reshape(w.shape)
    dcols = d[:, None, :] * w.reshape(-1, w.shape[-1])
    return dcols.reshape(*cols.shape, -1).sum(-1), dw


def _dense_columns(graph, op, x):
    rows = (x - graph[op.inputs[0]].zero_point).reshape(-1, 1, graph[op.inputs[1]].shape[1])
    return rows, lambda d: d


def _operands(graph, op, xs):
    """Both inputs without their zero points, activations or constants, with as many axes as the output."""
    left, rank = list(xs), len(graph[op.outputs[0]].shape)
    found = [graph[n].data if graph[n].constant else left.pop(0) for n in op.inputs]
    return [
        (v - float(graph[n].zero_point)).reshape((1,) * (rank - np.ndim(v)) + np.shape(v))
        for v, n in zip(found, op.inputs)
    ]


def _summed(d, shape):
    """The transpose of what numpy does when it repeats an array of this shape."""
    shape = (1,) * (d.ndim - len(shape)) + tuple(shape)
    return d.sum(axis=tuple(i for i, n in enumerate(shape) if n == 1), keepdims=True)


def _ratios(graph, op):
    signs = (1, -1) if op.kind == "sub" else (1, 1)
    return [sign * graph[n].scale[0] / graph[op.outputs[0]].scale[0] for sign, n in zip(signs, op.inputs)]


def _add_forward(graph, op, xs):
    a, b = (v * ratio for v, ratio in zip(_operands(graph, op, xs), _ratios(graph, op)))
    return a + b + graph[op.outputs[0]].zero_point


def _add_backward(graph, op, xs, gy, rounding):
    """An input of the output's shape gets a multiple of gy; one that repeats gets a sum."""
    reals, found = _ratios(graph, op), []
    for i, name in enumerate(op.inputs):
        if graph[name].constant:
            continue
        if graph[name].size == gy.size:
            found.append((*rounding.times(op.outputs[0], gy, reals, i), True))
        else:
            d, unit = rounding.times(op.outputs[0], gy, reals[i], bits=8)
            found.append((_summed(d, graph[name].shape), unit, False))
    return found, {}


def _prelu_forward(graph, op, xs):
    x, alpha = _operands(graph, op, xs)
    scales = [graph[n].scale[0] for n in (*op.inputs, op.outputs[0])]
    slope = np.where(x < 0, alpha * scales[1], 1.0)
    return x * slope * scales[0] / scales[2] + graph[op.outputs[0]].zero_point


def _prelu_backward(graph, op, xs, gy, rounding):
    """Slopes of all channels, and 1 above zero, share a rounding."""
    x, alpha = _operands(graph, op, xs)
    sx, sa, sy = (graph[n].scale[0] for n in (*op.inputs, op.outputs[0]))
    reals = np.concatenate([[sx / sy], alpha.ravel() * sa * sx / sy])
    places = np.broadcast_to(1 + np.arange(alpha.size).reshape(alpha.shape), x.shape)
    return [(*rounding.times(op.outputs[0], gy, reals, np.where(x < 0, places, 0)), False)], {}


def _mul_ratio(graph, op):
    a, b, y = (graph[n].scale[0] for n in (*op.inputs, op.outputs[0]))
    return a * b / y


def _mul_forward(graph, op, xs):
    a, b = _operands(graph, op, xs)
    return a * b * _mul_ratio(graph, op) + graph[op.outputs[0]].zero_point


def _mul_backward(graph, op, xs, gy, rounding):
    operands, found = _operands(graph, op, xs), []
    for i, name in enumerate(op.inputs):
        if not graph[name].constant:
            d, unit = rounding.times(op.outputs[0], gy, _mul_ratio(graph, op), bits=8)
            found.append((_summed(d * operands[1 - i], graph[name].shape), unit, False))
    return found, {}


def _mean_window(graph, op):
    if op.kind == "avg_pool":
        return window(graph, op)
    x = graph[op.inputs[0]]
    n = int(np.prod([x.shape[a] for a in op.attrs["axes"]]))
    return Window((1, n, 1, x.size // n), (1, 1, 1, x.size // n), (n, 1), (1, 1), (0, 0))


def _mean_forward(graph, op, xs):
    x, y, win = graph[op.inputs[0]], graph[op.outputs[0]], _mean_window(graph, op)
    mean = win.gather(xs[0] - x.zero_point).sum(1) / win.inside.sum(1)[:, None]
    return mean * x.scale[0] / y.scale[0] + y.zero_point


def _mean_backward(graph, op, xs, gy, rounding):
    win = _mean_window(graph, op)
    ratio = graph[op.inputs[0]].scale[0] / graph[op.outputs[0]].scale[0]
    counts = win.inside.sum(1)
    reals = np.array([ratio]) if op.kind == "mean" else ratio / np.arange(1, win.inside.shape[1] + 1)
    if op.kind == "mean":
        reals, counts = reals / counts[0], counts * 0 + 1
    d, unit = rounding.times(op.outputs[0], gy.reshape(len(counts), -1), reals, (counts - 1)[:, None])
    return [(win.scatter(np.repeat(d[:, None, :], win.taps.shape[1], axis=1)), unit, False)], {}


def _max_forward(graph, op, xs):
    return window(graph, op).gather(xs[0], -np.inf).max(1)


def _max_backward(graph, op, xs, gy, rounding):
    win = window(graph, op)
    cols = win.gather(xs[0], -np.inf)
    first = np.arange(cols.shape[1])[None, :, None] == cols.argmax(1)[:, None, :]
    d, unit = rounding.same(op.outputs[0], gy.reshape(len(cols), 1, -1))
    return [(win.scatter(first * d), unit, False)], {}


def sigmoid(v):
    return 1 / (1 + np.exp(-v))


def normal(v):
    """The probability that a normal number lies below v."""
    return np.vectorize(lambda x: 0.5 + 0.5 * math.erf(x / 2**0.5))(v)


def _bent(v):
    return 0.7978845608028654 * (v + 0.044715 * v**3)


CURVES = {  # the function, and its slope
    "relu": (lambda v: np.maximum(v, 0), lambda v: (v > 0) * 1.0),
    "relu6": (lambda v: np.minimum(np.maximum(v, 0), 6), lambda v: ((v > 0) & (v < 6)) * 1.0),
    "hard_swish": (
        lambda v: v * np.clip(v + 3, 0, 6) / 6,
        lambda v: np.where(v < 3, (v > -3) * (2 * v + 3) / 6, 1.0),
    ),
    "logistic": (sigmoid, lambda v: sigmoid(v) * sigmoid(-v)),
    "tanh": (np.tanh, lambda v: 1 / np.cosh(v) ** 2),
    "elu": (
        lambda v: np.where(v < 0, np.exp(-np.abs(v)) - 1, v),
        lambda v: np.where(v < 0, np.exp(-np.abs(v)), 1.0),
    ),
    "gelu": (lambda v: v * normal(v), lambda v: normal(v) + v * np.exp(-v * v / 2) / np.sqrt(2 * np.pi)),
    "gelu_tanh": (  # 1 + tanh(t) is twice the sigmoid of 2t
        lambda v: v * sigmoid(2 * _bent(v)),
        lambda v: (
            sigmoid(2 * _bent(v))
            + 2
            * v
            * sigmoid(2 * _bent(v))
            * sigmoid(-2 * _bent(v))
            * (1 + 0.134145 * v * v)
            * 0.7978845608028654
        ),
    ),
}
SMOOTH = (*CURVES, "leaky_relu", "minimum", "maximum")


def curve(op):
    """Function and slope of an operator of one input."""
    if op.kind in ("minimum", "maximum"):
        bound, passes = op.attrs["bound"], np.less if op.kind == "minimum" else np.greater
        return (lambda v: np.where(passes(v, bound), v, bound)), (lambda v: passes(v, bound) * 1.0)
    if op.kind == "leaky_relu":
        alpha = op.attrs["alpha"]
        return (lambda v: v * np.where(v < 0, alpha, 1)), (lambda v: np.where(v < 0, alpha, 1))
    return CURVES["gelu_tanh" if op.attrs.get("approximate") else op.kind]


def _curve_forward(graph, op, xs):
    x, y = graph[op.inputs[0]], graph[op.outputs[0]]
    return curve(op)[0]((xs[0] - x.zero_point) * x.scale[0]) / y.scale[0] + y.zero_point


def _curve_backward(graph, op, xs, gy, rounding):
    """Slopes at all 256 inputs share a rounding; 0 where the output does not fit int8."""
    x, y = graph[op.inputs[0]], graph[op.outputs[0]]
    levels = np.arange(-128, 128)
    out = _curve_forward(graph, op, [levels])
    slope = curve(op)[1]((levels - x.zero_point) * x.scale[0]) * x.scale[0] / y.scale[0]
    slope = np.where((out < -128.5) | (out > 127.5), 0, slope)
    return [(*rounding.times(op.outputs[0], gy, slope, xs[0].astype(int) + 128), False)], {}


def _step_backward(graph, op, xs, gy, rounding):
    """The slope is 1 wherever the input is at least zero: that is in the mask of the output."""
    ratio = graph[op.inputs[0]].scale[0] / graph[op.outputs[0]].scale[0]
    return [(*rounding.times(op.outputs[0], gy, [ratio]), True)], {}


def _requantize_forward(graph, op, xs):
    x, y = graph[op.inputs[0]], graph[op.outputs[0]]
    return (xs[0] - x.zero_point) * x.scale[0] / y.scale[0] + y.zero_point


def _requantize_backward(graph, op, xs, gy, rounding):
    ratio = graph[op.inputs[0]].scale[0] / graph[op.outputs[0]].scale[0]
    return [(*rounding.times(op.outputs[0], gy, [ratio]), True)], {}


def _moved(move):
    """Operators that only move values: move(graph, op, xs) acts on numbers and on their places alike."""

    def fwd(graph, op, xs):
        return move(graph, op, xs, graph[op.outputs[0]].zero_point)

    def bwd(graph, op, xs, gy, rounding):
        ends = np.cumsum([x.size for x in xs])
        places = [np.arange(end - x.size, end).reshape(x.shape) for x, end in zip(xs, ends)]
        places = move(graph, op, places, -1).ravel()
        flat = np.zeros(ends[-1])
        flat[places[places >= 0]] = gy.ravel()[places >= 0]
        parts = np.split(flat, ends[:-1])
        unit = rounding.same(op.outputs[0], gy)[1]
        return [(part, unit, False) for part in parts], {}

    return fwd, bwd


OPERATORS = {
    "conv": _weighted(_columns, _conv_forward, _conv_backward),
    "depthwise": _weighted(_columns, _depthwise_forward, _depthwise_backward),
    "dense": _weighted(_dense_columns, _conv_forward, _conv_backward),
    "add": (_add_forward, _add_backward),
    "sub": (_add_forward, _add_backward),
    "mul": (_mul_forward, _mul_backward),
    "prelu": (_prelu_forward, _prelu_backward),
    "avg_pool": (_mean_forward, _mean_backward),
    "mean": (_mean_forward, _mean_backward),
    "max_pool": (_max_forward, _max_backward),
    **{kind: (_curve_forward, _curve_backward) for kind in SMOOTH},
    "requantize": (_requantize_forward, _requantize_backward),
    "pad": _moved(lambda graph, op, xs, fill: np.pad(xs[0], op.attrs["pad"], constant_values=fill)),
    "slice": _moved(
        lambda graph, op, xs, fill: xs[0][0][
            tuple(slice(b, b + n) for b, n in zip(op.attrs["begin"], graph[op.outputs[0]].shape[1:]))
        ]
    ),
    "transpose": _moved(lambda graph, op, xs, fill: xs[0].transpose(op.attrs["order"])),
    "concat": _moved(lambda graph, op, xs, fill: np.concatenate(xs, op.attrs["axis"])),
}
CLAMPED = (
    "conv",
    "depthwise",
    "dense",
    "add",
    "sub",
    "mul",
    "prelu",
    "mean",
    "requantize",
)  # the others end within int8 by themselves


class Trace:
    """One sample through the trunk: `values` of every tensor and, where it was clamped, what passed."""

    def __init__(self, graph, x, before=None, rounded=True):
        """before(graph, op, xs): the step's integers before clamping, to equal it; else this model's own."""
        self.graph, self.masks, self.alias = graph, {}, {}
        self.values = {graph.inputs[0]: np.asarray(x, np.float64).reshape(graph[graph.inputs[0]].shape)}
        for op in graph.ops:
            name, xs = op.outputs[0], [self.values[n] for n in self.reads(op)]
            if op.kind == "reshape":
                self.alias[name] = self.root(op.inputs[0])
                self.values[name] = xs[0].reshape(graph[name].shape)
                continue
            y = OPERATORS[op.kind][0](graph, op, xs)
            if before:
                y = before(graph, op, xs)
            if rounded:
                y = round_away(y)
            low, high = act_range(op.attrs.get("act", "none"), graph[name].scale[0], graph[name].zero_point)
            y = y.reshape(graph[name].shape)
            if op.kind in CLAMPED or self.stepped(op):
                self.masks[name] = self.passed(op, xs, y, low, high)
            self.values[name] = np.clip(y, low, high)

    def stepped(self, op):
        """Whether backward takes this operator's activation, or the one behind it, for a step (MobileTL)."""
        return "slope" in op.attrs

    def passed(self, op, xs, y, low, high):
        """Where an error passes. An error that a step hides or lets through knows no other clamp."""
        if not self.stepped(op):
            return (low <= y) & (y <= high)
        if op.kind in CURVES:
            return xs[0].reshape(y.shape) >= self.graph[op.inputs[0]].zero_point
        readers = self.graph.consumers(op.outputs[0])
        if op.attrs["act"] == "none" and readers and all(r.kind in CURVES for r in readers):
            return np.ones(y.shape, bool)
        return (low <= y) & ((y <= high) | (op.attrs["act"] != "none"))

    def root(self, name):
        """A reshape's output is its input under another name."""
        return self.alias.get(name, name)

    def reads(self, op):
        return [n for n in op.inputs if n and not self.graph[n].constant]

    def mask(self, name):
        return self.masks.get(name, np.ones(self.graph[name].shape))

    def backward(self, name, error, rounding, wanted=None):
        """({tensor: dL/dtensor before its clamp}, {layer: weights, bias}) from the error of tensor `name`."""
        wanted = set(self.values) - {self.graph.inputs[0]} if wanted is None else wanted
        parts, errors, layers = {}, {self.root(name): error}, {}
        for op in reversed(self.graph.ops):
            out = self.root(op.outputs[0])
            if op.kind == "reshape":
                continue
            if out not in errors and out in parts:
                errors[out] = self.join(out, parts[out], rounding)
            if out not in errors:
                continue
            reads = self.reads(op)
            gy = errors[out].reshape(self.graph[op.outputs[0]].shape)
            backward = _step_backward if op.kind in CURVES and self.stepped(op) else OPERATORS[op.kind][1]
            dxs, about = backward(self.graph, op, [self.values[n] for n in reads], gy, rounding)
            for n, (dx, unit, multiple) in zip(reads, dxs):
                n = self.root(n)
                if n in wanted:
                    parts.setdefault(n, []).append((dx.reshape(self.graph[n].shape), unit, multiple))
            if about:
                layers[op.name] = about
                y = self.values[op.outputs[0]] - self.graph[op.outputs[0]].zero_point
                about["gain"] = (gy * y).reshape(-1, gy.shape[-1]).sum(0)
        return errors, layers

    def join(self, name, parts, rounding):
        return rounding.join(name, parts, self.mask(name))


def accumulators(graph, op, x):
    """Sums of a layer with weights, without its bias: (positions, channels)."""
    columns, contract = (
        _dense_columns if op.kind == "dense" else _columns,
        _depthwise_forward if op.kind == "depthwise" else _conv_forward,
    )
    return contract(graph[op.inputs[1]].data.astype(float), columns(graph, op, x.astype(float))[0])


def weight_sums(graph, op, x, gy):
    """Sums of gy * (x - zero point) for each weight."""
    columns, contract = (
        _dense_columns if op.kind == "dense" else _columns,
        _depthwise_backward if op.kind == "depthwise" else _conv_backward,
    )
    cols = columns(graph, op, x.astype(float))[0]
    gy = gy.reshape(len(cols), -1)
    return contract(graph[op.inputs[1]].data.astype(float), cols, gy, gy)[1]


def integers_before_clamp(graph, op, xs):
    """What TensorFlow Lite's kernel has before it clamps, for the operators in CLAMPED; else its output."""
    p = registry.params(graph, op)
    if op.kind not in CLAMPED:
        return registry.row(op).oracle(graph, op, p, [x.astype(np.int8) for x in xs]).astype(np.float64)
    xs = [x.astype(np.int64) for x in xs]
    if op.kind in ("add", "sub"):
        m, s = p["multiplier"], p["shift"]
        a, b = (
            multiply_twice_rounded(v.astype(np.int64) << 20, m[i], s[i])
            for i, v in enumerate(_operands(graph, op, xs))
        )
        acc, m, s = a - b if op.kind == "sub" else a + b, m[2], s[2]
    elif op.kind == "prelu":
        x, alpha = (v.astype(np.int64) for v in _operands(graph, op, xs))
        m, s = p["multiplier"], p["shift"]
        sides = multiply_twice_rounded(x, m[0], s[0]), multiply_twice_rounded(x * alpha, m[1], s[1])
        return (np.where(x < 0, sides[1], sides[0]) + p["y_zero"]).astype(np.float64)
    elif op.kind == "mul":
        a, b = _operands(graph, op, xs)
        acc, m, s = (a * b).astype(np.int64), p["multiplier"], p["shift"]
    else:
        m, s = p["multiplier"], p["shift"]
        if op.kind == "mean":
            acc = (xs[0] - p["x_zero"]).sum(axis=tuple(op.attrs["axes"]))
        elif op.kind == "requantize":
            acc = xs[0] - p["x_zero"]
        else:
            acc = np.rint(accumulators(graph, op, xs[0])).astype(np.int64) + graph[op.inputs[2]].data
    rule = multiply_once_rounded if op.kind == "dense" else multiply_twice_rounded
    return (rule(acc, m, s) + p["y_zero"]).astype(np.float64)


# -- losses


def probabilities(graph, head, weights, bias, x):
    f = graph[head.features]
    logits = weights / 4096 @ ((x.ravel() - f.zero_point) * f.scale[0]) + bias / 65536
    p = np.exp(logits - logits.max())
    return p / p.sum()


def softmax_error(trace, head, weights, bias, label):
    """(loss, p - y, dL/dfeatures before its clamp). A prototype head gives prototypes and counts."""
    x = trace.values[head.features]
    if head.kind == "prototype":
        return cosine_error(trace, head, weights / 16384, label)
    p = probabilities(trace.graph, head, weights, bias, x)
    err = p - (np.arange(len(p)) == label)
    error = (weights / 4096 * trace.graph[head.features].scale[0]).T @ err
    return (
        -np.log(p[label]),
        err,
        error.reshape(x.shape) * trace.mask(trace.root(head.features)).reshape(x.shape),
    )


def cosine_error(trace, head, prototypes, label):
    """The same for a softmax over cosines, all classes enrolled."""
    x = trace.values[head.features]
    v = x.ravel() - trace.graph[head.features].zero_point
    norm = np.linalg.norm(v)
    cosines = prototypes @ v / norm
    p = np.exp(COSINES * (cosines - cosines.max()))
    p /= p.sum()
    err = p - (np.arange(len(p)) == label)
    error = COSINES / norm * (prototypes - np.outer(cosines, v / norm)).T @ err
    mask = trace.mask(trace.root(head.features))
    return -np.log(p[label]), err, error.reshape(x.shape) * mask.reshape(x.shape)


def squared_error(trace, target):
    """Half the squared steps times 2^round(2 log2 scale), error within +-127 steps: (loss, dL/doutput)."""
    name = trace.graph.outputs[0]
    y = trace.values[name]
    unit = 2.0 ** round(2 * np.log2(trace.graph[name].scale[0]))
    steps = y - np.asarray(target).reshape(y.shape)
    error = np.clip(steps, -127, 127) * trace.mask(trace.root(name)).reshape(y.shape)
    return 0.5 * unit * (steps**2).sum(), error * unit
