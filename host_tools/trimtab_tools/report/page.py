"""The report as one HTML page that needs nothing else: cards, the memory time line, a row for each layer,
curves."""

from html import escape

import numpy as np
from trimtab.format import PHASES

from ..compiler import facts as report
from ..policies.plan import TRAINABLE
from ..policies.registry import why

KINDS = {  # of buffers, with what they are called; the order is that of the legend
    "sample": "sample",
    "activation": "activation",
    "kept": "activation kept for backward",
    "mask": "mask, one bit for each output",
    "error": "error",
    "scores": "scores of the head",
    "scratch": "scratch",
    "numbers": "numbers",
}
WIDTH, HEIGHT, STRIP, LEFT, TOP = 1120, 400, 64, 64, 26  # of the time line, in units of its drawing

STYLE = """
:root { color-scheme: light dark; --paper: #fbfaf8; --ink: #22262b; --soft: #6a7178; --line: #dedbd5;
  --card: #ffffff; --accent: #1f6f8b; --sample: #8d99a6; --activation: #9cc3d9; --kept: #2a7fa8;
  --mask: #d98e32; --error: #c2574d; --scores: #7a5ea8; --scratch: #b9b3a6; --numbers: #77806f; }
@media (prefers-color-scheme: dark) { :root { --paper: #15181c; --ink: #e6e8ea; --soft: #98a1aa;
  --line: #31363d; --card: #1c2026; --accent: #6db9d6; --sample: #66727f; --activation: #36596d;
  --kept: #4aa3cc; --mask: #dd9a48;
  --error: #cf6a60; --scores: #9a82c6; --scratch: #56524a; --numbers: #869080; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--paper); color: var(--ink); font: 15px/1.5 system-ui, sans-serif; }
main { max-width: 1200px; margin: 0 auto; padding: 36px 24px 64px; }
h1 { font-size: 27px; line-height: 1.2; margin: 0 0 6px; letter-spacing: -0.01em; }
h2 { font-size: 18px; margin: 42px 0 8px; }
p { margin: 0 0 12px; max-width: 75ch; color: var(--soft); }
.cards { display: grid; grid-template-columns: repeat(auto-fit, minmax(150px, 1fr)); gap: 12px;
  margin: 22px 0 0; }
.card { background: var(--card); border: 1px solid var(--line); border-radius: 8px; padding: 12px 14px; }
.card b { display: block; font-size: 21px; font-weight: 600; font-variant-numeric: tabular-nums; }
.card span { color: var(--soft); font-size: 13px; }
.scroll { overflow-x: auto; background: var(--card); border: 1px solid var(--line); border-radius: 8px; }
svg { display: block; width: 100%; min-width: 760px; font: 11px system-ui, sans-serif; fill: var(--soft); }
svg.chart { min-width: 0; max-width: 560px; }
.tensor { stroke: var(--card); stroke-width: 0.7; }
.tensor:hover { stroke: var(--ink); stroke-width: 1.6; }
.thin { stroke: none; }
.parted { fill-opacity: 0.18; stroke-opacity: 0.4; }
.parts { pointer-events: none; }
.name { fill: var(--ink); pointer-events: none; }
.grid { stroke: var(--line); stroke-width: 1; fill: none; }
.bound { stroke: var(--ink); stroke-dasharray: 4 4; stroke-width: 1; fill: none; }
.live { fill: var(--accent); fill-opacity: 0.3; stroke: var(--accent); stroke-width: 1.2; }
.curve { fill: none; stroke: var(--accent); stroke-width: 2; }
.dot { fill: var(--accent); }
.legend { display: flex; flex-wrap: wrap; gap: 4px 18px; margin: 10px 0; font-size: 13px;
  color: var(--soft); }
.legend i { display: inline-block; width: 11px; height: 11px; border-radius: 2px; margin-right: 6px; }
#about { min-height: 22px; font-size: 13px; margin: 8px 2px 0; color: var(--ink); font-variant-numeric:
tabular-nums; } table { border-collapse: collapse; width: 100%; font-size: 13.5px; font-variant-numeric:
tabular-nums; } th { text-align: left; font-weight: 500; color: var(--soft); white-space: nowrap; }
th, td { padding: 5px 12px; border-bottom: 1px solid var(--line); }
tr:last-child td { border-bottom: 0; }
td.n, th.n { text-align: right; white-space: nowrap; }
td.still { color: var(--soft); }
.bar { display: block; height: 4px; border-radius: 2px; background: var(--accent); margin: 2px 0 0 auto; }
.charts { display: flex; flex-wrap: wrap; gap: 16px; }
.charts figure { margin: 0; flex: 1 1 360px; }
figcaption { color: var(--soft); font-size: 13px; margin: 0 0 6px; }
footer { margin-top: 48px; color: var(--soft); font-size: 13px; }
"""

SCRIPT = """
const about = document.getElementById("about"), still = about.textContent;
document.querySelectorAll(".tensor").forEach(r => {
  r.addEventListener("pointerenter", () => { about.textContent = r.firstElementChild.textContent; });
  r.addEventListener("pointerleave", () => { about.textContent = still; });
});
"""


def page(name, facts, plan, flash_bytes, log=()):
    """HTML of a package's facts; plan: {"policy", "loss", "rate", "labels"}; log: rows of a training run."""
    parts = [
        _head(name, facts, plan, flash_bytes),
        _timeline(facts),
        _layers(facts),
        _papers(facts),
        _curves(log),
    ]
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f"<title>{escape(name)}: trimtab report</title>"
        f'<meta name="viewport" content="width=device-width, initial-scale=1"><link rel="icon" href="data:,">'
        f"<style>{STYLE}</style></head>\n<body><main>\n"
        + "\n".join(parts)
        + f"\n<footer>Written by trimtab report.</footer></main>\n<script>{SCRIPT}</script></body></html>\n"
    )


# -- head


def _head(name, facts, plan, flash_bytes):
    labels = f" Classes: {escape(', '.join(plan['labels']))}." if plan["labels"] else ""
    loss = f" Loss {escape(plan['loss'])}, rate {plan['rate']:g}." if plan["loss"] != "none" else ""
    sums = f"; {_bytes(facts['sums_bytes'])} of it sums of updates" if facts["sums_bytes"] else ""
    cards = [
        (
            _bytes(facts["arena_bytes"]),
            f"arena; at least {_bytes(facts['lower_bound_bytes'])} are live at once",
        ),
        (_bytes(facts["state_bytes"]), f"trained state{sums}"),
        (_bytes(facts["kept_bytes"]), "kept for backward"),
        (_bytes(flash_bytes), "package"),
        (_count(facts["macs"]["forward"]), "multiplications forward"),
        (_count(facts["macs"]["backward"]), "multiplications backward and update"),
        *(
            (f"{ms / 1000:.2g} s", f"a step on {board}: an estimate, C kernels")
            for board, ms in report.milliseconds(facts).items()
        ),
    ]
    shown = "".join(
        f'<div class="card"><b>{escape(value)}</b><span>{escape(what)}</span></div>' for value, what in cards
    )
    return (
        f"<h1>{escape(name)}</h1>"
        f"<p>{escape(why(plan['policy']))}{loss}{labels}</p>"
        f'<div class="cards">{shown}</div>'
    )


def _bytes(n):
    return f"{n / 1024:.1f} KB" if n >= 1024 else f"{n} B"


def _count(n):
    for unit, size in (("M", 1e6), ("k", 1e3)):
        if n >= size:
            return f"{n / size:.3g} {unit}"
    return str(n)


# -- memory


def _timeline(facts):
    """A rectangle for each buffer: right is later, up is a higher address."""
    steps, size = facts["steps"], max(facts["arena_bytes"], 1)
    across = _scale(0, len(steps), LEFT, WIDTH)
    up = _scale(0, size, TOP + HEIGHT, TOP)
    live = _usage(facts)
    low = TOP + HEIGHT + 34
    below = _scale(0, size, low + STRIP, low)
    drawn = [_phases(steps, across), _addresses(size, up)]
    drawn += [_rectangle(buffer, steps, across, up) for buffer in facts["buffers"]]
    drawn += [_live(live, across, below), _bound(facts["lower_bound_bytes"], below, "at least")]
    used = {kind for _, kind, *_ in facts["buffers"]}
    legend = "".join(
        f'<span><i style="background:var(--{kind})"></i>{text}</span>'
        for kind, text in KINDS.items()
        if kind in used
    )
    return (
        "<h2>Memory over one training step</h2>"
        "<p>Each rectangle is a tensor: from the first step that touches "
        "it to the last, at its address in the arena. Where one is pale, its bytes are free for others. "
        "Below, the bytes that are "
        "live at each step.</p>"
        f'<div class="scroll"><svg viewBox="0 0 {WIDTH + 14} {low + STRIP + 10}" role="img" '
        'aria-label="Memory time line">'
        + "".join(drawn)
        + '</svg></div><div id="about">Point at a tensor to see its name.</div>'
        + f'<div class="legend">{legend}</div>'
    )


def _scale(low, high, start, end):
    return lambda value: round(start + (value - low) * (end - start) / max(high - low, 1e-9), 1)


def _rectangle(buffer, steps, across, up):
    name, kind, offset, size, pieces = buffer
    kind = kind if kind in KINDS else "numbers"
    start, stop = min(p[0] for p in pieces), max(p[1] for p in pieces)
    x, y = across(start), up(offset + size)
    width, height = round(across(stop + 1) - x, 1), round(up(offset) - y, 1)
    title = (
        f"{name}: {size} bytes at {offset}, {KINDS[kind]}, from {_step(steps, start)} to {_step(steps, stop)}"
    )
    parted = " parted" if len(pieces) > 1 else ""
    thin = " thin" if height < 4 else ""
    shapes = (
        f'<rect class="tensor{parted}{thin}" x="{x}" y="{y}" width="{width}" height="{height}" '
        f'fill="var(--{kind})">'
        f"<title>{escape(title)}</title></rect>"
    )
    if parted:
        path = "".join(
            f"M{across(a)} {up(offset + high)}H{across(b + 1)}V{up(offset + low)}H{across(a)}z"
            for a, b, low, high in pieces
        )
        shapes += f'<path class="parts" d="{path}" fill="var(--{kind})"/>'
    short = name.removeprefix("mask of ").removeprefix("error of ")
    if width > 6.2 * len(short) + 8 and height > 13 and not parted:
        shapes += f'<text class="name" x="{x + 5}" y="{round(y + height / 2 + 4, 1)}">{escape(short)}</text>'
    return shapes


def _step(steps, i):
    if i >= len(steps):
        return "the end"
    _, kernel, layer = steps[i]
    return f"step {i} ({kernel} of {layer})" if layer else f"step {i} ({kernel})"


def _phases(steps, across):
    """A line where a phase begins, and its name where there is room."""
    drawn = ""
    for phase in sorted({row[0] for row in steps}):
        at = [i for i, row in enumerate(steps) if row[0] == phase]
        x, end = across(at[0]), across(at[-1] + 1)
        drawn += f'<path class="grid" d="M{x} {TOP - 8}V{TOP + HEIGHT + 34 + STRIP}"/>'
        if end - x > 7 * len(PHASES[phase]):
            drawn += f'<text x="{x + 4}" y="{TOP - 10}">{PHASES[phase]}</text>'
    return drawn


def _addresses(size, up):
    drawn = ""
    for kb in _ticks(size / 1024):
        y = up(kb * 1024)
        drawn += f'<path class="grid" d="M{LEFT} {y}H{WIDTH}"/>'
        drawn += f'<text x="{LEFT - 8}" y="{y + 4}" text-anchor="end">{kb:g} KB</text>'
    return drawn


def _ticks(top, count=5):
    """Round numbers from 0 to top."""
    step = 10.0 ** np.floor(np.log10(max(top, 1e-6) / count))
    step *= next(m for m in (1, 2, 5, 10) if step * m * count >= top)
    return [round(i * step, 10) for i in range(int(top / step) + 1)]


def _usage(facts):
    """Live bytes at each step: of pieces, each byte of the arena once."""
    live = [[] for _ in range(len(facts["steps"]) + 1)]
    for _, _, offset, _, pieces in facts["buffers"]:
        for start, stop, low, high in pieces:
            for now in range(start, min(stop, len(live) - 1) + 1):
                live[now].append((offset + low, offset + high))
    return [_covered(runs) for runs in live]


def _covered(runs):
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
        f'<text x="{WIDTH - 4}" y="{y - 4}" text-anchor="end">{text} {_bytes(value)}</text>'
    )


# -- layers

COLUMNS = (
    ("kept", "kept for backward", _bytes),
    ("state", "state", _bytes),
    ("forward", "mult. forward", _count),
    ("backward", "mult. backward", _count),
    ("cycles", "est. cycles", _count),
)


def _layers(facts):
    tops = {key: max((row[key] for row in facts["layers"]), default=0) for key, *_ in COLUMNS}
    head = "<th>layer</th><th>operator</th><th>output</th><th>trained</th>" + "".join(
        f'<th class="n">{text}</th>' for _, text, _ in COLUMNS
    )
    rows = "".join(_layer(row, tops) for row in facts["layers"])
    return (
        "<h2>Layers: what is updated and what it costs</h2>"
        "<p>What moves in each layer, what the forward pass keeps for it, "
        "what it holds in RAM, and how much it multiplies.</p>"
        f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div>'
    )


def _layer(row, tops):
    what, frozen = report.trained(row), "frozen" if row["kind"] in TRAINABLE else ""
    cells = [
        f"<td>{escape(row['layer'])}</td>",
        f'<td class="still">{escape(row["kind"].replace("_", " "))}</td>',
        f'<td class="still">{"×".join(map(str, row["shape"]))}</td>',
        f"<td>{escape(what)}</td>" if what else f'<td class="still">{frozen}</td>',
    ]
    for key, _, text in COLUMNS:
        share = 100 * row[key] / tops[key] if tops[key] else 0
        bar = f'<span class="bar" style="width:{max(share, 1):.0f}%"></span>' if row[key] else ""
        cells.append(f'<td class="n">{text(row[key]) if row[key] else ""}{bar}</td>')
    return f"<tr>{''.join(cells)}</tr>"


# -- how papers count

PAPERS = {
    "mcunetv3": ("MCUNetV3", "masks, updated int8 weights, their inputs, int32 biases; no forward peak"),
    "tinytl": ("TinyTL", "float32 peak of activations at batch 1, all parameters"),
    "mobiletl": ("MobileTL", "as TinyTL, with one bit for every activation function"),
    "tinytrain": ("TinyTrain", "float32 peak of activations, updated weights with Adam's moments"),
}


def _papers(facts):
    rows = "".join(
        f'<tr><td>{PAPERS[key][0]}</td><td class="n">{kb:.2f} KB</td>'
        f'<td class="still">{PAPERS[key][1]}</td></tr>'
        for key, kb in facts["analytic_kb"].items()
    )
    return (
        "<h2>The same plan as published work counts it</h2><p>Models, each of which leaves something out; "
        "the arena and state above are what a board allocates.</p>"
        f'<div class="scroll"><table><tbody>{rows}</tbody></table></div>'
    )


# -- curves


def _curves(log):
    epochs = [row for row in log if "epoch" in row]
    charts = []
    for key in ("loss", "accuracy"):
        points = [(row["epoch"], row[key]) for row in epochs if key in row]
        if points:
            charts.append(_chart(f"{key} by epoch", points))
    result = next((row for row in reversed(log) if "after" in row), None)
    if result and "before" in result:
        charts.append(
            _chart(
                "score before and after training",
                [(0, result["before"]), (1, result["after"])],
                ("before", "after"),
            )
        )
    if not charts:
        return ""
    return f'<h2>Training</h2><div class="charts">{"".join(charts)}</div>'


def _chart(title, points, names=None):
    ticks = _ticks(max(max(v for _, v in points), 1e-3))
    xs = [x for x, _ in points]
    across = _scale(min(xs), max(xs) if max(xs) > min(xs) else min(xs) + 1, 60, 520)
    up = _scale(0, max(ticks[-1], max(v for _, v in points)), 190, 16)
    grid = "".join(
        f'<path class="grid" d="M50 {up(t)}H540"/><text x="42" y="{up(t) + 4}" text-anchor="end">{t:g}</text>'
        for t in ticks
    )
    line = "M" + "L".join(f"{across(x)} {up(v)}" for x, v in points)
    dots = "".join(
        f'<circle class="dot" cx="{across(x)}" cy="{up(v)}" r="3"><title>{x}: {v:.4g}</title></circle>'
        for x, v in points
    )
    ends = names or (f"epoch {xs[0]}", f"epoch {xs[-1]}")
    foot = f'<text x="{across(min(xs))}" y="210">{ends[0]}</text>'
    if len(xs) > 1:
        foot += f'<text x="{across(max(xs))}" y="210" text-anchor="end">{ends[1]}</text>'
    return (
        f'<figure><figcaption>{title}</figcaption><div class="scroll">'
        f'<svg class="chart" viewBox="0 0 560 220" role="img" '
        f'aria-label="{title}">{grid}<path class="curve" d="{line}"/>{dots}{foot}</svg></div></figure>'
    )
