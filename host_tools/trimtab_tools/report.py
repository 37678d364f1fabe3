"""What a plan trains and what it costs, for people and for machines."""

from .steps import FIELDS

# Multiplications of a record, from its own numbers.
_CONV = "oh ow oc kh kw".split()
MACS = {
    "conv_fwd": lambda v: _product(v, _CONV) * _columns(v),
    "depthwise_fwd": lambda v: _product(v, _CONV),
    "head_fwd": lambda v: v["n"] * v["f"],
    "conv_dx": lambda v: _product(v, _CONV) * _columns(v),
    "depthwise_dx": lambda v: _product(v, _CONV),
    "conv_dw": lambda v: _product(v, _CONV) * v["nk"],
    "depthwise_dw": lambda v: _product(v, ("oh", "ow", "kh", "kw")) * v["nk"],
    "head_dx": lambda v: v["n"] * v["f"],
    "head_dw": lambda v: v["n"] * v["f"],
}
FORWARD = ("conv_fwd", "depthwise_fwd", "head_fwd")


def _product(values, names):
    n = 1
    for name in names:
        n *= values[name]
    return n


def _columns(values):
    """Input channels that a conv walks: all of the frozen tensor, and those of the trained plane."""
    return (values["ic"] if values.get("w") is not None else 0) + (values["nk"] if values.get("k") is not None else 0)


def macs(program):
    total = {"forward": 0, "backward": 0}
    for _, step in program.timeline():
        if step.kernel in MACS:
            total["forward" if step.kernel in FORWARD else "backward"] += MACS[step.kernel](step.values)
    return total


def summary(made):
    """The plan as `trimtab plan --json` prints it."""
    return {
        "updates": [{"layer": u.layer, "bias": u.bias, "weight_channels": list(u.channels), "axis": u.axis}
                    for u in made.plan.updates],
        "arena_bytes": made.placement.size,
        "state_bytes": made.program_state_bytes,
        "lower_bound_bytes": made.placement.lower_bound,
        "flash_bytes": len(made.data),
        "macs": macs(made.program),
    }


def rows(made):
    """One row per layer of the trunk: what moves, what is kept for it, what it costs."""
    found = {}
    for phase, step in made.program.timeline():
        row = found.setdefault(step.layer, {"forward": 0, "backward": 0, "mask": 0})
        if step.kernel in MACS:
            row["forward" if step.kernel in FORWARD else "backward"] += MACS[step.kernel](step.values)
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
