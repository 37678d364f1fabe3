"""Connects to a board by name or port: `with attach("pico", "x.ttp") as client: ...`.

sim is the device library in this process, unix is MicroPython on this machine. Both save beside the package,
as a board does. Emulated boards live as long as the `with`. Any other name is a port (COM3, /dev/ttyACM0,
socket://host:port) of a board on which the package has been deployed.
"""

import contextlib
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from ..compiler.package_reading import Contents
from ..errors import BoardError
from ..link.client import Client
from ..link.transport import Cable, Process, Serial, Thread
from ..toolchain.boards import BOARDS, provide
from . import simulated
from .files import library_files
from .pico import Pico
from .qemu import Qemu
from .unix import unix_command

QEMU_PATIENCE_MS = 120000  # it runs some 50 million instructions a second


@contextlib.contextmanager
def attach(
    board: str,
    package: Path | str,
    kernels: str | None = None,
    heap: str | None = None,
    key: bytes | None = None,
    fresh: bool = False,
) -> Iterator[Client]:
    """A connected Client whose board runs the package; `fresh` ignores what sim and unix saved before."""
    package = Path(package)
    with contextlib.ExitStack() as stack:
        if fresh and board in ("sim", "unix"):
            folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="trimtab-fresh."))
            package = Path(shutil.copy(package, folder))
        start = BOARDS[board].start if board in BOARDS else None
        if start:
            client = STARTS[start](stack, board, package, kernels, heap, key)
        else:
            client = Client(Cable(board), package.name, key=key)
        yield stack.enter_context(client)


def _sim(stack, board, package, kernels, heap, key):
    import trimtab
    from trimtab.serve import serve

    tier = simulated.tier(kernels)
    return Client(lambda: Thread(lambda port: serve(trimtab.load(str(package), tier), port, key)), key=key)


def _unix(stack, board, package, kernels, heap, key):
    provide(board)
    code = "import trimtab.serve as s; s.main(%r, %r)" % (package.name, kernels)
    command, env = unix_command("-c", code, heap=heap, kernels=kernels in (None, "c"))
    options = {"cwd": package.parent, "env": env, "start_new_session": True}  # Ctrl-C is not for the board
    return Client(lambda: Process(command, **options))


def _pico(stack, board, package, kernels, heap, key):
    provide(board)
    pico = stack.enter_context(Pico(files=_files(board, package, kernels)))
    return Client(lambda: Serial(pico.url), package.name)


def _qemu(stack, board, package, kernels, heap, key):
    provide(board)
    qemu = stack.enter_context(Qemu(board, _files(board, package, kernels)))
    return Client(lambda: Serial(qemu.url), "/rom/" + package.name, patience_ms=QEMU_PATIENCE_MS)


# `start` of a row in toolchain/boards.py -> the function that starts it.
STARTS = {"sim": _sim, "unix": _unix, "pico": _pico, "qemu": _qemu}


def _files(board, package, kernels):
    data = package.read_bytes()
    return {**library_files(BOARDS[board].arch, kernels, data, BOARDS[board].cores), "/" + package.name: data}


def check_same_package(client: Client, contents: Contents, package: Path | str) -> None:
    """Refuse a board that runs another package than this one."""
    if client.info["package_crc"] != contents.package.crc:
        raise BoardError(f"the board runs another package than {package}: run `trimtab deploy {package}`")


def cost(board: str, us: float) -> dict[str, float]:
    """A board's microseconds for each step, in its own unit."""
    clock = BOARDS[board].clock if board in BOARDS else None
    if clock:
        unit, per_us = clock
        return {f"{unit}_per_step": round(us * per_us)}
    return {"ms_per_step": round(us / 1000, 3)}


def note(board: str) -> None:
    """Print, on stderr, what a board's numbers do not show."""
    if board in BOARDS and BOARDS[board].note:
        print(BOARDS[board].note, file=sys.stderr)
