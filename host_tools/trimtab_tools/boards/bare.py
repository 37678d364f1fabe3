"""Kernels alone on the emulated Cortex-M0+, without MicroPython: exact cycles, started in a second."""

import struct
import subprocess
from collections import namedtuple
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from ..errors import ToolchainError
from ..toolchain import cache, firmware, packages
from ..toolchain.kernels import kernel_sources
from ..toolchain.sources import FIRMWARE

# The same as for a native module.
FLAGS = (
    "-mcpu=cortex-m0plus",
    "-mthumb",
    "-Os",
    "-fno-tree-loop-optimize",
    "-fno-thread-jumps",
    "-std=c99",
    "-fpic",
    "-Wall",
    "-Werror",
)

# calls: (kernel, offset of its record), in turn; spaces: arena, state, const, program, weights.
Run = namedtuple("Run", "calls spaces")
Result = namedtuple("Result", "values cycles stack arena state")


class Chip(NamedTuple):
    """What kernels run on. `scratch` is core 1's, in bytes; the rest is as for boards.pico.Pico."""

    cores: int = 1
    scratch: int = 16 * 1024
    banks: bool = False
    flash_cache: int = 0


ONE = Chip()
TWO = Chip(cores=2)
BOX = 512  # bytes in front of that scratch: struct box in cores.h is smaller


def image(flags: Iterable[str] = ()) -> Path:
    """The folder of kernels.bin, linked to the start of RAM, and of kernels.elf, which has the addresses."""

    def build(out):
        packages.need(["make", *packages.ARM])
        kernels = FIRMWARE / "kernels"
        sources = [p for p in kernel_sources() if p.name != "run.c"]  # it needs MicroPython's clock
        sources += sorted(kernels.rglob("*.S"))
        cache.run(
            "arm-none-eabi-gcc",
            *FLAGS,
            *flags,
            f"-I{kernels}",
            "-nostdlib",
            "-Wl,-Ttext=0x20000000",
            "-Wl,-e,0",
            *sources,
            FIRMWARE / "natmod.c",
            "-lgcc",
            "-o",
            out / "kernels.elf",
        )
        cache.run("arm-none-eabi-objcopy", "-O", "binary", out / "kernels.elf", out / "kernels.bin")

    return cache.built("bare", [FIRMWARE / "kernels", *FLAGS, *flags], build)


def symbols(folder: Path) -> dict[str, tuple[int, int]]:
    """{name: (address, bytes)} of everything in the image."""
    rows = [line.split() for line in cache.run("arm-none-eabi-nm", "-S", folder / "kernels.elf").splitlines()]
    return {row[3]: (int(row[0], 16), int(row[1], 16)) for row in rows if len(row) == 4}


def run(runs: Iterable, flags: Iterable[str] = (), skew: int = 1, chip: Chip = ONE) -> list[Result]:
    """A Result for each Run. A pair (kernel, spaces) is one call of that kernel, with its record at 0.

    skew: how many bytes the weights lie behind an aligned address. In our ROMFS images it is 0.
    """
    folder = image((*flags, f"-DTRIMTAB_CORES={chip.cores}") if chip.cores > 1 else flags)
    at = symbols(folder)
    runs = [Run([(kernel, 0)] if isinstance(kernel, str) else kernel, spaces) for kernel, spaces in runs]
    data = b""
    for calls, spaces in runs:
        spaces = [bytes(space) for space in spaces]
        spaces += [b""] * (5 - len(spaces))
        data += struct.pack("<6I", len(calls), *map(len, spaces))
        data += b"".join(struct.pack("<2I", at["trimtab_" + kernel][0], offset) for kernel, offset in calls)
        data += b"".join(spaces)
    done = subprocess.run(
        ["node", firmware.emulator().with_name("bare.mjs"), *_options(folder, at, skew, chip)],
        input=data,
        capture_output=True,
    )
    if done.returncode:
        raise ToolchainError(f"a kernel failed on the emulated core: {done.stderr.decode()[-1000:]}")
    return _results(runs, done.stdout)


def _options(folder, at, skew, chip):
    options = ["--image", folder / "kernels.bin", "--skew", skew, "--flash-cache", chip.flash_cache]
    options += ["--banks"] if chip.banks else []
    if chip.cores > 1:
        serve, share = at["trimtab_serve"][0], at["trimtab_on_cores"][0]
        options += ["--serve", serve, "--share", share, "--box", BOX + chip.scratch]
    return map(str, options)


def _results(runs, data):
    found, at = [], 0
    for calls, spaces in runs:
        stack, *words = struct.unpack_from(f"<{1 + 2 * len(calls)}i", data, at)
        arena = at + 4 + 4 * len(words)
        state = arena + len(spaces[0])
        at = state + len(spaces[1])
        found.append(Result(words[::2], words[1::2], stack, data[arena:state], data[state:at]))
    return found
