// Two operands of which the second, x2 (n2, c2), may be smaller: its rows and columns repeat over those of the
// first, x (n, c).
#pragma GCC optimize ("Os") // code lies in a board's RAM, and little time is spent here
#include "error.h"
#include "output.h"

// The next of n places in a circle.
static inline int32_t next(int32_t i, int32_t n) {
    return i + 1 < n ? i + 1 : 0;
}

// |product| <= 255^2 < 2^16.
int32_t trimtab_mul_fwd(uint8_t *const *mem, uint32_t off) {
    RECORD(mul_fwd);
    const int8_t *x = at(mem, r->x), *x2 = at(mem, r->x2);
    const struct output out = output(mem, r->y, r->mask, r->lo, r->hi, r->zy);
    int32_t at = 0;
    for (int32_t p = 0, row = 0; p < r->n; p++, row = next(row, r->n2)) {
        for (int32_t i = 0, j = 0; i < r->c; i++, at++, j = next(j, r->c2)) {
            int32_t product = (x[at] - r->zx) * (x2[row * r->c2 + j] - r->zx2);
            trimtab_put_requant(&out, at, product, r->mult, r->shift);
        }
    }
    return 0;
}

// As add_fwd, with the same bounds; the signs are 1 or -1.
int32_t trimtab_sum_fwd(uint8_t *const *mem, uint32_t off) {
    RECORD(sum_fwd);
    const int8_t *x = at(mem, r->x), *x2 = at(mem, r->x2);
    const struct output out = output(mem, r->y, r->mask, r->lo, r->hi, r->zy);
    int32_t at = 0;
    for (int32_t p = 0, row = 0; p < r->n; p++, row = next(row, r->n2)) {
        for (int32_t i = 0, j = 0; i < r->c; i++, at++, j = next(j, r->c2)) {
            int32_t a = trimtab_requant((x[at] - r->zx) * (1 << 20), r->mult, r->shift);
            int32_t b = trimtab_requant((x2[row * r->c2 + j] - r->zx2) * (1 << 20), r->mult2, r->shift2);
            int32_t sum = add32(mul32(a, r->sign), mul32(b, r->sign2));
            trimtab_put_requant(&out, at, sum, r->mult_y, r->shift_y);
        }
    }
    return 0;
}

// Adds row p of gy (n, c), times m and row `other` of x2, to the sums (ic), over which its columns repeat.
static void add_products(const struct trimtab_mul_dx *r, int32_t *sums, const int8_t *gy, const int8_t *other) {
    for (int32_t i = 0, j = 0, k = 0; i < r->c; i++, j = next(j, r->c2), k = next(k, r->ic)) {
        sums[k] = mac(sums[k], rsh(gy[i] * r->m, r->m_shift), other[j] - r->zx2);
    }
}

// The error of one operand (ih * iw, ic): gy times the other one, x2, summed where the operand repeats.
// m_shift keeps n * c / (gn * ic) terms, each of 22 bits less the shift times at most 255, below 2^30.
int32_t trimtab_mul_dx(uint8_t *const *mem, uint32_t off) {
    RECORD(mul_dx);
    const int8_t *gy = at(mem, r->gy), *x2 = at(mem, r->x2);
    int32_t *row = at(mem, r->row), exp = add32(*(const int32_t *)at(mem, r->gy_exp), r->m_exp + r->m_shift);
    struct error e;
    trimtab_error_open(&e, mem, &r->error_out, exp);
    for (int32_t q = 0; q < r->gn; q++) {
        for (int32_t i = 0; i < r->ic; i++) {
            row[i] = 0;
            NO_LIBRARY_CALL;
        }
        for (int32_t p = q; p < r->n; p += r->gn) {
            add_products(r, row, gy + p * r->c, x2 + p % r->n2 * r->c2);
        }
        trimtab_error_row(&e, q * r->ic, row, r->ic);
    }
    trimtab_error_close(&e);
    return 0;
}

// x, and times x2 where it is below its zero point.
int32_t trimtab_prelu_fwd(uint8_t *const *mem, uint32_t off) {
    RECORD(prelu_fwd);
    const int8_t *x = at(mem, r->x), *x2 = at(mem, r->x2);
    const struct output out = output(mem, r->y, r->mask, r->lo, r->hi, r->zy);
    int32_t at = 0;
    for (int32_t p = 0, row = 0; p < r->n; p++, row = next(row, r->n2)) {
        for (int32_t i = 0, j = 0; i < r->c; i++, at++, j = next(j, r->c2)) {
            int32_t a = x[at] - r->zx;
            if (a < 0) {
                trimtab_put_requant(&out, at, a * (x2[row * r->c2 + j] - r->zx2), r->mult2, r->shift2);
            } else {
                trimtab_put_requant(&out, at, a, r->mult, r->shift);
            }
        }
    }
    return 0;
}

// gy times m, or below the zero point times a slope (n2, c2), in 1/128 of 2^m_exp; at most 127 * 32768 / 128.
int32_t trimtab_prelu_dx(uint8_t *const *mem, uint32_t off) {
    RECORD(prelu_dx);
    const int8_t *gy = at(mem, r->gy), *x = at(mem, r->x);
    const int16_t *slopes = at(mem, r->slope);
    int32_t *row = at(mem, r->row);
    struct error e;
    trimtab_error_open(&e, mem, &r->error_out, add32(*(const int32_t *)at(mem, r->gy_exp), r->m_exp + 7));
    for (int32_t p = 0, q = 0; p < r->ih * r->iw; p++, q = next(q, r->n2)) {
        for (int32_t i = 0, j = 0; i < r->ic; i++, j = next(j, r->c2)) {
            int32_t m = x[p * r->ic + i] < r->zx ? slopes[q * r->c2 + j] : r->m;
            row[i] = rsh(gy[p * r->ic + i] * m, 7);
        }
        trimtab_error_row(&e, p * r->ic, row, r->ic);
    }
    trimtab_error_close(&e);
    return 0;
}
