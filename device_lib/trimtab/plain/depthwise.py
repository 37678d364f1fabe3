"""Depthwise convolution: forward, error of the input, update of the weights.

Each input channel has oc / ic outputs. With memory for one channel (`plane`) a result may lie where its
source lies: a channel is read before it is written.
"""

from ..format import NULL
from .error import ERROR_WORDS, ErrorOut
from .fixed import requant, rsh, wrap32
from .record import at, get, ints, kept_channels, record, store
from .update import Update
from .window import backward_taps, forward_taps


def _weights(mem, w, k, kept, nk, taps, oc):
    """The frozen weights, in which the trained plane's channels replace theirs."""
    wb, wo = at(mem, w) if w != NULL else (None, 0)
    weights = [wb[wo + i] if w != NULL else 0 for i in range(taps * oc)]
    if k != NULL:
        kb, ko = at(mem, k)
        for j, o in enumerate(kept_channels(mem, kept, nk)):
            for tap in range(taps):
                weights[tap * oc + o] = kb[ko + tap * nk + j]
    return weights


def depthwise_fwd(mem, off):
    """y = requantize(bias + sum of (x - zx) * w), with kh * kw terms for each output."""
    # fmt: off
    (y, x, w, k, kept, bias, mult, shift, mask, _,
     ih, iw, ic, oh, ow, oc, kh, kw, sh, sw, pt, pl,
     nk, zx, zy, lo, hi) = record(mem, off)
    # fmt: on
    xb, xo = at(mem, x)
    biases, mults, (sb, so) = ints(mem, bias, oc, "i"), ints(mem, mult, oc, "i"), at(mem, shift)
    weights = _weights(mem, w, k, kept, nk, kh * kw, oc)
    many = oc // ic
    for o in range(oc):
        channel = [xb[xo + p * ic + o // many] for p in range(ih * iw)]
        for oy in range(oh):
            rows = forward_taps(oy, sh, pt, ih, kh)
            for ox in range(ow):
                acc = biases[o]
                for c, ix in forward_taps(ox, sw, pl, iw, kw):
                    for r, iy in rows:
                        acc += (channel[iy * iw + ix] - zx) * weights[(r * kw + c) * oc + o]
                v = requant(wrap32(acc), mults[o], sb[so + o]) + zy
                store(mem, y, mask, (oy * ow + ox) * oc + o, v, lo, hi)
    return 0


def depthwise_dx(mem, off):
    """dx = sum of d * w with d = rsh(gy * m, m_shift), as conv_dx."""
    # fmt: off
    (gy, w, k, kept, m, _, gy_exp,
     ih, iw, ic, oh, ow, oc, kh, kw, sh, sw, pt, pl,
     nk, m_shift, m_exp) = record(mem, off)[:-ERROR_WORDS]
    # fmt: on
    gb, go = at(mem, gy)
    ms = ints(mem, m, oc, "h")
    weights = _weights(mem, w, k, kept, nk, kh * kw, oc)
    many = oc // ic
    out = ErrorOut(mem, off, get(mem, gy_exp) + m_exp + m_shift)
    for i in range(ic):
        outputs = range(i * many, i * many + many)
        channels = [[rsh(gb[go + p * oc + o] * ms[o], m_shift) for p in range(oh * ow)] for o in outputs]
        for iy in range(ih):
            rows = backward_taps(iy, sh, pt, oh, kh)
            for ix in range(iw):
                acc = 0
                for c, ox in backward_taps(ix, sw, pl, ow, kw):
                    for r, oy in rows:
                        for o, channel in zip(outputs, channels):
                            acc += channel[oy * ow + ox] * weights[(r * kw + c) * oc + o]
                out.row((iy * iw + ix) * ic + i, [acc])
    return out.close()


def depthwise_dw(mem, off):
    """dw (kh, kw, nk) = sum over positions of gy * (x - zx); |dw| < 2^31 for 65,536 positions."""
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
