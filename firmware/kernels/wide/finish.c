#include "wide.h"

#if TRIMTAB_WIDE

#include "finish.h"

int32_t trimtab_shifts_fit(const int8_t *shift, int32_t n) {
    int32_t beyond = 0;
    for (int32_t i = 0; i < n; i++) {
        beyond |= shift[i] < -31 || shift[i] > 30;
    }
    return !beyond;
}

void trimtab_scaling(struct scaling *q, const int32_t *bias, const int32_t *mult, const int8_t *shift, int32_t o, int32_t n) {
    union { int32_t at[WIDTH]; vec v[2]; } s = { { 0 } }, m = { { 0 } }, b = { { 0 } };
    n = min32(n, WIDTH);
    memcpy(m.at, mult + o, 4 * (size_t)n);
    memcpy(b.at, bias + o, 4 * (size_t)n);
    for (int32_t i = 0; i < n; i++) {
        s.at[i] = shift[o + i];
    }
    for (int i = 0; i < 2; i++) {
        vec zero = { 0 }, right = most(-s.v[i], zero);
        q->bias[i] = b.v[i];
        q->mult[i] = m.v[i];
        q->left[i] = most(s.v[i], zero);
        q->right[i] = right;
        q->before[i] = most(right - 1, zero);
        q->away[i] = right > zero;
        q->one[i] = q->away[i] & 1;
    }
}

#endif
