#include "wide.h"

#if TRIMTAB_WIDE

#include "operands.h"
#include "pool.h"

int64_t trimtab_image_part(int64_t h, int64_t w, int64_t c) {
    int64_t rows = h * w; // each below 2^24: see trimtab_input_image
    return rows > POOL_MOST || rows * c > POOL_MOST ? 2 * POOL_MOST : POOL_PART(2 * rows * c);
}

static void widen_row(int16_t *to, const int8_t *x, int32_t n, int32_t zx) {
    for (int32_t i = 0; i < n; i++) {
        to[i] = (int16_t)(x[i] - zx);
    }
}

static void widen_kept(int16_t *to, const int8_t *x, int32_t n, int32_t zx, const uint16_t *kept) {
    for (int32_t i = 0; i < n; i++) {
        to[i] = (int16_t)(x[kept[i]] - zx);
    }
}

void trimtab_widen(const struct image *to, const int8_t *x, int32_t h, int32_t w, int32_t c, int32_t top, int32_t left,
    int32_t zx, const uint16_t *kept) {
    int32_t rows = min32(h, to->h - top), cols = min32(w, to->w - left), pitch = to->w * to->c;
    if (rows <= 0 || cols <= 0 || rows < to->h || cols < to->w) {
        memset(to->at, 0, 2 * (size_t)to->h * (size_t)pitch);
    }
    if (rows <= 0 || cols <= 0) {
        return;
    }
    if (cols == to->w && cols == w && !kept && c == to->c) {
        widen_row(to->at + top * pitch, x, rows * pitch, zx);
        return;
    }
    for (int32_t y = 0; y < rows; y++) {
        int16_t *row = to->at + (top + y) * pitch + left * to->c;
        const int8_t *from = x + y * w * c;
        if (!kept && c == to->c) {
            widen_row(row, from, cols * c, zx);
            continue;
        }
        for (int32_t i = 0; i < cols; i++, row += to->c, from += c) {
            if (kept) {
                widen_kept(row, from, to->c, zx, kept);
            } else {
                widen_row(row, from, min32(c, to->c), zx);
            }
        }
    }
}

struct image trimtab_input_image(const struct trimtab_geometry *geo, int32_t channels) {
    // Sizes are at most 32767 and strides 255, so a side stays below 2^23 + 2^15.
    return (struct image) { 0, (geo->oh - 1) * geo->sh + geo->kh, (geo->ow - 1) * geo->sw + geo->kw, channels };
}

int32_t trimtab_is_pointwise(const struct trimtab_geometry *geo) {
    return geo->kh == 1 && geo->kw == 1 && geo->sh == 1 && geo->sw == 1 && geo->pt == 0 && geo->pl == 0
        && geo->oh == geo->ih && geo->ow == geo->iw;
}

int32_t trimtab_scale_errors(const struct image *to, const int8_t *gy, const int16_t *m, int32_t shift, int32_t oh,
    int32_t ow, int32_t top, int32_t left, int32_t sh, int32_t sw) {
    int32_t half = shift ? 1 << (shift - 1) : 0, beyond = 0, c = to->c;
    if (to->h != oh || to->w != ow) {
        memset(to->at, 0, 2 * (size_t)to->h * (size_t)to->w * (size_t)c);
    }
    for (int32_t y = 0; y < oh; y++) {
        for (int32_t x = 0; x < ow; x++, gy += c) {
            int16_t *row = to->at + ((top + y * sh) * to->w + left + x * sw) * c;
            int32_t odd = 0;
            for (int32_t o = 0; o < c; o++) {
                int32_t d = (gy[o] * m[o] + half) >> shift; // |gy * m| <= 2^22
                row[o] = (int16_t)d;
                odd |= d ^ (int16_t)d;
            }
            beyond |= odd;
        }
    }
    return !beyond;
}

const int8_t *trimtab_merged(int8_t *to, uint8_t *const *mem, const struct trimtab_weights *r,
    const struct trimtab_geometry *geo, int32_t nk) {
    const int8_t *w = at(mem, r->w), *k = at(mem, r->k);
    const uint16_t *kept = at(mem, r->kept);
    if (!k) {
        return w;
    }
    if (!w && nk == geo->ic && !kept) {
        return k;
    }
    int32_t rows = geo->oc * geo->kh * geo->kw;
    if (w) {
        memcpy(to, w, (size_t)rows * (size_t)geo->ic);
    } else {
        memset(to, 0, (size_t)rows * (size_t)geo->ic);
    }
    for (int8_t *row = to; rows; rows--, row += geo->ic) {
        for (int32_t i = 0; i < nk; i++) {
            int32_t c = kept ? kept[i] : i;
            row[c] = (int8_t)(row[c] + *k++);
        }
    }
    return to;
}

const int8_t *trimtab_merged_columns(int8_t *to, uint8_t *const *mem, const struct trimtab_weights *r,
    const struct trimtab_geometry *geo, int32_t nk) {
    const int8_t *w = at(mem, r->w), *k = at(mem, r->k);
    const uint16_t *kept = at(mem, r->kept);
    int32_t taps = geo->kh * geo->kw;
    if (!k) {
        return w;
    }
    if (!kept && nk == geo->oc) {
        return k;
    }
    if (w) {
        memcpy(to, w, (size_t)taps * (size_t)geo->oc);
    } else {
        memset(to, 0, (size_t)taps * (size_t)geo->oc);
    }
    for (int32_t t = 0; t < taps; t++) {
        for (int32_t j = 0; j < nk; j++) {
            to[t * geo->oc + (kept ? kept[j] : j)] = k[t * nk + j];
        }
    }
    return to;
}

// Sixteen terms of four columns, `size` bytes apart: eight pairs, each the pairs of the four columns side by side.
INLINE void transpose(int16_t *to, const int8_t *w, int32_t size) {
    typedef int16_t pairs __attribute__((vector_size(16), may_alias)); // of bytes
    pairs r[4], s[4];
    for (int i = 0; i < 4; i++) {
        r[i] = (pairs) *(const b16_at *)(w + i * size);
    }
    s[0] = SHUFFLE(r[0], r[1], 0, 8, 1, 9, 2, 10, 3, 11);
    s[1] = SHUFFLE(r[0], r[1], 4, 12, 5, 13, 6, 14, 7, 15);
    s[2] = SHUFFLE(r[2], r[3], 0, 8, 1, 9, 2, 10, 3, 11);
    s[3] = SHUFFLE(r[2], r[3], 4, 12, 5, 13, 6, 14, 7, 15);
    for (int i = 0; i < 2; i++) {
        v4 a = (v4)s[i], b = (v4)s[i + 2];
        union { v4 v; b8 part[2]; } first = { SHUFFLE(a, b, 0, 4, 1, 5) }, second = { SHUFFLE(a, b, 2, 6, 3, 7) };
        const b8 four[4] = { first.part[0], first.part[1], second.part[0], second.part[1] };
        for (int k = 0; k < 4; k++) {
            *(h8 *)(to + (4 * i + k) * 2 * WIDTH) = __builtin_convertvector(four[k], h8);
        }
    }
}

void trimtab_pack_columns(int16_t *to, const int8_t *w, int32_t columns, int32_t runs, int32_t len) {
    int32_t pairs = (len + 1) / 2, size = runs * len;
    for (int32_t o = 0; o < columns; o += WIDTH) {
        for (int32_t run = 0; run < runs; run++, to += pairs * 2 * WIDTH) {
            for (int32_t i = 0; i < WIDTH; i += 4) {
                const int8_t *from = w + (o + i) * size + run * len;
                int16_t *out = to + 2 * i;
                int32_t n = min32(4, columns - o - i), k = 0;
                for (; n == 4 && k + 16 <= len; k += 16, out += 8 * 2 * WIDTH) {
                    transpose(out, from + k, size);
                }
                for (; k < len; k += 2, out += 2 * WIDTH) {
                    for (int32_t j = 0; j < 4; j++) {
                        out[2 * j] = j < n ? from[j * size + k] : 0;
                        out[2 * j + 1] = j < n && k + 1 < len ? from[j * size + k + 1] : 0;
                    }
                }
            }
        }
    }
}

#endif
