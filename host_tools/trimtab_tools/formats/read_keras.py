"""A Keras model -> int8 .tflite bytes, through TensorFlow's own converter."""

import os
import re
import sys
import warnings
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import tflite

from ..errors import ModelError
from ..output import write

ENOUGH = 200  # samples that the converter looks at; more change the ranges little and take long
UNROLLED = ("LSTM", "GRU", "SimpleRNN", "RNN")
MOST_STEPS = 64  # about 20 operators each
NAME_FIELD = 10  # of a tensor's table in the flatbuffer


def quantize(model: Any, samples: npt.ArrayLike, out: str | Path | None = None) -> bytes:
    """Quantize a Keras model (object, .keras or .h5 path) to int8 in and out, batch 1.

    `samples` are real inputs, float (n, ...), as the model is fed in training: their ranges set the scales.
    """
    tf = tensorflow()
    if isinstance(model, (str, Path)):
        model = load(tf, model)
    _need_one_input_and_output(model)
    shape = tuple(model.inputs[0].shape)[1:]
    loops = _loops(tf, model)
    samples = _samples(samples, shape)
    with _unrolled(loops):
        data = _convert(tf, model, shape, samples)
    if out is not None:
        write(out, data)
    return data


def _loops(tf, model):
    """Recurrent layers. The converter crashes on them, or makes loops that no int8 kernel runs."""
    layers = model._flatten_layers(include_self=False)
    loops = [layer for layer in layers if isinstance(layer, tf.keras.layers.RNN)]
    for layer in loops:
        if type(layer).__name__ not in UNROLLED:
            raise ModelError(
                f"layer {layer.name}: a {type(layer).__name__} has no int8 form; use LSTM, GRU or SimpleRNN, "
                "or convolutions over time"
            )
    for layer in model.layers:
        if layer in loops or isinstance(layer, tf.keras.layers.Bidirectional):
            _need_few_steps(layer)
    return loops


def _need_few_steps(layer):
    steps = layer.input.shape[1]
    if steps is None or steps > MOST_STEPS:
        raise ModelError(
            f"layer {layer.name} takes {steps or 'any number of'} steps: recurrent layers are unrolled, to "
            f"{MOST_STEPS} at most; shorten the sequence, or use convolutions over time"
        )


@contextmanager
def _unrolled(loops):
    """Recurrent layers step by step, which computes the same."""
    before = [layer.unroll for layer in loops]
    try:
        for layer in loops:
            layer.unroll = True
        yield
    finally:
        for layer, unroll in zip(loops, before):
            layer.unroll = unroll


def _need_one_input_and_output(model):
    try:
        inputs, outputs = len(model.inputs), len(model.outputs)
    except (AttributeError, TypeError, ValueError) as error:
        raise ModelError("the model has no input shape yet: begin it with keras.Input(shape)") from error
    if (inputs, outputs) != (1, 1):
        raise ModelError(f"the model has {inputs} inputs and {outputs} outputs: use one of each")


def tensorflow() -> Any:
    """TensorFlow, which takes seconds to import; ModelError where it is not installed."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    try:
        import tensorflow as tf
    except ImportError as error:
        raise ModelError(
            "a Keras model needs TensorFlow: pip install trimtab[keras], or give an int8 .tflite file"
        ) from error
    return tf


def load(tf: Any, path: str | Path) -> Any:
    """The Keras model of a .keras or .h5 file."""
    if not Path(path).exists():
        raise ModelError(f"cannot read {path}: no such file; give the path of a .keras or .h5 model")
    try:
        return tf.keras.models.load_model(
            path, compile=False, custom_objects={"DepthwiseConv2D": _depthwise(tf)}
        )
    except (ValueError, TypeError, OSError, KeyError, AttributeError) as error:
        raise ModelError(f"cannot load {path} ({_reason(error)}); save it again with model.save") from error


def _reason(error):
    """The first line of the error that is not blank."""
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)


def _depthwise(tf):
    """Files of Keras 2 give depthwise layers a `groups`, which Keras 3 does not know."""

    class DepthwiseConv2D(tf.keras.layers.DepthwiseConv2D):
        @classmethod
        def from_config(cls, config):
            return tf.keras.layers.DepthwiseConv2D(**{k: v for k, v in config.items() if k != "groups"})

    return DepthwiseConv2D


def _samples(samples, shape):
    samples = np.asarray(samples)
    if None in shape:
        raise ModelError(f"the model takes inputs of shape {list(shape)}: give every axis a fixed size")
    if samples.ndim != len(shape) + 1 or samples.shape[1:] != shape or not len(samples):
        raise ModelError(
            f"samples have shape {list(samples.shape)}, the model wants (n, {', '.join(map(str, shape))})"
        )
    picked = np.linspace(0, len(samples) - 1, min(ENOUGH, len(samples))).astype(int)
    return samples[picked].astype(np.float32)


def _convert(tf, model, shape, samples):
    """Through a concrete function, which fixes the batch at 1 and freezes the weights into the graph."""

    @tf.function(input_signature=[tf.TensorSpec((1, *shape), tf.float32, name="input")])
    def network(x):
        return model(x, training=False)

    with _marked_names(model):
        function = network.get_concrete_function()
    with _quiet():
        converter = tf.lite.TFLiteConverter.from_concrete_functions([function])
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = lambda: ([sample[None]] for sample in samples)
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    converter.inference_input_type = converter.inference_output_type = tf.int8
    try:
        with _quiet():
            return _without_marks(converter.convert())
    except (tf.errors.OpError, RuntimeError, ValueError, TypeError) as error:
        raise ModelError(
            f"TensorFlow cannot quantize this model ({_reason(error)}); use layers with int8 kernels"
        ) from error


@contextmanager
def _quiet():
    """The converter warns about itself on every run, from Python and from C++."""
    sys.stderr.flush()
    with warnings.catch_warnings(), open(os.devnull, "w") as nowhere:
        warnings.simplefilter("ignore")
        saved = os.dup(2)
        os.dup2(nowhere.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(saved, 2)
            os.close(saved)


# Keras 3 opens each layer's name scope twice, so TensorFlow calls layer conv2d "conv2d_1", which is the name
# of the next one. While tracing, a final dot shows where a layer's own name ends.
MARK = re.compile(rb"\.(_\d+)?(?=/|;|$)")


@contextmanager
def _marked_names(model):
    layers = [model, *model._flatten_layers(include_self=False)]
    names = [layer.name for layer in layers]
    try:
        for layer, name in zip(layers, names):
            layer.name = f"{name}."
        yield
    finally:
        for layer, name in zip(layers, names):
            layer.name = name


def _without_marks(data):
    """Shorten tensor names where they lie: length, text, zeros up to the old end."""
    data = bytearray(data)
    graph = tflite.Model.GetRootAs(data, 0).Subgraphs(0)
    for i in range(graph.TensorsLength()):
        table = graph.Tensors(i)._tab
        field = table.Offset(NAME_FIELD)
        if field:
            start, size = table.Vector(field), table.VectorLen(field)
            name = MARK.sub(b"", bytes(data[start : start + size]))
            data[start - 4 : start] = len(name).to_bytes(4, "little")
            data[start : start + size] = name.ljust(size, b"\0")
    return bytes(data)
