"""The prototype head: a class is the mean direction of its samples' features, a logit is the cosine to it.

Directions are int16 with 14 fraction bits. f is the number of features, at most 16384.
"""

import struct

from ..format import NULL
from .error import write_head_error
from .fixed import bit_length, clamp, rsh
from .record import at, get, get_bit, ints, put, record

ABSENT = -(1 << 20)  # logit of a class that has no prototype: its probability is 0


def _width(f):
    """The bits that f numbers may have so that their squares add up to at most 2^30."""
    return min(14, (30 - bit_length(f - 1)) >> 1)


def _inverse_root(square):
    """(m, e): 1 / sqrt(square) = m * 2^(e - 29), m in 2^14 .. 2^15, for square <= 2^30; m = 0 for 0."""
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
    """The values scaled to length 1 by _inverse_root; |values * m| <= 2^14 * 2^15."""
    return [rsh(v * m, 15 - e) for v in values]


def _put_shorts(mem, ref, values):
    buf, o = at(mem, ref)
    struct.pack_into("<%dh" % len(values), buf, o, *values)


def prototype_fwd(mem, off):
    """Logits are cosines with 14 fraction bits; `unit` and `norm` keep the features' direction and length.

    |sum of c * unit| <= |c| * |unit|, about 2^28.
    """
    logits, x, protos, counts, unit, norm, n, f, zx = record(mem, off)
    xb, xo = at(mem, x)
    values = [xb[xo + i] - zx for i in range(f)]
    m, e = _inverse_root(sum([v * v for v in values]))  # at most 16384 * 255^2 < 2^30
    values = _direction(values, m, e)
    _put_shorts(mem, unit, values)
    put(mem, norm, m, e)
    best, top = 0, -0x80000000
    for k in range(n):
        a = ABSENT
        if get(mem, counts + 4 * k) > 0:
            row = ints(mem, protos + 2 * f * k, f, "h")
            a = rsh(sum([row[i] * values[i] for i in range(f)]), 14)
        put(mem, logits + 4 * k, a)
        if a > top:
            best, top = k, a
    return best


def prototype_dx(mem, off):
    """dx (f) = scale / |x| * (s - (s . unit) unit) with s = sum over classes of (c / 2) * err.

    Gradients do not train the prototypes. Returns 0 where there is nothing to learn.
    """
    g, err, protos, unit, norm, sums, mask, exp, head_exp, n, f, scale, scale_exp = record(mem, off)
    errors, units = ints(mem, err, n, "i"), ints(mem, unit, f, "h")
    m, e = ints(mem, norm, 2, "i")
    s = [0] * f
    for k in range(n):
        row = ints(mem, protos + 2 * f * k, f, "h")
        for i in range(f):
            s[i] += (row[i] >> 1) * errors[k]  # |.| <= 2^30 since sum |err| <= 2^16
    pre = max(0, bit_length(max([abs(v) for v in s])) - _width(f))
    s = [rsh(v, pre) for v in s]  # of width bits: |s| <= 2^15
    along = rsh(sum([s[i] * units[i] for i in range(f)]), 14)  # sum <= |s| * |unit|, about 2^29
    s = [v - rsh(along * u, 14) for v, u in zip(s, units)]
    if mask != NULL:
        mb, mo = at(mem, mask)
        s = [v if get_bit(mb, mo, i) else 0 for i, v in enumerate(s)]
    factor = rsh(m * scale, 10)  # 13 bits
    s = [v * factor for v in s]  # below 2^30
    if not any(s):
        return 0
    base = pre + e + scale_exp - 47  # (c / 2) and err have 28 fraction bits, m has 29, factor lost 10
    write_head_error(mem, g, exp, head_exp, s, base)
    return 1


def prototype_add(mem, off):
    """Add a sample's direction to its class; returns how many samples the class counts.

    A full `window` is halved first, so older samples weigh less. A count of 0 forgets what was there.
    """
    protos, totals, counts, label, unit, n, f, window = record(mem, off)
    k = get(mem, label)
    if not 0 <= k < n:
        return 0
    count = get(mem, counts + 4 * k)
    old = 1 if count >= window else 0
    units = ints(mem, unit, f, "h")
    sums = ints(mem, totals + 4 * f * k, f, "i")
    # at most 65,535 directions: below 2^31
    sums = [(rsh(t, old) if count > 0 else 0) + u for t, u in zip(sums, units)]
    put(mem, totals + 4 * f * k, *sums)
    pre = max(0, bit_length(max([abs(t) for t in sums])) - _width(f))
    sums = [rsh(t, pre) for t in sums]
    m, e = _inverse_root(sum([t * t for t in sums]))
    _put_shorts(mem, protos + 2 * f * k, _direction(sums, m, e))
    count = clamp(count >> old, 0, 65534) + 1
    put(mem, counts + 4 * k, count)
    return count
