// What the kernels share: references into memory, kernel taps, error tensors, updates.
// A kernel gets the four memory spaces and the offset of its record; it allocates nothing and cannot fail.
#ifndef TRIMTAB_KERNELS_H
#define TRIMTAB_KERNELS_H

#include "fixed.h"
#include "records.h"

// What a reference points at; null where it is absent (output.c).
void *trimtab_at(uint8_t *const *mem, int32_t ref);

static inline void *at(uint8_t *const *mem, int32_t ref) {
    return trimtab_at(mem, ref);
}

// The record at off, as a structure of its kind.
#define RECORD(name) const struct trimtab_##name *r = (const void *)(mem[TRIMTAB_STEPS] + off)

// A module for one package may lack the plain loops of kernels whose records all take the packed ones: a bit for each
// opcode. A record that needs them all the same is declined, and nothing is written.
#ifndef TRIMTAB_PACKED_ONLY
#define TRIMTAB_PACKED_ONLY 0
#endif
#define TRIMTAB_DECLINED INT32_MIN
#define PLAIN_LOOPS(name) (!((TRIMTAB_PACKED_ONLY) >> TRIMTAB_OP_##name & 1))

// A loop over products: on its own, so that the compiler finds registers for it.
#define HOT __attribute__((noinline))

// In a loop that fills or copies: no library call is made of it, which native modules lack.
#define NO_LIBRARY_CALL __asm__ volatile ("")

typedef uint32_t __attribute__((may_alias)) word_t; // four bytes

static inline int32_t mask_bit(const uint8_t *mask, int32_t i) {
    return mask[i >> 3] >> (i & 7) & 1;
}

// -- outputs of forward kernels

struct output {
    int8_t *y;
    uint8_t *mask; // one bit per output: it was not clamped; or null
    int32_t lo, hi, zero; // clamp before the zero point is added
};

static inline struct output output(uint8_t *const *mem, int32_t y, int32_t mask, int32_t lo, int32_t hi,
    int32_t zero) {
    return (struct output) { at(mem, y), at(mem, mask), lo - zero, hi - zero, zero };
}

// Output i, clamped (output.c).
void trimtab_put(const struct output *out, int32_t i, int32_t v);
// Output i from its accumulator.
void trimtab_put_requant(const struct output *out, int32_t i, int32_t acc, int32_t mult, int32_t shift);

// -- taps: which positions of a kernel meet the input, along one axis

struct taps {
    int32_t first, end; // kernel positions; empty where end <= first
    int32_t origin; // input index of kernel position 0
};

// Seen from output o.
static inline struct taps taps(int32_t o, int32_t stride, int32_t pad, int32_t size, int32_t k) {
    int32_t origin = o * stride - pad;
    return (struct taps) { max32(-origin, 0), min32(size - origin, k), origin };
}

static inline int32_t tap_count(struct taps t) {
    return max32(t.end - t.first, 0);
}

// Whether the output after ox sees the same columns of the kernel as ox does: all of them.
static inline int32_t next_is_alike(const struct trimtab_geometry *geo, int32_t ox, struct taps cols) {
    return cols.origin >= 0 && cols.origin + geo->sw + geo->kw <= geo->iw && ox + 1 < geo->ow;
}

// Seen from kernel position t: the outputs first, first + 1, ... (count of them) whose input is in range.
struct span {
    int32_t first, count;
};

static inline struct span span(int32_t t, int32_t stride, int32_t pad, int32_t size, int32_t outputs) {
    int32_t first = 0, end = outputs, last = size - 1 + pad - t; // few are out of range: no division is as quick
    while (first * stride + t < pad) {
        first++;
    }
    while (end > 0 && (end - 1) * stride > last) {
        end--;
    }
    return (struct span) { first, max32(end - first, 0) };
}

// Seen from input i: kernel positions first, first + stride, ... with outputs o, o - 1, ..., while in range.
struct back_taps {
    int32_t first, o;
};

static inline struct back_taps back_taps(int32_t i, int32_t stride, int32_t pad, int32_t size) {
    int32_t o = stride == 1 ? i + pad : (i + pad) / stride; // a division costs more than the rest
    int32_t first = i + pad - o * stride, beyond = max32(o - size + 1, 0);
    return (struct back_taps) { first + beyond * stride, o - beyond };
}

// -- the weights of one depthwise channel (depthwise.c)

struct column {
    const int8_t *w; // first tap; null where there are none
    int32_t step; // from tap to tap
};

struct column trimtab_column(uint8_t *const *mem, const struct trimtab_weights *r, int32_t nk, int32_t oc,
    int32_t o);

// -- one error tensor: addend, producer's mask, tracked shift, int8 (error.c)

struct error {
    int8_t *g;
    const uint8_t *mask;
    const int8_t *add;
    int16_t *track;
    int32_t mul; // of the addend, in 1/128
    int32_t down, up; // shifts of the sum and of the addend to the common exponent
    int32_t base; // exponent of the sum, relative to the head error
    int32_t shift; // from the sum to int8
    uint32_t max;
};

// exp: the exponent of the sums that come. Writes the exponent of g.
void trimtab_error_open(struct error *e, uint8_t *const *mem, const struct trimtab_error_out *r, int32_t exp);
// g[start .. start + n) from sums of less than 2^30, which are lost.
void trimtab_error_row(struct error *e, int32_t start, int32_t *sums, int32_t n);

struct grid { // sums in rows, and where they belong
    int32_t width, skip, rows; // words in a row, words between rows
    int32_t step, next; // from one element to the next, and after a row besides
};

// The same for a grid of sums that begins at element `start`.
void trimtab_error_grid(struct error *e, int32_t start, int32_t *sums, const struct grid *grid);
// Moves the tracker.
void trimtab_error_close(const struct error *e);

// Adds the error of one output position, through kernel position (ky, kx), to the row of its input.
typedef void (*spread_t)(const void *record, uint8_t *const *mem, int32_t *row, int32_t position, int32_t ky,
    int32_t kx);

// The whole error tensor of an operator with windows.
void trimtab_error_windows(uint8_t *const *mem, const struct trimtab_error_out *out,
    const struct trimtab_geometry *geo, int32_t *row, int32_t exp, spread_t spread, const void *record);

// The shift that brings a magnitude into 7 bits, after rounding too.
static inline int32_t int8_shift(uint32_t max) {
    int32_t s = trimtab_bit_length(max) - 7;
    return s > 0 && rsh_unsigned(max, s) > 127 ? s + 1 : s;
}

// The largest magnitude of n sums (head.c).
uint32_t trimtab_largest(const int32_t *sums, int32_t n);

// -- updates of a trained plane (update.c)

struct update {
    int8_t *k;
    int8_t *r; // residuals, or null
    int16_t *acc; // accumulator instead of k, or null
    uint32_t *rng;
    const uint16_t *u; // QAS multiplier of each channel: mantissa, then 128 + shift in the upper byte
    int32_t rate, base; // base: the shift but for the channel's part
    int32_t bits, pre;
};

void trimtab_update_open(struct update *up, uint8_t *const *mem, const struct trimtab_update *r,
    int32_t gy_exp);
// Weight j of the plane, of output channel o, by the gradient sum dw.
void trimtab_update(const struct update *up, int32_t j, int32_t o, int32_t dw);

// v times a channel's mantissa and the rate's: |rsh(v)| <= 2^22 and the factor has 8 bits, so below 2^30.
static inline int32_t scaled(int32_t v, int32_t pre, int32_t u, int32_t rate) {
    return mul32(rsh(v, pre), rsh(mul32(u & 255, rate), 8));
}

#define BIAS_MAX (1 << 29) // trained biases stay below it, so that sum + bias < 2^31

void trimtab_move_bias(int32_t *bias, int32_t delta); // update.c

// What a fold leaves of a sum: v * keep / 256 toward zero, so that every sum runs dry. keep has 8 bits and |v| at
// most 2^31, so (|v| / 256) * keep is below 2^31.
static inline int32_t remains(int32_t v, int32_t keep) {
    uint32_t m = magnitude(v);
    m = (m >> 8) * (uint32_t)keep + ((m & 255) * (uint32_t)keep >> 8);
    return v < 0 ? -(int32_t)m : (int32_t)m;
}

// The bias takes what the sum loses.
static inline void drain_bias(int32_t *bias, int32_t *acc, int32_t keep) {
    int32_t left = remains(*acc, keep);
    trimtab_move_bias(bias, sub32(*acc, left));
    *acc = left;
}

// Bias o less t / 2^s; or, where there is an accumulator, that one plus as much.
void trimtab_move_by(int32_t *acc, int32_t *bias, int32_t o, int32_t t, int32_t s);

static inline void move_sum(int16_t *acc, int32_t delta) {
    *acc = (int16_t)clamp(*acc + delta, -32767, 32767);
}

#endif
