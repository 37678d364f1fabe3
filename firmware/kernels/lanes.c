// The loops of lanes.h in C, and what is common to the kernels that use them.
#pragma GCC optimize ("Os") // code lives in RAM on a board; time is spent in FAST loops and in Thumb-1
#include "lanes.h"

#if TRIMTAB_LANES

#if defined(__ARM_ARCH_6M__)
#define IN_C 0 // all loops stand in Thumb-1
#else
#define IN_C 1
#endif

#if IN_C && !defined(__ARM_FEATURE_DSP)

void trimtab_pack_x(const int8_t *bytes, uint32_t *to, int32_t words, int32_t skip) {
    for (; words; words--, bytes += 4, to += 2 + skip / 4) {
        to[0] = lanes(bytes[0], bytes[2]);
        to[1] = lanes(bytes[1], bytes[3]);
    }
}

uint32_t trimtab_pack_w(const int8_t *bytes, uint32_t *to, int32_t words) {
    uint32_t sum = 0;
    for (; words; words--, bytes += 4, to += 2) {
        to[0] = lanes(bytes[2], bytes[0]);
        to[1] = lanes(bytes[3], bytes[1]);
        sum += TRIMTAB_DSP ? (uint32_t)(bytes[0] + bytes[1] + bytes[2] + bytes[3]) : to[0] + to[1];
    }
    return sum;
}

void trimtab_gather_x(const int8_t *from, int32_t step, uint32_t *to, int32_t words, int32_t skip) {
    for (; words; words--, from += 4 * step, to += 2 + skip / 4) {
        to[0] = lanes(from[0], from[2 * step]);
        to[1] = lanes(from[step], from[3 * step]);
    }
}

uint32_t trimtab_gather_w(const int8_t *from, int32_t step, uint32_t *to, int32_t words, int32_t skip) {
    uint32_t sum = 0;
    for (; words; words--, from += 4 * step, to += 2) {
        to[0] = lanes(from[2 * step], from[0]);
        to[1] = lanes(from[3 * step], from[step]);
        sum += TRIMTAB_DSP ? (uint32_t)(from[0] + from[step] + from[2 * step] + from[3 * step]) : to[0] + to[1];
    }
    (void)skip;
    return sum;
}

#if TRIMTAB_DSP

// smuad, and smuadx
static int32_t products(uint32_t x, uint32_t w) {
    return (int16_t)x * (int16_t)w + (int16_t)(x >> 16) * (int16_t)(w >> 16);
}

static int32_t two_products(uint32_t x, uint32_t w) {
    return products(x, w << 16 | w >> 16);
}

#else

// The upper half of x * w, rounded by bit 15.
static int32_t two_products(uint32_t x, uint32_t w) {
    uint32_t p = x * w;
    return ((int32_t)p >> 16) + (int32_t)(p >> 15 & 1);
}

#endif

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

// The floor of acc * multiplier / 2^20, by digits: floors nest.
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

static void requant_rows(const int32_t *acc, int8_t *y, const struct requant *q, int32_t offset,
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

void trimtab_requant_small(const int32_t *acc, int8_t *y, const struct requant *q, int32_t offset) {
    requant_rows(acc, y, q, offset, scaled_small);
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
    requant_rows(acc, y, q, 0, scaled_wide);
}

static int32_t scaled_whole(int32_t a, const struct requant *q) {
    int32_t v = trimtab_high31(a, q->m[0]);
    return v + (v >> 31);
}

void trimtab_requant_rows(const int32_t *acc, int8_t *y, const struct requant *q, int32_t offset) {
    requant_rows(acc, y, q, offset, scaled_whole);
}

#if TRIMTAB_DSP

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
            to[i] = (int32_t)lanes(v[0], v[1]);
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
                old[0] += products(v, lanes(w[6 + k], 0));
                old[1] += products(v, lanes(w[3 + k], w[6 + k]));
                new[0] += products(v, lanes(w[k], w[3 + k]));
                new[1] += products(v, lanes(0, w[k]));
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

#else

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

#endif

void trimtab_pair_load(uint32_t *to, const int8_t *from, const struct pair_load *p) {
    for (int32_t c = 0; c < p->columns; c++, to++, from += p->column_step) {
        int32_t above = p->pad;
        for (int32_t r = 0; r <= p->rows; r++) {
            int32_t x = r < p->rows ? from[r * p->row_step] : p->pad;
            to[r * (p->pitch / 4)] = lanes(above, x);
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

#if TRIMTAB_DSP

void trimtab_spread(const uint32_t *w, const uint32_t *w_end, const int32_t *d, int32_t *sums, int32_t pairs) {
    int32_t terms = (int32_t)(w_end - w);
    uint32_t *unpacked = (uint32_t *)w - terms, *to = unpacked; // pairs of terms, four channels
    for (; w < w_end; w += 2) {
        uint32_t first = w[0], second = w[1];
        for (int32_t i = 0; i < 32; i += 8) {
            *to++ = lanes((int32_t)(first >> i & 255) - 128, (int32_t)(second >> i & 255) - 128);
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

#else

void trimtab_spread(const uint32_t *w, const uint32_t *w_end, const int32_t *d, int32_t *sums, int32_t pairs) {
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

FAST static void add_row(const uint32_t *x, int32_t *acc, const uint32_t *w, const struct tiles *p, int32_t width) {
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

#endif

#if IN_C // these have no loops with DSP instructions

FAST void trimtab_pair_rows(uint32_t *to, const int8_t *from, int32_t step, const struct pair_rows *p) {
    for (int32_t row = p->rows; row; row--, to += p->skip / 4, from += p->next) {
        const int8_t *x = from;
        for (int32_t n = p->width; n; n -= 4, x += step) {
            *to++ = lanes(x[0], x[p->below]);
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

static int32_t sum_of_lanes(uint32_t sum) {
    return TRIMTAB_DSP ? (int32_t)sum : (int16_t)sum + (int16_t)((sum - (uint32_t)(int16_t)sum) >> 16);
}

#define PACK_MOST 126 // words at once, so that the lanes' sums stay within 16 bits

// What lies behind the last whole word, padded with zeros.
static void last_strided(int8_t *to, const int8_t *from, int32_t step, int32_t n) {
    for (int32_t i = 0; i < 4; i++, from += step) {
        to[i] = 0;
        if (i < n) {
            to[i] = *from;
        }
    }
}

void trimtab_gather_row_x(const int8_t *from, int32_t step, uint32_t *to, int32_t n, int32_t skip) {
    int32_t words = n >> 2;
    if (words && step == 1) {
        trimtab_pack_x(from, to, words, skip);
    } else if (words) {
        trimtab_gather_x(from, step, to, words, skip);
    }
    if (n & 3) {
        int8_t last[4];
        last_strided(last, from + 4 * words * step, step, n & 3);
        trimtab_gather_x(last, 1, to + words * (2 + skip / 4), 1, skip);
    }
}

int32_t trimtab_gather_row_w(const int8_t *from, int32_t step, uint32_t *to, int32_t n) {
    int32_t total = 0, words;
    for (; (words = min32(n >> 2, PACK_MOST)); n -= 4 * words, from += 4 * words * step, to += 2 * words) {
        total += sum_of_lanes(step == 1 ? trimtab_pack_w(from, to, words) : trimtab_gather_w(from, step, to, words, 0));
    }
    if (n) {
        int8_t last[4];
        last_strided(last, from, step, n);
        total += sum_of_lanes(trimtab_gather_w(last, 1, to, 1, 0));
    }
    return total;
}

struct phase trimtab_phase(const struct trimtab_geometry *geo, int32_t ky, int32_t kx) {
    struct phase f = { ky, kx, every(ky, geo->kh, geo->sh), every(kx, geo->kw, geo->sw), 0, 0, 0, 0, 0, 0 };
    f.oy = every(ky, geo->pt, geo->sh); // ky and kx are below the strides
    f.ox = every(kx, geo->pl, geo->sw);
    f.iy = f.oy * geo->sh + ky - geo->pt;
    f.ix = f.ox * geo->sw + kx - geo->pl;
    f.high = every(f.iy, geo->ih, geo->sh);
    f.wide = every(f.ix, geo->iw, geo->sw);
    return f;
}

void trimtab_mask_open(const struct output *out, int32_t n) {
    if (out->mask) {
        for (int32_t i = 0; i < n >> 3; i++) {
            out->mask[i] = 255;
            NO_LIBRARY_CALL;
        }
        if (n & 7) {
            out->mask[n >> 3] |= (uint8_t)((1 << (n & 7)) - 1);
        }
    }
}

#define SMALL (1 << 20) // limits of what the fast loops take
#define WIDE (1 << 30)

void trimtab_finish_open(struct finish *f, const struct output *out, int32_t step, int32_t width, int32_t skip,
    int32_t rows) {
    f->out = out;
    f->q.range = out->hi - out->lo;
    f->q.lo = out->lo + out->zero;
    f->q.step = step;
    f->q.width = 4 * width;
    f->q.skip = 4 * skip;
    f->q.rows = rows;
    f->q.first = out->y;
    f->q.mask = out->mask;
    f->once = 0;
}

static void add_offset(const struct finish *f, int32_t *acc, int32_t offset) {
    for (int32_t row = f->q.rows; row; row--, acc += f->q.skip >> 2) {
        for (int32_t n = f->q.width; n; n -= 4, acc++) {
            *acc = add32(*acc, offset);
        }
    }
}

static void finish_slowly(const struct finish *f, const int32_t *acc, int32_t i, const struct channel *c) {
    for (int32_t row = f->q.rows; row; row--, acc += f->q.skip >> 2) {
        for (int32_t n = f->q.width; n; n -= 4, i += f->q.step, acc++) {
            if (f->once) {
                trimtab_put(f->out, i, trimtab_requant_once(*acc, c->mult, c->shift));
            } else {
                trimtab_put_requant(f->out, i, *acc, c->mult, c->shift);
            }
        }
    }
}

// Sets m to the digits of a multiplier.
static void digits(struct requant *q, int32_t mult) {
    q->m[0] = mult & 1023;
    q->m[1] = mult >> 10 & 1023;
    q->m[2] = mult >> 20;
}

// Where negative sums are clamped and nobody asks which: 0 where one is too large. Both roundings are one sum, < 2^32.
static int32_t finish_relu(struct finish *f, const int32_t *acc, int32_t i, int32_t offset,
    const struct channel *c, int32_t e) {
    struct requant *q = &f->q;
    if (f->out->lo || q->mask || q->range != 255 || e > 20) {
        return 0;
    }
    digits(q, c->mult);
    q->shift = 11 + e;
    q->half = (1 << 10) + (1 << (e + 10));
    return trimtab_requant_relu(acc, f->out->y + i, q, offset);
}

// The fast loops add half a step and -lo * 2^e to what is below `most`: it stays below 2^31.
void trimtab_finish(struct finish *f, int32_t *acc, int32_t i, int32_t offset, const struct channel *c) {
    uint32_t most = magnitude(c->bias) + f->bound;
    int32_t e = -c->shift, fast = !f->once && e > 0 && e < 31 && f->q.range >= 0 && most < WIDE
        && (INT32_MAX - most) >> e > magnitude(f->out->lo);
    struct requant *q = &f->q;
    if (!TRIMTAB_DSP && fast && finish_relu(f, acc, i, offset, c, e)) {
        return;
    }
    if (fast) {
        q->shift = e;
        q->half = (1 << (e - 1)) - f->out->lo * (1 << e);
    }
    if (fast && TRIMTAB_DSP) {
        q->m[0] = c->mult;
        trimtab_requant_rows(acc, f->out->y + i, q, offset);
        return;
    }
    if (fast && q->range == 255 && most < SMALL) {
        digits(q, c->mult);
        trimtab_requant_small(acc, f->out->y + i, q, offset);
        return;
    }
    if (offset) {
        add_offset(f, acc, offset);
    }
    if (fast) {
        q->m[0] = c->mult & 0xffff;
        q->m[1] = c->mult >> 16;
        trimtab_requant_wide(acc, f->out->y + i, q);
    } else {
        finish_slowly(f, acc, i, c);
    }
}

#endif
