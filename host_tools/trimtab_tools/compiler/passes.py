"""From a lowered program to one with addresses.

Each pass changes where and when things lie, never a bit of what is computed. Inputs that an update reads in
part are packed (gather.py). Layers run in strips where that lowers the peak (cuts.py). Kernels write in
place where they can and every buffer gets its address (lifetimes.py, memory.py). Memory that lies idle
while a kernel runs becomes its scratch memory (scratch.py).
"""

from collections.abc import Iterator
from dataclasses import replace

from trimtab.format import STATE

from ..graph.program import Buffer, Program
from . import lifetimes, memory, scratch
from .cuts import cut_where_it_helps
from .gather import pack


def optimize(program: Program) -> tuple[Program, memory.Placement, tuple]:
    """(program, placement, cuts): every buffer has its address."""
    program, cuts = cut_where_it_helps(pack(program))
    if program.study:
        program = replace(program, study=cut_where_it_helps(program.study)[0])
    program, ties = lifetimes.in_place(program.joined())
    placement = lifetimes.assign(program, ties=tuple(ties))
    return scratch.give(_split(program), placement), placement, cuts


def leave(program: Program) -> tuple[Program, memory.Placement, tuple]:
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
