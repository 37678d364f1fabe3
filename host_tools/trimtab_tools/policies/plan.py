"""What to train: a policy makes a TrainPlan from a graph. Layers are named as the model names them."""

import json
from dataclasses import dataclass, field, replace
from fractions import Fraction

import numpy as np
from trimtab.format import SPARE_BIAS

from ..errors import ModelError
from . import schemes, tinytl

TRAINABLE = ("conv", "depthwise", "dense")
AXIS = {"conv": "in", "dense": "in", "depthwise": "out"}  # the channels that a partial update chooses among
DEFAULT_RATE = 1e-3
# TinyTrain: shares of the layers, of the products of a full backward pass, of a chosen layer's channels
INSPECTED, SHARE, RATIO = 0.44, 0.15, 1 / 4
DEFAULT_MOMENTUM = 0.9
PROTOTYPE_FEATURES = 16384  # at most: the sum of their squares has 30 bits


@dataclass(frozen=True)
class Update:
    layer: str
    bias: bool = True
    channels: tuple = ()  # indices of the weight channels that move, sorted
    axis: str = "in"


@dataclass(frozen=True)
class Reserve:
    """Budgets of a choice on the board: bytes of planes and kept inputs, share of a full backward pass; channels' share."""

    budget: int
    share: float
    ratio: float


@dataclass(frozen=True)
class TrainPlan:
    policy: str = "none"
    updates: tuple = ()
    loss: str = "none"  # none, softmax, mse
    head: object = None  # a Head, for softmax
    rate: float = DEFAULT_RATE
    accumulate: int = 1
    residual: int = 8
    labels: tuple = field(default=())
    spare: int = 0  # rows of the head for classes that are added on the board
    study: tuple = ()  # names of the layers whose inputs' channels get Fisher information, in the order of the graph
    reserve: object = None  # a Reserve: a board may choose among them what it trains
    keep: int = 0  # of each sum, in 1/256, for later updates: momentum

    @property
    def sums(self):
        """Do deltas add up in planes of their own before they move anything?"""
        return self.accumulate > 1 or self.keep > 0

    def of(self, layer):
        return next((u for u in self.updates if u.layer == layer), None)


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


def make(
    graph,
    policy,
    labels=(),
    classes=0,
    loss="softmax",
    rate=None,
    accumulate=1,
    residual=8,
    max_classes=0,
    optimizer="sgd",
    head="dense",
):
    """(trunk, plan): the graph that is left of the model, and what is trained in it."""
    if policy == "none":
        return graph, TrainPlan()
    if not (rate is None or 1e-7 <= rate <= 0.5):
        raise ModelError(f"a learning rate of {rate} does not work in integers: use 1e-7 to 0.5")
    if not 1 <= accumulate <= 256:
        raise ModelError(f"--accumulate {accumulate} is out of range: use 1 to 256")
    keep = _momentum(optimizer)
    kind = head
    if loss == "mse":
        trunk, head = _without_softmax(graph), None
    else:
        trunk, head = cut_head(graph, len(labels) or classes)
        if labels and len(labels) != head.classes:
            raise ModelError(
                f"there are {len(labels)} labels for {head.classes} classes: name each class once"
            )
    if len(set(labels)) != len(labels):
        raise ModelError("two labels have the same name: name each class once")
    if kind != "dense":
        head = _as_prototypes(head, kind, labels or classes)
    spare = 0
    if max_classes:
        head, spare = _with_spare_rows(head, labels, max_classes)
    name = policy.split(":")[0]
    if name not in POLICIES:
        raise ModelError(f"policy {name} is unknown: use one of {', '.join(POLICIES)} or plan:FILE.json")
    trunk, updates = POLICIES[name](trunk, policy)
    if loss == "mse":
        updates = _with_last_layer(trunk, updates)
    return trunk, TrainPlan(
        name,
        tuple(updates),
        loss,
        head,
        rate or DEFAULT_RATE,
        accumulate,
        residual,
        tuple(labels),
        spare,
        *_candidates(trunk, policy),
        keep,
    )


def _momentum(optimizer):
    """What an update leaves of each sum for the next ones, in 1/256."""
    if optimizer == "sgd":
        return 0
    name, _, text = optimizer.partition(":")
    try:
        share = float(text or DEFAULT_MOMENTUM)
    except ValueError:
        share = 0
    if name != "momentum" or not 0.01 <= share <= 0.99:
        raise ModelError(
            f"--optimizer {optimizer} is unknown: use sgd, momentum, or momentum:SHARE, a share of 0.01 to 0.99"
        )
    return round(256 * share)


def layers(graph):
    return [op for op in graph.ops if op.kind in TRAINABLE]


def _last(trunk, policy):
    """last: the head alone; last:K, and all of the last K layers."""
    return trunk, [_update(trunk, op, 1.0) for op in _tail(trunk, policy, 0)]


def _bias(trunk, policy):
    """bias: all biases; bias:K, those of the last K layers."""
    return trunk, [Update(op.name, axis=AXIS[op.kind]) for op in _tail(trunk, policy, len(layers(trunk)))]


def _tail(trunk, policy, count):
    """The last layers, as many as stand behind the policy's colon."""
    name, _, text = policy.partition(":")
    found = layers(trunk)
    if text and not (text.isdigit() and int(text) <= len(found)):
        raise ModelError(f"policy {policy}: give {name}: a number of layers, 0 to {len(found)}")
    return found[len(found) - int(text or count) :]


def _full(trunk, policy):
    return trunk, [_update(trunk, op, 1.0) for op in layers(trunk)]


def _file(trunk, policy):
    """{"updates": [{"layer", "bias", "weight_channels", "axis"}]}; weight_channels is a ratio, or a list of indices."""
    path = policy.split(":", 1)[1] if ":" in policy else ""
    try:
        with open(path) as f:
            rows = [dict(row) for row in json.load(f)["updates"]]
    except (OSError, ValueError, KeyError, TypeError) as e:
        raise ModelError(
            f'plan {path!r} cannot be read ({e}): write {{"updates": [{{"layer": ..., "bias": true}}]}}'
        )
    known = {op.name: op for op in layers(trunk)}
    updates = {}
    for row in rows:
        op = known.get(row.get("layer"))
        if op is None:
            raise ModelError(f"the plan names layer {row.get('layer')!r}: the model has {', '.join(known)}")
        if op.name in updates:
            raise ModelError(f"the plan names layer {op.name} twice: give each layer one row")
        if row.get("axis", AXIS[op.kind]) != AXIS[op.kind]:
            raise ModelError(
                f"layer {op.name}: a {op.kind} layer trains channels of axis {AXIS[op.kind]!r}, "
                f"not {row['axis']!r}"
            )
        updates[op.name] = _update(trunk, op, row.get("weight_channels", 0), row.get("bias", True))
    return trunk, [updates[op.name] for op in layers(trunk) if op.name in updates]


def _tinytrain(trunk, policy):
    """tinytrain: what is trained is chosen by the samples of a task (tinytrain.py), among the last layers."""
    _candidates(trunk, policy)
    return trunk, []


def _candidates(trunk, policy):
    """(names of the layers that tinytrain chooses among, what is reserved for a choice on the board).

    tinytrain:K,budget=KB,macs=SHARE,ratio=SHARE: the last K layers; as published, 44 % of all.
    """
    name, _, text = policy.partition(":")
    if name != "tinytrain":
        return (), None
    words = [word.partition("=") for word in text.split(",") if word]
    count = ":".join([name] + [key for key, equals, _ in words if not equals][:1])
    names = tuple(op.name for op in _tail(trunk, count, round(INSPECTED * len(layers(trunk)))))
    options = {key: _number(policy, value) for key, equals, value in words if equals}
    if set(options) - {"budget", "macs", "ratio"} or len(words) - len(options) > 1:
        raise ModelError(
            f"policy {policy}: write tinytrain:K,budget=KB,macs=SHARE,ratio=SHARE, each if it is wanted"
        )
    if options and "budget" not in options:
        raise ModelError(
            f"policy {policy}: give budget=KB for a choice on the board, or choose with trimtab choose"
        )
    share, ratio = options.get("macs", SHARE), options.get("ratio", RATIO)
    if not (0 < share <= 1 and 0 < ratio <= 1):
        raise ModelError(f"policy {policy}: macs and ratio are shares, more than 0 and at most 1")
    return names, Reserve(round(1024 * options["budget"]), share, ratio) if options else None


def _number(policy, text):
    try:
        return float(Fraction(text))
    except (ValueError, ZeroDivisionError):
        raise ModelError(f"policy {policy}: {text} is not a number")


def _sparse(trunk, policy):
    """sparse:SCHEME, a published one or one that is written out."""
    name = policy.partition(":")[2]
    convs = layers(trunk)
    if not name:
        raise ModelError(
            "policy sparse needs a scheme: give --scheme BIASES:LAYER=SHARE,... or one of "
            + ", ".join(schemes.SCHEMES)
        )
    shares = schemes.find(name, [trunk[op.inputs[1]].size for op in convs])
    return trunk, [_update(trunk, convs[i], share) for i, share in sorted(shares.items())]


def _mobiletl(trunk, policy):
    """mobiletl:K, the last K inverted residual blocks with step-function gradients. Nothing else needs its file."""
    from . import mobiletl

    return mobiletl.mark(trunk, policy)


def _tinytl(trunk, policy):
    """tinytl:OPTIONS: lite residual modules, and the biases from the first one's block on."""
    trunk, modules, behind = tinytl.insert(trunk, policy)
    wanted = tinytl.options(policy).bias
    biases = [Update(op.name, axis=AXIS[op.kind]) for op in layers(trunk) if wanted and op.name in behind]
    return trunk, biases + [
        Update(op.name, True, tuple(range(trunk[op.inputs[1]].shape[-1]))) for op in modules
    ]


# Each takes trunk and policy, and gives the trunk to train, which may be another one, and the updates.
POLICIES = {
    "last": _last,
    "bias": _bias,
    "full": _full,
    "plan": _file,
    "sparse": _sparse,
    "tinytrain": _tinytrain,
    "mobiletl": _mobiletl,
    "tinytl": _tinytl,
}


def _update(trunk, op, share, bias=True):
    """An update of a share of the layer's channels, the largest by magnitude, or of the channels listed."""
    w = trunk[op.inputs[1]].data
    strength = channel_strength(w, AXIS[op.kind])
    n = len(strength)
    if isinstance(share, list):
        channels = sorted(set(share)) if all(type(c) is int for c in share) else [-1]
        if channels and not 0 <= channels[0] <= channels[-1] < n:
            raise ModelError(f"layer {op.name} has channels 0 to {n - 1}: correct the plan's list")
    else:
        if not (isinstance(share, (int, float)) and 0 <= share <= 1):
            raise ModelError(
                f"layer {op.name}: weight_channels {share} is not a ratio from 0 to 1 or a list of channels"
            )
        count = max(1, int(n * share)) if share else 0
        channels = sorted(np.argsort(-strength, kind="stable")[:count].tolist())
    return Update(op.name, bool(bias), tuple(channels), AXIS[op.kind])


def channel_strength(w, axis):
    """L2 norm of each channel's weights: last axis of conv, dense and depthwise layouts alike."""
    return np.sqrt((w.astype(np.float64) ** 2).reshape(-1, w.shape[-1]).sum(0))


def _with_last_layer(trunk, updates):
    """Without a head of its own, a regression trains the weights of its last layer."""
    op = trunk.producer(_canonical_output(trunk))
    if op is None or op.kind not in TRAINABLE:
        raise ModelError("--loss mse needs a model that ends in a dense or conv layer: cut what follows it")
    rest = [u for u in updates if u.layer != op.name]
    return rest + [next((u for u in updates if u.layer == op.name and u.channels), _update(trunk, op, 1.0))]


def _canonical_output(graph):
    name = graph.outputs[0]
    while (op := graph.producer(name)) is not None and op.kind == "reshape":
        name = op.inputs[0]
    return name


def _without_softmax(graph):
    op = graph.producer(graph.outputs[0])
    if op is not None and op.kind == "softmax":
        return graph.with_ops([o for o in graph.ops if o is not op], (op.inputs[0],))
    return graph


def cut_head(graph, classes):
    """(trunk, head): the trailing dense layer (or 1x1 conv on a 1x1 map) with what stands behind it comes off.

    With a number of classes the head is new and zero; else it is the model's own, widened to 16 bits.
    """
    tail = []
    name = graph.outputs[0]
    while (op := graph.producer(name)) is not None and op.kind in ("softmax", "reshape"):
        tail.append(op)
        name = op.inputs[0]
    own = op if op is not None and _is_head(graph, op) else None
    if own is None:
        if not classes:
            raise ModelError(
                "the model does not end in a dense layer: give --labels or --classes for a new head"
            )
        features = name
    else:
        tail.append(own)
        features = own.inputs[0]
    trunk = graph.with_ops([o for o in graph.ops if o not in tail], (features,))
    f = graph[features]
    _check_scale(f)
    limit = weight_limit(f.size)
    if classes:
        return trunk, Head(
            features, classes, np.zeros((classes, f.size), np.int16), np.zeros(classes, np.int32)
        )
    w, b = graph[own.inputs[1]], graph[own.inputs[2]]
    real = w.data.reshape(len(w.scale), -1) * w.scale[:, None]
    bias = b.data * w.scale * f.scale[0]
    return trunk, Head(
        features,
        len(real),
        np.clip(np.rint(real * 4096), -limit, limit).astype(np.int16),
        np.clip(np.rint(bias * 65536), -(1 << 29), 1 << 29).astype(np.int32),
    )


def _as_prototypes(head, kind, classes):
    if kind != "prototype":
        raise ModelError(f"head {kind} is unknown: use dense or prototype")
    if head is None or not classes:
        raise ModelError("--head prototype needs --labels or --classes, and a softmax loss")
    if head.weights.shape[1] > PROTOTYPE_FEATURES:
        raise ModelError(
            f"prototypes have at most {PROTOTYPE_FEATURES} features, the model has "
            f"{head.weights.shape[1]}: add a pooling layer"
        )
    return replace(head, kind=kind)


def _with_spare_rows(head, labels, max_classes):
    """(head, rows more): room for classes that are named on the board."""
    if head is None or not labels or not len(labels) <= max_classes <= 65535:
        raise ModelError(f"--max-classes {max_classes} needs --labels, at most so many, and a softmax loss")
    spare = max_classes - len(labels)
    return replace(
        head,
        classes=max_classes,
        weights=np.pad(head.weights, ((0, spare), (0, 0))),
        bias=np.pad(head.bias, (0, spare), constant_values=SPARE_BIAS),
    ), spare


def _is_head(graph, op):
    if op.attrs.get("act", "none") != "none":
        return False
    y = graph[op.outputs[0]]
    return op.kind == "dense" or (
        op.kind == "conv"
        and graph[op.inputs[0]].size == graph[op.inputs[0]].shape[-1]
        and y.size == y.shape[-1]
    )


def _check_scale(f):
    if not 2.0**-18 < f.scale[0] < 2.0**13:
        raise ModelError(
            f"the head's input has scale {f.scale[0]:.3g}: train the model with values nearer to 1"
        )
    if f.size > 65536:
        raise ModelError(f"the head would have {f.size} inputs: add a pooling layer before it")


def weight_limit(features):
    """Largest |W| for which sum of W * (x - zero) stays in 32 bits: 32767 up to 256 features, then half for each doubling."""
    return 32767 if features <= 256 else (1 << 14) >> max(0, (features - 1).bit_length() - 9)
