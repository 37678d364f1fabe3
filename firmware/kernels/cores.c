// The mailbox between the cores. Core 1 sleeps until a record is handed over; an event wakes it. Interrupts stay
// on, so core 1 waits in peace while core 0 writes flash.
#pragma GCC optimize ("Os") // code lies in a board's RAM, and little time is spent here
#include "cores.h"

#if TRIMTAB_CORES > 1

// Memory is written before the other core is woken, and read after.
static inline void wake(void) {
    __asm__ volatile ("dmb\n\tsev" ::: "memory");
}

static inline void sleep(void) {
    __asm__ volatile ("wfe" ::: "memory");
}

static inline void barrier(void) {
    __asm__ volatile ("dmb" ::: "memory");
}

void trimtab_serve(struct box *box, uint32_t bytes) {
    box->words = (bytes - (uint32_t)sizeof(struct box)) / 4;
    box->handed = box->done = 0;
    box->alive = 1;
    while (box->alive) {
        if (box->handed == box->done) {
            sleep();
            continue;
        }
        barrier();
        box->kernel(box->parts[1].mem, box->parts[1].off);
        box->done = box->handed;
        wake();
    }
}

int32_t trimtab_on_cores(uint8_t *const *mem, uint32_t off, kernel_t kernel) {
    struct box *box = (void *)mem[TRIMTAB_OWN];
    const int32_t *record = (const int32_t *)(mem[TRIMTAB_PROGRAM] + off);
    if (!box || !box->alive || !trimtab_share(box, mem, record)) {
        return kernel(mem, off);
    }
    box->kernel = kernel;
    barrier();
    box->handed++;
    wake();
    int32_t value = kernel(box->parts[0].mem, box->parts[0].off);
    while (box->done != box->handed) {
        sleep();
    }
    barrier();
    trimtab_join(box, mem, record);
    return value;
}

#endif
