"""What a plan trains, keeps and costs: facts for the package and for its report, a table for the terminal."""

import json
from collections.abc import Iterable
from dataclasses import asdict
from typing import Any

from trimtab.format import ARENA, PHASES

from ..errors import UsageError
from ..graph.ir import Graph
from ..graph.program import Program
from ..policies.plan import TrainPlan
from . import cost, cycles
from .memory import Placement

BOARD = "pico"  # whose cycles schedules are compared by

# What a buffer is, by the field and the phase that first write it.
KINDS = {"y": "activation", "g": "error", "mask": "mask", "logits": "scores"}


def facts(trunk: Graph, plan: TrainPlan, program: Program, placement: Placement) -> dict:
    """All that the report shows and that a package's records no longer tell.

    It goes into the plan section.
    """
    return {
        "layers": layers(trunk, plan, program),
        "records": [
            [PHASES.index(phase), record.kernel, record.layer] for phase, record in program.timeline()
        ],
        "buffers": buffers(program, placement),
        **cost.of(trunk, plan, program, placement),
    }


def timed(found: dict, values: Iterable[dict]) -> dict:
    """The same facts with estimated cycles. values: the fields of each record, in order of time.

    Estimates change with every calibration, so packages do not hold them.
    """
    of_layer = {row["layer"]: 0.0 for row in found["layers"]}
    step = []
    for (phase, kernel, layer), v in zip(found["records"], values):
        if PHASES[phase] not in cost.NOT_OF_A_STEP:
            step.append((kernel, v))
            if layer in of_layer:
                of_layer[layer] += cycles.of(kernel, v)
    layers = [{**row, "cycles": round(of_layer[row["layer"]])} for row in found["layers"]]
    return {**found, "layers": layers, "estimated_cycles": cycles.by_board(step)}


def summary(made: Any) -> dict:
    """The plan as `trimtab plan --json` prints it. made: a compile.Compiled."""
    gained = {op.name for op in made.trunk.ops if op.attrs.get("gain")}
    return {
        "updates": [
            {"layer": u.layer, "bias": u.bias, "weight_channels": list(u.channels), "axis": u.axis}
            | ({"gain": True} if u.layer in gained else {})
            for u in made.plan.updates
        ],
        **cost.of(made.trunk, made.plan, made.program, made.placement),
        "estimated_cycles": cost.estimated_cycles(made.program),
        "flash_bytes": len(made.data),
        "strips": [asdict(cut) for cut in made.cuts],
    }


# -- layers


def layers(trunk: Graph, plan: TrainPlan, program: Program) -> list[dict]:
    """A row for each layer, the head last: what moves, what is kept and held for it, multiplications."""
    rows = {
        op.name: _row(op.name, op.kind, trunk[op.outputs[0]].shape[1:])
        for op in trunk.ops
        if op.kind != "reshape"
    }
    if plan.head:
        kind = {"dense": "16-bit head", "prototype": "prototypes"}[plan.head.kind]
        rows["head"] = _row("head", kind, (plan.head.classes,))
        rows["head"].update(
            bias=plan.head.kind == "dense", channels=plan.head.weights.shape[1], of=plan.head.weights.shape[1]
        )
    for update in plan.updates:
        op = next(o for o in trunk.ops if o.name == update.layer)
        rows[update.layer].update(
            bias=update.bias,
            channels=len(update.channels),
            of=trunk[op.inputs[1]].shape[-1],
            gain="gain" in op.attrs,
        )
    for _, record in program.timeline():
        row = rows.get(record.layer)
        if row:
            row["forward" if record.kernel in cost.FORWARD else "backward"] += cost.record_macs(record)
    for about in program.trained:
        layer = about.get("layer", "head" if about["role"].startswith("head") else None)
        if layer in rows:
            rows[layer]["state"] += about["bytes"]
    for layer, buffer in _kept_for(program):
        if layer in rows:
            rows[layer]["kept"] += buffer.size
    return list(rows.values())


def _row(layer, kind, shape):
    return {
        "layer": layer,
        "kind": kind,
        "shape": list(shape),
        "bias": False,
        "channels": 0,
        "of": 0,
        "kept": 0,
        "state": 0,
        "forward": 0,
        "backward": 0,
    }


def _kept_for(program):
    """(layer, buffer): a mask belongs to the layer that writes it, an activation to the one it updates."""
    kept = {id(b): b for b in cost.kept(program)}
    for phase, record in program.timeline():
        for field, buffer, *_ in record.spans:
            backward = PHASES.index(phase) > PHASES.index("loss")
            if id(buffer) in kept and (field == "mask" or (backward and field in ("x", "err"))):
                yield record.layer, kept.pop(id(buffer))


def trained(row: dict) -> str:
    """What moves in a layer, in words."""
    words = []
    if row["channels"]:
        words.append(
            "weights" if row["channels"] == row["of"] else f"{row['channels']} of {row['of']} channels"
        )
    if row["bias"]:
        words.append("bias")
    if row.get("gain"):
        words.append("gain")
    return ", ".join(words)


# -- memory


def buffers(program: Program, placement: Placement) -> list:
    """[name, kind, offset, size, pieces] of each buffer in the arena; a piece is [start, stop, low, high]."""
    kinds = _kinds(program)
    return [
        [
            v.buffer.name,
            kinds.get(id(v.buffer), "numbers"),
            v.offset,
            v.size,
            [[p.start, p.stop, p.low, p.high] for p in v.pieces],
        ]
        for v in placement.lives
    ]


def _kinds(program):
    found = {}
    for _, record in program.timeline():
        for field, buffer, low, high, written in record.spans:
            if buffer.space == ARENA and written:
                small = "scratch" if high - low > 8 else "numbers"
                found.setdefault(id(buffer), KINDS.get(field, small))
    for buffer in cost.kept(program):
        if found.get(id(buffer)) == "activation":
            found[id(buffer)] = "kept"
    for buffer in (program.input, program.target):
        if buffer is not None:
            found[id(buffer)] = "sample"
    return found


# -- for people


def table(made: Any) -> str:
    """A table for the terminal. made: a compile.Compiled."""
    rows = [r for r in layers(made.trunk, made.plan, made.program) if r["forward"] or trained(r)]
    width = max(len(r["layer"]) for r in rows)
    lines = [
        f"{'layer':{width}} {'trained':24} {'kept B':>7} {'state B':>8} {'forward':>10} {'backward':>10}"
    ]
    for r in rows:
        lines.append(
            f"{r['layer']:{width}} {trained(r) or '-':24} {r['kept']:7} {r['state']:8} "
            f"{r['forward']:10} {r['backward']:10}"
        )
    s = summary(made)
    sums = f" ({s['sums_bytes']} of it sums of updates)" if s["sums_bytes"] else ""
    lines += [_strips(cut) for cut in made.cuts]
    lines += [
        f"arena {s['arena_bytes']} bytes (at least {s['lower_bound_bytes']}), "
        f"state {s['state_bytes']}{sums}, package {s['flash_bytes']}, kept for backward {s['kept_bytes']}",
        f"multiplications forward {s['macs']['forward']}, backward {s['macs']['backward']}; estimated "
        + ", ".join(f"{ms:.0f} ms a step on {board}" for board, ms in milliseconds(s).items()),
        "as the papers count: " + ", ".join(f"{name} {kb:.2f} KB" for name, kb in s["analytic_kb"].items()),
    ]
    return "\n".join(lines)


STEP_OF_CURVE = 0.99  # only what makes a step faster by so much is shown on a terminal


def ram(made: Any) -> list[dict]:
    """What RAM buys, from the smallest arena to the fastest step. made: a compile.Compiled with its curve."""
    state = made.program_state_bytes
    return [
        {"ram_bytes": arena + state, "arena_bytes": arena, "estimated_cycles": {BOARD: each}}
        for arena, each in made.curve
    ]


def ram_table(made: Any) -> str:
    """The same for the terminal."""
    rows = [f"{row['ram_bytes']:11,} {row['arena_bytes']:11,} {_ms(row)}" for row in _thinned(ram(made))]
    return "\n".join([f"{'RAM, bytes':>11} {'its arena':>11} a step on {BOARD}", *rows])


def more_ram(made: Any) -> str:
    """What more RAM than that of a package would buy, in a sentence."""
    now = cost.estimated_cycles(made.program)
    rows = [row for row in ram(made) if row["estimated_cycles"][BOARD] < now[BOARD] * STEP_OF_CURVE]
    buys = [f"{_ms(row)} with {row['ram_bytes']:,} bytes" for row in _thinned(rows)]
    said = f"a step takes about {_ms({'estimated_cycles': now})} on {BOARD}"
    return f"{said}; more RAM: {', '.join(buys)}" if buys else f"{said}; more RAM would not make it faster"


def _ms(costs):
    return f"{milliseconds(costs)[BOARD]:,.0f} ms"


def _thinned(rows):
    kept = []
    for row in rows:
        least = kept and kept[-1]["estimated_cycles"][BOARD] * STEP_OF_CURVE
        if not kept or row["estimated_cycles"][BOARD] < least:
            kept.append(row)
    return kept


def _strips(cut):
    return (
        f"{cut.layers[0]} to {cut.layers[-1]} run in strips of {cut.rows} rows: "
        f"{cut.extra_macs} multiplications done again, {cut.copied_bytes} bytes of halo copied"
    )


def milliseconds(costs: dict) -> dict:
    """Estimated time of one training step, by board."""
    return {board: 1000 * n / cycles.CLOCK_HZ[board] for board, n in costs["estimated_cycles"].items()}


def read_log(path: str) -> list[dict]:
    """Rows of `trimtab train --json`: one for each epoch, then the result."""
    try:
        with open(path) as f:
            rows = [json.loads(line) for line in f if line.strip()]
        if not all(isinstance(row, dict) for row in rows):
            raise ValueError("a line is not an object")
    except ValueError as e:
        raise UsageError(f"{path} is not a training log ({e}): write one with trimtab train --json > {path}")
    return rows
