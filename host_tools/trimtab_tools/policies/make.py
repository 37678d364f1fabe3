"""From a graph and what a user asks for to the trunk that is left of the model and a TrainPlan for it."""

from ..errors import ModelError
from ..graph.ir import Graph
from . import registry
from .head import as_prototypes, cut_head, with_last_layer, with_spare_rows, without_softmax
from .plan import DEFAULT_RATE, TrainPlan
from .policy import Request

DEFAULT_MOMENTUM = 0.9


def make_plan(
    graph: Graph,
    policy: str | Request,
    labels: tuple = (),
    classes: int = 0,
    loss: str = "softmax",
    rate: float | None = None,
    accumulate: int = 1,
    residual: int = 8,
    max_classes: int = 0,
    optimizer: str = "sgd",
    head: str = "dense",
) -> tuple[Graph, TrainPlan]:
    """(trunk, plan): the graph that is left of the model, and what is trained in it."""
    request = Request.of(policy)
    if request.name == "none":
        return graph, TrainPlan()
    _check(rate, accumulate, labels)
    keep = _momentum(optimizer)
    trunk, made = _end(graph, loss, labels, classes, head)
    made, spare = with_spare_rows(made, labels, max_classes) if max_classes else (made, 0)
    choice = registry.find(request.name).choose(trunk, request)
    updates = with_last_layer(choice.trunk, choice.updates) if loss == "mse" else choice.updates
    return choice.trunk, TrainPlan(
        request.name,
        updates,
        loss,
        made,
        rate or DEFAULT_RATE,
        accumulate,
        residual,
        tuple(labels),
        spare,
        keep,
        choice.hook,
    )


def _check(rate, accumulate, labels):
    if not (rate is None or 1e-7 <= rate <= 0.5):
        raise ModelError(f"a learning rate of {rate} does not work in integers: use 1e-7 to 0.5")
    if not 1 <= accumulate <= 256:
        raise ModelError(f"--accumulate {accumulate} is out of range: use 1 to 256")
    if len(set(labels)) != len(labels):
        raise ModelError("two labels have the same name: name each class once")


def _end(graph, loss, labels, classes, kind):
    """(trunk, Head or None) for a loss and a kind of head."""
    if loss == "mse":
        trunk, head = without_softmax(graph), None
    else:
        trunk, head = cut_head(graph, len(labels) or classes)
        if labels and len(labels) != head.classes:
            raise ModelError(
                f"there are {len(labels)} labels for {head.classes} classes: name each class once"
            )
    if kind == "dense":
        return trunk, head
    if kind != "prototype":
        raise ModelError(f"--head {kind} is unknown: use dense or prototype")
    return trunk, as_prototypes(head, labels or classes)


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
            f"--optimizer {optimizer} is unknown: "
            "use sgd, momentum, or momentum:SHARE, a share of 0.01 to 0.99"
        )
    return round(256 * share)
