"""From a lowered program to one with addresses.

Each pass changes where and when things lie, never a bit of what is computed. Inputs that an update reads in
part are packed (gather.py). Layers run in strips where that lowers the peak (cuts.py). Kernels write in
place where they can and every buffer gets its address (lifetimes.py, memory.py). Memory that lies idle
while a kernel runs becomes its scratch memory (scratch.py). Where more memory may be taken, schedules.py says
what it buys.
"""

from collections.abc import Iterator
from dataclasses import replace

from trimtab.format import STATE

from ..graph.program import Buffer, Program
from . import lifetimes, memory, schedules, scratch
from .cuts import cut_where_it_helps, variants
from .gather import pack

Arranged = tuple[Program, memory.Placement, tuple]  # program with addresses, placement, cuts


def optimize(program: Program) -> Arranged:
    """Every buffer has its address, in an arena as small as possible."""
    program, cuts = cut_where_it_helps(pack(program))
    program, ties = lifetimes.in_place(_with_study_cut(program).joined())
    placement = lifetimes.assign(program, ties=tuple(ties))
    return scratch.give(_split(program), placement), placement, cuts


def all_schedules(program: Program) -> list[schedules.Schedule]:
    """The schedules of a lowered program that the planner knows."""
    study = _with_study_cut(program).study
    found = []
    for variant, cuts in variants(pack(program)):
        variant, ties = lifetimes.in_place(replace(variant, study=study).joined())
        placement = lifetimes.assign(variant, ties=tuple(ties))
        found.append(schedules.Schedule(_split(variant), placement, cuts))
    return found


def optimize_within(found: list[schedules.Schedule], arena: int) -> Arranged:
    """The fastest step in an arena of so many bytes; the smallest arena if none of the schedules fits."""
    best = schedules.best(found, arena)
    return best.program_within(arena), best.placement, best.cuts


def _with_study_cut(program):
    return replace(program, study=cut_where_it_helps(program.study)[0]) if program.study else program


def leave(program: Program) -> Arranged:
    """The same without any pass: every buffer is whole and has its own place."""
    program = program.joined()
    return program, lifetimes.assign(program, keep_all=True), ()


def _split(program):
    """The program with its frozen start in a phase of its own, if only one small tensor leaves it.

    A board may keep that tensor instead of the sample and train from there (replay).
    """
    found = [(n, buffer) for n, buffer in _latents(program) if buffer.size < program.input.size]
    if not program.target or not found:
        return program
    n, latent = min(found, key=lambda f: (f[1].size, -f[0]))
    forward = program.phases["forward"]
    return replace(program.but(prefix=forward[:n], forward=forward[n:]), latent=latent)


def _latents(program) -> Iterator[tuple[int, Buffer]]:
    """(n, the only buffer that later records need) for each start of n records that reads nothing trained."""
    timeline = [record for _, record in program.timeline()]
    start = timeline.index(program.phases["forward"][0])
    last = {buffer: now for now, record in enumerate(timeline) for _, buffer, *_ in record.spans}
    live = {program.input}
    for n, record in enumerate(program.phases["forward"], 1):
        if any(buffer.space == STATE for _, buffer, *_ in record.spans):
            return
        live.update(buffer for _, buffer, _, _, written in record.spans if written)
        live = {buffer for buffer in live if last[buffer] >= start + n}
        if len(live) == 1 and program.input not in live:
            yield n, *live
