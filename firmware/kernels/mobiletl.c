// MobileTL: inverted residual blocks that are trained with step-function gradients and gains of channels.
#pragma GCC optimize ("Os") // code lies in a board's RAM, and little time is spent here
#include "update.h"

static void set_bit(uint8_t *mask, int32_t i, int32_t bit) {
    int32_t byte = mask[i >> 3] & ~(1 << (i & 7));
    mask[i >> 3] = (uint8_t)(byte | bit << (i & 7));
}

// A table (256) that also keeps one bit of each input: x >= zero point.
int32_t trimtab_mobiletl_fwd(uint8_t *const *mem, uint32_t off) {
    RECORD(mobiletl_fwd);
    int8_t *y = at(mem, r->y);
    const int8_t *x = at(mem, r->x), *table = (const int8_t *)at(mem, r->table) + 128;
    uint8_t *mask = at(mem, r->mask);
    for (int32_t i = 0; i < r->n; i++) {
        int32_t v = x[i];
        y[i] = table[v];
        set_bit(mask, i, v >= r->zx);
    }
    return 0;
}

// Opens the upper end of a clamp's mask: errors of outputs at `hi` or above pass, too.
int32_t trimtab_mobiletl_mask(uint8_t *const *mem, uint32_t off) {
    RECORD(mobiletl_mask);
    uint8_t *mask = at(mem, r->mask);
    const int8_t *y = at(mem, r->y);
    for (int32_t i = 0; i < r->n; i++) {
        if (y[i] >= r->hi) {
            set_bit(mask, i, 1);
        }
    }
    return 0;
}

struct scale {
    int32_t mult, shift; // mult * 2^(shift - 31), mult in [2^30, 2^31)
};

// A requantization times 1 + d / 2^31, |d| <= 2^30. One of 1/2 or more cannot grow past 1, because sums that
// are shifted left would wrap.
static struct scale scaled_by(int32_t mult, int32_t shift, int32_t d) {
    int32_t old = max32(mult, 0);
    uint32_t v = (uint32_t)old + (uint32_t)trimtab_high31(old, d); // old / 2 to old * 3/2: below 3 * 2^30
    if (v > INT32_MAX) {
        return shift < 0 ? (struct scale) { (int32_t)((v + 1) >> 1), shift + 1 }
            : (struct scale) { INT32_MAX, shift };
    }
    if (v < 1u << 30 && old >= 1 << 30 && shift > -31) {
        return (struct scale) { (int32_t)(2 * v), shift - 1 };
    }
    return (struct scale) { (int32_t)v, shift };
}

// Multiplies by the gains (oc), each 1 + gain / 2^30, the multipliers of requantization and those of errors
// (16 bits).
int32_t trimtab_mobiletl_gain(uint8_t *const *mem, uint32_t off) {
    RECORD(mobiletl_gain);
    const int32_t *mult = at(mem, r->mult), *gain = at(mem, r->gain);
    const int8_t *shift = at(mem, r->shift);
    const int16_t *m = at(mem, r->m);
    int32_t *mult_out = at(mem, r->mult_out);
    int8_t *shift_out = at(mem, r->shift_out);
    int16_t *m_out = at(mem, r->m_out);
    for (int32_t o = 0; o < r->oc; o++) {
        int32_t d = 2 * clamp(gain[o], -BIAS_MAX, BIAS_MAX);
        struct scale scale = scaled_by(mult[o], shift[o], d);
        mult_out[o] = scale.mult;
        shift_out[o] = (int8_t)scale.shift;
        m_out[o] = (int16_t)clamp(m[o] + trimtab_high31(m[o], d), -32767, 32767);
    }
    return 0;
}

// dgain = sum over positions of gy * (y - zy), at most 127 * 255 * n: below 2^31 for 65,536 positions. `pre`
// brings it into 2^22.
int32_t trimtab_mobiletl_gain_dw(uint8_t *const *mem, uint32_t off) {
    RECORD(mobiletl_gain_dw);
    const int8_t *gy = at(mem, r->gy), *y = at(mem, r->y); // (n, oc)
    const uint16_t *u = at(mem, r->u);
    const int32_t *lr = at(mem, r->lr);
    int32_t *gain = at(mem, r->gain);
    int32_t *acc = at(mem, r->acc);
    int32_t base = sub32(sub32(lr[1], *(const int32_t *)at(mem, r->gy_exp)), 128 + 8 + r->pre);
    for (int32_t o = 0; o < r->oc; o++) {
        int32_t dgain = 0;
        for (int32_t p = o; p < r->n * r->oc; p += r->oc) {
            dgain = mac(dgain, gy[p], y[p] - r->zy);
        }
        trimtab_move_by(acc, gain, o, scaled(dgain, r->pre, u[o], lr[0]), add32(base, u[o] >> 8));
    }
    return 0;
}
