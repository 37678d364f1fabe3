"""Cycles of every kind of record on the emulated Pico beside what it cannot go below.

    python benchmarks/bounds.py

Each kind runs alone on usual numbers (kernel_shapes.py), code and data in RAM. A bound counts the loads,
stores and arithmetic that one element takes at least, without loops around it: products by the fastest loop
of the family, and what an output costs besides. It prints a table for docs/kernels.md.
"""

from typing import NamedTuple

import kernel_shapes
from trimtab_tools.boards import bare

# Cycles of the fastest loops: two products in each multiplication; weights as they lie; errors of more than 8
# bits; a depthwise column; rows of a depthwise gradient; a product of bytes, or of 16 bits, in C.
DOT, ROWS, SPREAD, SLIDE, CORRELATE, PLAIN = 2.6, 3.7, 3.4, 3.9, 3.4, 7
SCALE, ROUND, MOVE = 23, 12, 27  # an output, an error, a weight


class Kind(NamedTuple):
    numbers: dict
    unit: str
    count: int  # of units
    bound: float  # cycles of one


def layers(size, ic, oc, k=1, stride=1):
    return {**kernel_shapes.layer(size, ic, oc, k, stride), "norm": 8, "norms": oc // 8, "part": ic}


POINTWISE, DEPTHWISE, ONE = layers(8, 24, 24), layers(8, 24, 24, 3), {**layers(1, 256, 64), "once": 1}
POOL = {**layers(8, 24, 24, 2, 2), "pt": 0, "pl": 0}
MAP = {"ih": 8, "iw": 8, "ic": 24, "oh": 8, "ow": 8, "oc": 24, "yh": 8, "yw": 8, "yc": 24}
PIXELS, PRODUCTS, HEAD = 64 * 24, 64 * 24 * 24, 64 * 10
FLAT, ROW, CLASSES = {"n": PIXELS}, {"n": 64, "ic": 24, "oc": 24}, {"n": 10, "f": 64}

KINDS = {
    "conv_fwd": Kind(POINTWISE, "product", PRODUCTS, DOT + SCALE / 24),
    "conv_fwd, one position": Kind(ONE, "product", 256 * 64, ROWS + SCALE / 256),
    "depthwise_fwd": Kind(DEPTHWISE, "product", 9 * PIXELS, SLIDE + SCALE / 9),
    "conv_dx": Kind(POINTWISE, "product", PRODUCTS, SPREAD + ROUND / 24),
    "depthwise_dx": Kind(DEPTHWISE, "product", 9 * PIXELS, SLIDE + ROUND / 9),
    "conv_dw": Kind(POINTWISE, "product", PRODUCTS, DOT + MOVE / 64),
    "depthwise_dw": Kind(DEPTHWISE, "product", 9 * PIXELS, CORRELATE + MOVE / 64),
    "bias_dw": Kind(ROW, "error", PIXELS, 3),
    "head_fwd": Kind(CLASSES, "product", HEAD, PLAIN),
    "head_dx": Kind(CLASSES, "product", HEAD, PLAIN),
    "head_dw": Kind(CLASSES, "weight", HEAD, MOVE),
    "prototype_fwd": Kind(CLASSES, "product", HEAD, PLAIN),
    "prototype_dx": Kind(CLASSES, "product", HEAD, PLAIN),
    "tinytl_conv_fwd": Kind(POINTWISE, "product", PRODUCTS, PLAIN),
    "tinytl_conv_dx": Kind(ROW, "product", PRODUCTS, PLAIN),
    "tinytl_norm_dx": Kind({**ROW, "norm": 8, "norms": 3}, "error", PIXELS, 60),
    "tinytl_affine_fwd": Kind(ROW, "output", PIXELS, 15),
    "tinytl_add_fwd": Kind(MAP, "output", PIXELS, 20),
    "tinytl_add_dx": Kind(MAP, "error", PIXELS, 8),
    "mobiletl_fwd": Kind(FLAT, "output", PIXELS, 8),
    "mobiletl_gain_dw": Kind(ROW, "error", PIXELS, PLAIN),
    "tinytrain_fisher": Kind(ROW, "product", PIXELS, PLAIN),
    "add_fwd": Kind(FLAT, "output", PIXELS, SCALE + 20),
    "requantize_fwd": Kind(FLAT, "output", PIXELS, SCALE + 3),
    "lut_fwd": Kind(FLAT, "output", PIXELS, 8),
    "copy_fwd": Kind(MAP, "output", PIXELS, 4),
    "mean_fwd": Kind(ROW, "input", PIXELS, 5),
    "avg_pool_fwd": Kind(POOL, "input", PIXELS, 5),
    "max_pool_fwd": Kind(POOL, "input", PIXELS, 6),
    "scale_dx": Kind(MAP, "error", PIXELS, 8 + ROUND),
    "lut_dx": Kind(MAP, "error", PIXELS, 10 + ROUND),
    "avg_dx": Kind(POOL, "error", PIXELS, 6 + ROUND),
    "max_dx": Kind(POOL, "error", PIXELS, 6 + ROUND),
}


def measured():
    """{kind: cycles of one unit}"""
    runs = [kernel_shapes.record(name.split(",")[0], kind.numbers) for name, kind in KINDS.items()]
    return {name: sum(r.cycles) / kind.count for (name, kind), r in zip(KINDS.items(), bare.run(runs))}


def table():
    lines = ["| record | of each | cycles | bound | times the bound |", "|---|---|---|---|---|"]
    for name, cycles in measured().items():
        kind = KINDS[name]
        lines.append(
            f"| {name} | {kind.unit} | {cycles:.1f} | {kind.bound:.1f} | {cycles / kind.bound:.1f} |"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    print(table())
