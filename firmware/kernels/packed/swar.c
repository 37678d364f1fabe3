// The SWAR loops in C: what armv6m/ does in Thumb-1, for this machine's tests.
#include "packed.h"

#if TRIMTAB_PACKED && !TRIMTAB_DSP && !defined(__ARM_ARCH_6M__)

uint32_t trimtab_pack_w(const int8_t *bytes, uint32_t *to, int32_t words) {
    uint32_t sum = 0;
    for (; words; words--, bytes += 4, to += 2) {
        to[0] = pack(bytes[2], bytes[0]);
        to[1] = pack(bytes[3], bytes[1]);
        sum += to[0] + to[1];
    }
    return sum;
}

uint32_t trimtab_gather_w(const int8_t *from, int32_t step, uint32_t *to, int32_t words, int32_t skip) {
    uint32_t sum = 0;
    for (; words; words--, from += 4 * step, to += 2) {
        to[0] = pack(from[2 * step], from[0]);
        to[1] = pack(from[3 * step], from[step]);
        sum += to[0] + to[1];
    }
    (void)skip;
    return sum;
}

void trimtab_prepare(struct prepare *p) {
    p->all = p->sum = 0;
    for (uint32_t most = 0; p->x < p->end && most <= 255; p->to += 3) {
        uint32_t x = *p->x++ ^ 0x80808080u;
        p->to[0] = 0x80808080u;
        most = 0;
        for (int32_t odd = 0; odd < 2; odd++) {
            uint32_t d = (x >> 8 * odd & 255 * LANES) + p->zero, n = ~(d >> 8) & LANES;
            uint32_t m = ((d & 255 * LANES) ^ 255 * n) + n;
            p->sum += d;
            p->all += m;
            most |= (m & 0xffff) + (m >> 16);
            p->to[0] ^= 255 * n << 8 * odd;
            p->to[1 + odd] = m >> 16 | m << 16;
        }
    }
}

// It reads whole words: up to three bytes beside a row, which meet magnitudes of 0.
__attribute__((no_sanitize("address"))) void trimtab_rows(const uint32_t *x, const int8_t *w, int32_t pitch, uint32_t *sums, int32_t rows) {
    for (int32_t row = 0; row < rows; row++, w += pitch) {
        const word_t *v = (const word_t *)w;
        sums[row] = 0;
        for (const uint32_t *p = x; p[0]; p += 3) {
            uint32_t u = *v++ ^ p[0];
            sums[row] += ((u & 0x00ff00ff) * p[1] >> 16) + ((u >> 8 & 0x00ff00ff) * p[2] >> 16);
        }
    }
}

// The floor of a * multiplier / 2^20, by digits of 10, 10 and 11 bits: floors nest. |a| < 2^20, so every
// product is below 2^31.
static int32_t scaled_by_digits(int32_t a, const struct requant *q) {
    return a * q->m[2] + ((a * q->m[1] + (a * q->m[0] >> 10)) >> 10);
}

// acc * multiplier / 2^31.
static int32_t scaled_small(int32_t a, const struct requant *q) {
    int32_t n = scaled_by_digits(a, q);
    return (n >> 11) + (n >> 10 & 1) + (n >> 31);
}

// The same by halves: see trimtab_high31.
static int32_t scaled_wide(int32_t a, const struct requant *q) {
    int32_t ah = a >> 16, al = a & 0xffff;
    int32_t t = al * q->m[1] + (int32_t)((uint32_t)al * (uint32_t)q->m[0] >> 16), u = ah * q->m[0];
    int32_t v = 2 * ah * q->m[1] + (u >> 15) + ((t + (u & 0x7fff) + 0x4000) >> 15);
    return v + (v >> 31);
}

void trimtab_requant_small(const int32_t *acc, int8_t *y, const struct requant *q, int32_t offset) {
    trimtab_requant_each(acc, y, q, offset, scaled_small);
}

int32_t trimtab_requant_checked(const int32_t *acc, int8_t *y, const struct requant *q, int32_t offset) {
    const int32_t *v = acc;
    for (int32_t row = q->rows; row; row--, v += q->skip / 4) {
        for (int32_t n = q->width; n; n -= 4) {
            int32_t a = add32(*v++, offset);
            if (a >> 20 != a >> 31) {
                return 0;
            }
        }
    }
    trimtab_requant_small(acc, y, q, offset);
    return 1;
}

int32_t trimtab_requant_relu(const int32_t *acc, int8_t *y, const struct requant *q, int32_t offset) {
    for (int32_t row = q->rows; row; row--, acc += q->skip / 4) {
        for (int32_t n = q->width; n; n -= 4, y += q->step) {
            int32_t a = add32(*acc++, offset);
            if (a >= 1 << 20) {
                return 0;
            }
            uint32_t v = (uint32_t)scaled_by_digits(max32(a, 0), q) + (uint32_t)q->half;
            *y = (int8_t)(min32((int32_t)(v >> q->shift), 255) + q->lo);
        }
    }
    return 1;
}

void trimtab_requant_wide(const int32_t *acc, int8_t *y, const struct requant *q) {
    trimtab_requant_each(acc, y, q, 0, scaled_wide);
}

int32_t trimtab_requant_outputs(const int32_t *acc, int32_t o, int32_t n, const struct outputs *q) {
    for (int32_t i = 0; i < n; i++, o += q->step) {
        int32_t a = add32(add32(acc[i], q->added), q->bias[o]), e = -q->shift[o];
        const struct requant digits = { { q->mult[o] & 1023, q->mult[o] >> 10 & 1023, q->mult[o] >> 20 } };
        if (a >> 19 != a >> 31 || e < 1 || e > 19) {
            return i;
        }
        int32_t v = scaled_by_digits(a, &digits);
        v = q->once ? rsh(v, e + 11) : rsh_away(rsh(v, 11), e);
        int32_t clamped = clamp(v, q->lo, q->hi);
        q->y[o] = (int8_t)(clamped + q->zero);
        if (q->mask && v != clamped) {
            q->mask[o >> 3] &= (uint8_t)~(1 << (o & 7));
        }
    }
    return n;
}

void trimtab_slide3(int32_t *plane, const int32_t *w, const struct slide *p) {
    int32_t pitch = p->pitch / 4;
    for (int32_t c = 0; c < p->columns; c++) {
        int32_t *x = plane + c, last = 0, middle = 0; // sums that the row above is in; the one above that
        for (int32_t r = 0; r <= p->rows; r++, x += pitch) {
            int32_t sums[3];
            for (int32_t ky = 0; ky < 3 && r < p->rows; ky++) {
                sums[ky] = mac(mac(mul32(x[0], w[3 * ky]), x[1], w[3 * ky + 1]), x[2], w[3 * ky + 2]);
            }
            if (r) {
                x[0] = r < p->rows ? add32(last, sums[2]) : last;
            }
            last = r < p->rows ? add32(middle, sums[1]) : 0;
            middle = sums[0];
        }
    }
}

static int32_t correlate(const uint32_t *x, const uint32_t *g, const struct correlate *p, int32_t step) {
    int32_t sum = 0;
    for (int32_t row = p->rows; row; row--, x += p->skip / 4) {
        for (int32_t n = p->width; n; n -= 4, x += step) {
            sum += two_products(*x, *g++);
        }
    }
    return sum;
}

int32_t trimtab_correlate1(const uint32_t *x, const uint32_t *g, const struct correlate *p) {
    return correlate(x, g, p, 1);
}

int32_t trimtab_correlate2(const uint32_t *x, const uint32_t *g, const struct correlate *p) {
    return correlate(x, g, p, 2);
}

void trimtab_spread(const uint32_t *w, const uint32_t *w_end, const int32_t *d, int32_t *sums,
    int32_t pairs) {
    for (; pairs; pairs--, d += 2) {
        const int32_t *of_pair = d;
        for (int32_t i = 0; i < 8; i++) {
            int32_t sum = 0;
            d = of_pair;
            for (const uint32_t *v = w; v < w_end; v++, d += 2) {
                sum = mac(sum, d[i >> 2], (int32_t)(*v >> 8 * (i & 3) & 255));
            }
            *sums++ = sub32(sum, d[i >> 2]);
        }
    }
}

#endif
