"""A record's words, and the memory that they refer to."""

import struct

from ..format import NULL, OFFSET_MASK, RECORDS, SPACE_SHIFT
from .fixed import clamp

# Words of each kind of record, without the scratch memory that ends some of them: only fast loops use it.
_COUNT = [len(row[1].split(" scratch:")[0].split()) for row in RECORDS]


def record(mem, off):
    """The operands of the record at that byte offset."""
    words = mem[3]
    i = off >> 2
    return words[i + 1 : i + 1 + _COUNT[words[i]]]


def at(mem, ref):
    """(buffer, byte offset in it) of a reference."""
    return mem[ref >> SPACE_SHIFT], ref & OFFSET_MASK


def ints(mem, ref, n, code):
    """n numbers of a struct code."""
    buf, o = at(mem, ref)
    return struct.unpack_from("<%d%s" % (n, code), buf, o)


def get(mem, ref):
    """One int32."""
    return ints(mem, ref, 1, "i")[0]


def put(mem, ref, *values):
    """Write int32s."""
    buf, o = at(mem, ref)
    struct.pack_into("<%di" % len(values), buf, o, *values)


def get_bit(buf, o, i):
    return (buf[o + (i >> 3)] >> (i & 7)) & 1


def put_bit(buf, o, i, bit):
    byte = buf[o + (i >> 3)] & 255
    byte = byte | 1 << (i & 7) if bit else byte & ~(1 << (i & 7))
    buf[o + (i >> 3)] = byte - 256 if byte > 127 else byte


def kept_channels(mem, kept, n):
    """The n channels of an index list; without a list, the first n."""
    return range(n) if kept == NULL else ints(mem, kept, n, "H")


def store(mem, y, mask, i, v, lo, hi):
    """Element i of y, clamped; its bit in the mask says whether the error may pass: it was not clamped."""
    buf, o = at(mem, y)
    buf[o + i] = clamp(v, lo, hi)
    if mask != NULL:
        buf, o = at(mem, mask)
        put_bit(buf, o, i, lo <= v <= hi)
