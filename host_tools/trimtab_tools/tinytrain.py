"""TinyTrain: the samples of a task choose which layers and channels it trains.

One pass over the samples gives the Fisher information of every channel that a candidate layer reads; a layer's
potential, over its parameters times its products, is its score. The choice itself is trimtab.choose, the same code
that a board runs.
"""

from trimtab import choose, few

from . import compile, cost, plan, simulate
from .data import order
from .ir import UsageError
from .ops import geometry

SHARE = 0.15  # of the products of a backward pass that trains everything
RATIO = 1 / 4  # of a chosen layer's channels


def rows(trunk, names, ratio, residual=8):
    """The table that trimtab.choose asks for, a row for each layer named, and how many channels each would train."""
    layers = {row.name: i for i, row in enumerate(plan.layers(trunk))}
    macs = [_macs(trunk, op) for op in plan.layers(trunk)]
    masks = [-(-trunk[op.outputs[0]].size // 8) for op in plan.layers(trunk)]
    table, counts = [], []
    for name in names:
        i = layers[name]
        op = plan.layers(trunk)[i]
        w, x, g = trunk[op.inputs[1]], trunk[op.inputs[0]], geometry(trunk, op)
        channels = w.shape[-1]
        count = max(1, int(channels * ratio))
        weights = w.size // channels * count
        kept = x.size // g["ic"] * count
        table.append((w.size, macs[i], weights + weights * residual // 8 + 4 * g["oc"] + kept,
                      macs[i] * count // channels, sum(macs[i + 1 :]), sum(masks[i:])))
        counts.append(count)
    return table, counts


def _macs(trunk, op):
    g = geometry(trunk, op)
    return g["oh"] * g["ow"] * trunk[op.inputs[1]].size


def most_macs(trunk, share):
    """Products of the backward pass that the chosen layers may take: a share of training everything."""
    return int(share * 2 * sum(_macs(trunk, op) for op in plan.layers(trunk)))


def information(made, samples, epochs=1, kernels=None, step=lambda done, total: None):
    """[(exponent, [f])] of a package compiled by policy tinytrain, for samples [(x, y)].

    A new head knows nothing and sends no error, so it trains on the samples first; prototypes are enrolled, and moved
    copies of the samples stand for what will be asked.
    """
    net = simulate.load(made.data, kernels or simulate.best_tier())
    if net.prototypes:
        net.enroll(samples)
        return choose.study(net, few.copies(net, samples), made.program.candidates)
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

    return choose.study(net, counted(), made.program.candidates)


def updates(made, found, most_bytes, share=SHARE, ratio=RATIO):
    """The chosen layers as rows of a plan:FILE, and what they take; found: what information() gave."""
    table, counts = rows(made.trunk, made.plan.study, ratio, made.plan.residual)
    chosen = choose.pick(found, table, most_bytes, most_macs(made.trunk, share))
    if not chosen:
        raise UsageError(f"no layer fits the budget of {most_bytes} bytes and {100 * share:g} % of the products: raise one")
    size, macs = choose.cost(table, chosen)
    points = choose.scores(found, table)
    top = max(points)
    layers = {op.name: op for op in plan.layers(made.trunk)}
    picked = []
    for i in chosen:
        op = layers[made.plan.study[i]]
        f = _by_weights(made.trunk, op, found[i][1])
        picked.append({"layer": op.name, "bias": True, "weight_channels": choose.strongest(f, counts[i]),
                       "axis": plan.AXIS[op.kind], "score": float(f"{points[i] / top:.4g}")})
    return {"updates": picked, "bytes": size, "backward_macs": macs,
            "share": round(macs / most_macs(made.trunk, 1), 4)}


def _by_weights(trunk, op, f):
    """Information by the channels that an update chooses among: of a depthwise layer, its outputs."""
    many = trunk[op.inputs[1]].shape[-1] // len(f)
    return [v for v in f for _ in range(many)]


def choice(graph, samples, most_bytes, share=SHARE, ratio=RATIO, layers=None, epochs=1, step=lambda done, total: None,
           **options):
    """A plan for these samples [(x, y)] of one task; options as compile_graph takes them."""
    made = compile.compile_graph(graph, f"tinytrain:{layers}" if layers else "tinytrain", **options)
    if made.plan.head and max(y for _, y in samples) >= made.plan.head.classes:
        raise UsageError(f"the samples have more classes than the head's {made.plan.head.classes}: give --labels or --classes")
    return updates(made, information(made, samples, epochs, step=step), most_bytes, share, ratio)
