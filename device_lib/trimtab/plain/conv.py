"""Convolution and fully connected layers (1x1 on 1x1): forward, error of the input, update of the weights."""

from ..format import NULL
from .error import ERROR_WORDS, ErrorOut
from .fixed import requant, requant_once, rsh, wrap32
from .record import at, get, ints, kept_channels, record, store
from .update import Update
from .window import backward_taps, forward_taps


def _planes(mem, w, k, kept, nk, ic):
    """(buffer, offset, input channels) of the frozen weights and the trained plane; weights are their sum."""
    planes = []
    if w != NULL:
        planes.append(at(mem, w) + (range(ic),))
    if k != NULL:
        planes.append(at(mem, k) + (kept_channels(mem, kept, nk),))
    return planes


def conv_fwd(mem, off):
    """y = requantize(bias + sum of (x - zx) * w).

    |sum| <= 255 * 127 * kh * kw * ic < 2^30 for 33,000 terms.
    """
    # fmt: off
    (y, x, w, k, kept, bias, mult, shift, mask,
     ih, iw, ic, oh, ow, oc, kh, kw, sh, sw, pt, pl,
     nk, zx, zy, lo, hi, once) = record(mem, off)
    # fmt: on
    xb, xo = at(mem, x)
    biases, mults, (sb, so) = ints(mem, bias, oc, "i"), ints(mem, mult, oc, "i"), at(mem, shift)
    planes = _planes(mem, w, k, kept, nk, ic)
    scale = requant_once if once else requant
    for oy in range(oh):
        rows = forward_taps(oy, sh, pt, ih, kh)
        for ox in range(ow):
            taps = [
                (r * kw + c, xo + (iy * iw + ix) * ic)
                for r, iy in rows
                for c, ix in forward_taps(ox, sw, pl, iw, kw)
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
                store(mem, y, mask, (oy * ow + ox) * oc + o, v, lo, hi)
    return 0


def conv_dx(mem, off):
    """dx (ih, iw, ic) = sum of d * w with d = rsh(gy * m, m_shift), |d| < 2^14.

    The host chooses m_shift so that |dx| stays below 2^30. m brings the output channels' scales to one.
    """
    # fmt: off
    (gy, w, k, kept, m, _, gy_exp,
     ih, iw, ic, oh, ow, oc, kh, kw, sh, sw, pt, pl,
     nk, m_shift, m_exp) = record(mem, off)[:-ERROR_WORDS]
    # fmt: on
    gb, go = at(mem, gy)
    ms = ints(mem, m, oc, "h")
    planes = _planes(mem, w, k, kept, nk, ic)
    out = ErrorOut(mem, off, get(mem, gy_exp) + m_exp + m_shift)
    for iy in range(ih):
        rows = backward_taps(iy, sh, pt, oh, kh)
        for ix in range(iw):
            acc = [0] * ic
            for r, oy in rows:
                for c, ox in backward_taps(ix, sw, pl, ow, kw):
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
    """dw (oc, kh, kw, nk) = sum over positions of gy * (x - zx).

    |dw| <= 127 * 255 * oh * ow < 2^31 for 65,536 positions.
    """
    # fmt: off
    (gy, x, kept, gy_exp, k, r, acc, u, lr, rng, residual, pre,
     ih, iw, ic, oh, ow, oc, kh, kw, sh, sw, pt, pl,
     nk, zx) = record(mem, off)
    # fmt: on
    gb, go = at(mem, gy)
    xb, xo = at(mem, x)
    channels = kept_channels(mem, kept, nk)
    update = Update(mem, k, r, acc, lr, rng, residual, pre, get(mem, gy_exp))
    us = ints(mem, u, oc, "H")
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
