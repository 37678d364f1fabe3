"""The one table of boards: what each is, what it is built of, how it is started. See docs/add-a-board.md.

`firmware` and `xtensa` are built like boards and tested like boards, but nobody can train on them.
"""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple

from ..errors import ToolchainError
from . import firmware, kernels, packages


class Machine(NamedTuple):
    """A machine of QEMU's."""

    command: list[str]
    rom: int  # the address at which firmware/qemu/support.c looks for ROMFS


class Board(NamedTuple):
    about: str
    tools: list[str]  # the programs that its builds run
    parts: dict[str, Callable[[], Path]]  # name -> what builds it
    arch: str | None = None  # of its native module, if it needs one
    start: str | None = None  # how boards/connect.py starts it; None: nobody trains on it
    machine: Machine | None = None
    clock: tuple[str, float] | None = None  # (unit, how many a microsecond), if its time is not real
    note: str = ""  # what its numbers do not show
    cores: int = 1  # that share a record


def _qemu(
    name: str, about: str, arch: str, tools: list[str], machine: Machine, variables: dict[str, str]
) -> Board:
    """A row for a machine of QEMU's. `variables` go to the make that builds MicroPython for it."""
    return Board(
        about,
        ["make", *tools],
        {
            "firmware": partial(firmware.qemu, name, ["make", *tools], variables),
            "kernels": partial(kernels.natmod, arch),
        },
        arch,
        "qemu",
        machine,
        ("instructions", 1000),
        "QEMU counts instructions, not cycles, and forgives unaligned accesses",
    )


ARM_TOOLS = ["qemu-system-arm", *packages.ARM]
RV32_TOOLS = ["qemu-system-riscv32", *packages.RV32]
# Debian's compiler for RISC-V has its libraries under the names of an older specification.
OLD_RISCV = {
    "RV32_ARCH": "rv32imac",
    "CFLAGS_EXTRA": "-misa-spec=2.2",
    "AS": "riscv64-unknown-elf-as -misa-spec=2.2",
}

BOARDS = {
    "sim": Board(
        "the device library in this process",
        ["gcc"],
        {"kernels": kernels.wide_library},
        start="sim",
    ),
    "unix": Board(
        "MicroPython's unix port",
        firmware.UNIX_TOOLS,
        {"micropython": firmware.unix, "kernels": partial(kernels.natmod, "x64")},
        "x64",
        "unix",
    ),
    "firmware": Board(
        "a Pico's firmware with the library inside",
        firmware.RP2_TOOLS,
        {"firmware": lambda: firmware.pico("trimtab") / "firmware.uf2"},
    ),
    "pico": Board(
        "a Raspberry Pi Pico, emulated: stock MicroPython, both cores, no flash cache misses",
        [*firmware.RP2_TOOLS, *firmware.EMULATOR_TOOLS],
        {
            "emulator": firmware.emulator,
            "firmware": lambda: firmware.pico("stock") / "firmware.bin",
            "kernels": partial(kernels.natmod, "armv6m"),
        },
        "armv6m",
        "pico",
        clock=("cycles", 125),
        note="an emulated Pico is not a Pico: its memory has no wait states",
        cores=2,
    ),
    "m3": _qemu(
        "m3",
        "a Cortex-M3 of QEMU's",
        "armv7m",
        ARM_TOOLS,
        Machine(["qemu-system-arm", "-machine", "mps2-an385"], 0x21000000),
        {},
    ),
    "m4": _qemu(
        "m4",
        "a Cortex-M4 of QEMU's",
        "armv7emsp",
        ARM_TOOLS,
        Machine(["qemu-system-arm", "-machine", "mps2-an386"], 0x21000000),
        {},
    ),
    "c3": _qemu(
        "c3",
        "an RV32 core of QEMU's, as the ESP32-C3 has",
        "rv32imc",
        RV32_TOOLS,
        Machine(["qemu-system-riscv32", "-machine", "virt", "-bios", "none"], 0x81000000),
        OLD_RISCV,
    ),
    "xtensa": Board(
        "the ESP32's native module, run by QEMU without MicroPython",
        ["make", "qemu-xtensa", *packages.XTENSA],
        {"kernels": partial(kernels.natmod, "xtensawin"), "program": kernels.xtensa_program},
        "xtensawin",
    ),
}

NAMES = tuple(name for name, board in BOARDS.items() if board.start)  # those that train
QEMU_NAMES = tuple(name for name, board in BOARDS.items() if board.machine)


def row(name: str) -> Board:
    if name not in BOARDS:
        raise ToolchainError(f"no board {name}: choose one of {', '.join(BOARDS)}")
    return BOARDS[name]


def missing(name: str) -> list[str]:
    """The system packages that a board still needs."""
    return packages.absent(row(name).tools)


def provide(name: str) -> None:
    """Install what a board needs, as root; anyone else is told which command does it."""
    packages.provide(row(name).tools, f"board {name}")


def build(name: str) -> dict[str, str]:
    """Build what a board needs: {part: path}."""
    provide(name)
    return {part: str(make()) for part, make in row(name).parts.items()}
