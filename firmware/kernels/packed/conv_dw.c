// The update of convolutions and dense layers: dw = sum over positions of g * x - zx * sum g. Columns of x,
// packed by tap and channel, are multiplied by rows of g; pads hold zx.
#pragma GCC optimize ("Os") // code lies in a board's RAM; time is spent in FAST loops and in assembly
#include "../taps.h"
#include "packed.h"

#if TRIMTAB_PACKED

#define MOST_CHANNELS 4096 // limits that keep every size below 2^31
#define MOST_TAPS 15
#define MOST_POSITIONS 32768

// A record with its pointers, and how the scratch memory is divided.
struct correlation {
    const struct trimtab_conv_dw *r;
    const struct trimtab_geometry *geo;
    const int8_t *gy, *x; // (oh, ow, oc), (ih, iw, ic)
    const uint16_t *kept;
    const struct update *up;
    int8_t *bytes; // (row * 2) one row before it is packed
    uint32_t *g, *columns; // (row), or (oc, row) if all are held; (block / 2, row / 2, 2 columns, 2)
    int32_t *start, *dw; // -zx * sum g: one, or (oc); (block)
    int32_t row, block, held, positions; // words of a row, columns at once, whether all g are held
};

// Row `to` of g is the errors of output o. |zx * sum| <= 128 * 127 * 32768 < 2^30, and |dw| <= 127 * 255 *
// 32768 < 2^30.
static void pack_errors(const struct correlation *c, int32_t o, int32_t to) {
    int32_t sum = trimtab_gather_row_w(c->gy + o, c->geo->oc, c->g + to * c->row, c->positions);
    c->start[to] = -c->r->zx * sum;
}

FAST static int8_t *copy_strided(int8_t *to, const int8_t *from, int32_t n, int32_t step) {
    for (; n; n--, from += step) {
        *to++ = *from;
    }
    return to;
}

static int8_t *fill(int8_t *to, int32_t value, int32_t n) {
    for (; n > 0; n--) {
        *to++ = (int8_t)value;
        NO_LIBRARY_CALL;
    }
    return to;
}

// What all outputs see through one tap of one channel: a column of `positions` inputs.
static void pack_column(const struct correlation *c, int32_t column, uint32_t *to) {
    const struct trimtab_geometry *geo = c->geo;
    int32_t tap = column / c->r->nk, i = column - tap * c->r->nk, ky = tap / geo->kw, kx = tap - ky * geo->kw;
    const int8_t *x = c->x + (c->kept ? c->kept[i] : i);
    struct span rows = span(ky, geo->sh, geo->pt, geo->ih, geo->oh);
    struct span cols = span(kx, geo->sw, geo->pl, geo->iw, geo->ow);
    int32_t step = geo->sw * geo->ic, pitch = geo->sh * geo->iw * geo->ic;
    x += ((rows.first * geo->sh - geo->pt + ky) * geo->iw + cols.first * geo->sw - geo->pl + kx) * geo->ic;
    if (rows.count == geo->oh && cols.count == geo->ow && pitch == geo->ow * step) {
        trimtab_gather_row_x(x, step, to, c->positions, 8);
        return;
    }
    if (!rows.count || !cols.count) { // then `first` may lie beyond the last output
        rows = (struct span) { geo->oh, 0 };
    }
    int8_t *p = fill(c->bytes, c->r->zx, rows.first * geo->ow);
    for (int32_t y = rows.count; y; y--, x += pitch) {
        p = fill(p, c->r->zx, cols.first);
        p = copy_strided(p, x, cols.count, step);
        p = fill(p, c->r->zx, geo->ow - cols.first - cols.count);
    }
    fill(p, c->r->zx, (geo->oh - rows.first - rows.count) * geo->ow);
    trimtab_gather_row_x(c->bytes, 1, to, c->positions, 8);
}

// The fast loop takes planes with 8-bit residuals. Positions are few enough that |dw| / 2^pre <= 2^22, and m
// has 8 bits: t is below 2^30, and with half of 2^31 added below 2^31. The same holds for dw and half of
// 2^pre.
static int32_t update_fast(const struct correlation *c, int32_t j, int32_t o, int32_t n) {
    const struct update *up = c->up;
    struct update_row p;
    p.n = n;
    p.m = rsh(mul32(up->u[o] & 255, up->rate), 8);
    p.shift = add32(up->base, up->u[o] >> 8);
    p.pre = up->pre;
    if (!up->r || up->bits != 8 || up->acc || p.shift < 0 || p.shift > 31 || p.m < 0 || p.m > 255
        || c->positions * (255 * 127) >> p.pre > 1 << 22) {
        return 0;
    }
    p.pre_half = p.pre ? 1 << (p.pre - 1) : 0;
    p.half = p.shift ? 1 << (p.shift - 1) : 0;
    trimtab_update_row(c->dw, up->k + j, up->r + j, &p);
    return 1;
}

static void update(const struct correlation *c, int32_t j, int32_t o, int32_t n) {
    if (!update_fast(c, j, o, n)) {
        for (int32_t i = 0; i < n; i++) {
            trimtab_update(c->up, j + i, o, c->dw[i]);
        }
    }
}

// Divides the scratch memory: all rows of g are held if that leaves room for 4 columns. Returns columns at
// once.
static int32_t divide_dw(struct correlation *c, uint32_t *scratch, int32_t words, int32_t outputs,
    int32_t columns) {
    words -= c->row / 2;
    c->held = columns > 4 && words / (c->row + 1) >= outputs + 4;
    int32_t rows = c->held ? outputs : 1;
    c->block = min32(words / (c->row + 1) - rows, columns + 1) & ~1;
    c->bytes = (int8_t *)scratch;
    c->g = scratch + c->row / 2;
    c->start = (int32_t *)(c->g + rows * c->row);
    c->dw = c->start + rows;
    c->columns = (uint32_t *)(c->dw + c->block);
    return c->block;
}

int32_t trimtab_conv_dw_packed(uint8_t *const *mem, const struct trimtab_conv_dw *r,
    const struct update *up) {
    const struct trimtab_geometry *geo = &r->geometry;
    struct correlation c = { r, geo, at(mem, r->gy), at(mem, r->x), at(mem, r->kept), up, 0, 0, 0, 0, 0, 0,
                             0, 0, geo->oh * geo->ow };
    uint32_t *scratch = at(mem, r->scratch);
    if (!scratch || up->rng || geo->kh > MOST_TAPS || geo->kw > MOST_TAPS || c.positions < 4
        || c.positions > MOST_POSITIONS || r->nk > MOST_CHANNELS || !r->nk) {
        return 0; // a generator draws for the weights in another order
    }
    int32_t columns = geo->kh * geo->kw * r->nk;
    c.row = row_words(c.positions);
    const struct share outputs = share_of(mem, OUTPUTS, geo->oc), mine = share_of(mem, COLUMNS, columns);
    if (divide_dw(&c, scratch, r->words, outputs.end - outputs.first, mine.end - mine.first) < 2) {
        return 0;
    }
    for (int32_t o = outputs.first; o < outputs.end && c.held; o++) {
        pack_errors(&c, o, o - outputs.first);
    }
    for (int32_t first = mine.first; first < mine.end; first += c.block) {
        int32_t n = min32(c.block, mine.end - first);
        for (int32_t i = 0; i < n; i++) {
            pack_column(&c, first + i, c.columns + (i >> 1) * 2 * c.row + (i & 1) * 2);
        }
        for (int32_t o = outputs.first; o < outputs.end; o++) {
            int32_t place = c.held ? o - outputs.first : 0;
            if (!c.held) {
                pack_errors(&c, o, 0);
            }
            trimtab_dot(c.columns, c.g + place * c.row, c.g + (place + 1) * c.row, c.dw, (n + 1) >> 1,
                c.start[place]);
            update(&c, o * columns + first, o, n);
        }
    }
    return 1;
}

#endif
