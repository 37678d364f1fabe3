"""When buffers live, from a program's time line; which of them a kernel may write where it reads another."""

from collections.abc import Iterable

from trimtab.format import ARENA, PHASES, WEIGHTS

from ..graph.program import IN_PLACE, Buffer, Program, Record
from .memory import Life, Piece, Placement, place

Marks = dict[Buffer, list[tuple[int, int, int]]]  # buffer -> (when, first byte, end) of each touch


def lives(program: Program, keep_all: bool = False) -> list[Life]:
    """One Life for each arena buffer."""
    touched = marks(program)
    if keep_all:
        last = len(program.timeline())
        touched = {b: [(now, 0, b.size) for now in (0, last)] for b in touched}
    return [life(buffer, found) for buffer, found in touched.items()]


def marks(program: Program) -> Marks:
    """When each arena buffer is touched, and where, by records and from outside."""
    touched = touches([record for _, record in program.timeline()])
    for now, buffer in _from_outside(program):
        if buffer is not None:
            touched.setdefault(buffer, []).append((now, 0, buffer.size))
    if program.pools:  # a board decides what lies where in a pool, so all of it lives as long as any part
        pool = program.pools.inputs
        times = [now for now, _, _ in touched[pool]]
        touched[pool] = [(now, 0, pool.size) for now in (min(times), max(times))]
    return touched


def touches(records: Iterable[Record], start: int = 0) -> Marks:
    """When each arena buffer is touched, and where, by records of which the first runs at `start`."""
    touched: Marks = {}
    for now, record in enumerate(records, start):
        for _, buffer, low, high, _ in record.spans:
            if buffer.space == ARENA:
                touched.setdefault(buffer, []).append((now, low, high))
    return touched


def _from_outside(program):
    """(when, buffer) of what Python writes before records run, or reads after them."""
    study, ends = program.study, len(program.timeline())
    yield 0, program.input
    yield 0, program.target
    yield _start(program, "loss"), program.output
    judged = _start(program, "study_map")
    yield judged, study and study.input
    yield judged, study and study.target
    yield judged, program.fisher
    yield ends, program.fisher


def _start(program, phase):
    """How many records run before a phase."""
    return sum(len(program.phases[name]) for name in PHASES[: PHASES.index(phase)])


def life(buffer: Buffer, found: list[tuple[int, int, int]]) -> Life:
    """A run of bytes that is always touched as one is a piece, and lives for itself."""
    cuts = sorted({0, buffer.size, *(m[1] for m in found), *(m[2] for m in found)})
    place = {cut: i for i, cut in enumerate(cuts)}
    times: list[list[int]] = [[] for _ in cuts]
    for now, low, high in found:
        for i in range(place[low], place[high]):
            times[i].append(now)
    runs = zip(times, cuts, cuts[1:])
    pieces = tuple(Piece(min(when), max(when), low, high) for when, low, high in runs if when)
    return Life(buffer, buffer.size, min(p.start for p in pieces), max(p.stop for p in pieces), pieces=pieces)


def assign(program: Program, keep_all: bool = False, ties: tuple = ()) -> Placement:
    """Offsets for every buffer of the program: arena by lifetimes, state and constants one after another."""
    placement = place(lives(program, keep_all), () if keep_all else ties)
    line_up(program.state)
    line_up(program.constants())
    line_up(program.constants(WEIGHTS))
    return placement


def in_place(program: Program) -> tuple[Program, list]:
    """(program, ties): pairs (read, written) of buffers of which the first ends where the second begins."""
    tied = ties([record for _, record in program.timeline()], {v.buffer: v for v in lives(program)})
    phases: dict[str, list] = {}
    now = 0
    for phase in PHASES:
        phases[phase] = []
        for record in program.phases[phase]:
            phases[phase].append(_with_plane(record) if now in tied else record)
            now += 1
    return program.but(**phases), list(tied.values())


def ties(records: Iterable[Record], life: dict[Buffer, Life], start: int = 0) -> dict[int, tuple]:
    """When a kernel may write where it reads: {when: (read, written)}."""
    found: dict[int, tuple] = {}
    used: set = set()
    for now, record in enumerate(records, start):
        for tie in _candidates(record):
            if _fits(life[tie[0]], life[tie[1]], now) and used.isdisjoint(tie):
                used.add(tie[0])
                found[now] = tie
                break
    return found


def _candidates(record):
    """Pairs (read, written) of arena buffers that a kernel takes at one address."""
    starts = {name: buffer for name, buffer, low, _, _ in record.spans if low == 0 and buffer.space == ARENA}
    for written, read in IN_PLACE.get(record.kernel, ()):
        a, b = starts.get(read), starts.get(written)
        if a is not None and b is not None and a is not b and _same_elements(record, read):
            yield a, b


def _same_elements(record, read):
    """Does element i of what is read belong to element i of what is written (depthwise: to its channel)?"""
    v = record.values
    if record.kernel in ("depthwise_fwd", "depthwise_dx") and read in ("x", "gy"):
        return v["ic"] == v["oc"]
    return (
        read != "gy"
        or record.kernel != "scale_dx"
        or (v["ih"], v["iw"], v["ic"]) == (v["yh"], v["yw"], v["yc"])
    )


def _fits(a, b, now):
    return a.stop == now == b.start


PLANES = {"depthwise_fwd": ("ih", "iw"), "depthwise_dx": ("oh", "ow")}


def plane_bytes(record: Record) -> int:
    """A depthwise kernel in place copies each channel to a plane of so many bytes before it writes there."""
    v = record.values
    if record.kernel not in PLANES or v["ic"] != v["oc"]:
        return 0
    h, w = PLANES[record.kernel]
    return v[h] * v[w]


def _with_plane(record):
    size = plane_bytes(record)
    return record.but(plane=Buffer("plane", size)) if size else record


def line_up(buffers: Iterable[Buffer]) -> int:
    """Buffers get addresses one after another. Returns how many bytes that takes."""
    at = 0
    for buffer in buffers:
        buffer.offset = at
        at += -(-buffer.size // 4) * 4
    return at


def end(buffers: Iterable[Buffer]) -> int:
    """Bytes that buffers take, one after another."""
    return max((b.offset + -(-b.size // 4) * 4 for b in buffers), default=0)
