#pragma GCC optimize ("Os") // code lies in a board's RAM, and little time is spent here
#include "output.h"

void trimtab_put(const struct output *out, int32_t i, int32_t v) {
    int32_t clamped = clamp(v, out->lo, out->hi);
    out->y[i] = (int8_t)(clamped + out->zero);
    if (out->mask) {
        uint8_t *byte = out->mask + (i >> 3);
        int32_t bit = 1 << (i & 7);
        *byte = (uint8_t)(v == clamped ? *byte | bit : *byte & ~bit);
    }
}

void trimtab_put_requant(const struct output *out, int32_t i, int32_t acc, int32_t mult, int32_t shift) {
    trimtab_put(out, i, trimtab_requant(acc, mult, shift));
}
