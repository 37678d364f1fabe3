"""Convolutions and dense layers: outputs, input errors, weight gradients.

The products are loops over a row in a function of their own, because a function's first three names live in
registers. `dots` unrolls eight products and `spread` and `correlate` four: a loop's own instructions would
cost as much as a product. They are long for the same reason: a call for each row would cost more than a short
row does.
"""

from .error import error_open, windows
from .idioms import *
from .rows import clear, expand, put_row
from .update import update_open, update_row


@helper
def dots(x: ptr32, w: ptr8, a: int, words, n: int, outputs: int, apart: int):
    """row[o] += sum of X[0 .. n) * w, for `outputs` rows of weights that lie `apart`, from s.weights on.

    The loop multiplies by w + 128, which spares an instruction for the sign, and takes 128 * sum of X off
    at the end.
    """
    first = origin + s.weights
    row = scratch(ROW)
    less = s.sum << 7
    while outputs:
        a = 0
        x = scratch(X)
        w = ptr8(first)
        left = n >> 3
        while left:
            a += x[0] * plus128(w[0])
            a += x[1] * plus128(w[1])
            a += x[2] * plus128(w[2])
            a += x[3] * plus128(w[3])
            a += x[4] * plus128(w[4])
            a += x[5] * plus128(w[5])
            a += x[6] * plus128(w[6])
            a += x[7] * plus128(w[7])
            x = ptr32(int(x) + 32)
            w = ptr8(int(w) + 8)
            left -= 1
        left = n & 7
        while left:
            a += x[0] * plus128(w[0])
            x = ptr32(int(x) + 4)
            w = ptr8(int(w) + 1)
            left -= 1
        row[0] = row[0] + a - less
        row = ptr32(int(row) + 4)
        first += apart
        outputs -= 1


@reads("conv_fwd")
def conv_row(words, o: int, n: int, oy: int):
    """Outputs o .. o + n of all positions in output row oy.

    Plane 0 is the frozen tensor, plane 1 the trained one. Inputs are gathered in X until it is full, over
    several kernel rows where these lie one behind the other in the weights too.
    """
    row = scratch(ROW)
    bias = ptr32(origin + ref.bias + 4 * o)
    kh = r.kh
    kw = r.kw
    iy = oy * r.sh - r.pt
    top = 0
    bottom = kh
    if iy < 0:
        top = -iy
    if bottom > r.ih - iy:
        bottom = r.ih - iy
    ox = 0
    while ox < r.ow:
        i = 0
        while i < n:
            row[i] = bias[i]
            i += 1
        ix = ox * r.sw - r.pl
        left = 0
        right = kw
        if ix < 0:
            left = -ix
        if right > r.iw - ix:
            right = r.iw - ix
        plane = 0
        while plane < 2:
            if s[AT + FIELD.w + plane] and left < right:
                nk = r.ic
                s.kept = 0
                if plane:
                    nk = r.nk
                    s.kept = ref.kept
                s.nk = nk
                fill = 0
                ky = top
                while ky < bottom:
                    done = 0
                    total = (right - left) * nk
                    while done < total:
                        part = total - done
                        if part > N - fill:
                            part = N - fill
                        if fill == 0:
                            s.weights = s[AT + FIELD.w + plane] + ((o * kh + ky) * kw + left) * nk + done
                        expand(words, ((iy + ky) * r.iw + ix + left) * r.ic, done, fill, part)
                        fill += part
                        done += part
                        if fill == N or (done == total and (right - left < kw or ky + 1 == bottom)):
                            dots(0, 0, 0, words, fill, n, kh * kw * nk)
                            fill = 0
                    ky += 1
            plane += 1
        put_row(words, o, 1, (oy * r.ow + ox) * r.oc + o, 1, n)
        ox += 1


@kernel
def conv_fwd(mem, off: int) -> int:
    """y (oh, ow, oc) from x (ih, iw, ic), up to N outputs of a position at a time."""
    s.y = ref.y
    s.input = ref.x
    s.mult = ref.mult
    s.shift = ref.shift
    s.mask = ref.mask
    s.ic = r.ic
    s.zx = r.zx
    s.zero = r.zy
    s.low = r.lo
    s.high = r.hi
    s.once = r.once
    o = 0
    while o < r.oc:
        n = r.oc - o
        if n > N:
            n = N
        oy = 0
        while oy < r.oh:
            conv_row(words, o, n, oy)
            oy += 1
        o += n
    return 0


@reads("conv_dx")
def spread(p: ptr32, q: ptr8, d: int, words, oy: int, ox: int, ky: int, kx: int, at: int):
    """The row of input channels += d * w for every output channel at (oy, ox), through tap (ky, kx).

    d is the error times its channel's multiplier. As in dots, w + 128 is used and 128 times the sum of d
    taken off.
    """
    gy = ptr8(origin + ref.gy + (oy * r.ow + ox) * r.oc)
    m = ptr16(origin + ref.m)
    row = ptr32(origin + ref.row)
    oc = r.oc
    shift = r.m_shift
    half = 0
    if shift:
        half = 1 << (shift - 1)  # |gy * m| < 2^22
    plane = 0
    while plane < 2:
        if s[AT + FIELD.w + plane]:
            n = r.ic
            if plane:
                n = r.nk
            packed = plane == 1 and ref.kept != 0
            kept = ptr16(m)
            if packed:
                kept = ptr16(origin + ref.kept)
            w = origin + s[AT + FIELD.w + plane] + (ky * r.kw + kx) * n
            apart = r.kh * r.kw * n
            total = 0
            o = 0
            while o < oc:
                d = (signed(gy[o]) * signed16(m[o]) + half) >> shift
                total += d
                if d:
                    p = ptr32(row)
                    q = ptr8(w)
                    if packed:
                        i = 0
                        while i < n:
                            c = kept[i]
                            p[c] = p[c] + d * plus128(q[0])
                            q = ptr8(int(q) + 1)
                            i += 1
                    else:
                        i = n >> 2
                        while i:
                            p[0] = p[0] + d * plus128(q[0])
                            p[1] = p[1] + d * plus128(q[1])
                            p[2] = p[2] + d * plus128(q[2])
                            p[3] = p[3] + d * plus128(q[3])
                            p = ptr32(int(p) + 16)
                            q = ptr8(int(q) + 4)
                            i -= 1
                        i = n & 3
                        while i:
                            p[0] = p[0] + d * plus128(q[0])
                            p = ptr32(int(p) + 4)
                            q = ptr8(int(q) + 1)
                            i -= 1
                w += apart
                o += 1
            total = total << 7
            i = 0
            while i < n and total:
                c = i
                if packed:
                    c = kept[i]
                row[c] = row[c] - total
                i += 1
        plane += 1


@kernel
def conv_dx(mem, off: int) -> int:
    """The error of x (ih, iw, ic) from gy (oh, ow, oc)."""
    error_open(words, FIELD.g, FIELD.gy_exp, word(r.m_exp) + r.m_shift)
    windows(words, FIELD.ih, FIELD.row, spread)
    return 0


@reads("conv_dw")
def correlate(p: ptr32, q: ptr8, g: int, words, o: int, ky: int, kx: int, first: int, n: int):
    """Row = sum over positions of gy * (x - zx), for kept channels first .. first + n.

    It is the gradient at output channel o and kernel position (ky, kx). As in dots, x + 128 is used and the
    rest taken off at the end.
    """
    row = scratch(ROW)
    gy = ptr8(origin + ref.gy + o)
    x = origin + ref.x
    packed = ref.kept
    kept = ptr16(s)
    if packed:
        kept = ptr16(origin + ref.kept + 2 * first)
    else:
        x += first
    oc = r.oc
    total = 0
    oy = 0
    while oy < r.oh:
        iy = oy * r.sh - r.pt + ky
        ox = 0
        while ox < r.ow and iy >= 0 and iy < r.ih:
            ix = ox * r.sw - r.pl + kx
            g = signed(gy[(oy * r.ow + ox) * oc])
            if g and ix >= 0 and ix < r.iw:
                total += g
                p = ptr32(row)
                q = ptr8(x + (iy * r.iw + ix) * r.ic)
                if packed:
                    i = 0
                    while i < n:
                        p[0] = p[0] + g * plus128(q[kept[i]])
                        p = ptr32(int(p) + 4)
                        i += 1
                else:
                    i = n >> 2
                    while i:
                        p[0] = p[0] + g * plus128(q[0])
                        p[1] = p[1] + g * plus128(q[1])
                        p[2] = p[2] + g * plus128(q[2])
                        p[3] = p[3] + g * plus128(q[3])
                        p = ptr32(int(p) + 16)
                        q = ptr8(int(q) + 4)
                        i -= 1
                    i = n & 3
                    while i:
                        p[0] = p[0] + g * plus128(q[0])
                        p = ptr32(int(p) + 4)
                        q = ptr8(int(q) + 1)
                        i -= 1
            ox += 1
        oy += 1
    total *= word(r.zx) + 128
    i = 0
    while i < n:
        row[i] = row[i] - total
        i += 1


@kernel
def conv_dw(mem, off: int) -> int:
    """The gradient of the trained plane (oc, kh, kw, nk), at once turned into its update."""
    update_open(words)
    nk = r.nk
    j = 0
    o = 0
    while o < r.oc:
        ky = 0
        while ky < r.kh:
            kx = 0
            while kx < r.kw:
                first = 0
                while first < nk:
                    n = nk - first
                    if n > N:
                        n = N
                    clear(0, words, s.words + 4 * ROW, n)
                    correlate(0, 0, 0, words, o, ky, kx, first, n)
                    update_row(words, j, o, 0, n)
                    j += n
                    first += n
                kx += 1
            ky += 1
        o += 1
    return 0
