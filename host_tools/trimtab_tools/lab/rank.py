"""Which of several packages a task should start from: each trains on most of its samples, the rest judge.

Packages of one task may differ in everything: network, resolution, policy. What fits the task's data best is a
better feature extractor for it, whatever it was trained on before.
"""

from dataclasses import dataclass

from .. import samples as data
from ..boards import simulated
from ..compiler.package_reading import Contents
from ..errors import DataError

LEAST = 2  # samples on each side


@dataclass(frozen=True)
class Place:
    package: str
    accuracy: float  # share of the samples held out
    error: float  # its standard error
    arena_bytes: int
    state_bytes: int


def rank(packages, path, epochs=5, share=0.25, seed=0, step=lambda done, total: None):
    """Places of the packages on the samples in `path`, best first. Nothing is written."""
    found = []
    for number, package in enumerate(packages):
        net = simulated.load(str(package), simulated.best_tier())
        samples = _samples(net, Contents(package).input.shape[1:], path)
        mixed = [samples[i] for i in data.order(len(samples), seed, epochs)]
        held = max(1, round(len(mixed) * share))
        if net.loss != "softmax" or min(held, len(mixed) - held) < LEAST:
            raise DataError(
                f"{package} cannot be ranked on {path}: it takes classes, and {LEAST} samples held out"
            )

        def tell(done):
            step(number * 1000 + 1000 * done // (epochs * (len(mixed) - held)), 1000 * len(packages))

        _train(net, mixed[held:], epochs, seed, tell)
        right = net.evaluate(mixed[:held])
        error = (right * (1 - right) / held) ** 0.5
        found.append(Place(str(package), right, error, net.package.arena_bytes, net.package.state_bytes))
    return sorted(found, key=lambda place: -place.accuracy)


def _samples(net, shape, path):
    x, y, _ = data.load(path, net.labels, shape, net.classes, "train")
    if y is None:
        raise DataError(f"{path} has no labels: a ranking needs samples of every class")
    return [(row.ravel(), int(label)) for row, label in zip(x, y)]


def _train(net, samples, epochs, seed, tell):
    net.begin(epochs * len(samples))
    for epoch in range(epochs):
        for n, i in enumerate(data.order(len(samples), seed, epoch), 1):
            net.train(*samples[i])
            tell(epoch * len(samples) + n)
