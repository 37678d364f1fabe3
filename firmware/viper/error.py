"""Error tensors: from 32-bit sums to int8 with one exponent, which a tracker foretells.

A kernel calls error_open once, error_row for each run of sums, error_close once.
"""

from .fixed import int8_shift
from .idioms import *
from .rows import clear


@helper
def error_open(words, out: Field, gy_exp: Field, plus: int):
    """Begin the error tensor of the fields from `out` on. Sums have the exponent gy_exp + plus.

    Where an addend joins in, it is brought to the sums' exponent by s.up and the sums to a larger one by
    s.down.
    """
    exp = load(s[AT + gy_exp]) + plus
    numbers = ptr32(int(r) + 4 * out)
    s.y = s[AT + ERROR_OUT.g + out]
    s.mask = s[AT + ERROR_OUT.mask + out]
    s.add = 0
    s.mul = numbers[ERROR_OUT.add_mul]
    s.down = 0
    s.up = 0
    if s[AT + ERROR_OUT.add + out] and s[AT + ERROR_OUT.add_exp + out]:
        s.add = s[AT + ERROR_OUT.add + out]
        gap = load(s[AT + ERROR_OUT.add_exp + out]) + word(numbers[ERROR_OUT.add_shift]) + 7 - exp
        if gap > 14:  # |addend| <= 2^15, so << 14 stays below 2^29
            s.down = gap - 14
            exp += gap - 14
            gap = 14
        s.up = gap
    base = exp - load(s[AT + ERROR_OUT.head_exp + out])
    track = ptr16(origin + s[AT + ERROR_OUT.track + out])
    shift = ((signed16(track[0]) + 255) >> 8) - base
    ptr32(origin + s[AT + ERROR_OUT.exp + out])[0] = exp + shift
    s.base = base
    s.to = shift
    s.largest = 0
    s.track = s[AT + ERROR_OUT.track + out]


@helper
def error_row(words, at: int, start: int, step: int, n: int):
    """g[start], g[start + step], ... from n sums of magnitude below 2^30, at distance `at`.

    One loop without calls, because every error passes through it.
    """
    sums = ptr32(origin + at)
    g = ptr8(origin + s.y)
    added = s.add != 0
    masked = s.mask != 0
    add = g
    mask = g
    if added:
        add = ptr8(origin + s.add)
    if masked:
        mask = ptr8(origin + s.mask)
    mul = word(s.mul)
    down = s.down
    up = word(s.up)
    most = s.largest
    shift = word(s.to)
    limit = 127
    if shift < 0:
        if shift < -31:
            shift = -31
        limit = 127 >> -shift  # the largest that may still be shifted
    i = start
    while n:
        v = word(sums[0])
        if added:
            t = (signed(add[i]) * mul + 64) >> 7
            if down > 31:
                v = 0
            elif down:
                v = rsh(v, down)
            if up >= 0:
                v += t << up
            elif up > -31:
                v += rsh(t, -up)
            else:
                v += rsh(t, 30)
        if masked and mask_bit(mask, i) == 0:
            v = 0
        if v > most:
            most = v
        elif -v > most:
            most = -v
        if shift > 31:
            v = 0
        elif shift > 0:
            v = rsh(v, shift)
        if v > limit:
            v = 127
        elif v < -limit:
            v = -127
        elif shift < 0:
            v = v << -shift
        g[i] = v
        sums = ptr32(int(sums) + 4)
        i += step
        n -= 1
    s.largest = most


@helper
def error_close(words):
    """The tracker rises to this sample's maximum at once, or falls by 4/256."""
    if s.largest:
        track = ptr16(origin + s.track)
        old = signed16(track[0])
        new = (word(s.base) + int(int8_shift(words))) << 8
        if new <= old:
            new = old - 4
        new = saturate(new, 32000)
        track[0] = new


@helper
def last_output(i: int, stride: int, size: int) -> int:
    """The last output whose window begins at or before padded input i, along one axis."""
    o = i
    if stride > 1:
        o = i // stride
    if o >= size:
        o = size - 1
    return o


@helper
def windows(words, geometry: Field, row: Field, send):
    """The error of an operator with windows: for each input, what the outputs that saw it `send` back.

    The geometry begins at that field. send(0, 0, 0, words, oy, ox, ky, kx, at) adds to the row of input
    channels at field `row`: from output (oy, ox) through kernel position (ky, kx); `at` is the input's
    first channel.
    """
    g = ptr32(int(r) + 4 * geometry)
    row = s[AT + row]
    ic = g[GEOMETRY.ic]
    at = 0
    iy = 0
    while iy < g[GEOMETRY.ih]:
        top = int(last_output(iy + g[GEOMETRY.pt], g[GEOMETRY.sh], g[GEOMETRY.oh]))
        ix = 0
        while ix < g[GEOMETRY.iw]:
            left = int(last_output(ix + g[GEOMETRY.pl], g[GEOMETRY.sw], g[GEOMETRY.ow]))
            clear(0, words, row, ic)
            oy = top
            ky = iy + g[GEOMETRY.pt] - oy * g[GEOMETRY.sh]
            while oy >= 0 and ky < g[GEOMETRY.kh]:
                ox = left
                kx = ix + g[GEOMETRY.pl] - ox * g[GEOMETRY.sw]
                while ox >= 0 and kx < g[GEOMETRY.kw]:
                    send(0, 0, 0, words, oy, ox, ky, kx, at)
                    kx += g[GEOMETRY.sw]
                    ox -= 1
                ky += g[GEOMETRY.sh]
                oy -= 1
            error_row(words, row, at, 1, ic)
            at += ic
            ix += 1
        iy += 1
    error_close(words)
