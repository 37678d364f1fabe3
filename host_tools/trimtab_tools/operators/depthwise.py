"""A depthwise convolution: an input channel makes `multiplier` outputs of its own.

Weights are (1, height, width, outputs); output channel * multiplier + m reads that channel.
"""

import numpy as np

from . import dilated
from .exact import windows
from .operator import Contribution, Operator, Tflite, product
from .weighted import (
    CONVOLUTION,
    OUTPUTS,
    bias,
    forward_values,
    gradient_values,
    params,
    twice_rounded,
    update,
    update_bias,
)
from .weighted import write as write_convolution


def read(file, entry):
    x = file.x(entry, 4)
    inputs, w, _ = file.weights(entry, 4, 3, x)
    if w.shape[0] != 1 or w.shape[3] % x.shape[3]:
        file.refuse(
            f"has weights of shape {list(w.shape)} for {x.shape[3]} channels", "convert the model again"
        )
    if dilated.holes(entry, w):
        return dilated.read(file, entry, "depthwise", x, inputs)
    attrs, size = file.window(entry, x, w.shape[1:3])
    file.y(entry, (1, *size, w.shape[3]))
    return inputs, attrs


def write(file, op):
    multiplier = file.graph[op.inputs[1]].shape[3] // file.graph[op.inputs[0]].shape[3]
    return {**write_convolution(file, op), "DepthMultiplier": multiplier}


def oracle(graph, op, p, xs):
    w = graph[op.inputs[1]].data.astype(np.int64)
    x = xs[0].astype(np.int64) - p["x_zero"]
    x = np.repeat(x, w.shape[3] // x.shape[3], axis=3)
    acc = bias(graph, op)
    for ky, kx, view in windows(x, w.shape[1:3], op.attrs["stride"], op.attrs["pad"], 0):
        acc = acc + view * w[0, ky, kx]
    return twice_rounded(acc, p)


def forward(lower, op, **changes):
    values = forward_values(lower, op, params(lower.graph, op))
    lower.emit("depthwise_fwd", {**values, "plane": None, **changes}, op.name)


def gradient(lower, op, index):
    multiplier = lower.graph[op.outputs[0]].shape[-1] // lower.graph[op.inputs[0]].shape[-1]
    return Contribution("depthwise_dx", {**gradient_values(lower, op, multiplier), "plane": None})


OPERATOR = Operator(
    "depthwise",
    attributes=("stride", "pad", "act"),  # stride (h, w); pad (top, left, bottom, right)
    channel_axis=3,
    tflite=Tflite("DEPTHWISE_CONV_2D", 3, "DepthwiseConv2DOptions", CONVOLUTION, read, write),
    params=params,
    oracle=oracle,
    forward=forward,
    gradient=gradient,
    update=update("depthwise_dw"),
    update_bias=update_bias,
    masks=True,
    macs={
        "depthwise_fwd": lambda v: product(v, OUTPUTS),
        "depthwise_dx": lambda v: product(v, OUTPUTS),
        "depthwise_dw": lambda v: product(v, ("oh", "ow", "kh", "kw", "nk")),
    },
    paper="conv",
)
