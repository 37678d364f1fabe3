// The prototype head: a class is the mean direction of its features, and a logit is the cosine to it.
// Directions are int16 with 14 fraction bits; there are at most 16384 features (f) and n classes.
#pragma GCC optimize ("Os") // code lies in a board's RAM, and little time is spent here
#include "error.h"
#include "packed/packed.h"

#define ABSENT (-(1 << 20)) // logit of a class without prototype: its probability is 0

struct inverse {
    int32_t m, e; // m * 2^(e - 29), m in 2^14 .. 2^15 or 0
};

// Bits to which f numbers are cut so that the sum of their squares is at most 2^30.
static int32_t width(int32_t f) {
    return min32(14, (30 - trimtab_bit_length((uint32_t)f - 1)) >> 1);
}

// 1 / sqrt(square), for square in 0 .. 2^30.
static struct inverse inverse_root(int32_t square) {
    struct inverse found = { 0, 0 };
    if (square <= 0) {
        return found;
    }
    for (; square < 1 << 28; square <<= 2) {
        found.e++;
    }
    square = min32(square, (1 << 30) - 1); // so the root has 15 bits
    int32_t root = 0;
    for (int32_t bit = 1 << 14; bit; bit >>= 1) {
        if ((root + bit) * (root + bit) <= square) {
            root += bit;
        }
    }
    found.m = (int32_t)(((1u << 29) + (uint32_t)root / 2) / (uint32_t)root);
    return found;
}

// v / |v|, by the inverse of |v|; |v| has 14 bits and m 15: below 2^30.
static int16_t direction(int32_t v, struct inverse inverse) {
    return (int16_t)rsh(mul32(v, inverse.m), 15 - inverse.e);
}

// Of two directions: |sum| <= |a| * |b|, about 2^28.
FAST static int32_t dot(const int16_t *a, const int16_t *b, int32_t n) {
    int32_t sum = 0;
    for (; n >= 4; n -= 4, a += 4, b += 4) {
        sum = mac(mac(mac(mac(sum, a[0], b[0]), a[1], b[1]), a[2], b[2]), a[3], b[3]);
    }
    for (; n; n--) {
        sum = mac(sum, *a++, *b++);
    }
    return sum;
}

// The direction of the features, and the cosines to all prototypes with 14 fraction bits. Returns the class.
int32_t trimtab_prototype_fwd(uint8_t *const *mem, uint32_t off) {
    RECORD(prototype_fwd);
    int32_t *logits = at(mem, r->logits), *norm = at(mem, r->norm);
    const int8_t *x = at(mem, r->x); // (f)
    const int16_t *protos = at(mem, r->protos); // (n, f)
    const int32_t *counts = at(mem, r->counts);
    int16_t *unit = at(mem, r->unit);
    int32_t square = 0, best = 0; // at most 16384 * 255^2 < 2^30
    for (int32_t i = 0; i < r->f; i++) {
        square = mac(square, x[i] - r->zx, x[i] - r->zx);
    }
    struct inverse inverse = inverse_root(square);
    for (int32_t i = 0; i < r->f; i++) {
        unit[i] = direction(x[i] - r->zx, inverse);
    }
    norm[0] = inverse.m;
    norm[1] = inverse.e;
    for (int32_t k = 0; k < r->n; k++) {
        logits[k] = counts[k] > 0 ? rsh(dot(protos + k * r->f, unit, r->f), 14) : ABSENT;
        if (logits[k] > logits[best]) {
            best = k;
        }
    }
    return best;
}

// dL/dx = scale / |x| * (s - (s . unit) unit) with s = sum over classes of (c / 2) * err. Prototypes do not
// move. Returns 0 if there is nothing to learn.
int32_t trimtab_prototype_dx(uint8_t *const *mem, uint32_t off) {
    RECORD(prototype_dx);
    int8_t *g = at(mem, r->g);
    const int32_t *err = at(mem, r->err), *norm = at(mem, r->norm);
    const int16_t *protos = at(mem, r->protos), *unit = at(mem, r->unit); // (n, f), (f)
    const uint8_t *mask = at(mem, r->mask);
    int32_t *s = at(mem, r->sums);
    for (int32_t i = 0; i < r->f; i++) {
        s[i] = trimtab_halved_dot(protos + i, r->f, err, r->n); // |.| <= 2^30 since sum |err| <= 2^16
    }
    int32_t pre = max32(trimtab_bit_length(trimtab_largest(s, r->f)) - width(r->f), 0), along = 0;
    for (int32_t i = 0; i < r->f; i++) {
        s[i] = rsh(s[i], pre); // cut so that |s| as a vector is at most 2^15
        along = mac(along, s[i], unit[i]); // |.| <= |s| * |unit|, about 2^29
    }
    along = rsh(along, 14);
    int32_t factor = rsh(mul32(norm[0], r->scale), 10); // 13 bits
    for (int32_t i = 0; i < r->f; i++) {
        int32_t v = sub32(s[i], rsh(mul32(along, unit[i]), 14));
        s[i] = mask && !mask_bit(mask, i) ? 0 : mul32(v, factor); // below 2^30
    }
    uint32_t top = trimtab_largest(s, r->f);
    if (!top) {
        return 0;
    }
    int32_t down = int8_shift(top);
    for (int32_t i = 0; i < r->f; i++) {
        g[i] = (int8_t)trimtab_shifted(s[i], down, 127);
    }
    // (c / 2) and err have 28 fraction bits, m 29, and factor lost 10
    int32_t base = add32(norm[1], pre + r->scale_exp - 47);
    *(int32_t *)at(mem, r->exp) = add32(base, down);
    *(int32_t *)at(mem, r->head_exp) = add32(base, trimtab_bit_length(top));
    return 1;
}

// Adds a sample's direction (f) to its class. When `window` samples are in it, all older ones are halved.
// Returns how many count. A count of 0 forgets what was there.
int32_t trimtab_prototype_add(uint8_t *const *mem, uint32_t off) {
    RECORD(prototype_add);
    int32_t k = *(const int32_t *)at(mem, r->label);
    if (k < 0 || k >= r->n) {
        return 0;
    }
    int16_t *proto = (int16_t *)at(mem, r->protos) + k * r->f;
    int32_t *totals = (int32_t *)at(mem, r->totals) + k * r->f, *count = (int32_t *)at(mem, r->counts) + k;
    const int16_t *unit = at(mem, r->unit);
    int32_t old = *count >= r->window, square = 0;
    for (int32_t i = 0; i < r->f; i++) {
        // 65535 directions at most: below 2^31.
        totals[i] = add32(*count > 0 ? rsh(totals[i], old) : 0, unit[i]);
    }
    int32_t pre = max32(trimtab_bit_length(trimtab_largest(totals, r->f)) - width(r->f), 0);
    for (int32_t i = 0; i < r->f; i++) {
        int32_t v = rsh(totals[i], pre);
        square = mac(square, v, v);
    }
    struct inverse inverse = inverse_root(square);
    for (int32_t i = 0; i < r->f; i++) {
        proto[i] = direction(rsh(totals[i], pre), inverse);
    }
    *count = clamp(*count >> old, 0, 65534) + 1;
    return *count;
}
