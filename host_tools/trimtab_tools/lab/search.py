"""Finds which layers to train under a budget: it measures what each contributes, then evolves their sums.

A contribution is a difference in accuracy between short trials, on samples held out from training. Training
the biases of the last K layers is compared with training the head alone. Training the weights of one layer,
with one share of its channels, is compared with training biases alone. The sum of contributions is an
estimate of the accuracy of a scheme, so the best schemes are then tried.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from ..compiler import cost, emit, passes
from ..compiler.lowering import lower
from ..errors import UsageError
from ..graph.ir import Graph
from ..policies import plan, schemes
from ..policies.make import make_plan
from .experiment import Prepared
from .progress import Progress, Stage, quiet, quiet_stage
from .runners import Runner, local
from .trial import Trial

RATIOS = (1 / 8, 1 / 4, 1 / 2, 1)
POPULATION = 50
PATIENCE = 60  # schemes whose exact costs are tried, best first


@dataclass(frozen=True)
class Recipe:
    """How each trial trains."""

    rate: float = plan.DEFAULT_RATE
    epochs: int = 2
    seeds: tuple[int, ...] = (0,)

    def trials(self, policy: str) -> list[Trial]:
        return [Trial(policy, self.rate, self.epochs, seed) for seed in self.seeds]


@dataclass(frozen=True)
class Space:
    """What is tried. Layers are counted from 0, as in schemes."""

    layers: tuple[int, ...]  # whose weights may train
    depths: tuple[int, ...]  # numbers of last layers whose biases may train
    ratios: tuple[float, ...] = RATIOS  # shares of a layer's channels

    @staticmethod
    def of(
        trunk: Graph,
        layers: Sequence[int] | None = None,
        depths: Sequence[int] | None = None,
        ratios: Sequence[float] = RATIOS,
    ) -> "Space":
        """By default every third depth and all layers but depthwise ones, whose weights gain nothing."""
        found = plan.layers(trunk)
        n = len(found)
        if layers is None:
            layers = [i for i, op in enumerate(found) if op.kind != "depthwise"]
        if depths is None:
            depths = sorted({*range(3, n, 3), n})
        space = Space(tuple(sorted(layers)), tuple(sorted(depths)), tuple(ratios))
        if not space.layers or not (_within(space.layers, 0, n - 1) and _within(space.depths, 1, n)):
            raise UsageError(f"the model has layers 0 to {n - 1}: choose layers and bias depths among them")
        return space


def _within(numbers, low, high):
    """Are all of these sorted numbers from low to high?"""
    return low <= numbers[0] <= numbers[-1] <= high


@dataclass(frozen=True)
class Contributions:
    """Points of accuracy, and bytes by MCUNetV3's rule, of each part of a scheme."""

    convs: int  # layers of the trunk
    bias: dict[int, float]  # {depth: points}
    weights: dict[tuple[int, float], float]  # {(layer, share): points}
    bias_bytes: tuple[float, ...]  # of each layer
    weight_bytes: dict[tuple[int, float], float]  # {(layer, share): bytes}
    base_bytes: float  # whatever is chosen

    def depth(self, last: int, shares: dict[int, float]) -> int:
        """The smallest measured depth that is at least `last` and reaches down to the first trained layer."""
        first = min((layer for layer, share in shares.items() if share), default=self.convs)
        return min(d for d in (0, *self.bias) if d >= max(last, self.convs - first))

    def points(self, last: int, shares: dict[int, float]) -> float:
        return self.bias.get(last, 0) + sum(self.weights[pair] for pair in shares.items() if pair[1])

    def kilobytes(self, last: int, shares: dict[int, float]) -> float:
        chosen = sum(self.weight_bytes[pair] for pair in shares.items() if pair[1])
        return (self.base_bytes + chosen + sum(self.bias_bytes[self.convs - last :])) / 1024


@dataclass(frozen=True)
class Found:
    scheme: str
    points: float  # sum of contributions
    kilobytes: float


# -- contributions -------------------------------------------------------------------------------------------


def trials(space: Space, convs: int, recipe: Recipe) -> dict[tuple, list[Trial]]:
    """{part of a scheme: its trials}; a part is ("head",), ("bias", depth) or ("weight", layer, share).

    Each trial of weights also trains the biases of the greatest depth, so that all layers are compared alike.
    """
    deepest = max(*space.depths, convs - space.layers[0])
    policies: dict[tuple, str] = {("head",): "last"}
    policies.update({("bias", d): f"bias:{d}" for d in (*space.depths, deepest)})
    policies.update(
        {
            ("weight", i, r): "sparse:" + schemes.write(deepest, {i: r})
            for i in space.layers
            for r in space.ratios
        }
    )
    return {part: recipe.trials(policy) for part, policy in policies.items()}


def contributions(
    prepared: Prepared,
    space: Space,
    recipe: Recipe = Recipe(),
    runner: Runner = local,
    progress: Progress = quiet,
) -> Contributions:
    """Measure what each part contributes."""
    convs = len(plan.layers(prepared.trunk))
    mean = _accuracies(prepared, trials(space, convs, recipe), runner, progress)
    deepest = max(part[1] for part in mean if part[0] == "bias")
    return Contributions(
        convs,
        {d: mean["bias", d] - mean["head",] for d in sorted({*space.depths, deepest})},
        {(i, r): mean["weight", i, r] - mean["bias", deepest] for i in space.layers for r in space.ratios},
        *sizes(prepared, space, convs),
    )


def _accuracies(prepared, wanted, runner, progress):
    """{key: mean accuracy of its trials} for {key: trials}. All run together, so no worker waits."""
    results = runner(prepared, [t for some in wanted.values() for t in some], progress=progress)
    return {key: float(np.mean([results[t]["test"] for t in some])) for key, some in wanted.items()}


def sizes(prepared: Prepared, space: Space, convs: int) -> tuple[tuple, dict, float]:
    """Bytes of (each layer's bias, {(layer, share): its weights}, the rest), which MCUNetV3's rule adds."""

    def count(policy):
        return cost.mcunetv3(cost.table(*make_plan(prepared.graph, policy, classes=prepared.classes)))

    depths = [count(f"bias:{d}") for d in range(convs + 1)]
    bias = tuple(depths[convs - i] - depths[convs - i - 1] for i in range(convs))
    all_biases = depths[convs]
    weights = {
        (i, r): count("sparse:" + schemes.write(convs, {i: r})) - all_biases
        for i in space.layers
        for r in space.ratios
    }
    return bias, weights, depths[0]


# -- evolution -----------------------------------------------------------------------------------------------


def evolve(
    parts: Contributions, kilobytes: float, generations: int = 100, seed: int = 0, progress: Progress = quiet
) -> list[Found]:
    """Schemes within so many kilobytes, best first: NSGA-II over a bias depth and a share for each layer."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    layers = sorted({layer for layer, _ in parts.weights})
    shares = {layer: [0, *sorted(r for i, r in parts.weights if i == layer)] for layer in layers}
    found = {}

    def judge(trial):
        chosen = {i: trial.suggest_categorical(f"layer {i}", shares[i]) for i in layers}
        last = parts.depth(trial.suggest_categorical("depth", [0, *parts.bias]), chosen)
        one = Found(schemes.write(last, chosen), parts.points(last, chosen), parts.kilobytes(last, chosen))
        trial.set_constraint("kilobytes", one.kilobytes - kilobytes)
        if one.kilobytes <= kilobytes:
            found[one.scheme] = one
        progress(trial.number + 1, POPULATION * generations)
        return one.points

    sampler = optuna.samplers.NSGAIISampler(population_size=POPULATION, seed=seed)
    optuna.create_study(direction="maximize", sampler=sampler).optimize(judge, POPULATION * generations)
    if not found:
        raise UsageError(f"no scheme fits {kilobytes} KB: allow more")
    return sorted(found.values(), key=lambda one: (-one.points, one.kilobytes))


@dataclass(frozen=True)
class Budget:
    """Limits; None where there is no limit."""

    kilobytes: float  # by MCUNetV3's rule
    ram: int | None = None  # bytes of arena and state
    flash: int | None = None  # bytes of the package
    cycles: int | None = None  # of a training step on a Pico, estimated

    @property
    def of_board(self) -> tuple[int | None, ...]:
        """The limits that can only be checked on a compiled package."""
        return self.ram, self.flash, self.cycles

    def allows(self, costs: dict) -> bool:
        ram = costs["arena_bytes"] + costs["state_bytes"]
        needs = ram, costs["flash_bytes"], costs["estimated_cycles"]["pico"]
        return all(most is None or need <= most for need, most in zip(needs, self.of_board))


def exact(prepared: Prepared, scheme: str) -> dict:
    """What a scheme costs on a board."""
    trunk, chosen = make_plan(prepared.graph, f"sparse:{scheme}", classes=prepared.classes)
    program, placement, _ = passes.optimize(lower(trunk, chosen))
    return {
        **cost.of(trunk, chosen, program, placement),
        "estimated_cycles": cost.estimated_cycles(program),
        "flash_bytes": len(emit.package(program, placement, trunk, "model", chosen.labels)),
    }


def finalists(
    prepared: Prepared, leaders: list[Found], budget: Budget, wanted: int, progress: Progress = quiet
) -> list[Found]:
    """The first `wanted` schemes that the board can hold."""
    free = not any(most is not None for most in budget.of_board)
    chosen: list[Found] = []
    for i, one in enumerate(leaders[:PATIENCE]):
        if len(chosen) < wanted and (free or budget.allows(exact(prepared, one.scheme))):
            chosen.append(one)
        progress(i + 1, min(PATIENCE, len(leaders)))
    if not chosen:
        raise UsageError(
            f"none of the best {PATIENCE} schemes fits the board: allow more RAM, flash or cycles"
        )
    return chosen


# -- the whole search ----------------------------------------------------------------------------------------


def search(
    prepared: Prepared,
    budget: Budget,
    space: Space | None = None,
    recipe: Recipe = Recipe(),
    generations: int = 100,
    wanted: int = 4,
    runner: Runner = local,
    stage: Stage = quiet_stage,
) -> dict:
    """Try the finalists; returns the best.

    The keys are those of a row of "tried" (scheme, accuracy, points, kilobytes), "tried" and "contributions".
    """
    space = space or Space.of(prepared.trunk)
    with stage("contributions") as progress:
        parts = contributions(prepared, space, recipe, runner, progress)
    with stage("evolution") as progress:
        leaders = evolve(parts, budget.kilobytes, generations, progress=progress)
    with stage("costs") as progress:
        chosen = finalists(prepared, leaders, budget, wanted, progress)
    with stage("finalists") as progress:
        races = {one: recipe.trials(f"sparse:{one.scheme}") for one in chosen}
        tried = [_row(one, value) for one, value in _accuracies(prepared, races, runner, progress).items()]
    best = max(tried, key=lambda row: row["accuracy"])
    return {**best, "tried": tried, "contributions": _told(parts)}


def _row(one, accuracy):
    points, kilobytes = round(one.points, 2), round(one.kilobytes, 2)
    return {"scheme": one.scheme, "accuracy": accuracy, "points": points, "kilobytes": kilobytes}


def _told(parts):
    """The contributions as JSON has them."""
    return {
        "bias": {str(d): round(v, 2) for d, v in parts.bias.items()},
        "weights": {f"{i}={Fraction(r)}": round(v, 2) for (i, r), v in parts.weights.items()},
    }


def updates(prepared: Prepared, scheme: str) -> dict:
    """The scheme as a plan by hand, for --policy plan:FILE.json."""
    _, chosen = make_plan(prepared.graph, f"sparse:{scheme}", classes=prepared.classes)
    return {
        "updates": [
            {"layer": u.layer, "bias": u.bias, "weight_channels": list(u.channels), "axis": u.axis}
            for u in chosen.updates
        ]
    }
