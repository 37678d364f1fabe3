// What the forward and backward kernels of depthwise convolutions share: a plane of words in scratch memory.
#ifndef TRIMTAB_PLANE_H
#define TRIMTAB_PLANE_H

#include "../depthwise.h"
#include "packed.h"

#if TRIMTAB_PACKED

#define PLANE_MOST 1024 // rows or columns, so that no size overflows

// The weights of a channel; a lone zero if there are none.
static inline struct column some_column(uint8_t *const *mem, const struct trimtab_weights *r, int32_t nk,
    int32_t oc, int32_t o) {
    static const int8_t none = 0;
    struct column f = trimtab_column(mem, r, nk, oc, o);
    if (!f.w) {
        f.w = &none;
        f.step = 0;
    }
    return f;
}

static inline void fill_words(uint32_t *to, uint32_t value, int32_t n) {
    for (; n >= 4; n -= 4, to += 4) {
        to[0] = to[1] = to[2] = to[3] = value;
    }
    for (; n > 0; n--) {
        *to++ = value;
        NO_LIBRARY_CALL;
    }
}

// -- 3x3 with stride 1: the plane holds the image between two columns of zeros, and then the sums (plane.c)

struct slide_plan {
    struct load load;
    struct slide slide;
    int32_t *first; // sum of output (0, 0)
    int32_t skip; // words between rows of sums
};

// Whether the loop takes it: from an image of h x w to oh x ow results, with pt and pl pads before it.
int32_t trimtab_slides(const struct trimtab_geometry *geo, int32_t h, int32_t w, int32_t pt, int32_t pl,
    int32_t oh, int32_t ow, int32_t words);

struct slide_plan trimtab_slide_plan(int32_t *plane, int32_t h, int32_t w, int32_t pt, int32_t pl,
    int32_t ow);

// One channel, `step` bytes from number to number; w: (3, 3).
void trimtab_slide(int32_t *plane, const int8_t *from, int32_t step, const int32_t *w,
    const struct slide_plan *p);

#endif

#endif
