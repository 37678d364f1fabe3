// The functions that the compiler may call for a loop or a structure although nobody wrote the call.
// A native module has no C library to take them from; firmware and host builds do not use this file.
#include <stddef.h>
#include <stdint.h>

#define PLAIN_LOOP __attribute__((optimize("no-tree-loop-distribute-patterns")))

PLAIN_LOOP void *memset(void *to, int value, size_t count) {
    uint8_t *t = to;
    while (count--) {
        *t++ = (uint8_t)value;
    }
    return to;
}

PLAIN_LOOP void *memcpy(void *restrict to, const void *restrict from, size_t count) {
    uint8_t *t = to;
    const uint8_t *f = from;
    while (count--) {
        *t++ = *f++;
    }
    return to;
}

#if defined(__ARM_ARCH_6M__)

// Divisions, which libgcc does in 700 bytes: a step for each bit of the quotient, and those here are small. The
// remainder comes in the upper word, so one function serves for both.
uint64_t __aeabi_uidivmod(uint32_t n, uint32_t d) {
    uint32_t quotient = 0, bit = 1;
    for (; d < n && !(d >> 31); d <<= 1) {
        bit <<= 1;
    }
    for (; bit; bit >>= 1, d >>= 1) {
        if (n >= d) {
            n -= d;
            quotient |= bit;
        }
    }
    return (uint64_t)n << 32 | quotient;
}

uint64_t __aeabi_uidiv(uint32_t n, uint32_t d) __attribute__((alias("__aeabi_uidivmod")));

// Towards zero; the remainder has the sign of n.
uint64_t __aeabi_idivmod(int32_t n, int32_t d) {
    uint64_t both = __aeabi_uidivmod(n < 0 ? 0u - (uint32_t)n : (uint32_t)n, d < 0 ? 0u - (uint32_t)d : (uint32_t)d);
    uint32_t quotient = (uint32_t)both, rest = (uint32_t)(both >> 32);
    return (uint64_t)(n < 0 ? 0u - rest : rest) << 32 | ((n ^ d) < 0 ? 0u - quotient : quotient);
}

uint64_t __aeabi_idiv(int32_t n, int32_t d) __attribute__((alias("__aeabi_idivmod")));

#endif
