"""Two operands of which the second, x2 (n2, c2), repeats over the first, (n, c); their errors."""

from .error import error_close, error_open, error_row
from .idioms import *
from .rows import clear, load_row, put_by, set_output


@reads("mul_fwd", "sum_fwd", "prelu_fwd", "mul_dx")
def repeat(row: ptr32, x2: ptr8, j: int, words, at: int, shift: int, n: int):
    """Row = (x2 - zx2) << shift, for n elements of (n, c) from number `at` on."""
    row = scratch(ROW)
    less = word(r.zx2) + 128
    p = at // r.c
    j = (at - p * r.c) % r.c2
    left = r.c - (at - p * r.c)
    p = p % r.n2
    x2 = ptr8(origin + ref.x2 + p * r.c2)
    while n:
        row[0] = (plus128(x2[j]) - less) << shift
        row = ptr32(int(row) + 4)
        j += 1
        if j == r.c2:
            j = 0
        left -= 1
        if left == 0:
            left = r.c
            p += 1
            x2 = ptr8(int(x2) + r.c2)
            if p == r.n2:
                p = 0
                x2 = ptr8(origin + ref.x2)
        n -= 1


@kernel
def mul_fwd(mem, off: int) -> int:
    """y = x * x2 in another scale."""
    row = scratch(ROW)
    x = ptr8(origin + ref.x)
    zero = word(r.zx) + 128
    set_output(words, FIELD.mask, FIELD.zy, FIELD.lo, FIELD.hi)
    size = r.n * r.c
    at = 0
    while at < size:
        n = size - at
        if n > N:
            n = N
        repeat(0, 0, 0, words, at, 0, n)
        i = 0
        while i < n:
            row[i] = word(row[i]) * (plus128(x[at + i]) - zero)
            i += 1
        put_by(words, FIELD.mult, FIELD.shift, at, n)
        at += n
    return 0


@kernel
def sum_fwd(mem, off: int) -> int:
    """y = x + x2 or their difference; X holds the second meanwhile, with its sign."""
    row = scratch(ROW)
    second = scratch(X)
    set_output(words, FIELD.mask, FIELD.zy, FIELD.lo, FIELD.hi)
    size = r.n * r.c
    at = 0
    while at < size:
        n = size - at
        if n > N:
            n = N
        repeat(0, 0, 0, words, at, 20, n)
        put_by(words, FIELD.mult2, FIELD.shift2, -1, n)
        i = 0
        while i < n:
            second[i] = word(row[i]) * word(r.sign2)
            i += 1
        load_row(words, FIELD.x, at, FIELD.zx, 20, n)
        put_by(words, FIELD.mult, FIELD.shift, -1, n)
        i = 0
        while i < n:
            row[i] = word(row[i]) * word(r.sign) + word(second[i])
            i += 1
        put_by(words, FIELD.mult_y, FIELD.shift_y, at, n)
        at += n
    return 0


@reads("mul_dx")
def add_products(gy: ptr8, sums: ptr32, k: int, words, at: int, n: int):
    """n errors from number `at` of gy on, times m and what the row holds, to the sums that they belong to."""
    other = scratch(ROW)
    sums = ptr32(origin + ref.row)
    gy = ptr8(origin + ref.gy + at)
    m = word(r.m)
    shift = r.m_shift
    k = at % r.c % r.ic
    while n:
        d = signed(gy[0]) * m
        if shift:
            d = rsh(d, shift)
        sums[k] = word(sums[k]) + d * word(other[0])
        gy = ptr8(int(gy) + 1)
        other = ptr32(int(other) + 4)
        k += 1
        if k == r.ic:
            k = 0
        n -= 1


@kernel
def mul_dx(mem, off: int) -> int:
    """The error of one operand: gy times the other one, summed where the operand repeats."""
    error_open(words, FIELD.g, FIELD.gy_exp, word(r.m_exp) + r.m_shift)
    q = 0
    while q < r.gn:
        clear(0, words, ref.row, r.ic)
        p = q
        while p < r.n:
            done = 0
            while done < r.c:
                n = r.c - done
                if n > N:
                    n = N
                repeat(0, 0, 0, words, p * r.c + done, 0, n)
                add_products(0, 0, 0, words, p * r.c + done, n)
                done += n
            p += r.gn
        error_row(words, ref.row, q * r.ic, 1, r.ic)
        q += 1
    error_close(words)
    return 0


@kernel
def prelu_fwd(mem, off: int) -> int:
    """y = x, and times x2 where it is below its zero point; each has a multiplier of its own."""
    row = scratch(ROW)
    x = ptr8(origin + ref.x)
    zero = word(r.zx) + 128
    set_output(words, FIELD.mask, FIELD.zy, FIELD.lo, FIELD.hi)
    size = r.n * r.c
    at = 0
    while at < size:
        n = size - at
        if n > N:
            n = N
        repeat(0, 0, 0, words, at, 0, n)
        i = 0
        while i < n:
            a = plus128(x[at + i]) - zero
            if a < 0:
                a = word(row[i]) * a
                row[i] = a
            i += 1
        put_sides(0, 0, 0, words, at, n)
        at += n
    return 0


@reads("prelu_fwd")
def put_sides(x: ptr8, row: ptr32, i: int, words, at: int, n: int):
    """Runs of inputs on one side of the zero point, requantized by the multiplier of that side."""
    x = ptr8(origin + ref.x + at)
    zero = word(r.zx) + 128
    first = scratch(ROW)
    done = 0
    while done < n:
        row = first
        i = done
        if plus128(x[i]) < zero:
            while i < n and plus128(x[i]) < zero:
                row[0] = first[i]
                row = ptr32(int(row) + 4)
                i += 1
            put_by(words, FIELD.mult2, FIELD.shift2, at + done, i - done)
        else:
            while i < n and plus128(x[i]) >= zero:
                row[0] = plus128(x[i]) - zero
                row = ptr32(int(row) + 4)
                i += 1
            put_by(words, FIELD.mult, FIELD.shift, at + done, i - done)
        done = i


@kernel
def prelu_dx(mem, off: int) -> int:
    """The error of x: gy times m, or below the zero point times a slope (n2, c2)."""
    gy = ptr8(origin + ref.gy)
    x = ptr8(origin + ref.x)
    row = ptr32(origin + ref.row)
    slopes = ptr16(origin + ref.slope)
    zero = word(r.zx) + 128
    error_open(words, FIELD.g, FIELD.gy_exp, word(r.m_exp) + 7)
    at = 0
    p = 0
    q = 0
    while p < r.ih * r.iw:
        i = 0
        j = 0
        while i < r.ic:
            m = word(r.m)
            if plus128(x[at + i]) < zero:
                m = signed16(slopes[q * r.c2 + j])
            row[i] = (signed(gy[at + i]) * m + 64) >> 7
            i += 1
            j += 1
            if j == r.c2:
                j = 0
        error_row(words, ref.row, at, 1, r.ic)
        at += r.ic
        p += 1
        q += 1
        if q == r.n2:
            q = 0
    error_close(words)
    return 0
