"""How a kernel writes an error tensor: int8 values under one exponent."""

import struct

from ..format import GROUPS, NULL
from .fixed import bit_length, clamp, int8_shift, rsh, shifted
from .record import at, get, get_bit, ints, put, record

ERROR_WORDS = len(GROUPS["error_out"].split())  # they end the record of each kernel that writes an error


class ErrorOut:
    """Writes one error tensor row by row: adds the addend, applies the producer's mask, shifts to int8.

    The shift must be known before the values are. A tracker holds it: the largest exponent seen so far,
    relative to the sample's error at the head, in 1/256 octave. After each sample it rises to that sample's
    maximum or falls by 4/256, so values saturate only where an error is larger than any before.
    """

    def __init__(self, mem, off, exp):
        self.mem = mem
        (self.g, self.mask, self.add, add_exp, self.mul, add_shift, exp_out, self.track, head_exp) = record(
            mem, off
        )[-ERROR_WORDS:]
        self.down = self.up = 0
        if add_exp == NULL:
            self.add = NULL
        if self.add != NULL:
            # |rsh(addend)| <= 2^15, so << 14 stays below 2^29; |acc| is below 2^30, so is their sum below
            # 2^31
            gap = get(mem, add_exp) + add_shift + 7 - exp
            self.down = max(0, gap - 14)
            exp += self.down
            self.up = gap - self.down
        self.base = exp - get(mem, head_exp)
        self.shift = ((ints(mem, self.track, 1, "h")[0] + 255) >> 8) - self.base
        self.max = 0
        put(mem, exp_out, exp + self.shift)

    def row(self, start, acc):
        """Write the sums `acc` to the elements from `start` on."""
        gb, go = at(self.mem, self.g)
        for i, v in enumerate(acc):
            i += start
            if self.add != NULL:
                ab, ao = at(self.mem, self.add)
                t = rsh(ab[ao + i] * self.mul, 7)
                v = rsh(v, self.down) + (t << self.up if self.up >= 0 else rsh(t, min(-self.up, 30)))
            if self.mask != NULL:
                mb, mo = at(self.mem, self.mask)
                if not get_bit(mb, mo, i):
                    v = 0
            self.max = max(self.max, abs(v))
            gb[go + i] = shifted(v, self.shift, 127)

    def close(self):
        """Move the tracker; returns what the kernel returns."""
        if self.max:
            old = ints(self.mem, self.track, 1, "h")[0]
            new = (self.base + int8_shift(self.max)) << 8
            buf, o = at(self.mem, self.track)
            struct.pack_into("<h", buf, o, clamp(new if new > old else old - 4, -32000, 32000))
        return 0


def write_head_error(mem, g, exp, head_exp, values, base):
    """The first error of a sample: values * 2^base as int8, exactly scaled, since all of them are known here.

    `head_exp` gets the exponent of their largest, to which all trackers of the sample are relative.
    """
    top = max([abs(v) for v in values])
    s = int8_shift(top)
    gb, go = at(mem, g)
    for i, v in enumerate(values):
        gb[go + i] = shifted(v, s, 127)
    put(mem, exp, base + s)
    put(mem, head_exp, base + bit_length(top))
