"""Operators that treat each number alone: add, requantize, tables, copies, softmax, and their errors."""

from .error import error_close, error_open, error_row
from .fixed import bit_length, high31
from .idioms import *
from .rows import load_row, put_by, set_output


@kernel
def add_fwd(mem, off: int) -> int:
    """y = x + x2, both brought to a common scale with 20 more bits; X holds the first meanwhile."""
    row = scratch(ROW)
    first = scratch(X)
    set_output(words, FIELD.mask, FIELD.zy, FIELD.lo, FIELD.hi)
    at = 0
    while at < r.n:
        n = r.n - at
        if n > N:
            n = N
        load_row(words, FIELD.x, at, FIELD.zx, 20, n)
        put_by(words, FIELD.mult, FIELD.shift, -1, n)
        i = 0
        while i < n:
            first[i] = row[i]
            i += 1
        load_row(words, FIELD.x2, at, FIELD.zx2, 20, n)
        put_by(words, FIELD.mult2, FIELD.shift2, -1, n)
        i = 0
        while i < n:
            row[i] = row[i] + first[i]
            i += 1
        put_by(words, FIELD.mult_y, FIELD.shift_y, at, n)
        at += n
    return 0


@kernel
def requantize_fwd(mem, off: int) -> int:
    """y = x in another scale and zero point."""
    set_output(words, FIELD.mask, FIELD.zy, 0, 0)
    at = 0
    while at < r.n:
        n = r.n - at
        if n > N:
            n = N
        load_row(words, FIELD.x, at, FIELD.zx, 0, n)
        put_by(words, FIELD.mult, FIELD.shift, at, n)
        at += n
    return 0


@kernel
def lut_fwd(mem, off: int) -> int:
    """y = table[x]."""
    y = ptr8(origin + ref.y)
    x = ptr8(origin + ref.x)
    table = ptr8(origin + ref.table)
    n = r.n
    i = 0
    while i < n:
        y[i] = table[plus128(x[i])]
        i += 1
    return 0


@kernel
def copy_fwd(mem, off: int) -> int:
    """x (ih, iw, ic) into a window of y (yh, yw, yc). The rest becomes `fill`, or stays where fill is 256."""
    y = ptr8(origin + ref.y)
    x = ptr8(origin + ref.x)
    if r.fill != 256:
        n = r.yh * r.yw * r.yc
        i = 0
        while i < n:
            y[i] = r.fill
            i += 1
    y = ptr8(int(y) + (r.top * r.yw + r.left) * r.yc + r.first)
    iy = 0
    while iy < r.ih:
        ix = 0
        while ix < r.iw:
            i = 0
            while i < r.ic:
                y[i] = x[i]
                i += 1
            x = ptr8(int(x) + r.ic)
            y = ptr8(int(y) + r.yc)
            ix += 1
        y = ptr8(int(y) + (r.yw - r.iw) * r.yc)
        iy += 1
    return 0


@kernel
def gather(mem, off: int) -> int:
    """The kept channels of n pixels: y (n, nk) from x (n, ic)."""
    y = ptr8(origin + ref.y)
    x = ptr8(origin + ref.x)
    kept = ptr16(origin + ref.kept)
    left = r.n
    while left:
        j = 0
        while j < r.nk:
            y[j] = x[kept[j]]
            j += 1
        y = ptr8(int(y) + r.nk)
        x = ptr8(int(x) + r.ic)
        left -= 1
    return 0


@helper
def invert(words):
    """X[0] = 1 / (2 * X[0]) in Q31, for X[0] in [1/2, 1) in Q31.

    Newton's method in Q29, from 48/17 - 32/17 * X[0].
    """
    half = word(s[X])
    z = 0x5A5A
    most = 0x3FFFFFFF
    most = most * 2 + 1
    s[X + 1] = -0x3C3C3C3C
    high31(words)
    z = (z << 16 | z) + word(s[X])
    i = 0
    while i < 3:
        s[X] = half
        s[X + 1] = z
        high31(words)
        s[X] = (1 << 29) - word(s[X])
        high31(words)
        v = word(s[X])
        if v > most >> 2:
            v = most
        elif v < -(most >> 2):
            v = -most
        else:
            v = v << 2
        z += v
        i += 1
    if z > most >> 1:
        z = most
    else:
        z = z << 1
    s[X] = z


@kernel
def softmax_fwd(mem, off: int) -> int:
    """y (rows, n), int8 probabilities of scale 1/256, as TensorFlow Lite computes them."""
    y = ptr8(origin + ref.y)
    x = ptr8(origin + ref.x)
    exps = ptr32(origin + ref.table)
    rows = r.rows
    n = r.n
    while rows:
        top = 0
        i = 0
        while i < n:
            if plus128(x[i]) > top:
                top = plus128(x[i])
            i += 1
        total = 0
        i = 0
        while i < n:
            v = exps[255 + plus128(x[i]) - top]
            total += rsh(v, 12)
            i += 1
        if total < 1:
            total = 1
        up = 32 - int(bit_length(total))
        s[X] = total << (up - 1)
        invert(words)
        inverse = s[X]
        i = 0
        while i < n:
            s[X] = inverse
            s[X + 1] = exps[255 + plus128(x[i]) - top]
            high31(words)
            v = word(s[X])
            e = 35 - up
            if e > 31:
                v = 0
            elif e > 0:
                v += v >> 31
                v = rsh(v, e)
            v -= 128
            if v > 127:
                v = 127
            elif v < -128:
                v = -128
            y[i] = v
            i += 1
        x = ptr8(int(x) + n)
        y = ptr8(int(y) + n)
        rows -= 1
    return 0


@kernel
def scale_dx(mem, off: int) -> int:
    """The error of x (ih, iw, ic) from a window of gy (yh, yw, yc)."""
    gy = ptr8(origin + ref.gy)
    row = ptr32(origin + ref.row)
    m = word(r.m)
    error_open(words, FIELD.g, FIELD.gy_exp, word(r.m_exp) + 7)
    at = 0
    iy = 0
    while iy < r.ih:
        ix = 0
        while ix < r.iw:
            p = ((iy + r.top) * r.yw + ix + r.left) * r.yc + r.first
            i = 0
            while i < r.ic:
                row[i] = (signed(gy[p + i]) * m + 64) >> 7
                i += 1
            error_row(words, ref.row, at, 1, r.ic)
            at += r.ic
            ix += 1
        iy += 1
    error_close(words)
    return 0


@kernel
def lut_dx(mem, off: int) -> int:
    """The error of x: gy times the slope of the table at x."""
    gy = ptr8(origin + ref.gy)
    x = ptr8(origin + ref.x)
    slopes = ptr16(origin + ref.slope)
    row = ptr32(origin + ref.row)
    error_open(words, FIELD.g, FIELD.gy_exp, word(r.m_exp) + 7)
    n = r.ih * r.iw * r.ic
    at = 0
    while at < n:
        i = 0
        while i < r.ic:
            slope = signed16(slopes[plus128(x[at + i])])
            row[i] = (signed(gy[at + i]) * slope + 64) >> 7
            i += 1
        error_row(words, ref.row, at, 1, r.ic)
        at += r.ic
    error_close(words)
    return 0
