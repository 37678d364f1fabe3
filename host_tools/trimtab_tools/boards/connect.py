"""A board by name or port, ready to be talked to: `with attach("pico", "x.ttp") as client: ...`.

sim is the device library in this process, unix is MicroPython on this machine; both save beside the package, as
a board does. pico is emulated and lives as long as the `with`. Anything else is a port (COM3, /dev/ttyACM0,
socket://host:port) with a board on which the package has been deployed.
"""

import contextlib
import shutil
import sys
import tempfile
from pathlib import Path

from ..link.client import Client
from ..link.transport import Cable, Process, Serial, Thread
from ..toolchain import builds
from . import emulated, simulated

NAMES = ("sim", "unix", "pico", *builds.QEMU_BOARDS)
# What a board's microseconds are made of, where they are not time of this machine: (unit, how many).
CLOCKS = {"pico": ("cycles", 125), **dict.fromkeys(builds.QEMU_BOARDS, ("instructions", 1000))}
NOTES = {
    "pico": "an emulated Pico is not a Pico: it has one core and no flash cache misses",
    **dict.fromkeys(
        builds.QEMU_BOARDS, "QEMU counts instructions, not cycles, and forgives unaligned accesses"
    ),
}

QEMU_PATIENCE_MS = 120000  # it runs some 50 million instructions a second


@contextlib.contextmanager
def attach(board, package, kernels="c", heap=None, key=None, fresh=False):
    """A connected Client whose board runs the package (a path); `fresh`: without what it saved before."""
    package = Path(package)
    with contextlib.ExitStack() as stack:
        if fresh and board in ("sim", "unix"):
            folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="trimtab-fresh."))
            package = Path(shutil.copy(package, folder))
        if board == "sim":
            client = _sim(package, kernels, key)
        elif board == "unix":
            client = _unix(package, kernels, heap)
        elif board == "pico":
            client = _pico(stack, package, kernels)
        elif board in builds.QEMU_BOARDS:
            client = _qemu(stack, board, package, kernels)
        else:
            client = Client(Cable(board), package.name, key=key)
        yield stack.enter_context(client)


def _sim(package, kernels, key):
    import trimtab
    from trimtab.serve import serve

    tier = simulated.tier(kernels)
    return Client(lambda: Thread(lambda port: serve(trimtab.load(str(package), tier), port, key)), key=key)


def _unix(package, kernels, heap):
    builds.provide("unix")
    code = "import trimtab.serve as s; s.main(%r, %r)" % (package.name, kernels)
    command, env = emulated.unix_command("-c", code, heap=heap, kernels=kernels == "c")
    options = {"cwd": package.parent, "env": env, "start_new_session": True}  # Ctrl-C is not for the board
    return Client(lambda: Process(command, **options))


def _pico(stack, package, kernels):
    builds.provide("pico")
    data = package.read_bytes()
    files = {**emulated.library_files("armv6m", kernels, data), "/" + package.name: data}
    pico = stack.enter_context(emulated.Pico(files=files))
    return Client(lambda: Serial(pico.url), package.name)


def _qemu(stack, board, package, kernels):
    builds.provide(board)
    data = package.read_bytes()
    files = {**emulated.library_files(builds.QEMU_BOARDS[board][0], kernels, data), "/" + package.name: data}
    qemu = stack.enter_context(emulated.Qemu(board, files))
    return Client(lambda: Serial(qemu.url), "/rom/" + package.name, patience_ms=QEMU_PATIENCE_MS)


def cost(board, us):
    """A board's microseconds for each step, in its own unit."""
    if board in CLOCKS:
        unit, per_us = CLOCKS[board]
        return {f"{unit}_per_step": round(us * per_us)}
    return {"ms_per_step": round(us / 1000, 3)}


def note(board):
    if board in NOTES:
        print(NOTES[board], file=sys.stderr)
