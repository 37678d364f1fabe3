"""From graph and plan to a package: random networks run alike everywhere, and train what they should."""

import dataclasses
import json
import math
import struct

import numpy as np
import pytest
from checks import check_forward, head
from helpers import TIERS, Bench, all_apart, calibrated, compiled, fastest, inputs, load, state, step, tier
from models import Builder
from networks import random_graph, random_plan
from networks import skip_block as network
from trimtab_tools.boards import simulated
from trimtab_tools.errors import ModelError
from trimtab_tools.graph import ir
from trimtab_tools.operators import oracle
from trimtab_tools.operators.registry import WEIGHTED
from trimtab_tools.policies.head import weight_limit


def random_case(seed, tmp_path):
    rng = np.random.default_rng(seed + 2000)
    graph = random_graph(seed)
    head_off = ir.Graph(graph.tensors, graph.ops[:-2], graph.inputs, (graph.ops[-2].inputs[0],))
    own_head = graph.ops[-1].kind == "softmax"
    policy = random_plan(head_off if own_head else graph, seed, tmp_path / "plan.json")
    return compiled(
        graph,
        policy,
        residual=int(rng.choice([8, 8, 4, 0])),
        accumulate=int(rng.choice([1, 1, 3])),
        optimizer=str(rng.choice(["sgd", "sgd", "momentum"])),
        rate=float(rng.choice([1e-3, 0.03, 0.3])),
        classes=0 if own_head else 5,
    )


@pytest.mark.parametrize("seed", range(40))
def test_random_networks_agree_everywhere(seed, tmp_path):
    c = random_case(seed, tmp_path)
    with all_apart(c) as data:
        nets = [load(c, "plain"), load(c, tier("c")), simulated.load(data, fastest())]
    assert all(net.self_test() for net in nets[:2])
    xs = inputs(c.trunk, 4, seed)
    check_forward(c, fastest(), xs)
    for net in nets:
        net.begin(9)
    for i in range(7):
        losses = [step(net, xs[i % 4], i % net.classes) for net in nets]
        assert losses[0] == losses[1] == losses[2]
        assert len({net.state_crc() for net in nets}) == 1
        for net in nets:
            net.input_view[:] = xs[0].tobytes()
        assert len({net.classify_input() for net in nets}) == 1
        assert nets[0].outputs() == nets[1].outputs() == nets[2].outputs()


# -- what is trained -----------------------------------------------------------------------------------------


def trained(c, kernels="plain", n=12, total=0):
    """{name of a piece of state: its values} before and after n steps."""
    bench = Bench(c, kernels)
    before = state(bench)
    if total:
        bench.net.begin(total)
    losses = [step(bench.net, x, i % 4) for i, x in zip(range(n), inputs(c.trunk, n))]
    return before, state(bench), losses


def changed(before, after):
    return {name for name in before if not np.array_equal(before[name], after[name])} - {
        "exponents",
        "clock",
        "generator",
    }


@pytest.mark.parametrize("kernels", TIERS)
def test_bias_policy_moves_biases_only(kernels):
    c = compiled(network(), "bias", rate=0.1)
    names = changed(*trained(c, tier(kernels))[:2])
    assert names == {
        "conv_0.bias",
        "depthwise_1.bias",
        "conv_2.bias",
        "conv_4.bias",
        "head.weights",
        "head.bias",
    }
    assert all(
        c.trunk[op.inputs[1]].data.tobytes() == c.program.where[op.inputs[1]].data
        for op in c.trunk.ops
        if op.kind in WEIGHTED
    )


def test_last_policy_moves_the_head_only():
    c = compiled(network(), "last", rate=0.1)
    assert changed(*trained(c)[:2]) == {"head.weights", "head.bias"}
    assert not c.program.phases["backward"]


@pytest.mark.parametrize("kernels", TIERS)
def test_a_plan_moves_the_listed_channels_only(kernels, tmp_path):
    path = tmp_path / "plan.json"
    path.write_text(
        json.dumps(
            {
                "updates": [
                    {"layer": "conv_2", "bias": False, "weight_channels": [1, 4]},
                    {"layer": "depthwise_1", "bias": True, "weight_channels": [0, 5], "axis": "out"},
                ]
            }
        )
    )
    c = compiled(network(), f"plan:{path}", rate=0.3)
    before, after, _ = trained(c, tier(kernels))
    assert changed(before, after) == {
        "conv_2.weights",
        "conv_2.residual",
        "depthwise_1.weights",
        "depthwise_1.residual",
        "depthwise_1.bias",
        "head.weights",
        "head.bias",
    }
    assert before["conv_2.weights"].size == 6 * 2 and before["depthwise_1.weights"].size == 9 * 2
    whole = c.trunk["w7"].data  # conv_2: its trained channels are its input's
    frozen = np.frombuffer(c.program.where["w7"].data, np.int8).reshape(whole.shape)
    assert np.array_equal(before["conv_2.weights"].reshape(6, 1, 1, 2), whole[..., [1, 4]])
    assert not frozen[..., [1, 4]].any() and np.array_equal(
        np.delete(frozen, [1, 4], -1), np.delete(whole, [1, 4], -1)
    )


@pytest.mark.parametrize("kernels", TIERS)
@pytest.mark.parametrize("residual", (8, 4, 0))
def test_every_residual_learns(residual, kernels):
    c = compiled(network(), "full", residual=residual, rate=0.02)
    bench = Bench(c, tier(kernels))
    xs = inputs(c.trunk, 4)
    bench.net.begin(120)
    losses = [step(bench.net, xs[i % 4], i % 4) for i in range(120)]
    assert losses[0] == pytest.approx(1024 * math.log(4), abs=4)
    assert np.mean(losses[-8:]) < 0.6 * np.mean(losses[:8])
    planes = {b.name: b.size for b in c.program.state}
    assert planes.get("conv_2.residual", 0) == 36 * residual // 8


@pytest.mark.parametrize("kernels", TIERS)
def test_accumulated_sums_fold_after_n_samples(kernels):
    c = compiled(network(), "full", accumulate=3, rate=0.3)
    bench = Bench(c, tier(kernels))
    bench.randomize_head(1, inputs(c.trunk, 4))
    first = state(bench)
    weights = {name for name in first if name.endswith((".weights", ".bias"))}
    for i, x in enumerate(inputs(c.trunk, 6)):
        before = state(bench)
        step(bench.net, x, i % 4)
        after = state(bench)
        moved = changed(before, after)
        if i % 3 < 2:
            assert moved and all(name.endswith(".sum") for name in moved)
        else:
            assert not any(after[name].any() for name in after if name.endswith(".sum"))
            assert moved & weights == {
                name for name in weights if not np.array_equal(first[name], after[name])
            }
            assert "conv_4.weights" in moved and "head.weights" in moved


def test_accumulation_is_the_mean_of_its_samples():
    """One sample three times, accumulated, moves a weight as one step at the same rate does: 7 bits of it."""
    graph = network()
    one, three = (Bench(compiled(graph, "full", accumulate=n, rate=0.05), fastest()) for n in (1, 3))
    x = inputs(graph, 4)
    for bench in (one, three):
        bench.randomize_head(1, x)
        bench.settle(np.repeat(x[:1], 12, 0), [1] * 12)
    kept = [state(b) for b in (one, three)]
    step(one.net, x[0], 1)
    for _ in range(3):
        step(three.net, x[0], 1)
    for pick in (lambda pieces: pieces["head.weights"], value):
        once, thrice = (pick(state(b)) - pick(k) for b, k in zip((one, three), kept))
        assert np.abs(once).max() > 40 and np.abs(once - thrice).max() <= 2 + np.abs(once).max() / 64


def value(pieces):
    return pieces["conv_4.weights"] * 256 + pieces["conv_4.residual"]


@pytest.mark.parametrize("kernels", TIERS)
@pytest.mark.parametrize("total", (64, 150, 3))
def test_the_rate_falls_along_a_cosine(total, kernels):
    b = Builder((1, 1, 4), 1)
    b.conv(4, (1, 1))
    c = compiled(b.graph(), "last", rate=0.01)
    bench, seen = Bench(c, tier(kernels)), []

    def after(s, again):
        if s.kernel == "begin_step":
            rate, shift = bench.read(s.values["lr"], "<i4")
            assert 128 <= rate <= 255
            seen.append(rate * 2.0**-shift)

    x = inputs(c.trunk, 1)[0]
    bench.net.begin(total)
    for i in range(total + 2):
        bench.net.clock[:4] = struct.pack("<I", i)
        bench.run(x, 0, after=after)
    for i, rate in enumerate(seen):
        at = (min(i * 64 // total, 63) + 0.5) / 64
        assert rate == pytest.approx(
            0.01 * 0.5 * (1 + math.cos(math.pi * at)), rel=0.005, abs=0.01 / 32767
        ), i
    bench.net.begin(0)
    bench.run(x, 0, after=after)
    assert seen[-1] == pytest.approx(0.01, rel=0.004)


@pytest.mark.parametrize("kernels", TIERS)
def test_an_autoencoder_learns(kernels):
    b = Builder((1, 1, 16), 5)
    b.dense(8, act="relu", scale=0.05, zero=-128)
    b.dense(16, scale=0.05, zero=0)
    xs = inputs(b.graph(), 6)
    graph = calibrated(b.graph(), xs)
    net = load(compiled(graph, "last", loss="mse", rate=0.004), tier(kernels))
    net.begin(240)
    losses = [step(net, xs[i % 6], xs[i % 6]) for i in range(240)]
    wanted = oracle.forward(graph, xs[:1])["dense_1"][0].astype(int) - xs[0].ravel()
    assert losses[0] == pytest.approx((wanted**2).mean(), abs=0.51)
    assert np.mean(losses[-12:]) < 0.7 * np.mean(losses[:12])


# -- heads ---------------------------------------------------------------------------------------------------


def test_the_models_own_head_is_widened():
    """Real logits of the 16-bit head are those of the dense layer, but for its rounding; so are classes."""
    b = Builder((5, 5, 3), 8)
    b.conv(8, act="relu", scale=0.05, zero=-128)
    b.mean(scale=0.03, zero=-90)
    b.dense(6, scale=0.02, zero=4)
    b.softmax()
    xs = inputs(b.graph(), 12)
    graph = calibrated(b.graph(), xs)
    c = compiled(graph, "last", classes=0)
    logits = oracle.forward(graph, xs)["dense_2"].astype(int)
    for kernels in TIERS:
        net = load(c, tier(kernels))
        assert net.classes == 6
        for x, want in zip(xs, logits):
            net.input_view[:] = x.tobytes()
            found = net.classify_input()
            assert np.abs((want - 4) * 0.02 - net.outputs())[np.abs(want) < 127].max() < 0.02
            assert want[found] == want.max()


@pytest.mark.parametrize("kernels", TIERS)
@pytest.mark.parametrize("features,limit", ((256, 32767), (300, 16384), (700, 8192)))
def test_wide_heads_do_not_overflow(features, limit, kernels):
    """The largest weights on the largest inputs: logits stay in 32 bits and keep their order."""
    assert weight_limit(features) == limit
    b = Builder((1, 1, features), 1, scale=0.02, zero=-128)
    b.unary("requantize", scale=0.02, zero=-128)
    c = compiled(b.graph(), "last", classes=3, rate=0.5)
    bench = Bench(c, tier(kernels))
    w = np.array([[limit], [limit - 1], [-limit]]) * np.ones(features)
    bench.write(bench.state("head.weights"), w, "<i2")
    x = np.full(features, 127, np.int8)
    bench.net.input_view[:] = x.tobytes()
    assert bench.net.classify_input() == 0
    want = w @ np.full(features, 255) * 0.02 / 4096
    assert np.allclose(bench.net.outputs(), want, rtol=1e-6) and np.abs(want).max() * 4096 / 0.02 < 2**31
    for _ in range(30):
        step(bench.net, x, 2)
    assert np.abs(head(bench)[0]).max() <= limit
    assert bench.net.classify_input() in (0, 1, 2)


# -- what is refused -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ("avg_pool", "max_pool"))
def test_training_below_a_pool_that_clamps_is_refused(kind):
    """The pools keep no mask, so a gradient would pass where the output was clamped."""
    b = Builder((6, 6, 2), 1)
    b.conv(4, scale=0.05, zero=0)
    b.pool(kind, act="relu")
    graph = b.graph()
    with pytest.raises(ModelError, match=f"layer {kind}_1: training below a pool .*: train later layers"):
        compiled(graph, "full")
    assert compiled(graph, "last").program.phases["backward"] == []


def test_training_below_a_softmax_is_refused():
    b = Builder((4, 4, 2), 1)
    b.conv(4, scale=0.05, zero=0)
    b.softmax()
    b.mean(scale=1 / 256, zero=-128)
    with pytest.raises(ModelError, match="training below a softmax is not supported: train later layers"):
        compiled(b.graph(), "full")


def test_a_branch_that_the_loss_does_not_see_is_not_trained():
    b = Builder((4, 4, 2), 1)
    x = b.conv(4, scale=0.05, zero=0)
    b.conv(4, (1, 1), scale=0.05, zero=0)
    c = compiled(dataclasses.replace(b.graph(), outputs=(x,)), "full")
    assert {s.layer for s in c.program.phases["backward"]} == {"conv_0"}
