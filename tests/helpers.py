"""What several tests need: assets, samples, a step run record by record, and the checks that catch broken arithmetic."""

import contextlib
import dataclasses
import functools
import importlib.util
import pathlib
import struct
import sys

import numpy as np
import pytest
import trimtab.kernels_py
from float_reference import (
    Exact, Same, Trace, accumulators, half_up, integers_before_clamp, softmax_error, squared_error, weight_sums,
)
from trimtab.format import RECORDS
from trimtab.kernels import Tier, plain
from trimtab_tools import compile as compiler
from trimtab_tools import emit, ir, reference, schedule, simulate
from trimtab_tools.autodiff import lower
from trimtab_tools.plan import TRAINABLE
from trimtab_tools.quantize import act_range
from trimtab_tools.toolchain import ToolchainError

ROOT = pathlib.Path(__file__).resolve().parent.parent


def assets():
    """The folder of models and data beside the repository, or a skip."""
    path = ROOT.parent / "shared" / "assets"
    if not path.is_dir():
        pytest.skip(f"needs the models and data that belong in {path}")
    return path


@functools.cache
def c_tier():
    try:
        return simulate.tier("c")
    except ToolchainError as e:
        return str(e)


def tier(name):
    """Kernels "plain" or "c"; a machine without a C compiler skips what needs them."""
    if name == "plain":
        return simulate.tier("plain")
    if isinstance(c_tier(), str):
        pytest.skip(f"C kernels: {c_tier()}")
    return c_tier()


def fastest():
    return simulate.tier("plain") if isinstance(c_tier(), str) else c_tier()


TIERS = ("plain", "c")


# -- compiling and running -------------------------------------------------------------------------------------------


def compiled(graph, policy="full", **options):
    options.setdefault("kernels", fastest())
    if options.get("loss") != "mse":
        options.setdefault("classes", 4)
    return compiler.compile_graph(graph, policy, **options)


@contextlib.contextmanager
def all_apart(c):
    """Within, every buffer of the program has a place of its own; gives the package for that."""
    buffers = [life.buffer for life in c.placement.lives]
    packed = [b.offset for b in buffers]
    try:
        yield emit.package(c.program, schedule.assign(c.program, keep_all=True), c.trunk, "model", c.plan.labels)
    finally:
        for buffer, offset in zip(buffers, packed):
            buffer.offset = offset


def load(c, kernels="plain"):
    return simulate.load(c.data, tier(kernels) if isinstance(kernels, str) else kernels)


def inputs(graph, n, seed=0):
    """n int8 samples, smooth enough that neighbours say something about each other."""
    rng = np.random.default_rng(seed)
    shape = graph[graph.inputs[0]].shape
    coarse = rng.integers(-110, 111, (n, *shape[1:]))
    return np.clip(coarse + rng.integers(-17, 18, coarse.shape), -128, 127).astype(np.int8)


def calibrated(graph, samples):
    """The graph with weight scales and biases by which each layer's outputs fill its range, a few beyond either end."""
    tensors = dict(graph.tensors)
    graph = dataclasses.replace(graph, tensors=tensors)
    for i, op in enumerate(graph.ops):
        if op.kind not in TRAINABLE:
            continue
        x = reference.forward(graph.with_ops(graph.ops[:i]), samples)[op.inputs[0]]
        acc = np.concatenate([accumulators(graph, op, one[None]) for one in x])
        low, high = act_range(op.attrs["act"], graph[op.outputs[0]].scale[0], graph[op.outputs[0]].zero_point)
        middle, spread = (low + high) / 2 - graph[op.outputs[0]].zero_point, (high - low) / 3.2
        w, b = graph[op.inputs[1]], graph[op.inputs[2]]
        std = np.maximum(acc.std(0) if len(w.scale) > 1 else acc.std(), 1)
        scale = np.broadcast_to(spread / std * graph[op.outputs[0]].scale[0] / graph[op.inputs[0]].scale[0], w.scale.shape)
        tensors[w.name] = dataclasses.replace(w, scale=np.float32(scale).astype(float))
        bias = np.rint(middle / spread * std - acc.mean(0)).astype(np.int32)
        tensors[b.name] = dataclasses.replace(b, data=bias, scale=graph[op.inputs[0]].scale * scale)
    return ir.check(graph)


def set_sample(net, x, target):
    net.input_view[:] = np.asarray(x, np.int8).tobytes()
    if net.loss == "mse":
        net.target_view[:] = np.asarray(target, np.int8).tobytes()
    else:
        struct.pack_into("<i", net.target_view, 0, target)


def step(net, x, target):
    """Train on one sample; returns the loss."""
    set_sample(net, x, target)
    return net.train_input()


class Bench:
    """A network whose step runs record by record, so that every buffer can be read while it lives."""

    ORDER = ("begin", "forward", "loss", "gate", "head", "backward", "end")

    def __init__(self, c, kernels="plain", net=None):
        self.c, self.net = c, net or load(c, kernels)

    def bytes(self, where, size=None):
        buffer, byte = (where.buffer, where.byte) if hasattr(where, "buffer") else (where, 0)
        space, at = self.net._views[buffer.space], buffer.offset + byte
        return space[at : at + (buffer.size if size is None else size)]

    def read(self, where, dtype="<i1", size=None):
        return np.frombuffer(bytes(self.bytes(where, size)), dtype).astype(np.int64)

    def number(self, slot):
        return int(self.read(slot, "<i4", 4)[0])

    def write(self, where, array, dtype):
        data = np.asarray(array).astype(dtype).tobytes()
        self.bytes(where, len(data))[:] = data

    def state(self, name):
        return next(b for b in self.c.program.state if b.name == name)

    def randomize_head(self, seed, samples):
        """A head that knows something, but is sure of nothing: logits of these samples spread by about 1."""
        head = self.c.plan.head
        if head:
            f = self.c.trunk[head.features]
            x = (reference.forward(self.c.trunk, np.stack(samples))[head.features] - f.zero_point) * f.scale[0]
            w = np.random.default_rng(seed).standard_normal(head.weights.shape)
            logits = x.reshape(len(x), -1) @ w.T
            spread = np.std(logits - logits.mean(0)) or 4096.0
            self.write(self.state("head.weights"), np.clip(half_up(w * 4096 / spread), -16384, 16384), "<i2")

    def run(self, x, target, before=None, after=None):
        """One training step; before(step) and after(step, again) see each record, again() runs it once more."""
        set_sample(self.net, x, target)
        for phase in self.ORDER:
            start, _ = self.net._phases[phase]
            value = 1
            for i, s in enumerate(self.c.program.phases[phase], start):
                again = functools.partial(self.net._functions[i], self.net._mem, self.net._offsets[i])
                if before:
                    before(s)
                value = again()
                if after:
                    after(s, again)
            if phase == "gate" and not value:
                return False
        return True

    def settle(self, samples, targets):
        """Steps that leave nothing behind but the trackers, which come to know the size of every error."""
        kept = bytes(self.net._views[1])
        trackers = self.state("exponents")
        for x, target in zip(samples, targets):
            self.run(x, target)
            found = bytes(self.bytes(trackers))
            self.net._views[1][:] = kept
            self.bytes(trackers)[:] = found


# -- what a step did -------------------------------------------------------------------------------------------------

RATE = 255  # the mantissa with which gradients are measured


class Observation:
    """One sample's step, seen from outside: error tensors with their exponents, weight and bias gradients, p - y.

    The plan accumulates, so sums can be read without moving a weight. Each is taken twice, the second time at the
    rate that fills the plane: weights to 13 or 14 bits of their largest, biases to 23 or 24. Multipliers have 8 bits.
    Sums are in QAS's units: int8 steps (or units of the bias) for a rate of 1.
    """

    def __init__(self, bench, x, target):
        self.errors, self.units, self.exponents, self.sums, self.planes, self.err = {}, {}, {}, {}, {}, None
        self.bench = bench
        self.reached = bench.run(x, target, after=self._after)

    def _after(self, s, again):
        read = self.bench.read
        if s.kernel == "softmax_loss":
            self.err = read(s.values["logits"], "<i4")
        if "g" in s.values:
            name = s.values["g"].name
            tensor = name.split("error of ", 1)[1]
            exp = self.bench.number(s.values["exp"])
            self.exponents.setdefault(tensor, []).append(exp)
            if not name.startswith("part"):
                self.errors[tensor], self.units[tensor] = read(s.values["g"]) * 2.0**exp, 2.0**exp
        if s.kernel in ("conv_dw", "depthwise_dw"):
            self._fill(s, again, "weights", "<i2", 14)
        if s.kernel == "bias_dw":
            self._fill(s, again, "bias", "<i4", 24)

    def _fill(self, s, again, role, dtype, bits):
        acc, shift = s.values["acc"], self._safe_shift(s, bits)
        for _ in range(2):
            self.bench.bytes(acc)[:] = bytes(acc.size)
            self.bench.write(s.values["lr"], [RATE, shift], "<i4")
            again()
            plane = self.bench.read(acc, dtype)
            used = int(np.abs(plane).max()).bit_length()
            self.planes[s.layer, role] = plane, shift
            self.sums[s.layer, role] = plane / (RATE * 2.0**-shift) / (256 if role == "weights" else 1)
            if not used:
                break
            shift -= bits - used

    def _safe_shift(self, s, bits):
        """No sum can be larger than this allows for."""
        u = np.frombuffer(s.values["u"].data, "<u2").astype(int)
        g = np.abs(self.bench.read(s.values["gy"]).reshape(-1, len(u))).sum(0)
        real = g * (u & 255) * 2.0 ** (128 - (u >> 8)) * 2.0 ** self.bench.number(s.values["gy_exp"])
        if s.kernel != "bias_dw":
            real = real * 255 * 256
        return int(np.ceil(np.log2(max(real.max(), 1e-30) * RATE))) - bits


def expected(bench, x, target, rounding, before=None):
    """(errors, layers, trace) of the float64 model for the bench's head and this sample."""
    c = bench.c
    trace = Trace(c.trunk, x, before)
    if c.plan.loss == "mse":
        name, error = c.trunk.outputs[0], squared_error(trace, target)[1]
    else:
        name, w, b = c.plan.head.features, *head(bench)
        error = softmax_error(trace, c.plan.head, w, b, target)[2]
    return (*trace.backward(name, error, rounding), trace)


def head(bench):
    w = bench.read(bench.state("head.weights"), "<i2").reshape(bench.c.plan.head.classes, -1)
    return w, bench.read(bench.state("head.bias"), "<i4")


# -- checks: each is called by the test of the right code and by the tests of broken code ------------------------------


def check_forward(c, kernels, xs):
    """Every activation equals TensorFlow Lite's arithmetic, every mask bit says whether the clamp was passed."""
    want = reference.forward(c.trunk, np.stack(xs))
    with all_apart(c) as data:
        bench = Bench(c, kernels, simulate.load(data, kernels))
        for i, x in enumerate(xs):
            bench.net.input_view[:] = x.tobytes()
            bench.net.classify_input()
            for name, buffer in c.program.activations.items():
                assert np.array_equal(bench.read(buffer), want[name][i].ravel()), f"tensor {name}"
            _check_masks(bench, Trace(c.trunk, x, integers_before_clamp))


def _check_masks(bench, trace):
    for s in bench.c.program.phases["forward"]:
        mask = s.values.get("mask")
        if mask is not None:
            want = trace.masks[mask.name.split("mask of ", 1)[1]].ravel()
            bits = np.unpackbits(bench.read(mask).astype(np.uint8), bitorder="little")
            assert np.array_equal(bits[: len(want)], want), mask.name


def cosine(a, b):
    return float(a.ravel() @ b.ravel() / (np.linalg.norm(a) * np.linalg.norm(b)))


def check_direction(name, got, want):
    """Returns the cosine. The slope catches a wrong scale, which a cosine does not see."""
    got, want = np.asarray(got).ravel(), np.asarray(want).ravel()
    score, slope = cosine(got, want), float(got @ want / (want @ want))
    assert score >= 0.95, f"{name}: cosine {score:.3f}"
    assert 0.9 < slope < 1.1, f"{name}: slope {slope:.3f}"
    return score


FINE = 12  # an error tensor counts as resolved when its largest element is that many steps


def check_gradients(c, kernels, samples, targets):
    """Error tensors, weight and bias gradients of each sample against the real numbers. Returns all cosines.

    What int8 resolves (down to this tensor, from the head on) must have the right direction and size; the rest must
    be as small as it is in truth. Every tensor must have been resolved in at least 3 samples.
    """
    bench = settled(c, kernels, samples, targets)
    scores = {}
    for x, target in zip(samples, targets):
        seen = Observation(bench, x, target)
        errors, layers, trace = expected(bench, x, target, Exact())
        if not seen.reached:
            assert not any(map(np.any, errors.values())), "the head sends no error back"
            continue
        assert set(seen.errors) <= set(errors)
        if c.plan.head:
            p_minus_y = softmax_error(trace, c.plan.head, *head(bench), target)[1]
            assert np.abs(seen.err / 32768 - p_minus_y).max() < 0.02, "p - y"
        coarse = set()
        for name, got in seen.errors.items():  # last first
            above = {trace.root(op.outputs[0]) for op in c.trunk.ops if name in map(trace.root, op.inputs)}
            top, unit = np.abs(errors[name]).max(), seen.units[name]
            if top < FINE * unit or above & coarse:
                coarse.add(name)
                assert np.abs(got).max() <= 2 * top + unit, f"error of {name}: should be almost zero"
                continue
            scores.setdefault(name, []).append(check_direction(f"error of {name}", got, errors[name]))
        for (layer, role), got in seen.sums.items():
            if output(c, layer) not in coarse:
                want = real_update(c, layer, role, layers[layer])
                scores.setdefault((layer, role), []).append(check_direction(f"{layer}.{role}", got, want))
    missing = [key for key in (*seen.errors, *seen.sums) if len(scores.get(key, ())) < 3]
    assert not missing, f"too small to compare in all but {len(samples)} samples: {missing}"
    mean = np.mean([score for row in scores.values() for score in row])
    assert mean >= 0.98, f"mean cosine {mean:.3f}"
    return scores


def settled(c, kernels, samples, targets):
    bench = Bench(c, kernels)
    bench.randomize_head(1, samples)
    for _ in range(3):
        bench.settle(samples, targets)
    return bench


def output(c, layer):
    return next(op for op in c.trunk.ops if op.name == layer).outputs[0]


def real_update(c, layer, role, about):
    """QAS gradient of a layer's trained part: int8 steps for a rate of 1."""
    op = next(op for op in c.trunk.ops if op.name == layer)
    sx, sw = c.trunk[op.inputs[0]].scale[0], np.broadcast_to(c.trunk[op.inputs[1]].scale, about["scale"].shape)
    if role == "bias":
        factor = about["scale"] / (sw * sx) ** 2
        return about["bias"] * factor
    dw = about["weights"][..., list(c.plan.of(layer).channels)]
    factor = about["scale"] / sw**2
    if op.kind == "depthwise":
        factor = factor[list(c.plan.of(layer).channels)]
    else:
        factor = factor.reshape(-1, *[1] * (dw.ndim - 1))
    return dw * factor


def check_same_rounding(c, kernels, samples, targets):
    """Where the reference rounds as the step does: every element of every error and every sum is equal."""
    bench = settled(c, kernels, samples, targets)
    for x, target in zip(samples, targets):
        seen = Observation(bench, x, target)
        if not seen.reached:
            continue
        errors, layers = same_rounding(bench, x, target, seen)
        for name, got in seen.errors.items():
            assert np.array_equal(got, errors[name].ravel()), f"error of {name}"
        for (layer, role), (plane, shift) in seen.planes.items():
            unit = seen.units[output(c, layer)]
            want = Delta(c, layer, role).of(layers[layer][role] / unit, np.log2(unit), RATE, shift, 0 if role == "bias" else 8)
            assert np.array_equal(plane, want), f"{layer}.{role}"


def same_rounding(bench, x, target, seen):
    """The float64 model with the step's integers before clamping, its p - y, its multipliers and exponents."""
    c, rounding = bench.c, Same(seen.exponents)
    trace = Trace(c.trunk, x, integers_before_clamp)
    if c.plan.loss == "mse":
        name, error = c.trunk.outputs[0], squared_error(trace, target)[1]
        rounding.now[trace.root(name)] = rounding.left[trace.root(name)][0]
    else:
        name = c.plan.head.features
        acc = (head(bench)[0] >> 1).T @ seen.err
        shape = c.trunk[name].shape
        mask = np.broadcast_to(trace.mask(trace.root(name)).reshape(shape), shape)
        # acc counts halves of 1/4096 in Q15
        error = rounding.first(trace.root(name), acc.reshape(shape), c.trunk[name].scale[0] * 2.0**-26, mask)
    return trace.backward(name, error, rounding, set(seen.errors))


class Delta:
    """What a sum changes: the QAS multiplier of each channel with 8 bits, the rate with 8, rounded to the nearest."""

    def __init__(self, c, layer, role):
        op = next(op for op in c.trunk.ops if op.name == layer)
        x, w, y = (c.trunk[n] for n in (*op.inputs[:2], op.outputs[0]))
        axis = w.shape[-1] if op.kind == "depthwise" else w.shape[0]
        sw = np.broadcast_to(w.scale, axis).astype(float)
        real = x.scale[0] * sw / y.scale[0] / (sw if role == "weights" else sw * x.scale[0]) ** 2
        self.u, self.e = mantissa(np.where(sw >= np.median(sw) / 1000, real, 0))
        self.channels = list(c.plan.of(layer).channels)
        self.role, self.depthwise = role, op.kind == "depthwise"
        self.pre = max(0, int(np.ceil(np.log2(y.size / axis / 128)))) if role == "weights" else 0

    def of(self, sums, exp, rate, shift, bits):
        """Integers in 2^-bits of a step, flat as the plane is, for sums in units of 2^exp."""
        return self.nearest(*self.before_rounding(sums, exp, rate, shift, bits))

    def nearest(self, value, bits):
        return np.clip(half_up(value), *((-127 << bits, 127 << bits) if self.role == "weights" else (-(1 << 28), 1 << 28)))

    def before_rounding(self, sums, exp, rate, shift, bits):
        u, e, sums = self.u, self.e, np.asarray(sums)
        if self.role == "weights":
            sums = sums[..., self.channels]
            if self.depthwise:
                u, e = u[self.channels], e[self.channels]
            else:
                u, e = (v.reshape(-1, *[1] * (sums.ndim - 1)) for v in (u, e))
        product = half_up(sums / 2.0**self.pre) * half_up(u * rate / 256)
        return (product * 2.0 ** (e + 8 + self.pre + exp + bits - shift)).ravel(), bits


def mantissa(reals, bits=8):
    """reals ~ m * 2^e"""
    e = np.floor(np.log2(np.maximum(reals, 1e-300))).astype(int) + 1 - bits
    m = np.rint(reals / 2.0**e)
    top = m == 1 << bits
    return np.where(top, m / 2, m), np.where(top, e + 1, e)


def check_updates(c, kernels, samples, targets, steps=3.0):
    """After each update the planes hold what they held, less the delta: rounded to the nearest, saturated.

    steps: the largest change that a record is given, in int8 steps (of biases, in units times 256).
    """
    bench = settled(c, kernels, samples, targets)
    for x, target in zip(samples, targets):
        _check_step(bench, x, target, steps)


def _check_step(bench, x, target, steps):
    c, bits = bench.c, bench.c.plan.residual
    known, drawn = {}, []

    def before(s):
        if s.kernel in ("conv_dw", "depthwise_dw", "bias_dw"):
            role = "bias" if s.kernel == "bias_dw" else "weights"
            sums = local_sums(bench, s, role)
            delta, exp = Delta(c, s.layer, role), bench.number(s.values["gy_exp"])
            top = np.abs(delta.before_rounding(sums, exp, 128, 0, 0)[0]).max()
            shift = int(np.ceil(np.log2(max(top, 1e-30) / steps))) - (8 if role == "bias" else 0)
            bench.write(s.values["lr"], [181, shift], "<i4")
            known[s] = delta, *delta.before_rounding(sums, exp, 181, shift, 0 if role == "bias" else bits), held(bench, s, role)
        if s.kernel == "head_dw":
            bench.write(s.values["lr"], [181, 13], "<i4")
            known[s] = head(bench)

    def after(s, again):
        if s.kernel == "head_dw":
            check_head(bench, s, *known[s])
        elif s in known:
            delta, value, unit_bits, old = known[s]
            new, limit = held(bench, s, delta.role), (127 << bits) if delta.role == "weights" else 1 << 29
            nearest = np.clip(old - delta.nearest(value, unit_bits), -limit, limit)
            if delta.role == "bias" or bits == 8:
                assert np.array_equal(new, nearest), f"{s.layer}.{delta.role}: update"
            else:
                free = np.abs(old - value) < limit - 1
                assert np.all(np.abs(new - np.clip(old - value, -limit, limit)) <= 1), f"{s.layer}: update is off"
                drawn.extend((new - (old - value))[free])

    bench.run(x, target, before, after)
    if drawn:  # the rounding error of a fair draw has mean 0 and at most variance 1/4
        assert abs(np.mean(drawn)) < 2.5 / len(drawn) ** 0.5, f"stochastic rounding is off by {np.mean(drawn):.3f}"


def local_sums(bench, s, role):
    """What the record will sum, from the error and the activation that it reads."""
    c = bench.c
    op = next(op for op in c.trunk.ops if op.name == s.layer)
    g = bench.read(s.values["gy"]).astype(float)
    if role == "bias":
        return g.reshape(-1, c.trunk[op.inputs[2]].size).sum(0)
    x = bench.read(s.values["x"]).reshape(c.trunk[op.inputs[0]].shape)
    return weight_sums(c.trunk, op, x, g)


def held(bench, s, role):
    """The trained numbers of a record: biases, or weights in 2^-residual of a step."""
    if role == "bias":
        return bench.read(s.values["bias"], "<i4")
    k, bits = bench.read(s.values["k"]), bench.c.plan.residual
    if not bits:
        return k
    r = bench.read(s.values["r"])
    if bits == 4:
        r = np.stack([r & 15, r >> 4 & 15], 1).ravel()[: len(k)]
        r = r - 16 * (r > 7)
    return k * 2**bits + r


def check_head(bench, s, w, b):
    """The head's update is lr * (p - y) * x, rounded to the nearest and saturated."""
    c, v = bench.c, s.values
    f = c.trunk[c.plan.head.features]
    err, x = bench.read(v["err"], "<i4"), bench.read(v["x"]) - f.zero_point
    m, e = mantissa(f.scale[0] * 4096, 7)
    m = min(127, int(half_up(m * 181 / 256)))
    delta = half_up(np.outer(err, x) * m * 2.0 ** (e + 8 - 13 - 15))
    limit = v["limit"]
    new_w, new_b = head(bench)
    assert np.array_equal(new_w, np.clip(w - np.clip(delta, -limit, limit), -limit, limit)), "head weights"
    assert np.array_equal(new_b, b - half_up(err * 181 * 2.0 ** (1 - 13))), "head bias"
