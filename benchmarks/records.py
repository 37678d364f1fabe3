"""Cycles of each record of MCUNet-5fps at 128x128 under the published 49 KB scheme.

    python benchmarks/records.py

Records run alone on the emulated Cortex-M0+, one after the other. Code, arena and state are in RAM, the
rest is in flash and aligned as in our images, with zero wait states.
"""

import struct
from collections import namedtuple

import numpy as np
import paths
from trimtab.format import RECORDS
from trimtab_tools.boards import bare, simulated
from trimtab_tools.compiler import compile, cost
from trimtab_tools.formats import read_checkpoint

FORWARD = ("prefix", "forward")
STEP = ("begin", *FORWARD, "loss", "gate", "head", "backward", "end")

Row = namedtuple("Row", "cycles phase step")


def mcunet():
    """The compiled network, or None where its file is absent."""
    if not paths.MCUNET.exists():
        return None
    return compile.compile_graph(
        read_checkpoint.read(str(paths.MCUNET)),
        "sparse:mcunet-49kb",
        classes=10,
        kernels=simulated.best_tier(),
    )


def network(made, phases):
    """The Run of a package's records on one sample, and the net of this machine for the same.

    A head of zeros, as it is made, would have no error to send back: it is filled at random.
    """
    net, rng = simulated.load(made.data, "c"), np.random.default_rng(0)
    net.input_view[:] = rng.integers(-128, 128, net.input_bytes).astype(np.int8).tobytes()
    for b in made.program.state:
        if b.name == "head.weights":
            weights = rng.integers(-400, 401, b.size // 2).astype("<i2")
            net.state[b.offset : b.offset + b.size] = weights.tobytes()
    if net.loss != "none":
        struct.pack_into("<i", net.target_view, 0, 3)
    spaces = [bytes(space) for space in net.mem.spaces]
    offsets = [net.offsets[i] for phase in phases for i in range(*net.phases[phase])]
    names = [RECORDS[struct.unpack_from("<i", spaces[3], offset)[0]][0] for offset in offsets]
    return bare.Run(list(zip(names, offsets)), spaces), net


def rows(made, result):
    """A Row for each record of a training step, from its Result."""
    records = [(phase, record) for phase in STEP for record in made.program.phases[phase]]
    return [Row(cycles, *record) for record, cycles in zip(records, result.cycles)]


def total(rows, phases):
    return sum(row.cycles for row in rows if row.phase in phases)


def _line(row):
    step, v = row.step, row.step.values
    macs = cost.record_macs(step)
    each = f"{row.cycles / macs:6.2f}" if macs else 6 * " "
    if "kh" in v:
        shape = "{ih}x{iw}x{ic} to {oh}x{ow}x{oc}, {kh}x{kw} by {sh}".format(**v)
    else:
        shape = ", ".join(f"{v[name]} {name}" for name in ("n", "f", "ic", "oc") if name in v)
    return f"{row.cycles:9} {macs:9} {each}  {step.kernel:14} {shape:40} {step.layer}"


def main():
    made = mcunet()
    if not made:
        raise SystemExit(f"there is no {paths.MCUNET.name}: it belongs in {paths.MCUNET.parent}")
    run, _ = network(made, STEP)
    (done,) = bare.run([run], skew=0)
    found = rows(made, done)
    print("   cycles  products   each")
    print("\n".join(map(_line, sorted(found, key=lambda row: -row.cycles))))
    print(f"forward {total(found, FORWARD):,}, a training step {total(found, STEP):,}")


if __name__ == "__main__":
    main()
