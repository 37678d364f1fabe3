// Both cores of a chip at work on one record. shares.c makes two records of it, each with a share of the outputs;
// cores.c hands one of them to core 1 and waits for it. All memory for that is one box, which the caller gives:
// memory has the box, or null, as TRIMTAB_OWN.
#ifndef TRIMTAB_CORES_H
#define TRIMTAB_CORES_H

#include "kernel.h"


#if TRIMTAB_CORES == 1

static inline int32_t trimtab_on_cores(uint8_t *const *mem, uint32_t off, kernel_t kernel) {
    return kernel(mem, off);
}

#else

#define RECORD_MOST 36 // words

// What one core does.
struct part {
    uint8_t *mem[TRIMTAB_SHARE + 1];
    uint32_t off; // of its record
    struct share share;
    int32_t exp; // what the record's exp and track stand for, until both cores are done
    int32_t track;
    int32_t record[RECORD_MOST];
};

struct box {
    volatile uint32_t alive; // whether core 1 serves this box; to write 0 sends it away
    volatile uint32_t handed, done; // how many records core 1 was given, and has finished
    uint32_t words; // of scratch
    kernel_t kernel;
    struct part parts[2]; // of core 0 and of core 1
    uint32_t scratch[]; // of core 1
};

// Serves a box of so many bytes, as core 1, until it is sent away.
void trimtab_serve(struct box *box, uint32_t bytes);

// Runs a record: on both cores where core 1 serves the box and the record can be shared with profit, else on this
// one alone. Every result is the same.
int32_t trimtab_on_cores(uint8_t *const *mem, uint32_t off, kernel_t kernel);

// Makes the parts of a record; returns 0 if it stays whole.
int32_t trimtab_share(struct box *box, uint8_t *const *mem, const int32_t *record);
// What is left to do once both are done.
void trimtab_join(struct box *box, uint8_t *const *mem, const int32_t *record);

#endif

#endif
