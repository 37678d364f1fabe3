// TinyTL: lite residual modules beside a frozen trunk. A module is a grouped convolution, GroupNorm, affine,
// ReLU, 1x1 convolution, GroupNorm and affine, and joins the trunk by an add. plain/tinytl.py explains the
// formats.
#pragma GCC optimize ("Os") // code lies in a board's RAM
#include "error.h"
#include "output.h"
#include "packed/packed.h"
#include "taps.h"
#include "update.h"

// a / n to the nearest, ties away from zero; |a| <= 2^30.
static int32_t divide(int32_t a, int32_t n) {
    int32_t q = (int32_t)((magnitude(a) + (uint32_t)(n / 2)) / (uint32_t)n);
    return a < 0 ? -q : q;
}

// Floor of the square root of v < 2^30.
static int32_t root(int32_t v) {
    int32_t found = 0;
    for (int32_t bit = 1 << 14; bit; bit >>= 1) {
        int32_t t = found | bit;
        if (t * t <= v) {
            found = t;
        }
    }
    return found;
}

// The even shift that brings v > 0 to 2^28 .. 2^30 - 1.
static int32_t up(int32_t v) {
    return max32(30 - trimtab_bit_length((uint32_t)v), 0) & ~1;
}

// -- convolution and norm

FAST static int32_t dot(int32_t sum, const int8_t *x, const int8_t *w, int32_t n, int32_t zx) {
    for (; n >= 4; n -= 4, x += 4, w += 4) {
        sum = mac(mac(sum, x[0] - zx, w[0]), x[1] - zx, w[1]);
        sum = mac(mac(sum, x[2] - zx, w[2]), x[3] - zx, w[3]);
    }
    for (; n; n--) {
        sum = mac(sum, *x++ - zx, *w++);
    }
    return sum;
}

// The same for a kernel of one position without pads: n positions, `step` apart.
FAST static void dots(int32_t *sums, const int8_t *x, const int8_t *w, int32_t n, int32_t step, int32_t part,
    int32_t zx, int32_t pre) {
    for (; n; n--, x += step) {
        *sums++ = rsh_here(dot(0, x, w, part, zx), pre);
    }
}

// sums (oh, ow) of one output channel, less `pre` bits. w: (kh, kw, part); x: its first channel. Before that
// it is at most 255 * 128 for each of kh * kw * part terms: below 2^31 for 65,000. Where a tap has all
// channels, a row of taps is one run.
HOT static void convolve(const struct trimtab_tinytl_conv_fwd *r, const int8_t *x, const int8_t *w,
    int32_t *sums) {
    const struct trimtab_geometry *geo = &r->geometry;
    int32_t part = r->part, whole = part == geo->ic;
    int32_t is_point = geo->kh == 1 && geo->kw == 1 && !geo->pl && (geo->ow - 1) * geo->sw < geo->iw;
    for (int32_t oy = 0; oy < geo->oh; oy++) {
        struct taps rows = taps(oy, geo->sh, geo->pt, geo->ih, geo->kh);
        if (is_point && tap_count(rows)) {
            const int8_t *p = x + rows.origin * geo->iw * geo->ic;
            dots(sums, p, w, geo->ow, geo->sw * geo->ic, part, r->zx, r->pre);
            sums += geo->ow;
            continue;
        }
        for (int32_t ox = 0; ox < geo->ow; ox++) {
            struct taps cols = taps(ox, geo->sw, geo->pl, geo->iw, geo->kw);
            int32_t a = 0, runs = whole ? tap_count(cols) > 0 : tap_count(cols);
            int32_t n = whole ? tap_count(cols) * part : part;
            for (int32_t ky = rows.first; ky < rows.end; ky++) {
                const int8_t *p = x + ((rows.origin + ky) * geo->iw + cols.origin + cols.first) * geo->ic;
                const int8_t *q = w + (ky * geo->kw + cols.first) * part;
                for (int32_t run = runs; run; run--, p += geo->ic, q += part) {
                    a = dot(a, p, q, n, r->zx);
                }
            }
            *sums++ = rsh(a, r->pre);
        }
    }
}

// The n sums of one group (channels, positions) become y, int8 with 4 fraction bits; positions are oc apart.
// Returns the group's statistic, scale << 8 | E. The host's `pre` keeps n * |sum| below 2^30, so that `total`
// fits. Deviations are cut to `bits`, so that n of their squares add up to at most 2^29. scale is at most
// 2^16, as both roots have 15 bits, and times 11 bits that is below 2^28.
static int32_t normalize(int32_t *sums, int32_t n, int32_t positions, int32_t pre, int8_t *y,
    int32_t oc) {
    int32_t total = 0, squares = 0;
    for (int32_t i = 0; i < n; i++) {
        total = add32(total, sums[i]);
    }
    int32_t mean = divide(total, n);
    for (int32_t i = 0; i < n; i++) {
        sums[i] = sub32(sums[i], mean);
    }
    int32_t bits = min32(11, (29 - trimtab_bit_length((uint32_t)n - 1)) >> 1);
    int32_t down = max32(0, trimtab_bit_length(trimtab_largest(sums, n)) - bits);
    for (int32_t i = 0; i < n; i++) {
        sums[i] = rsh(sums[i], down);
        squares = mac(squares, sums[i], sums[i]);
    }
    int32_t scale = 0, e = 0;
    if (squares > 0) {
        int32_t r = root((int32_t)((uint32_t)squares << up(squares)));
        scale = ((root((int32_t)((uint32_t)n << up(n))) << 15) + (r >> 1)) / r;
        e = 15 + ((up(n) - up(squares)) >> 1);
    }
    for (int32_t c = 0; c < n / positions; c++, y++) {
        for (int32_t p = 0; p < positions; p++) {
            y[p * oc] = (int8_t)clamp(rsh(mul32(*sums++, scale), e - 4), -127, 127);
        }
    }
    return (int32_t)((uint32_t)scale << 8 | ((uint32_t)(e + down + pre) & 255));
}

int32_t trimtab_tinytl_conv_fwd(uint8_t *const *mem, uint32_t off) {
    RECORD(tinytl_conv_fwd);
    const struct trimtab_geometry *geo = &r->geometry;
    const int8_t *x = at(mem, r->x), *w = at(mem, r->w); // (ih, iw, ic), (oc, kh, kw, part)
    int32_t *sums = at(mem, r->sums), *stats = at(mem, r->stats);
    int8_t *y = at(mem, r->y);
    int32_t positions = geo->oh * geo->ow, o = 0;
    int32_t width = max32(geo->oc / (geo->ic / r->part), 1); // outputs of one group
    for (int32_t q = 0; q < r->norms; q++) {
        for (int32_t i = 0; i < r->norm; i++, o++) {
            int32_t first = min32(o / width * r->part, geo->ic - r->part);
            convolve(r, x + first, w + o * geo->kh * geo->kw * r->part, sums + i * positions);
        }
        stats[q] = normalize(sums, r->norm * positions, positions, r->pre, y + q * r->norm, geo->oc);
    }
    return 0;
}

FAST static int32_t column_dot(const int8_t *gy, const int8_t *w, int32_t n, int32_t step) {
    int32_t sum = 0;
    for (; n > 1; n -= 2, gy += 2) {
        sum = mac(sum, gy[0], *w);
        w += step;
        sum = mac(sum, gy[1], *w);
        w += step;
    }
    return n ? mac(sum, *gy, *w) : sum;
}

// Back through the 1x1 convolution: d = sum over outputs of gy * w, at most 127 * 128 each: below 2^30 for
// 66,000 outputs.
int32_t trimtab_tinytl_conv_dx(uint8_t *const *mem, uint32_t off) {
    RECORD(tinytl_conv_dx);
    const int8_t *gy = at(mem, r->gy), *w = at(mem, r->w); // (n, oc), (oc, ic)
    int32_t *d = at(mem, r->d); // (n, ic)
    for (int32_t p = 0; p < r->n; p++, gy += r->oc) {
        for (int32_t i = 0; i < r->ic; i++) {
            *d++ = column_dot(gy, w + i, r->oc, r->ic);
        }
    }
    return 0;
}

// -- affine and ReLU

// gamma with 8 fraction bits, at most 127 * 2^8 < 2^15.
static int32_t gain_of(const int32_t *affine, int32_t o, int32_t bound) {
    return clamp(rsh(affine[o], 8), -bound * 256, bound * 256);
}

// beta with 12 fraction bits, at most 127 * 2^12 < 2^19.
static int32_t offset_of(const int32_t *affine, int32_t o, int32_t bound) {
    return clamp(rsh(affine[o], 4), -bound * 4096, bound * 4096);
}

// y (n, oc) = ReLU of gamma * x + beta: |gamma * x + beta| < 2^23. affine (2, oc): gamma, then beta.
int32_t trimtab_tinytl_affine_fwd(uint8_t *const *mem, uint32_t off) {
    RECORD(tinytl_affine_fwd);
    int8_t *y = at(mem, r->y);
    const int8_t *x = at(mem, r->x);
    const int32_t *affine = at(mem, r->affine);
    for (int32_t o = 0; o < r->oc; o++) {
        int32_t g = gain_of(affine, o, r->bound), b = offset_of(affine, r->oc + o, r->bound);
        for (int32_t i = o; i < r->n * r->oc; i += r->oc) {
            y[i] = (int8_t)clamp(rsh(g * x[i] + b, 8), 0, 127);
        }
    }
    return 0;
}

// All d / 2^s, saturated at +-limit; any s as in trimtab_shifted.
FAST static void shift_all(int32_t *d, int32_t n, int32_t s, int32_t limit) {
    if (s < 1 || s > 31) {
        for (; n; n--, d++) {
            *d = trimtab_shifted(*d, s, limit);
        }
        return;
    }
    for (s--; n; n--) {
        int32_t v = *d >> s;
        *d++ = clamp_here((v >> 1) + (v & 1), -limit, limit);
    }
}

// Moves affine[j], or its accumulator, by the gradient sum dw. `pre` brings |dw| into 2^22, as scaled() wants
// it.
static void move_affine(uint8_t *const *mem, const struct trimtab_tinytl_norm_dx *r, int32_t j, int32_t dw,
    int32_t u, int32_t exponent) {
    const int32_t *lr = at(mem, r->lr);
    int32_t *acc = at(mem, r->acc), *to = acc ? acc : at(mem, r->affine);
    int32_t most = acc ? BIAS_MAX : r->bound << 16;
    int32_t s = sub32(sub32(add32((u >> 8) - 128 - 8, lr[1]), r->pre), exponent);
    int32_t delta = trimtab_shifted(scaled(dw, r->pre, u, lr[0]), s, 1 << 28);
    to[j] = clamp(clamp(to[j], -most, most) + (acc ? delta : -delta), -most, most);
}

// Clears the errors d (n, oc) that the ReLU hid and cuts all to 12 bits. Returns how many bits that took.
static int32_t cut(const struct trimtab_tinytl_norm_dx *r, int32_t *d, const int8_t *x,
    const int32_t *affine) {
    int32_t size = r->n * r->oc;
    for (int32_t o = 0; o < r->oc && r->relu; o++) {
        int32_t g = gain_of(affine, o, r->bound), b = offset_of(affine, r->oc + o, r->bound);
        for (int32_t i = o; i < size; i += r->oc) {
            int32_t v = g * x[i] + b;
            if (v <= 0 || v >= 255 << 7) {
                d[i] = 0;
            }
        }
    }
    int32_t down = max32(0, trimtab_bit_length(trimtab_largest(d, size)) - 12);
    if (down) {
        shift_all(d, size, down, INT32_MAX);
    }
    return down;
}

// The channels of one group of the norm, and what is taken from their errors.
struct group {
    int32_t n, norm, skip; // positions, channels, those between two positions
    int32_t mean, slope, scale, down; // down: 0 .. 255
};

// sums (2): of the group's d and of d * x
FAST static void norm_sums(const struct group *q, const int32_t *d, const int8_t *x, int32_t *sums) {
    int32_t total = 0, products = 0;
    for (int32_t p = q->n; p; p--, d += q->skip, x += q->skip) {
        for (int32_t i = q->norm; i; i--) {
            int32_t v = *d++;
            total = add32(total, v);
            products = mac(products, v, *x++);
        }
    }
    sums[0] = total;
    sums[1] = products;
}

FAST static void norm_errors(const struct group *q, int32_t *d, const int8_t *x) {
    for (int32_t p = q->n; p; p--, d += q->skip, x += q->skip) {
        for (int32_t i = q->norm; i; i--) {
            int32_t t = sub32(sub32(*d, q->mean), rsh_here(mul32(*x++, q->slope), 8));
            *d++ = rsh_here(mul32(clamp_here(t, -65535, 65535), q->scale), q->down);
        }
    }
}

// One group; x and d at its first channel. The caller cut d so far that count * |d * x| <= 2^30, which bounds
// both sums. |t| < 2^16 and scale < 2^14 after its shift, so their product is below 2^30. Where nothing
// varied, scale is 0.
static void norm_group(const struct trimtab_tinytl_norm_dx *r, int32_t *d, const int8_t *x, int32_t stat,
    int32_t least) {
    int32_t sums[2], count = r->n * r->norm;
    struct group q = { r->n, r->norm, r->oc - r->norm, 0, 0, stat >> 10, (stat & 255) - least };
    norm_sums(&q, d, x, sums);
    q.mean = divide(sums[0], count);
    q.slope = divide(sums[1], count);
    if (!(stat >> 8)) {
        q.scale = q.down = 0;
    }
    norm_errors(&q, d, x);
}

// Moves the affine (2, oc) and takes the errors d (n, oc), of 12 bits, back through gamma: |d| <= 2^12 *
// 2^15.
static void through_affine(uint8_t *const *mem, const struct trimtab_tinytl_norm_dx *r, int32_t *d,
    const int8_t *x, int32_t exponent) {
    const int32_t *affine = at(mem, r->affine);
    for (int32_t o = 0; o < r->oc; o++) {
        int32_t g = gain_of(affine, o, r->bound), dgamma = 0, dbeta = 0;
        for (int32_t i = o; i < r->n * r->oc; i += r->oc) {
            dgamma = mac(dgamma, d[i], x[i]); // at most 2^12 * 127 * n: below 2^31 for 4,096 positions
            dbeta = add32(dbeta, d[i]);
            d[i] = mul32(d[i], g);
        }
        move_affine(mem, r, o, dgamma, r->u_gamma, exponent);
        move_affine(mem, r, r->oc + o, dbeta, r->u_beta, exponent);
    }
}

// The least exponent of the groups that vary at all; 0 if none does.
static int32_t least_exponent(const int32_t *stats, int32_t norms) {
    int32_t least = 255, any = 0;
    for (int32_t q = 0; q < norms; q++) {
        if (stats[q] >> 8) {
            least = min32(least, stats[q] & 255);
            any = 1;
        }
    }
    return any ? least : 0;
}

// g (parts, n, width) = d (n, oc) as int8, one tensor for each group of the convolution.
static void put_parts(const struct trimtab_tinytl_norm_dx *r, int8_t *g, const int32_t *d) {
    int32_t width = r->oc / r->parts;
    for (int32_t first = 0; first < r->oc; first += width) {
        for (int32_t p = first; p < r->n * r->oc; p += r->oc) {
            for (int32_t i = 0; i < width; i++) {
                *g++ = (int8_t)d[p + i];
            }
        }
    }
}

int32_t trimtab_tinytl_norm_dx(uint8_t *const *mem, uint32_t off) {
    RECORD(tinytl_norm_dx);
    int32_t *d = at(mem, r->sums); // (n, oc)
    const int8_t *x = at(mem, r->x); // (n, oc)
    const int32_t *stats = at(mem, r->stats); // (norms)
    int32_t size = r->n * r->oc, down = cut(r, d, x, at(mem, r->affine));
    int32_t exponent = add32(*(const int32_t *)at(mem, r->gy_exp), r->m_exp + down);
    through_affine(mem, r, d, x, exponent);
    // so few bits that the sums of a group fit, see norm_group()
    int32_t bits = min32(12, 23 - trimtab_bit_length((uint32_t)(r->norm * r->n - 1)));
    int32_t shift = trimtab_bit_length(trimtab_largest(d, size)) - bits;
    shift_all(d, size, shift, 4096);
    int32_t least = least_exponent(stats, r->norms);
    for (int32_t q = 0; q < r->norms; q++) {
        norm_group(r, d + q * r->norm, x + q * r->norm, stats[q], least);
    }
    int32_t last = int8_shift(trimtab_largest(d, size));
    shift_all(d, size, last, 127);
    put_parts(r, at(mem, r->g), d);
    *(int32_t *)at(mem, r->exp) = add32(exponent, shift + last - 6 - least);
    return 0;
}

// -- where the module joins the trunk, upsampled

// The element of the module's output (ih, iw, oc) that (oy, ox) of the trunk sees.
static int32_t below(int32_t oy, int32_t ox, int32_t ih, int32_t iw, int32_t oc) {
    return (min32(oy >> 1, ih - 1) * iw + min32(ox >> 1, iw - 1)) * oc;
}

// One row of a channel, from output i on.
FAST static void join_row(const struct trimtab_tinytl_add_fwd *r, const struct output *out, int32_t i,
    const int8_t *x, const int8_t *x2, int32_t g, int32_t b) {
    int32_t step = r->oc, last = r->iw - 1;
    for (int32_t ox = 0; ox < r->ow; ox++, i += step, x += step) {
        int32_t v = *x + rsh_here(g * *x2 + b, 12);
        if (out->mask) {
            trimtab_put(out, i, v);
        } else {
            out->y[i] = (int8_t)clamp_here(v, out->lo, out->hi);
        }
        if (ox & 1 && ox >> 1 < last) {
            x2 += step;
        }
    }
}

// y = x + gamma * x2 + beta in steps of y; |gamma * x2 + beta| < 2^23 before the shift.
int32_t trimtab_tinytl_add_fwd(uint8_t *const *mem, uint32_t off) {
    RECORD(tinytl_add_fwd);
    const int8_t *x = at(mem, r->x), *x2 = at(mem, r->x2);
    const int32_t *affine = at(mem, r->affine);
    const struct output out = output(mem, r->y, r->mask, r->lo, r->hi, 0);
    for (int32_t o = 0; o < r->oc; o++) {
        int32_t g = gain_of(affine, o, r->bound), b = offset_of(affine, r->oc + o, r->bound);
        for (int32_t oy = 0, i = o; oy < r->oh; oy++, i += r->ow * r->oc) {
            join_row(r, &out, i, x + i, x2 + below(oy, 0, r->ih, r->iw, r->oc) + o, g, b);
        }
    }
    return 0;
}

FAST static void clear(int32_t *to, int32_t n) {
    for (; n; n--) {
        *to++ = 0;
        NO_LIBRARY_CALL;
    }
}

FAST static void add_bytes(int32_t *to, const int8_t *g, int32_t n) {
    for (; n; n--, to++) {
        *to = add32(*to, *g++);
    }
}

// d (ih, iw, oc) = sum of gy (oh, ow, oc) over the outputs that saw a position, at most 127 * oh * ow.
int32_t trimtab_tinytl_add_dx(uint8_t *const *mem, uint32_t off) {
    RECORD(tinytl_add_dx);
    int32_t *d = at(mem, r->d);
    const int8_t *gy = at(mem, r->gy);
    clear(d, r->ih * r->iw * r->oc);
    for (int32_t oy = 0; oy < r->oh; oy++) {
        for (int32_t ox = 0; ox < r->ow; ox++) {
            add_bytes(d + below(oy, ox, r->ih, r->iw, r->oc), gy, r->oc);
            gy += r->oc;
        }
    }
    return 0;
}
