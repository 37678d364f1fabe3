"""Which layers to train under a budget: what each one contributes, measured, then evolution over the sums.

Contributions are differences in accuracy between short trials on samples held out from training: the biases
of the last K layers against the head alone, and the weights of one layer at one share of its channels against
biases alone. Their sum stands for the accuracy of a scheme. It is only a stand-in, so the best are tried.

Trials run in processes of this machine or on a Ray cluster. Each result is kept as soon as it is there: a
search that was stopped goes on where it was.
"""

import contextlib
import multiprocessing
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from ..compiler import cost, emit, passes
from ..compiler.lowering import lower
from ..errors import UsageError
from ..policies import plan, schemes
from ..policies.make import make_plan
from . import experiment
from .experiment import Trial, quiet

RATIOS = (1 / 8, 1 / 4, 1 / 2, 1)
POPULATION = 50


@contextlib.contextmanager
def quiet_progress(what):
    yield quiet


@dataclass(frozen=True)
class Space:
    """What is tried. Layers are counted from 0, as in schemes."""

    layers: tuple  # whose weights may train
    depths: tuple  # numbers of last layers whose biases may train
    ratios: tuple = RATIOS

    @staticmethod
    def of(trunk, layers=None, depths=None, ratios=RATIOS):
        """All convs and dense layers (depthwise weights gain nothing) and every third depth, unless said."""
        found = plan.layers(trunk)
        chosen = (
            [i for i, op in enumerate(found) if op.kind != "depthwise"] if layers is None else sorted(layers)
        )
        every = sorted({*range(3, len(found), 3), len(found)}) if depths is None else sorted(depths)
        if (
            not chosen
            or not 0 <= chosen[0] <= chosen[-1] < len(found)
            or not 1 <= every[0] <= every[-1] <= len(found)
        ):
            raise UsageError(
                f"the model has layers 0 to {len(found) - 1}: choose layers and bias depths among them"
            )
        return Space(tuple(chosen), tuple(every), tuple(ratios))


@dataclass(frozen=True)
class Contributions:
    """Points of accuracy, and bytes by MCUNetV3's rule, of each part of a scheme."""

    convs: int
    bias: dict  # {depth: points}
    weights: dict  # {(layer, share): points}
    bias_bytes: tuple  # of each layer
    weight_bytes: dict  # {(layer, share): bytes}
    base_bytes: float  # whatever is chosen

    def depth(self, last, shares):
        """The least depth that was measured, is not below `last`, and reaches the first trained layer."""
        first = min((layer for layer, share in shares.items() if share), default=self.convs)
        return min(d for d in (0, *self.bias) if d >= max(last, self.convs - first))

    def points(self, last, shares):
        return self.bias.get(last, 0) + sum(self.weights[pair] for pair in shares.items() if pair[1])

    def kilobytes(self, last, shares):
        chosen = sum(self.weight_bytes[pair] for pair in shares.items() if pair[1])
        return (self.base_bytes + chosen + sum(self.bias_bytes[self.convs - last :])) / 1024


@dataclass(frozen=True)
class Found:
    scheme: str
    points: float  # sum of contributions
    kilobytes: float


# -- contributions -------------------------------------------------------------------------------------------


def trials(space, convs, rate, epochs, seeds):
    """{part of a scheme: its trials}: ("head",), ("bias", depth), ("weight", layer, share)."""
    deepest = max(*space.depths, convs - space.layers[0])
    policies = {("head",): "last"}
    policies.update({("bias", d): f"bias:{d}" for d in (*space.depths, deepest)})
    policies.update(
        {
            ("weight", i, r): "sparse:" + schemes.write(deepest, {i: r})
            for i in space.layers
            for r in space.ratios
        }
    )
    return {part: [Trial(policy, rate, epochs, seed) for seed in seeds] for part, policy in policies.items()}


def contributions(prepared, space, rate=plan.DEFAULT_RATE, epochs=2, seeds=(0,), runner=None, step=quiet):
    """Measure them all."""
    convs = len(plan.layers(prepared.trunk))
    wanted = trials(space, convs, rate, epochs, seeds)
    results = (runner or local)(prepared, [t for some in wanted.values() for t in some], step=step)
    mean = {part: float(np.mean([results[t]["test"] for t in some])) for part, some in wanted.items()}
    deepest = max(part[1] for part in mean if part[0] == "bias")
    return Contributions(
        convs,
        {d: mean["bias", d] - mean["head",] for d in sorted({*space.depths, deepest})},
        {(i, r): mean["weight", i, r] - mean["bias", deepest] for i in space.layers for r in space.ratios},
        *_bytes(prepared, space, convs),
    )


def _bytes(prepared, space, convs):
    """(of each layer's bias, {(layer, share): of its weights}, of the rest): the rule is a sum."""

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


def evolve(parts, kilobytes, generations=100, seed=0, step=quiet):
    """Schemes within so many kilobytes, best first; NSGA-II over a bias depth and a share for each layer."""
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
        step(trial.number + 1, POPULATION * generations)
        return one.points

    sampler = optuna.samplers.NSGAIISampler(population_size=POPULATION, seed=seed)
    optuna.create_study(direction="maximize", sampler=sampler).optimize(judge, POPULATION * generations)
    if not found:
        raise UsageError(f"no scheme fits {kilobytes} KB: allow more")
    return sorted(found.values(), key=lambda one: (-one.points, one.kilobytes))


@dataclass(frozen=True)
class Budget:
    """Limits; what is None is not limited."""

    kilobytes: float  # by MCUNetV3's rule
    ram: int | None = None  # arena and state, bytes
    flash: int | None = None  # package, bytes
    cycles: int | None = None  # of a step on a Pico, estimated

    def allows(self, made):
        costs = {
            "ram": made["arena_bytes"] + made["state_bytes"],
            "flash": made["flash_bytes"],
            "cycles": made["estimated_cycles"]["pico"],
        }
        return all(
            getattr(self, name) is None or value <= getattr(self, name) for name, value in costs.items()
        )


def exact(prepared, scheme):
    """What a scheme costs on the board."""
    trunk, chosen = make_plan(prepared.graph, f"sparse:{scheme}", classes=prepared.classes)
    program, placement, _ = passes.optimize(lower(trunk, chosen))
    return {
        **cost.of(trunk, chosen, program, placement),
        "flash_bytes": len(emit.package(program, placement, trunk, "model", chosen.labels)),
    }


def finalists(prepared, leaders, budget, wanted, patience=60, step=quiet):
    """The first schemes that the board can hold."""
    chosen = []
    for i, one in enumerate(leaders[:patience]):
        if len(chosen) < wanted and (
            budget == Budget(budget.kilobytes) or budget.allows(exact(prepared, one.scheme))
        ):
            chosen.append(one)
        step(i + 1, min(patience, len(leaders)))
    if not chosen:
        raise UsageError(
            f"none of the best {patience} schemes fits the board: allow more RAM, flash or cycles"
        )
    return chosen


# -- the whole search ----------------------------------------------------------------------------------------


def search(
    prepared,
    budget,
    space=None,
    rate=plan.DEFAULT_RATE,
    epochs=2,
    seeds=(0,),
    generations=100,
    wanted=4,
    runner=None,
    progress=quiet_progress,
):
    """{"scheme", "accuracy", "kilobytes", "tried", "contributions"}: the best of the finalists, all tried."""
    runner, space = runner or local, space or Space.of(prepared.trunk)
    with progress("contributions") as step:
        parts = contributions(prepared, space, rate, epochs, seeds, runner, step)
    with progress("evolution") as step:
        leaders = evolve(parts, budget.kilobytes, generations, step=step)
    with progress("costs") as step:
        chosen = finalists(prepared, leaders, budget, wanted, step=step)
    wanted = {one: [Trial(f"sparse:{one.scheme}", rate, epochs, seed) for seed in seeds] for one in chosen}
    with progress("finalists") as step:
        results = runner(prepared, [t for some in wanted.values() for t in some], step=step)
    tried = [
        {
            "scheme": one.scheme,
            "accuracy": float(np.mean([results[t]["test"] for t in some])),
            "points": round(one.points, 2),
            "kilobytes": round(one.kilobytes, 2),
        }
        for one, some in wanted.items()
    ]
    best = max(tried, key=lambda row: row["accuracy"])
    return {
        **best,
        "tried": tried,
        "contributions": {
            "bias": {str(d): round(v, 2) for d, v in parts.bias.items()},
            "weights": {f"{i}={Fraction(r)}": round(v, 2) for (i, r), v in parts.weights.items()},
        },
    }


def updates(prepared, scheme):
    """The scheme as a plan by hand, for --policy plan:FILE.json."""
    _, chosen = make_plan(prepared.graph, f"sparse:{scheme}", classes=prepared.classes)
    return {
        "updates": [
            {"layer": u.layer, "bias": u.bias, "weight_channels": list(u.channels), "axis": u.axis}
            for u in chosen.updates
        ]
    }


# -- where trials run ----------------------------------------------------------------------------------------


def local(prepared, wanted, workers=2, step=quiet):
    """{trial: result}, by processes of this machine."""
    results, todo = _known(prepared, wanted, step)
    if not todo:
        return results
    pool = ProcessPoolExecutor(
        min(workers, len(todo)), multiprocessing.get_context("spawn"), _adopt, (prepared,)
    )
    try:
        waiting = {pool.submit(_run, trial): trial for trial in todo}
        for one in as_completed(waiting):
            results[waiting[one]] = one.result()
            step(len(results), len(set(wanted)))
    finally:
        pool.shutdown(cancel_futures=True)
    return results


def _adopt(prepared):
    global _prepared
    _prepared = prepared


def _run(trial):
    return experiment.run(_prepared, trial)


def cluster(address):
    """A runner on a Ray cluster: a worker for each CPU, on machines that have trimtab and get the data."""
    try:
        import ray
    except ImportError:
        raise UsageError("a cluster takes Ray: pip install trimtab[ray]")
    from ray.util import ActorPool

    def runner(prepared, wanted, step=quiet):
        results, todo = _known(prepared, wanted, step)
        if not todo:
            return results
        ray.init(address, ignore_reinit_error=True, log_to_driver=False)
        worker, source = ray.remote(_Worker), ray.put(prepared.source)
        count = min(len(todo), int(ray.cluster_resources()["CPU"]))
        pool = ActorPool([worker.options(num_cpus=1).remote(source) for _ in range(count)])
        for trial, result in pool.map_unordered(lambda actor, trial: actor.run.remote(trial), todo):
            experiment.keep(prepared, trial, result)
            results[trial] = result
            step(len(results), len(set(wanted)))
        return results

    return runner


class _Worker:
    def __init__(self, source):
        self.prepared = experiment.Prepared(*source)

    def run(self, trial):
        return trial, experiment.run(self.prepared, trial)


def _known(prepared, wanted, step):
    """(results that are there, trials that are not)."""
    results = {trial: result for trial in wanted if (result := experiment.find(prepared, trial))}
    step(len(results), len(set(wanted)))
    return results, [trial for trial in dict.fromkeys(wanted) if trial not in results]
