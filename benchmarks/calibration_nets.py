"""The networks by which estimates are calibrated: layers of many sizes, and every policy.

They are none of those that the estimates are then compared with.
"""

import itertools
from dataclasses import replace

import numpy as np
import paths  # noqa: F401  # makes tests/support importable
from helpers import calibrated, inputs
from models import Builder
from networks import random_graph
from trimtab_tools.operators.registry import WEIGHTED

RELU = {"act": "relu", "zero": -128, "scale": 0.05}
RELU6 = {"act": "relu6", "zero": -128, "scale": 6 / 255}
NONE = {"scale": 0.05, "zero": 0}


def mobile(seed):
    """Inverted residual blocks: kernels of 3, 5 and 7, strides of 1 and 2, on maps of 24 to 2 pixels."""
    rng = np.random.default_rng(seed)
    act = (RELU6, RELU, NONE)[seed % 3]
    b = Builder((int(rng.choice([24, 32, 40])),) * 2 + (3,), seed, scale=0.02, zero=0)
    wide = int(rng.choice([8, 12, 16]))
    b.conv(wide, (3, 3), (2, 2), **act)
    for _ in range(4):
        start, kernel = b.x, int(rng.choice([3, 3, 5, 7]))
        stride = int(rng.choice([1, 1, 2])) if b.shape()[1] > 2 else 1
        b.conv(wide * int(rng.choice([2, 3, 4])), (1, 1), **act)
        if act is NONE:
            b.unary("hard_swish", scale=0.04, zero=-118)
        b.depthwise(kernel=(kernel,) * 2, stride=(stride,) * 2, **act)
        wide = wide if stride == 1 and rng.integers(3) else int(rng.choice([8, 16, 24, 40]))
        b.conv(wide, (1, 1), scale=0.06, zero=4)
        if b.shape() == b.shape(start):
            b.add(start, b.x, scale=0.08, zero=-5)
    b.mean(scale=0.02, zero=-5)
    return b.graph()


def residual(seed):
    """Blocks of two 3x3 convolutions with skips, as in ResNets."""
    b = Builder((20 + 4 * (seed % 3),) * 2 + (3,), seed, scale=0.02, zero=0)
    b.conv(8 + 8 * (seed % 2), **RELU)
    for stride, more in ((1, 1), (2, 2), (2, 1)):
        start, channels = b.x, b.shape()[3] * more
        b.conv(channels, stride=(stride, stride), **RELU)
        left = b.conv(channels, scale=0.05, zero=0)
        if b.shape(start) != b.shape(left):
            b.x = start
            start = b.conv(channels, (1, 1), (stride, stride), scale=0.05, zero=0)
        b.add(start, left, act="relu", scale=0.05, zero=-128)
    b.pool("avg_pool", b.shape()[1:3], (1, 1))
    b.reshape(b.shape()[3])
    b.dense(8, scale=0.1, zero=0)
    b.softmax()
    return b.graph()


def separable(seed):
    """Depthwise and pointwise layers in turn, as for sounds: maps that are taller than wide, odd kernels."""
    b = Builder((30 + 5 * (seed % 3), 8, 1), seed, scale=0.05, zero=10)
    b.conv(24, (8, 4), (2, 2), **RELU)
    for kernel in ((3, 3), (5, 3), (3, 3)):
        b.depthwise(kernel=kernel, **RELU)
        b.conv(24 + 8 * (seed % 3), (1, 1), **RELU)
    b.pool("avg_pool", b.shape()[1:3], (1, 1))
    b.reshape(b.shape()[3])
    b.dense(12, scale=0.1, zero=0)
    b.softmax()
    return b.graph()


def encoder(seed):
    """Dense layers that give back what they read."""
    n = (160, 320, 64)[seed % 3]
    b = Builder((n,), seed)
    for wide in (64, 96, 8, 96):
        b.dense(wide, **RELU)
    b.dense(n, scale=0.05, zero=0)
    return b.graph()


def striding(seed):
    """Convolutions with strides and without pads on few channels."""
    b = Builder((28 + seed % 3, 28, 1 + 2 * (seed % 2)), seed, scale=1 / 127, zero=-128)
    for channels in (4, 8, 16 + 4 * (seed % 2)):
        b.conv(channels, stride=(2, 2), padding=("valid", "same")[seed % 2], **RELU)
    b.mean(**b.same_scale())
    b.dense(10 + seed)
    return b.graph()


POLICIES = {
    mobile: (
        ("full", {}),
        ("bias", {}),
        ("sparse:8:2=1/2,5=1/4,6=1,8=1/2", {}),
        ("tinytl:2", {}),
        ("mobiletl:2", {}),
        ("last", {"head": "prototype"}),
        ("tinytrain:3,budget=24", {}),
        ("full", {"accumulate": 4}),
        ("full", {"optimizer": "momentum", "residual": 4}),
        ("sparse:12:1=1/8,3=1/4,5=1/2,6=1/8,9=1/4", {}),
        ("tinytl:1", {"accumulate": 2}),
        ("bias", {}),
        ("full", {"residual": 0}),
    ),
    residual: (("full", {}), ("bias", {}), ("last", {}), ("full", {"residual": 4})),
    separable: (("full", {}), ("bias", {}), ("full", {"accumulate": 2})),
    encoder: (("full", {"loss": "mse"}), ("bias", {"loss": "mse"}), ("full", {"loss": "mse"})),
    striding: (("full", {}), ("bias", {}), ("full", {}), ("last", {})),
    random_graph: (("full", {}), ("bias", {}), ("last", {})),
}
COUNT = {mobile: 24, residual: 8, separable: 6, encoder: 6, striding: 6, random_graph: 24}
ROOMS = (0, 6 << 10, 0, 64 << 10, 2 << 10)  # bytes beyond the smallest arena


def with_weights_of_minus_128(graph):
    """Such weights do not fit packed loops, so all forward records take the plain ones."""
    tensors = dict(graph.tensors)
    for op in graph.ops:
        if op.kind in WEIGHTED:
            w = tensors[op.inputs[1]]
            tensors[w.name] = replace(w, data=np.where(w.data == w.data.min(), -128, w.data).astype(np.int8))
    return replace(graph, tensors=tensors)


def cases():
    """(name, graph, policy, options, room)"""
    for build, policies in POLICIES.items():
        for seed, (policy, options) in zip(range(COUNT[build]), itertools.cycle(policies)):
            graph = build(seed + 1)
            graph = calibrated(graph, inputs(graph, 2, seed))
            if seed % 4 == 3:
                graph = with_weights_of_minus_128(graph)
            if options.get("loss") != "mse":
                options = {**options, "classes": 4 + seed % 7}
            room = ROOMS[seed % len(ROOMS)]
            yield f"{build.__name__}-{seed} {policy}", graph, policy, options, room
