// Replays recorded kernel calls, each memory space in a block of exactly its size, so that a sanitizer sees
// every step outside. Input: calls of (opcode, four sizes, four spaces); output: the value, arena and state
// of each.
#include <stdio.h>
#include <stdlib.h>

#include "records.h"

static int32_t (*const functions[])(uint8_t *const *, uint32_t) = { KERNEL_FUNCTIONS };

int main(void) {
    uint32_t head[5];
    while (fread(head, sizeof(head), 1, stdin)) {
        uint8_t *mem[4];
        for (int i = 0; i < 4; i++) {
            mem[i] = malloc(head[i + 1]);
            if (head[i + 1] && !fread(mem[i], head[i + 1], 1, stdin)) {
                return 2;
            }
        }
        int32_t value = functions[head[0]](mem, 0);
        fwrite(&value, sizeof(value), 1, stdout);
        for (int i = 0; i < 4; i++) {
            if (i < 2) {
                fwrite(mem[i], 1, head[i + 1], stdout);
            }
            free(mem[i]);
        }
    }
    return 0;
}
