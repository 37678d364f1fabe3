"""Finds which of several packages suits a task best: each trains on most samples, the rest judge it.

The packages may differ in everything: network, resolution, policy. The best one has the features that suit
this task's data, whatever it was trained on before.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from .. import samples as data
from ..boards import simulated
from ..compiler.package_reading import Contents
from ..errors import DataError
from . import batch
from .progress import Progress, quiet

LEAST = 2  # samples on each side


@dataclass(frozen=True)
class Place:
    """How one package did."""

    package: str
    accuracy: float  # share of the samples held out
    error: float  # its standard error
    arena_bytes: int
    state_bytes: int


def rank(
    packages: Sequence[str | Path],
    path: str | Path,
    epochs: int = 5,
    share: float = 0.25,
    seed: int = 0,
    progress: Progress = quiet,
) -> list[Place]:
    """Places of the packages on the samples in `path`, best first. A share of the samples judges.

    Nothing is written.
    """
    places = []
    for number, package in enumerate(packages):
        # Packages may see different numbers of samples: each counts as a thousand.
        def within(done, total, before=number):
            progress(before * 1000 + 1000 * done // total, 1000 * len(packages))

        places.append(_place(str(package), path, epochs, share, seed, within))
    return sorted(places, key=lambda place: -place.accuracy)


def _place(package, path, epochs, share, seed, progress):
    net = simulated.load(package, simulated.best_tier())
    samples = _samples(net, Contents(package).input.shape[1:], path)
    mixed = [samples[i] for i in data.order(len(samples), seed, epochs)]
    held = max(1, round(len(mixed) * share))
    if net.loss != "softmax" or min(held, len(mixed) - held) < LEAST:
        raise DataError(
            f"{package} cannot be ranked on {path}: it takes classes, and {LEAST} samples held out"
        )
    _train(net, mixed[held:], epochs, seed, progress)
    right = batch.evaluate(net, mixed[:held])
    error = (right * (1 - right) / held) ** 0.5
    return Place(package, right, error, net.package.arena_bytes, net.package.state_bytes)


def _samples(net, shape, path):
    x, y, _ = data.load(path, net.labels, shape, net.classes, "train")
    if y is None:
        raise DataError(f"{path} has no labels: a ranking needs samples of every class")
    return [(row.ravel(), int(label)) for row, label in zip(x, y)]


def _train(net, samples, epochs, seed, progress):
    total = epochs * len(samples)
    net.begin(total)
    for epoch in range(epochs):
        for n, i in enumerate(data.order(len(samples), seed, epoch), 1):
            net.train(*samples[i])
            progress(epoch * len(samples) + n, total)
