"""Policy full: every weight and every bias."""

from ..graph.ir import Graph
from .plan import layers, whole
from .policy import Choice, Policy, Request


def choose(trunk: Graph, request: Request) -> Choice:
    return Choice(trunk, tuple(whole(trunk, op) for op in layers(trunk)))


POLICY = Policy(
    "full",
    "full",
    "Every weight and bias is trained, and every layer's input is kept for it.",
    choose,
)
