"""Two operands of which the second may be smaller: its rows and columns repeat over those of the first.

x is (n, c), x2 is (n2, c2): one number for each channel, for each position, for all, or for every element.
"""

from .error import ERROR_WORDS, ErrorOut
from .fixed import requant, rsh
from .record import at, get, ints, record, store


def mul_fwd(mem, off):
    """y = x * x2, at another scale. |product| <= 255^2 < 2^16."""
    y, x, x2, mask, n, c, n2, c2, zx2, zx, zy, mult, shift, lo, hi = record(mem, off)
    xb, xo = at(mem, x)
    for p in range(n):
        other = _repeated(mem, x2, p, c, n2, c2, zx2)
        for i in range(c):
            a = (xb[xo + p * c + i] - zx) * other[i]
            store(mem, y, mask, p * c + i, requant(a, mult, shift) + zy, lo, hi)
    return 0


def sum_fwd(mem, off):
    """y = x + x2 or the difference, as add_fwd computes it: the signs are 1 or -1."""
    # fmt: off
    (y, x, x2, mask, n, c, n2, c2, zx2, zx, zy,
     mult, shift, mult2, shift2, mult_y, shift_y, sign, sign2, lo, hi) = record(mem, off)
    # fmt: on
    xb, xo = at(mem, x)
    for p in range(n):
        other = _repeated(mem, x2, p, c, n2, c2, zx2)
        for i in range(c):
            a = sign * requant((xb[xo + p * c + i] - zx) << 20, mult, shift)
            b = sign2 * requant(other[i] << 20, mult2, shift2)
            store(mem, y, mask, p * c + i, requant(a + b, mult_y, shift_y) + zy, lo, hi)
    return 0


def mul_dx(mem, off):
    """The error of one operand (ih * iw, ic): gy times the other one, summed where the operand repeats.

    m comes from the scales. gy * m has 22 bits; m_shift holds n * c / (gn * ic) terms, each times at most
    255, below 2^30.
    """
    # fmt: off
    (gy, _, x2, gy_exp, n, c, n2, c2, zx2,
     m, m_shift, m_exp, ih, iw, ic, gn) = record(mem, off)[:-ERROR_WORDS]
    # fmt: on
    gb, go = at(mem, gy)
    out = ErrorOut(mem, off, get(mem, gy_exp) + m_exp + m_shift)
    for q in range(gn):
        acc = [0] * ic
        for p in range(q, n, gn):
            other = _repeated(mem, x2, p, c, n2, c2, zx2)
            for i in range(c):
                acc[i % ic] += rsh(gb[go + p * c + i] * m, m_shift) * other[i]
        out.row(q * ic, acc)
    return out.close()


def prelu_fwd(mem, off):
    """y = x, and times x2 where it is below its zero point, at another scale."""
    # fmt: off
    (y, x, x2, mask, n, c, n2, c2, zx2, zx, zy,
     mult, shift, mult2, shift2, lo, hi) = record(mem, off)
    # fmt: on
    xb, xo = at(mem, x)
    for p in range(n):
        other = _repeated(mem, x2, p, c, n2, c2, zx2)
        for i in range(c):
            a = xb[xo + p * c + i] - zx
            a = requant(a * other[i], mult2, shift2) if a < 0 else requant(a, mult, shift)
            store(mem, y, mask, p * c + i, a + zy, lo, hi)
    return 0


def prelu_dx(mem, off):
    """dx = gy times m, or below the zero point times a slope (n2, c2), both in 1/128 of 2^m_exp."""
    gy, _, x, gy_exp, slope, ih, iw, ic, n2, c2, zx, m, m_exp = record(mem, off)[:-ERROR_WORDS]
    gb, go = at(mem, gy)
    xb, xo = at(mem, x)
    slopes = ints(mem, slope, n2 * c2, "h")
    out = ErrorOut(mem, off, get(mem, gy_exp) + m_exp + 7)
    for p in range(ih * iw):
        row = slopes[p % n2 * c2 : (p % n2 + 1) * c2]
        q = p * ic
        out.row(
            q,
            [rsh(gb[go + q + i] * (row[i % c2] if xb[xo + q + i] < zx else m), 7) for i in range(ic)],
        )
    return out.close()


def _repeated(mem, x2, p, c, n2, c2, zx2):
    """Row p of x2 as it repeats over (n, c), without its zero point."""
    b, o = at(mem, x2)
    o += p % n2 * c2
    return [b[o + i % c2] - zx2 for i in range(c)]
