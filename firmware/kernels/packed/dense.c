// A layer with one position: each weight meets one input, so it does not pay to pack weights. They are
// multiplied as they lie, four in a word, by inputs that were prepared once.
//
// With d = x - zx, a magnitude |d| meets its weight + 128 or, where d is negative, 127 - the weight: a byte
// that an exclusive or makes. So no product of two packed numbers (packed.h) borrows. While two magnitudes
// that meet are at most 255 together, so are their products at most 255 * 255 < 2^16. What is beyond that is
// multiplied by itself.
#pragma GCC optimize ("Os") // code lies in a board's RAM; time is spent in FAST loops and in assembly
#include "packed.h"

#if TRIMTAB_DENSE

#define MOST 255 // that two magnitudes have together
#define ROWS 16 // outputs at once
#define BLOCK 64 // words of inputs at once: sums of 128 lanes, each at most 511, fit 16 bits

struct rest { // of input i
    uint16_t i;
    int16_t d;
};

struct inputs {
    uint32_t *to; // what trimtab_rows takes
    struct rest *rest; // up to two for each word of inputs
    int32_t rests;
    uint32_t added; // the sum of what the exclusive or added to the weights, times the inputs
};

// Leaves at most MOST of two magnitudes, those of inputs i + 2 and i; `negative` tells the signs of d.
static uint32_t split(struct inputs *p, uint32_t pair, uint32_t negative, int32_t i) {
    uint32_t low = pair & 0xffff, high = pair >> 16;
    int32_t beyond = (int32_t)(low + high) - MOST;
    if (beyond > 0) { // the larger has as much
        int32_t up = high > low ? 16 : 0, minus = negative >> (16 - up) & 1;
        p->rest[p->rests++] = (struct rest) { (uint16_t)(i + 2 - up / 8),
                                              (int16_t)(minus ? -beyond : beyond) };
        pair -= (uint32_t)beyond << up;
        p->added -= (uint32_t)((128 - minus) * beyond);
    }
    return pair;
}

// trimtab_prepare stops behind a word whose magnitudes are too large. 128 is added for each |d|, less 1 where
// d is negative: those have (sum of |d| - sum of d) / 2.
static void prepare(struct inputs *p, const word_t *x, int32_t words, int32_t zx) {
    struct prepare m = { x, p->to, 0, (uint32_t)(128 - zx) * LANES, 0, 0 };
    p->added = 0;
    p->rests = 0;
    while (m.x < x + words) {
        const word_t *start = m.x;
        m.end = start + min32(x + words - start, BLOCK);
        trimtab_prepare(&m);
        int32_t i = 4 * (m.x - x - 1), n = m.x - start;
        uint32_t all = (m.all & 0xffff) + (m.all >> 16), signed_sum = (m.sum & 0xffff) + (m.sum >> 16);
        p->added += 128 * all - (all - (signed_sum - 256 * 4 * (uint32_t)n)) / 2;
        uint32_t negative = ~m.to[-3] >> 7;
        m.to[-2] = split(p, m.to[-2], negative, i);
        m.to[-1] = split(p, m.to[-1], negative >> 8, i + 1);
    }
    m.to[0] = m.to[1] = m.to[2] = 0;
}

// Adds the products that were left out.
FAST static void add_rests(const struct inputs *p, const int8_t *w, int32_t pitch, int32_t *acc, int32_t n) {
    for (const struct rest *r = p->rest, *end = r + p->rests; r < end; r++) {
        const int8_t *v = w + r->i;
        for (int32_t i = 0, d = r->d; i < n; i++, v += pitch) {
            acc[i] = mac(acc[i], *v, d);
        }
    }
}

// Outputs o, o + step ... of n accumulators.
static void put(const struct output *out, const struct outputs *q, const int32_t *acc, int32_t o, int32_t n) {
    for (;;) {
        int32_t done = trimtab_requant_outputs(acc, o, n, q);
        if (done == n) {
            return;
        }
        acc += done;
        o += done * q->step;
        int32_t sum = add32(add32(*acc++, q->added), q->bias[o]);
        trimtab_put(out, o, (q->once ? trimtab_requant_once : trimtab_requant)(sum, q->mult[o], q->shift[o]));
        o += q->step;
        n -= done + 1;
    }
}

int32_t trimtab_dense_words(int32_t size) {
    return (size + 6) / 4 * 5 + 3;
}

// The inputs that a plane sees, as words. Unless x are, they go to `to`, s bytes behind it, between inputs of
// 0.
static const word_t *as_words(const struct dense *c, word_t *to, int32_t words, int32_t s) {
    if (!c->kept && c->nk == c->ic && !((s | c->size | (int32_t)(uintptr_t)c->x) & 3)) {
        return (const word_t *)c->x;
    }
    to[0] = to[words - 1] = (uint32_t)(c->zx & 255) * 0x01010101u;
    int8_t *byte = (int8_t *)to + s, *end = byte + c->size;
    for (const int8_t *x = c->x; byte < end; x += c->ic) {
        for (int32_t i = 0; i < c->nk; i++) {
            *byte++ = x[c->kept ? c->kept[i] : i];
        }
    }
    return to;
}

// Row o begins s bytes behind a word. 2^alike rows on, weights lie alike in their words: such rows share
// inputs.
void trimtab_dense(const struct dense *c, struct outputs *q, const struct output *out, uint32_t *scratch,
    int32_t *sums) {
    int32_t alike = c->size & 1 ? 2 : c->size >> 1 & 1, pitch = c->size << alike;
    struct inputs p;
    p.to = scratch;
    q->step = 1 << alike;
    for (int32_t first = 0; first < q->step; first++) {
        const int8_t *w = c->w + first * c->size;
        int32_t s = (int32_t)((uintptr_t)w & 3), words = (s + c->size + 3) >> 2;
        p.rest = (struct rest *)(scratch + 3 * words + 3);
        // They lie at the end of the rests, which grow by two words at most for each one that is read.
        prepare(&p, as_words(c, (word_t *)p.rest + words, words, s), words, c->zx);
        q->added = -(int32_t)p.added;
        w -= s;
        for (int32_t o = first, n; o < c->oc; o += n << alike, w += n * pitch) {
            int32_t acc[ROWS];
            n = min32((c->oc - o + q->step - 1) >> alike, ROWS);
            trimtab_rows(p.to, w, pitch, (uint32_t *)acc, n);
            add_rests(&p, w, pitch, acc, n);
            if (!sums) {
                put(out, q, acc, o, n);
            }
            for (int32_t i = 0; i < n && sums; i++) {
                int32_t *sum = sums + o + (i << alike);
                *sum = add32(*sum, add32(acc[i], q->added));
            }
        }
    }
}

void trimtab_dense_put(struct outputs *q, const struct output *out, const int32_t *sums, int32_t oc) {
    q->added = 0;
    q->step = 1;
    put(out, q, sums, 0, oc);
}

#endif
