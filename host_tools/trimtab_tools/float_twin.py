"""The float twin of the training step: the same int8 forward pass, gradients and weights in real numbers.

What training in integers costs is the difference between a trial and its twin. Real weights stand behind the
int8 ones, which are these rounded; rounding counts as the identity, a clamp passes what fits. One sample at a
time.
"""

import time

import numpy as np

from .autodiff import COSINE
from .ir import ModelError
from .ops import scales
from .quantize import multiply_once_rounded, multiply_twice_rounded, params
from .reference import KERNELS


def train(prepared, trial, step):
    """The result of a trial in real arithmetic; trial.twin is "qas", or "plain" for gradients without QAS."""
    from .experiment import accuracy, compile_trial, schedule

    made = compile_trial(prepared, trial)
    latent = made.program.latent.name if made.program.latent else prepared.graph.inputs[0]
    twin = Twin(made.trunk, made.plan, latent, trial.twin == "qas")
    n, rate = len(prepared.y), made.plan.rate
    train, test = prepared.at(latent)
    started, losses = time.monotonic(), []
    total = trial.epochs * n
    for epoch, samples in enumerate(schedule(n, len(train), trial)):
        loss = 0
        for i, (view, at) in enumerate(samples):
            now = epoch * n + i
            loss += twin.step(train[view, at], prepared.y[at], rate * COSINE[now * 64 // total] / 32767)
            step(now + 1, total)
        losses.append(round(float(loss) / n, 4))
    return {
        "test": accuracy(twin.classes(test), prepared.y_test),
        "train": accuracy(twin.classes(train[0, ::4]), prepared.y[::4]),
        "losses": losses,
        "seconds": round(time.monotonic() - started, 1),
    }


class Twin:
    """The part of a trunk behind one tensor, with a head of zeros."""

    def __init__(self, trunk, plan, start, qas=True):
        self.graph, self.start = trunk, start
        known, self.alias = {start}, {}
        self.layers = []
        for op in trunk.ops:
            inputs = [self.root(name) for name in op.inputs if name and not trunk[name].constant]
            if not known.issuperset(inputs):
                continue
            known.update(op.outputs)
            if op.kind == "reshape":
                self.alias[op.outputs[0]] = inputs[0]
            elif op.kind in LAYERS:
                self.layers.append(LAYERS[op.kind](trunk, op, inputs, plan.of(op.name), qas))
            else:
                raise ModelError(
                    f"layer {op.name}: the float twin knows no {op.kind}: compare another network"
                )
        learned = set()
        for layer in self.layers:
            layer.wanted = [name in learned for name in layer.inputs]
            layer.learns = layer.update is not None or any(layer.wanted)
            learned.update([layer.output] * layer.learns)
        self.features = self.root(plan.head.features)
        f = trunk[self.features]
        self.scale, self.zero = f.scale[0], f.zero_point
        self.w, self.b = np.zeros((plan.head.classes, f.size)), np.zeros(plan.head.classes)

    def root(self, name):
        return self.alias.get(name, name)

    def step(self, x, label, rate):
        """Forward, backward, update; the loss in nats."""
        values = {self.start: x.reshape(self.graph[self.start].shape)}
        for layer in self.layers:
            values[layer.output] = layer.forward([values[name] for name in layer.inputs])
        f = self.scale * (values[self.features].ravel().astype(float) - self.zero)
        logits = self.w @ f + self.b
        p = np.exp(logits - logits.max())
        p /= p.sum()
        loss = -np.log(max(p[label], 2.0**-16))
        p[label] -= 1
        errors = {self.features: (self.scale * (p @ self.w)).reshape(values[self.features].shape)}
        self.w -= rate * np.outer(p, f)
        self.b -= rate * p
        for layer in reversed(self.layers):
            if layer.learns and layer.output in errors:
                for name, wanted, dx in zip(
                    layer.inputs, layer.wanted, layer.backward(errors.pop(layer.output), rate)
                ):
                    if wanted:
                        errors[name] = errors[name] + dx if name in errors else dx
        return loss

    def classes(self, samples, batch=64):
        """The class of each sample."""
        for at in range(0, len(samples), batch):
            rows = samples[at : at + batch]
            values = {self.start: rows.reshape(len(rows), *self.graph[self.start].shape[1:])}
            for layer in self.layers:
                values[layer.output] = layer.forward([values[name] for name in layer.inputs])
            f = self.scale * (values[self.features].reshape(len(rows), -1).astype(float) - self.zero)
            yield from (f @ self.w.T + self.b).argmax(1).tolist()


# -- layers: forward gives int8 and keeps what backward needs, which updates and gives errors of inputs


class Layer:
    def __init__(self, graph, op, inputs, update, qas):
        self.graph, self.op, self.inputs, self.update = graph, op, inputs, update
        self.output, self.p = op.outputs[0], params(graph, op)

    def finish(self, y):
        """int8 of what is not clamped yet; a clamp passes errors of what fits."""
        y = y + self.p["y_zero"]
        self.mask = (y >= self.p["act_min"]) & (y <= self.p["act_max"])
        return np.clip(y, self.p["act_min"], self.p["act_max"]).astype(np.int8)


class Weighted(Layer):
    """conv, depthwise, dense. Real weights count int8 steps, real biases int32 steps."""

    def __init__(self, graph, op, inputs, update, qas):
        super().__init__(graph, op, inputs, update, qas)
        sx, sw, sy = scales(graph, op)
        self.scale = sx * sw / sy  # real steps of y for one step of the accumulator, by output channel
        alive = sw >= np.median(sw) / 1000
        self.gain_w = self.scale * alive / (sw**2 if qas else 1)
        self.gain_b = self.scale * alive / ((sw * sx) ** 2 if qas else 1)
        self.w = graph[op.inputs[1]].data.astype(float)
        self.b = graph[op.inputs[2]].data.astype(float)
        if update and update.bias:
            self.b = np.clip(self.b, -(1 << 29), 1 << 29)
        self.kept = list(update.channels) if update else []
        self.round()

    def round(self):
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
            self.b = np.clip(
                self.b - rate * self.gain_b * g.reshape(-1, len(self.b)).sum(0), -(1 << 29), 1 << 29
            )
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
        """(ky, kx, what that tap of the kernel sees)."""
        top, left, bottom, right = self.op.attrs["pad"]
        x = np.pad(x, ((0, 0), (top, bottom), (left, right), (0, 0))) if any(self.op.attrs["pad"]) else x
        for ky, kx, rows, cols in self.seen:
            yield ky, kx, x[:, rows, cols]

    def error(self, d):
        """Each tap hands back what it saw."""
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
    """Nothing to train: the reference's kernel, with its clamp taken away to see what it does."""

    def forward(self, xs):
        self.shape = xs[0].shape
        free = {**self.p, "act_min": -(1 << 20), "act_max": 1 << 20}
        y = KERNELS[self.op.kind](self.graph, self.op, free, xs) - free.get("y_zero", 0)
        shape = self.graph[self.output].shape[1:]
        return self.finish(y.reshape(len(y), *shape))

    def ratio(self, name):
        return self.graph[name].scale[0] / self.graph[self.output].scale[0]


class Add(Fixed):
    def backward(self, gy, rate):
        g = gy.reshape(self.mask.shape) * self.mask
        return [g * self.ratio(name) for name in self.inputs]


class Mean(Fixed):
    """mean, and an average pool over everything that it sees."""

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


LAYERS = {"conv": Conv, "depthwise": Depthwise, "dense": Dense, "add": Add, "mean": Mean, "avg_pool": Mean}
