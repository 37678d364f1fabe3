"""Average and largest over windows, mean over all positions, and their errors."""

from ..format import NULL
from .error import ERROR_WORDS, ErrorOut
from .fixed import divide, requant, rsh
from .record import at, get, ints, record, store
from .window import backward_taps, forward_taps


def _inputs(oy, ox, xo, ih, iw, ic, kh, kw, sh, sw, pt, pl):
    """Offsets of the input positions that an output reads."""
    return [
        xo + (iy * iw + ix) * ic
        for _, iy in forward_taps(oy, sh, pt, ih, kh)
        for _, ix in forward_taps(ox, sw, pl, iw, kw)
    ]


def avg_pool_fwd(mem, off):
    """The average of each window, ties away from zero; padding does not count."""
    y, x, ih, iw, ic, oh, ow, _, kh, kw, sh, sw, pt, pl, lo, hi = record(mem, off)
    xb, xo = at(mem, x)
    for oy in range(oh):
        for ox in range(ow):
            taps = _inputs(oy, ox, xo, ih, iw, ic, kh, kw, sh, sw, pt, pl)
            n = len(taps) or 1
            for i in range(ic):
                a = 0
                for q in taps:
                    a += xb[q + i]
                store(mem, y, NULL, (oy * ow + ox) * ic + i, divide(a, n), lo, hi)
    return 0


def mean_fwd(mem, off):
    """y (ic) = mean of x (n, ic) over its n positions, at another scale."""
    y, x, mask, n, ic, zx, zy, mult, shift = record(mem, off)
    xb, xo = at(mem, x)
    for i in range(ic):
        a = 0
        for p in range(n):
            a += xb[xo + p * ic + i]
        store(mem, y, mask, i, requant(a - n * zx, mult, shift) + zy, -128, 127)
    return 0


def avg_dx(mem, off):
    """The error of average pool and mean: gy * m[count - 1], spread over the averaged inputs."""
    # fmt: off
    (gy, m, _, gy_exp,
     ih, iw, ic, oh, ow, _, kh, kw, sh, sw, pt, pl, m_exp) = record(mem, off)[:-ERROR_WORDS]
    # fmt: on
    gb, go = at(mem, gy)
    ms = ints(mem, m, kh * kw, "h")
    out = ErrorOut(mem, off, get(mem, gy_exp) + m_exp + 7)
    for iy in range(ih):
        for ix in range(iw):
            acc = [0] * ic
            for _, oy in backward_taps(iy, sh, pt, oh, kh):
                for _, ox in backward_taps(ix, sw, pl, ow, kw):
                    n = len(forward_taps(oy, sh, pt, ih, kh)) * len(forward_taps(ox, sw, pl, iw, kw))
                    p = go + (oy * ow + ox) * ic
                    for i in range(ic):
                        acc[i] += rsh(gb[p + i] * ms[n - 1], 7)
            out.row((iy * iw + ix) * ic, acc)
    return out.close()


def max_pool_fwd(mem, off):
    """The largest of each window."""
    y, x, ih, iw, ic, oh, ow, _, kh, kw, sh, sw, pt, pl, lo, hi = record(mem, off)
    xb, xo = at(mem, x)
    for oy in range(oh):
        for ox in range(ow):
            taps = _inputs(oy, ox, xo, ih, iw, ic, kh, kw, sh, sw, pt, pl)
            for i in range(ic):
                a = -128
                for q in taps:
                    a = max(a, xb[q + i])
                store(mem, y, NULL, (oy * ow + ox) * ic + i, a, lo, hi)
    return 0


def max_dx(mem, off):
    """The error of max pool: gy goes to the first of the largest inputs of its window."""
    (gy, x, _, gy_exp, ih, iw, ic, oh, ow, _, kh, kw, sh, sw, pt, pl) = record(mem, off)[:-ERROR_WORDS]
    gb, go = at(mem, gy)
    xb, xo = at(mem, x)
    out = ErrorOut(mem, off, get(mem, gy_exp))
    for iy in range(ih):
        for ix in range(iw):
            acc = [0] * ic
            here = xo + (iy * iw + ix) * ic
            for _, oy in backward_taps(iy, sh, pt, oh, kh):
                for _, ox in backward_taps(ix, sw, pl, ow, kw):
                    taps = _inputs(oy, ox, xo, ih, iw, ic, kh, kw, sh, sw, pt, pl)
                    for i in range(ic):
                        if _first_largest(xb, taps, i) == here:
                            acc[i] += gb[go + (oy * ow + ox) * ic + i]
            out.row((iy * iw + ix) * ic, acc)
    return out.close()


def _first_largest(xb, taps, i):
    best = taps[0]
    for q in taps:
        if xb[q + i] > xb[best + i]:
            best = q
    return best
