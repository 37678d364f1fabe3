"""Plain kernels of inverted residual blocks with step-function gradients and a trained gain (MobileTL).

A gain is 1 + d / 2^30 for each output channel of a conv, |d| <= 2^29. It scales the conv's requantization,
so it costs nothing where sums are made. A step is a mask without an upper end: the error passes where the
input is at least zero.
"""

from .core import (
    _BIAS_MAX,
    _INT32_MAX,
    NULL,
    _at,
    _get,
    _ints,
    _put,
    _put_bit,
    _record,
    _scaled,
    clamp,
    high31,
    shifted,
)


def mobiletl_fwd(mem, off):
    """lut_fwd that keeps one bit of each input: x >= zero point."""
    y, x, table, mask, n, zx = _record(mem, off)
    yb, yo = _at(mem, y)
    xb, xo = _at(mem, x)
    tb, to = _at(mem, table)
    mb, mo = _at(mem, mask)
    for i in range(n):
        v = xb[xo + i]
        yb[yo + i] = tb[to + v + 128]
        _put_bit(mb, mo, i, v >= zx)
    return 0


def mobiletl_mask(mem, off):
    """The mask of a clamp loses its upper end: outputs at `hi` or above pass, too."""
    mask, y, n, hi = _record(mem, off)
    mb, mo = _at(mem, mask)
    yb, yo = _at(mem, y)
    for i in range(n):
        if yb[yo + i] >= hi:
            _put_bit(mb, mo, i, True)
    return 0


def mobiletl_gain(mem, off):
    """Multipliers times gains: of requantization in [2^30, 2^31), of errors in 16 bits; d = 0 changes none.

    A multiplier of 1/2 or more cannot grow past 1: shifted sums would wrap.
    """
    mult_out, shift_out, m_out, mult, shift, m, gain, oc = _record(mem, off)
    mults, ms, gains = _ints(mem, mult, oc, "i"), _ints(mem, m, oc, "h"), _ints(mem, gain, oc, "i")
    sb, so = _at(mem, shift)
    tb, to = _at(mem, shift_out)
    for o in range(oc):
        d = 2 * clamp(gains[o], -_BIAS_MAX, _BIAS_MAX)
        old, s = max(mults[o], 0), sb[so + o]
        v = old + high31(old, d)  # below 3 * 2^30
        if v > _INT32_MAX:
            v, s = ((v + 1) >> 1, s + 1) if s < 0 else (_INT32_MAX, s)
        elif v < 1 << 30 <= old and s > -31:
            v, s = 2 * v, s - 1
        _put(mem, mult_out + 4 * o, v)
        tb[to + o] = s
        _put_half(mem, m_out + 2 * o, clamp(ms[o] + high31(ms[o], d), -32767, 32767))
    return 0


def _put_half(mem, ref, v):
    buf, o = _at(mem, ref)
    buf[o] = (v & 255) - 256 if v & 128 else v & 255
    buf[o + 1] = v >> 8


def mobiletl_gain_dw(mem, off):
    """dgain = sum over positions of gy * (y - zy); |dgain| <= 127 * 255 * n < 2^31 for 65,536 positions.

    The true slope is that over the gain itself, which stays between 1/2 and 3/2.
    """
    gy, y, gy_exp, gain, acc, u, lr, pre, n, oc, zy = _record(mem, off)
    gb, go = _at(mem, gy)
    yb, yo = _at(mem, y)
    us = _ints(mem, u, oc, "H")
    rate, rate_shift = _ints(mem, lr, 2, "i")
    exp = _get(mem, gy_exp)
    target = gain if acc == NULL else acc
    for o in range(oc):
        dgain = 0
        for p in range(o, n * oc, oc):
            dgain += gb[go + p] * (yb[yo + p] - zy)
        t, s = _scaled(dgain, pre, us[o], rate, rate_shift)
        if not t:
            continue
        delta = shifted(t, s - exp, 1 << 28)
        old = _get(mem, target + 4 * o)
        new = old - delta if acc == NULL else old + delta
        _put(mem, target + 4 * o, clamp(new, -_BIAS_MAX, _BIAS_MAX))
    return 0
