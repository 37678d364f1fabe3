"""Policy tinytrain, after TinyTrain (ICML 2024): samples of a task choose the layers and channels to train.

The policy names the candidates. `trimtab choose` judges them on the PC (lab/tinytrain.py) and writes a plan
by hand. With budget=KB the package reserves memory and a board chooses by itself (tinytrain_reserve.py).
Both judge by trimtab.fisher, whose rows are made here.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

from trimtab import fisher
from trimtab.net import Net

from ..errors import ModelError
from ..graph.geometry import geometry
from ..graph.ir import Graph, Op
from ..graph.program import Buffer, Program
from ..operators.operator import Lowering
from . import tinytrain_reserve as reserve
from .hook import Hook, Pixels, Weights
from .plan import Update, layers, tail
from .policy import Choice, Policy, Request
from .tinytrain_reserve import Candidate

INSPECTED = 0.44  # of the layers are candidates, as published
SHARE = 0.15  # of the products of a full backward pass
RATIO = 1 / 4  # of a chosen layer's channels


@dataclass(frozen=True)
class Limits:
    """Limits of a choice on the board."""

    budget: int  # bytes of planes and kept inputs
    share: float  # of the products of a full backward pass
    ratio: float  # of a chosen layer's channels


# -- the policy's words


def choose(trunk: Graph, request: Request) -> Choice:
    """K,budget=KB,macs=SHARE,ratio=SHARE: the last K layers; the others only for a choice on the board."""
    words = [word.partition("=") for word in request.words.split(",") if word]
    count = Request(request.name, next((key for key, equals, _ in words if not equals), ""))
    names = tuple(op.name for op in tail(trunk, count, round(INSPECTED * len(layers(trunk)))))
    options = {key: _number(request, value) for key, equals, value in words if equals}
    if set(options) - {"budget", "macs", "ratio"} or len(words) - len(options) > 1:
        raise ModelError(
            f"policy {request}: write tinytrain:K,budget=KB,macs=SHARE,ratio=SHARE, each if it is wanted"
        )
    return Choice(trunk, (), TinyTrain(names, _limits(request, options) if options else None))


def _limits(request, options):
    if "budget" not in options:
        raise ModelError(
            f"policy {request}: give budget=KB for a choice on the board, or choose with trimtab choose"
        )
    share, ratio = options.get("macs", SHARE), options.get("ratio", RATIO)
    if not (0 < share <= 1 and 0 < ratio <= 1):
        raise ModelError(f"policy {request}: macs and ratio are shares, more than 0 and at most 1")
    return Limits(round(1024 * options["budget"]), share, ratio)


def _number(request, text):
    try:
        return float(Fraction(text))
    except (ValueError, ZeroDivisionError):
        raise ModelError(f"policy {request}: {text} is not a number")


# -- what it adds to a program


class TinyTrain(Hook):
    """A time line of its own sends errors down to the first candidate; a board may train what it chooses."""

    def __init__(self, names: tuple, limits: Limits | None = None):
        self.names = names  # of the candidates, in the order of the graph
        self.limits = limits  # of a choice on the board, or None
        self.open: dict[str, Candidate] = {}  # by layer: what a board may choose

    def open_layers(self, lower: Lowering) -> None:
        if not self.limits:
            return
        if lower.plan.sums:
            raise ModelError(
                "a choice on the board moves weights with every sample: "
                "compile without --accumulate and momentum"
            )
        fitting, state, kept = fit(lower.graph, self.names, self.limits, lower.plan.residual)
        limit = most_macs(lower.graph, self.limits.share)
        lower.program.pools = reserve.make_pools(lower.program, fitting, state, kept, limit)
        self.open = {c.layer: c for c in fitting}

    def update_of(self, lower: Lowering, op: Op) -> Update | None:
        return reserve.update_of(op, self.open[op.name]) if op.name in self.open else None

    def before_layer(self, lower: Lowering, op: Op) -> None:
        if op.name in self.open:
            reserve.keep_input(lower, op, self.open[op.name])

    def trained(self, lower: Lowering, op: Op) -> tuple[Weights, Buffer] | None:
        return reserve.pooled(lower, self.open[op.name]) if op.name in self.open else None

    def after_update(self, lower: Lowering, op: Op) -> None:
        if op.name in self.open:
            reserve.read_packed(lower, op, self.open[op.name])

    def after_training(self, lower: Lowering, pixels: Pixels | None) -> None:
        """A second time line, on which nothing is trained."""
        if not self.names:
            return
        program, wanted = lower.program, self.open or self.names
        judged = [op for op in lower.operators if op.name in wanted]
        counts = [geometry(lower.graph, op)["ic"] for op in judged]
        program.candidates = {op.name: c for op, c in zip(judged, counts)}
        program.fisher, places = reserve.fisher_sums(program.candidates, counts)
        line = lower.beside(Study(lower, judged, places))
        line.add_sample(pixels)
        program.study = line.program

    def measure(self, net: Net, program: Program, sample: tuple) -> None:
        """Errors of the second time line have trackers, too."""
        if program.fisher:
            fisher.study(net, [sample], list(program.candidates.values()))


class Study(Hook):
    """Nothing is trained; errors are wanted of what the candidates read."""

    def __init__(self, lower: Lowering, judged: list[Op], places: dict):
        self.places = places
        self.readers: dict[str, list[str]] = defaultdict(list)  # tensor -> candidates that read it
        for op in judged:
            self.readers[lower.root(op.inputs[0])].append(op.name)

    def errors_wanted(self, lower: Lowering) -> tuple:
        return tuple(self.readers)

    def after_error(self, lower: Lowering, name: str) -> None:
        for layer in self.readers.get(name, ()):
            reserve.add_fisher(lower, name, layer, self.places)


# -- candidates


def macs(trunk: Graph, op: Op) -> int:
    """Products of a layer's forward pass."""
    g = geometry(trunk, op)
    return g["oh"] * g["ow"] * trunk[op.inputs[1]].size


def most_macs(trunk: Graph, share: float) -> int:
    """A share of the products of the backward pass that trains everything."""
    return int(share * 2 * sum(macs(trunk, op) for op in layers(trunk)))


def table(trunk: Graph, names: Sequence[str], ratio: float, residual: int = 8) -> list[Candidate]:
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
        error=g["oh"] * g["ow"] * count if op.kind == "depthwise" else 0,
        inputs=g["ic"],
        channels=channels,
        count=count,
    )
    return Candidate(op.name, tuple(about[name] for name in fisher.ROW))


def fit(trunk: Graph, names: tuple, limits: Limits, residual: int) -> tuple[list[Candidate], int, int]:
    """(candidates that fit alone, bytes of planes, of inputs), parted as all together would."""
    found = table(trunk, names, limits.ratio, residual)
    whole = [fisher.cost([c.row for c in found], [i])[:2] for i in range(len(found))]
    state, kept = (sum(sizes) for sizes in zip(*whole))
    state = limits.budget * state // (state + kept) // 4 * 4
    kept = (limits.budget - state) // 4 * 4
    fitting = [c for c, (s, k) in zip(found, whole) if s <= state and k <= kept]
    if not fitting:
        least = min(s + k for s, k in whole)
        raise ModelError(
            f"no layer's share of channels fits a budget of {limits.budget} bytes: give budget=KB, "
            f"of {-(-2 * least // 1024)} or so, or a smaller ratio"
        )
    return fitting, state, kept


POLICY = Policy(
    "tinytrain",
    "tinytrain[:K,budget=KB]",
    "Nothing yet but the 16-bit head: the samples of a task choose layers and channels by their Fisher "
    "information.",
    choose,
    reserve.tuned,
)
