"""Plain kernels of what suits a network to a task with few samples: Fisher information, prototypes (TinyTrain)."""

from .core import (
    NULL,
    _at,
    _get,
    _ints,
    _kept,
    _put,
    _put_residual,
    _record,
    _residual,
    bit_length,
    rsh,
    shifted,
)

_FULL = 1 << 30


def tinytrain_fisher(mem, off):
    """f += S^2 for each channel, with S = sum over positions of (x - zx) * g, |S| < 2^31 for 65,536 positions.

    The largest S takes 15 bits, so that its square stays below 2^30; f, at most 2^30 before, brings both to the
    larger exponent, and is halved where a sum passes 2^30.
    """
    f, f_exp, x, g, g_exp, sums, n, ic, zx = _record(mem, off)
    xb, xo = _at(mem, x)
    gb, go = _at(mem, g)
    totals = [0] * ic
    for p in range(0, n * ic, ic):
        for i in range(ic):
            totals[i] += (xb[xo + p + i] - zx) * gb[go + p + i]
    _put(mem, sums, *totals)
    top = max([abs(v) for v in totals])
    if not top:
        return 0
    s = bit_length(top) - 15
    exp, old = 2 * (_get(mem, g_exp) + s), _get(mem, f_exp)
    found = []
    for v, before in zip(totals, _ints(mem, f, ic, "i")):
        v = shifted(v, s, 32767)
        found.append(rsh(before, exp - old) + rsh(v * v, old - exp))
    exp = max(exp, old)
    if max(found) > _FULL:
        found = [rsh(v, 1) for v in found]
        exp += 1
    _put(mem, f, *found)
    _put(mem, f_exp, exp)
    return 0


def tinytrain_hold(mem, off):
    """Keeps the sums of a trained plane and the frozen weights beside it within +-127: what goes beyond is dropped."""
    k, r, w, kept, rows, nk, ic, residual = _record(mem, off)
    kb, ko = _at(mem, k)
    wb, wo = _at(mem, w)
    channels = _kept(mem, kept, nk)
    rests = residual and r != NULL
    limit = 127 << residual
    j = 0
    for row in range(wo, wo + rows * ic, ic):
        for i in channels:
            v = (wb[row + i] + kb[ko + j]) << residual
            if rests:
                v += _residual(mem, r, j, residual)
            if not -limit <= v <= limit:
                kb[ko + j] = (127 if v > limit else -127) - wb[row + i]
                if rests:
                    _put_residual(mem, r, j, residual, 0)
            j += 1
    return 0
