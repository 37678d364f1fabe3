// Pooling: average, maximum, and the mean over all positions.
#include "kernels.h"

// Where one output's window lies in the input.
struct window {
    struct taps rows, cols;
    int32_t count;
};

static struct window window(const struct trimtab_geometry *geo, int32_t oy, int32_t ox) {
    struct window v = { taps(oy, geo->sh, geo->pt, geo->ih, geo->kh), taps(ox, geo->sw, geo->pl, geo->iw, geo->kw), 0 };
    v.count = tap_count(v.rows) * tap_count(v.cols);
    return v;
}

// Channel i of the input, at a row and a column of the window.
static int8_t look(const int8_t *x, const struct trimtab_geometry *geo, const struct window *v, int32_t ky, int32_t kx,
    int32_t i) {
    return x[((v->rows.origin + ky) * geo->iw + v->cols.origin + kx) * geo->ic + i];
}

// The mean of n numbers: ties away from zero.
static int32_t mean_away(int32_t sum, int32_t n) {
    return sum > 0 ? (sum + n / 2) / n : -((n / 2 - sum) / n);
}

// Pads are not counted.
int32_t trimtab_avg_pool_fwd(uint8_t *const *mem, uint32_t off) {
    RECORD(avg_pool_fwd);
    const struct trimtab_geometry *geo = &r->geometry;
    const int8_t *x = at(mem, r->x);
    int8_t *y = at(mem, r->y);
    for (int32_t oy = 0; oy < geo->oh; oy++) {
        for (int32_t ox = 0; ox < geo->ow; ox++) {
            struct window v = window(geo, oy, ox);
            for (int32_t i = 0; i < geo->ic; i++) {
                int32_t sum = 0; // at most 128 * kh * kw
                for (int32_t ky = v.rows.first; ky < v.rows.end; ky++) {
                    for (int32_t kx = v.cols.first; kx < v.cols.end; kx++) {
                        sum = add32(sum, look(x, geo, &v, ky, kx, i));
                    }
                }
                *y++ = (int8_t)clamp(mean_away(sum, max32(v.count, 1)), r->lo, r->hi);
            }
        }
    }
    return 0;
}

int32_t trimtab_max_pool_fwd(uint8_t *const *mem, uint32_t off) {
    RECORD(max_pool_fwd);
    const struct trimtab_geometry *geo = &r->geometry;
    const int8_t *x = at(mem, r->x);
    int8_t *y = at(mem, r->y);
    for (int32_t oy = 0; oy < geo->oh; oy++) {
        for (int32_t ox = 0; ox < geo->ow; ox++) {
            struct window v = window(geo, oy, ox);
            for (int32_t i = 0; i < geo->ic; i++) {
                int32_t most = -128;
                for (int32_t ky = v.rows.first; ky < v.rows.end; ky++) {
                    for (int32_t kx = v.cols.first; kx < v.cols.end; kx++) {
                        most = max32(most, look(x, geo, &v, ky, kx, i));
                    }
                }
                *y++ = (int8_t)clamp(most, r->lo, r->hi);
            }
        }
    }
    return 0;
}

// Average pool and mean: gy times m[count - 1] / 128 spread over the window that it came from.
int32_t trimtab_avg_dx(uint8_t *const *mem, uint32_t off) {
    RECORD(avg_dx);
    const struct trimtab_geometry *geo = &r->geometry;
    const int8_t *gy = at(mem, r->gy);
    const int16_t *m = at(mem, r->m);
    int32_t *row = at(mem, r->row);
    struct error e;
    trimtab_error_open(&e, mem, &r->error_out, add32(*(const int32_t *)at(mem, r->gy_exp), r->m_exp + 7));
    for (int32_t iy = 0; iy < geo->ih; iy++) {
        struct back_taps rows = back_taps(iy, geo->sh, geo->pt, geo->oh);
        for (int32_t ix = 0; ix < geo->iw; ix++) {
            struct back_taps cols = back_taps(ix, geo->sw, geo->pl, geo->ow);
            clear(row, geo->ic);
            for (int32_t ky = rows.first, oy = rows.o; ky < geo->kh && oy >= 0; ky += geo->sh, oy--) {
                for (int32_t kx = cols.first, ox = cols.o; kx < geo->kw && ox >= 0; kx += geo->sw, ox--) {
                    const int8_t *g = gy + (oy * geo->ow + ox) * geo->ic;
                    int32_t factor = m[window(geo, oy, ox).count - 1];
                    for (int32_t i = 0; i < geo->ic; i++) {
                        row[i] = add32(row[i], rsh(g[i] * factor, 7));
                    }
                }
            }
            trimtab_error_row(&e, (iy * geo->iw + ix) * geo->ic, row, geo->ic);
        }
    }
    trimtab_error_close(&e);
    return 0;
}

// Whether channel i at (ky, kx) is the first of the largest in its window.
static int32_t is_first_largest(const int8_t *x, const struct trimtab_geometry *geo, const struct window *v, int32_t ky,
    int32_t kx, int32_t i) {
    int32_t here = look(x, geo, v, ky, kx, i), earlier = 1;
    for (int32_t a = v->rows.first; a < v->rows.end; a++) {
        for (int32_t b = v->cols.first; b < v->cols.end; b++) {
            if (a == ky && b == kx) {
                earlier = 0;
            } else if (look(x, geo, v, a, b, i) + earlier > here) {
                return 0;
            }
        }
    }
    return 1;
}

// The error goes to the first of the largest inputs of each window.
int32_t trimtab_max_dx(uint8_t *const *mem, uint32_t off) {
    RECORD(max_dx);
    const struct trimtab_geometry *geo = &r->geometry;
    const int8_t *gy = at(mem, r->gy), *x = at(mem, r->x);
    int32_t *row = at(mem, r->row);
    struct error e;
    trimtab_error_open(&e, mem, &r->error_out, *(const int32_t *)at(mem, r->gy_exp));
    for (int32_t iy = 0; iy < geo->ih; iy++) {
        struct back_taps rows = back_taps(iy, geo->sh, geo->pt, geo->oh);
        for (int32_t ix = 0; ix < geo->iw; ix++) {
            struct back_taps cols = back_taps(ix, geo->sw, geo->pl, geo->ow);
            clear(row, geo->ic);
            for (int32_t ky = rows.first, oy = rows.o; ky < geo->kh && oy >= 0; ky += geo->sh, oy--) {
                for (int32_t kx = cols.first, ox = cols.o; kx < geo->kw && ox >= 0; kx += geo->sw, ox--) {
                    struct window v = window(geo, oy, ox);
                    const int8_t *g = gy + (oy * geo->ow + ox) * geo->ic;
                    for (int32_t i = 0; i < geo->ic; i++) {
                        if (g[i] && is_first_largest(x, geo, &v, ky, kx, i)) {
                            row[i] = add32(row[i], g[i]);
                        }
                    }
                }
            }
            trimtab_error_row(&e, (iy * geo->iw + ix) * geo->ic, row, geo->ic);
        }
    }
    trimtab_error_close(&e);
    return 0;
}

int32_t trimtab_mean_fwd(uint8_t *const *mem, uint32_t off) {
    RECORD(mean_fwd);
    const int8_t *x = at(mem, r->x); // (n, ic)
    const struct output out = output(mem, r->y, r->mask, -128, 127, r->zy);
    for (int32_t i = 0; i < r->ic; i++) {
        int32_t sum = 0; // at most 255 n
        for (int32_t p = 0; p < r->n; p++) {
            sum = add32(sum, x[p * r->ic + i] - r->zx);
        }
        put(&out, i, requant(sum, r->mult, r->shift));
    }
    return 0;
}
