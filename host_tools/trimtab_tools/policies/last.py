"""Policy last: the head alone, or the head and all of the last K layers."""

from ..graph.ir import Graph
from .plan import tail, whole
from .policy import Choice, Policy, Request


def choose(trunk: Graph, request: Request) -> Choice:
    return Choice(trunk, tuple(whole(trunk, op) for op in tail(trunk, request, 0)))


POLICY = Policy(
    "last",
    "last[:K]",
    "Only the 16-bit head is trained; everything before it stays as the model brought it.",
    choose,
)
