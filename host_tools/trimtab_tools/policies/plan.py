"""What is trained, as data: a TrainPlan with an Update for each layer, by the model's name for it."""

from dataclasses import dataclass, field

import numpy as np

from ..errors import ModelError
from ..graph.ir import Graph, Op
from ..operators.registry import WEIGHTED
from .hook import Hook
from .policy import Request

AXIS = {"conv": "in", "dense": "in", "depthwise": "out"}  # the channels that a partial update chooses among
DEFAULT_RATE = 1e-3


@dataclass(frozen=True)
class Update:
    """What moves in a layer."""

    layer: str
    bias: bool = True
    channels: tuple = ()  # indices of the weight channels that move, sorted
    axis: str = "in"


@dataclass(frozen=True, eq=False)
class Head:
    """The classifier that is trained in 16 bits: real weights W / 4096, biases b / 65536.

    Of kind "prototype" it has a mean direction for each class instead, in 1 / 16384; logits are cosines.
    """

    features: str  # tensor it reads
    classes: int
    weights: np.ndarray  # int16 (classes, features)
    bias: np.ndarray  # int32 (classes,)
    kind: str = "dense"


@dataclass(frozen=True)
class TrainPlan:
    policy: str = "none"
    updates: tuple = ()
    loss: str = "none"  # none, softmax, mse
    head: Head | None = None  # for softmax
    rate: float = DEFAULT_RATE
    accumulate: int = 1
    residual: int = 8
    labels: tuple = field(default=())
    spare: int = 0  # rows of the head for classes that are added on the board
    keep: int = 0  # of each sum, in 1/256, for later updates: momentum
    hook: Hook = Hook()

    @property
    def sums(self) -> bool:
        """Do updates add up in planes of their own before they move anything?"""
        return self.accumulate > 1 or self.keep > 0

    def of(self, layer: str) -> Update | None:
        """The update of a layer."""
        return next((u for u in self.updates if u.layer == layer), None)


# -- what policies share


def layers(graph: Graph) -> list[Op]:
    """The operators with weights that can train, in order."""
    return [op for op in graph.ops if op.kind in WEIGHTED]


def tail(trunk: Graph, request: Request, count: int) -> list[Op]:
    """The last layers: as many as the request's words say, or else `count`."""
    found, text = layers(trunk), request.words
    if text and not (text.isdigit() and int(text) <= len(found)):
        raise ModelError(f"policy {request}: give {request.name}: a number of layers, 0 to {len(found)}")
    return found[len(found) - int(text or count) :]


def update(trunk: Graph, op: Op, share: "float | list", bias: bool = True) -> Update:
    """An update of a share of the layer's channels, the largest by magnitude, or of the channels listed."""
    strength = channel_strength(trunk[op.inputs[1]].data)
    n = len(strength)
    channels = _listed(op, share, n) if isinstance(share, list) else _strongest(op, share, strength)
    return Update(op.name, bool(bias), tuple(channels), AXIS[op.kind])


def whole(trunk: Graph, op: Op) -> Update:
    """An update of all weights and the bias."""
    return Update(op.name, True, tuple(range(trunk[op.inputs[1]].shape[-1])), AXIS.get(op.kind, "in"))


def channel_strength(w: np.ndarray) -> np.ndarray:
    """L2 norm of each channel's weights: last axis of conv, dense and depthwise layouts alike."""
    return np.sqrt((w.astype(np.float64) ** 2).reshape(-1, w.shape[-1]).sum(0))


def _listed(op, listed, n):
    channels = sorted(set(listed)) if all(type(c) is int for c in listed) else [-1]
    if channels and not 0 <= channels[0] <= channels[-1] < n:
        raise ModelError(f"layer {op.name} has channels 0 to {n - 1}: correct the plan's list")
    return channels


def _strongest(op, share, strength):
    if not (isinstance(share, (int, float)) and 0 <= share <= 1):
        raise ModelError(
            f"layer {op.name}: weight_channels {share} is not a ratio from 0 to 1 or a list of channels"
        )
    count = max(1, int(len(strength) * share)) if share else 0
    return sorted(np.argsort(-strength, kind="stable")[:count].tolist())
