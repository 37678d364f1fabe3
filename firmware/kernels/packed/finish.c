// From the accumulators of one channel to its outputs, by the fastest loop that is exact for them.
#pragma GCC optimize ("Os") // code lies in a board's RAM; time is spent in FAST loops and in assembly
#include "packed.h"

#if TRIMTAB_PACKED

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

void trimtab_finish_open(struct finish *f, const struct output *out, int32_t step, int32_t width,
    int32_t skip, int32_t rows) {
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

// Any shift, any clamp, either rounding.
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

#define WIDE (1 << 30) // limits of what the fast loops take, of |sum + offset|
#define SMALL (1 << 20)

// Whether the fast loops are exact for sums of magnitude `most`: they add half a step and -lo * 2^e to less
// than 2^30, and what comes out stays below 2^31.
static int32_t is_fast(const struct finish *f, uint32_t most, int32_t e) {
    return !f->once && e > 0 && e < 31 && f->q.range >= 0 && most < WIDE
        && (INT32_MAX - most) >> e > magnitude(f->out->lo);
}

// Rounds by 2^e, and makes the smallest output 0.
static void set_shift(struct finish *f, int32_t e) {
    f->q.shift = e;
    f->q.half = (1 << (e - 1)) - f->out->lo * (1 << e);
}

static void add_offset(const struct finish *f, int32_t *acc, int32_t offset) {
    for (int32_t row = f->q.rows; row; row--, acc += f->q.skip >> 2) {
        for (int32_t n = f->q.width; n; n -= 4, acc++) {
            *acc = add32(*acc, offset);
        }
    }
}

#if TRIMTAB_DSP

static void finish_fast(struct finish *f, int32_t *acc, int32_t i, int32_t offset, const struct channel *c,
    int32_t e, uint32_t most) {
    (void)most;
    set_shift(f, e);
    f->q.m[0] = c->mult;
    trimtab_requant_rows(acc, f->out->y + i, &f->q, offset);
}

#else

// Sets m to the digits of a multiplier.
static void digits(struct requant *q, int32_t mult) {
    q->m[0] = mult & 1023;
    q->m[1] = mult >> 10 & 1023;
    q->m[2] = mult >> 20;
}

// For a clamp at the zero point without a mask: negative sums need no scale. Both roundings are one addition,
// below 2^32. Returns 0 if a sum is too large.
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

static void finish_fast(struct finish *f, int32_t *acc, int32_t i, int32_t offset, const struct channel *c,
    int32_t e, uint32_t most) {
    struct requant *q = &f->q;
    if (finish_relu(f, acc, i, offset, c, e)) {
        return;
    }
    set_shift(f, e);
    if (q->range == 255) {
        digits(q, c->mult);
        if (most < SMALL) {
            trimtab_requant_small(acc, f->out->y + i, q, offset);
            return;
        }
        if (trimtab_requant_checked(acc, f->out->y + i, q, offset)) {
            return;
        }
    }
    if (offset) {
        add_offset(f, acc, offset);
    }
    q->m[0] = c->mult & 0xffff;
    q->m[1] = c->mult >> 16;
    trimtab_requant_wide(acc, f->out->y + i, q);
}

#endif

void trimtab_finish(struct finish *f, int32_t *acc, int32_t i, int32_t offset, const struct channel *c) {
    uint32_t most = magnitude(c->bias) + f->bound;
    int32_t e = -c->shift;
    if (is_fast(f, most, e)) {
        finish_fast(f, acc, i, offset, c, e, most);
        return;
    }
    if (offset) {
        add_offset(f, acc, offset);
    }
    finish_slowly(f, acc, i, c);
}

#endif
