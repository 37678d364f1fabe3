"""The same inputs through our kernels and through TensorFlow Lite's reference kernels, tensor by tensor."""

import numpy as np

from ..boards import simulated
from ..compiler import compile
from ..errors import ModelError
from ..formats import read_tflite


def verify(path, n=200, kernels="c", progress=lambda done, total: None):
    """{"inputs", "outputs", "identical", "first_difference"}: counts of output tensors, and the first layer that differs."""
    graph = read_tflite.read(path)
    with open(path, "rb") as f:
        reference = Reference(f.read(), graph)
    compiled = compile.compile_inference(graph, keep_all=True, kernels=simulated.tier(kernels))
    net = simulated.load(compiled.data, kernels)
    outputs = identical = 0
    first = None
    for i, x in enumerate(inputs(graph, n)):
        wanted = reference.run(x)
        net.input_view[:] = x.tobytes()
        net.classify_input()
        for name in graph.outputs:
            outputs += 1
            identical += np.array_equal(_ours(net, compiled, graph, name), wanted[name])
        if first is None:
            first = _first_difference(net, compiled, graph, wanted, i)
        progress(i + 1, n)
    return {"inputs": n, "outputs": outputs, "identical": identical, "first_difference": first}


def inputs(graph, n, seed=0):
    """Extremes first (all low, all high, zero point, checkerboards, ramps), then noise of several strengths."""
    t = graph[graph.inputs[0]]
    rng = np.random.RandomState(seed)
    count = np.arange(t.size).reshape(t.shape)
    fixed = [np.full(t.shape, v) for v in (-128, 127, t.zero_point, 0, -1)]
    fixed += [
        np.where(count % 2, 127, -128),
        np.where(count % 2, -128, 127),
        count % 256 - 128,
        127 - count % 256,
    ]
    for i in range(n):
        if i < len(fixed):
            x = fixed[i]
        elif i % 4 == 0:
            x = rng.choice([-128, 127], t.shape)
        elif i % 4 == 1:
            x = rng.normal(rng.uniform(-100, 100), rng.uniform(1, 60), t.shape)
        else:
            x = rng.randint(-128, 128, t.shape)
        yield np.clip(np.rint(x), -128, 127).astype(np.int8)


class Reference:
    """TensorFlow Lite's reference kernels, every tensor kept."""

    def __init__(self, data, graph):
        try:
            from ai_edge_litert.interpreter import Interpreter, OpResolverType
        except ImportError:
            raise ModelError("verify needs TensorFlow Lite's interpreter: pip install trimtab[verify]")
        self.interpreter = Interpreter(
            model_content=data,
            experimental_preserve_all_tensors=True,
            experimental_op_resolver_type=OpResolverType.BUILTIN_REF,
            num_threads=1,
        )
        self.interpreter.allocate_tensors()
        self.graph = graph

    def run(self, x):
        """{tensor name: int8 array} of every activation."""
        details = self.interpreter.get_input_details()[0]
        if details["dtype"] == np.int8:
            self.interpreter.set_tensor(details["index"], x.reshape(details["shape"]))
        else:
            t = self.graph[self.graph.inputs[0]]
            real = (x.astype(np.float64) - t.zero_point) * t.scale[0]
            if details["dtype"] == np.uint8:
                scale, zero = details["quantization"]
                real = np.clip(np.rint(real / scale + zero), 0, 255)
            self.interpreter.set_tensor(
                details["index"], real.astype(details["dtype"]).reshape(details["shape"])
            )
        self.interpreter.invoke()
        names = [n for op in self.graph.ops for n in op.outputs]
        return {n: self.interpreter.get_tensor(self.graph[n].index) for n in names}


def _ours(net, compiled, graph, name):
    buffer = compiled.program.activations[name]
    return np.frombuffer(bytes(net.span(buffer.offset, buffer.size)), np.int8).reshape(graph[name].shape)


def _first_difference(net, compiled, graph, wanted, i):
    for op in graph.ops:
        for name in op.outputs:
            ours, theirs = _ours(net, compiled, graph, name), wanted[name]
            wrong = np.flatnonzero(ours.ravel() != theirs.ravel())
            if len(wrong):
                at = int(wrong[0])
                return {
                    "layer": op.name,
                    "kind": op.kind,
                    "tensor": name,
                    "input": i,
                    "elements": len(wrong),
                    "of": ours.size,
                    "at": at,
                    "ours": int(ours.ravel()[at]),
                    "theirs": int(theirs.ravel()[at]),
                }
    return None
