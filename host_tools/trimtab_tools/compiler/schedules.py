"""The schedules of one program, from the one in the smallest arena to the fastest step.

They differ in what is cut into strips (cuts.py), which repeats or copies rows, and in how much scratch memory
records have (scratch.py). In an arena of some size, the best schedule is the fastest of those that fit. The
schedules do not depend on that size, and none becomes slower in a larger arena. So more RAM never makes a
step slower.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import accumulate

from ..graph.program import Program
from . import scratch
from .cost import NOT_OF_A_STEP
from .memory import Placement


@dataclass
class Schedule:
    """A program with addresses, whose records have no scratch memory yet."""

    program: Program
    placement: Placement
    cuts: tuple
    curve: list = field(init=False)  # [(bytes of arena, estimated cycles of a step)], ever larger and faster

    def __post_init__(self):
        self.curve = list(_curve(self.program, self.placement))

    @property
    def least(self) -> int:
        """Bytes of the smallest arena in which it runs."""
        return self.placement.size

    def cycles(self, arena: int) -> float:
        """Estimated cycles of a step in an arena of at least `least` bytes."""
        return next(cycles for size, cycles in reversed(self.curve) if size <= arena)

    def program_within(self, arena: int) -> Program:
        """The program with addresses and scratch memory, which joins the placement."""
        for life in self.placement.lives:  # another schedule may have placed these buffers since
            life.buffer.offset = life.offset
        return scratch.give_within(self.program, self.placement, max(arena, self.least))


def best(schedules: list[Schedule], arena: int) -> Schedule:
    """The fastest schedule that fits; of equals the one that needs least. If none fits, the smallest."""
    fitting = [s for s in schedules if s.least <= arena]
    if not fitting:
        return min(schedules, key=lambda s: s.least)
    return min(fitting, key=lambda s: (s.cycles(arena), s.least))


def curve(schedules: list[Schedule]) -> list[tuple[int, int]]:
    """[(bytes of arena, estimated cycles of a step)]: what each arena buys that buys anything."""
    points: list[tuple[int, int]] = []
    for arena, cycles in sorted(point for s in schedules for point in s.curve):
        if not points or round(cycles) < points[-1][1]:
            points = [p for p in points if p[0] != arena] + [(arena, round(cycles))]
    return points


def _curve(program: Program, placement: Placement) -> Iterator[tuple[int, float]]:
    """A record is as fast as the fastest of its choices that fit; all records together are a step."""
    change: dict[int, float] = {}  # arena -> cycles more than in a smaller one
    for now, (phase, record) in enumerate(program.timeline()):
        if phase in NOT_OF_A_STEP:
            continue
        fastest = 0.0
        for choice in sorted(scratch.choices(record, placement, now)):
            if not fastest or choice.cycles < fastest:
                change[choice.arena] = change.get(choice.arena, 0) + choice.cycles - fastest
                fastest = choice.cycles
    sizes = sorted(change)
    return zip(sizes, accumulate(change[size] for size in sizes))
