"""A trained head as float layers behind an int8 trunk.

A head is a dict: {"features": tensor name, "weights": int16 (classes, n), "bias": int32 (classes,)}, or
{"features", "prototypes": int16 (classes, n), "counts": samples of each class}. In the file it becomes
dequantize, a dense layer and softmax; prototypes also a normalization before the dense layer.
"""

import numpy as np

from ..errors import ModelError
from ..graph.head import BIAS_ONE, COSINES, DIRECTION_ONE, WEIGHT_ONE
from ..graph.ir import Graph, Tensor
from .tflite_file import Row

ABSENT = -1000.0  # the bias that keeps a class without samples out of the softmax


def add_float_head(graph: Graph, tensors: dict, rows: list, head: dict) -> str:
    """Add the head's tensors and rows; the name of the probabilities."""
    size = graph[head["features"]].size
    w, b = _directions(head) if "prototypes" in head else _sums(head)
    if w.ndim != 2 or w.shape[1] != size or b.shape != w.shape[:1]:
        raise ModelError(f"the head has shape {list(w.shape)} for {size} features: export with its own model")
    names = _add_tensors(tensors, graph[head["features"]], w, b)
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


def _add_tensors(tensors, features, w, b):
    """{what: name} of all tensors that a head may need; a file leaves out those that no row uses."""
    shapes = {
        "features": (features.shape, None),
        "shape": ((2,), np.array([1, features.size], np.int32)),
        "flat": ((1, features.size), None),
        "directions": ((1, features.size), None),
        "weights": (w.shape, w),
        "bias": (b.shape, b),
        "logits": ((1, len(b)), None),
        "probabilities": ((1, len(b)), None),
    }
    for what, (shape, data) in shapes.items():
        dtype = "float32" if data is None else str(data.dtype).replace("64", "32")
        tensors[f"head/{what}"] = (Tensor(f"head/{what}", shape, dtype, data=data), 0)
    return {what: f"head/{what}" for what in shapes}


def _sums(head):
    w, b = np.asarray(head["weights"], np.float32), np.asarray(head["bias"], np.float64)
    return w / WEIGHT_ONE, b / BIAS_ONE


def _directions(head):
    """Cosines as a dense layer on directions; a class without samples takes no part."""
    w = np.asarray(head["prototypes"], np.float32) * (COSINES / DIRECTION_ONE)
    return w, np.where(np.asarray(head["counts"]) > 0, 0.0, ABSENT)
