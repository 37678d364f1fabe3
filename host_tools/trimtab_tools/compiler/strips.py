"""A run of frozen layers is executed for a few rows of its last output at a time: patch-based inference.

A strip of full-width rows is one run of bytes, so a layer's record for a strip is its ordinary record with
fewer rows. The rows of an intermediate tensor that the next strip needs again are its halo. They are kept
aside, or computed once more.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from trimtab.format import ARENA

from ..graph.program import Buffer, Program, Record, Slot


def _window(v, a, b):
    """Input rows of output rows [a, b)."""
    return max(0, a * v["sh"] - v["pt"]), min(v["ih"], (b - 1) * v["sh"] - v["pt"] + v["kh"])


def _same(v, a, b):
    return a, b


# kernel -> (fields that it reads by rows, the rows that it needs)
CUTS = {
    "conv_fwd": (("x",), _window),
    "depthwise_fwd": (("x",), _window),
    "avg_pool_fwd": (("x",), _window),
    "max_pool_fwd": (("x",), _window),
    "add_fwd": (("x", "x2"), _same),
    "lut_fwd": (("x",), _same),
    "requantize_fwd": (("x",), _same),
}


@dataclass(frozen=True)
class Strips:
    """Forward records [first, last) in strips of so many rows."""

    first: int
    last: int
    rows: int
    keep: bool  # halos are kept, else computed again


def runs(program: Program) -> Iterator[tuple[int, int]]:
    """(first, last) of all runs of forward records that can be cut: by rows, without masks, to one result."""
    forward = program.phases["forward"]
    users: dict[Buffer, int] = {}
    for record in (record for _, record in program.timeline()):
        for buffer in {buffer for _, buffer, *_ in record.spans}:
            users[buffer] = users.get(buffer, 0) + 1
    for first in range(len(forward)):
        open_ends: dict[Buffer, int] = {}  # results of the run so far -> users still to come
        for last in range(first, len(forward)):
            record = forward[last]
            if not _can_cut(record):
                break
            for x in {record.values[name] for name in CUTS[record.kernel][0]} & set(open_ends):
                open_ends[x] -= 1
            y = record.values["y"]
            open_ends[y] = users[y] - 1
            if last > first and all(n == 0 for b, n in open_ends.items() if b is not y):
                yield first, last + 1


def _can_cut(record):
    if record.kernel not in CUTS or record.values.get("mask") is not None:
        return False
    v = record.values
    places = [v[name] for name in ("y", *CUTS[record.kernel][0])]
    if not all(isinstance(place, Buffer) and place.shape and place.space == ARENA for place in places):
        return False
    if "n" in v:
        return True
    # a dense layer sees its input in another shape
    return (v["ih"], v["iw"], v["ic"]) == v["x"].shape and (v["oh"], v["ow"], v["oc"]) == v["y"].shape


def cut(program: Program, strips: Strips) -> Program:
    """The program with one run of forward records in strips."""
    forward = program.phases["forward"]
    made = pieces(forward[strips.first : strips.last], strips)
    return program.but(forward=[*forward[: strips.first], *made, *forward[strips.last :]])


def pieces(records: list[Record], strips: Strips) -> list[Record]:
    """The records of a run in strips."""
    parts = _parts(records, strips)
    later: list[dict] = [{}]  # for each strip, where a tensor comes next; it may be missing in some strips
    for part in reversed(parts[1:]):
        later.append({**later[-1], **part})
    made: list[Record] = []
    aside: dict = {}
    for now, after in zip(parts, reversed(later)):
        made += _strip(records, now, after, aside)
    return made


def _parts(records, strips):
    """For each strip {tensor: (first row present, first row computed, end)}.

    Rows are wanted from the result up.
    """
    result, done, parts = records[-1].values["y"], {}, []
    made = [record.values["y"] for record in records]
    for a in range(0, result.shape[0], strips.rows):
        want = {result: (a, min(a + strips.rows, result.shape[0]))}
        strip = {}
        for record in reversed(records):
            y = record.values["y"]
            if y not in want:
                continue
            low, high = want[y]
            if strips.keep:  # rows that an earlier strip had to compute for another reader are still there
                high = max(high, done.get(y, 0))
            start = max(low, done.get(y, 0)) if strips.keep else low
            strip[y] = low, start, high
            if start == high:
                continue
            done[y] = high
            names, rows = CUTS[record.kernel]
            for x in (record.values[name] for name in names):
                if x in made:
                    first, end = rows(record.values, start, high)
                    want[x] = min(first, want.get(x, (first,))[0]), max(end, want.get(x, (0, end))[1])
        parts.append(strip)
    return parts


def _strip(records, now, after, aside):
    """The records of one strip. aside: {tensor: (buffer, first row)} of halos, from strip to strip."""
    result, here, made = records[-1].values["y"], {}, []
    waiting = {}  # tensor -> readers in this strip
    for record in records:
        if _runs(record, now):
            for x in _sources(record):
                waiting[x] = waiting.get(x, 0) + 1
    for record in records:
        y = record.values["y"]
        if not _runs(record, now):
            if y in now and y is not result:
                here[y] = _restore(y, now[y], aside, made)
            continue
        here[y] = (y, 0) if y is result else _restore(y, now[y], aside, made)
        for x in dict.fromkeys(_sources(record)):
            waiting[x] -= _sources(record).count(x)
            if x in here and not waiting[x]:  # before its last reader, which may write where it lies
                _save(x, here[x], now[x], after.get(x), aside, made)
        made.append(_part(record, now[y][1], now[y][2], here))
    return made


def _runs(record, now):
    y = record.values["y"]
    return y in now and now[y][1] < now[y][2]


def _sources(record):
    return [record.values[name] for name in CUTS[record.kernel][0]]


def _row(tensor):
    return tensor.shape[1] * tensor.shape[2]


def _restore(y, rows, aside, made):
    """(buffer, its first row) for the rows of a strip, with the halo from the strip before."""
    low, start, high = rows
    buffer = Buffer(
        f"rows {low} to {high - 1} of {y.name}", (high - low) * _row(y), shape=(high - low, *y.shape[1:])
    )
    if start > low:
        kept, first = aside.pop(y)
        made.append(_copy(Slot(buffer, 0), Slot(kept, (low - first) * _row(y)), y, start - low))
    return buffer, low


def _save(x, place, rows, after, aside, made):
    """Keep what the next strip will not compute again."""
    if after is None or after[0] >= after[1]:
        return
    buffer, first = place
    low, start, _ = after
    kept = Buffer(f"halo of {x.name} from row {low}", (start - low) * _row(x))
    made.append(_copy(kept, Slot(buffer, (low - first) * _row(x)), x, start - low))
    aside[x] = kept, low


def _copy(y, x, tensor, rows):
    _, w, c = tensor.shape
    return Record(
        "copy_fwd",
        dict(y=y, x=x, ih=rows, iw=w, ic=c, yh=rows, yw=w, yc=c, top=0, left=0, first=0, fill=256),
        tensor.name,
    )


def _part(record, a, b, here):
    """A record for output rows [a, b)."""
    names, need = CUTS[record.kernel]
    v, y = record.values, record.values["y"]
    low, high = need(v, a, b)
    buffer, first = here[y]
    changed = {"y": Slot(buffer, (a - first) * _row(y))}
    for name in names:
        buffer, first = here.get(v[name], (v[name], 0))
        changed[name] = Slot(buffer, (low - first) * _row(v[name]))
    if "n" in v:
        changed["n"] = (b - a) * _row(y)
    else:
        changed.update(ih=high - low, oh=b - a, pt=low - (a * v["sh"] - v["pt"]))
    return record.but(**changed)
