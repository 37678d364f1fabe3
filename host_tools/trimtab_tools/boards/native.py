"""The C kernels on this machine: the shared library as a tier of kernels."""

import ctypes
from array import array
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path

import numpy as np
from trimtab.format import RECORDS
from trimtab.kernels import Tier

from ..toolchain.kernels import host_library, wide_library

BUDGET = 50_000  # microseconds of kernels in one call: Ctrl-C waits no longer, and not for a longer record
DECLINED = -(1 << 31)  # TRIMTAB_DECLINED of kernel.h


class Memory(ctypes.c_void_p * 5):  # type: ignore[misc]
    """The addresses of arena, state, const, program and weights. It keeps the buffers alive."""


def bind(*spaces: bytearray | memoryview) -> Memory:
    """The Memory of these spaces. A read-only one is copied if it is not aligned to 4 bytes."""
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
    """The kernels of a loaded library, by name. A library without a method's file lacks its kernels."""
    table = {}
    for name in (row[0] for row in RECORDS):
        if hasattr(library, "trimtab_" + name):
            table[name] = getattr(library, "trimtab_" + name)
            table[name].argtypes = Memory, ctypes.c_uint32
            table[name].restype = ctypes.c_int32
    return table


def run(library: ctypes.CDLL) -> Callable[[Memory, array, int, int, array], int]:
    """Records in one call; see Tier."""
    call, pointer = library.trimtab_run, ctypes.c_void_p
    call.argtypes = Memory, pointer, ctypes.c_int32, ctypes.c_int32, ctypes.c_uint32, pointer
    call.restype = ctypes.c_int32

    def run(mem: Memory, offsets: array, i: int, stop: int, value: array) -> int:
        i = call(mem, offsets.buffer_info()[0], i, stop, BUDGET, value.buffer_info()[0])
        if value[0] == DECLINED:
            raise ValueError("these kernels are for another package: run `trimtab deploy`")
        return i

    return run


def loaded(path: Path) -> Tier:
    """The kernels of a library."""
    library = ctypes.CDLL(str(path))
    return Tier("c", functions(library), bytearray, bind, run(library))


@lru_cache
def tier(level: str | None = None) -> Tier:
    """The kernels with the vector loops of a level of toolchain/kernels.py, by default the best here."""
    return loaded(wide_library(level))


@lru_cache
def plain_loops() -> Tier:
    """The kernels as boards without fast loops have them."""
    return loaded(host_library())
