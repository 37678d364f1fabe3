"""Plain kernels of the prototype head: a class is the mean direction of its features, a logit the cosine to it.

Directions are int16 with 14 fraction bits. f is the number of features, at most 16384.
"""

import struct

from .core import NULL, _at, _bit, _get, _ints, _put, _record, bit_length, clamp, rsh, shifted

ABSENT = -(1 << 20)  # logit of a class without prototype: its probability is 0


def _width(f):
    """Bits to which f numbers are cut so that the sum of their squares is at most 2^30."""
    return min(14, (30 - bit_length(f - 1)) >> 1)


def _inverse_root(square):
    """(m, e): 1 / sqrt(square) = m * 2^(e - 29), for 1 <= square <= 2^30; m in 2^14 .. 2^15, 0 if square is 0."""
    if square <= 0:
        return 0, 0
    e = root = 0
    while square < 1 << 28:
        square <<= 2
        e += 1
    square = min(square, (1 << 30) - 1)  # so the root has 15 bits
    bit = 1 << 14
    while bit:
        if (root + bit) * (root + bit) <= square:
            root += bit
        bit >>= 1
    return ((1 << 29) + (root >> 1)) // root, e


def _direction(values, m, e):
    """|values * m| <= 2^14 * 2^15."""
    return [rsh(v * m, 15 - e) for v in values]


def _put_shorts(mem, ref, values):
    buf, o = _at(mem, ref)
    struct.pack_into("<%dh" % len(values), buf, o, *values)


def prototype_fwd(mem, off):
    """The feature's direction, and cosines with 14 fraction bits: |sum c * unit| <= |c| * |unit|, about 2^28."""
    logits, x, protos, counts, unit, norm, n, f, zx = _record(mem, off)
    xb, xo = _at(mem, x)
    values = [xb[xo + i] - zx for i in range(f)]
    m, e = _inverse_root(sum([v * v for v in values]))  # at most 16384 * 255^2 < 2^30
    values = _direction(values, m, e)
    _put_shorts(mem, unit, values)
    _put(mem, norm, m, e)
    best, top = 0, -0x80000000
    for k in range(n):
        a = ABSENT
        if _get(mem, counts + 4 * k) > 0:
            row = _ints(mem, protos + 2 * f * k, f, "h")
            a = rsh(sum([row[i] * values[i] for i in range(f)]), 14)
        _put(mem, logits + 4 * k, a)
        if a > top:
            best, top = k, a
    return best


def prototype_dx(mem, off):
    """dL/dx = scale / |x| * (s - (s . unit) unit) with s = sum over classes of (c / 2) * err; prototypes stand still."""
    g, err, protos, unit, norm, sums, mask, exp, head_exp, n, f, scale, scale_exp = _record(mem, off)
    errors, units = _ints(mem, err, n, "i"), _ints(mem, unit, f, "h")
    m, e = _ints(mem, norm, 2, "i")
    s = [0] * f
    for k in range(n):
        row = _ints(mem, protos + 2 * f * k, f, "h")
        for i in range(f):
            s[i] += (row[i] >> 1) * errors[k]  # |.| <= 2^30 since sum |err| <= 2^16
    pre = max(0, bit_length(max([abs(v) for v in s])) - _width(f))
    s = [rsh(v, pre) for v in s]  # of width bits: |s| <= 2^15
    along = rsh(sum([s[i] * units[i] for i in range(f)]), 14)  # sum <= |s| * |unit|, about 2^29
    s = [v - rsh(along * u, 14) for v, u in zip(s, units)]
    if mask != NULL:
        mb, mo = _at(mem, mask)
        s = [v if _bit(mb, mo, i) else 0 for i, v in enumerate(s)]
    factor = rsh(m * scale, 10)  # 13 bits
    s = [v * factor for v in s]  # below 2^30
    top = max([abs(v) for v in s])
    if top == 0:
        return 0
    down = bit_length(top) - 7
    if down > 0 and rsh(top, down) > 127:
        down += 1
    gb, go = _at(mem, g)
    for i, v in enumerate(s):
        gb[go + i] = shifted(v, down, 127)
    base = pre + e + scale_exp - 47  # (c / 2) and err have 28 bits, m 29, factor lost 10
    _put(mem, exp, base + down)
    _put(mem, head_exp, base + bit_length(top))
    return 1


def prototype_add(mem, off):
    """A sample's direction joins its class, of which `window` samples count, the older the less; returns how many.

    A count of 0 forgets what was there.
    """
    protos, totals, counts, label, unit, n, f, window = _record(mem, off)
    k = _get(mem, label)
    if not 0 <= k < n:
        return 0
    count = _get(mem, counts + 4 * k)
    old = 1 if count >= window else 0
    units = _ints(mem, unit, f, "h")
    sums = _ints(mem, totals + 4 * f * k, f, "i")
    sums = [
        (rsh(t, old) if count > 0 else 0) + u for t, u in zip(sums, units)
    ]  # 65535 directions at most: below 2^31
    _put(mem, totals + 4 * f * k, *sums)
    pre = max(0, bit_length(max([abs(t) for t in sums])) - _width(f))
    sums = [rsh(t, pre) for t in sums]
    m, e = _inverse_root(sum([t * t for t in sums]))
    _put_shorts(mem, protos + 2 * f * k, _direction(sums, m, e))
    count = clamp(count >> old, 0, 65534) + 1
    _put(mem, counts + 4 * k, count)
    return count
