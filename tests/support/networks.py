"""Networks that several tests train: by hand, and at random from a seed."""

import json

import numpy as np
from helpers import calibrated, inputs
from models import Builder
from trimtab_tools.operators.registry import WEIGHTED


def trained_layers():
    """Every kind of layer that trains, with a skip connection; about 40 kMAC."""
    b = Builder((10, 10, 3), seed=11)
    b.conv(8, (3, 3), (2, 2), act="relu6")
    skip = b.x
    b.conv(16, (1, 1), act="relu6")
    b.depthwise(act="relu6")
    b.conv(8, (1, 1))
    b.add(skip, b.x)
    b.conv(12, (3, 3), (2, 2), act="relu")
    b.pool("avg_pool", (3, 3), (1, 1))
    b.dense(5)
    return b.graph()


def random_graph(seed):
    """Layers of every kind in random order on a small image, skips where shapes agree."""
    rng = np.random.default_rng(seed)
    b = Builder((int(rng.integers(3, 8)), int(rng.integers(3, 8)), int(rng.integers(1, 4))), seed)
    old = []

    def conv():
        kernel = tuple(int(k) for k in rng.integers(1, 4, 2))
        stride = tuple(int(s) for s in rng.integers(1, 3, 2))
        b.conv(int(rng.integers(1, 9)), kernel, stride, act=str(rng.choice(["none", "relu", "relu6"])))

    def depthwise():
        b.depthwise(
            int(rng.integers(1, 3)),
            stride=(int(rng.integers(1, 3)),) * 2,
            act=str(rng.choice(["none", "relu"])),
        )

    def add():
        same = [n for n in old if b.shape(n) == b.shape()]
        b.add(same[int(rng.integers(len(same)))], b.x, str(rng.choice(["none", "relu"])))

    def concat():
        x = b.x
        left = b.conv(int(rng.integers(1, 5)), (1, 1), scale=0.07, zero=5)
        b.x = x
        b.concat(left, b.depthwise(scale=0.07, zero=5))

    def pool():
        b.pool(str(rng.choice(["avg_pool", "max_pool"])), (2, 2), (2, 2), "same")

    def unary():
        b.unary(str(rng.choice(["relu", "relu6", "hard_swish", "logistic", "requantize"])))

    def pad():
        b.pad((int(rng.integers(2)), 1), (0, int(rng.integers(2))), (0, 0))

    for grow in rng.choice([conv, conv, depthwise, add, concat, pool, unary, pad], 6):
        old.append(b.x)
        grow()
    end = rng.integers(4)
    if end == 0:
        b.mean(keepdims=bool(rng.integers(2)))
    elif end == 1:
        b.reshape(int(np.prod(b.shape())))
        b.dense(int(rng.integers(2, 9)), act="relu")
    elif end == 2:
        b.dense(int(rng.integers(2, 9)))
        b.softmax()
    graph = b.graph()
    return (
        calibrated(graph, inputs(graph, 4)) if seed % 3 else graph
    )  # every third clips and saturates as it likes


def random_plan(graph, seed, path):
    """A policy string: a third of them by hand, with some layers, channels and biases."""
    rng = np.random.default_rng(seed + 1000)
    policy = ("last", "bias", "full", "plan", "plan", "plan")[rng.integers(6)]
    if policy != "plan":
        return policy
    rows = []
    for op in graph.ops:
        if op.kind in WEIGHTED and rng.integers(3):
            n = graph[op.inputs[1]].shape[-1]
            some = sorted(int(c) for c in rng.choice(n, rng.integers(1, n + 1), replace=False))
            share = (some, float(rng.random()), 0, 1.0)[rng.integers(4)]
            rows.append({"layer": op.name, "bias": bool(rng.integers(2)), "weight_channels": share})
    path.write_text(json.dumps({"updates": rows}))
    return f"plan:{path}"


def skip_block(seed=3):
    """An inverted residual block with its skip, and a conv behind it."""
    b = Builder((6, 6, 2), seed)
    b.conv(6, act="relu6", scale=0.024, zero=-128)
    x = b.x
    b.depthwise(act="relu", scale=0.05, zero=-128)
    b.conv(6, (1, 1), scale=0.05, zero=0)
    b.add(x, b.x, scale=0.07, zero=-50)
    b.conv(8, stride=(2, 2), act="relu", scale=0.05, zero=-128)
    b.mean(scale=0.03, zero=-100)
    return calibrated(b.graph(), inputs(b.graph(), 8))


def classifier(head=True):
    """A conv, a depthwise layer, and a dense head of ten classes or none."""
    b = Builder((6, 6, 3), 2)
    b.conv(8, act="relu")
    b.depthwise()
    b.mean()
    if head:
        b.dense(10, per_channel=True)
        b.softmax()
    return b.graph()
