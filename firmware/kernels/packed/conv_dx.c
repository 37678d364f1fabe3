// The error of the input of convolutions and dense layers: d = rsh(gy * m, m_shift) of all outputs that see
// an input, times their weights. SWAR: d takes more than 8 bits, so two products do not fit one
// multiplication; a word of four weights + 128 is multiplied, and what overlaps is taken away at the end.
// DSP: d fits 16 bits. Inputs are taken phase by phase. The host chooses m_shift so that every sum is at most
// 2^30; sums wrap on the way.
#pragma GCC optimize ("Os") // code lies in a board's RAM; time is spent in FAST loops and in assembly
#include "../error.h"
#include "packed.h"

#if TRIMTAB_PACKED

#define MOST_CHANNELS 4096 // limits that keep every size below 2^31
#define MOST_TAPS 15
#define MOST_POSITIONS 32768

struct back {
    const struct trimtab_geometry *geo;
    const int8_t *gy;
    const int16_t *m;
    int32_t m_shift;
    const int8_t *w, *k;
    const uint16_t *kept;
    int32_t nk;
    int32_t *d; // (block / 2, terms + 1, 2 inputs); DSP: (block / 2, terms / 2, 2 inputs, 2 terms) halves
    int32_t *sums; // (block, 4 channels)
    uint32_t *four; // (terms, 4 channels) bytes: weights + 128
    int32_t block, terms; // inputs at once; kernel positions times outputs that see each
};

#if TRIMTAB_DSP // two terms of each input lie in one word; zeros fill them up to a multiple of 4

typedef int16_t __attribute__((may_alias)) term_t;

#define PLACE(t) (((t) >> 1) * 4 + ((t) & 1))
#define APART 2 // from one input of a pair to the other
#define TERMS(b) (((b)->terms + 3) & ~3)
#define POSITION_WORDS(b) (TERMS(b) / 2)
#define WEIGHT_WORDS(b) (2 * TERMS(b))

#else

typedef int32_t term_t;

#define PLACE(t) (2 * (t))
#define APART 1
#define TERMS(b) ((b)->terms)
#define POSITION_WORDS(b) (TERMS(b) + 1)
#define WEIGHT_WORDS(b) TERMS(b)

#endif

// Writes d of the n outputs at one position to the terms from t on; gy and m: (n). Returns their sum.
FAST static int32_t errors_of(term_t *row, int32_t t, const int8_t *gy, const int16_t *m, int32_t n,
    int32_t shift, int32_t half) {
    int32_t sum = 0;
    for (int32_t end = t + n; t < end; t++) {
        int32_t d = (*gy++ * *m++ + half) >> shift;
        row[PLACE(t)] = (term_t)d;
        sum = add32(sum, d);
    }
    return sum;
}

static void no_errors(term_t *row, int32_t t, int32_t end) {
    for (; t < end; t++) {
        row[PLACE(t)] = 0;
    }
}

// The d that n inputs of a phase see, from number `first` on.
static void collect(const struct back *b, const struct phase *f, int32_t first, int32_t n) {
    const struct trimtab_geometry *geo = b->geo;
    int32_t row = first / f->wide, col = first - row * f->wide, half = b->m_shift ? 1 << (b->m_shift - 1) : 0;
    for (int32_t i = 0; i < n; i++) {
        term_t *to = (term_t *)(b->d + (i & ~1) * POSITION_WORDS(b)) + (i & 1) * APART;
        int32_t t = 0, sum = 0;
        int32_t oy = f->oy + row, left = f->ox + col;
        for (int32_t y = f->rows; y; y--, oy--) {
            for (int32_t x = f->cols, ox = left; x; x--, ox--, t += geo->oc) {
                if (oy >= 0 && oy < geo->oh && ox >= 0 && ox < geo->ow) {
                    const int8_t *gy = b->gy + (oy * geo->ow + ox) * geo->oc;
                    sum = add32(sum, errors_of(to, t, gy, b->m, geo->oc, b->m_shift, half));
                } else {
                    no_errors(to, t, t + geo->oc);
                }
            }
        }
        if (TRIMTAB_DSP) {
            no_errors(to, t, TERMS(b));
        } else {
            to[PLACE(t)] = (term_t)mul32(128, sum);
        }
        if (++col == f->wide) {
            col = 0;
            row++;
        }
    }
}

// The trained weights of input channel i, or null.
static const int8_t *trained_weights(const struct back *b, int32_t i) {
    for (int32_t j = 0; b->k && j < b->nk; j++) {
        if ((b->kept ? b->kept[j] : j) == i) {
            return b->k + j;
        }
    }
    return 0;
}

// Every fourth byte of `to` = n weights + 128.
FAST static void copy_byte(uint8_t *to, const int8_t *from, int32_t n, int32_t step) {
    for (; n; n--, to += 4, from += step) {
        *to = (uint8_t)(*from + 128);
    }
}

FAST static void add_byte(uint8_t *to, const int8_t *from, int32_t n, int32_t step) {
    for (; n; n--, to += 4, from += step) {
        *to = (uint8_t)(*to + *from);
    }
}

// to (n) = four weights + 128, which lie side by side in each of n rows.
FAST static void copy_four(uint32_t *to, const int8_t *from, int32_t n, int32_t step) {
    uint32_t flip = 0x80808080u;
    if (n & 1) {
        *to++ = *(const word_t *)from ^ flip;
        from += step;
    }
    for (const uint32_t *end = to + (n & ~1); to < end; to += 2) {
        to[0] = *(const word_t *)from ^ flip;
        from += step;
        to[1] = *(const word_t *)from ^ flip;
        from += step;
    }
}

// The weights of channels i .. i + n, at most four, through all taps of a phase.
static void collect_weights(const struct back *b, const struct phase *f, int32_t i, int32_t n) {
    const struct trimtab_geometry *geo = b->geo;
    int32_t oc = geo->oc, taps = geo->kh * geo->kw;
    // The plane that has all weights, or null.
    const int8_t *plane = !b->k ? b->w : !b->w && b->nk == geo->ic ? b->k : 0;
    static const int8_t none = 0;
    int32_t in_words = n == 4 && plane && ((uintptr_t)plane | (uint32_t)geo->ic) % 4 == 0;
    for (int32_t byte = 0; byte < (in_words ? 1 : n); byte++) {
        const int8_t *w = plane ? plane : b->w ? b->w : &none;
        const int8_t *k = plane ? 0 : trained_weights(b, i + byte);
        int32_t tap = plane || b->w ? geo->ic : 0;
        uint32_t *to = b->four;
        for (int32_t y = f->ky; y < geo->kh; y += geo->sh) {
            for (int32_t x = f->kx; x < geo->kw; x += geo->sw, to += oc) {
                const int8_t *from = w + (y * geo->kw + x) * tap + (tap ? i + byte : 0);
                if (in_words) {
                    copy_four(to, from, oc, taps * tap);
                } else {
                    copy_byte((uint8_t *)to + byte, from, oc, taps * tap);
                }
                if (k) {
                    add_byte((uint8_t *)to + byte, k + (y * geo->kw + x) * b->nk, oc, taps * b->nk);
                }
            }
        }
    }
}

// Writes the errors of channels i .. i + n at the inputs first .. first + many of a phase, row by row.
static void put(const struct back *b, const struct phase *f, struct error *e, int32_t i, int32_t n,
    int32_t first, int32_t many) {
    const struct trimtab_geometry *geo = b->geo;
    int32_t ic = geo->ic;
    struct grid grid = { n, 4 - n, many, 1, geo->sw * ic - n };
    if (geo->sh == 1 && geo->sw == 1) {
        trimtab_error_grid(e, first * ic + i, b->sums, &grid);
        return;
    }
    int32_t row = first / f->wide, col = first - row * f->wide;
    int32_t *sums = b->sums;
    for (; many; many -= grid.rows, sums += 4 * grid.rows, row++, col = 0) {
        grid.rows = min32(many, f->wide - col);
        trimtab_error_grid(e, ((f->iy + row * geo->sh) * geo->iw + f->ix + col * geo->sw) * ic + i, sums,
            &grid);
    }
}

static void back_phase(struct back *b, const struct phase *f, struct error *e) {
    int32_t inputs = f->high * f->wide;
    for (int32_t first = 0; first < inputs; first += b->block) {
        int32_t many = min32(b->block, inputs - first), ic = b->geo->ic;
        collect(b, f, first, many);
        for (int32_t i = 0; i < ic; i += 4) {
            int32_t n = min32(4, ic - i);
            collect_weights(b, f, i, n);
            trimtab_spread(b->four, b->four + TERMS(b), b->d, b->sums, (many + 1) >> 1);
            put(b, f, e, i, n, first, many);
        }
    }
}

// Divides the scratch memory. Returns how many inputs are taken at once: an even number, or 0 if it is too
// small.
static int32_t divide(struct back *b, int32_t *scratch, int32_t words) {
    b->block = min32((words - WEIGHT_WORDS(b)) / (POSITION_WORDS(b) + 4), MOST_POSITIONS) & ~1;
    b->sums = scratch + WEIGHT_WORDS(b);
    b->four = (uint32_t *)(b->sums - TERMS(b));
    b->d = b->sums + 4 * b->block;
    return b->block;
}

int32_t trimtab_conv_dx_packed(uint8_t *const *mem, const struct trimtab_conv_dx *r, int32_t exp) {
    const struct trimtab_geometry *geo = &r->geometry;
    int32_t *scratch = at(mem, r->scratch);
    struct back b = { geo, at(mem, r->gy), at(mem, r->m), r->m_shift, at(mem, r->weights.w), at(mem,
                      r->weights.k), at(mem, r->weights.kept), r->nk, 0, 0, 0, 0, 0 };
    if (!scratch || (!b.w && !b.k) || geo->ic > MOST_CHANNELS || geo->oc > MOST_CHANNELS
        || geo->kh > MOST_TAPS || geo->kw > MOST_TAPS || geo->sh > geo->kh || geo->sw > geo->kw
        || geo->ih * geo->iw < 2 || r->m_shift < SHIFT_LEAST) {
        return 0; // strides beyond the kernel leave inputs without a phase
    }
    b.terms = every(0, geo->kh, geo->sh) * every(0, geo->kw, geo->sw) * geo->oc;
    if (divide(&b, scratch, r->words) < 2) {
        return 0;
    }
    struct error e;
    trimtab_error_open(&e, mem, &r->error_out, exp);
    for (int32_t ky = 0; ky < geo->sh; ky++) {
        for (int32_t kx = 0; kx < geo->sw; kx++) {
            const struct phase f = trimtab_phase(geo, ky, kx);
            b.terms = f.rows * f.cols * geo->oc;
            divide(&b, scratch, r->words);
            back_phase(&b, &f, &e);
        }
    }
    trimtab_error_close(&e);
    return 1;
}

#endif
