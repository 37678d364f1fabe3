// The sum of two tensors, WIDTH elements at a time.
#include "wide.h"

#if TRIMTAB_WIDE

#include "finish.h"

#define ADD_SHIFT 20

static void one_scaling(struct scaling *q, int32_t mult, int32_t shift) {
    int32_t zeros[WIDTH] = { 0 }, m[WIDTH];
    int8_t s[WIDTH];
    for (int32_t i = 0; i < WIDTH; i++) {
        m[i] = mult;
        s[i] = (int8_t)shift;
    }
    trimtab_scaling(q, zeros, m, s, 0, WIDTH);
}

// sums (2) += x - zero, scaled, for n <= WIDTH elements: |x - zero| * 2^20 < 2^28.
INLINE void add_scaled(vec *sums, const int8_t *x, int32_t n, int32_t zero, const struct scaling *q) {
    typedef int8_t lane_bytes __attribute__((vector_size(LANES), may_alias));
    union { int8_t at[WIDTH]; lane_bytes part[2]; } b = { { 0 } };
    memcpy(&b, x, (size_t)n);
    for (int j = 0; j < 2; j++) {
        sums[j] += scaled_twice((__builtin_convertvector(b.part[j], vec) - zero) << ADD_SHIFT, q, 0);
    }
}

int32_t trimtab_add_wide(const struct trimtab_add_fwd *r, const int8_t *x, const int8_t *x2, const struct output *out) {
    struct scaling of_x, of_x2, of_y; // the loader holds shifts within -31 .. 30
    one_scaling(&of_x, r->mult, r->shift);
    one_scaling(&of_x2, r->mult2, r->shift2);
    one_scaling(&of_y, r->mult_y, r->shift_y);
    int32_t i = 0;
    for (; i + WIDTH <= r->n; i += WIDTH) {
        vec sums[2] = { { 0 }, { 0 } };
        add_scaled(sums, x + i, WIDTH, r->zx, &of_x);
        add_scaled(sums, x2 + i, WIDTH, r->zx2, &of_x2);
        put_tile(*out, i, WIDTH, sums, &of_y);
    }
    if (i < r->n) {
        vec sums[2] = { { 0 }, { 0 } };
        add_scaled(sums, x + i, r->n - i, r->zx, &of_x);
        add_scaled(sums, x2 + i, r->n - i, r->zx2, &of_x2);
        put_tile(*out, i, r->n - i, sums, &of_y);
    }
    return 1;
}

#endif
