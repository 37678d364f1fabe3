"""A dense layer. Weights are (outputs, inputs).

In records it is a 1x1 convolution on a map of one pixel, or of one row where it works on several positions.
"""

import numpy as np

from ..graph.rounding import exact_multiplier
from .exact import matmul, output
from .operator import Contribution, Operator, Tflite
from .weighted import (
    CONV_MACS,
    bias,
    forward_values,
    gradient_values,
    once_rounded,
    output_scales,
    update,
    update_bias,
)

FIELDS = ("FusedActivationFunction", "WeightsFormat", "KeepNumDims")


def read(file, entry):
    x = file.x(entry)
    inputs, w, per_channel = file.weights(entry, 2, 0, x)
    if entry.options["WeightsFormat"]:
        file.refuse("has shuffled weights", "convert the model again, without an accelerator's layout")
    one = x.size == w.shape[1]
    if not one and (x.shape[-1] != w.shape[1] or not entry.options["KeepNumDims"]):
        file.refuse(f"takes {w.shape[1]} numbers of {list(x.shape)}", "flatten its input")
    file.y(entry, (*x.shape[:-1], w.shape[0]) if entry.options["KeepNumDims"] else (1, w.shape[0]))
    return inputs, {"act": file.act(entry), "per_channel": per_channel}


def write(file, op):
    if not op.attrs.get("per_channel"):
        file.one_scale(op)
    return {"FusedActivationFunction": file.act(op), "KeepNumDims": len(file.graph[op.outputs[0]].shape) > 2}


def params(graph, op):
    """The reference multiplies in float64 here; a multiplier made for the range gives the same integers."""
    out, reals = output(graph, op), output_scales(graph, op)
    reach = max(out["act_max"] - out["y_zero"], out["y_zero"] - out["act_min"])
    pairs = {real: exact_multiplier(real, reach) for real in set(reals)}
    m, shift = (np.array(column, np.int32) for column in zip(*(pairs[real] for real in reals)))
    return {"multiplier": m, "shift": shift, "x_zero": graph[op.inputs[0]].zero_point, **out}


def oracle(graph, op, p, xs):
    w = graph[op.inputs[1]].data
    x = xs[0].astype(np.int64).reshape(len(xs[0]), -1, w.shape[1]) - p["x_zero"]
    return once_rounded(matmul(x, w.T) + bias(graph, op), p)


def forward(lower, op, **changes):
    values = forward_values(lower, op, params(lower.graph, op))
    lower.emit("conv_fwd", {**values, "once": 1, **changes}, op.name)


def gradient(lower, op, index):
    values = gradient_values(lower, op, lower.graph[op.outputs[0]].shape[-1])
    return Contribution("conv_dx", {**values, "row": lower.scratch(4 * values["ic"])})


OPERATOR = Operator(
    "dense",
    attributes=("act",),
    tflite=Tflite("FULLY_CONNECTED", 5, "FullyConnectedOptions", FIELDS, read, write),
    params=params,
    oracle=oracle,
    forward=forward,
    gradient=gradient,
    update=update("conv_dw"),
    update_bias=update_bias,
    masks=True,
    macs=CONV_MACS,
    paper="conv",
)
