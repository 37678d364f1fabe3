// Taps: which positions of a kernel meet the input, along one axis.
#ifndef TRIMTAB_TAPS_H
#define TRIMTAB_TAPS_H

#include "kernel.h"

// Seen from an output.
struct taps {
    int32_t first, end; // kernel positions; empty where end <= first
    int32_t origin; // input index of kernel position 0
};

static inline struct taps taps(int32_t o, int32_t stride, int32_t pad, int32_t size, int32_t k) {
    int32_t origin = o * stride - pad;
    return (struct taps) { max32(-origin, 0), min32(size - origin, k), origin };
}

static inline int32_t tap_count(struct taps t) {
    return max32(t.end - t.first, 0);
}

// Whether output ox and the next one both see all columns of the kernel.
static inline int32_t next_is_alike(const struct trimtab_geometry *geo, int32_t ox, struct taps cols) {
    return cols.origin >= 0 && cols.origin + geo->sw + geo->kw <= geo->iw && ox + 1 < geo->ow;
}

// Seen from kernel position t: the outputs first, first + 1, ... (count of them) whose input is in range.
struct span {
    int32_t first, count;
};

static inline struct span span(int32_t t, int32_t stride, int32_t pad, int32_t size, int32_t outputs) {
    // Few are out of range: no division is as quick.
    int32_t first = 0, end = outputs, last = size - 1 + pad - t;
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

// The mean of n numbers: ties away from zero. A division costs as much as four inputs.
static inline int32_t mean_away(int32_t sum, int32_t n) {
    if (!(n & (n - 1))) {
        int32_t s = 0;
        while (1 << s < n) {
            s++;
        }
        return rsh_away(sum, s);
    }
    return sum > 0 ? (sum + n / 2) / n : -((n / 2 - sum) / n);
}

#endif
