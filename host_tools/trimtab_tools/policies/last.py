"""Policy last: the head alone, or the head and all of the last K layers."""

from .plan import tail, whole
from .policy import Choice, Policy


def choose(trunk, request):
    return Choice(trunk, tuple(whole(trunk, op) for op in tail(trunk, request, 0)))


POLICY = Policy(
    "last",
    "last[:K]",
    "Only the 16-bit head is trained; everything before it stays as the model brought it.",
    choose,
)
