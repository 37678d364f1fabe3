// Writes one error tensor. The shift comes from the tracker (largest exponent seen, relative to this sample's head
// error, in 1/256 octave), so one pass suffices; the tracker then rises to this sample's maximum or decays by 4/256.
#include "kernels.h"

void trimtab_error_open(struct error *e, uint8_t *const *mem, const struct trimtab_error_out *r, int32_t exp) {
    e->g = at(mem, r->g);
    e->mask = at(mem, r->mask);
    e->add = r->add_exp < 0 ? 0 : at(mem, r->add);
    e->track = at(mem, r->track);
    e->mul = r->add_mul;
    e->down = e->up = 0;
    if (e->add) {
        // |addend| <= 2^15, so << 14 stays below 2^29
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

static int32_t with_addend(const struct error *e, int32_t i, int32_t v) {
    int32_t t = rsh(mul32(e->add[i], e->mul), 7);
    t = e->up >= 0 ? mul32(t, 1 << e->up) : rsh(t, e->up < -30 ? 30 : -e->up);
    return add32(rsh(v, e->down), t);
}

void trimtab_error_row(struct error *e, int32_t start, const int32_t *sums, int32_t n) {
    for (int32_t i = start; i < start + n; i++) {
        int32_t v = *sums++;
        if (e->add) {
            v = with_addend(e, i, v);
        }
        if (e->mask && !mask_bit(e->mask, i)) {
            v = 0;
        }
        if (magnitude(v) > e->max) {
            e->max = magnitude(v);
        }
        e->g[i] = (int8_t)shifted(v, e->shift, 127);
    }
}

void trimtab_error_close(const struct error *e) {
    if (e->max) {
        int32_t seen = clamp(add32(e->base, int8_shift(e->max)), -1000, 1000) * 256;
        *e->track = (int16_t)clamp(seen > *e->track ? seen : *e->track - 4, -32000, 32000);
    }
}
