"""Where each buffer lies in the arena: no two that live at the same time overlap.

A buffer lives from the first record that touches it to the last. Where records touch parts of it, each part
lives for itself, so rows that are not needed any more make room for others. Two buffers may be tied: a
kernel that reads an element before it writes it takes both at one address, so the first may end at the
record that begins the second.

Placement is greedy. In some order, each buffer (with those tied to it) goes to the lowest address that is
free through its whole life. Several orders are tried. Then the best is improved: what lies on top is placed
earlier. The result need not be the smallest, so the lower bound stands beside it.
"""

from dataclasses import dataclass, field

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
    """Lives at one address, as arrays of their pieces."""

    lives: list
    table: np.ndarray = field(init=False)  # rows start, stop, low, high

    def __post_init__(self):
        self.table = np.array([(p.start, p.stop, p.low, p.high) for v in self.lives for p in v.pieces]).T
        self.start, self.stop = int(self.table[0].min()), int(self.table[1].max())
        self.size = int(self.table[3].max())


def place(lives: list[Life], ties: tuple = ()) -> Placement:
    """Offsets for all buffers; sets buffer.offset and returns the placement.

    ties: pairs (dies, begins) of buffers.
    """
    groups = _groups(lives, ties)
    bound = lower_bound(lives, ties)
    size, offsets = _best(groups, bound)
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


def _best(groups, bound):
    """(size, offset of each group): the best of all orders, then improved."""
    found = []
    for key in ORDERS:
        order = sorted(range(len(groups)), key=lambda i: key(groups[i]))
        found.append((*_greedy(groups, order), order))
        if found[-1][0] <= bound:
            break
    best = min(found, key=lambda f: f[0], default=(0, [], []))
    rng = np.random.RandomState(1)
    size, offsets, order = best
    for _ in range(ROUNDS if best[0] > bound else 0):
        top = max(order, key=lambda i: offsets[i] + groups[i].size)
        order = [i for i in order if i != top]
        order.insert(rng.randint(0, max(1, len(order) // 2)), top)
        size, offsets = _greedy(groups, order)
        if size <= best[0]:
            best = size, offsets, order
        elif rng.rand() < 0.5:
            _, offsets, order = best
        if best[0] <= bound:
            break
    return best[:2]


def _greedy(groups, order):
    count = sum(g.table.shape[1] for g in groups)
    placed = np.zeros((4, count), np.int64)
    offsets, n, size = [0] * len(groups), 0, 0
    for i in order:
        g = groups[i]
        at = _lowest_free(placed[:, :n], g.table)
        offsets[i] = at
        k = g.table.shape[1]
        placed[:, n : n + k] = g.table
        placed[2:, n : n + k] += at
        n += k
        size = max(size, at + g.size)
    return size, offsets


def _lowest_free(placed, table):
    """The lowest offset at which no piece of the table meets a placed piece in time and address."""
    taken = []
    for start, stop, low, high in table.T:
        meet = (placed[0] <= stop) & (placed[1] >= start)
        taken += zip((placed[2][meet] - high).tolist(), (placed[3][meet] - low).tolist())
    at = 0
    for low, high in sorted(taken):  # an offset strictly between low and high overlaps
        if low >= at:
            break
        at = max(at, -(-int(high) // ALIGN) * ALIGN)
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


def lower_bound(lives: list[Life], ties: tuple = ()) -> int:
    """No placement can be smaller: so many bytes are live while some record runs."""
    return int(usage(lives, ties).max(initial=0))


def usage(lives: list[Life], ties: tuple = ()) -> np.ndarray:
    """Live bytes while each record runs; tied buffers count once."""
    total = np.zeros(max((v.stop for v in lives), default=0) + 2, np.int64)
    for group in _groups(lives, ties):
        moments = sorted({*group.table[0].tolist(), *(group.table[1] + 1).tolist()})
        for now, then in zip(moments, moments[1:]):
            total[now:then] += _extent(group.table, now)
    return total


def _extent(table, now):
    """Bytes of a group that are live while a record runs."""
    if table.shape[1] == 1:
        return table[3, 0] - table[2, 0]
    live = (table[0] <= now) & (table[1] >= now)
    total = end = 0
    for low, high in sorted(zip(table[2][live].tolist(), table[3][live].tolist())):
        total += max(0, high - max(low, end))
        end = max(end, high)
    return total
