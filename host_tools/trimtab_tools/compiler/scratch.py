"""Memory that lies idle while a kernel runs becomes its scratch memory: fast loops pack their operands there.

A record gets the widest gap between the buffers that live while it runs. So scratch memory never raises the
peak, except in an arena below SMALL bytes, which may grow to that.
"""

from trimtab.format import ARENA, PHASES

from ..graph.program import Buffer, Program, Slot
from .memory import Life, Placement

SMALL = 4096  # bytes that an arena may have for the sake of speed
BLOCK = (
    16  # positions or columns that are packed at once: with so many, packing the weights again hardly counts
)
LONGEST = 64  # short columns are packed in longer blocks, up to so many,
BLOCKS = 1024  # and so many words: then the calls of the loops hardly count
LEAST = 2  # positions or columns for which the fast loops run at all
TILES = {(3, 2), (5, 1), (5, 2), (7, 1), (7, 2)}  # (kernel, stride) along a row


def give(program: Program, placement: Placement) -> Program:
    """The program whose records know their scratch memory; it joins the placement."""
    phases: dict[str, list] = {}
    now, top = 0, placement.size
    for phase in PHASES:
        phases[phase] = []
        for record in program.phases[phase]:
            least, most = WORDS[record.kernel](record.values) if record.kernel in WORDS else (0, 0)
            at, size = (
                _widest_gap(placement, now, max(placement.size, SMALL))
                if most and not _overflows(record)
                else (0, 0)
            )
            if most and size >= 4 * least:
                buffer = Buffer("scratch", 4 * min(most, size // 4), offset=at)
                top = max(top, at + buffer.size)
                placement.lives.append(Life(buffer, buffer.size, now, now, offset=at))
                record = record.but(scratch=buffer, words=buffer.size // 4)
            phases[phase].append(record)
            now += 1
    placement.size = top
    return program.but(**phases)


def _widest_gap(placement, now, end):
    """(offset, bytes) of the widest run of the arena in which nothing lives at a record."""
    taken = sorted(
        (v.offset + p.low, v.offset + p.high)
        for v in placement.lives
        for p in v.pieces
        if p.start <= now <= p.stop
    )
    best, at = (0, 0), 0
    for low, high in [*taken, (end, end)]:
        if low - at > best[1]:
            best = at, low - at
        at = max(at, -(-high // 4) * 4)
    return best


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
