"""The largest value over some axes: a max pool whose window is all of them."""

from . import mean
from .operator import Tflite


def read(file, entry):
    x, axes, y = mean.reduction(file, entry, file.x(entry))
    file.same_quantization(entry, x, y)
    h, w, c = mean.sizes(x.shape, axes)
    picture = file.reshaped(x, (1, h, w, c))
    attrs = {"kernel": (h, w), "stride": (1, 1), "pad": (0, 0, 0, 0), "act": "none"}
    top = file.between("max_pool", picture, (1, 1, 1, c), **attrs)
    file.node("reshape", (top.name,), y)


SPELLING = Tflite("REDUCE_MAX", 2, "ReducerOptions", ("KeepDims",), read)
