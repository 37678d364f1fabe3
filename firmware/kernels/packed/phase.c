#pragma GCC optimize ("Os") // code lies in a board's RAM; time is spent in FAST loops and in assembly
#include "packed.h"

#if TRIMTAB_PACKED

struct phase trimtab_phase(const struct trimtab_geometry *geo, int32_t ky, int32_t kx) {
    struct phase f = { ky, kx, every(ky, geo->kh, geo->sh), every(kx, geo->kw, geo->sw), 0, 0, 0, 0, 0, 0 };
    f.oy = every(ky, geo->pt, geo->sh); // ky and kx are below the strides
    f.ox = every(kx, geo->pl, geo->sw);
    f.iy = f.oy * geo->sh + ky - geo->pt;
    f.ix = f.ox * geo->sw + kx - geo->pl;
    f.high = every(f.iy, geo->ih, geo->sh);
    f.wide = every(f.ix, geo->iw, geo->sw);
    return f;
}

#endif
