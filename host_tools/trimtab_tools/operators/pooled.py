"""What pools share: a window that slides over each channel, and no change of scale."""

import numpy as np

from ..errors import ModelError
from ..graph.geometry import geometry
from ..graph.ir import Op
from ..graph.rounding import INT8_MAX, INT8_MIN, factors
from .exact import output
from .operator import Contribution, Forward, Lowering, Tflite
from .weighted import WINDOW


def tflite(code: str) -> Tflite:
    """How files hold a pool."""
    return Tflite(code, 2, "Pool2DOptions", (*WINDOW, "FilterHeight", "FilterWidth"), read, write)


def read(file, entry):
    x = file.x(entry, 4)
    kernel = (entry.options["FilterHeight"], entry.options["FilterWidth"])
    attrs, size = file.window(entry, x, kernel)
    file.same_quantization(entry, x, file.y(entry, (1, *size, x.shape[3])))
    return (x.name,), {"kernel": kernel, **attrs}


def write(file, op):
    kernel = op.attrs["kernel"]
    return {**file.window(op, kernel), "FilterHeight": kernel[0], "FilterWidth": kernel[1]}


def params(graph, op):
    return {"x_zero": graph[op.inputs[0]].zero_point, **output(graph, op)}


def forward(kernel: str) -> Forward:
    """The forward rule of a pool with this kernel."""

    def rule(lower, op):
        p = params(lower.graph, op)
        values = dict(
            y=lower.activation(op.outputs[0]),
            x=lower.activation(op.inputs[0]),
            **geometry(lower.graph, op),
            lo=p["act_min"],
            hi=p["act_max"],
        )
        lower.emit(kernel, values, op.name)

    return rule


def need_open(lower: Lowering, op: Op) -> None:
    """Refuse to train below a pool whose own clamp bites: it has no mask.

    Behind a layer with the same activation the clamp never bites.
    """
    p, x = params(lower.graph, op), lower.graph[op.inputs[0]]
    whole_range = (p["act_min"], p["act_max"]) == (INT8_MIN, INT8_MAX)
    if not whole_range and not (x.zero_point == p["act_min"] == INT8_MIN):
        raise ModelError(
            f"layer {op.name}: training below a pool with an activation of its own is not supported: "
            "train later layers"
        )


def mean_gradient(lower: Lowering, op: Op, g: dict, full: bool) -> Contribution:
    """dx of means over windows g: gy times the scales' ratio, over the number of inputs that a window holds.

    Where every window is full, only the last entry of the table counts and gets all 15 bits.
    """
    size = g["kh"] * g["kw"]
    ratio = lower.graph[op.inputs[0]].scale[0] / lower.graph[op.outputs[0]].scale[0]
    m, e = factors([ratio / n for n in ([size] if full else range(1, size + 1))])
    table = lower.const(np.broadcast_to(m, size), np.int16)
    return Contribution("avg_dx", dict(m=table, row=lower.scratch(4 * g["ic"]), **g, m_exp=e))
