"""The int8 checkpoints that MCUNetV3's authors published, as .npz or as their own .pkl -> ir.Graph.

Both hold one tree: first_conv, blocks of pointwise1, depthwise, pointwise2 and an optional residual,
classifier. Layers keep the tree's names. A .pkl is a pickle inside a zip file. Nothing in it is ever called:
it may name four functions of NumPy, which here stand for reading arrays of numbers, and anything else is
refused.
"""

import io
import json
import pickle
import zipfile
import zlib
from pathlib import Path

import numpy as np

from ..errors import ModelError
from ..graph.ir import Graph, Op, Tensor
from ..operators.check import check

LARGEST = 1 << 26  # bytes of arrays that a checkpoint may unpack to
BIAS_LIMIT = 1 << 29  # leaves an int32 accumulator room for its sum of products
DTYPES = {"i1": np.int8, "i4": np.int32, "i8": np.int64, "f4": np.float32, "f8": np.float64}
BROKEN = (
    zipfile.BadZipFile,
    zlib.error,
    pickle.UnpicklingError,
    EOFError,
    LookupError,
    TypeError,
    ValueError,
    ArithmeticError,
    AttributeError,
    RuntimeError,
    MemoryError,
)  # all that reading damaged bytes may raise
BLOCK = ("pointwise1", "depthwise", "pointwise2")
AXES = {"conv": (0, 2, 3, 1), "depthwise": (1, 2, 3, 0)}  # from the file's axes to the graph's


def read(path: str | Path) -> Graph:
    """The graph of a checkpoint: int8 input (pixel - 128), int8 scores of its classes."""
    try:
        tree = (_read_pickle if str(path).endswith(".pkl") else _read_npz)(path)
        return check(_Builder().network(tree))
    except BROKEN as e:
        raise ModelError(
            f"{path} is not an int8 checkpoint ({e}): give a .tflite file, or one of MCUNetV3's models"
        ) from e


# -- files


def _read_npz(path):
    """The tree is JSON in the array __meta__; "@name" stands for the array of that name."""
    with np.load(path, allow_pickle=False) as arrays:

        def resolve(node):
            if isinstance(node, dict):
                return {key: resolve(value) for key, value in node.items()}
            if isinstance(node, list):
                return [resolve(value) for value in node]
            return arrays[node[1:]] if isinstance(node, str) and node.startswith("@") else node

        return resolve(json.loads(bytes(arrays["__meta__"])))


def _read_pickle(path):
    with zipfile.ZipFile(path) as archive:
        name = next((n for n in archive.namelist() if n.endswith("data.pkl")), None)
        if name is None:
            raise ValueError("no data.pkl in it")
        if archive.getinfo(name).file_size > LARGEST:
            raise ValueError("its data.pkl is too large")
        return _unbox(_ArraysOnly(io.BytesIO(archive.read(name))).load())


class _ArraysOnly(pickle.Unpickler):
    """Builds dicts, lists, numbers, text and _Array; a pickle that asks for anything else is refused."""

    def find_class(self, module, name):
        known = {
            "numpy.core.multiarray _reconstruct": lambda *_: _Array(),
            "numpy.core.multiarray scalar": _scalar,
            "numpy ndarray": "ndarray",
            "numpy dtype": lambda code, *_: _Dtype(code),
            "_codecs encode": lambda text, encoding: text.encode("latin1"),
        }
        wanted = f"{module.replace('numpy._core', 'numpy.core')} {name}"  # as newer versions of NumPy call it
        if wanted not in known:
            raise pickle.UnpicklingError(f"it wants to run {module}.{name}")
        return known[wanted]


class _Dtype:
    """A type of numbers by its code; byte order comes later and must be this machine's."""

    def __init__(self, code):
        if code not in DTYPES:
            raise pickle.UnpicklingError(f"it holds arrays of type {code!r}")
        self.numbers = DTYPES[code]

    def __setstate__(self, state):
        if state[1] not in ("<", "|"):
            raise pickle.UnpicklingError("its arrays are not little-endian")


class _Array:
    """Stands where NumPy's unpickling would make an ndarray."""

    value = None

    def __setstate__(self, state):
        _, shape, dtype, fortran, data = state
        self.value = np.frombuffer(data, dtype.numbers).reshape(shape, order="F" if fortran else "C")


def _scalar(dtype, data):
    return np.frombuffer(data, dtype.numbers)[0]


def _unbox(node):
    if isinstance(node, dict):
        return {key: _unbox(value) for key, value in node.items()}
    if isinstance(node, (list, tuple)):
        return [_unbox(value) for value in node]
    return node.value if isinstance(node, _Array) else node


# -- graph


class _Builder:
    """Adds tensors and operators. A method that adds a layer returns the name of its output."""

    def __init__(self):
        self.tensors, self.ops = {}, []

    def network(self, tree):
        if tree.get("feature_mix") is not None:
            raise ValueError("it has a feature_mix layer")
        first = tree["first_conv"]
        size, quant = int(first["in_shape"]), first["params"]
        x = self.tensor("input", (1, size, size, int(first["in_channel"])), quant["x_scale"], quant["x_zero"])
        x = self.conv("first_conv", first, x)
        for i, block in enumerate(tree["blocks"]):
            x = self.block(f"blocks.{i}", block, x)
        x = self.classifier(tree["classifier"], x)
        return Graph(self.tensors, tuple(self.ops), ("input",), (x,))

    def block(self, name, block, x):
        if block.get("se") is not None:
            raise ValueError(f"{name} has squeeze-and-excite")
        y = x
        for part in BLOCK:
            if block[part] is not None:
                y = self.conv(f"{name}.{part}", block[part], y)
        return y if block["residual"] is None else self.skip(name, block["residual"], x, y)

    def skip(self, name, layer, x, y):
        quant = layer["params"]
        if "kernel_size" in layer or not self.same_scale(x, quant["x_scale"], quant["x_zero"]):
            raise ValueError(f"{name} has a residual that is not its own input")
        shape = self.tensors[x].shape
        return self.layer("add", f"{name}.add", (x, y), shape, quant["y_scale"], quant["y_zero"], act="none")

    def classifier(self, layer, x):
        _, h, w, c = self.tensors[x].shape
        window = dict(kernel=(h, w), stride=(h, w), pad=(0, 0, 0, 0), act="none")
        pool = self.layer("avg_pool", "pool", (x,), (1, 1, 1, c), *self.quant(x), **window)
        y = self.conv("classifier", layer, pool)
        return self.layer("reshape", "scores", (y,), (1, self.tensors[y].size), *self.quant(y))

    def conv(self, name, layer, x):
        p = layer["params"]
        w = np.asarray(p["weight"])  # (outputs, inputs of a group, height, width)
        if w.dtype != np.int8 or w.ndim != 4 or not self.same_scale(x, p["x_scale"], p["x_zero"]):
            raise ValueError(f"{name} does not fit the layer before it")
        _, height, width, channels = self.tensors[x].shape
        kind = _kind(name, layer, w, channels)
        inputs = (x, *self.constants(name, p, w, AXES[kind]))
        stride = _pair(layer["stride"])
        size, pad = _window((height, width), w.shape[2:], stride)
        shape, attrs = (1, *size, len(w)), dict(stride=stride, pad=pad, act=_activation(p))
        return self.layer(kind, name, inputs, shape, p["y_scale"], p["y_zero"], **attrs)

    def constants(self, name, p, w, axes):
        """Names of weights and bias, which join the graph."""
        scales, bias = np.asarray(p["w_scales"], np.float64), np.asarray(p["bias"], np.int64)
        w, scale, bias = _fit(w, scales, bias)
        w, bias = np.ascontiguousarray(w.transpose(axes)), bias.astype(np.int32)
        names = f"{name}.weight", f"{name}.bias"
        self.tensors[names[0]] = Tensor(names[0], w.shape, "int8", scale, 0, w)
        self.tensors[names[1]] = Tensor(names[1], bias.shape, "int32", scale * float(p["x_scale"]), 0, bias)
        return names

    def layer(self, kind, name, inputs, shape, scale, zero, **attrs):
        output = self.tensor(f"{name}.out", shape, scale, zero)
        self.ops.append(Op(kind, name, tuple(inputs), (output,), attrs))
        return output

    def tensor(self, name, shape, scale, zero):
        self.tensors[name] = Tensor(name, tuple(shape), "int8", np.array([float(scale)]), int(zero))
        return name

    def quant(self, name):
        return self.tensors[name].scale[0], self.tensors[name].zero_point

    def same_scale(self, name, scale, zero):
        return np.isclose(self.quant(name)[0], float(scale), rtol=1e-6) and self.quant(name)[1] == int(zero)


def _kind(name, layer, w, channels):
    groups = int(layer["groups"])
    if groups == 1 and w.shape[1] == channels:
        return "conv"
    if groups == channels == len(w) and w.shape[1] == 1:
        return "depthwise"
    raise ValueError(f"{name} has {groups} groups for {channels} channels")


def _window(size, kernel, stride):
    """(sizes of the output, padding): half a kernel around the map, behind it what the last window sees."""
    before = [k // 2 for k in kernel]
    out = [(n + 2 * b - k) // s + 1 for n, b, k, s in zip(size, before, kernel, stride)]
    behind = [max(0, (o - 1) * s + k - n - b) for o, s, k, n, b in zip(out, stride, kernel, size, before)]
    return out, (*before, *behind)


def _pair(value):
    h, w = (value, value) if np.ndim(value) == 0 else value
    return int(h), int(w)


def _activation(p):
    """Where the whole int8 range reaches just to 6, the layer was a ReLU6; naming it changes no result."""
    six = int(p["y_zero"]) == -128 and 255 * float(p["y_scale"]) < 6.001
    return "relu6" if six else "none"


def _fit(w, scale, bias):
    """Weights, scales and biases with every |bias| <= 2^29.

    Dead channels carry biases up to 2^31 at scales near 1e-9, where their weights add nothing. A scale that
    is 2^k times as coarse gives the same real numbers.
    """
    coarser = np.maximum(0, np.ceil(np.log2(np.maximum(np.abs(bias), 1) / BIAS_LIMIT)))
    factor = 2.0**coarser
    return (
        np.rint(w / factor[:, None, None, None]).astype(np.int8),
        scale * factor,
        np.rint(bias / factor).astype(np.int64),
    )
