// Records in one call.
#ifndef TRIMTAB_RUN_H
#define TRIMTAB_RUN_H

#include "kernel.h"

#define TRIMTAB_COUNT(name) + 1
enum { TRIMTAB_LISTED = 0 TRIMTAB_KERNELS(TRIMTAB_COUNT) };
extern const uint8_t trimtab_opcodes[TRIMTAB_LISTED]; // of the kernels that there are
extern const kernel_t trimtab_kernels[TRIMTAB_LISTED];

// Runs records i .. stop, which lie at offsets[i] .. in the space of records; each names its kernel by its opcode.
// Returns the index behind the last one that ran. That is before `stop` where `budget` microseconds are over, and where a
// record was declined: then *value is TRIMTAB_DECLINED, else what the last kernel returned. At least one record runs, so
// who calls again comes to an end. A build without a clock knows no budget.
int32_t trimtab_run(uint8_t *const *mem, const int32_t *offsets, int32_t i, int32_t stop, uint32_t budget, int32_t *value);

// Of a clock that wraps; after a wrap a budget may be over too early. On boards it is MicroPython's, which memory has
// as TRIMTAB_CLOCK (module.c).
uint32_t trimtab_microseconds(uint8_t *const *mem);

#endif
