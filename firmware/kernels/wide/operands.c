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

void trimtab_fill_around(void *image, struct frame f, int value) {
    char *gap = image, *row = gap + f.top * f.pitch + f.left;
    for (int32_t n = f.rows; n; n--, gap = row + f.inner, row += f.pitch) {
        if (row > gap) { // what follows a row and what precedes the next one is one piece
            memset(gap, value, (size_t)(row - gap));
        }
    }
    memset(gap, value, (size_t)((char *)image + f.h * f.pitch - gap));
}

// Of 16-bit numbers.
static void clear_around(const struct image *to, int32_t top, int32_t left, int32_t rows, int32_t cols) {
    ptrdiff_t cell = 2 * (ptrdiff_t)to->c;
    trimtab_fill_around(to->at, (struct frame) { to->h, top, rows, to->w * cell, left * cell, cols * cell }, 0);
}

void trimtab_widen(const struct image *to, const int8_t *x, int32_t h, int32_t w, int32_t c, int32_t top, int32_t left,
    int32_t zx, const uint16_t *kept) {
    int32_t rows = min32(h, to->h - top), cols = min32(w, to->w - left), pitch = to->w * to->c;
    if (rows <= 0 || cols <= 0) {
        memset(to->at, 0, 2 * (size_t)to->h * (size_t)pitch);
        return;
    }
    clear_around(to, top, left, rows, cols);
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
    if (sh == 1 && sw == 1) {
        clear_around(to, top, left, oh, ow);
    } else {
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

// Sixteen bytes as 16 bits: eight of one pair of terms, eight of the next.
INLINE void put_pairs(int16_t *to, b16 v) {
#if LANES == 8
    union { terms v; h8 part[2]; } w = { wide(v) };
#else
    union { b16 v; b8 part[2]; } b = { v };
    struct { h8 part[2]; } w = { { __builtin_convertvector(b.part[0], h8), __builtin_convertvector(b.part[1], h8) } };
#endif
    *(h8 *)to = w.part[0];
    *(h8 *)(to + 2 * WIDTH) = w.part[1];
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
    for (int i = 0; i < 2; i++, to += 8 * WIDTH) {
        v4 a = (v4)s[i], b = (v4)s[i + 2];
        put_pairs(to, (b16)SHUFFLE(a, b, 0, 4, 1, 5));
        put_pairs(to + 4 * WIDTH, (b16)SHUFFLE(a, b, 2, 6, 3, 7));
    }
}

// Four terms of four columns, likewise.
INLINE void transpose_four(int16_t *to, const int8_t *w, int32_t size) {
    typedef int16_t pairs __attribute__((vector_size(16), may_alias)); // of bytes
    v4 v;
    for (int i = 0; i < 4; i++) {
        int32_t four;
        memcpy(&four, w + i * size, 4);
        v[i] = four;
    }
    put_pairs(to, (b16)SHUFFLE((pairs)v, (pairs)v, 0, 2, 4, 6, 1, 3, 5, 7));
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
                for (; n == 4 && k + 4 <= len; k += 4, out += 2 * 2 * WIDTH) {
                    transpose_four(out, from + k, size);
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
