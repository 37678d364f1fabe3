// Operators that treat each element alone: add, windows (pad, concat), tables, requantize. And softmax.
#pragma GCC optimize ("Os") // code lies in a board's RAM, and little time is spent here
#include "error.h"
#include "output.h"
#include "packed/packed.h"
#include "wide/wide.h"

// Both inputs are brought to a common scale with 20 more bits. |x - zx| <= 255, so each is at most 255 * 2^20
// < 2^28, and their sum is below 2^29.
int32_t trimtab_add_fwd(uint8_t *const *mem, uint32_t off) {
    RECORD(add_fwd);
    const int8_t *x = at(mem, r->x), *x2 = at(mem, r->x2);
    const struct output out = output(mem, r->y, r->mask, r->lo, r->hi, r->zy);
    if (trimtab_add_wide(r, x, x2, &out) || trimtab_add_packed(r, x, x2, &out)) {
        return 0;
    }
    for (int32_t i = 0; i < r->n; i++) {
        int32_t a = trimtab_requant((x[i] - r->zx) * (1 << 20), r->mult, r->shift);
        int32_t b = trimtab_requant((x2[i] - r->zx2) * (1 << 20), r->mult2, r->shift2);
        trimtab_put_requant(&out, i, add32(a, b), r->mult_y, r->shift_y);
    }
    return 0;
}

// The error of one input of add (m from the scales), pad or concat (m = 128): a window of gy times m / 128,
// at most 127 * 32768 / 128 < 2^15.
int32_t trimtab_scale_dx(uint8_t *const *mem, uint32_t off) {
    RECORD(scale_dx);
    const int8_t *gy = at(mem, r->gy); // (yh, yw, yc)
    int32_t *row = at(mem, r->row); // (ic)
    struct error e;
    trimtab_error_open(&e, mem, &r->error_out, add32(*(const int32_t *)at(mem, r->gy_exp), r->m_exp + 7));
    for (int32_t iy = 0; iy < r->ih; iy++) {
        for (int32_t ix = 0; ix < r->iw; ix++) {
            const int8_t *g = gy + ((iy + r->top) * r->yw + ix + r->left) * r->yc + r->first;
            for (int32_t i = 0; i < r->ic; i++) {
                row[i] = rsh(g[i] * r->m, 7);
            }
            trimtab_error_row(&e, (iy * r->iw + ix) * r->ic, row, r->ic);
        }
    }
    trimtab_error_close(&e);
    return 0;
}

HOT static void copy(int8_t *y, const int8_t *x, int32_t n) {
    if ((((uintptr_t)x | (uintptr_t)y) & 3) == 0) {
        for (; n >= 16; n -= 16, x += 16, y += 16) {
            const word_t *from = (const word_t *)x;
            word_t *to = (word_t *)y;
            to[0] = from[0];
            to[1] = from[1];
            to[2] = from[2];
            to[3] = from[3];
            NO_LIBRARY_CALL;
        }
    }
    for (; n > 0; n--) {
        *y++ = *x++;
        NO_LIBRARY_CALL;
    }
}

// Copies x (ih, iw, ic) into a window of y (yh, yw, yc): pad (fill is the zero point) and concat (fill is
// 256, which leaves the rest alone).
int32_t trimtab_copy_fwd(uint8_t *const *mem, uint32_t off) {
    RECORD(copy_fwd);
    int8_t *y = at(mem, r->y);
    const int8_t *x = at(mem, r->x);
    if (r->fill != 256) {
        for (int32_t i = 0; i < r->yh * r->yw * r->yc; i++) {
            y[i] = (int8_t)r->fill;
            NO_LIBRARY_CALL;
        }
    }
    int32_t row = r->ic, runs = r->iw; // a row is one run if no other channel lies between its columns
    if (r->ic == r->yc) {
        row *= runs;
        runs = 1;
    }
    for (int32_t iy = 0; iy < r->ih; iy++) {
        int8_t *p = y + ((iy + r->top) * r->yw + r->left) * r->yc + r->first;
        for (int32_t n = runs; n; n--, p += r->yc, x += row) {
            copy(p, x, row);
        }
    }
    return 0;
}

// Some channels of x, side by side: what a partial update keeps of its input.
int32_t trimtab_gather(uint8_t *const *mem, uint32_t off) {
    RECORD(gather);
    int8_t *y = at(mem, r->y); // (n, nk)
    const int8_t *x = at(mem, r->x); // (n, ic)
    const uint16_t *kept = at(mem, r->kept);
    for (int32_t p = 0; p < r->n; p++, x += r->ic) {
        for (int32_t j = 0; j < r->nk; j++) {
            *y++ = x[kept[j]];
        }
    }
    return 0;
}

// y = x - 128 for raw bytes x, as most input maps do it: the sign bit alone changes, in four bytes at once.
HOT static void flip(int8_t *y, const int8_t *x, int32_t n) {
    if ((((uintptr_t)x | (uintptr_t)y) & 3) == 0) {
        for (; n >= 8; n -= 8, x += 8, y += 8) {
            word_t *to = (word_t *)y;
            to[0] = ((const word_t *)x)[0] ^ 0x80808080u;
            to[1] = ((const word_t *)x)[1] ^ 0x80808080u;
        }
    }
    for (; n > 0; n--) {
        *y++ = (int8_t)(*x++ ^ -128);
    }
}

// Any function of one int8, as a table (256): relu, relu6, hard swish, logistic, the input map.
int32_t trimtab_lut_fwd(uint8_t *const *mem, uint32_t off) {
    RECORD(lut_fwd);
    int8_t *y = at(mem, r->y);
    const int8_t *x = at(mem, r->x), *table = at(mem, r->table);
    int32_t i = 0, n = r->n;
    while (i < 256 && table[i] == (int8_t)i) {
        i++;
    }
    if (i == 256) {
        flip(y, x, n);
        return 0;
    }
    for (table += 128, n--; n >= 0; n--) { // down, because that takes the fewest instructions
        y[n] = table[x[n]];
    }
    return 0;
}

// gy times the slope (256) at x, in 1/128 of 2^m_exp; at most 127 * 32768 / 128 < 2^15.
int32_t trimtab_lut_dx(uint8_t *const *mem, uint32_t off) {
    RECORD(lut_dx);
    const int8_t *gy = at(mem, r->gy), *x = at(mem, r->x);
    const int16_t *slope = (const int16_t *)at(mem, r->slope) + 128;
    int32_t *row = at(mem, r->row);
    struct error e;
    trimtab_error_open(&e, mem, &r->error_out, add32(*(const int32_t *)at(mem, r->gy_exp), r->m_exp + 7));
    for (int32_t p = 0; p < r->ih * r->iw * r->ic; p += r->ic) {
        for (int32_t i = 0; i < r->ic; i++) {
            row[i] = rsh(gy[p + i] * slope[x[p + i]], 7);
        }
        trimtab_error_row(&e, p, row, r->ic);
    }
    trimtab_error_close(&e);
    return 0;
}

int32_t trimtab_requantize_fwd(uint8_t *const *mem, uint32_t off) {
    RECORD(requantize_fwd);
    const int8_t *x = at(mem, r->x);
    const struct output out = output(mem, r->y, r->mask, -128, 127, r->zy);
    for (int32_t i = 0; i < r->n; i++) {
        trimtab_put_requant(&out, i, x[i] - r->zx, r->mult, r->shift);
    }
    return 0;
}

// 1 / (2 * half) in Q31, for half in [1/2, 1) in Q31. Newton's method in Q29 begins with 48/17 - 32/17 *
// half; z stays in 1 .. 2, so below 2^30, and shifted() saturates what rounding may add.
static int32_t inverse(int32_t half) {
    int32_t z = add32(1515870810, trimtab_high31(half, -1010580540));
    for (int32_t i = 0; i < 3; i++) {
        z = add32(z, trimtab_shifted(trimtab_high31(z, (1 << 29) - trimtab_high31(half, z)), -2, INT32_MAX));
    }
    return trimtab_shifted(z, -1, INT32_MAX);
}

// The table (256) holds exp of (i - 255) quantization steps of x in Q31. Each term of the sum is at most
// 2^19, so the sum is below 2^31 for 4,095 terms, and it is at least 1.
int32_t trimtab_softmax_fwd(uint8_t *const *mem, uint32_t off) {
    RECORD(softmax_fwd);
    int8_t *y = at(mem, r->y);
    const int8_t *x = at(mem, r->x);
    const int32_t *table = at(mem, r->table);
    for (int32_t row = 0; row < r->rows; row++, x += r->n, y += r->n) {
        int32_t top = -128;
        for (int32_t i = 0; i < r->n; i++) {
            top = max32(top, x[i]);
        }
        const int32_t *exps = table + 255 - top;
        uint32_t total = 0;
        for (int32_t i = 0; i < r->n; i++) {
            total += (uint32_t)rsh_away(exps[x[i]], 12);
        }
        total += !total;
        int32_t up = 32 - trimtab_bit_length(total);
        int32_t scale = inverse((int32_t)(total << up >> 1));
        for (int32_t i = 0; i < r->n; i++) {
            y[i] = (int8_t)clamp(rsh_away(trimtab_high31(scale, exps[x[i]]), 35 - up) - 128, -128, 127);
        }
    }
    return 0;
}
