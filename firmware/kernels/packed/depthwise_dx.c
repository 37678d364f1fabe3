// The error of the input of depthwise convolutions: d = rsh(gy * m, m_shift) as words, with the weights the
// other way round. A slide takes 3x3 with stride 1. For other kernels each phase adds one kernel row after
// the other, between columns of zeros. The host chooses m_shift so that every sum is at most 2^30.
#pragma GCC optimize ("O2")
#include "../error.h"
#include "plane.h"

#if TRIMTAB_PACKED

static void errors_slide(uint8_t *const *mem, const struct trimtab_depthwise_dx *r, struct error *e) {
    const struct trimtab_geometry *geo = &r->geometry;
    const int16_t *m = at(mem, r->m);
    int32_t *plane = at(mem, r->scratch);
    struct slide_plan p = trimtab_slide_plan(plane, geo->oh, geo->ow, 2 - geo->pt, 2 - geo->pl, geo->iw);
    const struct grid grid = { geo->iw, p.skip, geo->ih, geo->ic, 0 };
    p.load.shift = r->m_shift;
    p.load.add = r->m_shift ? 1 << (r->m_shift - 1) : 0;
    const struct share inputs = share_of(mem, OUTPUTS, geo->ic); // of the error
    for (int32_t i = inputs.first; i < inputs.end; i++) {
        const struct column w = some_column(mem, &r->weights, r->nk, geo->oc, i);
        int32_t taps[9];
        const int8_t *tap = w.w;
        for (int32_t t = 8; t >= 0; t--, tap += w.step) {
            taps[t] = *tap;
        }
        p.load.mul = m[i];
        trimtab_slide(plane, (const int8_t *)at(mem, r->gy) + i, geo->oc, taps, &p);
        trimtab_error_grid(e, i, p.first, &grid);
    }
}

#define ROW_MOST 7 // taps of a phase, along either axis
#define PHASES_MOST 4

struct row_plan {
    int32_t k; // width of the loop: 5 or 7
    int32_t left, pitch; // words of zeros before a row of d; words from row to row
    int32_t sums; // words
    int32_t phases;
    struct phase phase[PHASES_MOST]; // that have inputs
};

// k is 0 where no loop fits.
static void row_plan(struct row_plan *p, const struct trimtab_geometry *geo) {
    p->k = p->left = p->sums = p->phases = 0;
    p->pitch = geo->ow;
    if (geo->sh > geo->kh || geo->sw > geo->kw || geo->sh * geo->sw > PHASES_MOST || geo->pl >= geo->kw
        || geo->sh * ROW_MOST < geo->kh || geo->sw * ROW_MOST < geo->kw
        || max32(geo->ih, geo->oh) > PLANE_MOST || max32(geo->iw, geo->ow) > PLANE_MOST) {
        return;
    }
    p->k = every(0, geo->kw, geo->sw) > 5 ? ROW_MOST : 5;
    for (int32_t i = 0; i < geo->sh * geo->sw; i++) {
        const struct phase f = trimtab_phase(geo, i / geo->sw, i % geo->sw);
        int32_t width = (f.wide + 3) & ~3;
        p->left = max32(p->left, f.cols - 1 - f.ox);
        p->pitch = max32(p->pitch, width + p->k + f.ox - f.cols);
        p->sums = max32(p->sums, width * f.high);
        if (f.wide && f.high) {
            p->phase[p->phases++] = f;
        }
    }
    p->pitch += p->left;
}

// to (rows, k) = the weights of a phase, last row and column first, filled up with zeros.
static void flipped(uint32_t *to, const struct column *w, const struct trimtab_geometry *geo,
    const struct phase *f, int32_t k) {
    int32_t step = geo->sw * w->step, down = geo->sh * geo->kw * w->step;
    const int8_t *row = w->w + (f->ky * geo->kw + f->kx) * w->step;
    to += (f->rows - 1) * k;
    for (int32_t y = f->rows; y; y--, to -= k, row += down) {
        const int8_t *p = row;
        for (int32_t x = k - 1; x >= f->cols; x--) {
            to[x] = 0;
            NO_LIBRARY_CALL;
        }
        for (int32_t x = f->cols - 1; x >= 0; x--, p += step) {
            to[x] = (uint32_t)(int32_t)*p;
        }
    }
}

// sums (high, width) += d (oh, pitch) times taps (rows, k), one kernel row after the other.
static void phase_errors(const struct trimtab_geometry *geo, const struct row_plan *p, const struct phase *f,
    const uint32_t *taps, const uint32_t *d, int32_t *sums) {
    int32_t width = (f->wide + 3) & ~3, end = geo->oh - (f->oy - f->rows + 1), first = geo->oh - end;
    struct tiles tiles = { 4 * width, 4 * (p->pitch - width), 0 };
    d += f->ox - f->cols + 1 + first * p->pitch;
    for (int32_t b = f->rows; b; b--, taps += p->k, first++, end--, d += p->pitch) { // d of output row 0
        int32_t skip = max32(-first, 0);
        tiles.rows = min32(f->high, end) - skip;
        if (tiles.rows > 0) {
            (p->k == 5 ? trimtab_row5 : trimtab_row7)(
                d + skip * p->pitch, sums + skip * width, taps, &tiles);
        }
    }
}

static void errors_rows(uint8_t *const *mem, const struct trimtab_depthwise_dx *r, const struct row_plan *p,
    struct error *e) {
    const struct trimtab_geometry *geo = &r->geometry;
    const int16_t *m = at(mem, r->m);
    uint32_t *plane = at(mem, r->scratch), *d = plane + p->left;
    int32_t *sums = (int32_t *)(plane + geo->oh * p->pitch), step = geo->sw * geo->ic;
    struct load load = { 4 * geo->ow, 4 * (p->pitch - geo->ow), geo->oh, 0, r->m_shift,
                         r->m_shift ? 1 << (r->m_shift - 1) : 0 };
    fill_words(plane, 0, geo->oh * p->pitch);
    const struct share inputs = share_of(mem, OUTPUTS, geo->ic); // of the error
    for (int32_t i = inputs.first; i < inputs.end; i++) {
        const struct column w = some_column(mem, &r->weights, r->nk, geo->oc, i);
        load.mul = m[i];
        trimtab_plane_load((int32_t *)d, (const int8_t *)at(mem, r->gy) + i, geo->oc, &load);
        for (const struct phase *f = p->phase; f < p->phase + p->phases; f++) {
            uint32_t taps[ROW_MOST * ROW_MOST];
            const struct grid grid = { f->wide, -f->wide & 3, f->high, step,
                                       geo->sh * geo->iw * geo->ic - f->wide * step };
            flipped(taps, &w, geo, f, p->k);
            fill_words((uint32_t *)sums, 0, (grid.width + grid.skip) * f->high);
            phase_errors(geo, p, f, taps, d, sums);
            trimtab_error_grid(e, (f->iy * geo->iw + f->ix) * geo->ic + i, sums, &grid);
        }
    }
}

int32_t trimtab_depthwise_dx_packed(uint8_t *const *mem, const struct trimtab_depthwise_dx *r, int32_t exp) {
    const struct trimtab_geometry *geo = &r->geometry;
    if (r->scratch < 0 || geo->oc != geo->ic || r->m_shift < SHIFT_LEAST) {
        return 0;
    }
    int32_t sliding = trimtab_slides(geo, geo->oh, geo->ow, 2 - geo->pt, 2 - geo->pl, geo->ih, geo->iw,
        r->words);
    struct row_plan p;
    row_plan(&p, geo);
    if (!sliding && (!p.k || geo->oh * p.pitch + p.sums > r->words)) {
        return 0;
    }
    struct error e;
    trimtab_error_open(&e, mem, &r->error_out, exp);
    if (sliding) {
        errors_slide(mem, r, &e);
    } else {
        errors_rows(mem, r, &p, &e);
    }
    trimtab_error_close(&e);
    return 1;
}

#endif
