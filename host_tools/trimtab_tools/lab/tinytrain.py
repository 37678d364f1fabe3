"""TinyTrain: the samples of a task choose which layers and channels it trains.

One pass over the samples gives the Fisher information of every channel that a candidate layer reads; a
layer's potential, over its parameters times its products, is its score. The choice itself is
trimtab.fisher, the same code that a board runs.
"""

from trimtab import fisher, prototypes

from ..boards import simulated
from ..compiler import compile
from ..errors import UsageError
from ..policies import plan
from ..policies.tinytrain import RATIO, SHARE, most_macs, table
from ..samples import order


def information(made, samples, epochs=1, kernels=None, step=lambda done, total: None):
    """[(exponent, [f])] of a package compiled by policy tinytrain, for samples [(x, y)].

    A new head knows nothing and sends no error, so it trains on the samples first; prototypes are enrolled,
    and moved copies of the samples stand for what will be asked.
    """
    net = simulated.load(made.data, kernels or simulated.best_tier())
    channels = list(made.program.candidates.values())
    if net.prototypes:
        net.enroll(samples)
        return fisher.study(net, prototypes.copies(net, samples), channels)
    total = (epochs + 1) * len(samples)
    net.begin(epochs * len(samples))
    for epoch in range(epochs):
        for n, i in enumerate(order(len(samples), 0, epoch)):
            net.train(*samples[i])
            step(epoch * len(samples) + n + 1, total)

    def counted():
        for n, sample in enumerate(samples):
            yield sample
            step(epochs * len(samples) + n + 1, total)

    return fisher.study(net, counted(), channels)


def updates(made, found, most_bytes, share=SHARE, ratio=RATIO):
    """The chosen layers as rows of a plan:FILE, and what they take; found: what information() gave."""
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
    graph,
    samples,
    most_bytes,
    share=SHARE,
    ratio=RATIO,
    layers=None,
    epochs=1,
    step=lambda done, total: None,
    **options,
):
    """A plan for these samples [(x, y)] of one task; options as compile_graph takes them."""
    policy = f"tinytrain:{layers}" if layers else "tinytrain"
    made = compile.compile_graph(graph, policy, kernels=simulated.best_tier(), **options)
    if made.plan.head and max(y for _, y in samples) >= made.plan.head.classes:
        raise UsageError(
            f"the samples have more classes than the head's {made.plan.head.classes}: "
            "give --labels or --classes"
        )
    return updates(made, information(made, samples, epochs, step=step), most_bytes, share, ratio)
