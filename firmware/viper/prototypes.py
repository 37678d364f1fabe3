"""The head of prototypes: cosines between a sample's features and the mean direction of each class."""

from .fixed import bit_length, int8_shift
from .idioms import *
from .rows import clear, find_largest, round_words


@helper
def square_bits(f: int) -> int:
    """Bits that f numbers may have so that the sum of their squares is at most 2^30."""
    n = (30 - int(bit_length(f - 1))) >> 1
    if n > 14:
        n = 14
    return n


@helper
def inverse_root(words) -> int:
    """1 / sqrt(s.mul) = m * 2^(e - 29), for s.mul up to 2^30: e is returned, m put into s.mul."""
    square = s.mul
    s.mul = 0
    e = 0
    if square > 0:
        while square < 1 << 28:
            square <<= 2
            e += 1
        if square > 0x3FFFFFFF:
            square = 0x3FFFFFFF  # so the root has 15 bits
        root = 0
        bit = 1 << 14
        while bit:
            if (root + bit) * (root + bit) <= square:
                root += bit
            bit >>= 1
        s.mul = ((1 << 29) + (root >> 1)) // root
    return e


@kernel
def prototype_fwd(mem, off: int) -> int:
    """logits (n): the cosine of the features and each prototype, in Q14; returns the nearest."""
    logits = ptr32(origin + ref.logits)
    x = ptr8(origin + ref.x)
    row = ptr16(origin + ref.protos)
    counts = ptr32(origin + ref.counts)
    unit = ptr16(origin + ref.unit)
    norm = ptr32(origin + ref.norm)
    f = r.f
    zero = word(r.zx) + 128
    a = 0
    i = 0
    while i < f:
        v = plus128(x[i]) - zero
        a += v * v
        i += 1
    s.mul = a
    e = int(inverse_root(words))
    m = s.mul
    norm[0] = m
    norm[1] = e
    i = 0
    while i < f:
        v = (plus128(x[i]) - zero) * m
        unit[i] = rsh(v, 15 - e)
        i += 1
    best = 0
    top = -0x20000000
    k = 0
    while k < r.n:
        a = -(1 << 20)
        if word(counts[k]) > 0:
            a = 0
            i = 0
            while i < f:
                a += signed16(row[i]) * signed16(unit[i])
                i += 1
            a = rsh(a, 14)
        logits[k] = a
        if a > top:
            top = a
            best = k
        row = ptr16(int(row) + 2 * f)
        k += 1
    return best


@kernel
def prototype_dx(mem, off: int) -> int:
    """The error g (f) of the features, without its part along them; returns 0 where there is none."""
    err = ptr32(origin + ref.err)
    row = ptr16(origin + ref.protos)
    unit = ptr16(origin + ref.unit)
    norm = ptr32(origin + ref.norm)
    sums = ptr32(origin + ref.sums)
    f = r.f
    clear(0, words, ref.sums, f)
    k = 0
    while k < r.n:
        e = word(err[k])
        i = 0
        while i < f and e:
            sums[i] = sums[i] + (signed16(row[i]) >> 1) * e
            i += 1
        row = ptr16(int(row) + 2 * f)
        k += 1
    find_largest(words, ref.sums, f)
    pre = int(bit_length(s.largest)) - int(square_bits(f))
    if pre < 0:
        pre = 0
    round_words(words, ref.sums, f, pre, 1 << 29)
    a = 0
    i = 0
    while i < f:
        a += word(sums[i]) * signed16(unit[i])
        i += 1
    a = rsh(a, 14)
    factor = norm[0] * r.scale
    factor = rsh(factor, 10)
    mask = ptr8(origin + ref.mask)
    i = 0
    while i < f:
        v = a * signed16(unit[i])
        v = word(sums[i]) - (v >> 14) - ((v >> 13) & 1)
        if ref.mask and mask_bit(mask, i) == 0:
            v = 0
        sums[i] = v * factor
        i += 1
    find_largest(words, ref.sums, f)
    if s.largest == 0:
        return 0
    shift = int(int8_shift(words))
    round_words(words, ref.sums, f, shift, 127)
    g = ptr8(origin + ref.g)
    i = 0
    while i < f:
        g[i] = sums[i]
        i += 1
    base = pre + word(norm[1]) + word(r.scale_exp) - 47
    ptr32(origin + ref.exp)[0] = base + shift
    ptr32(origin + ref.head_exp)[0] = base + int(bit_length(s.largest))
    return 1


@kernel
def prototype_add(mem, off: int) -> int:
    """The sample's features join the prototype of its class; returns how many it has."""
    k = load(ref.label)
    if k < 0 or k >= r.n:
        return 0
    f = r.f
    at = ref.totals + 4 * k * f
    row = ptr16(origin + ref.protos + 2 * k * f)
    totals = ptr32(origin + at)
    counts = ptr32(origin + ref.counts)
    unit = ptr16(origin + ref.unit)
    count = word(counts[k])
    if count <= 0:
        clear(0, words, at, f)
    elif count >= r.window:
        round_words(words, at, f, 1, 0x3FFFFFFF)
        count >>= 1
    i = 0
    while i < f:
        totals[i] = totals[i] + signed16(unit[i])
        i += 1
    find_largest(words, at, f)
    down = int(bit_length(s.largest >> 1)) + 1 - int(square_bits(f))  # of up to 2^30, which is no small int
    a = 0
    i = 0
    while i < f:
        v = word(totals[i])
        if down > 0:
            v = rsh(v, down)
        a += v * v
        i += 1
    s.mul = a
    e = int(inverse_root(words))
    i = 0
    while i < f:
        v = word(totals[i])
        if down > 0:
            v = rsh(v, down)
        v = v * s.mul
        row[i] = rsh(v, 15 - e)
        i += 1
    count = clamp(count, 0, 65534)
    counts[k] = count + 1
    return count + 1
