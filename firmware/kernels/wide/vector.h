// Vectors of the PC's processors: 8 lanes of 32 bits with AVX2, 4 lanes elsewhere. SSE2 and WebAssembly are tested,
// NEON of 64-bit processors in an emulator; NEON of 32 bits was never run.
//
// One source serves every level. GCC and clang lower these vector types themselves; the few operations that they lower
// badly have an intrinsic here. Compile the files once for each level: nothing is decided while a kernel runs.
#ifndef TRIMTAB_VECTOR_H
#define TRIMTAB_VECTOR_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#if defined(__SSE2__)
#include <immintrin.h>
#elif defined(__ARM_NEON)
#include <arm_neon.h>
#elif defined(__wasm_simd128__)
#include <wasm_simd128.h>
#endif

#define INLINE static inline __attribute__((always_inline))

#if defined(__AVX2__)
#define LANES 8
#else
#define LANES 4
#endif
#define WIDTH (2 * LANES) // columns of a tile: two vectors of sums

typedef int32_t vec __attribute__((vector_size(4 * LANES), may_alias));
typedef int16_t terms __attribute__((vector_size(4 * LANES), may_alias)); // two terms of a sum in each lane
typedef int8_t bytes __attribute__((vector_size(2 * LANES), may_alias)); // one for each column
typedef int32_t v4 __attribute__((vector_size(16), may_alias));
typedef int16_t h8 __attribute__((vector_size(16), may_alias));
typedef int8_t b8 __attribute__((vector_size(8), may_alias));
typedef int8_t b16 __attribute__((vector_size(16), may_alias));
// The same where memory is not aligned.
typedef vec vec_at __attribute__((aligned(4)));
typedef vec vec_bytes __attribute__((aligned(1)));
typedef terms terms_at __attribute__((aligned(2)));
typedef bytes bytes_at __attribute__((aligned(1)));
typedef b16 b16_at __attribute__((aligned(1)));

#define SHUFFLE __builtin_shufflevector

// sum + a0 * b0 + a1 * b1 in each lane. |a| <= 2^15 and |b| <= 2^8 here, so two products stay below 2^24.
INLINE vec madd(vec sum, terms a, terms b) {
#if defined(__AVX512VNNI__) && defined(__AVX512VL__)
    return (vec)_mm256_dpwssd_epi32((__m256i)sum, (__m256i)a, (__m256i)b);
#elif defined(__AVX2__)
    return sum + (vec)_mm256_madd_epi16((__m256i)a, (__m256i)b);
#elif defined(__SSE2__)
    return sum + (vec)_mm_madd_epi16((__m128i)a, (__m128i)b);
#elif defined(__aarch64__)
    int16x8_t p = (int16x8_t)a, q = (int16x8_t)b;
    return sum + (vec)vpaddq_s32(vmull_s16(vget_low_s16(p), vget_low_s16(q)), vmull_high_s16(p, q));
#elif defined(__ARM_NEON)
    int16x8_t p = (int16x8_t)a, q = (int16x8_t)b;
    int32x4_t low = vmull_s16(vget_low_s16(p), vget_low_s16(q)), high = vmull_s16(vget_high_s16(p), vget_high_s16(q));
    return sum + (vec)vcombine_s32(vpadd_s32(vget_low_s32(low), vget_high_s32(low)),
        vpadd_s32(vget_low_s32(high), vget_high_s32(high)));
#elif defined(__wasm_simd128__)
    return sum + (vec)wasm_i32x4_dot_i16x8((v128_t)a, (v128_t)b);
#else
    vec x = (vec)a, y = (vec)b;
    return sum + (x << 16 >> 16) * (y << 16 >> 16) + (x >> 16) * (y >> 16);
#endif
}

INLINE vec all(int32_t v) {
    return (vec) { 0 } + v;
}

// One pair of terms in every lane.
INLINE terms pair(const int16_t *p) {
    int32_t t;
    memcpy(&t, p, 4);
    return (terms)all(t);
}

// Bytes as 16 bits.
INLINE terms wide(bytes b) {
#if defined(__AVX2__)
    return (terms)_mm256_cvtepi8_epi16((__m128i)b); // GCC 12 does not find it
#else
    return __builtin_convertvector(b, terms);
#endif
}

// LANES bytes as 32 bits.
INLINE vec words(const int8_t *b) {
#if defined(__AVX2__)
    return (vec)_mm256_cvtepi8_epi32(_mm_loadl_epi64((const __m128i *)b));
#else
    typedef int8_t four __attribute__((vector_size(LANES)));
    four v;
    memcpy(&v, b, LANES);
    return __builtin_convertvector(v, vec);
#endif
}

// The sum of all lanes, of each of four vectors.
INLINE v4 across(vec a, vec b, vec c, vec d) {
#if LANES == 8
#define HALVES(v) (SHUFFLE(v, v, 0, 1, 2, 3) + SHUFFLE(v, v, 4, 5, 6, 7))
#else
#define HALVES(v) (v)
#endif
    v4 p = HALVES(a), q = HALVES(b), r = HALVES(c), s = HALVES(d);
#undef HALVES
    v4 pq = SHUFFLE(p, q, 0, 4, 1, 5) + SHUFFLE(p, q, 2, 6, 3, 7), rs = SHUFFLE(r, s, 0, 4, 1, 5) + SHUFFLE(r, s, 2, 6, 3, 7);
    return SHUFFLE(pq, rs, 0, 1, 4, 5) + SHUFFLE(pq, rs, 2, 3, 6, 7);
}

INLINE vec least(vec a, vec b) {
#if defined(__AVX2__)
    return (vec)_mm256_min_epi32((__m256i)a, (__m256i)b);
#elif defined(__wasm_simd128__)
    return (vec)wasm_i32x4_min((v128_t)a, (v128_t)b);
#else
    vec m = a < b;
    return (a & m) | (b & ~m);
#endif
}

INLINE vec most(vec a, vec b) {
#if defined(__AVX2__)
    return (vec)_mm256_max_epi32((__m256i)a, (__m256i)b);
#elif defined(__wasm_simd128__)
    return (vec)wasm_i32x4_max((v128_t)a, (v128_t)b);
#else
    vec m = a > b;
    return (a & m) | (b & ~m);
#endif
}

// The bit of each lane whose comparison is true.
INLINE uint32_t bits_of(vec yes) {
#if defined(__AVX2__)
    return (uint32_t)_mm256_movemask_ps((__m256)yes);
#elif defined(__SSE2__)
    return (uint32_t)_mm_movemask_ps((__m128)yes);
#elif defined(__wasm_simd128__)
    return wasm_i32x4_bitmask((v128_t)yes);
#else
    uint32_t bits = 0;
    for (int i = 0; i < LANES; i++) {
        bits |= (uint32_t)(yes[i] & 1) << i;
    }
    return bits;
#endif
}

// Lanes that hold int8 numbers, as bytes.
INLINE bytes narrow(vec a, vec b) {
#if defined(__AVX2__)
    typedef long long l4 __attribute__((vector_size(32), may_alias));
    l4 h = (l4)_mm256_packs_epi32((__m256i)a, (__m256i)b);
    h = SHUFFLE(h, h, 0, 2, 1, 3); // packing works on each half of the register
    h = (l4)_mm256_packs_epi16((__m256i)h, (__m256i)h);
    return (bytes)_mm256_castsi256_si128((__m256i)SHUFFLE(h, h, 0, 2, 1, 3));
#elif defined(__wasm_simd128__)
    v128_t h = wasm_i16x8_narrow_i32x4((v128_t)a, (v128_t)b);
    bytes y;
    wasm_v128_store64_lane(&y, wasm_i8x16_narrow_i16x8(h, h), 0);
    return y;
#elif defined(__x86_64__)
    __m128i h = _mm_packs_epi32((__m128i)a, (__m128i)b);
    return (bytes)_mm_cvtsi128_si64(_mm_packs_epi16(h, h));
#elif defined(__ARM_NEON)
    return (bytes)vmovn_s16(vcombine_s16(vmovn_s32((int32x4_t)a), vmovn_s32((int32x4_t)b)));
#else
    bytes y;
    for (int i = 0; i < LANES; i++) {
        y[i] = (int8_t)a[i];
        y[LANES + i] = (int8_t)b[i];
    }
    return y;
#endif
}

// (a * m + 2^30) >> 31, exactly: the rounding of trimtab_high31.
INLINE vec high31(vec a, vec m) {
#if defined(__AVX2__)
    typedef unsigned long long u4 __attribute__((vector_size(32), may_alias));
    const u4 half = { 1 << 30, 1 << 30, 1 << 30, 1 << 30 };
    u4 even = (u4)_mm256_mul_epi32((__m256i)a, (__m256i)m) + half;
    u4 odd = (u4)_mm256_mul_epi32((__m256i)((u4)a >> 32), (__m256i)((u4)m >> 32)) + half;
    return SHUFFLE((vec)(even >> 31), (vec)(odd << 1), 0, 9, 2, 11, 4, 13, 6, 15);
#elif defined(__wasm_simd128__)
    const v128_t half = wasm_i64x2_splat(1 << 30);
    v128_t low = wasm_i64x2_add(wasm_i64x2_extmul_low_i32x4((v128_t)a, (v128_t)m), half);
    v128_t high = wasm_i64x2_add(wasm_i64x2_extmul_high_i32x4((v128_t)a, (v128_t)m), half);
    return SHUFFLE((vec)wasm_u64x2_shr(low, 31), (vec)wasm_u64x2_shr(high, 31), 0, 2, 4, 6);
#elif defined(__SSE2__)
    // Products of words without a sign; a negative factor made them too large by the other one times 2^32.
    typedef unsigned long long u2 __attribute__((vector_size(16), may_alias));
    const u2 half = { 1 << 30, 1 << 30 };
    u2 more = (u2)(((a >> 31) & m) + ((m >> 31) & a));
    u2 even = (u2)_mm_mul_epu32((__m128i)a, (__m128i)m) - (more << 32) + half;
    u2 odd = (u2)_mm_mul_epu32((__m128i)((u2)a >> 32), (__m128i)((u2)m >> 32)) - (more >> 32 << 32) + half;
    return SHUFFLE((vec)(even >> 31), (vec)(odd << 1), 0, 5, 2, 7);
#elif defined(__ARM_NEON)
    int32x4_t x = (int32x4_t)a, y = (int32x4_t)m;
    return (vec)vcombine_s32(vrshrn_n_s64(vmull_s32(vget_low_s32(x), vget_low_s32(y)), 31),
        vrshrn_n_s64(vmull_s32(vget_high_s32(x), vget_high_s32(y)), 31));
#else
    vec y;
    for (int i = 0; i < LANES; i++) {
        y[i] = (int32_t)(((int64_t)a[i] * m[i] + (1 << 30)) >> 31);
    }
    return y;
#endif
}

// Channels of two rows side by side, as terms of one sum. With AVX2 each half of a register is treated alone, so the lanes
// come out of order: low has channels 0-3 and 8-11, high the others. in_order() sorts sums of them.
INLINE terms low_pairs(terms a, terms b) {
#if LANES == 8
    return SHUFFLE(a, b, 0, 16, 1, 17, 2, 18, 3, 19, 8, 24, 9, 25, 10, 26, 11, 27);
#else
    return SHUFFLE(a, b, 0, 8, 1, 9, 2, 10, 3, 11);
#endif
}

INLINE terms high_pairs(terms a, terms b) {
#if LANES == 8
    return SHUFFLE(a, b, 4, 20, 5, 21, 6, 22, 7, 23, 12, 28, 13, 29, 14, 30, 15, 31);
#else
    return SHUFFLE(a, b, 4, 12, 5, 13, 6, 14, 7, 15);
#endif
}

INLINE void in_order(vec *sums) {
#if LANES == 8
    vec a = sums[0], b = sums[1];
    sums[0] = SHUFFLE(a, b, 0, 1, 2, 3, 8, 9, 10, 11);
    sums[1] = SHUFFLE(a, b, 4, 5, 6, 7, 12, 13, 14, 15);
#else
    (void)sums;
#endif
}

#endif
