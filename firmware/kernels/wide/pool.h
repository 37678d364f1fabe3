// Scratch memory of this thread. It grows to what the largest record needs and stays.
#ifndef TRIMTAB_POOL_H
#define TRIMTAB_POOL_H

#include <stdint.h>

#define POOL_MOST (1ll << 28) // bytes; a record that wants more goes to the plain loops

// What `bytes` take of the pool: whole cache lines, and room to read one vector past the end.
#define POOL_PART(bytes) (((int64_t)(bytes) + 64 + 63) & ~63ll)

// Makes room for parts of this size in all and frees what was taken before; 0 where there is not so much.
int32_t trimtab_pool_open(int64_t bytes);

// The next part, aligned to a cache line.
void *trimtab_pool_take(int64_t bytes);

#endif
