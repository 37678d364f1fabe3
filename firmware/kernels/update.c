// Updates of biases and of trained planes: w -= delta, which rounds and saturates but never wraps.
#pragma GCC optimize ("Os") // code lies in a board's RAM, and little time is spent here
#include "update.h"
#include "wide/wide.h"

// xorshift32 (13, 17, 5). Its state is part of the trained state, so a run can be repeated.
static uint32_t draw(uint32_t *rng) {
    uint32_t x = *rng;
    x ^= x << 13;
    x ^= x >> 17;
    x ^= x << 5;
    return *rng = x;
}

// (v + uniform [0, 2^s)) >> s for |v| < 2^30 and s > 0. Bits beyond 30 are dropped first: the sum stays below
// 2^31.
static int32_t stochastic(int32_t v, int32_t s, uint32_t x) {
    if (s > 30) {
        v >>= min32(s - 30, 31);
        s = 30;
    }
    return add32(v, (int32_t)(x >> (32 - s))) >> s;
}

// Weight j less delta: k keeps the nearest int8, r the rest. |w| <= 127 * 2^bits + 2^(bits - 1) < 2^15, and
// |delta| <= 2^15 where it comes from.
static void move_weight(int8_t *k, int8_t *r, int32_t j, int32_t bits, int32_t delta) {
    int32_t limit = 127 * (1 << bits);
    int32_t w = k[j] * (1 << bits);
    if (r) {
        w += residual(r, j, bits);
    }
    w = clamp(sub32(w, delta), -limit, limit);
    k[j] = (int8_t)rsh(w, bits);
    if (r) {
        put_residual(r, j, bits, w - k[j] * (1 << bits));
    }
}

void trimtab_update_open(struct update *up, uint8_t *const *mem, const struct trimtab_update *r,
    int32_t gy_exp) {
    const int32_t *lr = at(mem, r->lr);
    up->k = at(mem, r->k);
    up->r = r->residual ? at(mem, r->r) : 0;
    up->acc = at(mem, r->acc);
    up->rng = r->residual == 8 || up->acc ? 0 : at(mem, r->rng);
    up->u = at(mem, r->u);
    up->bits = up->acc ? 8 : r->residual;
    up->pre = r->pre;
    up->rate = lr[0];
    up->base = sub32(sub32(lr[1], gy_exp), 128 + 8 + r->pre + up->bits);
}

void trimtab_update(const struct update *up, int32_t j, int32_t o, int32_t dw) {
    int32_t t = scaled(dw, up->pre, up->u[o], up->rate);
    if (!t) {
        return;
    }
    int32_t s = add32(up->base, up->u[o] >> 8);
    int32_t limit = 127 * (1 << up->bits); // no weight can move farther
    int32_t delta = up->rng && s > 0 ? stochastic(t, s, draw(up->rng)) : trimtab_shifted(t, s, limit);
    if (up->acc) {
        up->acc[j] = (int16_t)clamp(up->acc[j] + delta, -32767, 32767);
    } else {
        move_weight(up->k, up->r, j, up->bits, delta);
    }
}

void trimtab_move_bias(int32_t *bias, int32_t delta) {
    *bias = clamp(sub32(clamp(*bias, -BIAS_MAX, BIAS_MAX), delta), -BIAS_MAX, BIAS_MAX);
}

void trimtab_move_by(int32_t *acc, int32_t *bias, int32_t o, int32_t t, int32_t s) {
    if (t) {
        int32_t delta = trimtab_shifted(t, s, 1 << 28);
        trimtab_move_bias((acc ? acc : bias) + o, acc ? -delta : delta);
    }
}

// db = sum over positions of gy (n, oc). A bias moves by whole units of s_w * s_x, so it needs no residual.
int32_t trimtab_bias_dw(uint8_t *const *mem, uint32_t off) {
    RECORD(bias_dw);
    const int8_t *gy = at(mem, r->gy); // (n, oc)
    const uint16_t *u = at(mem, r->u);
    const int32_t *lr = at(mem, r->lr);
    int32_t *bias = at(mem, r->bias);
    int32_t *acc = at(mem, r->acc);
    int32_t base = sub32(sub32(lr[1], *(const int32_t *)at(mem, r->gy_exp)), 128 + 8);
    int32_t db[COLUMNS_MOST]; // each at most 127 n: within 2^22, as scaled() wants it, for 33,026 positions
    const struct share outputs = share_of(mem, OUTPUTS, r->oc);
    for (int32_t o = outputs.first, columns; o < outputs.end; o += columns) {
        columns = trimtab_column_sums(db, gy, r->n, r->oc, o);
        for (int32_t i = 0; i < columns; i++) {
            trimtab_move_by(acc, bias, o + i, scaled(db[i], 0, u[o + i], lr[0]), add32(base, u[o + i] >> 8));
        }
    }
    return 0;
}

// What a fold leaves of a sum: v * keep / 256 toward zero, so that every sum ends at 0. keep has 8 bits and
// |v| is at most 2^31, so (|v| / 256) * keep is below 2^31.
static inline int32_t remains(int32_t v, int32_t keep) {
    uint32_t m = magnitude(v);
    m = (m >> 8) * (uint32_t)keep + ((m & 255) * (uint32_t)keep >> 8);
    return v < 0 ? -(int32_t)m : (int32_t)m;
}

// The bias takes what the sum loses.
static inline void drain_bias(int32_t *bias, int32_t *acc, int32_t keep) {
    int32_t left = remains(*acc, keep);
    trimtab_move_bias(bias, sub32(*acc, left));
    *acc = left;
}

// The weights take what their sums (n) lose.
int32_t trimtab_fold_weights(uint8_t *const *mem, uint32_t off) {
    RECORD(fold_weights);
    int8_t *k = at(mem, r->k);
    int8_t *rest = r->residual ? at(mem, r->r) : 0;
    int16_t *acc = at(mem, r->acc);
    int32_t s = 8 - r->residual;
    for (int32_t j = 0; j < r->n; j++) {
        int32_t delta = rsh(acc[j] - remains(acc[j], r->keep), s);
        move_weight(k, rest, j, r->residual, delta);
        // The rest stays: at most 32767 * 255 / 256 + 2^7 = 32767.
        acc[j] = (int16_t)(acc[j] - delta * (1 << s));
    }
    return 0;
}

int32_t trimtab_fold_bias(uint8_t *const *mem, uint32_t off) {
    RECORD(fold_bias);
    int32_t *bias = at(mem, r->bias);
    int32_t *acc = at(mem, r->acc);
    for (int32_t i = 0; i < r->n; i++) {
        drain_bias(bias + i, acc + i, r->keep);
    }
    return 0;
}

int32_t trimtab_fold_head(uint8_t *const *mem, uint32_t off) {
    RECORD(fold_head);
    int16_t *w = at(mem, r->w); // (n, f)
    int16_t *acc = at(mem, r->acc);
    int32_t *bias = at(mem, r->bias);
    int32_t *acc_bias = at(mem, r->acc_bias);
    for (int32_t i = 0; i < r->n * r->f; i++) {
        int32_t left = remains(acc[i], r->keep);
        w[i] = (int16_t)clamp(w[i] - (acc[i] - left), -r->limit, r->limit);
        acc[i] = (int16_t)left;
    }
    for (int32_t k = 0; k < r->n; k++) {
        drain_bias(bias + k, acc_bias + k, r->keep);
    }
    return 0;
}
