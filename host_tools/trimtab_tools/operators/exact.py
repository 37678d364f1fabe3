"""Exact integer arithmetic that several oracles share."""

from collections.abc import Iterator

import numpy as np

from ..graph.ir import Graph, Op, Tensor
from ..graph.rounding import Ints, act_range


def scale(tensor: Tensor) -> float:
    """The scale of an activation as the reference has it: in float32."""
    return float(np.float32(tensor.scale[0]))


def output(graph: Graph, op: Op) -> dict:
    """Zero point and range of the output."""
    y = graph[op.outputs[0]]
    act_min, act_max = act_range(op.attrs.get("act", "none"), y.scale[0], y.zero_point)
    return {"y_zero": y.zero_point, "act_min": act_min, "act_max": act_max}


def finish(acc: np.ndarray, p: dict) -> np.ndarray:
    """From sums in steps of y to its int8 values."""
    return np.clip(acc + p["y_zero"], p["act_min"], p["act_max"])


def matmul(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """a @ b in float64. Exact: every partial sum of int8 products stays far below 2**53."""
    return np.rint(a.astype(np.float64) @ b.astype(np.float64)).astype(np.int64)


def windows(
    x: np.ndarray, kernel: tuple, stride: tuple, pad: tuple, fill: int
) -> Iterator[tuple[int, int, np.ndarray]]:
    """Yield (ky, kx, view) with view (n, oh, ow, c): what each tap of the kernel sees."""
    top, left, bottom, right = pad
    x = np.pad(x, ((0, 0), (top, bottom), (left, right), (0, 0)), constant_values=fill)
    oh = (x.shape[1] - kernel[0]) // stride[0] + 1
    ow = (x.shape[2] - kernel[1]) // stride[1] + 1
    for ky in range(kernel[0]):
        for kx in range(kernel[1]):
            rows = slice(ky, ky + (oh - 1) * stride[0] + 1, stride[0])
            cols = slice(kx, kx + (ow - 1) * stride[1] + 1, stride[1])
            yield ky, kx, x[:, rows, cols, :]


def window_means(x: np.ndarray, kernel: tuple, stride: tuple, pad: tuple) -> np.ndarray:
    """The mean of each window, over what lies inside the map."""
    total = sum(v for _, _, v in windows(x, kernel, stride, pad, 0))
    count = sum(v for _, _, v in windows(np.ones_like(x), kernel, stride, pad, 0))
    return divide(total, count)


def divide(a: Ints, n: Ints) -> Ints:
    """To the nearest integer, ties away from zero."""
    return np.sign(a) * ((np.abs(a) + n // 2) // n)
