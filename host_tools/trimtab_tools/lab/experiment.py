"""A network and a data set, prepared for the many trials of a search or a benchmark.

Layers that no trial trains give the same output for the same picture every time. So that output is computed
once and kept in files, and each trial runs only the layers that it trains. This does not change any result.
"""

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..boards import simulated
from ..compiler import compile
from ..graph.ir import Graph, Tensor
from ..policies import head
from ..samples import quantize, raw_map
from ..toolchain import cache
from . import batch, fingerprint
from .progress import Progress, quiet


@dataclass(frozen=True)
class Data:
    """Samples as a network takes them: uint8 raw, int8 quantized, or float real values."""

    name: str
    train: np.ndarray  # (views, n, ...): each epoch draws one view of each sample
    y: np.ndarray  # (n,)
    test: np.ndarray  # (m, ...)
    y_test: np.ndarray
    classes: int

    def fingerprint(self) -> str:
        arrays = (self.train, self.y, self.test, self.y_test)
        return fingerprint.digest(self.name, *map(fingerprint.of_array, arrays), str(self.classes))

    def held_out(self, share: float = 0.25, seed: int = 0) -> "Data":
        """The training samples, split in two: a search must not see the test samples."""
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


class Prepared:
    """A network and a data set: the outputs of frozen layers for each sample, in files.

    Training can start at a tensor if nothing else is live there, so the outputs of these tensors are kept.
    Many processes share the files, which are mapped; only the network and the labels are sent to them.
    """

    def __init__(
        self,
        graph: Graph,
        data: Data,
        pixels: tuple[float, float] | None = None,
        progress: Progress = quiet,
    ):
        self.graph, self.y, self.y_test, self.classes = graph, data.y, data.y_test, data.classes
        self.source = graph, data, pixels
        self.trunk, _ = head.cut_head(graph, data.classes)
        name = fingerprint.digest(fingerprint.of_graph(graph), data.fingerprint(), repr(pixels))
        self.folder = cache.folder() / "experiments" / name
        self.folder.mkdir(parents=True, exist_ok=True)
        self.names = narrow(self.trunk)
        missing = [
            n for n in self.names if not all(self._file(n, part).exists() for part in ("train", "test"))
        ]
        if missing:
            self._make(missing, data, pixels, progress)

    def __getstate__(self):
        """What other processes of this machine need. They do not need the samples: they read the files."""
        return {**self.__dict__, "source": None}

    def at(self, tensor: str) -> tuple[np.ndarray, np.ndarray]:
        """(train, test): int8 (views, n, size) and (m, size) of a tensor."""
        train, test = (np.load(self._file(tensor, part), mmap_mode="r") for part in ("train", "test"))
        return train, test

    def _file(self, tensor, part) -> Path:
        return self.folder / f"{fingerprint.digest(tensor)}.{part}.npy"

    def _make(self, names, data, pixels, progress):
        """Run each sample once, and write the values of the named tensors."""
        made = compile.compile_inference(self.trunk, keep_all=True, kernels=simulated.best_tier())
        net = simulated.load(made.data, simulated.best_tier())
        entry = self.graph[self.graph.inputs[0]]
        total, done = data.train.shape[0] * data.train.shape[1] + len(data.test), 0
        for part, samples in (("train", data.train), ("test", data.test)):
            outer = samples.shape[: samples.ndim - data.test.ndim + 1]  # (views, n) or (m,)
            with _Rows({name: self._file(name, part) for name in names}, outer, made) as rows:

                def run(net, i, samples=samples, outer=outer, rows=rows):
                    index = np.unravel_index(i, outer)
                    net.input_view[:] = as_int8(samples[index], entry, pixels).tobytes()
                    net.classify_input()
                    rows.take(index, net)

                for _ in batch.each(net, run, int(np.prod(outer))):
                    done += 1
                    progress(done, total)


class _Rows:
    """Writes the files of a part, a row for each sample. They get their names when they are complete."""

    def __init__(self, files, outer, made):
        self.files, self.places, self.rows = files, {}, {}
        for name in files:
            at, size = made.program.activations[name].offset, made.trunk[name].size
            self.places[name] = slice(at, at + size)
            self.rows[name] = np.lib.format.open_memmap(self._part(name), "w+", np.int8, (*outer, size))

    def take(self, index, net):
        arena = np.frombuffer(net.arena, np.int8)
        for name, place in self.places.items():
            self.rows[name][index] = arena[place]

    def __enter__(self):
        return self

    def __exit__(self, failed, *_):
        for name, file in self.files.items():
            self.rows[name].flush()
            if not failed:
                self._part(name).rename(file)

    def _part(self, name):
        return self.files[name].with_suffix(f".{os.getpid()}")


def as_int8(x: np.ndarray, tensor: Tensor, pixels: tuple[float, float] | None = None) -> np.ndarray:
    """A sample as the package would take it."""
    assert tensor.scale is not None, "an input has a scale"
    if x.dtype == np.uint8:
        return raw_map(tensor, pixels)[x]
    return x if x.dtype == np.int8 else quantize(x, tensor.scale[0], tensor.zero_point)


def narrow(trunk: Graph) -> list[str]:
    """Tensors at which training may start: nothing else is live then, and each is no larger than the last."""
    last = {name: i for i, op in enumerate(trunk.ops) for name in op.inputs}
    last.update({name: len(trunk.ops) for name in trunk.outputs})
    root: dict[str, str] = {}  # output of a reshape -> the tensor that it reshapes
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
