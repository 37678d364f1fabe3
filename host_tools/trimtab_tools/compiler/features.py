"""What the time of a record grows with: counts, each of which costs cycles that a calibration measures.

A kernel has several loops, packed and plain ones, and which of them runs shows in the record. A loop's counts
need not be exact. They are the few that matter: products with the pads of packed rows, words packed, outputs,
calls of inner loops. Where kernels change, benchmarks/calibrate.py measures again what each count is worth.
"""

from collections.abc import Callable, Iterator
from typing import Any

from ..graph.program import FIELDS
from ..operators import registry

MACS = {  # multiplications of a record, from its own numbers
    **registry.MACS,
    "head_fwd": lambda v: v["n"] * v["f"],
    "head_dx": lambda v: v["n"] * v["f"],
    "head_dw": lambda v: v["n"] * v["f"],
    "prototype_fwd": lambda v: (v["n"] + 2) * v["f"],
    "prototype_dx": lambda v: (v["n"] + 3) * v["f"],
    "prototype_add": lambda v: 2 * v["f"],
}


def macs(kernel: str, v: dict) -> int:
    """Multiplications of one record."""
    return MACS[kernel](v) if kernel in MACS else 0


Values = dict[str, Any]  # of a record's fields; of a reference it only matters whether it is there
Counts = dict[str, float]


def of(kernel: str, v: Values) -> tuple[str, Counts]:
    """(the loop that runs a record, its counts)."""
    packed = PACKED.get(kernel) if v.get("scratch") is not None else None
    loop, counts = packed(v) if packed else ("plain", PLAIN.get(kernel, _any)(kernel, v))
    return f"{kernel} {loop}", {"record": 1, **counts}


# -- plain loops


def _any(kernel, v):
    """Products, and elements of each tensor that is there."""
    counts = {"products": MACS[kernel](v)} if kernel in MACS else {}
    for name, kind, extent, _ in FIELDS[kernel]:
        if kind and v.get(name) is not None and not "".join(extent).isdigit():
            counts.setdefault("elements of " + "*".join(extent), _elements(v, extent))
            if "?" in kind and name not in ("w", "scratch"):  # what may be absent costs where it is there
                counts[f"with {name}"] = _elements(v, extent)
    return counts


def _elements(v, extent):
    n = 1
    for factor in extent:
        n *= int(v[factor] if factor in v else factor)
    return n


def _seen(v):
    """Pairs of an output position and a kernel position that see an input, not a pad."""

    def along(k, stride, pad, size, out):
        return sum(0 <= o * stride - pad + tap < size for o in range(out) for tap in range(k))

    rows = along(v["kh"], v["sh"], v["pt"], v["ih"], v["oh"])
    return rows * along(v["kw"], v["sw"], v["pl"], v["iw"], v["ow"])


def _weighted(kernel, v):
    seen = _seen(v)
    return {
        "products": seen * v["oc"] * (v["ic"] if kernel == "conv_fwd" else 1),
        "windows": v["oh"] * v["ow"] * (v["oc"] if kernel == "depthwise_fwd" else 1),
        "outputs": v["oh"] * v["ow"] * v["oc"],
        "channels": v["oc"],
    }


def _weighted_dx(kernel, v):
    seen, planes = _seen(v), (v.get("w") is not None) + (v.get("k") is not None)
    counts = {"seen": seen * planes, "inputs": v["ih"] * v["iw"] * v["ic"], **_error(v)}
    if kernel == "conv_dx":
        counts |= {"products": seen * v["oc"] * v["ic"] * planes, "errors": seen * v["oc"] * planes}
    else:
        counts |= {"products": seen * v["oc"]}
    return counts


def _weighted_dw(kernel, v):
    seen, rows = _seen(v), v["oc"] if kernel == "conv_dw" else 1
    taps = v["kh"] * v["kw"] * rows * v["nk"]
    return {
        "products": seen * rows * v["nk"],
        "errors": seen * v["oc"],
        "rows": v["oh"] * taps,
        "updates": taps,
        **_slow_updates(v, taps),
    }


def _copied(kernel, v):
    """A window; all around it is filled unless `fill` says to leave it."""
    counts = {"bytes": v["ih"] * v["iw"] * v["ic"], "rows": v["ih"]}
    return counts if v["fill"] == 256 else {**counts, "filled": v["yh"] * v["yw"] * v["yc"]}


def _add(kernel, v):
    """A sum is fast where TensorFlow Lite halves one of the inputs exactly."""
    halved = (1 << 30, 0) in ((v["mult"], v["shift"]), (v["mult2"], v["shift2"]))
    return {"sums" if halved else "wide sums": v["n"], "with mask": v["n"] * (v.get("mask") is not None)}


PLAIN: dict[str, Callable[[str, Values], Counts]] = {
    "conv_fwd": _weighted,
    "depthwise_fwd": _weighted,
    "conv_dx": _weighted_dx,
    "depthwise_dx": _weighted_dx,
    "conv_dw": _weighted_dw,
    "depthwise_dw": _weighted_dw,
    "copy_fwd": _copied,
    "add_fwd": _add,
}


# -- packed loops: the files of firmware/kernels/packed


def _blocks(n, block):
    return -(-n // max(block, 2))


def _even(n):
    return n + n % 2


def _row(n):
    """Words of n packed bytes."""
    return (n + 3) // 4 * 2


def _outputs(v):
    """Outputs by the loop that scales them."""
    n = v["oh"] * v["ow"] * v["oc"]
    relu = v.get("mask") is None and v["lo"] == v["zy"]
    whole = v["hi"] - v["lo"] == 255
    return {"relu outputs" if relu and whole else "outputs" if whole else "clamped outputs": n}


def _conv_fwd(v):
    size, positions, oc = v["kh"] * v["kw"] * v["ic"], v["oh"] * v["ow"], v["oc"]
    row = _row(size)
    rows = (v["words"] - row // 2) // (row + 1)
    many, few = min(rows - 1, positions + 1), min(rows - oc, positions + 1) // 2 * 2
    held = 2 <= few < positions and many * 50 <= few * (75 + size)  # weights: `divide` in conv.c
    blocks = _blocks(positions, (few if held else many) // 2 * 2)
    packs = oc * (1 if held else blocks)
    counts = {
        "products": oc * _even(positions) * 2 * row,
        "packed weights": packs * size,
        "packed inputs": positions * size,
        "calls": oc * blocks,
        "packs": packs,
        "positions": positions,
        **_outputs(v),
    }
    if v["kh"] * v["kw"] > 1:
        counts |= {"copied inputs": positions * size, "copied rows": positions * v["kh"]}
    if _merges(v):
        counts |= {"merged weights": packs * size, "trained weights": packs * v["kh"] * v["kw"] * v["nk"]}
    return "once" if v["once"] else "packed", counts


def _conv_dw(v):
    columns, positions, oc = v["kh"] * v["kw"] * v["nk"], v["oh"] * v["ow"], v["oc"]
    row = _row(positions)
    rows = (v["words"] - row // 2) // (row + 1)
    if v.get("rng") is not None:  # a generator draws for the weights in another order
        return "plain", _weighted_dw("conv_dw", v)
    held = columns > 4 and rows >= oc + 4  # errors: `divide_dw` in conv_dw.c
    blocks = _blocks(columns, min(rows - (oc if held else 1), columns + 1) // 2 * 2)
    counts = {
        "products": oc * _even(columns) * 2 * row,
        "packed errors": oc * positions * (1 if held else blocks),
        "packed inputs": columns * positions,
        "columns": columns,
        "calls": oc * blocks,
        "updates": oc * columns,
        **_slow_updates(v, oc * columns),
    }
    if v["kh"] * v["kw"] > 1:
        counts |= {"copied inputs": columns * positions, "copied rows": columns * v["oh"]}
    return "packed", counts


def _slow_updates(v, n):
    """Weights that move another way than with 8-bit residuals."""
    counts = {"accumulated updates": n * (v.get("acc") is not None)}
    if v["residual"] != 8:
        counts[f"updates by {v['residual']} bits"] = n
    return counts


def _phases(v) -> Iterator[tuple[int, int, int, int]]:
    """(rows, columns of inputs, rows, columns of taps) of inputs that see the same taps of a stride."""
    for ky in range(v["sh"]):
        for kx in range(v["sw"]):
            high = -(-(v["ih"] - (ky - v["pt"]) % v["sh"]) // v["sh"])
            wide = -(-(v["iw"] - (kx - v["pl"]) % v["sw"]) // v["sw"])
            if high > 0 and wide > 0:
                yield high, wide, -(-(v["kh"] - ky) // v["sh"]), -(-(v["kw"] - kx) // v["sw"])


def _conv_dx(v):
    groups = -(-v["ic"] // 4)
    counts = dict.fromkeys(("products", "errors", "spread weights", "calls"), 0.0)
    for high, wide, down, across in _phases(v):
        terms, inputs = down * across * v["oc"], high * wide
        blocks = _blocks(inputs, (v["words"] - terms) // (terms + 5) // 2 * 2)
        counts["products"] += _even(inputs) * terms * 4 * groups
        counts["errors"] += inputs * terms
        counts["spread weights"] += blocks * groups * terms
        counts["calls"] += blocks * groups
    counts["inputs"] = v["ih"] * v["iw"] * v["ic"]
    counts["positions"] = v["ih"] * v["iw"] * v["kh"] * v["kw"]
    if _merges(v):
        passes = counts["calls"] / groups
        counts |= {"merged weights": counts["spread weights"], "searched": passes * v["ic"] * v["nk"]}
    return "packed", {**counts, **_error(v)}


def _error(v):
    n = v["ih"] * v["iw"] * v["ic"]
    return {f"inputs with {name}": n for name in ("mask", "add") if v.get(name) is not None}


def _merges(v):
    """Whether some channels of the weights are frozen and some are trained."""
    return v.get("w") is not None and v.get("k") is not None


def _searched(v):
    """Steps of the search for the trained weights of each channel."""
    return {"searched": v["oc"] * v["nk"]} if _merges(v) else {}


def _slides(v, size, pads, out):
    return (v["kh"], v["kw"], v["sh"], v["sw"]) == (3, 3, 1, 1) and all(
        0 <= p <= 1 and o <= n + p - 1 for n, p, o in zip(size, pads, out)
    )


def _depthwise_fwd(v):
    loaded, outputs = v["oc"] * v["ih"] * v["iw"], v["oc"] * v["oh"] * v["ow"]
    counts = {"loaded": loaded, "rows": v["oc"] * v["oh"], "channels": v["oc"], **_outputs(v), **_searched(v)}
    if _slides(v, (v["ih"], v["iw"]), (v["pt"], v["pl"]), (v["oh"], v["ow"])):
        return "slide", counts
    pairs, width = (v["kh"] + 1) // 2, (v["ow"] + 3) // 4 * 4
    tiles = v["oc"] * pairs * v["oh"] * width // 4
    return f"tile{v['kw']}_{v['sw']}", {
        **counts,
        "tiles": tiles,
        "tile rows": v["oc"] * pairs * v["oh"],
        "begun": v["oc"] * v["oh"] * width,
        "outputs of rows": outputs,
    }


def _depthwise_dx(v):
    loaded = v["oc"] * v["oh"] * v["ow"]
    counts = {"loaded": loaded, "channels": v["oc"], **_searched(v), **_error(v)}
    counts["inputs"] = v["ih"] * v["iw"] * v["ic"]
    if _slides(v, (v["oh"], v["ow"]), (2 - v["pt"], 2 - v["pl"]), (v["ih"], v["iw"])):
        return "slide", {**counts, "rows": v["oc"] * v["ih"]}
    width = 5 if -(-v["kw"] // v["sw"]) <= 5 else 7
    phases = list(_phases(v))
    tiled = v["oc"] * sum(high * (-(-wide // 4) * 4) * down for high, wide, down, _ in phases)
    return f"rows{width}", {
        **counts,
        "tiles": tiled / 4,
        "tile rows": v["oc"] * sum(high * down for high, _, down, _ in phases),
        "phases": v["oc"] * len(phases),
    }


PACKED: dict[str, Callable[[Values], tuple[str, Counts]]] = {
    "conv_fwd": _conv_fwd,
    "conv_dw": _conv_dw,
    "conv_dx": _conv_dx,
    "depthwise_fwd": _depthwise_fwd,
    "depthwise_dx": _depthwise_dx,
}
