"""The layers of the float twin.

forward returns int8 and keeps what backward needs. backward updates the layer and returns the errors of its
inputs.
"""

from collections.abc import Iterator, Sequence

import numpy as np

from ..errors import ModelError
from ..graph.ir import Graph, Op
from ..graph.rounding import multiply_once_rounded, multiply_twice_rounded
from ..operators.registry import OPERATORS, params
from ..operators.weighted import scales
from ..policies.plan import Update

BIAS_BOUND = 1 << 29  # trained biases stay within it, as on a board
ZERO = np.zeros(())  # where a sum of arrays starts


class Layer:
    """One operator."""

    wanted: list[bool]  # is the error of this input wanted? The twin sets it
    learns: bool  # does backward have anything to do? The twin sets it

    def __init__(self, graph: Graph, op: Op, inputs: list[str], update: Update | None, qas: bool):
        self.graph, self.op, self.inputs, self.update = graph, op, inputs, update
        self.output, self.p = op.outputs[0], params(graph, op)
        self.prepare(qas)

    def prepare(self, qas: bool) -> None:
        """Compute what stays the same in all steps, and the weights to start from."""

    def forward(self, xs: Sequence[np.ndarray]) -> np.ndarray:
        """int8 output (n, ...) of int8 inputs."""
        raise NotImplementedError

    def backward(self, gy: np.ndarray, rate: float) -> list[np.ndarray | None]:
        """The errors of the inputs of one sample, from the error of its output."""
        raise NotImplementedError

    def constant(self, i: int) -> np.ndarray:
        """Input i of the operator, which is a constant."""
        data = self.graph[self.op.inputs[i]].data
        assert data is not None, "weights and biases are constants"
        return data

    def scale_of(self, name: str) -> float:
        """The scale of an activation."""
        scale = self.graph[name].scale
        assert scale is not None, "an activation has a scale"
        return scale[0]

    def finish(self, y: np.ndarray) -> np.ndarray:
        """Clamp values to int8. The mask remembers which of them fit: errors pass there."""
        y = y + self.p["y_zero"]
        self.mask = (y >= self.p["act_min"]) & (y <= self.p["act_max"])
        return np.clip(y, self.p["act_min"], self.p["act_max"]).astype(np.int8)


class Weighted(Layer):
    """conv, depthwise, dense.

    The unit of real weights is a step of int8, that of real biases a step of int32. Quantization-aware
    scaling (QAS) divides the gradients by the squares of the scales.
    """

    def prepare(self, qas: bool) -> None:
        sx, sw, sy = scales(self.graph, self.op)
        self.scale = sx * sw / sy  # steps of y for one step of the accumulator, by output channel
        alive = sw >= np.median(sw) / 1000  # a channel of almost no scale would get an enormous gradient
        self.gain_w = self.scale * alive / (sw**2 if qas else 1)
        self.gain_b = self.scale * alive / ((sw * sx) ** 2 if qas else 1)
        self.w, self.b = self.constant(1).astype(float), self.constant(2).astype(float)
        if self.update and self.update.bias:
            self.b = np.clip(self.b, -BIAS_BOUND, BIAS_BOUND)
        self.kept = list(self.update.channels) if self.update else []
        self.round()

    def accumulate(self, x: np.ndarray) -> np.ndarray:
        """The sums of products of every output, without the bias."""
        raise NotImplementedError

    def error(self, d: np.ndarray) -> np.ndarray:
        """The error of the input from that of the sums."""
        raise NotImplementedError

    def learn(self, g: np.ndarray, rate: float) -> None:
        """Move the weights of the trained channels, given the error of the output."""
        raise NotImplementedError

    def round(self) -> None:
        """The integers of the next forward pass."""
        self.w8, self.b32 = np.rint(self.w), np.rint(self.b)

    def forward(self, xs: Sequence[np.ndarray]) -> np.ndarray:
        self.x = xs[0].astype(float) - self.p["x_zero"]
        acc = np.rint(self.accumulate(self.x) + self.b32).astype(np.int64)
        rounding = multiply_once_rounded if self.op.kind == "dense" else multiply_twice_rounded
        return self.finish(rounding(acc, self.p["multiplier"], self.p["shift"]))

    def backward(self, gy: np.ndarray, rate: float) -> list[np.ndarray | None]:
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
    def prepare(self, qas: bool) -> None:
        super().prepare(qas)
        (_, kh, kw, _), (_, oh, ow, _) = self.w.shape, self.graph[self.output].shape
        self.seen = [
            (ky, kx, slice(ky, ky + (oh - 1) * sh + 1, sh), slice(kx, kx + (ow - 1) * sw + 1, sw))
            for sh, sw in (self.op.attrs["stride"],)
            for ky in range(kh)
            for kx in range(kw)
        ]

    def taps(self, x: np.ndarray) -> Iterator[tuple[int, int, np.ndarray]]:
        """(row, column, inputs) of each tap of the kernel; it sees inputs of shape (n, oh, ow, c)."""
        top, left, bottom, right = self.op.attrs["pad"]
        x = np.pad(x, ((0, 0), (top, bottom), (left, right), (0, 0))) if any(self.op.attrs["pad"]) else x
        for ky, kx, rows, cols in self.seen:
            yield ky, kx, x[:, rows, cols]

    def error(self, d: np.ndarray) -> np.ndarray:
        """Each tap hands its share of the error back to the inputs that it saw."""
        top, left, bottom, right = self.op.attrs["pad"]
        n, h, w, c = self.x.shape
        dx = np.zeros((n, h + top + bottom, w + left + right, c))
        for ky, kx, rows, cols in self.seen:
            dx[:, rows, cols] += self.hand_back(d, ky, kx)
        return dx[:, top : top + h, left : left + w]

    def accumulate(self, x: np.ndarray) -> np.ndarray:
        return sum((view @ self.w8[:, ky, kx].T for ky, kx, view in self.taps(x)), start=ZERO)

    def hand_back(self, d: np.ndarray, ky: int, kx: int) -> np.ndarray:
        """The error that one tap hands back."""
        return d @ self.w8[:, ky, kx]

    def learn(self, g: np.ndarray, rate: float) -> None:
        rows = rate * (g * self.gain_w).reshape(-1, g.shape[-1]).T
        for ky, kx, view in self.taps(self.x[..., self.kept]):
            self.w[:, ky, kx, self.kept] -= rows @ view.reshape(-1, len(self.kept))


class Depthwise(Conv):
    def prepare(self, qas: bool) -> None:
        super().prepare(qas)
        if self.w.shape[-1] != self.graph[self.op.inputs[0]].shape[-1]:
            raise ModelError(
                f"layer {self.op.name}: the float twin knows no depth multiplier: compare another network"
            )

    def accumulate(self, x: np.ndarray) -> np.ndarray:
        return sum((view * self.w8[0, ky, kx] for ky, kx, view in self.taps(x)), start=ZERO)

    def hand_back(self, d: np.ndarray, ky: int, kx: int) -> np.ndarray:
        return d * self.w8[0, ky, kx]

    def learn(self, g: np.ndarray, rate: float) -> None:
        g = rate * (g * self.gain_w)[..., self.kept]
        for ky, kx, view in self.taps(self.x[..., self.kept]):
            self.w[0, ky, kx, self.kept] -= (g * view).sum((0, 1, 2))


class Dense(Weighted):
    def accumulate(self, x: np.ndarray) -> np.ndarray:
        y = x.reshape(-1, self.w.shape[1]) @ self.w8.T
        return y.reshape(len(x), *self.graph[self.output].shape[1:])

    def error(self, d: np.ndarray) -> np.ndarray:
        return (d.reshape(-1, len(self.w8)) @ self.w8).reshape(self.x.shape)

    def learn(self, g: np.ndarray, rate: float) -> None:
        rows, x = (g * self.gain_w).reshape(-1, len(self.w)), self.x.reshape(-1, self.w.shape[1])
        self.w[:, self.kept] -= rate * (rows.T @ x[:, self.kept])


class Fixed(Layer):
    """An operator without weights. It runs the oracle without its clamp: the mask needs values before it."""

    def forward(self, xs: Sequence[np.ndarray]) -> np.ndarray:
        self.shape = xs[0].shape
        free = {**self.p, "act_min": -(1 << 20), "act_max": 1 << 20}
        y = OPERATORS[self.op.kind].oracle(self.graph, self.op, free, xs) - free.get("y_zero", 0)
        shape = self.graph[self.output].shape[1:]
        return self.finish(y.reshape(len(y), *shape))

    def ratio(self, name: str) -> float:
        """The scale of an input over that of the output."""
        return self.scale_of(name) / self.scale_of(self.output)


class Add(Fixed):
    def prepare(self, qas: bool) -> None:
        tensors = [self.graph[name] for name in (*self.op.inputs, self.output)]
        if len({t.size for t in tensors}) > 1 or any(t.constant for t in tensors):
            raise ModelError(
                f"layer {self.op.name}: the float twin adds tensors of one shape: compare another network"
            )

    def backward(self, gy: np.ndarray, rate: float) -> list[np.ndarray | None]:
        g = gy.reshape(self.mask.shape) * self.mask
        return [g * self.ratio(name) for name in self.inputs]


class Mean(Fixed):
    """mean, and an average pool over the whole picture."""

    def prepare(self, qas: bool) -> None:
        op, shape = self.op, self.graph[self.op.inputs[0]].shape
        if op.kind == "mean" and (len(shape), op.attrs["axes"]) != (4, (1, 2)):
            raise ModelError(
                f"layer {op.name}: the float twin knows only means of pictures: compare another network"
            )
        if op.kind == "avg_pool" and tuple(op.attrs["kernel"]) != tuple(shape[1:3]):
            raise ModelError(
                f"layer {op.name}: the float twin knows only global average pools: compare another network"
            )
        self.p.setdefault("y_zero", 0)
        self.count = shape[1] * shape[2]

    def backward(self, gy: np.ndarray, rate: float) -> list[np.ndarray | None]:
        g = (gy.reshape(self.mask.shape) * self.mask).reshape(1, 1, 1, -1)
        return [np.broadcast_to(g * self.ratio(self.inputs[0]) / self.count, self.shape)]


LAYERS: dict[str, type[Layer]] = {
    "conv": Conv,
    "depthwise": Depthwise,
    "dense": Dense,
    "add": Add,
    "mean": Mean,
    "avg_pool": Mean,
}
