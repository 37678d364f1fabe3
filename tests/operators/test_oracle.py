"""Our integers against TensorFlow Lite's reference kernels: every tensor, every byte."""

from dataclasses import replace

import numpy as np
import pytest
from models import Builder, asset, f32, kernels_for, run, samples
from trimtab_tools.formats.read_tflite import read
from trimtab_tools.formats.write_tflite import write
from trimtab_tools.graph import rounding
from trimtab_tools.operators import oracle, weighted

SEEDS = 25
ACTS = ("none", "relu", "relu6", "relu_n1_to_1")


def differences(data, n, seed=0):
    """Names of the tensors that differ, over n inputs."""
    graph = read(data)
    x = samples(graph, n, seed)
    theirs, ours = run(data, x, kernels_for(graph)), oracle.forward(graph, x)
    known = {name: graph[name].index for name in ours if graph[name].index is not None}
    return [name for name, index in known.items() if not np.array_equal(ours[name], theirs[index])]


def random_input(seed, **quant):
    rng = np.random.default_rng(seed + 1000)
    shape = (*rng.integers(1, 12, 2), rng.integers(1, 9))
    return Builder(tuple(int(n) for n in shape), seed, **quant), rng


def random_window(b, rng):
    h, w = b.shape()[1:3]
    return {
        "kernel": tuple(int(rng.integers(1, min(7, n) + 1)) for n in (h, w)),
        "stride": tuple(int(n) for n in rng.integers(1, 3, 2)),
        "padding": str(rng.choice(["same", "valid"])),
        "act": str(rng.choice(ACTS)),
    }


def conv(seed):
    b, rng = random_input(seed)
    b.conv(int(rng.integers(1, 9)), **random_window(b, rng))
    return b


def depthwise(seed):
    b, rng = random_input(seed)
    b.depthwise(int(rng.integers(1, 4)), **random_window(b, rng))
    return b


def dense(seed):
    b, rng = random_input(seed)
    b.dense(int(rng.integers(1, 200)), act=str(rng.choice(ACTS)), per_channel=bool(seed % 2))
    return b


def dense_on_positions(seed):
    b, rng = random_input(seed)
    if seed % 2:
        b.reshape(int(np.prod(b.shape()[1:3])), b.shape()[3])
    b.dense(int(rng.integers(1, 30)), act=str(rng.choice(ACTS)), per_channel=True, positions=True)
    return b


def avg_pool(seed):
    b, rng = random_input(seed)
    b.pool("avg_pool", **random_window(b, rng))
    return b


def max_pool(seed):
    b, rng = random_input(seed)
    b.pool("max_pool", **random_window(b, rng))
    return b


def mean(seed):
    """Every third: sizes and scales that are powers of two, where sums fall on ties."""
    rng = np.random.default_rng(seed)
    even = seed % 3 == 0
    size = 2 ** rng.integers(0, 4, 2) if even else rng.integers(1, 40, 2)
    b = Builder((int(size[0]), int(size[1]), 16), seed, scale=2.0**-4 if even else None)
    ratio = 2.0 ** rng.integers(-3, 1) if even else rng.uniform(0.05, 1.5)
    b.mean(keepdims=bool(seed % 2), scale=b.tensors[b.x].scale[0] * ratio)
    return b


def mean_of_leading_axes(seed):
    b, rng = random_input(seed)
    axes = ((1,), (1, 2), (1, 2, 3))[seed % 3]
    if seed % 2:
        b.reshape(int(np.prod(b.shape()[1:3])), b.shape()[3])
        axes = axes[: 1 + (seed % 3 > 1)]
    b.mean(keepdims=bool(seed % 5), axes=axes, scale=b.tensors[b.x].scale[0] * rng.uniform(0.05, 1.5))
    return b


def add(seed):
    """A tensor and itself moved by one pixel: 4096 pairs a sample; powers of two as scales make ties."""
    rng = np.random.default_rng(seed)
    even = seed % 3 == 0
    b = Builder((64, 64, 1), seed, scale=2.0**-5 if even else None)
    x, scale = b.x, b.tensors[b.x].scale[0]
    a = b.pad((0, 0), (0, 1), (0, 0))
    b.x = x
    b.pad((0, 0), (1, 0), (0, 0))
    other = scale * (2.0 ** rng.integers(-2, 3) if even else rng.uniform(0.1, 8))
    c = b.layer("requantize", b.shape(), scale=other)
    out = max(scale, other) * (2.0 ** rng.integers(-1, 2) if even else rng.uniform(0.4, 2.5))
    b.add(a, c, act=str(rng.choice(ACTS)), scale=out)
    return b


def joined_by(kind):
    """Two tensors of one shape, or one that repeats along some axes, or a constant, in either order."""

    def make(seed):
        rng = np.random.default_rng(seed)
        even = seed % 3 == 0
        b = Builder((16, 16, 8), seed, scale=2.0**-5 if even else None)
        x, scale = b.x, b.tensors[b.x].scale[0]
        small = [(1, 1, 1, 8), (1, 16, 16, 1), (1, 1, 16, 8), (1, 16, 1, 1), (8,), (), (1, 1, 16, 1)]
        other = scale * (2.0 ** rng.integers(-2, 3) if even else rng.uniform(0.1, 8))
        if seed % 2:
            other = b.constant(*small[seed % len(small)], scale=other)
        elif seed % 4:
            b.mean(keepdims=True, axes=(1, 2), scale=other)
            other = b.x
        else:
            other = b.layer("requantize", b.shape(), scale=other)
        top = b.tensors[other].scale[0]
        top = scale * top * 100 if kind == "mul" else max(scale, top)
        out = top * (2.0 ** rng.integers(-1, 2) if even else rng.uniform(0.4, 2.5))
        a, c = (x, other) if seed % 5 else (other, x)
        b.joined(kind, a, c, act=str(rng.choice(ACTS)), scale=out)
        return b

    return make


def softmax(seed):
    rng = np.random.default_rng(seed)
    b = Builder((2, 1, int(rng.integers(2, 300))), seed, scale=10 ** rng.uniform(-3, 0.8))
    b.softmax(float(rng.choice([0.5, 1, 2])))
    return b


def log_softmax(seed):
    rng = np.random.default_rng(seed)
    b = Builder((2, 1, int(rng.integers(2, 300))), seed, scale=10 ** rng.uniform(-3, 0.8))
    b.layer("log_softmax", b.shape(), scale=1 / 16, zero=127)
    return b


def bounded(kind):
    def make(seed):
        b, rng = random_input(seed)
        b.bounded(kind, int(rng.integers(-128, 128)))
        return b

    return make


def prelu(seed):
    b, rng = random_input(seed)
    h, w, c = b.shape()[1:]
    b.prelu(*((1, 1, c), (h, w, c), (1, 1, 1))[seed % 3], scale=b.tensors[b.x].scale[0] * rng.uniform(0.3, 3))
    return b


def one_input(kind):
    def make(seed):
        rng = np.random.default_rng(seed)
        even = seed % 3 == 0
        b = Builder((64, 64, 1), seed, scale=2.0 ** -rng.integers(1, 8) if even else 10 ** rng.uniform(-4, 1))
        scale = b.tensors[b.x].scale[0]
        b.unary(kind, scale=scale * (2.0 ** rng.integers(-1, 4) if even else rng.uniform(0.05, 4)))
        return b

    return make


def joined(seed):
    b = Builder((5, 4, 3), seed)
    a = b.x
    c = b.conv(3, **b.same_scale())
    d = b.depthwise(2, **b.same_scale(a))
    b.concat(a, c, d)
    b.pad((1, 0), (2, 1), (0, 0))
    b.reshape(6 * 7 * 12)
    return b


def moved(kind):
    def make(seed):
        b, rng = random_input(seed)
        if seed % 3 == 0:
            b.reshape(*b.shape()[1:3], 1, b.shape()[3])
        axes = range(1, len(b.shape()))
        if kind == "transpose":
            b.transpose(*(int(i) for i in rng.permutation(axes)))
        else:
            begin = [int(rng.integers(b.shape()[i])) for i in axes]
            b.slice(begin, [int(rng.integers(1, b.shape()[i] - first + 1)) for i, first in zip(axes, begin)])
        return b

    return make


OPERATORS = {
    "conv": conv,
    "depthwise": depthwise,
    "dense": dense,
    "dense_on_positions": dense_on_positions,
    "mean_of_leading_axes": mean_of_leading_axes,
    "avg_pool": avg_pool,
    "max_pool": max_pool,
    "mean": mean,
    "add": add,
    **{f"{kind}_joined": joined_by(kind) for kind in ("add", "sub", "mul")},
    "softmax": softmax,
    "log_softmax": log_softmax,
    "prelu": prelu,
    **{kind: bounded(kind) for kind in ("minimum", "maximum")},
    **{kind: moved(kind) for kind in ("slice", "transpose")},
    "concat_pad_reshape": joined,
    **{k: one_input(k) for k in ("relu", "relu6", "hard_swish", "logistic", "tanh", "elu", "requantize")},
    **{k: one_input(k) for k in ("leaky_relu", "gelu", "gelu_tanh")},
}


@pytest.mark.parametrize("operator", OPERATORS)
def test_every_operator_is_bit_exact(operator):
    for seed in range(SEEDS):
        assert differences(write(OPERATORS[operator](seed).graph()), 8, seed) == [], f"seed {seed}"


@pytest.mark.parametrize("name", ["kws_ref_model", "pretrainedResnet_quant", "vww_96_int8", "ad01_int8"])
def test_published_models_are_bit_exact(name):
    assert differences(asset(f"mlperf_tiny/{name}.tflite").read_bytes(), 10) == []


def at_ties(kind, seed):
    """One layer of zero weights whose biases sit at, just below and just above every rounding step."""
    channels = 600
    b = Builder((1, 1, channels if kind == "depthwise" else 2), seed)
    scale = 10 ** np.random.default_rng(seed).uniform(-0.5, 2)
    grow = {
        "conv": lambda: b.conv(channels, (1, 1), scale=scale, zero=0),
        "depthwise": lambda: b.depthwise(1, (1, 1), scale=scale, zero=0),
        "dense": lambda: b.dense(channels, scale=scale, zero=0, per_channel=True),
        "dense_per_tensor": lambda: b.dense(channels, scale=scale, zero=0, per_channel=False),
    }[kind]
    grow()
    return with_bias_at_ties(b.graph(), seed)


def with_bias_at_ties(graph, seed):
    op = graph.ops[0]
    x, w, bias, y = (graph[n] for n in (*op.inputs, *op.outputs))
    rng = np.random.default_rng(seed)
    steps = rng.integers(-120, 120, bias.size) + 0.5
    values = np.round(steps * y.scale / (x.scale * w.scale)) + rng.integers(-1, 2, bias.size)
    tensors = dict(graph.tensors)
    tensors[w.name] = replace(w, data=np.zeros_like(w.data))
    tensors[bias.name] = replace(bias, data=np.clip(values, -(2**31) + 1, 2**31 - 1).astype(np.int32))
    return replace(graph, tensors=tensors)


@pytest.mark.parametrize("kind", ["conv", "depthwise", "dense", "dense_per_tensor"])
def test_sums_at_rounding_steps(kind):
    for seed in range(12):
        assert differences(write(at_ties(kind, seed)), 1, seed) == [], f"seed {seed}"


def test_exact_ties_of_dense_go_away_from_zero():
    b = Builder((1, 1, 2), 0, scale=0.25, zero=0)
    b.dense(400, scale=1.0, zero=0, per_channel=False)
    graph = b.graph()
    _, w, bias = (graph[n] for n in graph.ops[0].inputs)
    tensors = dict(graph.tensors)
    tensors[w.name] = replace(w, data=np.zeros_like(w.data), scale=f32(np.full(400, 0.5)))
    tensors[bias.name] = replace(
        bias, data=np.arange(-200, 200, dtype=np.int32), scale=f32(np.full(400, 0.125))
    )
    graph = replace(graph, tensors=tensors)
    y = oracle.forward(graph, np.zeros((1, 1, 1, 2), np.int8))[graph.outputs[0]][0]
    assert (y[200 - 4], y[200 + 4]) == (-1, 1)  # -0.5 and 0.5
    assert differences(write(graph), 1) == []


@pytest.mark.parametrize(
    "kind,wrong", [("conv", "multiply_once_rounded"), ("dense", "multiply_twice_rounded")]
)
def test_the_wrong_rounding_would_be_seen(kind, wrong, monkeypatch):
    right = "multiply_twice_rounded" if kind == "conv" else "multiply_once_rounded"
    monkeypatch.setattr(weighted, right, getattr(rounding, wrong))
    assert any(differences(write(at_ties(kind, seed)), 1, seed) for seed in range(12))
