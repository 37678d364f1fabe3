"""A .tflite file -> ir.Graph, without TensorFlow.

The file is parsed, float or uint8 conversions at its edges are taken off, and the registry is asked for each
operator. What cannot run exactly as TensorFlow Lite runs it is refused, by layer.
"""

from collections.abc import Sequence, Set
from dataclasses import replace
from typing import Any, NoReturn

import numpy as np
import tflite

from ..errors import ModelError
from ..graph.geometry import same_pad
from ..graph.ir import Graph, Op, Tensor
from ..operators.check import check
from ..operators.registry import CODES, SPELLINGS, WEIGHTED, form
from .cures import CURES
from .float_bridges import bridged
from .layer_names import layer_name, unique
from .tflite_file import File, OpEntry, Source, load, parse

ACTS = {
    tflite.ActivationFunctionType.NONE: "none",
    tflite.ActivationFunctionType.RELU: "relu",
    tflite.ActivationFunctionType.RELU6: "relu6",
    tflite.ActivationFunctionType.RELU_N1_TO_1: "relu_n1_to_1",
}
HOLD_WEIGHTS = {code for code, row in CODES.items() if row.kind in WEIGHTED}
EDGES = {"float32": "DEQUANTIZE", "uint8": "QUANTIZE"}  # output type -> the operator that makes it from int8
CONVERT = "convert the model to full int8, for instance with trimtab's Keras import"
LARGEST_SIDE = 1 << 15  # of a kernel or a stride
LARGEST_TENSOR = 1 << 31
MOST_AXES = 5


def read(source: Source) -> Graph:
    """The checked graph of an int8 .tflite model, from a path or bytes; ModelError says why not."""
    file = parse(load(source))
    for what, numbers in (("input", file.inputs), ("output", file.outputs)):
        if len(numbers) != 1:
            raise ModelError(f"the model has {len(numbers)} {what}s: use one with a single {what}")
    entries = _needed(file)
    entries, x, input_dtype = _strip_input(file, entries)
    entries, y, output_dtype = _strip_output(file, entries)
    entries, floats = bridged(file, entries)
    reader = Reader(file, floats)
    ops = reader.ops(entries, x, y)
    inputs, outputs = (reader.names[x],), (reader.names[y],)
    return check(Graph(reader.tensors, tuple(ops), inputs, outputs, input_dtype, output_dtype))


def signature(source: Source) -> tuple:
    """What the model calls itself: (signature key, input name, output name)."""
    return parse(load(source)).signature


# -- the edges


def _needed(file):
    """The operators that the outputs need; what only computes a reshape's target is not among them."""
    wanted, needed = set(file.outputs), []
    for entry in reversed(file.ops):
        if wanted.intersection(entry.outputs):
            needed.append(entry)
            wanted.update(entry.inputs[:1] if entry.code == "RESHAPE" else entry.inputs)
    return needed[::-1]


def _strip_input(file, entries):
    """(the operators without a conversion of the input, the input behind it, the type before it)."""
    x = file.inputs[0]
    dtype, readers = file.tensors[x].dtype, [e for e in entries if x in e.inputs]
    if dtype == "int8":
        return entries, x, dtype
    if len(readers) != 1 or readers[0].code != "QUANTIZE" or dtype not in EDGES:
        raise ModelError(f"the model computes in {dtype}: {CONVERT}")
    inside = readers[0].outputs[0]
    _need_same_steps(file, x, inside, "input")
    return [e for e in entries if e is not readers[0]], inside, dtype


def _strip_output(file, entries):
    """(the operators without a conversion of the output, the output before it, the type behind it)."""
    y = file.outputs[0]
    dtype, writer = file.tensors[y].dtype, next((e for e in entries if y in e.outputs), None)
    if dtype == "int8":
        return entries, y, dtype
    if writer is None or writer.code != EDGES.get(dtype) or not writer.inputs:
        raise ModelError(f"the model ends in {dtype}: {CONVERT}")
    inside = writer.inputs[0]
    _need_same_steps(file, y, inside, "output")
    return [e for e in entries if e is not writer], inside, dtype


def _need_same_steps(file, outside, inside, what):
    """A uint8 edge must be the int8 tensor moved by 128."""
    a, b = file.tensors[outside], file.tensors[inside]
    moved = a.scale.size == 1 and np.array_equal(a.scale, b.scale) and a.zero[0] == b.zero[0] + 128
    if a.dtype == "uint8" and not moved:
        raise ModelError(f"the uint8 {what} has another scale than the network: convert with int8 {what}")


# -- the operators


class Reader:
    """What the `read` rules of operators ask for. An entry is one operator of the file; a layer is its name.

    `x`, `y`, `activation` and `weights` add tensors to the graph; all refuse what cannot be run exactly.
    `node`, `between` and `reshaped` add nodes, for an operator that the graph says with several.
    """

    def __init__(self, file: File, floats: Set[int] = frozenset()):
        self.file = file
        self.floats = (
            floats  # tensors that are float in the file, so that no number of it means their integers
        )
        self.names = unique([t.name for t in file.tensors])
        self.tensors: dict[str, Tensor] = {}
        self.nodes: list[Op] = []
        self.wanted: set[int] = set()  # tensors that something reads
        self.layer = ""

    def ops(self, entries: list, x: int, y: int) -> list:
        """The nodes of the graph between two tensors, by number."""
        self.layer = self.names[x]
        self.activation(x)
        self.wanted = {y, *(number for entry in entries for number in entry.inputs)}
        for entry, name in zip(entries, self._layer_names(entries)):
            self.layer = name
            self._read(entry)
        self.activation(y)
        return self.nodes

    def _layer_names(self, entries):
        def name(entry):
            weighted = entry.code in HOLD_WEIGHTS
            numbers = entry.outputs[:1] + (entry.inputs[1:2] if weighted else [])
            tensors = [self.file.tensors[i].name for i in numbers if i != -1]
            return layer_name(tensors, weighted) or entry.code.lower()

        return unique([name(entry) for entry in entries])

    def _read(self, entry):
        if entry.code == "DEQUANTIZE":
            self.refuse("turns to float in the middle of the network", CONVERT)
        known = form(entry.code)
        if known is None:
            supported = ", ".join(sorted({*CODES, *SPELLINGS}))
            cure = CURES.get(entry.code, f"use only {supported}")
            self.refuse(f"operator {entry.code} is not supported", cure)
        outputs = 1 if entry.code in CODES else len(entry.outputs)  # split gives several
        if len(entry.inputs) < (2 if entry.code in HOLD_WEIGHTS else 1) or len(entry.outputs) != outputs:
            self.refuse("has the wrong number of inputs or outputs", "convert the model again")
        found = known.read(self, entry)
        if found:
            inputs, attrs = found
            kind = CODES[entry.code].kind
            self.nodes.append(Op(kind, self.layer, inputs, (self.names[entry.outputs[0]],), attrs))

    def refuse(self, what: str, cure: str) -> NoReturn:
        """Raise ModelError: what is wrong with the layer, and what the user can do."""
        raise ModelError(f"layer {self.layer}: {what}; {cure}")

    # -- nodes

    def node(self, kind: str, inputs: tuple, y: Tensor, name: str = "", **attrs: Any) -> Tensor:
        """Add a node that writes the tensor y; its output."""
        name = name or self._own(f"{self.layer}/{kind}", [op.name for op in self.nodes])
        self.nodes.append(Op(kind, name, inputs, (y.name,), attrs))
        return y

    def like(self, kind: str, x: Tensor, shape: Sequence[int]) -> Tensor:
        """A tensor with the scale of x that is none of the file."""
        name = self._own(f"{self.layer}/{kind}", [*self.tensors, *self.names])
        self.tensors[name] = replace(x, name=name, shape=tuple(shape), data=None, index=None)
        return self.tensors[name]

    def between(self, kind: str, x: Tensor, shape: Sequence[int], **attrs: Any) -> Tensor:
        """Add a node that reads x; its output, with the scale of x, is no tensor of the file."""
        return self.node(kind, (x.name,), self.like(kind, x, shape), **attrs)

    def reshaped(self, x: Tensor, shape: Sequence[int]) -> Tensor:
        """The tensor x under this shape."""
        return x if x.shape == tuple(shape) else self.between("reshape", x, shape)

    def _own(self, name, taken):
        """A name that is not taken yet."""
        fresh, n = name, 1
        while fresh in taken:
            n += 1
            fresh = f"{name}_{n}"
        return fresh

    # -- activations

    def x(self, entry: OpEntry, rank: int | None = None) -> Tensor:
        """The first input, with so many axes."""
        x = self.activation(entry.inputs[0])
        if rank and len(x.shape) != rank:
            cure = "reshape its input to (1, height, width, channels)"
            self.refuse(f"needs {rank} axes, not {len(x.shape)}", cure)
        return x

    def y(self, entry: OpEntry, shape: Sequence[int]) -> Tensor:
        """The output, whose shape in the file must be the one that the inputs give."""
        y = self.activation(entry.outputs[0])
        if y.shape != tuple(shape):
            self.refuse(f"says shape {list(y.shape)} but computes {list(shape)}", "convert the model again")
        return y

    def activation(self, number: int, stacked: bool = False) -> Tensor:
        """An int8 activation by its number in the file; it joins the graph once.

        stacked: one whose first axis counts steps, not samples, as recurrent layers stack them; the graph
        puts a batch before it.
        """
        if number == -1 or self.file.tensors[number].data:
            cure = "fold the constant into a layer's bias"
            self.refuse("reads a constant where it needs an activation", cure)
        name, t = self.names[number], self.file.tensors[number]
        stacked = stacked and bool(t.shape) and t.shape[0] not in (1, -1)
        if t.shape and t.shape[0] not in (1, -1) and not stacked:
            self.refuse(f"works on a batch of {t.shape[0]}", "convert the model with batch size 1")
        if name not in self.tensors:
            self._need_int8(f"tensor {name!r}", t)
            shape = (1, *t.shape) if stacked else (1, *t.shape[1:])
            index = None if number in self.floats else number
            self.tensors[name] = Tensor(name, shape, "int8", t.scale, int(t.zero[0]), index=index)
        return self.tensors[name]

    def operand(self, number: int) -> Tensor:
        """An int8 activation, or a constant of int8 that stands in its place."""
        if number == -1 or not self.file.tensors[number].data:
            return self.activation(number, stacked=True)
        t, name = self.file.tensors[number], self.names[number]
        data = self.constant(number, "int8")
        self._need_scale(f"constant {name!r}", t)
        self.tensors[name] = Tensor(name, data.shape, "int8", t.scale, int(t.zero[0]), data, number)
        return self.tensors[name]

    def _need_scale(self, where, t):
        positive = t.scale.size == 1 and np.isfinite(t.scale[0]) and t.scale[0] > 0
        if not positive or not -128 <= t.zero[0] <= 127:
            self.refuse(f"{where} has no usable scale", CONVERT)

    def _need_int8(self, where, t):
        if t.dtype != "int8":
            self.refuse(f"{where} is {t.dtype}, not int8", CONVERT)
        self._need_scale(where, t)
        if not 1 <= len(t.shape) <= MOST_AXES or any(n < 1 for n in t.shape[1:]):
            self.refuse(f"{where} has shape {list(t.shape)}", "give every axis but the first a fixed size")
        if np.prod(t.shape[1:], dtype=np.float64) > LARGEST_TENSOR:
            self.refuse(f"{where} has shape {list(t.shape)}", "use a smaller input")

    def same_quantization(self, entry: OpEntry, x: Tensor, y: Tensor) -> None:
        """Refuse an operator that changes the scale where its kernel cannot."""
        if x.scale[0] != y.scale[0] or x.zero_point != y.zero_point:
            cure = "convert the model again, with a requantize before it"
            self.refuse(f"{entry.code} changes the scale", cure)

    # -- constants

    def constant(self, number: int, dtype: str) -> np.ndarray:
        """The data of a constant tensor as an array of its shape."""
        t, kind = self.file.tensors[number], np.dtype(dtype)
        if t.dtype != dtype:
            self.refuse(f"has {t.dtype} constants where int8 models have {dtype}", CONVERT)
        if not t.data:
            self.refuse("has weights or arguments that are computed while running", "make them constants")
        if any(n < 1 for n in t.shape) or len(t.data) != np.prod(t.shape, dtype=np.float64) * kind.itemsize:
            raise ModelError("the .tflite file is damaged or cut short: copy or convert it again")
        return np.frombuffer(t.data, kind).reshape(t.shape)

    def argument(self, entry: OpEntry, index: int = 1) -> np.ndarray:
        """The second input, or another one, of an operator that takes its argument as a tensor."""
        if len(entry.inputs) <= index or entry.inputs[index] == -1:
            self.refuse("lacks its argument", "convert the model again")
        return self.constant(entry.inputs[index], "int32").astype(np.int64)

    def weights(self, entry: OpEntry, rank: int, axis: int, x: Tensor) -> tuple:
        """(input names, the weights' tensor, whether each channel has a scale); channels: `axis`."""
        number = entry.inputs[1]
        if number == -1 or not self.file.tensors[number].data:
            self.refuse("has weights that are not constant", "use a layer that holds its weights")
        w, t = self.constant(number, "int8"), self.file.tensors[number]
        if w.ndim != rank:
            self.refuse(f"has weights with {w.ndim} axes instead of {rank}", "convert the model again")
        channels = w.shape[axis]
        self._need_scales(t, axis, channels)
        scale = np.broadcast_to(t.scale, channels).copy()
        name = self._apart(self.names[number], "weights")
        self.tensors[name] = Tensor(name, w.shape, "int8", scale, 0, w, number)
        bias = self._bias(entry, channels, x.scale * scale)
        return (x.name, name, bias), self.tensors[name], t.scale.size > 1

    def _need_scales(self, t, axis, channels):
        """Symmetric weights, with one scale or one for each output channel."""
        if t.zero.any():
            self.refuse("has weights with a zero point", "convert with symmetric weights")
        if t.scale.size not in (1, channels) or (t.scale.size > 1 and t.axis != axis):
            what = "has weight scales on another axis than its output channels"
            self.refuse(what, "convert the model again")
        dead = t.scale.size == 1 and t.scale[0] == 0  # single channels may be
        if not np.isfinite(t.scale).all() or (t.scale < 0).any() or dead:
            self.refuse("has weights without usable scales", "convert the model again")

    def _bias(self, entry, channels, scale):
        """The name of the bias in the graph; a layer without one gets zeros."""
        number = entry.inputs[2] if len(entry.inputs) > 2 else -1
        if number == -1:
            name, data, number = f"{self.layer}/bias", np.zeros(channels, np.int32), None
        else:
            name, data = self._apart(self.names[number], "bias"), self.constant(number, "int32")
        if data.shape != (channels,):
            what = f"has a bias of {data.size} values for {channels} channels"
            self.refuse(what, "convert the model again")
        self.tensors[name] = Tensor(name, data.shape, "int32", scale, 0, data, number)
        return name

    def _apart(self, name, what):
        """Converters merge equal constants; each layer gets its own here, to be trained apart."""
        return f"{self.layer}/{what}" if name in self.tensors else name

    # -- options

    def act(self, entry: OpEntry) -> str:
        """The fused activation."""
        act = entry.options["FusedActivationFunction"]
        if act not in ACTS:
            self.refuse(f"has fused activation number {act}", "use relu, relu6 or none")
        return ACTS[act]

    def same(self, entry: OpEntry) -> bool:
        """Whether a window is padded so that its output, at stride 1, has the size of its input."""
        return entry.options["Padding"] == tflite.Padding.SAME

    def window(self, entry: OpEntry, x: Tensor, kernel: tuple) -> tuple:
        """(stride, explicit padding and activation as attributes; the output's height and width)."""
        o = entry.options
        stride = (o["StrideH"], o["StrideW"])
        if min(*stride, *kernel) < 1:
            self.refuse("has a stride or kernel of zero", "convert the model again")
        if max(*stride, *kernel) > LARGEST_SIDE:
            self.refuse("has a stride or kernel beyond all sizes", "convert the model again")
        pad = same_pad(x.shape[1:3], kernel, stride) if self.same(entry) else (0, 0, 0, 0)
        room = [n + a + b - k for n, a, b, k in zip(x.shape[1:3], pad[:2], pad[2:], kernel)]
        if min(room) < 0:
            self.refuse("has a kernel larger than its input", "use padding or a smaller kernel")
        size = [r // s + 1 for r, s in zip(room, stride)]
        return {"stride": stride, "pad": pad, "act": self.act(entry)}, size
