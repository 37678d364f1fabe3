"""What bind() returns to the engine, and how a kernel opens its record."""

import sys

from .idioms import *


@helper
def address(buffer: ptr8) -> uint:
    """The address of a buffer."""
    return uint(int(buffer))


@helper
def put(words: ptr32, i: int, v: int):
    """words[i] = v, for code that is not viper."""
    words[i] = v


def bind(arena, state, const, program, weights=b""):
    """The first argument of every kernel: the scratch words, and all buffers, so that they stay alive."""
    words = bytearray(4 * SCRATCH)
    buffers = [b if len(b) else words for b in (arena, state, const, program, weights, words)]
    places = [address(b) for b in buffers]
    origin = min(places) - 16
    if (max(places) - origin) >> 31:
        raise ValueError("memory lies too far apart for these kernels: use others")
    put(words, Scratch.wide, 32 if sys.maxsize >> 40 else 0)
    for i in range(5):
        put(words, SPACES + i, places[i] - origin)
    put(words, Scratch.words, places[5] - origin)
    return (words, buffers)


@helper
def open_record(words, off: int):
    """Fill s.record and, for each field of the record, AT: the distance of what it refers to, or 0 for NULL.

    A field that is a number gets a distance too, which nobody reads.
    """
    s = ptr32(words)
    s.record = s[SPACES + 3] + off
    r = ptr32(int(s) - s.words + s.record)
    i = 1
    while i < FIELDS:
        s[AT + i] = 0
        if (r[i] >> 31) == 0:
            s[AT + i] = s[SPACES + (r[i] >> 28)] + (r[i] & 0xFFFFFFF)
        i += 1
