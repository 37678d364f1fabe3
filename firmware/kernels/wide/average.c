// Averages: sums of columns, WIDTH channels at once.
#include "wide.h"

#if TRIMTAB_WIDE

#include "../taps.h"

// Sums of the columns from i on over the window's inputs; how many columns they are.
static int32_t window_sums(int32_t *sums, const int8_t *x, int32_t rows, int32_t cols, int32_t iw, int32_t c, int32_t i) {
    if (cols == iw) { // its rows follow each other
        return trimtab_column_sums(sums, x, rows * cols, c, i);
    }
    int32_t part[COLUMNS_MOST] = { 0 }, n = trimtab_column_sums(sums, x, 0, c, i);
    for (; rows > 0; rows--, x += iw * c) {
        trimtab_column_sums(part, x, cols, c, i);
        for (int32_t k = 0; k < COLUMNS_MOST; k++) {
            sums[k] += part[k];
        }
    }
    return n;
}

int32_t trimtab_avg_pool_wide(uint8_t *const *mem, const struct trimtab_avg_pool_fwd *r) {
    const struct trimtab_geometry *geo = &r->geometry;
    const int8_t *x = at(mem, r->x);
    int8_t *y = at(mem, r->y);
    int32_t c = geo->ic, sums[COLUMNS_MOST] = { 0 };
    for (int32_t position = 0; position < geo->oh * geo->ow; position++, y += c) {
        struct taps rows = taps(position / geo->ow, geo->sh, geo->pt, geo->ih, geo->kh);
        struct taps cols = taps(position % geo->ow, geo->sw, geo->pl, geo->iw, geo->kw);
        const int8_t *window = x + ((rows.origin + rows.first) * geo->iw + cols.origin + cols.first) * c;
        int32_t high = tap_count(rows), wide = tap_count(cols);
        for (int32_t i = 0; i < c;) {
            int32_t n = window_sums(sums, window, high, wide, geo->iw, c, i);
            for (int32_t k = 0; k < n; k++, i++) {
                y[i] = (int8_t)clamp(mean_away(sums[k], max32(high * wide, 1)), r->lo, r->hi);
            }
        }
    }
    return 1;
}

int32_t trimtab_mean_wide(const struct trimtab_mean_fwd *r, const int8_t *x, const struct output *out) {
    int32_t sums[COLUMNS_MOST];
    for (int32_t i = 0; i < r->ic;) {
        int32_t n = trimtab_column_sums(sums, x, r->n, r->ic, i);
        for (int32_t k = 0; k < n; k++, i++) {
            trimtab_put_requant(out, i, sums[k] - r->n * r->zx, r->mult, r->shift);
        }
    }
    return 1;
}

#endif
