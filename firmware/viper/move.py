"""Elements of a tensor in another order (transpose) or some of them (slice), along four axes; their error."""

from .error import error_close, error_open, error_row
from .idioms import *
from .rows import clear


@kernel
def move_fwd(mem, off: int) -> int:
    """y (n0, n1, n2, n3) from elements of x that lie sk apart along axis k."""
    y = ptr8(origin + ref.y)
    i0 = 0
    while i0 < r.n0:
        i1 = 0
        while i1 < r.n1:
            i2 = 0
            while i2 < r.n2:
                x = ptr8(origin + ref.x + i0 * r.s0 + i1 * r.s1 + i2 * r.s2)
                step = r.s3
                n = r.n3
                while n:
                    y[0] = x[0]
                    y = ptr8(int(y) + 1)
                    x = ptr8(int(x) + step)
                    n -= 1
                i2 += 1
            i1 += 1
        i0 += 1
    return 0


@reads("move_dx")
def fill_row(gy: ptr8, row: ptr32, i: int, words, i0: int, i1: int, i2: int):
    """Row (ic) gets gy where an element was moved; the numbers count from the first moved one on."""
    if i0 >= 0 and i0 < r.c0 and i1 >= 0 and i1 < r.c1 and i2 >= 0 and i2 < r.c2:
        gy = ptr8(origin + ref.gy + i0 * r.s0 + i1 * r.s1 + i2 * r.s2)
        row = ptr32(origin + ref.row)
        i = r.f3
        end = i + r.c3
        while i < end:
            row[i] = signed(gy[0])
            gy = ptr8(int(gy) + r.s3)
            i += 1


@kernel
def move_dx(mem, off: int) -> int:
    """The error of x (n0, n1, iw, ic), of which ck elements from fk on were moved along axis k."""
    error_open(words, FIELD.g, FIELD.gy_exp, 0)
    at = 0
    i0 = 0
    while i0 < r.n0:
        i1 = 0
        while i1 < r.n1:
            i2 = 0
            while i2 < r.iw:
                clear(0, words, ref.row, r.ic)
                fill_row(0, 0, 0, words, i0 - r.f0, i1 - r.f1, i2 - r.f2)
                error_row(words, ref.row, at, 1, r.ic)
                at += r.ic
                i2 += 1
            i1 += 1
        i0 += 1
    error_close(words)
    return 0
