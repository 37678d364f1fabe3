"""TinyTrain on the PC: the samples of a task choose which layers and channels it trains.

One pass over the samples gives the Fisher information of every channel that a candidate layer reads. The
score of a layer is its information over its parameters times its products. trimtab.fisher makes the choice:
the same code that a board runs.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from trimtab import fisher, prototypes
from trimtab.kernels import Tier

from ..boards import simulated
from ..compiler import compile
from ..errors import UsageError
from ..graph.ir import Graph
from ..policies import plan
from ..policies.tinytrain import RATIO, SHARE, most_macs, table
from ..samples import order, outside
from .progress import Progress, quiet

Samples = Sequence[tuple[np.ndarray, int]]  # (int8 input, class)


def information(
    made: compile.Compiled,
    samples: Samples,
    epochs: int = 1,
    kernels: Tier | None = None,
    progress: Progress = quiet,
) -> list:
    """[(exponent, [f])], one pair for each candidate, of a package compiled by policy tinytrain.

    A new dense head gives no errors, so it trains on the samples first. Prototypes are enrolled instead, and
    then judged on moved copies of the samples.
    """
    net = simulated.load(made.data, kernels or simulated.best_tier())
    channels = list(made.program.candidates.values())
    if net.prototypes:
        net.enroll(samples)
        return fisher.study(net, prototypes.copies(net, samples), channels)
    n, total = len(samples), (epochs + 1) * len(samples)
    net.begin(epochs * n)
    for epoch in range(epochs):
        for done, i in enumerate(order(n, 0, epoch), epoch * n + 1):
            net.train(*samples[i])
            progress(done, total)

    def counted():
        for done, sample in enumerate(samples, epochs * n + 1):
            yield sample
            progress(done, total)

    return fisher.study(net, counted(), channels)


def updates(
    made: compile.Compiled, found: list, most_bytes: int, share: float = SHARE, ratio: float = RATIO
) -> dict:
    """The chosen layers as rows of a plan:FILE, and what they take. `found` is what information() gave.

    `share` limits the products of the backward pass, `ratio` is the share of a layer's channels that trains.
    """
    names = list(made.program.candidates)
    rows = [c.row for c in table(made.trunk, names, ratio, made.plan.residual)]
    limit = most_macs(made.trunk, share)
    chosen = fisher.pick(found, rows, lambda price: sum(price[:3]) <= most_bytes and price[3] <= limit)
    if not chosen:
        raise UsageError(
            f"no layer fits the budget of {most_bytes} bytes and {100 * share:g} % of the products: raise one"
        )
    *sizes, macs = fisher.cost(rows, chosen)
    points = fisher.scores(found, rows)
    kinds = {op.name: op.kind for op in plan.layers(made.trunk)}
    picked = [
        {
            "layer": names[i],
            "bias": True,
            "weight_channels": fisher.strongest(found[i][1], rows[i]),
            "axis": plan.AXIS[kinds[names[i]]],
            "score": float(f"{points[i] / max(points):.4g}"),
        }
        for i in chosen
    ]
    return {
        "updates": picked,
        "bytes": sum(sizes),
        "backward_macs": macs,
        "share": round(macs / most_macs(made.trunk, 1), 4),
    }


def choice(
    graph: Graph,
    samples: Samples,
    most_bytes: int,
    share: float = SHARE,
    ratio: float = RATIO,
    layers: int | None = None,
    epochs: int = 1,
    progress: Progress = quiet,
    **options: Any,
) -> dict:
    """A plan for the samples of one task. `options` are those of compile_graph."""
    policy = f"tinytrain:{layers}" if layers else "tinytrain"
    made = compile.compile_graph(graph, policy, kernels=simulated.best_tier(), **options)
    if made.plan.head:
        classes = made.plan.head.classes
        wrong = outside([y for _, y in samples], classes)
        if wrong is not None:
            raise UsageError(
                f"label {wrong} is not one of the head's {classes} classes: give --labels or --classes"
            )
    return updates(made, information(made, samples, epochs, progress=progress), most_bytes, share, ratio)
