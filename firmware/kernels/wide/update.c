#include "wide.h"

#if TRIMTAB_WIDE

#include "update_rows.h"
#include "vector.h"

#define LIMIT (127 * 256) // of a weight with 8 residual bits, in 1/256

static int32_t is_usual(const struct update *up) {
    return !up->rng && up->bits == 8 && up->pre >= 0 && up->pre <= 31 && (up->acc || up->r);
}

// How a channel's sums become deltas: what trimtab_update computes anew for each weight.
struct delta {
    int32_t rate; // the channel's mantissa times the learning rate's: 8 bits
    int32_t down, low, round; // shift to the right; for rounding, the last bit that it drops
    int32_t live; // 0 where the shift leaves nothing
    int32_t up, top; // shift to the left, and the largest number that it keeps within LIMIT
};

static inline struct delta delta_of(const struct update *up, int32_t u) {
    int32_t s = add32(up->base, u >> 8), down = s > 31 ? 0 : max32(s, 0), left = s < -31 ? 31 : s < 0 ? -s : 0;
    return (struct delta) { rsh(mul32(u & 255, up->rate), 8), down, down ? down - 1 : 0, down > 0, s > 31 ? 0 : -1,
                            left, LIMIT >> left };
}

// The sum times the rate: |dw / 2^pre| <= 2^22 and the rate has 8 bits, so below 2^30. 0: the weight stays.
#define PRODUCT(dw, d) mul32(((dw) >> pre) + ((dw) >> before & one), (d).rate)

// In 1/256, saturated.
static inline int32_t moved_by(int32_t t, struct delta d) {
    int32_t v = ((t >> d.down) + (t >> d.low & d.round)) & d.live;
    return v > d.top ? LIMIT : v < -d.top ? -LIMIT : v * (1 << d.up);
}

// A weight that stays is not even brought within its limits.
static inline void move(int8_t *k, int8_t *r, int32_t t, int32_t delta) {
    int32_t was = *k * 256 + *r, w = t ? clamp(was - delta, -LIMIT, LIMIT) : was;
    *k = (int8_t)((w + 128) >> 8);
    *r = (int8_t)w;
}

static inline void add_up(int16_t *acc, int32_t t, int32_t delta) {
    *acc = (int16_t)(t ? clamp(*acc + delta, -32767, 32767) : *acc);
}

void trimtab_update_row(const struct update *up, int32_t j, int32_t o, const int32_t *dw, int32_t n) {
    if (!is_usual(up)) {
        for (int32_t i = 0; i < n; i++) {
            trimtab_update(up, j + i, o, dw[i]);
        }
        return;
    }
    const struct delta d = delta_of(up, up->u[o]);
    const int32_t pre = up->pre, one = pre > 0, before = pre ? pre - 1 : 0;
    if (up->acc) {
        for (int32_t i = 0; i < n; i++) {
            int32_t t = PRODUCT(dw[i], d);
            add_up(up->acc + j + i, t, moved_by(t, d));
        }
        return;
    }
    int8_t *k = up->k + j, *r = up->r + j;
    for (int32_t i = 0; i < n; i++) {
        int32_t t = PRODUCT(dw[i], d);
        move(k + i, r + i, t, moved_by(t, d));
    }
}

void trimtab_update_channels(const struct update *up, int32_t j, const uint16_t *kept, const int32_t *dw, int32_t n) {
    const int32_t pre = up->pre, one = pre > 0, before = pre ? pre - 1 : 0;
    for (int32_t i = 0; i < n; i++) {
        int32_t o = kept ? kept[i] : i;
        if (!is_usual(up)) {
            trimtab_update(up, j + i, o, dw[i]);
            continue;
        }
        const struct delta d = delta_of(up, up->u[o]);
        int32_t t = PRODUCT(dw[i], d);
        if (up->acc) {
            add_up(up->acc + j + i, t, moved_by(t, d));
        } else {
            move(up->k + j + i, up->r + j + i, t, moved_by(t, d));
        }
    }
}

#endif
