// The head (a dense layer of int16 weights) and the losses.
#pragma GCC optimize ("Os") // code lies in a board's RAM, and little time is spent here
#include "error.h"
#include "packed/packed.h"
#include "update.h"

FAST static int32_t dot(const int16_t *w, const int8_t *x, int32_t n, int32_t zx) {
    int32_t sum = 0;
    for (; n >= 4; n -= 4, w += 4, x += 4) {
        sum = mac(mac(sum, w[0], x[0] - zx), w[1], x[1] - zx);
        sum = mac(mac(sum, w[2], x[2] - zx), w[3], x[3] - zx);
    }
    for (; n; n--) {
        sum = mac(sum, *w++, *x++ - zx);
    }
    return sum;
}

// logits (n) = sum w * (x - zx) + bias in units of s_x / 4096. The host's limit of |w| keeps 255 * f * |w|
// below 2^31. Returns the class.
int32_t trimtab_head_fwd(uint8_t *const *mem, uint32_t off) {
    RECORD(head_fwd);
    int32_t *logits = at(mem, r->logits);
    const int8_t *x = at(mem, r->x); // (f)
    const int16_t *w = at(mem, r->w); // (n, f)
    const int32_t *bias = at(mem, r->bias);
    int32_t best = 0;
    for (int32_t k = 0; k < r->n; k++) {
        int32_t sum = dot(w + k * r->f, x, r->f, r->zx);
        logits[k] = add_saturated(trimtab_multiply_saturated(bias[k], r->bias_mul, r->bias_shift), sum);
        if (logits[k] > logits[best]) {
            best = k;
        }
    }
    return best;
}

// -1024 ln(p / 2^15) for p in Q15: octaves times 709.78 less the table (128) at the upper 7 bits of the
// mantissa.
static int32_t minus_ln(uint32_t p, const int16_t *table) {
    int32_t octaves = 0;
    if (!p) {
        return 11357; // ln 65536: half of the smallest probability
    }
    for (; p < 32768; p <<= 1) {
        octaves++;
    }
    return max32(0, ((octaves * 45426 + 32) >> 6) - table[(p >> 8) - 128]);
}

// Logits become p - y in Q15 by a table (256) of exp(-i/16). Returns the loss in 1/1024 nat.
int32_t trimtab_softmax_loss(uint8_t *const *mem, uint32_t off) {
    RECORD(softmax_loss);
    int32_t *logits = at(mem, r->logits);
    const uint16_t *exps = at(mem, r->exp_table);
    int32_t label = *(const int32_t *)at(mem, r->label), top = logits[0], loss = 0;
    for (int32_t k = 1; k < r->n; k++) {
        top = max32(top, logits[k]);
    }
    // At most 65535 each: below 2^32 for 65,537 classes; and p <= 2^15 whatever the table holds.
    uint32_t total = 0;
    for (int32_t k = 0; k < r->n; k++) {
        uint32_t d = rsh_unsigned((uint32_t)top - (uint32_t)logits[k], r->pre);
        int32_t i = rsh((int32_t)(d < 32767 ? d : 32767) * r->mul, r->shift);
        logits[k] = i >= 0 && i < 256 ? exps[i] : 0;
        total += (uint32_t)logits[k];
    }
    total += !total;
    for (int32_t k = 0; k < r->n; k++) {
        uint32_t p = (((uint32_t)logits[k] << 15) + (total >> 1)) / total; // 65535 * 2^15 + total / 2 < 2^32
        logits[k] = (int32_t)p;
        if (k == label) {
            loss = minus_ln(p, at(mem, r->ln_table));
            logits[k] -= 32768;
        }
    }
    return loss;
}

FAST int32_t trimtab_halved_dot(const int16_t *w, int32_t step, const int32_t *err, int32_t n) {
    int32_t sum = 0;
    for (; n > 1; n -= 2, err += 2) {
        sum = mac(sum, *w >> 1, err[0]);
        w += step;
        sum = mac(sum, *w >> 1, err[1]);
        w += step;
    }
    return n ? mac(sum, *w >> 1, *err) : sum;
}

// sums (f) = sum over classes of (w / 2) * err. |w / 2| <= 2^14 and sum |err| <= 2^16, so |sums| <= 2^30. All
// exponents of a sample's errors are relative to this one. Returns 0 if there is nothing to learn.
int32_t trimtab_head_dx(uint8_t *const *mem, uint32_t off) {
    RECORD(head_dx);
    int8_t *g = at(mem, r->g);
    const int32_t *err = at(mem, r->err);
    const int16_t *w = at(mem, r->w); // (n, f)
    const uint8_t *mask = at(mem, r->mask);
    int32_t *sums = at(mem, r->sums);
    for (int32_t i = 0; i < r->f; i++) {
        sums[i] = !mask || mask_bit(mask, i) ? trimtab_halved_dot(w + i, r->f, err, r->n) : 0;
    }
    uint32_t top = trimtab_largest(sums, r->f);
    if (!top) {
        return 0;
    }
    int32_t pre = max32(trimtab_bit_length(top) - 22, 0);
    for (int32_t i = 0; i < r->f; i++) {
        sums[i] = mul32(rsh(sums[i], pre), r->scale); // 2^22 times 8 bits: below 2^30
    }
    top = trimtab_largest(sums, r->f);
    int32_t s = int8_shift(top);
    for (int32_t i = 0; i < r->f; i++) {
        g[i] = (int8_t)trimtab_shifted(sums[i], s, 127);
    }
    *(int32_t *)at(mem, r->exp) = pre + r->scale_exp - 26 + s;
    *(int32_t *)at(mem, r->head_exp) = pre + r->scale_exp - 26 + trimtab_bit_length(top);
    return 1;
}

// How weights move: by v / 2^s, at most `most`, and no farther than +-limit; against v where minus is -1.
struct move {
    int32_t s, most, limit, minus, zx;
};

// w (n) moves by err * (x - zx); s in 1 .. 31.
FAST static void move_row(int16_t *w, const int8_t *x, int32_t n, int32_t err, const struct move *by) {
    int32_t s = by->s - 1, most = by->most, limit = by->limit, minus = by->minus, zx = by->zx;
    for (; n; n--, w++) {
        int32_t v = mul32(err, *x++ - zx) >> s;
        v = clamp_here((v >> 1) + (v & 1), -most, most);
        *w = (int16_t)clamp_here(*w + ((v ^ minus) - minus), -limit, limit);
    }
}

// The same with any s.
static void move_row_slowly(int16_t *w, const int8_t *x, int32_t n, int32_t err, const struct move *by) {
    for (int32_t i = 0; i < n; i++) {
        int32_t v = trimtab_shifted(mul32(err, x[i] - by->zx), by->s, by->most);
        w[i] = (int16_t)clamp(w[i] + ((v ^ by->minus) - by->minus), -by->limit, by->limit);
    }
}

// w (n, f) and bias (n), or their accumulators, move by err (n) times x (f).
int32_t trimtab_head_dw(uint8_t *const *mem, uint32_t off) {
    RECORD(head_dw);
    int16_t *acc = at(mem, r->acc);
    int16_t *w = acc ? acc : at(mem, r->w); // (n, f)
    int32_t *acc_bias = at(mem, r->acc_bias), *bias = acc_bias ? acc_bias : at(mem, r->bias);
    const int32_t *err = at(mem, r->err), *lr = at(mem, r->lr);
    const int8_t *x = at(mem, r->x);
    // |err * (x - zx)| <= 2^15 * 255, times 7 bits: below 2^30.
    int32_t m = min32(127, rsh(mul32(r->u, lr[0]), 8));
    const struct move by = { add32(r->u_shift + 7, lr[1]), r->limit, acc ? 32767 : r->limit, acc ? 0 : -1,
                             r->zx };
    for (int32_t k = 0; k < r->n; k++, w += r->f) {
        if (by.s > 0 && by.s < 32) {
            move_row(w, x, r->f, mul32(err[k], m), &by);
        } else {
            move_row_slowly(w, x, r->f, mul32(err[k], m), &by);
        }
        int32_t delta = rsh(mul32(err[k], lr[0]), sub32(lr[1], 1)); // 2^15 times 8 bits: below 2^23
        trimtab_move_bias(bias + k, acc_bias ? sub32(0, delta) : delta);
    }
    return 0;
}

// Mean squared error in squared quantization steps of the output. Each term is at most 65,025: the total is
// below 2^32 for 66,051 outputs.
int32_t trimtab_mse_loss(uint8_t *const *mem, uint32_t off) {
    RECORD(mse_loss);
    const int8_t *y = at(mem, r->y), *target = at(mem, r->target);
    uint32_t total = 0;
    for (int32_t i = 0; i < r->n; i++) {
        int32_t d = y[i] - target[i];
        total += (uint32_t)(d * d);
    }
    return (int32_t)((total + (uint32_t)r->n / 2) / (uint32_t)r->n);
}

// Returns 0 if there is nothing to learn.
int32_t trimtab_mse_dx(uint8_t *const *mem, uint32_t off) {
    RECORD(mse_dx);
    int8_t *g = at(mem, r->g);
    const int8_t *y = at(mem, r->y), *target = at(mem, r->target);
    const uint8_t *mask = at(mem, r->mask);
    uint32_t top = 0;
    for (int32_t i = 0; i < r->n; i++) {
        int32_t v = mask && !mask_bit(mask, i) ? 0 : clamp(y[i] - target[i], -127, 127);
        g[i] = (int8_t)v;
        top = magnitude(v) > top ? magnitude(v) : top;
    }
    *(int32_t *)at(mem, r->exp) = r->scale_exp;
    *(int32_t *)at(mem, r->head_exp) = r->scale_exp + trimtab_bit_length(top);
    return (int32_t)top;
}
