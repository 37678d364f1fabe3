"""The head: logits, losses, and the error and the update that follow from them."""

from .fixed import bit_length, int8_shift
from .idioms import *
from .rows import clear, expand, find_largest
from .update import move_bias


@reads("head_fwd")
def head_dots(p: ptr32, q: ptr16, a: int, words, start: int, n: int):
    """logits[k] += sum of X * w over features start .. start + n.

    As in dots, w + 2^15 is used and 2^15 times the sum of X taken off.
    """
    logits = ptr32(origin + ref.logits)
    w = origin + ref.w + 2 * start
    k = 0
    while k < r.n:
        a = 0
        p = scratch(X)
        q = ptr16(w)
        i = n
        while i:
            a += p[0] * (q[0] ^ 0x8000)
            p = ptr32(int(p) + 4)
            q = ptr16(int(q) + 2)
            i -= 1
        logits[k] = logits[k] + a - (s.sum << 15)
        w += 2 * r.f
        k += 1


@kernel
def head_fwd(mem, off: int) -> int:
    """logits (n) from features x (f), and bias; returns the class with the largest.

    The bias is multiplied with 64 bits, in halves: low and high.
    """
    logits = ptr32(origin + ref.logits)
    bias = ptr32(origin + ref.bias)
    s.input = ref.x
    s.kept = 0
    s.nk = 1
    s.ic = 1
    s.zx = r.zx
    clear(0, words, ref.logits, r.n)
    start = 0
    while start < r.f:
        n = r.f - start
        if n > N:
            n = N
        expand(words, start, 0, 0, n)
        head_dots(0, 0, 0, words, start, n)
        start += n
    most = 0x3FFFFFFF
    most = most * 2 + 1
    mh = r.bias_mul >> 16
    ml = r.bias_mul & 0xFFFF
    e = r.bias_shift
    best = 0
    top = -most
    k = 0
    while k < r.n:
        v = word(bias[k])
        al = v & 0xFFFF
        low = al * ml
        t = al * mh + ((low >> 16) & 0xFFFF)
        u = (v >> 16) * ml
        middle = (t & 0xFFFF) + (u & 0xFFFF)
        high = (v >> 16) * mh + (t >> 16) + (u >> 16) + (middle >> 16)
        low = (middle & 0xFFFF) << 16 | (low & 0xFFFF)
        sign = high >> 31
        if e > 31:
            v = high >> (e - 32)
        elif e:
            v = (low >> e) & ((1 << (32 - e)) - 1) | high << (32 - e)
            sign = high >> e
        else:
            v = low
            sign = high
        v = word(v)
        if sign != v >> 31:
            v = most
            if high < 0:
                v = -most
        a = word(logits[k])
        t = word(a + v)
        if (a ^ t) & (v ^ t) < 0:
            t = most
            if a < 0:
                t = -most
        if t < -most:
            t = -most
        logits[k] = t
        if t > top:
            top = t
            best = k
        k += 1
    return best


@kernel
def softmax_loss(mem, off: int) -> int:
    """logits become p - y in Q15; returns the loss in 1/1024 nat."""
    logits = ptr32(origin + ref.logits)
    label = ptr32(origin + ref.label)
    exps = ptr16(origin + ref.exp_table)
    logs = ptr16(origin + ref.ln_table)
    n = r.n
    pre = r.pre
    top = word(logits[0])
    k = 1
    while k < n:
        v = word(logits[k])
        if v > top:
            top = v
        k += 1
    total = 0
    k = 0
    while k < n:
        d = top - word(logits[k])  # up to 2^32: without a sign
        if pre:
            d = ((d >> pre) & ((1 << (32 - pre)) - 1)) + ((d >> (pre - 1)) & 1)
        if d > 32767 or d < 0:
            d = 32767
        d = d * r.mul
        e = r.shift
        if e:
            d = rsh(d, e)
        v = 0
        if d < 256:
            v = exps[d]
        logits[k] = v
        total += v
        k += 1
    if total == 0:
        total = 1
    loss = 0
    k = 0
    while k < n:
        p = ((logits[k] << 15) + (total >> 1)) // total
        if k == label[0]:
            loss = 11357  # ln 65536: half of the smallest probability
            if p:
                v = p
                octaves = 0
                while v < 32768:
                    v <<= 1
                    octaves += 1
                loss = ((octaves * 45426 + 32) >> 6) - signed16(logs[(v >> 8) - 128])
                if loss < 0:
                    loss = 0
            p -= 32768
        logits[k] = p
        k += 1
    return loss


@kernel
def head_dx(mem, off: int) -> int:
    """The error g (f) of the features; returns 0 where there is none."""
    g = ptr8(origin + ref.g)
    err = ptr32(origin + ref.err)
    w = ptr16(origin + ref.w)
    sums = ptr32(origin + ref.sums)
    f = r.f
    clear(0, words, ref.sums, f)
    k = 0
    while k < r.n:
        e = word(err[k])
        i = 0
        while i < f and e:
            sums[i] = sums[i] + (signed16(w[i]) >> 1) * e
            i += 1
        w = ptr16(int(w) + 2 * f)
        k += 1
    if ref.mask:
        mask = ptr8(origin + ref.mask)
        i = 0
        while i < f:
            if mask_bit(mask, i) == 0:
                sums[i] = 0
            i += 1
    find_largest(words, ref.sums, f)
    if s.largest == 0:
        return 0
    pre = int(bit_length(s.largest)) - 22
    if pre < 0:
        pre = 0
    i = 0
    while i < f:
        v = word(sums[i])
        if pre:
            v = rsh(v, pre)
        sums[i] = v * r.scale
        i += 1
    find_largest(words, ref.sums, f)
    shift = int(int8_shift(words))
    i = 0
    while i < f:
        v = word(sums[i])
        if shift > 0:
            v = rsh(v, shift)
        else:
            v = v << -shift
        g[i] = v
        i += 1
    base = pre + word(r.scale_exp) - 26
    ptr32(origin + ref.exp)[0] = base + shift
    ptr32(origin + ref.head_exp)[0] = base + int(bit_length(s.largest))
    return 1


@kernel
def head_dw(mem, off: int) -> int:
    """Weights (n, f) and biases move, or their accumulators."""
    plain = ref.acc == 0
    w = ptr16(origin + ref.acc)
    most = 32767
    if plain:
        w = ptr16(origin + ref.w)
        most = r.limit
    err = ptr32(origin + ref.err)
    x = ptr8(origin + ref.x)
    lr = ptr32(origin + ref.lr)
    zero = word(r.zx) + 128
    m = (r.u * lr[0] + 128) >> 8
    if m > 127:
        m = 127  # |err * x| < 2^23, times 7 bits: below 2^30
    e = word(r.u_shift) + word(lr[1]) + 7
    limit = r.limit
    if e < 0:
        if e < -31:
            e = -31
        limit = limit >> -e  # the largest that may still be shifted
    k = 0
    while k < r.n:
        em = word(err[k]) * m
        i = 0
        while i < r.f:
            t = em * (plus128(x[i]) - zero)
            if e > 31:
                t = 0
            elif e > 0:
                t = rsh(t, e)
            if t > limit:
                t = r.limit
            elif t < -limit:
                t = -r.limit
            elif e < 0:
                t = t << -e
            v = signed16(w[i])
            if plain:
                v -= t
            else:
                v += t
            v = saturate(v, most)
            w[i] = v
            i += 1
        w = ptr16(int(w) + 2 * r.f)
        t = word(err[k]) * lr[0]
        i = word(lr[1]) - 1
        if i < 0:
            i = 0
        move_bias(
            words, FIELD.bias, FIELD.acc_bias, k, t, i
        )  # |err * rate| < 2^24: saturation has nothing to do
        k += 1
    return 0


@kernel
def mse_loss(mem, off: int) -> int:
    """The mean square of y - target."""
    y = ptr8(origin + ref.y)
    target = ptr8(origin + ref.target)
    n = r.n
    total = n // 2
    i = 0
    while i < n:
        d = plus128(y[i]) - plus128(target[i])
        total += d * d  # at most 65,025 each
        i += 1
    return total // n


@kernel
def mse_dx(mem, off: int) -> int:
    """The error g (n), y - target; returns the largest magnitude, so 0 where there is none."""
    g = ptr8(origin + ref.g)
    y = ptr8(origin + ref.y)
    target = ptr8(origin + ref.target)
    masked = ref.mask
    mask = y
    if masked:
        mask = ptr8(origin + ref.mask)
    top = 0
    i = 0
    while i < r.n:
        v = plus128(y[i]) - plus128(target[i])
        v = saturate(v, 127)
        if masked and mask_bit(mask, i) == 0:
            v = 0
        g[i] = v
        if v < 0:
            v = -v
        if v > top:
            top = v
        i += 1
    scale = word(r.scale_exp)
    ptr32(origin + ref.exp)[0] = scale
    ptr32(origin + ref.head_exp)[0] = scale + int(bit_length(top))
    return top
