"""Average and maximum over windows, and over a whole image; their errors."""

from .error import error_open, windows
from .idioms import *
from .rows import put_by, set_output


@kernel
def mean_fwd(mem, off: int) -> int:
    """y (ic): the mean of n pixels."""
    row = scratch(ROW)
    x = ptr8(origin + ref.x)
    set_output(words, FIELD.mask, FIELD.zy, 0, 0)
    zero = word(r.zx) + 128
    ic = r.ic
    at = 0
    while at < ic:
        n = ic - at
        if n > N:
            n = N
        i = 0
        while i < n:
            a = -zero * r.n
            p = ptr8(int(x) + at + i)
            left = r.n
            while left:
                a += plus128(p[0])
                p = ptr8(int(p) + ic)
                left -= 1
            row[i] = a
            i += 1
        put_by(words, FIELD.mult, FIELD.shift, at, n)
        at += n
    return 0


@reads("avg_pool_fwd", "max_pool_fwd")
def pool_channel(words, oy: int, ox: int, i: int, largest: int) -> int:
    """Channel i of one output: the largest input, or the mean, ties away from zero, without pads."""
    x = ptr8(origin + ref.x)
    best = -128
    a = 0
    n = 0
    ky = 0
    while ky < r.kh:
        iy = oy * r.sh - r.pt + ky
        kx = 0
        while kx < r.kw and iy >= 0 and iy < r.ih:
            ix = ox * r.sw - r.pl + kx
            if ix >= 0 and ix < r.iw:
                v = signed(x[(iy * r.iw + ix) * r.ic + i])
                a += v
                n += 1
                if v > best:
                    best = v
            kx += 1
        ky += 1
    if largest:
        return best
    if n == 0:
        return 0
    if a > 0:
        return (a + n // 2) // n
    return -((n // 2 - a) // n)


@reads("avg_pool_fwd", "max_pool_fwd")
def pool(words, largest: int):
    """y (oh, ow, ic) from x (ih, iw, ic)."""
    y = ptr8(origin + ref.y)
    low = word(r.lo)
    high = word(r.hi)
    oy = 0
    while oy < r.oh:
        ox = 0
        while ox < r.ow:
            i = 0
            while i < r.ic:
                v = int(pool_channel(words, oy, ox, i, largest))
                v = clamp(v, low, high)
                y[i] = v
                i += 1
            y = ptr8(int(y) + r.ic)
            ox += 1
        oy += 1


@kernel
def avg_pool_fwd(mem, off: int) -> int:
    """The mean of each window."""
    pool(words, 0)
    return 0


@kernel
def max_pool_fwd(mem, off: int) -> int:
    """The largest input of each window."""
    pool(words, 1)
    return 0


@helper
def seen(o: int, stride: int, pad: int, size: int, k: int) -> int:
    """How many positions of a kernel at output o meet the input, along one axis."""
    first = o * stride - pad
    last = first + k
    if first < 0:
        first = 0
    if last > size:
        last = size
    return last - first


@reads("avg_dx")
def spread_mean(row: ptr32, gy: ptr8, i: int, words, oy: int, ox: int, ky: int, kx: int, at: int):
    """Every input of a window gets the window's error, divided by how many they are: m[count - 1]."""
    gy = ptr8(origin + ref.gy + (oy * r.ow + ox) * r.ic)
    m = ptr16(origin + ref.m)
    row = ptr32(origin + ref.row)
    n = int(seen(oy, r.sh, r.pt, r.ih, r.kh)) * int(seen(ox, r.sw, r.pl, r.iw, r.kw))
    scale = signed16(m[n - 1])
    i = 0
    while i < r.ic:
        row[i] = row[i] + ((signed(gy[i]) * scale + 64) >> 7)
        i += 1


@kernel
def avg_dx(mem, off: int) -> int:
    """The error of x (ih, iw, ic) from gy (oh, ow, ic)."""
    error_open(words, FIELD.g, FIELD.gy_exp, word(r.m_exp) + 7)
    windows(words, FIELD.ih, FIELD.row, spread_mean)
    return 0


@reads("max_dx")
def spread_largest(x: ptr8, i: int, v: int, words, oy: int, ox: int, ky: int, kx: int, here: int):
    """The error of a window goes to the first of its largest inputs; `here` is this input's first channel."""
    gy = ptr8(origin + ref.gy + (oy * r.ow + ox) * r.ic)
    x = ptr8(origin + ref.x)
    row = ptr32(origin + ref.row)
    i = 0
    while i < r.ic:
        v = plus128(x[here + i])
        mine = True
        ky = 0
        while ky < r.kh:
            iy = oy * r.sh - r.pt + ky
            kx = 0
            while kx < r.kw and iy >= 0 and iy < r.ih:
                ix = ox * r.sw - r.pl + kx
                if ix >= 0 and ix < r.iw:
                    at = (iy * r.iw + ix) * r.ic
                    other = plus128(x[at + i])
                    if other > v or (other == v and at < here):
                        mine = False
                kx += 1
            ky += 1
        if mine:
            row[i] = row[i] + signed(gy[i])
        i += 1


@kernel
def max_dx(mem, off: int) -> int:
    """The error of x (ih, iw, ic) from gy (oh, ow, ic)."""
    error_open(words, FIELD.g, FIELD.gy_exp, 0)
    windows(words, FIELD.ih, FIELD.row, spread_largest)
    return 0
