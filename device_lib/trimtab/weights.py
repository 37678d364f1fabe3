"""Frozen weights that neither lie in mapped flash nor fit into RAM are read from the file, record by record.

One window of RAM holds the weights of a single record. The copy of the records in RAM refers to the window.
"""

import gc
import struct

from .crc import crc32
from .format import OFFSET_MASK, RECORDS, SPACE_SHIFT, WEIGHTS, fields
from .package import PackageError

CHUNK = 1024


class Reader:
    """A kernel that first reads its record's weights into the window; it allocates nothing."""

    def __init__(self, kernel, file, parts):
        self.kernel, self.file, self.parts = kernel, file, parts

    def __call__(self, mem, off):
        for position, view in self.parts:
            self.file.seek(position)
            self.file.readinto(view)
        return self.kernel(mem, off)


def stream(package, program, phases, functions, alloc):
    """(window, kernels of all records in order); rewrites `program`. functions: the kernel of each opcode."""
    start, size, crc = package.span("weights")
    file = open(package.path, "rb")
    _check(file, start, size, crc)
    plans = {}  # offset of a record -> ((position in the file, place in the window, bytes), ...)
    for code, row in enumerate(RECORDS):
        offsets = [at for codes, places in phases for other, at in zip(codes, places) if other == code]
        if offsets:
            specs = fields(row[1])
            for at in offsets:
                plans[at] = _plan(program, at, specs, start)
            gc.collect()  # or else plans lie scattered among garbage and leave no room in one piece
    window = _window(alloc, max([sum([part[2] for part in parts]) for parts in plans.values()] + [1]))
    made, kernels = {}, []  # records of one layer's strips share a reader
    for codes, offsets in phases:
        for code, at in zip(codes, offsets):
            parts = plans[at]
            if parts and (code, parts) not in made:
                views = [(position, memoryview(window)[to : to + n]) for position, to, n in parts]
                made[code, parts] = Reader(functions[code], file, views)
            kernels.append(made[code, parts] if parts else functions[code])
    return window, kernels


def _window(alloc, size):
    try:
        return alloc(size)
    except MemoryError:
        raise MemoryError(
            "the largest layer has %d bytes of frozen weights, more than RAM has free: put the package into "
            "ROMFS, where it is used in place" % size
        )


def _plan(program, at, specs, start):
    """Make a record refer to the window; returns what must be read into it: (position, place, bytes)."""
    values = struct.unpack_from("<%di" % len(specs), program, at + 4)
    value = {spec[0]: v for spec, v in zip(specs, values)}
    parts, to = [], 0
    for i, (_, kind, extent, _) in enumerate(specs):
        if kind and values[i] >> SPACE_SHIFT == WEIGHTS:
            n = 1
            for factor in extent:
                n *= int(factor) if factor[0].isdigit() else value[factor]
            parts.append((start + (values[i] & OFFSET_MASK), to, n))
            struct.pack_into("<i", program, at + 4 + 4 * i, WEIGHTS << SPACE_SHIFT | to)
            to += n
    return tuple(parts)


def _check(file, start, size, crc):
    buffer = memoryview(bytearray(CHUNK))
    seen = 0
    file.seek(start)
    while size:
        n = file.readinto(buffer[: min(size, CHUNK)])
        if not n:
            break
        seen = crc32(buffer[:n], seen)
        size -= n
    if size or seen != crc:
        raise PackageError("section weights of the package is damaged or cut short: copy the package again")
