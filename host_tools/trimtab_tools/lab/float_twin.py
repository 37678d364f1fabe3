"""The float twin of the training step: the same int8 forward pass, gradients and weights in real numbers.

What training in integers costs is the difference between a trial and its twin. Real weights stand behind the
int8 ones, which are these rounded; rounding counts as the identity, a clamp passes what fits. One sample at a
time.
"""

import time

import numpy as np

from ..compiler.state import COSINE
from ..errors import ModelError, UsageError
from ..graph.rounding import multiply_once_rounded, multiply_twice_rounded
from ..operators.registry import OPERATORS, params, tinytl
from ..operators.weighted import scales


def train(prepared, trial, step):
    """The result of a trial in real arithmetic; trial.twin is "qas", or "plain" for gradients without QAS."""
    from .experiment import accuracy, compile_trial, schedule

    made = compile_trial(prepared, trial)
    if any("step" in op.attrs for op in made.trunk.ops):
        raise UsageError(f"float twins know no steps for slopes: leave policy {trial.policy} to the integers")
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
            detached = layer.op.attrs.get("detached", ())
            layer.wanted = [name in learned and i not in detached for i, name in enumerate(layer.inputs)]
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


class Lite(Layer):
    """A lite residual module in real numbers throughout; the second gamma and beta count steps of y."""

    def __init__(self, graph, op, inputs, update, qas):
        super().__init__(graph, op, inputs, update, qas)
        self.sizes = tinytl.sizes(graph, op)
        self.first, self.part = self.sizes.convs[0], graph[op.inputs[2]].shape[-1]
        data = [graph[name].data for name in op.inputs[2:]]
        self.w1, self.w2 = (data[i] * graph[op.inputs[2 + i]].scale[0] for i in (0, 2))
        self.w2 = self.w2.reshape(len(self.w2), -1)
        self.affines = [data[i] / 65536 for i in (1, 3)]
        self.gains = [tinytl.AFFINE_GAIN, tinytl.AFFINE_GAIN / graph[self.output].scale[0] ** 2]

    def forward(self, xs):
        return self.finish(np.rint(self.join(xs)))

    def join(self, xs):
        """The output before it is rounded."""
        y, x = xs[0].astype(float), xs[1].astype(float) - self.p["x_zero"]
        self.columns = self._columns(self._pool(x))
        a = np.concatenate([c @ w.T for c, w in zip(self.columns, self._groups(self.w1))], axis=-1)
        self.xhat1, self.rate1 = self._normalize(a, 0)
        self.z = self.xhat1 * self.affines[0][0] + self.affines[0][1]
        self.h = np.clip(self.z, 0, 127 / 16)
        self.xhat2, self.rate2 = self._normalize(self.h @ self.w2.T, 1)
        made = self.xhat2 * self.affines[1][0] + self.affines[1][1]
        h, w = y.shape[1:3]
        return y + made.repeat(2, axis=1).repeat(2, axis=2)[:, :h, :w]

    def backward(self, gy, rate):
        """One sample."""
        g = gy.reshape(self.mask.shape) * self.mask
        h, w = (n % 2 for n in g.shape[1:3])
        d = np.pad(g, ((0, 0), (0, h), (0, w), (0, 0)))
        d = d.reshape(d.shape[1] // 2, 2, d.shape[2] // 2, 2, -1).sum((1, 3))[None]
        da2 = self._learn_affine(d, self.xhat2, self.rate2, 1, rate)
        dh = (da2 @ self.w2) * self.passes()
        da1 = self._learn_affine(dh, self.xhat1, self.rate1, 0, rate)
        dx = self._spread(da1) if self.wanted[1] else None
        rate *= tinytl.WEIGHT_GAIN
        width = da1.shape[-1] // self.sizes.groups
        da1 = da1.reshape(-1, self.sizes.groups, width)
        self.w2 = self.w2 - rate * da2.reshape(-1, len(self.w2)).T @ self.h.reshape(-1, self.w2.shape[1])
        dw1 = [da1[:, j].T @ c.reshape(-1, c.shape[-1]) for j, c in enumerate(self.columns)]
        self.w1 = self.w1 - rate * np.concatenate(dw1).reshape(self.w1.shape)
        return [g, dx]

    def passes(self):
        """Where the ReLU, which saturates as the integers do, lets errors through."""
        return (self.z > 0) & (self.z < 127.5 / 16)

    def _pool(self, x):
        """Means of 2x2, of what is there."""
        x = np.pad(x, ((0, 0), (0, x.shape[1] % 2), (0, x.shape[2] % 2), (0, 0)), constant_values=np.nan)
        n, h, w, c = x.shape
        return np.nanmean(x.reshape(n, h // 2, 2, w // 2, 2, c), axis=(2, 4))

    def _taps(self):
        """(rows, columns) that each position of the kernel sees in the padded input."""
        g = self.first
        return [
            tuple(
                slice(k, k + (n - 1) * s + 1, s)
                for k, n, s in ((ky, g["oh"], g["sh"]), (kx, g["ow"], g["sw"]))
            )
            for ky in range(g["kh"])
            for kx in range(g["kw"])
        ]

    def _margins(self):
        g = self.first
        return [(g["pt"], g["kh"] * g["sh"]), (g["pl"], g["kw"] * g["sw"])]  # behind it, enough for every tap

    def _columns(self, x):
        """What each group of the first convolution reads: (n, oh, ow, taps * part) each."""
        x = np.pad(x, ((0, 0), *self._margins(), (0, 0)))
        views = np.stack([x[:, rows, cols] for rows, cols in self._taps()], axis=3)
        return [
            views[..., c : c + self.part].reshape(*views.shape[:3], -1)
            for c in range(0, x.shape[-1], self.part)
        ]

    def _spread(self, da):
        """Back through the first convolution and the pool."""
        g, pool = self.first, self.sizes.pool
        (top, below), (left, right) = self._margins()
        dx = np.zeros((1, top + g["ih"] + below, left + g["iw"] + right, g["ic"]))
        for j, (d, w) in enumerate(zip(np.split(da, self.sizes.groups, axis=-1), self._groups(self.w1))):
            back = (d @ w).reshape(*d.shape[:3], -1, self.part)
            for t, (rows, cols) in enumerate(self._taps()):
                dx[:, rows, cols, j * self.part : (j + 1) * self.part] += back[..., t, :]
        dx = dx[:, top : top + g["ih"], left : left + g["iw"]]
        rows, cols = (np.minimum(2, n - 2 * np.arange((n + 1) // 2)) for n in (pool["ih"], pool["iw"]))
        dx = dx / (rows[:, None] * cols)[None, :, :, None]
        return dx.repeat(2, axis=1).repeat(2, axis=2)[:, : pool["ih"], : pool["iw"]]

    def _groups(self, w):
        return [part.reshape(len(part), -1) for part in np.split(w, self.sizes.groups)]

    def _normalize(self, a, i):
        """(xhat, 1 / sigma) by groups of channels."""
        grouped = a.reshape(*a.shape[:3], -1, self.sizes.norms[i])
        centred = grouped - grouped.mean((1, 2, 4), keepdims=True)
        rate = 1 / np.sqrt(np.maximum((centred**2).mean((1, 2, 4), keepdims=True), 1e-30))
        return (centred * rate).reshape(a.shape), rate

    def _learn_affine(self, d, xhat, rate, i, lr):
        """The error behind norm i from that behind its affine, which moves."""
        gamma = self.affines[i][0]
        e, x = (
            (v * gamma if v is d else v).reshape(*d.shape[:3], -1, self.sizes.norms[i]) for v in (d, xhat)
        )
        e = rate * (e - e.mean((1, 2, 4), keepdims=True) - x * (e * x).mean((1, 2, 4), keepdims=True))
        step = lr * self.gains[i] * np.stack([(d * xhat).sum((0, 1, 2)), d.sum((0, 1, 2))])
        self.affines[i] = np.clip(self.affines[i] - step, -tinytl.BOUNDS[i], tinytl.BOUNDS[i])
        return e.reshape(d.shape)


LAYERS = {
    "lite": Lite,
    "conv": Conv,
    "depthwise": Depthwise,
    "dense": Dense,
    "add": Add,
    "mean": Mean,
    "avg_pool": Mean,
}
