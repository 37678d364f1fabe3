// A tile of sums: six rows of one operand times WIDTH columns of the other, in twelve registers.
#ifndef TRIMTAB_TILE_H
#define TRIMTAB_TILE_H

#include "vector.h"

#define SIX 6

// The rows of a: `runs` runs of `pairs` pairs of terms, one run `pitch` numbers behind the other. The next row lies `step`
// numbers further.
struct strip {
    ptrdiff_t step, pitch;
    int32_t runs, pairs;
};

// sums (SIX, 2) += rows of a times the columns b (runs * pairs, 2). Where there are fewer rows, the last one counts again.
// The accumulators have names of their own because an array of them would go through memory.
INLINE void tile(vec (*sums)[2], const struct strip *s, const int16_t *a, const terms *b, const int32_t rows) {
#define SIX_TIMES EACH(0) EACH(1) EACH(2) EACH(3) EACH(4) EACH(5)
#define EACH(j) vec l##j = sums[j][0], h##j = sums[j][1]; const ptrdiff_t at##j = (j < rows ? j : rows - 1) * s->step;
    SIX_TIMES
#undef EACH
    for (int32_t run = s->runs; run; run--, a += s->pitch) {
        const int16_t *p = a;
        for (int32_t k = s->pairs; k; k--, p += 2, b += 2) {
            terms b0 = b[0], b1 = b[1], x;
#define EACH(j) x = pair(p + at##j); l##j = madd(l##j, x, b0); h##j = madd(h##j, x, b1);
            SIX_TIMES
#undef EACH
        }
    }
#define EACH(j) sums[j][0] = l##j; sums[j][1] = h##j;
    SIX_TIMES
#undef EACH
}

// c (rows, WIDTH of `width`) = rows of a times the columns b.
static inline void sums_of(const struct strip *s, const int16_t *a, const terms *b, int32_t rows, int32_t *c, int32_t width) {
    for (; rows > 0; rows -= SIX, a += SIX * s->step, c += SIX * width) {
        vec sums[SIX][2] = { { { 0 } } };
        int32_t n = rows < SIX ? rows : SIX;
        tile(sums, s, a, b, n);
        for (int j = 0; j < n; j++) {
            *(vec_at *)(c + j * width) = sums[j][0];
            *(vec_at *)(c + j * width + LANES) = sums[j][1];
        }
    }
}

#endif
