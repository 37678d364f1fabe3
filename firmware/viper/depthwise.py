"""Depthwise convolutions: outputs, input errors, weight gradients.

A usual channel goes through bands.py. What does not fit there (large kernels, strides of an error, a channel
multiplier, a large bias) takes the plain loops here, row by row.
"""

from .bands import bands, is_usual, plan_bands
from .error import error_close, error_open, error_row, last_output
from .idioms import *
from .rows import clear, put_row
from .update import update_open, update_row


@helper
def channel_weights(words, first: Field, nk: int, o: int, oc: int) -> int:
    """Set s.weights to channel o in the trained plane, else in the frozen tensor.

    Returns how far apart its weights lie. The fields w, k and kept start at `first`. s.weights is 0 where the
    channel has no weights in either.
    """
    kept = ptr16(origin + s[AT + WEIGHTS.kept + first])
    s.weights = 0
    j = 0
    while j < nk and s[AT + WEIGHTS.k + first]:
        c = j
        if s[AT + WEIGHTS.kept + first]:
            c = kept[j]
        if c == o:
            s.weights = s[AT + WEIGHTS.k + first] + j
            return nk
        j += 1
    if s[AT + WEIGHTS.w + first]:
        s.weights = s[AT + WEIGHTS.w + first] + o
    return oc


@helper
def channel_input(words, x: Field, plane: Field, channel: int, step: int, n: int) -> int:
    """Set s.input to a channel in field x; return how far apart its numbers lie.

    There are n, `step` apart. Where the record has memory for it (field `plane`), the channel is copied
    there, and its numbers lie together.
    """
    s.input = s[AT + x] + channel
    if plane == 0 or s[AT + plane] == 0:
        return step
    p = ptr8(origin + s.input)
    s.input = s[AT + plane]
    q = ptr8(origin + s.input)
    while n:
        q[0] = p[0]
        p = ptr8(int(p) + step)
        q = ptr8(int(q) + 1)
        n -= 1
    return 1


@reads("depthwise_fwd")
def depthwise_row(p: ptr8, q: ptr8, a: int, words, step: int, apart: int, oy: int, ox: int, n: int):
    """row[0 .. n) += sums of one channel's outputs from (oy, ox) on.

    Its inputs lie `step` apart, its weights `apart`.
    """
    row = scratch(ROW)
    inputs = origin + s.input
    weights = origin + s.weights
    zero = word(r.zx) + 128
    kw = r.kw
    iy = oy * r.sh - r.pt
    top = 0
    bottom = r.kh
    if iy < 0:
        top = -iy
    if bottom > r.ih - iy:
        bottom = r.ih - iy
    while n:
        ix = ox * r.sw - r.pl
        left = 0
        right = kw
        if ix < 0:
            left = -ix
        if right > r.iw - ix:
            right = r.iw - ix
        a = 0
        ky = top
        while ky < bottom:
            p = ptr8(inputs + ((iy + ky) * r.iw + ix + left) * step)
            q = ptr8(weights + (ky * kw + left) * apart)
            i = right - left
            while i > 0:
                a += (plus128(p[0]) - zero) * signed(q[0])
                p = ptr8(int(p) + step)
                q = ptr8(int(q) + apart)
                i -= 1
            ky += 1
        row[0] = row[0] + a
        row = ptr32(int(row) + 4)
        ox += 1
        n -= 1


@kernel
def depthwise_fwd(mem, off: int) -> int:
    """y (oh, ow, oc) from x (ih, iw, ic), where oc is a multiple of ic."""
    row = scratch(ROW)
    s.y = ref.y
    s.mult = ref.mult
    s.shift = ref.shift
    s.mask = ref.mask
    s.zero = r.zy
    s.low = r.lo
    s.high = r.hi
    s.once = 0
    s.zx = r.zx
    s.scale = 1
    s.cut = 0
    i = 0
    while i < 12:
        s[Scratch.ih + i] = r[FIELD.ih + i]
        i += 1
    plan_bands(words)
    bias = ptr32(origin + ref.bias)
    oc = r.oc
    many = oc // r.ic
    o = 0
    while o < oc:
        step = int(channel_input(words, FIELD.x, FIELD.plane, o // many, r.ic, r.ih * r.iw))
        apart = int(channel_weights(words, FIELD.w, r.nk, o, oc))
        oy = 0
        if s.band_columns and int(is_usual(words, o)):
            s.input_step = step
            s.weight_step = apart
            bands(words, o, 0)
            oy = r.oh
        while oy < r.oh:
            ox = 0
            while ox < r.ow:
                n = r.ow - ox
                if n > N:
                    n = N
                i = 0
                while i < n:
                    row[i] = bias[o]
                    i += 1
                if s.weights:
                    depthwise_row(0, 0, 0, words, step, apart, oy, ox, n)
                put_row(words, o, 0, (oy * r.ow + ox) * oc + o, oc, n)
                ox += n
            oy += 1
        o += 1
    return 0


@reads("depthwise_dx")
def depthwise_back(p: ptr8, q: ptr8, a: int, words, step: int, apart: int, o: int, iy: int, ix: int, n: int):
    """row[0 .. n) += what output channel o sends back to the inputs from (iy, ix) on.

    Its errors lie `step` apart, its weights `apart`.
    """
    row = scratch(ROW)
    errors = origin + s.input
    weights = origin + s.weights
    m = ptr16(origin + ref.m)
    scale = signed16(m[o])
    shift = r.m_shift
    half = 0
    if shift:
        half = 1 << (shift - 1)  # |gy * m| < 2^22
    top = int(last_output(iy + r.pt, r.sh, r.oh))
    while n:
        left = ix + r.pl
        if r.sw > 1 or left >= r.ow:
            left = int(last_output(left, r.sw, r.ow))
        a = 0
        oy = top
        ky = iy + r.pt - oy * r.sh
        while oy >= 0 and ky < r.kh:
            ox = left
            kx = ix + r.pl - ox * r.sw
            p = ptr8(errors + (oy * r.ow + ox) * step)
            q = ptr8(weights + (ky * r.kw + kx) * apart)
            while ox >= 0 and kx < r.kw:
                a += ((signed(p[0]) * scale + half) >> shift) * signed(q[0])
                p = ptr8(int(p) - step)
                q = ptr8(int(q) + r.sw * apart)
                kx += r.sw
                ox -= 1
            ky += r.sh
            oy -= 1
        row[0] = row[0] + a
        row = ptr32(int(row) + 4)
        ix += 1
        n -= 1


@kernel
def depthwise_dx(mem, off: int) -> int:
    """The error of x (ih, iw, ic) from gy (oh, ow, oc)."""
    oc = r.oc
    many = oc // r.ic
    error_open(words, FIELD.g, FIELD.gy_exp, word(r.m_exp) + r.m_shift)
    row = s.words + 4 * ROW
    plane = FIELD.plane
    if many > 1:
        plane = 0
    m = ptr16(origin + ref.m)
    s.ih = r.oh  # a convolution of the errors, with the weights the other way round
    s.iw = r.ow
    s.oh = r.ih
    s.ow = r.iw
    s.oc = r.ic
    s.kh = r.kh
    s.kw = r.kw
    s.sh = 1
    s.sw = 1
    s.pt = r.kh - 1 - r.pt
    s.pl = r.kw - 1 - r.pl
    s.zx = 0
    s.cut = r.m_shift
    plan_bands(words)
    usual = s.band_columns and many == 1 and r.sh == 1 and r.sw == 1
    i = 0
    while i < r.ic:
        step = oc
        iy = 0
        if usual:
            s.input_step = int(channel_input(words, FIELD.gy, plane, i, oc, r.oh * r.ow))
            apart = int(channel_weights(words, FIELD.w, r.nk, i, oc))
            if s.weights:
                s.weights = s.weights + (r.kh * r.kw - 1) * apart
                s.weight_step = -apart
                s.scale = signed16(m[i])
                bands(words, i, 1)
                iy = r.ih
        while iy < r.ih:
            ix = 0
            while ix < r.iw:
                n = r.iw - ix
                if n > N:
                    n = N
                clear(0, words, row, n)
                o = i * many
                while o < (i + 1) * many:
                    if plane == 0 or iy + ix == 0:
                        step = int(channel_input(words, FIELD.gy, plane, o, oc, r.oh * r.ow))
                    apart = int(channel_weights(words, FIELD.w, r.nk, o, oc))
                    if s.weights:
                        depthwise_back(0, 0, 0, words, step, apart, o, iy, ix, n)
                    o += 1
                error_row(words, row, (iy * r.iw + ix) * r.ic + i, r.ic, n)
                ix += n
            iy += 1
        i += 1
    error_close(words)
    return 0


@reads("depthwise_dw")
def correlate_depthwise(p: ptr8, q: ptr8, a: int, words, ky: int, kx: int, first: int, n: int):
    """Row = sum over positions of gy * (x - zx) at tap (ky, kx), for kept channels first .. first + n."""
    row = scratch(ROW)
    gy = origin + ref.gy
    x = origin + ref.x
    kept = ptr16(s)
    packed = ref.kept
    if packed:
        kept = ptr16(origin + ref.kept)
    zero = word(r.zx) + 128
    many = r.oc // r.ic
    right = r.sw * r.ic
    i = 0
    while i < n:
        c = first + i
        if packed:
            c = kept[c]
        from_x = c
        if many > 1:
            from_x = c // many
        a = 0
        oy = 0
        while oy < r.oh:
            iy = oy * r.sh - r.pt + ky
            ix = kx - r.pl
            p = ptr8(gy + oy * r.ow * r.oc + c)
            q = ptr8(x + (iy * r.iw + ix) * r.ic + from_x)
            ox = r.ow
            while ox and iy >= 0 and iy < r.ih:
                if ix >= 0 and ix < r.iw:
                    a += signed(p[0]) * (plus128(q[0]) - zero)
                p = ptr8(int(p) + r.oc)
                q = ptr8(int(q) + right)
                ix += r.sw
                ox -= 1
            oy += 1
        row[i] = a
        i += 1


@kernel
def depthwise_dw(mem, off: int) -> int:
    """The gradient of the trained plane (kh, kw, nk), at once turned into its update."""
    update_open(words)
    s.kept = ref.kept
    nk = r.nk
    j = 0
    ky = 0
    while ky < r.kh:
        kx = 0
        while kx < r.kw:
            first = 0
            while first < nk:
                n = nk - first
                if n > N:
                    n = N
                correlate_depthwise(0, 0, 0, words, ky, kx, first, n)
                update_row(words, j, -1, first, n)
                j += n
                first += n
            kx += 1
        ky += 1
    return 0
