// Depthwise convolution: forward, error of the input, update. Output channel o reads input channel o / (oc / ic).
// A trained channel's weights lie in the packed plane alone.
#include "kernels.h"

// The weights of one output channel: first address and distance from tap to tap; null where there are none.
struct column {
    const int8_t *w;
    int32_t step;
};

static struct column column(uint8_t *const *mem, const struct trimtab_weights *r, int32_t nk, int32_t oc, int32_t o) {
    const int8_t *w = at(mem, r->w); // (kh, kw, oc)
    const int8_t *k = at(mem, r->k); // (kh, kw, nk)
    const uint16_t *kept = at(mem, r->kept);
    if (k && !kept && o < nk) {
        return (struct column) { k + o, nk };
    }
    for (int32_t j = nk - 1; k && kept && j >= 0; j--) {
        if (kept[j] == o) {
            return (struct column) { k + j, nk };
        }
    }
    return (struct column) { w ? w + o : 0, oc };
}

// One channel at two positions (the second `next` bytes on, or 0): they share the weights.
static void dot_column(int32_t *acc, const int8_t *x, int32_t next, struct taps rows, struct taps cols,
    const struct trimtab_geometry *geo, struct column f, int32_t zx) {
    int32_t a = acc[0], b = acc[1];
    int32_t n = tap_count(cols);
    x += ((rows.origin + rows.first) * geo->iw + cols.origin + cols.first) * geo->ic;
    f.w += (rows.first * geo->kw + cols.first) * f.step;
    for (int32_t ky = rows.first; ky < rows.end; ky++) {
        const int8_t *px = x, *pw = f.w;
        for (int32_t t = n; t; t--, px += geo->ic, pw += f.step) {
            int32_t w = *pw;
            a = mac(a, px[0] - zx, w);
            b = mac(b, px[next] - zx, w);
        }
        x += geo->iw * geo->ic;
        f.w += geo->kw * f.step;
    }
    acc[0] = a;
    acc[1] = b;
}

int32_t trimtab_depthwise_fwd(uint8_t *const *mem, uint32_t off) {
    RECORD(depthwise_fwd);
    const struct trimtab_geometry *geo = &r->geometry;
    const int8_t *x = at(mem, r->x), *shift = at(mem, r->shift);
    const int32_t *bias = at(mem, r->bias), *mult = at(mem, r->mult);
    const struct output out = output(mem, r->y, r->mask, r->lo, r->hi, r->zy);
    int32_t many = geo->oc / geo->ic, left = many;
    for (int32_t o = 0; o < geo->oc; o++) {
        struct column f = column(mem, &r->weights, r->nk, geo->oc, o);
        int32_t i = o;
        for (int32_t oy = 0; oy < geo->oh; oy++) {
            struct taps rows = taps(oy, geo->sh, geo->pt, geo->ih, geo->kh);
            for (int32_t ox = 0; ox < geo->ow;) {
                struct taps cols = taps(ox, geo->sw, geo->pl, geo->iw, geo->kw);
                struct taps after = taps(ox + 1, geo->sw, geo->pl, geo->iw, geo->kw);
                int32_t pair = ox + 1 < geo->ow && after.first == cols.first && after.end == cols.end;
                int32_t acc[2] = { bias[o], bias[o] };
                if (f.w) {
                    dot_column(acc, x, pair * geo->sw * geo->ic, rows, cols, geo, f, r->zx);
                }
                for (int32_t p = 0; p <= pair; p++, i += geo->oc) {
                    trimtab_put_requant(&out, i, acc[p], mult[o], shift[o]);
                }
                ox += 1 + pair;
            }
        }
        if (!--left) {
            left = many;
            x++;
        }
    }
    return 0;
}

// row (ic) += the error of one output position through one kernel position, over the channels of a plane.
static void spread(int32_t *row, const struct trimtab_depthwise_dx *r, const int8_t *gy, const int16_t *m, const int8_t *w,
    const uint16_t *kept, int32_t n) {
    int32_t many = r->geometry.oc / r->geometry.ic;
    for (int32_t j = 0; j < n; j++) {
        int32_t o = kept ? kept[j] : j;
        if (gy[o]) {
            int32_t *p = row + (many == 1 ? o : o / many);
            *p = mac(*p, rsh(gy[o] * m[o], r->m_shift), w[j]);
        }
    }
}

static void spread_depthwise(const void *record, uint8_t *const *mem, int32_t *row, int32_t position, int32_t ky,
    int32_t kx) {
    const struct trimtab_depthwise_dx *r = record;
    const int8_t *gy = (const int8_t *)at(mem, r->gy) + position * r->geometry.oc;
    const int8_t *w = at(mem, r->weights.w), *k = at(mem, r->weights.k);
    int32_t tap = ky * r->geometry.kw + kx;
    if (w) {
        spread(row, r, gy, at(mem, r->m), w + tap * r->geometry.oc, 0, r->geometry.oc);
    }
    if (k) {
        spread(row, r, gy, at(mem, r->m), k + tap * r->nk, at(mem, r->weights.kept), r->nk);
    }
}

int32_t trimtab_depthwise_dx(uint8_t *const *mem, uint32_t off) {
    RECORD(depthwise_dx);
    int32_t exp = add32(*(const int32_t *)at(mem, r->gy_exp), r->m_exp + r->m_shift);
    trimtab_error_windows(mem, &r->error_out, &r->geometry, at(mem, r->row), exp, spread_depthwise, r);
    return 0;
}

// dw = sum over positions of gy * (x - zx), |dw| <= 127 * 255 * oh * ow < 2^31 for 65,536 positions
static int32_t correlate(const int8_t *gy, const int8_t *x, int32_t rows, int32_t cols, const struct trimtab_geometry *geo,
    int32_t zx) {
    int32_t dw = 0, step = geo->sw * geo->ic;
    for (; rows; rows--) {
        const int8_t *g = gy, *p = x;
        for (int32_t n = cols; n; n--, g += geo->oc, p += step) {
            dw = mac(dw, *g, *p - zx);
        }
        gy += geo->ow * geo->oc;
        x += geo->sh * geo->iw * geo->ic;
    }
    return dw;
}

int32_t trimtab_depthwise_dw(uint8_t *const *mem, uint32_t off) {
    RECORD(depthwise_dw);
    const struct trimtab_geometry *geo = &r->geometry;
    const int8_t *gy = at(mem, r->gy), *x = at(mem, r->x);
    const uint16_t *kept = at(mem, r->kept);
    int32_t many = geo->oc / geo->ic, j = 0;
    struct update up;
    trimtab_update_open(&up, mem, &r->update, *(const int32_t *)at(mem, r->gy_exp));
    for (int32_t ky = 0; ky < geo->kh; ky++) {
        struct span rows = span(ky, geo->sh, geo->pt, geo->ih, geo->oh);
        for (int32_t kx = 0; kx < geo->kw; kx++) {
            struct span cols = span(kx, geo->sw, geo->pl, geo->iw, geo->ow);
            int32_t iy = rows.first * geo->sh - geo->pt + ky, ix = cols.first * geo->sw - geo->pl + kx;
            const int8_t *g = gy + (rows.first * geo->ow + cols.first) * geo->oc;
            const int8_t *px = x + (iy * geo->iw + ix) * geo->ic;
            for (int32_t i = 0; i < r->nk; i++) {
                int32_t o = kept ? kept[i] : i;
                int32_t dw = correlate(g + o, px + (many == 1 ? o : o / many), rows.count, cols.count, geo, r->zx);
                trimtab_update(&up, j++, o, dw);
            }
        }
    }
    return 0;
}
