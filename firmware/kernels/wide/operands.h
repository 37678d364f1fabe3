// Operands as the tiles want them: inputs and errors in 16 bits with zeros around them, weights as columns of terms.
#ifndef TRIMTAB_OPERANDS_H
#define TRIMTAB_OPERANDS_H

#include "vector.h"
#include "wide.h"

struct image {
    int16_t *at; // (h, w, c)
    int32_t h, w, c;
};

// A part of an image that is not to be touched: `rows` pieces of `inner` bytes, `pitch` bytes apart, below `top` rows and
// behind `left` bytes.
struct frame {
    int32_t h, top, rows;
    ptrdiff_t pitch, left, inner;
};

// Fills the rest of the image.
void trimtab_fill_around(void *image, struct frame f, int value);

// The part of the pool that an image of this size takes.
int64_t trimtab_image_part(int64_t h, int64_t w, int64_t c);

// x (h, w, c) less zx, from row `top` and column `left` on; zeros elsewhere. Of the channels only `kept`, where it is given.
void trimtab_widen(const struct image *to, const int8_t *x, int32_t h, int32_t w, int32_t c, int32_t top, int32_t left,
    int32_t zx, const uint16_t *kept);

// The image of a layer's input as its kernel walks over it.
struct image trimtab_input_image(const struct trimtab_geometry *geo, int32_t channels);

// A 1x1 layer sees all positions as one row.
int32_t trimtab_is_pointwise(const struct trimtab_geometry *geo);

// Errors gy (oh, ow, oc) times m (oc), rounded by `shift`, from row `top` and column `left` on, `sh` and `sw` apart; zeros
// elsewhere. 0 where a product does not fit 16 bits.
int32_t trimtab_scale_errors(const struct image *to, const int8_t *gy, const int16_t *m, int32_t shift, int32_t oh,
    int32_t ow, int32_t top, int32_t left, int32_t sh, int32_t sw);

// All weights of a convolution as (oc, kh, kw, ic): frozen plus trained, in `to` where they are not one tensor already.
const int8_t *trimtab_merged(int8_t *to, uint8_t *const *mem, const struct trimtab_weights *r,
    const struct trimtab_geometry *geo, int32_t nk);

// All weights of a depthwise layer as (kh * kw, oc): there the trained ones replace the frozen ones.
const int8_t *trimtab_merged_columns(int8_t *to, uint8_t *const *mem, const struct trimtab_weights *r,
    const struct trimtab_geometry *geo, int32_t nk);

static inline int32_t has_weights(const struct trimtab_weights *r) {
    return r->w >= 0 || r->k >= 0;
}

// Panels (columns / WIDTH, runs, pairs, WIDTH, 2) of weights w (columns, runs, len). Zeros fill the last column's panel and
// the last pair.
void trimtab_pack_columns(int16_t *to, const int8_t *w, int32_t columns, int32_t runs, int32_t len);

// A panel's part of the pool: for this many columns and pairs of terms.
static inline int64_t panels_bytes(int64_t columns, int64_t pairs) {
    return (columns + WIDTH - 1) / WIDTH * WIDTH * pairs * 4;
}

// Two rows of n columns side by side as one pair of a panel; q may be null.
INLINE void pack_pair(int16_t *to, const int8_t *p, const int8_t *q, int32_t n) {
    if (n >= WIDTH) {
        bytes a = *(const bytes_at *)p, b = q ? *(const bytes_at *)q : (bytes) { 0 };
#if LANES == 8
        *(terms *)to = wide(SHUFFLE(a, b, 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23));
        *(terms *)(to + WIDTH) = wide(SHUFFLE(a, b, 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31));
#else
        *(terms *)to = wide(SHUFFLE(a, b, 0, 8, 1, 9, 2, 10, 3, 11));
        *(terms *)(to + WIDTH) = wide(SHUFFLE(a, b, 4, 12, 5, 13, 6, 14, 7, 15));
#endif
        return;
    }
    for (int32_t i = 0; i < WIDTH; i++) {
        to[2 * i] = i < n ? p[i] : 0;
        to[2 * i + 1] = i < n && q ? q[i] : 0;
    }
}

#endif
