// The loops of a PC: many lanes at once, the same numbers as the plain loops.
//
// Channels are lanes. Inputs become 16-bit numbers x - zx with zeros around them, so that no sum needs a correction for the
// zero point, and two terms of a sum lie side by side, so that one instruction multiplies and adds both. Every product is
// exact and every sum has 32 bits, so the order of additions changes nothing.
//
// Each function returns 0, with nothing written, where a record is not for it; the plain loops then do it.
#ifndef TRIMTAB_WIDE_H
#define TRIMTAB_WIDE_H

#include "../error.h"
#include "../output.h"
#include "../update.h"

#ifndef TRIMTAB_WIDE
#define TRIMTAB_WIDE 0
#endif

#if TRIMTAB_WIDE

int32_t trimtab_conv_wide(uint8_t *const *mem, const struct trimtab_conv_fwd *r, const struct output *out);
int32_t trimtab_depthwise_wide(uint8_t *const *mem, const struct trimtab_depthwise_fwd *r, const struct output *out);
int32_t trimtab_conv_dx_wide(uint8_t *const *mem, const struct trimtab_conv_dx *r, int32_t exp);
int32_t trimtab_depthwise_dx_wide(uint8_t *const *mem, const struct trimtab_depthwise_dx *r, int32_t exp);
int32_t trimtab_conv_dw_wide(uint8_t *const *mem, const struct trimtab_conv_dw *r, const struct update *up);
int32_t trimtab_depthwise_dw_wide(uint8_t *const *mem, const struct trimtab_depthwise_dw *r, const struct update *up);
int32_t trimtab_add_wide(const struct trimtab_add_fwd *r, const int8_t *x, const int8_t *x2, const struct output *out);
int32_t trimtab_avg_pool_wide(uint8_t *const *mem, const struct trimtab_avg_pool_fwd *r);
int32_t trimtab_mean_wide(const struct trimtab_mean_fwd *r, const int8_t *x, const struct output *out);

// Errors i .. i + n from sums of less than 2^30, which are lost: addend, mask, tracked maximum, int8.
void trimtab_error_wide(struct error *e, int32_t i, int32_t *sums, int32_t n);
// The same for a grid whose elements lie side by side.
int32_t trimtab_error_grid_wide(struct error *e, int32_t start, int32_t *sums, const struct grid *grid);

#else

#define trimtab_conv_wide(mem, r, out) 0
#define trimtab_depthwise_wide(mem, r, out) 0
#define trimtab_conv_dx_wide(mem, r, exp) 0
#define trimtab_depthwise_dx_wide(mem, r, exp) 0
#define trimtab_conv_dw_wide(mem, r, up) 0
#define trimtab_depthwise_dw_wide(mem, r, up) 0
#define trimtab_add_wide(r, x, x2, out) 0
#define trimtab_avg_pool_wide(mem, r) 0
#define trimtab_mean_wide(r, x, out) 0
#define trimtab_error_grid_wide(e, start, sums, grid) 0

#endif

#endif
