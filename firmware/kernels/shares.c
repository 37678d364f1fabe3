// Makes two records of one. Where a share of the outputs is a run of rows, or of elements, it is a smaller record of
// the same kernel: nothing but operands change. Where the shares lie interleaved, by channels, the kernel finds
// the channels it has to do in `share`. Each output is computed as before, so every bit is the same. Rules:
// - No two cores write one byte: a share begins at a whole byte of a mask, and residuals are bytes.
// - No generator is shared, because it draws in the order of the weights. Residuals of 8 bits need none.
// - What a core holds for itself (scratch, a row, a plane, exponent and tracker of an error) lies in its own memory.
// - Records that are done sooner than handed over stay whole.
#pragma GCC optimize ("Os") // code lies in a board's RAM, and little time is spent here
#include "cores.h"
#include "packed/packed.h"

#if TRIMTAB_CORES > 1

#ifndef LEAST
#define LEAST 512 // outputs or products, of a few cycles each: to hand over and to join take some 600 cycles
#endif

// A record that this module's kernels include; all else about the others is left out.
#define BIT(name) | 1ull << TRIMTAB_OP_##name
#define IS(name) ((0 TRIMTAB_KERNELS(BIT)) >> TRIMTAB_OP_##name & 1 && record[0] == TRIMTAB_OP_##name)

// Operands of the two parts.
#define PARTS(name) \
    struct trimtab_##name *r = (void *)box->parts[0].record, *s = (void *)box->parts[1].record; \
    copy(box, record, sizeof(*r))

static void copy(struct box *box, const int32_t *record, uint32_t bytes) {
    for (uint32_t i = 0; i < bytes / 4; i++) {
        box->parts[0].record[i] = box->parts[1].record[i] = record[i];
        NO_LIBRARY_CALL;
    }
}

// Moves a reference, if there is one.
static void move(int32_t *ref, int32_t bytes) {
    if (*ref >= 0) {
        *ref += bytes;
    }
}

static int32_t products(const struct trimtab_geometry *geo) {
    return geo->oh * geo->ow * geo->oc * geo->kh * geo->kw * geo->ic;
}

// How many of n go to the first part, in whole grains: half of them, or n if that leaves nothing to one part.
static int32_t half(int32_t n, int32_t grain) {
    int32_t first = (n / grain + 1) / 2 * grain;
    return first && first < n ? first : n;
}

// The fewest rows whose bits are whole bytes.
static int32_t grain_of(int32_t mask, int32_t bits) {
    int32_t rows = 1;
    while (mask >= 0 && rows * bits & 7) {
        rows *= 2;
    }
    return rows;
}

// -- memory of a core's own

static int32_t own(const struct box *box, const void *place) {
    return (TRIMTAB_OWN << TRIMTAB_SPACE_SHIFT) + (int32_t)((const uint8_t *)place - (const uint8_t *)box);
}

// The scratch words of core 1. Returns 0 where there are fewer than the fast loops need, and than the record has.
static int32_t own_scratch(struct box *box, int32_t *scratch, int32_t *words, int32_t least) {
    int32_t given = min32(*words, (int32_t)box->words);
    int32_t enough = given == *words || given >= least;
    if (*scratch >= 0) {
        *scratch = own(box, box->scratch);
        *words = given;
        return enough;
    }
    return 1;
}

// Words for a row of packed bytes, and three rows of n.
static int32_t three_rows(int32_t n) {
    return row_words(n) / 2 + 3 * (row_words(n) + 1);
}

// The same for what plain loops want: they use nothing else of it.
static int32_t own_bytes(struct box *box, int32_t *ref, int32_t bytes) {
    if (*ref >= 0) {
        *ref = own(box, box->scratch);
    }
    return bytes <= 4 * (int32_t)box->words;
}

// Exponent and tracker of an error are written twice, each core's for itself, and joined afterwards. For the
// tracker only the largest magnitude counts: it rises to the higher of two, or falls once.
static void own_error(struct box *box, uint8_t *const *mem, int32_t track, struct trimtab_error_out *r,
    struct trimtab_error_out *s) {
    struct trimtab_error_out *out[2] = { r, s };
    for (int32_t i = 0; i < 2; i++) {
        struct part *part = box->parts + i;
        part->track = *(const int16_t *)at(mem, track);
        out[i]->exp = own(box, &part->exp);
        out[i]->track = own(box, &part->track);
    }
}

static void join_error(const struct box *box, uint8_t *const *mem, const struct trimtab_error_out *r) {
    int16_t *track = at(mem, r->track);
    int32_t a = (int16_t)box->parts[0].track, b = (int16_t)box->parts[1].track;
    *(int32_t *)at(mem, r->exp) = box->parts[0].exp;
    *track = (int16_t)(max32(a, b) > *track ? max32(a, b) : min32(a, b));
}

// -- by rows and elements

// Each part gets the rows of outputs that it writes and the inputs that these see. The fast loops take no less
// than two positions.
static int32_t share_rows(struct trimtab_conv_fwd *r, struct trimtab_conv_fwd *s) {
    struct trimtab_geometry *top = &r->geometry, *low = &s->geometry;
    int32_t positions = top->oh * top->ow;
    int32_t pointwise = top->kh * top->kw * top->sh * top->sw == 1 && !(top->pt | top->pl) && top->ow == top->iw;
    if (pointwise) { // then positions are as good as rows
        top->oh = low->oh = low->ih = positions;
        top->ow = top->iw = low->ow = low->iw = 1;
    }
    int32_t row = top->ow * top->oc, first = half(top->oh, grain_of(r->mask, row));
    int32_t above = max32(first * top->sh - top->pt, 0); // rows of inputs that the lower part does not see
    low->oh -= first;
    low->ih -= above;
    low->pt -= first * top->sh - above;
    top->oh = first;
    move(&s->y, first * row);
    move(&s->x, above * top->iw * top->ic);
    move(&s->mask, first * row >> 3);
    int32_t some = low->ih > 0 && top->oh * top->ow > 1 && low->oh * low->ow > 1;
    if (pointwise) {
        top->ow = top->iw = top->oh;
        low->ow = low->iw = low->oh;
        top->oh = top->ih = low->oh = low->ih = 1;
    }
    return some;
}

// A dense layer: rows of weights.
static int32_t share_dense(struct trimtab_conv_fwd *r, struct trimtab_conv_fwd *s) {
    struct trimtab_geometry *geo = &r->geometry;
    int32_t taps = geo->kh * geo->kw, first = half(geo->oc, 8);
    s->geometry.oc -= first;
    geo->oc = first;
    move(&s->weights.w, first * taps * geo->ic);
    move(&s->weights.k, first * taps * r->nk);
    move(&s->bias, 4 * first);
    move(&s->mult, 4 * first);
    move(&s->shift, first);
    move(&s->y, first);
    move(&s->mask, first >> 3);
    return s->geometry.oc;
}

// Leaves g from element `first` on.
static void move_error(struct trimtab_error_out *s, int32_t first) {
    move(&s->g, first);
    move(&s->mask, first >> 3);
    move(&s->add, first);
}

// By rows of inputs, with the errors that these see.
static int32_t share_conv_dx(struct box *box, uint8_t *const *mem, const int32_t *record) {
    PARTS(conv_dx);
    struct trimtab_geometry *top = &r->geometry, *low = &s->geometry;
    int32_t terms = every(0, top->kh, top->sh) * every(0, top->kw, top->sw) * top->oc;
    if (products(top) < LEAST || !own_scratch(box, &s->scratch, &s->words, 3 * terms + 16)
        || !own_bytes(box, &s->row, 4 * top->ic)) {
        return 0;
    }
    int32_t row = top->iw * top->ic, first = half(top->ih, grain_of(r->error_out.mask, row));
    // Outputs above the first one that sees row `first`; and pads do not become fewer than none.
    int32_t above = max32(first + top->pt - max32(top->kh - top->sh, 0), 0) / top->sh;
    above = min32(above, top->oh - 1);
    low->ih -= first;
    low->oh -= above;
    low->pt += first - above * top->sh;
    top->ih = first;
    move(&s->gy, above * top->ow * top->oc);
    move_error(&s->error_out, first * row);
    own_error(box, mem, r->error_out.track, &r->error_out, &s->error_out);
    return top->ih * top->iw > 1 && low->ih * low->iw > 1;
}

static int32_t share_scale_dx(struct box *box, uint8_t *const *mem, const int32_t *record) {
    PARTS(scale_dx);
    int32_t row = r->iw * r->ic, first = half(r->ih, grain_of(r->error_out.mask, row));
    // A window may lie in the place of what it is cut out of, and then the order counts.
    if (r->ih * row < LEAST || r->ih != r->yh || row != r->yw * r->yc || !own_bytes(box, &s->row, 4 * r->ic)) {
        return 0;
    }
    s->ih -= first;
    s->top += first;
    r->ih = first;
    move_error(&s->error_out, first * row);
    own_error(box, mem, r->error_out.track, &r->error_out, &s->error_out);
    return s->ih;
}

static int32_t share_add_fwd(struct box *box, const int32_t *record) {
    PARTS(add_fwd);
    int32_t first = half(r->n, 64);
    s->n -= first;
    r->n = first;
    move(&s->y, first);
    move(&s->x, first);
    move(&s->x2, first);
    move(&s->mask, first >> 3);
    return s->n >= LEAST / 4;
}

static int32_t share_lut_fwd(struct box *box, const int32_t *record) {
    PARTS(lut_fwd);
    int32_t first = half(r->n, 4);
    s->n -= first;
    r->n = first;
    move(&s->y, first);
    move(&s->x, first);
    return s->n >= LEAST / 4;
}

// -- by channels, and convolutions either way

static int32_t share_channels(struct box *box, enum axis axis, int32_t n, int32_t grain) {
    int32_t first = half(n, grain);
    for (int32_t i = 0; i < 2; i++) {
        struct part *part = box->parts + i;
        part->share = (struct share) { axis, i ? first : 0, i ? n : first };
        part->mem[TRIMTAB_SHARE] = (uint8_t *)&part->share;
    }
    return n - first;
}

// Of a forward kernel. The mask is opened here, because each core notes only what it clamps.
static int32_t share_outputs(struct box *box, uint8_t *const *mem, const struct trimtab_geometry *geo,
    int32_t mask) {
    if (mask >= 0 && (geo->oc & 7 || geo->oc == 8)) {
        return 0;
    }
    if (mask >= 0) {
        const struct output out = { 0, at(mem, mask), 0, 0, 0 };
        trimtab_mask_open(&out, geo->oh * geo->ow * geo->oc);
    }
    return share_channels(box, OUTPUTS, geo->oc, mask >= 0 ? 8 : 1);
}

// Each core packs all weights, or all inputs: the fewer ones, if possible.
static int32_t share_conv_fwd(struct box *box, uint8_t *const *mem, const int32_t *record) {
    PARTS(conv_fwd);
    const struct trimtab_geometry *geo = &r->geometry;
    int32_t positions = geo->oh * geo->ow;
    int32_t least = positions == 1 ? r->words : three_rows(geo->kh * geo->kw * geo->ic);
    if (products(geo) < LEAST || !own_scratch(box, &s->scratch, &s->words, least)) {
        return 0;
    }
    return positions == 1 ? share_dense(r, s)
        : (geo->oc > positions && share_outputs(box, mem, geo, r->mask)) || share_rows(r, s);
}

static int32_t share_depthwise_fwd(struct box *box, uint8_t *const *mem, const int32_t *record) {
    PARTS(depthwise_fwd);
    const struct trimtab_geometry *geo = &r->geometry;
    return geo->oh * geo->ow * geo->oc >= LEAST && own_scratch(box, &s->scratch, &s->words, r->words)
        && own_bytes(box, &s->plane, geo->ih * geo->iw) && share_outputs(box, mem, geo, r->mask);
}

static int32_t share_depthwise_dx(struct box *box, uint8_t *const *mem, const int32_t *record) {
    PARTS(depthwise_dx);
    const struct trimtab_geometry *geo = &r->geometry;
    if (geo->ih * geo->iw * geo->ic < LEAST || !own_scratch(box, &s->scratch, &s->words, r->words)
        || !own_bytes(box, &s->plane, geo->oh * geo->ow)) {
        return 0;
    }
    own_error(box, mem, r->error_out.track, &r->error_out, &s->error_out);
    return share_channels(box, OUTPUTS, geo->ic, 1);
}

// Whether two cores can update the weights: whole bytes, or accumulators, or neither residuals nor a generator.
static int32_t is_divisible(const struct trimtab_update *r) {
    return r->residual == 8 || r->acc >= 0 || (r->residual == 0 && r->rng < 0);
}

// The longer side is shared, because both cores pack all of the other.
static int32_t share_conv_dw(struct box *box, const int32_t *record) {
    PARTS(conv_dw);
    int32_t outputs = r->geometry.oc, columns = r->geometry.kh * r->geometry.kw * r->nk;
    int32_t positions = r->geometry.oh * r->geometry.ow;
    if (!is_divisible(&r->update) || outputs * columns * positions < LEAST
        || !own_scratch(box, &s->scratch, &s->words, three_rows(positions))) {
        return 0;
    }
    return columns > outputs ? share_channels(box, COLUMNS, columns, 2) : share_channels(box, OUTPUTS, outputs, 1);
}

static int32_t share_depthwise_dw(struct box *box, const int32_t *record) {
    PARTS(depthwise_dw);
    const struct trimtab_geometry *geo = &r->geometry;
    return is_divisible(&r->update) && own_scratch(box, &s->scratch, &s->words, r->words)
        && r->nk * geo->kh * geo->kw * geo->oh * geo->ow >= LEAST && share_channels(box, OUTPUTS, r->nk, 1);
}

static int32_t share_bias_dw(struct box *box, const int32_t *record) {
    PARTS(bias_dw);
    (void)s;
    return r->n * r->oc >= LEAST / 4 && share_channels(box, OUTPUTS, r->oc, COLUMNS_MOST);
}

// -- all of them

int32_t trimtab_share(struct box *box, uint8_t *const *mem, const int32_t *record) {
    for (int32_t i = 0; i < 2; i++) {
        struct part *part = box->parts + i;
        for (int32_t space = 0; space < TRIMTAB_OWN; space++) {
            part->mem[space] = mem[space];
            NO_LIBRARY_CALL;
        }
        part->off = (uint32_t)((uint8_t *)part->record - mem[TRIMTAB_PROGRAM]); // wraps: addresses have 32 bits
        part->mem[TRIMTAB_OWN] = (uint8_t *)box;
        part->mem[TRIMTAB_SHARE] = 0;
    }
    return IS(conv_fwd) ? share_conv_fwd(box, mem, record)
        : IS(depthwise_fwd) ? share_depthwise_fwd(box, mem, record)
        : IS(conv_dx) ? share_conv_dx(box, mem, record)
        : IS(depthwise_dx) ? share_depthwise_dx(box, mem, record)
        : IS(conv_dw) ? share_conv_dw(box, record)
        : IS(depthwise_dw) ? share_depthwise_dw(box, record)
        : IS(bias_dw) ? share_bias_dw(box, record)
        : IS(add_fwd) ? share_add_fwd(box, record)
        : IS(scale_dx) ? share_scale_dx(box, mem, record)
        : IS(lut_fwd) ? share_lut_fwd(box, record)
        : 0;
}

void trimtab_join(struct box *box, uint8_t *const *mem, const int32_t *record) {
    const struct trimtab_error_out *out = IS(conv_dx) ? &((const struct trimtab_conv_dx *)record)->error_out
        : IS(depthwise_dx) ? &((const struct trimtab_depthwise_dx *)record)->error_out
        : IS(scale_dx) ? &((const struct trimtab_scale_dx *)record)->error_out
        : 0;
    if (out) {
        join_error(box, mem, out);
    }
}

#endif
