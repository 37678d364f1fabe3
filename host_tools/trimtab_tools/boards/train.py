"""Train on a board: send samples in order, evaluate, save; continue a run that was interrupted."""

import contextlib
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..compiler.package_reading import Contents
from ..errors import UsageError
from ..link.client import Client
from . import resume as resuming
from .connect import attach, check_same_package, cost, note
from .loading import load, noise, shuffled
from .progress import Lines

LOSS_ONE = {"softmax": 1024, "mse": 1}  # what a board sends for a loss of 1


def simulate(
    package: Path | str,
    board: str = "sim",
    kernels: str | None = None,
    steps: int = 50,
    seed: int = 0,
    source: Path | str | None = None,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> dict:
    """Train some steps on a fresh board, with samples of a source or noise; returns measurements."""
    contents = _trainable(package)
    if steps < 1:
        raise UsageError(f"--steps {steps} trains nothing: use 1 or more")
    note(board)
    sample = shuffled(load(contents, source), seed) if source else noise(contents, seed)
    losses, micros = [], []
    with attach(board, package, kernels, fresh=True) as client:
        for result in client.train(sample, steps):
            losses.append(result.value)
            micros.append(result.us)
            progress(len(losses), steps)
        crc, heap_used = client.state_crc(), client.info["heap_used"]
    return {
        "state_crc": crc,
        "losses": losses,
        "arena_bytes": contents.package.arena_bytes,
        "heap_used": heap_used or contents.package.arena_bytes + contents.package.state_bytes,
        **cost(board, sum(micros) / len(micros)),
    }


def train(
    package: Path | str,
    source: Path | str,
    val: Path | str | None = None,
    board: str = "sim",
    kernels: str | None = None,
    epochs: int = 1,
    seed: int = 0,
    resume: bool = False,
    restart: bool = False,
    save_every: int = 0,
    add: Sequence[str] = (),
    logdir: str | None = None,
    key: bytes | None = None,
    out: Lines | None = None,
) -> dict:
    """Train `epochs` times on all samples, evaluate before and after, save at the end; returns the result.

    add: names of classes that the board shall learn beyond the package's.

    An interrupted run continues where the board stands, unless `restart`.
    """
    contents, out = _trainable(package), out or Lines()
    if epochs < 1:
        raise UsageError(f"--epochs {epochs} trains nothing: use 1 or more")
    samples = load(contents, source, add)
    checks = load(contents, val, add) if val else []
    n, total = len(samples), epochs * len(samples)
    what = resuming.describe(contents.package.crc, samples, seed, epochs)
    run = resuming.Run.open(package, what, resume, restart)
    note(board)
    log = Log(logdir)
    with attach(board, package, kernels, key=key) as client, _stoppable(client, run, total):
        check_same_package(client, contents, package)
        if add:
            samples, checks = _with_classes(client, contents, add, samples, checks)
        result: dict[str, Any] = {"board": board, "steps": total, "samples": n}
        if checks and not run.cut:
            run.before = evaluate(client, contents, checks, out, "before")
        if checks and run.before is not None:
            result["before"] = run.before
        begins = run.begins(client.info)
        if not begins:
            _say_resumed(out, client.info["step"], total)
        results = client.train(shuffled(samples, seed), total, not begins, save_every, run.number)
        micros = _follow(out.progress("train", results, total), contents, n, epochs, out, log)
        if checks:
            result["after"] = evaluate(client, contents, checks, out, "after")
            log.scalar("accuracy", result["after"], total)
        result["saved_step"] = client.save()
        run.end()
        result["state_crc"] = client.state_crc()
        result["ms_per_step"] = round(float(np.mean(micros)) / 1000, 3) if micros else 0
    log.close()
    _say_trained(out, board, result)
    return result


def _trainable(package):
    contents = Contents(package)
    if not contents.trained:
        raise UsageError("this package was compiled without a training plan: compile it with --policy")
    return contents


def _with_classes(client, contents, names, *lists):
    """The samples with the board's labels. New names are added on the board, which saves them."""
    before = client.info["classes"]
    index = [*range(len(contents.labels)), *(client.add_class(name) for name in names)]
    if client.info["classes"] > before:
        client.save()
    return [[s._replace(label=index[s.label]) for s in samples] for samples in lists]


def _follow(results, contents, n, epochs, out, log):
    """Print the mean loss of each epoch; returns the board's microseconds for each step."""
    losses, micros = [], []
    for r in results:
        if r.value is not None:
            losses.append(r.value / LOSS_ONE[contents.loss])
            micros.append(r.us)
            log.scalar("loss", losses[-1], r.seq)
        if r.seq % n == 0:
            mean = float(np.mean(losses[-n:])) if losses else 0.0
            row = {"epoch": r.seq // n, "loss": round(mean, 4)}
            out.say(row, f"epoch {r.seq // n} of {epochs}: loss {mean:.3f}")
    return micros


def _say_resumed(out, step, total):
    text = f"the run that was cut goes on at step {step} of {total} (--restart begins anew)"
    out.say({"resumed": step}, text)


def _say_trained(out, board, result):
    words = [f"{key} {result[key]:.3f}" for key in ("before", "after") if key in result]
    text = f"trained {result['steps']} steps on {board}, saved at step {result['saved_step']}"
    out.say(result, text + (": accuracy " + ", ".join(words) if words else ""))


@contextlib.contextmanager
def _stoppable(client, run, total):
    """On Ctrl-C the board saves, and the message says how to continue."""
    try:
        yield
    except KeyboardInterrupt:
        if not run.cut or client.info["run"] != run.number:
            raise
        step = client.save()
        raise KeyboardInterrupt(
            f"stopped and saved at step {step} of {total}: the same command goes on"
        ) from None


def evaluate(client: Client, contents: Contents, samples: Sequence, out: Lines, what: str) -> float:
    """The share of samples whose class is right; with mse the mean loss."""
    results: Iterable = client.evaluate(lambda i: samples[i], len(samples))
    score = 0
    for i, r in enumerate(out.progress(what, results, len(samples))):
        score += r.value if contents.loss == "mse" else r.value == samples[i].label
    return score / len(samples)


class Log:
    """TensorBoard event files, if a folder for them is given."""

    def __init__(self, folder: str | None):
        self.writer = None
        if folder:
            try:
                from tensorboard.summary import Writer
            except ImportError:
                raise UsageError(
                    "--logdir needs TensorBoard: run pip install 'trimtab[tensorboard]'"
                ) from None
            self.writer = Writer(folder)

    def scalar(self, name: str, value: float, step: int) -> None:
        if self.writer:
            self.writer.add_scalar(name, value, step)

    def close(self) -> None:
        if self.writer:
            self.writer.close()
