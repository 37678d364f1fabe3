"""ir.Graph -> .tflite bytes: a writer for every operator we read, and the way home for tuned weights.

The graph becomes rows of the file, so that a float head can follow an int8 trunk.
"""

from dataclasses import replace

import numpy as np
import tflite

from ..errors import ModelError
from ..graph.ir import Tensor, same_pad
from ..policies.plan import COSINES
from .read_tflite import read, signature
from .tflite_file import SIGNATURE, Row, serialize

ACTIVATIONS = {
    "none": tflite.ActivationFunctionType.NONE,
    "relu": tflite.ActivationFunctionType.RELU,
    "relu6": tflite.ActivationFunctionType.RELU6,
    "relu_n1_to_1": tflite.ActivationFunctionType.RELU_N1_TO_1,
}
CHANNEL_AXIS = {"depthwise": 3}  # of the weights; every other kind has its output channels first
HEAD_WEIGHT_ONE, HEAD_BIAS_ONE = 1 << 12, 1 << 16  # what 1.0 is in the trained head
DIRECTION_ONE = 1 << 14  # and in a prototype


def write(graph, name="main", names=SIGNATURE):
    """Any graph that `import_tflite.read` gives -> .tflite bytes that mean the same.

    `name` is the network's, `names` are signature key, input and output.
    """
    tensors, rows = lower(graph)
    x = _outer_input(graph, tensors, rows)
    y = _outer_output(graph, tensors, rows)
    return serialize(tensors, rows, x, y, name, names)


def export(model, tuned, head=None):
    """The tuned model as .tflite bytes.

    `model`: the bytes (or path) of the int8 .tflite file that was compiled.
    `tuned`: layer name -> {"weights": int8 array, "bias": int32 array}, either may be absent.
    `head`: None, or {"features": tensor name, "weights": int16 (classes, n), "bias": int32 (classes,)}, or
    {"features", "prototypes": int16 (classes, n), "counts": samples of each class}:
    everything behind the features gives way to dequantize, a float layer and softmax.
    """
    graph = _retuned(read(model), tuned)
    if head is None:
        return write(graph, names=signature(model))
    if head["features"] not in graph.tensors:
        raise ModelError(f"the model has no tensor {head['features']}: export with the compiled model")
    graph = replace(graph, ops=_needed(graph, head["features"]), outputs=(head["features"],))
    tensors, rows = lower(graph)
    x = _outer_input(graph, tensors, rows)
    y = _float_head(graph, tensors, rows, head)
    return serialize(tensors, rows, x, y, "main", signature(model))


def _retuned(graph, tuned):
    ops = {op.name: op for op in graph.ops if op.kind in WEIGHTED}
    tensors = dict(graph.tensors)
    for layer, values in tuned.items():
        if layer not in ops:
            raise ModelError(
                f"the model has no layer {layer} with weights: export with the model that was compiled"
            )
        for what, name in zip(("weights", "bias"), ops[layer].inputs[1:]):
            if what in values:
                tensors[name] = _replaced(tensors[name], values[what], f"layer {layer}: {what}")
    return replace(graph, tensors=tensors)


def _replaced(tensor, values, what):
    values = np.asarray(values)
    if values.shape != tensor.shape or values.dtype != tensor.dtype:
        raise ModelError(
            f"{what} must be {tensor.dtype} {list(tensor.shape)}, not {values.dtype} {list(values.shape)}"
        )
    return replace(tensor, data=values)


def _needed(graph, output):
    """The operators that this tensor is computed from."""
    wanted, ops = {output}, []
    for op in reversed(graph.ops):
        if wanted.intersection(op.outputs):
            wanted.update(op.inputs)
            ops.append(op)
    return tuple(ops[::-1])


def _float_head(graph, tensors, rows, head):
    feature = graph[head["features"]]
    w, b = _directions(head) if "prototypes" in head else _sums(head)
    if w.ndim != 2 or w.shape[1] != feature.size or b.shape != w.shape[:1]:
        raise ModelError(
            f"the head has shape {list(w.shape)} for {feature.size} features: export with its own model"
        )
    shapes = {
        "features": (feature.shape, None),
        "shape": ((2,), np.array([1, feature.size], np.int32)),
        "flat": ((1, feature.size), None),
        "directions": ((1, feature.size), None),
        "weights": (w.shape, w),
        "bias": (b.shape, b),
        "logits": ((1, len(b)), None),
        "probabilities": ((1, len(b)), None),
    }
    for name, (shape, data) in shapes.items():
        dtype = "float32" if data is None else str(data.dtype).replace("64", "32")
        tensors[f"head/{name}"] = (Tensor(f"head/{name}", shape, dtype, data=data), 0)
    names = {name: f"head/{name}" for name in shapes}
    x, logits = names["features"], names["logits"]
    rows.append(Row("DEQUANTIZE", 2, graph.outputs, (x,), "DequantizeOptions"))
    if "prototypes" in head:
        rows += [
            Row("RESHAPE", 1, (x, names["shape"]), (names["flat"],), "ReshapeOptions"),
            Row("L2_NORMALIZATION", 1, (names["flat"],), (names["directions"],), "L2NormOptions"),
        ]
        x = names["directions"]
    rows += [
        Row("FULLY_CONNECTED", 1, (x, names["weights"], names["bias"]), (logits,), "FullyConnectedOptions"),
        Row("SOFTMAX", 1, (logits,), (names["probabilities"],), "SoftmaxOptions", {"Beta": 1.0}),
    ]
    return names["probabilities"]


def _sums(head):
    return np.asarray(head["weights"], np.float32) / HEAD_WEIGHT_ONE, np.asarray(
        head["bias"], np.float64
    ) / HEAD_BIAS_ONE


def _directions(head):
    """Cosines as a dense layer on directions; a class without samples takes no part."""
    w = np.asarray(head["prototypes"], np.float32) * (COSINES / DIRECTION_ONE)
    return w, np.where(np.asarray(head["counts"]) > 0, 0.0, -1000.0)


# --- graph -> rows


def lower(graph):
    tensors = dict(graph.tensors)
    axes = {op.inputs[1]: CHANNEL_AXIS.get(op.kind, 0) for op in graph.ops if op.kind in WEIGHTED}
    rows = []
    for op in graph.ops:
        if op.kind not in LOWER:
            raise ModelError(
                f"layer {op.name}: TensorFlow Lite has no such operator: write the tensors of this network with "
                "`trimtab export PACKAGE -o tensors.npz`"
            )
        code, version, options, fields = LOWER[op.kind]
        extra = CONSTANTS[op.kind](graph, op) if op.kind in CONSTANTS else None
        inputs = op.inputs
        if extra is not None:
            constant = f"{op.name}/{code.lower()}_argument"
            tensors[constant] = Tensor(constant, extra.shape, "int32", data=extra)
            inputs = (*op.inputs[:1], constant)
        if op.kind == "dense" and not op.attrs.get("per_channel"):
            for name in op.inputs[1:]:
                tensors[name] = replace(tensors[name], scale=tensors[name].scale[:1])
        rows.append(Row(code, version, inputs, op.outputs, options, fields(graph, op)))
    return {n: (t, axes.get(n, 0)) for n, t in tensors.items()}, rows


def _outer_input(graph, tensors, rows):
    """Put the conversion back that the reader took off: the model takes what it did before."""
    inside = graph[graph.inputs[0]]
    if graph.input_dtype == "int8":
        return inside.name
    outside = _outside(tensors, inside, graph.input_dtype, "input")
    rows.insert(0, Row("QUANTIZE", 2, (outside,), (inside.name,), "QuantizeOptions"))
    return outside


def _outer_output(graph, tensors, rows):
    inside = graph[graph.outputs[0]]
    if graph.output_dtype == "int8":
        return inside.name
    outside = _outside(tensors, inside, graph.output_dtype, "output")
    code = "DEQUANTIZE" if graph.output_dtype == "float32" else "QUANTIZE"
    rows.append(Row(code, 2, (inside.name,), (outside,), f"{code.capitalize()}Options"))
    return outside


def _outside(tensors, inside, dtype, suffix):
    name = f"{inside.name}/{dtype}_{suffix}"
    scale, zero = (inside.scale, inside.zero_point + 128) if dtype == "uint8" else (None, 0)
    tensors[name] = (Tensor(name, inside.shape, dtype, scale, zero), 0)
    return name


def _act(op):
    return ACTIVATIONS[op.attrs.get("act", "none")]


def padding_of(size, kernel, stride, pad):
    """SAME or VALID, whichever gives these explicit numbers (top, left, bottom, right)."""
    if not any(pad):
        return tflite.Padding.VALID
    if tuple(pad) == same_pad(size, kernel, stride):
        return tflite.Padding.SAME
    return None


def _window(graph, op, kernel):
    a = op.attrs
    padding = padding_of(graph[op.inputs[0]].shape[1:3], kernel, a["stride"], a["pad"])
    if padding is None:
        raise ModelError(
            f"layer {op.name}: padding {a['pad']} fits neither SAME nor VALID, put it in a pad layer"
        )
    return {
        "Padding": padding,
        "StrideH": a["stride"][0],
        "StrideW": a["stride"][1],
        "FusedActivationFunction": _act(op),
    }


def _conv(graph, op):
    kernel = graph[op.inputs[1]].shape[1:3]
    return {**_window(graph, op, kernel), "DilationHFactor": 1, "DilationWFactor": 1}


def _depthwise(graph, op):
    multiplier = graph[op.inputs[1]].shape[3] // graph[op.inputs[0]].shape[3]
    return {**_conv(graph, op), "DepthMultiplier": multiplier}


def _pool(graph, op):
    kernel = op.attrs["kernel"]
    return {**_window(graph, op, kernel), "FilterHeight": kernel[0], "FilterWidth": kernel[1]}


def _fused(graph, op):
    return {"FusedActivationFunction": _act(op)}


def _dense(graph, op):
    return {**_fused(graph, op), "KeepNumDims": len(graph[op.outputs[0]].shape) > 2}


def _mean(graph, op):
    return {"KeepDims": len(graph[op.outputs[0]].shape) == len(graph[op.inputs[0]].shape)}


def _nothing(graph, op):
    return {}


WEIGHTED = ("conv", "depthwise", "dense")
LOWER = {  # kind -> operator, its version for int8, its options table, the fields of that
    "conv": ("CONV_2D", 3, "Conv2DOptions", _conv),
    "depthwise": ("DEPTHWISE_CONV_2D", 3, "DepthwiseConv2DOptions", _depthwise),
    "dense": ("FULLY_CONNECTED", 5, "FullyConnectedOptions", _dense),
    "add": ("ADD", 2, "AddOptions", _fused),
    "avg_pool": ("AVERAGE_POOL_2D", 2, "Pool2DOptions", _pool),
    "max_pool": ("MAX_POOL_2D", 2, "Pool2DOptions", _pool),
    "mean": ("MEAN", 2, "ReducerOptions", _mean),
    "pad": ("PAD", 2, "PadOptions", _nothing),
    "reshape": ("RESHAPE", 1, "ReshapeOptions", _nothing),
    "softmax": ("SOFTMAX", 2, "SoftmaxOptions", lambda graph, op: {"Beta": op.attrs["beta"]}),
    "relu": ("RELU", 2, "", _nothing),
    "relu6": ("RELU6", 2, "", _nothing),
    "hard_swish": ("HARD_SWISH", 1, "HardSwishOptions", _nothing),
    "logistic": ("LOGISTIC", 2, "", _nothing),
    "concat": ("CONCATENATION", 2, "ConcatenationOptions", lambda graph, op: {"Axis": op.attrs["axis"]}),
    "requantize": ("QUANTIZE", 2, "QuantizeOptions", _nothing),
}
CONSTANTS = {  # kind -> its second input, which the graph holds as an attribute
    "mean": lambda graph, op: np.array(op.attrs["axes"], np.int32),
    "pad": lambda graph, op: np.array(op.attrs["pad"], np.int32),
    "reshape": lambda graph, op: np.array(graph[op.outputs[0]].shape, np.int32),
}
