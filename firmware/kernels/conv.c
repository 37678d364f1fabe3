// Convolution and dense layers: forward, error of the input, update.
// The weights are a frozen tensor (zeros where trained) plus a trained plane packed by `kept`; their products add up.
#include "kernels.h"

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

// -- forward: acc = bias + sum (x - zx) * w; |sum| <= 255 * 127 * kh * kw * ic < 2^30 for 33,000 terms
// A block is two positions by two outputs, so that four products need four loads.

static void dot_2x2(int32_t *acc, const int8_t *x0, const int8_t *x1, const int8_t *w0, const int8_t *w1, int32_t n,
    int32_t zx) {
    int32_t a = acc[0], b = acc[1], c = acc[2], d = acc[3];
    for (int32_t i = 0; i < n; i++) {
        int32_t p = x0[i] - zx, q = x1[i] - zx, v = w0[i], w = w1[i];
        a = mac(a, p, v);
        b = mac(b, p, w);
        c = mac(c, q, v);
        d = mac(d, q, w);
    }
    acc[0] = a;
    acc[1] = b;
    acc[2] = c;
    acc[3] = d;
}

static void dot_1x2(int32_t *acc, const int8_t *x, const int8_t *w0, const int8_t *w1, int32_t n, int32_t zx) {
    int32_t a = acc[0], b = acc[1];
    for (int32_t i = 0; i < n; i++) {
        int32_t p = x[i] - zx;
        a = mac(a, p, w0[i]);
        b = mac(b, p, w1[i]);
    }
    acc[0] = a;
    acc[1] = b;
}

static void dot_kept(int32_t *acc, const int8_t *x, const uint16_t *kept, const int8_t *w0, const int8_t *w1, int32_t n,
    int32_t zx) {
    int32_t a = acc[0], b = acc[1];
    for (int32_t i = 0; i < n; i++) {
        int32_t p = x[kept[i]] - zx;
        a = mac(a, p, w0[i]);
        b = mac(b, p, w1[i]);
    }
    acc[0] = a;
    acc[1] = b;
}

struct block {
    const int8_t *x; // (ih, iw, ic)
    int32_t next; // from the first position's input to the second's; 0: only one position
    struct taps rows, cols; // of both
    int32_t o, pair; // outputs o and o + pair
    int32_t zx;
};

// acc (2 positions, 2 outputs) += the products of one plane.
static void accumulate(int32_t *acc, const struct block *b, const struct trimtab_geometry *geo, const struct plane *f) {
    int32_t taps = tap_count(b->cols), n = f->n, apart = b->pair * geo->kh * geo->kw * n;
    if (!f->kept && n == geo->ic) { // a row of taps is one run
        n *= taps;
        taps = taps > 0;
    }
    for (int32_t ky = b->rows.first; ky < b->rows.end; ky++) {
        const int8_t *x = b->x + ((b->rows.origin + ky) * geo->iw + b->cols.origin + b->cols.first) * geo->ic;
        const int8_t *w = f->w + ((b->o * geo->kh + ky) * geo->kw + b->cols.first) * f->n;
        for (int32_t t = taps; t; t--, x += geo->ic, w += n) {
            if (f->kept) {
                dot_kept(acc, x, f->kept, w, w + apart, n, b->zx);
                if (b->next) {
                    dot_kept(acc + 2, x + b->next, f->kept, w, w + apart, n, b->zx);
                }
            } else if (b->next) {
                dot_2x2(acc, x, x + b->next, w, w + apart, n, b->zx);
            } else {
                dot_1x2(acc, x, w, w + apart, n, b->zx);
            }
        }
    }
}

int32_t trimtab_conv_fwd(uint8_t *const *mem, uint32_t off) {
    RECORD(conv_fwd);
    const struct trimtab_geometry *geo = &r->geometry;
    const int32_t *bias = at(mem, r->bias), *mult = at(mem, r->mult);
    const int8_t *shift = at(mem, r->shift);
    const struct plane planes[2] = { frozen_plane(mem, &r->weights, geo->ic), trained_plane(mem, &r->weights, r->nk) };
    const struct output out = output(mem, r->y, r->mask, r->lo, r->hi, r->zy);
    struct block b;
    b.x = at(mem, r->x);
    b.zx = r->zx;
    int32_t position = 0;
    for (int32_t oy = 0; oy < geo->oh; oy++) {
        b.rows = taps(oy, geo->sh, geo->pt, geo->ih, geo->kh);
        for (int32_t ox = 0; ox < geo->ow;) {
            b.cols = taps(ox, geo->sw, geo->pl, geo->iw, geo->kw);
            struct taps after = taps(ox + 1, geo->sw, geo->pl, geo->iw, geo->kw);
            int32_t positions = ox + 1 < geo->ow && after.first == b.cols.first && after.end == b.cols.end ? 2 : 1;
            b.next = positions == 2 ? geo->sw * geo->ic : 0;
            for (b.o = 0; b.o < geo->oc; b.o += 2) {
                b.pair = b.o + 1 < geo->oc;
                int32_t acc[4] = { bias[b.o], bias[b.o + b.pair], bias[b.o], bias[b.o + b.pair] };
                for (const struct plane *f = planes; f < planes + 2; f++) {
                    if (f->w) {
                        accumulate(acc, &b, geo, f);
                    }
                }
                for (int32_t p = 0; p < positions; p++) {
                    for (int32_t o = b.o; o <= b.o + b.pair; o++) {
                        int32_t a = acc[2 * p + o - b.o], i = (position + p) * geo->oc + o;
                        if (r->once) {
                            trimtab_put(&out, i, trimtab_requant_once(a, mult[o], shift[o]));
                        } else {
                            trimtab_put_requant(&out, i, a, mult[o], shift[o]);
                        }
                    }
                }
            }
            ox += positions;
            position += positions;
        }
    }
    return 0;
}

// -- error of the input: dx = sum d * w with d = rsh(gy * m, m_shift); the host keeps |dx| below 2^30 by m_shift

// row (ic) += d0 * w0 + d1 * w1, over the channels of a plane.
static void spread(int32_t *row, const struct plane *f, const int8_t *w0, const int8_t *w1, int32_t d0, int32_t d1) {
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

// The same for all outputs of one position, two at a time; w: the weights of the first at one kernel position.
static void spread_outputs(int32_t *row, const struct plane *f, const int8_t *w, const struct trimtab_conv_dx *r,
    const int8_t *gy, const int16_t *m) {
    int32_t apart = r->geometry.kh * r->geometry.kw * f->n, oc = r->geometry.oc;
    for (int32_t o = 0; o < oc; o += 2, w += 2 * apart) {
        int32_t pair = o + 1 < oc;
        int32_t d0 = rsh(gy[o] * m[o], r->m_shift);
        int32_t d1 = pair ? rsh(gy[o + 1] * m[o + 1], r->m_shift) : 0;
        if (d0 | d1) {
            spread(row, f, w, w + pair * apart, d0, d1);
        }
    }
}

static void spread_conv(const void *record, uint8_t *const *mem, int32_t *row, int32_t position, int32_t ky, int32_t kx) {
    const struct trimtab_conv_dx *r = record;
    const struct trimtab_geometry *geo = &r->geometry;
    const int8_t *gy = (const int8_t *)at(mem, r->gy) + position * geo->oc;
    const struct plane planes[2] = { frozen_plane(mem, &r->weights, geo->ic), trained_plane(mem, &r->weights, r->nk) };
    for (const struct plane *f = planes; f < planes + 2; f++) {
        if (f->w) {
            spread_outputs(row, f, f->w + (ky * geo->kw + kx) * f->n, r, gy, at(mem, r->m));
        }
    }
}

int32_t trimtab_conv_dx(uint8_t *const *mem, uint32_t off) {
    RECORD(conv_dx);
    int32_t exp = add32(*(const int32_t *)at(mem, r->gy_exp), r->m_exp + r->m_shift);
    trimtab_error_windows(mem, &r->error_out, &r->geometry, at(mem, r->row), exp, spread_conv, r);
    return 0;
}

// -- update: dw = sum over positions of gy * (x - zx), |dw| <= 127 * 255 * oh * ow < 2^31 for 65,536 positions

// Two weights at once: they share gy. Where the second is the first again, its sum is not used.
static void correlate(int32_t *dw, const int8_t *gy, const int8_t *x0, const int8_t *x1, struct span rows, struct span cols,
    const struct trimtab_geometry *geo, int32_t zx) {
    int32_t a = 0, b = 0, step = geo->sw * geo->ic;
    for (int32_t y = rows.count; y; y--) {
        const int8_t *g = gy, *p = x0, *q = x1;
        for (int32_t n = cols.count; n; n--, g += geo->oc, p += step, q += step) {
            a = mac(a, *g, *p - zx);
            b = mac(b, *g, *q - zx);
        }
        gy += geo->ow * geo->oc;
        x0 += geo->sh * geo->iw * geo->ic;
        x1 += geo->sh * geo->iw * geo->ic;
    }
    dw[0] = a;
    dw[1] = b;
}

int32_t trimtab_conv_dw(uint8_t *const *mem, uint32_t off) {
    RECORD(conv_dw);
    const struct trimtab_geometry *geo = &r->geometry;
    const int8_t *gy = at(mem, r->gy), *x = at(mem, r->x);
    const uint16_t *kept = at(mem, r->kept);
    struct update up;
    trimtab_update_open(&up, mem, &r->update, *(const int32_t *)at(mem, r->gy_exp));
    int32_t j = 0;
    for (int32_t o = 0; o < geo->oc; o++) {
        for (int32_t ky = 0; ky < geo->kh; ky++) {
            struct span rows = span(ky, geo->sh, geo->pt, geo->ih, geo->oh);
            for (int32_t kx = 0; kx < geo->kw; kx++) {
                struct span cols = span(kx, geo->sw, geo->pl, geo->iw, geo->ow);
                int32_t iy = rows.first * geo->sh - geo->pt + ky, ix = cols.first * geo->sw - geo->pl + kx;
                const int8_t *g = gy + (rows.first * geo->ow + cols.first) * geo->oc + o;
                const int8_t *px = x + (iy * geo->iw + ix) * geo->ic;
                for (int32_t i = 0; i < r->nk; i += 2) {
                    int32_t pair = i + 1 < r->nk, dw[2];
                    int32_t c0 = kept ? kept[i] : i, c1 = kept ? kept[i + pair] : i + pair;
                    correlate(dw, g, px + c0, px + c1, rows, cols, geo, r->zx);
                    for (int32_t n = 0; n <= pair; n++) {
                        trimtab_update(&up, j++, o, dw[n]);
                    }
                }
            }
        }
    }
    return 0;
}
