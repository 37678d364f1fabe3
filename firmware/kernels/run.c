#define _POSIX_C_SOURCE 199309L // for clock_gettime
#include "cores.h"
#include "run.h"

#define CODE(name) TRIMTAB_OP_##name,
#define POINTER(name) trimtab_##name,
const uint8_t trimtab_opcodes[TRIMTAB_LISTED] = { TRIMTAB_KERNELS(CODE) };
// Not static: MicroPython's linker would lose where a static table of another file begins, on Xtensa.
const kernel_t trimtab_kernels[TRIMTAB_LISTED] = { TRIMTAB_KERNELS(POINTER) }; // of these opcodes

static int32_t run_one(uint8_t *const *mem, uint32_t off) {
    int32_t opcode = *(const int32_t *)(mem[TRIMTAB_PROGRAM] + off);
    int32_t k = min32(opcode, TRIMTAB_LISTED - 1), left = TRIMTAB_LISTED; // most stand there or a little before
    for (; left && trimtab_opcodes[k] != opcode; left--) {
        k = k ? k - 1 : TRIMTAB_LISTED - 1;
    }
    return left ? trimtab_on_cores(mem, off, trimtab_kernels[k]) : TRIMTAB_DECLINED;
}

#if TRIMTAB_PC
#include <time.h>

uint32_t trimtab_microseconds(uint8_t *const *mem) {
    struct timespec now;
    (void)mem;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint32_t)now.tv_sec * 1000000u + (uint32_t)now.tv_nsec / 1000u;
}
#endif

int32_t trimtab_run(uint8_t *const *mem, const int32_t *offsets, int32_t i, int32_t stop, uint32_t budget, int32_t *value) {
    uint32_t start = i + 1 < stop ? trimtab_microseconds(mem) : 0;
    while (i < stop) {
        *value = run_one(mem, (uint32_t)offsets[i]);
        if (*value == TRIMTAB_DECLINED) {
            break;
        }
        i++;
        if (i < stop && trimtab_microseconds(mem) - start > budget) {
            break;
        }
    }
    return i;
}
