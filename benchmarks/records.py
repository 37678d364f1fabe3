"""Cycles of each record of MCUNet-5fps at 128x128 under the published 49 KB scheme: python benchmarks/records.py

Every record runs alone on the emulated Cortex-M0+, weights in flash, arena and state in RAM, its results going to the next.
"""

import struct
from collections import namedtuple
from pathlib import Path

import numpy as np
from trimtab.format import PHASES, RECORDS, fields

from trimtab_tools import bare, compile, cost, import_checkpoint, simulate

NETWORK = Path(__file__).resolve().parents[2] / "shared" / "assets" / "tiny_training" / "mcunet-5fps.npz"
SCHEME, CLASSES = "sparse:mcunet-49kb", 10
FORWARD = ("prefix", "forward")
STEP = ("begin", *FORWARD, "loss", "gate", "head", "backward", "end")

Row = namedtuple("Row", "phase kernel layer shape macs words cycles")


def mcunet():
    """The package, or None without the network's file."""
    if not NETWORK.exists():
        return None
    return compile.compile_graph(import_checkpoint.read(str(NETWORK)), SCHEME, classes=CLASSES)


def network(made, phases):
    """The Run of a package's steps on one sample, and the net of this machine for the same."""
    net = simulate.load(made.data, "c")
    net.input_view[:] = np.random.default_rng(0).integers(-128, 128, net.input_bytes).astype(np.int8).tobytes()
    if net.loss != "none":
        struct.pack_into("<i", net.target_view, 0, 3)
    spaces = [bytes(space) for space in net._mem.spaces]
    offsets = [net._offsets[i] for phase in phases for i in range(*net._phases[phase])]
    names = [RECORDS[struct.unpack_from("<i", spaces[3], offset)[0]][0] for offset in offsets]
    return bare.Run(list(zip(names, offsets)), spaces), net


def step_rows(made):
    """A Row for each record of one training step."""
    run, _ = network(made, STEP)
    done, = bare.run([run], skew=0)
    steps = [(phase, step) for phase in STEP for step in made.program.phases[phase]]
    return [Row(phase, step.kernel, step.layer, _shape(step), cost.step_macs(step), step.values.get("words", 0), cycles)
            for (phase, step), cycles in zip(steps, done.cycles)]


def _shape(step):
    v = step.values
    numbers = [name for name, kind, *_ in fields(dict(RECORDS_BY_NAME)[step.kernel]) if not kind]
    if "kh" in numbers:
        return "{ih}x{iw}x{ic} to {oh}x{ow}x{oc}, {kh}x{kw} by {sh}".format(**v)
    return " ".join("%s=%s" % (name, v[name]) for name in ("n", "f", "ic", "oc", "nk") if name in numbers)


RECORDS_BY_NAME = [row[:2] for row in RECORDS]


def main():
    made = mcunet()
    rows = step_rows(made)
    for row in sorted(rows, key=lambda row: -row.cycles):
        each = "%6.2f" % (row.cycles / row.macs) if row.macs else "      "
        print("%8.0f k %9d %s  %5d  %-8s %-14s %s  %s" % (row.cycles / 1000, row.macs, each, row.words, row.phase, row.kernel, row.shape, row.layer))
    for phases in (FORWARD, STEP):
        print(sum(row.cycles for row in rows if row.phase in phases), "cycles of", ", ".join(phases))


if __name__ == "__main__":
    main()
