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
    vec s[2];
    n = min32(n, WIDTH);
    load_words(q->bias, bias + o, n);
    load_words(q->mult, mult + o, n);
    load_bytes(s, shift + o, n);
    for (int i = 0; i < 2; i++) {
        vec zero = { 0 }, right = most(-s[i], zero);
        q->left[i] = most(s[i], zero);
        q->right[i] = right;
        q->before[i] = most(right - 1, zero);
        q->away[i] = right > zero;
        q->one[i] = q->away[i] & 1;
    }
}

#endif
