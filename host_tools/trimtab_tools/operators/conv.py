"""A convolution: every output channel reads all input channels. Weights (output, height, width, input)."""

import numpy as np

from . import dilated, grouped
from .exact import matmul, windows
from .operator import Contribution, Operator, Tflite
from .weighted import (
    CONV_MACS,
    CONVOLUTION,
    bias,
    forward_values,
    gradient_values,
    params,
    twice_rounded,
    update,
    update_bias,
    write,
)


def read(file, entry):
    x = file.x(entry, 4)
    inputs, w, _ = file.weights(entry, 4, 0, x)
    if w.shape[3] != x.shape[3]:
        return grouped.read(file, entry, x, inputs)
    if dilated.holes(entry, w):
        return dilated.read(file, entry, "conv", x, inputs)
    attrs, size = file.window(entry, x, w.shape[1:3])
    file.y(entry, (1, *size, w.shape[0]))
    return inputs, attrs


def oracle(graph, op, p, xs):
    w = graph[op.inputs[1]].data
    x = xs[0].astype(np.int64) - p["x_zero"]
    acc = bias(graph, op)
    for ky, kx, view in windows(x, w.shape[1:3], op.attrs["stride"], op.attrs["pad"], 0):
        acc = acc + matmul(view, w[:, ky, kx, :].T)
    return twice_rounded(acc, p)


def forward(lower, op, **changes):
    values = forward_values(lower, op, params(lower.graph, op))
    lower.emit("conv_fwd", {**values, "once": 0, **changes}, op.name)


def gradient(lower, op, index):
    values = gradient_values(lower, op, lower.graph[op.outputs[0]].shape[-1])
    return Contribution("conv_dx", {**values, "row": lower.scratch(4 * values["ic"])})


OPERATOR = Operator(
    "conv",
    attributes=("stride", "pad", "act"),  # stride (h, w); pad (top, left, bottom, right)
    tflite=Tflite("CONV_2D", 3, "Conv2DOptions", CONVOLUTION, read, write),
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
