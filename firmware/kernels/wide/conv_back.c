// Convolutions backward: the error of the input, and the gradient of the weights with their update.
//
// The error is a convolution of the output's error with the kernel turned round. Inputs with the same remainders of row and
// column modulo the stride see the same taps: each such phase is one plain convolution.
#include "wide.h"

#if TRIMTAB_WIDE

#include "operands.h"
#include "pool.h"
#include "tile.h"
#include "update_rows.h"

static int32_t up_div(int32_t a, int32_t b) {
    return a > 0 ? (a + b - 1) / b : 0;
}

// One phase of the strides, along one axis.
struct phase {
    int32_t tap, taps; // the first kernel position, and how many follow at the stride's distance
    int32_t first, count; // inputs first, first + stride, ...
    int32_t out; // the output that sees the first input through the first tap
};

static struct phase phase(int32_t tap, int32_t k, int32_t stride, int32_t pad, int32_t size) {
    struct phase p = { tap, up_div(k - tap, stride), ((tap - pad) % stride + stride) % stride, 0, 0 };
    p.count = up_div(size - p.first, stride);
    p.out = (p.first + pad - tap) / stride; // at least 0: the dividend is a multiple of the stride, above -stride
    return p;
}

// Panels (ic / WIDTH, taps in rows, pairs) of a phase's taps, last first; a term is one output channel of one tap.
static void pack_turned(int16_t *to, const int8_t *w, const struct trimtab_geometry *geo, struct phase y, struct phase x) {
    int32_t oc = geo->oc, ic = geo->ic, len = x.taps * oc;
    for (int32_t i = 0; i < ic; i += WIDTH) {
        for (int32_t run = y.taps - 1; run >= 0; run--) {
            int32_t ky = y.tap + run * geo->sh;
            for (int32_t k = 0; k < len; k += 2, to += 2 * WIDTH) {
                const int8_t *p[2] = { 0, 0 };
                for (int32_t t = 0; t < 2 && k + t < len; t++) {
                    int32_t column = (k + t) / oc, o = k + t - column * oc, kx = x.tap + (x.taps - 1 - column) * geo->sw;
                    p[t] = w + ((o * geo->kh + ky) * geo->kw + kx) * ic + i;
                }
                pack_pair(to, p[0], p[1], ic - i);
            }
        }
    }
}

// What conv_dx works with: the errors with zeros around them, packed weights, one row of sums.
struct dx {
    const struct trimtab_geometry *geo;
    struct image errors;
    int32_t top, left; // where the errors begin in their image
    int32_t flat; // a pointwise layer: one row of all positions
    int32_t width; // input channels, rounded up to whole panels
    int16_t *panels;
    int32_t *sums;
};

static void dx_phase(const struct dx *d, struct error *e, struct phase y, struct phase x) {
    const struct trimtab_geometry *geo = d->geo;
    int32_t ic = geo->ic, oc = geo->oc, pairs = (x.taps * oc + 1) / 2, panel = y.taps * pairs * 2 * WIDTH;
    int32_t rows = d->flat ? 1 : y.count, cols = d->flat ? y.count * x.count : x.count;
    const struct strip s = { oc, d->errors.w * oc, y.taps, pairs };
    for (int32_t row = 0; row < rows; row++) {
        const int16_t *a = d->errors.at
            + ((d->top + y.out + row - (y.taps - 1)) * d->errors.w + d->left + x.out - (x.taps - 1)) * oc;
        for (int32_t t = 0; t < d->width / WIDTH; t++) {
            sums_of(&s, a, (const terms *)(d->panels + t * panel), cols, d->sums + t * WIDTH, d->width);
        }
        int32_t start = ((y.first + row * geo->sh) * geo->iw + x.first) * ic;
        if (geo->sw == 1 && d->width == ic) {
            trimtab_error_wide(e, start, d->sums, cols * ic);
            continue;
        }
        for (int32_t i = 0; i < cols; i++) {
            trimtab_error_wide(e, start + i * geo->sw * ic, d->sums + i * d->width, ic);
        }
    }
}

int32_t trimtab_conv_dx_wide(uint8_t *const *mem, const struct trimtab_conv_dx *r, int32_t exp) {
    const struct trimtab_geometry *geo = &r->geometry;
    int32_t ic = geo->ic, oc = geo->oc, flat = trimtab_is_pointwise(geo);
    int32_t top = flat ? 0 : geo->kh, left = flat ? 0 : geo->kw;
    struct dx d = { geo, { 0, geo->oh, geo->ow, oc }, top, left, flat, (ic + WIDTH - 1) / WIDTH * WIDTH, 0, 0 };
    if (!flat) { // zeros for all outputs that an input could see if there were more of them
        d.errors.h = top + max32(geo->oh, (geo->ih - 1 + geo->pt) / geo->sh + 1) + 1;
        d.errors.w = left + max32(geo->ow, (geo->iw - 1 + geo->pl) / geo->sw + 1) + 1;
    }
    int64_t panels = panels_bytes(ic, (int64_t)up_div(geo->kh, geo->sh) * ((up_div(geo->kw, geo->sw) * oc + 1) / 2));
    int64_t weights = (int64_t)oc * geo->kh * geo->kw * ic;
    int64_t sums = 4ll * d.width * (flat ? geo->ih * geo->iw : up_div(geo->iw, geo->sw));
    if (!has_weights(&r->weights) || !trimtab_pool_open(trimtab_image_part(d.errors.h, d.errors.w, oc) + POOL_PART(panels)
        + POOL_PART(weights) + POOL_PART(sums))) {
        return 0;
    }
    d.errors.at = trimtab_pool_take(2 * (int64_t)d.errors.h * d.errors.w * oc);
    d.panels = trimtab_pool_take(panels);
    d.sums = trimtab_pool_take(sums);
    const int8_t *w = trimtab_merged(trimtab_pool_take(weights), mem, &r->weights, geo, r->nk);
    if (!trimtab_scale_errors(&d.errors, at(mem, r->gy), at(mem, r->m), r->m_shift, geo->oh, geo->ow, top, left, 1, 1)) {
        return 0;
    }
    struct error e;
    trimtab_error_open(&e, mem, &r->error_out, exp);
    for (int32_t ky = 0; ky < geo->sh; ky++) {
        for (int32_t kx = 0; kx < geo->sw; kx++) {
            struct phase y = phase(ky, geo->kh, geo->sh, geo->pt, geo->ih), x = phase(kx, geo->kw, geo->sw, geo->pl, geo->iw);
            pack_turned(d.panels, w, geo, y, x);
            dx_phase(&d, &e, y, x);
        }
    }
    trimtab_error_close(&e);
    return 1;
}

// -- weights

// gy (n, oc) as rows of pairs of positions: (oc, pairs, 2).
static void turn(int16_t *to, const int8_t *gy, int32_t n, int32_t oc) {
    for (int32_t o = 0; o < oc; o++) {
        for (int32_t p = 0; p < n; p++) {
            *to++ = gy[p * oc + o];
        }
        if (n & 1) {
            *to++ = 0;
        }
    }
}

INLINE void put_pair(terms *to, terms a, terms b) {
    vec sorted[2] = { (vec)low_pairs(a, b), (vec)high_pairs(a, b) };
    in_order(sorted); // words of terms, as sums are
    to[0] = (terms)sorted[0];
    to[1] = (terms)sorted[1];
}

// The inputs that one tap sees at all positions, WIDTH channels of them, as pairs of positions.
static void pack_positions(terms *to, const int16_t *x, const struct trimtab_geometry *geo, const struct image *img) {
    int32_t step = geo->sw * img->c, odd = 0;
    terms first = { 0 };
    for (int32_t oy = 0; oy < geo->oh; oy++) {
        const int16_t *p = x + oy * geo->sh * img->w * img->c;
        int32_t ox = 0;
        if (odd) { // a pair that began in the row above
            put_pair(to, first, *(const terms_at *)p);
            to += 2;
            p += step;
            ox = 1;
        }
        for (; ox + 1 < geo->ow; ox += 2, p += 2 * step, to += 2) {
            put_pair(to, *(const terms_at *)p, *(const terms_at *)(p + step));
        }
        odd = ox < geo->ow;
        if (odd) {
            first = *(const terms_at *)p;
        }
    }
    if (odd) {
        put_pair(to, first, (terms) { 0 });
    }
}

// One position: each error times the row of inputs.
static void dense_dw(const struct update *up, const int8_t *gy, const int16_t *x, int32_t *dw, int32_t oc, int32_t size) {
    for (int32_t o = 0; o < oc; o++) {
        for (int32_t i = 0; i < size && gy[o]; i++) {
            dw[i] = gy[o] * x[i];
        }
        if (gy[o]) {
            trimtab_update_row(up, o * size, o, dw, size);
        }
    }
}

int32_t trimtab_conv_dw_wide(uint8_t *const *mem, const struct trimtab_conv_dw *r, const struct update *up) {
    const struct trimtab_geometry *geo = &r->geometry;
    int32_t n = geo->oh * geo->ow, oc = geo->oc, nk = r->nk, pairs = (n + 1) / 2, taps = geo->kh * geo->kw;
    int32_t width = (taps - 1) * nk + (nk + WIDTH - 1) / WIDTH * WIDTH; // of a row of dw: whole vectors are stored
    struct image img = trimtab_input_image(geo, nk);
    int64_t errors = 4ll * oc * pairs, panel = panels_bytes(WIDTH, pairs), dw = 4ll * oc * width;
    if (up->rng || !trimtab_pool_open(trimtab_image_part(img.h, img.w, nk) + POOL_PART(errors) + POOL_PART(panel) + POOL_PART(dw))) {
        return 0; // random numbers come in the order of the plain loops
    }
    img.at = trimtab_pool_take(2 * (int64_t)img.h * img.w * nk);
    int16_t *g = trimtab_pool_take(errors);
    terms *b = trimtab_pool_take(panel);
    int32_t *c = trimtab_pool_take(dw);
    trimtab_widen(&img, at(mem, r->x), geo->ih, geo->iw, geo->ic, geo->pt, geo->pl, r->zx, at(mem, r->kept));
    if (n == 1) {
        dense_dw(up, at(mem, r->gy), img.at, c, oc, taps * nk);
        return 1;
    }
    turn(g, at(mem, r->gy), n, oc);
    const struct strip s = { 2 * pairs, 0, 1, pairs };
    for (int32_t t = 0; t < taps; t++) {
        for (int32_t i = 0; i < nk; i += WIDTH) {
            pack_positions(b, img.at + ((t / geo->kw) * img.w + t % geo->kw) * nk + i, geo, &img);
            sums_of(&s, g, b, oc, c + t * nk + i, width);
        }
    }
    for (int32_t o = 0; o < oc; o++) {
        trimtab_update_row(up, o * taps * nk, o, c + o * width, taps * nk);
    }
    return 1;
}

#endif
