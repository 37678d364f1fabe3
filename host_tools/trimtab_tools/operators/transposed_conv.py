"""TRANSPOSE_CONV: an ordinary convolution of a map with zeros between its pixels, its kernel turned round."""

from dataclasses import replace

import numpy as np

from .operator import Tflite


def read(file, entry):
    shape, w, x, *bias = entry.inputs
    entry = replace(entry, inputs=[x, w, *bias])
    x, y = file.x(entry, 4), file.activation(entry.outputs[0])
    inputs, w, _ = file.weights(entry, 4, 0, x)
    stride, kernel = (entry.options["StrideH"], entry.options["StrideW"]), w.shape[1:3]
    wanted = tuple(file.constant(shape, "int32").reshape(-1).tolist())[1:]
    if w.shape[3] != x.shape[3] or y.shape[1:] != wanted or wanted[2] != w.shape[0]:
        file.refuse(f"makes {list(wanted)} of {list(x.shape)}", "convert the model again")
    if min(stride) < 1 or any(k < s for k, s in zip(kernel, stride)):
        file.refuse("has strides larger than its kernel", "use a larger kernel")
    x = _padded(file, _spaced(file, x, stride), x.shape, y.shape, kernel, stride)
    turned = np.ascontiguousarray(w.data[:, ::-1, ::-1, :])
    file.tensors[w.name] = replace(w, data=turned)
    attrs = {"stride": (1, 1), "pad": (0, 0, 0, 0), "act": file.act(entry)}
    file.node("conv", (x.name, *inputs[1:]), y, file.layer, **attrs)


def _spaced(file, x, stride):
    """x with stride - 1 zeros behind each column and each row."""
    _, h, w, c = x.shape
    for rows, run, s, shape in (
        (h * w, c, stride[1], (1, h, w * stride[1], c)),
        (h, w * stride[1] * c, stride[0], (1, h * stride[0], w * stride[1], c)),
    ):
        if s > 1:
            pad = ((0, 0), (0, 0), (0, s - 1), (0, 0))
            x = file.between("pad", file.reshaped(x, (1, rows, 1, run)), (1, rows, s, run), pad=pad)
            x = file.reshaped(x, shape)
    return x


def _padded(file, x, before, after, kernel, stride):
    """x with the border that the turned kernel needs: output o sees from o - (kernel - 1) + cut on."""
    pairs = []
    for axis, (k, s) in enumerate(zip(kernel, stride), 1):
        cut = max((before[axis] - 1) * s + k - after[axis], 0) // 2
        pairs.append((k - 1 - cut, after[axis] + cut - before[axis] * s))
    if min(min(pair) for pair in pairs) < 0:
        file.refuse(f"makes {list(after)} of {list(before)}", "use padding same or valid")
    if not any(map(any, pairs)):
        return x
    sizes = [n + sum(pair) for n, pair in zip(x.shape[1:3], pairs)]
    return file.between("pad", x, (1, *sizes, x.shape[3]), pad=((0, 0), *pairs, (0, 0)))


SPELLING = Tflite(
    "TRANSPOSE_CONV",
    3,
    "TransposeConvOptions",
    ("Padding", "StrideH", "StrideW", "FusedActivationFunction"),
    read,
)
