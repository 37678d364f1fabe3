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

from ..errors import ModelError
from ..graph import blocks
from ..graph.ir import Graph
from ..operators.registry import WEIGHTED
from .plan import layers, whole
from .policy import Choice, Policy, Request

BLOCKS = 3  # of `mobiletl` alone
ACTIVATIONS = ("relu", "relu6", "hard_swish")


def choose(trunk: Graph, request: Request) -> Choice:
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


def mark(trunk: Graph, first: int, projects: set[str]) -> Choice:
    """Mark all operators from the first one on for operators/mobiletl.py. The layers `projects` get gains."""
    behind = trunk.ops[first:]
    updates = tuple(whole(trunk, op) for op in layers(trunk) if op in behind)
    marked = [replace(op, attrs={**op.attrs, **_marks(trunk, op, projects)}) for op in behind]
    return Choice(replace(trunk, ops=(*trunk.ops[:first], *marked)), updates)


def _marks(graph, op, projects):
    """How an operator differs: operators/mobiletl.py says what `slope` means."""
    if op.kind in ACTIVATIONS:
        return {"slope": "bit"}
    if op.kind not in WEIGHTED:
        return {}
    y = op.outputs[0]
    kinds = {reader.kind for reader in graph.consumers(y)}
    bare = kinds and kinds <= set(ACTIVATIONS) and y not in graph.outputs and graph[y].zero_point > -128
    fused = op.attrs["act"]
    slope = "open" if fused in ACTIVATIONS else "bare" if bare and fused == "none" else "layer"
    return {"slope": slope, "gain": True} if op.name in projects else {"slope": slope}


POLICY = Policy(
    "mobiletl",
    "mobiletl[:BLOCKS]",
    "The weights and biases of the last blocks are trained, with a gain for each channel that leaves a "
    "block. Backward takes activations for steps, so each keeps one bit of its input.",
    choose,
)
