// Loops over packed operands. They need scratch memory, and they pay on two kinds of cores: those whose
// multiplier gives 32 bits in a cycle and nothing else (SWAR: two exact products in one multiplication), and
// those that multiply two halves of words in one instruction (TRIMTAB_DSP). The loops stand in C in swar.c,
// dsp.c and loops.c, where tests compare them with the plain ones. Boards run them from armv6m/ (Thumb-1) and
// armv7em/ (DSP instructions).
//
// SWAR: a word packs two bytes, X = a0 + a1 * 2^16 and W = w1 + w0 * 2^16. Modulo 2^32, X * W = a0*w1 +
// (a0*w0 + a1*w1) * 2^16. |a0*w1| < 2^15, and where one side is never -128, |a0*w0 + a1*w1| <= 2 * 128 * 127
// < 2^15. So the upper half is the sum of both products, less 1 where a0*w1 is negative, and bit 15 says
// whether it is.
// DSP: the halves of a word borrow nothing from each other, sums have 32 bits, and -128 is allowed.
#ifndef TRIMTAB_PACKED_H
#define TRIMTAB_PACKED_H

#include "../output.h"
#include "../update.h"

#ifndef TRIMTAB_DSP
#if defined(__ARM_FEATURE_DSP) && __ARM_ARCH_PROFILE == 'M'
#define TRIMTAB_DSP 1
#else
#define TRIMTAB_DSP 0
#endif
#endif

#ifndef TRIMTAB_PACKED
#if defined(__ARM_ARCH_6M__) || TRIMTAB_DSP
#define TRIMTAB_PACKED 1
#else
#define TRIMTAB_PACKED 0
#endif
#endif

// Layers with one position. A module for one package may lack their loops.
#if TRIMTAB_DSP || !TRIMTAB_PACKED
#define TRIMTAB_DENSE 0
#elif !defined(TRIMTAB_DENSE)
#define TRIMTAB_DENSE 1
#endif

#if TRIMTAB_PACKED

// A function in which time is spent, in a file that is compiled for size.
#define FAST __attribute__((noinline, optimize("O2")))

#if TRIMTAB_DSP

#define SHIFT_LEAST 8 // of errors, so that they fit 16 bits: |gy * m| <= 2^22
#define PRODUCT_MOST (255 * 128) // of (x - zx) * w

INLINE uint32_t pack(int32_t low, int32_t high) {
    return (uint16_t)low + ((uint32_t)high << 16);
}

// x packs (a0, a1) and w packs (w1, w0): a0*w0 + a1*w1, as smuadx gives it.
static inline int32_t two_products(uint32_t x, uint32_t w) {
    return (int16_t)x * (int16_t)(w >> 16) + (int16_t)(x >> 16) * (int16_t)w;
}

#else

#define SHIFT_LEAST 0
#define PRODUCT_MOST (255 * 127) // of (x - zx) * w: no weight is -128

INLINE uint32_t pack(int32_t low, int32_t high) {
    return (uint32_t)low + ((uint32_t)high << 16);
}

// x packs (a0, a1) and w packs (w1, w0): the upper half of the product, rounded by bit 15, is a0*w0 + a1*w1.
static inline int32_t two_products(uint32_t x, uint32_t w) {
    uint32_t p = x * w;
    return ((int32_t)p >> 16) + (int32_t)(p >> 15 & 1);
}

#endif

// -- packing and products (loops.c, swar.c, dsp.c, armv*/dot.S)

// Packs 4 * words bytes, two words for each four bytes. In x, `skip` bytes lie between such pairs of words.
void trimtab_pack_x(const int8_t *bytes, uint32_t *to, int32_t words, int32_t skip);
// The same for w; returns the sum of what was written: of words in SWAR, of bytes with DSP instructions.
uint32_t trimtab_pack_w(const int8_t *bytes, uint32_t *to, int32_t words);

// The same of bytes that are `step` apart.
void trimtab_gather_x(const int8_t *from, int32_t step, uint32_t *to, int32_t words, int32_t skip);
uint32_t trimtab_gather_w(const int8_t *from, int32_t step, uint32_t *to, int32_t words, int32_t skip);

// acc (2 * pairs) = start + sum x * w; x: (pairs, row / 2, 2 rows, 2 words), w: (row). Rows are multiples of
// 2 words.
void trimtab_dot(const uint32_t *x, const uint32_t *w, const uint32_t *w_end, int32_t *acc, int32_t pairs,
    int32_t start);

// -- rows of any length (rows.c)

// Packs n bytes that are `step` apart; the last word is filled up with zeros.
void trimtab_gather_row_x(const int8_t *from, int32_t step, uint32_t *to, int32_t n, int32_t skip);
// The same for w; returns the sum of the bytes.
int32_t trimtab_gather_row_w(const int8_t *from, int32_t step, uint32_t *to, int32_t n);

static inline int32_t row_words(int32_t n) {
    return (n + 3) / 4 * 2;
}

// -- from accumulators to outputs (swar.c, dsp.c, armv*/requant.S)

struct requant { // armv*/requant.S knows the order
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
// The same where |acc + offset| < 2^20 is seen for each; else returns 0, with some outputs written.
int32_t trimtab_requant_checked(const int32_t *acc, int8_t *y, const struct requant *q, int32_t offset);
// No mask, range 255; sums below 1 give the smallest output; shift and half are of the product / 2^20.
// Returns 0, with some outputs written, if a sum is 2^20 or more.
int32_t trimtab_requant_relu(const int32_t *acc, int8_t *y, const struct requant *q, int32_t offset);
void trimtab_requant_wide(const int32_t *acc, int8_t *y, const struct requant *q); // |acc| < 2^30
// With DSP instructions; |acc + offset| < 2^30.
void trimtab_requant_rows(const int32_t *acc, int8_t *y, const struct requant *q, int32_t offset);
// What all of these but relu do, by a function that scales; in C only (loops.c).
void trimtab_requant_each(const int32_t *acc, int8_t *y, const struct requant *q, int32_t offset,
    int32_t (*scale)(int32_t, const struct requant *));

// -- outputs of one channel (finish.c)

struct channel {
    int32_t bias, mult, shift;
};

struct finish {
    const struct output *out;
    struct requant q;
    uint32_t bound; // of an accumulator's magnitude, the bias apart
    int32_t once; // the rounding of dense layers
};

// Outputs lie in rows of `width` accumulators, with `skip` words between rows; `step` leads from one output
// to the next.
void trimtab_finish_open(struct finish *f, const struct output *out, int32_t step, int32_t width,
    int32_t skip, int32_t rows);

// Notes that none of n outputs is clamped; trimtab_finish then notes those that are.
void trimtab_mask_open(const struct output *out, int32_t n);

// Writes outputs i, i + step, ... of one channel from accumulators, to which `offset` is still to be added.
void trimtab_finish(struct finish *f, int32_t *acc, int32_t i, int32_t offset, const struct channel *c);

// -- layers with one position (dense.c)

#define LANES 0x00010001u // 1 in either half of a word

struct prepare { // armv6m/rows.S knows the order
    const word_t *x; // what is left of the inputs, four bytes each
    uint32_t *to; // three words for each of them
    const word_t *end; // of x
    uint32_t zero; // 128 - zx in both lanes
    uint32_t all, sum; // by lanes: of |d|, and of 256 + d
};

// Makes, from inputs x with d = x - zx: 128 in each byte, or 127 where d is negative; |d| of the third and of
// the first one as halves, the first above; and of the fourth and the second. Stops behind inputs whose pairs
// are 256 or more together.
void trimtab_prepare(struct prepare *p);

// The sums of rows of weights, `pitch` bytes apart: their bytes, after an exclusive or with the first word of
// x, by the magnitudes in the other two. Behind x lie three words of 0. w is aligned; sums has room for an
// even number.
void trimtab_rows(const uint32_t *x, const int8_t *w, int32_t pitch, uint32_t *sums, int32_t rows);

struct outputs { // armv6m/rows.S knows the order
    const int32_t *bias, *mult;
    const int8_t *shift;
    int8_t *y;
    int32_t added; // to each acc, besides its bias
    int32_t lo, hi, zero, step, once;
    uint8_t *mask;
};

// Outputs o, o + step ... from n accumulators. Returns how many it wrote: it stops at one that reaches 2^19,
// or whose shift is not in -19 .. -1.
int32_t trimtab_requant_outputs(const int32_t *acc, int32_t o, int32_t n, const struct outputs *q);

struct dense { // one plane of weights
    const int8_t *x, *w; // (taps, ic), (oc, taps, nk)
    const uint16_t *kept; // (nk) channels of x, or null
    int32_t ic, nk, size, oc, zx; // size: taps * nk
};

int32_t trimtab_dense_words(int32_t size); // of scratch memory
// Writes outputs or, where there are sums (oc), adds to them: trimtab_dense_put makes outputs of those.
void trimtab_dense(const struct dense *c, struct outputs *q, const struct output *out, uint32_t *scratch,
    int32_t *sums);
void trimtab_dense_put(struct outputs *q, const struct output *out, const int32_t *sums, int32_t oc);

// -- one depthwise channel (loops.c, swar.c, dsp.c, armv*/depthwise.S)

struct load { // armv*/depthwise.S knows the order, here and below
    int32_t width, skip, rows; // bytes of a row of words, bytes between rows
    int32_t mul, shift, add;
};

// Words (v * mul + add) >> shift of bytes v, `step` apart.
void trimtab_plane_load(int32_t *to, const int8_t *from, int32_t step, const struct load *p);

// The same for a slide with DSP instructions: every other row packs rows -1 and 0, then 1 and 2, and so on,
// with zeros where there is no such row.
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

// Packs each x with the one below it: rows + 1 words for each column; above and below the image lies `pad`.
void trimtab_pair_load(uint32_t *to, const int8_t *from, const struct pair_load *p);

struct pair_rows {
    int32_t width, skip, rows; // bytes of a row of words, bytes between rows
    int32_t below, next; // bytes from the upper x to the lower one and to the next pair
};

// Packs pairs that share no x, row by row; x are `step` apart.
void trimtab_pair_rows(uint32_t *to, const int8_t *from, int32_t step, const struct pair_rows *p);

struct tiles {
    int32_t width; // bytes of accumulators in a row: a multiple of 16
    int32_t skip; // bytes of x from the end of a row to the next one
    int32_t rows;
};

// tileK_S: acc += x * w for one pair of kernel rows, K wide, column stride S, in tiles of 4 outputs.
typedef void (*tile_t)(const uint32_t *x, int32_t *acc, const uint32_t *w, const struct tiles *p);
void trimtab_tile3_2(const uint32_t *x, int32_t *acc, const uint32_t *w, const struct tiles *p);
void trimtab_tile5_1(const uint32_t *x, int32_t *acc, const uint32_t *w, const struct tiles *p);
void trimtab_tile5_2(const uint32_t *x, int32_t *acc, const uint32_t *w, const struct tiles *p);
void trimtab_tile7_1(const uint32_t *x, int32_t *acc, const uint32_t *w, const struct tiles *p);
void trimtab_tile7_2(const uint32_t *x, int32_t *acc, const uint32_t *w, const struct tiles *p);
// The same for one kernel row, with a number in each word.
void trimtab_row5(const uint32_t *x, int32_t *acc, const uint32_t *w, const struct tiles *p);
void trimtab_row7(const uint32_t *x, int32_t *acc, const uint32_t *w, const struct tiles *p);

// -- errors (loops.c, swar.c, dsp.c, armv*/error.S)

// sums (pairs, 2, 4) = sum of d (pairs, terms + 1, 2) times w (terms), four weights + 128 in a word; the last
// d is 128 times the sum of the others. With DSP instructions d are halves, (pairs, terms / 2, 2, 2 terms),
// terms is a multiple of 4, and as many words before w are spare.
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

// -- phases: inputs whose row and column leave the same remainders by the strides have the same taps

struct phase {
    int32_t ky, kx; // first kernel position
    int32_t rows, cols; // kernel positions
    int32_t iy, ix; // first input
    int32_t high, wide; // inputs
    // The output that sees the first input through the first position; the next ones lie before it.
    int32_t oy, ox;
};

// Of the first kernel position (ky, kx), below the strides, which are at most the kernel (phase.c).
struct phase trimtab_phase(const struct trimtab_geometry *geo, int32_t ky, int32_t kx);

// ceil((end - first) / stride), at least 0.
static inline int32_t every(int32_t first, int32_t end, int32_t stride) {
    return first < end ? (end - first + stride - 1) / stride : 0;
}

// -- updates (loops.c, swar.c, armv6m/update.S)

struct correlate { // armv6m/update.S knows the order
    int32_t width, rows; // bytes of a row of g: a multiple of 16
    int32_t skip; // of x from the end of a row to the next one
};

// The sum of x * g, two products in each word; correlate2 takes every other x.
int32_t trimtab_correlate1(const uint32_t *x, const uint32_t *g, const struct correlate *p);
int32_t trimtab_correlate2(const uint32_t *x, const uint32_t *g, const struct correlate *p);

struct update_row {
    int32_t n, pre, shift;
    int32_t pre_half, m, half;
};

// Moves n weights k with 8-bit residuals r: less round(round(dw / 2^pre) * m / 2^shift), saturated.
void trimtab_update_row(const int32_t *dw, int8_t *k, int8_t *r, const struct update_row *p);

// -- kernels; each returns 0 where it declines and the plain loops have to do it

int32_t trimtab_conv_packed(uint8_t *const *mem, const struct trimtab_conv_fwd *r, const struct output *out);
int32_t trimtab_depthwise_packed(uint8_t *const *mem, const struct trimtab_depthwise_fwd *r,
    const struct output *out);
int32_t trimtab_add_packed(const struct trimtab_add_fwd *r, const int8_t *x, const int8_t *x2,
    const struct output *out);
int32_t trimtab_conv_dx_packed(uint8_t *const *mem, const struct trimtab_conv_dx *r, int32_t exp);
int32_t trimtab_depthwise_dx_packed(uint8_t *const *mem, const struct trimtab_depthwise_dx *r, int32_t exp);
int32_t trimtab_conv_dw_packed(uint8_t *const *mem, const struct trimtab_conv_dw *r, const struct update *up);
#if TRIMTAB_DSP
#define trimtab_depthwise_dw_packed(mem, r, up) 0
#else
int32_t trimtab_depthwise_dw_packed(uint8_t *const *mem, const struct trimtab_depthwise_dw *r,
    const struct update *up);
#endif

#else

#define FAST HOT

#define trimtab_conv_packed(mem, r, out) 0
#define trimtab_depthwise_packed(mem, r, out) 0
#define trimtab_add_packed(r, x, x2, out) 0
#define trimtab_conv_dx_packed(mem, r, exp) 0
#define trimtab_depthwise_dx_packed(mem, r, exp) 0
#define trimtab_conv_dw_packed(mem, r, up) 0
#define trimtab_depthwise_dw_packed(mem, r, up) 0

#endif

#endif
