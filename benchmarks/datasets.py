"""The data sets of the accuracy benchmarks. Their files are assets."""

import functools
import io

import numpy as np
import paths
from PIL import Image
from trimtab_tools.lab.experiment import Data
from trimtab_tools.lab.pictures import resized, views


def _pack(name):
    """(decode(i), label, split) of a pack of compressed pictures."""
    with np.load(paths.ASSETS / "images" / name) as file:
        label, split, offset = file["label"], file["split"], file["offset"]
        blob = file["jpeg"].tobytes()
    return lambda i: Image.open(io.BytesIO(blob[offset[i] : offset[i + 1]])).convert("RGB"), label, split


def _data(name, pack, chosen, smallest):
    decode, label, _ = pack
    train, test = chosen
    return Data(
        name,
        views([decode(i) for i in train], 128, smallest),
        label[train].astype(np.int64),
        resized([decode(i) for i in test], 128),
        label[test].astype(np.int64),
        int(label.max()) + 1,
    )


@functools.cache
def cifar10():
    """2000 training and 2000 test pictures: the first 200 of each class."""
    pack = _, label, split = _pack("cifar10_jpegq75.npz")
    first = [
        np.concatenate([np.flatnonzero((split == s) & (label == c))[:200] for c in range(10)]) for s in (0, 1)
    ]
    return _data("cifar10", pack, first, 0.6)


@functools.cache
def flowers5():
    """1300 training and 450 test pictures."""
    pack = _, _, split = _pack("flowers5_128.npz")
    return _data("flowers5", pack, [np.flatnonzero(split == s) for s in (0, 1)], 0.4)
