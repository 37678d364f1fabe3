"""Checks of the arithmetic: each is called by the test of the right code and by the tests of broken code."""

import numpy as np
from float_reference import (
    Exact,
    Same,
    Trace,
    half_up,
    integers_before_clamp,
    softmax_error,
    squared_error,
    weight_sums,
)
from helpers import Bench, all_apart
from trimtab_tools.boards import simulated
from trimtab_tools.operators import oracle

# -- what a step did -----------------------------------------------------------------------------------------

RATE = 255  # the mantissa with which gradients are measured
ROLES = {"conv_dw": "weights", "depthwise_dw": "weights", "bias_dw": "bias", "mobiletl_gain_dw": "gain"}
ONE = 1 << 30  # a gain is 1 + d / ONE


class Observation:
    """One sample's step, seen from outside: error tensors, their exponents, weight and bias gradients, p - y.

    The plan accumulates, so sums can be read without moving a weight. Each is taken twice, the second time at
    the rate that fills the plane: weights to 14 bits of their largest, biases to 24. Multipliers have 8 bits.
    Sums are in QAS's units: int8 steps (or units of the bias) for a rate of 1.
    """

    def __init__(self, bench, x, target):
        self.errors, self.units, self.exponents, self.sums, self.planes, self.err = {}, {}, {}, {}, {}, None
        self.bench = bench
        self.head = head(bench) if bench.c.plan.head else None  # as the step finds it
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
        if s.kernel in ROLES:
            self._fill(s, again, ROLES[s.kernel])

    def _fill(self, s, again, role):
        dtype, bits = ("<i2", 14) if role == "weights" else ("<i4", 24)
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
        real = real * {"weights": 255 * 256, "bias": 1, "gain": 255}[ROLES[s.kernel]]
        return int(np.ceil(np.log2(max(real.max(), 1e-30) * RATE))) - bits


def expected(bench, x, target, rounding, before=None, held=None):
    """(errors, layers, trace) of the float64 model for this sample and the bench's head, or that given."""
    c = bench.c
    trace = Trace(c.trunk, x, before)
    if c.plan.loss == "mse":
        name, error = c.trunk.outputs[0], squared_error(trace, target)[1]
    else:
        name, w, b = c.plan.head.features, *(held or head(bench))
        error = softmax_error(trace, c.plan.head, w, b, target)[2]
    return (*trace.backward(name, error, rounding), trace)


def head(bench):
    """Weights and biases, or prototypes and counts."""
    names = {"dense": ("head.weights", "head.bias"), "prototype": ("head.prototypes", "head.counts")}
    first, second = names[bench.c.plan.head.kind]
    w = bench.read(bench.state(first), "<i2").reshape(bench.c.plan.head.classes, -1)
    return w, bench.read(bench.state(second), "<i4")


# -- checks --------------------------------------------------------------------------------------------------


def check_forward(c, kernels, xs):
    """Every activation equals TensorFlow Lite's arithmetic, mask bits say what passed the clamp."""
    want = oracle.forward(c.trunk, np.stack(xs))
    with all_apart(c) as data:
        bench = Bench(c, kernels, simulated.load(data, kernels))
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


def check_gradients(c, kernels, samples, targets, bench=None):
    """Error tensors, weight and bias gradients of each sample against the real numbers. Returns all cosines.

    What int8 resolves (down to this tensor, from the head on) must have the right direction and size; the
    rest must be as small as it is in truth. Every tensor must have been resolved in at least 3 samples.
    """
    bench = bench or settled(c, kernels, samples, targets)
    scores = {}
    for x, target in zip(samples, targets):
        seen = Observation(bench, x, target)
        errors, layers, trace = expected(bench, x, target, Exact(), held=seen.head)
        if not seen.reached:
            assert not any(map(np.any, errors.values())), "the head sends no error back"
            continue
        assert set(seen.errors) <= set(errors)
        if c.plan.head:
            p_minus_y = softmax_error(trace, c.plan.head, *seen.head, target)[1]
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
    """QAS gradient of a layer's trained part: int8 steps for a rate of 1, by the scales of the plan."""
    op = next(op for op in c.trunk.ops if op.name == layer)
    sx, sy = (c.trunk[n].scale[0] for n in (op.inputs[0], op.outputs[0]))
    sw = np.broadcast_to(c.trunk[op.inputs[1]].scale, about["scale"].shape)
    if role == "gain":
        return about["gain"] * ONE
    if role == "bias":
        factor = sx * sw / sy / (sw * sx) ** 2
        return about["bias"] * factor
    dw = about["weights"][..., list(c.plan.of(layer).channels)]
    factor = sx * sw / sy / sw**2
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
            want = Delta(c, layer, role).of(
                layers[layer][role] / unit, np.log2(unit), RATE, shift, 8 if role == "weights" else 0
            )
            assert np.array_equal(plane, want), f"{layer}.{role}"


def same_rounding(bench, x, target, seen):
    """The float64 model with the step's integers before clamping, its p - y, multipliers and exponents."""
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
    """What a sum changes: QAS multiplier of each channel and rate with 8 bits each, to the nearest."""

    def __init__(self, c, layer, role):
        op = next(op for op in c.trunk.ops if op.name == layer)
        x, w, y = (c.trunk[n] for n in (*op.inputs[:2], op.outputs[0]))
        axis = w.shape[-1] if op.kind == "depthwise" else w.shape[0]
        sw = np.broadcast_to(w.scale, axis).astype(float)
        real = x.scale[0] * sw / y.scale[0] / (sw if role == "weights" else sw * x.scale[0]) ** 2
        if role == "gain":
            real = np.full(axis, float(ONE))
        self.u, self.e = mantissa(np.where(sw >= np.median(sw) / 1000, real, 0))
        self.channels = list(c.plan.of(layer).channels)
        self.role, self.depthwise = role, op.kind == "depthwise"
        self.pre = 0 if role == "bias" else max(0, int(np.ceil(np.log2(y.size / axis / 128))))

    def of(self, sums, exp, rate, shift, bits):
        """Integers in 2^-bits of a step, flat as the plane is, for sums in units of 2^exp."""
        return self.nearest(*self.before_rounding(sums, exp, rate, shift, bits))

    def nearest(self, value, bits):
        return np.clip(
            half_up(value),
            *((-127 << bits, 127 << bits) if self.role == "weights" else (-(1 << 28), 1 << 28)),
        )

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
        if s.kernel in ROLES:
            role = ROLES[s.kernel]
            sums = local_sums(bench, s, role)
            delta, exp = Delta(c, s.layer, role), bench.number(s.values["gy_exp"])
            top = np.abs(delta.before_rounding(sums, exp, 128, 0, 0)[0]).max()
            shift = int(np.ceil(np.log2(max(top, 1e-30) / steps))) - (0 if role == "weights" else 8)
            bench.write(s.values["lr"], [181, shift], "<i4")
            known[s] = (
                delta,
                *delta.before_rounding(sums, exp, 181, shift, bits if role == "weights" else 0),
                held(bench, s, role),
            )
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
            if delta.role != "weights" or bits == 8:
                assert np.array_equal(new, nearest), f"{s.layer}.{delta.role}: update"
            else:
                free = np.abs(old - value) < limit - 1
                assert np.all(np.abs(new - np.clip(old - value, -limit, limit)) <= 1), (
                    f"{s.layer}: update is off"
                )
                drawn.extend((new - (old - value))[free])

    bench.run(x, target, before, after)
    if drawn:  # the rounding error of a fair draw has mean 0 and at most variance 1/4
        assert abs(np.mean(drawn)) < 2.5 / len(drawn) ** 0.5, (
            f"stochastic rounding is off by {np.mean(drawn):.3f}"
        )


def local_sums(bench, s, role):
    """What the record will sum, from the error and the activation that it reads."""
    c = bench.c
    op = next(op for op in c.trunk.ops if op.name == s.layer)
    g = bench.read(s.values["gy"]).astype(float)
    if role == "bias":
        return g.reshape(-1, c.trunk[op.inputs[2]].size).sum(0)
    if role == "gain":
        y = bench.read(s.values["y"]) - s.values["zy"]
        return (g * y).reshape(-1, c.trunk[op.inputs[2]].size).sum(0)
    x = bench.read(s.values["x"]).reshape(c.trunk[op.inputs[0]].shape)
    return weight_sums(c.trunk, op, x, g)


def held(bench, s, role):
    """The trained numbers of a record: biases, gains, or weights in 2^-residual of a step."""
    if role != "weights":
        return bench.read(s.values[role], "<i4")
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


def real_gradient(op, about):
    """dL/dw from the sums of errors times inputs."""
    dw = about["weights"]
    return dw * (
        about["scale"] if op.kind == "depthwise" else about["scale"].reshape(-1, *[1] * (dw.ndim - 1))
    )
