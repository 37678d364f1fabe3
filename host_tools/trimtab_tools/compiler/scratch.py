"""Memory that lies idle while a kernel runs becomes its scratch memory: fast loops pack their operands there.

A record gets the widest gap between the buffers that live while it runs. So scratch memory never raises the
peak, except in an arena below SMALL bytes, which may grow to that. Where the arena may be larger than what
lives in it (schedules.py), a record takes as much as makes it faster, also on top of all that lives.
"""

from collections.abc import Iterator
from typing import NamedTuple

from trimtab.format import ARENA, PHASES

from ..graph.program import Buffer, Program, Record, Slot
from . import cycles
from .memory import Life, Placement

SMALL = 4096  # bytes that an arena may have for the sake of speed
BLOCK = (
    16  # positions or columns that are packed at once: with so many, packing the weights again hardly counts
)
LONGEST = 64  # short columns are packed in longer blocks, up to so many,
BLOCKS = 1024  # and so many words: then the calls of the loops hardly count
LEAST = 2  # positions or columns for which the fast loops run at all
TILES = {(3, 2), (5, 1), (5, 2), (7, 1), (7, 2)}  # (kernel, stride) along a row


SIZES = 8  # of scratch memory that are tried for a record, where more of it makes it faster


class Gap(NamedTuple):
    """A run of the arena in which nothing lives at a record."""

    at: int
    size: int


class Choice(NamedTuple):
    """Scratch memory for a record: in an arena of `arena` bytes it may have these words, and takes cycles."""

    arena: int
    cycles: float
    at: int = 0
    words: int = 0


def give(program: Program, placement: Placement) -> Program:
    """The program whose records know their scratch memory; it joins the placement."""

    def widest(record, now):
        least, most = _words(record)
        gap = _widest_gap(placement, now, max(placement.size, SMALL))
        return (gap.at, min(most, gap.size // 4)) if most and gap.size >= 4 * least else (0, 0)

    return _given(program, placement, widest)


def give_within(program: Program, placement: Placement, arena: int) -> Program:
    """The same in an arena of so many bytes: each record has what makes it fastest, and no more than that."""

    def fastest(record, now):
        fitting = [c for c in choices(record, placement, now) if c.arena <= arena]
        best = min(fitting, key=lambda c: (c.cycles, c.arena, c.words))
        return best.at, best.words

    return _given(program, placement, fastest)


def _given(program, placement, chosen):
    phases = {}
    timeline, top = enumerate(program.timeline()), placement.size
    taken = []
    for now, (phase, record) in timeline:
        at, words = chosen(record, now)
        if words:
            buffer = Buffer("scratch", 4 * words, offset=at)
            top = max(top, at + buffer.size)
            taken.append(Life(buffer, buffer.size, now, now, offset=at))
            record = record.but(scratch=buffer, words=words)
        phases.setdefault(phase, []).append(record)
    placement.lives += taken
    placement.size = top
    return program.but(**{phase: phases.get(phase, []) for phase in PHASES})


def choices(record: Record, placement: Placement, now: int) -> Iterator[Choice]:
    """What a record may have: nothing, what a gap holds, or more on top of all that lives."""
    yield Choice(placement.size, cycles.of(record.kernel, record.values))
    if _words(record)[1]:
        gaps = list(_gaps(placement, now, placement.size))
        widest = max(gaps, key=lambda gap: gap.size)
        top = gaps[-1].at
        for words in _sizes(record):
            values = {**record.values, "scratch": True, "words": words}
            fits = 4 * words <= widest.size
            at = widest.at if fits else top
            yield Choice(max(placement.size, at + 4 * words), cycles.of(record.kernel, values), at, words)


def at_best(record: Record) -> float:
    """Estimated cycles of a record with all the scratch memory that it can use."""
    most = _words(record)[1]
    values = {**record.values, "scratch": True, "words": most} if most else record.values
    return cycles.of(record.kernel, values)


def _sizes(record):
    """Numbers of words from the least to the most that a record can use."""
    least, most = _words(record)
    return sorted({least + (most - least) * i // (SIZES - 1) for i in range(SIZES)})


def _words(record):
    """(least, most) words that a record can use."""
    if record.kernel not in WORDS or _overflows(record):
        return 0, 0
    return WORDS[record.kernel](record.values)


def _widest_gap(placement, now, end):
    """The first widest gap in an arena of `end` bytes."""
    return max(_gaps(placement, now, end), key=lambda gap: gap.size)


def _gaps(placement, now, end):
    """The runs of an arena of `end` bytes in which nothing lives at a record, the last up to the end."""
    taken = sorted(
        (v.offset + p.low, v.offset + p.high)
        for v in placement.lives
        for p in v.pieces
        if p.start <= now <= p.stop
    )
    at = 0
    for low, high in [*taken, (end, end)]:
        yield Gap(at, max(0, low - at))
        at = max(at, -(-high // 4) * 4)


def _overflows(record):
    """Weights of -128: two products of -128 by -128 do not fit 16 bits.

    Forward kernels take bytes as they are.
    """
    if not record.kernel.endswith("_fwd"):
        return False
    planes = [
        v.buffer if isinstance(v, Slot) else v for v in (record.values.get("w"), record.values.get("k"))
    ]
    return any(plane.space == ARENA or b"\x80" in plane.data for plane in planes if plane is not None)


# -- words that a kernel can use, (least, most): the files of firmware/kernels/packed divide what they get


def _row(n):
    return (n + 3) // 4 * 2


def _up_to_even(n):
    return n + n % 2


def _packed_rows(row, rows, columns):
    """A row of bytes; packed rows of one operand, all if there is room; a block of columns of the other."""
    if columns < LEAST:
        return 0, 0
    block = _up_to_even(min(columns, max(BLOCK, min(LONGEST, BLOCKS // (row + 1)))))
    return row // 2 + (row + 1) * (1 + LEAST), row // 2 + (row + 1) * (
        (rows if columns > block else 1) + block
    )


def _one_position(v):
    """Prepared inputs; those of a window that has pads or several rows; sums if weights lie in two planes."""
    taps = v["kh"] * v["kw"]
    size = taps * v["ic"]
    n = (size + 6) // 4 * 5 + 3 + (_row(size) // 2 if taps > 1 else 0)
    if v.get("w") is not None and v.get("k") is not None:
        n += v["oc"]
    return n, n


def _conv_fwd(v):
    if v["oh"] * v["ow"] == 1:
        return _one_position(v)
    return _packed_rows(_row(v["kh"] * v["kw"] * v["ic"]), v["oc"], v["oh"] * v["ow"])


def _conv_dw(v):
    if v["oh"] * v["ow"] < 4:
        return 0, 0
    return _packed_rows(_row(v["oh"] * v["ow"]), v["oc"], v["kh"] * v["kw"] * v["nk"])


def _conv_dx(v):
    terms = -(-v["kh"] // v["sh"]) * -(-v["kw"] // v["sw"]) * v["oc"]
    inputs = -(-v["ih"] // v["sh"]) * -(-v["iw"] // v["sw"])
    if v["ih"] * v["iw"] < LEAST or v["sh"] > v["kh"] or v["sw"] > v["kw"]:
        return 0, 0
    return terms + (terms + 5) * LEAST, terms + (terms + 5) * _up_to_even(min(inputs, BLOCK))


def _slides(v, size, pads, out):
    """A 3x3 kernel of stride 1, over a plane with at most one pad around it."""
    return (v["kh"], v["kw"], v["sh"], v["sw"]) == (3, 3, 1, 1) and all(
        0 <= p <= 1 and o <= n + p - 1 for n, p, o in zip(size, pads, out)
    )


def _depthwise_fwd(v):
    image, result, pads = (v["ih"], v["iw"]), (v["oh"], v["ow"]), (v["pt"], v["pl"])
    if _slides(v, image, pads, result):
        n = (v["ih"] + 1) * (v["iw"] + 2)
    elif (
        (v["kw"], v["sw"]) in TILES
        and v["kh"] <= 8
        and v["pt"] < v["kh"]
        and v["pl"] < v["kw"]
        and v["sh"] <= 3
    ):
        pairs, width, above = (v["kh"] + 1) // 2, (v["ow"] + 3) // 4 * 4, v["pt"] == 0
        pitch = max((width - 1) * v["sw"] + v["kw"], v["pl"] + v["iw"])
        if v["sh"] == 2:
            rows = max(v["oh"] - 1 + pairs, (v["pt"] + v["ih"] + 1) // 2)
        else:
            rows = above + max((v["oh"] - 1) * v["sh"] + 2 * pairs - 1, v["pt"] + v["ih"])
        n = rows * pitch + width * v["oh"] + (v["oh"] + 1) // 2
    else:
        n = 0
    return n, n


def _phase(size, k, stride, pad, first):
    """Inputs along an axis that meet taps first, first + stride ...: (how many, taps, output of one)."""
    at = (first - pad) % stride
    return max(0, -(-(size - at) // stride)), -(-(k - first) // stride), (at + pad - first) // stride


def _depthwise_dx(v):
    image, result, pads = (v["ih"], v["iw"]), (v["oh"], v["ow"]), (2 - v["pt"], 2 - v["pl"])
    if v["ic"] != v["oc"] or v["sh"] > v["kh"] or v["sw"] > v["kw"]:
        return 0, 0
    if _slides(v, result, pads, image):
        n = (v["oh"] + 1) * (v["ow"] + 2)
        return n, n
    taps = -(-v["kw"] // v["sw"])
    if max(taps, -(-v["kh"] // v["sh"])) > 7 or v["sh"] * v["sw"] > 4 or v["pl"] >= v["kw"]:
        return 0, 0
    phases = [_phase(v["iw"], v["kw"], v["sw"], v["pl"], kx) for kx in range(v["sw"])]
    width = 5 if taps <= 5 else 7
    left = max(0, *(cols - 1 - ox for _, cols, ox in phases))
    pitch = left + max(v["ow"], *((wide + 3) // 4 * 4 + width + ox - cols for wide, cols, ox in phases))
    n = v["oh"] * pitch + max((wide + 3) // 4 * 4 for wide, *_ in phases) * -(-v["ih"] // v["sh"])
    return n, n


def _depthwise_dw(v):
    """Pairs of rows of errors, in fours, and of the inputs that they see."""
    if v["sw"] > 2 or v["pt"] >= v["kh"] or v["pl"] >= v["kw"]:
        return 0, 0
    pairs, width = (v["oh"] + 1) // 2, (v["ow"] + 3) // 4 * 4
    columns = max((width - 1) * v["sw"] + v["kw"], v["pl"] + v["iw"])
    n = pairs * width + (pairs + (v["kh"] - 1) // (2 * v["sh"])) * columns
    return n, n


WORDS = {
    "conv_fwd": _conv_fwd,
    "conv_dw": _conv_dw,
    "conv_dx": _conv_dx,
    "depthwise_fwd": _depthwise_fwd,
    "depthwise_dx": _depthwise_dx,
    "depthwise_dw": _depthwise_dw,
}
