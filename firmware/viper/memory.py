"""TODO."""

import sys

from .idioms import AT, FIELDS, SCRATCH, SPACES, Scratch, helper, origin, ptr32, ptr8, r, s, uint


@helper
def address(buffer: ptr8) -> uint:
    return uint(int(buffer))


@helper
def put(words: ptr32, i: int, v: int):
    words[i] = v


def bind(arena, state, const, steps, weights=b""):
    """The first argument of every kernel: the scratch words, and all buffers to keep them alive."""
    words = bytearray(4 * SCRATCH)
    buffers = [b if len(b) else words for b in (arena, state, const, steps, weights, words)]
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
    """Finds the record and what its fields refer to. Of fields that are numbers it makes distances that
    nobody reads."""
    s = ptr32(words)
    s.record = s[SPACES + 3] + off
    r = ptr32(int(s) - s.words + s.record)
    i = 1
    while i < FIELDS:
        s[AT + i] = 0
        if (r[i] >> 31) == 0:
            s[AT + i] = s[SPACES + (r[i] >> 28)] + (r[i] & 0xFFFFFFF)
        i += 1


@helper
def clear(row: ptr32, words, at: int, n: int):
    """Zeros to n words at distance `at`."""
    row = ptr32(int(s) - s.words + at)
    while n > 3:
        row[0] = 0
        row[1] = 0
        row[2] = 0
        row[3] = 0
        row = ptr32(int(row) + 16)
        n -= 4
    while n:
        row[0] = 0
        row = ptr32(int(row) + 4)
        n -= 1
