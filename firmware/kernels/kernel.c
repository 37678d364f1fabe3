#pragma GCC optimize ("Os") // code lies in a board's RAM, and little time is spent here
#include "kernel.h"

void *trimtab_at(uint8_t *const *mem, int32_t ref) {
    return ref < 0 ? 0 : mem[ref >> TRIMTAB_SPACE_SHIFT] + (ref & ((1 << TRIMTAB_SPACE_SHIFT) - 1));
}
