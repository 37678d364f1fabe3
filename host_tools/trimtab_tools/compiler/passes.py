"""From a lowered program to one with addresses.

Each pass changes where and when things lie, never a bit of what is computed. Inputs that an update reads in
part are packed (gather.py). Layers run in strips where that lowers the peak (strips.py). Kernels write in
place where they can and every buffer gets its address (lifetimes.py, memory.py). Memory that lies idle
while a kernel runs becomes its scratch memory (scratch.py).
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

from trimtab.format import STATE

from ..graph.program import Buffer, Program
from . import lifetimes, memory, scratch
from .cost import record_macs
from .gather import pack
from .strips import Strips, cut, runs

RECORD = 32  # bytes of arena that one record less is worth: a record takes about 100 bytes of flash, and time
GAIN = 40  # a cut must lower the price by one part in so many
LONGEST = 20  # records of a run: longer ones repeat too much
ROWS = (1, 2, 3, 4, 6, 8, 12, 16)  # heights of strips that are tried
FINALISTS = 4  # runs for which all heights are tried


@dataclass(frozen=True)
class Cut:
    """A run of layers that is executed in strips."""

    layers: tuple
    rows: int  # of the last layer's output, for each strip
    keep: bool  # the rows that the next strip needs again are kept; else they are computed again
    extra_macs: int
    copied_bytes: int


def optimize(program: Program) -> tuple[Program, memory.Placement, tuple]:
    """(program, placement, cuts): every buffer has its address."""
    program, cuts = _cut_where_it_helps(pack(program))
    if program.study:
        program = replace(program, study=_cut_where_it_helps(program.study)[0])
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


def _cut_where_it_helps(program):
    cuts = []
    while True:
        now, peak = _price(program)
        if now - RECORD * len(program.timeline()) <= scratch.SMALL:  # scratch memory takes so much anyway
            return program, tuple(cuts)
        best = _best_cut(program, peak)
        if best is None or best[0] > now - now // GAIN:
            return program, tuple(cuts)
        cuts.append(_about(program, best[2], best[1]))
        program = best[2]


def _price(program):
    """(bytes of the peak, and what the records are worth; which forward record has the peak)."""
    tied, ties = lifetimes.in_place(program)
    usage = memory.usage(lifetimes.lives(tied), ties)
    before = sum(len(program.phases[name]) for name in ("map", "begin"))
    return int(usage.max()) + RECORD * len(program.timeline()), int(usage.argmax()) - before


def _best_cut(program, peak):
    """(price, Strips, program) of the best cut of a run that holds the peak, or None."""
    found = []
    for first, last in runs(program):
        if first <= peak < last <= first + LONGEST:
            found.append(_try(program, Strips(first, last, 4, True)))
    best = None
    for _, run, _ in sorted(found, key=lambda f: f[0])[:FINALISTS]:
        for rows in ROWS:
            for keep in (True, False):
                made = _try(program, Strips(run.first, run.last, rows, keep))
                if best is None or made[0] < best[0]:
                    best = made
    return best


def _try(program, strips):
    after = cut(program, strips)
    return _price(after)[0], strips, after


def _about(before, after, strips):
    layers = tuple(record.layer for record in before.phases["forward"][strips.first : strips.last])
    return Cut(
        layers, strips.rows, strips.keep, _macs(after) - _macs(before), _copied(after) - _copied(before)
    )


def _macs(program):
    return sum(map(record_macs, program.phases["forward"]))


def _copied(program):
    copies = [s.values for s in program.phases["forward"] if s.kernel == "copy_fwd"]
    return sum(v["ih"] * v["iw"] * v["ic"] for v in copies)
