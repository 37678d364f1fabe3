"""Reverse mode at compile time: records for the gradients that a plan needs, and for no others.

A tensor needs an error only if something at or below its producer is trained. Its consumers are visited last
first. Where several meet (skips), their contributions are summed: a contribution that is only a multiple of
gy waits, and the next kernel adds it in passing; others are chained through an int8 partial error.
"""

from dataclasses import dataclass

from ..errors import ModelError
from ..graph.geometry import image
from ..graph.program import Buffer
from ..operators.operator import Lowering
from ..operators.registry import row


@dataclass
class Error:
    """What is known of dL/dtensor while its consumers are visited."""

    waiting: int = 0  # contributions still to come
    partial: tuple | None = None  # (buffer, exponent, m, exponent of m) of a sum that is not written out yet
    buffer: Buffer | None = None
    exp: Buffer | None = None


def wanted(lower: Lowering) -> set[str]:
    """Tensors whose error is wanted."""
    found = set(lower.hook.errors_wanted(lower))
    for op in lower.operators:
        if lower.update_of(op) or any(name in found for _, name in _sources(lower, op)):
            if row(op).gradient is None:
                raise ModelError(
                    f"layer {op.name}: training below a {op.kind} is not supported: train later layers"
                )
            found.add(op.outputs[0])
    return found


def first_error(lower: Lowering, name: str) -> tuple[Buffer, Buffer]:
    """(buffer, exponent) of the error that the loss writes."""
    name = lower.root(name)
    g, exp = Buffer(f"error of {name}", lower.graph[name].size), lower.exponent()
    lower.errors[name] = Error(0, None, g, exp)
    return g, exp


def mask_of(lower: Lowering, name: str) -> Buffer | None:
    """The mask of the clamp that a tensor went through, where its producer keeps one."""
    op = lower.graph.producer(lower.root(name))
    return lower.mask(name) if op is not None and row(op).masks else None


def backward(lower: Lowering) -> None:
    """Errors from the loss down, and updates on the way."""
    reached = _reached(lower)
    for op in reached:
        for _, name in _learned_sources(lower, op):
            lower.errors.setdefault(name, Error()).waiting += 1
    for op in reached:
        _visit(lower, op)


def _visit(lower, op):
    """Bias, errors of the inputs, weights: the weights move after the error below has used them."""
    update = lower.update_of(op)
    if update and update.bias:
        _write(lower, op, row(op).update_bias)
    for index, name in _learned_sources(lower, op):
        _contribute(lower, op, index, name)
    if update and update.channels:
        _write(lower, op, row(op).update)
        lower.hook.after_update(lower, op)


def _write(lower, op, rule):
    lower.trained = lower.hook.trained(lower, op)
    rule(lower, op)
    lower.trained = None


def _sources(lower, op):
    """Indices and names of the activations that an operator reads and sends errors back to."""
    detached = op.attrs.get("detached", ())
    return [
        (i, lower.root(name))
        for i, name in enumerate(op.inputs)
        if name and not lower.graph[name].constant and i not in detached
    ]


def _learned_sources(lower, op):
    return [(i, name) for i, name in _sources(lower, op) if name in lower.learned]


def _reached(lower):
    """Operators that the loss depends on and that have something to learn at or below them, last first."""
    live, found = set(lower.errors), []
    for op in reversed(lower.operators):
        if op.outputs[0] in live and op.outputs[0] in lower.learned:
            found.append(op)
            live.update(name for _, name in _sources(lower, op))
    return found


def _contribute(lower, op, index, name):
    """One consumer's part of a tensor's error. The last one completes it, behind the mask."""
    error, (gy, gy_exp) = lower.errors[name], lower.error(op.outputs[0])
    if error.buffer is not None:
        raise ModelError(
            f"tensor {name} feeds both the loss and layer {op.name}: cut the model before {op.name}"
        )
    error.waiting -= 1
    last = error.waiting == 0
    part = row(op).gradient(lower, op, index)
    if part.kernel is None and not last and error.partial is None:
        error.partial = gy, gy_exp, part.m, part.m_exp
        return
    kernel, values = (part.kernel, part.values) if part.kernel else _scaled(lower, name, part)
    g = Buffer(f"error of {name}" if last else f"part of the error of {name}", lower.graph[name].size)
    exp = lower.exponent()
    values = {**dict(gy=gy, gy_exp=gy_exp), **values, **_added(error.partial), **dict(g=g, exp=exp)}
    mask = mask_of(lower, name) if last else None
    values.update(mask=mask, track=lower.tracker(name), head_exp=lower.head_exp)
    lower.emit(kernel, values, op.name, phase="backward")
    if last:
        error.buffer, error.exp = g, exp
        lower.hook.after_error(lower, name)
    else:
        error.partial = g, exp, 128, -7  # 128 * 2^-7: as it is


def _scaled(lower, name, part):
    """The kernel that writes out a multiple of gy on the same shape."""
    h, w, c = image(lower.graph[name].shape)
    same = dict(ih=h, iw=w, ic=c, yh=h, yw=w, yc=c, top=0, left=0, first=0)
    return "scale_dx", dict(row=lower.scratch(4 * c), **same, m=part.m, m_exp=part.m_exp)


def _added(partial):
    """The fields of what a kernel adds in passing: dx + add * add_mul * 2^add_shift."""
    add, exp, m, m_exp = partial or (None, None, 0, 0)
    return dict(add=add, add_exp=exp, add_mul=m, add_shift=m_exp)
