#include "fixed.h"

// Cores without a wide multiplication make 64-bit products of 16-bit halves. Both ways are exact.
#ifndef TRIMTAB_WIDE_MULTIPLY
#if defined(__ARM_ARCH_6M__)
#define TRIMTAB_WIDE_MULTIPLY 0
#else
#define TRIMTAB_WIDE_MULTIPLY 1
#endif
#endif

int32_t trimtab_rsh(int32_t v, int32_t s) {
    return rsh_here(v, s);
}

int32_t trimtab_bit_length(uint32_t v) {
    int32_t n = 0;
    for (int32_t step = 16; step; step >>= 1) {
        if (v >> step) {
            v >>= step;
            n += step;
        }
    }
    return n + (int32_t)v;
}

int32_t trimtab_shifted(int32_t v, int32_t s, int32_t limit) {
    if (s >= 0) {
        return clamp(rsh(v, s), -limit, limit);
    }
    int32_t n = s < -31 ? 31 : -s;
    int32_t most = limit >> n; // the largest v that may still be shifted
    return v > most ? limit : v < -most ? -limit : (int32_t)((uint32_t)v << n);
}

// a * b as two words.
struct product {
    int32_t high;
    uint32_t low;
};

#if TRIMTAB_WIDE_MULTIPLY

static struct product multiply(int32_t a, int32_t b) {
    int64_t p = (int64_t)a * b;
    return (struct product) { (int32_t)(p >> 32), (uint32_t)p };
}

int32_t trimtab_high31(int32_t a, int32_t m) {
    return (int32_t)(((int64_t)a * m + (1 << 30)) >> 31);
}

#else

// With a = ah * 2^16 + al and b likewise: a * b = ah*bh * 2^32 + (ah*bl + al*bh) * 2^16 + al*bl.
// Each signed cross product is within 65535 * 2^15 < 2^31, and al*bh + (al*bl >> 16) still is:
// 65535 * 32767 + 65534 < 2^31.
static struct product multiply(int32_t a, int32_t b) {
    int32_t ah = a >> 16, al = a & 0xffff, bh = b >> 16, bl = b & 0xffff;
    uint32_t low = (uint32_t)al * (uint32_t)bl;
    int32_t t = al * bh + (int32_t)(low >> 16);
    int32_t u = ah * bl;
    uint32_t middle = ((uint32_t)t & 0xffff) + ((uint32_t)u & 0xffff);
    return (struct product) { ah * bh + (t >> 16) + (u >> 16) + (int32_t)(middle >> 16),
        middle << 16 | (low & 0xffff) };
}

// The low 16 bits of al*bl cannot change the result: (X * 2^16 + those + 2^30) >> 31 = (X + 2^14) >> 15 with
// X = ah*bh * 2^16 + t + u. t and u are shifted in two parts, because their sum may need 33 bits.
int32_t trimtab_high31(int32_t a, int32_t m) {
    int32_t ah = a >> 16, al = a & 0xffff, mh = m >> 16, ml = m & 0xffff;
    int32_t t = al * mh + (int32_t)((uint32_t)al * (uint32_t)ml >> 16);
    int32_t u = ah * ml;
    int32_t rest = (t & 0x7fff) + (u & 0x7fff) + 0x4000;
    return add32(mul32(2 * ah, mh), (t >> 15) + (u >> 15) + (rest >> 15));
}

#endif

// |high31(a, m)| <= |a| because m < 2^31; rsh_away excludes only -2^31, which would take a = -2^31 and m =
// 2^31.
int32_t trimtab_requant(int32_t a, int32_t m, int32_t shift) {
    if (shift > 0) {
        return trimtab_high31((int32_t)((uint32_t)a << (shift & 31)), m);
    }
    return rsh_away(trimtab_high31(a, m), -shift);
}

// The lower word of a product / 2^s, towards minus infinity; s in 0 .. 63.
static int32_t product_shift(struct product p, int32_t s) {
    if (s >= 32) {
        return p.high >> (s - 32);
    }
    return (int32_t)(s ? p.low >> s | (uint32_t)p.high << (32 - s) : p.low);
}

int32_t trimtab_requant_once(int32_t a, int32_t m, int32_t shift) {
    struct product p = multiply(a, m);
    int32_t s = (31 - shift) & 63;
    return s ? add32(product_shift(p, s), product_shift(p, s - 1) & 1) : product_shift(p, 0);
}

int32_t trimtab_multiply_saturated(int32_t a, int32_t b, int32_t s) {
    struct product p = multiply(a, b);
    int32_t v = product_shift(p, s);
    int32_t above = p.high >> (s < 31 ? s : 31);
    return above != v >> 31 ? (p.high < 0 ? -INT32_MAX : INT32_MAX) : max32(v, -INT32_MAX);
}


uint32_t trimtab_largest(const int32_t *sums, int32_t n) {
    uint32_t most = 0;
    for (int32_t i = 0; i < n; i++) {
        if (magnitude(sums[i]) > most) {
            most = magnitude(sums[i]);
        }
    }
    return most;
}
