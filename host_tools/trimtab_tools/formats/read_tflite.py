"""A .tflite file -> ir.Graph, without TensorFlow.

Gives the file's records meaning, and refuses, by layer, what we cannot run exactly as TensorFlow Lite does.
"""

import re

import numpy as np
import tflite

from ..errors import ModelError
from ..graph.ir import Graph, Op, Tensor, check, same_pad
from .tflite_file import load, parse

ACTS = {
    tflite.ActivationFunctionType.NONE: "none",
    tflite.ActivationFunctionType.RELU: "relu",
    tflite.ActivationFunctionType.RELU6: "relu6",
    tflite.ActivationFunctionType.RELU_N1_TO_1: "relu_n1_to_1",
}
WEIGHTS = ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED")
EDGES = {"float32": "DEQUANTIZE", "uint8": "QUANTIZE"}  # output type -> the operator that makes it from int8
POOLS = {"AVERAGE_POOL_2D": "avg_pool", "MAX_POOL_2D": "max_pool"}
UNARY = {"RELU": "relu", "RELU6": "relu6", "HARD_SWISH": "hard_swish", "LOGISTIC": "logistic"}
CONVERT = "convert the model to full int8, for instance with trimtab's Keras import"


def read(source):
    """Path or bytes of an int8 .tflite model -> checked ir.Graph; ModelError says why not."""
    return check(_Reader(parse(load(source))).graph())


def signature(source):
    """What the model calls itself: (signature key, input name, output name)."""
    return parse(load(source)).signature


class _Reader:
    def __init__(self, file):
        self.file = file
        self.names = _unique([t.name for t in file.tensors])
        self.tensors = {}
        self.layer = ""  # what refusals name

    def graph(self):
        ops = self._live()
        for what, numbers in (("input", self.file.inputs), ("output", self.file.outputs)):
            if len(numbers) != 1:
                raise ModelError(f"the model has {len(numbers)} {what}s: use one with a single {what}")
        x, y = self.file.inputs[0], self.file.outputs[0]
        ops, x, input_dtype = self._strip_input(ops, x)
        ops, y, output_dtype = self._strip_output(ops, y)
        self.layer = self.names[x]
        self._activation(x)
        layers = [self._convert(op, name) for op, name in zip(ops, self._layer_names(ops))]
        self._activation(y)
        return Graph(
            self.tensors, tuple(layers), (self.names[x],), (self.names[y],), input_dtype, output_dtype
        )

    def _live(self):
        """Operators that the outputs need; what only computes a reshape's target is not among them."""
        wanted, live = set(self.file.outputs), []
        for op in reversed(self.file.ops):
            if wanted.intersection(op.outputs):
                live.append(op)
                wanted.update(op.inputs[:1] if op.code == "RESHAPE" else op.inputs)
        return live[::-1]

    def _strip_input(self, ops, x):
        dtype = self._dtype(x)
        readers = [op for op in ops if x in op.inputs]
        if dtype == "int8":
            return ops, x, dtype
        if len(readers) != 1 or readers[0].code != "QUANTIZE" or dtype not in EDGES:
            raise ModelError(f"the model computes in {dtype}: {CONVERT}")
        inside = readers[0].outputs[0]
        self._same_steps(x, inside, "input")
        return [op for op in ops if op is not readers[0]], inside, dtype

    def _strip_output(self, ops, y):
        dtype = self._dtype(y)
        writer = next((op for op in ops if y in op.outputs), None)
        if dtype == "int8":
            return ops, y, dtype
        if writer is None or writer.code != EDGES.get(dtype) or not writer.inputs:
            raise ModelError(f"the model ends in {dtype}: {CONVERT}")
        inside = writer.inputs[0]
        self._same_steps(y, inside, "output")
        return [op for op in ops if op is not writer], inside, dtype

    def _same_steps(self, outside, inside, what):
        """A uint8 edge must be the int8 tensor moved by 128."""
        a, b = self.file.tensors[outside], self.file.tensors[inside]
        if self._dtype(outside) == "uint8" and (
            a.scale.size != 1 or not np.array_equal(a.scale, b.scale) or a.zero[0] != b.zero[0] + 128
        ):
            raise ModelError(f"the uint8 {what} has another scale than the network: convert with int8 {what}")

    def _layer_names(self, ops):
        def tensors(op):
            numbers = op.outputs[:1] + (op.inputs[1:2] if op.code in WEIGHTS else [])
            return [self.file.tensors[i].name for i in numbers if i != -1]

        return _unique([_layer_name(tensors(op), op.code) for op in ops])

    def _convert(self, op, name):
        self.layer = name
        if op.code not in CONVERTERS:
            supported = ", ".join(sorted(CONVERTERS))
            raise ModelError(f"layer {name}: operator {op.code} is not supported; use only {supported}")
        if len(op.inputs) < (2 if op.code in WEIGHTS else 1) or len(op.outputs) != 1:
            self._refuse("has the wrong number of inputs or outputs", "convert the model again")
        return CONVERTERS[op.code](self, op)

    def _refuse(self, what, cure):
        raise ModelError(f"layer {self.layer}: {what}; {cure}")

    # tensors

    def _dtype(self, number):
        return self.file.tensors[number].dtype

    def _activation(self, number):
        """Add an int8 activation to the graph (once) and return it."""
        if number == -1 or self.file.tensors[number].data:
            self._refuse(
                "reads a constant where it needs an activation", "fold the constant into a layer's bias"
            )
        name, t = self.names[number], self.file.tensors[number]
        if name not in self.tensors:
            self._need_int8(number, t)
            shape = (1, *t.shape[1:])
            self.tensors[name] = Tensor(name, shape, "int8", t.scale, int(t.zero[0]), index=number)
        return self.tensors[name]

    def _need_int8(self, number, t):
        where = f"tensor {self.names[number]!r}"
        if self._dtype(number) != "int8":
            self._refuse(f"{where} is {self._dtype(number)}, not int8", CONVERT)
        if (
            t.scale.size != 1
            or not np.isfinite(t.scale[0])
            or t.scale[0] <= 0
            or not -128 <= t.zero[0] <= 127
        ):
            self._refuse(f"{where} has no usable scale", CONVERT)
        if not 1 <= len(t.shape) <= 4 or any(n < 1 for n in t.shape[1:]):
            self._refuse(f"{where} has shape {list(t.shape)}", "give every axis but the first a fixed size")
        if t.shape[0] not in (1, -1):
            self._refuse(f"works on a batch of {t.shape[0]}", "convert the model with batch size 1")
        if np.prod(t.shape[1:], dtype=np.float64) > 2**31:
            self._refuse(f"{where} has shape {list(t.shape)}", "use a smaller input")

    def _x(self, op, rank=None):
        x = self._activation(op.inputs[0])
        if rank and len(x.shape) != rank:
            self._refuse(
                f"needs {rank} axes, not {len(x.shape)}", "reshape its input to (1, height, width, channels)"
            )
        return x

    def _y(self, op, shape):
        """The output, whose shape in the file must be the one that the inputs give."""
        y = self._activation(op.outputs[0])
        if y.shape != tuple(shape):
            self._refuse(f"says shape {list(y.shape)} but computes {list(shape)}", "convert the model again")
        return y

    def _constant(self, number, dtype):
        """The data of a constant tensor as an array of its shape."""
        t = self.file.tensors[number]
        if self._dtype(number) != dtype:
            self._refuse(f"has {self._dtype(number)} constants where int8 models have {dtype}", CONVERT)
        if not t.data:
            self._refuse("has weights or arguments that are computed while running", "make them constants")
        kind = np.dtype(dtype)
        if any(n < 1 for n in t.shape) or len(t.data) != np.prod(t.shape, dtype=np.float64) * kind.itemsize:
            raise ModelError("the .tflite file is damaged or cut short: copy or convert it again")
        return np.frombuffer(t.data, kind).reshape(t.shape)

    def _weights(self, op, rank, axis, x):
        """Add weights and bias to the graph -> input names, the weights' tensor, whether scales differ."""
        number = op.inputs[1]
        if number == -1 or not self.file.tensors[number].data:
            self._refuse("has weights that are not constant", "use a layer that holds its weights")
        w, t = self._constant(number, "int8"), self.file.tensors[number]
        if w.ndim != rank:
            self._refuse(f"has weights with {w.ndim} axes instead of {rank}", "convert the model again")
        channels = w.shape[axis]
        if t.zero.any():
            self._refuse("has weights with a zero point", "convert with symmetric weights")
        if t.scale.size not in (1, channels) or (t.scale.size > 1 and t.axis != axis):
            self._refuse(
                "has weight scales on another axis than its output channels", "convert the model again"
            )
        if not np.isfinite(t.scale).all() or (t.scale < 0).any() or (t.scale.size == 1 and t.scale[0] == 0):
            self._refuse("has weights without usable scales", "convert the model again")
        scale = np.broadcast_to(t.scale, channels).copy()
        name = self._own(self.names[number], "weights")
        self.tensors[name] = Tensor(name, w.shape, "int8", scale, 0, w, number)
        bias = self._bias(op, channels, x.scale * scale)
        return (x.name, name, bias), self.tensors[name], t.scale.size > 1

    def _bias(self, op, channels, scale):
        number = op.inputs[2] if len(op.inputs) > 2 else -1
        if number == -1:
            name, data, number = f"{self.layer}/bias", np.zeros(channels, np.int32), None
        else:
            name, data = self._own(self.names[number], "bias"), self._constant(number, "int32")
        if data.shape != (channels,):
            self._refuse(
                f"has a bias of {data.size} values for {channels} channels", "convert the model again"
            )
        self.tensors[name] = Tensor(name, data.shape, "int32", scale, 0, data, number)
        return name

    def _own(self, name, what):
        """Converters merge equal constants; each layer gets its own here, to be trained apart."""
        return f"{self.layer}/{what}" if name in self.tensors else name

    # attributes

    def _act(self, op):
        act = op.options["FusedActivationFunction"]
        if act not in ACTS:
            self._refuse(f"has fused activation number {act}", "use relu, relu6 or none")
        return ACTS[act]

    def _window(self, op, x, kernel):
        """Stride, explicit padding, and the output's height and width."""
        o = op.options
        stride = (o["StrideH"], o["StrideW"])
        if min(*stride, *kernel) < 1:
            self._refuse("has a stride or kernel of zero", "convert the model again")
        if max(*stride, *kernel) > 1 << 15:
            self._refuse("has a stride or kernel beyond all sizes", "convert the model again")
        if (o.get("DilationHFactor", 1), o.get("DilationWFactor", 1)) != (1, 1):
            self._refuse("is dilated", "use dilation 1")
        same = o["Padding"] == tflite.Padding.SAME
        pad = same_pad(x.shape[1:3], kernel, stride) if same else (0, 0, 0, 0)
        room = [n + a + b - k for n, a, b, k in zip(x.shape[1:3], pad[:2], pad[2:], kernel)]
        if min(room) < 0:
            self._refuse("has a kernel larger than its input", "use padding or a smaller kernel")
        size = [r // s + 1 for r, s in zip(room, stride)]
        return {"stride": stride, "pad": pad, "act": self._act(op)}, size

    def _same_quantization(self, op, x, y):
        if x.scale[0] != y.scale[0] or x.zero_point != y.zero_point:
            self._refuse(
                f"{op.code} changes the scale", "convert the model again, with a requantize before it"
            )

    def _op(self, kind, op, inputs=None, **attrs):
        inputs = (self.names[op.inputs[0]],) if inputs is None else inputs
        return Op(kind, self.layer, tuple(inputs), (self.names[op.outputs[0]],), attrs)

    # one method per operator

    def conv(self, op):
        x = self._x(op, 4)
        inputs, w, _ = self._weights(op, 4, 0, x)
        if w.shape[3] != x.shape[3]:
            self._refuse("is a grouped convolution", "use a depthwise or an ordinary convolution")
        attrs, size = self._window(op, x, w.shape[1:3])
        self._y(op, (1, *size, w.shape[0]))
        return self._op("conv", op, inputs, **attrs)

    def depthwise(self, op):
        x = self._x(op, 4)
        inputs, w, _ = self._weights(op, 4, 3, x)
        if w.shape[0] != 1 or w.shape[3] % x.shape[3]:
            self._refuse(
                f"has weights of shape {list(w.shape)} for {x.shape[3]} channels", "convert the model again"
            )
        attrs, size = self._window(op, x, w.shape[1:3])
        self._y(op, (1, *size, w.shape[3]))
        return self._op("depthwise", op, inputs, **attrs)

    def dense(self, op):
        x = self._x(op)
        inputs, w, per_channel = self._weights(op, 2, 0, x)
        if op.options["WeightsFormat"]:
            self._refuse("has shuffled weights", "convert the model again, without an accelerator's layout")
        if x.size != w.shape[1]:
            self._refuse("works on several positions at once", "flatten its input, or use a 1x1 convolution")
        self._y(op, (*x.shape[:-1], w.shape[0]) if op.options["KeepNumDims"] else (1, w.shape[0]))
        return self._op("dense", op, inputs, act=self._act(op), per_channel=per_channel)

    def add(self, op):
        if len(op.inputs) != 2:
            self._refuse("needs two inputs", "convert the model again")
        a, b = (self._activation(i) for i in op.inputs)
        if a.shape != b.shape:
            self._refuse(f"adds {list(a.shape)} and {list(b.shape)}", "bring both to one shape before adding")
        y = self._y(op, a.shape)
        if 2 * max(a.scale[0], b.scale[0]) >= y.scale[0] * (1 << 20):
            self._refuse(
                "has an output scale far below its inputs'", "quantize with samples that are like the data"
            )
        return self._op("add", op, (a.name, b.name), act=self._act(op))

    def pool(self, op):
        x = self._x(op, 4)
        kernel = (op.options["FilterHeight"], op.options["FilterWidth"])
        attrs, size = self._window(op, x, kernel)
        self._same_quantization(op, x, self._y(op, (1, *size, x.shape[3])))
        return self._op(POOLS[op.code], op, kernel=kernel, **attrs)

    def mean(self, op):
        x = self._x(op, 4)
        axes = self._argument(op).reshape(-1) % 4
        if sorted(axes) != [1, 2]:
            self._refuse(f"averages over axes {axes.tolist()}", "average over height and width")
        c = x.shape[3]
        self._y(op, (1, 1, 1, c) if op.options["KeepDims"] else (1, c))
        return self._op("mean", op, axes=(1, 2))

    def pad_(self, op):
        x = self._x(op)
        pairs = self._argument(op)
        if pairs.shape != (len(x.shape), 2) or (pairs < 0).any() or (pairs > 1 << 15).any() or pairs[0].any():
            self._refuse(f"pads by {pairs.tolist()}", "pad height, width or channels by zero or more")
        pad = tuple((int(a), int(b)) for a, b in pairs)
        y = self._y(op, [n + a + b for n, (a, b) in zip(x.shape, pad)])
        self._same_quantization(op, x, y)
        return self._op("pad", op, pad=pad)

    def _argument(self, op):
        if len(op.inputs) != 2 or op.inputs[1] == -1:
            self._refuse("lacks its argument", "convert the model again")
        return self._constant(op.inputs[1], "int32").astype(np.int64)

    def reshape(self, op):
        x = self._x(op)
        y = self._activation(op.outputs[0])
        if x.size != y.size:
            self._refuse(f"turns {list(x.shape)} into {list(y.shape)}", "convert the model again")
        self._same_quantization(op, x, y)
        return self._op("reshape", op)

    def softmax(self, op):
        x = self._x(op)
        y = self._y(op, x.shape)
        beta = op.options["Beta"]
        if y.scale[0] != 1 / 256 or y.zero_point != -128:
            self._refuse("has an output scale other than 1/256", "convert the model again")
        if not beta * x.scale[0] * (1 << 26) > 1:  # or not a number
            self._refuse(
                "has an input scale or a beta of nearly zero", "quantize with samples that are like the data"
            )
        return self._op("softmax", op, beta=float(beta))

    def unary(self, op):
        x = self._x(op)
        y = self._y(op, x.shape)
        if op.code == "LOGISTIC" and (y.scale[0] != 1 / 256 or y.zero_point != -128):
            self._refuse("has an output scale other than 1/256", "convert the model again")
        if op.code == "HARD_SWISH" and x.scale[0] >= 128 * y.scale[0]:
            self._refuse(
                "has an output scale far below its input's", "quantize with samples that are like the data"
            )
        return self._op(UNARY[op.code], op)

    def concat(self, op):
        xs = [self._activation(i) for i in op.inputs]
        shape = list(xs[0].shape)
        axis = op.options["Axis"] % len(shape)
        others = [n for i, n in enumerate(shape) if i != axis]
        if axis == 0 or any([n for i, n in enumerate(x.shape) if i != axis] != others for x in xs):
            self._refuse("joins shapes that do not fit", "make all but the joined axis equal")
        shape[axis] = sum(x.shape[axis] for x in xs)
        y = self._y(op, shape)
        for x in xs:
            self._same_quantization(op, x, y)
        if self._act(op) != "none":
            self._refuse("has a fused activation", "put the activation in a layer of its own")
        return self._op("concat", op, [x.name for x in xs], axis=axis)

    def requantize(self, op):
        x = self._x(op)
        self._y(op, x.shape)
        return self._op("requantize", op)

    def dequantize(self, op):
        self._refuse("turns to float in the middle of the network", CONVERT)


CONVERTERS = {
    "CONV_2D": _Reader.conv,
    "DEPTHWISE_CONV_2D": _Reader.depthwise,
    "FULLY_CONNECTED": _Reader.dense,
    "ADD": _Reader.add,
    **dict.fromkeys(POOLS, _Reader.pool),
    "MEAN": _Reader.mean,
    "PAD": _Reader.pad_,
    "RESHAPE": _Reader.reshape,
    "SOFTMAX": _Reader.softmax,
    **dict.fromkeys(UNARY, _Reader.unary),
    "CONCATENATION": _Reader.concat,
    "QUANTIZE": _Reader.requantize,
    "DEQUANTIZE": _Reader.dequantize,
}


# --- names

# A fused tensor's name lists what went into it: "net/act/Relu;net/bn/FusedBatchNormV3;net/conv2d_3/Conv2D".
WEIGHTED = re.compile(r"(Conv2D|depthwise|DepthwiseConv2dNative|MatMul|convolution|BiasAdd|Tensordot)\d*$")
BARE = re.compile(r"^(StatefulPartitionedCall|Identity|PartitionedCall)([:_](\d+|int8))*$")


def _layer_name(tensors, code):
    """The layer's name in the user's model, from the tensors it writes and, with weights, holds."""
    for tensor in tensors:
        parts = [p.split("/") for p in tensor.split(";") if p]
        weighted = [p for p in parts if len(p) > 1 and WEIGHTED.search(p[-1])]
        chosen = weighted[0] if code in WEIGHTS and weighted else [[tensor], *parts][-1]
        name = chosen[-2] if len(chosen) > 1 else chosen[0]
        if name.strip("0123456789:_ ") and not BARE.match(name):
            return re.sub(r"[^\w.-]", "_", name)
    return code.lower()


def _unique(names):
    """The second a becomes a_2, the third a_3, and so on, never meeting a name that is there."""
    counts, taken, result = {}, set(names), []
    for name in names:
        fresh = name
        while name in counts and fresh in taken:
            counts[name] += 1
            fresh = f"{name}_{counts[name]}"
        counts.setdefault(name, 1)
        taken.add(fresh)
        result.append(fresh)
    return result
