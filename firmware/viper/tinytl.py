"""TinyTL: lite residual modules, whose group norm and affine parameters are trained. See plain/tinytl.py.

The affine parameters of oc channels are oc words of gamma and oc words of beta, with 16 fraction bits.
"""

from .fixed import bit_length, divide, int8_shift, largest_bits, square_root
from .idioms import *
from .rows import clear, find_largest, round_words


@reads("tinytl_conv_fwd")
def convolve(p: ptr8, q: ptr8, a: int, words, o: int, to: int):
    """The sums of output channel o at all positions, less `pre` bits, from word `to` of the record's sums on.

    A group of output channels sees `part` of the input channels.
    """
    zero = word(r.zx) + 128
    part = r.part
    pre = r.pre
    width = r.oc // (r.ic // part)
    if width == 0:
        width = 1
    first = o // width * part
    if first > r.ic - part:
        first = r.ic - part
    x = origin + ref.x + first
    w = origin + ref.w + o * r.kh * r.kw * part
    sums = ptr32(origin + ref.sums + 4 * to)
    oy = 0
    while oy < r.oh:
        ox = 0
        while ox < r.ow:
            a = 0
            ky = 0
            while ky < r.kh:
                iy = oy * r.sh - r.pt + ky
                kx = 0
                while kx < r.kw and iy >= 0 and iy < r.ih:
                    ix = ox * r.sw - r.pl + kx
                    if ix >= 0 and ix < r.iw:
                        p = ptr8(x + (iy * r.iw + ix) * r.ic)
                        q = ptr8(w + (ky * r.kw + kx) * part)
                        left = part
                        while left:
                            a += (plus128(p[0]) - zero) * signed(q[0])
                            p = ptr8(int(p) + 1)
                            q = ptr8(int(q) + 1)
                            left -= 1
                    kx += 1
                ky += 1
            if pre:
                a = rsh(a, pre)
            sums[0] = a
            sums = ptr32(int(sums) + 4)
            ox += 1
        oy += 1


@reads("tinytl_conv_fwd")
def normalize(words, q: int):
    """Group q: its sums become y, of mean 0 and deviation 16, and a word of statistics."""
    sums = ptr32(origin + ref.sums)
    positions = r.oh * r.ow
    n = r.norm * positions
    total = 0
    i = 0
    while i < n:
        total += word(sums[i])
        i += 1
    s[X] = total
    divide(words, n)
    mean = word(s[X])
    i = 0
    while i < n:
        sums[i] = sums[i] - mean
        i += 1
    find_largest(words, ref.sums, n)
    bits = (29 - int(bit_length(n - 1))) >> 1
    if bits > 11:
        bits = 11
    down = int(largest_bits(words)) - bits
    if down < 0:
        down = 0
    round_words(words, ref.sums, n, down, 1 << 29)
    squares = 0
    i = 0
    while i < n:
        v = word(sums[i])
        squares += v * v
        i += 1
    scale = 0
    e = 0
    if squares:
        up = (30 - int(bit_length(squares))) & -2
        up_n = (30 - int(bit_length(n))) & -2
        root = int(square_root(squares, up))
        scale = ((int(square_root(n, up_n)) << 15) + (root >> 1)) // root
        e = 15 + ((up_n - up) >> 1)
    stats = ptr32(origin + ref.stats)
    stats[q] = scale << 8 | ((e + down + r.pre) & 255)
    e -= 4
    y = ptr8(origin + ref.y + q * r.norm)
    while n:
        p = 0
        while p < positions:
            v = word(sums[p]) * scale
            if e > 0:
                v = rsh(v, e)
            v = saturate(v, 127)
            y[p * r.oc] = v
            p += 1
        sums = ptr32(int(sums) + 4 * positions)
        y = ptr8(int(y) + 1)
        n -= positions


@kernel
def tinytl_conv_fwd(mem, off: int) -> int:
    """y (oh, ow, oc), normalized in groups of `norm` channels, from x (ih, iw, ic)."""
    positions = r.oh * r.ow
    q = 0
    while q < r.norms:
        i = 0
        while i < r.norm:
            convolve(0, 0, 0, words, q * r.norm + i, i * positions)
            i += 1
        normalize(words, q)
        q += 1
    return 0


@kernel
def tinytl_conv_dx(mem, off: int) -> int:
    """d (n, ic) from gy (n, oc), through a pointwise convolution."""
    d = ptr32(origin + ref.d)
    gy = ptr8(origin + ref.gy)
    ic = r.ic
    left = r.n
    while left:
        clear(0, words, int(d) - origin, ic)
        w = ptr8(origin + ref.w)
        o = 0
        while o < r.oc:
            g = signed(gy[o])
            i = 0
            while i < ic and g:
                d[i] = d[i] + signed(w[i]) * g
                i += 1
            w = ptr8(int(w) + ic)
            o += 1
        d = ptr32(int(d) + 4 * ic)
        gy = ptr8(int(gy) + r.oc)
        left -= 1
    return 0


@helper
def affine_number(words, field: Field, j: int, shift: int, bound: int) -> int:
    """Number j of gamma and beta, rounded to 16 - shift fraction bits, within -bound .. bound."""
    affine = ptr32(origin + s[AT + field])
    v = word(affine[j])
    v = rsh(v, shift)
    most = bound << (16 - shift)
    if v > most:
        return most
    if v < -most:
        return -most
    return v


@kernel
def tinytl_affine_fwd(mem, off: int) -> int:
    """y = relu(gamma * x + beta)."""
    oc = r.oc
    o = 0
    while o < oc:
        g = int(affine_number(words, FIELD.affine, o, 8, r.bound))
        b = int(affine_number(words, FIELD.affine, oc + o, 4, r.bound)) + 128
        y = ptr8(origin + ref.y + o)
        x = ptr8(origin + ref.x + o)
        left = r.n
        while left:
            v = (g * signed(x[0]) + b) >> 8
            v = clamp(v, 0, 127)
            y[0] = v
            x = ptr8(int(x) + oc)
            y = ptr8(int(y) + oc)
            left -= 1
        o += 1
    return 0


@reads("tinytl_norm_dx")
def hide(words):
    """Errors that the ReLU hid become 0."""
    oc = r.oc
    o = 0
    while o < oc:
        g = int(affine_number(words, FIELD.affine, o, 8, r.bound))
        b = int(affine_number(words, FIELD.affine, oc + o, 4, r.bound))
        d = ptr32(origin + ref.sums + 4 * o)
        x = ptr8(origin + ref.x + o)
        left = r.n
        while left:
            v = g * signed(x[0]) + b
            if v <= 0 or v >= 255 << 7:
                d[0] = 0
            x = ptr8(int(x) + oc)
            d = ptr32(int(d) + 4 * oc)
            left -= 1
        o += 1


@reads("tinytl_norm_dx")
def move_affine(words, j: int, u: int, exponent: int):
    """Number j of gamma and beta, or its accumulator, moves by the gradient sum in X[0]."""
    lr = ptr32(origin + ref.lr)
    pre = r.pre
    t = word(s[X])
    if pre:
        t = rsh(t, pre)
    t = t * mantissa(u, lr[0])
    e = (u >> 8) - 136 + word(lr[1]) - pre - exponent
    t = shifted(t, e, 1 << 28)
    most = r.bound << 16
    to = ptr32(origin + ref.affine + 4 * j)
    if ref.acc:
        most = BIAS_MAX
        to = ptr32(origin + ref.acc + 4 * j)
        t = -t
    v = word(to[0])
    v = saturate(v, most)
    v -= t
    v = saturate(v, most)
    to[0] = v


@reads("tinytl_norm_dx")
def learn_affine(words, exponent: int):
    """Gamma and beta move; the errors are multiplied by what gamma was."""
    oc = r.oc
    o = 0
    while o < oc:
        g = int(affine_number(words, FIELD.affine, o, 8, r.bound))
        d = ptr32(origin + ref.sums + 4 * o)
        x = ptr8(origin + ref.x + o)
        dgamma = 0
        dbeta = 0
        left = r.n
        while left:
            v = word(d[0])
            dgamma += v * signed(x[0])
            dbeta += v
            d[0] = v * g
            x = ptr8(int(x) + oc)
            d = ptr32(int(d) + 4 * oc)
            left -= 1
        s[X] = dgamma
        move_affine(words, o, r.u_gamma, exponent)
        s[X] = dbeta
        move_affine(words, oc + o, r.u_beta, exponent)
        o += 1


@reads("tinytl_norm_dx")
def norm_group(words, q: int, least: int):
    """The errors of group q, through its norm: less their mean, less x times a slope, times the scale."""
    oc = r.oc
    norm = r.norm
    stats = ptr32(origin + ref.stats)
    stat = stats[q]
    scale = stat >> 10
    down = (stat & 255) - least
    total = 0
    products = 0
    mean = 0
    slope = 0
    second = 0
    while second < 2:
        d = ptr32(origin + ref.sums + 4 * q * norm)
        x = ptr8(origin + ref.x + q * norm)
        left = r.n
        while left:
            i = 0
            while i < norm:
                a = signed(x[i])
                v = word(d[i])
                if second == 0:
                    total += v
                    products += v * a
                else:
                    t = a * slope
                    v = v - mean - rsh(t, 8)
                    v = saturate(v, 65535)
                    v = v * scale
                    if down > 31 or stat >> 8 == 0:
                        v = 0
                    elif down > 0:
                        v = rsh(v, down)
                    d[i] = v
                i += 1
            d = ptr32(int(d) + 4 * oc)
            x = ptr8(int(x) + oc)
            left -= 1
        if second == 0:
            s[X] = total
            divide(words, norm * r.n)
            mean = word(s[X])
            s[X] = products
            divide(words, norm * r.n)
            slope = word(s[X])
        second += 1


@reads("tinytl_norm_dx")
def part_by_part(words, e: int):
    """The errors as int8 in g (parts, n, width)."""
    oc = r.oc
    width = oc // r.parts
    round_words(words, ref.sums, r.n * oc, e, 127)
    g = ptr8(origin + ref.g)
    first = 0
    while first < oc:
        d = ptr32(origin + ref.sums + 4 * first)
        left = r.n
        while left:
            i = 0
            while i < width:
                g[i] = d[i]
                i += 1
            g = ptr8(int(g) + width)
            d = ptr32(int(d) + 4 * oc)
            left -= 1
        first += width


@kernel
def tinytl_norm_dx(mem, off: int) -> int:
    """The error g of the sums, from d (n, oc), and the update of gamma and beta."""
    size = r.n * r.oc
    if r.relu:
        hide(words)
    find_largest(words, ref.sums, size)
    down = int(largest_bits(words)) - 12
    if down < 0:
        down = 0
    round_words(words, ref.sums, size, down, 4096)
    exponent = load(ref.gy_exp) + word(r.m_exp) + down
    learn_affine(words, exponent)
    find_largest(words, ref.sums, size)
    bits = 23 - int(bit_length(r.norm * r.n - 1))
    if bits > 12:
        bits = 12
    shift = int(largest_bits(words)) - bits
    round_words(words, ref.sums, size, shift, 4096)
    stats = ptr32(origin + ref.stats)
    least = 256
    q = 0
    while q < r.norms:
        if stats[q] >> 8 and stats[q] & 255 < least:
            least = stats[q] & 255
        q += 1
    if least == 256:
        least = 0
    q = 0
    while q < r.norms:
        norm_group(words, q, least)
        q += 1
    find_largest(words, ref.sums, size)
    last = int(int8_shift(words))
    part_by_part(words, last)
    ptr32(origin + ref.exp)[0] = exponent + shift + last - 6 - least
    return 0


@kernel
def tinytl_add_fwd(mem, off: int) -> int:
    """y = x + gamma * x2 + beta, where x2 (ih, iw, oc) has half the size and is repeated."""
    low = word(r.lo)
    high = word(r.hi)
    oc = r.oc
    mask = ptr8(origin + ref.mask)
    o = 0
    while o < oc:
        g = int(affine_number(words, FIELD.affine, o, 8, r.bound))
        b = int(affine_number(words, FIELD.affine, oc + o, 4, r.bound)) + 2048
        i = o
        y = ptr8(origin + ref.y)
        x = ptr8(origin + ref.x)
        oy = 0
        while oy < r.oh:
            iy = oy >> 1
            if iy >= r.ih:
                iy = r.ih - 1
            x2 = ptr8(origin + ref.x2 + iy * r.iw * oc + o)
            ox = 0
            while ox < r.ow:
                ix = ox >> 1
                if ix >= r.iw:
                    ix = r.iw - 1
                v = signed(x[i]) + ((g * signed(x2[ix * oc]) + b) >> 12)
                bit = 1 << (i & 7)
                inside = bit
                if v < low:
                    v = low
                    inside = 0
                elif v > high:
                    v = high
                    inside = 0
                y[i] = v
                if ref.mask:
                    mask[i >> 3] = mask[i >> 3] & ~bit | inside
                i += oc
                ox += 1
            oy += 1
        o += 1
    return 0


@kernel
def tinytl_add_dx(mem, off: int) -> int:
    """d (ih, iw, oc): the sum of the four errors that one number of x2 received."""
    oc = r.oc
    gy = ptr8(origin + ref.gy)
    clear(0, words, ref.d, r.ih * r.iw * oc)
    oy = 0
    while oy < r.oh:
        iy = oy >> 1
        if iy >= r.ih:
            iy = r.ih - 1
        ox = 0
        while ox < r.ow:
            ix = ox >> 1
            if ix >= r.iw:
                ix = r.iw - 1
            d = ptr32(origin + ref.d + 4 * (iy * r.iw + ix) * oc)
            o = 0
            while o < oc:
                d[o] = d[o] + signed(gy[o])
                o += 1
            gy = ptr8(int(gy) + oc)
            ox += 1
        oy += 1
    return 0
