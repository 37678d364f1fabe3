// Fixed point: everything that rounds, saturates or wraps, named as in plain/core.py. Long functions are in
// fixed.c.
#ifndef TRIMTAB_FIXED_H
#define TRIMTAB_FIXED_H

#include <stdint.h>

// Inline always: a function compiled for speed in a file compiled for size would call these otherwise.
#define INLINE static inline __attribute__((always_inline))

// Sums wrap like registers. Where a bound fails, which only a foreign package can bring about, the number is
// wrong but nothing is undefined. And of a sum only the result has to fit: what wraps on the way comes back.
INLINE int32_t add32(int32_t a, int32_t b) {
    return (int32_t)((uint32_t)a + (uint32_t)b);
}

INLINE int32_t sub32(int32_t a, int32_t b) {
    return (int32_t)((uint32_t)a - (uint32_t)b);
}

INLINE int32_t mul32(int32_t a, int32_t b) {
    return (int32_t)((uint32_t)a * (uint32_t)b);
}

INLINE int32_t mac(int32_t acc, int32_t a, int32_t b) {
    return add32(acc, mul32(a, b));
}

static inline int32_t min32(int32_t a, int32_t b) {
    return a < b ? a : b;
}

static inline int32_t max32(int32_t a, int32_t b) {
    return a > b ? a : b;
}

INLINE int32_t clamp_here(int32_t v, int32_t lo, int32_t hi) {
    return v < lo ? lo : v > hi ? hi : v;
}

// Code that is compiled for size may call it.
static inline int32_t clamp(int32_t v, int32_t lo, int32_t hi) {
    return clamp_here(v, lo, hi);
}

// |v|, 2^31 included.
static inline uint32_t magnitude(int32_t v) {
    return v < 0 ? 0u - (uint32_t)v : (uint32_t)v;
}

// v / 2^s to the nearest, ties up; s <= 0 leaves v, s > 31 gives 0.
// floor((v + 2^(s-1)) / 2^s) is v >> s plus the last bit shifted out: no sum that could overflow.
INLINE int32_t rsh_here(int32_t v, int32_t s) {
    return s <= 0 ? v : s > 31 ? 0 : (v >> s) + (v >> (s - 1) & 1);
}

// Code that is compiled for size calls one function, unless the shift is known.
#if defined(__OPTIMIZE_SIZE__)
int32_t trimtab_rsh(int32_t v, int32_t s);
#define rsh(v, s) (__builtin_constant_p(s) ? rsh_here(v, s) : trimtab_rsh(v, s))
#else
#define rsh rsh_here
#endif

// The same of an unsigned number.
static inline uint32_t rsh_unsigned(uint32_t v, int32_t s) {
    return s <= 0 ? v : s > 31 ? 0 : (v >> s) + (v >> (s - 1) & 1);
}

// Ties away from zero, for |v| < 2^31.
static inline int32_t rsh_away(int32_t v, int32_t s) {
    return s <= 0 ? v : rsh(add32(v, v >> 31), s);
}

// Bits of v without leading zeros.
int32_t trimtab_bit_length(uint32_t v);

// The largest magnitude of n numbers.
uint32_t trimtab_largest(const int32_t *v, int32_t n);

// v / 2^s to the nearest, saturated at +-limit; s < 0 shifts left.
int32_t trimtab_shifted(int32_t v, int32_t s, int32_t limit);

// a * m / 2^31 to the nearest, ties up; |result| <= |a|.
int32_t trimtab_high31(int32_t a, int32_t m);

// TensorFlow Lite's double rounding: a * m * 2^(shift - 31), m in [2^29, 2^31); a * 2^shift must fit 32 bits.
int32_t trimtab_requant(int32_t a, int32_t m, int32_t shift);

// The single rounding of TensorFlow Lite's fully connected kernel; shift in -31 .. 30.
int32_t trimtab_requant_once(int32_t a, int32_t m, int32_t shift);

// a * b / 2^s towards minus infinity, saturated to +-(2^31 - 1); s in 0 .. 63.
int32_t trimtab_multiply_saturated(int32_t a, int32_t b, int32_t s);

static inline int32_t add_saturated(int32_t a, int32_t b) {
    int32_t v = add32(a, b);
    return ((a ^ v) & (b ^ v)) < 0 ? (a < 0 ? -INT32_MAX : INT32_MAX) : max32(v, -INT32_MAX);
}

#endif
