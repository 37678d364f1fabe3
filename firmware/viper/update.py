"""Updates: gradient sums move weights and biases, at once or through an accumulator.

update_row and move_row do one weight after the other without calls, because every weight passes through them.
"""

from .idioms import *


@helper
def move_row(words, j: int, n: int):
    """Subtract the row's deltas from weights j .. j + n, within +-127 * 2^bits; STAY leaves a weight alone.

    A weight counts in 2^-bits: its int8 in s.k, and its fraction in s.residual where there is one. See
    move_weight in the plain kernels.
    """
    row = scratch(ROW)
    k = ptr8(origin + s.k)
    bits = s.bits
    kept = bits != 0 and s.residual != 0
    rest = k
    if kept:
        rest = ptr8(origin + s.residual)
    limit = 127 << bits
    while n:
        delta = word(row[0])
        if delta != STAY:
            w = signed(k[j]) << bits
            if kept:
                if bits == 8:
                    w += signed(rest[j])
                else:
                    w += nibble(rest, j)
            w -= delta
            w = saturate(w, limit)
            top = w
            if bits:
                top = rsh(w, bits)
            k[j] = top
            if kept:
                w -= top << bits
                if bits == 8:
                    rest[j] = w
                elif j & 1:
                    rest[j >> 1] = rest[j >> 1] & 15 | (w & 15) << 4
                else:
                    rest[j >> 1] = rest[j >> 1] & 240 | w & 15
        row = ptr32(int(row) + 4)
        j += 1
        n -= 1


@reads("conv_dw", "depthwise_dw")
def update_open(words):
    """The words of an update, from the record of a weight gradient."""
    lr = ptr32(origin + ref.lr)
    s.k = ref.k
    s.residual = ref.r
    s.acc = ref.acc
    s.u = ref.u
    s.bits = r.residual
    s.pre = r.pre
    s.rng = ref.rng
    if r.residual == 8 or s.acc:
        s.rng = 0
    if s.acc:
        s.bits = 8
    s.rate = lr[0]
    s.rate_shift = word(lr[1]) - load(ref.gy_exp) - 136 - r.pre - s.bits


@helper
def update_row(words, j: int, o: int, first: int, n: int):
    """Move weights j .. j + n by the gradient sums of the row.

    They belong to output channel o; where o is -1, to the kept channels from `first` on, one each. A sum,
    times the mantissas of channel and rate, is below 2^30; it is shifted to a delta and rounded, at
    random where the record has a generator. With an accumulator the deltas add up there, and the weights
    stay.
    """
    row = scratch(ROW)
    us = ptr16(origin + s.u)
    kept = us
    packed = o < 0 and s.kept != 0
    if packed:
        kept = ptr16(origin + s.kept)
    summed = s.acc != 0
    acc = us
    if summed:
        acc = ptr16(origin + s.acc)
    random = s.rng != 0
    state = s
    if random:
        state = ptr32(origin + s.rng)
    pre = s.pre
    most = 127 << s.bits
    channel = o
    i = 0
    while i < n:
        if packed:
            channel = kept[first + i]
        elif o < 0:
            channel = first + i
        v = word(row[i])
        if pre:
            v = rsh(v, pre)
        t = v * mantissa(us[channel], s.rate)
        if t == 0:
            row[i] = STAY
        else:
            e = word(s.rate_shift) + (us[channel] >> 8)
            if random and e > 0:
                x = state[0]
                x ^= x << 13
                x ^= (x >> 17) & 0x7FFF
                x ^= x << 5
                state[0] = x
                if e > 30:
                    e -= 30
                    if e > 31:
                        e = 31
                    t >>= e
                    e = 30
                t = (t + ((x >> (32 - e)) & ((1 << e) - 1))) >> e
            else:
                t = shifted(t, e, most)
            row[i] = t
            if summed:
                t += signed16(acc[j + i])
                t = saturate(t, 32767)
                acc[j + i] = t
        i += 1
    if not summed:
        move_row(words, j, n)


@helper
def move_bias(words, field: Field, acc: Field, o: int, t: int, e: int):
    """Subtract t / 2^e from bias o, saturated; or add it to the accumulator, where there is one."""
    t = shifted(t, e, 1 << 28)
    if s[AT + acc] == 0:
        acc = field
        t = -t
    bias = ptr32(origin + s[AT + acc])
    v = word(bias[o]) + t
    v = saturate(v, BIAS_MAX)
    bias[o] = v


@kernel
def bias_dw(mem, off: int) -> int:
    """The gradient of oc biases from gy (n, oc), at once turned into their update."""
    gy = origin + ref.gy
    us = ptr16(origin + ref.u)
    lr = ptr32(origin + ref.lr)
    base = word(lr[1]) - load(ref.gy_exp) - 136
    o = 0
    while o < r.oc:
        p = ptr8(gy + o)
        db = -128 * r.n
        n = r.n
        while n:
            db += plus128(p[0])
            p = ptr8(int(p) + r.oc)
            n -= 1
        t = db * mantissa(us[o], lr[0])
        if t:
            move_bias(words, FIELD.bias, FIELD.acc, o, t, base + (us[o] >> 8))
        o += 1
    return 0


@kernel
def fold_weights(mem, off: int) -> int:
    """Weights lose what their accumulators lose; an accumulator keeps keep / 256."""
    row = scratch(ROW)
    acc = ptr16(origin + ref.acc)
    s.k = ref.k
    s.residual = ref.r
    s.bits = r.residual
    shift = 8 - r.residual
    keep = r.keep
    j = 0
    while j < r.n:
        n = r.n - j
        if n > N:
            n = N
        i = 0
        while i < n:
            total = signed16(acc[j + i])
            v = total * keep
            if v < 0:
                v += 255  # toward zero
            v = total - (v >> 8)
            if shift:
                v = rsh(v, shift)
            row[i] = v
            acc[j + i] = total - (v << shift)
            i += 1
        move_row(words, j, n)
        j += n
    return 0


@helper
def fold_biases(words, field: Field, field_acc: Field, n: int, keep: int):
    """n biases lose what their accumulators lose."""
    bias = ptr32(origin + s[AT + field])
    acc = ptr32(origin + s[AT + field_acc])
    i = 0
    while i < n:
        total = word(acc[i])
        kept = total
        if total < 0:
            kept = -total
        kept = (kept >> 8) * keep + (((kept & 255) * keep) >> 8)
        if total < 0:
            kept = -kept
        v = word(bias[i]) - (total - kept)
        v = saturate(v, BIAS_MAX)
        bias[i] = v
        acc[i] = kept
        i += 1


@kernel
def fold_bias(mem, off: int) -> int:
    """As fold_weights."""
    fold_biases(words, FIELD.bias, FIELD.acc, r.n, r.keep)
    return 0


@kernel
def fold_head(mem, off: int) -> int:
    """As fold_weights, for the head's 16-bit weights and its biases."""
    w = ptr16(origin + ref.w)
    acc = ptr16(origin + ref.acc)
    keep = r.keep
    n = r.n * r.f
    i = 0
    while i < n:
        total = signed16(acc[i])
        kept = total * keep
        if kept < 0:
            kept += 255  # toward zero
        kept = kept >> 8
        v = signed16(w[i]) - total + kept
        v = saturate(v, r.limit)
        w[i] = v
        acc[i] = kept
        i += 1
    fold_biases(words, FIELD.bias, FIELD.acc_bias, r.n, keep)
    return 0
