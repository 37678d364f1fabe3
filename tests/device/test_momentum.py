"""Momentum: sums that leak into their weights. Nothing is lost, and the path is that of float momentum."""

import dataclasses

import numpy as np
import pytest
from checks import check_direction, cosine, expected, held, real_update
from float_reference import Exact, softmax_error
from helpers import TIERS, Bench, compiled, fastest, inputs, set_sample, state, step, tier
from networks import classifier as small
from networks import skip_block as network
from operator_graphs import OPERATORS, around
from trimtab_tools.compiler import facts
from trimtab_tools.compiler.package_reading import Contents
from trimtab_tools.errors import ModelError
from trimtab_tools.policies.make import make_plan

STEPS, RATE, KEEP = 30, 0.02, 230 / 256


def test_the_option():
    for text, keep in {"sgd": 0, "momentum": 230, "momentum:0.5": 128, "momentum:0.99": 253}.items():
        chosen = make_plan(small(), "last", optimizer=text)[1]
        assert chosen.keep == keep and chosen.sums == (keep > 0)
    for text in ("adam", "momentum:1", "momentum:0", "momentum:nan", "momentum:fast", "sgd:0.9", ""):
        with pytest.raises(ModelError, match="use sgd, momentum"):
            make_plan(small(), "last", optimizer=text)


def test_what_it_costs():
    plain, heavy = (compiled(network(), "full", optimizer=text) for text in ("sgd", "momentum"))
    rows = [{r["layer"]: r for r in facts.layers(c.trunk, c.plan, c.program)} for c in (plain, heavy)]
    weights = {b.name: b.size for b in heavy.program.state}
    for layer in ("conv_0", "depthwise_1", "conv_2", "conv_4"):
        more = 2 * weights[f"{layer}.weights"] + weights[f"{layer}.bias"]
        assert rows[1][layer]["state"] == rows[0][layer]["state"] + more
    s = facts.summary(heavy)
    assert s["sums_bytes"] == sum(size for name, size in weights.items() if name.endswith(".sum"))
    assert facts.summary(plain)["sums_bytes"] == 0 and "sums" not in facts.table(plain)
    assert f"({s['sums_bytes']} of it sums of updates)" in facts.table(heavy)


def fold(bench):
    bench.net.run_phase("fold")


def total(bench, layer):
    """Weights less their sums, in 2^-8 of a step: no fold changes it."""
    s = next(s for s in bench.c.program.phases["fold"] if s.layer == layer and s.kernel == "fold_weights")
    unit = 1 << 8 - bench.c.plan.residual
    return held(bench, s, "weights") * unit - bench.read(s.values["acc"], "<i2")


@pytest.mark.parametrize("kernels", TIERS)
@pytest.mark.parametrize("residual", (8, 4, 0))
def test_every_sum_reaches_its_weight(residual, kernels):
    bench = Bench(compiled(network(), "full", optimizer="momentum", residual=residual), tier(kernels))
    rng = np.random.default_rng(5)
    for b in bench.c.program.state:
        if b.name.endswith("weights.sum"):
            bench.write(b, rng.integers(-6000, 6001, b.size // 2), "<i2")
        elif b.name.endswith("bias.sum"):
            bench.write(b, rng.integers(-90000, 90001, b.size // 4), "<i4")
        elif b.name.endswith(".weights") and b.name != "head.weights":
            bench.write(b, rng.integers(-90, 91, b.size), "<i1")
    before, totals = (
        state(bench),
        {layer: total(bench, layer) for layer in ("conv_0", "depthwise_1", "conv_4")},
    )
    for _ in range(180):
        fold(bench)
    for layer, whole in totals.items():
        assert np.array_equal(total(bench, layer), whole)
    after = state(bench)
    for name in ("head.weights", "head.bias", "conv_0.bias", "depthwise_1.bias"):
        assert np.array_equal(after[name], before[name] - before[name + ".sum"])
    left = 0 if residual == 8 else (128 >> residual) / (1 - KEEP)  # of which a share is less than half a unit
    assert all(np.abs(v).max() <= left for name, v in after.items() if name.endswith(".sum"))


@pytest.mark.parametrize("kernels", TIERS)
@pytest.mark.parametrize("name, least", [("conv_stride2", 5), ("two_skips_and_a_branch", 9)])
def test_the_path_is_that_of_float_momentum(name, least, kernels):
    """Each step's move of every weight, bias and of the head, over 30 steps of real samples.

    The reference takes the real gradient where the network stands and keeps its own velocity in floats.
    """
    c = compiled(around(OPERATORS[name]), "full", optimizer="momentum", rate=RATE)
    xs = inputs(c.trunk, 4)
    bench = Bench(c, tier(kernels))
    bench.randomize_head(1, xs)
    for _ in range(3):
        bench.settle(xs, [0, 1, 2, 3])
    velocity, wanted, got, sgd = {}, {}, {}, {}
    for i in range(STEPS):
        before = numbers(bench)
        for key, gradient in gradients(bench, xs[i % 4], i % 4).items():
            velocity[key] = KEEP * velocity.get(key, 0) + RATE * gradient.ravel()
            wanted.setdefault(key, []).append(-(1 - KEEP) * velocity[key])
            sgd.setdefault(key, []).append(-RATE * gradient.ravel())
        step(bench.net, xs[i % 4], i % 4)
        for key, value in numbers(bench).items():
            got.setdefault(key, []).append(value - before[key])
    known = [key for key in wanted if fits(key, np.abs(wanted[key]).mean())]
    assert {"head.weights", "head.bias"} < set(known) and len(known) >= least
    for key in known:
        score = check_direction(key, got[key], wanted[key])
        assert score > cosine(np.ravel(got[key]), np.ravel(sgd[key])) + 0.3, key


def fits(name, move):
    """Weights that do not saturate, biases that move by more than two units."""
    return move < 1 if name.startswith("head") or name.endswith("weights") else move > 2


def numbers(bench):
    """{name: real value in steps} of all that moves."""
    pieces = state(bench)
    found = {"head.weights": pieces["head.weights"] / 4096, "head.bias": pieces["head.bias"] / 65536}
    for u in bench.c.plan.updates:
        found[u.layer + ".weights"] = pieces[u.layer + ".weights"] + pieces[u.layer + ".residual"] / 256
        found[u.layer + ".bias"] = pieces[u.layer + ".bias"].astype(float)
    return found


def gradients(bench, x, label):
    """What the float64 model says where the network stands, in the units in which it moves."""
    saved = bytearray(bench.net.state_bytes)
    bench.net.read_state(0, memoryview(saved))
    here = Bench(
        dataclasses.replace(bench.c, trunk=Contents(bench.c.data, bytes(saved)).graph()), net=bench.net
    )
    _, layers, trace = expected(here, x, label, Exact())
    pieces, head = state(bench), bench.c.plan.head
    w = pieces["head.weights"].reshape(head.classes, -1)
    err = softmax_error(trace, head, w, pieces["head.bias"], label)[1]
    f = bench.c.trunk[head.features]
    features = (trace.values[head.features].ravel() - f.zero_point) * f.scale[0]
    found = {"head.weights": np.outer(err, features), "head.bias": err}
    for layer, about in layers.items():
        for role in ("weights", "bias"):
            found[f"{layer}.{role}"] = real_update(bench.c, layer, role, about)
    return found


def test_one_sample_moves_as_far_as_without():
    """The rate means the same: what one sample adds arrives in full, a tenth of it at once."""
    moved = []
    for optimizer in ("sgd", "momentum"):
        c = compiled(around(OPERATORS["conv_stride2"]), "full", optimizer=optimizer, rate=0.05)
        bench, x = Bench(c, fastest()), inputs(c.trunk, 1)
        bench.randomize_head(1, x)
        for _ in range(8):
            bench.settle(x, [2])
        before = numbers(bench)
        step(bench.net, x[0], 2)
        first = {name: v - before[name] for name, v in numbers(bench).items()}
        for _ in range(180 if optimizer == "momentum" else 0):
            fold(bench)
        moved.append((first, {name: v - before[name] for name, v in numbers(bench).items()}))
    (_, plain), (first, heavy) = moved
    for name in plain:
        unit = {"head.weights": 1 / 4096, "head.bias": 1 / 65536}.get(
            name, 1 if name.endswith("bias") else 1 / 256
        )
        assert np.abs(plain[name] - heavy[name]).max() <= unit + 0.02 * np.abs(plain[name]).max(), name
        assert np.abs(first[name] - (1 - KEEP) * plain[name]).max() <= unit, name
    assert sum(v.any() for v in plain.values()) >= 6


@pytest.mark.parametrize("kernels", TIERS)
def test_it_learns_and_goes_on_where_nothing_is_to_learn(kernels):
    c = compiled(network(), "full", optimizer="momentum", accumulate=2, rate=0.02)
    bench, xs = Bench(c, tier(kernels)), inputs(network(), 4)
    bench.net.begin(120)
    losses = [step(bench.net, xs[i % 4], i % 4) for i in range(120)]
    assert np.mean(losses[-8:]) < 0.6 * np.mean(losses[:8])
    sums = state(bench)["head.weights.sum"]
    set_sample(bench.net, xs[0], 0)
    bench.write(bench.state("head.bias"), [1 << 29, 0, 0, 0], "<i4")  # sure of itself: the error is 0
    for _ in range(2):
        bench.net.train_input()
    after = state(bench)["head.weights.sum"]
    assert np.abs(after).sum() < np.abs(sums).sum() and np.array_equal(after, np.fix(sums * KEEP))
