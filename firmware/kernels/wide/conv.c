// Convolutions forward: tiles of six positions times WIDTH output channels; one position by itself.
#include "wide.h"

#if TRIMTAB_WIDE

#include "finish.h"
#include "fours.h"
#include "operands.h"
#include "pool.h"
#include "tile.h"

// A row of positions and one panel of channels, o and the next ones.
static void forward_row(const struct strip *s, const int16_t *a, const terms *b, const struct scaling *q,
    const struct output out, int32_t i, int32_t oc, int32_t n, int32_t positions) {
    for (; positions > 0; positions -= SIX, a += SIX * s->step) {
        vec sums[SIX][2];
        for (int j = 0; j < SIX; j++) {
            sums[j][0] = q->bias[0];
            sums[j][1] = q->bias[1];
        }
        int32_t rows = min32(positions, SIX);
        tile(sums, s, a, b, rows);
        for (int32_t j = 0; j < rows; j++, i += oc) {
            put_tile(out, i, n, sums[j], q);
        }
    }
}

// a * m / 2^down, rounded once: trimtab_requant_once, with down = 31 - shift at least 1.
INLINE vec scaled_once(vec a, vec m, vec down) {
#if defined(__AVX2__)
    typedef unsigned long long u4 __attribute__((vector_size(32), may_alias));
    // There is no arithmetic shift of 64 bits: the products are lifted above 0 and lowered again.
    const u4 top = { 1ull << 63, 1ull << 63, 1ull << 63, 1ull << 63 }, one = { 1, 1, 1, 1 }, low = { ~0u, ~0u, ~0u, ~0u };
    u4 s0 = (u4)down & low, s1 = (u4)down >> 32;
    u4 even = (u4)_mm256_mul_epi32((__m256i)a, (__m256i)m) + (one << (s0 - 1)) + top;
    u4 odd = (u4)_mm256_mul_epi32((__m256i)((u4)a >> 32), (__m256i)((u4)m >> 32)) + (one << (s1 - 1)) + top;
    even = (even >> s0) - (top >> s0);
    odd = (odd >> s1) - (top >> s1);
    return SHUFFLE((vec)even, (vec)(odd << 32), 0, 9, 2, 11, 4, 13, 6, 15);
#else
    vec y;
    for (int i = 0; i < LANES; i++) {
        y[i] = trimtab_requant_once(a[i], m[i], 31 - down[i]);
    }
    return y;
#endif
}

INLINE int32_t across(vec v) {
    int32_t sum = 0;
    for (int i = 0; i < LANES; i++) {
        sum += v[i];
    }
    return sum;
}

// sums (4) of x (size) times four rows of weights as they lie.
static void four_rows(int32_t *sums, const int16_t *x, const int8_t *const *row, int32_t size) {
    const int8_t *w0 = row[0], *w1 = row[1], *w2 = row[2], *w3 = row[3];
    vec s0 = { 0 }, s1 = { 0 }, s2 = { 0 }, s3 = { 0 };
    int32_t k = 0;
    for (; k + WIDTH <= size; k += WIDTH) {
        terms a = *(const terms_at *)(x + k);
        s0 = madd(s0, a, wide(*(const bytes_at *)(w0 + k)));
        s1 = madd(s1, a, wide(*(const bytes_at *)(w1 + k)));
        s2 = madd(s2, a, wide(*(const bytes_at *)(w2 + k)));
        s3 = madd(s3, a, wide(*(const bytes_at *)(w3 + k)));
    }
    const vec s[4] = { s0, s1, s2, s3 };
    for (int j = 0; j < 4; j++) {
        sums[j] = across(s[j]);
        for (int32_t i = k; i < size; i++) {
            sums[j] = mac(sums[j], x[i], row[j][i]);
        }
    }
}

// WIDTH outputs of a dense layer.
static void dense_tile(const struct trimtab_conv_fwd *r, uint8_t *const *mem, const int8_t *w, const int16_t *x,
    int32_t size, const struct output *out, int32_t o) {
    const int8_t *shift = at(mem, r->shift);
    union { int32_t at[WIDTH]; vec v[2]; } sum, down;
    struct scaling q;
    int32_t n = min32(WIDTH, r->geometry.oc - o);
    trimtab_scaling(&q, at(mem, r->bias), at(mem, r->mult), shift, o, n);
    for (int32_t g = 0; g < WIDTH; g += 4) {
        const int8_t *row[4];
        for (int32_t j = 0; j < 4; j++) {
            row[j] = w + (o + min32(g + j, n - 1)) * size; // the last row stands for those that are not there
        }
        four_rows(sum.at + g, x, row, size);
    }
    vec v[2] = { sum.v[0] + q.bias[0], sum.v[1] + q.bias[1] };
    if (!r->once) {
        put_tile(*out, o, n, v, &q);
        return;
    }
    for (int32_t i = 0; i < WIDTH; i++) {
        down.at[i] = i < n ? 31 - shift[o + i] : 1; // shift <= 30
    }
    v[0] = scaled_once(v[0], q.mult[0], down.v[0]);
    v[1] = scaled_once(v[1], q.mult[1], down.v[1]);
    if (out->mask) {
        put_scaled(*out, 1, o, n, v);
    } else {
        put_scaled(*out, 0, o, n, v);
    }
}

// One position: the weights are read once, so they are not packed.
static void dense(const struct trimtab_conv_fwd *r, uint8_t *const *mem, const int8_t *w, const int16_t *x, int32_t size,
    const struct output *out) {
    for (int32_t o = 0; o < r->geometry.oc; o += WIDTH) {
        dense_tile(r, mem, w, x, size, out, o);
    }
}

static void positions(const struct trimtab_conv_fwd *r, uint8_t *const *mem, const int8_t *w, const struct image *img,
    terms *b, const struct output *out) {
    const struct trimtab_geometry *geo = &r->geometry;
    int32_t oc = geo->oc, oh = geo->oh, ow = geo->ow, len = geo->kw * geo->ic, pairs = (len + 1) / 2;
    const struct strip s = { geo->sw * geo->ic, img->w * geo->ic, geo->kh, pairs };
    if (trimtab_is_pointwise(geo)) {
        ow *= oh;
        oh = 1;
    }
    trimtab_pack_columns((int16_t *)b, w, oc, geo->kh, len);
    for (int32_t o = 0; o < oc; o += WIDTH, b += 2 * geo->kh * pairs) {
        struct scaling q;
        int32_t n = min32(WIDTH, oc - o);
        trimtab_scaling(&q, at(mem, r->bias), at(mem, r->mult), at(mem, r->shift), o, n);
        for (int32_t oy = 0; oy < oh; oy++) {
            forward_row(&s, img->at + oy * geo->sh * s.pitch, b, &q, *out, oy * ow * oc + o, oc, n, ow);
        }
    }
}

int32_t trimtab_conv_wide(uint8_t *const *mem, const struct trimtab_conv_fwd *r, const struct output *out) {
    const struct trimtab_geometry *geo = &r->geometry;
    struct image img = trimtab_input_image(geo, geo->ic);
    int32_t many = geo->oh * geo->ow > 1, size = geo->kh * geo->kw * geo->ic;
    int64_t panels = panels_bytes(geo->oc, (int64_t)geo->kh * ((geo->kw * geo->ic + 1) / 2));
    if (!has_weights(&r->weights) || (r->once && many) || !trimtab_shifts_fit(at(mem, r->shift), geo->oc)) {
        return 0;
    }
    if (many && trimtab_conv_fours(mem, r, out)) {
        return 1;
    }
    if (!trimtab_pool_open(trimtab_image_part(img.h, img.w, img.c) + POOL_PART(panels) + POOL_PART((int64_t)geo->oc * size))) {
        return 0;
    }
    img.at = trimtab_pool_take(2 * (int64_t)img.h * img.w * img.c);
    terms *b = trimtab_pool_take(panels);
    const int8_t *w = trimtab_merged(trimtab_pool_take((int64_t)geo->oc * size), mem, &r->weights, geo, r->nk);
    trimtab_widen(&img, at(mem, r->x), geo->ih, geo->iw, geo->ic, geo->pt, geo->pl, r->zx, 0);
    if (many) {
        positions(r, mem, w, &img, b, out);
    } else {
        dense(r, mem, w, img.at, size, out);
    }
    return 1;
}

#endif
