"""The C kernels on this machine: the shared library as a tier of kernels."""

import ctypes
from functools import lru_cache

import numpy as np
from trimtab.format import RECORDS
from trimtab.kernels import Tier
from trimtab.package import Package

from ..compiler import scratch
from ..toolchain import kernels, packages


class Memory(ctypes.c_void_p * 5):
    """The addresses of arena, state, const, steps and weights. It also holds the buffers, so that they live as long."""


def bind(*spaces):
    """The Memory of these spaces. One that is only read is copied if it is not aligned to 4 bytes."""
    memory = Memory()
    memory.spaces = [np.frombuffer(space if len(space) else bytes(4), np.uint8) for space in spaces]
    for i, space in enumerate(memory.spaces):
        if space.ctypes.data % 4:
            if space.flags.writeable:
                raise ValueError("kernels need memory aligned to 4 bytes: take it from alloc()")
            memory.spaces[i] = space = np.frombuffer(bytearray(space), np.uint8)
        memory[i] = space.ctypes.data
    return memory


def functions(library: ctypes.CDLL) -> dict:
    """Every kernel of a loaded library, by name."""
    table = {}
    for name in (row[0] for row in RECORDS):
        table[name] = getattr(library, "trimtab_" + name)
        table[name].argtypes = Memory, ctypes.c_uint32
        table[name].restype = ctypes.c_int32
    return table


@lru_cache
def tier() -> Tier:
    return Tier("c", functions(ctypes.CDLL(str(kernels.host_library()))), bytearray, bind)


DECLINED = -(1 << 31)  # TRIMTAB_DECLINED of kernels.h


def always_packed(data: bytes, arch: str) -> set[str]:
    """The kernels that need no plain loops on an architecture: all their records in this package take packed ones.

    Each record runs once on this machine, with kernels that have only packed loops; a record that needs plain
    loops is declined.
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
    call, memory = functions(ctypes.CDLL(str(kernels.host_library(flags)))), bind(*spaces)
    return names - {name for name, at in records if name in names and call[name](memory, at) == DECLINED}
