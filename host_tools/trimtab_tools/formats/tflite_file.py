"""Bytes of a .tflite file <-> plain entries: the only file that touches flatbuffers.

Reading distrusts every byte: whatever an offset points at, the answer is a File or ModelError. Writing makes
a file from the tensors of a graph and one Row for each operator.
"""

import struct
from dataclasses import dataclass, field
from pathlib import Path

import flatbuffers
import numpy as np
import tflite

from ..errors import ModelError
from ..operators.registry import form

Source = str | Path | bytes | bytearray | memoryview  # a model file: its path or its bytes

SIGNATURE = ("serving_default", "input", "output")
MODEL_VERSION = 3
DTYPES = {
    "int8": (tflite.TensorType.INT8, np.int8),
    "uint8": (tflite.TensorType.UINT8, np.uint8),
    "int32": (tflite.TensorType.INT32, np.int32),
    "float32": (tflite.TensorType.FLOAT32, np.float32),
}
OP_NAMES = {v: k for k, v in vars(tflite.BuiltinOperator).items() if not k.startswith("_")}
TYPES = {v: k.lower() for k, v in vars(tflite.TensorType).items() if not k.startswith("_")}


def load(source: Source) -> bytes:
    """The bytes of a path, or the bytes given."""
    if isinstance(source, (bytes, bytearray, memoryview)):
        return bytes(source)
    try:
        return Path(source).read_bytes()
    except OSError as error:
        raise ModelError(
            f"cannot read {source}: {error.strerror}; give the path of a .tflite file"
        ) from error


# --- bytes -> plain entries


@dataclass
class TensorEntry:
    name: str
    shape: tuple
    dtype: str
    scale: np.ndarray
    zero: np.ndarray
    axis: int
    data: bytes  # empty for activations


@dataclass
class OpEntry:
    code: str
    inputs: list
    outputs: list
    options: dict


@dataclass
class File:
    tensors: list
    ops: list
    inputs: list
    outputs: list
    signature: tuple


# What a flatbuffer accessor raises when an offset or a count points outside the file.
DAMAGE = (struct.error, IndexError, ValueError, TypeError, AttributeError, OverflowError, MemoryError)


def parse(data: bytes) -> File:
    """What a file holds; ModelError where it is none or damaged."""
    if len(data) < 8 or data[4:8] != b"TFL3":
        raise ModelError("this is not a .tflite file: give a model converted to TensorFlow Lite")
    try:
        return _file(data)
    except DAMAGE as error:
        raise ModelError("the .tflite file is damaged or cut short: copy or convert it again") from error


def _file(data):
    model = tflite.Model.GetRootAs(data, 0)
    if model.SubgraphsLength() != 1:
        raise ModelError(f"the model has {model.SubgraphsLength()} subgraphs: use one without control flow")
    graph = model.Subgraphs(0)

    def every(owner, what):
        count = getattr(owner, f"{what}Length")()
        if count > len(data) // 4:
            raise ValueError("a count larger than the file")
        return [getattr(owner, what)(i) for i in range(count)]

    codes = [_read_op_name(c) for c in every(model, "OperatorCodes")]
    buffers = [_read_contents(b, data) for b in every(model, "Buffers")]
    tensors = [_read_tensor(t, i, buffers) for i, t in enumerate(every(graph, "Tensors"))]
    ops = [
        _read_operator(op, codes[op.OpcodeIndex()], every(op, "Inputs"), every(op, "Outputs"))
        for op in every(graph, "Operators")
    ]
    names = next((_read_signature(s) for s in every(model, "SignatureDefs")), SIGNATURE)
    file = File(tensors, ops, every(graph, "Inputs"), every(graph, "Outputs"), names)
    used = [i for op in ops for i in (*op.inputs, *op.outputs)] + file.inputs + file.outputs
    if any(not -1 <= i < len(tensors) for i in used) or -1 in file.inputs + file.outputs:
        raise ValueError("a tensor number out of range")
    if any(-1 in op.outputs for op in ops):
        raise ValueError("an operator without output")
    return file


def _read_signature(s):
    if s.InputsLength() != 1 or s.OutputsLength() != 1:
        return SIGNATURE
    return tuple(text.decode() for text in (s.SignatureKey(), s.Inputs(0).Name(), s.Outputs(0).Name()))


def _read_op_name(code):
    number = max(code.BuiltinCode(), code.DeprecatedBuiltinCode())  # old files fill only the second
    if number == tflite.BuiltinOperator.CUSTOM:
        return f"CUSTOM {(code.CustomCode() or b'').decode()!r}"
    return OP_NAMES.get(number, f"number {number}")


def _read_contents(buffer, data):
    """The bytes of a buffer, whether inside the flatbuffer or, in large files, behind it."""
    if buffer.Offset() > 1:
        return data[buffer.Offset() : buffer.Offset() + buffer.Size()]
    return buffer.DataAsNumpy().tobytes() if buffer.DataLength() else b""


def _read_tensor(t, index, buffers):
    q = t.Quantization()
    scale = q.ScaleAsNumpy() if q is not None and q.ScaleLength() else np.zeros(0)
    zero = q.ZeroPointAsNumpy() if q is not None and q.ZeroPointLength() else np.zeros(1, np.int64)
    shape = tuple(int(n) for n in t.ShapeAsNumpy()) if t.ShapeLength() else ()
    name = (t.Name() or b"").decode() or f"tensor_{index}"
    dtype = TYPES.get(t.Type(), f"type {t.Type()}")
    axis = q.QuantizedDimension() if q is not None else 0
    return TensorEntry(name, shape, dtype, scale.astype(np.float64), zero, axis, buffers[t.Buffer()])


def _read_operator(op, code, inputs, outputs):
    """Of the options only the fields that the operator reads; what a file leaves out is 0."""
    known = form(code)
    fields, table = known.fields if known else (), op.BuiltinOptions()
    if not known or not fields or table is None:
        return OpEntry(code, inputs, outputs, dict.fromkeys(fields, 0))
    options = getattr(tflite, known.options)()
    options.Init(table.Bytes, table.Pos)
    return OpEntry(code, inputs, outputs, {f: getattr(options, f)() for f in fields})


# --- rows -> bytes


@dataclass
class Row:
    """One operator of the file: names of tensors, and the fields of its options table."""

    code: str
    version: int
    inputs: tuple
    outputs: tuple
    options: str = ""
    fields: dict = field(default_factory=dict)


def serialize(tensors: dict, rows: list, x: str, y: str, name: str, names: tuple) -> bytes:
    """A file of these rows, in order. `tensors`: name -> (ir.Tensor, axis of its scales); `x` and `y` are
    input and output. `name` is the network's, `names` are signature key, input and output. Tensors that no
    row uses are left out.
    """
    b = flatbuffers.Builder(1 << 16)
    used = {n for row in rows for n in (*row.inputs, *row.outputs) if n} | {x, y}
    order = [n for n in tensors if n in used]
    index = {n: i for i, n in enumerate(order)}
    constants = [n for n in order if tensors[n][0].constant]
    buffers = [_table(b, "Buffer")]  # buffer 0 is empty and means: no data
    buffers += [_table(b, "Buffer", Data=_bytes(b, tensors[n][0])) for n in constants]
    number = {n: i + 1 for i, n in enumerate(constants)}
    tensor_rows = [_tensor(b, tensor, axis, number.get(n, 0)) for n in order for tensor, axis in [tensors[n]]]
    codes = sorted({(row.code, row.version) for row in rows})
    operators = [_operator(b, row, codes.index((row.code, row.version)), index) for row in rows]
    subgraph = _table(
        b,
        "SubGraph",
        Tensors=_offsets(b, tensor_rows),
        Inputs=_ints(b, [index[x]]),
        Outputs=_ints(b, [index[y]]),
        Operators=_offsets(b, operators),
        Name=b.CreateString(name),
    )
    model = _table(
        b,
        "Model",
        Version=MODEL_VERSION,
        Description=b.CreateString("trimtab"),
        OperatorCodes=_offsets(b, [_code(b, *code) for code in codes]),
        Subgraphs=_offsets(b, [subgraph]),
        Buffers=_offsets(b, buffers),
        SignatureDefs=_offsets(b, [_signature(b, names, index[x], index[y])]),
    )
    b.Finish(model, file_identifier=b"TFL3")
    return bytes(b.Output())


def _table(b, kind, **fields):
    """One flatbuffer table; offsets in `fields` must have been made before."""
    getattr(tflite, f"{kind}Start")(b)
    for key, value in fields.items():
        getattr(tflite, f"{kind}Add{key}")(b, value)
    return getattr(tflite, f"{kind}End")(b)


def _ints(b, values):
    return b.CreateNumpyVector(np.asarray(values, np.int32))


def _offsets(b, offsets):
    b.StartVector(4, len(offsets), 4)
    for offset in reversed(offsets):
        b.PrependUOffsetTRelative(offset)
    return b.EndVector()


def _bytes(b, tensor):
    """Constants start at multiples of 16 bytes: the runtime reads them in place."""
    data = np.ascontiguousarray(tensor.data, DTYPES[tensor.dtype][1]).tobytes()
    b.StartVector(1, len(data), 16)
    b.head -= len(data)
    b.Bytes[b.head : b.head + len(data)] = data
    return b.EndVector()


def _tensor(b, tensor, axis, buffer):
    fields = {"Shape": _ints(b, tensor.shape), "Name": b.CreateString(tensor.name)}
    if tensor.scale is not None:
        zeros = np.full(len(tensor.scale), tensor.zero_point, np.int64)
        fields["Quantization"] = _table(
            b,
            "QuantizationParameters",
            Scale=b.CreateNumpyVector(tensor.scale.astype(np.float32)),
            ZeroPoint=b.CreateNumpyVector(zeros),
            QuantizedDimension=axis if len(tensor.scale) > 1 else 0,
        )
    return _table(b, "Tensor", Type=DTYPES[tensor.dtype][0], Buffer=buffer, **fields)


def _operator(b, row, code, index):
    fields = {
        "OpcodeIndex": code,
        "Inputs": _ints(b, [index.get(n, -1) for n in row.inputs]),
        "Outputs": _ints(b, [index[n] for n in row.outputs]),
    }
    if row.options:
        fields["BuiltinOptions"] = _table(b, row.options, **row.fields)
        fields["BuiltinOptionsType"] = getattr(tflite.BuiltinOptions, row.options)
    return _table(b, "Operator", **fields)


def _code(b, code, version):
    number = getattr(tflite.BuiltinOperator, code)
    return _table(
        b, "OperatorCode", DeprecatedBuiltinCode=min(number, 127), BuiltinCode=number, Version=version
    )


def _signature(b, names, x, y):
    def one(name, index):
        return _offsets(b, [_table(b, "TensorMap", Name=b.CreateString(name), TensorIndex=index)])

    key, input_name, output_name = names
    return _table(
        b,
        "SignatureDef",
        SignatureKey=b.CreateString(key),
        SubgraphIndex=0,
        Inputs=one(input_name, x),
        Outputs=one(output_name, y),
    )
