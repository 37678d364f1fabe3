"""Policy mobiletl: blocks with step-function gradients and gains, against a float64 model; what it costs."""

import dataclasses

import numpy as np
import pytest
from checks import check_forward, check_gradients, check_same_rounding, check_updates, settled
from helpers import TIERS, calibrated, compiled, fastest, inputs, load, provide, step, tier
from models import Builder
from places import PLACES, simulated
from sampled import others_slow
from trimtab_tools import cli
from trimtab_tools.compiler import cost, facts
from trimtab_tools.errors import ModelError
from trimtab_tools.formats import read_keras, read_tflite, write_tflite
from trimtab_tools.graph.blocks import find
from trimtab_tools.operators import oracle

SAMPLES = 4
RELU6 = {"act": "relu6", "scale": 6 / 255, "zero": -128}
ONE = 1 << 30


def inverted(b, expanded, out, stride, swish):
    """An inverted residual block as MobileNetV2 (ReLU6, fused) or V3 (hard-swish, on its own) has it."""
    start, act = b.x, dict(scale=0.05, zero=0) if swish else RELU6
    b.conv(expanded, (1, 1), **act)
    if swish:
        b.unary("hard_swish", scale=0.04, zero=-120)
    b.depthwise(stride=(stride, stride), **act)
    if swish:
        b.unary("hard_swish", scale=0.04, zero=-120)
    b.conv(out, (1, 1), scale=0.08, zero=5)
    if stride == 1 and b.shape() == b.shape(start):
        b.add(start, b.x, scale=0.1, zero=-4)


def network(swish=False, blocks=((12, 8, 2), (16, 8, 1), (20, 8, 1)), seed=3):
    """Blocks (expanded, out, stride) with and without skip, and what stands behind the last one."""
    b = Builder((8, 8, 3), seed)
    b.conv(8, act="relu", scale=0.05, zero=-128)
    for block in blocks:
        inverted(b, *block, swish)
    b.conv(24, (1, 1), scale=0.05, zero=3)
    b.mean(scale=0.02, zero=-5)
    graph = b.graph()
    return calibrated(graph, inputs(graph, SAMPLES))


def separable():
    """A depthwise-separable pair, with a ReLU also behind its second layer."""
    b = Builder((8, 8, 3), 6)
    b.conv(6, **RELU6)
    b.depthwise(**RELU6)
    b.conv(16, (1, 1), act="relu", scale=0.05, zero=-128)
    b.conv(24, (1, 1), scale=0.05, zero=3)
    b.mean(scale=0.02, zero=-5)
    graph = b.graph()
    return calibrated(graph, inputs(graph, SAMPLES))


def behind():
    """MobileNetV3's last conv, with an activation of its own."""
    b = Builder((8, 8, 3), 7)
    b.conv(8, act="relu", scale=0.05, zero=-128)
    inverted(b, 24, 16, 2, True)
    b.conv(24, (1, 1), scale=0.05, zero=0)
    b.unary("hard_swish", scale=0.04, zero=-120)
    b.mean(scale=0.02, zero=-100)
    graph = b.graph()
    return calibrated(graph, inputs(graph, SAMPLES))


NETWORKS = {
    "relu6": lambda: network(blocks=[(24, 8, 1)]),
    "relu6_stride": lambda: network(blocks=[(24, 16, 2)]),
    "hard_swish": lambda: network(True, [(24, 8, 1)]),
    "hard_swish_stride": lambda: network(True, [(24, 16, 2)]),
    "separable": separable,
    "behind": behind,
}
DATA = [i % 4 for i in range(SAMPLES)]


# -- the plan ------------------------------------------------------------------------------------------------


def trained(c):
    return [u.layer for u in c.plan.updates]


def test_the_last_blocks_and_what_stands_behind_them():
    graph = network()
    layers = [op.name for op in graph.ops if op.kind in ("conv", "depthwise")]
    for policy, count in (("mobiletl:1", 4), ("mobiletl:2", 7), ("mobiletl", 10), ("mobiletl:3", 10)):
        c = compiled(graph, policy)
        assert trained(c) == layers[-count:]
        gains = [op.name for op in c.trunk.ops if "gain" in op.attrs]
        assert gains == [b.project.name for b in find(graph)][-((count - 1) // 3) :]
        assert all(u.bias and u.channels == tuple(range(len(u.channels))) for u in c.plan.updates)


def test_plans_and_reports_say_what_has_a_gain():
    c = compiled(network(), "mobiletl:1")
    said = facts.summary(c)["updates"]
    assert [u["layer"] for u in said if u.get("gain")] == [find(network())[-1].project.name]
    words = {row["layer"]: facts.trained(row) for row in facts.layers(c.trunk, c.plan, c.program)}
    assert [words[u["layer"]] for u in said] == ["weights, bias"] * 2 + [
        "weights, bias, gain",
        "weights, bias",
    ]


def test_the_forward_pass_is_that_of_the_model():
    for build in NETWORKS.values():
        graph = build()
        c = compiled(graph, "mobiletl:1")
        x = inputs(graph, SAMPLES)
        want = oracle.forward(graph, x)[c.plan.head.features]
        assert np.array_equal(oracle.forward(c.trunk, x)[c.plan.head.features], want)


@pytest.mark.parametrize("policy", ["mobiletl:0", "mobiletl:4", "mobiletl:x"])
def test_a_number_of_blocks_that_is_not_there(policy):
    with pytest.raises(ModelError, match="1 to 3"):
        compiled(network(), policy)


def test_a_model_without_blocks():
    b = Builder((6, 6, 3))
    b.conv(4)
    b.mean()
    with pytest.raises(ModelError, match="needs depthwise layers"):
        compiled(b.graph(), "mobiletl")


@pytest.mark.keras
def test_a_keras_network_with_hard_swish():
    """As converters leave it: hard-swish and pads as operators of their own."""
    tf = pytest.importorskip("tensorflow", reason="needs TensorFlow: pip install trimtab[keras]")
    layers = tf.keras.layers
    tf.keras.utils.set_random_seed(3)

    def conv(x, make, act=True):
        x = layers.BatchNormalization(momentum=0.5)(make(x))
        return layers.Activation("hard_silu")(x) if act else x

    x = inputs = tf.keras.Input((16, 16, 3))
    x = conv(x, layers.Conv2D(8, 3, 2, padding="same", use_bias=False))
    for out, stride in ((8, 1), (16, 2), (16, 1)):
        y = conv(x, layers.Conv2D(24, 1, use_bias=False))
        if stride == 2:
            y = layers.ZeroPadding2D(((0, 1), (0, 1)))(y)
        depthwise = layers.DepthwiseConv2D(
            3, stride, padding="same" if stride == 1 else "valid", use_bias=False
        )
        y = conv(conv(y, depthwise), layers.Conv2D(out, 1, use_bias=False), act=False)
        x = layers.Add()([x, y]) if stride == 1 else y
    x = layers.GlobalAveragePooling2D()(conv(x, layers.Conv2D(32, 1, use_bias=False)))
    model = tf.keras.Model(inputs, layers.Dense(5, activation="softmax")(x))
    samples = np.random.default_rng(0).uniform(-1, 1, (40, 16, 16, 3)).astype(np.float32)
    model.compile("adam", "sparse_categorical_crossentropy")
    model.fit(samples, np.arange(40) % 5, epochs=4, verbose=0)  # so that norms know their inputs
    graph = read_tflite.read(read_keras.quantize(model, samples))
    found = find(graph)
    assert [bool(b.add) for b in found] == [True, False, True] and all(b.expand for b in found)
    c = compiled(graph, "mobiletl:2", rate=0.02)
    kinds = [op.attrs.get("slope") for op in c.trunk.ops if op.kind == "hard_swish"]
    assert kinds == [None] * 3 + ["bit"] * 5
    assert sum("gain" in op.attrs for op in c.trunk.ops) == 2 and len(trained(c)) == 7
    x = np.clip(
        np.rint(samples / graph[graph.inputs[0]].scale[0]) + graph[graph.inputs[0]].zero_point, -128, 127
    )
    x = x.astype(np.int8)
    check_forward(c, fastest(), x[:2])
    net = load(c, fastest())
    net.begin(200)
    losses = [step(net, x[i % 8], i % 8 % 4) for i in range(200)]
    assert sum(losses[-16:]) < 0.97 * sum(losses[:16])


# -- gradients -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kernels", TIERS)
@pytest.mark.parametrize("name", NETWORKS)
def test_gradients(name, kernels):
    graph = NETWORKS[name]()
    c, xs = compiled(graph, "mobiletl:1", accumulate=2), inputs(graph, SAMPLES)
    check_forward(c, tier(kernels), xs)
    check_gradients(c, tier(kernels), xs, DATA)
    check_same_rounding(c, tier(kernels), xs, DATA)


@pytest.mark.parametrize("kernels", TIERS)
@pytest.mark.parametrize("name", NETWORKS)
def test_updates(name, kernels):
    graph = NETWORKS[name]()
    c, xs = compiled(graph, "mobiletl:1"), inputs(graph, SAMPLES)
    for steps in (0.01, 3, 90):
        check_updates(c, tier(kernels), xs, DATA, steps)


def with_gains(c, kernels, xs):
    """A bench whose gains are not 1, and that knows its trunk with them."""
    bench = settled(c, kernels, xs, DATA)
    tensors, rng = dict(c.trunk.tensors), np.random.default_rng(2)
    for op in c.trunk.ops:
        if "gain" in op.attrs:
            w = tensors[op.inputs[1]]
            d = rng.integers(-ONE // 2, ONE // 2, len(w.scale))
            bench.write(bench.state(f"{op.name}.gain"), d, "<i4")
            tensors[w.name] = dataclasses.replace(w, scale=w.scale * (1 + d / ONE))
    bench.c = dataclasses.replace(c, trunk=dataclasses.replace(c.trunk, tensors=tensors))
    return bench


@pytest.mark.parametrize("kernels", TIERS)
def test_gains_scale_what_leaves_a_block(kernels):
    """Outputs are those of a model whose weights have other scales; so are gradients."""
    graph = NETWORKS["relu6"]()
    c, xs = compiled(graph, "mobiletl", accumulate=2), inputs(graph, SAMPLES)
    bench = with_gains(c, tier(kernels), xs)
    wrong = 0
    want = oracle.forward(bench.c.trunk, xs)[c.plan.head.features]
    for x, y in zip(xs, want):
        bench.net.input_view[:] = x.tobytes()
        bench.net.classify_input()
        got = bench.read(c.program.activations[c.plan.head.features])
        assert np.abs(got - y.ravel()).max() <= 1
        wrong += np.count_nonzero(got != y.ravel())
    assert wrong <= 2
    before = oracle.forward(graph, xs)[c.plan.head.features]
    assert np.count_nonzero(before != want) > want.size // 2
    check_gradients(c, None, xs, DATA, bench)


# -- what it costs -------------------------------------------------------------------------------------------


def kept(graph, policy):
    """{buffer: bytes} that the forward pass leaves for the backward pass."""
    return {b.name: b.size for b in cost.kept(compiled(graph, policy).program)}


def test_hard_swish_keeps_a_bit_of_each_input():
    graph = network(True, [(24, 8, 1)])
    ours, usual = kept(graph, "mobiletl:1"), kept(graph, "last:4")
    swishes = [op for op in graph.ops if op.kind == "hard_swish"]
    for op in swishes:
        size = graph[op.outputs[0]].size
        assert op.inputs[0] in usual and op.inputs[0] not in ours
        assert ours.pop(f"mask of {op.outputs[0]}") == size // 8
        assert f"mask of {op.inputs[0]}" in usual and f"mask of {op.inputs[0]}" not in ours
    gained = find(graph)[0].project
    assert ours.pop("factors of errors") == 2 * 8
    assert ours.pop(gained.outputs[0]) == 8 * 8 * 8  # the gain's own: what it scaled
    assert set(ours) < set(usual)


def test_relu6_keeps_what_it_always_kept_and_the_blocks_output():
    graph = network(blocks=[(24, 8, 1)])
    ours, usual = kept(graph, "mobiletl:1"), kept(graph, "last:4")
    assert ours.pop("factors of errors") == 2 * 8
    assert ours.pop(find(graph)[0].project.outputs[0]) == 8 * 8 * 8
    assert ours == usual


# -- the same bits everywhere --------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def packages(tmp_path_factory):
    folder = tmp_path_factory.mktemp("mobiletl")
    for name, swish, options in (("relu6", False, ["--accumulate=4"]), ("hard_swish", True, [])):
        (folder / "net.tflite").write_bytes(write_tflite.write(network(swish)))
        command = [
            "compile",
            f"{folder}/net.tflite",
            "--policy=mobiletl:2",
            "--lr=0.05",
            "--classes=4",
            *options,
        ]
        assert cli.main([*command, "-o", f"{folder}/{name}.ttp"]) == 0
    return folder


@pytest.mark.pico
@pytest.mark.unix
@pytest.mark.parametrize("name", others_slow(["relu6", "hard_swish"], "relu6"))
def test_twenty_steps_are_the_same_on_every_board(packages, capsys, name):
    for board, _ in PLACES:
        provide(board)
    results = {place: simulated(capsys, packages / f"{name}.ttp", *place, steps=20) for place in PLACES}
    first = results[PLACES[0]]
    assert len(set(first["losses"])) > 10
    for place, result in results.items():
        assert (result["state_crc"], result["losses"]) == (first["state_crc"], first["losses"]), place


@pytest.mark.parametrize("accumulate", [1, 4])
def test_gains_move_within_their_bounds(accumulate):
    graph = network(True)
    c = compiled(graph, "mobiletl", rate=0.5, accumulate=accumulate)
    bench = settled(c, fastest(), inputs(graph, SAMPLES), DATA)
    starts = [bench.read(b, "<i4") for b in c.program.state if b.name.endswith(".gain")]
    assert len(starts) == 3 and not any(map(np.any, starts))
    for i in range(40):
        step(bench.net, inputs(graph, SAMPLES)[i % SAMPLES], DATA[i % SAMPLES])
    for b in c.program.state:
        if b.name.endswith(".gain"):
            gain = np.abs(bench.read(b, "<i4"))
            assert ONE // 1000 < gain.max() <= ONE // 2 and np.count_nonzero(gain) > len(gain) // 2
