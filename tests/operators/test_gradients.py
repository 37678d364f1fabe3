"""Every operator's gradients against a float64 model: direction, size, and equality where it rounds alike."""

import dataclasses
import json

import numpy as np
import pytest
from checks import (
    Observation,
    check_forward,
    check_gradients,
    check_same_rounding,
    check_updates,
    head,
    real_gradient,
    settled,
)
from float_reference import CURVES, Exact, Trace, softmax_error, squared_error
from helpers import TIERS, calibrated, compiled, fastest, inputs, tier
from models import Builder
from operator_graphs import OPERATORS, SAMPLES, around, case
from trimtab_tools.operators.registry import WEIGHTED


@pytest.mark.parametrize("kernels", TIERS)
@pytest.mark.parametrize("name", OPERATORS)
def test_gradients_of(name, kernels):
    c, xs, ys = case(name, accumulate=2)
    kernels = tier(kernels)
    check_forward(c, kernels, xs)
    check_gradients(c, kernels, xs, ys)
    check_same_rounding(c, kernels, xs, ys)


@pytest.mark.parametrize("kernels", TIERS)
@pytest.mark.parametrize("residual", (8, 4, 0))
@pytest.mark.parametrize("name", ("conv_stride2", "depthwise_multiplier", "dense_on_reshaped"))
def test_updates_of(name, residual, kernels):
    c, xs, ys = case(name, residual=residual)
    for steps in (0.01, 3, 90):
        check_updates(c, tier(kernels), xs, ys, steps)


@pytest.mark.parametrize("kernels", TIERS)
@pytest.mark.parametrize("name", ("conv3x3", "depthwise_stride2", "two_skips_and_a_branch"))
def test_gradients_of_some_channels(name, kernels, tmp_path):
    """Frozen and trained weights of one layer lie in two places; errors need both."""
    graph = around(OPERATORS[name])
    layers = [op for op in graph.ops if op.kind in WEIGHTED]
    rows = [
        {"layer": op.name, "bias": i % 2 == 0, "weight_channels": [0, 2] if i % 3 else 0.5}
        for i, op in enumerate(layers)
    ]
    path = tmp_path / "plan.json"
    path.write_text(json.dumps({"updates": rows}))
    c, xs, ys = case(name, policy=f"plan:{path}", accumulate=2)
    check_forward(c, tier(kernels), xs)
    check_gradients(c, tier(kernels), xs, ys)
    check_same_rounding(c, tier(kernels), xs, ys)


@pytest.mark.parametrize("kernels", TIERS)
@pytest.mark.parametrize("name", ("conv_stride2", "add", "dense_on_reshaped"))
def test_gradients_of_squared_error(name, kernels):
    b = Builder((6, 6, 3), 4)
    b.conv(6, act="relu", scale=0.1, zero=-128)
    OPERATORS[name](b)
    b.conv(3, (1, 1), scale=0.07, zero=20) if len(b.shape()) == 4 else b.dense(9, scale=0.07, zero=20)
    graph = b.graph()
    xs = inputs(graph, SAMPLES)
    graph = calibrated(graph, xs)
    ys = inputs(dataclasses.replace(graph, inputs=graph.outputs), SAMPLES, seed=5)
    c = compiled(graph, loss="mse", accumulate=2)
    check_gradients(c, tier(kernels), xs, ys)
    check_same_rounding(c, tier(kernels), xs, ys)
    check_updates(compiled(graph, loss="mse"), tier(kernels), xs, ys)


def test_a_wide_layer_keeps_its_sums_in_32_bits():
    """1,200 outputs: d loses two bits more, so that its sum stays below 2^30; extremes are the worst case."""
    b = Builder((1, 1, 4), 2)
    b.conv(3, (1, 1), scale=0.1, zero=0)
    b.conv(1200, (1, 1), scale=0.1, zero=0)
    b.conv(8, (1, 1), scale=0.1, zero=0)
    graph = b.graph()
    xs = (
        np.random.default_rng(3)
        .choice(np.array([-128, 127], np.int8), (SAMPLES, 1, 1, 1, 4))
        .reshape(-1, 1, 1, 4)
    )
    graph = calibrated(graph, xs)
    c = compiled(graph, accumulate=2)
    wide = next(s for s in c.program.phases["backward"] if s.kernel == "conv_dx" and s.values["oc"] == 1200)
    assert wide.values["m_shift"] == 10
    for kernels in TIERS:
        check_gradients(c, tier(kernels), xs, [0, 1, 2, 3])


def test_a_gradient_that_is_zero_stays_zero():
    """A layer whose outputs are all clamped learns nothing, and nothing below it does."""
    b = Builder((4, 4, 2), 6)
    b.conv(4, scale=0.1, zero=0)
    b.conv(4, act="relu", scale=0.1, zero=-128)
    b.conv(4, (1, 1), scale=0.1, zero=0)
    graph = calibrated(b.graph(), inputs(b.graph(), SAMPLES))
    dead = graph.ops[1].inputs[2]
    graph.tensors[dead] = dataclasses.replace(graph[dead], data=np.full(4, -(1 << 28), np.int32))
    c = compiled(graph, accumulate=2)
    bench = settled(c, fastest(), inputs(graph, SAMPLES), [0, 1, 2, 3])
    seen = Observation(bench, inputs(graph, 1)[0], 3)
    assert seen.reached
    for tensor in ("conv_0", "conv_1"):
        assert not seen.errors[tensor].any() and not any(
            seen.sums[tensor, role].any() for role in ("weights", "bias")
        )
    assert seen.sums["conv_2", "bias"].any()


# -- the reference itself ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    (
        "conv_stride2",
        "depthwise_multiplier",
        "avg_pool_same",
        "max_pool_overlapping",
        "concat",
        "requantize",
        "dense_on_reshaped",
        "two_skips_and_a_branch",
    ),
)
def test_the_reference_agrees_with_finite_differences(name):
    """Without rounding, the loss slopes along random directions of all weights as backward says."""
    c, xs, ys = case(name)
    bench = settled(c, fastest(), xs, ys)
    rng = np.random.default_rng(0)
    w, b = head(bench)
    ops = [op for op in c.trunk.ops if op.kind in WEIGHTED]

    def loss(shifts):
        moved = {
            op.inputs[i]: dataclasses.replace(c.trunk[op.inputs[i]], data=c.trunk[op.inputs[i]].data + d)
            for (op, i), d in shifts.items()
        }
        graph = dataclasses.replace(c.trunk, tensors={**c.trunk.tensors, **moved})
        return softmax_error(Trace(graph, xs[0], rounded=False), c.plan.head, w, b, ys[0])[0]

    trace = Trace(c.trunk, xs[0], rounded=False)
    error = softmax_error(trace, c.plan.head, w, b, ys[0])[2]
    layers = trace.backward(c.plan.head.features, error, Exact())[1]
    for op in ops:
        about = layers[op.name]
        for i, grad in ((1, real_gradient(op, about)), (2, about["bias"] * about["scale"])):
            d = rng.standard_normal(grad.shape)
            step = 1e-5 / np.abs(grad * d).sum()
            slope = (loss({(op, i): step * d}) - loss({(op, i): -step * d})) / (2 * step)
            assert slope == pytest.approx((grad * d).sum(), rel=1e-3, abs=1e-4 * np.abs(grad * d).sum()), (
                op.name
            )


@pytest.mark.parametrize("kind", CURVES)
def test_the_slopes_of_curves(kind):
    curve, slope = CURVES[kind]
    v = np.linspace(-8, 8, 778)  # hits no kink
    assert np.allclose((curve(v + 1e-6) - curve(v - 1e-6)) / 2e-6, slope(v), atol=1e-6)


def test_the_squared_error_is_what_its_gradient_says():
    b = Builder((1, 1, 4), 3)
    b.conv(5, (1, 1), scale=0.07, zero=20)
    graph = calibrated(b.graph(), inputs(b.graph(), SAMPLES))
    target = np.arange(5)

    def loss(d):
        op = graph.ops[0]
        bias = dataclasses.replace(graph[op.inputs[2]], data=graph[op.inputs[2]].data + d)
        moved = dataclasses.replace(graph, tensors={**graph.tensors, bias.name: bias})
        return squared_error(Trace(moved, inputs(graph, 1)[0], rounded=False), target)[0]

    trace = Trace(graph, inputs(graph, 1)[0], rounded=False)
    about = trace.backward("conv_0", squared_error(trace, target)[1], Exact())[1]["conv_0"]
    for k in range(5):
        d = np.eye(5)[k] * 1e-4
        assert (loss(d) - loss(-d)) / 2e-4 == pytest.approx(
            (about["bias"] * about["scale"])[k], rel=1e-4, abs=1e-12
        )
