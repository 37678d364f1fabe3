"""Policy sparse: a sparse update, a published one by its name or one that is written out (schemes.py)."""

from ..errors import ModelError
from ..graph.ir import Graph
from . import schemes
from .plan import layers, update
from .policy import Choice, Policy, Request


def choose(trunk: Graph, request: Request) -> Choice:
    convs = layers(trunk)
    if not request.words:
        raise ModelError(
            "policy sparse needs a scheme: give --scheme BIASES:LAYER=SHARE,... or one of "
            + ", ".join(schemes.SCHEMES)
        )
    shares = schemes.find(request.words, [trunk[op.inputs[1]].size for op in convs])
    return Choice(trunk, tuple(update(trunk, convs[i], share) for i, share in sorted(shares.items())))


POLICY = Policy(
    "sparse",
    "sparse[:SCHEME]",
    "A published sparse update: biases of the last layers, and of some the weights of the input channels "
    "of largest magnitude. The layers were chosen by how much each alone gains for its bytes.",
    choose,
)
