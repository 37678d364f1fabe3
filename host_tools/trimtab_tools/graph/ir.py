"""The graph between model file and package: immutable tensors and operators, a checker, a printer.

One graph holds one int8 network. Passes take a graph and return a new one; `check` runs between them.
Layouts are TensorFlow Lite's: activations NHWC, conv weights OHWI, depthwise weights 1HWC, dense weights OI.
"""

from dataclasses import dataclass, field, replace

import numpy as np

from ..errors import ModelError


@dataclass(frozen=True, eq=False)
class Tensor:
    name: str
    shape: tuple  # batch is always 1 for activations
    dtype: str  # "int8", "int32", "float32"
    scale: np.ndarray | None = None  # float64 (1,) per tensor or (channels,) per channel
    zero_point: int = 0
    data: np.ndarray | None = None  # constants only
    index: int | None = None  # the tensor's number in the model file

    @property
    def size(self):
        return int(np.prod(self.shape, dtype=np.int64))

    @property
    def constant(self):
        return self.data is not None


@dataclass(frozen=True, eq=False)
class Op:
    kind: str  # a key of OPERATORS
    name: str  # the layer as the user knows it
    inputs: tuple  # tensor names; "" where an optional input is absent
    outputs: tuple
    attrs: dict = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Graph:
    tensors: dict  # name -> Tensor
    ops: tuple  # in execution order
    inputs: tuple
    outputs: tuple
    input_dtype: str = "int8"  # what the model file takes and gives; the graph inside is int8
    output_dtype: str = "int8"

    def __getitem__(self, name):
        return self.tensors[name]

    def producer(self, name):
        return next((op for op in self.ops if name in op.outputs), None)

    def consumers(self, name):
        return [op for op in self.ops if name in op.inputs]

    def with_ops(self, ops, outputs=None):
        """The graph of these operators, without the tensors that nothing names any more."""
        ops, outputs = tuple(ops), tuple(outputs or self.outputs)
        used = {*self.inputs, *outputs, *(n for op in ops for n in (*op.inputs, *op.outputs))}
        tensors = {n: t for n, t in self.tensors.items() if n in used}
        return replace(self, tensors=tensors, ops=ops, outputs=outputs)


# kind -> (number of inputs that must be int8 activations, attributes that must be present)
OPERATORS = {
    "conv": (1, ("stride", "pad", "act")),  # inputs x, w, b; stride (h, w); pad (top, left, bottom, right)
    "depthwise": (1, ("stride", "pad", "act")),  # depth multiplier 1 or more: outputs c * multiplier + m
    "dense": (1, ("act",)),  # inputs x, w, b
    "add": (2, ("act",)),
    "avg_pool": (1, ("kernel", "stride", "pad", "act")),
    "max_pool": (1, ("kernel", "stride", "pad", "act")),
    "mean": (1, ("axes",)),  # over (1, 2) of NHWC, keepdims or not
    "pad": (1, ("pad",)),  # ((before, after), ...) one pair per axis
    "reshape": (1, ()),
    "softmax": (1, ("beta",)),
    "relu": (1, ()),
    "relu6": (1, ()),
    "hard_swish": (1, ()),
    "logistic": (1, ()),
    "concat": (1, ("axis",)),  # any number of inputs
    "requantize": (1, ()),  # int8 to int8 with another scale
    "lite": (2, ("stride", "detached")),  # a lite residual module beside a block (operators/tinytl.py)
}
ACTIVATIONS = ("none", "relu", "relu6", "relu_n1_to_1")


def same_pad(size, kernel, stride):
    """SAME padding as numbers: size, kernel and stride (h, w) -> (top, left, bottom, right)."""
    totals = [max((-(-n // s) - 1) * s + k - n, 0) for n, k, s in zip(size, kernel, stride)]
    before = [t // 2 for t in totals]
    return (*before, *(t - b for t, b in zip(totals, before)))


def check(graph):
    """Refuse a graph that later passes could not rely on; return it unchanged."""
    known = set(graph.inputs) | {n for n, t in graph.tensors.items() if t.constant}
    for op in graph.ops:
        if op.kind not in OPERATORS:
            raise ModelError(f"layer {op.name}: operator {op.kind} is not supported")
        activations, attrs = OPERATORS[op.kind]
        for attr in attrs:
            if attr not in op.attrs:
                raise ModelError(f"layer {op.name}: {op.kind} lacks the attribute {attr}")
        if op.attrs.get("act", "none") not in ACTIVATIONS:
            raise ModelError(f"layer {op.name}: activation {op.attrs['act']} is not supported")
        for name in op.inputs:
            if name and name not in known:
                raise ModelError(f"layer {op.name}: reads {name} before it is written")
        for name in (*op.inputs[:activations], *op.outputs):
            t = graph.tensors[name]
            if t.dtype != "int8" or t.scale is None or len(t.scale) != 1:
                raise ModelError(f"layer {op.name}: tensor {name} must be int8 with one scale")
            if not -128 <= t.zero_point <= 127 or not t.scale[0] > 0:
                raise ModelError(f"layer {op.name}: tensor {name} has an impossible quantization")
        for name in op.outputs:
            if name in known:
                raise ModelError(f"layer {op.name}: writes {name} a second time")
            known.add(name)
    for name in graph.outputs:
        if name not in known:
            raise ModelError(f"output {name} is never written")
    return graph


def show(graph):
    """One line per operator, for people."""
    lines = []
    for op in graph.ops:
        ins = " ".join(f"{n}{list(graph[n].shape)}" for n in op.inputs if n)
        outs = " ".join(
            f"{n}{list(graph[n].shape)} scale {graph[n].scale[0]:.6g} zero {graph[n].zero_point}"
            for n in op.outputs
        )
        attrs = " ".join(f"{k}={v}" for k, v in op.attrs.items())
        lines.append(f"{op.name}: {op.kind} {attrs}\n    {ins}\n    -> {outs}")
    return "\n".join(lines)
