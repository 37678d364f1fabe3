"""What pad and concat share: an input is copied to a place in a larger output."""

from collections.abc import Callable

from ..graph.geometry import image
from ..graph.ir import Graph, Op
from .operator import Contribution, Gradient, Lowering


def copy(lower: Lowering, op: Op, index: int, place: dict, fill: int) -> None:
    """The record that copies one input to (top, left, first channel); a fill of 256 leaves the rest alone."""
    values = dict(
        y=lower.activation(op.outputs[0]),
        x=lower.activation(op.inputs[index]),
        **_sizes(lower, op, index),
        fill=fill,
        **place,
    )
    lower.emit("copy_fwd", values, op.name)


def gradient(place: Callable[[Graph, Op, int], dict]) -> Gradient:
    """The rule of an operator whose inputs lie at place(graph, op, index): that part of gy, unscaled."""

    def rule(lower, op, index):
        sizes = _sizes(lower, op, index)
        values = dict(row=lower.scratch(4 * sizes["ic"]), **sizes, m=128, m_exp=-7)
        return Contribution("scale_dx", {**values, **place(lower.graph, op, index)})

    return rule


def _sizes(lower, op, index):
    (ih, iw, ic), (yh, yw, yc) = (image(lower.graph[n].shape) for n in (op.inputs[index], op.outputs[0]))
    return dict(ih=ih, iw=iw, ic=ic, yh=yh, yw=yw, yc=yc)
