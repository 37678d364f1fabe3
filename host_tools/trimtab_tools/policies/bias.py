"""Policy bias: all biases, or those of the last K layers."""

from ..graph.ir import Graph
from .plan import AXIS, Update, layers, tail
from .policy import Choice, Policy, Request


def choose(trunk: Graph, request: Request) -> Choice:
    behind = tail(trunk, request, len(layers(trunk)))
    return Choice(trunk, tuple(Update(op.name, axis=AXIS[op.kind]) for op in behind))


POLICY = Policy(
    "bias",
    "bias[:K]",
    "All biases and the head are trained: a bias needs one bit for each of its layer's outputs.",
    choose,
)
