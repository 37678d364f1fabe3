"""Train in `sim` on a data set and measure, trial by trial: what search and benchmarks are made of.

What the frozen layers make of each picture is computed once and kept, so a trial pays for what it trains.
A trial's result is kept too: the same trial on the same network and data is not run twice by one version, and
a run that was stopped goes on with the next trial. Neither changes a bit of what is measured.
"""

import hashlib
import json
import os
import time
from dataclasses import asdict, dataclass

import numpy as np
from trimtab import __version__
from trimtab.format import ABI

from .. import output
from ..boards import simulated
from ..compiler import compile, cost
from ..policies import head, plan
from ..samples import order, quantize
from ..toolchain import cache


@dataclass(frozen=True)
class Data:
    """Samples as a network takes them: uint8 raw, int8 quantized, or float real values."""

    name: str
    train: np.ndarray  # (views, n, ...): of each sample one view is drawn in each epoch
    y: np.ndarray  # (n,)
    test: np.ndarray  # (m, ...)
    y_test: np.ndarray
    classes: int

    def fingerprint(self):
        return _digest(
            self.name, *(_some(a) for a in (self.train, self.y, self.test, self.y_test)), str(self.classes)
        )

    def held_out(self, share=0.25, seed=0):
        """A share of the training samples in the place of the test samples, which a search may not see."""
        left = np.random.RandomState(seed).permutation(len(self.y))
        test, train = np.split(left, [round(len(left) * share)])
        return Data(
            f"{self.name} held out",
            self.train[:, train],
            self.y[train],
            self.train[0, test],
            self.y[test],
            self.classes,
        )


@dataclass(frozen=True)
class Trial:
    """What is trained, how long, from which seed; the seed orders samples and draws views."""

    policy: str
    rate: float = plan.DEFAULT_RATE
    epochs: int = 5
    seed: int = 0
    residual: int = 8
    twin: str = ""  # "qas" or "plain": not the integer step, but real arithmetic with or without QAS


# -- what the frozen layers leave ----------------------------------------------------------------------------


class Prepared:
    """A network and a data set: each sample at every moment where one tensor is all that lives, in files.

    Files are mapped, so that many processes share them; between processes travel the network and labels.
    """

    def __init__(self, graph, data, pixels=None, step=None):
        self.graph, self.y, self.y_test, self.classes = graph, data.y, data.y_test, data.classes
        self.source = graph, data, pixels
        self.trunk, _ = head.cut_head(graph, data.classes)
        self.folder = (
            cache.folder() / "experiments" / _digest(fingerprint(graph), data.fingerprint(), repr(pixels))
        )
        self.folder.mkdir(parents=True, exist_ok=True)
        self.names = narrow(self.trunk)
        missing = [
            name
            for name in self.names
            if not all(self._file(name, part).exists() for part in ("train", "test"))
        ]
        if missing:
            self._make(missing, data, pixels, step or quiet)

    def __getstate__(self):
        """What other processes of this machine need: they find the files."""
        return {**self.__dict__, "source": None}

    def at(self, tensor):
        """(train, test): int8 (views, n, size) and (m, size) of a tensor."""
        return [np.load(self._file(tensor, part), mmap_mode="r") for part in ("train", "test")]

    def _file(self, tensor, part):
        return self.folder / f"{_digest(tensor)}.{part}.npy"

    def _make(self, names, data, pixels, step):
        made = compile.compile_inference(self.trunk, keep_all=True, kernels=simulated.best_tier())
        net = simulated.load(made.data, simulated.best_tier())
        arena = np.frombuffer(net.arena, np.int8)
        spans = {
            name: slice(at, at + self.trunk[name].size)
            for name, at in ((name, made.program.activations[name].offset) for name in names)
        }
        total, done = data.train.shape[0] * data.train.shape[1] + len(data.test), 0
        for part, samples in (("train", data.train), ("test", data.test)):
            outer = samples.shape[: samples.ndim - data.test.ndim + 1]
            files = {name: self._file(name, part).with_suffix(f".{os.getpid()}") for name in names}
            rows = {
                name: np.lib.format.open_memmap(file, "w+", np.int8, (*outer, self.trunk[name].size))
                for name, file in files.items()
            }
            for index in np.ndindex(*outer):
                net.input_view[:] = as_int8(
                    samples[index], self.graph[self.graph.inputs[0]], pixels
                ).tobytes()
                net.classify_input()
                for name, span in spans.items():
                    rows[name][index] = arena[span]
                done += 1
                step(done, total)
            for name, file in files.items():
                rows[name].flush()
                file.rename(self._file(name, part))


def as_int8(x, tensor, pixels=None):
    """A sample as the package would take it."""
    if x.dtype == np.uint8:
        return _raw_map(tensor, pixels)[x]
    return x if x.dtype == np.int8 else quantize(x, tensor.scale[0], tensor.zero_point)


def quiet(done, total):
    pass


def narrow(trunk):
    """Tensors that live alone at their moment, none larger than those before: where a prefix may end."""
    last = {name: i for i, op in enumerate(trunk.ops) for name in op.inputs}
    last.update({name: len(trunk.ops) for name in trunk.outputs})
    root = {}
    live, found = {trunk.inputs[0]}, [trunk.inputs[0]]
    for i, op in enumerate(trunk.ops):
        if op.kind == "reshape":
            root[op.outputs[0]] = root.get(op.inputs[0], op.inputs[0])
        live = {name for name in (*live, *op.outputs) if last.get(name, -1) > i}
        if len(live) == 1:
            name = root.get(*live, *live)
            if trunk[name].size <= trunk[found[-1]].size and name != found[-1]:
                found.append(name)
    return found


# -- one trial -----------------------------------------------------------------------------------------------


def run(prepared, trial, step=None):
    """The trial's result, run or from the cache: accuracies in percent, costs, the state's CRC."""
    known = find(prepared, trial)
    if known:
        return known
    result = {**asdict(trial), **(_twin if trial.twin else _train)(prepared, trial, step or quiet)}
    keep(prepared, trial, result)
    return result


def find(prepared, trial):
    try:
        return json.loads(_result(prepared, trial).read_text())
    except (OSError, ValueError):
        return None


def keep(prepared, trial, result):
    output.write(_result(prepared, trial), json.dumps(result))


def _result(prepared, trial):
    return prepared.folder / f"trial-{_digest(json.dumps(asdict(trial)), str(ABI), __version__)}.json"


def _train(prepared, trial, step):
    made = compile_trial(prepared, trial)
    net = simulated.load(made.data, simulated.best_tier())
    train, test = prepared.at(made.program.latent.name if made.program.latent else prepared.graph.inputs[0])
    n = len(prepared.y)
    learn, classify = _entry(net)
    started, losses = time.monotonic(), []
    net.begin(trial.epochs * n)
    for epoch, samples in enumerate(schedule(n, len(train), trial)):
        total = 0
        for i, (view, at) in enumerate(samples):
            total += learn(train[view, at].tobytes(), prepared.y[at])
            step(epoch * n + i + 1, trial.epochs * n)
        losses.append(round(total / 1024 / n, 4))
    seconds = time.monotonic() - started
    return {
        "test": accuracy(map(classify, test), prepared.y_test),
        "train": accuracy(map(classify, train[0, ::4]), prepared.y[::4]),
        "losses": losses,
        "state_crc": net.state_crc(),
        "seconds": round(seconds, 1),
        **cost.of(made.trunk, made.plan, made.program, made.placement),
    }


def compile_trial(prepared, trial):
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


def _entry(net):
    """(train on a sample, classify it): from the latent, if there is one."""
    if net.package.latent_bytes:

        def classify(x):
            net.latent_view[:] = x.tobytes()
            return net.run_phase("forward")

        return net.train_latent, classify

    def learn(x, y):
        net.input_view[:] = x
        return net.train_input(y)

    def classify_whole(x):
        net.input_view[:] = x.tobytes()
        return net.classify_input()

    return learn, classify_whole


def schedule(n, views, trial):
    """For each epoch the list of (view, sample), in the order of training."""
    draw = np.random.RandomState(trial.seed)
    for epoch in range(trial.epochs):
        samples = order(n, trial.seed, epoch)
        yield list(zip(draw.randint(0, views, n).tolist(), samples))


def accuracy(classes, y):
    """Percent."""
    return round(100 * float(np.mean(np.fromiter(classes, np.int64, len(y)) == y)), 2)


def _twin(prepared, trial, step):
    from . import float_twin

    return float_twin.train(prepared, trial, step)


# -- views of pictures ---------------------------------------------------------------------------------------


def resized(pictures, size):
    """uint8 (n, size, size, 3) of PIL images."""
    from PIL import Image

    return np.stack([np.asarray(p.resize((size, size), Image.BICUBIC), np.uint8) for p in pictures])


def views(pictures, size, smallest=0.6, seed=0):
    """uint8 (4, n, size, size, 3) of PIL images: whole, mirrored, a random part, another one mirrored.

    A part has from `smallest` to all of the area, and proportions from 4:5 to 5:4.
    """
    rng = np.random.RandomState(seed)

    def part(picture):
        w, h = picture.size
        area, ratio = rng.uniform(smallest, 1) * w * h, np.exp(rng.uniform(np.log(0.8), np.log(1.25)))
        pw, ph = min(w, round((area * ratio) ** 0.5)), min(h, round((area / ratio) ** 0.5))
        x, y = rng.randint(0, w - pw + 1), rng.randint(0, h - ph + 1)
        return picture.crop((x, y, x + pw, y + ph))

    whole, parts, others = (resized([take(p) for p in pictures], size) for take in (lambda p: p, part, part))
    return np.stack([whole, whole[:, :, ::-1], parts, others[:, :, ::-1]])


# -- fingerprints --------------------------------------------------------------------------------------------


def fingerprint(graph):
    parts = []
    for op in graph.ops:
        parts.append(repr((op.kind, op.name, op.inputs, op.outputs, sorted(op.attrs.items()))))
    for name in sorted(graph.tensors):
        t = graph.tensors[name]
        parts.append(
            repr((name, t.shape, t.zero_point, None if t.scale is None else np.asarray(t.scale).tolist()))
        )
        if t.constant:
            parts.append(t.data.tobytes())
    return _digest(*parts)


def _digest(*parts):
    h = hashlib.sha256()
    for part in parts:
        data = part.encode() if isinstance(part, str) else bytes(part)
        h.update(len(data).to_bytes(8, "little") + data)
    return h.hexdigest()[:20]


def _some(array):
    """Shape, kind and bytes of an array; of a large one every 101st, enough to tell data sets apart."""
    flat = np.ascontiguousarray(array).reshape(-1)
    return (
        repr((array.shape, array.dtype.str)).encode()
        + (flat if flat.size < 1 << 20 else flat[::101]).tobytes()
    )


def _raw_map(tensor, pixels):
    """int8 of each raw byte, as the package maps them."""
    levels = np.arange(256)
    if pixels is None:
        return (levels - 128).astype(np.int8)
    real = pixels[0] + (pixels[1] - pixels[0]) * levels / 255
    return np.clip(np.rint(real / tensor.scale[0]) + tensor.zero_point, -128, 127).astype(np.int8)
