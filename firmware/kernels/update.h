// Updates of what is trained: planes of weights with their residuals, and biases.
#ifndef TRIMTAB_UPDATE_H
#define TRIMTAB_UPDATE_H

#include "kernel.h"

// One trained plane while it is updated.
struct update {
    int8_t *k;
    int8_t *r; // residuals, or null
    int16_t *acc; // accumulator instead of k, or null
    uint32_t *rng; // state of the generator that rounds, or null
    const uint16_t *u; // (oc) QAS multipliers: mantissa, then 128 + shift in the upper byte
    int32_t rate, base; // base: the shift but for the channel's part
    int32_t bits, pre;
};

void trimtab_update_open(struct update *up, uint8_t *const *mem, const struct trimtab_update *r,
    int32_t gy_exp);
// Moves weight j of the plane, of output channel o, by the gradient sum dw.
void trimtab_update(const struct update *up, int32_t j, int32_t o, int32_t dw);

// v times a channel's mantissa and the rate's. The host chooses pre so that |rsh(v, pre)| <= 2^22; the factor
// has 8 bits: below 2^30.
static inline int32_t scaled(int32_t v, int32_t pre, int32_t u, int32_t rate) {
    return mul32(rsh(v, pre), rsh(mul32(u & 255, rate), 8));
}

// Trained biases stay within it, so that a sum below 2^30 plus a bias stays below 2^31.
#define BIAS_MAX (1 << 29)

void trimtab_move_bias(int32_t *bias, int32_t delta);

// Bias o less t / 2^s; or, where there is an accumulator, that one plus as much.
void trimtab_move_by(int32_t *acc, int32_t *bias, int32_t o, int32_t t, int32_t s);

#define COLUMNS_MOST 16

// Sums over n rows g (n, oc) of the columns from o on; how many columns they are (sums.c, wide/error.c).
int32_t trimtab_column_sums(int32_t *sums, const int8_t *g, int32_t n, int32_t oc, int32_t o);

// -- residuals: a weight is k * 2^bits + r, where k is the nearest int8 and r a residual of 4 or 8 bits

static inline int32_t residual(const int8_t *r, int32_t j, int32_t bits) {
    if (bits == 8) {
        return r[j];
    }
    int32_t nibble = r[j >> 1] >> 4 * (j & 1) & 15;
    return nibble > 7 ? nibble - 16 : nibble;
}

static inline void put_residual(int8_t *r, int32_t j, int32_t bits, int32_t v) {
    if (bits == 8) {
        r[j] = (int8_t)v;
    } else {
        r[j >> 1] = (int8_t)(j & 1 ? (r[j >> 1] & 0x0f) | v * 16 : (r[j >> 1] & 0xf0) | (v & 15));
    }
}

#endif
