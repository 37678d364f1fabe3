"""MobileTL (AAAI 2023): backward takes ReLU, ReLU6 and hard-swish for a step, and blocks learn a gain.

Note: the authors of MobileTL have mentioned a patent filing and published no code. What follows is written
from the paper alone and is optional: only the policy `mobiletl` needs this file, and everything else runs
without it.

The policy marks operators with the attribute `slope`, whose value says how they differ:

    open    a layer with such an activation: an error passes wherever the input is at least zero, also where
            the output is clamped from above
    bare    a layer in front of such an activation: it needs no mask, the activation hides what is clamped
    layer   any other layer
    bit     such an activation as an operator of its own: it keeps one bit of each input in place of eight

A layer with the attribute `gain` multiplies each output channel by 1 + d / ONE, where d is trained. With
folded norms these are the parameters that the paper trains: of the last norm of a block scale and shift, of
the others the shift.
"""

from dataclasses import replace
from functools import partial

import numpy as np

from ..graph.program import Buffer, Record
from ..graph.rounding import factors, qas
from . import requantize
from .operator import Operator
from .table import ordered
from .weighted import alive, positions, scales

ATTRIBUTE = "slope"
ONE = 1 << 30


def marked(known: Operator, mark: str) -> Operator:
    """The operator with the rules that the value of the attribute asks for."""
    if mark == "bit":
        return replace(known, forward=partial(_bit_forward, known), gradient=requantize.gradient, masks=True)
    return replace(
        known,
        forward=partial(_forward, known),
        gradient=partial(_gradient, known),
        update=partial(_update, known),
        masks=mark != "bare",
        state=state,
        sums=sums,
        paper_rows=paper_rows,
    )


# -- the gain's state


def state(lower, op):
    if op.attrs.get("gain"):
        start = np.zeros(len(lower.graph[op.inputs[2]].data))
        about = dict(layer=op.name, role="gain", scales=op.inputs[1])
        lower.own[op.name]["gain"] = lower.program.keep(f"{op.name}.gain", start, np.int32, **about)


def sums(lower, op):
    own = lower.own[op.name]
    if "gain" in own:
        n = own["gain"].size // 4
        own["acc"] = lower.program.keep(
            f"{op.name}.gain.sum", np.zeros(n), np.int32, role="sum", layer=op.name
        )
        values = dict(bias=own["gain"], acc=own["acc"], n=n, keep=lower.plan.keep)
        yield Record("fold_bias", values, op.name)


# -- layers: a gain before the sums are scaled, a mask without an upper end behind them


def _forward(known, lower, op):
    changes = _with_gain(known, lower, op) if "gain" in lower.own[op.name] else {}
    if op.attrs[ATTRIBUTE] == "bare":
        changes["mask"] = None
    known.forward(lower, op, **changes)
    mask, y = lower.mask(op.outputs[0]), lower.activation(op.outputs[0])
    if op.attrs[ATTRIBUTE] == "open" and mask:
        high = known.params(lower.graph, op)["act_max"]
        lower.emit("mobiletl_mask", dict(mask=mask, y=y, n=y.size, hi=high), op.name)


def _with_gain(known, lower, op):
    """The multipliers of this sample. Those of errors have 14 bits: with a gain of 3/2 they fit int16."""
    p, own = known.params(lower.graph, op), lower.own[op.name]
    n = own["gain"].size // 4
    sx, sw, sy = scales(lower.graph, op)
    m, _ = factors(sx * sw / sy)
    own["factors"] = Buffer("factors of errors", 2 * n)
    mult, shift = Buffer("multipliers", 4 * n), Buffer("shifts", n)
    values = dict(
        mult_out=mult,
        shift_out=shift,
        m_out=own["factors"],
        mult=lower.const(p["multiplier"], np.int32),
        shift=lower.const(p["shift"], np.int8),
        m=lower.const((m.astype(int) + 1) >> 1, np.int16),
        gain=own["gain"],
        oc=n,
    )
    lower.emit("mobiletl_gain", values, op.name)
    return dict(mult=mult, shift=shift)


def _gradient(known, lower, op, index):
    contribution, own = known.gradient(lower, op, index), lower.own[op.name]
    if "factors" in own:  # they have one bit less
        contribution.values.update(m=own["factors"], m_exp=contribution.values["m_exp"] + 1)
    return contribution


def _update(known, lower, op):
    known.update(lower, op)
    own = lower.own[op.name]
    if "gain" not in own:
        return
    n, (gy, exp) = positions(lower, op), lower.error(op.outputs[0])
    y, (_, sw, _) = lower.graph[op.outputs[0]], scales(lower.graph, op)
    values = dict(
        gy=gy,
        y=lower.activation(op.outputs[0]),
        gy_exp=exp,
        gain=own["gain"],
        acc=own.get("acc"),
        u=lower.const(qas(np.where(alive(sw), ONE, 0)), np.uint16),
        lr=lower.lr,
        pre=max(0, (n - 1).bit_length() - 7),
        n=n,
        oc=y.shape[-1],
        zy=y.zero_point,
    )
    lower.emit("mobiletl_gain_dw", values, op.name, phase="backward")


# -- activations that are operators of their own: the error behind the step is only rescaled


def _bit_forward(known, lower, op):
    mask, x = lower.mask(op.outputs[0]), lower.graph[op.inputs[0]]
    if not mask:
        return known.forward(lower, op)
    values = dict(
        y=lower.activation(op.outputs[0]),
        x=lower.activation(op.inputs[0]),
        table=lower.const(ordered(known.params(lower.graph, op)["table"]), np.int8),
        mask=mask,
        n=x.size,
        zx=x.zero_point,
    )
    lower.emit("mobiletl_fwd", values, op.name)


def paper_rows(graph, op, skip):
    """The papers count a gain as a norm whose shift is the layer's bias."""
    if op.attrs.get("gain"):
        y = graph[op.outputs[0]]
        channels = y.shape[-1]
        yield dict(kind="norm", x=y.size, y=y.size, channels=channels, weights=channels, share=1, learns=True)
