"""Operators that work element by element: add, copies, tables, softmax, requantization; and their errors."""

from .error import ERROR_WORDS, ErrorOut
from .fixed import INT32_MAX, bit_length, clamp, high31, requant, rsh, rsh_away, shifted
from .record import at, get, ints, kept_channels, record, store


def add_fwd(mem, off):
    """y = x + x2: both are brought to one scale with 20 more bits, and their sum to the output's."""
    (y, x, x2, mask, n, zx, zx2, zy, mult, shift, mult2, shift2, mult_y, shift_y, lo, hi) = record(mem, off)
    ab, ao = at(mem, x)
    bb, bo = at(mem, x2)
    for i in range(n):
        a = requant((ab[ao + i] - zx) << 20, mult, shift)
        b = requant((bb[bo + i] - zx2) << 20, mult2, shift2)
        store(mem, y, mask, i, requant(a + b, mult_y, shift_y) + zy, lo, hi)
    return 0


def copy_fwd(mem, off):
    """Copy x (ih, iw, ic) into a window of y (yh, yw, yc).

    For pad, `fill` is the zero point; for concat it is 256: the rest of y stays.
    """
    y, x, ih, iw, ic, yh, yw, yc, top, left, first, fill = record(mem, off)
    yb, yo = at(mem, y)
    xb, xo = at(mem, x)
    if fill != 256:
        for i in range(yh * yw * yc):
            yb[yo + i] = fill - 256 if fill > 127 else fill
    for iy in range(ih):
        for ix in range(iw):
            p = yo + ((iy + top) * yw + ix + left) * yc + first
            q = xo + (iy * iw + ix) * ic
            for i in range(ic):
                yb[p + i] = xb[q + i]
    return 0


def scale_dx(mem, off):
    """The error of an input of add, pad or concat: a window of gy times m / 128, m from the scales."""
    (gy, gy_exp, _, ih, iw, ic, yh, yw, yc, top, left, first, m, m_exp) = record(mem, off)[:-ERROR_WORDS]
    gb, go = at(mem, gy)
    out = ErrorOut(mem, off, get(mem, gy_exp) + m_exp + 7)
    for iy in range(ih):
        for ix in range(iw):
            p = go + ((iy + top) * yw + ix + left) * yc + first
            out.row((iy * iw + ix) * ic, [rsh(gb[p + i] * m, 7) for i in range(ic)])
    return out.close()


def lut_fwd(mem, off):
    """y = table[x], any function of one int8: relu, relu6, hard swish, logistic."""
    y, x, table, n = record(mem, off)
    yb, yo = at(mem, y)
    xb, xo = at(mem, x)
    tb, to = at(mem, table)
    for i in range(n):
        yb[yo + i] = tb[to + xb[xo + i] + 128]
    return 0


def lut_dx(mem, off):
    """dx = gy times the function's slope at x, which a table has in 1/128 of 2^m_exp."""
    gy, x, slope, _, gy_exp, ih, iw, ic, m_exp = record(mem, off)[:-ERROR_WORDS]
    gb, go = at(mem, gy)
    xb, xo = at(mem, x)
    slopes = ints(mem, slope, 256, "h")
    out = ErrorOut(mem, off, get(mem, gy_exp) + m_exp + 7)
    for p in range(0, ih * iw * ic, ic):
        out.row(p, [rsh(gb[go + p + i] * slopes[xb[xo + p + i] + 128], 7) for i in range(ic)])
    return out.close()


def gather(mem, off):
    """y (n, nk): some channels of x (n, ic), which a partial update keeps of its input."""
    y, x, kept, n, ic, nk = record(mem, off)
    yb, yo = at(mem, y)
    xb, xo = at(mem, x)
    for j, i in enumerate(kept_channels(mem, kept, nk)):
        for p in range(n):
            yb[yo + p * nk + j] = xb[xo + p * ic + i]
    return 0


def softmax_fwd(mem, off):
    """Softmax of each of `rows` rows of n. table: exp of (i - 255) steps of x, Q31.

    The sum has 19 fraction bits; it is at least 1, and below 2^31 for 4,095 terms.
    """
    y, x, table, rows, n = record(mem, off)
    yb, yo = at(mem, y)
    xb, xo = at(mem, x)
    exps = ints(mem, table, 256, "i")
    for p in range(0, rows * n, n):
        row = [xb[xo + p + i] for i in range(n)]
        top = max(row)
        total = max(sum([rsh_away(exps[255 + v - top], 12) for v in row]), 1)
        up = 32 - bit_length(total)
        inverse = _inverse((total << up) >> 1)
        for i, v in enumerate(row):
            v = rsh_away(high31(inverse, exps[255 + v - top]), 35 - up)
            yb[yo + p + i] = clamp(v - 128, -128, 127)
    return 0


def _inverse(half):
    """1 / (2 * half), both Q31, half in [1/2, 1): Newton's method from 48/17 - 32/17 * half, Q29."""
    z = 1515870810 + high31(half, -1010580540)
    for _ in range(3):
        z += shifted(high31(z, (1 << 29) - high31(half, z)), -2, INT32_MAX)
    return shifted(z, -1, INT32_MAX)


def requantize_fwd(mem, off):
    """y = x at another scale and zero point."""
    y, x, mask, n, zx, zy, mult, shift = record(mem, off)
    xb, xo = at(mem, x)
    for i in range(n):
        store(mem, y, mask, i, requant(xb[xo + i] - zx, mult, shift) + zy, -128, 127)
    return 0
