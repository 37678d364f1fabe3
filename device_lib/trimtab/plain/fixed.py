"""Fixed-point arithmetic: each rounding rule once, under the name that all tiers use."""

INT32_MAX = 0x7FFFFFFF


def rsh(v, s):
    """v / 2^s to the nearest, ties up; s <= 0 leaves v, s > 31 gives 0."""
    if s <= 0:
        return v
    return (v + (1 << (s - 1))) >> s if s < 32 else 0


def rsh_away(v, s):
    """v / 2^s to the nearest, ties away from zero; s <= 0 leaves v, s > 31 gives 0."""
    if s <= 0:
        return v
    return (v + (1 << (s - 1)) + (v >> 31)) >> s if s < 32 else 0


def divide(a, n):
    """a / n to the nearest, ties away from zero."""
    return (a + n // 2) // n if a >= 0 else -((n // 2 - a) // n)


def wrap32(v):
    return ((v + 0x80000000) & 0xFFFFFFFF) - 0x80000000


def clamp(v, lo, hi):
    return lo if v < lo else hi if v > hi else v


def bit_length(v):
    n = 0
    while v:
        v >>= 1
        n += 1
    return n


def high31(a, m):
    """a * m / 2^31 to the nearest, ties up."""
    return (a * m + (1 << 30)) >> 31


def requant(a, m, shift):
    """a * m * 2^(shift - 31) with TensorFlow Lite's double rounding; m in [2^30, 2^31)."""
    if shift > 0:
        a = wrap32(a << (shift & 31))
        shift = 0
    return rsh_away(high31(a, m), -shift)


def requant_once(a, m, shift):
    """The same rounded once, as TensorFlow Lite's fully connected kernel does."""
    total = (31 - shift) & 63
    return wrap32((a * m + (1 << total >> 1)) >> total)


def shifted(v, s, limit):
    """v / 2^s to the nearest, saturated at +-limit; s < 0 shifts left."""
    return clamp(rsh(v, s) if s >= 0 else v << min(-s, 31), -limit, limit)


def int8_shift(top):
    """The least shift that brings values of magnitude `top` into +-127; below 0 where they may grow."""
    s = bit_length(top) - 7
    return s + 1 if s > 0 and rsh(top, s) > 127 else s
