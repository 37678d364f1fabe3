"""Reading .tflite files: what we accept comes back whole, the rest is refused by layer and cure."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from models import Builder, asset, run, samples
from trimtab_tools.errors import ModelError
from trimtab_tools.formats.read_tflite import read, signature
from trimtab_tools.formats.tflite_file import SIGNATURE, Row, serialize
from trimtab_tools.formats.write_tflite import to_rows, write
from trimtab_tools.graph.ir import Tensor
from trimtab_tools.operators import oracle


def network(seed=0):
    """Every operator once."""
    b = Builder((12, 10, 3), seed)
    b.conv(8, (3, 3), (2, 1), act="relu6")
    a = b.depthwise(2, (3, 5))
    b.conv(16, (1, 1))
    b.add(a, b.x, "relu")
    b.pad((1, 1), (0, 1), (0, 0))
    b.pool("max_pool", (2, 2), (1, 1))
    c = b.pool("avg_pool", (3, 3), (2, 2), "same")
    d = b.unary("relu6", **b.same_scale())
    b.concat(c, d)
    for kind in ("relu", "hard_swish", "requantize", "tanh", "logistic"):
        b.unary(kind)
    b.mean(keepdims=True)
    b.reshape(b.shape()[3])
    b.dense(12, act="relu", per_channel=True)
    b.dense(5)
    b.softmax()
    return b.graph()


def changed(graph, change):
    """The file of `graph` after change(tensors, rows), for what no builder makes."""
    tensors, rows = to_rows(graph)
    change(tensors, rows)
    return serialize(tensors, rows, graph.inputs[0], graph.outputs[0], "main", SIGNATURE)


def small(act="none"):
    b = Builder((6, 6, 4), 1)
    b.conv(4, (3, 3), act=act)
    return b.graph()


def test_every_operator_survives_the_file():
    graph = network()
    back = read(write(graph))
    assert [(op.kind, op.attrs, op.outputs) for op in back.ops] == [
        (op.kind, op.attrs, op.outputs) for op in graph.ops
    ]
    for name, tensor in back.tensors.items():
        original = graph[name]
        assert (tensor.shape, tensor.dtype, tensor.zero_point) == (
            original.shape,
            original.dtype,
            original.zero_point,
        )
        assert np.allclose(tensor.scale, original.scale, rtol=0 if tensor.dtype == "int8" else 1e-6), name
        assert tensor.data is None or np.array_equal(tensor.data, original.data), name


def test_every_operator_together_is_bit_exact():
    data = write(network(3))
    graph = read(data)
    x = samples(graph, 12)
    theirs, ours = run(data, x), oracle.forward(graph, x)
    for op in graph.ops:
        assert np.array_equal(ours[op.outputs[0]], theirs[graph[op.outputs[0]].index]), op.name


@pytest.mark.parametrize("dtype", ["float32", "uint8"])
def test_outer_conversions_are_noted_and_put_back(dtype):
    graph = replace(small(), input_dtype=dtype, output_dtype=dtype)
    data = write(graph)
    back = read(data)
    assert (back.input_dtype, back.output_dtype) == (dtype, dtype)
    assert [op.kind for op in back.ops] == ["conv"]
    assert run(data, np.zeros((1, 6, 6, 4), dtype)) and read(write(back)).input_dtype == dtype


def test_layers_have_the_names_of_the_users_model():
    names = [op.name for op in read(asset("mlperf_tiny/kws_ref_model.tflite")).ops]
    assert names[:3] == ["conv2d", "depthwise_conv2d", "conv2d_1"]
    assert names[-4:] == ["average_pooling2d", "flatten", "dense", "softmax"]
    residual = [op.name for op in read(asset("mlperf_tiny/pretrainedResnet_quant.tflite")).ops]
    assert residual[3] == "add" and len(set(residual)) == len(residual)


def test_missing_bias_is_zero():
    def drop(tensors, rows):
        rows[0].inputs = rows[0].inputs[:2]

    bias = read(changed(small(), drop)).ops[0].inputs[2]
    graph = read(changed(small(), drop))
    assert graph[bias].dtype == "int32" and not graph[bias].data.any() and graph[bias].size == 4


def test_constants_that_two_layers_share_become_two():
    b = Builder((6, 6, 4), 1)
    b.conv(4)
    b.conv(4)
    graph = b.graph()
    first = graph.ops[0].inputs[1:]

    def share(tensors, rows):
        rows[1].inputs = (rows[1].inputs[0], *first)

    back = read(changed(graph, share))
    assert len({name for op in back.ops for name in op.inputs[1:]}) == 4
    for op in back.ops:
        assert all(np.array_equal(back[name].data, graph[f].data) for name, f in zip(op.inputs[1:], first))


def test_dense_that_keeps_its_axes():
    b = Builder((1, 1, 7), 1)
    b.dense(3)
    graph = b.graph()
    t = graph[graph.outputs[0]]
    kept = replace(graph, tensors={**graph.tensors, t.name: replace(t, shape=(1, 1, 1, 3))})
    data = write(kept)
    assert read(data)[t.name].shape == (1, 1, 1, 3)
    assert run(data, samples(kept, 2))[read(data)[t.name].index].shape == (2, 1, 1, 3)


def test_what_only_computes_a_shape_is_left_out():
    b = Builder((2, 2, 3), 1)
    b.reshape(12)
    graph = b.graph()

    def dynamic(tensors, rows):
        target = rows[0].inputs[1]
        tensors["shape"] = (Tensor("shape", (2,), "int32"), 0)
        tensors[target] = (Tensor(target, (2,), "int32"), 0)
        rows[0].inputs = (rows[0].inputs[0], "shape")
        rows.insert(0, Row("SHAPE", 1, (graph.inputs[0],), ("shape",), "ShapeOptions"))

    assert [op.kind for op in read(changed(graph, dynamic)).ops] == ["reshape"]


def test_dynamic_batch_becomes_one():
    def dynamic(tensors, rows):
        for name in ("input", "conv_0"):
            t, axis = tensors[name]
            tensors[name] = (replace(t, shape=(-1, *t.shape[1:])), axis)

    assert read(changed(small(), dynamic))["input"].shape == (1, 6, 6, 4)


def test_signature_names():
    names = ("classify", "pixels", "scores")
    assert signature(write(small(), names=names)) == names
    assert signature(write(small())) == SIGNATURE


# --- refusals: (how the file is bent, what the sentence must say)


def options(**fields):
    return lambda tensors, rows: rows[0].fields.update(fields)


def tensor(name, **values):
    def change(tensors, rows):
        t, axis = tensors[name]
        tensors[name] = (replace(t, **values), axis)

    return change


def weights_computed(tensors, rows):
    tensor(rows[0].inputs[1], data=None)(tensors, rows)


def weights_shifted(tensors, rows):
    tensor(rows[0].inputs[1], zero_point=3)(tensors, rows)


def grouped(tensors, rows):
    w = rows[0].inputs[1]
    t = tensors[w][0]
    tensor(w, shape=(4, 3, 3, 3), data=t.data[..., :3])(tensors, rows)


def batch_of_four(tensors, rows):
    for name in ("input", "conv_0"):
        tensor(name, shape=(4, 6, 6, 4))(tensors, rows)


def unknown_operator(tensors, rows):
    tensors["y"] = (replace(tensors["conv_0"][0], name="y", shape=(1, 6, 6, 4)), 0)
    rows[0].outputs = ("y",)
    rows.append(Row("SIN", 1, ("y",), ("conv_0",)))


def floats(tensors, rows):
    for name in ("input", "conv_0"):
        tensor(name, dtype="float32", scale=None)(tensors, rows)


def float_inside(tensors, rows):
    tensors["y"] = (replace(tensors["conv_0"][0], name="y", dtype="float32", scale=None), 0)
    tensors["z"] = (replace(tensors["conv_0"][0], name="z"), 0)
    tensors["negative"] = (replace(tensors["y"][0], name="negative"), 0)
    rows[0].outputs = ("z",)
    rows += [
        Row("DEQUANTIZE", 2, ("z",), ("y",), "DequantizeOptions"),
        Row("NEG", 1, ("y",), ("negative",)),
        Row("QUANTIZE", 2, ("negative",), ("conv_0",), "QuantizeOptions"),
    ]


def wrong_shape(tensors, rows):
    tensor("conv_0", shape=(1, 6, 6, 5))(tensors, rows)


def constant_input(tensors, rows):
    rows[0].inputs = (rows[0].inputs[1], *rows[0].inputs[1:])


REFUSALS = {
    "dilated": (options(DilationHFactor=2, StrideH=2), "dilated and has strides"),
    "computed weights": (weights_computed, "not constant"),
    "weight zero point": (weights_shifted, "zero point"),
    "grouped": (grouped, "has weights of shape"),
    "batch": (batch_of_four, "batch of 4"),
    "operator": (unknown_operator, "operator SIN is not supported"),
    "float": (floats, "computes in float32"),
    "float inside": (float_inside, "float in the middle"),
    "hybrid bias": (
        lambda t, r: tensor(r[0].inputs[2], dtype="float32", data=np.zeros(4))(t, r),
        "float32 constants",
    ),
    "shape": (wrong_shape, "says shape"),
    "no scale": (tensor("conv_0", scale=None), "no usable scale"),
    "stride": (options(StrideH=0), "stride"),
    "activation": (options(FusedActivationFunction=4), "fused activation"),
    "constant input": (constant_input, "constant where"),
}


LAYERS = {"batch": "input", "float inside": "y"}  # where the refused operator is not the convolution


@pytest.mark.parametrize("case", REFUSALS)
def test_refused_by_layer_with_a_cure(case):
    change, words = REFUSALS[case]
    with pytest.raises(ModelError) as refusal:
        read(changed(small(), change))
    text = str(refusal.value)
    assert words in text and "\n" not in text and (":" in text or ";" in text)
    assert case == "float" or text.startswith(f"layer {LAYERS.get(case, 'conv_0')}:")


def test_a_float_model_is_refused():
    with pytest.raises(ModelError, match="computes in float32: convert"):
        read(asset("mlperf_tiny/vww_96_float.tflite"))


def test_adding_shapes_that_do_not_fit_is_refused():
    b = Builder((6, 6, 4), 1)
    x = b.x
    b.pool("avg_pool")
    small_one = b.x
    b.layer("add", (1, 6, 6, 4), (x, small_one), act="none")
    with pytest.raises(ModelError, match="joins .* and .*; give one input the output's shape"):
        read(write(b.graph()))


# --- damaged files


def test_a_file_that_is_something_else():
    for data in (b"", b"PK\x03\x04 not a model", b"\0" * 100):
        with pytest.raises(ModelError, match="not a .tflite file"):
            read(data)
    with pytest.raises(ModelError, match="cannot read .*nowhere.tflite"):
        read("nowhere.tflite")


DATA = write(network())


def test_a_file_cut_anywhere():
    for size in range(8, len(DATA) - 64, 97):
        with pytest.raises(ModelError):
            read(DATA[:size])


@settings(max_examples=400, deadline=None)
@given(st.lists(st.tuples(st.integers(8, len(DATA) - 1), st.integers(0, 255)), min_size=1, max_size=8))
def test_a_file_with_flipped_bytes_is_read_or_refused(flips):
    data = bytearray(DATA)
    for position, value in flips:
        data[position] = value
    try:
        read(bytes(data))
    except ModelError as refusal:
        assert "\n" not in str(refusal)


def test_offsets_flipped_where_they_hurt():
    """Every 4-byte word before the weights, pointed far outside and far inside."""
    for position in range(0, min(len(DATA), 6000) - 4, 12):
        for word in (b"\xff\xff\xff\xff", b"\xff\xff\xff\x7f", b"\x10\0\0\0"):
            data = DATA[:position] + word + DATA[position + 4 :]
            try:
                read(data)
            except ModelError:
                pass
