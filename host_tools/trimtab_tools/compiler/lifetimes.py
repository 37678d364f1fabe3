"""Lifetimes: from a program's time line to what the memory planner needs."""

from trimtab.format import ARENA, PHASES, WEIGHTS

from ..graph.program import IN_PLACE, Buffer
from .memory import Life, Piece, place


def lives(program, keep_all=False):
    """One Life for each arena buffer. The sample and target are there before the first step."""
    timeline = [step for _, step in program.timeline()]
    touched = {}
    for now, step in enumerate(timeline):
        for _, buffer, low, high, _ in step.spans:
            if buffer.space == ARENA:
                touched.setdefault(buffer, []).append((now, low, high))
    for buffer in (program.input, program.target):
        if buffer is not None:
            touched.setdefault(buffer, []).append((0, 0, buffer.size))
    predicted = sum(len(program.phases[phase]) for phase in PHASES[: PHASES.index("loss")])
    touched.setdefault(program.output, []).append(
        (predicted, 0, program.output.size)
    )  # Python reads it there
    studied = sum(len(program.phases[phase]) for phase in PHASES[: PHASES.index("study_map")])
    for buffer in (
        program.study and program.study.input,
        program.study and program.study.target,
        program.fisher,
    ):
        if buffer is not None:
            touched.setdefault(buffer, []).append((studied, 0, buffer.size))
    if program.fisher is not None:
        touched[program.fisher].append((len(timeline), 0, program.fisher.size))
    if program.pools:
        pool, marks = program.pools.inputs, touched[program.pools.inputs]
        touched[pool] = [
            (now, 0, pool.size) for now in (min(marks)[0], max(marks)[0])
        ]  # who lies where is not known yet
    if keep_all:
        touched = {b: [(0, 0, b.size), (len(timeline), 0, b.size)] for b in touched}
    return [_life(buffer, marks) for buffer, marks in touched.items()]


def _life(buffer, marks):
    """Each run of bytes that is always touched as one lives for itself."""
    cuts = sorted({0, buffer.size, *(m[1] for m in marks), *(m[2] for m in marks)})
    pieces = []
    for low, high in zip(cuts, cuts[1:]):
        times = [now for now, first, end in marks if first <= low and high <= end]
        if times:
            pieces.append(Piece(min(times), max(times), low, high))
    start, stop = min(p.start for p in pieces), max(p.stop for p in pieces)
    return Life(buffer, buffer.size, start, stop, pieces=tuple(pieces))


def assign(program, keep_all=False, ties=()):
    """Offsets for every buffer of the program: arena by lifetimes, state and constants one after another."""
    placement = place(lives(program, keep_all), () if keep_all else ties)
    _line_up(program.state)
    _line_up(program.constants())
    _line_up(program.constants(WEIGHTS))
    return placement


def in_place(program):
    """(program, ties): what a kernel may write where it reads, and the one that is read ends there."""
    life = {v.buffer: v for v in lives(program)}
    ties, used, phases, now = [], set(), {}, 0
    for phase in PHASES:
        phases[phase] = []
        for step in program.phases[phase]:
            tie = next(
                (t for t in _candidates(step) if _fits(life[t[0]], life[t[1]], now) and used.isdisjoint(t)),
                None,
            )
            if tie:
                used.add(tie[0])
                ties.append(tie)
            phases[phase].append(_with_plane(step) if tie else step)
            now += 1
    return program.but(**phases), ties


def _candidates(step):
    """Pairs (read, written) of arena buffers that this kernel takes at one address."""
    starts = {name: buffer for name, buffer, low, _, _ in step.spans if low == 0 and buffer.space == ARENA}
    for written, read in IN_PLACE.get(step.kernel, ()):
        a, b = starts.get(read), starts.get(written)
        if a is not None and b is not None and a is not b and _same_elements(step, read):
            yield a, b


def _same_elements(step, read):
    """Whether element i of what is read belongs to element i of what is written (depthwise: to its channel)."""
    v = step.values
    if step.kernel in ("depthwise_fwd", "depthwise_dx") and read in ("x", "gy"):
        return v["ic"] == v["oc"]
    return (
        read != "gy"
        or step.kernel != "scale_dx"
        or (v["ih"], v["iw"], v["ic"]) == (v["yh"], v["yw"], v["yc"])
    )


def _fits(a, b, now):
    return a.stop == now == b.start


def _with_plane(step):
    v = step.values
    planes = {"depthwise_fwd": ("ih", "iw"), "depthwise_dx": ("oh", "ow")}
    if step.kernel not in planes or v["ic"] != v["oc"]:
        return step
    h, w = planes[step.kernel]
    return step.but(plane=Buffer("plane", v[h] * v[w]))


def _line_up(buffers):
    at = 0
    for buffer in buffers:
        buffer.offset = at
        at += -(-buffer.size // 4) * 4


def end(buffers):
    return max((b.offset + -(-b.size // 4) * 4 for b in buffers), default=0)
