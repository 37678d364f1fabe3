"""The way home: tuned weights and a float head in a .tflite file that TensorFlow Lite runs."""

from dataclasses import replace

import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter
from models import Builder, asset, run, samples
from trimtab_tools.errors import ModelError
from trimtab_tools.formats.read_tflite import read, signature
from trimtab_tools.formats.tflite_file import serialize
from trimtab_tools.formats.write_tflite import export, to_rows, write
from trimtab_tools.operators import oracle

NAMES = ("classify", "pixels", "scores")


def network():
    b = Builder((8, 8, 3), 4)
    b.conv(8, (3, 3), (2, 2), act="relu6")
    x = b.x
    b.depthwise(1, act="relu")
    b.conv(8, (1, 1))
    b.add(x, b.x)
    b.mean(scale=b.tensors[b.x].scale[0] * 0.4)
    b.dense(5)
    b.softmax()
    return b.graph()


def tuned_values(graph, layer, seed=0):
    rng = np.random.default_rng(seed)
    op = next(op for op in graph.ops if op.name == layer)
    w, b = graph[op.inputs[1]], graph[op.inputs[2]]
    step = rng.integers(-3, 4, w.shape)
    return {
        "weights": np.clip(w.data + step, -127, 127).astype(np.int8),
        "bias": (b.data + rng.integers(-900, 900, b.shape)).astype(np.int32),
    }


def new_head(graph, tensor, classes=3, seed=0):
    rng = np.random.default_rng(seed)
    n = graph[tensor].size
    return {
        "features": tensor,
        "weights": rng.integers(-3000, 3000, (classes, n)).astype(np.int16),
        "bias": rng.integers(-90000, 90000, classes).astype(np.int32),
    }


def test_nothing_tuned_gives_the_same_network():
    data = write(network(), names=NAMES)
    x = samples(network(), 10)
    before, after = run(data, x), run(export(data, {}), x)
    assert all(np.array_equal(before[i], after[i]) for i in before)
    assert signature(export(data, {})) == NAMES


def test_tuned_weights_and_biases_arrive():
    graph = network()
    tuned = {layer: tuned_values(graph, layer) for layer in ("conv_0", "depthwise_1", "dense_5")}
    tuned["conv_2"] = {"bias": tuned_values(graph, "conv_2")["bias"]}
    data = export(write(graph), tuned)
    back = read(data)
    for op in back.ops:
        for what, name in zip(("weights", "bias"), op.inputs[1:] if op.name in tuned else ()):
            expected = tuned[op.name].get(what, graph[name].data)
            assert np.array_equal(back[name].data, expected), (op.name, what)
    x = samples(back, 10)
    theirs, ours = run(data, x), oracle.forward(back, x)
    for op in back.ops:
        assert np.array_equal(ours[op.outputs[0]], theirs[back[op.outputs[0]].index]), op.name
    assert back.output_dtype == "int8"


def test_a_layer_without_bias_gets_one():
    graph = network()
    tensors, rows = to_rows(graph)
    rows[0].inputs = rows[0].inputs[:2]
    data = serialize(tensors, rows, graph.inputs[0], graph.outputs[0], "main", NAMES)
    bias = tuned_values(graph, "conv_0")["bias"]
    back = read(export(data, {"conv_0": {"bias": bias}}))
    assert np.array_equal(back[back.ops[0].inputs[2]].data, bias)


@pytest.mark.parametrize("dtype", ["int8", "uint8", "float32"])
def test_a_float_head_on_bit_identical_features(dtype):
    graph = network()
    feature = next(op.outputs[0] for op in graph.ops if op.kind == "mean")
    tuned = {"conv_2": tuned_values(graph, "conv_2")}
    head = new_head(graph, feature)
    data = export(write(replace(graph, input_dtype=dtype, output_dtype=dtype)), tuned, head)
    x8 = samples(graph, 12)
    t = graph[graph.inputs[0]]
    outer = {
        "int8": x8,
        "uint8": (x8.astype(np.int16) + 128).astype(np.uint8),
        "float32": ((x8.astype(np.int64) - t.zero_point) * t.scale[0]).astype(np.float32),
    }[dtype]
    theirs, details = run(data, outer), Interpreter(model_content=data).get_tensor_details()
    number = {d["name"]: d["index"] for d in details}
    board = read(export(write(graph), tuned))
    features = oracle.forward(board, x8)[feature]
    assert np.array_equal(theirs[number[feature]], features)
    f = board[feature]
    real = (features.astype(np.float64) - f.zero_point) * f.scale[0]
    logits = real @ (head["weights"] / 4096.0).T + head["bias"] / 65536.0
    p = np.exp(logits - logits.max(axis=1, keepdims=True))
    p /= p.sum(axis=1, keepdims=True)
    assert np.abs(theirs[number["head/probabilities"]] - p).max() < 1e-5
    assert len(np.unique(features, axis=0)) > 4 and np.ptp(p) > 0.1  # the comparison is not of constants


def test_a_head_behind_a_map_of_one_pixel_and_behind_a_flatten():
    for shape in ((1, 1, 8), (2, 2, 3)):
        b = Builder(shape, 2)
        feature = b.conv(8, (1, 1))
        b.reshape(int(np.prod(b.shape())))
        b.dense(4)
        graph = b.graph()
        data = export(write(graph), {}, new_head(graph, feature))
        output = Interpreter(model_content=data).get_output_details()[0]
        assert list(output["shape"]) == [1, 3] and output["dtype"] == np.float32


@pytest.mark.parametrize("name", ["kws_ref_model", "pretrainedResnet_quant", "vww_96_int8"])
def test_published_models_keep_their_features(name):
    model = asset(f"mlperf_tiny/{name}.tflite").read_bytes()
    graph = read(model)
    dense = next(op for op in graph.ops if op.kind == "dense")
    feature = dense.inputs[0]
    data = export(model, {}, new_head(graph, feature))
    number = {d["name"]: d["index"] for d in Interpreter(model_content=data).get_tensor_details()}
    x = samples(graph, 5)
    assert np.array_equal(run(data, x)[number[feature]], run(model, x)[graph[feature].index])


def test_what_does_not_belong_is_refused():
    graph = network()
    data = write(graph)
    feature = graph.ops[-2].inputs[0]
    cases = {
        "no layer nowhere": ({"nowhere": {}}, None),
        "weights must be int8": ({"conv_0": {"weights": np.zeros(3, np.int8)}}, None),
        "bias must be int32": ({"conv_0": {"bias": np.zeros(8, np.int64)}}, None),
        "no tensor nowhere": ({}, {**new_head(graph, feature), "features": "nowhere"}),
        "for 8 features": ({}, {**new_head(graph, feature), "weights": np.zeros((3, 7), np.int16)}),
    }
    for words, (tuned, head) in cases.items():
        with pytest.raises(ModelError, match=words):
            export(data, tuned, head)


def test_padding_that_tflite_cannot_say_is_refused():
    graph = network()
    graph.ops[0].attrs["pad"] = (2, 0, 0, 0)
    with pytest.raises(ModelError, match="put it in a pad layer"):
        write(graph)
