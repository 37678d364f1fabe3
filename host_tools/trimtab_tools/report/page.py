"""The report as one HTML page in one file: cards, the memory time line, a row for each layer, curves."""

from collections.abc import Sequence
from html import escape

from ..compiler.facts import milliseconds, trained
from ..operators.registry import WEIGHTED
from ..policies.registry import why
from .drawing import chart, in_bytes, in_short
from .style import SCRIPT, STYLE
from .timeline import timeline


def page(name: str, facts: dict, plan: dict, flash_bytes: int, log: Sequence[dict] = ()) -> str:
    """The page of a package.

    `facts` are those of compiler/facts.py. `plan` has "policy", "loss", "rate" and "labels". `log` has the
    rows that `trimtab train --json` prints.
    """
    parts = [
        _head(name, facts, plan, flash_bytes),
        timeline(facts),
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
    shown = "".join(
        f'<div class="card"><b>{escape(value)}</b><span>{escape(what)}</span></div>'
        for value, what in _cards(facts, flash_bytes)
    )
    return (
        f"<h1>{escape(name)}</h1>"
        f"<p>{escape(why(plan['policy']))}{loss}{labels}</p>"
        f'<div class="cards">{shown}</div>'
    )


def _cards(facts, flash_bytes):
    sums = f"; {in_bytes(facts['sums_bytes'])} of it sums of updates" if facts["sums_bytes"] else ""
    return [
        (
            in_bytes(facts["arena_bytes"]),
            f"arena; at least {in_bytes(facts['lower_bound_bytes'])} are live at once",
        ),
        (in_bytes(facts["state_bytes"]), f"trained state{sums}"),
        (in_bytes(facts["kept_bytes"]), "kept for backward"),
        (in_bytes(flash_bytes), "package"),
        (in_short(facts["macs"]["forward"]), "multiplications forward"),
        (in_short(facts["macs"]["backward"]), "multiplications backward and update"),
        *(
            (f"{ms / 1000:.2g} s", f"a step on {board}: an estimate, C kernels")
            for board, ms in milliseconds(facts).items()
        ),
    ]


# -- layers

COLUMNS = (
    ("kept", "kept for backward", in_bytes),
    ("state", "state", in_bytes),
    ("forward", "mult. forward", in_short),
    ("backward", "mult. backward", in_short),
    ("cycles", "est. cycles", in_short),
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
    what, frozen = trained(row), "frozen" if row["kind"] in WEIGHTED else ""
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
            charts.append(chart(f"{key} by epoch", points))
    result = next((row for row in reversed(log) if "after" in row), None)
    if result and "before" in result:
        charts.append(
            chart(
                "score before and after training",
                [(0, result["before"]), (1, result["after"])],
                ("before", "after"),
            )
        )
    if not charts:
        return ""
    return f'<h2>Training</h2><div class="charts">{"".join(charts)}</div>'
