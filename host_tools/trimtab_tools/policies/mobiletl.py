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

from ..errors import ModelError
from ..graph import blocks
from .plan import AXIS, TRAINABLE, Update, layers

BLOCKS = 3  # of `mobiletl` alone
STEPS = ("relu", "relu6", "hard_swish")


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
    """How an operator differs: operators/mobiletl.py has what `step` means."""
    if op.kind in STEPS:
        return {"step": "bit"}
    if op.kind not in TRAINABLE:
        return {}
    y = op.outputs[0]
    kinds = {reader.kind for reader in graph.consumers(y)}
    bare = kinds and kinds <= set(STEPS) and y not in graph.outputs and graph[y].zero_point > -128
    step = "open" if op.attrs["act"] in STEPS else "bare" if bare and op.attrs["act"] == "none" else "layer"
    return {"step": step, "gain": True} if op.name in projects else {"step": step}
