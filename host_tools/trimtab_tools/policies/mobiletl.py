"""Policy mobiletl: the last inverted residual blocks, after MobileTL (AAAI 2023).

Note: the authors of MobileTL have mentioned a patent filing and published no code. What follows is written
from the paper alone and is optional: only the policy `mobiletl` reads this file, and all others work
without.

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
from ..graph.program import Buffer
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
from .plan import AXIS, TRAINABLE, Update, layers

BLOCKS = 3  # of `mobiletl` alone
STEPS = ("relu", "relu6", "hard_swish")
ONE = 1 << 30  # a gain is 1 + d / ONE


def mark(trunk, policy):
    """(the trunk with the operators whose backward is another one marked, updates)."""
    found = blocks.find(trunk)
    _, _, count = policy.partition(":")
    if not found:
        raise ModelError(
            "policy mobiletl needs depthwise layers with 1x1 convs behind them: use bias, sparse or last"
        )
    if count and not (count.isdigit() and 1 <= int(count) <= len(found)):
        raise ModelError(f"policy {policy}: give mobiletl: a number of blocks, 1 to {len(found)}")
    chosen = found[-(int(count or BLOCKS)) :]
    first = trunk.ops.index(next(op for op in trunk.ops if op.name == chosen[0].layers[0].name))
    behind = trunk.ops[first:]  # the blocks, what stands between them, what stands behind them
    projects = {block.project.name for block in chosen}
    updates = [
        Update(op.name, True, tuple(range(trunk[op.inputs[1]].shape[-1])), AXIS[op.kind])
        for op in layers(trunk)
        if op in behind
    ]
    marked = [replace(op, attrs={**op.attrs, **_marks(trunk, op, projects)}) for op in behind]
    return replace(trunk, ops=(*trunk.ops[:first], *marked)), updates


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


# -- layers: a gain before the sums are scaled, a mask without an upper end behind them


def _forward(lower, op):
    changes = _gained(lower, op) if op.name in lower.gains else {}
    if op.attrs["step"] == "bare":  # what is clamped below is below zero, too: the step behind hides it
        changes["mask"] = None
    conv_forward(lower, op, **changes)
    mask, y = lower.mask(op.outputs[0]), lower.activation(op.outputs[0])
    if op.attrs["step"] == "open" and mask:
        lower.emit(
            "mobiletl_mask", dict(mask=mask, y=y, n=y.size, hi=params(lower.graph, op)["act_max"]), op.name
        )


def _gained(lower, op):
    """The multipliers of this sample. Those of errors have 14 bits: a gain of 3/2 must fit 16 with their sign."""
    p, gain = params(lower.graph, op), lower.gains[op.name]
    n = gain.size // 4
    sx, sw, sy = scales(lower.graph, op)
    m, _ = factors(sx * sw / sy)
    lower.gained[op.name] = Buffer("factors of errors", 2 * n)
    made = dict(mult=Buffer("multipliers", 4 * n), shift=Buffer("shifts", n))
    lower.emit(
        "mobiletl_gain",
        dict(
            mult_out=made["mult"],
            shift_out=made["shift"],
            m_out=lower.gained[op.name],
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
    if op.name in lower.gained:
        c.values.update(m=lower.gained[op.name], m_exp=c.values["m_exp"] + 1)
    return c


def _update(lower, op):
    conv_update(lower, op)
    if op.name not in lower.gains:
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
            gain=lower.gains[op.name],
            acc=lower.gain_accs.get(op.name),
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
    "open": Row(_forward, _gradient, _update, bias_update, masks=True),
    "bare": Row(_forward, _gradient, _update, bias_update),
    "layer": Row(_forward, _gradient, _update, bias_update, masks=True),
    "bit": Row(_step_forward, rescale_gradient, masks=True),
}
