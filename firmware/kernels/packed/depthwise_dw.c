// The update of depthwise convolutions, a channel at a time: dw of a tap = sum over positions of g * x - zx *
// sum g. Words pack two rows of outputs, and the two rows of inputs that they see through one row of taps.
#pragma GCC optimize ("Os") // code lies in a board's RAM; time is spent in FAST loops and in assembly
#include "plane.h"

#if TRIMTAB_PACKED && !TRIMTAB_DSP

#define MOST_TAPS 15 // limits that keep every size below 2^31

struct planes {
    uint32_t *x, *g; // (pairs + more, columns), (pairs, width): columns beyond the outputs are 0 in g
    int32_t pairs, more, columns, width;
    int32_t words; // of scratch memory in all; INT32_MAX where the loops do not fit
};

static struct planes divide(uint32_t *scratch, const struct trimtab_geometry *geo) {
    struct planes p;
    p.words = INT32_MAX;
    if (geo->kh <= MOST_TAPS && geo->kw <= MOST_TAPS && geo->sh <= MOST_TAPS && geo->sw <= 2
        && geo->pt < geo->kh && geo->pl < geo->kw && max32(geo->oh, geo->ow) <= PLANE_MOST
        && max32(geo->ih, geo->iw) <= PLANE_MOST) {
        p.pairs = (geo->oh + 1) >> 1;
        p.more = (geo->kh - 1) / (2 * geo->sh);
        p.width = (geo->ow + 3) & ~3;
        p.columns = max32((p.width - 1) * geo->sw + geo->kw, geo->pl + geo->iw);
        p.g = scratch;
        p.x = p.g + p.pairs * p.width;
        p.words = p.pairs * p.width + (p.pairs + p.more) * p.columns;
    }
    return p;
}

// Row y of the image or, outside of it, one that repeats a pad.
struct row {
    const int8_t *x;
    int32_t step;
};

static struct row row_at(const int8_t *x, const struct trimtab_geometry *geo, int32_t y, const int8_t *pad) {
    return y >= 0 && y < geo->ih ? (struct row) { x + y * geo->iw * geo->ic, geo->ic }
        : (struct row) { pad, 0 };
}

FAST static void pack_rows(uint32_t *to, struct row upper, struct row lower, int32_t n) {
    for (; n; n--, upper.x += upper.step, lower.x += lower.step) {
        *to++ = pack(*upper.x, *lower.x);
    }
}

// Inputs that pairs of output rows see through the taps ky; those ky + 2 * sh, .. are seen a pair later.
static void pack_inputs(const struct planes *p, const int8_t *x, const struct trimtab_geometry *geo,
    int32_t ky, int32_t zx) {
    int32_t row = geo->iw * geo->ic, y = ky - geo->pt, n = 0;
    uint32_t *to = p->x + geo->pl;
    int8_t pad = (int8_t)zx;
    struct pair_rows pairs = { 4 * geo->iw, 4 * (p->columns - geo->iw), 0, geo->sh * row, 2 * geo->sh * row };
    for (int32_t left = p->pairs + p->more; left; left -= n, y += n * 2 * geo->sh, to += n * p->columns) {
        int32_t next = y;
        for (pairs.rows = 0; next >= 0 && next + geo->sh < geo->ih && pairs.rows < left; pairs.rows++) {
            next += 2 * geo->sh;
        }
        n = max32(pairs.rows, 1);
        if (pairs.rows) {
            trimtab_pair_rows(to, x + y * row, geo->ic, &pairs);
        } else {
            pack_rows(to, row_at(x, geo, y, &pad), row_at(x, geo, y + geo->sh, &pad), geo->iw);
        }
    }
}

// The errors of a channel: the upper row of a pair in the upper half. Returns their sum.
FAST static int32_t pack_errors(const struct planes *p, const int8_t *gy,
    const struct trimtab_geometry *geo) {
    int32_t row = geo->ow * geo->oc, sum = 0;
    const struct pair_rows pairs = { 4 * geo->ow, 4 * (p->width - geo->ow), geo->oh >> 1, -row, 2 * row };
    if (pairs.rows) {
        trimtab_pair_rows(p->g, gy + row, geo->oc, &pairs);
    }
    if (geo->oh & 1) {
        uint32_t *to = p->g + (p->pairs - 1) * p->width;
        gy += (geo->oh - 1) * row;
        for (int32_t n = geo->ow; n; n--, gy += geo->oc) {
            *to++ = pack(0, *gy);
        }
    }
    const uint32_t *g = p->g, *end = g + p->pairs * p->width;
    while (g < end) { // each half of some words adds up to less than 2^15
        uint32_t halves = 0;
        for (const uint32_t *block = end - g < 256 ? end : g + 256; g < block; g++) {
            halves += *g;
        }
        sum += (int16_t)halves + ((int32_t)(halves + 0x8000) >> 16);
    }
    return sum;
}

int32_t trimtab_depthwise_dw_packed(uint8_t *const *mem, const struct trimtab_depthwise_dw *r,
    const struct update *up) {
    const struct trimtab_geometry *geo = &r->geometry;
    uint32_t *scratch = at(mem, r->scratch);
    const struct planes p = divide(scratch, geo);
    if (!scratch || up->rng || p.words > r->words) { // a generator draws for the weights in another order
        return 0;
    }
    const uint16_t *kept = at(mem, r->kept);
    const int8_t *x = at(mem, r->x), *gy = at(mem, r->gy);
    int32_t many = geo->oc / geo->ic;
    const struct correlate each = { 4 * p.width, p.pairs, 4 * (p.columns - p.width * geo->sw) };
    fill_words(p.g, 0, p.pairs * p.width);
    fill_words(p.x, pack(r->zx, r->zx), (p.pairs + p.more) * p.columns);
    const struct share outputs = share_of(mem, OUTPUTS, r->nk);
    for (int32_t i = outputs.first; i < outputs.end; i++) {
        int32_t o = kept ? kept[i] : i;
        int32_t zero = mul32(r->zx, pack_errors(&p, gy + o, geo));
        for (int32_t first = 0; first < min32(2 * geo->sh, geo->kh); first++) {
            const uint32_t *row = p.x;
            pack_inputs(&p, x + (many == 1 ? o : o / many), geo, first, r->zx);
            for (int32_t ky = first; ky < geo->kh; ky += 2 * geo->sh, row += p.columns) {
                for (int32_t kx = 0; kx < geo->kw; kx++) {
                    int32_t sum = geo->sw == 1 ? trimtab_correlate1(row + kx, p.g, &each)
                        : trimtab_correlate2(row + kx, p.g, &each);
                    trimtab_update(up, (ky * geo->kw + kx) * r->nk + i, o, sub32(sum, zero));
                }
            }
        }
    }
    return 1;
}

#endif
