"""The trained state: what lies in it, in which order, and the clock that counts its steps.

A board saves the state in this order: planes and residuals of all layers, their biases, what operators keep
of their own, the head, exponents, clock and generator, and at last the sums of updates.
"""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from trimtab.format import LABEL_BYTES

from ..graph.program import Record, Slot
from ..graph.rounding import mantissa
from ..operators.operator import Lowering
from ..operators.registry import WEIGHTED, row
from ..policies.head import weight_limit
from ..policies.hook import Weights

COSINE = np.rint(32767 * 0.5 * (1 + np.cos(np.pi * (np.arange(64) + 0.5) / 64)))  # the schedule of rates
SEED = 0x9E3779B9  # of the generator that rounds residuals of few bits
LARGEST_BIAS = 1 << 29  # a bias may grow to twice that before its sums leave 32 bits
NO_EXPONENT = -32000  # no error was measured yet


@dataclass
class State:
    """Where what is trained lies. All time lines of a program share it."""

    weights: dict = field(default_factory=dict)  # layer -> Weights
    biases: dict = field(default_factory=dict)  # layer -> Buffer, frozen ones too
    bias_sums: dict = field(default_factory=dict)
    head: dict = field(default_factory=dict)  # field of the head's records -> Buffer
    head_sums: dict = field(default_factory=lambda: dict(acc=None, acc_bias=None))
    exponents: Any = None  # a Buffer, where anything trains
    trackers: list = field(default_factory=list)  # (tensor, part of its error) of each exponent

    def tracker(self, tensor: str, part: int) -> Slot:
        """The place of an exponent that follows one part of a tensor's error."""
        key = tensor, part
        if key not in self.trackers:
            self.trackers.append(key)
        return self.exponents.at(2 * self.trackers.index(key))


def lay_out(lower: Lowering) -> None:
    """Keep all that is trained, in the order in which it is saved."""
    layers = [op for op in lower.operators if op.kind in WEIGHTED]
    for op in layers:
        lower.state.weights[op.name] = _weights(lower, op)
    for op in layers:
        lower.state.biases[op.name] = _bias(lower, op)
    for op in lower.operators:
        keep = row(op).state
        if keep:
            keep(lower, op)
    if lower.plan.head:
        _head(lower)
    trains = lower.plan.loss != "none"
    if trains:
        lower.state.exponents = lower.program.keep("exponents", [], np.int16, role="exponents")
    lower.program.clock = lower.program.keep("clock", [0, 0], np.uint32, role="clock")
    lower.program.rng = lower.program.keep("generator", [SEED * trains], np.uint32, role="generator")
    if lower.plan.sums:
        _sums(lower, layers)


def _weights(lower, op):
    update, tensor = lower.plan.of(op.name), op.inputs[1]
    w, where = lower.graph[tensor].data, lower.program.where
    if not update or not update.channels:
        where[tensor] = lower.const(w, np.int8)
        return Weights(dict(w=where[tensor], k=None, kept=None))
    kept = list(update.channels)
    whole = len(kept) == w.shape[-1]
    if not whole:
        frozen = w.copy()
        frozen[..., kept] = 0
        where[tensor] = lower.const(frozen, np.int8)
    about = dict(layer=op.name, tensor=tensor, role="weights", channels=kept, axis=update.axis)
    plane = lower.program.keep(f"{op.name}.weights", w[..., kept], np.int8, **about)
    residual = lower.residual_of(plane, f"{op.name}.residual", op.name)
    channels = None if whole else lower.const(kept, np.uint16)
    return Weights(dict(w=where.get(tensor), k=plane, kept=channels), len(kept), residual)


def _bias(lower, op):
    update, tensor = lower.plan.of(op.name), op.inputs[2]
    b = lower.graph[tensor].data
    if not (update and update.bias):
        lower.program.where[tensor] = lower.const(b, np.int32)
        return lower.program.where[tensor]
    held = np.clip(b.astype(np.int64), -LARGEST_BIAS, LARGEST_BIAS)
    return lower.program.keep(f"{op.name}.bias", held, np.int32, layer=op.name, tensor=tensor, role="bias")


def _head(lower):
    p, plan = lower.program, lower.plan
    lower.state.head = HEADS[plan.head.kind](p, plan.head)
    p.head_bias = lower.state.head.get("bias") or lower.state.head["counts"]
    if plan.spare:
        p.names = p.keep("head.names", np.zeros(LABEL_BYTES * plan.spare), np.int8, role="names")


def _dense(p, head):
    return dict(
        w=p.keep("head.weights", head.weights, np.int16, role="head weights"),
        bias=p.keep("head.bias", head.bias, np.int32, role="head bias"),
    )


def _prototypes(p, head):
    n, f = head.weights.shape
    return dict(
        protos=p.keep("head.prototypes", np.zeros(n * f), np.int16, role="head prototypes"),
        totals=p.keep("head.totals", np.zeros(n * f), np.int32, role="head totals"),
        counts=p.keep("head.counts", np.zeros(n), np.int32, role="head counts"),
    )


HEADS = {"dense": _dense, "prototype": _prototypes}


# -- sums: updates of several samples, or those that go on by momentum


def _sums(lower, layers):
    """A sum beside each thing that is trained, and the records that fold it in. Layers come first."""
    fold = lower.program.phases["fold"]
    for op in layers:
        fold += _layer_sums(lower, op)
    for op in (op for op in lower.operators if op not in layers):
        fold += _own_sums(lower, op)
    if lower.plan.head and lower.plan.head.kind == "dense":
        fold.append(_head_sums(lower))


def _layer_sums(lower, op):
    state, plan, weights = lower.state, lower.plan, lower.state.weights[op.name]
    if weights.nk:
        plane = weights.fields["k"]
        weights.acc = lower.sum_of(f"{op.name}.weights", plane.size, np.int16, op.name)
        values = dict(k=plane, r=weights.residual, acc=weights.acc, n=plane.size, residual=plan.residual)
        yield Record("fold_weights", dict(values, keep=plan.keep), op.name)
    update = plan.of(op.name)
    if update and update.bias:
        bias = state.biases[op.name]
        n = bias.size // 4
        state.bias_sums[op.name] = acc = lower.sum_of(f"{op.name}.bias", n, np.int32, op.name)
        yield Record("fold_bias", dict(bias=bias, acc=acc, n=n, keep=plan.keep), op.name)
    yield from _own_sums(lower, op)


def _own_sums(lower, op):
    return row(op).sums(lower, op) if row(op).sums else ()


def _head_sums(lower):
    head, plan = lower.plan.head, lower.plan
    n, f = head.weights.shape
    lower.state.head_sums = dict(
        acc=lower.sum_of("head.weights", n * f, np.int16, "head"),
        acc_bias=lower.sum_of("head.bias", n, np.int32, "head"),
    )
    about = dict(n=n, f=f, limit=weight_limit(f), keep=plan.keep)
    return Record("fold_head", {**lower.state.head, **lower.state.head_sums, **about}, "head")


# -- clock and exponents, once all records are there


def finish(lower: Lowering) -> None:
    """Count steps, follow the schedule of rates, give each tracker its exponent."""
    if any("lr" in record.values for _, record in lower.program.timeline()):
        _begin_step(lower)  # prototypes alone learn without a rate
    lower.emit("end_step", dict(clock=lower.program.clock), "clock", phase="end")


def _begin_step(lower):
    rate = lower.plan.rate / lower.plan.accumulate
    if lower.plan.residual == 0 and not lower.plan.sums:
        rate /= 2  # without residuals each step is rounded to int8: half the rate costs least accuracy
    m, e = mantissa(rate, 8)
    values = dict(lr=lower.lr, clock=lower.program.clock, cosine=lower.const(COSINE, np.int16))
    lower.emit("begin_step", dict(values, rate=m, rate_shift=-e), "clock", phase="begin")


def fill_exponents(lower: Lowering) -> None:
    """Only now is it known how many errors there are."""
    names, exponents = [name for name, _ in lower.state.trackers], lower.state.exponents
    exponents.size = 2 * len(names)
    exponents.data = np.full(len(names), NO_EXPONENT, "<i2").tobytes()
    about = next(about for about in lower.program.trained if about["role"] == "exponents")
    about.update(bytes=exponents.size, tensors=names)
