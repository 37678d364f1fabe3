// Rows of bytes, of any length and stride, as packed rows.
#pragma GCC optimize ("Os") // code lies in a board's RAM; time is spent in FAST loops and in assembly
#include "packed.h"

#if TRIMTAB_PACKED

#if TRIMTAB_DSP

// The sum of packed bytes, out of what trimtab_pack_w returns.
static int32_t sum_of_halves(uint32_t sum) {
    return (int32_t)sum;
}

#else

// The same of the words' sum: the lower half's sum, and the upper one's that it borrowed from.
static int32_t sum_of_halves(uint32_t sum) {
    return (int16_t)sum + (int16_t)((sum - (uint32_t)(int16_t)sum) >> 16);
}

#endif

#define PACK_MOST 126 // words of bytes at once: each half sums 252 bytes, |sum| <= 252 * 128 < 2^15

// What lies behind the last whole word, padded with zeros.
static void last_strided(int8_t *to, const int8_t *from, int32_t step, int32_t n) {
    for (int32_t i = 0; i < 4; i++, from += step) {
        to[i] = 0;
        if (i < n) {
            to[i] = *from;
        }
    }
}

void trimtab_gather_row_x(const int8_t *from, int32_t step, uint32_t *to, int32_t n, int32_t skip) {
    int32_t words = n >> 2;
    if (words && step == 1) {
        trimtab_pack_x(from, to, words, skip);
    } else if (words) {
        trimtab_gather_x(from, step, to, words, skip);
    }
    if (n & 3) {
        int8_t last[4];
        last_strided(last, from + 4 * words * step, step, n & 3);
        trimtab_gather_x(last, 1, to + words * (2 + skip / 4), 1, skip);
    }
}

int32_t trimtab_gather_row_w(const int8_t *from, int32_t step, uint32_t *to, int32_t n) {
    int32_t total = 0, words;
    for (; (words = min32(n >> 2, PACK_MOST)); n -= 4 * words, from += 4 * words * step, to += 2 * words) {
        uint32_t sum = step == 1 ? trimtab_pack_w(from, to, words)
            : trimtab_gather_w(from, step, to, words, 0);
        total += sum_of_halves(sum);
    }
    if (n) {
        int8_t last[4];
        last_strided(last, from, step, n);
        total += sum_of_halves(trimtab_gather_w(last, 1, to, 1, 0));
    }
    return total;
}

#endif
