// What suits a network to a task with few samples: Fisher information (TinyTrain).
#pragma GCC optimize ("Os") // code lives in RAM on a board, and little time is spent here
#include "kernels.h"

#define FULL (1 << 30)

// sums of (x - zx) * g over positions; |.| <= 255 * 127 n: below 2^31 for 65,536 positions.
HOT static void correlate(const struct trimtab_tinytrain_fisher *r, uint8_t *const *mem, int32_t *sums) {
    const int8_t *x = at(mem, r->x), *g = at(mem, r->g);
    for (int32_t i = 0; i < r->ic; i++) {
        sums[i] = 0;
        NO_LIBRARY_CALL;
    }
    for (int32_t p = r->n; p; p--) {
        for (int32_t i = 0; i < r->ic; i++) {
            sums[i] = mac(sums[i], *x++ - r->zx, *g++);
        }
    }
}

// f += S^2 for each channel. The largest S takes 15 bits, so that its square stays below 2^30; f, at most 2^30
// before, brings both to the larger exponent, and is halved where a sum passes 2^30.
int32_t trimtab_tinytrain_fisher(uint8_t *const *mem, uint32_t off) {
    RECORD(tinytrain_fisher);
    int32_t *f = at(mem, r->f), *f_exp = at(mem, r->f_exp), *sums = at(mem, r->sums);
    correlate(r, mem, sums);
    uint32_t top = 0;
    for (int32_t i = 0; i < r->ic; i++) {
        uint32_t v = magnitude(sums[i]);
        top = v > top ? v : top;
    }
    if (!top) {
        return 0;
    }
    int32_t s = trimtab_bit_length(top) - 15;
    int32_t exp = mul32(2, add32(*(const int32_t *)at(mem, r->g_exp), s)), most = 0;
    int32_t down = sub32(exp, *f_exp);
    for (int32_t i = 0; i < r->ic; i++) {
        int32_t v = trimtab_shifted(sums[i], s, 32767);
        f[i] = add32(rsh(f[i], down), rsh(v * v, sub32(0, down)));
        most = max32(most, f[i]);
    }
    exp = max32(exp, *f_exp);
    for (int32_t i = 0; most > FULL && i < r->ic; i++) {
        f[i] = rsh(f[i], 1);
    }
    *f_exp = add32(exp, most > FULL);
    return 0;
}
