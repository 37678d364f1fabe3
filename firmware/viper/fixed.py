"""Arithmetic with 32 bits: bit lengths, shifts, high products, quotients and roots.

Numbers that need more than 30 bits go in and out through X[0] and X[1], because a call cannot carry them.
"""

from .idioms import *


@helper
def bit_length(v: int) -> int:
    """Bits of a number from 0 to 2^30 - 1."""
    n = 0
    while v:
        v >>= 1
        n += 1
    return n


@helper
def int8_shift(words) -> int:
    """The shift to the right that brings s.largest to 7 bits, after rounding too; it may be negative."""
    v = word(s.largest)
    n = -7
    while v:
        v >>= 1
        n += 1
    v = word(s.largest)
    if n > 0 and rsh(v, n) > 127:
        n += 1
    return n


@helper
def high31(words):
    """X[0] = X[0] * X[1] / 2^31 to the nearest, ties up. See trimtab_high31."""
    a = word(s[X])
    m = word(s[X + 1])
    al = a & 0xFFFF
    ml = m & 0xFFFF
    t = al * (m >> 16) + ((al * ml >> 16) & 0xFFFF)
    u = (a >> 16) * ml
    rest = (t & 0x7FFF) + (u & 0x7FFF) + 0x4000
    s[X] = 2 * (a >> 16) * (m >> 16) + (t >> 15) + (u >> 15) + (rest >> 15)


@helper
def largest_bits(words) -> int:
    """Bits of the magnitude in s.largest, below 2^31."""
    v = word(s.largest)
    n = 0
    while v:
        v >>= 1
        n += 1
    return n


@helper
def divide(words, n: int):
    """X[0] = X[0] / n to the nearest, ties away from zero."""
    a = word(s[X])
    if a >= 0:
        s[X] = (a + n // 2) // n
    else:
        s[X] = -((n // 2 - a) // n)


@helper
def square_root(v: int, up: int) -> int:
    """The square root of v << up, rounded down; v << up is below 2^30."""
    v = v << up
    found = 0
    bit = 1 << 14
    while bit:
        t = found | bit
        if t * t <= v:
            found = t
        bit >>= 1
    return found
