// Convolutions forward: tiles of six positions times WIDTH output channels.
#include "dense.h"

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
    int64_t weights = (int64_t)geo->oc * geo->kh * geo->kw * geo->ic;
    int64_t panels = panels_bytes(geo->oc, (int64_t)geo->kh * ((geo->kw * geo->ic + 1) / 2));
    if (!has_weights(&r->weights) || !trimtab_shifts_fit(at(mem, r->shift), geo->oc)) {
        return 0;
    }
    if (geo->oh * geo->ow == 1) {
        return trimtab_dense_wide(mem, r, out);
    }
    if (r->once) {
        return 0;
    }
    if (trimtab_conv_fours(mem, r, out)) {
        return 1;
    }
    if (!trimtab_pool_open(trimtab_image_part(img.h, img.w, img.c) + POOL_PART(panels) + POOL_PART(weights))) {
        return 0;
    }
    img.at = trimtab_pool_take(2 * (int64_t)img.h * img.w * img.c);
    terms *b = trimtab_pool_take(panels);
    const int8_t *w = trimtab_merged(trimtab_pool_take(weights), mem, &r->weights, geo, r->nk);
    trimtab_widen(&img, at(mem, r->x), geo->ih, geo->iw, geo->ic, geo->pt, geo->pl, r->zx, 0);
    positions(r, mem, w, &img, b, out);
    return 1;
}

#endif
