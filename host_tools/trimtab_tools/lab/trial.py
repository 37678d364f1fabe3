"""One trial: train on prepared samples, in integers as a board does or by the float twin, and measure.

Results are kept in files. One version does not run the same trial on the same network and data twice, so an
interrupted series of trials continues with the next one.
"""

import json
import time
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from trimtab import __version__
from trimtab.format import ABI
from trimtab.net import Net

from .. import output
from ..boards import simulated
from ..compiler import compile, cost
from ..compiler.state import COSINE
from ..errors import UsageError
from ..policies import plan
from ..samples import order
from . import batch, fingerprint
from .experiment import Prepared
from .float_twin import Twin
from .progress import Progress, quiet


@dataclass(frozen=True)
class Trial:
    """What is trained, for how long, from which seed. The seed orders the samples and draws their views."""

    policy: str
    rate: float = plan.DEFAULT_RATE
    epochs: int = 5
    seed: int = 0
    residual: int = 8
    twin: str = ""  # "qas" or "plain": real arithmetic in place of integers, with or without QAS


def run(prepared: Prepared, trial: Trial, progress: Progress = quiet) -> dict:
    """The trial's result, from its file if it ran before.

    It has accuracies in percent and losses; a trial in integers also has its costs and the state's CRC.
    """
    known = find(prepared, trial)
    if known:
        return known
    result = {**asdict(trial), **train(prepared, trial, progress)}
    keep(prepared, trial, result)
    return result


def find(prepared: Prepared, trial: Trial) -> dict | None:
    """The result of an earlier run, if there is one."""
    try:
        return json.loads(kept_in(prepared, trial).read_text())
    except (OSError, ValueError):
        return None


def keep(prepared: Prepared, trial: Trial, result: dict) -> None:
    output.write(kept_in(prepared, trial), json.dumps(result))


def kept_in(prepared: Prepared, trial: Trial) -> Path:
    name = fingerprint.digest(json.dumps(asdict(trial)), str(ABI), __version__)
    return prepared.folder / f"trial-{name}.json"


# -- training


def train(prepared: Prepared, trial: Trial, progress: Progress = quiet) -> dict:
    """Train and measure, without a look at earlier results."""
    made = compile_trial(prepared, trial)
    start = made.program.latent.name if made.program.latent else prepared.graph.inputs[0]
    xs, test = prepared.at(start)
    n, total = len(prepared.y), trial.epochs * len(prepared.y)
    learner = Real(made, start, total, trial) if trial.twin else Integers(made, total)
    losses, started = [], time.monotonic()
    for epoch, samples in enumerate(schedule(n, len(xs), trial)):
        loss = 0.0
        for i, (view, at) in enumerate(samples, 1):
            loss += learner.learn(xs[view, at], prepared.y[at])
            progress(epoch * n + i, total)
        losses.append(round(float(loss) / n, 4))
    seconds = round(time.monotonic() - started, 1)
    return {
        "test": accuracy(learner.classes(test), prepared.y_test),
        "train": accuracy(learner.classes(xs[0, ::4]), prepared.y[::4]),
        "losses": losses,
        "seconds": seconds,
        **learner.facts(),
    }


def compile_trial(prepared: Prepared, trial: Trial) -> compile.Compiled:
    first, _ = prepared.at(prepared.graph.inputs[0])
    shape = prepared.graph[prepared.graph.inputs[0]].shape[1:]
    return compile.compile_graph(
        prepared.graph,
        trial.policy,
        classes=prepared.classes,
        rate=trial.rate,
        residual=trial.residual,
        samples=first[0, :32].reshape(-1, *shape),
        kernels=simulated.best_tier(),
    )


def schedule(n: int, views: int, trial: Trial) -> Iterator[list[tuple[int, int]]]:
    """For each epoch the list of (view, sample) in the order of training."""
    draw = np.random.RandomState(trial.seed)
    for epoch in range(trial.epochs):
        samples = order(n, trial.seed, epoch)
        yield list(zip(draw.randint(0, views, n).tolist(), samples))


def accuracy(classes: Iterable[int], y: np.ndarray) -> float:
    """Percent."""
    return round(100 * float(np.mean(np.fromiter(classes, np.int64, len(y)) == y)), 2)


class Integers:
    """The training step as a board runs it. Samples are latents where the package has a latent."""

    def __init__(self, made: compile.Compiled, total: int):
        self.made = made
        self.net = simulated.load(made.data, simulated.best_tier())
        self.net.begin(total)

    def learn(self, x: np.ndarray, label: int) -> float:
        """One training step; the loss in nats."""
        if self.net.package.latent_bytes:
            return self.net.train_latent(x.tobytes(), label) / 1024
        self.net.input_view[:] = x.tobytes()
        return self.net.train_input(label) / 1024

    def classes(self, xs: np.ndarray) -> Iterator[int]:
        return batch.each(self.net, lambda net, i: classify(net, xs[i]), len(xs))

    def facts(self) -> dict:
        made = self.made
        costs = cost.of(made.trunk, made.plan, made.program, made.placement)
        return {"state_crc": self.net.state_crc(), **costs}


def classify(net: Net, x: np.ndarray) -> int:
    """The class of a sample, which is a latent where the package has one."""
    if net.package.latent_bytes:
        net.latent_view[:] = x.tobytes()
        return net.run_phase("forward")
    net.input_view[:] = x.tobytes()
    return net.classify_input()


class Real:
    """The float twin, with the learning rate that the integers have at each step."""

    def __init__(self, made: compile.Compiled, start: str, total: int, trial: Trial):
        if any("slope" in op.attrs for op in made.trunk.ops):
            raise UsageError(
                f"float twins have no step-function gradients: run policy {trial.policy} in integers"
            )
        self.twin = Twin(made.trunk, made.plan, start, trial.twin == "qas")
        self.rate, self.total, self.done = made.plan.rate, total, 0
        self.classes = self.twin.classes

    def learn(self, x: np.ndarray, label: int) -> float:
        """One training step; the loss in nats."""
        rate = self.rate * COSINE[self.done * 64 // self.total] / 32767
        self.done += 1
        return self.twin.step(x, label, rate)

    def facts(self) -> dict:
        return {}
