"""Plans: what a policy trains, which head it makes, and what it refuses."""

import json

import numpy as np
import pytest
from models import Builder
from networks import classifier as graph
from trimtab_tools.errors import ModelError
from trimtab_tools.policies.head import weight_limit
from trimtab_tools.policies.make import make_plan
from trimtab_tools.policies.plan import Update, channel_strength


def by_hand(tmp_path, *rows):
    path = tmp_path / "plan.json"
    path.write_text(json.dumps({"updates": rows}))
    return f"plan:{path}"


def test_policies():
    assert make_plan(graph(), "none")[1].updates == () and make_plan(graph(), "none")[1].loss == "none"
    assert make_plan(graph(), "last")[1].updates == ()
    assert make_plan(graph(), "bias")[1].updates == (
        Update("conv_0", True, (), "in"),
        Update("depthwise_1", True, (), "out"),
    )
    full = make_plan(graph(), "full")[1]
    assert full.of("conv_0") == Update("conv_0", True, (0, 1, 2), "in")
    assert full.of("depthwise_1") == Update("depthwise_1", True, tuple(range(8)), "out")


def test_a_ratio_takes_the_strongest_channels(tmp_path):
    policy = by_hand(
        tmp_path, {"layer": "depthwise_1", "weight_channels": 0.4, "bias": False}, {"layer": "conv_0"}
    )
    g = graph()
    chosen = make_plan(g, policy)[1]
    strength = channel_strength(g[g.ops[1].inputs[1]].data)
    assert [u.layer for u in chosen.updates] == ["conv_0", "depthwise_1"]  # the model's order
    assert (
        set(chosen.of("depthwise_1").channels) == set(np.argsort(-strength)[:3])
        and not chosen.of("depthwise_1").bias
    )
    assert chosen.of("conv_0") == Update("conv_0", True, (), "in")


def test_channel_strength_is_the_norm_along_the_last_axis():
    w = np.arange(2 * 3 * 1 * 4, dtype=np.int8).reshape(2, 3, 1, 4)
    assert np.allclose(channel_strength(w), [np.linalg.norm(w[..., i]) for i in range(4)])


def test_a_new_head_is_zero_and_in_the_order_of_the_labels():
    trunk, chosen = make_plan(graph(), "last", labels=("cat", "dog", "emu"))
    assert [op.kind for op in trunk.ops] == ["conv", "depthwise", "mean"]
    assert chosen.labels == ("cat", "dog", "emu") and chosen.head.weights.shape == (3, 8)
    assert not chosen.head.weights.any() and not chosen.head.bias.any()
    assert make_plan(graph(head=False), "last", classes=7)[1].head.weights.shape == (7, 8)


def test_the_models_own_head_is_widened():
    g = graph()
    head = make_plan(g, "last")[1].head
    w, b, f = (*map(g.__getitem__, g.ops[3].inputs[1:]), g[head.features])
    assert np.array_equal(head.weights, np.clip(np.rint(4096 * w.scale[:, None] * w.data), -32767, 32767))
    assert np.array_equal(head.bias, np.rint(65536 * w.scale * f.scale[0] * b.data))


def test_a_head_may_be_a_convolution_on_one_position():
    b = Builder((4, 4, 3), 1)
    b.mean(keepdims=True)
    b.conv(5, (1, 1))
    b.reshape(5)
    b.softmax()
    trunk, chosen = make_plan(b.graph(), "last")
    assert chosen.head.weights.shape == (5, 3) and [op.kind for op in trunk.ops] == ["mean"]


@pytest.mark.parametrize("features", (1, 16, 256, 257, 300, 512, 513, 700, 1024, 5000, 65536))
def test_the_widest_sum_of_a_head_stays_in_32_bits(features):
    assert weight_limit(features) * 255 * features < 2**31 and weight_limit(features) >= 64


def test_regression_trains_its_last_layer():
    g = graph()
    trunk, chosen = make_plan(g, "last", loss="mse")
    assert trunk.ops[-1].kind == "dense" and chosen.head is None
    assert chosen.updates == (Update("dense_3", True, tuple(range(8)), "in"),)
    kept = make_plan(g, "full", loss="mse")[1]
    assert [u.layer for u in kept.updates] == ["conv_0", "depthwise_1", "dense_3"]


REFUSED = {
    "policy nowhere is unknown": dict(policy="nowhere"),
    "learning rate of 2": dict(rate=2),
    "use 1 to 256": dict(accumulate=0),
    "same name": dict(labels=("a", "a")),
}


@pytest.mark.parametrize("message", REFUSED)
def test_refused(message):
    with pytest.raises(ModelError, match=message):
        make_plan(graph(), **{"policy": "last", **REFUSED[message]})


ROWS = {
    "names layer 'nobody'": [{"layer": "nobody"}],
    "twice": [{"layer": "conv_0"}, {"layer": "conv_0"}],
    "trains channels of axis 'in', not 'out'": [{"layer": "conv_0", "axis": "out"}],
    "has channels 0 to 2": [{"layer": "conv_0", "weight_channels": [0, 3]}],
    "correct the plan's list": [{"layer": "conv_0", "weight_channels": [0, "one"]}],
    "not a ratio": [{"layer": "conv_0", "weight_channels": 1.5}],
}


@pytest.mark.parametrize("message", ROWS)
def test_plans_by_hand_that_are_refused(message, tmp_path):
    with pytest.raises(ModelError, match=message):
        make_plan(graph(), by_hand(tmp_path, *ROWS[message]))


NO_PLANS = (
    "",
    "[]",
    '{"updates": 3}',
    '{"updates": [3]}',
    '{"updates": [{"layer": "conv_0", "weight_channels": "all"}]}',
)


@pytest.mark.parametrize("text", NO_PLANS)
def test_files_that_are_no_plans_are_refused(text, tmp_path):
    path = tmp_path / "plan.json"
    path.write_text(text)
    with pytest.raises(ModelError):
        make_plan(graph(), f"plan:{path}")
    with pytest.raises(ModelError, match="cannot be read"):
        make_plan(graph(), f"plan:{tmp_path / 'absent.json'}")


def test_a_model_without_a_head_needs_classes():
    with pytest.raises(ModelError, match="--labels or --classes"):
        make_plan(graph(head=False), "last")


def test_regression_needs_a_trainable_end():
    with pytest.raises(ModelError, match="ends in a dense or conv"):
        make_plan(graph(head=False), "last", loss="mse")
