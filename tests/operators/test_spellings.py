"""Operators of files that a graph says with others: the same numbers, and a file that means the same."""

from dataclasses import dataclass, field, replace

import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter
from models import Builder, f32, kernels_for_codes, samples
from trimtab_tools.errors import ModelError
from trimtab_tools.formats.read_tflite import read
from trimtab_tools.formats.tflite_file import SIGNATURE, Row, parse, serialize
from trimtab_tools.formats.write_tflite import to_rows, write
from trimtab_tools.graph.ir import Tensor
from trimtab_tools.operators import oracle
from trimtab_tools.operators.registry import form

SCALE, ZERO = 0.05, 7


@dataclass
class Case:
    """A file from x to y, of rows (code, options, fields, inputs, outputs) and tensors: shapes or int32."""

    shape: tuple
    out: tuple
    rows: list
    tensors: dict = field(default_factory=dict)

    def file(self):
        found = {"x": self.shape, "y": self.out, **self.tensors}
        tensors = {name: (_tensor(name, about), 0) for name, about in found.items()}
        rows = [
            Row(code, form(code).version, inputs, outputs, options, fields)
            for code, options, fields, inputs, outputs in self.rows
        ]
        return serialize(tensors, rows, "x", "y", "main", SIGNATURE)


def _tensor(name, about):
    if isinstance(about, np.ndarray):
        return Tensor(name, about.shape, "int32", data=about.astype(np.int32))
    return Tensor(name, (1, *about), "int8", f32([SCALE]), ZERO)


def one(shape, out, code, options, fields=None, *arguments, before=()):
    """One operator, with constants behind its input or before it."""
    named = {f"argument{i}": np.array(values) for i, values in enumerate((*before, *arguments))}
    names = list(named)
    inputs = (*names[: len(before)], "x", *names[len(before) :])
    return Case(shape, out, [(code, options, fields or {}, inputs, ("y",))], named)


def reduced(code, shape, out, axes, keep=False):
    return one(shape, out, code, "ReducerOptions", {"KeepDims": keep}, axes)


def strided(shape, out, begin, end, step=None, **masks):
    step = step or [1] * (len(shape) + 1)
    return one(shape, out, "STRIDED_SLICE", "StridedSliceOptions", masks, begin, end, step)


def resized(shape, out, **options):
    return one(shape, out, "RESIZE_NEAREST_NEIGHBOR", "ResizeNearestNeighborOptions", options, out[:2])


def split(code, options, fields, *inputs, arguments):
    """Three parts, of which the last and the first come back, and the middle is not used."""
    parts = {"a": (4, 2), "b": (4, 3), "c": (4, 1)} if code == "SPLIT_V" else dict.fromkeys("abc", (4, 2))
    joined = ("CONCATENATION", "ConcatenationOptions", {"Axis": 2}, ("c", "a"), ("y",))
    out = (4, parts["a"][1] + parts["c"][1])
    rows = [(code, options, fields, inputs, tuple(parts)), joined]
    return Case((4, 6), out, rows, {**parts, **arguments})


def unpacked():
    rows = [
        ("UNPACK", "UnpackOptions", {"Axis": 1, "Num": 3}, ("x",), ("a", "b", "c")),
        ("PACK", "PackOptions", {"Axis": -1, "ValuesCount": 2}, ("c", "a"), ("y",)),
    ]
    return Case((3, 5), (5, 2), rows, dict.fromkeys("abc", (5,)))


CASES = {
    "expand_dims": one((5, 3), (1, 5, 3), "EXPAND_DIMS", "ExpandDimsOptions", {}, 1),
    "squeeze": one((1, 5, 3), (5, 3), "SQUEEZE", "SqueezeOptions"),
    "squeeze_all": one((1, 1, 3), (3,), "SQUEEZE", "SqueezeOptions"),
    "global_max": reduced("REDUCE_MAX", (6, 5, 3), (3,), (1, 2)),
    "global_max_kept": reduced("REDUCE_MAX", (6, 5, 3), (1, 1, 3), (-3, 2), True),
    "max_over_time": reduced("REDUCE_MAX", (9, 3), (3,), (1,)),
    "max_of_rows": reduced("REDUCE_MAX", (6, 5, 3), (5, 3), (1,)),
    "max_of_all": reduced("REDUCE_MAX", (6, 5, 3), (1, 1, 1), (1, 2, 3), True),
    "max_of_channels": reduced("REDUCE_MAX", (6, 5, 3), (6, 5), (3,)),
    "mean_of_channels": reduced("MEAN", (6, 5, 3), (6, 5), (3,)),
    "mean_of_columns": reduced("MEAN", (6, 5, 3), (6, 1, 3), (2,), True),
    "mean_around_columns": reduced("MEAN", (6, 5, 3), (1, 5, 1), (1, 3), True),
    "crop": strided((6, 5, 3), (4, 2, 3), (0, 1, 2, 0), (1, 5, 4, 3)),
    "crop_from_the_end": strided((6, 5), (3, 4), (0, -4, 0), (0, -1, -1), BeginMask=5, EndMask=1),
    "one_row": strided((6, 5, 3), (5, 3), (0, -2, 0, 0), (0, 0, 0, 0), EndMask=13, ShrinkAxisMask=2),
    "half_of_channels": strided((4, 4, 6), (4, 4, 3), (0, 0, 0, 3), (0, 0, 0, 0), BeginMask=7, EndMask=15),
    "every_second": strided((6, 5, 3), (3, 3, 3), (0, 0, 0, 0), (1, 6, 5, 3), (1, 2, 2, 1)),
    "every_second_of_some": strided((8, 7, 3), (3, 2, 2), (0, 1, 2, 1), (1, 7, 7, 3), (1, 2, 3, 1)),
    "split": split("SPLIT", "SplitOptions", {"NumSplits": 3}, "axis", "x", arguments={"axis": np.array(2)}),
    "split_v": split(
        "SPLIT_V",
        "SplitVOptions",
        {"NumSplits": 3},
        "x",
        "sizes",
        "axis",
        arguments={"sizes": np.array([2, 3, 1]), "axis": np.array(-1)},
    ),
    "unpack_and_pack": unpacked(),
    "tile_columns": one((3, 2, 4), (3, 6, 4), "TILE", "TileOptions", {}, (1, 1, 3, 1)),
    "tile_all": one((3, 2), (6, 6), "TILE", "TileOptions", {}, (1, 2, 3)),
    "tile_of_five_axes": one((3, 1, 2, 4), (3, 2, 2, 4), "TILE", "TileOptions", {}, (1, 1, 2, 1, 1)),
    "larger_of_two": Case(
        (3, 4),
        (3, 2),
        [
            ("SPLIT", "SplitOptions", {"NumSplits": 2}, ("axis", "x"), ("a", "b")),
            ("MAXIMUM", "MaximumMinimumOptions", {}, ("a", "b"), ("y",)),
        ],
        {"a": (3, 2), "b": (3, 2), "axis": np.array(2)},
    ),
    "twice_as_large": resized((3, 4, 2), (6, 12, 2)),
    "twice_as_large_from_centres": resized((3, 4, 2), (6, 8, 2), HalfPixelCenters=True),
}


def outputs(data, x):
    """What TensorFlow Lite's reference kernels give for each sample, flat: a squeeze may drop the batch."""
    kernels = kernels_for_codes(entry.code for entry in parse(data).ops)
    interpreter = Interpreter(model_content=data, experimental_op_resolver_type=kernels)
    interpreter.allocate_tensors()
    found = []
    for sample in x:
        interpreter.set_tensor(interpreter.get_input_details()[0]["index"], sample[None])
        interpreter.invoke()
        found.append(interpreter.get_tensor(interpreter.get_output_details()[0]["index"]).ravel())
    return np.stack(found)


def check(data):
    graph = read(data)
    x = samples(graph, 12)
    theirs = outputs(data, x)
    assert np.array_equal(oracle.forward(graph, x)[graph.outputs[0]].reshape(len(x), -1), theirs)
    assert np.array_equal(outputs(write(graph), x), theirs)
    return graph


@pytest.mark.parametrize("name", CASES)
def test_it_is_bit_exact(name):
    check(CASES[name].file())


def test_an_output_that_nothing_reads_costs_nothing():
    assert [op.kind for op in read(CASES["split"].file()).ops] == ["slice", "slice", "concat"]


@pytest.mark.parametrize(
    "case, says",
    [
        (strided((6, 5), (6, 5), (0, 2, 0), (1, 6, 5)), "says shape"),
        (
            strided((6, 4, 2), (6, 4, 1), [0] * 4, [1, 6, 4, 2], [1, 1, 1, 2]),
            "takes steps of",
        ),
        (strided((6, 5), (6, 5), (0, 0, 0), (1, 6, 5), NewAxisMask=1), "adds axes"),
        (resized((3, 4, 2), (5, 8, 2)), "enlarge by whole factors"),
        (resized((3, 4, 2), (6, 8, 2), AlignCorners=True), "aligns corners"),
        (one((2,), (40,), "TILE", "TileOptions", {}, (1, 20)), "at most 16"),
        (one((3, 2), (6, 2), "TILE", "TileOptions", {}, (2, 1, 1)), "behind the batch"),
    ],
    ids=str,
)  # fmt: skip
def test_what_is_refused(case, says):
    with pytest.raises(ModelError, match=says):
        read(case.file())


# -- convolutions


def changed(kind, shape, kernel, out=6, padding="same", **fields):
    """The file of one layer, with other options, as a converter writes a layer with holes."""
    b = Builder(shape, 5)
    if kind == "conv":
        b.conv(out, kernel, padding=padding)
    else:
        b.depthwise(2, kernel, padding=padding)
    tensors, rows = to_rows(b.graph())
    rows[0].fields.update(fields)
    if padding == "valid":
        y, axis = tensors[b.x]
        lost = [(k - 1) * d for k, d in zip(kernel, (fields["DilationHFactor"], fields["DilationWFactor"]))]
        sizes = (1, shape[0] - lost[0], shape[1] - lost[1], y.shape[3])
        tensors[b.x] = replace(y, shape=sizes), axis
    return serialize(tensors, rows, b.input, b.x, "main", SIGNATURE)


@pytest.mark.parametrize("kind", ("conv", "depthwise"))
@pytest.mark.parametrize("padding", ("same", "valid"))
@pytest.mark.parametrize(
    "length, taps, dilation", [(24, 3, 4), (23, 3, 2), (17, 2, 3), (20, 5, 3), (9, 3, 3)]
)
def test_a_layer_with_holes_is_bit_exact(kind, padding, length, taps, dilation):
    holes = {"DilationHFactor": 1, "DilationWFactor": dilation}
    graph = check(changed(kind, (1, length, 3), (1, taps), padding=padding, **holes))
    assert kind in [op.kind for op in graph.ops]
    upright = {"DilationHFactor": dilation, "DilationWFactor": 1}
    check(changed(kind, (length, 1, 3), (taps, 1), padding=padding, **upright))


@pytest.mark.parametrize("kind", ("conv", "depthwise"))
@pytest.mark.parametrize("padding", ("same", "valid"))
@pytest.mark.parametrize(
    "size, kernel, dilation",
    [((8, 8), (3, 3), (2, 2)), ((11, 9), (3, 2), (3, 2)), ((7, 8), (3, 3), (1, 3)), ((9, 6), (1, 3), (2, 2))],
)
def test_holes_in_a_map_are_bit_exact(kind, padding, size, kernel, dilation):
    options = {"DilationHFactor": dilation[0], "DilationWFactor": dilation[1]}
    check(changed(kind, (*size, 3), kernel, padding=padding, **options))


def test_holes_and_strides_are_refused():
    with pytest.raises(ModelError, match="dilated and has strides"):
        read(changed("conv", (8, 8, 3), (3, 3), DilationHFactor=2, DilationWFactor=2, StrideH=2))


@pytest.mark.parametrize("groups", (2, 3, 6))
def test_a_layer_in_groups_is_bit_exact(groups):
    b = Builder((5, 6, 6), groups)
    b.conv(12, (3, 2), (2, 1))
    graph = b.graph()
    w = graph[graph.ops[0].inputs[1]]
    own = w.data[..., : 6 // groups].copy()
    graph.tensors[w.name] = replace(w, shape=own.shape, data=own)
    found = check(write(graph))
    assert [op.kind for op in found.ops] == ["slice", "conv"] * groups + ["concat"]
    assert [op.name for op in found.ops if op.kind == "conv"][0] == "conv_0/group_1"


@pytest.mark.parametrize("bias", (True, False))
@pytest.mark.parametrize("padding", ("same", "valid"))
@pytest.mark.parametrize(
    "kernel, stride", [((3, 3), (2, 2)), ((2, 2), (2, 2)), ((4, 3), (2, 3)), ((3, 5), (1, 2))]
)
def test_a_transposed_convolution_is_bit_exact(kernel, stride, padding, bias):
    b = Builder((4, 5, 3), 5)
    b.conv(6, kernel)
    tensors, rows = to_rows(b.graph())
    size = [
        n * s if padding == "same" else (n - 1) * s + k for n, s, k in zip((4, 5), stride, kernel)
    ]  # fmt: skip
    y, axis = tensors[b.x]
    tensors[b.x] = replace(y, shape=(1, *size, 6)), axis
    tensors["shape"] = Tensor("shape", (4,), "int32", data=np.array([1, *size, 6], np.int32)), 0
    x, w, own = rows[0].inputs
    row = Row("TRANSPOSE_CONV", 3, ("shape", w, x, own)[: 3 + bias], (b.x,), "TransposeConvOptions")
    row.fields = {"Padding": int(padding == "valid"), "StrideH": stride[0], "StrideW": stride[1]}
    graph = check(serialize(tensors, [row], b.input, b.x, "main", SIGNATURE))
    assert graph.ops[-1].kind == "conv" and graph.ops[-1].name == "conv_0"
