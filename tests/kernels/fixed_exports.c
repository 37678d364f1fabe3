// Gives fixed.h's inline functions addresses, for test_fixed.py.
#include "fixed.h"

int32_t fixed_rsh(int32_t v, int32_t s) {
    return rsh(v, s);
}

uint32_t fixed_rsh_unsigned(uint32_t v, int32_t s) {
    return rsh_unsigned(v, s);
}

int32_t fixed_rsh_away(int32_t v, int32_t s) {
    return rsh_away(v, s);
}

uint32_t fixed_magnitude(int32_t v) {
    return magnitude(v);
}

int32_t fixed_add_saturated(int32_t a, int32_t b) {
    return add_saturated(a, b);
}

// Products of n random pairs and of every pair of edges: how many differ from 64-bit arithmetic.
uint32_t fixed_compare(const int32_t *edges, uint32_t n_edges, uint32_t n, uint32_t seed) {
    uint32_t bad = 0, x = seed;
    for (uint32_t i = 0; i < n + n_edges * n_edges; i++) {
        int32_t a, m;
        if (i < n) {
            x ^= x << 13, x ^= x >> 17, x ^= x << 5;
            a = (int32_t)x >> (x & 15); // all magnitudes
            x ^= x << 13, x ^= x >> 17, x ^= x << 5;
            m = (int32_t)x;
        } else {
            a = edges[(i - n) / n_edges];
            m = edges[(i - n) % n_edges];
        }
        int64_t p = (int64_t)a * m;
        int32_t shift = -(int32_t)(i % 31);
        bad += trimtab_high31(a, m) != (int32_t)((p + (1 << 30)) >> 31);
        p = (p + ((int64_t)1 << (30 - shift))) >> (31 - shift);
        bad += trimtab_requant_once(a, m, shift) != (int32_t)p;
    }
    return bad;
}
