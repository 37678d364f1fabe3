"""The C kernels as WebAssembly on this machine: a tier of kernels that needs no C compiler.

Kernels see nothing but the module's own memory. alloc() gives out pieces of it, and what else a kernel reads
is copied there.
"""

import ctypes
import weakref
from collections import deque
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import numpy as np
from trimtab.format import RECORDS
from trimtab.kernels import Tier

from ..toolchain import webassembly

PAGE = 1 << 16
GROWTH = 16  # pages at least
LINE = 64  # bytes; every piece starts at a multiple of it


class Memory:
    """The memory of a module, in pieces. A piece is free again when nothing in Python refers to it."""

    def __init__(self, store: Any, memory: Any):
        self.store, self.memory = store, memory
        # wasmtime reserves 4 GB of addresses, so that a memory stays where it is when it grows.
        self.start = ctypes.addressof(memory.data_ptr(store).contents)
        self.gaps: list[tuple[int, int]] = []  # (offset, bytes), in order
        # A piece may die while another is taken, so it only waits here.
        self.freed: deque[tuple[int, int]] = deque()

    def alloc(self, size: int) -> np.ndarray:
        """A piece of zeros."""
        room = -(-(size + 1) // LINE) * LINE
        at = self._take(room)
        piece = (ctypes.c_ubyte * room).from_address(self.start + at)
        ctypes.memset(piece, 0, room)
        weakref.finalize(piece, self.freed.append, (at, room)).atexit = False
        return np.frombuffer(memoryview(piece), np.uint8)[:size]

    def offset(self, data: np.ndarray) -> int:
        """Where an array lies in this memory."""
        return data.ctypes.data - self.start

    def holds(self, data: np.ndarray) -> bool:
        return 0 <= self.offset(data) < self.memory.data_len(self.store)

    def bind(self, *spaces: Any) -> "Spaces":
        """Arena and state must come from alloc(). A copy will do of the others, which kernels only read."""
        pieces = [np.frombuffer(space, np.uint8) if len(space) else self.alloc(0) for space in spaces]
        for i, piece in enumerate(pieces):
            if not self.holds(piece):
                if i < 2:
                    raise ValueError("kernels need memory of their own: take it from alloc()")
                pieces[i] = self.alloc(len(piece))
                pieces[i][:] = piece
        table = self.alloc(4 * len(pieces))
        table.view("<u4")[:] = [self.offset(piece) for piece in pieces]
        found = Spaces(self.offset(table))
        found.pieces = [*pieces, table]
        return found

    def _take(self, room: int) -> int:
        """The offset of so many bytes that nobody uses."""
        while self.freed:
            self.gaps = merged([*self.gaps, self.freed.popleft()])
        for i, (at, size) in enumerate(self.gaps):
            if size >= room:
                self.gaps[i] = (at + room, size - room)
                return at
        pages = max(GROWTH, -(-room // PAGE))
        self.gaps.append((self._grow(pages), pages * PAGE))
        return self._take(room)

    def _grow(self, pages: int) -> int:
        import wasmtime

        try:
            return self.memory.grow(self.store, pages) * PAGE
        except wasmtime.WasmtimeError:
            raise MemoryError(f"the kernels' memory cannot grow by {pages * PAGE} bytes") from None


class Spaces(int):
    """Where the addresses of arena, state, const, program and weights lie. It holds the pieces."""

    pieces: list[np.ndarray]


def merged(gaps: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """The gaps in order, with neighbours made one."""
    found: list[tuple[int, int]] = []
    for at, size in sorted(gaps):
        if found and sum(found[-1]) == at:
            at, size = found[-1][0], found.pop()[1] + size
        found.append((at, size))
    return found


def unchecked(store: Any, function: Any) -> Callable[[int, int], int]:
    """A function of two integers without wasmtime's checks of types, which take 30 microseconds a call.

    PyDLL keeps other threads of Python out: a module has one stack, and this one pair of arguments.
    """
    from wasmtime import _ffi as ffi

    call = ctypes.PyDLL(str(ffi.filename)).wasmtime_func_call_unchecked
    call.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t, ctypes.c_void_p]
    call.restype = ctypes.c_void_p
    words, trap = (ffi.wasmtime_val_raw_t * 2)(), ctypes.c_void_p()
    context, first, second = ffi.wasmtime_store_context(store.ptr()), *words
    held, trapped = ctypes.byref(function._func), ctypes.byref(trap)

    def run(a: int, b: int) -> int:
        first.i32, second.i32 = a, b
        if call(context, held, words, 2, trapped) or trap:
            trap.value = None
            return function(store, a, b)  # stops in the same way, and says why
        return first.i32

    return run


@lru_cache
def tier(name: str = "pc") -> Tier:
    """The kernels of a module of toolchain/webassembly.py."""
    code = webassembly.machine_code(name)
    import wasmtime

    engine = wasmtime.Engine()
    store = wasmtime.Store(engine)
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(store))  # never freed: wasmtime cannot when Python ends
    instance = wasmtime.Instance(store, wasmtime.Module.deserialize_file(engine, str(code)), [])
    exports = instance.exports(store)
    memory = Memory(store, exports["memory"])
    names = [row[0] for row in RECORDS if "trimtab_" + row[0] in exports]
    return Tier(
        "c",
        {kernel: unchecked(store, exports["trimtab_" + kernel]) for kernel in names},
        memory.alloc,
        memory.bind,
    )
