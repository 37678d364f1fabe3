"""Every kernel in plain Python: the specification that the other tiers must equal, bit for bit.

A kernel is called with the four memory spaces and the byte offset of its record, and returns an int.
Spaces are arrays of int8 ('b'); the steps are an array of int32 ('i'). Forward stands next to backward.
Shapes: x (ih, iw, ic), y (oh, ow, oc), conv weights (oc, kh, kw, ic), depthwise weights (kh, kw, oc).
A trained slice of the weights is a plane k packed by the index list `kept`. It adds to the frozen w (which may hold
zeros there), the sum within int8; depthwise, it replaces w.
An error tensor g is int8 with one exponent: its real value is g * 2^exp.
What is written may lie at the address of what is read where each element (depthwise: each channel) is read before it is
written: add, tables, requantize, softmax; g upon its addend, and upon gy or x where elements match.
"""

import struct

from ..format import OFFSET_MASK, RECORDS, SPACE_SHIFT, fields

NULL = -1
_INT32_MAX = 0x7FFFFFFF
_BIAS_MAX = 1 << 29  # trained biases stay below it, so that sum + bias < 2^31
_COUNT = [len(fields(row[1])) for row in RECORDS]


# -- fixed point -----------------------------------------------------------------------------------------------------


def rsh(v, s):
    """v / 2^s to the nearest, ties up; s <= 0 leaves v, s > 31 gives 0."""
    if s <= 0:
        return v
    return (v + (1 << (s - 1))) >> s if s < 32 else 0


def wrap32(v):
    return ((v + 0x80000000) & 0xFFFFFFFF) - 0x80000000


def clamp(v, lo, hi):
    return lo if v < lo else hi if v > hi else v


def bit_length(v):
    n = 0
    while v:
        v >>= 1
        n += 1
    return n


def high31(a, m):
    """a * m / 2^31 to the nearest, ties up."""
    return (a * m + (1 << 30)) >> 31


def rsh_away(v, s):
    """v / 2^s to the nearest, ties away from zero; s <= 0 leaves v, s > 31 gives 0."""
    if s <= 0:
        return v
    return (v + (1 << (s - 1)) + (v >> 31)) >> s if s < 32 else 0


def requant(a, m, shift):
    """TensorFlow Lite's double rounding: a * m * 2^(shift - 31), m in [2^30, 2^31)."""
    if shift > 0:
        a = wrap32(a << (shift & 31))
        shift = 0
    return rsh_away(high31(a, m), -shift)


def requant_once(a, m, shift):
    """TensorFlow Lite's single rounding, of its fully connected kernel."""
    total = (31 - shift) & 63
    return wrap32((a * m + (1 << total >> 1)) >> total)


def shifted(v, s, limit):
    """v / 2^s to the nearest, saturated at +-limit; s < 0 shifts left."""
    return clamp(rsh(v, s) if s >= 0 else v << min(-s, 31), -limit, limit)


# -- memory ----------------------------------------------------------------------------------------------------------


def _record(mem, off):
    words = mem[3]
    i = off >> 2
    return words[i + 1 : i + 1 + _COUNT[words[i]]]


def _at(mem, ref):
    return mem[ref >> SPACE_SHIFT], ref & OFFSET_MASK


def _ints(mem, ref, n, code):
    buf, o = _at(mem, ref)
    return struct.unpack_from("<%d%s" % (n, code), buf, o)


def _get(mem, ref):
    return _ints(mem, ref, 1, "i")[0]


def _put(mem, ref, *values):
    buf, o = _at(mem, ref)
    struct.pack_into("<%di" % len(values), buf, o, *values)


def _bit(buf, o, i):
    return (buf[o + (i >> 3)] >> (i & 7)) & 1


def _put_bit(buf, o, i, bit):
    byte = buf[o + (i >> 3)] & 255
    byte = byte | 1 << (i & 7) if bit else byte & ~(1 << (i & 7))
    buf[o + (i >> 3)] = byte - 256 if byte > 127 else byte


def _kept(mem, ref, n):
    return range(n) if ref == NULL else _ints(mem, ref, n, "H")


def _taps(o, stride, pad, size, k):
    """Kernel positions that fall inside the input, for output o along one axis: (position, input index)."""
    return [(t, o * stride - pad + t) for t in range(k) if 0 <= o * stride - pad + t < size]


def _back_taps(i, stride, pad, size, k):
    """The same seen from input i: (position, output index)."""
    return [
        (t, (i + pad - t) // stride)
        for t in range(k)
        if i + pad - t >= 0 and (i + pad - t) % stride == 0 and (i + pad - t) // stride < size
    ]


def _store(mem, y, mask, i, v, lo, hi):
    buf, o = _at(mem, y)
    buf[o + i] = clamp(v, lo, hi)
    if mask != NULL:
        buf, o = _at(mem, mask)
        _put_bit(buf, o, i, lo <= v <= hi)


# -- forward ---------------------------------------------------------------------------------------------------------


def conv_fwd(mem, off):
    """acc = bias + sum (x - zx) * w; |sum| <= 255 * 127 * kh * kw * ic < 2^30 for 33,000 terms."""
    (
        y,
        x,
        w,
        k,
        kept,
        bias,
        mult,
        shift,
        mask,
        ih,
        iw,
        ic,
        oh,
        ow,
        oc,
        kh,
        kw,
        sh,
        sw,
        pt,
        pl,
        nk,
        zx,
        zy,
        lo,
        hi,
        once,
    ) = _record(mem, off)[:-2]
    xb, xo = _at(mem, x)
    biases, mults, (sb, so) = _ints(mem, bias, oc, "i"), _ints(mem, mult, oc, "i"), _at(mem, shift)
    planes = []  # (buffer, offset, channels)
    if w != NULL:
        planes.append(_at(mem, w) + (range(ic),))
    if k != NULL:
        planes.append(_at(mem, k) + (_kept(mem, kept, nk),))
    scale = requant_once if once else requant
    for oy in range(oh):
        rows = _taps(oy, sh, pt, ih, kh)
        for ox in range(ow):
            taps = [
                (r * kw + c, xo + (iy * iw + ix) * ic)
                for r, iy in rows
                for c, ix in _taps(ox, sw, pl, iw, kw)
            ]
            for o in range(oc):
                acc = biases[o]
                for wb, wo, channels in planes:
                    n = len(channels)
                    for tap, px in taps:
                        pw = wo + (o * kh * kw + tap) * n
                        for i in channels:
                            acc += (xb[px + i] - zx) * wb[pw]
                            pw += 1
                v = scale(wrap32(acc), mults[o], sb[so + o]) + zy
                _store(mem, y, mask, (oy * ow + ox) * oc + o, v, lo, hi)
    return 0


def conv_dx(mem, off):
    """dx = sum d * w with d = rsh(gy * m, m_shift), |d| < 2^14; the host keeps |dx| below 2^30 by m_shift."""
    (gy, w, k, kept, m, row, gy_exp, ih, iw, ic, oh, ow, oc, kh, kw, sh, sw, pt, pl, nk, m_shift, m_exp) = (
        _record(mem, off)[:22]
    )
    gb, go = _at(mem, gy)
    ms = _ints(mem, m, oc, "h")
    planes = []
    if w != NULL:
        planes.append(_at(mem, w) + (range(ic),))
    if k != NULL:
        planes.append(_at(mem, k) + (_kept(mem, kept, nk),))
    out = _ErrorOut(mem, off, _get(mem, gy_exp) + m_exp + m_shift, 22)
    for iy in range(ih):
        rows = _back_taps(iy, sh, pt, oh, kh)
        for ix in range(iw):
            acc = [0] * ic
            for r, oy in rows:
                for c, ox in _back_taps(ix, sw, pl, ow, kw):
                    p = go + (oy * ow + ox) * oc
                    for o in range(oc):
                        d = rsh(gb[p + o] * ms[o], m_shift)
                        if not d:
                            continue
                        for wb, wo, channels in planes:
                            pw = wo + ((o * kh + r) * kw + c) * len(channels)
                            for i in channels:
                                acc[i] += d * wb[pw]
                                pw += 1
            out.row((iy * iw + ix) * ic, acc)
    return out.close()


def conv_dw(mem, off):
    """dw = sum over positions of gy * (x - zx), |dw| <= 127 * 255 * oh * ow < 2^31 for 65,536 positions."""
    (
        gy,
        x,
        kept,
        gy_exp,
        k,
        r,
        acc,
        u,
        lr,
        rng,
        residual,
        pre,
        ih,
        iw,
        ic,
        oh,
        ow,
        oc,
        kh,
        kw,
        sh,
        sw,
        pt,
        pl,
        nk,
        zx,
    ) = _record(mem, off)[:-2]
    gb, go = _at(mem, gy)
    xb, xo = _at(mem, x)
    channels = _kept(mem, kept, nk)
    update = _Update(mem, k, r, acc, lr, rng, residual, pre, _get(mem, gy_exp))
    us = _ints(mem, u, oc, "H")
    j = 0
    for o in range(oc):
        for ky in range(kh):
            for kx in range(kw):
                pairs = [
                    (go + (oy * ow + ox) * oc + o, xo + ((oy * sh - pt + ky) * iw + ox * sw - pl + kx) * ic)
                    for oy in range(oh)
                    if 0 <= oy * sh - pt + ky < ih
                    for ox in range(ow)
                    if 0 <= ox * sw - pl + kx < iw
                ]
                for i in channels:
                    dw = 0
                    for p, q in pairs:
                        dw += gb[p] * (xb[q + i] - zx)
                    update(j, dw, us[o])
                    j += 1
    return 0


def depthwise_fwd(mem, off):
    """With a `plane` for one channel, y may lie where x lies: a channel is read before it is written."""
    (
        y,
        x,
        w,
        k,
        kept,
        bias,
        mult,
        shift,
        mask,
        plane,
        ih,
        iw,
        ic,
        oh,
        ow,
        oc,
        kh,
        kw,
        sh,
        sw,
        pt,
        pl,
        nk,
        zx,
        zy,
        lo,
        hi,
    ) = _record(mem, off)[:-2]
    xb, xo = _at(mem, x)
    biases, mults, (sb, so) = _ints(mem, bias, oc, "i"), _ints(mem, mult, oc, "i"), _at(mem, shift)
    weights = _depthwise_weights(mem, w, k, kept, nk, kh * kw, oc)
    many = oc // ic
    for o in range(oc):
        channel = [xb[xo + p * ic + o // many] for p in range(ih * iw)]
        for oy in range(oh):
            rows = _taps(oy, sh, pt, ih, kh)
            for ox in range(ow):
                acc = biases[o]
                for c, ix in _taps(ox, sw, pl, iw, kw):
                    for r, iy in rows:
                        acc += (channel[iy * iw + ix] - zx) * weights[(r * kw + c) * oc + o]
                v = requant(wrap32(acc), mults[o], sb[so + o]) + zy
                _store(mem, y, mask, (oy * ow + ox) * oc + o, v, lo, hi)
    return 0


def depthwise_dx(mem, off):
    """With a `plane` for one channel, g may lie where gy lies."""
    (gy, w, k, kept, m, plane, gy_exp, ih, iw, ic, oh, ow, oc, kh, kw, sh, sw, pt, pl, nk, m_shift, m_exp) = (
        _record(mem, off)[:22]
    )
    gb, go = _at(mem, gy)
    ms = _ints(mem, m, oc, "h")
    weights = _depthwise_weights(mem, w, k, kept, nk, kh * kw, oc)
    many = oc // ic
    out = _ErrorOut(mem, off, _get(mem, gy_exp) + m_exp + m_shift, 22)
    for i in range(ic):
        outputs = range(i * many, i * many + many)
        channels = [[rsh(gb[go + p * oc + o] * ms[o], m_shift) for p in range(oh * ow)] for o in outputs]
        for iy in range(ih):
            rows = _back_taps(iy, sh, pt, oh, kh)
            for ix in range(iw):
                acc = 0
                for c, ox in _back_taps(ix, sw, pl, ow, kw):
                    for r, oy in rows:
                        for o, channel in zip(outputs, channels):
                            acc += channel[oy * ow + ox] * weights[(r * kw + c) * oc + o]
                out.row((iy * iw + ix) * ic + i, [acc])
    return out.close()


def depthwise_dw(mem, off):
    (
        gy,
        x,
        kept,
        gy_exp,
        k,
        r,
        acc,
        u,
        lr,
        rng,
        residual,
        pre,
        ih,
        iw,
        ic,
        oh,
        ow,
        oc,
        kh,
        kw,
        sh,
        sw,
        pt,
        pl,
        nk,
        zx,
    ) = _record(mem, off)[:-2]
    gb, go = _at(mem, gy)
    xb, xo = _at(mem, x)
    channels = _kept(mem, kept, nk)
    update = _Update(mem, k, r, acc, lr, rng, residual, pre, _get(mem, gy_exp))
    us = _ints(mem, u, oc, "H")
    many = oc // ic
    j = 0
    for ky in range(kh):
        for kx in range(kw):
            pairs = [
                (go + (oy * ow + ox) * oc, xo + ((oy * sh - pt + ky) * iw + ox * sw - pl + kx) * ic)
                for oy in range(oh)
                if 0 <= oy * sh - pt + ky < ih
                for ox in range(ow)
                if 0 <= ox * sw - pl + kx < iw
            ]
            for o in channels:
                dw = 0
                for p, q in pairs:
                    dw += gb[p + o] * (xb[q + o // many] - zx)
                update(j, dw, us[o])
                j += 1
    return 0


def _depthwise_weights(mem, w, k, kept, nk, taps, oc):
    wb, wo = _at(mem, w) if w != NULL else (None, 0)
    weights = [wb[wo + i] if w != NULL else 0 for i in range(taps * oc)]
    if k != NULL:
        kb, ko = _at(mem, k)
        for j, o in enumerate(_kept(mem, kept, nk)):
            for tap in range(taps):
                weights[tap * oc + o] = kb[ko + tap * nk + j]
    return weights


def bias_dw(mem, off):
    """db = sum over positions of gy; a bias moves by whole units of s_w * s_x, so it needs no residual."""
    gy, gy_exp, bias, acc, u, lr, n, oc = _record(mem, off)
    gb, go = _at(mem, gy)
    us = _ints(mem, u, oc, "H")
    rate, rate_shift = _ints(mem, lr, 2, "i")
    exp = _get(mem, gy_exp)
    target = bias if acc == NULL else acc
    for o in range(oc):
        db = 0
        for p in range(n):
            db += gb[go + p * oc + o]
        t, s = _scaled(db, 0, us[o], rate, rate_shift)
        if not t:
            continue
        delta = shifted(t, s - exp, 1 << 28)
        old = _get(mem, target + 4 * o)
        new = old - delta if acc == NULL else old + delta
        _put(mem, target + 4 * o, clamp(new, -_BIAS_MAX, _BIAS_MAX))
    return 0


def add_fwd(mem, off):
    """Both inputs to a common scale with 20 more bits, summed, scaled to the output."""
    (y, x, x2, mask, n, zx, zx2, zy, mult, shift, mult2, shift2, mult_y, shift_y, lo, hi) = _record(mem, off)
    ab, ao = _at(mem, x)
    bb, bo = _at(mem, x2)
    for i in range(n):
        a = requant((ab[ao + i] - zx) << 20, mult, shift)
        b = requant((bb[bo + i] - zx2) << 20, mult2, shift2)
        _store(mem, y, mask, i, requant(a + b, mult_y, shift_y) + zy, lo, hi)
    return 0


def scale_dx(mem, off):
    """Error of one input of add (m from the scales), pad or concat (m = 128): a window of gy times m / 128."""
    (gy, gy_exp, row, ih, iw, ic, yh, yw, yc, top, left, first, m, m_exp) = _record(mem, off)[:14]
    gb, go = _at(mem, gy)
    out = _ErrorOut(mem, off, _get(mem, gy_exp) + m_exp + 7)
    for iy in range(ih):
        for ix in range(iw):
            p = go + ((iy + top) * yw + ix + left) * yc + first
            out.row((iy * iw + ix) * ic, [rsh(gb[p + i] * m, 7) for i in range(ic)])
    return out.close()


def copy_fwd(mem, off):
    """x into a window of y: pad (fill is the zero point) and concat (fill 256: leave the rest)."""
    y, x, ih, iw, ic, yh, yw, yc, top, left, first, fill = _record(mem, off)
    yb, yo = _at(mem, y)
    xb, xo = _at(mem, x)
    if fill != 256:
        for i in range(yh * yw * yc):
            yb[yo + i] = fill - 256 if fill > 127 else fill
    for iy in range(ih):
        for ix in range(iw):
            p = yo + ((iy + top) * yw + ix + left) * yc + first
            q = xo + (iy * iw + ix) * ic
            for i in range(ic):
                yb[p + i] = xb[q + i]
    return 0


def avg_pool_fwd(mem, off):
    """Ties away from zero; pads are not counted."""
    y, x, ih, iw, ic, oh, ow, oc, kh, kw, sh, sw, pt, pl, lo, hi = _record(mem, off)
    xb, xo = _at(mem, x)
    for oy in range(oh):
        for ox in range(ow):
            taps = [
                xo + (iy * iw + ix) * ic
                for _, iy in _taps(oy, sh, pt, ih, kh)
                for _, ix in _taps(ox, sw, pl, iw, kw)
            ]
            n = len(taps) or 1
            for i in range(ic):
                a = 0
                for q in taps:
                    a += xb[q + i]
                a = (a + n // 2) // n if a > 0 else -((n // 2 - a) // n)
                _store(mem, y, NULL, (oy * ow + ox) * ic + i, a, lo, hi)
    return 0


def mean_fwd(mem, off):
    y, x, mask, n, ic, zx, zy, mult, shift = _record(mem, off)
    xb, xo = _at(mem, x)
    for i in range(ic):
        a = 0
        for p in range(n):
            a += xb[xo + p * ic + i]
        _store(mem, y, mask, i, requant(a - n * zx, mult, shift) + zy, -128, 127)
    return 0


def avg_dx(mem, off):
    """Average pool and mean: gy times m[count - 1] spread over the window that it came from."""
    (gy, m, row, gy_exp, ih, iw, ic, oh, ow, oc, kh, kw, sh, sw, pt, pl, m_exp) = _record(mem, off)[:17]
    gb, go = _at(mem, gy)
    ms = _ints(mem, m, kh * kw, "h")
    out = _ErrorOut(mem, off, _get(mem, gy_exp) + m_exp + 7)
    for iy in range(ih):
        for ix in range(iw):
            acc = [0] * ic
            for _, oy in _back_taps(iy, sh, pt, oh, kh):
                for _, ox in _back_taps(ix, sw, pl, ow, kw):
                    n = len(_taps(oy, sh, pt, ih, kh)) * len(_taps(ox, sw, pl, iw, kw))
                    p = go + (oy * ow + ox) * ic
                    for i in range(ic):
                        acc[i] += rsh(gb[p + i] * ms[n - 1], 7)
            out.row((iy * iw + ix) * ic, acc)
    return out.close()


def max_pool_fwd(mem, off):
    y, x, ih, iw, ic, oh, ow, oc, kh, kw, sh, sw, pt, pl, lo, hi = _record(mem, off)
    xb, xo = _at(mem, x)
    for oy in range(oh):
        for ox in range(ow):
            taps = [
                xo + (iy * iw + ix) * ic
                for _, iy in _taps(oy, sh, pt, ih, kh)
                for _, ix in _taps(ox, sw, pl, iw, kw)
            ]
            for i in range(ic):
                a = -128
                for q in taps:
                    a = max(a, xb[q + i])
                _store(mem, y, NULL, (oy * ow + ox) * ic + i, a, lo, hi)
    return 0


def max_dx(mem, off):
    """The error goes to the first of the largest inputs of each window."""
    (gy, x, row, gy_exp, ih, iw, ic, oh, ow, oc, kh, kw, sh, sw, pt, pl) = _record(mem, off)[:16]
    gb, go = _at(mem, gy)
    xb, xo = _at(mem, x)
    out = _ErrorOut(mem, off, _get(mem, gy_exp))
    for iy in range(ih):
        for ix in range(iw):
            acc = [0] * ic
            here = xo + (iy * iw + ix) * ic
            for _, oy in _back_taps(iy, sh, pt, oh, kh):
                for _, ox in _back_taps(ix, sw, pl, ow, kw):
                    taps = [
                        xo + (jy * iw + jx) * ic
                        for _, jy in _taps(oy, sh, pt, ih, kh)
                        for _, jx in _taps(ox, sw, pl, iw, kw)
                    ]
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


def lut_fwd(mem, off):
    """Any function of one int8: relu, relu6, hard swish, logistic."""
    y, x, table, n = _record(mem, off)
    yb, yo = _at(mem, y)
    xb, xo = _at(mem, x)
    tb, to = _at(mem, table)
    for i in range(n):
        yb[yo + i] = tb[to + xb[xo + i] + 128]
    return 0


def lut_dx(mem, off):
    """gy times the slope at x, in 1/128 of 2^m_exp."""
    gy, x, slope, row, gy_exp, ih, iw, ic, m_exp = _record(mem, off)[:9]
    gb, go = _at(mem, gy)
    xb, xo = _at(mem, x)
    slopes = _ints(mem, slope, 256, "h")
    out = _ErrorOut(mem, off, _get(mem, gy_exp) + m_exp + 7)
    for p in range(0, ih * iw * ic, ic):
        out.row(p, [rsh(gb[go + p + i] * slopes[xb[xo + p + i] + 128], 7) for i in range(ic)])
    return out.close()


def gather(mem, off):
    """Some channels of x, packed: what a partial update keeps of its input."""
    y, x, kept, n, ic, nk = _record(mem, off)
    yb, yo = _at(mem, y)
    xb, xo = _at(mem, x)
    for j, i in enumerate(_kept(mem, kept, nk)):
        for p in range(n):
            yb[yo + p * nk + j] = xb[xo + p * ic + i]
    return 0


def softmax_fwd(mem, off):
    """table: exp of (i - 255) steps of x in Q31. The sum is Q19, at least 1 and for 4,095 terms below 2^31."""
    y, x, table, rows, n = _record(mem, off)
    yb, yo = _at(mem, y)
    xb, xo = _at(mem, x)
    exps = _ints(mem, table, 256, "i")
    for p in range(0, rows * n, n):
        row = [xb[xo + p + i] for i in range(n)]
        top = max(row)
        total = max(sum([rsh_away(exps[255 + v - top], 12) for v in row]), 1)
        up = 32 - bit_length(total)
        inverse = _inverse((total << up) >> 1)
        for i, v in enumerate(row):
            v = rsh_away(high31(inverse, exps[255 + v - top]), 35 - up)
            yb[yo + p + i] = clamp(v - 128, -128, 127)
    return 0


def _inverse(half):
    """1 / (2 * half) in Q31, for half in [1/2, 1) in Q31: Newton's method from 48/17 - 32/17 * half in Q29."""
    z = 1515870810 + high31(half, -1010580540)
    for _ in range(3):
        z += shifted(high31(z, (1 << 29) - high31(half, z)), -2, _INT32_MAX)
    return shifted(z, -1, _INT32_MAX)


def requantize_fwd(mem, off):
    y, x, mask, n, zx, zy, mult, shift = _record(mem, off)
    xb, xo = _at(mem, x)
    for i in range(n):
        _store(mem, y, mask, i, requant(xb[xo + i] - zx, mult, shift) + zy, -128, 127)
    return 0


# -- errors and updates ----------------------------------------------------------------------------------------------


class _ErrorOut:
    """Writes one error tensor: addend brought to the common exponent, producer's mask, tracked shift, int8.

    The shift comes from the tracker (largest exponent seen, relative to this sample's head error, in 1/256 octave),
    so one pass suffices; the tracker then rises to this sample's maximum or decays by 4/256.
    """

    def __init__(self, mem, off, exp, first=-9):
        self.mem = mem
        words = _record(mem, off)[first:]
        (self.g, self.mask, self.add, add_exp, self.mul, add_shift, exp_out, self.track, head_exp) = words[:9]
        self.down = self.up = 0
        if add_exp == NULL:
            self.add = NULL
        if self.add != NULL:
            gap = _get(mem, add_exp) + add_shift + 7 - exp
            self.down = max(0, gap - 14)  # |rsh(addend)| <= 2^15, so << 14 stays below 2^29; |acc| below 2^30
            exp += self.down
            self.up = gap - self.down
        self.base = exp - _get(mem, head_exp)
        self.shift = ((_ints(mem, self.track, 1, "h")[0] + 255) >> 8) - self.base
        self.max = 0
        _put(mem, exp_out, exp + self.shift)

    def row(self, start, acc):
        gb, go = _at(self.mem, self.g)
        for i, v in enumerate(acc):
            i += start
            if self.add != NULL:
                ab, ao = _at(self.mem, self.add)
                t = rsh(ab[ao + i] * self.mul, 7)
                v = rsh(v, self.down) + (t << self.up if self.up >= 0 else rsh(t, min(-self.up, 30)))
            if self.mask != NULL:
                mb, mo = _at(self.mem, self.mask)
                if not _bit(mb, mo, i):
                    v = 0
            self.max = max(self.max, abs(v))
            gb[go + i] = shifted(v, self.shift, 127)

    def close(self):
        if self.max:
            s = bit_length(self.max) - 7
            if s > 0 and rsh(self.max, s) > 127:
                s += 1
            old = _ints(self.mem, self.track, 1, "h")[0]
            new = (self.base + s) << 8
            buf, o = _at(self.mem, self.track)
            struct.pack_into("<h", buf, o, clamp(new if new > old else old - 4, -32000, 32000))
        return 0


def _scaled(v, pre, u, rate, rate_shift):
    """A gradient sum times the channel's QAS multiplier and the rate: (product, shift still to be applied).

    |v| >> pre <= 2^22 and u * rate >> 8 < 2^8, so the product stays below 2^30.
    """
    m = rsh((u & 255) * rate, 8)
    return rsh(v, pre) * m, (u >> 8) - 128 + rate_shift - 8 - pre


class _Update:
    """One weight after another: delta in 2^-residual of a step of int8, rounded, saturated, never wrapped."""

    def __init__(self, mem, k, r, acc, lr, rng, residual, pre, exp):
        self.mem, self.rng, self.bits, self.pre, self.exp = mem, rng, residual, pre, exp
        self.rate, self.rate_shift = _ints(mem, lr, 2, "i")
        self.k, self.r, self.acc = k, r, acc
        self.stochastic = residual != 8 and acc == NULL and rng != NULL

    def __call__(self, j, dw, u):
        t, s = _scaled(dw, self.pre, u, self.rate, self.rate_shift)
        if not t:
            return
        bits = self.bits if self.acc == NULL else 8
        s -= self.exp + bits
        if self.stochastic and s > 0:
            delta = _stochastic(t, s, _random(self.mem, self.rng))
        else:
            delta = shifted(t, s, 127 << bits)
        if self.acc == NULL:
            move_weight(self.mem, self.k, self.r, j, bits, delta)
        else:
            buf, o = _at(self.mem, self.acc)
            old = struct.unpack_from("<h", buf, o + 2 * j)[0]
            struct.pack_into("<h", buf, o + 2 * j, clamp(old + delta, -32767, 32767))


def move_weight(mem, k, r, j, bits, delta):
    """w = k * 2^bits + r; w -= delta, saturated to +-127 * 2^bits; k keeps the nearest int8, r the rest."""
    kb, ko = _at(mem, k)
    limit = 127 << bits
    w = kb[ko + j] << bits
    if bits and r != NULL:
        w += _residual(mem, r, j, bits)
    w = clamp(w - delta, -limit, limit)
    top = rsh(w, bits)
    kb[ko + j] = top
    if bits and r != NULL:
        _put_residual(mem, r, j, bits, w - (top << bits))


def _residual(mem, r, j, bits):
    rb, ro = _at(mem, r)
    if bits == 8:
        return rb[ro + j]
    nibble = (rb[ro + (j >> 1)] >> 4 * (j & 1)) & 15
    return nibble - 16 if nibble > 7 else nibble


def _put_residual(mem, r, j, bits, v):
    rb, ro = _at(mem, r)
    if bits == 4:
        byte = rb[ro + (j >> 1)] & (0x0F if j & 1 else 0xF0)
        v = byte | (v & 15) << 4 * (j & 1)
        j >>= 1
        v = v - 256 if v > 127 else v
    rb[ro + j] = v


def _random(mem, rng):
    """xorshift32 (13, 17, 5); its state is part of the trained state."""
    buf, o = _at(mem, rng)
    x = struct.unpack_from("<I", buf, o)[0]
    x ^= (x << 13) & 0xFFFFFFFF
    x ^= x >> 17
    x ^= (x << 5) & 0xFFFFFFFF
    struct.pack_into("<I", buf, o, x)
    return x


def _stochastic(v, s, x):
    """(v + uniform [0, 2^s)) >> s for |v| < 2^30; more than 30 bits are dropped first."""
    if s > 30:
        v >>= min(s - 30, 31)
        s = 30
    return (v + (x >> (32 - s))) >> s


# A fold takes from each sum all but keep / 256 of it, and moves the weight by what it took: nothing is lost between.
# Each delta so reaches its weight over some folds, a share of 1 - keep / 256 in the first: that is momentum.


def _remains(v, keep):
    """v * keep / 256 toward zero, so that every sum runs dry."""
    return v * keep >> 8 if v >= 0 else -(-v * keep >> 8)


def fold_weights(mem, off):
    k, r, acc, n, residual, keep = _record(mem, off)
    buf, o = _at(mem, acc)
    s = 8 - residual
    for j in range(n):
        total = struct.unpack_from("<h", buf, o + 2 * j)[0]
        delta = rsh(total - _remains(total, keep), s)
        move_weight(mem, k, r, j, residual, delta)
        struct.pack_into("<h", buf, o + 2 * j, total - (delta << s))
    return 0


def fold_bias(mem, off):
    bias, acc, n, keep = _record(mem, off)
    _fold_biases(mem, bias, acc, n, keep)
    return 0


def _fold_biases(mem, bias, acc, n, keep):
    for i in range(0, 4 * n, 4):
        total = _get(mem, acc + i)
        kept = _remains(total, keep)
        _put(mem, bias + i, clamp(_get(mem, bias + i) - (total - kept), -_BIAS_MAX, _BIAS_MAX))
        _put(mem, acc + i, kept)


# -- head and loss ---------------------------------------------------------------------------------------------------


def head_fwd(mem, off):
    """logits = sum w * (x - zx) + bias in units of s_x / 4096; the host limits w so that the sum stays in 32 bits."""
    logits, x, w, bias, n, f, zx, bias_mul, bias_shift = _record(mem, off)
    xb, xo = _at(mem, x)
    best = 0
    top = -0x80000000
    for k in range(n):
        row = _ints(mem, w + 2 * f * k, f, "h")
        a = clamp((_get(mem, bias + 4 * k) * bias_mul) >> bias_shift, -_INT32_MAX, _INT32_MAX)
        for i in range(f):
            a += row[i] * (xb[xo + i] - zx)
        a = clamp(a, -_INT32_MAX, _INT32_MAX)
        _put(mem, logits + 4 * k, a)
        if a > top:
            best, top = k, a
    return best


def softmax_loss(mem, off):
    """Logits become p - y in Q15 by a table of exp(-i/16); returns the loss in 1/1024 nat."""
    logits, label, exp_table, ln_table, n, pre, mul, shift = _record(mem, off)
    values = _ints(mem, logits, n, "i")
    exps = _ints(mem, exp_table, 256, "H")
    label = _get(mem, label)
    top = max(values)
    terms = []
    for v in values:
        d = min(rsh(top - v, pre), 32767)
        i = rsh(d * mul, shift)
        terms.append(exps[i] if i < 256 else 0)
    total = max(sum(terms), 1)
    loss = 0
    for k in range(n):
        p = ((terms[k] << 15) + (total >> 1)) // total
        if k == label:
            loss = _minus_ln(p, _ints(mem, ln_table, 128, "h"))
            p -= 32768
        _put(mem, logits + 4 * k, p)
    return loss


def _minus_ln(p, table):
    """-1024 ln(p / 2^15): octaves times 709.78, less the table at the mantissa's upper 7 bits."""
    if p == 0:
        return 11357  # ln 65536: half of the smallest probability
    octaves = 0
    while p < 32768:
        p <<= 1
        octaves += 1
    return max(0, ((octaves * 45426 + 32) >> 6) - table[(p >> 8) - 128])


def head_dx(mem, off):
    """sums = sum over classes of (w / 2) * err; |.| <= 2^30 since sum |err| <= 2^16. The sample's exponents hang on it."""
    g, err, w, sums, mask, exp, head_exp, n, f, scale, scale_exp = _record(mem, off)
    errors = _ints(mem, err, n, "i")
    acc = [0] * f
    for k in range(n):
        row = _ints(mem, w + 2 * f * k, f, "h")
        for i in range(f):
            acc[i] += (row[i] >> 1) * errors[k]
    if mask != NULL:
        mb, mo = _at(mem, mask)
        acc = [v if _bit(mb, mo, i) else 0 for i, v in enumerate(acc)]
    top = max([abs(v) for v in acc])
    if top == 0:
        return 0
    pre = max(0, bit_length(top) - 22)
    acc = [rsh(v, pre) * scale for v in acc]  # scale has 8 bits: below 2^31
    top = max([abs(v) for v in acc])
    s = bit_length(top) - 7
    if s > 0 and rsh(top, s) > 127:
        s += 1
    gb, go = _at(mem, g)
    for i, v in enumerate(acc):
        gb[go + i] = shifted(v, s, 127)
    _put(mem, exp, pre + scale_exp - 26 + s)
    _put(mem, head_exp, pre + scale_exp - 26 + bit_length(top))
    return 1


def head_dw(mem, off):
    w, bias, acc, acc_bias, err, x, lr, n, f, zx, limit, u, u_shift = _record(mem, off)
    rate, rate_shift = _ints(mem, lr, 2, "i")
    m = min(127, rsh(u * rate, 8))  # |err * x| < 2^23, times 7 bits: below 2^30
    s = u_shift + rate_shift - 8 + 15
    errors = _ints(mem, err, n, "i")
    xb, xo = _at(mem, x)
    buf, o = _at(mem, w if acc == NULL else acc)
    for k in range(n):
        for i in range(f):
            t = errors[k] * (xb[xo + i] - zx) * m
            delta = shifted(t, s, limit)
            at = o + 2 * (k * f + i)
            old = struct.unpack_from("<h", buf, at)[0]
            new = clamp(old - delta, -limit, limit) if acc == NULL else clamp(old + delta, -32767, 32767)
            struct.pack_into("<h", buf, at, new)
        delta = rsh(errors[k] * rate, rate_shift - 1)
        if acc_bias == NULL:
            _put(mem, bias + 4 * k, clamp(_get(mem, bias + 4 * k) - delta, -_BIAS_MAX, _BIAS_MAX))
        else:
            at = acc_bias + 4 * k
            _put(mem, at, clamp(_get(mem, at) + delta, -_BIAS_MAX, _BIAS_MAX))
    return 0


def fold_head(mem, off):
    w, bias, acc, acc_bias, n, f, limit, keep = _record(mem, off)
    wb, wo = _at(mem, w)
    ab, ao = _at(mem, acc)
    for i in range(0, 2 * n * f, 2):
        total = struct.unpack_from("<h", ab, ao + i)[0]
        kept = _remains(total, keep)
        v = struct.unpack_from("<h", wb, wo + i)[0] - (total - kept)
        struct.pack_into("<h", wb, wo + i, clamp(v, -limit, limit))
        struct.pack_into("<h", ab, ao + i, kept)
    _fold_biases(mem, bias, acc_bias, n, keep)
    return 0


def mse_loss(mem, off):
    """Mean squared error in squared steps of the output's int8."""
    y, target, n = _record(mem, off)
    yb, yo = _at(mem, y)
    tb, to = _at(mem, target)
    total = 0
    for i in range(n):
        total += (yb[yo + i] - tb[to + i]) ** 2  # at most 65,025 each
    return (total + n // 2) // n


def mse_dx(mem, off):
    g, y, target, mask, exp, head_exp, n, scale_exp = _record(mem, off)
    gb, go = _at(mem, g)
    yb, yo = _at(mem, y)
    tb, to = _at(mem, target)
    top = 0
    for i in range(n):
        v = clamp(yb[yo + i] - tb[to + i], -127, 127)
        if mask != NULL:
            mb, mo = _at(mem, mask)
            v *= _bit(mb, mo, i)
        gb[go + i] = v
        top = max(top, abs(v))
    _put(mem, exp, scale_exp)
    _put(mem, head_exp, scale_exp + bit_length(top))
    return top


# -- clock -----------------------------------------------------------------------------------------------------------


def begin_step(mem, off):
    """The rate of this step: 64 entries of a cosine from rate to 0 over `total` steps; without a total, the first."""
    lr, clock, cosine, rate, rate_shift = _record(mem, off)
    step, total = _ints(mem, clock, 2, "I")
    if total:
        while total >> 26:  # so that 64 steps stay in 32 bits
            step >>= 1
            total >>= 1
        entry = step * 64 // total if step < total else 63
        v = rate * _ints(mem, cosine, 64, "h")[entry]  # 8 bits times Q15
        s = max(bit_length(v) - 8, 0)
        rate, rate_shift = rsh(v, s), rate_shift + 15 - s
        if rate == 256:
            rate, rate_shift = 128, rate_shift - 1
    _put(mem, lr, rate, rate_shift)
    return 0


def end_step(mem, off):
    (clock,) = _record(mem, off)
    buf, o = _at(mem, clock)
    struct.pack_into("<I", buf, o, (struct.unpack_from("<I", buf, o)[0] + 1) & 0xFFFFFFFF)
    return 0
