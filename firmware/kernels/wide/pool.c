#include "wide.h"

#if TRIMTAB_WIDE

#include <stdlib.h>

#include "pool.h"

static _Thread_local char *block, *first; // as malloc gave it; its first cache line
static _Thread_local int64_t size, used;

int32_t trimtab_pool_open(int64_t bytes) {
    used = 0;
    if (bytes > POOL_MOST) {
        return 0;
    }
    if (bytes > size) {
        free(block);
        size = 2 * bytes;
        block = malloc((size_t)size + 64);
        if (!block) {
            size = 0;
            return 0;
        }
        first = block + (-(uintptr_t)block & 63);
    }
    return 1;
}

void *trimtab_pool_take(int64_t bytes) {
    char *part = first + used;
    used += POOL_PART(bytes);
    return part;
}

#endif
