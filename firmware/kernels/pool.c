// Pooling: average, maximum, and the mean over all positions.
#pragma GCC optimize ("Os") // code lies in a board's RAM, and little time is spent here
#include "error.h"
#include "output.h"
#include "packed/packed.h"
#include "taps.h"
#include "wide/wide.h"

// Where the window of one output lies in the input (ih, iw, ic).
struct window {
    const int8_t *x; // its first input
    int32_t rows, cols;
    int32_t ic, pitch; // from column to column, from row to row
    int32_t ky, kx; // kernel position of the first input
};

static struct window window(const struct trimtab_geometry *geo, const int8_t *x, int32_t position) {
    struct taps rows = taps(position / geo->ow, geo->sh, geo->pt, geo->ih, geo->kh);
    struct taps cols = taps(position % geo->ow, geo->sw, geo->pl, geo->iw, geo->kw);
    int32_t pitch = geo->iw * geo->ic;
    x += (rows.origin + rows.first) * pitch + (cols.origin + cols.first) * geo->ic;
    return (struct window) { x, tap_count(rows), tap_count(cols), geo->ic, pitch, rows.first, cols.first };
}

// Channel i of a sum, at most 128 * kh * kw: below 2^31 for 2^23 taps.
FAST static int32_t sum(const struct window *v, int32_t i) {
    int32_t sum = 0, step = v->ic;
    const int8_t *row = v->x + i;
    for (int32_t y = v->rows; y > 0; y--, row += v->pitch) {
        const int8_t *x = row;
        for (int32_t n = v->cols; n > 0; n--, x += step) {
            sum = add32(sum, *x);
        }
    }
    return sum;
}

// Channel i of the average: pads are not counted.
static int32_t average(const struct window *v, int32_t i) {
    return mean_away(sum(v, i), max32(v->rows * v->cols, 1));
}

FAST static int32_t maximum(const struct window *v, int32_t i) {
    int32_t most = -128, step = v->ic;
    const int8_t *row = v->x + i;
    for (int32_t y = v->rows; y > 0; y--, row += v->pitch) {
        const int8_t *x = row;
        for (int32_t n = v->cols; n > 0; n--, x += step) {
            int32_t here = *x;
            most = here > most ? here : most;
        }
    }
    return most;
}

static void pool(uint8_t *const *mem, const struct trimtab_avg_pool_fwd *r,
    int32_t (*of)(const struct window *, int32_t)) {
    const int8_t *x = at(mem, r->x);
    int8_t *y = at(mem, r->y);
    for (int32_t position = 0; position < r->geometry.oh * r->geometry.ow; position++) {
        struct window v = window(&r->geometry, x, position);
        for (int32_t i = 0; i < v.ic; i++) {
            *y++ = (int8_t)clamp(of(&v, i), r->lo, r->hi);
        }
    }
}

int32_t trimtab_avg_pool_fwd(uint8_t *const *mem, uint32_t off) {
    RECORD(avg_pool_fwd);
    if (trimtab_avg_pool_wide(mem, r)) {
        return 0;
    }
    pool(mem, r, average);
    return 0;
}

int32_t trimtab_max_pool_fwd(uint8_t *const *mem, uint32_t off) {
    RECORD(avg_pool_fwd); // both records have the same fields
    pool(mem, r, maximum);
    return 0;
}

// Average pool and mean: gy times m[count - 1] / 128 goes to all inputs of its window, count of them. Each is
// at most 2^15, and an input lies in at most kh * kw windows: row (ic) stays below 2^30 for 32,767 taps.
static void spread_average(const void *record, uint8_t *const *mem, int32_t *row, int32_t position,
    int32_t ky, int32_t kx) {
    (void)ky, (void)kx;
    const struct trimtab_avg_dx *r = record;
    const int8_t *gy = (const int8_t *)at(mem, r->gy) + position * r->geometry.ic;
    struct window v = window(&r->geometry, gy, position);
    int32_t m = ((const int16_t *)at(mem, r->m))[v.rows * v.cols - 1];
    for (int32_t i = 0; i < v.ic; i++) {
        row[i] = add32(row[i], rsh(gy[i] * m, 7));
    }
}

int32_t trimtab_avg_dx(uint8_t *const *mem, uint32_t off) {
    RECORD(avg_dx);
    int32_t exp = add32(*(const int32_t *)at(mem, r->gy_exp), r->m_exp + 7);
    trimtab_error_windows(mem, &r->error_out, &r->geometry, at(mem, r->row), exp, spread_average, r);
    return 0;
}

// Whether channel i at (row, col) is the first of the largest in its window.
static int32_t is_first_largest(const struct window *v, int32_t row, int32_t col, int32_t i) {
    int32_t here = v->x[row * v->pitch + col * v->ic + i], earlier = 1;
    for (int32_t y = 0; y < v->rows; y++) {
        for (int32_t x = 0; x < v->cols; x++) {
            if (y == row && x == col) {
                earlier = 0;
            } else if (v->x[y * v->pitch + x * v->ic + i] + earlier > here) {
                return 0;
            }
        }
    }
    return 1;
}

// The error goes to the first of the largest inputs of each window: row (ic) is at most 127 * kh * kw.
static void spread_maximum(const void *record, uint8_t *const *mem, int32_t *row, int32_t position,
    int32_t ky, int32_t kx) {
    const struct trimtab_max_dx *r = record;
    const int8_t *gy = (const int8_t *)at(mem, r->gy) + position * r->geometry.ic;
    struct window v = window(&r->geometry, at(mem, r->x), position);
    for (int32_t i = 0; i < v.ic; i++) {
        if (gy[i] && is_first_largest(&v, ky - v.ky, kx - v.kx, i)) {
            row[i] = add32(row[i], gy[i]);
        }
    }
}

int32_t trimtab_max_dx(uint8_t *const *mem, uint32_t off) {
    RECORD(max_dx);
    int32_t exp = *(const int32_t *)at(mem, r->gy_exp);
    trimtab_error_windows(mem, &r->error_out, &r->geometry, at(mem, r->row), exp, spread_maximum, r);
    return 0;
}

int32_t trimtab_mean_fwd(uint8_t *const *mem, uint32_t off) {
    RECORD(mean_fwd);
    const int8_t *x = at(mem, r->x); // (n, ic)
    const struct output out = output(mem, r->y, r->mask, -128, 127, r->zy);
    if (trimtab_mean_wide(r, x, &out)) {
        return 0;
    }
    struct window all = { x, 1, r->n, r->ic, 0, 0, 0 };
    for (int32_t i = 0; i < r->ic; i++) { // less n * zx, a sum is at most 255 n: below 2^31 for 8 million positions
        trimtab_put_requant(&out, i, sub32(sum(&all, i), mul32(r->n, r->zx)), r->mult, r->shift);
    }
    return 0;
}
