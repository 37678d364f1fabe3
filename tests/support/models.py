"""Builders of small random int8 graphs: every operator, any size, reproducible from a seed."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter, OpResolverType
from trimtab_tools.graph.geometry import same_pad
from trimtab_tools.graph.ir import Graph, Op, Tensor
from trimtab_tools.operators.check import check
from trimtab_tools.operators.registry import OPERATORS, has_reference

FIXED = {"logistic": {"scale": 1 / 256, "zero": -128}, "tanh": {"scale": 1 / 128, "zero": 0}}  # of outputs
ATTRIBUTES = {  # of operators that need some
    "leaky_relu": ("leaky_relu", {"alpha": float(np.float32(0.1))}),
    "gelu": ("gelu", {"approximate": False}),
    "gelu_tanh": ("gelu", {"approximate": True}),
}


class Builder:
    """Grow a graph layer by layer; `x` is the tensor that the next layer reads."""

    def __init__(self, shape, seed=0, scale=None, zero=None):
        self.rng = np.random.default_rng(seed)
        self.tensors, self.ops = {}, []
        self.x = self.input = self.tensor("input", (1, *shape), scale, zero)

    def tensor(self, name, shape, scale=None, zero=None):
        scale = self.rng.uniform(0.005, 0.1) if scale is None else scale
        zero = int(self.rng.integers(-128, 128)) if zero is None else zero
        self.tensors[name] = Tensor(name, tuple(shape), "int8", f32([scale]), zero)
        return name

    def shape(self, name=None):
        return self.tensors[name or self.x].shape

    def layer(self, kind, shape, inputs=None, scale=None, zero=None, **attrs):
        name = f"{kind}_{len(self.ops)}"
        inputs = (self.x,) if inputs is None else inputs
        self.x = self.tensor(name, shape, scale, zero)
        self.ops.append(Op(kind, name, tuple(inputs), (name,), attrs))
        return name

    def same_scale(self, name=None):
        t = self.tensors[name or self.x]
        return {"scale": t.scale[0], "zero": t.zero_point}

    def weights(self, shape, channels, fan_in, per_channel=True):
        n = len(self.tensors)
        scale = self.rng.uniform(0.002, 0.02, channels if per_channel else 1) * np.ones(channels)
        w = self.rng.integers(-127, 128, shape).astype(np.int8)
        x_scale = self.tensors[self.x].scale[0]
        top = 1 + int(3200 * fan_in**0.5)
        b = self.rng.integers(-top, top, channels).astype(np.int32)
        self.tensors[f"w{n}"] = Tensor(f"w{n}", shape, "int8", f32(scale), 0, w)
        self.tensors[f"b{n}"] = Tensor(f"b{n}", (channels,), "int32", f32(x_scale * scale), 0, b)
        spread = 70 * fan_in**0.5 * x_scale * float(np.mean(scale))  # fills the int8 range
        return (self.x, f"w{n}", f"b{n}"), spread

    def window(self, kernel, stride, padding):
        h, w = self.shape()[1:3]
        pad = same_pad((h, w), kernel, stride) if padding == "same" else (0, 0, 0, 0)
        size = [(n + a + b - k) // s + 1 for n, a, b, k, s in zip((h, w), pad[:2], pad[2:], kernel, stride)]
        return pad, size

    def conv(self, out, kernel=(3, 3), stride=(1, 1), padding="same", act="none", **out_quant):
        c = self.shape()[3]
        pad, size = self.window(kernel, stride, padding)
        inputs, scale = self.weights((out, *kernel, c), out, kernel[0] * kernel[1] * c)
        out_quant.setdefault("scale", scale)
        return self.layer("conv", (1, *size, out), inputs, stride=stride, pad=pad, act=act, **out_quant)

    def depthwise(self, multiplier=1, kernel=(3, 3), stride=(1, 1), padding="same", act="none", **out_quant):
        c = self.shape()[3] * multiplier
        pad, size = self.window(kernel, stride, padding)
        inputs, scale = self.weights((1, *kernel, c), c, kernel[0] * kernel[1])
        out_quant.setdefault("scale", scale)
        return self.layer("depthwise", (1, *size, c), inputs, stride=stride, pad=pad, act=act, **out_quant)

    def dense(self, out, act="none", per_channel=False, positions=False, **out_quant):
        shape = self.shape()
        n = shape[-1] if positions else int(np.prod(shape))
        inputs, scale = self.weights((out, n), out, n, per_channel)
        out_quant.setdefault("scale", scale)
        y = (*shape[:-1], out) if positions else (1, out)
        return self.layer("dense", y, inputs, act=act, per_channel=per_channel, **out_quant)

    def add(self, a, b, act="none", **out_quant):
        return self.layer("add", self.shape(a), (a, b), act=act, **out_quant)

    def joined(self, kind, a, b, act="none", **out_quant):
        """mul, add or sub of two tensors, of which one may be smaller."""
        shape = np.broadcast_shapes(self.shape(a), self.shape(b))
        return self.layer(kind, shape, (a, b), act=act, **out_quant)

    def constant(self, *shape, scale=None, zero=None):
        name = self.tensor(f"constant_{len(self.tensors)}", shape, scale, zero)
        data = self.rng.integers(-128, 128, shape).astype(np.int8)
        self.tensors[name] = replace(self.tensors[name], data=data)
        return name

    def prelu(self, *shape, **out_quant):
        slopes = self.constant(*shape, scale=0.003)
        return self.layer("prelu", self.shape(), (self.x, slopes), **out_quant)

    def bounded(self, kind, level):
        """minimum or maximum of x and one number."""
        c = self.constant(1, **self.same_scale())
        self.tensors[c] = replace(self.tensors[c], data=np.array([level], np.int8))
        bound = (level - self.tensors[c].zero_point) * self.tensors[c].scale[0]
        return self.layer(kind, self.shape(), (self.x, c), bound=float(bound), **self.same_scale())

    def pool(self, kind, kernel=(2, 2), stride=(2, 2), padding="valid", act="none"):
        pad, size = self.window(kernel, stride, padding)
        shape = (1, *size, self.shape()[3])
        return self.layer(kind, shape, kernel=kernel, stride=stride, pad=pad, act=act, **self.same_scale())

    def mean(self, keepdims=False, axes=(1, 2), **out_quant):
        kept = [1 if i in axes else n for i, n in enumerate(self.shape()) if keepdims or i not in axes]
        return self.layer("mean", kept, axes=axes, **out_quant)

    def pad(self, *pairs):
        pairs = ((0, 0), *pairs)
        shape = [n + a + b for n, (a, b) in zip(self.shape(), pairs)]
        return self.layer("pad", shape, pad=pairs, **self.same_scale())

    def slice(self, begin, shape):
        return self.layer("slice", (1, *shape), begin=begin, **self.same_scale())

    def transpose(self, *order):
        order = (0, *order)
        return self.layer("transpose", [self.shape()[i] for i in order], order=order, **self.same_scale())

    def reshape(self, *shape):
        return self.layer("reshape", (1, *shape), **self.same_scale())

    def softmax(self, beta=1.0):
        return self.layer("softmax", self.shape(), scale=1 / 256, zero=-128, beta=beta)

    def unary(self, kind, **out_quant):
        kind, attrs = ATTRIBUTES.get(kind, (kind, {}))
        return self.layer(kind, self.shape(), **FIXED.get(kind, out_quant), **attrs)

    def concat(self, *names, axis=3):
        shape = list(self.shape(names[0]))
        shape[axis] = sum(self.shape(n)[axis] for n in names)
        return self.layer("concat", shape, names, axis=axis, **self.same_scale(names[0]))

    def graph(self, **dtypes):
        return check(Graph(dict(self.tensors), tuple(self.ops), (self.input,), (self.x,), **dtypes))


def run(data, x, kernels=OpResolverType.BUILTIN_REF):
    """TensorFlow Lite's reference kernels: every tensor by its number in the file, one row per sample."""
    interpreter = Interpreter(
        model_content=data,
        experimental_op_resolver_type=kernels,
        experimental_preserve_all_tensors=True,
    )
    interpreter.allocate_tensors()
    input_index = interpreter.get_input_details()[0]["index"]
    wanted = [d["index"] for d in interpreter.get_tensor_details() if len(d["shape"]) and d["shape"][0] == 1]
    rows = {i: [] for i in wanted}
    for sample in x:
        interpreter.set_tensor(input_index, sample[None])
        interpreter.invoke()
        for i in wanted:
            rows[i].append(interpreter.get_tensor(i)[0].copy())
    return {i: np.stack(v) for i, v in rows.items()}


def kernels_for(graph):
    """Where TensorFlow Lite lists the kernels that a graph is compared with."""
    return kernels_for_codes(OPERATORS[op.kind].tflite.code for op in graph.ops)


def kernels_for_codes(codes):
    """The same for the operators of a file."""
    if has_reference(codes):
        return OpResolverType.BUILTIN_REF
    return OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES


def asset(name):
    """A file of the shared test assets, which lie beside the repository where they are at all."""
    path = Path(__file__).resolve().parents[3] / "shared" / "assets" / name
    if not path.exists():
        pytest.skip(f"the test asset {name} is not on this machine")
    return path


def f32(values):
    """What a model file can hold of these scales, as float64."""
    return np.asarray(values, np.float32).astype(np.float64)


def samples(graph, n, seed=0):
    """n inputs: the extremes, the zero point, checkerboards, then noise of every amplitude."""
    t = graph[graph.inputs[0]]
    rng = np.random.default_rng(seed)
    flat = np.stack([np.full(t.size, v) for v in (-128, 127, t.zero_point)])
    board = np.where(np.arange(t.size) % 2, 127, -128)
    noise = rng.integers(-128, 128, (max(n - 5, 0), t.size))
    x = np.concatenate([flat, board[None], ~board[None], noise])[:n]
    return x.astype(np.int8).reshape(n, *t.shape[1:])
