"""Finds the kernels of a package that need no plain loops on a board; its native module leaves those out."""

import ctypes

from trimtab.format import RECORDS
from trimtab.package import Package

from ..compiler import scratch
from ..toolchain import kernels, packages
from . import native


def always_packed(data: bytes, arch: str) -> set[str]:
    """The kernels whose records can all use the packed loops of an architecture.

    Each record runs once on this machine, with kernels that have only packed loops. They decline a record
    that needs plain loops.
    """
    if arch not in kernels.PACKED or packages.absent(["gcc"]):
        return set()
    package = Package(data)
    spaces = [
        bytearray(package.arena_bytes),
        *(bytearray(package.section(name)) for name in ("state", "const", "steps", "weights")),
    ]
    phases = package.records(spaces[3], spaces[2])
    records = {(RECORDS[code][0], at) for codes, offsets in phases for code, at in zip(codes, offsets)}
    names = {name for name, _ in records if name in scratch.WORDS}
    if "tinytrain_fisher" in {name for name, _ in records}:
        return set()  # the board rewrites such records
    flags = *kernels.PACKED[arch], kernels.packed_only(scratch.WORDS)
    library = str(kernels.host_library(flags))
    call, memory = native.functions(ctypes.CDLL(library)), native.bind(*spaces)
    return names - {
        name for name, at in records if name in names and call[name](memory, at) == native.DECLINED
    }
