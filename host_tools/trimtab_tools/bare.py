"""Kernels alone on the emulated Cortex-M0+, without MicroPython: bit-exact results, exact cycles, a second to start."""

import struct
import subprocess
from collections import namedtuple

from . import toolchain

FLAGS = ("-mcpu=cortex-m0plus", "-mthumb", "-O2", "-std=c99", "-fpic", "-Wall", "-Werror")  # as in a native module

Call = namedtuple("Call", "kernel spaces")  # spaces: arena, state, const, steps and weights as bytes
Result = namedtuple("Result", "value cycles stack arena state")


def image(flags=()):
    """The kernels linked to the start of RAM: kernels.bin, and kernels.elf that knows their addresses."""
    def build(out):
        toolchain._need(toolchain.ARM_NATMOD)
        kernels = toolchain.FIRMWARE / "kernels"
        sources = [*toolchain.kernel_sources(), *sorted(kernels.rglob("*.S"))]
        toolchain._run("arm-none-eabi-gcc", *FLAGS, *flags, f"-I{kernels}", "-nostdlib", "-Wl,-Ttext=0x20000000", "-Wl,-e,0",
                       *sources, toolchain.FIRMWARE / "natmod.c", "-lgcc", "-o", out / "kernels.elf")
        toolchain._run("arm-none-eabi-objcopy", "-O", "binary", out / "kernels.elf", out / "kernels.bin")
    return toolchain._built("bare", [toolchain.FIRMWARE / "kernels", *FLAGS, *flags], build)


def symbols(folder):
    """{name: (address, bytes)} of everything in the image."""
    rows = [line.split() for line in toolchain._run("arm-none-eabi-nm", "-S", folder / "kernels.elf").splitlines()]
    return {row[3]: (int(row[0], 16), int(row[1], 16)) for row in rows if len(row) == 4}


def run(calls, flags=()):
    """A Result for each Call."""
    folder = image(flags)
    at = symbols(folder)
    data = b""
    for call in calls:
        spaces = [bytes(space) for space in call.spaces]
        spaces += [b""] * (5 - len(spaces))
        data += struct.pack("<6I", at["trimtab_" + call.kernel][0], *map(len, spaces)) + b"".join(spaces)
    done = subprocess.run(["node", toolchain.emulator().with_name("bare.mjs"), folder / "kernels.bin"], input=data,
                          capture_output=True)
    if done.returncode:
        raise toolchain.ToolchainError(f"a kernel failed on the emulated core: {done.stderr.decode()[-1000:]}")
    return _results(calls, done.stdout)


def _results(calls, data):
    found, at = [], 0
    for call in calls:
        value, cycles, stack = struct.unpack_from("<iII", data, at)
        arena, state = at + 12, at + 12 + len(call.spaces[0])
        at = state + len(call.spaces[1])
        found.append(Result(value, cycles, stack, data[arena:state], data[state:at]))
    return found
