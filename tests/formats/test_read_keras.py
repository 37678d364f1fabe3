"""Keras models through TensorFlow's converter, and what they become."""

import sys

import numpy as np
import pytest
from models import asset, run, samples
from trimtab_tools.errors import ModelError
from trimtab_tools.formats.read_keras import quantize
from trimtab_tools.formats.read_tflite import read
from trimtab_tools.operators import oracle

pytestmark = pytest.mark.keras

tf = pytest.importorskip("tensorflow", reason="needs TensorFlow: pip install trimtab[keras]")
layers = tf.keras.layers


@pytest.fixture(scope="module")
def images():
    return np.random.default_rng(0).uniform(0, 1, (40, 16, 16, 3)).astype(np.float32)


@pytest.fixture(scope="module")
def model():
    """Inverted residual blocks, and every operator that Keras layers turn into."""
    tf.keras.utils.set_random_seed(1)
    x = inputs = tf.keras.Input((16, 16, 3))
    x = layers.Conv2D(8, 3, 2, padding="same", use_bias=False)(x)
    x = layers.ReLU(6.0)(layers.BatchNormalization()(x))
    y = layers.Activation("hard_silu")(layers.BatchNormalization()(layers.Conv2D(16, 1, use_bias=False)(x)))
    y = layers.ReLU(6.0)(
        layers.BatchNormalization()(layers.DepthwiseConv2D(3, padding="same", use_bias=False)(y))
    )
    x = layers.Add()([x, layers.BatchNormalization()(layers.Conv2D(8, 1, use_bias=False)(y))])
    x = layers.DepthwiseConv2D(3, 2, depth_multiplier=2)(layers.ZeroPadding2D(((0, 1), (0, 1)))(x))
    z = layers.Conv2D(4, 1, activation="sigmoid")(x)
    x = layers.Concatenate()([x, z])
    x = layers.MaxPooling2D()(layers.AveragePooling2D(3, 1, padding="same")(x))
    x = layers.Dropout(0.2)(layers.GlobalAveragePooling2D()(x))
    x = layers.Softmax()(layers.Dense(5)(layers.Dense(12, activation="relu")(x)))
    return tf.keras.Model(inputs, x)


@pytest.fixture(scope="module")
def data(model, images):
    return quantize(model, images)


RECURRENT = {
    "lstm": lambda: [layers.LSTM(4)],
    "stacked": lambda: [layers.LSTM(3, return_sequences=True), layers.GRU(4)],
    "both_ways": lambda: [layers.Bidirectional(layers.GRU(3, reset_after=False))],
    "simple": lambda: [layers.SimpleRNN(5)],
}


def sequential(*parts, shape=(6, 3)):
    tf.keras.utils.set_random_seed(1)
    return tf.keras.Sequential([tf.keras.Input(shape), *parts, layers.Dense(3)])


@pytest.mark.parametrize("name", RECURRENT)
def test_recurrent_layers_are_unrolled_and_bit_exact(name):
    model = sequential(*RECURRENT[name]())
    found = quantize(model, np.random.default_rng(0).normal(size=(30, 6, 3)))
    graph = read(found)
    x = samples(graph, 20)
    theirs, ours = run(found, x), oracle.forward(graph, x)
    for tensor, values in ours.items():
        index = graph[tensor].index
        assert index not in theirs or np.array_equal(values.reshape(theirs[index].shape), theirs[index]), (
            tensor
        )
    loops = [layer for layer in model._flatten_layers() if isinstance(layer, layers.RNN)]
    assert loops and not any(layer.unroll for layer in loops)  # the model is as it was


def test_recurrent_layers_that_would_not_do_are_refused():
    with pytest.raises(ModelError, match="takes 65 steps"):
        quantize(sequential(layers.LSTM(4), shape=(65, 3)), np.zeros((3, 65, 3)))
    model = sequential(layers.ConvLSTM1D(2, 3), layers.Flatten(), shape=(4, 5, 2))
    with pytest.raises(ModelError, match="ConvLSTM1D has no int8 form"):
        quantize(model, np.zeros((3, 4, 5, 2)))


def test_the_result_is_int8_of_batch_one_and_bit_exact(data):
    graph = read(data)
    assert (graph.input_dtype, graph.output_dtype) == ("int8", "int8")
    assert graph[graph.inputs[0]].shape == (1, 16, 16, 3)
    kinds = {op.kind for op in graph.ops}
    assert kinds >= {
        "conv",
        "depthwise",
        "add",
        "hard_swish",
        "logistic",
        "concat",
        "avg_pool",
        "max_pool",
        "mean",
        "dense",
        "softmax",
    }
    x = samples(graph, 12)
    theirs, ours = run(data, x), oracle.forward(graph, x)
    for op in graph.ops:
        assert np.array_equal(ours[op.outputs[0]], theirs[graph[op.outputs[0]].index]), op.name


def test_layers_keep_their_keras_names(model, data):
    weighted = (layers.Conv2D, layers.DepthwiseConv2D, layers.Dense)
    mine = [layer.name for layer in model.layers if isinstance(layer, weighted)]
    assert [op.name for op in read(data).ops if op.kind in ("conv", "depthwise", "dense")] == mine


def test_tracing_leaves_the_model_as_it_was(model, images):
    names = [layer.name for layer in model.layers]
    quantize(model, images[:4])
    assert [layer.name for layer in model.layers] == names


def test_it_predicts_what_the_float_model_does(model, data, images):
    graph = read(data)
    t, y = graph[graph.inputs[0]], graph[graph.outputs[0]]
    x8 = np.clip(np.round(images / t.scale[0]) + t.zero_point, -128, 127).astype(np.int8)
    ours = (oracle.forward(graph, x8)[y.name].astype(float) - y.zero_point) * y.scale[0]
    assert np.abs(ours - model.predict(images, verbose=0)).max() < 0.1


@pytest.mark.parametrize("suffix", ["keras", "h5"])
def test_a_saved_model_gives_the_same_file(model, data, images, suffix, tmp_path):
    path, out = tmp_path / f"model.{suffix}", tmp_path / "model.tflite"
    model.save(path)
    assert quantize(path, images, out) == out.read_bytes()
    ours, theirs = read(data), read(out)
    assert [(op.kind, op.name) for op in ours.ops] == [(op.kind, op.name) for op in theirs.ops]
    assert np.array_equal(ours[ours.ops[0].inputs[1]].data, theirs[theirs.ops[0].inputs[1]].data)


def test_a_model_saved_by_keras_2():
    images = np.random.default_rng(0).uniform(0, 1, (4, 96, 96, 3)).astype(np.float32)
    graph = read(quantize(asset("mlperf_tiny/vww_96.noopt.h5"), images))
    assert [op.kind for op in graph.ops].count("depthwise") == 13


def test_refusals(model, images, tmp_path, monkeypatch):
    other = tmp_path / "other.keras"
    other.write_text("not a model")
    two = tf.keras.Model(model.inputs, [model.outputs[0], model.layers[1].output])
    shapeless = tf.keras.Sequential([layers.Dense(3)])
    loose = tf.keras.Sequential([tf.keras.Input((None, None, 3)), layers.Conv2D(4, 3)])
    cases = [
        ("no such file", tmp_path / "none.keras", images),
        ("cannot load", other, images),
        ("the model wants", model, images[:, :8]),
        ("the model wants", model, images[:0]),
        ("2 outputs: use one", two, images),
        ("fixed size", loose, images),
        ("begin it with keras.Input", shapeless, images),
    ]
    for words, what, x in cases:
        with pytest.raises(ModelError, match=words) as refusal:
            quantize(what, x)
        assert "\n" not in str(refusal.value)
    monkeypatch.setitem(sys.modules, "tensorflow", None)
    with pytest.raises(ModelError, match=r"pip install trimtab\[keras\]"):
        quantize(model, images)
