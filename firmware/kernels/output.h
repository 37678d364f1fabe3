// The outputs of forward kernels: clamped, and noted in a mask where the backward pass wants to know.
#ifndef TRIMTAB_OUTPUT_H
#define TRIMTAB_OUTPUT_H

#include "kernel.h"

struct output {
    int8_t *y;
    uint8_t *mask; // one bit per output: it was not clamped; or null
    int32_t lo, hi, zero; // clamp before the zero point is added
};

static inline struct output output(uint8_t *const *mem, int32_t y, int32_t mask, int32_t lo, int32_t hi,
    int32_t zero) {
    return (struct output) { at(mem, y), at(mem, mask), lo - zero, hi - zero, zero };
}

// Writes output i.
void trimtab_put(const struct output *out, int32_t i, int32_t v);
// Writes output i from its accumulator.
void trimtab_put_requant(const struct output *out, int32_t i, int32_t acc, int32_t mult, int32_t shift);

#endif
