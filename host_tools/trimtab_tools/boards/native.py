"""The C kernels on this machine: the shared library as a tier of kernels."""

import ctypes
from functools import lru_cache

import numpy as np
from trimtab.format import RECORDS
from trimtab.kernels import Tier
from trimtab.package import Package

from ..compiler import scratch
from ..toolchain import builds


class Memory(ctypes.c_void_p * 5):  # type: ignore[misc]
    """Addresses of arena, state, const, steps and weights, and the buffers themselves, so that they live as long."""


def bind(*spaces):
    """Buffers that are written stay in place; constants and steps are copied where they are not aligned."""
    memory = Memory()
    memory.spaces = [np.frombuffer(space if len(space) else bytes(4), np.uint8) for space in spaces]
    for i, space in enumerate(memory.spaces):
        if space.ctypes.data % 4:
            if space.flags.writeable:
                raise ValueError("kernels need memory aligned to 4 bytes: take it from alloc()")
            memory.spaces[i] = space = np.frombuffer(bytearray(space), np.uint8)
        memory[i] = space.ctypes.data
    return memory


def functions(library):
    """Every kernel of a loaded library, by name."""
    table = {}
    for name in (row[0] for row in RECORDS):
        table[name] = getattr(library, "trimtab_" + name)
        table[name].argtypes = Memory, ctypes.c_uint32
        table[name].restype = ctypes.c_int32
    return table


@lru_cache
def tier():
    return Tier("c", functions(ctypes.CDLL(str(builds.host_library()))), bytearray, bind)


DECLINED = -(1 << 31)  # TRIMTAB_DECLINED of kernels.h


def always_packed(data, arch):
    """The kernels all of whose records in a package take packed loops on an architecture, as they run without the plain ones."""
    if arch not in builds.PACKED or builds.absent(["gcc"]):
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
    flags = *builds.PACKED[arch], builds.packed_only(scratch.WORDS)
    call, memory = functions(ctypes.CDLL(str(builds.host_library(flags)))), bind(*spaces)
    return names - {name for name, at in records if name in names and call[name](memory, at) == DECLINED}
