"""The clock: how many steps were trained, and the learning rate that follows from it."""

import struct

from .fixed import bit_length, rsh
from .record import at, ints, put, record


def begin_step(mem, off):
    """The rate of this step: 64 entries of a cosine over `total` steps; without a total, the first."""
    lr, clock, cosine, rate, rate_shift = record(mem, off)
    step, total = ints(mem, clock, 2, "I")
    if total:
        while total >> 26:  # so that 64 * step stays in 32 bits
            step >>= 1
            total >>= 1
        entry = step * 64 // total if step < total else 63
        v = rate * ints(mem, cosine, 64, "h")[entry]  # 8 bits times Q15
        s = max(bit_length(v) - 8, 0)
        rate, rate_shift = rsh(v, s), rate_shift + 15 - s
        if rate == 256:
            rate, rate_shift = 128, rate_shift - 1
    put(mem, lr, rate, rate_shift)
    return 0


def end_step(mem, off):
    """step += 1, modulo 2^32."""
    (clock,) = record(mem, off)
    buf, o = at(mem, clock)
    struct.pack_into("<I", buf, o, (struct.unpack_from("<I", buf, o)[0] + 1) & 0xFFFFFFFF)
    return 0
