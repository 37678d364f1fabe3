// Depthwise convolution, forward: a channel at a time, over a plane of words in scratch memory. Outputs may
// go where the channel lay, because its plane is complete before.
#pragma GCC optimize ("O2")
#include "plane.h"

#if TRIMTAB_PACKED

#define SUM_MOST(taps) ((uint32_t)(taps) * PRODUCT_MOST)

// Where the numbers of all channels lie.
struct channels {
    const int32_t *bias, *mult;
    const int8_t *shift, *x, *w; // w: where all weights are frozen, or null
    int32_t many, oc; // outputs of an input channel
};

static struct channels channels(uint8_t *const *mem, const struct trimtab_depthwise_fwd *r) {
    return (struct channels) { at(mem, r->bias), at(mem, r->mult), at(mem, r->shift), at(mem, r->x),
                               r->weights.k < 0 ? at(mem, r->weights.w) : 0, r->geometry.oc / r->geometry.ic,
                               r->geometry.oc };
}

static inline struct column column_of(const struct channels *all, uint8_t *const *mem,
    const struct trimtab_depthwise_fwd *r, int32_t o) {
    return all->w ? (struct column) { all->w + o, all->oc }
        : some_column(mem, &r->weights, r->nk, all->oc, o);
}

static inline const int8_t *input_of(const struct channels *all, int32_t o) {
    return all->x + (all->many == 1 ? o : o / all->many);
}

// -- 3x3 with stride 1: the plane holds x - zx between two columns of zeros, and then the sums

static void forward_slide(uint8_t *const *mem, const struct trimtab_depthwise_fwd *r,
    const struct output *out) {
    const struct trimtab_geometry *geo = &r->geometry;
    const struct channels all = channels(mem, r);
    int32_t *plane = at(mem, r->scratch), oc = geo->oc;
    struct slide_plan p = trimtab_slide_plan(plane, geo->ih, geo->iw, geo->pt, geo->pl, geo->ow);
    struct finish f;
    p.load.add = -r->zx;
    trimtab_finish_open(&f, out, oc, geo->ow, p.skip, geo->oh);
    f.bound = SUM_MOST(9);
    const struct share outputs = share_of(mem, OUTPUTS, oc);
    for (int32_t o = outputs.first; o < outputs.end; o++) {
        const struct column w = column_of(&all, mem, r, o);
        const struct channel c = { all.bias[o], all.mult[o], all.shift[o] };
        int32_t taps[9], *to = taps;
        const int8_t *tap = w.w;
        for (int32_t i = 3; i; i--) {
            *to++ = *tap;
            tap += w.step;
            *to++ = *tap;
            tap += w.step;
            *to++ = *tap;
            tap += w.step;
        }
        trimtab_slide(plane, input_of(&all, o), geo->ic, taps, &p);
        trimtab_finish(&f, p.first, o, c.bias, &c);
    }
}

// -- other kernels: words pack two rows, and pads hold the zero point. acc = bias - zx * sum w + sum x * w.
// Where both rows of a pair are pads, the pair is left out of both sums. With up to 8 x 7 taps, acc less bias
// is at most 56 * PRODUCT_MOST < 2^21.

#define PAIRS_MOST 4

struct tile_plan {
    tile_t tile;
    uint32_t *x; // (pairs of rows, pitch) first pair of row 0, which is a pad unless pt is 0
    int32_t *acc; // (oh, width)
    int32_t pitch, width; // words in a row of x and of accumulators
    // Words of x from an output row to the one below, and from a pair of kernel rows to the next.
    int32_t down, next;
    int32_t rows, pairs;
    uint8_t *sees; // (rows, 2) first pair that a row of outputs sees, and the one after the last
    int32_t first[PAIRS_MOST], end[PAIRS_MOST]; // output rows that see a pair of kernel rows
    int32_t words; // of scratch memory in all; INT32_MAX where no tile fits
};

static tile_t tile_of(const struct trimtab_geometry *geo) {
    static const struct {
        int8_t k, stride;
    } kinds[] = { { 3, 2 }, { 5, 1 }, { 5, 2 }, { 7, 1 }, { 7, 2 } };
    int32_t i = 0;
    while (i < 5 && (kinds[i].k != geo->kw || kinds[i].stride != geo->sw)) {
        i++;
    }
    switch (i) { // no table of addresses: a native module would have to relocate it
        case 0: return trimtab_tile3_2;
        case 1: return trimtab_tile5_1;
        case 2: return trimtab_tile5_2;
        case 3: return trimtab_tile7_1;
        case 4: return trimtab_tile7_2;
        default: return 0;
    }
}

static struct tile_plan tile_plan(uint32_t *scratch, const struct trimtab_geometry *geo) {
    struct tile_plan p;
    p.tile = tile_of(geo);
    p.words = INT32_MAX;
    if (!p.tile || geo->kh > 2 * PAIRS_MOST || geo->pt >= geo->kh || geo->pl >= geo->kw
        || max32(geo->ih, geo->oh) > PLANE_MOST || max32(geo->iw, geo->ow) > PLANE_MOST || geo->sh > 3) {
        return p;
    }
    int32_t above = geo->pt == 0; // the first image row has one above it
    p.pairs = (geo->kh + 1) / 2;
    p.width = (geo->ow + 3) & ~3;
    p.pitch = max32((p.width - 1) * geo->sw + geo->kw, geo->pl + geo->iw);
    int32_t rows = above + max32((geo->oh - 1) * geo->sh + 2 * p.pairs - 1, geo->pt + geo->ih);
    p.down = geo->sh * p.pitch;
    p.next = 2 * p.pitch;
    if (geo->sh == 2) { // every other pair is enough
        above = 0;
        rows = max32(geo->oh - 1 + p.pairs, (geo->pt + geo->ih + 1) / 2);
        p.down = p.next = p.pitch;
    }
    p.x = scratch + above * p.pitch;
    p.acc = (int32_t *)(scratch + rows * p.pitch);
    p.sees = (uint8_t *)(p.acc + p.width * geo->oh);
    p.words = rows * p.pitch + p.width * geo->oh + (geo->oh + 1) / 2;
    p.rows = geo->oh;
    for (int32_t j = 0; j < p.pairs; j++) {
        int32_t first = 0, end = geo->oh;
        while (first < end && first * geo->sh - geo->pt + 2 * j + 1 < 0) {
            first++;
        }
        while (end > first && (end - 1) * geo->sh - geo->pt + 2 * j >= geo->ih) {
            end--;
        }
        p.first[j] = first;
        p.end[j] = end;
    }
    return p;
}

// Notes which pairs of kernel rows each row of outputs sees.
static void note_pairs(const struct tile_plan *p) {
    for (int32_t oy = 0; oy < p->rows; oy++) {
        int32_t first = 0, end = p->pairs;
        while (first < end && oy >= p->end[end - 1]) {
            end--;
        }
        while (first < end && oy < p->first[first]) {
            first++;
        }
        p->sees[2 * oy] = (uint8_t)first;
        p->sees[2 * oy + 1] = (uint8_t)end;
    }
}

// to (pairs, kw) packs pairs of kernel rows, with zeros below the last row. before (pairs + 1): sums of all
// earlier pairs.
HOT static void pair_weights(uint32_t *to, int32_t *before, const struct column *w, int32_t kh, int32_t kw) {
    int32_t step = w->step, below = kw * step;
    const int8_t *p = w->w;
    int32_t sum = 0;
    *before++ = 0;
    for (; kh > 0; kh -= 2, p += below) {
        for (int32_t n = kw; n && kh > 1; n--, p += step) {
            int32_t upper = p[0], lower = p[below];
            *to++ = pack(lower, upper);
            sum += upper + lower;
        }
        for (int32_t n = kw; n && kh == 1; n--, p += step) {
            *to++ = (uint32_t)p[0] << 16;
            sum += p[0];
        }
        *before++ = sum;
    }
}

// Each row of acc (rows, width) begins with bias - zx * the weights that it will see.
HOT static void begin_sums(const struct tile_plan *p, int32_t bias, int32_t zx, const int32_t *before) {
    const uint8_t *sees = p->sees;
    int32_t *acc = p->acc, width = p->width;
    for (int32_t row = p->rows; row; row--, sees += 2) {
        int32_t start = sub32(bias, mul32(zx, before[sees[1]] - before[sees[0]]));
        for (int32_t n = width; n; n -= 4, acc += 4) {
            acc[0] = acc[1] = acc[2] = acc[3] = start;
        }
    }
}

// One row of the image as the upper one of its pairs or, `up` by 16 bits, as the lower one.
HOT static void load_row(uint32_t *to, const int8_t *x, const struct trimtab_geometry *geo, int32_t up,
    uint32_t other) {
    int32_t step = geo->ic;
    for (int32_t n = geo->iw; n; n--, x += step) {
        *to++ = (pack(*x, 0) << up) + other;
    }
}

// All pairs of the image; `pad` lies above and below it.
static void load_pairs(const struct tile_plan *p, const int8_t *x, const struct trimtab_geometry *geo,
    int32_t pad) {
    const struct pair_load load = { geo->iw, geo->ih, 4 * p->pitch, geo->iw * geo->ic, pad, geo->ic };
    uint32_t *to = p->x + geo->pl;
    if (geo->sh != 2) {
        trimtab_pair_load(to + (geo->pt - 1) * p->pitch, x, &load);
        return;
    }
    int32_t row = load.row_step, rows = geo->ih;
    to += (geo->pt >> 1) * p->pitch;
    if (geo->pt & 1) { // the first row is the lower one of its pair
        load_row(to, x, geo, 16, pack(pad, 0));
        to += p->pitch;
        x += row;
        rows--;
    }
    if (rows > 1) {
        const struct pair_rows all = { 4 * geo->iw, 4 * (p->pitch - geo->iw), rows >> 1, row, 2 * row };
        trimtab_pair_rows(to, x, geo->ic, &all);
        to += (rows >> 1) * p->pitch;
        x += (rows & ~1) * row;
    }
    if (rows & 1) {
        load_row(to, x, geo, 0, pack(0, pad));
    }
}

static void forward_tiles(uint8_t *const *mem, const struct trimtab_depthwise_fwd *r,
    const struct output *out, const struct tile_plan *p) {
    const struct trimtab_geometry *geo = &r->geometry;
    const struct channels all = channels(mem, r);
    uint32_t *scratch = at(mem, r->scratch), pad = pack(r->zx, r->zx);
    struct tiles tiles = { 4 * p->width, 4 * (p->down - p->width * geo->sw), 0 };
    struct finish f;
    trimtab_finish_open(&f, out, geo->oc, geo->ow, p->width - geo->ow, geo->oh);
    f.bound = SUM_MOST(geo->kh * geo->kw);
    fill_words(scratch, pad, (int32_t)((uint32_t *)p->acc - scratch));
    note_pairs(p);
    const struct share outputs = share_of(mem, OUTPUTS, geo->oc);
    for (int32_t o = outputs.first; o < outputs.end; o++) {
        const struct column w = column_of(&all, mem, r, o);
        const struct channel c = { all.bias[o], all.mult[o], all.shift[o] };
        uint32_t pairs[7 * PAIRS_MOST];
        int32_t before[PAIRS_MOST + 1];
        pair_weights(pairs, before, &w, geo->kh, geo->kw);
        begin_sums(p, c.bias, r->zx, before);
        load_pairs(p, input_of(&all, o), geo, r->zx);
        for (int32_t j = 0; j < p->pairs; j++) {
            tiles.rows = p->end[j] - p->first[j];
            if (tiles.rows) {
                p->tile(p->x + p->first[j] * p->down + j * p->next, p->acc + p->first[j] * p->width,
                    pairs + j * geo->kw, &tiles);
            }
        }
        trimtab_finish(&f, p->acc, o, 0, &c);
    }
}

static void open_mask(uint8_t *const *mem, const struct trimtab_geometry *geo, const struct output *out) {
    if (!is_shared(mem)) { // else it is open
        trimtab_mask_open(out, geo->oh * geo->ow * geo->oc);
    }
}

int32_t trimtab_depthwise_packed(uint8_t *const *mem, const struct trimtab_depthwise_fwd *r,
    const struct output *out) {
    const struct trimtab_geometry *geo = &r->geometry;
    uint32_t *scratch = at(mem, r->scratch);
    if (!scratch) {
        return 0;
    }
    if (trimtab_slides(geo, geo->ih, geo->iw, geo->pt, geo->pl, geo->oh, geo->ow, r->words)) {
        open_mask(mem, geo, out);
        forward_slide(mem, r, out);
        return 1;
    }
    const struct tile_plan p = tile_plan(scratch, geo);
    if (p.words > r->words) {
        return 0;
    }
    open_mask(mem, geo, out);
    forward_tiles(mem, r, out, &p);
    return 1;
}

#endif
