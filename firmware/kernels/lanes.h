// Loops over packed operands: two exact products in one multiplication. They need scratch memory and pay on cores
// whose multiplier gives 32 bits and nothing else, and on those that multiply two halves of words in one instruction
// (TRIMTAB_DSP). Each loop stands in C in lanes.c, in Thumb-1 in armv6m/ and with DSP instructions in armv7em/.
//
// A word holds two bytes as lanes: X = a0 + a1 * 2^16, W = w1 + w0 * 2^16. Modulo 2^32, X * W = a0*w1 + (a0*w0 +
// a1*w1) * 2^16. |a0*w1| < 2^15, and where one side is never -128, |a0*w0 + a1*w1| <= 2 * 128 * 127 < 2^15: so the
// upper half is the sum of both products, less 1 where a0*w1 is negative, which its own bit 15 says. With DSP
// instructions lanes are halves that borrow nothing, sums have 32 bits, and -128 is a number like others.
#ifndef TRIMTAB_LANES_H
#define TRIMTAB_LANES_H

#include "kernels.h"

#ifndef TRIMTAB_DSP
#if defined(__ARM_FEATURE_DSP) && __ARM_ARCH_PROFILE == 'M'
#define TRIMTAB_DSP 1
#else
#define TRIMTAB_DSP 0
#endif
#endif

#ifndef TRIMTAB_LANES
#if defined(__ARM_ARCH_6M__) || TRIMTAB_DSP
#define TRIMTAB_LANES 1
#else
#define TRIMTAB_LANES 0
#endif
#endif

#if TRIMTAB_LANES

// A function in which time is spent, in a file that is compiled for size.
#define FAST __attribute__((noinline, optimize("O2")))

#define SHIFT_LEAST (TRIMTAB_DSP ? 8 : 0) // of errors, so that they fit their lanes: |gy * m| <= 2^22

static inline uint32_t lanes(int32_t low, int32_t high) {
    return (TRIMTAB_DSP ? (uint16_t)low : (uint32_t)low) + ((uint32_t)high << 16);
}

// -- packing and products (lanes.c, armv*/dot.S)

// 4 * words bytes as lanes, two words for each four bytes. In x, `skip` bytes lie between such pairs of words.
void trimtab_pack_x(const int8_t *bytes, uint32_t *to, int32_t words, int32_t skip);
// In w; returns the sum of what was written: of words, or of bytes with DSP instructions.
uint32_t trimtab_pack_w(const int8_t *bytes, uint32_t *to, int32_t words);

// The same of bytes that are `step` apart.
void trimtab_gather_x(const int8_t *from, int32_t step, uint32_t *to, int32_t words, int32_t skip);
uint32_t trimtab_gather_w(const int8_t *from, int32_t step, uint32_t *to, int32_t words, int32_t skip);

// acc (2 * pairs) = start + sum x * w; x: (pairs, row / 2, 2 rows, 2 words), w: one row. Rows are multiples of 2.
void trimtab_dot(const uint32_t *x, const uint32_t *w, const uint32_t *w_end, int32_t *acc, int32_t pairs,
    int32_t start);

// A row of n bytes that are `step` apart; the last word is filled with zeros.
void trimtab_gather_row_x(const int8_t *from, int32_t step, uint32_t *to, int32_t n, int32_t skip);
// Returns the sum of the bytes.
int32_t trimtab_gather_row_w(const int8_t *from, int32_t step, uint32_t *to, int32_t n);

static inline int32_t row_words(int32_t n) {
    return (n + 3) / 4 * 2;
}

// -- from accumulators to outputs (lanes.c, armv*/requant.S)

struct requant { // the order is known to armv*/requant.S
    int32_t m[3]; // 10, 10 and 11 bits of the multiplier; or its lower and upper half; or all of it
    int32_t shift;
    int32_t half; // what rounds, and what makes the smallest output 0
    int32_t range, lo; // outputs lie in lo .. lo + range
    int32_t step; // of y
    int32_t width, skip, rows; // bytes of accumulators in a row, bytes between rows
    int8_t *first; // output 0
    uint8_t *mask;
};

// |acc + offset| < 2^20, range 255.
void trimtab_requant_small(const int32_t *acc, int8_t *y, const struct requant *q, int32_t offset);
// No mask, range 255, sums below 1 give the smallest output; shift and half are of the product / 2^20. Returns 0, with
// some outputs written, if a sum is 2^20 or more.
int32_t trimtab_requant_relu(const int32_t *acc, int8_t *y, const struct requant *q, int32_t offset);
void trimtab_requant_wide(const int32_t *acc, int8_t *y, const struct requant *q); // |acc| < 2^30
// With DSP instructions; |acc + offset| < 2^30.
void trimtab_requant_rows(const int32_t *acc, int8_t *y, const struct requant *q, int32_t offset);

struct channel {
    int32_t bias, mult, shift;
};

struct finish {
    const struct output *out;
    struct requant q;
    uint32_t bound; // of an accumulator's magnitude, the bias apart
    int32_t once; // the rounding of dense layers
};

// Outputs in rows of `width` accumulators, `skip` words between them; `step` from one output to the next.
void trimtab_finish_open(struct finish *f, const struct output *out, int32_t step, int32_t width, int32_t skip,
    int32_t rows);

// Says that none of n outputs is clamped; trimtab_finish tells the others.
void trimtab_mask_open(const struct output *out, int32_t n);

// Outputs i, i + step, ... of one channel from accumulators, to which `offset` is still to be added.
void trimtab_finish(struct finish *f, int32_t *acc, int32_t i, int32_t offset, const struct channel *c);

// -- one channel (depthwise_lanes.c, armv*/depthwise.S)

struct load { // the order is known to armv*/depthwise.S, here and below
    int32_t width, skip, rows; // bytes of a row of words, bytes between rows
    int32_t mul, shift, add;
};

// Words (v * mul + add) >> shift of bytes v, `step` apart.
void trimtab_plane_load(int32_t *to, const int8_t *from, int32_t step, const struct load *p);

// The same for a slide: with DSP instructions as lanes of rows -1 and 0, 1 and 2, ... in every other row, zeros where
// there is no such row.
void trimtab_slide_load(int32_t *to, const int8_t *from, int32_t step, const struct load *p);

struct slide {
    int32_t columns, rows, pitch;
    int32_t phase; // (rows - 1) % 3
};

// 3x3 with stride 1 over a plane with a column of pads on either side. Sum (r, c) goes to plane[r + 1][c].
void trimtab_slide3(int32_t *plane, const int32_t *w, const struct slide *p);

struct pair_load {
    int32_t columns, rows, pitch; // bytes from row to row of the result
    int32_t row_step, pad, column_step;
};

// Words of each x and the one below it as lanes; rows + 1 of them, above and below the image is `pad`.
void trimtab_pair_load(uint32_t *to, const int8_t *from, const struct pair_load *p);

struct pair_rows {
    int32_t width, skip, rows; // bytes of a row of words, bytes between rows
    int32_t below, next; // bytes from the upper x to the lower one and to the next pair
};

// The same of pairs that share no x, whole rows, x `step` apart.
void trimtab_pair_rows(uint32_t *to, const int8_t *from, int32_t step, const struct pair_rows *p);

struct tiles {
    int32_t width; // bytes of accumulators in a row: a multiple of 16
    int32_t skip; // bytes of x from the end of a row to the next one
    int32_t rows;
};

// acc += x * w for one pair of kernel rows, K wide, column stride S, in tiles of 4 outputs.
typedef void (*tile_t)(const uint32_t *x, int32_t *acc, const uint32_t *w, const struct tiles *p);
void trimtab_tile3_2(const uint32_t *x, int32_t *acc, const uint32_t *w, const struct tiles *p);
void trimtab_tile5_1(const uint32_t *x, int32_t *acc, const uint32_t *w, const struct tiles *p);
void trimtab_tile5_2(const uint32_t *x, int32_t *acc, const uint32_t *w, const struct tiles *p);
void trimtab_tile7_1(const uint32_t *x, int32_t *acc, const uint32_t *w, const struct tiles *p);
void trimtab_tile7_2(const uint32_t *x, int32_t *acc, const uint32_t *w, const struct tiles *p);
// The same for one kernel row of words instead of lanes.
void trimtab_row5(const uint32_t *x, int32_t *acc, const uint32_t *w, const struct tiles *p);
void trimtab_row7(const uint32_t *x, int32_t *acc, const uint32_t *w, const struct tiles *p);

// -- errors (lanes.c, armv*/error.S)

// Inputs with the same remainders of row and column are seen through the same taps: a phase of the strides.
struct phase {
    int32_t ky, kx; // first kernel position
    int32_t rows, cols; // kernel positions
    int32_t iy, ix; // first input
    int32_t high, wide; // inputs
    int32_t oy, ox; // the output that sees the first input through the first position; the next ones lie before it
};

// Of the first kernel position (ky, kx), below the strides, which are at most the kernel.
struct phase trimtab_phase(const struct trimtab_geometry *geo, int32_t ky, int32_t kx);

// ceil((end - first) / stride), at least 0.
static inline int32_t every(int32_t first, int32_t end, int32_t stride) {
    return first < end ? (end - first + stride - 1) / stride : 0;
}

// sums (pairs, 2, 4) = sum of d (pairs, terms + 1, 2) times w, four weights + 128 in a word; the last d is 128 times
// the sum of the others. With DSP instructions d are halves, (pairs, terms / 2, 2, 2 terms), terms a multiple of 4, and
// as many words before w are spare.
void trimtab_spread(const uint32_t *w, const uint32_t *w_end, const int32_t *d, int32_t *sums, int32_t pairs);

struct round {
    int32_t half, shift; // 0 .. 31
    uint32_t max;
    uint32_t limit; // magnitude below which nothing saturates
    int32_t step; // of g
    int32_t width, skip, rows; // bytes of sums in a row, bytes between rows
    int32_t g_skip; // of g, after a row
};

// Sums of less than 2^30 to int8, saturated at +-127; returns the largest magnitude of all sums and p->max.
uint32_t trimtab_round(const int32_t *sums, int8_t *g, const struct round *p);

// -- updates (lanes.c, armv6m/update.S)

struct update_row {
    int32_t n, pre, shift;
    int32_t pre_half, m, half;
};

// n weights k with 8-bit residuals r: less round(round(dw / 2^pre) * m / 2^shift), saturated.
void trimtab_update_row(const int32_t *dw, int8_t *k, int8_t *r, const struct update_row *p);

// -- kernels; 0 where they decline and the plain loops have to do it

int32_t trimtab_conv_lanes(uint8_t *const *mem, const struct trimtab_conv_fwd *r, const struct output *out);
int32_t trimtab_depthwise_lanes(uint8_t *const *mem, const struct trimtab_depthwise_fwd *r,
    const struct output *out);
int32_t trimtab_conv_dx_lanes(uint8_t *const *mem, const struct trimtab_conv_dx *r, int32_t exp);
int32_t trimtab_depthwise_dx_lanes(uint8_t *const *mem, const struct trimtab_depthwise_dx *r, int32_t exp);
int32_t trimtab_conv_dw_lanes(uint8_t *const *mem, const struct trimtab_conv_dw *r, const struct update *up);

#else

#define FAST HOT

#define trimtab_conv_lanes(mem, r, out) 0
#define trimtab_depthwise_lanes(mem, r, out) 0
#define trimtab_conv_dx_lanes(mem, r, exp) 0
#define trimtab_depthwise_dx_lanes(mem, r, exp) 0
#define trimtab_conv_dw_lanes(mem, r, up) 0

#endif

#endif
