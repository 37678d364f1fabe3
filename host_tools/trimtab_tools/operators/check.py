"""The checker that runs between passes over a graph."""

from ..errors import ModelError
from ..graph.ir import Graph
from ..graph.rounding import CLAMPS
from .registry import OPERATORS


def check(graph: Graph) -> Graph:
    """Refuse a graph that later passes could not rely on; return it unchanged."""
    known = set(graph.inputs) | {n for n, t in graph.tensors.items() if t.constant}
    for op in graph.ops:
        if op.kind not in OPERATORS:
            raise ModelError(f"layer {op.name}: operator {op.kind} is not supported")
        _check_attributes(op)
        for name in op.inputs:
            if name and name not in known:
                raise ModelError(f"layer {op.name}: reads {name} before it is written")
        for name in (*op.inputs[: OPERATORS[op.kind].activations], *op.outputs):
            _check_activation(op, graph[name])
        for name in op.outputs:
            if name in known:
                raise ModelError(f"layer {op.name}: writes {name} a second time")
            known.add(name)
    for name in graph.outputs:
        if name not in known:
            raise ModelError(f"output {name} is never written")
    return graph


def _check_attributes(op):
    for attr in OPERATORS[op.kind].attributes:
        if attr not in op.attrs:
            raise ModelError(f"layer {op.name}: {op.kind} lacks the attribute {attr}")
    if op.attrs.get("act", "none") not in CLAMPS:
        raise ModelError(f"layer {op.name}: activation {op.attrs['act']} is not supported")


def _check_activation(op, t):
    if t.dtype != "int8" or t.scale is None or len(t.scale) != 1:
        raise ModelError(f"layer {op.name}: tensor {t.name} must be int8 with one scale")
    if not -128 <= t.zero_point <= 127 or not t.scale[0] > 0:
        raise ModelError(f"layer {op.name}: tensor {t.name} has an impossible quantization")
