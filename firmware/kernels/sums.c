// Sums of the columns of errors.
#include "packed/packed.h"
#include "update.h"

#if !TRIMTAB_WIDE

#define MASK 0x00ff00ffu
#define ROWS 256 // of bytes + 128, which add up to less than 2^16 in half a word

// Four columns, a word in each row.
FAST static void four_sums(int32_t *sums, const int8_t *g, int32_t n, int32_t oc) {
    for (int32_t i = 0; i < 4; i++) {
        sums[i] = -128 * n;
    }
    while (n) {
        uint32_t even = 0, odd = 0;
        int32_t rows = min32(n, ROWS);
        n -= rows;
        for (; rows; rows--, g += oc) {
            uint32_t v = *(const word_t *)g ^ 0x80808080u;
            even += v & MASK;
            odd += v >> 8 & MASK;
        }
        sums[0] += even & 0xffff;
        sums[1] += odd & 0xffff;
        sums[2] += even >> 16;
        sums[3] += odd >> 16;
    }
}

int32_t trimtab_column_sums(int32_t *sums, const int8_t *g, int32_t n, int32_t oc, int32_t o) {
    g += o;
    if (!(((uintptr_t)g | (uintptr_t)oc) & 3)) {
        four_sums(sums, g, n, oc);
        return 4;
    }
    int32_t sum = 0;
    for (; n; n--, g += oc) {
        sum += *g;
    }
    *sums = sum;
    return 1;
}

#endif
