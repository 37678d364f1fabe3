// Sums of two tensors without a wide product, where TensorFlow Lite halves one input exactly.
#pragma GCC optimize ("Os") // code lies in a board's RAM; time is spent in FAST loops
#include "packed.h"

#if TRIMTAB_PACKED

#define AT_ONCE 64 // elements

// One input of an add: trimtab_requant((x - zx) * 2^20, mult, shift) without a wide product.
struct raise {
    int32_t zx, mult, shift;
};

// TensorFlow Lite halves the input of the larger scale: (x - zx) * 2^19.
static int32_t is_half(const struct raise *p) {
    return p->mult == 1 << 30 && p->shift == 0;
}

// acc (n) = x (n) raised + x2 (n) halved. With mult = high * 2^16 + low and |v| = |x - zx| < 2^8, high31 of v
// * 2^20 is v * high * 2^5 + (v * low + 2^10 >> 11), below 2^29. Where x is halved too, it is not rounded
// before.
FAST static void raise_both(int32_t *acc, const int8_t *x, const int8_t *x2, int32_t n, const struct raise *p,
    int32_t zx2) {
    int32_t twice = p->shift == 0, shift = twice - p->shift, half = 1 << (shift - 1), zx = p->zx;
    int32_t high = p->mult >> 16 << (5 + twice), low = p->mult & 0xffff, add = zx2 * -(1 << 19);
    for (int32_t *end = acc + n; acc < end; acc++) {
        int32_t v = *x++ - zx;
        v = v * high + ((v * low + 1024) >> 11);
        *acc = ((v + (v >> 31) + half) >> shift) + *x2++ * (1 << 19) + add;
    }
}

// A few sums at a time, then their outputs.
int32_t trimtab_add_packed(const struct trimtab_add_fwd *r, const int8_t *x, const int8_t *x2,
    const struct output *out) {
    struct raise p = { r->zx, r->mult, r->shift }, half = { r->zx2, r->mult2, r->shift2 };
    if (!is_half(&half)) {
        const struct raise swapped = p;
        const int8_t *of_half = x;
        p = half;
        half = swapped;
        x = x2;
        x2 = of_half;
    }
    if (!is_half(&half) || p.shift > 0 || (p.shift == 0 && !is_half(&p))) {
        return 0;
    }
    const struct channel c = { 0, r->mult_y, r->shift_y };
    struct finish f;
    trimtab_finish_open(&f, out, 1, 0, 0, 1);
    f.bound = 1 << 29;
    trimtab_mask_open(out, r->n);
    for (int32_t i = 0; i < r->n; i += AT_ONCE) {
        int32_t acc[AT_ONCE], n = min32(AT_ONCE, r->n - i);
        f.q.width = 4 * n;
        raise_both(acc, x + i, x2 + i, n, &p, half.zx);
        trimtab_finish(&f, acc, i, 0, &c);
    }
    return 1;
}

#endif
