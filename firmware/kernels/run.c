#define _POSIX_C_SOURCE 199309L // for clock_gettime
#include "run.h"

typedef int32_t (*kernel_t)(uint8_t *const *mem, uint32_t off);

#define CODE(name) TRIMTAB_OP_##name,
#define POINTER(name) trimtab_##name,
static const uint8_t opcodes[] = { TRIMTAB_KERNELS(CODE) };
static const kernel_t kernels[] = { TRIMTAB_KERNELS(POINTER) }; // of these opcodes

static int32_t run_one(uint8_t *const *mem, uint32_t off) {
    int32_t opcode = *(const int32_t *)(mem[TRIMTAB_PROGRAM] + off);
    for (uint32_t k = 0; k < sizeof(opcodes); k++) {
        if (opcode == opcodes[k]) {
            return kernels[k](mem, off);
        }
    }
    return TRIMTAB_DECLINED;
}

// Of a clock that a build for a PC has. It wraps, and so does the difference of two readings.
static uint32_t microseconds(void);

#if TRIMTAB_PC
#include <time.h>

static uint32_t microseconds(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint32_t)now.tv_sec * 1000000u + (uint32_t)now.tv_nsec / 1000u;
}
#else
static uint32_t microseconds(void) {
    return 0;
}
#endif

int32_t trimtab_run(uint8_t *const *mem, const int32_t *offsets, int32_t i, int32_t stop, uint32_t budget, int32_t *value) {
    uint32_t start = microseconds();
    while (i < stop) {
        *value = run_one(mem, (uint32_t)offsets[i]);
        if (*value == TRIMTAB_DECLINED) {
            break;
        }
        i++;
        if (microseconds() - start > budget) {
            break;
        }
    }
    return i;
}
