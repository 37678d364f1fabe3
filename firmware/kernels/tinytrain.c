// TinyTrain: Fisher information says which channels suit a task, and their planes begin beside frozen
// weights.
#pragma GCC optimize ("Os") // code lies in a board's RAM, and little time is spent here
#include "packed/packed.h"
#include "update.h"

#define FULL (1 << 30)

// The sum of (x - zx) * g over n positions of one channel, at most 255 * 127 * n: below 2^31 for 65,536
// positions.
FAST static int32_t correlate(const int8_t *x, const int8_t *g, int32_t n, int32_t step, int32_t zx) {
    int32_t sum = 0, at = 0;
    for (; n > 1; n -= 2) {
        sum = mac(sum, x[at] - zx, g[at]);
        at += step;
        sum = mac(sum, x[at] - zx, g[at]);
        at += step;
    }
    return n ? mac(sum, x[at] - zx, g[at]) : sum;
}

// f (ic) += S^2 for each channel. The largest S is shifted to 15 bits, so that its square is below 2^30. f is
// at most 2^30 before; both are brought to the larger exponent, and all of f is halved if a sum passes 2^30.
int32_t trimtab_tinytrain_fisher(uint8_t *const *mem, uint32_t off) {
    RECORD(tinytrain_fisher);
    int32_t *f = at(mem, r->f), *f_exp = at(mem, r->f_exp), *sums = at(mem, r->sums);
    const int8_t *x = at(mem, r->x), *g = at(mem, r->g);
    uint32_t top = 0;
    for (int32_t i = 0; i < r->ic; i++) {
        sums[i] = correlate(x + i, g + i, r->n, r->ic, r->zx);
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

// Keeps the sums of a trained plane (rows, nk) and the frozen weights (rows, ic) beside it within +-127, and
// drops what goes beyond. That moves k towards 0, or leaves it where w alone is beyond, so k stays int8.
int32_t trimtab_tinytrain_hold(uint8_t *const *mem, uint32_t off) {
    RECORD(tinytrain_hold);
    int8_t *k = at(mem, r->k), *rest = r->residual ? at(mem, r->r) : 0;
    const int8_t *w = at(mem, r->w);
    const uint16_t *kept = at(mem, r->kept);
    int32_t j = 0, limit = 127 * (1 << r->residual);
    for (int32_t row = r->rows; row; row--, w += r->ic) {
        for (int32_t i = 0; i < r->nk; i++, j++) {
            int32_t v = (w[kept[i]] + k[j]) * (1 << r->residual) + (rest ? residual(rest, j,
                r->residual) : 0);
            if (v > limit || v < -limit) {
                k[j] = (int8_t)((v > limit ? 127 : -127) - w[kept[i]]);
                if (rest) {
                    put_residual(rest, j, r->residual, 0);
                }
            }
        }
    }
    return 0;
}
