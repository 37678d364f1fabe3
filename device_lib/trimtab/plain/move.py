"""Elements of a tensor in another order (transpose), or some of them (slice), along four axes."""

from .error import ERROR_WORDS, ErrorOut
from .record import at, get, record


def move_fwd(mem, off):
    """y (n0, n1, n2, n3) from elements of x that lie sk apart along axis k."""
    y, x, n0, n1, n2, n3, s0, s1, s2, s3, _ = record(mem, off)
    yb, yo = at(mem, y)
    xb, xo = at(mem, x)
    for i0 in range(n0):
        for i1 in range(n1):
            for i2 in range(n2):
                p = xo + i0 * s0 + i1 * s1 + i2 * s2
                for i3 in range(n3):
                    yb[yo] = xb[p + i3 * s3]
                    yo += 1
    return 0


def move_dx(mem, off):
    """The error of x (n0, n1, iw, ic): gy where an element was moved, ck from fk on along axis k; else 0."""
    # fmt: off
    (gy, _, gy_exp, n0, n1, _, iw, ic,
     f0, f1, f2, f3, c0, c1, c2, c3, s0, s1, s2, s3, _) = record(mem, off)[:-ERROR_WORDS]
    # fmt: on
    gb, go = at(mem, gy)
    out = ErrorOut(mem, off, get(mem, gy_exp))
    start = 0
    for i0 in range(n0):
        for i1 in range(n1):
            for i2 in range(iw):
                row = [0] * ic
                if f0 <= i0 < f0 + c0 and f1 <= i1 < f1 + c1 and f2 <= i2 < f2 + c2:
                    p = go + (i0 - f0) * s0 + (i1 - f1) * s1 + (i2 - f2) * s2
                    for i3 in range(c3):
                        row[f3 + i3] = gb[p + i3 * s3]
                out.row(start, row)
                start += ic
    return out.close()
