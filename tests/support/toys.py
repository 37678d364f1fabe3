"""A network and a task on which training decisions show within a second: random layers that read digits."""

import functools

import numpy as np
from helpers import calibrated, compiled
from models import Builder
from trimtab_tools.lab.experiment import Data


@functools.cache
def digits(train=400, test=300):
    """Handwritten digits in two views: as they are, and moved to the right."""
    from sklearn.datasets import load_digits

    found = load_digits()
    order = np.random.default_rng(0).permutation(len(found.target))
    x = np.rint(found.images * (255 / 16)).astype(np.uint8)[order, ..., None]
    y = found.target[order].astype(np.int64)
    end = train + test
    views = np.stack([x[:train], np.roll(x[:train], 1, 2)])
    return Data("digits", views, y[:train], x[train:end], y[train:end], 10)


@functools.cache
def reader():
    """Seven layers with a skip connection, as inverted residual blocks have it."""
    relu = {"act": "relu6", "scale": 6 / 255, "zero": -128}
    b = Builder((8, 8, 1), seed=3, scale=1 / 255, zero=-128)
    b.conv(8, **relu)
    b.conv(16, (1, 1), **relu)
    b.depthwise(stride=(2, 2), **relu)
    skip = b.conv(12, (1, 1), zero=0)
    b.conv(24, (1, 1), **relu)
    b.depthwise(**relu)
    b.add(skip, b.conv(12, (1, 1), zero=0))
    b.conv(24, (2, 2), (2, 2), **relu)
    return calibrated(b.graph(), (digits().train[0, :40] ^ 128).view(np.int8))


def deep():
    """Two residual blocks and a pooled branch: tensors with one, two and three readers."""
    b = Builder((8, 8, 3), seed=5)
    b.conv(8, (3, 3), (2, 2), act="relu6", scale=0.024, zero=-128)
    for i in range(2):
        x = b.x
        b.conv(20, (1, 1), act="relu6", scale=0.024, zero=-128)
        b.depthwise(act="relu6", scale=0.024, zero=-128)
        b.conv(8, (1, 1), scale=0.06, zero=4)
        b.add(x, b.x, scale=0.08 + 0.04 * i, zero=-40)
    b.depthwise(multiplier=2, kernel=(3, 3), stride=(2, 2), act="relu", scale=0.1, zero=-128)
    b.conv(14, (1, 1), act="relu", scale=0.1, zero=-128)
    b.reshape(14 * 4)
    b.dense(9)
    return b.graph()


# -- digits taught one after the other

NAMES = tuple("cdefghij")
RATE = 4e-3


def package(labels=NAMES, **options):
    """The reader with an empty head for these names."""
    return compiled(reader(), "last:1", classes=0, labels=labels, rate=RATE, **options)


def lessons(classes, n=400, seed=0):
    """(pixels, class) of digits below `classes`."""
    data = digits()
    at = np.flatnonzero(data.y < classes)
    at = np.random.default_rng(seed).choice(at, n)
    return [(data.train[0, i].tobytes(), int(data.y[i])) for i in at]


def exam(classes):
    """(pixels, class) of every test digit of these classes."""
    data = digits()
    return [(x.tobytes(), int(y)) for x, y in zip(data.test, data.y_test) if y in classes]
