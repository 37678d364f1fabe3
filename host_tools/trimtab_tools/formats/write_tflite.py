"""ir.Graph -> .tflite bytes: the operators as the registry writes them, tuned weights, a trained head."""

from dataclasses import replace

import numpy as np
import tflite

from ..errors import ModelError
from ..graph.geometry import same_pad
from ..graph.ir import Graph, Op, Tensor
from ..operators.registry import OPERATORS, WEIGHTED
from .float_head import add_float_head
from .read_tflite import ACTS, read, signature
from .tflite_file import SIGNATURE, Row, Source, serialize

ACTIVATIONS = {act: number for number, act in ACTS.items()}


def write(graph: Graph, name: str = "main", names: tuple = SIGNATURE) -> bytes:
    """Any graph that `read_tflite.read` gives -> .tflite bytes that mean the same.

    `name` is the network's, `names` are signature key, input and output.
    """
    tensors, rows = to_rows(graph)
    x = _outer_input(graph, tensors, rows)
    y = _outer_output(graph, tensors, rows)
    return serialize(tensors, rows, x, y, name, names)


def export(model: Source, tuned: dict, head: dict | None = None) -> bytes:
    """The tuned model as .tflite bytes.

    `model`: the bytes (or path) of the int8 .tflite file that was compiled.
    `tuned`: layer name -> {"weights": int8 array, "bias": int32 array}, either may be absent.
    `head`: None, or what formats/float_head.py takes; it replaces everything behind its features.
    """
    graph = _with_tuned(read(model), tuned)
    return (
        write_with_head(graph, head, names=signature(model)) if head else write(graph, names=signature(model))
    )


def write_with_head(graph: Graph, head: dict, name: str = "main", names: tuple = SIGNATURE) -> bytes:
    """The graph up to a trained head's features, and the head behind them, as .tflite bytes."""
    if head["features"] not in graph.tensors:
        raise ModelError(f"the model has no tensor {head['features']}: export with the compiled model")
    graph = replace(graph, ops=_needed(graph, head["features"]), outputs=(head["features"],))
    tensors, rows = to_rows(graph)
    x = _outer_input(graph, tensors, rows)
    y = add_float_head(graph, tensors, rows, head)
    return serialize(tensors, rows, x, y, name, names)


def _with_tuned(graph, tuned):
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


# -- the edges: what the reader took off is put back, so that the model takes what it did before


def _outer_input(graph, tensors, rows):
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


# -- the operators


def to_rows(graph: Graph) -> tuple:
    """(name -> (tensor, axis of its scales), one Row for each operator)."""
    writer = Writer(graph)
    rows = [writer.row(op) for op in graph.ops]
    axes = {op.inputs[1]: OPERATORS[op.kind].channel_axis for op in graph.ops if op.kind in WEIGHTED}
    return {n: (t, axes.get(n, 0)) for n, t in writer.tensors.items()}, rows


class Writer:
    """What the `write` rules of operators ask for: the graph, and the fields that several operators share."""

    def __init__(self, graph: Graph):
        self.graph = graph
        self.tensors = dict(graph.tensors)

    def row(self, op: Op) -> Row:
        t = OPERATORS[op.kind].tflite
        if t is None:
            raise ModelError(
                f"layer {op.name}: TensorFlow Lite has no such operator: write the tensors of this network "
                "with `trimtab export PACKAGE -o tensors.npz`"
            )
        inputs = (op.inputs[0], *self._arguments(op, t)) if t.arguments else op.inputs
        return Row(t.code, t.version, inputs, op.outputs, t.options, t.write(self, op))

    def _arguments(self, op, t):
        for i, values in enumerate(t.arguments(self.graph, op)):
            data, name = np.array(values, np.int32), f"{op.name}/{t.code.lower()}_argument{i or ''}"
            self.tensors[name] = Tensor(name, data.shape, "int32", data=data)
            yield name

    def act(self, op: Op) -> int:
        """The number of the fused activation."""
        return ACTIVATIONS[op.attrs.get("act", "none")]

    def one_scale(self, op: Op) -> None:
        """Put one scale back where the graph gives every channel the same."""
        for name in op.inputs[1:]:
            self.tensors[name] = replace(self.tensors[name], scale=self.tensors[name].scale[:1])

    def window(self, op: Op, kernel: tuple) -> dict:
        """The fields of a sliding window."""
        stride, pad = op.attrs["stride"], op.attrs["pad"]
        padding = padding_of(self.graph[op.inputs[0]].shape[1:3], kernel, stride, pad)
        if padding is None:
            raise ModelError(
                f"layer {op.name}: padding {pad} fits neither SAME nor VALID, put it in a pad layer"
            )
        return {
            "Padding": padding,
            "StrideH": stride[0],
            "StrideW": stride[1],
            "FusedActivationFunction": self.act(op),
        }


def padding_of(size: tuple, kernel: tuple, stride: tuple, pad: tuple) -> int | None:
    """SAME or VALID, whichever gives these explicit numbers (top, left, bottom, right)."""
    if not any(pad):
        return tflite.Padding.VALID
    return tflite.Padding.SAME if tuple(pad) == same_pad(size, kernel, stride) else None
