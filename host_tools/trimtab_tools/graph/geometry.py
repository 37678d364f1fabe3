"""Sizes: a tensor as height, width and channels; a window that slides over it."""

import math

from .ir import Graph, Op


def image(shape: tuple) -> tuple:
    """Any activation shape as (height, width, channels)."""
    sizes = tuple(shape[1:]) if len(shape) > 1 else tuple(shape)
    return (1,) * (3 - len(sizes)) + sizes if len(sizes) <= 3 else (math.prod(sizes[:-2]), *sizes[-2:])


def same_pad(size: tuple, kernel: tuple, stride: tuple) -> tuple:
    """SAME padding as numbers: size, kernel and stride (h, w) -> (top, left, bottom, right)."""
    totals = [max((-(-n // s) - 1) * s + k - n, 0) for n, k, s in zip(size, kernel, stride)]
    before = [t // 2 for t in totals]
    return (*before, *(t - b for t, b in zip(totals, before)))


def geometry(graph: Graph, op: Op) -> dict:
    """The twelve words that the records of conv, depthwise, dense and pools share."""
    if op.kind == "dense":
        return _dense(graph, op)
    (ih, iw, ic), (oh, ow, oc) = (image(graph[n].shape) for n in (op.inputs[0], op.outputs[0]))
    kh, kw = op.attrs["kernel"] if "kernel" in op.attrs else graph[op.inputs[1]].shape[1:3]
    (sh, sw), (pt, pl, *_) = op.attrs["stride"], op.attrs["pad"]
    return dict(ih=ih, iw=iw, ic=ic, oh=oh, ow=ow, oc=oc, kh=kh, kw=kw, sh=sh, sw=sw, pt=pt, pl=pl)


def _dense(graph, op):
    """A dense layer is a 1x1 convolution over a map that is one row high."""
    n_out, n_in = graph[op.inputs[1]].shape
    rows = graph[op.inputs[0]].size // n_in
    return dict(ih=1, iw=rows, ic=n_in, oh=1, ow=rows, oc=n_out, kh=1, kw=1, sh=1, sw=1, pt=0, pl=0)
