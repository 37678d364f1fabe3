"""The same values under another shape. It moves nothing, so it takes no record.

EXPAND_DIMS and SQUEEZE are other spellings of it.
"""

from .operator import Entry, Operator, Reader, Tflite


def read(file, entry):
    x, y = file.x(entry), file.activation(entry.outputs[0], stacked=True)
    if x.size != y.size:
        file.refuse(f"turns {list(x.shape)} into {list(y.shape)}", "convert the model again")
    file.same_quantization(entry, x, y)
    return (x.name,), {}


def read_other(file: Reader, entry: Entry) -> None:
    inputs, _ = read(file, entry)
    file.node("reshape", inputs, file.activation(entry.outputs[0]))


OPERATOR = Operator(
    "reshape",
    tflite=Tflite(
        "RESHAPE", 1, "ReshapeOptions", read=read, arguments=lambda graph, op: (graph[op.outputs[0]].shape,)
    ),
    oracle=lambda graph, op, p, xs: xs[0],  # the oracle's loop gives it the output's shape
)
SPELLINGS = (Tflite("EXPAND_DIMS", 1, read=read_other), Tflite("SQUEEZE", 1, read=read_other))
