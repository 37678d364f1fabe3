"""TODO."""

from .idioms import X, helper, ptr32, rsh, s, saturate, wide, word


@helper
def bit_length(v: int) -> int:
    """Of a magnitude below 2^31."""
    n = 0
    while v:
        v >>= 1
        n += 1
    return n


@helper
def int8_shift(s: ptr32, wide: int) -> int:
    """The shift that brings the magnitude in s.largest into 7 bits, after rounding too."""
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
def high31(s: ptr32):
    """X[0] = X[0] * X[1] / 2^31 to the nearest, ties up."""
    a = word(s[X])
    m = word(s[X + 1])
    al = a & 0xFFFF
    ml = m & 0xFFFF
    t = al * (m >> 16) + ((al * ml >> 16) & 0xFFFF)
    u = (a >> 16) * ml
    rest = (t & 0x7FFF) + (u & 0x7FFF) + 0x4000
    s[X] = 2 * (a >> 16) * (m >> 16) + (t >> 15) + (u >> 15) + (rest >> 15)


@helper
def find_largest(words, at: int, n: int):
    """The largest magnitude of n words at distance `at`, to s.largest."""
    sums = ptr32(int(s) - s.words + at)
    top = 0
    i = 0
    while i < n:
        v = sums[i] << s.wide >> s.wide
        if v < 0:
            v = -v
        if v > top:
            top = v
        i += 1
    s.largest = top


@helper
def round_words(words, at: int, n: int, e: int, most: int):
    """n words at distance `at` / 2^e to the nearest, saturated at +-most; e < 0 shifts left."""
    v = ptr32(int(s) - s.words + at)
    i = 0
    while i < n:
        a = word(v[i])
        if e > 31:
            a = 0
        elif e > 0:
            a = rsh(a, e)
        elif e < 0:
            a = a << -e
        a = saturate(a, most)
        v[i] = a
        i += 1
