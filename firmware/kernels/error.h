// Error tensors: sums become int8 with one exponent for the tensor.
#ifndef TRIMTAB_ERROR_H
#define TRIMTAB_ERROR_H

#include "kernel.h"

// One error tensor while it is written.
struct error {
    int8_t *g;
    const uint8_t *mask; // of the producer's clamp, or null
    const int8_t *add; // the addend: what another consumer sent back, or null
    int16_t *track;
    int32_t mul; // of the addend, in 1/128
    int32_t down, up; // shifts of the sum and of the addend to the common exponent
    int32_t base; // exponent of the sum, relative to the head error
    int32_t shift; // from the sum to int8
    uint32_t max;
};

// exp: the exponent of the sums that come. Writes the exponent of g.
void trimtab_error_open(struct error *e, uint8_t *const *mem, const struct trimtab_error_out *r, int32_t exp);
// Writes g[start .. start + n) from sums (n), each below 2^30. The sums are lost.
void trimtab_error_row(struct error *e, int32_t start, int32_t *sums, int32_t n);

// Sums in rows, and where they belong.
struct grid {
    int32_t width, skip, rows; // words in a row, words between rows
    int32_t step, next; // from one element to the next, and after a row besides
};

// The same for a grid of sums that begins at element `start`.
void trimtab_error_grid(struct error *e, int32_t start, int32_t *sums, const struct grid *grid);
// Moves the tracker.
void trimtab_error_close(const struct error *e);

// Adds the error of one output position, through kernel position (ky, kx), to the row (ic) of its input.
typedef void (*spread_t)(const void *record, uint8_t *const *mem, int32_t *row, int32_t position, int32_t ky,
    int32_t kx);

// Writes the whole error tensor of an operator with windows; row (ic) is scratch.
void trimtab_error_windows(uint8_t *const *mem, const struct trimtab_error_out *out,
    const struct trimtab_geometry *geo, int32_t *row, int32_t exp, spread_t spread, const void *record);

// The sum of (w / 2) * err over n numbers w, `step` apart (head.c).
int32_t trimtab_halved_dot(const int16_t *w, int32_t step, const int32_t *err, int32_t n);

// The shift that brings a magnitude into 7 bits, after rounding too.
static inline int32_t int8_shift(uint32_t max) {
    int32_t s = trimtab_bit_length(max) - 7;
    return s > 0 && rsh_unsigned(max, s) > 127 ? s + 1 : s;
}

#endif
