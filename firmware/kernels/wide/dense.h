// Convolutions with one position, dense layers above all.
#ifndef TRIMTAB_WIDE_DENSE_H
#define TRIMTAB_WIDE_DENSE_H

#include "wide.h"

// There are weights, and shifts fit.
int32_t trimtab_dense_wide(uint8_t *const *mem, const struct trimtab_conv_fwd *r, const struct output *out);

#endif
