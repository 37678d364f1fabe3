"""The head, a fully connected layer with int16 weights, and the losses: forward, error, update.

Logits, and after the loss the errors p - y, are int32 (n) for n classes; the head's weights are (n, f), f
features.
"""

import struct

from ..format import NULL
from .error import write_head_error
from .fixed import INT32_MAX, bit_length, clamp, rsh, shifted
from .record import at, get, get_bit, ints, put, record
from .update import BIAS_MAX, fold_biases, remains


def head_fwd(mem, off):
    """logits = bias + sum of w * (x - zx), in units of s_x / 4096; returns the class of the largest.

    The host limits w so that the sum stays in 32 bits.
    """
    logits, x, w, bias, n, f, zx, bias_mul, bias_shift = record(mem, off)
    xb, xo = at(mem, x)
    best = 0
    top = -0x80000000
    for k in range(n):
        row = ints(mem, w + 2 * f * k, f, "h")
        a = clamp((get(mem, bias + 4 * k) * bias_mul) >> bias_shift, -INT32_MAX, INT32_MAX)
        for i in range(f):
            a += row[i] * (xb[xo + i] - zx)
        a = clamp(a, -INT32_MAX, INT32_MAX)
        put(mem, logits + 4 * k, a)
        if a > top:
            best, top = k, a
    return best


def softmax_loss(mem, off):
    """Logits become p - y in Q15, by a table of exp(-i / 16); returns the loss in 1/1024 nat."""
    logits, label, exp_table, ln_table, n, pre, mul, shift = record(mem, off)
    values = ints(mem, logits, n, "i")
    exps = ints(mem, exp_table, 256, "H")
    label = get(mem, label)
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
            loss = _minus_ln(p, ints(mem, ln_table, 128, "h"))
            p -= 32768
        put(mem, logits + 4 * k, p)
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
    """dx (f) = sum over classes of (w / 2) * err; |dx| <= 2^30, since the errors' magnitudes sum to at most
    2^16.

    Returns 0 where there is nothing to learn.
    """
    g, err, w, _, mask, exp, head_exp, n, f, scale, scale_exp = record(mem, off)
    errors = ints(mem, err, n, "i")
    acc = [0] * f
    for k in range(n):
        row = ints(mem, w + 2 * f * k, f, "h")
        for i in range(f):
            acc[i] += (row[i] >> 1) * errors[k]
    if mask != NULL:
        mb, mo = at(mem, mask)
        acc = [v if get_bit(mb, mo, i) else 0 for i, v in enumerate(acc)]
    top = max([abs(v) for v in acc])
    if top == 0:
        return 0
    pre = max(0, bit_length(top) - 22)
    acc = [rsh(v, pre) * scale for v in acc]  # scale has 8 bits: below 2^31
    write_head_error(mem, g, exp, head_exp, acc, pre + scale_exp - 26)
    return 1


def head_dw(mem, off):
    """w -= rate * err * (x - zx), bias -= rate * err; or these are added to their sums."""
    w, bias, acc, acc_bias, err, x, lr, n, f, zx, limit, u, u_shift = record(mem, off)
    rate, rate_shift = ints(mem, lr, 2, "i")
    m = min(127, rsh(u * rate, 8))  # |err * x| < 2^23, times 7 bits: below 2^30
    s = u_shift + rate_shift - 8 + 15
    errors = ints(mem, err, n, "i")
    xb, xo = at(mem, x)
    buf, first = at(mem, w if acc == NULL else acc)
    for k in range(n):
        for i in range(f):
            t = errors[k] * (xb[xo + i] - zx) * m
            delta = shifted(t, s, limit)
            o = first + 2 * (k * f + i)
            old = struct.unpack_from("<h", buf, o)[0]
            new = clamp(old - delta, -limit, limit) if acc == NULL else clamp(old + delta, -32767, 32767)
            struct.pack_into("<h", buf, o, new)
        delta = rsh(errors[k] * rate, rate_shift - 1)
        ref, delta = (bias + 4 * k, -delta) if acc_bias == NULL else (acc_bias + 4 * k, delta)
        put(mem, ref, clamp(get(mem, ref) + delta, -BIAS_MAX, BIAS_MAX))
    return 0


def fold_head(mem, off):
    """Move the head by its sums, as fold_weights and fold_bias do."""
    w, bias, acc, acc_bias, n, f, limit, keep = record(mem, off)
    wb, wo = at(mem, w)
    ab, ao = at(mem, acc)
    for i in range(0, 2 * n * f, 2):
        total = struct.unpack_from("<h", ab, ao + i)[0]
        kept = remains(total, keep)
        v = struct.unpack_from("<h", wb, wo + i)[0] - (total - kept)
        struct.pack_into("<h", wb, wo + i, clamp(v, -limit, limit))
        struct.pack_into("<h", ab, ao + i, kept)
    fold_biases(mem, bias, acc_bias, n, keep)
    return 0


def mse_loss(mem, off):
    """The mean squared error, in squared steps of the output's int8."""
    y, target, n = record(mem, off)
    yb, yo = at(mem, y)
    tb, to = at(mem, target)
    total = 0
    for i in range(n):
        total += (yb[yo + i] - tb[to + i]) ** 2  # at most 65,025 each
    return (total + n // 2) // n


def mse_dx(mem, off):
    """dy = y - target, saturated at +-127; returns 0 where there is nothing to learn."""
    g, y, target, mask, exp, head_exp, n, scale_exp = record(mem, off)
    gb, go = at(mem, g)
    yb, yo = at(mem, y)
    tb, to = at(mem, target)
    top = 0
    for i in range(n):
        v = clamp(yb[yo + i] - tb[to + i], -127, 127)
        if mask != NULL:
            mb, mo = at(mem, mask)
            v *= get_bit(mb, mo, i)
        gb[go + i] = v
        top = max(top, abs(v))
    put(mem, exp, scale_exp)
    put(mem, head_exp, scale_exp + bit_length(top))
    return top
