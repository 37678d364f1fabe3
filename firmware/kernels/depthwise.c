// Depthwise convolution: forward, error of the input, update. Output o reads input channel o * ic / oc. The
// weights of a trained channel lie in the trained plane (kh, kw, nk) alone, all others in the frozen tensor.
#if defined(__ARM_ARCH_6M__) || defined(__ARM_FEATURE_DSP)
#pragma GCC optimize ("Os") // packed operands are the fast way there
#endif
#include "depthwise.h"
#include "error.h"
#include "output.h"
#include "packed/packed.h"
#include "taps.h"
#include "update.h"
#include "wide/wide.h"

struct column trimtab_column(uint8_t *const *mem, const struct trimtab_weights *r, int32_t nk, int32_t oc,
    int32_t o) {
    const int8_t *w = at(mem, r->w); // (kh, kw, oc)
    const int8_t *k = at(mem, r->k); // (kh, kw, nk)
    const uint16_t *kept = at(mem, r->kept);
    if (k && !kept && o < nk) {
        return (struct column) { k + o, nk };
    }
    for (int32_t j = nk - 1; k && kept && j >= 0; j--) {
        if (kept[j] == o) {
            return (struct column) { k + j, nk };
        }
    }
    return (struct column) { w ? w + o : 0, oc };
}

// plane (n) = one channel of x (n, step). With a copy, its results may go where it lay.
static void take_channel(int8_t *plane, const int8_t *x, int32_t n, int32_t step) {
    for (; n; n--, x += step) {
        *plane++ = *x;
    }
}

// The taps of one channel at one position: a block (rows, cols) of inputs and one of weights.
struct window {
    const int8_t *x, *w; // at the first tap
    int32_t x_step, w_step; // from tap to tap
    int32_t x_pitch, w_pitch; // from row to row
    int32_t rows, cols;
};

// -- forward: acc = bias + sum (x - zx) * w, the sum at most 255 * 128 for each tap: < 2^30 for 32,896 taps

// acc (2) += the sums of one position and of the one `next` bytes on, which share the weights.
HOT static void dot(int32_t *acc, const struct window *v, int32_t next, int32_t zx) {
    int32_t a = acc[0], b = acc[1], x_step = v->x_step, w_step = v->w_step;
    const int8_t *x = v->x, *w = v->w;
    for (int32_t y = v->rows; y > 0; y--) {
        const int8_t *p = x, *q = w;
        for (int32_t n = v->cols; n > 0; n--) {
            int32_t k = *q;
            a = mac(a, p[0] - zx, k);
            b = mac(b, p[next] - zx, k);
            p += x_step;
            q += w_step;
        }
        x += v->x_pitch;
        w += v->w_pitch;
    }
    acc[0] = a;
    acc[1] = b;
}

// One output channel, all positions; x: its input channel, x_step apart.
static void forward_channel(const struct trimtab_depthwise_fwd *r, uint8_t *const *mem,
    const struct output *out, int32_t o, const int8_t *x, int32_t x_step) {
    const struct trimtab_geometry *geo = &r->geometry;
    const struct column f = trimtab_column(mem, &r->weights, r->nk, geo->oc, o);
    int32_t bias = ((const int32_t *)at(mem, r->bias))[o], mult = ((const int32_t *)at(mem, r->mult))[o];
    int32_t shift = ((const int8_t *)at(mem, r->shift))[o];
    struct window v;
    v.x_step = x_step;
    v.w_step = f.step;
    v.x_pitch = geo->iw * x_step;
    v.w_pitch = geo->kw * f.step;
    for (int32_t oy = 0, i = o; oy < geo->oh; oy++) {
        struct taps rows = taps(oy, geo->sh, geo->pt, geo->ih, geo->kh);
        v.rows = f.w ? tap_count(rows) : 0;
        for (int32_t ox = 0; ox < geo->ow;) {
            struct taps cols = taps(ox, geo->sw, geo->pl, geo->iw, geo->kw);
            int32_t pair = next_is_alike(geo, ox, cols), acc[2] = { bias, bias };
            v.cols = tap_count(cols);
            v.x = x + (rows.origin + rows.first) * v.x_pitch + (cols.origin + cols.first) * x_step;
            v.w = f.w + rows.first * v.w_pitch + cols.first * f.step;
            dot(acc, &v, pair * geo->sw * x_step, r->zx);
            for (int32_t p = 0; p <= pair; p++, ox++, i += geo->oc) {
                trimtab_put_requant(out, i, acc[p], mult, shift);
            }
        }
    }
}

int32_t trimtab_depthwise_fwd(uint8_t *const *mem, uint32_t off) {
    RECORD(depthwise_fwd);
    const struct output out = output(mem, r->y, r->mask, r->lo, r->hi, r->zy);
    const int8_t *x = at(mem, r->x);
    int8_t *plane = at(mem, r->plane);
    if (trimtab_depthwise_wide(mem, r, &out) || trimtab_depthwise_packed(mem, r, &out)) {
        return 0;
    }
    if (!PLAIN_LOOPS(depthwise_fwd)) {
        return TRIMTAB_DECLINED;
    }
    int32_t ic = r->geometry.ic, many = r->geometry.oc / ic;
    const struct share outputs = share_of(mem, OUTPUTS, r->geometry.oc);
    for (int32_t o = outputs.first; o < outputs.end; o++) {
        if (plane) {
            take_channel(plane, x + o / many, r->geometry.ih * r->geometry.iw, ic);
        }
        forward_channel(r, mem, &out, o, plane ? plane : x + o / many, plane ? 1 : ic);
    }
    return 0;
}

// -- error of the input: the host chooses m_shift so that the sum over all windows is at most 2^30

// The sum over one window of gy: d = rsh(gy * m, m_shift) with |gy * m| < 2^22, half = 2^(m_shift - 1) or 0.
HOT static int32_t spread(const struct window *v, int32_t m, int32_t m_shift, int32_t half) {
    int32_t acc = 0, x_step = v->x_step, w_step = v->w_step;
    const int8_t *x = v->x, *w = v->w;
    for (int32_t y = v->rows; y > 0; y--) {
        const int8_t *p = x, *q = w;
        for (int32_t n = v->cols; n > 0; n--) {
            acc = mac(acc, (*p * m + half) >> m_shift, *q);
            p += x_step;
            q += w_step;
        }
        x += v->x_pitch;
        w += v->w_pitch;
    }
    return acc;
}

// How many kernel positions see one input.
static int32_t back_count(struct back_taps t, int32_t stride, int32_t k) {
    int32_t n = 0;
    for (; t.first < k && t.o >= 0; t.first += stride, t.o--) {
        n++;
    }
    return n;
}

// One input channel, all positions; gy: its first output channel.
static void error_channel(struct error *e, const struct trimtab_depthwise_dx *r, uint8_t *const *mem,
    int32_t i, const int8_t *gy, int32_t step) {
    const struct trimtab_geometry *geo = &r->geometry;
    const int16_t *m = at(mem, r->m); // (oc)
    int32_t many = geo->oc / geo->ic, half = r->m_shift ? 1 << (r->m_shift - 1) : 0;
    struct column f = trimtab_column(mem, &r->weights, r->nk, geo->oc, i * many);
    struct window v;
    v.x_step = -step; // to later taps belong earlier outputs
    v.x_pitch = -step * geo->ow;
    for (int32_t iy = 0, at_x = i; iy < geo->ih; iy++) {
        struct back_taps rows = back_taps(iy, geo->sh, geo->pt, geo->oh);
        v.rows = back_count(rows, geo->sh, geo->kh);
        for (int32_t ix = 0; ix < geo->iw; ix++, at_x += geo->ic) {
            struct back_taps cols = back_taps(ix, geo->sw, geo->pl, geo->ow);
            int32_t acc = 0;
            v.cols = back_count(cols, geo->sw, geo->kw);
            for (int32_t j = 0; j < many; j++) {
                if (many > 1) {
                    f = trimtab_column(mem, &r->weights, r->nk, geo->oc, i * many + j);
                }
                if (f.w && v.rows && v.cols) {
                    v.w_step = geo->sw * f.step;
                    v.w_pitch = geo->sh * geo->kw * f.step;
                    v.x = gy + j + (rows.o * geo->ow + cols.o) * step;
                    v.w = f.w + (rows.first * geo->kw + cols.first) * f.step;
                    acc = add32(acc, spread(&v, m[i * many + j], r->m_shift, half));
                }
            }
            trimtab_error_row(e, at_x, &acc, 1);
        }
    }
}

int32_t trimtab_depthwise_dx(uint8_t *const *mem, uint32_t off) {
    RECORD(depthwise_dx);
    int32_t exp = add32(*(const int32_t *)at(mem, r->gy_exp), r->m_exp + r->m_shift);
    int32_t many = r->geometry.oc / r->geometry.ic, positions = r->geometry.oh * r->geometry.ow;
    const int8_t *gy = at(mem, r->gy);
    int8_t *plane = at(mem, r->plane);
    if (trimtab_depthwise_dx_wide(mem, r, exp) || trimtab_depthwise_dx_packed(mem, r, exp)) {
        return 0;
    }
    if (!PLAIN_LOOPS(depthwise_dx)) {
        return TRIMTAB_DECLINED;
    }
    const struct share inputs = share_of(mem, OUTPUTS, r->geometry.ic); // of the error
    gy += inputs.first * many;
    struct error e;
    trimtab_error_open(&e, mem, &r->error_out, exp);
    for (int32_t i = inputs.first; i < inputs.end; i++, gy += many) {
        if (plane && many == 1) {
            take_channel(plane, gy, positions, r->geometry.oc);
            error_channel(&e, r, mem, i, plane, 1);
        } else {
            error_channel(&e, r, mem, i, gy, r->geometry.oc);
        }
    }
    trimtab_error_close(&e);
    return 0;
}

// -- update: dw = sum of gy * (x - zx), |dw| <= 127 * 255 * oh * ow < 2^31 for 65,536 positions

// One weight, over the rows and columns of outputs that see its tap.
FAST static int32_t correlate(const int8_t *gy, const int8_t *x, int32_t rows, int32_t cols,
    const struct trimtab_geometry *geo, int32_t zx) {
    int32_t dw = 0, step = geo->sw * geo->ic;
    for (; rows; rows--) {
        const int8_t *g = gy, *p = x;
        for (int32_t n = cols; n; n--, g += geo->oc, p += step) {
            dw = mac(dw, *g, *p - zx);
        }
        gy += geo->ow * geo->oc;
        x += geo->sh * geo->iw * geo->ic;
    }
    return dw;
}

int32_t trimtab_depthwise_dw(uint8_t *const *mem, uint32_t off) {
    RECORD(depthwise_dw);
    const struct trimtab_geometry *geo = &r->geometry;
    const int8_t *gy = at(mem, r->gy), *x = at(mem, r->x); // (oh, ow, oc), (ih, iw, ic)
    const uint16_t *kept = at(mem, r->kept);
    const struct share outputs = share_of(mem, OUTPUTS, r->nk);
    int32_t many = geo->oc / geo->ic, tap = 0;
    struct update up;
    trimtab_update_open(&up, mem, &r->update, *(const int32_t *)at(mem, r->gy_exp));
    if (trimtab_depthwise_dw_wide(mem, r, &up) || trimtab_depthwise_dw_packed(mem, r, &up)) {
        return 0;
    }
    if (!PLAIN_LOOPS(depthwise_dw)) {
        return TRIMTAB_DECLINED;
    }
    for (int32_t ky = 0; ky < geo->kh; ky++) {
        struct span rows = span(ky, geo->sh, geo->pt, geo->ih, geo->oh);
        for (int32_t kx = 0; kx < geo->kw; kx++, tap++) {
            struct span cols = span(kx, geo->sw, geo->pl, geo->iw, geo->ow);
            int32_t iy = rows.first * geo->sh - geo->pt + ky, ix = cols.first * geo->sw - geo->pl + kx;
            const int8_t *g = gy + (rows.first * geo->ow + cols.first) * geo->oc;
            const int8_t *px = x + (iy * geo->iw + ix) * geo->ic;
            for (int32_t i = outputs.first; i < outputs.end; i++) {
                int32_t o = kept ? kept[i] : i;
                const int8_t *p = px + (many == 1 ? o : o / many);
                int32_t dw = correlate(g + o, p, rows.count, cols.count, geo, r->zx);
                trimtab_update(&up, tap * r->nk + i, o, dw);
            }
        }
    }
    return 0;
}
