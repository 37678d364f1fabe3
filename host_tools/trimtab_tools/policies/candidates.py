"""The layers that tinytrain chooses among: what each would train, and what that takes.

Their rows are what trimtab.fisher reads, on the PC and, from the section `choice`, on a board.
"""

from dataclasses import dataclass

from trimtab.fisher import ROW, cost

from ..errors import ModelError
from ..graph.geometry import geometry
from .plan import layers


@dataclass(frozen=True)
class Candidate:
    layer: str
    row: tuple  # numbers in the order of trimtab.fisher.ROW

    def __getitem__(self, name):
        return self.row[ROW.index(name)]


@dataclass(frozen=True, eq=False)
class Pools:
    """What a package holds for a choice on the board. `bits` says which channels were chosen."""

    candidates: tuple
    planes: object  # in the state: planes, residuals and biases
    inputs: object  # in the arena: kept inputs
    bits: object  # in the state
    most_macs: int


def macs(trunk, op):
    g = geometry(trunk, op)
    return g["oh"] * g["ow"] * trunk[op.inputs[1]].size


def most_macs(trunk, share):
    """A share of the products of the backward pass that trains everything."""
    return int(share * 2 * sum(macs(trunk, op) for op in layers(trunk)))


def table(trunk, names, ratio, residual=8):
    """Candidates for the layers of these names, in the order of the graph."""
    every = layers(trunk)
    products = [macs(trunk, op) for op in every]
    masks = [-(-trunk[op.outputs[0]].size // 8) for op in every]
    return [
        _candidate(trunk, op, ratio, residual, products[i], sum(products[i + 1 :]), sum(masks[i:]))
        for i, op in enumerate(every)
        if op.name in names
    ]


def _candidate(trunk, op, ratio, residual, products, chain, masks):
    w, g = trunk[op.inputs[1]], geometry(trunk, op)
    channels = w.shape[-1]
    count = max(1, int(channels * ratio))
    plane = w.size // channels * count
    error = g["oh"] * g["ow"] * count if op.kind == "depthwise" else 0
    about = dict(
        parameters=w.size,
        macs=products,
        gradient=products * count // channels,
        chain=chain,
        masks=masks,
        plane=plane,
        residual=-(-plane * residual // 8),
        bias=4 * g["oc"],
        input=g["ih"] * g["iw"] * count,
        error=error,
        inputs=g["ic"],
        channels=channels,
        count=count,
    )
    return Candidate(op.name, tuple(about[name] for name in ROW))


def reserved(trunk, names, reserve, residual):
    """(candidates that fit alone, bytes of planes, of inputs): parted as all candidates would part them."""
    found = table(trunk, names, reserve.ratio, residual)
    whole = [cost([c.row for c in found], [i])[:2] for i in range(len(found))]
    state, kept = (sum(sizes) for sizes in zip(*whole))
    state = reserve.budget * state // (state + kept) // 4 * 4
    kept = (reserve.budget - state) // 4 * 4
    fitting = [c for c, (s, k) in zip(found, whole) if s <= state and k <= kept]
    if not fitting:
        least = min(s + k for s, k in whole)
        raise ModelError(
            f"no layer's share of channels fits a budget of {reserve.budget} bytes: give budget=KB, "
            f"of {-(-2 * least // 1024)} or so, or a smaller ratio"
        )
    return fitting, state, kept
