"""A slow, plain executor of the graph: the host's oracle for every kernel.

It equals TensorFlow Lite's reference kernels bit for bit. Everything is int64, so nothing overflows unseen.
The first axis may hold any number of samples.
"""

import numpy as np
import numpy.typing as npt

from ..graph.ir import Graph
from .registry import OPERATORS


def forward(graph: Graph, x: npt.ArrayLike) -> dict:
    """x int8 (n, ...) -> every activation by tensor name, int8 (n, ...)."""
    values = {graph.inputs[0]: np.asarray(x, np.int8)}
    for op in graph.ops:
        row = OPERATORS[op.kind]
        assert row.oracle, op.kind  # every row of the registry has one
        y = row.oracle(graph, op, row.params(graph, op), [_value(graph, values, name) for name in op.inputs])
        shape = graph[op.outputs[0]].shape
        values[op.outputs[0]] = y.astype(np.int8).reshape(len(y), *shape[1:])
    return values


def _value(graph, values, name):
    """An activation or a constant; None where an optional input is absent."""
    return values[name] if name in values else graph[name].data if name else None
