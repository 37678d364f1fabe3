// The loops with DSP instructions in C: what armv7em/ does in assembly, for this machine's tests.
#include "packed.h"

#if TRIMTAB_DSP && !defined(__ARM_FEATURE_DSP)

// Lower half times lower half plus upper times upper, as smuad gives it.
static int32_t products(uint32_t x, uint32_t w) {
    return (int16_t)x * (int16_t)w + (int16_t)(x >> 16) * (int16_t)(w >> 16);
}

uint32_t trimtab_pack_w(const int8_t *bytes, uint32_t *to, int32_t words) {
    uint32_t sum = 0;
    for (; words; words--, bytes += 4, to += 2) {
        to[0] = pack(bytes[2], bytes[0]);
        to[1] = pack(bytes[3], bytes[1]);
        sum += (uint32_t)(bytes[0] + bytes[1] + bytes[2] + bytes[3]);
    }
    return sum;
}

uint32_t trimtab_gather_w(const int8_t *from, int32_t step, uint32_t *to, int32_t words, int32_t skip) {
    uint32_t sum = 0;
    for (; words; words--, from += 4 * step, to += 2) {
        to[0] = pack(from[2 * step], from[0]);
        to[1] = pack(from[3 * step], from[step]);
        sum += (uint32_t)(from[0] + from[step] + from[2 * step] + from[3 * step]);
    }
    (void)skip;
    return sum;
}

static int32_t scaled_whole(int32_t a, const struct requant *q) {
    int32_t v = trimtab_high31(a, q->m[0]);
    return v + (v >> 31);
}

void trimtab_requant_rows(const int32_t *acc, int8_t *y, const struct requant *q, int32_t offset) {
    trimtab_requant_each(acc, y, q, offset, scaled_whole);
}

void trimtab_slide_load(int32_t *to, const int8_t *from, int32_t step, const struct load *p) {
    int32_t width = p->width / 4, pitch = width + p->skip / 4;
    for (int32_t row = 0; row <= p->rows; row += 2, to += 2 * pitch) {
        for (int32_t i = 0; i < width; i++) {
            int32_t v[2] = { 0, 0 };
            for (int32_t n = 0; n < 2; n++) {
                int32_t y = row - 1 + n;
                if (y >= 0 && y < p->rows) {
                    v[n] = (from[(y * width + i) * step] * p->mul + p->add) >> p->shift;
                }
            }
            to[i] = (int32_t)pack(v[0], v[1]);
        }
    }
}

void trimtab_slide3(int32_t *plane, const int32_t *w, const struct slide *p) {
    int32_t pitch = p->pitch / 4;
    for (int32_t c = 0; c < p->columns; c++) {
        int32_t *x = plane + c, old[2] = { 0, 0 }; // sums of the two output rows above
        for (int32_t r = 0; r <= p->rows; r += 2, x += 2 * pitch) {
            int32_t new[2] = { 0, 0 };
            for (int32_t k = 0; k < 3; k++) {
                uint32_t v = (uint32_t)x[k];
                old[0] += products(v, pack(w[6 + k], 0));
                old[1] += products(v, pack(w[3 + k], w[6 + k]));
                new[0] += products(v, pack(w[k], w[3 + k]));
                new[1] += products(v, pack(0, w[k]));
            }
            for (int32_t n = 0; n < 2; n++) {
                if (r) {
                    x[(n - 1) * pitch] = old[n];
                }
                old[n] = new[n];
            }
        }
        if (p->rows % 2) {
            x[-pitch] = old[0];
        }
    }
}

void trimtab_spread(const uint32_t *w, const uint32_t *w_end, const int32_t *d, int32_t *sums,
    int32_t pairs) {
    int32_t terms = (int32_t)(w_end - w);
    uint32_t *unpacked = (uint32_t *)w - terms, *to = unpacked; // pairs of terms, four channels
    for (; w < w_end; w += 2) {
        uint32_t first = w[0], second = w[1];
        for (int32_t i = 0; i < 32; i += 8) {
            *to++ = pack((int32_t)(first >> i & 255) - 128, (int32_t)(second >> i & 255) - 128);
        }
    }
    for (; pairs; pairs--, d += terms) {
        for (int32_t i = 0; i < 8; i++) {
            int32_t sum = 0;
            for (int32_t t = 0; t < terms; t += 2) {
                sum = add32(sum, products((uint32_t)d[t + (i >> 2)], unpacked[2 * t + (i & 3)]));
            }
            *sums++ = sum;
        }
    }
}

#endif
