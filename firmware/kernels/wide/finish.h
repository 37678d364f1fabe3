// From accumulators to outputs, WIDTH channels at once.
#ifndef TRIMTAB_WIDE_FINISH_H
#define TRIMTAB_WIDE_FINISH_H

#include "vector.h"
#include "wide.h"

// Of WIDTH channels: bias and multiplier; the shift to the left before the product, to the right behind it.
struct scaling {
    vec bias[2], mult[2], left[2], right[2];
    vec before[2], one[2]; // for rounding: the last bit that a shift to the right drops
    vec away[2]; // all bits where the shift goes right: there the product rounds twice, and halves away from zero
};

// n <= WIDTH numbers of 32 bits, or of 8, and zeros behind them.
INLINE void load_words(vec *to, const int32_t *from, int32_t n) {
    if (n == WIDTH) {
        to[0] = *(const vec_at *)from;
        to[1] = *(const vec_at *)(from + LANES);
    } else {
        to[0] = to[1] = all(0);
        memcpy(to, from, 4 * (size_t)n);
    }
}

INLINE void load_bytes(vec *to, const int8_t *from, int32_t n) {
    int8_t some[WIDTH] = { 0 };
    if (n < WIDTH) {
        memcpy(some, from, (size_t)n);
        from = some;
    }
    to[0] = words(from);
    to[1] = words(from + LANES);
}

// Whether all shifts lie within 31 bits. A package may say otherwise; such a record goes to the plain loops.
int32_t trimtab_shifts_fit(const int8_t *shift, int32_t n);

// Channels o .. o + WIDTH, of which n exist.
void trimtab_scaling(struct scaling *q, const int32_t *bias, const int32_t *mult, const int8_t *shift, int32_t o, int32_t n);

// trimtab_requant in every lane.
INLINE vec scaled_twice(vec a, const struct scaling *q, int i) {
    vec v = high31(a << q->left[i], q->mult[i]);
    v += (v >> 31) & q->away[i];
    return (v >> q->right[i]) + (v >> q->before[i] & q->one[i]);
}

// Fewer than WIDTH bytes. Not inlined: the usual tile is whole.
static __attribute__((noinline, unused)) void put_some(int8_t *y, bytes v, int32_t n) {
    memcpy(y, &v, (size_t)n);
}

INLINE void put_bits(uint8_t *mask, int32_t i, int32_t n, uint32_t bits) {
    if ((i & 7) == 0 && (n & 7) == 0) {
        for (int32_t k = 0; k < n; k += 8) {
            mask[(i + k) >> 3] = (uint8_t)(bits >> k);
        }
        return;
    }
    for (int32_t k = 0; k < n; k++) {
        uint8_t *byte = mask + ((i + k) >> 3);
        int32_t bit = 1 << ((i + k) & 7);
        *byte = (uint8_t)(bits >> k & 1 ? *byte | bit : *byte & ~bit);
    }
}

// Outputs i .. i + n from scaled sums: zero point, clamp, mask. `masked` is a constant where this is inlined.
INLINE void put_scaled(const struct output out, const int masked, int32_t i, int32_t n, const vec *v) {
    vec low = all(out.lo), high = all(out.hi), y[2];
    uint32_t bits = 0;
    for (int k = 0; k < 2; k++) {
        vec inside = least(most(v[k], low), high);
        if (masked) {
            bits |= bits_of(inside == v[k]) << (LANES * k);
        }
        y[k] = inside + out.zero;
    }
    if (n == WIDTH) {
        *(bytes_at *)(out.y + i) = narrow(y[0], y[1]);
    } else {
        put_some(out.y + i, narrow(y[0], y[1]), n);
    }
    if (masked) {
        put_bits(out.mask, i, n, bits);
    }
}

// Outputs i .. i + n from sums. The usual case comes as code of its own.
INLINE void put_tile(const struct output out, int32_t i, int32_t n, const vec *sums, const struct scaling *q) {
    vec v[2] = { scaled_twice(sums[0], q, 0), scaled_twice(sums[1], q, 1) };
    if (out.mask) {
        put_scaled(out, 1, i, n, v);
    } else if (n == WIDTH) {
        put_scaled(out, 0, i, WIDTH, v);
    } else {
        put_scaled(out, 0, i, n, v);
    }
}

#endif
