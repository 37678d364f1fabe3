// What every kernel needs: its record, its memory, and how its loops are compiled.
// A kernel gets the memory spaces and the offset of its record. It allocates nothing and cannot fail.
#ifndef TRIMTAB_KERNEL_H
#define TRIMTAB_KERNEL_H

#include "fixed.h"
#include "records.h"

// What a reference points at; null where it is absent (kernel.c).
void *trimtab_at(uint8_t *const *mem, int32_t ref);

static inline void *at(uint8_t *const *mem, int32_t ref) {
    return trimtab_at(mem, ref);
}

typedef int32_t (*kernel_t)(uint8_t *const *mem, uint32_t off);

// The record at off, as a structure of its kind.
#define RECORD(name) const struct trimtab_##name *r = (const void *)(mem[TRIMTAB_PROGRAM] + off)

// A module for one package may lack the plain loops of kernels whose records all take packed operands. The
// number has a bit for each opcode. A record that needs the plain loops all the same is declined, and nothing
// is written.
#ifndef TRIMTAB_PACKED_ONLY
#define TRIMTAB_PACKED_ONLY 0
#endif
#define TRIMTAB_DECLINED INT32_MIN
#define PLAIN_LOOPS(name) (!((TRIMTAB_PACKED_ONLY) >> TRIMTAB_OP_##name & 1))

// How many cores share a record (cores.h). Kernels then find two more places in memory: what the core has for
// itself, and its share, or null where it does the whole.
#ifndef TRIMTAB_CORES
#define TRIMTAB_CORES 1
#endif
#define TRIMTAB_OWN (TRIMTAB_WEIGHTS + 1)
#define TRIMTAB_SHARE (TRIMTAB_WEIGHTS + 2)

// What a core takes of a record that cannot be cut into smaller ones, because what it writes lies interleaved.
struct share {
    enum axis { OUTPUTS, COLUMNS } axis; // channels of outputs; taps times input channels of a weight gradient
    int32_t first, end;
};

static inline int32_t is_shared(uint8_t *const *mem) {
    return TRIMTAB_CORES > 1 && mem[TRIMTAB_SHARE];
}

// This core's part of n along an axis.
static inline struct share share_of(uint8_t *const *mem, enum axis axis, int32_t n) {
    const struct share whole = { axis, 0, n };
    if (is_shared(mem)) {
        const struct share *given = (const void *)mem[TRIMTAB_SHARE];
        return given->axis == axis ? *given : whole;
    }
    return whole;
}

// For a loop over products: in a function of its own the compiler finds registers for it.
#define HOT __attribute__((noinline))

// In a loop that fills or copies: without it the compiler calls memset or memcpy, which native modules lack.
#define NO_LIBRARY_CALL __asm__ volatile ("")

typedef uint32_t __attribute__((may_alias)) word_t; // four bytes

// Bit i of a mask: output i was not clamped.
static inline int32_t mask_bit(const uint8_t *mask, int32_t i) {
    return mask[i >> 3] >> (i & 7) & 1;
}

#endif
