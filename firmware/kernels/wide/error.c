// Error tensors and sums of biases: short vector loops over rows.
#include "wide.h"

#if TRIMTAB_WIDE

#include "vector.h"

// sums (n) at the common exponent, plus the addend's part: |add * mul| <= 2^22.
static void join(const struct error *e, const int8_t *add, int32_t *sums, int32_t n) {
    int32_t up = max32(e->up, 0), down = e->up < 0 ? min32(-e->up, 30) : 0, mul = e->mul;
    int32_t half = down ? 1 << (down - 1) : 0;
    if (e->down == 0) {
        for (int32_t k = 0; k < n; k++) {
            int32_t t = (add[k] * mul + 64) >> 7;
            sums[k] = add32(sums[k], (t + half) >> down << up);
        }
        return;
    }
    for (int32_t k = 0; k < n; k++) {
        int32_t t = (add[k] * mul + 64) >> 7;
        sums[k] = add32(rsh(sums[k], e->down), (t + half) >> down << up);
    }
}

// The first sums, LANES at a time, while mask bits come in whole bytes; how many they were.
static int32_t put_lanes(struct error *e, int32_t i, const int32_t *sums, int32_t n) {
    const vec half = all(e->shift ? 1 : 0);
    const int32_t before = e->shift ? e->shift - 1 : 0;
    vec order, max = { 0 };
    int32_t k = 0;
    for (int j = 0; j < LANES; j++) {
        order[j] = j;
    }
    for (; k + LANES <= n; k += LANES) {
        vec v = *(const vec_at *)(sums + k);
        if (e->mask) {
            v &= -((all(e->mask[(i + k) >> 3] >> ((i + k) & 7)) >> order) & 1);
        }
        vec sign = v >> 31;
        max = most(max, (v ^ sign) - sign); // below 2^30, so there is no largest negative number
        vec y = (v >> e->shift) + (v >> before & half);
        y = least(most(y, all(-127)), all(127));
        bytes b = narrow(y, y);
        memcpy(e->g + i + k, &b, LANES);
    }
    for (int j = 0; j < LANES; j++) {
        e->max = (uint32_t)max[j] > e->max ? (uint32_t)max[j] : e->max;
    }
    return k;
}

void trimtab_error_wide(struct error *e, int32_t i, int32_t *sums, int32_t n) {
    int32_t k = 0;
    if (e->add) {
        join(e, e->add + i, sums, n);
    }
    if (e->shift >= 0 && e->shift < 32 && !(e->mask && i % LANES)) {
        k = put_lanes(e, i, sums, n);
    }
    for (; k < n; k++) {
        int32_t v = e->mask && !mask_bit(e->mask, i + k) ? 0 : sums[k];
        e->max = magnitude(v) > e->max ? magnitude(v) : e->max;
        e->g[i + k] = (int8_t)trimtab_shifted(v, e->shift, 127);
    }
}

int32_t trimtab_error_grid_wide(struct error *e, int32_t start, int32_t *sums, const struct grid *grid) {
    if (grid->step != 1) {
        return 0;
    }
    for (int32_t row = grid->rows; row; row--, sums += grid->width + grid->skip, start += grid->width + grid->next) {
        trimtab_error_wide(e, start, sums, grid->width);
    }
    return 1;
}

#define MOST_ROWS 255 // rows of int8 whose sums stay within 16 bits: 255 * 128 < 2^15

// Columns o .. o + WIDTH of all rows.
int32_t trimtab_column_sums(int32_t *sums, const int8_t *g, int32_t n, int32_t oc, int32_t o) {
    int32_t width = min32(WIDTH, oc - o);
    g += o;
    if (width < WIDTH) {
        memset(sums, 0, 4 * WIDTH);
        for (; n; n--, g += oc) {
            for (int32_t i = 0; i < width; i++) {
                sums[i] += g[i];
            }
        }
        return width;
    }
    vec low = { 0 }, high = { 0 };
    while (n) {
        terms s = { 0 };
        int32_t rows = min32(n, MOST_ROWS);
        n -= rows;
        for (; rows; rows--, g += oc) {
            s += wide(*(const bytes_at *)g);
        }
        low = madd(low, low_pairs(s, (terms) { 0 }), low_pairs((terms) { 0 } + 1, (terms) { 0 }));
        high = madd(high, high_pairs(s, (terms) { 0 }), low_pairs((terms) { 0 } + 1, (terms) { 0 }));
    }
    vec all_sums[2] = { low, high };
    in_order(all_sums);
    memcpy(sums, all_sums, 4 * WIDTH);
    return width;
}

#endif
