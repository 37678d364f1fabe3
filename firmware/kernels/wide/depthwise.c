// Depthwise layers: the channels of an image are lanes of image and kernel alike, and two taps make a pair of terms.
#include "wide.h"

#if TRIMTAB_WIDE

#include "finish.h"
#include "operands.h"
#include "pool.h"
#include "update_rows.h"

#define TAPS_MOST 225 // 15 x 15

struct taps_of {
    int32_t c, pitch; // of a 3x3 kernel's image, from column to column, from row to row; else 0
    int32_t pairs;
    int32_t off[TAPS_MOST + 1]; // of each tap, from the first; one more where the number is odd
};

static void find_taps(struct taps_of *t, const struct trimtab_geometry *geo, const struct image *img) {
    int32_t taps = geo->kh * geo->kw;
    for (int32_t k = 0; k < taps; k++) {
        t->off[k] = ((k / geo->kw) * img->w + k % geo->kw) * img->c;
    }
    t->off[taps] = 0; // its weight is 0
    t->pairs = (taps + 1) / 2;
    t->c = geo->kh == 3 && geo->kw == 3 ? img->c : 0;
    t->pitch = img->w * img->c;
}

// sums (2) = one position of WIDTH channels; w (pairs, 2).
INLINE void window(vec *sums, const int16_t *x, const int32_t *off, const terms *w, const int32_t pairs) {
    vec low = { 0 }, high = { 0 };
    for (int32_t t = 0; t < pairs; t++, w += 2, off += 2) {
        terms a = *(const terms_at *)(x + off[0]), b = *(const terms_at *)(x + off[1]);
        low = madd(low, low_pairs(a, b), w[0]);
        high = madd(high, high_pairs(a, b), w[1]);
    }
    sums[0] = low;
    sums[1] = high;
    in_order(sums);
}

// The same of a 3x3 kernel: its taps lie at x, x + c, x + 2 c, and `pitch` numbers further, twice.
INLINE void window_3x3(vec *sums, const int16_t *x, ptrdiff_t c, ptrdiff_t pitch, const terms *w) {
    const int16_t *y = x + pitch, *z = y + pitch;
    vec low = { 0 }, high = { 0 };
#define PAIR(t, p, q) { \
        terms a = *(const terms_at *)(p), b = *(const terms_at *)(q); \
        low = madd(low, low_pairs(a, b), w[2 * t]); \
        high = madd(high, high_pairs(a, b), w[2 * t + 1]); \
    }
    PAIR(0, x, x + c)
    PAIR(1, x + 2 * c, y)
    PAIR(2, y + c, y + 2 * c)
    PAIR(3, z, z + c)
    PAIR(4, z + 2 * c, z) // the last weight is 0
#undef PAIR
    sums[0] = low;
    sums[1] = high;
    in_order(sums);
}

INLINE void any_window(vec *sums, const int16_t *x, const struct taps_of *t, const terms *w) {
    if (t->c) {
        window_3x3(sums, x, t->c, t->pitch, w);
    } else {
        window(sums, x, t->off, w, t->pairs);
    }
}

// Kernels of channels o .. o + WIDTH from w (taps, c): (pairs, 2). turned: last tap first. twice: WIDTH / 2 channels, for
// two positions side by side.
static void pack_taps(terms *to, const int8_t *w, int32_t taps, int32_t c, int32_t o, int32_t turned, int32_t twice) {
    for (int32_t t = 0; t < taps; t += 2, to += 2) {
        if (!twice && o + WIDTH <= c) {
            const int8_t *p = w + (turned ? taps - 1 - t : t) * c + o, *q = t + 1 < taps ? p + (turned ? -c : c) : 0;
            terms a = wide(*(const bytes_at *)p), b = q ? wide(*(const bytes_at *)q) : (terms) { 0 };
            to[0] = low_pairs(a, b);
            to[1] = high_pairs(a, b);
            continue;
        }
        union { int16_t at[2][WIDTH]; terms v[2]; } p = { { { 0 } } };
        for (int32_t k = 0; k < 2 && t + k < taps; k++) {
            const int8_t *from = w + (turned ? taps - 1 - t - k : t + k) * c;
            for (int32_t i = 0; i < WIDTH; i++) {
                p.at[k][i] = twice ? from[i % LANES] : o + i < c ? from[o + i] : 0;
            }
        }
        to[0] = low_pairs(p.v[0], p.v[1]);
        to[1] = high_pairs(p.v[0], p.v[1]);
    }
}

static void repeat_scaling(struct scaling *q) {
    vec *const pairs[] = { q->bias, q->mult, q->left, q->right, q->before, q->one, q->away };
    for (int i = 0; i < 7; i++) {
        pairs[i][1] = pairs[i][0];
    }
}

// Channels o .. o + WIDTH of all positions.
static void forward_channels(const struct trimtab_geometry *geo, const struct image *img, const struct taps_of *t,
    const terms *w, const struct scaling *q, const struct output out, int32_t o, int32_t twice) {
    int32_t c = geo->oc, step = twice ? 2 : 1, n = min32(WIDTH, c - o);
    for (int32_t oy = 0; oy < geo->oh; oy++) {
        const int16_t *x = img->at + oy * geo->sh * img->w * c + o;
        int32_t i = oy * geo->ow * c + o;
        for (int32_t ox = 0; ox < geo->ow; ox += step, x += step * geo->sw * c, i += step * c) {
            vec sums[2];
            any_window(sums, x, t, w);
            sums[0] += q->bias[0];
            sums[1] += q->bias[1];
            put_tile(out, i, !twice ? n : ox + 1 < geo->ow ? WIDTH : LANES, sums, q);
        }
    }
}

int32_t trimtab_depthwise_wide(uint8_t *const *mem, const struct trimtab_depthwise_fwd *r, const struct output *out) {
    const struct trimtab_geometry *geo = &r->geometry;
    int32_t c = geo->ic, taps = geo->kh * geo->kw, twice = c == LANES && geo->sw == 1;
    struct image img = trimtab_input_image(geo, c);
    struct taps_of t;
    terms k[TAPS_MOST + 1];
    if (geo->oc != c || taps > TAPS_MOST || !has_weights(&r->weights) || !trimtab_shifts_fit(at(mem, r->shift), c)
        || !trimtab_pool_open(trimtab_image_part(img.h, img.w, c) + POOL_PART((int64_t)taps * c))) {
        return 0;
    }
    img.at = trimtab_pool_take(2 * (int64_t)img.h * img.w * c);
    const int8_t *w = trimtab_merged_columns(trimtab_pool_take((int64_t)taps * c), mem, &r->weights, geo, r->nk);
    trimtab_widen(&img, at(mem, r->x), geo->ih, geo->iw, c, geo->pt, geo->pl, r->zx, 0);
    find_taps(&t, geo, &img);
    for (int32_t o = 0; o < c; o += WIDTH) {
        struct scaling q;
        trimtab_scaling(&q, at(mem, r->bias), at(mem, r->mult), at(mem, r->shift), o, c - o);
        if (twice) {
            repeat_scaling(&q);
        }
        pack_taps(k, w, taps, c, o, 0, twice);
        forward_channels(geo, &img, &t, k, &q, *out, o, twice);
    }
    return 1;
}

// -- errors: the kernel turned round walks over errors that lie a stride apart, zeros between them

static void error_row(const struct image *img, int32_t iy, int32_t iw, const struct taps_of *t, const terms *k, int32_t *row,
    int32_t width) {
    for (int32_t o = 0; o < img->c; o += WIDTH, k += 2 * t->pairs) {
        const int16_t *x = img->at + iy * img->w * img->c + o;
        int32_t *to = row + o;
        for (int32_t ix = 0; ix < iw; ix++, x += img->c, to += width) {
            vec sums[2];
            any_window(sums, x, t, k);
            *(vec_at *)to = sums[0];
            *(vec_at *)(to + LANES) = sums[1];
        }
    }
}

int32_t trimtab_depthwise_dx_wide(uint8_t *const *mem, const struct trimtab_depthwise_dx *r, int32_t exp) {
    const struct trimtab_geometry *geo = &r->geometry;
    int32_t c = geo->ic, taps = geo->kh * geo->kw, top = geo->kh - 1 - geo->pt, left = geo->kw - 1 - geo->pl;
    int32_t width = (c + WIDTH - 1) / WIDTH * WIDTH;
    struct image img = { 0, max32(geo->ih + geo->kh - 1, top + (geo->oh - 1) * geo->sh + 1),
                         max32(geo->iw + geo->kw - 1, left + (geo->ow - 1) * geo->sw + 1), c };
    int64_t columns = panels_bytes(c, (taps + 1) / 2), sums = 4ll * geo->iw * width;
    if (geo->oc != c || taps > TAPS_MOST || top < 0 || left < 0 || !has_weights(&r->weights)
        || !trimtab_pool_open(trimtab_image_part(img.h, img.w, c) + POOL_PART((int64_t)taps * c) + POOL_PART(sums)
        + POOL_PART(columns))) {
        return 0;
    }
    img.at = trimtab_pool_take(2 * (int64_t)img.h * img.w * c);
    const int8_t *w = trimtab_merged_columns(trimtab_pool_take((int64_t)taps * c), mem, &r->weights, geo, r->nk);
    int32_t *row = trimtab_pool_take(sums);
    terms *k = trimtab_pool_take(columns);
    if (!trimtab_scale_errors(&img, at(mem, r->gy), at(mem, r->m), r->m_shift, geo->oh, geo->ow, top, left, geo->sh, geo->sw)) {
        return 0;
    }
    struct taps_of t;
    find_taps(&t, geo, &img);
    for (int32_t o = 0; o < c; o += WIDTH) {
        pack_taps(k + o / WIDTH * 2 * t.pairs, w, taps, c, o, 1, 0);
    }
    struct error e;
    trimtab_error_open(&e, mem, &r->error_out, exp);
    for (int32_t iy = 0; iy < geo->ih; iy++) {
        error_row(&img, iy, geo->iw, &t, k, row, width);
        for (int32_t ix = 0; width != c && ix < geo->iw; ix++) {
            trimtab_error_wide(&e, (iy * geo->iw + ix) * c, row + ix * width, c);
        }
        if (width == c) {
            trimtab_error_wide(&e, iy * geo->iw * c, row, geo->iw * c);
        }
    }
    trimtab_error_close(&e);
    return 1;
}

// -- weights

// sums (2): one tap of WIDTH channels, over all positions.
static void correlate(vec *sums, const int16_t *x, const int16_t *g, const struct trimtab_geometry *geo, const struct image *img) {
    int32_t c = img->c, step = geo->sw * c;
    const terms none = { 0 };
    vec low = { 0 }, high = { 0 };
    for (int32_t oy = 0; oy < geo->oh; oy++, x += geo->sh * img->w * c) {
        const int16_t *p = x;
        int32_t n = geo->ow;
        for (; n > 1; n -= 2, p += 2 * step, g += 2 * c) {
            terms a = *(const terms_at *)p, b = *(const terms_at *)(p + step);
            terms d = *(const terms_at *)g, e = *(const terms_at *)(g + c);
            low = madd(low, low_pairs(a, b), low_pairs(d, e));
            high = madd(high, high_pairs(a, b), high_pairs(d, e));
        }
        if (n) {
            terms a = *(const terms_at *)p, d = *(const terms_at *)g;
            low = madd(low, low_pairs(a, none), low_pairs(d, none));
            high = madd(high, high_pairs(a, none), high_pairs(d, none));
            g += c;
        }
    }
    sums[0] = low;
    sums[1] = high;
    in_order(sums);
}

int32_t trimtab_depthwise_dw_wide(uint8_t *const *mem, const struct trimtab_depthwise_dw *r, const struct update *up) {
    const struct trimtab_geometry *geo = &r->geometry;
    const uint16_t *kept = at(mem, r->kept);
    int32_t c = geo->oc, nk = r->nk, taps = geo->kh * geo->kw, width = (nk + WIDTH - 1) / WIDTH * WIDTH;
    struct image img = trimtab_input_image(geo, nk), errors = { 0, geo->oh, geo->ow, nk };
    if (up->rng || geo->ic != c || !trimtab_pool_open(trimtab_image_part(img.h, img.w, nk)
        + trimtab_image_part(errors.h, errors.w, nk) + POOL_PART(4ll * width))) {
        return 0; // random numbers come in the order of the plain loops
    }
    img.at = trimtab_pool_take(2 * (int64_t)img.h * img.w * nk);
    errors.at = trimtab_pool_take(2 * (int64_t)errors.h * errors.w * nk);
    int32_t *dw = trimtab_pool_take(4ll * width);
    trimtab_widen(&img, at(mem, r->x), geo->ih, geo->iw, c, geo->pt, geo->pl, r->zx, kept);
    trimtab_widen(&errors, at(mem, r->gy), geo->oh, geo->ow, c, 0, 0, 0, kept);
    for (int32_t t = 0; t < taps; t++) {
        const int16_t *x = img.at + ((t / geo->kw) * img.w + t % geo->kw) * nk;
        for (int32_t i = 0; i < nk; i += WIDTH) {
            correlate((vec *)(dw + i), x + i, errors.at + i, geo, &img);
        }
        trimtab_update_channels(up, t * nk, kept, dw, nk);
    }
    return 1;
}

#endif
