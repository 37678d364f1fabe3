"""TinyTL: lite residual modules, each a grouped convolution with GroupNorm beside a frozen trunk.

A module is pool, conv, norm, affine and ReLU, 1x1 conv, norm, affine and nearest upsampling. An add joins it
to the trunk. The normalized tensors (xhat) and the ReLU's output are int8 with 4 fraction bits: the norm
bounds them, so they need no scale of their own. gamma and beta are int32 with 16 fraction bits and at most
`bound` in magnitude; kernels use 8 of these bits of gamma and 12 of beta. Behind the second norm they count
int8 steps of the trunk.

A group of the norm is `norm` channels at all positions. Its statistic is y << 8 | E, where 1 / sigma = y /
2^E.
"""

from ..format import NULL
from .fixed import bit_length, clamp, divide, int8_shift, rsh, shifted
from .record import at, get, ints, put, record, store
from .update import BIAS_MAX, scaled
from .window import forward_taps


def _root(v):
    """Floor of the square root of v < 2^30."""
    root = 0
    for bit in range(14, -1, -1):
        t = root | 1 << bit
        if t * t <= v:
            root = t
    return root


def _inverse_sigma(squares, n):
    """(y, e): sqrt(n / squares) = y / 2^e with y in 2^14 .. 2^16; both roots have 15 bits."""
    up, up_n = (30 - bit_length(squares)) & ~1, (30 - bit_length(n)) & ~1
    root = _root(squares << up)
    return ((_root(n << up_n) << 15) + (root >> 1)) // root, 15 + ((up_n - up) >> 1)


def tinytl_conv_fwd(mem, off):
    """y = xhat of the convolution of x; each output channel reads `part` input channels.

    |sum| <= 255 * 127 * kh * kw * part. The host chooses `pre` so that a group's values add up to less than
    2^30. Deviations keep so few bits that their squares add up to at most 2^29; times y they stay below 2^28.
    """
    # fmt: off
    (y, x, w, _, stats,
     ih, iw, ic, oh, ow, oc, kh, kw, sh, sw, pt, pl,
     part, norm, norms, zx, pre) = record(mem, off)
    # fmt: on
    xb, xo = at(mem, x)
    wb, wo = at(mem, w)
    yb, yo = at(mem, y)
    n, width = norm * oh * ow, max(oc // (ic // part), 1)
    bits = min(11, (29 - bit_length(n - 1)) >> 1)
    for q in range(norms):
        values = []
        for o in range(q * norm, q * norm + norm):
            first = min(o // width * part, ic - part)
            for oy in range(oh):
                for ox in range(ow):
                    a = 0
                    for r, iy in forward_taps(oy, sh, pt, ih, kh):
                        for c, ix in forward_taps(ox, sw, pl, iw, kw):
                            px = xo + (iy * iw + ix) * ic + first
                            pw = wo + ((o * kh + r) * kw + c) * part
                            for i in range(part):
                                a += (xb[px + i] - zx) * wb[pw + i]
                    values.append(rsh(a, pre))
        mean = divide(sum(values), n)
        values = [v - mean for v in values]
        down = max(0, bit_length(max([abs(v) for v in values])) - bits)
        values = [rsh(v, down) for v in values]
        squares = sum([v * v for v in values])
        scale, e = _inverse_sigma(squares, n) if squares else (0, 0)
        put(mem, stats + 4 * q, scale << 8 | (e + down + pre) & 255)
        for i, v in enumerate(values):
            yb[yo + i % (oh * ow) * oc + q * norm + i // (oh * ow)] = clamp(rsh(v * scale, e - 4), -127, 127)
    return 0


def tinytl_conv_dx(mem, off):
    """Through the 1x1 conv: d (n, ic) = sum over outputs of gy * w; |d| < 2^30 for 66,000 outputs."""
    d, gy, w, n, ic, oc = record(mem, off)
    gb, go = at(mem, gy)
    wb, wo = at(mem, w)
    for p in range(n):
        for i in range(ic):
            total = 0
            for o in range(oc):
                total += gb[go + p * oc + o] * wb[wo + o * ic + i]
            put(mem, d + 4 * (p * ic + i), total)
    return 0


def _affine(mem, affine, oc, bound):
    """(gamma with 8 fraction bits, beta with 12), each a list of oc."""
    values = ints(mem, affine, 2 * oc, "i")
    return (
        [clamp(rsh(v, 8), -bound << 8, bound << 8) for v in values[:oc]],
        [clamp(rsh(v, 4), -bound << 12, bound << 12) for v in values[oc:]],
    )


def tinytl_affine_fwd(mem, off):
    """y (n, oc) = ReLU of gamma * xhat + beta, which is below 2^23 in magnitude."""
    y, x, affine, n, oc, bound = record(mem, off)
    yb, yo = at(mem, y)
    xb, xo = at(mem, x)
    gamma, beta = _affine(mem, affine, oc, bound)
    for i in range(n * oc):
        yb[yo + i] = clamp(rsh(gamma[i % oc] * xb[xo + i] + beta[i % oc], 8), 0, 127)
    return 0


def tinytl_norm_dx(mem, off):
    """From the error of gamma * xhat + beta (behind a ReLU if `relu`) to the convolution's error; moves the
    affine.

    The errors come as `sums` (n, oc), |sums| < 2^31. g is `parts` tensors one after the other, each with the
    channels of one group of the convolution. Errors are cut to 12 bits, so |dgamma| <= 2^19 n, of which `pre`
    leaves 22 bits. Times gamma they have 27 bits; they keep so few of them that a group's products with xhat
    add up to at most 2^30. Then |t * (y >> 2)| < 2^16 * 2^14.
    """
    # fmt: off
    (g, exp, sums, x, stats, affine, acc, gy_exp, lr,
     n, oc, norm, norms, parts, relu, bound, m_exp, u_gamma, u_beta, pre) = record(mem, off)
    # fmt: on
    xb, xo = at(mem, x)
    errors = list(ints(mem, sums, n * oc, "i"))
    gamma, beta = _affine(mem, affine, oc, bound)
    if relu:
        for i in range(n * oc):
            if not 0 < gamma[i % oc] * xb[xo + i] + beta[i % oc] < 255 << 7:
                errors[i] = 0
    down = max(0, bit_length(max([abs(v) for v in errors])) - 12)
    errors = [rsh(v, down) for v in errors]
    exponent = get(mem, gy_exp) + m_exp + down
    for o in range(oc):
        column = errors[o::oc]
        dgamma = sum([v * xb[xo + i * oc + o] for i, v in enumerate(column)])
        _move_affine(mem, affine, acc, o, dgamma, lr, pre, u_gamma, exponent, bound)
        _move_affine(mem, affine, acc, oc + o, sum(column), lr, pre, u_beta, exponent, bound)
    errors = [v * gamma[i % oc] for i, v in enumerate(errors)]
    shift = bit_length(max([abs(v) for v in errors])) - min(12, 23 - bit_length(norm * n - 1))
    errors = [shifted(v, shift, 4096) for v in errors]
    scales = ints(mem, stats, norms, "i")
    least = min([s & 255 for s in scales if s >> 8] or [0])
    for q, s in enumerate(scales):
        group = [p * oc + o for p in range(n) for o in range(q * norm, q * norm + norm)]
        mean = divide(sum([errors[i] for i in group]), norm * n)
        slope = divide(sum([errors[i] * xb[xo + i] for i in group]), norm * n)
        for i in group:
            t = clamp(errors[i] - mean - rsh(xb[xo + i] * slope, 8), -65535, 65535)
            errors[i] = rsh(t * (s >> 10), (s & 255) - least) if s >> 8 else 0
    last = int8_shift(max([abs(v) for v in errors]))
    gb, go = at(mem, g)
    width = oc // parts
    for i, v in enumerate(errors):
        o = i % oc
        gb[go + o // width * n * width + i // oc * width + o % width] = shifted(v, last, 127)
    put(mem, exp, exponent + shift + last - 6 - least)
    return 0


def _move_affine(mem, affine, acc, j, dw, lr, pre, u, exponent, bound):
    t, s = scaled(dw, pre, u, *ints(mem, lr, 2, "i"))
    delta = shifted(t, s - exponent, 1 << 28)
    if acc == NULL:
        ref, most = affine + 4 * j, bound << 16
        delta = -delta
    else:
        ref, most = acc + 4 * j, BIAS_MAX
    put(mem, ref, clamp(clamp(get(mem, ref), -most, most) + delta, -most, most))


def tinytl_add_fwd(mem, off):
    """y = x + gamma * xhat + beta, upsampled from (ih, iw), in int8 steps of y; the sum is below 2^23."""
    y, x, x2, affine, mask, ih, iw, oh, ow, oc, bound, lo, hi = record(mem, off)
    xb, xo = at(mem, x)
    x2b, x2o = at(mem, x2)
    gamma, beta = _affine(mem, affine, oc, bound)
    for oy in range(oh):
        for ox in range(ow):
            p = (min(oy >> 1, ih - 1) * iw + min(ox >> 1, iw - 1)) * oc
            for o in range(oc):
                i = (oy * ow + ox) * oc + o
                v = xb[xo + i] + rsh(gamma[o] * x2b[x2o + p + o] + beta[o], 12)
                store(mem, y, mask, i, v, lo, hi)
    return 0


def tinytl_add_dx(mem, off):
    """d (ih, iw, oc) = sum of gy over the outputs to which a position was copied."""
    d, gy, ih, iw, oh, ow, oc = record(mem, off)
    gb, go = at(mem, gy)
    total = [0] * (ih * iw * oc)
    for oy in range(oh):
        for ox in range(ow):
            p = (min(oy >> 1, ih - 1) * iw + min(ox >> 1, iw - 1)) * oc
            for o in range(oc):
                total[p + o] += gb[go + (oy * ow + ox) * oc + o]
    put(mem, d, *total)
    return 0
