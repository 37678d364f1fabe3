"""Kernels alone on the emulated Cortex-M0+, without MicroPython: bit-exact results, exact cycles, a second to start."""

import struct
import subprocess
from collections import namedtuple

from ..errors import ToolchainError
from ..toolchain import builds

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
)  # as in a native module

Run = namedtuple(
    "Run", "steps spaces"
)  # (kernel, offset of its record) in turn; arena, state, const, steps, weights
Result = namedtuple("Result", "values cycles stack arena state")


def image(flags=()):
    """The kernels linked to the start of RAM: kernels.bin, and kernels.elf that knows their addresses."""

    def build(out):
        builds._need(builds.ARM_NATMOD)
        kernels = builds.FIRMWARE / "kernels"
        sources = [*builds.kernel_sources(), *sorted(kernels.rglob("*.S"))]
        builds._run(
            "arm-none-eabi-gcc",
            *FLAGS,
            *flags,
            f"-I{kernels}",
            "-nostdlib",
            "-Wl,-Ttext=0x20000000",
            "-Wl,-e,0",
            *sources,
            builds.FIRMWARE / "natmod.c",
            "-lgcc",
            "-o",
            out / "kernels.elf",
        )
        builds._run("arm-none-eabi-objcopy", "-O", "binary", out / "kernels.elf", out / "kernels.bin")

    return builds._built("bare", [builds.FIRMWARE / "kernels", *FLAGS, *flags], build)


def symbols(folder):
    """{name: (address, bytes)} of everything in the image."""
    rows = [
        line.split() for line in builds._run("arm-none-eabi-nm", "-S", folder / "kernels.elf").splitlines()
    ]
    return {row[3]: (int(row[0], 16), int(row[1], 16)) for row in rows if len(row) == 4}


def run(runs, flags=(), skew=1):
    """A Result for each Run, which may also be one kernel with its record at the start: (kernel, spaces).

    skew: bytes by which the weights miss an aligned address; 0 as in images of ours.
    """
    folder = image(flags)
    at = symbols(folder)
    runs = [Run([(kernel, 0)] if isinstance(kernel, str) else kernel, spaces) for kernel, spaces in runs]
    data = b""
    for steps, spaces in runs:
        spaces = [bytes(space) for space in spaces]
        spaces += [b""] * (5 - len(spaces))
        data += struct.pack("<6I", len(steps), *map(len, spaces))
        data += b"".join(struct.pack("<2I", at["trimtab_" + kernel][0], offset) for kernel, offset in steps)
        data += b"".join(spaces)
    done = subprocess.run(
        ["node", builds.emulator().with_name("bare.mjs"), folder / "kernels.bin", str(skew)],
        input=data,
        capture_output=True,
    )
    if done.returncode:
        raise ToolchainError(f"a kernel failed on the emulated core: {done.stderr.decode()[-1000:]}")
    return _results(runs, done.stdout)


def _results(runs, data):
    found, at = [], 0
    for steps, spaces in runs:
        stack, *words = struct.unpack_from(f"<{1 + 2 * len(steps)}i", data, at)
        arena = at + 4 + 4 * len(words)
        state = arena + len(spaces[0])
        at = state + len(spaces[1])
        found.append(Result(words[::2], words[1::2], stack, data[arena:state], data[state:at]))
    return found
