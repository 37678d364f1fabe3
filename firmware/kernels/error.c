// Writes one error tensor in one pass, because the shift is known before: it comes from the tracker, which
// holds the largest exponent that was seen, relative to the sample's head error, in 1/256 octave. The tracker
// then rises to this sample's maximum or decays by 4/256.
#include "error.h"
#include "packed/packed.h"
#include "taps.h"
#include "wide/wide.h"

void trimtab_error_open(struct error *e, uint8_t *const *mem, const struct trimtab_error_out *r,
    int32_t exp) {
    e->g = at(mem, r->g);
    e->mask = at(mem, r->mask);
    e->add = r->add_exp < 0 ? 0 : at(mem, r->add);
    e->track = at(mem, r->track);
    e->mul = r->add_mul;
    e->down = e->up = 0;
    if (e->add) {
        // with_addend() gives |addend| <= 127 * 32768 / 128 = 32,512, and 14 bits up that is below 2^29
        int32_t gap = sub32(add32(*(const int32_t *)at(mem, r->add_exp), r->add_shift + 7), exp);
        e->down = gap > 14 ? gap - 14 : 0;
        e->up = gap - e->down;
        exp = add32(exp, e->down);
    }
    e->base = sub32(exp, *(const int32_t *)at(mem, r->head_exp));
    e->shift = sub32((*e->track + 255) >> 8, e->base);
    e->max = 0;
    *(int32_t *)at(mem, r->exp) = add32(exp, e->shift);
}

// Sum v, of at most 2^30, with the addend of element i: below 2^30 + 2^29.
static int32_t with_addend(const struct error *e, int32_t i, int32_t v) {
    int32_t t = rsh(mul32(e->add[i], e->mul), 7);
    t = e->up >= 0 ? mul32(t, 1 << e->up) : rsh(t, e->up < -30 ? 30 : -e->up);
    return add32(rsh(v, e->down), t);
}

// hide() of elements whose bits all lie at one place of their bytes.
HOT static void hide_column(const uint8_t *mask, int32_t bit, int32_t *sums, const struct grid *grid) {
    int32_t step = grid->step >> 3, next = grid->next >> 3, width = grid->width, skip = grid->skip;
    for (int32_t row = grid->rows; row; row--, sums += skip, mask += next) {
        for (int32_t *end = sums + width; sums < end; sums++, mask += step) {
            if (!(*mask & bit)) {
                *sums = 0;
            }
        }
    }
}

// hide() of four neighbours in a row, whose bits lie in one byte.
HOT static void hide_fours(const uint8_t *mask, int32_t i, int32_t *sums, const struct grid *grid) {
    int32_t next = 4 + grid->next;
    for (int32_t *end = sums + 4 * grid->rows; sums < end; sums += 4, i += next) {
        uint32_t bits = (uint32_t)mask[i >> 3] << (28 - (i & 4)); // the fourth one's on top
        if (!(bits & 1u << 31)) {
            sums[3] = 0;
        }
        if (!(bits & 1u << 30)) {
            sums[2] = 0;
        }
        if (!(bits & 1u << 29)) {
            sums[1] = 0;
        }
        if (!(bits & 1u << 28)) {
            sums[0] = 0;
        }
    }
}

// Clears the sums of elements that the producer's clamp hid: its output did not move with them.
HOT static void hide(const struct error *e, int32_t i, int32_t *sums, const struct grid *grid) {
    const uint8_t *mask = e->mask;
    if (((grid->step | grid->next) & 7) == 0) {
        hide_column(mask + (i >> 3), 1 << (i & 7), sums, grid);
        return;
    }
    if (grid->width == 4 && grid->skip == 0 && grid->step == 1 && ((i | grid->next) & 3) == 0) {
        hide_fours(mask, i, sums, grid);
        return;
    }
    for (int32_t row = grid->rows; row; row--, sums += grid->skip, i += grid->next) {
        for (int32_t n = grid->width; n; n--, sums++, i += grid->step) {
            if (!mask_bit(mask, i)) {
                *sums = 0;
            }
        }
    }
}

// Adds the addends to the sums.
HOT static void add_waiting(const struct error *e, int32_t i, int32_t *sums, const struct grid *grid) {
    for (int32_t row = grid->rows; row; row--, sums += grid->skip, i += grid->next) {
        for (int32_t n = grid->width; n; n--, sums++, i += grid->step) {
            *sums = with_addend(e, i, *sums);
        }
    }
}

// Any shift, and saturation either way.
HOT static void round_slowly(struct error *e, int32_t i, const int32_t *sums, const struct grid *grid) {
    uint32_t max = e->max;
    for (int32_t row = grid->rows; row; row--, sums += grid->skip, i += grid->next) {
        for (int32_t n = grid->width; n; n--, i += grid->step) {
            int32_t v = *sums++;
            if (magnitude(v) > max) {
                max = magnitude(v);
            }
            e->g[i] = (int8_t)trimtab_shifted(v, e->shift, 127);
        }
    }
    e->max = max;
}

#if TRIMTAB_PACKED

// The packed loop adds half of 2^shift to a sum: with shifts below 31 that is at most 2^30 + 2^29 + 2^29 - 1
// < 2^31. It saturates only sums of `limit` and more.
static int32_t round_quickly(struct error *e, int32_t start, const int32_t *sums, const struct grid *grid) {
    if (e->shift < 0 || e->shift >= 31) {
        return 0;
    }
    const struct round p = { e->shift ? 1 << (e->shift - 1) : 0, e->shift, e->max,
                             e->shift < 24 ? 127u << e->shift : 1u << 30, grid->step, 4 * grid->width,
                             4 * grid->skip, grid->rows, grid->next };
    e->max = trimtab_round(sums, e->g + start, &p);
    return 1;
}

#else

#define round_quickly(e, start, sums, grid) 0

#endif

void trimtab_error_grid(struct error *e, int32_t start, int32_t *sums, const struct grid *grid) {
    if (trimtab_error_grid_wide(e, start, sums, grid)) {
        return;
    }
    if (e->add) {
        add_waiting(e, start, sums, grid);
    }
    if (e->mask) {
        hide(e, start, sums, grid);
    }
    if (round_quickly(e, start, sums, grid)) {
        return;
    }
    round_slowly(e, start, sums, grid);
}

void trimtab_error_row(struct error *e, int32_t start, int32_t *sums, int32_t n) {
    const struct grid grid = { n, 0, 1, 1, 0 };
    trimtab_error_grid(e, start, sums, &grid);
}

void trimtab_error_close(const struct error *e) {
    if (e->max) {
        int32_t seen = clamp(add32(e->base, int8_shift(e->max)), -1000, 1000) * 256;
        *e->track = (int16_t)clamp(seen > *e->track ? seen : *e->track - 4, -32000, 32000);
    }
}

void trimtab_error_windows(uint8_t *const *mem, const struct trimtab_error_out *out,
    const struct trimtab_geometry *geo, int32_t *row, int32_t exp, spread_t spread, const void *record) {
    struct error e;
    trimtab_error_open(&e, mem, out, exp);
    for (int32_t iy = 0; iy < geo->ih; iy++) {
        struct back_taps rows = back_taps(iy, geo->sh, geo->pt, geo->oh);
        for (int32_t ix = 0; ix < geo->iw; ix++) {
            struct back_taps cols = back_taps(ix, geo->sw, geo->pl, geo->ow);
            for (int32_t i = 0; i < geo->ic; i++) {
                row[i] = 0;
                NO_LIBRARY_CALL;
            }
            for (int32_t ky = rows.first, oy = rows.o; ky < geo->kh && oy >= 0; ky += geo->sh, oy--) {
                for (int32_t kx = cols.first, ox = cols.o; kx < geo->kw && ox >= 0; kx += geo->sw, ox--) {
                    spread(record, mem, row, oy * geo->ow + ox, ky, kx);
                }
            }
            trimtab_error_row(&e, (iy * geo->iw + ix) * geo->ic, row, geo->ic);
        }
    }
    trimtab_error_close(&e);
}
