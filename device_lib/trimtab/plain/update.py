"""How a gradient moves a weight, a bias or a sum of gradients. Nothing wraps: all of it saturates."""

import struct

from ..format import NULL
from .fixed import clamp, rsh, shifted
from .record import at, get, ints, put, record

BIAS_MAX = 1 << 29  # trained biases stay within it, so that sum + bias < 2^31


def scaled(v, pre, u, rate, rate_shift):
    """A gradient sum times the channel's scale-aware factor u and the rate: (product, shift still to be
    applied).

    |v| >> pre <= 2^22 and u * rate >> 8 < 2^8, so the product stays below 2^30.
    """
    m = rsh((u & 255) * rate, 8)
    return rsh(v, pre) * m, (u >> 8) - 128 + rate_shift - 8 - pre


class Update:
    """Moves weights of one layer; update(j, dw, u) moves weight j by its gradient sum dw and its channel's
    factor u.

    A delta counts 2^-residual of a step of int8. Where gradients of several samples are summed, it goes to
    `acc`.
    """

    def __init__(self, mem, k, r, acc, lr, rng, residual, pre, exp):
        self.mem, self.rng, self.bits, self.pre, self.exp = mem, rng, residual, pre, exp
        self.rate, self.rate_shift = ints(mem, lr, 2, "i")
        self.k, self.r, self.acc = k, r, acc
        self.stochastic = residual != 8 and acc == NULL and rng != NULL

    def __call__(self, j, dw, u):
        t, s = scaled(dw, self.pre, u, self.rate, self.rate_shift)
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
            buf, o = at(self.mem, self.acc)
            old = struct.unpack_from("<h", buf, o + 2 * j)[0]
            struct.pack_into("<h", buf, o + 2 * j, clamp(old + delta, -32767, 32767))


def move_weight(mem, k, r, j, bits, delta):
    """w = k * 2^bits + r; w -= delta, saturated at +-127 * 2^bits. k keeps the nearest int8, r the rest."""
    kb, ko = at(mem, k)
    limit = 127 << bits
    w = kb[ko + j] << bits
    if bits and r != NULL:
        w += get_residual(mem, r, j, bits)
    w = clamp(w - delta, -limit, limit)
    top = rsh(w, bits)
    kb[ko + j] = top
    if bits and r != NULL:
        put_residual(mem, r, j, bits, w - (top << bits))


def get_residual(mem, r, j, bits):
    """The fraction of weight j, of 8 bits or of 4, two to a byte."""
    rb, ro = at(mem, r)
    if bits == 8:
        return rb[ro + j]
    nibble = (rb[ro + (j >> 1)] >> 4 * (j & 1)) & 15
    return nibble - 16 if nibble > 7 else nibble


def put_residual(mem, r, j, bits, v):
    rb, ro = at(mem, r)
    if bits == 4:
        byte = rb[ro + (j >> 1)] & (0x0F if j & 1 else 0xF0)
        v = byte | (v & 15) << 4 * (j & 1)
        j >>= 1
        v = v - 256 if v > 127 else v
    rb[ro + j] = v


def _random(mem, rng):
    """xorshift32 (13, 17, 5); its state is part of the trained state."""
    buf, o = at(mem, rng)
    x = struct.unpack_from("<I", buf, o)[0]
    x ^= (x << 13) & 0xFFFFFFFF
    x ^= x >> 17
    x ^= (x << 5) & 0xFFFFFFFF
    struct.pack_into("<I", buf, o, x)
    return x


def _stochastic(v, s, x):
    """(v + uniform [0, 2^s)) >> s for |v| < 2^30 and random x; of s > 30, the excess is dropped first."""
    if s > 30:
        v >>= min(s - 30, 31)
        s = 30
    return (v + (x >> (32 - s))) >> s


def bias_dw(mem, off):
    """db (oc) = sum of gy over its n positions.

    A bias counts units of s_w * s_x, which are so small that it needs no residual.
    """
    gy, gy_exp, bias, acc, u, lr, n, oc = record(mem, off)
    gb, go = at(mem, gy)
    us = ints(mem, u, oc, "H")
    rate, rate_shift = ints(mem, lr, 2, "i")
    exp = get(mem, gy_exp)
    for o in range(oc):
        db = 0
        for p in range(n):
            db += gb[go + p * oc + o]
        move_bias(mem, bias, acc, o, scaled(db, 0, us[o], rate, rate_shift), exp)
    return 0


def move_bias(mem, bias, acc, o, product, exp):
    """Move an int32 by a product of scaled(), or add that to its sum `acc`."""
    t, s = product
    if not t:
        return
    delta = shifted(t, s - exp, 1 << 28)
    target, delta = (bias, -delta) if acc == NULL else (acc, delta)
    put(mem, target + 4 * o, clamp(get(mem, target + 4 * o) + delta, -BIAS_MAX, BIAS_MAX))


# After the last sample of an update, a fold takes all but keep / 256 of each sum and moves the weight by what
# it took, so nothing is lost. With keep > 0 a gradient reaches its weight over several folds, its first share
# being 1 - keep / 256: that is momentum.


def remains(v, keep):
    """v * keep / 256 toward zero, so that every sum runs dry."""
    return v * keep >> 8 if v >= 0 else -(-v * keep >> 8)


def fold_weights(mem, off):
    """Move n weights by their int16 sums."""
    k, r, acc, n, residual, keep = record(mem, off)
    buf, o = at(mem, acc)
    s = 8 - residual
    for j in range(n):
        total = struct.unpack_from("<h", buf, o + 2 * j)[0]
        delta = rsh(total - remains(total, keep), s)
        move_weight(mem, k, r, j, residual, delta)
        struct.pack_into("<h", buf, o + 2 * j, total - (delta << s))
    return 0


def fold_bias(mem, off):
    """Move n biases by their int32 sums."""
    bias, acc, n, keep = record(mem, off)
    fold_biases(mem, bias, acc, n, keep)
    return 0


def fold_biases(mem, bias, acc, n, keep):
    for i in range(0, 4 * n, 4):
        total = get(mem, acc + i)
        kept = remains(total, keep)
        put(mem, bias + i, clamp(get(mem, bias + i) - (total - kept), -BIAS_MAX, BIAS_MAX))
        put(mem, acc + i, kept)
