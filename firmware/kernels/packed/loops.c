// Loops in C that SWAR and DSP share: packed words differ, what is done with them does not.
#pragma GCC optimize ("Os") // code lies in a board's RAM; time is spent in FAST loops and in assembly
#include "packed.h"

#if TRIMTAB_PACKED && !defined(__ARM_ARCH_6M__) // all of these stand in Thumb-1

#if !defined(__ARM_FEATURE_DSP) // and these with DSP instructions

void trimtab_pack_x(const int8_t *bytes, uint32_t *to, int32_t words, int32_t skip) {
    for (; words; words--, bytes += 4, to += 2 + skip / 4) {
        to[0] = pack(bytes[0], bytes[2]);
        to[1] = pack(bytes[1], bytes[3]);
    }
}

void trimtab_gather_x(const int8_t *from, int32_t step, uint32_t *to, int32_t words, int32_t skip) {
    for (; words; words--, from += 4 * step, to += 2 + skip / 4) {
        to[0] = pack(from[0], from[2 * step]);
        to[1] = pack(from[step], from[3 * step]);
    }
}

void trimtab_dot(const uint32_t *x, const uint32_t *w, const uint32_t *w_end, int32_t *acc, int32_t pairs,
    int32_t start) {
    for (; pairs; pairs--, acc += 2) {
        acc[0] = acc[1] = start;
        for (const uint32_t *v = w; v < w_end; v += 2, x += 4) {
            acc[0] = add32(acc[0], two_products(x[0], v[0]) + two_products(x[1], v[1]));
            acc[1] = add32(acc[1], two_products(x[2], v[0]) + two_products(x[3], v[1]));
        }
    }
}

void trimtab_requant_each(const int32_t *acc, int8_t *y, const struct requant *q, int32_t offset,
    int32_t (*scale)(int32_t, const struct requant *)) {
    for (int32_t row = q->rows; row; row--, acc += q->skip / 4) {
        for (int32_t n = q->width; n; n -= 4, y += q->step) {
            int32_t v = (scale(*acc++ + offset, q) + q->half) >> q->shift, clamped = clamp(v, 0, q->range);
            *y = (int8_t)(clamped + q->lo);
            if (q->mask && v != clamped) {
                int32_t i = (int32_t)(y - q->first);
                q->mask[i >> 3] &= (uint8_t)~(1 << (i & 7));
            }
        }
    }
}

void trimtab_pair_load(uint32_t *to, const int8_t *from, const struct pair_load *p) {
    for (int32_t c = 0; c < p->columns; c++, to++, from += p->column_step) {
        int32_t above = p->pad;
        for (int32_t r = 0; r <= p->rows; r++) {
            int32_t x = r < p->rows ? from[r * p->row_step] : p->pad;
            to[r * (p->pitch / 4)] = pack(above, x);
            above = x;
        }
    }
}

static void tile(const uint32_t *x, int32_t *acc, const uint32_t *w, const struct tiles *p, int32_t width,
    int32_t stride) {
    for (int32_t row = p->rows; row; row--, x += p->skip / 4) {
        for (int32_t n = p->width; n; n -= 4, x += stride, acc++) {
            for (int32_t k = 0; k < width; k++) {
                *acc = add32(*acc, two_products(x[k], w[k]));
            }
        }
    }
}

#define TILE(width, stride) \
    void trimtab_tile##width##_##stride(const uint32_t *x, int32_t *acc, const uint32_t *w, \
        const struct tiles *p) { \
        tile(x, acc, w, p, width, stride); \
    }
TILE(3, 2)
TILE(5, 1)
TILE(5, 2)
TILE(7, 1)
TILE(7, 2)

FAST static void add_row(const uint32_t *x, int32_t *acc, const uint32_t *w, const struct tiles *p,
    int32_t width) {
    for (int32_t row = p->rows; row; row--, x += p->skip / 4) {
        for (int32_t n = p->width; n; n -= 4, x++, acc++) {
            for (int32_t k = 0; k < width; k++) {
                *acc = mac(*acc, (int32_t)x[k], (int32_t)w[k]);
            }
        }
    }
}

void trimtab_row5(const uint32_t *x, int32_t *acc, const uint32_t *w, const struct tiles *p) {
    add_row(x, acc, w, p, 5);
}

void trimtab_row7(const uint32_t *x, int32_t *acc, const uint32_t *w, const struct tiles *p) {
    add_row(x, acc, w, p, 7);
}

uint32_t trimtab_round(const int32_t *sums, int8_t *g, const struct round *p) {
    uint32_t max = p->max;
    for (int32_t row = p->rows; row; row--, sums += p->skip / 4, g += p->g_skip) {
        for (int32_t n = p->width; n; n -= 4, g += p->step) {
            int32_t v = *sums++;
            max = magnitude(v) > max ? magnitude(v) : max;
            *g = (int8_t)clamp(add32(v, p->half) >> p->shift, -127, 127);
        }
    }
    return max;
}

#endif

FAST void trimtab_pair_rows(uint32_t *to, const int8_t *from, int32_t step, const struct pair_rows *p) {
    for (int32_t row = p->rows; row; row--, to += p->skip / 4, from += p->next) {
        const int8_t *x = from;
        for (int32_t n = p->width; n; n -= 4, x += step) {
            *to++ = pack(x[0], x[p->below]);
        }
    }
}

void trimtab_plane_load(int32_t *to, const int8_t *from, int32_t step, const struct load *p) {
    for (int32_t row = p->rows; row; row--, to += p->skip / 4) {
        for (int32_t n = p->width; n; n -= 4, from += step) {
            *to++ = (*from * p->mul + p->add) >> p->shift;
        }
    }
}

void trimtab_update_row(const int32_t *dw, int8_t *k, int8_t *r, const struct update_row *p) {
    for (int32_t i = 0; i < p->n; i++) {
        int32_t t = mul32(add32(dw[i], p->pre_half) >> p->pre, p->m);
        if (t) {
            int32_t delta = clamp(add32(t, p->half) >> p->shift, -32512, 32512);
            int32_t w = clamp(k[i] * 256 + r[i] - delta, -32512, 32512);
            k[i] = (int8_t)rsh(w, 8);
            r[i] = (int8_t)(w - k[i] * 256);
        }
    }
}

#endif
