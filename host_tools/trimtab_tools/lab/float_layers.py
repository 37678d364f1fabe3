"""The layers of the float twin.

forward gives int8 and keeps what backward needs. backward updates the layer and gives the errors of its
inputs.
"""

import numpy as np

from ..errors import ModelError
from ..graph.ir import Graph, Op
from ..graph.rounding import multiply_once_rounded, multiply_twice_rounded
from ..operators.registry import OPERATORS, params
from ..operators.weighted import scales
from ..policies.plan import Update

BIAS_BOUND = 1 << 29  # trained biases stay within it, as on a board


class Layer:
    """One operator."""

    wanted: list[bool]  # is the error of this input wanted? The twin sets it
    learns: bool  # does backward have anything to do? The twin sets it

    def __init__(self, graph: Graph, op: Op, inputs: list[str], update: Update | None, qas: bool):
        self.graph, self.op, self.inputs, self.update = graph, op, inputs, update
        self.output, self.p = op.outputs[0], params(graph, op)

    def forward(self, xs: list[np.ndarray]) -> np.ndarray:
        """int8 output (n, ...) of int8 inputs."""
        raise NotImplementedError

    def backward(self, gy: np.ndarray, rate: float) -> list[np.ndarray | None]:
        """The errors of the inputs from that of the output, of one sample."""
        raise NotImplementedError

    def finish(self, y: np.ndarray) -> np.ndarray:
        """int8 of values that are not clamped yet. The mask remembers where they fit: there errors pass."""
        y = y + self.p["y_zero"]
        self.mask = (y >= self.p["act_min"]) & (y <= self.p["act_max"])
        return np.clip(y, self.p["act_min"], self.p["act_max"]).astype(np.int8)


class Weighted(Layer):
    """conv, depthwise, dense.

    Real weights are counted in steps of int8, real biases in steps of int32. Quantization-aware scaling
    (QAS) divides the gradients by the squares of the scales.
    """

    def __init__(self, graph, op, inputs, update, qas):
        super().__init__(graph, op, inputs, update, qas)
        sx, sw, sy = scales(graph, op)
        self.scale = sx * sw / sy  # steps of y for one step of the accumulator, by output channel
        alive = sw >= np.median(sw) / 1000  # a channel of almost no scale would get an enormous gradient
        self.gain_w = self.scale * alive / (sw**2 if qas else 1)
        self.gain_b = self.scale * alive / ((sw * sx) ** 2 if qas else 1)
        self.w = graph[op.inputs[1]].data.astype(float)
        self.b = graph[op.inputs[2]].data.astype(float)
        if update and update.bias:
            self.b = np.clip(self.b, -BIAS_BOUND, BIAS_BOUND)
        self.kept = list(update.channels) if update else []
        self.round()

    def round(self) -> None:
        """The integers of the next forward pass."""
        self.w8, self.b32 = np.rint(self.w), np.rint(self.b)

    def forward(self, xs):
        self.x = xs[0].astype(float) - self.p["x_zero"]
        acc = np.rint(self.accumulate(self.x) + self.b32).astype(np.int64)
        rounding = multiply_once_rounded if self.op.kind == "dense" else multiply_twice_rounded
        return self.finish(rounding(acc, self.p["multiplier"], self.p["shift"]))

    def backward(self, gy, rate):
        g = gy.reshape(self.mask.shape) * self.mask
        dx = self.error(g * self.scale) if self.wanted[0] else None
        if self.kept:
            self.learn(g, rate)
            self.w[..., self.kept] = np.clip(self.w[..., self.kept], -127, 127)
        if self.update and self.update.bias:
            moved = self.b - rate * self.gain_b * g.reshape(-1, len(self.b)).sum(0)
            self.b = np.clip(moved, -BIAS_BOUND, BIAS_BOUND)
        if self.update:
            self.round()
        return [dx]


class Conv(Weighted):
    def __init__(self, graph, op, inputs, update, qas):
        super().__init__(graph, op, inputs, update, qas)
        (_, kh, kw, _), (_, oh, ow, _) = self.w.shape, graph[self.output].shape
        self.seen = [
            (ky, kx, slice(ky, ky + (oh - 1) * sh + 1, sh), slice(kx, kx + (ow - 1) * sw + 1, sw))
            for sh, sw in (op.attrs["stride"],)
            for ky in range(kh)
            for kx in range(kw)
        ]

    def taps(self, x):
        """Each tap of the kernel, with the inputs (n, oh, ow, c) that it sees."""
        top, left, bottom, right = self.op.attrs["pad"]
        x = np.pad(x, ((0, 0), (top, bottom), (left, right), (0, 0))) if any(self.op.attrs["pad"]) else x
        for ky, kx, rows, cols in self.seen:
            yield ky, kx, x[:, rows, cols]

    def error(self, d):
        """The error of the input: each tap hands back its share to where it looked."""
        top, left, bottom, right = self.op.attrs["pad"]
        n, h, w, c = self.x.shape
        dx = np.zeros((n, h + top + bottom, w + left + right, c))
        for ky, kx, rows, cols in self.seen:
            dx[:, rows, cols] += self.hand_back(d, ky, kx)
        return dx[:, top : top + h, left : left + w]

    def accumulate(self, x):
        return sum(view @ self.w8[:, ky, kx].T for ky, kx, view in self.taps(x))

    def hand_back(self, d, ky, kx):
        return d @ self.w8[:, ky, kx]

    def learn(self, g, rate):
        rows = rate * (g * self.gain_w).reshape(-1, g.shape[-1]).T
        for ky, kx, view in self.taps(self.x[..., self.kept]):
            self.w[:, ky, kx, self.kept] -= rows @ view.reshape(-1, len(self.kept))


class Depthwise(Conv):
    def __init__(self, graph, op, inputs, update, qas):
        super().__init__(graph, op, inputs, update, qas)
        if self.w.shape[-1] != graph[op.inputs[0]].shape[-1]:
            raise ModelError(
                f"layer {op.name}: the float twin knows no depth multiplier: compare another network"
            )

    def accumulate(self, x):
        return sum(view * self.w8[0, ky, kx] for ky, kx, view in self.taps(x))

    def hand_back(self, d, ky, kx):
        return d * self.w8[0, ky, kx]

    def learn(self, g, rate):
        g = rate * (g * self.gain_w)[..., self.kept]
        for ky, kx, view in self.taps(self.x[..., self.kept]):
            self.w[0, ky, kx, self.kept] -= (g * view).sum((0, 1, 2))


class Dense(Weighted):
    def accumulate(self, x):
        return x.reshape(-1, self.w.shape[1]) @ self.w8.T

    def error(self, d):
        return (d.reshape(-1, len(self.w8)) @ self.w8).reshape(self.x.shape)

    def learn(self, g, rate):
        rows, x = (g * self.gain_w).reshape(-1, len(self.w)), self.x.reshape(-1, self.w.shape[1])
        self.w[:, self.kept] -= rate * (rows.T @ x[:, self.kept])


class Fixed(Layer):
    """Nothing to train: the oracle's kernel without its clamp, so that the mask can see what the clamp
    does.
    """

    def forward(self, xs):
        self.shape = xs[0].shape
        free = {**self.p, "act_min": -(1 << 20), "act_max": 1 << 20}
        y = OPERATORS[self.op.kind].oracle(self.graph, self.op, free, xs) - free.get("y_zero", 0)
        shape = self.graph[self.output].shape[1:]
        return self.finish(y.reshape(len(y), *shape))

    def ratio(self, name):
        return self.graph[name].scale[0] / self.graph[self.output].scale[0]


class Add(Fixed):
    def backward(self, gy, rate):
        g = gy.reshape(self.mask.shape) * self.mask
        return [g * self.ratio(name) for name in self.inputs]


class Mean(Fixed):
    """mean, and an average pool over the whole picture."""

    def __init__(self, graph, op, inputs, update, qas):
        super().__init__(graph, op, inputs, update, qas)
        shape = graph[op.inputs[0]].shape
        if op.kind == "avg_pool" and tuple(op.attrs["kernel"]) != tuple(shape[1:3]):
            raise ModelError(
                f"layer {op.name}: the float twin knows only global average pools: compare another network"
            )
        self.p.setdefault("y_zero", 0)
        self.count = shape[1] * shape[2]

    def backward(self, gy, rate):
        g = (gy.reshape(self.mask.shape) * self.mask).reshape(1, 1, 1, -1)
        return [np.broadcast_to(g * self.ratio(self.inputs[0]) / self.count, self.shape)]


LAYERS = {
    "conv": Conv,
    "depthwise": Depthwise,
    "dense": Dense,
    "add": Add,
    "mean": Mean,
    "avg_pool": Mean,
}
