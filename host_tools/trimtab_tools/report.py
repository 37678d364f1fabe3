"""What a plan trains and what it costs, for people and for machines."""

from . import cost
from .steps import FIELDS


def summary(made):
    """The plan as `trimtab plan --json` prints it."""
    return {
        "updates": [{"layer": u.layer, "bias": u.bias, "weight_channels": list(u.channels), "axis": u.axis}
                    for u in made.plan.updates],
        **cost.of(made),
    }


def rows(made):
    """One row per layer of the trunk: what moves, what is kept for it, what it costs."""
    found = {}
    for phase, step in made.program.timeline():
        row = found.setdefault(step.layer, {"forward": 0, "backward": 0, "mask": 0})
        if step.kernel in cost.MACS:
            row["forward" if step.kernel in cost.FORWARD else "backward"] += cost.step_macs(step)
        if phase == "forward" and any(name == "mask" for name, *_ in FIELDS[step.kernel]):
            row["mask"] += step.values["mask"].size if step.values.get("mask") is not None else 0
    return found


def table(made):
    """A table for the terminal."""
    costs = rows(made)
    updates = {u.layer: u for u in made.plan.updates}
    lines = [f"{'layer':32} {'trained':24} {'mask B':>7} {'forward':>10} {'backward':>10}"]
    for layer, cost in costs.items():
        u = updates.get(layer)
        what = []
        if u and u.channels:
            what.append(f"{len(u.channels)} channels ({u.axis})")
        if u and u.bias:
            what.append("bias")
        if layer == "head":
            what.append("16-bit head")
        if cost["forward"] or cost["backward"] or what:
            lines.append(f"{layer[-32:]:32} {', '.join(what) or '-':24} {cost['mask']:7} {cost['forward']:10} "
                         f"{cost['backward']:10}")
    s = summary(made)
    lines.append(f"arena {s['arena_bytes']} bytes (at least {s['lower_bound_bytes']}), state {s['state_bytes']}, package "
                 f"{s['flash_bytes']}; multiplications forward {s['macs']['forward']}, backward {s['macs']['backward']}")
    return "\n".join(lines)
