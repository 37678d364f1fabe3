"""The memory time line: when each buffer of the arena is used, and at which address it lies."""

from collections.abc import Sequence
from html import escape
from typing import NamedTuple

from trimtab.format import PHASES

from .drawing import in_bytes, scale, ticks

KINDS = {  # kind of buffer -> its name for readers, in the order of the legend
    "sample": "sample",
    "activation": "activation",
    "kept": "activation kept for backward",
    "mask": "mask, one bit for each output",
    "error": "error",
    "scores": "scores of the head",
    "scratch": "scratch",
    "numbers": "numbers",
}
# In units of the drawing. The arena is drawn from TOP over HEIGHT, the live bytes from LOW over STRIP.
WIDTH, HEIGHT, STRIP, LEFT, TOP = 1120, 400, 64, 64, 26
LOW = TOP + HEIGHT + 34


def timeline(facts: dict) -> str:
    """A rectangle for each buffer: right is later, up is a higher address."""
    records, size = facts["records"], max(facts["arena_bytes"], 1)
    across = scale(0, len(records), LEFT, WIDTH)
    up = scale(0, size, TOP + HEIGHT, TOP)
    below = scale(0, size, LOW + STRIP, LOW)
    drawn = [_phases(records, across), _addresses(size, up)]
    drawn += [_rectangle(Buffer(*buffer), records, across, up) for buffer in facts["buffers"]]
    drawn += [_live(usage(facts), across, below), _bound(facts["lower_bound_bytes"], below, "at least")]
    return (
        "<h2>Memory over one training step</h2>"
        "<p>Each rectangle is a tensor: from the first step that touches "
        "it to the last, at its address in the arena. Where one is pale, its bytes are free for others. "
        "Below, the bytes that are "
        "live at each step.</p>"
        f'<div class="scroll"><svg viewBox="0 0 {WIDTH + 14} {LOW + STRIP + 10}" role="img" '
        'aria-label="Memory time line">'
        + "".join(drawn)
        + '</svg></div><div id="about">Point at a tensor to see its name.</div>'
        + f'<div class="legend">{_legend({kind for _, kind, *_ in facts["buffers"]})}</div>'
    )


def _legend(used):
    return "".join(
        f'<span><i style="background:var(--{kind})"></i>{text}</span>'
        for kind, text in KINDS.items()
        if kind in used
    )


class Buffer(NamedTuple):
    """A row of facts["buffers"]."""

    name: str
    kind: str
    offset: int
    size: int
    pieces: list  # [first record, last record, low, high]: when these of its bytes are used


def _rectangle(buffer, records, across, up):
    """The buffer from its first record to its last. Parts that are in use alone stand out."""
    kind = buffer.kind if buffer.kind in KINDS else "numbers"
    start, stop = min(p[0] for p in buffer.pieces), max(p[1] for p in buffer.pieces)
    x, y = across(start), up(buffer.offset + buffer.size)
    width, height = round(across(stop + 1) - x, 1), round(up(buffer.offset) - y, 1)
    parted = len(buffer.pieces) > 1
    shapes = (
        f'<rect class="tensor{" parted" if parted else ""}{" thin" if height < 4 else ""}" '
        f'x="{x}" y="{y}" width="{width}" height="{height}" fill="var(--{kind})">'
        f"<title>{escape(_title(buffer, kind, records, start, stop))}</title></rect>"
    )
    if parted:
        return shapes + f'<path class="parts" d="{_outline(buffer, across, up)}" fill="var(--{kind})"/>'
    short = buffer.name.removeprefix("mask of ").removeprefix("error of ")
    if width > 6.2 * len(short) + 8 and height > 13:
        shapes += f'<text class="name" x="{x + 5}" y="{round(y + height / 2 + 4, 1)}">{escape(short)}</text>'
    return shapes


def _title(buffer, kind, records, start, stop):
    return (
        f"{buffer.name}: {buffer.size} bytes at {buffer.offset}, {KINDS[kind]}, "
        f"from {_record(records, start)} to {_record(records, stop)}"
    )


def _outline(buffer, across, up):
    at = buffer.offset
    return "".join(
        f"M{across(a)} {up(at + high)}H{across(b + 1)}V{up(at + low)}H{across(a)}z"
        for a, b, low, high in buffer.pieces
    )


def _record(records, i):
    if i >= len(records):
        return "the end"
    _, kernel, layer = records[i]
    return f"step {i} ({kernel} of {layer})" if layer else f"step {i} ({kernel})"


def _phases(records, across):
    """A line where a phase begins, and its name where there is room."""
    drawn = ""
    for phase in sorted({row[0] for row in records}):
        at = [i for i, row in enumerate(records) if row[0] == phase]
        x, end = across(at[0]), across(at[-1] + 1)
        drawn += f'<path class="grid" d="M{x} {TOP - 8}V{LOW + STRIP}"/>'
        if end - x > 7 * len(PHASES[phase]):
            drawn += f'<text x="{x + 4}" y="{TOP - 10}">{PHASES[phase]}</text>'
    return drawn


def _addresses(size, up):
    drawn = ""
    for kb in ticks(size / 1024):
        y = up(kb * 1024)
        drawn += f'<path class="grid" d="M{LEFT} {y}H{WIDTH}"/>'
        drawn += f'<text x="{LEFT - 8}" y="{y + 4}" text-anchor="end">{kb:g} KB</text>'
    return drawn


def usage(facts: dict) -> list[int]:
    """The bytes that are live at each record. A byte that several pieces use counts once."""
    live: list[list[tuple[int, int]]] = [[] for _ in range(len(facts["records"]) + 1)]
    for _, _, offset, _, pieces in facts["buffers"]:
        for start, stop, low, high in pieces:
            for now in range(start, min(stop, len(live) - 1) + 1):
                live[now].append((offset + low, offset + high))
    return [_covered(runs) for runs in live]


def _covered(runs: Sequence[tuple[int, int]]) -> int:
    """The bytes that lie in at least one of the runs (low, high)."""
    total = end = 0
    for low, high in sorted(runs):
        total += max(0, high - max(low, end))
        end = max(end, high)
    return total


def _live(live, across, below):
    path = "".join(f"H{across(i)}V{below(n)}" for i, n in enumerate(live[:-1]))
    return (
        f'<path class="live" d="M{across(0)} {below(0)}{path}H{across(len(live) - 1)}V{below(0)}z"/>'
        f'<text x="{LEFT - 8}" y="{below(0)}" text-anchor="end">live</text>'
    )


def _bound(value, below, text):
    y = below(value)
    return (
        f'<path class="bound" d="M{LEFT} {y}H{WIDTH}"/>'
        f'<text x="{WIDTH - 4}" y="{y - 4}" text-anchor="end">{text} {in_bytes(value)}</text>'
    )
