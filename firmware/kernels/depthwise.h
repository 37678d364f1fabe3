// The weights of one depthwise channel, wherever they lie.
#ifndef TRIMTAB_DEPTHWISE_H
#define TRIMTAB_DEPTHWISE_H

#include "kernel.h"

struct column {
    const int8_t *w; // first tap; null where there are none
    int32_t step; // from tap to tap
};

// Of output channel o of oc, nk of which are trained.
struct column trimtab_column(uint8_t *const *mem, const struct trimtab_weights *r, int32_t nk, int32_t oc,
    int32_t o);

#endif
