// Convolution and dense layers, forward. The inputs of each position become a row of bytes, in which pads
// hold the zero point. Rows are packed, and every output is a product of two rows: acc = bias - zx * sum w +
// sum x * w.
#include "../taps.h"
#include "packed.h"

#if TRIMTAB_PACKED

#define MOST_CHANNELS 4096 // limits that keep every size below 2^31
#define MOST_TAPS 15
#define MOST_TERMS 32768 // of a product of rows: PRODUCT_MOST times as many stays below 2^30

HOT static void copy_bytes(int8_t *to, const int8_t *from, int32_t n) {
    for (int32_t i = n - 1; i >= 0; i--) {
        to[i] = from[i];
        NO_LIBRARY_CALL;
    }
}

static void fill_bytes(int8_t *to, int32_t value, int32_t n) {
    for (int32_t i = 0; i < n; i++) {
        to[i] = (int8_t)value;
        NO_LIBRARY_CALL;
    }
}

FAST static void copy_rows(int8_t *to, const int8_t *from, int32_t n, int32_t rows, int32_t to_pitch,
    int32_t from_pitch) {
    if (((int32_t)(uintptr_t)from | (int32_t)(uintptr_t)to | n | to_pitch | from_pitch) & 3) {
        for (; rows; rows--, to += to_pitch, from += from_pitch) {
            for (int32_t i = n - 1; i >= 0; i--) {
                to[i] = from[i];
                NO_LIBRARY_CALL;
            }
        }
        return;
    }
    for (; rows; rows--, to += to_pitch, from += from_pitch) {
        for (int32_t i = n - 4; i >= 0; i -= 4) {
            *(word_t *)(to + i) = *(const word_t *)(from + i);
            NO_LIBRARY_CALL;
        }
    }
}

// The inputs of output (., ox) as bytes (kh, kw, ic): in `row`, unless x has them side by side. x: the first
// row of input.
static const int8_t *patch(int8_t *row, const int8_t *x, const struct trimtab_geometry *geo, struct taps rows,
    int32_t ox, int32_t zx) {
    struct taps cols = taps(ox, geo->sw, geo->pl, geo->iw, geo->kw);
    int32_t ic = geo->ic, pitch = geo->kw * ic, n = tap_count(cols) * ic, high = tap_count(rows);
    x += (cols.origin + cols.first) * ic;
    if (n < pitch || high < geo->kh) {
        fill_bytes(row, zx, geo->kh * pitch);
    } else if (geo->kh == 1) {
        return x;
    }
    if (n) {
        copy_rows(row + rows.first * pitch + cols.first * ic, x, n, high, pitch, geo->iw * ic);
    }
    return row;
}

struct rows { // of weights
    const int8_t *w, *k; // frozen and trained, or null
    const uint16_t *kept;
    int32_t taps, ic, nk;
};

static struct rows rows_of(uint8_t *const *mem, const struct trimtab_weights *r,
    const struct trimtab_geometry *geo, int32_t nk) {
    return (struct rows) { at(mem, r->w), at(mem, r->k), at(mem, r->kept), geo->kh * geo->kw, geo->ic, nk };
}

// The sums of frozen and trained weights of output o, within int8: row (kh, kw, ic).
static const int8_t *merged_row(int8_t *row, const struct rows *r, int32_t o) {
    int32_t size = r->taps * r->ic;
    const int8_t *k = r->k + o * r->taps * r->nk;
    if (r->w) {
        copy_bytes(row, r->w + o * size, size);
    } else {
        fill_bytes(row, 0, size);
    }
    int8_t *to = row;
    for (int32_t t = r->taps; t; t--, to += r->ic) {
        for (int32_t i = 0; i < r->nk; i++) {
            int8_t *sum = to + (r->kept ? r->kept[i] : i);
            *sum = (int8_t)(*sum + *k++);
        }
    }
    return row;
}

// The weights of output o as bytes (kh, kw, ic): in `row`, unless one plane has them all.
static inline const int8_t *weight_row(int8_t *row, const struct rows *r, int32_t o, int32_t size) {
    return !r->k ? r->w + o * size : !r->w && r->nk == r->ic ? r->k + o * size : merged_row(row, r, o);
}

// How the scratch memory is divided, in this order.
struct packed {
    int8_t *bytes; // (row * 2) one row before it is packed
    uint32_t *w; // (row), or (oc, row) if all are held
    int32_t *start; // accumulators before the first product: one, or (oc)
    int32_t *acc; // (block)
    uint32_t *x; // (block / 2, row / 2, 2 positions, 2)
    int32_t row, block, held; // words of a row, positions at once, whether all weights are held
};

#define CALLS 50 // what an output costs in each block, and to pack its weights besides: size + PACKING
#define PACKING 25

// Holds all weights if that costs less than to pack them again for each of fewer, larger blocks.
static struct packed divide(uint32_t *scratch, int32_t words, int32_t size, int32_t oc, int32_t positions) {
    struct packed p;
    p.row = row_words(size);
    words -= p.row / 2;
    int32_t rows = words / (p.row + 1);
    int32_t many = min32(rows - 1, positions + 1), few = min32(rows - oc, positions + 1) & ~1;
    p.held = few >= 2 && few < positions && min32(many, MOST_TERMS) * CALLS
        <= min32(few, MOST_TERMS) * (CALLS + PACKING + min32(size, MOST_TERMS / 4));
    int32_t outputs = p.held ? oc : 1;
    p.block = (p.held ? few : many) & ~1;
    p.bytes = (int8_t *)scratch;
    p.w = scratch + p.row / 2;
    p.start = (int32_t *)(p.w + outputs * p.row);
    p.acc = p.start + outputs;
    p.x = (uint32_t *)(p.acc + p.block);
    return p;
}

// -- forward

struct layer {
    const struct trimtab_conv_fwd *r;
    const int32_t *bias, *mult;
    const int8_t *x, *shift;
    int32_t size; // of a row
    struct share outputs;
    struct rows rows;
    struct packed p;
};

// |zx * sum w| <= 128 * 127 * 32768 < 2^30; the sum of bias and products is what the host bounds.
static void pack_weights(const struct layer *c, int32_t o, uint32_t *to, int32_t *start) {
    const int8_t *w = weight_row(c->p.bytes, &c->rows, o, c->size);
    *start = sub32(c->bias[o], mul32(c->r->zx, trimtab_gather_row_w(w, 1, to, c->size)));
}

// Packs the inputs of positions first .. first + n.
FAST static void pack_positions(const struct layer *c, int32_t first, int32_t n) {
    const struct packed *p = &c->p;
    const struct trimtab_geometry *geo = &c->r->geometry;
    int32_t oy = first / geo->ow, ox = first - oy * geo->ow, pitch = geo->kw * geo->ic;
    uint32_t *to = p->x;
    for (int32_t i = 0; i < n; oy++, ox = 0) {
        struct taps rows = taps(oy, geo->sh, geo->pt, geo->ih, geo->kh);
        const int8_t *x = c->x + (rows.origin + rows.first) * geo->iw * geo->ic;
        for (; ox < geo->ow && i < n; ox++, to += i++ & 1 ? 2 * p->row - 2 : 2) {
            int32_t left = ox * geo->sw - geo->pl, inside = left >= 0 && left + geo->kw <= geo->iw;
            const int8_t *row = p->bytes;
            if (inside && tap_count(rows) == geo->kh && geo->kh > 1) { // as nearly everywhere
                copy_rows(p->bytes, x + left * geo->ic, pitch, geo->kh, pitch, geo->iw * geo->ic);
            } else {
                row = patch(p->bytes, x, geo, rows, ox, c->r->zx);
            }
            if (row == p->bytes) { // what fills the last word meets weights of 0
                trimtab_pack_x(row, to, p->row >> 1, 8);
            } else {
                trimtab_gather_row_x(row, 1, to, c->size, 8);
            }
        }
    }
}

// Writes all outputs of n positions, from number `first` on, whose rows are packed.
static void put_positions(const struct layer *c, struct finish *f, int32_t first, int32_t n) {
    const struct packed *p = &c->p;
    uint32_t *w = p->w;
    int32_t *start = p->start, oc = c->r->geometry.oc;
    for (int32_t o = c->outputs.first; o < c->outputs.end; o++) {
        if (!p->held) {
            pack_weights(c, o, w, start);
        }
        trimtab_dot(p->x, w, w + p->row, p->acc, (n + 1) >> 1, *start);
        const struct channel channel = { c->bias[o], c->mult[o], c->shift[o] };
        trimtab_finish(f, p->acc, first * oc + o, 0, &channel);
        if (p->held) {
            w += p->row;
            start++;
        }
    }
}

#if TRIMTAB_DENSE

// A layer with one position. Where there are two planes of weights, sums lie behind what one of them takes.
static int32_t forward_dense(uint8_t *const *mem, const struct trimtab_conv_fwd *r,
    const struct output *out) {
    const struct trimtab_geometry *geo = &r->geometry;
    struct taps rows = taps(0, geo->sh, geo->pt, geo->ih, geo->kh);
    int32_t kernel = geo->kh * geo->kw, size = kernel * geo->ic, row = kernel > 1 ? row_words(size) / 2 : 0;
    int32_t words = row + trimtab_dense_words(size), zx = r->zx, *sums = 0;
    uint32_t *scratch = at(mem, r->scratch);
    struct dense c = { at(mem, r->x), at(mem, r->weights.w), 0, geo->ic, geo->ic, size, geo->oc, zx };
    struct dense trained = { 0, at(mem, r->weights.k), at(mem, r->weights.kept), geo->ic, r->nk,
                             kernel * r->nk, geo->oc, zx };
    struct outputs q = { at(mem, r->bias), at(mem, r->mult), at(mem, r->shift), out->y, 0, out->lo, out->hi,
                         out->zero, 0, r->once, out->mask };
    int32_t both = c.w && trained.w;
    if (size > MOST_TERMS || words + (both ? geo->oc : 0) > r->words) {
        return 0;
    }
    trimtab_mask_open(out, geo->oc);
    c.x += (rows.origin + rows.first) * geo->iw * geo->ic;
    trained.x = c.x = patch((int8_t *)scratch, c.x, geo, rows, 0, zx);
    if (both) {
        sums = (int32_t *)scratch + words;
        fill_bytes((int8_t *)sums, 0, 4 * geo->oc);
    }
    if (c.w) {
        trimtab_dense(&c, &q, out, scratch + row, sums);
    }
    if (trained.w) {
        trimtab_dense(&trained, &q, out, scratch + row, sums);
    }
    if (both) {
        trimtab_dense_put(&q, out, sums, geo->oc);
    }
    return 1;
}

#else

#define forward_dense(mem, r, out) 0

#endif

int32_t trimtab_conv_packed(uint8_t *const *mem, const struct trimtab_conv_fwd *r, const struct output *out) {
    const struct trimtab_geometry *geo = &r->geometry;
    uint32_t *scratch = at(mem, r->scratch);
    if (!scratch || (r->weights.w < 0 && r->weights.k < 0) || geo->ic > MOST_CHANNELS
        || geo->kh > MOST_TAPS || geo->kw > MOST_TAPS) {
        return 0;
    }
    int32_t positions = geo->oh * geo->ow, size = geo->kh * geo->kw * geo->ic, oc = geo->oc;
    if (positions == 1) {
        return forward_dense(mem, r, out);
    }
    const struct share outputs = share_of(mem, OUTPUTS, oc);
    const struct layer c = { r, at(mem, r->bias), at(mem, r->mult), at(mem, r->x), at(mem, r->shift), size,
                             outputs, rows_of(mem, &r->weights, geo, r->nk),
                             divide(scratch, r->words, size, outputs.end - outputs.first, positions) };
    const struct packed *p = &c.p;
    if (p->block < 2 || size > MOST_TERMS) {
        return 0;
    }
    struct finish f;
    trimtab_finish_open(&f, out, oc, 0, 0, 1);
    f.bound = (uint32_t)size * PRODUCT_MOST;
    f.once = r->once;
    if (!is_shared(mem)) { // else it is open
        trimtab_mask_open(out, positions * oc);
    }
    for (int32_t o = outputs.first; o < outputs.end && p->held; o++) {
        pack_weights(&c, o, p->w + (o - outputs.first) * p->row, p->start + o - outputs.first);
    }
    for (int32_t first = 0; first < positions; first += p->block) {
        int32_t n = min32(p->block, positions - first);
        f.q.width = 4 * n;
        pack_positions(&c, first, n);
        put_positions(&c, &f, first, n);
    }
    return 1;
}

#endif
