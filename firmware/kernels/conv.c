// Convolution and dense layers: forward, error of the input, update.
// Weights are the sum of a frozen tensor (oc, kh, kw, ic) and a trained plane (oc, kh, kw, nk), whose input
// channels `kept` names. The sum stays within int8.
#if defined(__ARM_ARCH_6M__) || defined(__ARM_FEATURE_DSP)
#pragma GCC optimize ("Os") // packed operands are the fast way there
#endif
#include "error.h"
#include "output.h"
#include "packed/packed.h"
#include "taps.h"
#include "update.h"
#include "wide/wide.h"

struct plane {
    const int8_t *w; // (oc, kh, kw, n), or null
    const uint16_t *kept; // (n) input channels, or null: the first n
    int32_t n;
};

static struct plane frozen_plane(uint8_t *const *mem, const struct trimtab_weights *r, int32_t ic) {
    return (struct plane) { at(mem, r->w), 0, ic };
}

static struct plane trained_plane(uint8_t *const *mem, const struct trimtab_weights *r, int32_t nk) {
    return (struct plane) { at(mem, r->k), at(mem, r->kept), nk };
}

// -- forward: acc = bias + sum x * w - zx * sum w. All but the bias is at most 255 * 128 for each term: below
// 2^30 for 32,896 terms of kh * kw * ic. A block is two positions by two outputs, so that four products need
// four loads. The loops count down and return bare sums, because that fits the low registers of a small core.

// sums (2 positions, 2 outputs) = x (n) * w (n)
HOT static void dot_2x2(int32_t *sums, const int8_t *x0, const int8_t *x1, const int8_t *w0,
    const int8_t *w1, int32_t n) {
    int32_t a = 0, b = 0, c = 0, d = 0;
    for (int32_t i = n - 1; i >= 0; i--) {
        int32_t v = w0[i], w = w1[i], p = x0[i];
        a = mac(a, p, v);
        b = mac(b, p, w);
        p = x1[i];
        c = mac(c, p, v);
        d = mac(d, p, w);
    }
    sums[0] = a;
    sums[1] = b;
    sums[2] = c;
    sums[3] = d;
}

// sums (2 outputs): of one position
HOT static void dot_1x2(int32_t *sums, const int8_t *x, const int8_t *w0, const int8_t *w1, int32_t n) {
    int32_t a = 0, b = 0;
    for (int32_t i = n - 1; i >= 0; i--) {
        int32_t p = x[i];
        a = mac(a, p, w0[i]);
        b = mac(b, p, w1[i]);
    }
    sums[0] = a;
    sums[1] = b;
}

// The same where the trained plane (n) has only the kept channels of x (ic).
HOT static void dot_kept(int32_t *sums, const int8_t *x, const uint16_t *kept, const int8_t *w0,
    const int8_t *w1, int32_t n) {
    int32_t a = 0, b = 0;
    for (int32_t i = n - 1; i >= 0; i--) {
        int32_t p = x[kept[i]];
        a = mac(a, p, w0[i]);
        b = mac(b, p, w1[i]);
    }
    sums[0] = a;
    sums[1] = b;
}

HOT static int32_t sum(const int8_t *w, int32_t n) {
    int32_t a = 0;
    for (int32_t i = n - 1; i >= 0; i--) {
        a += w[i];
    }
    return a;
}

struct block {
    const int8_t *x; // (ih, iw, ic)
    int32_t next; // from the first position's input to the second's; 0: only one position
    struct taps rows, cols; // of both
    int32_t o, pair; // outputs o and o + pair
};

// sums (2 outputs) += the weights that the block's taps use.
static void weigh(int32_t *sums, const struct block *b, const struct trimtab_geometry *geo,
    const struct plane *f) {
    int32_t n = tap_count(b->cols) * f->n, apart = b->pair * geo->kh * geo->kw * f->n;
    for (int32_t ky = b->rows.first; ky < b->rows.end; ky++) {
        const int8_t *w = f->w + ((b->o * geo->kh + ky) * geo->kw + b->cols.first) * f->n;
        sums[0] += sum(w, n);
        sums[1] += sum(w + apart, n);
    }
}

// acc (2 positions, 2 outputs) += the products of one plane.
static void accumulate(int32_t *acc, const struct block *b, const struct trimtab_geometry *geo,
    const struct plane *f) {
    int32_t taps = tap_count(b->cols), n = f->n, apart = b->pair * geo->kh * geo->kw * n;
    if (!f->kept && n == geo->ic) { // a row of taps is one run
        n *= taps;
        taps = taps > 0;
    }
    for (int32_t ky = b->rows.first; ky < b->rows.end; ky++) {
        const int8_t *x = b->x + ((b->rows.origin + ky) * geo->iw + b->cols.origin + b->cols.first) * geo->ic;
        const int8_t *w = f->w + ((b->o * geo->kh + ky) * geo->kw + b->cols.first) * f->n;
        for (int32_t t = taps; t; t--, x += geo->ic, w += n) {
            int32_t sums[4];
            if (f->kept) {
                dot_kept(sums, x, f->kept, w, w + apart, n);
                if (b->next) {
                    dot_kept(sums + 2, x + b->next, f->kept, w, w + apart, n);
                }
            } else if (b->next) {
                dot_2x2(sums, x, x + b->next, w, w + apart, n);
            } else {
                dot_1x2(sums, x, w, w + apart, n);
            }
            for (int32_t i = 0; i < (b->next ? 4 : 2); i++) {
                acc[i] = add32(acc[i], sums[i]);
            }
        }
    }
}

// A record with its pointers.
struct conv {
    const struct trimtab_conv_fwd *r;
    const int32_t *bias, *mult; // (oc)
    const int8_t *shift; // (oc)
    struct plane planes[2]; // frozen and trained
    struct output out;
};

// Writes one block whose first position is `position`; sums (2 outputs): of the weights that it uses.
static void put_block(const struct conv *c, const struct block *b, const int32_t *sums, int32_t position) {
    int32_t acc[4];
    for (int32_t i = 0; i < 4; i++) {
        acc[i] = sub32(c->bias[b->o + (i & b->pair)], mul32(c->r->zx, sums[i & 1]));
    }
    for (const struct plane *f = c->planes; f < c->planes + 2; f++) {
        if (f->w) {
            accumulate(acc, b, &c->r->geometry, f);
        }
    }
    for (int32_t i = 0; i < (b->next ? 4 : 2); i += 2 - b->pair) {
        int32_t o = b->o + (i & 1), at = (position + (i >> 1)) * c->r->geometry.oc + o;
        if (c->r->once) {
            trimtab_put(&c->out, at, trimtab_requant_once(acc[i], c->mult[o], c->shift[o]));
        } else {
            trimtab_put_requant(&c->out, at, acc[i], c->mult[o], c->shift[o]);
        }
    }
}

// The same over both planes; nobody asks where zx is 0.
static void weigh_planes(int32_t *sums, const struct conv *c, const struct block *b) {
    sums[0] = sums[1] = 0;
    for (const struct plane *f = c->planes; f < c->planes + 2 && c->r->zx; f++) {
        if (f->w) {
            weigh(sums, b, &c->r->geometry, f);
        }
    }
}

// Writes outputs o and o + pair of one row of positions; whole (2): the sums of all their weights.
static void put_row(const struct conv *c, struct block *b, const int32_t *whole, int32_t oy) {
    const struct trimtab_geometry *geo = &c->r->geometry;
    b->rows = taps(oy, geo->sh, geo->pt, geo->ih, geo->kh);
    for (int32_t ox = 0; ox < geo->ow;) {
        int32_t part[2]; // where pads hide some weights
        b->cols = taps(ox, geo->sw, geo->pl, geo->iw, geo->kw);
        int32_t pair = next_is_alike(geo, ox, b->cols);
        b->next = pair * geo->sw * geo->ic;
        int32_t is_part = tap_count(b->rows) * tap_count(b->cols) < geo->kh * geo->kw;
        if (is_part) {
            weigh_planes(part, c, b);
        }
        put_block(c, b, is_part ? part : whole, oy * geo->ow + ox);
        ox += 1 + pair;
    }
}

int32_t trimtab_conv_fwd(uint8_t *const *mem, uint32_t off) {
    RECORD(conv_fwd);
    const struct trimtab_geometry *geo = &r->geometry;
    const struct conv c = {
        r, at(mem, r->bias), at(mem, r->mult), at(mem, r->shift),
        { frozen_plane(mem, &r->weights, geo->ic), trained_plane(mem, &r->weights, r->nk) },
        output(mem, r->y, r->mask, r->lo, r->hi, r->zy),
    };
    if (trimtab_conv_wide(mem, r, &c.out) || trimtab_conv_packed(mem, r, &c.out)) {
        return 0;
    }
    if (!PLAIN_LOOPS(conv_fwd)) {
        return TRIMTAB_DECLINED;
    }
    const struct share outputs = share_of(mem, OUTPUTS, geo->oc);
    struct block b;
    b.x = at(mem, r->x);
    for (b.o = outputs.first; b.o < outputs.end; b.o += 2) {
        int32_t whole[2];
        b.pair = b.o + 1 < outputs.end;
        b.rows = (struct taps) { 0, geo->kh, 0 };
        b.cols = (struct taps) { 0, geo->kw, 0 };
        weigh_planes(whole, &c, &b);
        for (int32_t oy = 0; oy < geo->oh; oy++) {
            put_row(&c, &b, whole, oy);
        }
    }
    return 0;
}

// -- error of the input: dx = sum d * w with d = rsh(gy * m, m_shift). The host chooses m_shift so that |dx|
// <= 2^30 for any errors and any weights.

// row (ic) += d0 * w0 (n) + d1 * w1 (n), over the channels of a plane.
HOT static void spread(int32_t *row, const struct plane *f, const int8_t *w0, const int8_t *w1, int32_t d0,
    int32_t d1) {
    if (f->kept) {
        for (int32_t i = 0; i < f->n; i++) {
            int32_t *p = row + f->kept[i];
            *p = mac(mac(*p, d0, w0[i]), d1, w1[i]);
        }
    } else {
        for (int32_t i = 0; i < f->n; i++) {
            row[i] = mac(mac(row[i], d0, w0[i]), d1, w1[i]);
        }
    }
}

// The same for all outputs of one position, two at a time. w: the first output's weights at one kernel
// position; gy and m: (oc).
static void spread_outputs(int32_t *row, const struct plane *f, const int8_t *w,
    const struct trimtab_conv_dx *r, const int8_t *gy, const int16_t *m) {
    int32_t apart = r->geometry.kh * r->geometry.kw * f->n, oc = r->geometry.oc;
    int32_t half = r->m_shift ? 1 << (r->m_shift - 1) : 0; // |gy * m| < 2^22, and half at most 2^30
    for (int32_t o = 0; o < oc; o += 2, w += 2 * apart) {
        int32_t pair = o + 1 < oc;
        int32_t d0 = (gy[o] * m[o] + half) >> r->m_shift;
        int32_t d1 = pair ? (gy[o + 1] * m[o + 1] + half) >> r->m_shift : 0;
        if (d0 | d1) {
            spread(row, f, w, w + pair * apart, d0, d1);
        }
    }
}

static void spread_conv(const void *record, uint8_t *const *mem, int32_t *row, int32_t position, int32_t ky,
    int32_t kx) {
    const struct trimtab_conv_dx *r = record;
    const struct trimtab_geometry *geo = &r->geometry;
    const int8_t *gy = (const int8_t *)at(mem, r->gy) + position * geo->oc;
    const struct plane planes[2] = {
        frozen_plane(mem, &r->weights, geo->ic), trained_plane(mem, &r->weights, r->nk)
    };
    for (const struct plane *f = planes; f < planes + 2; f++) {
        if (f->w) {
            spread_outputs(row, f, f->w + (ky * geo->kw + kx) * f->n, r, gy, at(mem, r->m));
        }
    }
}

int32_t trimtab_conv_dx(uint8_t *const *mem, uint32_t off) {
    RECORD(conv_dx);
    int32_t exp = add32(*(const int32_t *)at(mem, r->gy_exp), r->m_exp + r->m_shift);
    if (trimtab_conv_dx_wide(mem, r, exp) || trimtab_conv_dx_packed(mem, r, exp)) {
        return 0;
    }
    if (!PLAIN_LOOPS(conv_dx)) {
        return TRIMTAB_DECLINED;
    }
    trimtab_error_windows(mem, &r->error_out, &r->geometry, at(mem, r->row), exp, spread_conv, r);
    return 0;
}

// -- update: dw = sum of gy * x - zx * sum of gy, |dw| <= 127 * 255 * oh * ow < 2^31 for 65,536 positions

// dw (2): two weights at once, because they share gy; their inputs lie `apart`.
HOT static void correlate(int32_t *dw, const int8_t *gy, const int8_t *x, int32_t apart, struct span rows,
    struct span cols, const struct trimtab_geometry *geo) {
    int32_t a = 0, b = 0, g_step = geo->oc, x_step = geo->sw * geo->ic;
    for (int32_t y = rows.count; y; y--) {
        const int8_t *g = gy, *p = x;
        for (int32_t n = cols.count; n; n--, g += g_step, p += x_step) {
            int32_t v = *g;
            a = mac(a, *p, v);
            b = mac(b, p[apart], v);
        }
        gy += geo->ow * g_step;
        x += geo->sh * geo->iw * geo->ic;
    }
    dw[0] = a;
    dw[1] = b;
}

// At most 127 * oh * ow; times zx, 2^14 * oh * ow.
HOT static int32_t sum_errors(const int8_t *gy, struct span rows, struct span cols,
    const struct trimtab_geometry *geo) {
    int32_t sum = 0;
    for (int32_t y = rows.count; y; y--, gy += geo->ow * geo->oc) {
        const int8_t *g = gy;
        for (int32_t n = cols.count; n; n--, g += geo->oc) {
            sum += *g;
        }
    }
    return sum;
}

int32_t trimtab_conv_dw(uint8_t *const *mem, uint32_t off) {
    RECORD(conv_dw);
    const struct trimtab_geometry *geo = &r->geometry;
    const int8_t *gy = at(mem, r->gy), *x = at(mem, r->x); // (oh, ow, oc), (ih, iw, ic)
    const uint16_t *kept = at(mem, r->kept); // (nk)
    struct update up;
    trimtab_update_open(&up, mem, &r->update, *(const int32_t *)at(mem, r->gy_exp));
    if (trimtab_conv_dw_wide(mem, r, &up) || trimtab_conv_dw_packed(mem, r, &up)) {
        return 0;
    }
    if (!PLAIN_LOOPS(conv_dw)) {
        return TRIMTAB_DECLINED;
    }
    const struct share outputs = share_of(mem, OUTPUTS, geo->oc);
    const struct share columns = share_of(mem, COLUMNS, geo->kh * geo->kw * r->nk);
    for (int32_t o = outputs.first; o < outputs.end; o++) {
        int32_t tap = 0; // its first column
        for (int32_t ky = 0; ky < geo->kh; ky++) {
            struct span rows = span(ky, geo->sh, geo->pt, geo->ih, geo->oh);
            for (int32_t kx = 0; kx < geo->kw; kx++, tap += r->nk) {
                struct span cols = span(kx, geo->sw, geo->pl, geo->iw, geo->ow);
                int32_t iy = rows.first * geo->sh - geo->pt + ky, ix = cols.first * geo->sw - geo->pl + kx;
                int32_t end = min32(r->nk, columns.end - tap);
                const int8_t *g = gy + (rows.first * geo->ow + cols.first) * geo->oc + o;
                const int8_t *px = x + (iy * geo->iw + ix) * geo->ic;
                int32_t zero = mul32(r->zx, sum_errors(g, rows, cols, geo));
                for (int32_t i = max32(columns.first - tap, 0); i < end; i += 2) {
                    int32_t pair = i + 1 < end, dw[2]; // an odd one is its own pair, and counted once
                    int32_t c0 = kept ? kept[i] : i, c1 = kept ? kept[i + pair] : i + pair;
                    correlate(dw, g, px + c0, c1 - c0, rows, cols, geo);
                    for (int32_t n = 0; n <= pair; n++) {
                        trimtab_update(&up, o * geo->kh * geo->kw * r->nk + tap + i + n, o, sub32(dw[n], zero));
                    }
                }
            }
        }
    }
    return 0;
}
