// References into memory, and the outputs of forward kernels.
#pragma GCC optimize ("Os") // code lives in RAM on a board, and little time is spent here
#include "kernels.h"

void *trimtab_at(uint8_t *const *mem, int32_t ref) {
    return ref < 0 ? 0 : mem[ref >> TRIMTAB_SPACE_SHIFT] + (ref & ((1 << TRIMTAB_SPACE_SHIFT) - 1));
}

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
