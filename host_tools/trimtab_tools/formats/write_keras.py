"""A tuned network back into the Keras model that it came from: a .keras file with the layers and names it
had.

Only what was trained is written, dequantized; the rest keeps the model's own numbers. Conversion folded each
BatchNormalization into the layer before it. Here it stays a layer: its offset (beta) takes the tuned bias,
and the kernel before it takes the tuned weights divided by its factor, so that the two together are what the
board has.
"""

import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import ModelError
from ..graph.ir import Graph
from ..operators.registry import WEIGHTED
from ..output import write
from .read_keras import load, tensorflow

NAMES = {"conv": "Conv2D", "depthwise": "DepthwiseConv2D", "dense": "Dense"}


def export(contents: Any, original: str, output: str) -> int:
    """Write the model of the file `original` with the weights of a package; its size in bytes.

    contents: compiler/package_reading.Contents.
    """
    tf = tensorflow()
    model = load(tf, original)
    layers = {layer.name: layer for layer in model._flatten_layers(include_self=False)}
    untrained, graph = contents.initial().graph(), contents.graph()
    for op in graph.ops:
        if op.kind == "tinytl":
            raise ModelError(
                "modules of policy tinytl have no place in a Keras model: pull the network as .tflite"
            )
        if op.kind not in WEIGHTED:
            continue
        before, after = ([real(g, name) for name in op.inputs[1:]] for g in (untrained, graph))
        if not all(map(np.array_equal, before, after)):
            layer = layers.get(op.name)
            if type(layer).__name__ != NAMES[op.kind]:
                raise ModelError(
                    f"{original} has no {NAMES[op.kind]} layer {op.name}: give the model that was compiled"
                )
            _write(layer, op.kind, before, after)
    head = contents.head()
    if head:
        model = _with_head(tf.keras, model, {op.name for op in graph.ops}, head)
    with tempfile.TemporaryDirectory() as scratch:  # Keras writes only to a name that ends in .keras
        saved = Path(scratch, "model.keras")
        model.save(saved)
        return write(output, saved.read_bytes())


def real(graph: Graph, name: str) -> np.ndarray:
    """A constant tensor in real values. Scales lie along the last axis of depthwise weights, else first."""
    t = graph[name]
    scale = np.asarray(t.scale)
    axis = -1 if t.shape[0] != len(scale) else 0
    return t.data * (scale if axis or t.data.ndim == 1 else scale.reshape(-1, *[1] * (t.data.ndim - 1)))


# -- layers with weights


def _write(layer, kind, before, after):
    """The tuned weights and bias of a layer, and of the normalization behind it."""
    norm = _normalization(layer)
    factor, offset = _affine(norm)
    weights = [np.array(w) for w in layer.get_weights()]
    axis = weights[0].shape[-2:] if kind == "depthwise" else weights[0].shape[-1:]
    f = np.broadcast_to(factor, int(np.prod(axis))).reshape(axis)
    folded = [_kernel(kind, w, weights[0]) for w, _ in (before, after)]
    step = np.abs(folded[0]).max() / 127
    if np.abs(weights[0] * f - folded[0]).max() > step:
        raise ModelError(
            f"layer {layer.name} of the Keras model has other weights than the network before training: "
            "give the model that was compiled"
        )
    used = np.broadcast_to(np.abs(f) > 1e-12, weights[0].shape)
    weights[0] = np.where(used & (folded[0] != folded[1]), folded[1] / np.where(used, f, 1), weights[0])
    if not np.array_equal(before[1], after[1]):
        if norm is not None:
            own = weights[1] if len(weights) > 1 else 0
            norm.beta.assign(np.asarray(after[1] - own * factor - (offset - _beta(norm)), np.float32))
        elif len(weights) > 1:
            weights[1] = after[1]
        else:
            raise ModelError(
                f"layer {layer.name} of the Keras model has no bias, but the board trained one: "
                "build it with use_bias=True"
            )
    layer.set_weights(weights)


def _kernel(kind, w, like):
    """Weights from output channels first to Keras's order."""
    if kind == "depthwise":
        return w.reshape(like.shape)
    return np.moveaxis(w, 0, -1).reshape(like.shape)


def _normalization(layer):
    """The BatchNormalization that reads a layer, or None."""
    readers = [node.operation for node in layer._outbound_nodes]
    norms = [r for r in readers if type(r).__name__ == "BatchNormalization"]
    return norms[0] if norms else None


def _affine(norm):
    """(factor, offset) by which a BatchNormalization acts once it is no longer trained."""
    if norm is None:
        return np.ones(1), np.zeros(1)
    mean, variance = np.array(norm.moving_mean), np.array(norm.moving_variance)
    factor = (np.array(norm.gamma) if norm.scale else 1) / np.sqrt(variance + norm.epsilon)
    return factor, _beta(norm) - mean * factor


def _beta(norm):
    if not norm.center:
        raise ModelError(f"layer {norm.name} has no offset to take a trained bias: build it with center=True")
    return np.array(norm.beta)


# -- the head


def _with_head(keras, model, trunk, head):
    """The model with the board's head in place of its own, or behind its last layer where it has none."""
    if "weights" not in head:
        raise ModelError("a head of prototypes is no Keras layer: pull the network as .tflite")
    w, b = head["weights"] / 4096.0, head["bias"] / 65536.0
    own = next((layer for layer in reversed(model.layers) if layer.weights), None)
    if type(own).__name__ not in ("Dense", "Conv2D") or own.name in trunk:
        own = None
    if own is not None and own.get_weights()[0].shape[-1] == len(w) and len(own.get_weights()) == 2:
        own.set_weights([w.T.reshape(own.get_weights()[0].shape), b])
        return model
    features = model.output if own is None else own.input
    if len(features.shape) > 2:
        features = keras.layers.Flatten(name="features")(features)
    dense = keras.layers.Dense(len(w), activation="softmax", name=own.name if own else "head")
    made = keras.Model(model.input, dense(features), name=model.name)
    dense.set_weights([w.T, b])
    return made
