// The two functions that the compiler may call for a loop or a structure although nobody wrote the call.
// A native module has no C library to take them from; firmware and host builds do not use this file.
#include <stddef.h>
#include <stdint.h>

#define PLAIN_LOOP __attribute__((optimize("no-tree-loop-distribute-patterns")))

PLAIN_LOOP void *memset(void *to, int value, size_t count) {
    uint8_t *t = to;
    while (count--) {
        *t++ = (uint8_t)value;
    }
    return to;
}

PLAIN_LOOP void *memcpy(void *restrict to, const void *restrict from, size_t count) {
    uint8_t *t = to;
    const uint8_t *f = from;
    while (count--) {
        *t++ = *f++;
    }
    return to;
}
