"""What `simulate`, `train` and `pull` do with a board: order the samples, stream them, count, write logs."""

import contextlib
import json
import time

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from .. import samples as data
from ..compiler.package_reading import Contents
from ..errors import BoardError, UsageError
from . import resume as runs
from .connect import attach, cost, note

# -- simulate


def simulate(
    package, board="sim", kernels="c", steps=50, seed=0, source=None, progress=lambda done, total: None
):
    """Train `steps` steps on a fresh board of that kind and tell what came out."""
    contents = Contents(package)
    if steps < 1:
        raise UsageError(f"--steps {steps} trains nothing: use 1 or more")
    note(board)
    sample = _from_file(contents, source, seed) if source else _noise(contents, seed)
    losses, micros = [], []
    with attach(board, package, kernels, fresh=True) as client:
        if not contents.trained:
            raise UsageError("this package was compiled without a training plan: compile it with --policy")
        for result in client.train(sample, steps):
            losses.append(result.value)
            micros.append(result.us)
            progress(len(losses), steps)
        result = {
            "state_crc": client.state_crc(),
            "losses": losses,
            "arena_bytes": contents.package.arena_bytes,
            "heap_used": client.info["heap_used"]
            or contents.package.arena_bytes + contents.package.state_bytes,
        }
    mean = sum(micros) / len(micros)
    return {**result, **cost(board, mean)}


def _noise(contents, seed):
    """Sample i of the generator that format and seed define; for mse the sample's target is the next words."""
    p = contents.package

    def sample(i):
        if contents.loss == "mse":
            return data.synthetic(seed, i, p.input_bytes + p.output_count, 1)
        return data.synthetic(seed, i, p.input_bytes, p.classes)

    return sample


def _from_file(contents, source, seed):
    samples = load(contents, source)
    order = {}

    def sample(i):
        epoch, at = divmod(i, len(samples))
        if epoch not in order:
            order.clear()
            order[epoch] = data.order(len(samples), seed, epoch)
        return samples[order[epoch][at]]

    return sample


def load(contents, source, more=()):
    """The samples of a file or folder as they go over the link: a list. more: names of classes behind the package's."""
    t, mse = contents.input, contents.loss == "mse"
    x, y, _ = data.load(
        source, [*contents.labels, *more], t.shape[1:], contents.package.classes + len(more), targets=mse
    )
    if y is None and not mse:
        raise UsageError(f"{source} has no labels: save it with numpy.savez(path, x=..., y=...)")
    wanted = _wanted(contents.output, real_values(x, t) if y is None else y, source) if mse else None
    sample = data.samples(x, None if mse else y, t.scale[0], t.zero_point, wanted)
    return [sample(i) for i in range(len(x))]


def _wanted(out, y, source):
    """Targets as int8 rows of the output tensor."""
    y = y.reshape(len(y), -1)
    if y.shape[1] != out.size:
        raise UsageError(
            f"a target of {source} has {y.shape[1]} values, the network gives {out.size}: correct y"
        )
    return y if y.dtype == np.int8 else data.quantize(y, out.scale[0], out.zero_point)


def real_values(x, tensor):
    """What samples stand for: floats as they are, integers by the input's scale (raw bytes cover its whole range)."""
    if x.dtype == np.float32:
        return x
    levels = x.astype(np.float64) - (128 if x.dtype == np.uint8 else 0)
    return (levels - tensor.zero_point) * tensor.scale[0]


# -- train


class Lines:
    """Output for people, with a progress bar, or one JSON object per line."""

    def __init__(self, as_json=False):
        self.json = as_json
        self.bar = None

    def say(self, row, text):
        print(json.dumps(row) if self.json else text, flush=True)

    def progress(self, what, results, total):
        """Pass results through, showing speed and time left."""
        if self.json:
            yield from results
            return
        with bar() as shown:
            task, start = shown.add_task(what, total=total, speed=""), time.monotonic()
            for n, result in enumerate(results, 1):
                yield result
                shown.update(task, completed=n, speed=f"{n / max(time.monotonic() - start, 1e-9):.1f}/s")


def bar(wanted=True):
    """A progress bar on stderr, where a person may look at it."""
    console = Console(stderr=True)
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[speed]}"),
        TimeRemainingColumn(),
        transient=True,
        console=console,
        disable=not (wanted and console.is_terminal),
    )


def train(
    package,
    source,
    val=None,
    board="sim",
    kernels="c",
    epochs=1,
    seed=0,
    resume=False,
    restart=False,
    save_every=0,
    add=(),
    logdir=None,
    key=None,
    out=None,
):
    """Stream samples epoch by epoch, each epoch in an order of its own; evaluate before and after, save at the end.

    add: names of classes that the board shall know besides the package's.

    A run that was cut goes on where the board stands, unless `restart`."""
    contents, out = Contents(package), out or Lines()
    if not contents.trained:
        raise UsageError("this package was compiled without a training plan: compile it with --policy")
    if epochs < 1:
        raise UsageError(f"--epochs {epochs} trains nothing: use 1 or more")
    samples = load(contents, source, add)
    checks = load(contents, val, add) if val else []
    n = len(samples)
    total = epochs * n
    orders = {}

    def sample(i):
        epoch, at = divmod(i, n)
        if epoch not in orders:
            orders[epoch] = data.order(n, seed, epoch)
        return samples[orders[epoch][at]]

    run = runs.Run.open(package, runs.describe(contents.package.crc, samples, seed, epochs), resume, restart)
    note(board)
    log = _Log(logdir)
    with attach(board, package, kernels, key=key) as client, _stoppable(client, run, total):
        _same_package(client, contents, package)
        if add:
            samples, checks = _with_classes(client, contents, add, samples, checks)
        result = {"board": board, "steps": total, "samples": n}
        if checks and not run.cut:
            run.before = evaluate(client, contents, checks, out, "before")
        if checks and run.before is not None:
            result["before"] = run.before
        begins = run.begins(client.info)
        if not begins:
            step = client.info["step"]
            out.say(
                {"resumed": step},
                f"going on with the run that was cut, at step {step} of {total} (--restart begins anew)",
            )
        losses, micros = [], []
        unit = 1024 if contents.loss == "softmax" else 1
        results = client.train(sample, total, not begins, save_every, run.number)
        for r in out.progress("train", results, total):
            if r.value is not None:
                losses.append(r.value / unit)
                micros.append(r.us)
                log.scalar("loss", r.value / unit, r.seq)
            if r.seq % n == 0:
                mean = float(np.mean(losses[-n:])) if losses else 0.0
                out.say(
                    {"epoch": r.seq // n, "loss": round(mean, 4)},
                    f"epoch {r.seq // n} of {epochs}: loss {mean:.3f}",
                )
        if checks:
            result["after"] = evaluate(client, contents, checks, out, "after")
            log.scalar("accuracy", result["after"], total)
        result["saved_step"] = client.save()
        run.end()
        result["state_crc"] = client.state_crc()
        result["ms_per_step"] = round(float(np.mean(micros)) / 1000, 3) if micros else 0
    log.close()
    words = [f"{key} {result[key]:.3f}" for key in ("before", "after") if key in result]
    out.say(
        result,
        f"trained {total} steps on {board}, saved at step {result['saved_step']}"
        + (": accuracy " + ", ".join(words) if words else ""),
    )
    return 0


def _with_classes(client, contents, names, *lists):
    """The samples with labels as the board has them, which from now on knows these classes even after a reset."""
    before = client.info["classes"]
    index = [*range(len(contents.labels)), *(client.add_class(name) for name in names)]
    if client.info["classes"] > before:
        client.save()
    return [[s._replace(label=index[s.label]) for s in samples] for samples in lists]


@contextlib.contextmanager
def _stoppable(client, run, total):
    """Ctrl-C leaves the board saved and says how to go on."""
    try:
        yield
    except KeyboardInterrupt:
        if not run.cut or client.info["run"] != run.number:
            raise
        step = client.save()
        raise KeyboardInterrupt(
            f"stopped and saved at step {step} of {total}: the same command goes on"
        ) from None


def evaluate(client, contents, samples, out, what):
    """Share of right classes; for mse the mean loss."""
    score = 0
    for i, r in enumerate(
        out.progress(what, client.evaluate(lambda i: samples[i], len(samples)), len(samples))
    ):
        score += r.value if contents.loss == "mse" else r.value == samples[i].label
    return score / len(samples)


def _same_package(client, contents, package):
    if client.info["package_crc"] != contents.package.crc:
        raise BoardError(f"the board runs another package than {package}: run `trimtab deploy {package}`")


class _Log:
    """TensorBoard event files where --logdir asks for them."""

    def __init__(self, folder):
        self.writer = None
        if folder:
            try:
                from tensorboard.summary import Writer
            except ImportError:
                raise UsageError("--logdir needs TensorBoard: pip install trimtab[tensorboard]")
            self.writer = Writer(folder)

    def scalar(self, name, value, step):
        if self.writer:
            self.writer.add_scalar(name, value, step)

    def close(self):
        if self.writer:
            self.writer.close()


# -- pull


def pull(package, board, output, progress=lambda done, total: None, key=None, keras=None):
    """Read the trained state from a board and write the tuned network as .tflite or .keras; returns its bytes."""
    with attach(board, package, key=key) as client:
        contents = Contents(package)
        _same_package(client, contents, package)
        state = client.pull_state(progress)
    return Contents(package, state).write(str(output), keras)
