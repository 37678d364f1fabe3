"""A graph becomes a package: plan, lower, place, emit, measure first exponents, run the golden sample."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from trimtab.kernels import Tier, plain

from ..graph.ir import Graph
from ..graph.program import Program
from ..operators.check import check
from ..policies.hook import Pixels
from ..policies.make import make_plan
from ..policies.plan import TrainPlan
from ..policies.policy import Request
from . import emit, facts, lifetimes, memory, passes, schedules
from .lowering import lower
from .measure import first_exponents, golden
from .memory import Placement


@dataclass
class Compiled:
    data: bytes  # the package
    trunk: Graph
    plan: TrainPlan
    program: Program
    placement: Placement
    cuts: tuple = ()  # runs of layers that are executed in strips
    curve: tuple = ()  # (bytes of arena, estimated cycles of a step), if it was asked for

    @property
    def program_state_bytes(self) -> int:
        return lifetimes.end(self.program.state)


def compile_graph(
    graph: Graph,
    policy: str | Request = "last",
    name: str = "model",
    *,
    pixels: Pixels | None = None,
    samples: np.ndarray | None = None,
    kernels: Tier | None = None,
    notes: dict | None = None,
    optimize: bool = True,
    ram: Sequence[int] = (),
    curve: bool = False,
    **options: Any,
) -> Compiled:
    """Compile an int8 graph. options: labels, loss, rate and so on, as make_plan takes them.

    samples: int8 inputs by which the first exponents are measured, else synthetic ones.
    kernels: the tier that runs them, and the golden sample; else the plain one, which every machine has.
    optimize=False leaves every buffer whole, in a place of its own: more memory, the same bits.
    ram: bytes of the blocks of memory that a board has. The step becomes as fast as it can be in them.
    Without it, the arena becomes as small as possible. If not even that fits, the smallest is made.
    curve: say what every size of the arena would buy; takes some seconds.
    """
    check(graph)
    trunk, chosen = make_plan(graph, policy, **options)
    check(trunk)
    lowered = lower(trunk, chosen, pixels)
    known = passes.all_schedules(lower(trunk, chosen, pixels)) if ram or curve else []
    if ram:
        arena = memory.arena_within(ram, lifetimes.line_up(lowered.state))
        arranged = passes.optimize_within(known, arena)
    else:
        arranged = passes.optimize(lowered) if optimize else passes.leave(lowered)
    program, placement, cuts = _named(*arranged)
    notes = {
        "policy": chosen.policy,
        "loss": chosen.loss,
        "rate": chosen.rate,
        **_head_notes(chosen),
        "report": facts.facts(trunk, chosen, program, placement),
        **(notes or {}),
    }
    parts = emit.parts(program, placement, trunk, name, chosen.labels, notes)
    kernels = kernels or plain()
    if chosen.loss != "none":
        first_exponents(program, parts.package(), kernels, chosen.hook, samples)
        parts.sections["state"] = emit.image(program.state)
    data = parts.package(golden=golden(parts.package(), kernels))
    return Compiled(data, trunk, chosen, program, placement, cuts, tuple(schedules.curve(known)))


def compile_inference(
    graph: Graph, keep_all: bool = False, name: str = "model", kernels: Tier | None = None
) -> Compiled:
    """A package that only predicts.

    keep_all gives every activation its own place, so that all can be looked at.
    """
    check(graph)
    lowered = lower(graph, TrainPlan())
    program, placement, cuts = _named(*(passes.leave(lowered) if keep_all else passes.optimize(lowered)))
    parts = emit.parts(program, placement, graph, name)
    data = parts.package(golden=golden(parts.package(), kernels or plain()))
    return Compiled(data, graph, TrainPlan(), program, placement, cuts)


def _named(program, placement, cuts):
    """The same; only activations that lie somewhere as a whole are named."""
    placed = {life.buffer for life in placement.lives}
    program.activations = {name: b for name, b in program.activations.items() if b in placed}
    return program, placement, cuts


def _head_notes(chosen):
    if not chosen.head:
        return {}
    head = chosen.head
    return {"head": {"features": head.features, "classes": head.classes, "kind": head.kind}}
