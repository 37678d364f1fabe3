"""Where each buffer lies in the arena: no two that live at the same time overlap.

A buffer lives from the first record that touches it to the last. Where records touch parts of it, each part
lives for itself, so rows that are not needed any more make room for others. Two buffers may be tied: a
kernel that reads an element before it writes it takes both at one address, so the first may end at the
record that begins the second.

Placement is greedy. In some order, each buffer (with those tied to it) goes to the lowest address that is
free through its whole life. Several orders are tried. Then the best is improved: what lies on top is placed
earlier. The result need not be the smallest, so the lower bound stands beside it.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..graph.program import Buffer

ALIGN = 4
ORDERS = (
    lambda g: (-g.size, g.start),
    lambda g: (-(g.stop - g.start), -g.size),
    lambda g: (g.start, -g.size),
    lambda g: (-g.size * (g.stop - g.start + 1), g.start),
    lambda g: (-g.stop, -g.size),
)
ROUNDS = 60  # of improvement


@dataclass(frozen=True)
class Piece:
    """Bytes [low, high) of a buffer matter from record start to record stop, both inclusive."""

    start: int
    stop: int
    low: int
    high: int


@dataclass(eq=False)
class Life:
    """A buffer's size and the first and last record (inclusive) at which its content matters."""

    buffer: Buffer
    size: int
    start: int
    stop: int
    offset: int = 0
    pieces: tuple = ()

    def __post_init__(self):
        self.size = -(-self.size // ALIGN) * ALIGN
        self.pieces = self.pieces or (Piece(self.start, self.stop, 0, self.size),)


@dataclass
class Placement:
    lives: list
    size: int  # bytes of arena
    lower_bound: int  # largest sum of live sizes while a record runs
    ties: tuple = ()  # pairs of buffers at one address


@dataclass(eq=False)
class _Group:
    """Lives at one address."""

    lives: list

    def __post_init__(self):
        self.pieces = [p for v in self.lives for p in v.pieces]
        self.start, self.stop = min(p.start for p in self.pieces), max(p.stop for p in self.pieces)
        self.size = max(p.high for p in self.pieces)


def place(lives: list[Life], ties: tuple = ()) -> Placement:
    """Offsets for all buffers; sets buffer.offset and returns the placement.

    ties: pairs (dies, begins) of buffers.
    """
    groups = _groups(lives, ties)
    bound = lower_bound(lives, ties)
    size, offsets = _best(groups, _apart(groups), bound)
    for group, offset in zip(groups, offsets):
        for life in group.lives:
            life.offset = life.buffer.offset = offset
    clash = overlap(lives, ties)
    if clash:
        raise AssertionError(f"memory planner put {clash[0].buffer.name} and {clash[1].buffer.name} together")
    return Placement(lives, size, bound, tuple(ties))


def _groups(lives, ties):
    leader = {id(v.buffer): id(v.buffer) for v in lives}

    def find(key):
        while leader[key] != key:
            key = leader[key]
        return key

    for a, b in ties:
        leader[find(id(b))] = find(id(a))
    members = {}
    for life in lives:
        members.setdefault(find(id(life.buffer)), []).append(life)
    return [_Group(m) for m in members.values()]


def _apart(groups):
    """For each group [(another that lives at the same time, low, high)]: strictly between low and high, added
    to the other's offset, its own may not lie.
    """
    table = np.array([(p.start, p.stop, p.low, p.high) for g in groups for p in g.pieces]).reshape(-1, 4).T
    owner = np.repeat(np.arange(len(groups)), [len(g.pieces) for g in groups])
    apart = []
    for i, group in enumerate(groups):
        found = []
        for p in group.pieces:
            meet = (table[0] <= p.stop) & (table[1] >= p.start) & (owner != i)
            low, high = table[2][meet] - p.high, table[3][meet] - p.low
            found += zip(owner[meet].tolist(), low.tolist(), high.tolist())
        apart.append(_merged(found))
    return apart


def _merged(ranges):
    """The same with ranges of one group that overlap made one."""
    merged = []
    for other, low, high in sorted(ranges):
        if merged and merged[-1][0] == other and low < merged[-1][2]:
            merged[-1] = other, merged[-1][1], max(high, merged[-1][2])
        else:
            merged.append((other, low, high))
    return merged


def _best(groups, apart, bound):
    """(size, offset of each group): the best of all orders, then improved."""
    found = []
    for key in ORDERS:
        order = sorted(range(len(groups)), key=lambda i: key(groups[i]))
        found.append((*_greedy(groups, apart, order), order))
        if found[-1][0] <= bound:
            break
    best = min(found, key=lambda f: f[0], default=(0, [], []))
    rng = np.random.RandomState(1)
    size, offsets, order = best
    for _ in range(ROUNDS if best[0] > bound else 0):
        top = max(order, key=lambda i: offsets[i] + groups[i].size)
        order = [i for i in order if i != top]
        order.insert(rng.randint(0, max(1, len(order) // 2)), top)
        size, offsets = _greedy(groups, apart, order)
        if size <= best[0]:
            best = size, offsets, order
        elif rng.rand() < 0.5:
            _, offsets, order = best
        if best[0] <= bound:
            break
    return best[:2]


def _greedy(groups, apart, order):
    offsets = [None] * len(groups)
    size = 0
    for i in order:
        offsets[i] = at = _lowest_free(apart[i], offsets)
        size = max(size, at + groups[i].size)
    return size, offsets


def _lowest_free(apart, offsets):
    """The lowest offset at which a group meets none that has its place, in time and address."""
    at = 0
    taken = [(offsets[j] + low, offsets[j] + high) for j, low, high in apart if offsets[j] is not None]
    for low, high in sorted(taken):
        if low >= at:
            break
        at = max(at, -(-high // ALIGN) * ALIGN)
    return at


def overlap(lives: list[Life], ties: tuple = ()) -> tuple[Life, Life] | None:
    """Two buffers that share an address while both live, or None: the planner's oracle."""
    tied = {(id(a), id(b)) for a, b in ties}
    for i, a in enumerate(lives):
        for b in lives[i + 1 :]:
            if a.start <= b.stop and b.start <= a.stop and _clash(a, b, tied):
                return a, b
    return None


def _clash(a, b, tied):
    if b.start < a.start:
        a, b = b, a
    shared = (id(a.buffer), id(b.buffer)) in tied and a.offset == b.offset and a.stop == b.start
    return not shared and any(
        p.start <= q.stop
        and q.start <= p.stop
        and a.offset + p.low < b.offset + q.high
        and b.offset + q.low < a.offset + p.high
        for p in a.pieces
        for q in b.pieces
    )


def arena_within(blocks: Sequence[int], state: int) -> int:
    """The largest arena that a board's blocks of memory can hold beside the state."""
    left = [block - state for block in blocks]
    arenas = [max([left[i], *blocks[:i], *blocks[i + 1 :]]) for i in range(len(blocks)) if left[i] >= 0]
    return max(arenas, default=0)


def lower_bound(lives: list[Life], ties: tuple = ()) -> int:
    """No placement can be smaller: so many bytes are live while some record runs."""
    return int(usage(lives, ties).max(initial=0))


def usage(lives: list[Life], ties: tuple = ()) -> np.ndarray:
    """Live bytes while each record runs; what tied buffers share counts once."""
    change = [0] * (max((v.stop for v in lives), default=0) + 3)
    for life in lives:
        for p in life.pieces:
            change[p.start] += p.high - p.low
            change[p.stop + 1] -= p.high - p.low
    by_buffer = {id(v.buffer): v for v in lives} if ties else {}
    for a, b in ties:
        now, shared = _shared(by_buffer[id(a)], by_buffer[id(b)])
        change[now] -= shared
        change[now + 1] += shared
    return np.cumsum(change[:-1])


def _shared(dies, begins):
    """(the record at which one of two tied lives ends and the other begins, bytes that both take then)."""
    now = begins.start
    return now, sum(
        max(0, min(p.high, q.high) - max(p.low, q.low))
        for p in dies.pieces
        if p.stop == now
        for q in begins.pieces
        if q.start == now
    )
