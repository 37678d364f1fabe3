// Elements of a tensor in another order (transpose), or some of them (slice), along four axes.
#pragma GCC optimize ("Os") // code lies in a board's RAM, and little time is spent here
#include "error.h"

// y (n0, n1, n2, n3) from elements of x that lie sk apart along axis k.
int32_t trimtab_move_fwd(uint8_t *const *mem, uint32_t off) {
    RECORD(move_fwd);
    int8_t *y = at(mem, r->y);
    const int8_t *x = at(mem, r->x);
    for (int32_t i0 = 0; i0 < r->n0; i0++) {
        for (int32_t i1 = 0; i1 < r->n1; i1++) {
            for (int32_t i2 = 0; i2 < r->n2; i2++) {
                const int8_t *p = x + i0 * r->s0 + i1 * r->s1 + i2 * r->s2;
                for (int32_t i3 = 0; i3 < r->n3; i3++) {
                    *y++ = p[i3 * r->s3];
                    NO_LIBRARY_CALL;
                }
            }
        }
    }
    return 0;
}

// Whether i is one of n places from `first` on.
static inline int32_t within(int32_t i, int32_t first, int32_t n) {
    return i >= first && i - first < n;
}

// A row (ic) of the error: gy where an element was moved, else 0.
static void fill_row(const struct trimtab_move_dx *r, const int8_t *gy, int32_t *row, int32_t i0, int32_t i1,
    int32_t i2) {
    for (int32_t i = 0; i < r->ic; i++) {
        row[i] = 0;
        NO_LIBRARY_CALL;
    }
    if (within(i0, r->f0, r->c0) && within(i1, r->f1, r->c1) && within(i2, r->f2, r->c2)) {
        gy += (i0 - r->f0) * r->s0 + (i1 - r->f1) * r->s1 + (i2 - r->f2) * r->s2;
        for (int32_t i = 0; i < r->c3; i++) {
            row[r->f3 + i] = gy[i * r->s3];
        }
    }
}

// The error of x (n0, n1, iw, ic), of which ck elements from fk on were moved along axis k.
int32_t trimtab_move_dx(uint8_t *const *mem, uint32_t off) {
    RECORD(move_dx);
    const int8_t *gy = at(mem, r->gy);
    int32_t *row = at(mem, r->row);
    struct error e;
    trimtab_error_open(&e, mem, &r->error_out, *(const int32_t *)at(mem, r->gy_exp));
    int32_t start = 0;
    for (int32_t i0 = 0; i0 < r->n0; i0++) {
        for (int32_t i1 = 0; i1 < r->n1; i1++) {
            for (int32_t i2 = 0; i2 < r->iw; i2++, start += r->ic) {
                fill_row(r, gy, row, i0, i1, i2);
                trimtab_error_row(&e, start, row, r->ic);
            }
        }
    }
    trimtab_error_close(&e);
    return 0;
}
