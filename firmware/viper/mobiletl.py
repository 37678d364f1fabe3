"""MobileTL: blocks with step-function gradients, and a gain for each channel. See plain/mobiletl.py."""

from .fixed import high31
from .idioms import *
from .update import move_bias


@kernel
def mobiletl_fwd(mem, off: int) -> int:
    """y = table[x], and a mask bit for x >= zx: the step function that stands for the slope."""
    y = ptr8(origin + ref.y)
    x = ptr8(origin + ref.x)
    table = ptr8(origin + ref.table)
    mask = ptr8(origin + ref.mask)
    zero = word(r.zx) + 128
    n = r.n
    i = 0
    while i < n:
        v = plus128(x[i])
        y[i] = table[v]
        bit = 1 << (i & 7)
        byte = mask[i >> 3] & (255 ^ bit)
        if v >= zero:
            byte |= bit
        mask[i >> 3] = byte
        i += 1
    return 0


@kernel
def mobiletl_mask(mem, off: int) -> int:
    """Set the mask bit where y has reached `hi`."""
    mask = ptr8(origin + ref.mask)
    y = ptr8(origin + ref.y)
    high = word(r.hi) + 128
    n = r.n
    i = 0
    while i < n:
        if plus128(y[i]) >= high:
            mask[i >> 3] = mask[i >> 3] | 1 << (i & 7)
        i += 1
    return 0


@kernel
def mobiletl_gain(mem, off: int) -> int:
    """The multipliers of oc channels times 1 + gain, for the forward pass and for the errors."""
    mult = ptr32(origin + ref.mult)
    shift = ptr8(origin + ref.shift)
    m = ptr16(origin + ref.m)
    gain = ptr32(origin + ref.gain)
    mult_out = ptr32(origin + ref.mult_out)
    shift_out = ptr8(origin + ref.shift_out)
    m_out = ptr16(origin + ref.m_out)
    half = 0x3FFFFFFF  # the largest number below 2^30
    most = half * 2 + 1
    o = 0
    while o < r.oc:
        d = word(gain[o])
        d = saturate(d, BIAS_MAX)
        d *= 2
        old = word(mult[o])
        if old < 0:
            old = 0
        e = signed(shift[o])
        s[X] = old
        s[X + 1] = d
        high31(words)
        t = word(s[X])
        if t <= most - old:
            v = old + t
            if v <= half and old > half and e > -31:
                v *= 2
                e -= 1
        elif e < 0:
            v = (old >> 1) + (t >> 1) + ((old | t) & 1)
            e += 1
        else:
            v = most
        mult_out[o] = v
        shift_out[o] = e
        v = signed16(m[o])
        s[X] = v
        s[X + 1] = d
        high31(words)
        v += word(s[X])
        v = saturate(v, 32767)
        m_out[o] = v
        o += 1
    return 0


@kernel
def mobiletl_gain_dw(mem, off: int) -> int:
    """The gradient of oc gains from gy and y (n, oc), at once turned into their update."""
    us = ptr16(origin + ref.u)
    lr = ptr32(origin + ref.lr)
    pre = r.pre
    zero = word(r.zy) + 128
    base = word(lr[1]) - load(ref.gy_exp) - 136 - pre
    o = 0
    while o < r.oc:
        p = ptr8(origin + ref.gy + o)
        q = ptr8(origin + ref.y + o)
        sum = 0
        n = r.n
        while n:
            sum += signed(p[0]) * (plus128(q[0]) - zero)
            p = ptr8(int(p) + r.oc)
            q = ptr8(int(q) + r.oc)
            n -= 1
        if pre:
            sum = rsh(sum, pre)
        sum = sum * mantissa(us[o], lr[0])
        if sum:
            move_bias(words, FIELD.gain, FIELD.acc, o, sum, base + (us[o] >> 8))
        o += 1
    return 0
