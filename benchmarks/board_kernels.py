"""The shapes of kernel_shapes.py under MicroPython: on emulated boards that count, and on this machine."""

import json
import struct
import time

import kernel_shapes
from trimtab_tools.boards import simulated
from trimtab_tools.boards.files import library_files
from trimtab_tools.boards.packed import always_packed
from trimtab_tools.boards.pico import Pico
from trimtab_tools.boards.qemu import Qemu
from trimtab_tools.boards.unix import Unix
from trimtab_tools.compiler import compile
from trimtab_tools.link.repl import mpremote
from trimtab_tools.toolchain import subset
from trimtab_tools.toolchain.boards import BOARDS, QEMU_NAMES
from trimtab_tools.toolchain.kernels import natmod

TIMES = {"unix": 100}  # after the first, which sets the trackers; 4 where the clock is exact
UNITS = {  # board -> what a tick of time.ticks_cpu() counts, how many of it
    "m3": ("instructions", 40),
    "m4": ("instructions", 40),
    "c3": ("instructions", 100),
    "unix": ("ns", 1),
    "pico": ("cycles", 1),
}
TICKS = {"unix": "1000 * time.ticks_us()", "pico": "125 * time.ticks_us()"}  # else time.ticks_cpu()
MEASURE = """
import gc, json, struct, time
gc.collect()
before = gc.mem_free()
%(load)s
gc.collect()
heap = before - gc.mem_free()
import trimtab
from trimtab import kernels
tier = kernels.choose(%(tier)r)
def now():
    return %(now)s
def ticks(work):
    work(0)
    start = now()
    for i in range(%(times)d):
        work(i)
    return (now() - start) // %(times)d
found = {}
for kernel, name in %(shapes)r:
    with open(%(folder)r + name, "rb") as file:
        sizes = struct.unpack("<5I", file.read(20))
        mem = tier.bind(*[bytearray(file.read(n)) for n in sizes])
    found[name] = ticks(lambda i: tier.functions[kernel](mem, 0))
    mem = None
    gc.collect()
predicts, trains = [trimtab.load(%(folder)r + name, %(tier)r) for name in ("predicts.ttp", "trains.ttp")]
x = bytes([i * 37 %% 256 for i in range(trains.input_bytes)])
predicts.load_input(x)
print(json.dumps(dict(heap=heap, kernels=found, forward=ticks(lambda i: predicts.classify_input()),
                      step=ticks(lambda i: trains.train(x, i * 3 %% trains.classes)),
                      ram=trains.package.arena_bytes + trains.package.state_bytes)))
"""
HEAP = """
import gc
gc.collect()
before = gc.mem_free()
import _kernels
gc.collect()
print(before - gc.mem_free())
"""
LOAD = {"c": "import _kernels", "viper": "from trimtab import kernels_viper"}


def packages():
    """The small network, to predict and to train."""
    graph = kernel_shapes.n1()
    return {
        "predicts.ttp": compile.compile_inference(graph, kernels=simulated.best_tier()).data,
        "trains.ttp": compile.compile_graph(graph, "full", classes=10, kernels=simulated.best_tier()).data,
    }


def inputs():
    files = packages()
    for name in kernel_shapes.SHAPES:
        spaces = kernel_shapes.run(name).spaces
        files[name] = struct.pack("<5I", *map(len, spaces)) + b"".join(map(bytes, spaces))
    return files


def script(board, tier, folder):
    shapes = [(kernel, name) for name, (kernel, _) in kernel_shapes.SHAPES.items()]
    return MEASURE % dict(
        load=LOAD[tier],
        tier=tier,
        times=TIMES.get(board, 4),
        shapes=shapes,
        folder=folder,
        now=TICKS.get(board, "time.ticks_cpu()"),
    )


def printed(board, tier):
    """What a board says of one tier."""
    if board == "unix":
        files = {"run.py": script(board, tier, "").encode(), **inputs()}
        with Unix("run.py", files=files, heap="16m", kernels=tier == "c") as unix:
            return unix.output(600)
    arch = BOARDS[board].arch if board in QEMU_NAMES else "armv6m"
    files = {**library_files(arch, tier), **{"/" + name: data for name, data in inputs().items()}}
    start = Qemu(board, files) if board in QEMU_NAMES else Pico(files=files)
    folder = "/rom/" if board in QEMU_NAMES else "/"
    with start as on:
        return mpremote(on.url, "exec", script(board, tier, folder), timeout=600)


def measure(board, tier="c"):
    """{"kernels", "networks", "heap_bytes"} in the board's unit."""
    unit, per_tick = UNITS[board]
    found = json.loads(printed(board, tier))
    kernels = {
        name: {f"{unit}_per_mac": round(ticks * per_tick / kernel_shapes.macs(name), 2)}
        for name in kernel_shapes.SHAPES
        for ticks in [found["kernels"][name]]
    }
    network = {
        f"forward_{unit}": found["forward"] * per_tick,
        f"step_{unit}": found["step"] * per_tick,
        "ram_bytes": found["ram"],
    }
    return {"kernels": kernels, "networks": {"n1": network}, "heap_bytes": found["heap"]}


def on(board):
    """What benchmarks/results/BOARD.json says of an emulated board or of the unix port."""
    arch = "x64" if board == "unix" else BOARDS[board].arch
    c, viper = measure(board), measure(board, "viper")
    module = native_module(arch)
    module["whole"]["heap_bytes"] = c.pop("heap_bytes")
    if board in QEMU_NAMES:
        with Qemu(board, library_files(arch, "c", packages()["trains.ttp"])) as on:
            module["heap_bytes"] = int(mpremote(on.url, "exec", HEAP))
    return {**c, "viper": viper, "native_module": {arch: module}}


def native_module(arch):
    """Of what the small network needs to train, and of the whole: the size of the file; heap_bytes is to be
    measured.
    """
    data = packages()["trains.ttp"]
    part = natmod(arch, subset.kernels_of(data), always_packed(data, arch))
    return {"mpy_bytes": part.stat().st_size, "whole": {"mpy_bytes": natmod(arch).stat().st_size}}


def sim():
    """The C kernels as a shared library of this machine: times of this machine."""
    tier = simulated.tier("c")
    kernels = {}
    for name, (kernel, _) in kernel_shapes.SHAPES.items():
        mem = tier.bind(*[bytearray(space) for space in kernel_shapes.run(name).spaces])
        ns = _ns(lambda i: tier.functions[kernel](mem, 0))
        kernels[name] = {"ns_per_mac": round(ns / kernel_shapes.macs(name), 3)}
    files = packages()
    predicts, trains = (simulated.load(files[name], tier) for name in ("predicts.ttp", "trains.ttp"))
    x = bytes(i * 37 % 256 for i in range(trains.input_bytes))
    predicts.load_input(x)
    network = {
        "forward_ns": _ns(lambda i: predicts.classify_input()),
        "step_ns": _ns(lambda i: trains.train(x, i * 3 % trains.classes)),
        "ram_bytes": trains.package.arena_bytes + trains.package.state_bytes,
    }
    return {"kernels": kernels, "networks": {"n1": network}, "native_module": {}}


def _ns(work):
    """The mean of some runs after the first."""
    work(0)
    start = time.perf_counter_ns()
    for i in range(TIMES["unix"]):
        work(i)
    return (time.perf_counter_ns() - start) // TIMES["unix"]
