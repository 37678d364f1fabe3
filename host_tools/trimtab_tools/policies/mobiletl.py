"""Policy mobiletl: the last inverted residual blocks, after MobileTL (AAAI 2023).

Note: the authors of MobileTL have mentioned a patent filing and published no code. What follows is written
from the paper alone and is optional: everything else works when this file is deleted.

All weights and biases of the blocks are trained, with a gain for each channel that leaves a block. With
folded norms this is the paper's choice: of the inner norms the shift, of the last one scale and shift. The
forward pass is exact; backward takes ReLU, ReLU6 and hard-swish for a step: an error passes where the input
is at least zero. So hard-swish keeps one bit of its input in place of eight, and errors of saturated
outputs are not lost.
"""

from dataclasses import replace

import numpy as np

from ..errors import ModelError
from ..graph import blocks
from ..graph.program import Buffer, Step
from ..graph.rounding import params
from ..operators.registry import (
    Row,
    bias_update,
    conv_forward,
    conv_gradient,
    conv_update,
    factors,
    lut_forward,
    positions,
    qas,
    rescale_gradient,
    scales,
)
from .plan import TRAINABLE, layers, whole
from .policy import Choice, Policy

BLOCKS = 3  # of `mobiletl` alone
STEPS = ("relu", "relu6", "hard_swish")
ONE = 1 << 30  # a gain is 1 + d / ONE


def choose(trunk, request):
    chosen = _blocks(trunk, request)
    first = next(i for i, op in enumerate(trunk.ops) if op.name == chosen[0].layers[0].name)
    return mark(trunk, first, {block.project.name for block in chosen})


def _blocks(trunk, request):
    """The last blocks: as many as the request says."""
    found, count = blocks.find(trunk), request.words
    if not found:
        raise ModelError(
            "policy mobiletl needs depthwise layers with 1x1 convs behind them: use bias, sparse or last"
        )
    if count and not (count.isdigit() and 1 <= int(count) <= len(found)):
        raise ModelError(f"policy {request}: give mobiletl: a number of blocks, 1 to {len(found)}")
    return found[-(int(count or BLOCKS)) :]


def mark(trunk, first, projects):
    """All operators from the first one on get the rows below; these layers a gain for each channel."""
    behind = trunk.ops[first:]
    updates = tuple(whole(trunk, op) for op in layers(trunk) if op in behind)
    marked = [replace(op, attrs={**op.attrs, **_marks(trunk, op, projects)}) for op in behind]
    return Choice(replace(trunk, ops=(*trunk.ops[:first], *marked)), updates)


def _marks(graph, op, projects):
    """How an operator differs: `step` is a key of ROWS."""
    if op.kind in STEPS:
        return {"step": "bit"}
    if op.kind not in TRAINABLE:
        return {}
    y = op.outputs[0]
    kinds = {reader.kind for reader in graph.consumers(y)}
    bare = kinds and kinds <= set(STEPS) and y not in graph.outputs and graph[y].zero_point > -128
    step = "open" if op.attrs["act"] in STEPS else "bare" if bare and op.attrs["act"] == "none" else "layer"
    return {"step": step, "gain": True} if op.name in projects else {"step": step}


# -- a gain for each channel that leaves a block


def _state(lower, op):
    if op.attrs.get("gain"):
        channels = len(lower.graph[op.inputs[2]].data)
        about = dict(layer=op.name, role="gain", scales=op.inputs[1])
        gain = lower.program.keep(f"{op.name}.gain", np.zeros(channels), np.int32, **about)
        lower.own[op.name]["gain"] = gain


def _sums(lower, op):
    """The record that folds what samples added up."""
    own = lower.own[op.name]
    if "gain" in own:
        n = own["gain"].size // 4
        own["sum"] = lower.sum_of(f"{op.name}.gain", n, np.int32, op.name)
        values = dict(bias=own["gain"], acc=own["sum"], n=n, keep=lower.plan.keep)
        yield Step("fold_bias", values, op.name)


# -- layers: a gain before the sums are scaled, a mask without an upper end behind them


def _forward(lower, op):
    changes = _gained(lower, op) if "gain" in lower.own[op.name] else {}
    if op.attrs["step"] == "bare":  # what is clamped below is below zero, too: the step behind hides it
        changes["mask"] = None
    conv_forward(lower, op, **changes)
    mask, y = lower.mask(op.outputs[0]), lower.activation(op.outputs[0])
    if op.attrs["step"] == "open" and mask:
        lower.emit(
            "mobiletl_mask", dict(mask=mask, y=y, n=y.size, hi=params(lower.graph, op)["act_max"]), op.name
        )


def _gained(lower, op):
    """The multipliers of this sample.

    Those of errors have 14 bits: a gain of 3/2 must fit 16 with their sign.
    """
    p, own = params(lower.graph, op), lower.own[op.name]
    gain = own["gain"]
    n = gain.size // 4
    sx, sw, sy = scales(lower.graph, op)
    m, _ = factors(sx * sw / sy)
    own["factors"] = Buffer("factors of errors", 2 * n)
    made = dict(mult=Buffer("multipliers", 4 * n), shift=Buffer("shifts", n))
    lower.emit(
        "mobiletl_gain",
        dict(
            mult_out=made["mult"],
            shift_out=made["shift"],
            m_out=own["factors"],
            mult=lower.const(p["multiplier"], np.int32),
            shift=lower.const(p["shift"], np.int8),
            m=lower.const((m.astype(int) + 1) >> 1, np.int16),
            gain=gain,
            oc=n,
        ),
        op.name,
    )
    return made


def _gradient(lower, op, index):
    c = conv_gradient(lower, op, index)
    factors = lower.own[op.name].get("factors")
    if factors:
        c.values.update(m=factors, m_exp=c.values["m_exp"] + 1)
    return c


def _update(lower, op):
    conv_update(lower, op)
    own = lower.own[op.name]
    if "gain" not in own:
        return
    geometry, n = positions(lower, op)
    gy, exp = lower.error(op.outputs[0])
    _, sw, _ = scales(lower.graph, op)
    u = qas(np.where(sw >= np.median(sw) / 1000, ONE, 0))
    lower.emit(
        "mobiletl_gain_dw",
        dict(
            gy=gy,
            y=lower.activation(op.outputs[0]),
            gy_exp=exp,
            gain=own["gain"],
            acc=own.get("sum"),
            u=lower.const(u, np.uint16),
            lr=lower.lr,
            pre=max(0, (n - 1).bit_length() - 7),
            n=n,
            oc=geometry["oc"],
            zy=lower.graph[op.outputs[0]].zero_point,
        ),
        op.name,
        phase="backward",
    )


# -- activations that are operators of their own: one bit of each input; the error behind it is only rescaled


def _step_forward(lower, op):
    mask, x = lower.mask(op.outputs[0]), lower.graph[op.inputs[0]]
    if not mask:
        return lut_forward(lower, op)
    table = np.roll(params(lower.graph, op)["table"], 128)  # from byte order to x + 128
    lower.emit(
        "mobiletl_fwd",
        dict(
            y=lower.activation(op.outputs[0]),
            x=lower.activation(op.inputs[0]),
            table=lower.const(table, np.int8),
            mask=mask,
            n=x.size,
            zx=x.zero_point,
        ),
        op.name,
    )


ROWS = {
    "open": Row(_forward, _gradient, _update, bias_update, masks=True, state=_state, sums=_sums),
    "bare": Row(_forward, _gradient, _update, bias_update, state=_state, sums=_sums),
    "layer": Row(_forward, _gradient, _update, bias_update, masks=True, state=_state, sums=_sums),
    "bit": Row(_step_forward, rescale_gradient, masks=True),
}


POLICY = Policy(
    "mobiletl",
    "mobiletl[:BLOCKS]",
    "The weights and biases of the last blocks are trained, with a gain for each channel that leaves a "
    "block. Backward takes activations for steps, so each keeps one bit of its input.",
    choose,
)
