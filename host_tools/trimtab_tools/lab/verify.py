"""Compares our kernels with TensorFlow Lite's reference kernels, tensor by tensor, on the same inputs."""

from collections.abc import Iterator

import numpy as np

from ..boards import simulated
from ..compiler import compile
from ..errors import ModelError
from ..formats import read_tflite, write_tflite
from ..formats.tflite_file import parse
from ..graph.ir import Graph
from ..operators.registry import has_reference
from ..policies.head import without_softmax
from .progress import Progress, quiet


def verify(path: str, n: int = 200, kernels: str | None = None, progress: Progress = quiet) -> dict:
    """Counts of output tensors, and the first layer that differs.

    The keys are "inputs", "outputs", "identical" and "first_difference" (None if there is no difference).
    """
    graph = read_tflite.read(path)
    with open(path, "rb") as f:
        data, graph = comparable(f.read(), graph)
    end = graph.producer(graph.outputs[0])
    if end is not None and end.kind == "log_softmax":  # boards do not compute it
        graph = without_softmax(graph)
    reference = Reference(data, graph)
    ours = Ours(graph, kernels)
    outputs = identical = 0
    first = None
    for i, x in enumerate(inputs(graph, n)):
        wanted = reference.run(x)
        ours.run(x)
        for name in graph.outputs:
            outputs += 1
            identical += np.array_equal(ours.tensor(name), wanted[name])
        first = first or first_difference(graph, ours, wanted, i)
        progress(i + 1, n)
    return {"inputs": n, "outputs": outputs, "identical": identical, "first_difference": first}


def comparable(data: bytes, graph: Graph) -> tuple[bytes, Graph]:
    """The file and its graph. If the reference lacks an operator that the graph says with others, a file of
    the graph."""
    if _has_reference(data):
        return data, graph
    said = write_tflite.write(graph)
    return (said, read_tflite.read(said)) if _has_reference(said) else (data, graph)


def _has_reference(data):
    return has_reference(entry.code for entry in parse(data).ops)


def inputs(graph: Graph, n: int, seed: int = 0) -> Iterator[np.ndarray]:
    """n inputs: extremes first, then noise of several strengths.

    The extremes are all low, all high, all zero point, checkerboards and ramps.
    """
    t = graph[graph.inputs[0]]
    rng = np.random.RandomState(seed)
    fixed = _extremes(t)
    for i in range(n):
        x = fixed[i] if i < len(fixed) else _noise(rng, i, t.shape)
        yield np.clip(np.rint(x), -128, 127).astype(np.int8)


def _extremes(t):
    count = np.arange(t.size).reshape(t.shape)
    flat = [np.full(t.shape, v) for v in (-128, 127, t.zero_point, 0, -1)]
    boards = [np.where(count % 2, 127, -128), np.where(count % 2, -128, 127)]
    ramps = [count % 256 - 128, 127 - count % 256]
    return flat + boards + ramps


def _noise(rng, i, shape):
    if i % 4 == 0:
        return rng.choice([-128, 127], shape)
    if i % 4 == 1:
        return rng.normal(rng.uniform(-100, 100), rng.uniform(1, 60), shape)
    return rng.randint(-128, 128, shape)


class Ours:
    """Our kernels, with a place of its own for every tensor."""

    def __init__(self, graph: Graph, kernels: str | None):
        self.graph = graph
        self.compiled = compile.compile_inference(graph, keep_all=True, kernels=simulated.tier(kernels))
        self.net = simulated.load(self.compiled.data, kernels)

    def run(self, x: np.ndarray) -> None:
        self.net.input_view[:] = x.tobytes()
        self.net.classify_input()

    def tensor(self, name: str) -> np.ndarray:
        buffer = self.compiled.program.activations[name]
        data = bytes(self.net.span(buffer.offset, buffer.size))
        return np.frombuffer(data, np.int8).reshape(self.graph[name].shape)


class Reference:
    """TensorFlow Lite's reference kernels, which keep every tensor."""

    def __init__(self, data: bytes, graph: Graph):
        try:
            from ai_edge_litert.interpreter import Interpreter, OpResolverType
        except ImportError:
            raise ModelError(
                "verify needs TensorFlow Lite's interpreter: pip install trimtab[verify]"
            ) from None
        # Operators that the reference set lacks have one kernel, which the other set lists.
        resolver = OpResolverType.BUILTIN_REF
        if not _has_reference(data):
            resolver = OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
        self.interpreter = Interpreter(
            model_content=data,
            experimental_preserve_all_tensors=True,
            experimental_op_resolver_type=resolver,
            num_threads=1,
        )
        self.interpreter.allocate_tensors()
        self.graph = graph

    def run(self, x: np.ndarray) -> dict[str, np.ndarray]:
        """{tensor name: int8 array} of every activation that the file has."""
        details = self.interpreter.get_input_details()[0]
        given = x if details["dtype"] == np.int8 else self._converted(x, details)
        self.interpreter.set_tensor(details["index"], given.reshape(details["shape"]))
        self.interpreter.invoke()
        known = [t for t in self.graph.tensors.values() if not t.constant and t.index is not None]
        return {t.name: self.interpreter.get_tensor(t.index) for t in known}

    def _converted(self, x, details):
        """An int8 input for a model that begins by quantizing floats or uint8."""
        t = self.graph[self.graph.inputs[0]]
        real = (x.astype(np.float64) - t.zero_point) * t.scale[0]
        if details["dtype"] == np.uint8:
            scale, zero = details["quantization"]
            real = np.clip(np.rint(real / scale + zero), 0, 255)
        return real.astype(details["dtype"])


def first_difference(graph: Graph, ours: Ours, wanted: dict[str, np.ndarray], i: int) -> dict | None:
    """The first layer whose output differs for input i, and the first element of it that does."""
    for op in graph.ops:
        for name in wanted.keys() & set(op.outputs):
            mine, theirs = ours.tensor(name).ravel(), wanted[name].ravel()
            wrong = np.flatnonzero(mine != theirs)
            if len(wrong):
                at = int(wrong[0])
                return {
                    "layer": op.name,
                    "kind": op.kind,
                    "tensor": name,
                    "input": i,
                    "elements": len(wrong),
                    "of": mine.size,
                    "at": at,
                    "ours": int(mine[at]),
                    "theirs": int(theirs[at]),
                }
    return None
