"""The same values under another shape. It moves nothing, so it takes no record."""

from .operator import Operator, Tflite


def read(file, entry):
    x, y = file.x(entry), file.activation(entry.outputs[0])
    if x.size != y.size:
        file.refuse(f"turns {list(x.shape)} into {list(y.shape)}", "convert the model again")
    file.same_quantization(entry, x, y)
    return (x.name,), {}


OPERATOR = Operator(
    "reshape",
    tflite=Tflite(
        "RESHAPE", 1, "ReshapeOptions", read=read, argument=lambda graph, op: graph[op.outputs[0]].shape
    ),
    oracle=lambda graph, op, p, xs: xs[0],  # the oracle's loop gives it the output's shape
)
