// The clock of training: the rate of a training step, and the count of steps.
#pragma GCC optimize ("Os") // code lies in a board's RAM, and little time is spent here
#include "kernel.h"

// The rate follows a cosine of 64 entries from the first rate to 0 over `total` steps. It stays
// without a total.
int32_t trimtab_begin_step(uint8_t *const *mem, uint32_t off) {
    RECORD(begin_step);
    int32_t *lr = at(mem, r->lr); // (2): 8 bits, and the shift
    const uint32_t *clock = at(mem, r->clock); // step, total
    const int16_t *cosine = at(mem, r->cosine); // (64), Q15
    uint32_t step = clock[0], total = clock[1];
    lr[0] = r->rate;
    lr[1] = r->rate_shift;
    if (total) {
        for (; total >> 26; total >>= 1) { // so that 64 * step fits 32 bits
            step >>= 1;
        }
        // 8 bits times Q15: below 2^23
        int32_t v = mul32(r->rate, cosine[step < total ? step * 64 / total : 63]);
        int32_t s = max32(trimtab_bit_length((uint32_t)v) - 8, 0);
        lr[0] = rsh(v, s);
        lr[1] += 15 - s;
        if (lr[0] == 256) { // rounded up to 9 bits
            lr[0] = 128;
            lr[1]--;
        }
    }
    return 0;
}

int32_t trimtab_end_step(uint8_t *const *mem, uint32_t off) {
    RECORD(end_step);
    uint32_t *clock = at(mem, r->clock);
    clock[0]++;
    return 0;
}
