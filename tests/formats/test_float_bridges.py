"""Floats that are only moved between DEQUANTIZE and QUANTIZE become integers, where both round alike."""

import numpy as np
import pytest
from models import f32, run, samples
from trimtab_tools.errors import ModelError
from trimtab_tools.formats.read_tflite import read
from trimtab_tools.formats.tflite_file import SIGNATURE, Row, serialize
from trimtab_tools.graph.ir import Tensor
from trimtab_tools.operators import oracle

SPLIT = Row("SPLIT", 1, ("axis", "real"), ("a", "b"), "SplitOptions", {"NumSplits": 2})
QUANTIZE = Row("QUANTIZE", 1, ("a",), ("y",), "QuantizeOptions")


def file(*middle, y_scale=0.031):
    """x to floats, what stands in the middle, and y."""
    tensors = {
        "x": Tensor("x", (1, 4, 6), "int8", f32([0.05]), 7),
        "y": Tensor("y", (1, 4, 3), "int8", f32([y_scale]), -9),
        "axis": Tensor("axis", (), "int32", data=np.array(2, np.int32)),
        "real": Tensor("real", (1, 4, 6), "float32"),
        **{name: Tensor(name, (1, 4, 3), "float32") for name in "abc"},
    }
    rows = [Row("DEQUANTIZE", 2, ("x",), ("real",), "DequantizeOptions"), *middle]
    return serialize({n: (t, 0) for n, t in tensors.items()}, rows, "x", "y", "main", SIGNATURE)


def test_a_split_of_floats_is_a_split_of_integers():
    data = file(SPLIT, QUANTIZE)
    graph = read(data)
    assert [op.kind for op in graph.ops] == ["reshape", "slice", "requantize"]
    assert [graph[op.outputs[0]].index is None for op in graph.ops] == [True, True, False]
    x = samples(graph, 20)
    y = graph.outputs[0]
    assert np.array_equal(oracle.forward(graph, x)[y], run(data, x)[graph[y].index])


def test_floats_that_are_computed_with_are_refused():
    negated = Row("NEG", 1, ("a",), ("c",))
    with pytest.raises(ModelError, match="turns to float in the middle"):
        read(file(SPLIT, negated, Row("QUANTIZE", 1, ("c",), ("y",), "QuantizeOptions")))


def test_where_floats_round_otherwise_they_are_refused():
    """Halves: floats go away from zero, a change of scale goes up."""
    with pytest.raises(ModelError, match="turns to float in the middle"):
        read(file(SPLIT, QUANTIZE, y_scale=0.1))
