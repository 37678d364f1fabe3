"""Where each buffer lies in the arena: no two that live at the same time overlap.

A buffer lives from the first step that touches it to the last. Placement is greedy: buffers are taken in some
order and each goes to the lowest address that is free through its whole life. Several orders are tried and the
best kept; the result is not guaranteed to be the smallest, so the lower bound stands beside it.
"""

from dataclasses import dataclass

ALIGN = 4
ORDERS = (
    lambda r: (-r.size, r.start),
    lambda r: (-(r.stop - r.start), -r.size),
    lambda r: (r.start, -r.size),
    lambda r: (-r.size * (r.stop - r.start + 1), r.start),
    lambda r: (-r.stop, -r.size),
)


@dataclass(eq=False)
class Life:
    """A buffer's size and the first and last step (inclusive) at which its content matters."""

    buffer: object
    size: int
    start: int
    stop: int
    offset: int = 0


@dataclass
class Placement:
    lives: list
    size: int  # bytes of arena
    lower_bound: int  # largest sum of live sizes at any one step


def place(lives):
    """Offsets for all buffers; sets buffer.offset and returns the placement."""
    for life in lives:
        life.size = -(-life.size // ALIGN) * ALIGN
    best = min((_greedy(sorted(lives, key=order)) for order in ORDERS), key=lambda r: r[0], default=(0, {}))
    for life in lives:
        life.offset = life.buffer.offset = best[1][id(life)]
    clash = overlap(lives)
    if clash:
        raise AssertionError(f"memory planner put {clash[0].buffer.name} and {clash[1].buffer.name} together")
    return Placement(lives, best[0], lower_bound(lives))


def _greedy(order):
    placed, offsets = [], {}
    for life in order:
        at = 0
        for other in sorted((o for o in placed if _meet(o, life)), key=lambda o: offsets[id(o)]):
            if at + life.size <= offsets[id(other)]:
                break
            at = max(at, offsets[id(other)] + other.size)
        offsets[id(life)] = at
        placed.append(life)
    return max((offsets[id(p)] + p.size for p in placed), default=0), offsets


def _meet(a, b):
    return a.start <= b.stop and b.start <= a.stop


def overlap(lives):
    """Two buffers that share an address while both live, or None: the planner's oracle."""
    for i, a in enumerate(lives):
        for b in lives[i + 1 :]:
            if _meet(a, b) and a.offset < b.offset + b.size and b.offset < a.offset + a.size:
                return a, b
    return None


def lower_bound(lives):
    steps = {life.start for life in lives}
    return max((sum(v.size for v in lives if v.start <= t <= v.stop) for t in steps), default=0)
