"""Depthwise channels in bands: outputs in rows and columns whose inputs fit X, all taps for all of them.

The input gradient of a depthwise convolution with stride 1 is one too, of the errors and with the kernel
turned round, so both use this file. depthwise.py sets the words of the band, from s.pitch to s.pl.
"""

from .error import error_row
from .idioms import *
from .rows import clear


@helper
def plan_bands(words):
    """Set the rows and columns of a band's outputs. No columns: not even one output's inputs fit.

    add_taps takes three taps at a time, so a row of inputs has room for a multiple of three.
    """
    groups = (s.kw + 2) // 3 * 3
    n = N // s.kh - groups
    s.band_columns = 0
    if n < 0:
        return
    n = n // s.sw + 1
    if n > s.ow:
        n = s.ow
    s.band_columns = n
    s.pitch = (n - 1) * s.sw + groups
    rows = (N // s.pitch - s.kh) // s.sh + 1
    if rows * n > N:
        rows = N // n
    if n < s.ow:
        rows = 1
    s.band_rows = rows


@helper
def widen(x: ptr32, p: ptr8, words, oy: int, ox: int, rows: int, n: int):
    """X = ((input - zero) * scale + half) >> cut, for all inputs that a band of outputs sees.

    The band is rows x n outputs from (oy, ox) on. Pads stay 0, so X must be clear.
    """
    inputs = origin + s.input
    step = s.input_step
    zero = word(s.zx) + 128
    scale = word(s.scale)
    shift = s.cut
    half = 0
    if shift:
        half = 1 << (shift - 1)
    top = oy * s.sh - word(s.pt)
    left = ox * s.sw - word(s.pl)
    bottom = top + (rows - 1) * s.sh + s.kh
    if bottom > s.ih:
        bottom = s.ih
    n = left + (n - 1) * s.sw + s.kw
    if n > s.iw:
        n = s.iw
    ix = left
    if ix < 0:
        ix = 0
    n -= ix
    iy = top
    if iy < 0:
        iy = 0
    while iy < bottom:
        p = ptr8(inputs + (iy * s.iw + ix) * step)
        x = scratch(X + (iy - top) * s.pitch + ix - left)
        i = n
        while i > 0:
            x[0] = half + scale * (plus128(p[0]) - zero) >> shift
            p = ptr8(int(p) + step)
            x = ptr32(int(x) + 4)
            i -= 1
        iy += 1


@helper
def add_taps(x: ptr32, a: int, words, rows: int, n: int):
    """row[i] += products of a band's inputs and taps, for rows x n outputs, three taps at a time.

    The factor that MicroPython computes first stands on the left of each sum: it stays in a register.
    """
    step = 4 * s.sw
    down = 4 * s.sh * s.pitch
    apart = word(s.weight_step)
    weights = origin + s.weights
    inputs = int(s) + 4 * X
    ky = s.kh
    while ky:
        kx = 0
        while kx < s.kw:
            taps = ptr8(weights)
            u = signed(taps[0])
            v = 0
            w = 0
            if s.kw - kx > 1:
                v = signed(taps[apart])
            if s.kw - kx > 2:
                w = signed(taps[2 * apart])
            row = scratch(ROW)
            start = inputs + 4 * kx
            y = rows
            while y:
                x = ptr32(start)
                start += down
                i = n
                while i > 1:
                    a = u * x[0] + row[0]
                    a = v * x[1] + a
                    row[0] = w * x[2] + a
                    x = ptr32(int(x) + step)
                    a = u * x[0] + row[1]
                    a = v * x[1] + a
                    row[1] = w * x[2] + a
                    x = ptr32(int(x) + step)
                    row = ptr32(int(row) + 8)
                    i -= 2
                if i:
                    a = u * x[0] + row[0]
                    a = v * x[1] + a
                    row[0] = w * x[2] + a
                    row = ptr32(int(row) + 4)
                y -= 1
            weights += 3 * apart
            kx += 3
        weights += (s.kw - kx) * apart
        inputs += 4 * s.pitch
        ky -= 1


@reads("depthwise_fwd")
def put_channel(row: ptr32, a: int, words, o: int, at: int, n: int):
    """What put_row does, for one usual channel: n outputs from `at` on, from sums without the bias.

    A usual channel is rounded twice and shifted to the right, so this loop has no branches but the
    clamp's.
    """
    row = scratch(ROW)
    oc = s.oc
    biases = ptr32(origin + ref.bias + 4 * o)
    bias = biases[0]
    mult = ptr32(origin + s.mult + 4 * o)
    ml = mult[0] & 0xFFFF
    mh = mult[0] >> 16
    double = 2 * mh
    shift = ptr8(origin + s.shift + o)
    e = 128 - plus128(shift[0])
    half = 1 << (e - 1)
    y = ptr8(origin + s.y)
    mask = ptr8(origin + s.mask)
    masked = s.mask != 0
    lowest = word(s.low)
    span = word(s.high) - lowest
    low = lowest - word(s.zero)
    while n:
        a = word(bias + row[0])
        t = a & 0xFFFF
        a = a >> 16
        u = ml * a
        a = double * a + (u >> 15)
        t = mh * t + (ml * t >> 16 & 0xFFFF)
        t = t + (u & 0x7FFF) + 0x4000  # below 2^31: see trimtab_high31
        a = (t >> 15) + a
        a = (a >> 31) + a
        a = (half + a >> e) - low
        t = (span - a | a) >> 31  # -1: clamped
        if t:
            a = span & ~(a >> 31)
        y[at] = lowest + a
        if masked:
            bit = 1 << (at & 7)
            mask[at >> 3] = (mask[at >> 3] | bit) ^ (t & bit)
        row = ptr32(int(row) + 4)
        at += oc
        n -= 1


@helper
def bands(words, channel: int, back: int):
    """All outputs of one channel, or with `back` the errors of its inputs."""
    row = s.words + 4 * ROW
    ox = 0
    while ox < s.ow:
        n = s.ow - ox
        if n > s.band_columns:
            n = s.band_columns
        oy = 0
        while oy < s.oh:
            rows = s.oh - oy
            if rows > s.band_rows:
                rows = s.band_rows
            clear(0, words, s.words + 4 * X, N)
            clear(0, words, row, rows * n)
            widen(0, 0, words, oy, ox, rows, n)
            add_taps(0, 0, words, rows, n)
            at = (oy * s.ow + ox) * s.oc + channel
            if back:
                error_row(words, row, at, s.oc, rows * n)
            else:
                put_channel(0, 0, words, channel, at, rows * n)
            oy += rows
        ox += n


@reads("depthwise_fwd")
def is_usual(words, o: int) -> int:
    """Whether channel o has weights, a bias below 2^29 in magnitude and a shift to the right."""
    bias = ptr32(origin + ref.bias + 4 * o)
    shift = ptr8(origin + s.shift + o)
    b = word(bias[0]) >> 29
    if s.weights and (b == 0 or b == -1) and plus128(shift[0]) < 128:
        return 1
    return 0
