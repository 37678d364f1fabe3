"""TinyTrain: the Fisher information that decides what trains, and the bounds of trained weights."""

from ..format import NULL
from .fixed import bit_length, rsh, shifted
from .record import at, get, ints, kept_channels, put, record
from .update import get_residual, put_residual

_FULL = 1 << 30


def tinytrain_fisher(mem, off):
    """f (ic) += S^2, with S = sum over positions of (x - zx) * g; |S| < 2^31 for 65,536 positions.

    S is cut to 15 bits, so that S^2 stays below 2^30. f, at most 2^30 itself, and S^2 are brought to the
    larger of their exponents. Where a sum passes 2^30, all of f is halved.
    """
    f, f_exp, x, g, g_exp, sums, n, ic, zx = record(mem, off)
    xb, xo = at(mem, x)
    gb, go = at(mem, g)
    totals = [0] * ic
    for p in range(0, n * ic, ic):
        for i in range(ic):
            totals[i] += (xb[xo + p + i] - zx) * gb[go + p + i]
    put(mem, sums, *totals)
    top = max([abs(v) for v in totals])
    if not top:
        return 0
    s = bit_length(top) - 15
    exp, old = 2 * (get(mem, g_exp) + s), get(mem, f_exp)
    found = []
    for v, before in zip(totals, ints(mem, f, ic, "i")):
        v = shifted(v, s, 32767)
        found.append(rsh(before, exp - old) + rsh(v * v, old - exp))
    exp = max(exp, old)
    if max(found) > _FULL:
        found = [rsh(v, 1) for v in found]
        exp += 1
    put(mem, f, *found)
    put(mem, f_exp, exp)
    return 0


def tinytrain_hold(mem, off):
    """Keep the sum of a trained plane k and the frozen weights w beside it within +-127."""
    k, r, w, kept, rows, nk, ic, residual = record(mem, off)
    kb, ko = at(mem, k)
    wb, wo = at(mem, w)
    channels = kept_channels(mem, kept, nk)
    rests = residual and r != NULL
    limit = 127 << residual
    j = 0
    for row in range(wo, wo + rows * ic, ic):
        for i in channels:
            v = (wb[row + i] + kb[ko + j]) << residual
            if rests:
                v += get_residual(mem, r, j, residual)
            if not -limit <= v <= limit:
                kb[ko + j] = (127 if v > limit else -127) - wb[row + i]
                if rests:
                    put_residual(mem, r, j, residual, 0)
            j += 1
    return 0
