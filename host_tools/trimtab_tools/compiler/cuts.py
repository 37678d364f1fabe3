"""Which runs of layers are executed in strips (strips.py): the search for the cut that lowers the peak most.

A try is cheap, because a cut alters nothing outside its run: what lives there is known from the program
before it, and only the run's own records are priced.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from ..graph.program import Buffer, Program, Record
from . import lifetimes, memory, scratch
from .cost import record_macs
from .memory import Life
from .strips import Strips, cut, pieces, runs

RECORD = 32  # bytes of arena that one record less is worth: a record takes about 100 bytes of flash, and time
GAIN = 40  # a cut must lower the price by one part in so many
LONGEST = 20  # records of a run: longer ones repeat too much
ROWS = (1, 2, 3, 4, 6, 8, 12, 16)  # heights of strips that are tried
FINALISTS = 4  # runs for which all heights are tried
TALL = (4, 8, 16)  # heights that are tried where more memory may buy a faster step
BETWEEN = 5  # cuts that are followed up there


@dataclass(frozen=True)
class Cut:
    """A run of layers that is executed in strips."""

    layers: tuple
    rows: int  # of the last layer's output, for each strip
    keep: bool  # the rows that the next strip needs again are kept; else they are computed again
    extra_macs: int
    copied_bytes: int


def cut_where_it_helps(program: Program) -> tuple[Program, tuple]:
    """(program, cuts): with strips as long as they lower the price."""
    *_, last = _chain(program)
    return last


def variants(program: Program) -> Iterator[tuple[Program, tuple]]:
    """(program, cuts): as it is, as cut_where_it_helps leaves it, and some that are faster than the one and
    smaller than the other.
    """
    yield from _chain(program)
    for strips in _between(Line(program)):
        yield from _chain(*_cut(program, strips, ()))


def _chain(program, cuts=()):
    """(program, cuts) as it is, then with one cut after the other."""
    while True:
        yield program, cuts
        line = Line(program)
        if line.peak_bytes <= scratch.SMALL:  # scratch memory takes so much anyway
            return
        best = _best_cut(line)
        if best is None or best[0] > line.price - line.price // GAIN:
            return
        program, cuts = _cut(program, best[1], cuts)


def _cut(program, strips, cuts):
    after = cut(program, strips)
    return after, (*cuts, _about(program, after, strips))


class Line:
    """A program's time line as it is: what lives while each record runs."""

    def __init__(self, program: Program):
        self.program = program
        self.records = [record for _, record in program.timeline()]
        self.before = sum(len(program.phases[name]) for name in ("map", "begin"))  # the forward pass
        tied, ties = lifetimes.in_place(program)
        self.marks = lifetimes.marks(tied)
        self.lives = [lifetimes.life(*found) for found in self.marks.items()]
        self.usage = memory.usage(self.lives, tuple(ties)).tolist()
        self.peak_bytes = max(self.usage)
        self.peak = self.usage.index(self.peak_bytes) - self.before  # the forward record that has it
        self.price = self.peak_bytes + RECORD * len(self.records)

    def price_of(self, strips: Strips) -> int:
        """What the program would cost with a run in strips."""
        peak, made = self.cut(strips)
        return peak + RECORD * (len(self.records) + len(made) - strips.last + strips.first)

    def cut(self, strips: Strips) -> tuple[int, list[Record]]:
        """(bytes of the peak with a run in strips, the records of the run)."""
        start, end = self.before + strips.first, self.before + strips.last
        made = pieces(self.records[start:end], strips)
        lives = self._touched_lives(made, start, end)
        if any(p.stop == 0 for life in lives.values() for p in life.pieces):
            # rows that no strip reads make room before the run
            return Line(cut(self.program, strips)).peak_bytes, made
        outside = max(*self.usage[:start], *self.usage[end:], 0)
        return max(outside, self._through(start, end) + _peak(made, lives)), made

    def at_best(self, first: int, last: int) -> float:
        """Estimated cycles of a run of forward records with all the scratch memory that they can use."""
        return sum(map(scratch.at_best, self.records[self.before + first : self.before + last]))

    def _touched_lives(self, made: list[Record], start: int, end: int) -> dict[Buffer, Life]:
        """Lives of what a run touches. `made` runs from 1 on; all that is before is 0, all after is one."""
        touched = lifetimes.touches(made, 1)
        for buffer in self._touched(start, end):
            ends = [
                (0 if now < start else len(made) + 1, low, high)
                for now, low, high in self.marks[buffer]
                if now < start or now >= end
            ]
            if ends:
                touched.setdefault(buffer, []).extend(ends)
        return {buffer: lifetimes.life(buffer, found) for buffer, found in touched.items()}

    def _through(self, start: int, end: int) -> int:
        """Bytes that live during a run of records and that it does not touch."""
        touched = self._touched(start, end)
        return sum(
            p.high - p.low
            for life in self.lives
            if life.start < start and life.stop >= end and life.buffer not in touched
            for p in life.pieces
            if p.start < start and p.stop >= end
        )

    def _touched(self, start: int, end: int) -> dict[Buffer, None]:
        return dict.fromkeys(
            buffer for record in self.records[start:end] for buffer in lifetimes.touches([record])
        )


def _peak(records, lives):
    """The most bytes that live while one of the records 1, 2 ... runs."""
    ties = lifetimes.ties(records, lives, 1)
    usage = memory.usage(list(lives.values()), tuple(ties.values()))[1:]
    planes = [lifetimes.plane_bytes(r) if now in ties else 0 for now, r in enumerate(records, 1)]
    return max(int(size) + plane for size, plane in zip(usage, planes))


def _runs_at_peak(line):
    return [run for run in runs(line.program) if run[0] <= line.peak < run[1] <= run[0] + LONGEST]


def _best_cut(line):
    """(price, Strips) of the best cut of a run that holds the peak, or None."""
    found = []
    for run in _runs_at_peak(line):
        strips = Strips(*run, 4, True)
        found.append((line.price_of(strips), strips))
    best = None
    for _, run in sorted(found, key=lambda f: f[0])[:FINALISTS]:
        for rows in ROWS:
            for keep in (True, False):
                strips = Strips(run.first, run.last, rows, keep)
                price = line.price_of(strips)
                if best is None or price < best[0]:
                    best = price, strips
    return best


def _between(line):
    """Some Strips of which none has both a lower peak and fewer cycles."""
    found = []
    for run in _runs_at_peak(line):
        for rows in TALL:
            strips = Strips(*run, rows, True)
            peak, made = line.cut(strips)
            more = sum(map(scratch.at_best, made)) - line.at_best(*run)
            if peak < line.peak_bytes:
                found.append((peak, more, strips))
    front = []
    for peak, more, strips in sorted(found, key=lambda f: f[:2]):
        if not front or more < front[-1][1]:
            front.append((peak, more, strips))
    return [strips for *_, strips in front[:: max(1, -(-len(front) // BETWEEN))]]


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
