"""Cycles of every kernel and of two networks, and what the native module takes.

    python benchmarks/kernels.py pico
    python benchmarks/kernels.py pico --cores 2 --flash-cache 56

Prints a table and writes benchmarks/results/BOARD.json. With options of the emulated Pico it only prints its
networks: with two cores, which then wait for each other's memory, and with so many cycles for a miss of the
flash's cache.

On the Pico, kernels run alone on the emulated core: code and data in RAM, zero wait states, pads counted as
multiplications. So does MCUNet (records.py), with its weights in flash. The small network runs under
MicroPython, whose own time is part of it. An emulated Pico has no flash cache: on silicon, weights read
from flash cost more.

On m3, m4 and c3 (instructions), and on unix and sim (this machine's time), everything runs under Python: see
board_kernels.py.
"""

import argparse
import json
import sys
from functools import partial

import board_kernels
import kernel_shapes
import paths
import records
from trimtab_tools.boards import bare, simulated
from trimtab_tools.boards.files import library_files
from trimtab_tools.boards.pico import Pico
from trimtab_tools.compiler import compile
from trimtab_tools.errors import ToolchainError
from trimtab_tools.link.repl import mpremote
from trimtab_tools.toolchain.boards import QEMU_NAMES, provide
from trimtab_tools.toolchain.kernels import NATMODS

MHZ = 125
TIMES = 8  # after the first, which sets the trackers

NETWORK = """
import gc, json, time, trimtab
def cycles(work):
    work(0)
    gc.collect()
    start = time.ticks_us()
    for i in range(%(times)d):
        work(i)
    return time.ticks_diff(time.ticks_us(), start) * %(mhz)d // %(times)d
predicts, trains = trimtab.load("/predicts.ttp"), trimtab.load("/trains.ttp")
x = bytes(i * 37 %% 256 for i in range(trains.input_bytes))
predicts.load_input(x)
print(json.dumps(dict(forward_cycles=cycles(lambda i: predicts.classify_input()),
                      step_cycles=cycles(lambda i: trains.train(x, i * 3 %% trains.classes)),
                      ram_bytes=trains.package.arena_bytes + trains.package.state_bytes)))
"""


def kernels():
    """{shape: {"cycles_per_mac"}}"""
    names = list(kernel_shapes.SHAPES)
    done = bare.run([kernel_shapes.run(name) for name in names])
    return {
        name: {"cycles_per_mac": round(sum(r.cycles) / kernel_shapes.macs(name), 2)}
        for name, r in zip(names, done)
    }


def on_pico(script, files, chip=bare.ONE):
    with Pico(files=files, cores=chip.cores, banks=chip.banks, flash_cache=chip.flash_cache) as board:
        return mpremote(board.url, "exec", script)


def networks(chip=bare.ONE):
    """{network: {"forward_cycles", "step_cycles", "ram_bytes"}}"""
    graph = kernel_shapes.n1()
    packages = {
        "/predicts.ttp": compile.compile_inference(graph, kernels=simulated.best_tier()).data,
        "/trains.ttp": compile.compile_graph(graph, "full", classes=10, kernels=simulated.best_tier()).data,
    }
    script = NETWORK % dict(times=TIMES, mhz=MHZ)
    files = {**library_files("armv6m", cores=chip.cores), **packages}
    found = json.loads(on_pico(script, files, chip))
    return {"n1": {key: found[key] for key in ("forward_cycles", "step_cycles", "ram_bytes")}, **mcunet(chip)}


def mcunet(chip=bare.ONE):
    """The same of MCUNet, record by record; nothing where its file is absent."""
    made = records.mcunet()
    if not made:
        return {}
    (done,) = bare.run([records.network(made, records.STEP)[0]], skew=0, chip=chip)
    rows = records.rows(made, done)
    return {
        "mcunet_49kb": {
            "forward_cycles": records.total(rows, records.FORWARD),
            "step_cycles": records.total(rows, records.STEP),
            "ram_bytes": made.placement.size + made.program_state_bytes,
        }
    }


def native_modules():
    """{architecture: {"mpy_bytes", "heap_bytes", "whole": the same of all kernels}}; the heap is measured
    on the Pico alone.
    """
    found = {}
    for arch in NATMODS:
        try:
            found[arch] = board_kernels.native_module(arch)
        except ToolchainError as error:
            print(f"{arch}: {error}", file=sys.stderr)
    for row, package in (
        (found["armv6m"], board_kernels.packages()["trains.ttp"]),
        (found["armv6m"]["whole"], None),
    ):
        row["heap_bytes"] = int(on_pico(board_kernels.HEAP, library_files("armv6m", package=package)))
    return found


def pico():
    return {
        "kernels": kernels(),
        "networks": networks(),
        "viper": board_kernels.measure("pico", "viper"),
        "native_module": native_modules(),
    }


BOARDS = {"pico": pico, "sim": board_kernels.sim}
BOARDS.update({name: partial(board_kernels.on, name) for name in ("unix", *QEMU_NAMES)})


def table(result, indent=""):
    lines = []
    for name, row in result["kernels"].items():
        ((unit, each),) = row.items()
        lines.append(f"{indent + name:28}{each:10.2f} {unit.removesuffix('_per_mac')} per multiplication")
    for name, row in result["networks"].items():
        forward, step, ram = row.items()
        unit = forward[0].removeprefix("forward_")
        lines.append(
            f"{indent + name:28}{forward[1]:11,} {unit} forward {step[1]:11,} a training step, "
            f"{ram[1]:,} bytes of RAM"
        )
    for arch, module in result.get("native_module", {}).items():
        for name, row in (f"{arch}, for n1", module), (f"{arch}, whole", module["whole"]):
            heap = f", {row['heap_bytes']:,} of heap" if "heap_bytes" in row else ""
            lines.append(f"{name:28}{row['mpy_bytes']:10,} bytes of .mpy{heap}")
    if "viper" in result:
        lines += [
            f"viper kernels, all {result['viper']['heap_bytes']:,} bytes of heap",
            table(result["viper"], "  "),
        ]
    return "\n".join(lines)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("board", choices=BOARDS)
    parser.add_argument("--cores", type=int, choices=(1, 2), default=1)
    parser.add_argument("--flash-cache", type=int, metavar="CYCLES", default=0)
    args = parser.parse_args()
    board = args.board
    provide(board)
    chip = bare.Chip(args.cores, banks=args.cores > 1, flash_cache=args.flash_cache)
    if board == "pico" and chip != bare.ONE:
        print(table({"kernels": {}, "networks": networks(chip)}))
        return
    result = BOARDS[board]()
    print(table(result))
    paths.RESULTS.mkdir(exist_ok=True)
    (paths.RESULTS / f"{board}.json").write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
