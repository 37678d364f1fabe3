"""TinyTrain: Fisher information of channels, and the weights of channels that are chosen to be trained."""

from .fixed import bit_length
from .idioms import *
from .rows import clear, find_largest


@reads("tinytrain_fisher")
def correlate_channels(p: ptr32, x: ptr8, words, zero: int, n: int, ic: int):
    """sums[i] += (x - zx) * g over n positions, for each of ic channels; zero is zx + 128."""
    p = ptr32(origin + ref.sums)
    x = ptr8(origin + ref.x)
    g = ptr8(origin + ref.g)
    while n:
        i = 0
        while i < ic:
            p[i] = p[i] + (plus128(x[i]) - zero) * signed(g[i])
            i += 1
        x = ptr8(int(x) + ic)
        g = ptr8(int(g) + ic)
        n -= 1


@kernel
def tinytrain_fisher(mem, off: int) -> int:
    """f[i] += the square of each channel's sum of x * g, with one exponent for all of them."""
    f = ptr32(origin + ref.f)
    exp = ptr32(origin + ref.f_exp)
    sums = ptr32(origin + ref.sums)
    ic = r.ic
    clear(0, words, ref.sums, ic)
    correlate_channels(0, 0, words, word(r.zx) + 128, r.n, ic)
    find_largest(words, ref.sums, ic)
    if s.largest == 0:
        return 0
    e = int(bit_length(s.largest)) - 15
    new = 2 * (load(ref.g_exp) + e)
    old = word(exp[0])
    down = new - old
    most = 0
    i = 0
    while i < ic:
        v = word(sums[i])
        if e > 0:
            v = rsh(v, e)
            v = saturate(v, 32767)
        else:
            v = v << -e
        v = v * v
        a = word(f[i])
        if down > 31:
            a = 0
        elif down > 0:
            a = rsh(a, down)
        elif down < -31:
            v = 0
        elif down < 0:
            v = rsh(v, -down)
        a += v
        f[i] = a
        if (a - 1) >> 30 > 0:
            most = 1
        i += 1
    if down > 0:
        old = new
    i = 0
    while i < ic and most:
        f[i] = (f[i] >> 1) + (f[i] & 1)
        i += 1
    exp[0] = old + most
    return 0


@kernel
def tinytrain_hold(mem, off: int) -> int:
    """Where frozen plus trained weight would leave int8, the trained one is cut."""
    k = ptr8(origin + ref.k)
    bits = r.residual
    kept = bits != 0 and ref.r != 0
    rest = k
    if kept:
        rest = ptr8(origin + ref.r)
    w = ptr8(origin + ref.w)
    channels = ptr16(origin + ref.kept)
    limit = 127 << bits
    j = 0
    row = 0
    while row < r.rows:
        i = 0
        while i < r.nk:
            frozen = signed(w[channels[i]])
            v = (frozen + signed(k[j])) << bits
            if kept:
                if bits == 8:
                    v += signed(rest[j])
                else:
                    v += nibble(rest, j)
            top = 0
            if v > limit:
                top = 127
            elif v < -limit:
                top = -127
            if top:
                k[j] = top - frozen
                if kept:
                    if bits == 8:
                        rest[j] = 0
                    elif j & 1:
                        rest[j >> 1] = rest[j >> 1] & 15
                    else:
                        rest[j >> 1] = rest[j >> 1] & 240
            i += 1
            j += 1
        w = ptr8(int(w) + r.ic)
        row += 1
    return 0
