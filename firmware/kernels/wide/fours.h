// Convolutions with four terms in each lane, on processors that multiply bytes (AVX512-VNNI).
#ifndef TRIMTAB_FOURS_H
#define TRIMTAB_FOURS_H

#include "wide.h"

#if defined(__AVX512VNNI__) && defined(__AVX512VL__)
// Shifts fit, and there is more than one position.
int32_t trimtab_conv_fours(uint8_t *const *mem, const struct trimtab_conv_fwd *r, const struct output *out);
#else
#define trimtab_conv_fours(mem, r, out) 0
#endif

#endif
