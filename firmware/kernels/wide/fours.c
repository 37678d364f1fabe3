// The instruction multiplies unsigned bytes by signed ones, so inputs are x + 128, and what that adds to each sum is taken
// from the bias: (zx + 128) times the sum of the channel's weights.
#include "fours.h"

#if TRIMTAB_WIDE && FOURS

#include "finish.h"
#include "operands.h"
#include "pool.h"
#include "tile.h"

typedef v4 v4_at __attribute__((aligned(1)));

// Sixteen terms of four columns: each word of four terms goes to its column's lane.
INLINE void transpose(int8_t *to, const int8_t *w, int32_t size) {
    v4 r0 = *(const v4_at *)w, r1 = *(const v4_at *)(w + size);
    v4 r2 = *(const v4_at *)(w + 2 * size), r3 = *(const v4_at *)(w + 3 * size);
    v4 t0 = SHUFFLE(r0, r1, 0, 4, 1, 5), t1 = SHUFFLE(r2, r3, 0, 4, 1, 5);
    v4 t2 = SHUFFLE(r0, r1, 2, 6, 3, 7), t3 = SHUFFLE(r2, r3, 2, 6, 3, 7);
    *(v4 *)to = SHUFFLE(t0, t1, 0, 1, 4, 5);
    *(v4 *)(to + 4 * WIDTH) = SHUFFLE(t0, t1, 2, 3, 6, 7);
    *(v4 *)(to + 8 * WIDTH) = SHUFFLE(t2, t3, 0, 1, 4, 5);
    *(v4 *)(to + 12 * WIDTH) = SHUFFLE(t2, t3, 2, 3, 6, 7);
}

// Panels (columns / WIDTH, runs, fours, WIDTH, 4) of weights w (columns, runs, len).
static void pack_fours(int8_t *to, const int8_t *w, int32_t columns, int32_t runs, int32_t len) {
    int32_t fours = (len + 3) / 4, size = runs * len;
    for (int32_t o = 0; o < columns; o += WIDTH) {
        for (int32_t run = 0; run < runs; run++, to += fours * 4 * WIDTH) {
            for (int32_t i = 0; i < WIDTH; i += 4) {
                const int8_t *from = w + (o + i) * size + run * len;
                int8_t *out = to + 4 * i;
                int32_t n = min32(4, columns - o - i), k = 0;
                for (; n == 4 && k + 16 <= len; k += 16, out += 16 * WIDTH) {
                    transpose(out, from + k, size);
                }
                for (; n == 4 && k + 4 <= len; k += 4, out += 4 * WIDTH) {
                    for (int32_t j = 0; j < 4; j++) {
                        memcpy(out + 4 * j, from + j * size + k, 4);
                    }
                }
                for (; k < len; k += 4, out += 4 * WIDTH) {
                    for (int32_t j = 0; j < 4; j++) {
                        for (int32_t t = 0; t < 4; t++) {
                            out[4 * j + t] = j < n && k + t < len ? from[j * size + k + t] : 0;
                        }
                    }
                }
            }
        }
    }
}

// As tile() of tile.h, with bytes: s->pairs counts fours, s->step and s->pitch bytes.
INLINE void tile_of_fours(vec (*sums)[2], const struct strip *s, const uint8_t *a, const vec *b, const int32_t rows) {
#define EACH(j) vec l##j = sums[j][0], h##j = sums[j][1]; const ptrdiff_t at##j = (j < rows ? j : rows - 1) * s->step;
    SIX_TIMES
#undef EACH
    for (int32_t run = s->runs; run; run--, a += s->pitch) {
        const uint8_t *p = a;
        for (int32_t k = s->pairs; k; k--, p += 4, b += 2) {
            vec b0 = b[0], b1 = b[1], x;
#define EACH(j) x = (vec)pair((const int16_t *)(p + at##j)); l##j = dot(l##j, x, b0); h##j = dot(h##j, x, b1);
            SIX_TIMES
#undef EACH
        }
    }
#define EACH(j) sums[j][0] = l##j; sums[j][1] = h##j;
    SIX_TIMES
#undef EACH
}

static void forward_row(const struct strip *s, const uint8_t *a, const vec *b, const struct scaling *q,
    const struct output out, int32_t i, int32_t oc, int32_t n, int32_t positions) {
    for (; positions > 0; positions -= SIX, a += SIX * s->step) {
        vec sums[SIX][2];
        for (int j = 0; j < SIX; j++) {
            sums[j][0] = q->bias[0];
            sums[j][1] = q->bias[1];
        }
        int32_t rows = min32(positions, SIX);
        tile_of_fours(sums, s, a, b, rows);
        for (int32_t j = 0; j < rows; j++, i += oc) {
            put_tile(out, i, n, sums[j], q);
        }
    }
}

static void raise_row(uint8_t *to, const int8_t *x, int32_t n) {
    for (int32_t i = 0; i < n; i++) {
        to[i] = (uint8_t)(x[i] + 128);
    }
}

void trimtab_raise(uint8_t *to, const int8_t *x, const struct trimtab_geometry *geo, const struct image *img, int32_t zx) {
    int32_t rows = min32(geo->ih, img->h - geo->pt), cols = min32(geo->iw, img->w - geo->pl), c = img->c;
    if (rows <= 0 || cols <= 0) {
        rows = cols = 0;
    }
    trimtab_fill_around(to, (struct frame) { img->h, geo->pt, rows, img->w * c, geo->pl * c, cols * c }, zx + 128);
    for (int32_t y = 0; y < rows; y++) {
        raise_row(to + ((geo->pt + y) * img->w + geo->pl) * c, x + y * geo->iw * c, cols * c);
    }
}

// The bias less what raised inputs add.
static void lower_bias(struct scaling *q, const vec *b, int32_t fours, int32_t raised) {
    vec low = { 0 }, high = { 0 };
    for (int32_t k = 0; k < fours; k++) {
        low = dot(low, all(0x01010101), b[2 * k]);
        high = dot(high, all(0x01010101), b[2 * k + 1]);
    }
    q->bias[0] -= low * raised;
    q->bias[1] -= high * raised;
}

int32_t trimtab_conv_fours(uint8_t *const *mem, const struct trimtab_conv_fwd *r, const struct output *out) {
    const struct trimtab_geometry *geo = &r->geometry;
    const struct image img = trimtab_input_image(geo, geo->ic);
    int32_t oc = geo->oc, oh = geo->oh, ow = geo->ow, len = geo->kw * geo->ic, fours = (len + 3) / 4;
    int64_t panels = panels_bytes(oc, (int64_t)geo->kh * fours), weights = (int64_t)oc * geo->kh * len;
    if (!trimtab_pool_open(trimtab_image_part(img.h, img.w, img.c) + POOL_PART(panels) + POOL_PART(weights))) {
        return 0;
    }
    uint8_t *x = trimtab_pool_take((int64_t)img.h * img.w * img.c);
    vec *b = trimtab_pool_take(panels);
    const int8_t *w = trimtab_merged(trimtab_pool_take(weights), mem, &r->weights, geo, r->nk);
    trimtab_raise(x, at(mem, r->x), geo, &img, r->zx);
    pack_fours((int8_t *)b, w, oc, geo->kh, len);
    if (trimtab_is_pointwise(geo)) {
        ow *= oh;
        oh = 1;
    }
    const struct strip s = { geo->sw * geo->ic, img.w * geo->ic, geo->kh, fours };
    for (int32_t o = 0; o < oc; o += WIDTH, b += 2 * geo->kh * fours) {
        struct scaling q;
        trimtab_scaling(&q, at(mem, r->bias), at(mem, r->mult), at(mem, r->shift), o, oc - o);
        lower_bias(&q, b, geo->kh * fours, r->zx + 128);
        for (int32_t oy = 0; oy < oh; oy++) {
            forward_row(&s, x + oy * geo->sh * s.pitch, b, &q, *out, oy * ow * oc + o, oc, min32(WIDTH, oc - o), ow);
        }
    }
    return 1;
}

#endif
