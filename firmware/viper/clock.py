"""The learning rate of a step, and the count of steps."""

from .fixed import bit_length
from .idioms import *


@kernel
def begin_step(mem, off: int) -> int:
    """lr = the rate at this step of a cosine, as mantissa and shift; without a total it is constant."""
    lr = ptr32(origin + ref.lr)
    clock = ptr32(origin + ref.clock)
    cosine = ptr16(origin + ref.cosine)
    rate = r.rate
    shift = word(r.rate_shift)
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
        n = int(bit_length(v)) - 8
        if n < 0:
            n = 0
        rate = v
        if n:
            rate = rsh(v, n)
        shift += 15 - n
        if rate == 256:
            rate = 128
            shift -= 1
    lr[0] = rate
    lr[1] = shift
    return 0


@kernel
def end_step(mem, off: int) -> int:
    """One step more."""
    clock = ptr32(origin + ref.clock)
    clock[0] = clock[0] + 1
    return 0
