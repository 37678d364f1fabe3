#pragma GCC optimize ("O2")
#include "plane.h"

#if TRIMTAB_PACKED

int32_t trimtab_slides(const struct trimtab_geometry *geo, int32_t h, int32_t w, int32_t pt, int32_t pl,
    int32_t oh, int32_t ow, int32_t words) {
    return geo->kh == 3 && geo->kw == 3 && geo->sh == 1 && geo->sw == 1 && (pt | pl) >> 1 == 0
        && oh <= h + pt - 1 && ow <= w + pl - 1 && h <= PLANE_MOST && w <= PLANE_MOST
        && (h + 1) * (w + 2) <= words;
}

struct slide_plan trimtab_slide_plan(int32_t *plane, int32_t h, int32_t w, int32_t pt, int32_t pl,
    int32_t ow) {
    struct slide_plan p;
    int32_t pitch = w + 2;
    p.load = (struct load) { 4 * w, 8, h, 1, 0, 0 };
    p.slide = (struct slide) { w, h, 4 * pitch, (h - 1) % 3 };
    p.first = plane + (2 - pt) * pitch + 1 - pl;
    p.skip = pitch - ow;
    for (int32_t i = 0; i <= h; i++) {
        plane[i * pitch + pitch - 1] = 0;
    }
    return p;
}

void trimtab_slide(int32_t *plane, const int8_t *from, int32_t step, const int32_t *w,
    const struct slide_plan *p) {
    int32_t *left = plane;
    for (int32_t i = p->slide.rows; i >= 0; i--, left += p->slide.columns + 2) {
        *left = 0; // sums of the last channel lie there
    }
    (TRIMTAB_DSP ? trimtab_slide_load : trimtab_plane_load)(plane + 1, from, step, &p->load);
    trimtab_slide3(plane, w, &p->slide);
}

#endif
