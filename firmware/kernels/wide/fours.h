// Convolutions with four terms in each lane, on processors that multiply bytes (AVX512-VNNI).
#ifndef TRIMTAB_FOURS_H
#define TRIMTAB_FOURS_H

#include "wide.h"

#if defined(__AVX512VNNI__) && defined(__AVX512VL__)

#include "operands.h"

#define FOURS 1

// sum + x0 * w0 + .. + x3 * w3 in each lane; x are unsigned bytes.
INLINE vec dot(vec sum, vec x, vec w) {
    return (vec)_mm256_dpbusd_epi32((__m256i)sum, (__m256i)x, (__m256i)w);
}

// x + 128 (h, w, c) with the zero point around it.
void trimtab_raise(uint8_t *to, const int8_t *x, const struct trimtab_geometry *geo, const struct image *img, int32_t zx);

// Shifts fit, and there is more than one position.
int32_t trimtab_conv_fours(uint8_t *const *mem, const struct trimtab_conv_fwd *r, const struct output *out);

#else

#define FOURS 0
#define trimtab_conv_fours(mem, r, out) 0
#endif

#endif
