"""Measure what each count of a record's loop costs, for the estimates of `trimtab plan` and `trimtab report`.

    python benchmarks/calibrate.py
    python benchmarks/calibrate.py --memory flat

Trains the networks of calibration_nets.py for one step on the emulated Pico, record by record, and fits the
cycles of every loop of host_tools/trimtab_tools/compiler/features.py. Writes compiler/cycles.json. Run it
again when kernels change. It takes some minutes.

Records run alone (bare.py): code, arena and state in RAM, the rest in flash with zero wait states.
"""

import argparse
import json
from collections import defaultdict

import calibration_nets
import numpy as np
import paths
import records
from scipy.optimize import nnls
from trimtab.format import PHASES
from trimtab_tools.boards import bare, simulated
from trimtab_tools.compiler import compile, features
from trimtab_tools.compiler.cycles import UNKNOWN

TABLE = paths.ROOT / "host_tools" / "trimtab_tools" / "compiler" / "cycles.json"
BOARD = "pico"
RAM = 200 << 10  # bytes that the emulated board has beside the kernels' code
MEMORIES = {"flat": {"skew": 0}}  # memory model -> what the emulator is told
POWER = 0.8  # of a record's cycles, by which its error is divided: between absolute (0) and relative (1)
SLEEPY = 1.25  # a record that takes so much less than estimated had errors of zero, which loops skip
ROUNDS = 3


def measured(memory):
    """(loop, counts, cycles) of each record of a step of each network that fits into the board."""
    for name, graph, policy, options, room in calibration_nets.cases():
        options["kernels"] = simulated.best_tier()
        made = compile.compile_graph(graph, policy, **options)
        size = made.placement.size + made.program_state_bytes
        if size > RAM:
            print(f"{name}: left out, because it needs {size:,} bytes", flush=True)
            continue
        if room:
            made = compile.compile_graph(graph, policy, ram=[min(size + room, RAM)], **options)
        run, _ = records.network(made, PHASES)
        (done,) = bare.run([run], **MEMORIES[memory])
        print(f"{name}: {sum(done.cycles):,} cycles", flush=True)
        for (_, record), cycles in zip(made.program.timeline(), done.cycles):
            yield *features.of(record.kernel, record.values), cycles


def fitted(rows):
    """{count: cycles}, none below 0, that explain a loop's rows (counts, cycles) best."""
    names = sorted({name for counts, _ in rows for name in counts})
    counts = np.array([[counts.get(name, 0) for name in names] for counts, _ in rows], float)
    cycles = np.array([each for _, each in rows], float)
    awake = np.ones(len(rows), bool)
    for _ in range(ROUNDS):
        weights = 1 / np.maximum(cycles, 1) ** POWER
        size = np.maximum((counts * awake[:, None]).max(0), 1e-9)
        each, _ = nnls((counts / size * weights[:, None])[awake], (cycles * weights)[awake])
        estimates = counts @ (each / size)
        now = estimates <= SLEEPY * cycles
        awake = now if now.sum() >= len(rows) // 2 else awake
    return {name: float(f"{x:.4g}") for name, x in zip(names, each / size) if x > 0}, estimates, cycles


def table(rows):
    """{loop: {count: cycles}}; prints how well each loop is explained."""
    loops, found = defaultdict(list), {}
    for loop, counts, cycles in rows:
        loops[loop].append((counts, cycles))
    for loop, of_loop in sorted(loops.items()):
        found[loop], estimates, cycles = fitted(of_loop)
        low, high = np.quantile(estimates / np.maximum(cycles, 1) - 1, (0.1, 0.9))
        size = f"{len(cycles):5} records{sum(cycles):13,.0f} cycles"
        print(f"{loop:26}{size}, off by {low:+.0%} to {high:+.0%}")
    return found


def unknown(rows):
    """Cycles of a product on average, for loops that no network here has."""
    rows = [(counts["products"], cycles) for _, counts, cycles in rows if counts.get("products")]
    return round(sum(cycles for _, cycles in rows) / sum(products for products, _ in rows), 1)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--memory", choices=MEMORIES, action="append", help="only this model (default: all)")
    stored = json.loads(TABLE.read_text())
    for memory in parser.parse_args().memory or MEMORIES:
        rows = list(measured(memory))
        stored.setdefault(BOARD, {})[memory] = {**table(rows), UNKNOWN: {"products": unknown(rows)}}
    TABLE.write_text(json.dumps(stored, indent=1, sort_keys=True) + "\n")


if __name__ == "__main__":
    main()
