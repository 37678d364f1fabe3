// One position: each weight is used once, so weights are not packed but read as they lie, four rows at a time.
#include "dense.h"

#if TRIMTAB_WIDE

#include "finish.h"
#include "fours.h"
#include "operands.h"
#include "pool.h"

#if FOURS

// Bytes x + 128, and for what that adds to each sum, ones.
struct inputs {
    const uint8_t *x, *ones;
    int32_t raised; // 128 + zx
};

#define CHUNK (4 * LANES) // terms that a step takes

static struct inputs inputs_of(uint8_t *const *mem, const struct trimtab_conv_fwd *r, const struct image *img, int32_t size) {
    uint8_t *x = trimtab_pool_take(size + CHUNK), *ones = trimtab_pool_take(size + CHUNK);
    trimtab_raise(x, at(mem, r->x), &r->geometry, img, r->zx);
    memset(x + size, 0, CHUNK);
    memset(ones, 1, (size_t)size);
    memset(ones + size, 0, CHUNK);
    return (struct inputs) { x, ones, r->zx + 128 };
}

// The sums of four rows of weights times the inputs.
static v4 four_rows(const struct inputs *in, const int8_t *const *row, int32_t size) {
    const int8_t *w0 = row[0], *w1 = row[1], *w2 = row[2], *w3 = row[3];
    vec s0 = { 0 }, s1 = { 0 }, s2 = { 0 }, s3 = { 0 }, t0 = { 0 }, t1 = { 0 }, t2 = { 0 }, t3 = { 0 };
    for (int32_t k = 0; k < size; k += CHUNK) {
        vec a = *(const vec_at *)(in->x + k), one = *(const vec_at *)(in->ones + k);
#define ROW(j) vec b##j = *(const vec_bytes *)(w##j + k); s##j = dot(s##j, a, b##j); t##j = dot(t##j, one, b##j);
        ROW(0) ROW(1) ROW(2) ROW(3)
#undef ROW
    }
    return across(s0 - t0 * in->raised, s1 - t1 * in->raised, s2 - t2 * in->raised, s3 - t3 * in->raised);
}

#else

struct inputs {
    const int16_t *x; // less zx
};

#define CHUNK WIDTH

static struct inputs inputs_of(uint8_t *const *mem, const struct trimtab_conv_fwd *r, const struct image *img, int32_t size) {
    const struct trimtab_geometry *geo = &r->geometry;
    struct image wide = *img;
    wide.at = trimtab_pool_take(2 * (size + CHUNK));
    trimtab_widen(&wide, at(mem, r->x), geo->ih, geo->iw, geo->ic, geo->pt, geo->pl, r->zx, 0);
    memset(wide.at + size, 0, 2 * CHUNK);
    return (struct inputs) { wide.at };
}

static v4 four_rows(const struct inputs *in, const int8_t *const *row, int32_t size) {
    const int8_t *w0 = row[0], *w1 = row[1], *w2 = row[2], *w3 = row[3];
    vec s0 = { 0 }, s1 = { 0 }, s2 = { 0 }, s3 = { 0 };
    for (int32_t k = 0; k < size; k += CHUNK) {
        terms a = *(const terms_at *)(in->x + k);
#define ROW(j) s##j = madd(s##j, a, wide(*(const bytes_at *)(w##j + k)));
        ROW(0) ROW(1) ROW(2) ROW(3)
#undef ROW
    }
    return across(s0, s1, s2, s3);
}

#endif

// a * m / 2^down, rounded once: trimtab_requant_once, with down = 31 - shift at least 1.
INLINE vec scaled_once(vec a, vec m, vec down) {
#if defined(__AVX2__)
    typedef unsigned long long u4 __attribute__((vector_size(32), may_alias));
    // There is no arithmetic shift of 64 bits: the products are lifted above 0 and lowered again.
    const u4 top = { 1ull << 63, 1ull << 63, 1ull << 63, 1ull << 63 }, one = { 1, 1, 1, 1 }, low = { ~0u, ~0u, ~0u, ~0u };
    u4 s0 = (u4)down & low, s1 = (u4)down >> 32;
    u4 even = (u4)_mm256_mul_epi32((__m256i)a, (__m256i)m) + (one << (s0 - 1)) + top;
    u4 odd = (u4)_mm256_mul_epi32((__m256i)((u4)a >> 32), (__m256i)((u4)m >> 32)) + (one << (s1 - 1)) + top;
    even = (even >> s0) - (top >> s0);
    odd = (odd >> s1) - (top >> s1);
    return SHUFFLE((vec)even, (vec)(odd << 32), 0, 9, 2, 11, 4, 13, 6, 15);
#else
    vec y;
    for (int i = 0; i < LANES; i++) {
        y[i] = trimtab_requant_once(a[i], m[i], 31 - down[i]);
    }
    return y;
#endif
}

// Outputs o .. o + n from sums, rounded as TensorFlow's dense layers are.
static void put_once(const struct trimtab_conv_fwd *r, uint8_t *const *mem, vec *v, const struct output *out, int32_t o, int32_t n) {
    vec bias[2], mult[2], shift[2];
    load_words(bias, (const int32_t *)at(mem, r->bias) + o, n);
    load_words(mult, (const int32_t *)at(mem, r->mult) + o, n);
    load_bytes(shift, (const int8_t *)at(mem, r->shift) + o, n);
    for (int i = 0; i < 2; i++) {
        v[i] = scaled_once(v[i] + bias[i], mult[i], 31 - shift[i]); // shift <= 30
    }
    if (out->mask) {
        put_scaled(*out, 1, o, n, v);
    } else {
        put_scaled(*out, 0, o, n, v);
    }
}

static void put(const struct trimtab_conv_fwd *r, uint8_t *const *mem, vec *v, const struct output *out, int32_t o, int32_t n) {
    struct scaling q;
    trimtab_scaling(&q, at(mem, r->bias), at(mem, r->mult), at(mem, r->shift), o, n);
    v[0] += q.bias[0];
    v[1] += q.bias[1];
    put_tile(*out, o, n, v, &q);
}

int32_t trimtab_dense_wide(uint8_t *const *mem, const struct trimtab_conv_fwd *r, const struct output *out) {
    const struct trimtab_geometry *geo = &r->geometry;
    const struct image img = trimtab_input_image(geo, geo->ic); // one window, so it lies as a row of weights does
    int32_t oc = geo->oc, size = geo->kh * geo->kw * geo->ic;
    int64_t weights = (int64_t)oc * size;
    if (!trimtab_pool_open(2 * POOL_PART(2ll * (size + CHUNK)) + POOL_PART(weights))) {
        return 0;
    }
    const struct inputs in = inputs_of(mem, r, &img, size);
    int8_t *copy = trimtab_pool_take(weights);
    const int8_t *w = trimtab_merged(copy, mem, &r->weights, geo, r->nk);
    if (size % CHUNK && w != copy) { // the last row is read beyond its end, where inputs are zeros
        memcpy(copy, w, (size_t)weights);
        w = copy;
    }
    for (int32_t o = 0; o < oc; o += WIDTH) {
        v4 four[WIDTH / 4];
        int32_t n = min32(WIDTH, oc - o);
        for (int32_t g = 0; g < WIDTH / 4; g++) {
            const int8_t *row[4];
            for (int32_t j = 0; j < 4; j++) {
                row[j] = w + (o + min32(4 * g + j, n - 1)) * size; // the last row stands for those that are not there
            }
            four[g] = four_rows(&in, row, size);
        }
        vec v[2];
        memcpy(v, four, sizeof(v));
        (r->once ? put_once : put)(r, mem, v, out, o, n);
    }
    return 1;
}

#endif
