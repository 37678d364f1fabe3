"""Every kernel as native code from Python: bit for bit what plain/core.py says, without a C compiler.

Boards get this file precompiled for their architecture; only MicroPython compiles it. A kernel is called with
what bind() gives and the byte offset of its record. Nothing here allocates: numbers that pass between
functions fit 30 bits; larger ones, and addresses, go through the scratch words, addresses as distances from
`origin`. Words are 32 bits wide, but on a 64-bit machine viper's are 64: loads come without their sign, and
sums do not wrap. `v << wide >> wide` makes a number of 32 bits of either. Products of 32 bits are made of
16-bit halves, as in fixed.c. The first three names of a function live in registers: where a loop is hot they
are its pointers and its sum."""

import sys

import micropython
from micropython import const

# Scratch words: what a kernel and its helpers share; then a run of inputs X, then a row of sums.
_WIDE = const(0)  # bits of a word beyond 32
_RECORD = const(1)  # distances; 0 means absent
_WORDS = const(2)  # the scratch itself
_SPACES = const(8)
_AT = const(16)  # what the fields of the record refer to
_Y = const(48)  # of an output or an error: distances, then numbers
_MASK = const(49)
_MULT = const(50)
_SHIFT = const(51)
_ZERO = const(52)
_LOW = const(53)
_HIGH = const(54)
_ONCE = const(55)
_INPUT = const(56)
_WEIGHTS = const(57)
_KEPT = const(58)
_NK = const(59)
_IC = const(60)
_ZX = const(61)
_SUM = const(62)  # of X
_ADD = const(64)  # of an error
_MUL = const(65)
_DOWN = const(66)
_UP = const(67)
_BASE = const(68)
_TO = const(69)
_MAX = const(70)
_TRACK = const(71)
_K = const(64)  # of an update
_R = const(65)
_ACC = const(66)
_RNG = const(67)
_U = const(68)
_RATE = const(69)
_RATE_SHIFT = const(70)
_BITS = const(71)
_PRE = const(72)
_PITCH = const(73)  # of a band: from row to row of its inputs in X
_BAND = const(74)  # rows and columns of its outputs
_MOST = const(75)
_SCALE = const(76)  # of its inputs
_CUT = const(77)
_STEP = const(78)  # from input to input, from weight to weight
_APART = const(79)
_IH = const(80)  # and its geometry, in the order of records
_IW = const(81)
_OH = const(83)
_OW = const(84)
_OC = const(85)
_KH = const(86)
_KW = const(87)
_SH = const(88)
_SW = const(89)
_PT = const(90)
_PL = const(91)
_X = const(92)
_ROW = const(348)
_N = const(256)  # numbers in X and in a row
_SCRATCH = const(604)

_OFFSET = const(0xFFFFFFF)
_FIELDS = const(32)
_STAY = const(0x3FFFFFFF)  # a delta: leave the weight alone
_BIAS_MAX = const(1 << 29)


@micropython.viper
def _address(buffer: ptr8) -> uint:
    return uint(int(buffer))


@micropython.viper
def _put(words: ptr32, i: int, v: int):
    words[i] = v


def bind(arena, state, const, steps, weights=b""):
    """The first argument of every kernel: the scratch words, and all buffers to keep them alive."""
    words = bytearray(4 * _SCRATCH)
    buffers = [b if len(b) else words for b in (arena, state, const, steps, weights, words)]
    places = [_address(b) for b in buffers]
    origin = min(places) - 16
    if (max(places) - origin) >> 31:
        raise ValueError("memory lies too far apart for these kernels: use others")
    _put(words, _WIDE, 32 if sys.maxsize >> 40 else 0)
    for i in range(5):
        _put(words, _SPACES + i, places[i] - origin)
    _put(words, _WORDS, places[5] - origin)
    return (words, buffers)


@micropython.viper
def _open(words, off: int):
    """Finds the record and what its fields refer to. Of fields that are numbers it makes distances that
    nobody reads."""
    s = ptr32(words)
    s[_RECORD] = s[_SPACES + 3] + off
    r = ptr32(int(s) - s[_WORDS] + s[_RECORD])
    i = 1
    while i < _FIELDS:
        s[_AT + i] = 0
        if (r[i] >> 31) == 0:
            s[_AT + i] = s[_SPACES + (r[i] >> 28)] + (r[i] & _OFFSET)
        i += 1


# -- rows: sums to int8 --------------------------------------------------------------------------------------


@micropython.viper
def _put_row(words, channel: int, step: int, at: int, apart: int, n: int):
    """A row of n sums, each times its channel's multiplier, rounded as TensorFlow Lite does, twice or once;
    then as outputs at, at + apart, ...: zero point, clamp, mask bit. The channel moves by `step`. at < 0:
    leave them in the row."""
    s = ptr32(words)
    origin = int(s) - s[_WORDS]
    row = ptr32(int(s) + 4 * _ROW)
    wide = s[_WIDE]
    once = s[_ONCE]
    mult = ptr32(origin + s[_MULT] + 4 * channel)
    shift = ptr8(origin + s[_SHIFT] + channel)
    y = ptr8(origin + s[_Y])
    mask = ptr8(origin + s[_MASK])
    zero = s[_ZERO] << wide >> wide
    low = (s[_LOW] << wide >> wide) - zero
    high = (s[_HIGH] << wide >> wide) - zero
    while n:
        a = row[0] << wide >> wide
        e = (shift[0] ^ 128) - 128
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
                v = (v >> (e - 32)) + ((v >> (e - 33)) & 1)
            elif e == 32:
                v += (lows >> 31) & 1
            elif e:
                v = ((lows >> e) & ((1 << (32 - e)) - 1) | v << (32 - e)) + ((lows >> (e - 1)) & 1)
            else:
                v = lows
            v = v << wide >> wide
        else:
            v = 2 * ah * mh + (t >> 15) + (u >> 15) + (((t & 0x7FFF) + (u & 0x7FFF) + 0x4000) >> 15)
            if e < 0:
                v += v >> 31
                v = (v >> -e) + ((v >> (-1 - e)) & 1)
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
            if s[_MASK]:
                mask[at >> 3] = mask[at >> 3] & ~bit | inside
            at += apart
        row = ptr32(int(row) + 4)
        mult = ptr32(int(mult) + 4 * step)
        shift = ptr8(int(shift) + step)
        n -= 1


@micropython.viper
def _bit_length(v: int) -> int:
    """Of a magnitude below 2^31."""
    n = 0
    while v:
        v >>= 1
        n += 1
    return n


@micropython.viper
def _int8_shift(s: ptr32, wide: int) -> int:
    """The shift that brings the magnitude in _MAX into 7 bits, after rounding too."""
    v = s[_MAX] << wide >> wide
    n = -7
    while v:
        v >>= 1
        n += 1
    v = s[_MAX] << wide >> wide
    if n > 0 and (v >> n) + ((v >> (n - 1)) & 1) > 127:
        n += 1
    return n


# -- convolution: forward ------------------------------------------------------------------------------------


@micropython.viper
def _expand(words, pixel: int, j: int, to: int, n: int):
    """X[to .. to + n) = x - zx, from the j-th kept channel of `pixel` on, pixel by pixel; their sum to _SUM.
    """
    s = ptr32(words)
    origin = int(s) - s[_WORDS]
    x = ptr8(origin + s[_INPUT])
    out = ptr32(int(s) + 4 * (_X + to))
    zero = (s[_ZX] << s[_WIDE] >> s[_WIDE]) + 128
    total = 0
    if to:
        total = s[_SUM]
    all_channels = s[_KEPT] == 0
    if all_channels and s[_NK] == s[_IC]:
        x = ptr8(int(x) + pixel + j)
        while n:
            v = (x[0] ^ 128) - zero
            out[0] = v
            total += v
            x = ptr8(int(x) + 1)
            out = ptr32(int(out) + 4)
            n -= 1
    else:
        kept = ptr16(s)
        if not all_channels:
            kept = ptr16(origin + s[_KEPT])
        pixel += j // s[_NK] * s[_IC]
        j = j % s[_NK]
        while n:
            c = j
            if not all_channels:
                c = kept[j]
            v = (x[pixel + c] ^ 128) - zero
            out[0] = v
            total += v
            out = ptr32(int(out) + 4)
            j += 1
            if j == s[_NK]:
                j = 0
                pixel += s[_IC]
            n -= 1
    s[_SUM] = total


@micropython.viper
def _dots(x: ptr32, w: ptr8, a: int, words, n: int, outputs: int, apart: int):
    """row[o] += sum of X * w for rows of w that lie `apart`. The sum is over w + 128, less 128 times the sum
    of X."""
    s = ptr32(words)
    first = int(s) - s[_WORDS] + s[_WEIGHTS]
    row = ptr32(int(s) + 4 * _ROW)
    less = s[_SUM] << 7
    while outputs:
        a = 0
        x = ptr32(int(s) + 4 * _X)
        w = ptr8(first)
        left = n >> 3
        while left:
            a += x[0] * (w[0] ^ 128)
            a += x[1] * (w[1] ^ 128)
            a += x[2] * (w[2] ^ 128)
            a += x[3] * (w[3] ^ 128)
            a += x[4] * (w[4] ^ 128)
            a += x[5] * (w[5] ^ 128)
            a += x[6] * (w[6] ^ 128)
            a += x[7] * (w[7] ^ 128)
            x = ptr32(int(x) + 32)
            w = ptr8(int(w) + 8)
            left -= 1
        left = n & 7
        while left:
            a += x[0] * (w[0] ^ 128)
            x = ptr32(int(x) + 4)
            w = ptr8(int(w) + 1)
            left -= 1
        row[0] = row[0] + a - less
        row = ptr32(int(row) + 4)
        first += apart
        outputs -= 1


@micropython.viper
def _conv_row(words, o: int, n: int, oy: int):
    """Outputs o to o + n of one row of positions."""
    s = ptr32(words)
    origin = int(s) - s[_WORDS]
    r = ptr32(origin + s[_RECORD])
    row = ptr32(int(s) + 4 * _ROW)
    bias = ptr32(origin + s[_AT + 6] + 4 * o)
    kh = r[16]
    kw = r[17]
    iy = oy * r[18] - r[20]
    top = 0
    bottom = kh
    if iy < 0:
        top = -iy
    if bottom > r[10] - iy:
        bottom = r[10] - iy
    ox = 0
    while ox < r[14]:
        i = 0
        while i < n:
            row[i] = bias[i]
            i += 1
        ix = ox * r[19] - r[21]
        left = 0
        right = kw
        if ix < 0:
            left = -ix
        if right > r[11] - ix:
            right = r[11] - ix
        plane = 0
        while plane < 2:
            if s[_AT + 3 + plane] and left < right:
                nk = r[12]
                s[_KEPT] = 0
                if plane:
                    nk = r[22]
                    s[_KEPT] = s[_AT + 5]
                s[_NK] = nk
                fill = 0
                ky = top
                while ky < bottom:
                    done = 0
                    total = (right - left) * nk
                    while done < total:
                        part = total - done
                        if part > _N - fill:
                            part = _N - fill
                        if fill == 0:
                            s[_WEIGHTS] = s[_AT + 3 + plane] + ((o * kh + ky) * kw + left) * nk + done
                        _expand(words, ((iy + ky) * r[11] + ix + left) * r[12], done, fill, part)
                        fill += part
                        done += part
                        if fill == _N or (done == total and (right - left < kw or ky + 1 == bottom)):
                            _dots(0, 0, 0, words, fill, n, kh * kw * nk)
                            fill = 0
                    ky += 1
            plane += 1
        _put_row(words, o, 1, (oy * r[14] + ox) * r[15] + o, 1, n)
        ox += 1


@micropython.viper
def conv_fwd(mem, off: int) -> int:
    words = mem[0]
    s = ptr32(words)
    _open(words, off)
    origin = int(s) - s[_WORDS]
    r = ptr32(origin + s[_RECORD])
    s[_Y] = s[_AT + 1]
    s[_INPUT] = s[_AT + 2]
    s[_MULT] = s[_AT + 7]
    s[_SHIFT] = s[_AT + 8]
    s[_MASK] = s[_AT + 9]
    s[_IC] = r[12]
    s[_ZX] = r[23]
    s[_ZERO] = r[24]
    s[_LOW] = r[25]
    s[_HIGH] = r[26]
    s[_ONCE] = r[27]
    o = 0
    while o < r[15]:
        n = r[15] - o
        if n > _N:
            n = _N
        oy = 0
        while oy < r[13]:
            _conv_row(words, o, n, oy)
            oy += 1
        o += n
    return 0


# -- depthwise: channel by channel, in bands of outputs whose inputs fit X -----------------------------------


@micropython.viper
def _plan_bands(words):
    """How many rows and columns of outputs a band has; no columns: not even one output's inputs fit. Taps are taken
    by three, so each row of inputs has room for a multiple of that."""
    s = ptr32(words)
    groups = (s[_KW] + 2) // 3 * 3
    n = _N // s[_KH] - groups
    s[_MOST] = 0
    if n < 0:
        return
    n = n // s[_SW] + 1
    if n > s[_OW]:
        n = s[_OW]
    s[_MOST] = n
    s[_PITCH] = (n - 1) * s[_SW] + groups
    rows = (_N // s[_PITCH] - s[_KH]) // s[_SH] + 1
    if rows * n > _N:
        rows = _N // n
    if n < s[_OW]:
        rows = 1
    s[_BAND] = rows


@micropython.viper
def _widen(x: ptr32, p: ptr8, words, oy: int, ox: int, rows: int, n: int):
    """X = ((input - zero) * scale + half) >> shift of all that a band of rows x n outputs from (oy, ox) on sees; pads
    stay 0."""
    s = ptr32(words)
    wide = s[_WIDE]
    inputs = int(s) - s[_WORDS] + s[_INPUT]
    step = s[_STEP]
    zero = (s[_ZX] << wide >> wide) + 128
    scale = s[_SCALE] << wide >> wide
    shift = s[_CUT]
    half = 0
    if shift:
        half = 1 << (shift - 1)
    top = oy * s[_SH] - (s[_PT] << wide >> wide)
    left = ox * s[_SW] - (s[_PL] << wide >> wide)
    bottom = top + (rows - 1) * s[_SH] + s[_KH]
    if bottom > s[_IH]:
        bottom = s[_IH]
    n = left + (n - 1) * s[_SW] + s[_KW]
    if n > s[_IW]:
        n = s[_IW]
    ix = left
    if ix < 0:
        ix = 0
    n -= ix
    iy = top
    if iy < 0:
        iy = 0
    while iy < bottom:
        p = ptr8(inputs + (iy * s[_IW] + ix) * step)
        x = ptr32(int(s) + 4 * (_X + (iy - top) * s[_PITCH] + ix - left))
        i = n
        while i > 0:
            x[0] = half + scale * ((p[0] ^ 128) - zero) >> shift
            p = ptr8(int(p) + step)
            x = ptr32(int(x) + 4)
            i -= 1
        iy += 1


@micropython.viper
def _add_taps(x: ptr32, a: int, words, rows: int, n: int):
    """Rows of n sums += the products of a band's inputs, three taps at a time. What is multiplied stands to the left:
    so it need not wait in memory."""
    s = ptr32(words)
    step = 4 * s[_SW]
    down = 4 * s[_SH] * s[_PITCH]
    apart = s[_APART] << s[_WIDE] >> s[_WIDE]
    weights = int(s) - s[_WORDS] + s[_WEIGHTS]
    inputs = int(s) + 4 * _X
    ky = s[_KH]
    while ky:
        kx = 0
        while kx < s[_KW]:
            taps = ptr8(weights)
            u = (taps[0] ^ 128) - 128
            v = 0
            w = 0
            if s[_KW] - kx > 1:
                v = (taps[apart] ^ 128) - 128
            if s[_KW] - kx > 2:
                w = (taps[2 * apart] ^ 128) - 128
            row = ptr32(int(s) + 4 * _ROW)
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
        weights += (s[_KW] - kx) * apart
        inputs += 4 * s[_PITCH]
        ky -= 1


@micropython.viper
def _put_channel(row: ptr32, a: int, words, o: int, at: int, n: int):
    """What _put_row does, of one usual channel: n outputs from `at` on from sums without the bias."""
    s = ptr32(words)
    origin = int(s) - s[_WORDS]
    row = ptr32(int(s) + 4 * _ROW)
    wide = s[_WIDE]
    oc = s[_OC]
    biases = ptr32(origin + s[_AT + 6] + 4 * o)
    bias = biases[0]
    mult = ptr32(origin + s[_MULT] + 4 * o)
    ml = mult[0] & 0xFFFF
    mh = mult[0] >> 16
    double = 2 * mh
    shift = ptr8(origin + s[_SHIFT] + o)
    e = 128 - (shift[0] ^ 128)
    half = 1 << (e - 1)
    y = ptr8(origin + s[_Y])
    mask = ptr8(origin + s[_MASK])
    masked = s[_MASK] != 0
    lowest = s[_LOW] << wide >> wide
    span = (s[_HIGH] << wide >> wide) - lowest
    low = lowest - (s[_ZERO] << wide >> wide)
    while n:
        a = (bias + row[0]) << wide >> wide
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


@micropython.viper
def _bands(words, channel: int, back: int):
    """All outputs of one channel, or errors of its inputs."""
    s = ptr32(words)
    row = s[_WORDS] + 4 * _ROW
    ox = 0
    while ox < s[_OW]:
        n = s[_OW] - ox
        if n > s[_MOST]:
            n = s[_MOST]
        oy = 0
        while oy < s[_OH]:
            rows = s[_OH] - oy
            if rows > s[_BAND]:
                rows = s[_BAND]
            _clear(0, words, s[_WORDS] + 4 * _X, _N)
            _clear(0, words, row, rows * n)
            _widen(0, 0, words, oy, ox, rows, n)
            _add_taps(0, 0, words, rows, n)
            at = (oy * s[_OW] + ox) * s[_OC] + channel
            if back:
                _error_row(words, row, at, s[_OC], rows * n)
            else:
                _put_channel(0, 0, words, channel, at, rows * n)
            oy += rows
        ox += n


@micropython.viper
def _is_usual(words, o: int) -> int:
    """Whether channel o has weights, a bias below 2^29 and a shift to the right."""
    s = ptr32(words)
    origin = int(s) - s[_WORDS]
    bias = ptr32(origin + s[_AT + 6] + 4 * o)
    shift = ptr8(origin + s[_SHIFT] + o)
    b = bias[0] << s[_WIDE] >> s[_WIDE] >> 29
    if s[_WEIGHTS] and (b == 0 or b == -1) and (shift[0] ^ 128) < 128:
        return 1
    return 0


@micropython.viper
def _channel_weights(words, field: int, nk: int, o: int, oc: int) -> int:
    """Finds channel o in the trained plane, else in the frozen tensor; returns how far apart its weights lie
    there.

    The record's fields w, k and kept begin at `field`. Where a channel is trained, the frozen tensor holds
    zeros."""
    s = ptr32(words)
    kept = ptr16(int(s) - s[_WORDS] + s[_AT + 2 + field])
    s[_WEIGHTS] = 0
    j = 0
    while j < nk and s[_AT + 1 + field]:
        c = j
        if s[_AT + 2 + field]:
            c = kept[j]
        if c == o:
            s[_WEIGHTS] = s[_AT + 1 + field] + j
            return nk
        j += 1
    if s[_AT + field]:
        s[_WEIGHTS] = s[_AT + field] + o
    return oc


@micropython.viper
def _channel_input(words, x: int, plane: int, channel: int, step: int, n: int) -> int:
    """Finds a channel of n numbers in field x, or copies it to field `plane`; returns how far apart they lie
    there."""
    s = ptr32(words)
    origin = int(s) - s[_WORDS]
    s[_INPUT] = s[_AT + x] + channel
    if plane == 0 or s[_AT + plane] == 0:
        return step
    p = ptr8(origin + s[_INPUT])
    s[_INPUT] = s[_AT + plane]
    q = ptr8(origin + s[_INPUT])
    while n:
        q[0] = p[0]
        p = ptr8(int(p) + step)
        q = ptr8(int(q) + 1)
        n -= 1
    return 1


@micropython.viper
def _depthwise_row(p: ptr8, q: ptr8, a: int, words, step: int, apart: int, oy: int, ox: int, n: int):
    """Row of n sums of one channel, whose inputs lie `step` apart and its weights `apart`."""
    s = ptr32(words)
    origin = int(s) - s[_WORDS]
    r = ptr32(origin + s[_RECORD])
    row = ptr32(int(s) + 4 * _ROW)
    inputs = origin + s[_INPUT]
    weights = origin + s[_WEIGHTS]
    zero = (r[24] << s[_WIDE] >> s[_WIDE]) + 128
    kw = r[18]
    iy = oy * r[19] - r[21]
    top = 0
    bottom = r[17]
    if iy < 0:
        top = -iy
    if bottom > r[11] - iy:
        bottom = r[11] - iy
    while n:
        ix = ox * r[20] - r[22]
        left = 0
        right = kw
        if ix < 0:
            left = -ix
        if right > r[12] - ix:
            right = r[12] - ix
        a = 0
        ky = top
        while ky < bottom:
            p = ptr8(inputs + ((iy + ky) * r[12] + ix + left) * step)
            q = ptr8(weights + (ky * kw + left) * apart)
            i = right - left
            while i > 0:
                a += ((p[0] ^ 128) - zero) * ((q[0] ^ 128) - 128)
                p = ptr8(int(p) + step)
                q = ptr8(int(q) + apart)
                i -= 1
            ky += 1
        row[0] = row[0] + a
        row = ptr32(int(row) + 4)
        ox += 1
        n -= 1


@micropython.viper
def depthwise_fwd(mem, off: int) -> int:
    words = mem[0]
    s = ptr32(words)
    _open(words, off)
    origin = int(s) - s[_WORDS]
    r = ptr32(origin + s[_RECORD])
    row = ptr32(int(s) + 4 * _ROW)
    s[_Y] = s[_AT + 1]
    s[_MULT] = s[_AT + 7]
    s[_SHIFT] = s[_AT + 8]
    s[_MASK] = s[_AT + 9]
    s[_ZERO] = r[25]
    s[_LOW] = r[26]
    s[_HIGH] = r[27]
    s[_ONCE] = 0
    s[_ZX] = r[24]
    s[_SCALE] = 1
    s[_CUT] = 0
    i = 0
    while i < 12:
        s[_IH + i] = r[11 + i]
        i += 1
    _plan_bands(words)
    bias = ptr32(origin + s[_AT + 6])
    oc = r[16]
    many = oc // r[13]
    o = 0
    while o < oc:
        step = int(_channel_input(words, 2, 10, o // many, r[13], r[11] * r[12]))
        apart = int(_channel_weights(words, 3, r[23], o, oc))
        oy = 0
        if s[_MOST] and int(_is_usual(words, o)):
            s[_STEP] = step
            s[_APART] = apart
            _bands(words, o, 0)
            oy = r[14]
        while oy < r[14]:
            ox = 0
            while ox < r[15]:
                n = r[15] - ox
                if n > _N:
                    n = _N
                i = 0
                while i < n:
                    row[i] = bias[o]
                    i += 1
                if s[_WEIGHTS]:
                    _depthwise_row(0, 0, 0, words, step, apart, oy, ox, n)
                _put_row(words, o, 0, (oy * r[15] + ox) * oc + o, oc, n)
                ox += n
            oy += 1
        o += 1
    return 0


# -- other forward kernels -----------------------------------------------------------------------------------


@micropython.viper
def _load_row(words, x: int, start: int, zero: int, shift: int, n: int):
    """Row = (x - zero) << shift, by the record's fields x and zero."""
    s = ptr32(words)
    origin = int(s) - s[_WORDS]
    r = ptr32(origin + s[_RECORD])
    row = ptr32(int(s) + 4 * _ROW)
    p = ptr8(origin + s[_AT + x] + start)
    less = (r[zero] << s[_WIDE] >> s[_WIDE]) + 128
    i = 0
    while i < n:
        row[i] = ((p[i] ^ 128) - less) << shift
        i += 1


@micropython.viper
def _put_by(words, mult: int, at: int, n: int):
    """_put_row by the record's fields mult and, behind it, shift."""
    s = ptr32(words)
    s[_MULT] = s[_RECORD] + 4 * mult
    s[_SHIFT] = s[_RECORD] + 4 * mult + 4
    _put_row(words, 0, 0, at, 1, n)


@micropython.viper
def _set_output(words, mask: int, zero: int, low: int):
    """The scratch words of an output from fields of its record; 0: none; low and high behind it, else all of
    int8."""
    s = ptr32(words)
    r = ptr32(int(s) - s[_WORDS] + s[_RECORD])
    s[_Y] = s[_AT + 1]
    s[_MASK] = 0
    if mask:
        s[_MASK] = s[_AT + mask]
    s[_ZERO] = 0
    if zero:
        s[_ZERO] = r[zero]
    s[_LOW] = -128
    s[_HIGH] = 127
    if low:
        s[_LOW] = r[low]
        s[_HIGH] = r[low + 1]
    s[_ONCE] = 0


@micropython.viper
def add_fwd(mem, off: int) -> int:
    words = mem[0]
    s = ptr32(words)
    _open(words, off)
    origin = int(s) - s[_WORDS]
    r = ptr32(origin + s[_RECORD])
    row = ptr32(int(s) + 4 * _ROW)
    first = ptr32(int(s) + 4 * _X)
    _set_output(words, 4, 8, 15)
    at = 0
    while at < r[5]:
        n = r[5] - at
        if n > _N:
            n = _N
        _load_row(words, 2, at, 6, 20, n)
        _put_by(words, 9, -1, n)
        i = 0
        while i < n:
            first[i] = row[i]
            i += 1
        _load_row(words, 3, at, 7, 20, n)
        _put_by(words, 11, -1, n)
        i = 0
        while i < n:
            row[i] = row[i] + first[i]
            i += 1
        _put_by(words, 13, at, n)
        at += n
    return 0


@micropython.viper
def requantize_fwd(mem, off: int) -> int:
    words = mem[0]
    s = ptr32(words)
    _open(words, off)
    origin = int(s) - s[_WORDS]
    r = ptr32(origin + s[_RECORD])
    _set_output(words, 3, 6, 0)
    at = 0
    while at < r[4]:
        n = r[4] - at
        if n > _N:
            n = _N
        _load_row(words, 2, at, 5, 0, n)
        _put_by(words, 7, at, n)
        at += n
    return 0


@micropython.viper
def mean_fwd(mem, off: int) -> int:
    words = mem[0]
    s = ptr32(words)
    _open(words, off)
    origin = int(s) - s[_WORDS]
    r = ptr32(origin + s[_RECORD])
    row = ptr32(int(s) + 4 * _ROW)
    x = ptr8(origin + s[_AT + 2])
    _set_output(words, 3, 7, 0)
    zero = (r[6] << s[_WIDE] >> s[_WIDE]) + 128
    ic = r[5]
    at = 0
    while at < ic:
        n = ic - at
        if n > _N:
            n = _N
        i = 0
        while i < n:
            a = -zero * r[4]
            p = ptr8(int(x) + at + i)
            left = r[4]
            while left:
                a += p[0] ^ 128
                p = ptr8(int(p) + ic)
                left -= 1
            row[i] = a
            i += 1
        _put_by(words, 8, at, n)
        at += n
    return 0


@micropython.viper
def _pool_channel(words, oy: int, ox: int, i: int, largest: int) -> int:
    """The largest input of one window, or their mean, ties away from zero; pads do not count."""
    s = ptr32(words)
    origin = int(s) - s[_WORDS]
    r = ptr32(origin + s[_RECORD])
    x = ptr8(origin + s[_AT + 2])
    best = -128
    a = 0
    n = 0
    ky = 0
    while ky < r[9]:
        iy = oy * r[11] - r[13] + ky
        kx = 0
        while kx < r[10] and iy >= 0 and iy < r[3]:
            ix = ox * r[12] - r[14] + kx
            if ix >= 0 and ix < r[4]:
                v = (x[(iy * r[4] + ix) * r[5] + i] ^ 128) - 128
                a += v
                n += 1
                if v > best:
                    best = v
            kx += 1
        ky += 1
    if largest:
        return best
    if n == 0:
        return 0
    if a > 0:
        return (a + n // 2) // n
    return -((n // 2 - a) // n)


@micropython.viper
def _pool(words, largest: int):
    s = ptr32(words)
    origin = int(s) - s[_WORDS]
    r = ptr32(origin + s[_RECORD])
    y = ptr8(origin + s[_AT + 1])
    low = r[15] << s[_WIDE] >> s[_WIDE]
    high = r[16] << s[_WIDE] >> s[_WIDE]
    oy = 0
    while oy < r[6]:
        ox = 0
        while ox < r[7]:
            i = 0
            while i < r[5]:
                v = int(_pool_channel(words, oy, ox, i, largest))
                if v < low:
                    v = low
                elif v > high:
                    v = high
                y[i] = v
                i += 1
            y = ptr8(int(y) + r[5])
            ox += 1
        oy += 1


@micropython.viper
def avg_pool_fwd(mem, off: int) -> int:
    words = mem[0]
    _open(words, off)
    _pool(words, 0)
    return 0


@micropython.viper
def max_pool_fwd(mem, off: int) -> int:
    words = mem[0]
    _open(words, off)
    _pool(words, 1)
    return 0


@micropython.viper
def lut_fwd(mem, off: int) -> int:
    words = mem[0]
    s = ptr32(words)
    _open(words, off)
    origin = int(s) - s[_WORDS]
    r = ptr32(origin + s[_RECORD])
    y = ptr8(origin + s[_AT + 1])
    x = ptr8(origin + s[_AT + 2])
    table = ptr8(origin + s[_AT + 3])
    n = r[4]
    i = 0
    while i < n:
        y[i] = table[x[i] ^ 128]
        i += 1
    return 0


@micropython.viper
def copy_fwd(mem, off: int) -> int:
    words = mem[0]
    s = ptr32(words)
    _open(words, off)
    origin = int(s) - s[_WORDS]
    r = ptr32(origin + s[_RECORD])
    y = ptr8(origin + s[_AT + 1])
    x = ptr8(origin + s[_AT + 2])
    if r[12] != 256:
        n = r[6] * r[7] * r[8]
        i = 0
        while i < n:
            y[i] = r[12]
            i += 1
    y = ptr8(int(y) + (r[9] * r[7] + r[10]) * r[8] + r[11])
    iy = 0
    while iy < r[3]:
        ix = 0
        while ix < r[4]:
            i = 0
            while i < r[5]:
                y[i] = x[i]
                i += 1
            x = ptr8(int(x) + r[5])
            y = ptr8(int(y) + r[8])
            ix += 1
        y = ptr8(int(y) + (r[7] - r[4]) * r[8])
        iy += 1
    return 0


@micropython.viper
def gather(mem, off: int) -> int:
    words = mem[0]
    s = ptr32(words)
    _open(words, off)
    origin = int(s) - s[_WORDS]
    r = ptr32(origin + s[_RECORD])
    y = ptr8(origin + s[_AT + 1])
    x = ptr8(origin + s[_AT + 2])
    kept = ptr16(origin + s[_AT + 3])
    left = r[4]
    while left:
        j = 0
        while j < r[6]:
            y[j] = x[kept[j]]
            j += 1
        y = ptr8(int(y) + r[6])
        x = ptr8(int(x) + r[5])
        left -= 1
    return 0


@micropython.viper
def _high31(s: ptr32):
    """X[0] = X[0] * X[1] / 2^31 to the nearest, ties up."""
    wide = s[_WIDE]
    a = s[_X] << wide >> wide
    m = s[_X + 1] << wide >> wide
    al = a & 0xFFFF
    ml = m & 0xFFFF
    t = al * (m >> 16) + ((al * ml >> 16) & 0xFFFF)
    u = (a >> 16) * ml
    rest = (t & 0x7FFF) + (u & 0x7FFF) + 0x4000
    s[_X] = 2 * (a >> 16) * (m >> 16) + (t >> 15) + (u >> 15) + (rest >> 15)


@micropython.viper
def _inverse(words):
    """X[0] = 1 / (2 * X[0]) in Q31, for X[0] in [1/2, 1) in Q31: Newton's method from 48/17 - 32/17 * half in
    Q29."""
    s = ptr32(words)
    wide = s[_WIDE]
    half = s[_X] << wide >> wide
    z = 0x5A5A
    most = 0x3FFFFFFF
    most = most * 2 + 1
    s[_X + 1] = -0x3C3C3C3C
    _high31(words)
    z = (z << 16 | z) + (s[_X] << wide >> wide)
    i = 0
    while i < 3:
        s[_X] = half
        s[_X + 1] = z
        _high31(words)
        s[_X] = (1 << 29) - (s[_X] << wide >> wide)
        _high31(words)
        v = s[_X] << wide >> wide
        if v > most >> 2:
            v = most
        elif v < -(most >> 2):
            v = -most
        else:
            v = v << 2
        z += v
        i += 1
    if z > most >> 1:
        z = most
    else:
        z = z << 1
    s[_X] = z


@micropython.viper
def softmax_fwd(mem, off: int) -> int:
    words = mem[0]
    s = ptr32(words)
    _open(words, off)
    origin = int(s) - s[_WORDS]
    r = ptr32(origin + s[_RECORD])
    wide = s[_WIDE]
    y = ptr8(origin + s[_AT + 1])
    x = ptr8(origin + s[_AT + 2])
    exps = ptr32(origin + s[_AT + 3])
    rows = r[4]
    n = r[5]
    while rows:
        top = 0
        i = 0
        while i < n:
            if x[i] ^ 128 > top:
                top = x[i] ^ 128
            i += 1
        total = 0
        i = 0
        while i < n:
            v = exps[255 + (x[i] ^ 128) - top]
            total += (v >> 12) + ((v >> 11) & 1)
            i += 1
        if total < 1:
            total = 1
        up = 32 - int(_bit_length(total))
        s[_X] = total << (up - 1)
        _inverse(words)
        inverse = s[_X]
        i = 0
        while i < n:
            s[_X] = inverse
            s[_X + 1] = exps[255 + (x[i] ^ 128) - top]
            _high31(words)
            v = s[_X] << wide >> wide
            e = 35 - up
            if e > 31:
                v = 0
            elif e > 0:
                v += v >> 31
                v = (v >> e) + ((v >> (e - 1)) & 1)
            v -= 128
            if v > 127:
                v = 127
            elif v < -128:
                v = -128
            y[i] = v
            i += 1
        x = ptr8(int(x) + n)
        y = ptr8(int(y) + n)
        rows -= 1
    return 0


# -- error tensors -------------------------------------------------------------------------------------------


@micropython.viper
def _error_open(words, out: int, gy_exp: int, plus: int):
    """Begins the error tensor whose fields start at `out` in the record; sums have the exponent at gy_exp,
    plus `plus`."""
    s = ptr32(words)
    origin = int(s) - s[_WORDS]
    r = ptr32(origin + s[_RECORD])
    wide = s[_WIDE]
    word = ptr32(origin + s[_AT + gy_exp])
    exp = (word[0] << wide >> wide) + plus
    r = ptr32(int(r) + 4 * out)
    s[_Y] = s[_AT + out]
    s[_MASK] = s[_AT + out + 1]
    s[_ADD] = 0
    s[_MUL] = r[4]
    s[_DOWN] = 0
    s[_UP] = 0
    if s[_AT + out + 2] and s[_AT + out + 3]:
        s[_ADD] = s[_AT + out + 2]
        word = ptr32(origin + s[_AT + out + 3])
        gap = (word[0] << wide >> wide) + (r[5] << wide >> wide) + 7 - exp
        if gap > 14:  # |addend| <= 2^15, so << 14 stays below 2^29
            s[_DOWN] = gap - 14
            exp += gap - 14
            gap = 14
        s[_UP] = gap
    word = ptr32(origin + s[_AT + out + 8])
    base = exp - (word[0] << wide >> wide)
    track = ptr16(origin + s[_AT + out + 7])
    shift = ((((track[0] ^ 0x8000) - 0x8000) + 255) >> 8) - base
    word = ptr32(origin + s[_AT + out + 6])
    word[0] = exp + shift
    s[_BASE] = base
    s[_TO] = shift
    s[_MAX] = 0
    s[_TRACK] = s[_AT + out + 7]


@micropython.viper
def _error_row(words, at: int, start: int, step: int, n: int):
    """g[start], g[start + step], ... from n sums of less than 2^30 at distance `at`."""
    s = ptr32(words)
    origin = int(s) - s[_WORDS]
    wide = s[_WIDE]
    sums = ptr32(origin + at)
    g = ptr8(origin + s[_Y])
    added = s[_ADD] != 0
    masked = s[_MASK] != 0
    add = g
    mask = g
    if added:
        add = ptr8(origin + s[_ADD])
    if masked:
        mask = ptr8(origin + s[_MASK])
    mul = s[_MUL] << wide >> wide
    down = s[_DOWN]
    up = s[_UP] << wide >> wide
    most = s[_MAX]
    shift = s[_TO] << wide >> wide
    limit = 127
    if shift < 0:
        if shift < -31:
            shift = -31
        limit = 127 >> -shift  # the largest that may still be shifted
    i = start
    while n:
        v = sums[0] << wide >> wide
        if added:
            t = (((add[i] ^ 128) - 128) * mul + 64) >> 7
            if down > 31:
                v = 0
            elif down:
                v = (v >> down) + ((v >> (down - 1)) & 1)
            if up >= 0:
                v += t << up
            elif up > -31:
                v += (t >> -up) + ((t >> (-1 - up)) & 1)
            else:
                v += (t >> 30) + ((t >> 29) & 1)
        if masked and (mask[i >> 3] >> (i & 7)) & 1 == 0:
            v = 0
        if v > most:
            most = v
        elif -v > most:
            most = -v
        if shift > 31:
            v = 0
        elif shift > 0:
            v = (v >> shift) + ((v >> (shift - 1)) & 1)
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
    s[_MAX] = most


@micropython.viper
def _error_close(words):
    """The tracker rises to this sample's maximum or decays by 4/256."""
    s = ptr32(words)
    origin = int(s) - s[_WORDS]
    wide = s[_WIDE]
    if s[_MAX]:
        track = ptr16(origin + s[_TRACK])
        old = (track[0] ^ 0x8000) - 0x8000
        new = ((s[_BASE] << wide >> wide) + int(_int8_shift(words, wide))) << 8
        if new <= old:
            new = old - 4
        if new > 32000:
            new = 32000
        elif new < -32000:
            new = -32000
        track[0] = new


@micropython.viper
def _clear(row: ptr32, words, at: int, n: int):
    """Zeros to n words at distance `at`."""
    s = ptr32(words)
    row = ptr32(int(s) - s[_WORDS] + at)
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


@micropython.viper
def _spread(p: ptr32, q: ptr8, d: int, words, position: int, tap: int):
    """row += d * w over the channels, for every output at one position through one kernel position.

    As in _dots, w + 128 is used and 128 times the sum of d taken away."""
    s = ptr32(words)
    origin = int(s) - s[_WORDS]
    r = ptr32(origin + s[_RECORD])
    gy = ptr8(origin + s[_AT + 1] + position * r[13])
    m = ptr16(origin + s[_AT + 5])
    row = ptr32(origin + s[_AT + 6])
    oc = r[13]
    shift = r[21]
    half = 0
    if shift:
        half = 1 << (shift - 1)  # |gy * m| < 2^22
    plane = 0
    while plane < 2:
        if s[_AT + 2 + plane]:
            n = r[10]
            if plane:
                n = r[20]
            packed = plane == 1 and s[_AT + 4] != 0
            kept = ptr16(m)
            if packed:
                kept = ptr16(origin + s[_AT + 4])
            w = origin + s[_AT + 2 + plane] + tap * n
            apart = r[14] * r[15] * n
            total = 0
            o = 0
            while o < oc:
                d = (((gy[o] ^ 128) - 128) * ((m[o] ^ 0x8000) - 0x8000) + half) >> shift
                total += d
                if d:
                    p = ptr32(row)
                    q = ptr8(w)
                    if packed:
                        i = 0
                        while i < n:
                            c = kept[i]
                            p[c] = p[c] + d * (q[0] ^ 128)
                            q = ptr8(int(q) + 1)
                            i += 1
                    else:
                        i = n >> 2
                        while i:
                            p[0] = p[0] + d * (q[0] ^ 128)
                            p[1] = p[1] + d * (q[1] ^ 128)
                            p[2] = p[2] + d * (q[2] ^ 128)
                            p[3] = p[3] + d * (q[3] ^ 128)
                            p = ptr32(int(p) + 16)
                            q = ptr8(int(q) + 4)
                            i -= 1
                        i = n & 3
                        while i:
                            p[0] = p[0] + d * (q[0] ^ 128)
                            p = ptr32(int(p) + 4)
                            q = ptr8(int(q) + 1)
                            i -= 1
                w += apart
                o += 1
            total = total << 7
            i = 0
            while i < n and total:
                c = i
                if packed:
                    c = kept[i]
                row[c] = row[c] - total
                i += 1
        plane += 1


@micropython.viper
def _last_output(i: int, stride: int, size: int) -> int:
    """The last output whose window begins at or before padded input i; the others lie before it, `stride`
    apart."""
    o = i
    if stride > 1:
        o = i // stride
    if o >= size:
        o = size - 1
    return o


@micropython.viper
def _windows(words, geometry: int, row: int, kind: int):
    """The error tensor of an operator with windows: for each input, what comes back from the outputs that saw
    it."""
    s = ptr32(words)
    origin = int(s) - s[_WORDS]
    r = ptr32(origin + s[_RECORD])
    g = ptr32(int(r) + 4 * geometry)
    row = s[_AT + row]
    ic = g[2]
    at = 0
    iy = 0
    while iy < g[0]:
        top = int(_last_output(iy + g[10], g[8], g[3]))
        ix = 0
        while ix < g[1]:
            left = int(_last_output(ix + g[11], g[9], g[4]))
            _clear(0, words, row, ic)
            oy = top
            ky = iy + g[10] - oy * g[8]
            while oy >= 0 and ky < g[6]:
                ox = left
                kx = ix + g[11] - ox * g[9]
                while ox >= 0 and kx < g[7]:
                    if kind == 0:
                        _spread(0, 0, 0, words, oy * g[4] + ox, ky * g[7] + kx)
                    elif kind == 1:
                        _spread_mean(words, oy, ox)
                    else:
                        _spread_largest(words, oy, ox, at)
                    kx += g[9]
                    ox -= 1
                ky += g[8]
                oy -= 1
            _error_row(words, row, at, 1, ic)
            at += ic
            ix += 1
        iy += 1
    _error_close(words)


@micropython.viper
def conv_dx(mem, off: int) -> int:
    words = mem[0]
    s = ptr32(words)
    _open(words, off)
    origin = int(s) - s[_WORDS]
    r = ptr32(origin + s[_RECORD])
    _error_open(words, 23, 7, (r[22] << s[_WIDE] >> s[_WIDE]) + r[21])
    _windows(words, 8, 6, 0)
    return 0


@micropython.viper
def _seen(o: int, stride: int, pad: int, size: int, k: int) -> int:
    """How many positions of a kernel at output o meet the input."""
    first = o * stride - pad
    last = first + k
    if first < 0:
        first = 0
    if last > size:
        last = size
    return last - first


@micropython.viper
def _spread_mean(words, oy: int, ox: int):
    s = ptr32(words)
    origin = int(s) - s[_WORDS]
    r = ptr32(origin + s[_RECORD])
    gy = ptr8(origin + s[_AT + 1] + (oy * r[9] + ox) * r[7])
    m = ptr16(origin + s[_AT + 2])
    row = ptr32(origin + s[_AT + 3])
    n = int(_seen(oy, r[13], r[15], r[5], r[11])) * int(_seen(ox, r[14], r[16], r[6], r[12]))
    scale = (m[n - 1] ^ 0x8000) - 0x8000
    i = 0
    while i < r[7]:
        row[i] = row[i] + ((((gy[i] ^ 128) - 128) * scale + 64) >> 7)
        i += 1


@micropython.viper
def avg_dx(mem, off: int) -> int:
    words = mem[0]
    s = ptr32(words)
    _open(words, off)
    origin = int(s) - s[_WORDS]
    r = ptr32(origin + s[_RECORD])
    _error_open(words, 18, 4, (r[17] << s[_WIDE] >> s[_WIDE]) + 7)
    _windows(words, 5, 3, 1)
    return 0


@micropython.viper
def _spread_largest(words, oy: int, ox: int, here: int):
    """The error of a window goes to the first of its largest inputs; here: index of this input's first
    channel."""
    s = ptr32(words)
    origin = int(s) - s[_WORDS]
    r = ptr32(origin + s[_RECORD])
    gy = ptr8(origin + s[_AT + 1] + (oy * r[9] + ox) * r[7])
    x = ptr8(origin + s[_AT + 2])
    row = ptr32(origin + s[_AT + 3])
    i = 0
    while i < r[7]:
        v = x[here + i] ^ 128
        mine = True
        ky = 0
        while ky < r[11]:
            iy = oy * r[13] - r[15] + ky
            kx = 0
            while kx < r[12] and iy >= 0 and iy < r[5]:
                ix = ox * r[14] - r[16] + kx
                if ix >= 0 and ix < r[6]:
                    at = (iy * r[6] + ix) * r[7]
                    other = x[at + i] ^ 128
                    if other > v or (other == v and at < here):
                        mine = False
                kx += 1
            ky += 1
        if mine:
            row[i] = row[i] + (gy[i] ^ 128) - 128
        i += 1


@micropython.viper
def max_dx(mem, off: int) -> int:
    words = mem[0]
    _open(words, off)
    _error_open(words, 17, 4, 0)
    _windows(words, 5, 3, 2)
    return 0


@micropython.viper
def scale_dx(mem, off: int) -> int:
    words = mem[0]
    s = ptr32(words)
    _open(words, off)
    origin = int(s) - s[_WORDS]
    r = ptr32(origin + s[_RECORD])
    wide = s[_WIDE]
    gy = ptr8(origin + s[_AT + 1])
    row = ptr32(origin + s[_AT + 3])
    m = r[13] << wide >> wide
    _error_open(words, 15, 2, (r[14] << wide >> wide) + 7)
    at = 0
    iy = 0
    while iy < r[4]:
        ix = 0
        while ix < r[5]:
            p = ((iy + r[10]) * r[8] + ix + r[11]) * r[9] + r[12]
            i = 0
            while i < r[6]:
                row[i] = (((gy[p + i] ^ 128) - 128) * m + 64) >> 7
                i += 1
            _error_row(words, s[_AT + 3], at, 1, r[6])
            at += r[6]
            ix += 1
        iy += 1
    _error_close(words)
    return 0


@micropython.viper
def lut_dx(mem, off: int) -> int:
    words = mem[0]
    s = ptr32(words)
    _open(words, off)
    origin = int(s) - s[_WORDS]
    r = ptr32(origin + s[_RECORD])
    gy = ptr8(origin + s[_AT + 1])
    x = ptr8(origin + s[_AT + 2])
    slopes = ptr16(origin + s[_AT + 3])
    row = ptr32(origin + s[_AT + 4])
    _error_open(words, 10, 5, (r[9] << s[_WIDE] >> s[_WIDE]) + 7)
    n = r[6] * r[7] * r[8]
    at = 0
    while at < n:
        i = 0
        while i < r[8]:
            slope = (slopes[x[at + i] ^ 128] ^ 0x8000) - 0x8000
            row[i] = (((gy[at + i] ^ 128) - 128) * slope + 64) >> 7
            i += 1
        _error_row(words, s[_AT + 4], at, 1, r[8])
        at += r[8]
    _error_close(words)
    return 0


@micropython.viper
def _depthwise_back(p: ptr8, q: ptr8, a: int, words, step: int, apart: int, o: int, iy: int, ix: int, n: int):
    """Row of n sums += what output channel o sends back to its inputs; its errors lie `step` apart, its
    weights `apart`."""
    s = ptr32(words)
    origin = int(s) - s[_WORDS]
    r = ptr32(origin + s[_RECORD])
    row = ptr32(int(s) + 4 * _ROW)
    errors = origin + s[_INPUT]
    weights = origin + s[_WEIGHTS]
    m = ptr16(origin + s[_AT + 5])
    scale = (m[o] ^ 0x8000) - 0x8000
    shift = r[21]
    half = 0
    if shift:
        half = 1 << (shift - 1)  # |gy * m| < 2^22
    top = int(_last_output(iy + r[18], r[16], r[11]))
    while n:
        left = ix + r[19]
        if r[17] > 1 or left >= r[12]:
            left = int(_last_output(left, r[17], r[12]))
        a = 0
        oy = top
        ky = iy + r[18] - oy * r[16]
        while oy >= 0 and ky < r[14]:
            ox = left
            kx = ix + r[19] - ox * r[17]
            p = ptr8(errors + (oy * r[12] + ox) * step)
            q = ptr8(weights + (ky * r[15] + kx) * apart)
            while ox >= 0 and kx < r[15]:
                a += ((((p[0] ^ 128) - 128) * scale + half) >> shift) * ((q[0] ^ 128) - 128)
                p = ptr8(int(p) - step)
                q = ptr8(int(q) + r[17] * apart)
                kx += r[17]
                ox -= 1
            ky += r[16]
            oy -= 1
        row[0] = row[0] + a
        row = ptr32(int(row) + 4)
        ix += 1
        n -= 1


@micropython.viper
def depthwise_dx(mem, off: int) -> int:
    words = mem[0]
    s = ptr32(words)
    _open(words, off)
    origin = int(s) - s[_WORDS]
    r = ptr32(origin + s[_RECORD])
    oc = r[13]
    many = oc // r[10]
    _error_open(words, 23, 7, (r[22] << s[_WIDE] >> s[_WIDE]) + r[21])
    row = s[_WORDS] + 4 * _ROW
    plane = 6
    if many > 1:
        plane = 0
    m = ptr16(origin + s[_AT + 5])
    s[_IH] = r[11]  # a convolution of the errors, with the weights the other way round
    s[_IW] = r[12]
    s[_OH] = r[8]
    s[_OW] = r[9]
    s[_OC] = r[10]
    s[_KH] = r[14]
    s[_KW] = r[15]
    s[_SH] = 1
    s[_SW] = 1
    s[_PT] = r[14] - 1 - r[18]
    s[_PL] = r[15] - 1 - r[19]
    s[_ZX] = 0
    s[_CUT] = r[21]
    _plan_bands(words)
    usual = s[_MOST] and many == 1 and r[16] == 1 and r[17] == 1
    i = 0
    while i < r[10]:
        step = oc
        iy = 0
        if usual:
            s[_STEP] = int(_channel_input(words, 1, plane, i, oc, r[11] * r[12]))
            apart = int(_channel_weights(words, 2, r[20], i, oc))
            if s[_WEIGHTS]:
                s[_WEIGHTS] = s[_WEIGHTS] + (r[14] * r[15] - 1) * apart
                s[_APART] = -apart
                s[_SCALE] = (m[i] ^ 0x8000) - 0x8000
                _bands(words, i, 1)
                iy = r[8]
        while iy < r[8]:
            ix = 0
            while ix < r[9]:
                n = r[9] - ix
                if n > _N:
                    n = _N
                _clear(0, words, row, n)
                o = i * many
                while o < (i + 1) * many:
                    if plane == 0 or iy + ix == 0:
                        step = int(_channel_input(words, 1, plane, o, oc, r[11] * r[12]))
                    apart = int(_channel_weights(words, 2, r[20], o, oc))
                    if s[_WEIGHTS]:
                        _depthwise_back(0, 0, 0, words, step, apart, o, iy, ix, n)
                    o += 1
                _error_row(words, row, (iy * r[9] + ix) * r[10] + i, r[10], n)
                ix += n
            iy += 1
        i += 1
    _error_close(words)
    return 0


# -- updates -------------------------------------------------------------------------------------------------


@micropython.viper
def _move_row(words, j: int, n: int):
    """Weights j .. j + n less the deltas of the row, in 2^-bits, saturated to +-127 * 2^bits; see move_weight
    in plain."""
    s = ptr32(words)
    origin = int(s) - s[_WORDS]
    wide = s[_WIDE]
    row = ptr32(int(s) + 4 * _ROW)
    k = ptr8(origin + s[_K])
    bits = s[_BITS]
    kept = bits != 0 and s[_R] != 0
    rest = k
    if kept:
        rest = ptr8(origin + s[_R])
    limit = 127 << bits
    while n:
        delta = row[0] << wide >> wide
        if delta != _STAY:
            w = ((k[j] ^ 128) - 128) << bits
            if kept:
                if bits == 8:
                    w += (rest[j] ^ 128) - 128
                else:
                    w += (((rest[j >> 1] >> ((j & 1) << 2)) & 15) ^ 8) - 8
            w -= delta
            if w > limit:
                w = limit
            elif w < -limit:
                w = -limit
            top = w
            if bits:
                top = (w >> bits) + ((w >> (bits - 1)) & 1)
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


@micropython.viper
def _update_open(words):
    """From the record of a weight gradient: gy_exp is its field 4, the update begins at field 5."""
    s = ptr32(words)
    origin = int(s) - s[_WORDS]
    r = ptr32(origin + s[_RECORD])
    wide = s[_WIDE]
    exp = ptr32(origin + s[_AT + 4])
    lr = ptr32(origin + s[_AT + 9])
    s[_K] = s[_AT + 5]
    s[_R] = s[_AT + 6]
    s[_ACC] = s[_AT + 7]
    s[_U] = s[_AT + 8]
    s[_BITS] = r[11]
    s[_PRE] = r[12]
    s[_RNG] = s[_AT + 10]
    if r[11] == 8 or s[_ACC]:
        s[_RNG] = 0
    if s[_ACC]:
        s[_BITS] = 8
    s[_RATE] = lr[0]
    s[_RATE_SHIFT] = (lr[1] << wide >> wide) - (exp[0] << wide >> wide) - 136 - r[12] - s[_BITS]


@micropython.viper
def _update_row(words, j: int, o: int, first: int, n: int):
    """Weights j .. j + n of output channel o (of kept channels from the `first` on, if o is -1) by the
    gradient sums of the row: times the channel's mantissa and the rate, below 2^30, shifted to a delta,
    rounded."""
    s = ptr32(words)
    origin = int(s) - s[_WORDS]
    wide = s[_WIDE]
    row = ptr32(int(s) + 4 * _ROW)
    us = ptr16(origin + s[_U])
    kept = us
    packed = o < 0 and s[_KEPT] != 0
    if packed:
        kept = ptr16(origin + s[_KEPT])
    summed = s[_ACC] != 0
    acc = us
    if summed:
        acc = ptr16(origin + s[_ACC])
    random = s[_RNG] != 0
    state = s
    if random:
        state = ptr32(origin + s[_RNG])
    pre = s[_PRE]
    most = 127 << s[_BITS]
    channel = o
    i = 0
    while i < n:
        if packed:
            channel = kept[first + i]
        elif o < 0:
            channel = first + i
        v = row[i] << wide >> wide
        if pre:
            v = (v >> pre) + ((v >> (pre - 1)) & 1)
        t = v * (((us[channel] & 255) * s[_RATE] + 128) >> 8)
        if t == 0:
            row[i] = _STAY
        else:
            e = (s[_RATE_SHIFT] << wide >> wide) + (us[channel] >> 8)
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
                limit = most
                if e < 0:
                    if e < -31:
                        e = -31
                    limit = most >> -e  # the largest that may still be shifted
                elif e > 31:
                    t = 0
                elif e:
                    t = (t >> e) + ((t >> (e - 1)) & 1)
                if t > limit:
                    t = most
                elif t < -limit:
                    t = -most
                elif e < 0:
                    t = t << -e
            row[i] = t
            if summed:
                t += (acc[j + i] ^ 0x8000) - 0x8000
                if t > 32767:
                    t = 32767
                elif t < -32767:
                    t = -32767
                acc[j + i] = t
        i += 1
    if not summed:
        _move_row(words, j, n)


@micropython.viper
def _correlate(p: ptr32, q: ptr8, g: int, words, o: int, ky: int, kx: int, first: int, n: int):
    """Row = sum over positions of gy * (x - zx), for kept channels first .. first + n; see _dots for the 128.
    """
    s = ptr32(words)
    origin = int(s) - s[_WORDS]
    r = ptr32(origin + s[_RECORD])
    row = ptr32(int(s) + 4 * _ROW)
    gy = ptr8(origin + s[_AT + 1] + o)
    x = origin + s[_AT + 2]
    packed = s[_AT + 3]
    kept = ptr16(s)
    if packed:
        kept = ptr16(origin + s[_AT + 3] + 2 * first)
    else:
        x += first
    oc = r[18]
    total = 0
    oy = 0
    while oy < r[16]:
        iy = oy * r[21] - r[23] + ky
        ox = 0
        while ox < r[17] and iy >= 0 and iy < r[13]:
            ix = ox * r[22] - r[24] + kx
            g = (gy[(oy * r[17] + ox) * oc] ^ 128) - 128
            if g and ix >= 0 and ix < r[14]:
                total += g
                p = ptr32(row)
                q = ptr8(x + (iy * r[14] + ix) * r[15])
                if packed:
                    i = 0
                    while i < n:
                        p[0] = p[0] + g * (q[kept[i]] ^ 128)
                        p = ptr32(int(p) + 4)
                        i += 1
                else:
                    i = n >> 2
                    while i:
                        p[0] = p[0] + g * (q[0] ^ 128)
                        p[1] = p[1] + g * (q[1] ^ 128)
                        p[2] = p[2] + g * (q[2] ^ 128)
                        p[3] = p[3] + g * (q[3] ^ 128)
                        p = ptr32(int(p) + 16)
                        q = ptr8(int(q) + 4)
                        i -= 1
                    i = n & 3
                    while i:
                        p[0] = p[0] + g * (q[0] ^ 128)
                        p = ptr32(int(p) + 4)
                        q = ptr8(int(q) + 1)
                        i -= 1
            ox += 1
        oy += 1
    total *= (r[26] << s[_WIDE] >> s[_WIDE]) + 128
    i = 0
    while i < n:
        row[i] = row[i] - total
        i += 1


@micropython.viper
def conv_dw(mem, off: int) -> int:
    words = mem[0]
    s = ptr32(words)
    _open(words, off)
    origin = int(s) - s[_WORDS]
    r = ptr32(origin + s[_RECORD])
    _update_open(words)
    nk = r[25]
    j = 0
    o = 0
    while o < r[18]:
        ky = 0
        while ky < r[19]:
            kx = 0
            while kx < r[20]:
                first = 0
                while first < nk:
                    n = nk - first
                    if n > _N:
                        n = _N
                    _clear(0, words, s[_WORDS] + 4 * _ROW, n)
                    _correlate(0, 0, 0, words, o, ky, kx, first, n)
                    _update_row(words, j, o, 0, n)
                    j += n
                    first += n
                kx += 1
            ky += 1
        o += 1
    return 0


@micropython.viper
def _correlate_depthwise(p: ptr8, q: ptr8, a: int, words, ky: int, kx: int, first: int, n: int):
    """Row = sum over positions of gy * (x - zx), each kept channel first .. first + n on its own."""
    s = ptr32(words)
    origin = int(s) - s[_WORDS]
    r = ptr32(origin + s[_RECORD])
    row = ptr32(int(s) + 4 * _ROW)
    gy = origin + s[_AT + 1]
    x = origin + s[_AT + 2]
    kept = ptr16(s)
    packed = s[_AT + 3]
    if packed:
        kept = ptr16(origin + s[_AT + 3])
    zero = (r[26] << s[_WIDE] >> s[_WIDE]) + 128
    many = r[18] // r[15]
    right = r[22] * r[15]
    i = 0
    while i < n:
        c = first + i
        if packed:
            c = kept[c]
        from_x = c
        if many > 1:
            from_x = c // many
        a = 0
        oy = 0
        while oy < r[16]:
            iy = oy * r[21] - r[23] + ky
            ix = kx - r[24]
            p = ptr8(gy + oy * r[17] * r[18] + c)
            q = ptr8(x + (iy * r[14] + ix) * r[15] + from_x)
            ox = r[17]
            while ox and iy >= 0 and iy < r[13]:
                if ix >= 0 and ix < r[14]:
                    a += ((p[0] ^ 128) - 128) * ((q[0] ^ 128) - zero)
                p = ptr8(int(p) + r[18])
                q = ptr8(int(q) + right)
                ix += r[22]
                ox -= 1
            oy += 1
        row[i] = a
        i += 1


@micropython.viper
def depthwise_dw(mem, off: int) -> int:
    words = mem[0]
    s = ptr32(words)
    _open(words, off)
    origin = int(s) - s[_WORDS]
    r = ptr32(origin + s[_RECORD])
    _update_open(words)
    s[_KEPT] = s[_AT + 3]
    nk = r[25]
    j = 0
    ky = 0
    while ky < r[19]:
        kx = 0
        while kx < r[20]:
            first = 0
            while first < nk:
                n = nk - first
                if n > _N:
                    n = _N
                _correlate_depthwise(0, 0, 0, words, ky, kx, first, n)
                _update_row(words, j, -1, first, n)
                j += n
                first += n
            kx += 1
        ky += 1
    return 0


@micropython.viper
def _move_bias(words, field: int, acc: int, o: int, t: int, e: int):
    """Bias o of a field of the record less t / 2^e, saturated; or, where field `acc` is an accumulator, that
    one plus as much."""
    s = ptr32(words)
    origin = int(s) - s[_WORDS]
    wide = s[_WIDE]
    limit = 1 << 28
    if e < 0:
        if e < -31:
            e = -31
        limit = limit >> -e
    elif e > 31:
        t = 0
    elif e:
        t = (t >> e) + ((t >> (e - 1)) & 1)
    if t > limit:
        t = 1 << 28
    elif t < -limit:
        t = -1 << 28
    elif e < 0:
        t = t << -e
    if s[_AT + acc] == 0:
        acc = field
        t = -t
    bias = ptr32(origin + s[_AT + acc])
    v = (bias[o] << wide >> wide) + t
    if v > _BIAS_MAX:
        v = _BIAS_MAX
    elif v < -_BIAS_MAX:
        v = -_BIAS_MAX
    bias[o] = v


@micropython.viper
def bias_dw(mem, off: int) -> int:
    words = mem[0]
    s = ptr32(words)
    _open(words, off)
    origin = int(s) - s[_WORDS]
    r = ptr32(origin + s[_RECORD])
    wide = s[_WIDE]
    gy = origin + s[_AT + 1]
    exp = ptr32(origin + s[_AT + 2])
    us = ptr16(origin + s[_AT + 5])
    lr = ptr32(origin + s[_AT + 6])
    base = (lr[1] << wide >> wide) - (exp[0] << wide >> wide) - 136
    o = 0
    while o < r[8]:
        p = ptr8(gy + o)
        db = -128 * r[7]
        n = r[7]
        while n:
            db += p[0] ^ 128
            p = ptr8(int(p) + r[8])
            n -= 1
        t = db * (((us[o] & 255) * lr[0] + 128) >> 8)
        if t:
            _move_bias(words, 3, 4, o, t, base + (us[o] >> 8))
        o += 1
    return 0


@micropython.viper
def fold_weights(mem, off: int) -> int:
    words = mem[0]
    s = ptr32(words)
    _open(words, off)
    origin = int(s) - s[_WORDS]
    r = ptr32(origin + s[_RECORD])
    row = ptr32(int(s) + 4 * _ROW)
    acc = ptr16(origin + s[_AT + 3])
    s[_K] = s[_AT + 1]
    s[_R] = s[_AT + 2]
    s[_BITS] = r[5]
    shift = 8 - r[5]
    keep = r[6]
    j = 0
    while j < r[4]:
        n = r[4] - j
        if n > _N:
            n = _N
        i = 0
        while i < n:
            total = (acc[j + i] ^ 0x8000) - 0x8000
            v = total * keep
            if v < 0:
                v += 255  # toward zero
            v = total - (v >> 8)
            if shift:
                v = (v >> shift) + ((v >> (shift - 1)) & 1)
            row[i] = v
            acc[j + i] = total - (v << shift)
            i += 1
        _move_row(words, j, n)
        j += n
    return 0


@micropython.viper
def _fold_biases(words, field: int, field_acc: int, n: int, keep: int):
    """Biases less what their accumulators lose."""
    s = ptr32(words)
    origin = int(s) - s[_WORDS]
    wide = s[_WIDE]
    bias = ptr32(origin + s[_AT + field])
    acc = ptr32(origin + s[_AT + field_acc])
    i = 0
    while i < n:
        total = acc[i] << wide >> wide
        kept = total
        if total < 0:
            kept = -total
        kept = (kept >> 8) * keep + (((kept & 255) * keep) >> 8)
        if total < 0:
            kept = -kept
        v = (bias[i] << wide >> wide) - (total - kept)
        if v > _BIAS_MAX:
            v = _BIAS_MAX
        elif v < -_BIAS_MAX:
            v = -_BIAS_MAX
        bias[i] = v
        acc[i] = kept
        i += 1


@micropython.viper
def fold_bias(mem, off: int) -> int:
    words = mem[0]
    s = ptr32(words)
    _open(words, off)
    origin = int(s) - s[_WORDS]
    r = ptr32(origin + s[_RECORD])
    _fold_biases(words, 1, 2, r[3], r[4])
    return 0


@micropython.viper
def fold_head(mem, off: int) -> int:
    words = mem[0]
    s = ptr32(words)
    _open(words, off)
    origin = int(s) - s[_WORDS]
    r = ptr32(origin + s[_RECORD])
    w = ptr16(origin + s[_AT + 1])
    acc = ptr16(origin + s[_AT + 3])
    keep = r[8]
    n = r[5] * r[6]
    i = 0
    while i < n:
        total = (acc[i] ^ 0x8000) - 0x8000
        kept = total * keep
        if kept < 0:
            kept += 255  # toward zero
        kept = kept >> 8
        v = (w[i] ^ 0x8000) - 0x8000 - total + kept
        if v > r[7]:
            v = r[7]
        elif v < -r[7]:
            v = -r[7]
        w[i] = v
        acc[i] = kept
        i += 1
    _fold_biases(words, 2, 4, r[5], keep)
    return 0


# -- head and loss -------------------------------------------------------------------------------------------


@micropython.viper
def _head_dots(p: ptr32, q: ptr16, a: int, words, start: int, n: int):
    """logits += sum of X * w over features start .. start + n. The sum is over w + 2^15, less 2^15 times the
    sum of X."""
    s = ptr32(words)
    origin = int(s) - s[_WORDS]
    r = ptr32(origin + s[_RECORD])
    logits = ptr32(origin + s[_AT + 1])
    w = origin + s[_AT + 3] + 2 * start
    k = 0
    while k < r[5]:
        a = 0
        p = ptr32(int(s) + 4 * _X)
        q = ptr16(w)
        i = n
        while i:
            a += p[0] * (q[0] ^ 0x8000)
            p = ptr32(int(p) + 4)
            q = ptr16(int(q) + 2)
            i -= 1
        logits[k] = logits[k] + a - (s[_SUM] << 15)
        w += 2 * r[6]
        k += 1


@micropython.viper
def head_fwd(mem, off: int) -> int:
    words = mem[0]
    s = ptr32(words)
    _open(words, off)
    origin = int(s) - s[_WORDS]
    r = ptr32(origin + s[_RECORD])
    wide = s[_WIDE]
    logits = ptr32(origin + s[_AT + 1])
    bias = ptr32(origin + s[_AT + 4])
    s[_INPUT] = s[_AT + 2]
    s[_KEPT] = 0
    s[_NK] = 1
    s[_IC] = 1
    s[_ZX] = r[7]
    _clear(0, words, s[_AT + 1], r[5])
    start = 0
    while start < r[6]:
        n = r[6] - start
        if n > _N:
            n = _N
        _expand(words, start, 0, 0, n)
        _head_dots(0, 0, 0, words, start, n)
        start += n
    most = 0x3FFFFFFF
    most = most * 2 + 1
    mh = r[8] >> 16
    ml = r[8] & 0xFFFF
    e = r[9]
    best = 0
    top = -most
    k = 0
    while k < r[5]:
        v = bias[k] << wide >> wide
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
        v = v << wide >> wide
        if sign != v >> 31:
            v = most
            if high < 0:
                v = -most
        a = logits[k] << wide >> wide
        t = (a + v) << wide >> wide
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


@micropython.viper
def softmax_loss(mem, off: int) -> int:
    words = mem[0]
    s = ptr32(words)
    _open(words, off)
    origin = int(s) - s[_WORDS]
    r = ptr32(origin + s[_RECORD])
    wide = s[_WIDE]
    logits = ptr32(origin + s[_AT + 1])
    label = ptr32(origin + s[_AT + 2])
    exps = ptr16(origin + s[_AT + 3])
    logs = ptr16(origin + s[_AT + 4])
    n = r[5]
    pre = r[6]
    top = logits[0] << wide >> wide
    k = 1
    while k < n:
        v = logits[k] << wide >> wide
        if v > top:
            top = v
        k += 1
    total = 0
    k = 0
    while k < n:
        d = top - (logits[k] << wide >> wide)  # up to 2^32: without a sign
        if pre:
            d = ((d >> pre) & ((1 << (32 - pre)) - 1)) + ((d >> (pre - 1)) & 1)
        if d > 32767 or d < 0:
            d = 32767
        d = d * r[7]
        e = r[8]
        if e:
            d = (d >> e) + ((d >> (e - 1)) & 1)
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
                loss = ((octaves * 45426 + 32) >> 6) - ((logs[(v >> 8) - 128] ^ 0x8000) - 0x8000)
                if loss < 0:
                    loss = 0
            p -= 32768
        logits[k] = p
        k += 1
    return loss


@micropython.viper
def _largest(words, at: int, n: int):
    """The largest magnitude of n words at distance `at`, to _MAX."""
    s = ptr32(words)
    sums = ptr32(int(s) - s[_WORDS] + at)
    top = 0
    i = 0
    while i < n:
        v = sums[i] << s[_WIDE] >> s[_WIDE]
        if v < 0:
            v = -v
        if v > top:
            top = v
        i += 1
    s[_MAX] = top


@micropython.viper
def head_dx(mem, off: int) -> int:
    words = mem[0]
    s = ptr32(words)
    _open(words, off)
    origin = int(s) - s[_WORDS]
    r = ptr32(origin + s[_RECORD])
    wide = s[_WIDE]
    g = ptr8(origin + s[_AT + 1])
    err = ptr32(origin + s[_AT + 2])
    w = ptr16(origin + s[_AT + 3])
    sums = ptr32(origin + s[_AT + 4])
    f = r[9]
    _clear(0, words, s[_AT + 4], f)
    k = 0
    while k < r[8]:
        e = err[k] << wide >> wide
        i = 0
        while i < f and e:
            sums[i] = sums[i] + (((w[i] ^ 0x8000) - 0x8000) >> 1) * e
            i += 1
        w = ptr16(int(w) + 2 * f)
        k += 1
    if s[_AT + 5]:
        mask = ptr8(origin + s[_AT + 5])
        i = 0
        while i < f:
            if (mask[i >> 3] >> (i & 7)) & 1 == 0:
                sums[i] = 0
            i += 1
    _largest(words, s[_AT + 4], f)
    if s[_MAX] == 0:
        return 0
    pre = int(_bit_length(s[_MAX])) - 22
    if pre < 0:
        pre = 0
    i = 0
    while i < f:
        v = sums[i] << wide >> wide
        if pre:
            v = (v >> pre) + ((v >> (pre - 1)) & 1)
        sums[i] = v * r[10]
        i += 1
    _largest(words, s[_AT + 4], f)
    shift = int(_int8_shift(words, wide))
    i = 0
    while i < f:
        v = sums[i] << wide >> wide
        if shift > 0:
            v = (v >> shift) + ((v >> (shift - 1)) & 1)
        else:
            v = v << -shift
        g[i] = v
        i += 1
    base = pre + (r[11] << wide >> wide) - 26
    exp = ptr32(origin + s[_AT + 6])
    exp[0] = base + shift
    exp = ptr32(origin + s[_AT + 7])
    exp[0] = base + int(_bit_length(s[_MAX]))
    return 1


@micropython.viper
def head_dw(mem, off: int) -> int:
    words = mem[0]
    s = ptr32(words)
    _open(words, off)
    origin = int(s) - s[_WORDS]
    r = ptr32(origin + s[_RECORD])
    wide = s[_WIDE]
    plain = s[_AT + 3] == 0
    w = ptr16(origin + s[_AT + 3])
    most = 32767
    if plain:
        w = ptr16(origin + s[_AT + 1])
        most = r[11]
    err = ptr32(origin + s[_AT + 5])
    x = ptr8(origin + s[_AT + 6])
    lr = ptr32(origin + s[_AT + 7])
    zero = (r[10] << wide >> wide) + 128
    m = (r[12] * lr[0] + 128) >> 8
    if m > 127:
        m = 127  # |err * x| < 2^23, times 7 bits: below 2^30
    e = (r[13] << wide >> wide) + (lr[1] << wide >> wide) + 7
    limit = r[11]
    if e < 0:
        if e < -31:
            e = -31
        limit = limit >> -e  # the largest that may still be shifted
    k = 0
    while k < r[8]:
        em = (err[k] << wide >> wide) * m
        i = 0
        while i < r[9]:
            t = em * ((x[i] ^ 128) - zero)
            if e > 31:
                t = 0
            elif e > 0:
                t = (t >> e) + ((t >> (e - 1)) & 1)
            if t > limit:
                t = r[11]
            elif t < -limit:
                t = -r[11]
            elif e < 0:
                t = t << -e
            v = (w[i] ^ 0x8000) - 0x8000
            if plain:
                v -= t
            else:
                v += t
            if v > most:
                v = most
            elif v < -most:
                v = -most
            w[i] = v
            i += 1
        w = ptr16(int(w) + 2 * r[9])
        t = (err[k] << wide >> wide) * lr[0]
        i = (lr[1] << wide >> wide) - 1
        if i < 0:
            i = 0
        _move_bias(words, 2, 4, k, t, i)  # |err * rate| < 2^24: saturation has nothing to do
        k += 1
    return 0


@micropython.viper
def mse_loss(mem, off: int) -> int:
    words = mem[0]
    s = ptr32(words)
    _open(words, off)
    origin = int(s) - s[_WORDS]
    r = ptr32(origin + s[_RECORD])
    y = ptr8(origin + s[_AT + 1])
    target = ptr8(origin + s[_AT + 2])
    n = r[3]
    total = n // 2
    i = 0
    while i < n:
        d = (y[i] ^ 128) - (target[i] ^ 128)
        total += d * d  # at most 65,025 each
        i += 1
    return total // n


@micropython.viper
def mse_dx(mem, off: int) -> int:
    words = mem[0]
    s = ptr32(words)
    _open(words, off)
    origin = int(s) - s[_WORDS]
    r = ptr32(origin + s[_RECORD])
    wide = s[_WIDE]
    g = ptr8(origin + s[_AT + 1])
    y = ptr8(origin + s[_AT + 2])
    target = ptr8(origin + s[_AT + 3])
    masked = s[_AT + 4]
    mask = y
    if masked:
        mask = ptr8(origin + s[_AT + 4])
    top = 0
    i = 0
    while i < r[7]:
        v = (y[i] ^ 128) - (target[i] ^ 128)
        if v > 127:
            v = 127
        elif v < -127:
            v = -127
        if masked and (mask[i >> 3] >> (i & 7)) & 1 == 0:
            v = 0
        g[i] = v
        if v < 0:
            v = -v
        if v > top:
            top = v
        i += 1
    scale = r[8] << wide >> wide
    exp = ptr32(origin + s[_AT + 5])
    exp[0] = scale
    exp = ptr32(origin + s[_AT + 6])
    exp[0] = scale + int(_bit_length(top))
    return top


# -- clock ---------------------------------------------------------------------------------------------------


@micropython.viper
def begin_step(mem, off: int) -> int:
    words = mem[0]
    s = ptr32(words)
    _open(words, off)
    origin = int(s) - s[_WORDS]
    r = ptr32(origin + s[_RECORD])
    wide = s[_WIDE]
    lr = ptr32(origin + s[_AT + 1])
    clock = ptr32(origin + s[_AT + 2])
    cosine = ptr16(origin + s[_AT + 3])
    rate = r[4]
    shift = r[5] << wide >> wide
    step = clock[0]
    total = clock[1]
    if total:
        most = 0x3FFFFFFF
        while total >> 26:  # numbers without a sign
            step = (step >> 1) & (most * 2 + 1)
            total = (total >> 1) & (most * 2 + 1)
        entry = 63
        if step >= 0 and step < total:
            entry = 0
            i = 0
            while i < 6:  # step * 64 // total, bit by bit
                step <<= 1
                entry <<= 1
                if step >= total:
                    step -= total
                    entry += 1
                i += 1
        v = rate * cosine[entry]
        n = int(_bit_length(v)) - 8
        if n < 0:
            n = 0
        rate = v
        if n:
            rate = (v >> n) + ((v >> (n - 1)) & 1)
        shift += 15 - n
        if rate == 256:
            rate = 128
            shift -= 1
    lr[0] = rate
    lr[1] = shift
    return 0


@micropython.viper
def end_step(mem, off: int) -> int:
    words = mem[0]
    s = ptr32(words)
    _open(words, off)
    origin = int(s) - s[_WORDS]
    clock = ptr32(origin + s[_AT + 1])
    clock[0] = clock[0] + 1
    return 0


# -- inverted residual blocks with step-function gradients ------------------------------------------------------


@micropython.viper
def mobiletl_fwd(mem, off: int) -> int:
    words = mem[0]
    s = ptr32(words)
    _open(words, off)
    origin = int(s) - s[_WORDS]
    r = ptr32(origin + s[_RECORD])
    wide = s[_WIDE]
    y = ptr8(origin + s[_AT + 1])
    x = ptr8(origin + s[_AT + 2])
    table = ptr8(origin + s[_AT + 3])
    mask = ptr8(origin + s[_AT + 4])
    zero = (r[6] << wide >> wide) + 128
    n = r[5]
    i = 0
    while i < n:
        v = x[i] ^ 128
        y[i] = table[v]
        bit = 1 << (i & 7)
        byte = mask[i >> 3] & (255 ^ bit)
        if v >= zero:
            byte |= bit
        mask[i >> 3] = byte
        i += 1
    return 0


@micropython.viper
def mobiletl_mask(mem, off: int) -> int:
    words = mem[0]
    s = ptr32(words)
    _open(words, off)
    origin = int(s) - s[_WORDS]
    r = ptr32(origin + s[_RECORD])
    wide = s[_WIDE]
    mask = ptr8(origin + s[_AT + 1])
    y = ptr8(origin + s[_AT + 2])
    high = (r[4] << wide >> wide) + 128
    n = r[3]
    i = 0
    while i < n:
        if y[i] ^ 128 >= high:
            mask[i >> 3] = mask[i >> 3] | 1 << (i & 7)
        i += 1
    return 0


@micropython.viper
def mobiletl_gain(mem, off: int) -> int:
    words = mem[0]
    s = ptr32(words)
    _open(words, off)
    origin = int(s) - s[_WORDS]
    r = ptr32(origin + s[_RECORD])
    wide = s[_WIDE]
    mult = ptr32(origin + s[_AT + 4])
    shift = ptr8(origin + s[_AT + 5])
    m = ptr16(origin + s[_AT + 6])
    gain = ptr32(origin + s[_AT + 7])
    mult_out = ptr32(origin + s[_AT + 1])
    shift_out = ptr8(origin + s[_AT + 2])
    m_out = ptr16(origin + s[_AT + 3])
    half = 0x3FFFFFFF  # the largest number below 2^30
    most = half * 2 + 1
    o = 0
    while o < r[8]:
        d = gain[o] << wide >> wide
        if d > _BIAS_MAX:
            d = _BIAS_MAX
        elif d < -_BIAS_MAX:
            d = -_BIAS_MAX
        d *= 2
        old = mult[o] << wide >> wide
        if old < 0:
            old = 0
        e = (shift[o] ^ 128) - 128
        s[_X] = old
        s[_X + 1] = d
        _high31(words)
        t = s[_X] << wide >> wide
        if t <= most - old:
            v = old + t
            if v <= half and old > half and e > -31:
                v *= 2
                e -= 1
        elif e < 0:
            v = (old >> 1) + (t >> 1) + ((old | t) & 1)
            e += 1
        else:
            v = most
        mult_out[o] = v
        shift_out[o] = e
        v = (m[o] ^ 0x8000) - 0x8000
        s[_X] = v
        s[_X + 1] = d
        _high31(words)
        v += s[_X] << wide >> wide
        if v > 32767:
            v = 32767
        elif v < -32767:
            v = -32767
        m_out[o] = v
        o += 1
    return 0


@micropython.viper
def mobiletl_gain_dw(mem, off: int) -> int:
    words = mem[0]
    s = ptr32(words)
    _open(words, off)
    origin = int(s) - s[_WORDS]
    r = ptr32(origin + s[_RECORD])
    wide = s[_WIDE]
    exp = ptr32(origin + s[_AT + 3])
    us = ptr16(origin + s[_AT + 6])
    lr = ptr32(origin + s[_AT + 7])
    pre = r[8]
    zero = (r[11] << wide >> wide) + 128
    base = (lr[1] << wide >> wide) - (exp[0] << wide >> wide) - 136 - pre
    o = 0
    while o < r[10]:
        p = ptr8(origin + s[_AT + 1] + o)
        q = ptr8(origin + s[_AT + 2] + o)
        sum = 0
        n = r[9]
        while n:
            sum += ((p[0] ^ 128) - 128) * ((q[0] ^ 128) - zero)
            p = ptr8(int(p) + r[10])
            q = ptr8(int(q) + r[10])
            n -= 1
        if pre:
            sum = (sum >> pre) + ((sum >> (pre - 1)) & 1)
        sum = sum * (((us[o] & 255) * lr[0] + 128) >> 8)
        if sum:
            _move_bias(words, 4, 5, o, sum, base + (us[o] >> 8))
        o += 1
    return 0


# -- few samples ---------------------------------------------------------------------------------------------


@micropython.viper
def _correlate_channels(p: ptr32, x: ptr8, words, zero: int, n: int, ic: int):
    """Sums += (x - zx) * g over n positions; zero is zx + 128."""
    s = ptr32(words)
    origin = int(s) - s[_WORDS]
    p = ptr32(origin + s[_AT + 6])
    x = ptr8(origin + s[_AT + 3])
    g = ptr8(origin + s[_AT + 4])
    while n:
        i = 0
        while i < ic:
            p[i] = p[i] + ((x[i] ^ 128) - zero) * ((g[i] ^ 128) - 128)
            i += 1
        x = ptr8(int(x) + ic)
        g = ptr8(int(g) + ic)
        n -= 1


@micropython.viper
def tinytrain_fisher(mem, off: int) -> int:
    words = mem[0]
    s = ptr32(words)
    _open(words, off)
    origin = int(s) - s[_WORDS]
    r = ptr32(origin + s[_RECORD])
    wide = s[_WIDE]
    f = ptr32(origin + s[_AT + 1])
    exp = ptr32(origin + s[_AT + 2])
    sums = ptr32(origin + s[_AT + 6])
    ic = r[8]
    _clear(0, words, s[_AT + 6], ic)
    _correlate_channels(0, 0, words, (r[9] << wide >> wide) + 128, r[7], ic)
    _largest(words, s[_AT + 6], ic)
    if s[_MAX] == 0:
        return 0
    g_exp = ptr32(origin + s[_AT + 5])
    e = int(_bit_length(s[_MAX])) - 15
    new = 2 * ((g_exp[0] << wide >> wide) + e)
    old = exp[0] << wide >> wide
    down = new - old
    most = 0
    i = 0
    while i < ic:
        v = sums[i] << wide >> wide
        if e > 0:
            v = (v >> e) + ((v >> (e - 1)) & 1)
            if v > 32767:
                v = 32767
            elif v < -32767:
                v = -32767
        else:
            v = v << -e
        v = v * v
        a = f[i] << wide >> wide
        if down > 31:
            a = 0
        elif down > 0:
            a = (a >> down) + ((a >> (down - 1)) & 1)
        elif down < -31:
            v = 0
        elif down < 0:
            v = (v >> -down) + ((v >> (-1 - down)) & 1)
        a += v
        f[i] = a
        if (a - 1) >> 30 > 0:
            most = 1
        i += 1
    if down > 0:
        old = new
    i = 0
    while i < ic and most:
        f[i] = (f[i] >> 1) + (f[i] & 1)
        i += 1
    exp[0] = old + most
    return 0


@micropython.viper
def tinytrain_hold(mem, off: int) -> int:
    words = mem[0]
    s = ptr32(words)
    _open(words, off)
    origin = int(s) - s[_WORDS]
    r = ptr32(origin + s[_RECORD])
    k = ptr8(origin + s[_AT + 1])
    bits = r[8]
    kept = bits != 0 and s[_AT + 2] != 0
    rest = k
    if kept:
        rest = ptr8(origin + s[_AT + 2])
    w = ptr8(origin + s[_AT + 3])
    channels = ptr16(origin + s[_AT + 4])
    limit = 127 << bits
    j = 0
    row = 0
    while row < r[5]:
        i = 0
        while i < r[6]:
            frozen = (w[channels[i]] ^ 128) - 128
            v = (frozen + (k[j] ^ 128) - 128) << bits
            if kept:
                if bits == 8:
                    v += (rest[j] ^ 128) - 128
                else:
                    v += (((rest[j >> 1] >> ((j & 1) << 2)) & 15) ^ 8) - 8
            top = 0
            if v > limit:
                top = 127
            elif v < -limit:
                top = -127
            if top:
                k[j] = top - frozen
                if kept:
                    if bits == 8:
                        rest[j] = 0
                    elif j & 1:
                        rest[j >> 1] = rest[j >> 1] & 15
                    else:
                        rest[j >> 1] = rest[j >> 1] & 240
            i += 1
            j += 1
        w = ptr8(int(w) + r[7])
        row += 1
    return 0


# -- lite residual modules -----------------------------------------------------------------------------------


@micropython.viper
def _divide(words, n: int):
    """X[0] = X[0] / n to the nearest, ties away from zero."""
    s = ptr32(words)
    a = s[_X] << s[_WIDE] >> s[_WIDE]
    if a >= 0:
        s[_X] = (a + n // 2) // n
    else:
        s[_X] = -((n // 2 - a) // n)


@micropython.viper
def _root(v: int, up: int) -> int:
    """Floor of the square root of v << up < 2^30."""
    v = v << up
    found = 0
    bit = 1 << 14
    while bit:
        t = found | bit
        if t * t <= v:
            found = t
        bit >>= 1
    return found


@micropython.viper
def _max_bits(words) -> int:
    """Bits of the magnitude in _MAX."""
    s = ptr32(words)
    v = s[_MAX] << s[_WIDE] >> s[_WIDE]
    n = 0
    while v:
        v >>= 1
        n += 1
    return n


@micropython.viper
def _round_words(words, at: int, n: int, e: int, most: int):
    """n words at distance `at` / 2^e to the nearest, saturated at +-most; e < 0 shifts left."""
    s = ptr32(words)
    wide = s[_WIDE]
    v = ptr32(int(s) - s[_WORDS] + at)
    i = 0
    while i < n:
        a = v[i] << wide >> wide
        if e > 31:
            a = 0
        elif e > 0:
            a = (a >> e) + ((a >> (e - 1)) & 1)
        elif e < 0:
            a = a << -e
        if a > most:
            a = most
        elif a < -most:
            a = -most
        v[i] = a
        i += 1


@micropython.viper
def _convolve(p: ptr8, q: ptr8, a: int, words, o: int, to: int):
    """Sums of output channel o at all positions, less `pre` bits, from word `to` of the record's sums on."""
    s = ptr32(words)
    origin = int(s) - s[_WORDS]
    r = ptr32(origin + s[_RECORD])
    zero = (r[21] << s[_WIDE] >> s[_WIDE]) + 128
    part = r[18]
    pre = r[22]
    width = r[11] // (r[8] // part)
    if width == 0:
        width = 1
    first = o // width * part
    if first > r[8] - part:
        first = r[8] - part
    x = origin + s[_AT + 2] + first
    w = origin + s[_AT + 3] + o * r[12] * r[13] * part
    sums = ptr32(origin + s[_AT + 4] + 4 * to)
    oy = 0
    while oy < r[9]:
        ox = 0
        while ox < r[10]:
            a = 0
            ky = 0
            while ky < r[12]:
                iy = oy * r[14] - r[16] + ky
                kx = 0
                while kx < r[13] and iy >= 0 and iy < r[6]:
                    ix = ox * r[15] - r[17] + kx
                    if ix >= 0 and ix < r[7]:
                        p = ptr8(x + (iy * r[7] + ix) * r[8])
                        q = ptr8(w + (ky * r[13] + kx) * part)
                        left = part
                        while left:
                            a += ((p[0] ^ 128) - zero) * ((q[0] ^ 128) - 128)
                            p = ptr8(int(p) + 1)
                            q = ptr8(int(q) + 1)
                            left -= 1
                    kx += 1
                ky += 1
            if pre:
                a = (a >> pre) + ((a >> (pre - 1)) & 1)
            sums[0] = a
            sums = ptr32(int(sums) + 4)
            ox += 1
        oy += 1


@micropython.viper
def _normalize(words, q: int):
    """The sums of group q become xhat and its statistic."""
    s = ptr32(words)
    origin = int(s) - s[_WORDS]
    r = ptr32(origin + s[_RECORD])
    wide = s[_WIDE]
    sums = ptr32(origin + s[_AT + 4])
    positions = r[9] * r[10]
    n = r[19] * positions
    total = 0
    i = 0
    while i < n:
        total += sums[i] << wide >> wide
        i += 1
    s[_X] = total
    _divide(words, n)
    mean = s[_X] << wide >> wide
    i = 0
    while i < n:
        sums[i] = sums[i] - mean
        i += 1
    _largest(words, s[_AT + 4], n)
    bits = (29 - int(_bit_length(n - 1))) >> 1
    if bits > 11:
        bits = 11
    down = int(_max_bits(words)) - bits
    if down < 0:
        down = 0
    _round_words(words, s[_AT + 4], n, down, 1 << 29)
    squares = 0
    i = 0
    while i < n:
        v = sums[i] << wide >> wide
        squares += v * v
        i += 1
    scale = 0
    e = 0
    if squares:
        up = (30 - int(_bit_length(squares))) & -2
        up_n = (30 - int(_bit_length(n))) & -2
        root = int(_root(squares, up))
        scale = ((int(_root(n, up_n)) << 15) + (root >> 1)) // root
        e = 15 + ((up_n - up) >> 1)
    stats = ptr32(origin + s[_AT + 5])
    stats[q] = scale << 8 | ((e + down + r[22]) & 255)
    e -= 4
    y = ptr8(origin + s[_AT + 1] + q * r[19])
    while n:
        p = 0
        while p < positions:
            v = (sums[p] << wide >> wide) * scale
            if e > 0:
                v = (v >> e) + ((v >> (e - 1)) & 1)
            if v > 127:
                v = 127
            elif v < -127:
                v = -127
            y[p * r[11]] = v
            p += 1
        sums = ptr32(int(sums) + 4 * positions)
        y = ptr8(int(y) + 1)
        n -= positions


@micropython.viper
def tinytl_conv_fwd(mem, off: int) -> int:
    words = mem[0]
    s = ptr32(words)
    _open(words, off)
    r = ptr32(int(s) - s[_WORDS] + s[_RECORD])
    positions = r[9] * r[10]
    q = 0
    while q < r[20]:
        i = 0
        while i < r[19]:
            _convolve(0, 0, 0, words, q * r[19] + i, i * positions)
            i += 1
        _normalize(words, q)
        q += 1
    return 0


@micropython.viper
def tinytl_conv_dx(mem, off: int) -> int:
    words = mem[0]
    s = ptr32(words)
    _open(words, off)
    origin = int(s) - s[_WORDS]
    r = ptr32(origin + s[_RECORD])
    d = ptr32(origin + s[_AT + 1])
    gy = ptr8(origin + s[_AT + 2])
    ic = r[5]
    left = r[4]
    while left:
        _clear(0, words, int(d) - origin, ic)
        w = ptr8(origin + s[_AT + 3])
        o = 0
        while o < r[6]:
            g = (gy[o] ^ 128) - 128
            i = 0
            while i < ic and g:
                d[i] = d[i] + ((w[i] ^ 128) - 128) * g
                i += 1
            w = ptr8(int(w) + ic)
            o += 1
        d = ptr32(int(d) + 4 * ic)
        gy = ptr8(int(gy) + r[6])
        left -= 1
    return 0


@micropython.viper
def _affine(words, field: int, j: int, shift: int, bound: int) -> int:
    """Number j of gamma and beta with 16 - shift fraction bits."""
    s = ptr32(words)
    affine = ptr32(int(s) - s[_WORDS] + s[_AT + field])
    v = affine[j] << s[_WIDE] >> s[_WIDE]
    v = (v >> shift) + ((v >> (shift - 1)) & 1)
    most = bound << (16 - shift)
    if v > most:
        return most
    if v < -most:
        return -most
    return v


@micropython.viper
def tinytl_affine_fwd(mem, off: int) -> int:
    words = mem[0]
    s = ptr32(words)
    _open(words, off)
    origin = int(s) - s[_WORDS]
    r = ptr32(origin + s[_RECORD])
    oc = r[5]
    o = 0
    while o < oc:
        g = int(_affine(words, 3, o, 8, r[6]))
        b = int(_affine(words, 3, oc + o, 4, r[6])) + 128
        y = ptr8(origin + s[_AT + 1] + o)
        x = ptr8(origin + s[_AT + 2] + o)
        left = r[4]
        while left:
            v = (g * ((x[0] ^ 128) - 128) + b) >> 8
            if v < 0:
                v = 0
            elif v > 127:
                v = 127
            y[0] = v
            x = ptr8(int(x) + oc)
            y = ptr8(int(y) + oc)
            left -= 1
        o += 1
    return 0


@micropython.viper
def _hide(words):
    """Errors that the ReLU hid become 0."""
    s = ptr32(words)
    origin = int(s) - s[_WORDS]
    r = ptr32(origin + s[_RECORD])
    oc = r[11]
    o = 0
    while o < oc:
        g = int(_affine(words, 6, o, 8, r[16]))
        b = int(_affine(words, 6, oc + o, 4, r[16]))
        d = ptr32(origin + s[_AT + 3] + 4 * o)
        x = ptr8(origin + s[_AT + 4] + o)
        left = r[10]
        while left:
            v = g * ((x[0] ^ 128) - 128) + b
            if v <= 0 or v >= 255 << 7:
                d[0] = 0
            x = ptr8(int(x) + oc)
            d = ptr32(int(d) + 4 * oc)
            left -= 1
        o += 1


@micropython.viper
def _move_affine(words, j: int, u: int, exponent: int):
    """Number j of gamma and beta, or its accumulator, by the gradient sum X[0]."""
    s = ptr32(words)
    origin = int(s) - s[_WORDS]
    r = ptr32(origin + s[_RECORD])
    wide = s[_WIDE]
    lr = ptr32(origin + s[_AT + 9])
    pre = r[20]
    t = s[_X] << wide >> wide
    if pre:
        t = (t >> pre) + ((t >> (pre - 1)) & 1)
    t = t * (((u & 255) * lr[0] + 128) >> 8)
    e = (u >> 8) - 136 + (lr[1] << wide >> wide) - pre - exponent
    limit = 1 << 28
    if e < 0:
        if e < -31:
            e = -31
        limit = limit >> -e
    elif e > 31:
        t = 0
    elif e:
        t = (t >> e) + ((t >> (e - 1)) & 1)
    if t > limit:
        t = 1 << 28
    elif t < -limit:
        t = -1 << 28
    elif e < 0:
        t = t << -e
    most = r[16] << 16
    to = ptr32(origin + s[_AT + 6] + 4 * j)
    if s[_AT + 7]:
        most = _BIAS_MAX
        to = ptr32(origin + s[_AT + 7] + 4 * j)
        t = -t
    v = to[0] << wide >> wide
    if v > most:
        v = most
    elif v < -most:
        v = -most
    v -= t
    if v > most:
        v = most
    elif v < -most:
        v = -most
    to[0] = v


@micropython.viper
def _learn_affine(words, exponent: int):
    """Gamma and beta move; the errors are multiplied by what gamma was."""
    s = ptr32(words)
    origin = int(s) - s[_WORDS]
    r = ptr32(origin + s[_RECORD])
    wide = s[_WIDE]
    oc = r[11]
    o = 0
    while o < oc:
        g = int(_affine(words, 6, o, 8, r[16]))
        d = ptr32(origin + s[_AT + 3] + 4 * o)
        x = ptr8(origin + s[_AT + 4] + o)
        dgamma = 0
        dbeta = 0
        left = r[10]
        while left:
            v = d[0] << wide >> wide
            dgamma += v * ((x[0] ^ 128) - 128)
            dbeta += v
            d[0] = v * g
            x = ptr8(int(x) + oc)
            d = ptr32(int(d) + 4 * oc)
            left -= 1
        s[_X] = dgamma
        _move_affine(words, o, r[18], exponent)
        s[_X] = dbeta
        _move_affine(words, oc + o, r[19], exponent)
        o += 1


@micropython.viper
def _norm_group(words, q: int, least: int):
    """The errors of group q, through its norm."""
    s = ptr32(words)
    origin = int(s) - s[_WORDS]
    r = ptr32(origin + s[_RECORD])
    wide = s[_WIDE]
    oc = r[11]
    norm = r[12]
    stats = ptr32(origin + s[_AT + 5])
    stat = stats[q]
    scale = stat >> 10
    down = (stat & 255) - least
    total = 0
    products = 0
    mean = 0
    slope = 0
    second = 0
    while second < 2:
        d = ptr32(origin + s[_AT + 3] + 4 * q * norm)
        x = ptr8(origin + s[_AT + 4] + q * norm)
        left = r[10]
        while left:
            i = 0
            while i < norm:
                a = (x[i] ^ 128) - 128
                v = d[i] << wide >> wide
                if second == 0:
                    total += v
                    products += v * a
                else:
                    t = a * slope
                    v = v - mean - ((t >> 8) + ((t >> 7) & 1))
                    if v > 65535:
                        v = 65535
                    elif v < -65535:
                        v = -65535
                    v = v * scale
                    if down > 31 or stat >> 8 == 0:
                        v = 0
                    elif down > 0:
                        v = (v >> down) + ((v >> (down - 1)) & 1)
                    d[i] = v
                i += 1
            d = ptr32(int(d) + 4 * oc)
            x = ptr8(int(x) + oc)
            left -= 1
        if second == 0:
            s[_X] = total
            _divide(words, norm * r[10])
            mean = s[_X] << wide >> wide
            s[_X] = products
            _divide(words, norm * r[10])
            slope = s[_X] << wide >> wide
        second += 1


@micropython.viper
def _part_by_part(words, e: int):
    """The errors as int8, (parts, n, width)."""
    s = ptr32(words)
    origin = int(s) - s[_WORDS]
    r = ptr32(origin + s[_RECORD])
    oc = r[11]
    width = oc // r[14]
    _round_words(words, s[_AT + 3], r[10] * oc, e, 127)
    g = ptr8(origin + s[_AT + 1])
    first = 0
    while first < oc:
        d = ptr32(origin + s[_AT + 3] + 4 * first)
        left = r[10]
        while left:
            i = 0
            while i < width:
                g[i] = d[i]
                i += 1
            g = ptr8(int(g) + width)
            d = ptr32(int(d) + 4 * oc)
            left -= 1
        first += width


@micropython.viper
def tinytl_norm_dx(mem, off: int) -> int:
    words = mem[0]
    s = ptr32(words)
    _open(words, off)
    origin = int(s) - s[_WORDS]
    r = ptr32(origin + s[_RECORD])
    wide = s[_WIDE]
    size = r[10] * r[11]
    if r[15]:
        _hide(words)
    _largest(words, s[_AT + 3], size)
    down = int(_max_bits(words)) - 12
    if down < 0:
        down = 0
    _round_words(words, s[_AT + 3], size, down, 4096)
    exp = ptr32(origin + s[_AT + 8])
    exponent = (exp[0] << wide >> wide) + (r[17] << wide >> wide) + down
    _learn_affine(words, exponent)
    _largest(words, s[_AT + 3], size)
    bits = 23 - int(_bit_length(r[12] * r[10] - 1))
    if bits > 12:
        bits = 12
    shift = int(_max_bits(words)) - bits
    _round_words(words, s[_AT + 3], size, shift, 4096)
    stats = ptr32(origin + s[_AT + 5])
    least = 256
    q = 0
    while q < r[13]:
        if stats[q] >> 8 and stats[q] & 255 < least:
            least = stats[q] & 255
        q += 1
    if least == 256:
        least = 0
    q = 0
    while q < r[13]:
        _norm_group(words, q, least)
        q += 1
    _largest(words, s[_AT + 3], size)
    last = int(_int8_shift(words, wide))
    _part_by_part(words, last)
    exp = ptr32(origin + s[_AT + 2])
    exp[0] = exponent + shift + last - 6 - least
    return 0


@micropython.viper
def tinytl_add_fwd(mem, off: int) -> int:
    words = mem[0]
    s = ptr32(words)
    _open(words, off)
    origin = int(s) - s[_WORDS]
    r = ptr32(origin + s[_RECORD])
    wide = s[_WIDE]
    low = r[12] << wide >> wide
    high = r[13] << wide >> wide
    oc = r[10]
    mask = ptr8(origin + s[_AT + 5])
    o = 0
    while o < oc:
        g = int(_affine(words, 4, o, 8, r[11]))
        b = int(_affine(words, 4, oc + o, 4, r[11])) + 2048
        i = o
        y = ptr8(origin + s[_AT + 1])
        x = ptr8(origin + s[_AT + 2])
        oy = 0
        while oy < r[8]:
            iy = oy >> 1
            if iy >= r[6]:
                iy = r[6] - 1
            x2 = ptr8(origin + s[_AT + 3] + iy * r[7] * oc + o)
            ox = 0
            while ox < r[9]:
                ix = ox >> 1
                if ix >= r[7]:
                    ix = r[7] - 1
                v = (x[i] ^ 128) - 128 + ((g * ((x2[ix * oc] ^ 128) - 128) + b) >> 12)
                bit = 1 << (i & 7)
                inside = bit
                if v < low:
                    v = low
                    inside = 0
                elif v > high:
                    v = high
                    inside = 0
                y[i] = v
                if s[_AT + 5]:
                    mask[i >> 3] = mask[i >> 3] & ~bit | inside
                i += oc
                ox += 1
            oy += 1
        o += 1
    return 0


@micropython.viper
def tinytl_add_dx(mem, off: int) -> int:
    words = mem[0]
    s = ptr32(words)
    _open(words, off)
    origin = int(s) - s[_WORDS]
    r = ptr32(origin + s[_RECORD])
    oc = r[7]
    gy = ptr8(origin + s[_AT + 2])
    _clear(0, words, s[_AT + 1], r[3] * r[4] * oc)
    oy = 0
    while oy < r[5]:
        iy = oy >> 1
        if iy >= r[3]:
            iy = r[3] - 1
        ox = 0
        while ox < r[6]:
            ix = ox >> 1
            if ix >= r[4]:
                ix = r[4] - 1
            d = ptr32(origin + s[_AT + 1] + 4 * (iy * r[4] + ix) * oc)
            o = 0
            while o < oc:
                d[o] = d[o] + (gy[o] ^ 128) - 128
                o += 1
            gy = ptr8(int(gy) + oc)
            ox += 1
        oy += 1
    return 0


# -- prototype head ------------------------------------------------------------------------------------------


@micropython.viper
def _width(f: int) -> int:
    """Bits to which f numbers are cut so that the sum of their squares is at most 2^30."""
    n = (30 - int(_bit_length(f - 1))) >> 1
    if n > 14:
        n = 14
    return n


@micropython.viper
def _inverse_root(words) -> int:
    """1 / sqrt(square) = m * 2^(e - 29) for the square in _MUL, up to 2^30: e; m goes to _MUL."""
    s = ptr32(words)
    square = s[_MUL]
    s[_MUL] = 0
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
        s[_MUL] = ((1 << 29) + (root >> 1)) // root
    return e


@micropython.viper
def prototype_fwd(mem, off: int) -> int:
    words = mem[0]
    s = ptr32(words)
    _open(words, off)
    origin = int(s) - s[_WORDS]
    r = ptr32(origin + s[_RECORD])
    wide = s[_WIDE]
    logits = ptr32(origin + s[_AT + 1])
    x = ptr8(origin + s[_AT + 2])
    row = ptr16(origin + s[_AT + 3])
    counts = ptr32(origin + s[_AT + 4])
    unit = ptr16(origin + s[_AT + 5])
    norm = ptr32(origin + s[_AT + 6])
    f = r[8]
    zero = (r[9] << wide >> wide) + 128
    a = 0
    i = 0
    while i < f:
        v = (x[i] ^ 128) - zero
        a += v * v
        i += 1
    s[_MUL] = a
    e = int(_inverse_root(words))
    m = s[_MUL]
    norm[0] = m
    norm[1] = e
    i = 0
    while i < f:
        v = ((x[i] ^ 128) - zero) * m
        unit[i] = (v >> (15 - e)) + ((v >> (14 - e)) & 1)
        i += 1
    best = 0
    top = -0x20000000
    k = 0
    while k < r[7]:
        a = -(1 << 20)
        if (counts[k] << wide >> wide) > 0:
            a = 0
            i = 0
            while i < f:
                a += ((row[i] ^ 0x8000) - 0x8000) * ((unit[i] ^ 0x8000) - 0x8000)
                i += 1
            a = (a >> 14) + ((a >> 13) & 1)
        logits[k] = a
        if a > top:
            top = a
            best = k
        row = ptr16(int(row) + 2 * f)
        k += 1
    return best


@micropython.viper
def prototype_dx(mem, off: int) -> int:
    words = mem[0]
    s = ptr32(words)
    _open(words, off)
    origin = int(s) - s[_WORDS]
    r = ptr32(origin + s[_RECORD])
    wide = s[_WIDE]
    err = ptr32(origin + s[_AT + 2])
    row = ptr16(origin + s[_AT + 3])
    unit = ptr16(origin + s[_AT + 4])
    norm = ptr32(origin + s[_AT + 5])
    sums = ptr32(origin + s[_AT + 6])
    f = r[11]
    _clear(0, words, s[_AT + 6], f)
    k = 0
    while k < r[10]:
        e = err[k] << wide >> wide
        i = 0
        while i < f and e:
            sums[i] = sums[i] + (((row[i] ^ 0x8000) - 0x8000) >> 1) * e
            i += 1
        row = ptr16(int(row) + 2 * f)
        k += 1
    _largest(words, s[_AT + 6], f)
    pre = int(_bit_length(s[_MAX])) - int(_width(f))
    if pre < 0:
        pre = 0
    _round_words(words, s[_AT + 6], f, pre, 1 << 29)
    a = 0
    i = 0
    while i < f:
        a += (sums[i] << wide >> wide) * ((unit[i] ^ 0x8000) - 0x8000)
        i += 1
    a = (a >> 14) + ((a >> 13) & 1)
    factor = norm[0] * r[12]
    factor = (factor >> 10) + ((factor >> 9) & 1)
    mask = ptr8(origin + s[_AT + 7])
    i = 0
    while i < f:
        v = a * ((unit[i] ^ 0x8000) - 0x8000)
        v = (sums[i] << wide >> wide) - (v >> 14) - ((v >> 13) & 1)
        if s[_AT + 7] and (mask[i >> 3] >> (i & 7)) & 1 == 0:
            v = 0
        sums[i] = v * factor
        i += 1
    _largest(words, s[_AT + 6], f)
    if s[_MAX] == 0:
        return 0
    shift = int(_int8_shift(words, wide))
    _round_words(words, s[_AT + 6], f, shift, 127)
    g = ptr8(origin + s[_AT + 1])
    i = 0
    while i < f:
        g[i] = sums[i]
        i += 1
    base = pre + (norm[1] << wide >> wide) + (r[13] << wide >> wide) - 47
    exp = ptr32(origin + s[_AT + 8])
    exp[0] = base + shift
    exp = ptr32(origin + s[_AT + 9])
    exp[0] = base + int(_bit_length(s[_MAX]))
    return 1


@micropython.viper
def prototype_add(mem, off: int) -> int:
    words = mem[0]
    s = ptr32(words)
    _open(words, off)
    origin = int(s) - s[_WORDS]
    r = ptr32(origin + s[_RECORD])
    wide = s[_WIDE]
    label = ptr32(origin + s[_AT + 4])
    k = label[0] << wide >> wide
    if k < 0 or k >= r[6]:
        return 0
    f = r[7]
    at = s[_AT + 2] + 4 * k * f
    row = ptr16(origin + s[_AT + 1] + 2 * k * f)
    totals = ptr32(origin + at)
    counts = ptr32(origin + s[_AT + 3])
    unit = ptr16(origin + s[_AT + 5])
    count = counts[k] << wide >> wide
    if count <= 0:
        _clear(0, words, at, f)
    elif count >= r[8]:
        _round_words(words, at, f, 1, 0x3FFFFFFF)
        count >>= 1
    i = 0
    while i < f:
        totals[i] = totals[i] + ((unit[i] ^ 0x8000) - 0x8000)
        i += 1
    _largest(words, at, f)
    down = int(_bit_length(s[_MAX] >> 1)) + 1 - int(_width(f))  # of up to 2^30, which is no small int
    a = 0
    i = 0
    while i < f:
        v = totals[i] << wide >> wide
        if down > 0:
            v = (v >> down) + ((v >> (down - 1)) & 1)
        a += v * v
        i += 1
    s[_MUL] = a
    e = int(_inverse_root(words))
    i = 0
    while i < f:
        v = totals[i] << wide >> wide
        if down > 0:
            v = (v >> down) + ((v >> (down - 1)) & 1)
        v = v * s[_MUL]
        row[i] = (v >> (15 - e)) + ((v >> (14 - e)) & 1)
        i += 1
    if count < 0:
        count = 0
    elif count > 65534:
        count = 65534
    counts[k] = count + 1
    return count + 1
