"""The C kernels as this machine's shared library and as MicroPython's native modules."""

import ctypes
import os
import shutil
import sys
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

from trimtab.format import OPCODES

from ..errors import ToolchainError
from . import cache, llvm, packages, subset
from .sources import FIRMWARE, micropython, ready


class Natmod(NamedTuple):
    """How the native module of one architecture is made."""

    tools: list[str]
    variables: dict[str, Any]  # of make


NATMODS = {
    "x64": Natmod(["make", "gcc"], {}),
    "armv6m": Natmod(["make", *packages.ARM], {}),
    "armv7m": Natmod(["make", *packages.ARM], {}),
    "armv7emsp": Natmod(["make", *packages.ARM], {}),
    "rv32imc": Natmod(["make", *packages.RV32], {"CFLAGS_EXTRA": "-O2 -Ikernels -misa-spec=2.2"}),
    # The emulated core lacks the ESP32's instruction for the upper word of a product. What ships is what was
    # tested, so it avoids that instruction too.
    "xtensawin": Natmod(
        ["make", *packages.XTENSA],
        {"LINK_RUNTIME": "0", "CFLAGS_EXTRA": "-O2 -Ikernels -DTRIMTAB_WIDE_MULTIPLY=0"},
    ),
}

# Architecture with packed loops -> the flags by which this machine's compiler makes the same loops.
PACKED = {"armv6m": ("-DTRIMTAB_PACKED=1",)}

# Tested in an emulator but never on a chip, so deploy does not choose them: a user must copy them by hand.
UNPROVEN = {"xtensawin"}


# -- for this machine

# Vector units that the loops of firmware/kernels/wide are built for, the best last. "base" is what every
# processor of an architecture has. wide/level.c says which of them this one has.
LEVELS = {"base": (), "avx2": ("-mavx2",), "vnni": ("-march=x86-64-v4", "-mavx512vnni")}
# Sums wrap where plain loops say so by name, and vector types pass through registers of any width.
WIDE = ("-O3", "-std=gnu11", "-fwrapv", "-Wno-psabi", "-DTRIMTAB_WIDE=1")


def kernel_sources() -> list[Path]:
    """The C files of the kernels without the one that knows MicroPython."""
    return sorted(p for p in (FIRMWARE / "kernels").rglob("*.c") if p.name not in ("module.c", "level.c"))


def level() -> str:
    """The best of LEVELS that this processor has."""
    return list(LEVELS)[ctypes.CDLL(str(level_library())).trimtab_level()]


def level_library() -> Path:
    """The library that asks the processor."""

    def build(out):
        cache.run("gcc", "-O1", "-fPIC", "-shared", source, "-o", out / "level.so")

    source = FIRMWARE / "kernels" / "wide" / "level.c"
    return ready("level.so") or _by_gcc("level", [source], build) / "level.so"


def wide_library(name: str | None = None) -> Path:
    """The kernels with the loops of a level, by default the best: the same numbers, many times faster."""
    name = name or level()
    return ready(f"{name}.so") or host_library((*WIDE, *LEVELS[name]))


def host_library(flags: Iterable[str] = ()) -> Path:
    """The kernels as a shared library of this machine, with plain loops unless flags say otherwise."""
    options = ["-O2", "-std=c99", "-Wall", "-Werror", "-fPIC", "-DTRIMTAB_PC=1"]
    options += [f"-I{FIRMWARE / 'kernels'}", *flags]

    def build(out):
        def compiled(source):
            made = out / f"{source.parent.name}-{source.stem}.o"
            cache.run("gcc", *options, "-c", source, "-o", made)
            return made

        with ThreadPoolExecutor(os.cpu_count()) as pool:  # the vector loops take a second each
            objects = list(pool.map(compiled, kernel_sources()))
        cache.run("gcc", "-shared", *options, *objects, "-o", out / "libtrimtab.so")
        for made in objects:
            made.unlink()

    return _by_gcc("host", [FIRMWARE / "kernels", *flags], build) / "libtrimtab.so"


def _by_gcc(name, inputs, build):
    """What gcc builds; without gcc, what it built before."""
    if not cache.place(name, inputs).exists():
        packages.need(["gcc"])
    return cache.built(name, inputs, build)


# -- for a board


def natmod(
    arch: str, kernels: Iterable[str] | None = None, packed: Iterable[str] = (), cores: int = 1
) -> Path:
    """The native module of an architecture, _kernels.mpy, with all kernels or only with some.

    Those in `packed` get no plain loops: they refuse records that would need them. With two cores, they can
    share a record.
    """
    if arch not in NATMODS:
        raise ToolchainError(f"no native module for {arch}: choose one of {', '.join(NATMODS)}")
    tools, variables = NATMODS[arch]
    source = micropython()
    if kernels is None or packages.absent(tools):  # without a compiler the whole module, if it was ever built
        name, chosen = f"natmod-{arch}", None
    else:
        name, chosen = f"natmod-{arch}-part", sorted(kernels)
        dense = " -DTRIMTAB_DENSE=0" if arch in PACKED and subset.DENSE not in chosen else ""
        variables = {**variables, "SWITCHES": packed_only(packed) + dense}
    if cores > 1:
        name += f"-{cores}"
        switches = f"{variables.get('SWITCHES', '')} -DTRIMTAB_CORES={cores}".strip()
        variables = {**variables, "SWITCHES": switches}
    if arch == "xtensawin":
        variables = {**variables, "CROSS": xtensa_compiler()}

    def build(out):
        packages.need(tools)
        packages.need_python(elftools="pyelftools", ar="ar")
        _make(out, arch, variables, source, chosen)

    code = [FIRMWARE / "kernels", FIRMWARE / "Makefile", FIRMWARE / "natmod.c"]
    inputs = [source.name, arch, variables, *code, *([chosen] if chosen else [])]
    return cache.built(name, inputs, build) / "_kernels.mpy"


def _make(out: Path, arch: str, variables: dict, source: Path, chosen: list[str] | None) -> None:
    """Build in a copy of the sources, whose list of kernels is cut to the chosen ones."""
    shutil.copytree(FIRMWARE / "kernels", out / "kernels")
    for file in ("Makefile", "natmod.c"):
        shutil.copy(FIRMWARE / file, out)
    if chosen:
        records = out / "kernels" / "records.h"
        records.write_text(subset.listed(records.read_text(), chosen))
    settings = {"ARCH": arch, "MPY_DIR": source, "PYTHON": sys.executable, **variables}
    cache.run("make", "-j2", *(f"{key}={value}" for key, value in settings.items()), cwd=out)
    size = (out / "_kernels.mpy").stat().st_size
    print(f"built _kernels.mpy for {arch}: {size} bytes", file=sys.stderr)
    for folder in ("kernels", "build", ".mpy_ld_cache"):
        shutil.rmtree(out / folder, ignore_errors=True)


def packed_only(kernels: Iterable[str]) -> str:
    """The compiler's switch that leaves out the plain loops of these kernels."""
    return "-DTRIMTAB_PACKED_ONLY=%dull" % sum(1 << OPCODES[name] for name in kernels)


# -- for the ESP32


def xtensa_compiler() -> Path:
    """A path that becomes the compiler for the ESP32's cores when "gcc" is added.

    LLVM is the only one that Debian has as packages. It needs the C library beside it.
    """

    def wrap(out):
        script = out / "xtensa-esp32-elf-gcc"
        script.write_text(f'#!/bin/sh\nexec "{sys.executable}" "${{0%/*}}/cc.py" "{root}" "$@"\n')
        script.chmod(0o755)
        shutil.copy(FIRMWARE / "xtensa/cc.py", out)

    root = llvm.folder()
    inputs = [root.name, sys.executable, FIRMWARE / "xtensa/cc.py"]
    return cache.built("xtensa-gcc", inputs, wrap) / "xtensa-esp32-elf-"


def xtensa_program() -> Path:
    """The native module for xtensawin as a program for qemu-xtensa: it reads calls and prints results."""
    module, gcc = natmod("xtensawin"), f"{xtensa_compiler()}gcc"
    source, folder = micropython(), FIRMWARE / "xtensa"

    def build(out):
        packages.need(["make", "qemu-xtensa", *packages.XTENSA])
        preprocess = [sys.executable, source / "tools/mpy_ld.py", "--arch", "xtensawin", "--preprocess"]
        (out / "empty.c").touch()
        cache.run(*preprocess, "-o", out / "config.h", out / "empty.c")
        cache.run(sys.executable, folder / "load.py", module, out)
        options = [f"-I{source}", "-DNO_QSTR", f"-DMP_CONFIGFILE=<{out}/config.h>"]
        options.append("-DMICROPY_FLOAT_IMPL=MICROPY_FLOAT_IMPL_FLOAT")
        cache.run(gcc, *options, "-c", folder / "run.c", "-o", out / "run.o")
        cache.run(gcc, "-c", folder / "start.s", "-o", out / "start.o")
        cache.run(gcc, "-c", out / "module.s", "-o", out / "module.o")
        parts = [out / "start.o", out / "run.o", out / "module.o"]
        cache.run("xtensa-lx106-elf-ld", "--no-relax", "-T", out / "module.ld", "-o", out / "kernels", *parts)

    return cache.built("xtensa", [source.name, folder, module.parent.name], build) / "kernels"
