"""Runs of words: filled, rounded, measured; inputs to words and sums to int8.

A row holds up to N sums. Kernels with more outputs than that work chunk by chunk.
"""

from .idioms import *


@helper
def put_row(words, channel: int, step: int, at: int, apart: int, n: int):
    """Requantize a row of n sums, by the words of an output in scratch.

    Each sum is multiplied by its channel's multiplier and rounded, once or twice as s.once says; the
    channel grows by `step` from sum to sum. The results become outputs at, at + apart, ..., with zero
    point, clamp and mask bit. Where `at` is negative they stay in the row instead.
    """
    row = scratch(ROW)
    once = s.once
    mult = ptr32(origin + s.mult + 4 * channel)
    shift = ptr8(origin + s.shift + channel)
    y = ptr8(origin + s.y)
    mask = ptr8(origin + s.mask)
    zero = word(s.zero)
    low = word(s.low) - zero
    high = word(s.high) - zero
    while n:
        a = word(row[0])
        e = signed(shift[0])
        if e > 0 and once == 0:
            a = (a << (e & 31)) << wide >> wide
        al = a & 0xFFFF
        ah = a >> 16
        ml = mult[0] & 0xFFFF
        mh = mult[0] >> 16
        lows = al * ml
        t = al * mh + ((lows >> 16) & 0xFFFF)  # below 2^31, as is u
        u = ah * ml
        if once:
            middle = (t & 0xFFFF) + (u & 0xFFFF)
            v = ah * mh + (t >> 16) + (u >> 16) + (middle >> 16)
            lows = (middle & 0xFFFF) << 16 | (lows & 0xFFFF)
            e = (31 - e) & 63
            if e > 32:
                v = rsh(v, e - 32)
            elif e == 32:
                v += (lows >> 31) & 1
            elif e:
                v = ((lows >> e) & ((1 << (32 - e)) - 1) | v << (32 - e)) + ((lows >> (e - 1)) & 1)
            else:
                v = lows
            v = word(v)
        else:
            v = 2 * ah * mh + (t >> 15) + (u >> 15) + (((t & 0x7FFF) + (u & 0x7FFF) + 0x4000) >> 15)
            if e < 0:
                v += v >> 31
                v = rsh(v, -e)
        if at < 0:
            row[0] = v
        else:
            bit = 1 << (at & 7)
            inside = bit
            if v < low:
                v = low
                inside = 0
            elif v > high:
                v = high
                inside = 0
            y[at] = v + zero
            if s.mask:
                mask[at >> 3] = mask[at >> 3] & ~bit | inside
            at += apart
        row = ptr32(int(row) + 4)
        mult = ptr32(int(mult) + 4 * step)
        shift = ptr8(int(shift) + step)
        n -= 1


@helper
def expand(words, pixel: int, j: int, to: int, n: int):
    """X[to .. to + n) = x - zx, beginning with kept channel j of the pixel that starts at byte `pixel`.

    Behind the last kept channel of a pixel comes the next pixel. s.sum grows by their sum; it starts at 0
    where `to` is 0. Field words: s.input, s.kept (0: all channels), s.nk, s.ic, s.zx.
    """
    x = ptr8(origin + s.input)
    out = scratch(X + to)
    zero = word(s.zx) + 128
    total = 0
    if to:
        total = s.sum
    all_channels = s.kept == 0
    if all_channels and s.nk == s.ic:
        x = ptr8(int(x) + pixel + j)
        while n:
            v = plus128(x[0]) - zero
            out[0] = v
            total += v
            x = ptr8(int(x) + 1)
            out = ptr32(int(out) + 4)
            n -= 1
    else:
        kept = ptr16(s)
        if not all_channels:
            kept = ptr16(origin + s.kept)
        pixel += j // s.nk * s.ic
        j = j % s.nk
        while n:
            c = j
            if not all_channels:
                c = kept[j]
            v = plus128(x[pixel + c]) - zero
            out[0] = v
            total += v
            out = ptr32(int(out) + 4)
            j += 1
            if j == s.nk:
                j = 0
                pixel += s.ic
            n -= 1
    s.sum = total


@helper
def load_row(words, x: Field, start: int, zero: Field, shift: int, n: int):
    """Row = (x - zero) << shift: n bytes of the field x from `start` on."""
    row = scratch(ROW)
    p = ptr8(origin + s[AT + x] + start)
    less = word(r[zero]) + 128
    i = 0
    while i < n:
        row[i] = (plus128(p[i]) - less) << shift
        i += 1


@helper
def put_by(words, mult: Field, shift: Field, at: int, n: int):
    """put_row with one multiplier and one shift for all, which are fields of the record."""
    s.mult = s.record + 4 * mult
    s.shift = s.record + 4 * shift
    put_row(words, 0, 0, at, 1, n)


@reads("add_fwd", "requantize_fwd", "mean_fwd", "mul_fwd", "sum_fwd", "prelu_fwd")
def set_output(words, mask: Field, zero: Field, low: Field, high: Field):
    """The words of an output, from these fields of the record; 0 where the record has none.

    Without low and high the output has all of int8.
    """
    s.y = ref.y
    s.mask = 0
    if mask:
        s.mask = s[AT + mask]
    s.zero = 0
    if zero:
        s.zero = r[zero]
    s.low = -128
    s.high = 127
    if low:
        s.low = r[low]
        s.high = r[high]
    s.once = 0


@helper
def clear(row: ptr32, words, at: int, n: int):
    """n zeros from distance `at` on."""
    row = ptr32(int(s) - s.words + at)
    while n > 3:
        row[0] = 0
        row[1] = 0
        row[2] = 0
        row[3] = 0
        row = ptr32(int(row) + 16)
        n -= 4
    while n:
        row[0] = 0
        row = ptr32(int(row) + 4)
        n -= 1


@helper
def find_largest(words, at: int, n: int):
    """s.largest = the largest magnitude of n words from distance `at` on."""
    sums = ptr32(origin + at)
    top = 0
    i = 0
    while i < n:
        v = word(sums[i])
        if v < 0:
            v = -v
        if v > top:
            top = v
        i += 1
    s.largest = top


@helper
def round_words(words, at: int, n: int, e: int, most: int):
    """n words from distance `at` on become word / 2^e to the nearest, within -most .. most.

    e < 0 shifts left, and the caller knows that this fits.
    """
    v = ptr32(origin + at)
    i = 0
    while i < n:
        a = word(v[i])
        if e > 31:
            a = 0
        elif e > 0:
            a = rsh(a, e)
        elif e < 0:
            a = a << -e
        a = saturate(a, most)
        v[i] = a
        i += 1
