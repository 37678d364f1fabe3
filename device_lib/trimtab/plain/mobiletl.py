"""MobileTL: inverted residual blocks trained with step-function gradients and a gain for each channel.

A gain is 1 + d / 2^30 for each output channel of a conv, |d| <= 2^29. It scales the conv's requantization, so
the conv itself costs no more. A step-function gradient is a mask without an upper end: the error passes where
the activation's input is at least zero.
"""

from .fixed import INT32_MAX, clamp, high31
from .record import at, get, ints, put, put_bit, record
from .update import BIAS_MAX, move_bias, scaled


def mobiletl_fwd(mem, off):
    """As lut_fwd; the mask keeps one bit of each input: x >= zero point."""
    y, x, table, mask, n, zx = record(mem, off)
    yb, yo = at(mem, y)
    xb, xo = at(mem, x)
    tb, to = at(mem, table)
    mb, mo = at(mem, mask)
    for i in range(n):
        v = xb[xo + i]
        yb[yo + i] = tb[to + v + 128]
        put_bit(mb, mo, i, v >= zx)
    return 0


def mobiletl_mask(mem, off):
    """Take the upper end off a clamp's mask: let outputs at `hi` or above pass, too."""
    mask, y, n, hi = record(mem, off)
    mb, mo = at(mem, mask)
    yb, yo = at(mem, y)
    for i in range(n):
        if yb[yo + i] >= hi:
            put_bit(mb, mo, i, True)
    return 0


def mobiletl_gain(mem, off):
    """Multiply a conv's multipliers by its gains: those of requantization, in [2^30, 2^31), and of errors, 16
    bits.

    d = 0 changes none. A multiplier whose shift is 0 or more saturates instead of growing past 1, because
    sums that are shifted left would wrap.
    """
    mult_out, shift_out, m_out, mult, shift, m, gain, oc = record(mem, off)
    mults, ms, gains = ints(mem, mult, oc, "i"), ints(mem, m, oc, "h"), ints(mem, gain, oc, "i")
    sb, so = at(mem, shift)
    tb, to = at(mem, shift_out)
    for o in range(oc):
        d = 2 * clamp(gains[o], -BIAS_MAX, BIAS_MAX)
        old, s = max(mults[o], 0), sb[so + o]
        v = old + high31(old, d)  # below 3 * 2^30
        if v > INT32_MAX:
            v, s = ((v + 1) >> 1, s + 1) if s < 0 else (INT32_MAX, s)
        elif v < 1 << 30 <= old and s > -31:
            v, s = 2 * v, s - 1
        put(mem, mult_out + 4 * o, v)
        tb[to + o] = s
        _put_half(mem, m_out + 2 * o, clamp(ms[o] + high31(ms[o], d), -32767, 32767))
    return 0


def _put_half(mem, ref, v):
    buf, o = at(mem, ref)
    buf[o] = (v & 255) - 256 if v & 128 else v & 255
    buf[o + 1] = v >> 8


def mobiletl_gain_dw(mem, off):
    """dgain (oc) = sum over positions of gy * (y - zy); |dgain| <= 127 * 255 * n < 2^31 for 65,536 positions.

    The true slope is this divided by the gain, which stays between 1/2 and 3/2 and is left out.
    """
    gy, y, gy_exp, gain, acc, u, lr, pre, n, oc, zy = record(mem, off)
    gb, go = at(mem, gy)
    yb, yo = at(mem, y)
    us = ints(mem, u, oc, "H")
    rate, rate_shift = ints(mem, lr, 2, "i")
    exp = get(mem, gy_exp)
    for o in range(oc):
        dgain = 0
        for p in range(o, n * oc, oc):
            dgain += gb[go + p] * (yb[yo + p] - zy)
        move_bias(mem, gain, acc, o, scaled(dgain, pre, us[o], rate, rate_shift), exp)
    return 0
