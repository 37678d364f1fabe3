"""The end of a model: its classifier comes off and becomes a head, or a regression trains its last layer."""

from dataclasses import replace

import numpy as np
from trimtab.format import SPARE_BIAS

from ..errors import ModelError
from ..graph.ir import Graph
from ..operators.registry import WEIGHTED
from .plan import Head, whole

PROBABILITIES = ("softmax", "log_softmax")  # they belong to the loss
PROTOTYPE_FEATURES = 16384  # at most: the sum of their squares has 30 bits
MOST_FEATURES = 65536  # of a dense head: then weight_limit leaves 7 bits
MOST_CLASSES = 65535


def cut_head(graph: Graph, classes: int) -> tuple[Graph, Head]:
    """(trunk, head): the last dense layer (or 1x1 conv on a 1x1 map) comes off with what stands behind it.

    With a number of classes the head is new and zero; else it is the model's own, widened to 16 bits.
    """
    tail, own, features = _tail(graph)
    if own is None and not classes:
        raise ModelError("the model does not end in a dense layer: give --labels or --classes for a new head")
    trunk = graph.with_ops([o for o in graph.ops if o not in tail], (features,))
    _check_scale(graph[features])
    return trunk, _new(graph, features, classes) if classes else _widened(graph, features, own)


def _tail(graph):
    """(operators from the classifier on, the classifier or None, the tensor before them)."""
    tail, name = [], graph.outputs[0]
    while (op := graph.producer(name)) is not None and op.kind in (*PROBABILITIES, "reshape"):
        tail.append(op)
        name = op.inputs[0]
    if op is None or not _is_head(graph, op):
        return tail, None, name
    return [*tail, op], op, op.inputs[0]


def _is_head(graph, op):
    if op.attrs.get("act", "none") != "none":
        return False
    x, y = graph[op.inputs[0]], graph[op.outputs[0]]
    if op.kind == "dense":
        return x.size == graph[op.inputs[1]].shape[1]  # else it works on several positions
    return op.kind == "conv" and x.size == x.shape[-1] and y.size == y.shape[-1]


def _new(graph, features, classes):
    weights = np.zeros((classes, graph[features].size), np.int16)
    return Head(features, classes, weights, np.zeros(classes, np.int32))


def _widened(graph, features, op):
    f, w, b = graph[features], graph[op.inputs[1]], graph[op.inputs[2]]
    limit = weight_limit(f.size)
    real = w.data.reshape(len(w.scale), -1) * w.scale[:, None]
    bias = b.data * w.scale * f.scale[0]
    return Head(
        features,
        len(real),
        np.clip(np.rint(real * 4096), -limit, limit).astype(np.int16),
        np.clip(np.rint(bias * 65536), -(1 << 29), 1 << 29).astype(np.int32),
    )


def _check_scale(f):
    if not 2.0**-18 < f.scale[0] < 2.0**13:
        raise ModelError(
            f"the head's input has scale {f.scale[0]:.3g}: train the model with values nearer to 1"
        )
    if f.size > MOST_FEATURES:
        raise ModelError(f"the head would have {f.size} inputs: add a pooling layer before it")


def weight_limit(features: int) -> int:
    """Largest |W| for which the sum of W * (x - zero), each |x - zero| <= 255, stays in 32 bits.

    32767 up to 256 features: 32767 * 255 * 256 < 2^31. Then half for each doubling.
    """
    return 32767 if features <= 256 else (1 << 14) >> max(0, (features - 1).bit_length() - 9)


def as_prototypes(head: Head | None, classes: tuple | int | None) -> Head:
    """A head of mean directions.

    classes: what names or counts them; a model's own classes have no samples yet.
    """
    if head is None or not classes:
        raise ModelError("--head prototype needs --labels or --classes, and a softmax loss")
    if head.weights.shape[1] > PROTOTYPE_FEATURES:
        raise ModelError(
            f"prototypes have at most {PROTOTYPE_FEATURES} features, the model has "
            f"{head.weights.shape[1]}: add a pooling layer"
        )
    return replace(head, kind="prototype")


def with_spare_rows(head: Head | None, labels: tuple, max_classes: int) -> tuple[Head, int]:
    """(head, rows more): room for classes that are named on the board."""
    if head is None or not labels or not len(labels) <= max_classes <= MOST_CLASSES:
        raise ModelError(f"--max-classes {max_classes} needs --labels, at most so many, and a softmax loss")
    spare = max_classes - len(labels)
    weights = np.pad(head.weights, ((0, spare), (0, 0)))
    bias = np.pad(head.bias, (0, spare), constant_values=SPARE_BIAS)
    return replace(head, classes=max_classes, weights=weights, bias=bias), spare


# -- regression: no head, so the last layer's weights train


def without_softmax(graph: Graph) -> Graph:
    """The graph that ends before its probabilities, if it has some."""
    op = graph.producer(graph.outputs[0])
    if op is not None and op.kind in PROBABILITIES:
        return graph.with_ops([o for o in graph.ops if o is not op], (op.inputs[0],))
    return graph


def with_last_layer(trunk: Graph, updates: tuple) -> tuple:
    """The updates, and one of the last layer's weights."""
    op = _last(trunk)
    if op is None or op.kind not in WEIGHTED:
        raise ModelError("--loss mse needs a model that ends in a dense or conv layer: cut what follows it")
    own = next((u for u in updates if u.layer == op.name and u.channels), None)
    return (*(u for u in updates if u.layer != op.name), own or whole(trunk, op))


def _last(graph):
    """The last operator that is not a reshape."""
    name = graph.outputs[0]
    while (op := graph.producer(name)) is not None and op.kind == "reshape":
        name = op.inputs[0]
    return op
