"""From a lowered program to one with addresses: pack, cut into strips where that lowers the peak, write in place, place.

Each pass changes where and when things lie, never a bit of what is computed.
"""

from dataclasses import dataclass, replace

from trimtab.format import STATE

from . import lifetimes, memory, scratch
from .cost import step_macs
from .gather import pack
from .strips import Patches, cut, runs

RECORD = 32  # bytes of arena that one more step record is worth: it takes about 100 bytes of flash, and time
GAIN = 40  # a cut must lower peak and records by one part in so many
LONGEST = 20  # steps of a run
ROWS = (1, 2, 3, 4, 6, 8, 12, 16)


@dataclass(frozen=True)
class Cut:
    """A run of layers that is executed in strips."""

    layers: tuple
    rows: int  # of the last layer's output, for each strip
    keep: bool  # halos are kept; else they are computed again
    extra_macs: int
    copied_bytes: int


def optimize(program):
    """(program, placement, cuts)."""
    program, cuts = _cut_where_it_helps(pack(program))
    if program.study:
        program = replace(program, study=_cut_where_it_helps(program.study)[0])
    program, ties = lifetimes.in_place(program.joined())
    placement = lifetimes.assign(program, ties=ties)
    return scratch.give(_split(program), placement), placement, cuts


def leave(program):
    """The same without any pass: every buffer has its own place."""
    program = program.joined()
    return program, lifetimes.assign(program, keep_all=True), ()


def _split(program):
    """The program with the frozen part of its forward pass in a phase of its own, where that leaves a single tensor."""
    found = [(n, buffer) for n, buffer in _latents(program) if buffer.size < program.input.size]
    if not program.target or not found:
        return program
    n, latent = min(found, key=lambda f: (f[1].size, -f[0]))
    forward = program.phases["forward"]
    return replace(program.but(prefix=forward[:n], forward=forward[n:]), latent=latent)


def _latents(program):
    """(n, the only buffer that later steps need) for runs of n forward steps that read nothing trained."""
    timeline = [step for _, step in program.timeline()]
    start = timeline.index(program.phases["forward"][0])
    last = {buffer: now for now, step in enumerate(timeline) for _, buffer, *_ in step.spans}
    live = {program.input}
    for n, step in enumerate(program.phases["forward"], 1):
        if any(buffer.space == STATE for _, buffer, *_ in step.spans):
            return
        live.update(buffer for _, buffer, _, _, written in step.spans if written)
        live = {buffer for buffer in live if last[buffer] >= start + n}
        if len(live) == 1 and program.input not in live:
            yield n, *live


def _cut_where_it_helps(program):
    cuts = []
    while True:
        now, peak = _price(program)
        if now - RECORD * len(program.timeline()) <= scratch.SMALL:  # so much the fast kernels take anyway
            return program, tuple(cuts)
        best = _best_cut(program, peak)
        if best is None or best[0] > now - now // GAIN:
            return program, tuple(cuts)
        cuts.append(_about(program, best[2], best[1]))
        program = best[2]


def _price(program):
    """(bytes of the peak and of what records are worth, index of the peak's step in the forward phase)."""
    tied, ties = lifetimes.in_place(program)
    usage = memory.usage(lifetimes.lives(tied), ties)
    before = sum(len(program.phases[name]) for name in ("map", "begin"))
    return int(usage.max()) + RECORD * len(program.timeline()), int(usage.argmax()) - before


def _best_cut(program, peak):
    """(price, Patches, program) of the best cut of a run that holds the peak, or None."""
    found = []
    for first, last in runs(program):
        if first <= peak < last <= first + LONGEST:
            found.append(_try(program, Patches(first, last, 4, True)))
    best = None
    for _, patches, _ in sorted(found, key=lambda f: f[0])[:4]:
        for rows in ROWS:
            for keep in (True, False):
                made = _try(program, Patches(patches.first, patches.last, rows, keep))
                if best is None or made[0] < best[0]:
                    best = made
    return best


def _try(program, patches):
    after = cut(program, patches)
    return _price(after)[0], patches, after


def _about(before, after, patches):
    layers = tuple(step.layer for step in before.phases["forward"][patches.first : patches.last])
    return Cut(
        layers, patches.rows, patches.keep, _macs(after) - _macs(before), _copied(after) - _copied(before)
    )


def _macs(program):
    return sum(map(step_macs, program.phases["forward"]))


def _copied(program):
    copies = [s.values for s in program.phases["forward"] if s.kernel == "copy_fwd"]
    return sum(v["ih"] * v["iw"] * v["ic"] for v in copies)
