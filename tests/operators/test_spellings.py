"""Operators of files that a graph says with others: the same numbers, and a file that means the same."""

from dataclasses import dataclass

import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter, OpResolverType
from models import f32, samples
from trimtab_tools.formats.read_tflite import read
from trimtab_tools.formats.tflite_file import SIGNATURE, Row, serialize
from trimtab_tools.formats.write_tflite import write
from trimtab_tools.graph.ir import Tensor
from trimtab_tools.operators import oracle
from trimtab_tools.operators.registry import form

SCALE, ZERO = 0.05, 7


@dataclass
class Case:
    """A file with one operator between its input and its output."""

    shape: tuple
    out: tuple
    code: str
    options: str = ""
    fields: dict = None
    arguments: tuple = ()  # constants behind the input: int32

    def file(self):
        def activation(name, shape):
            return Tensor(name, (1, *shape), "int8", f32([SCALE]), ZERO)

        tensors = {"x": activation("x", self.shape), "y": activation("y", self.out)}
        for i, values in enumerate(self.arguments):
            data = np.array(values, np.int32)
            tensors[f"argument{i}"] = Tensor(f"argument{i}", data.shape, "int32", data=data)
        inputs = tuple(name for name in tensors if name != "y")
        row = Row(self.code, form(self.code).version, inputs, ("y",), self.options, self.fields or {})
        return serialize({n: (t, 0) for n, t in tensors.items()}, [row], "x", "y", "main", SIGNATURE)


def reduced(shape, out, axes, keep):
    return Case(shape, out, "REDUCE_MAX", "ReducerOptions", {"KeepDims": keep}, (axes,))


CASES = {
    "expand_dims": Case((5, 3), (1, 5, 3), "EXPAND_DIMS", "ExpandDimsOptions", {}, (1,)),
    "squeeze": Case((1, 5, 3), (5, 3), "SQUEEZE", "SqueezeOptions"),
    "squeeze_all": Case((1, 1, 3), (3,), "SQUEEZE", "SqueezeOptions"),
    "global_max": reduced((6, 5, 3), (3,), (1, 2), False),
    "global_max_kept": reduced((6, 5, 3), (1, 1, 3), (-3, 2), True),
    "max_over_time": reduced((9, 3), (3,), (1,), False),
    "max_of_rows": reduced((6, 5, 3), (5, 3), (1,), False),
    "max_of_all": reduced((6, 5, 3), (1, 1, 1), (1, 2, 3), True),
}


def outputs(data, x):
    """What TensorFlow Lite's reference kernels give for each sample, flat: a squeeze may drop the batch."""
    interpreter = Interpreter(model_content=data, experimental_op_resolver_type=OpResolverType.BUILTIN_REF)
    interpreter.allocate_tensors()
    found = []
    for sample in x:
        interpreter.set_tensor(interpreter.get_input_details()[0]["index"], sample[None])
        interpreter.invoke()
        found.append(interpreter.get_tensor(interpreter.get_output_details()[0]["index"]).ravel())
    return np.stack(found)


@pytest.mark.parametrize("name", CASES)
def test_it_is_bit_exact(name):
    data = CASES[name].file()
    graph = read(data)
    x = samples(graph, 12)
    theirs = outputs(data, x)
    assert np.array_equal(oracle.forward(graph, x)[graph.outputs[0]].reshape(len(x), -1), theirs)
    assert np.array_equal(outputs(write(graph), x), theirs)
