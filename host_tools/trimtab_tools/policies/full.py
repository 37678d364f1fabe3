"""Policy full: every weight and every bias."""

from .plan import layers, whole
from .policy import Choice, Policy


def choose(trunk, request):
    return Choice(trunk, tuple(whole(trunk, op) for op in layers(trunk)))


POLICY = Policy(
    "full",
    "full",
    "Every weight and bias is trained, and every layer's input is kept for it.",
    choose,
)
