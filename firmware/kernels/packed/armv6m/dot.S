// Packing, and the product of packed rows (packed.h).
#if defined(__ARM_ARCH_6M__)
    .syntax unified
    .thumb
    .text
#include "thumb1.h"

// Two rows of x by one of w, four bytes each: 8 products in 21 cycles.
// r0 x, r1 w, r2 r3 sums. A product destroys x, so nothing is copied; muls leaves the carry alone.
.macro STEP
    ldmia r1!, {r4, r5}
    ldmia r0!, {r6, r7}
    muls r6, r4
    asrs r6, r6, #16
    adcs r2, r6
    muls r7, r5
    asrs r7, r7, #16
    adcs r2, r7
    ldmia r0!, {r6, r7}
    muls r6, r4
    asrs r6, r6, #16
    adcs r3, r6
    muls r7, r5
    asrs r7, r7, #16
    adcs r3, r7
.endm
#define STEP_BYTES 30

// void trimtab_dot(x, w, w_end, acc, pairs, start)
FUNCTION trimtab_dot
    SAVE
    mov r8, r1 // row of w
    mov r9, r2 // its end
    mov r10, r3 // acc
    ldr r4, [sp, #36] // pairs
    lsls r4, r4, #3
    add r4, r10
    mov r11, r4 // end of acc
    ldr r4, [sp, #40]
    mov r12, r4 // start
    subs r2, r2, r1 // the first round has the odd steps: it is entered late
    lsrs r2, r2, #3
    rsbs r2, r2, #0
    movs r3, #3
    ands r2, r3
    movs r3, #STEP_BYTES
    muls r2, r3
    adr r3, 2f
    adds r2, r2, r3
    mov lr, r2
1:  mov r1, r8
    mov r2, r12
    mov r3, r12
    mov pc, lr
    .balign 4
2:  STEP
    STEP
    STEP
    STEP
    cmp r1, r9
    bne 2b
    mov r4, r10
    stmia r4!, {r2, r3}
    mov r10, r4
    cmp r4, r11
    bne 1b
    RESTORE

// Packs the four bytes in r2 into r2 and r3: + 128 makes them unsigned, so that masks can cut them out.
// r4 mask, r5 + 128, r8 - 128 of both halves
.macro SPLIT side
    eors r2, r5
    .ifc \side, w
    rors r2, r6
    .endif
    lsrs r3, r2, #8
    ands r2, r4
    ands r3, r4
    add r2, r8
    add r3, r8
    stmia r1!, {r2, r3}
    .ifc \side, w
    add r10, r2
    add r10, r3
    .else
    add r1, r9
    .endif
.endm

.macro LOAD_UNALIGNED
    ldrb r2, [r0, #0]
    ldrb r3, [r0, #1]
    lsls r3, r3, #8
    orrs r2, r3
    ldrb r3, [r0, #2]
    lsls r3, r3, #16
    orrs r2, r3
    ldrb r3, [r0, #3]
    lsls r3, r3, #24
    orrs r2, r3
    adds r0, #4
.endm

// r0 bytes, r1 to, r7 their end. The first round has the odd words: it is entered late.
.macro PACK side, bytes
    lsls r2, r0, #30
    bne 2f
    subs r2, r0, r7
    lsls r2, r2, #28
    lsrs r2, r2, #30
    movs r3, #\bytes // of one word's code
    muls r2, r3
    adr r3, 1f
    adds r2, r2, r3
    mov pc, r2
    .balign 4
1:  .rept 4
    ldmia r0!, {r2}
    SPLIT \side
    .endr
    cmp r0, r7
    bne 1b
    b 3f
2:  LOAD_UNALIGNED
    SPLIT \side
    cmp r0, r7
    bne 2b
3:
.endm

// void trimtab_pack_x(bytes, to, words, skip)
FUNCTION trimtab_pack_x, trimtab_pack
    SAVE
    mov r9, r3
    lsls r7, r2, #2
    adds r7, r7, r0
    ldr r4, 5f
    ldr r5, 5f + 4
    ldr r3, 5f + 8
    mov r8, r3
    PACK x, 18
    RESTORE

// uint32_t trimtab_pack_w(bytes, to, words)
FUNCTION trimtab_pack_w, trimtab_pack
    SAVE
    lsls r7, r2, #2
    adds r7, r7, r0
    movs r6, #16
    movs r4, #0
    mov r10, r4 // sum
    ldr r4, 5f
    ldr r5, 5f + 4
    ldr r3, 5f + 8
    mov r8, r3
    PACK w, 22
    mov r0, r10
    RESTORE
    .balign 4
5:  .word 0x00ff00ff, 0x80808080, -0x00800080

// Four bytes, r8 apart, to two packed words. r0 offset, r1 to, r2 from, r3-r6 bytes, r10 sum, r9 skip
.macro GATHER side
    ldrsb r3, [r2, r0]
    add r0, r8
    ldrsb r4, [r2, r0]
    add r0, r8
    ldrsb r5, [r2, r0]
    add r0, r8
    ldrsb r6, [r2, r0]
    add r0, r8
    .ifc \side, w
    lsls r3, r3, #16
    lsls r4, r4, #16
    .else
    lsls r5, r5, #16
    lsls r6, r6, #16
    .endif
    adds r3, r3, r5
    adds r4, r4, r6
    stmia r1!, {r3, r4}
    .ifc \side, w
    add r10, r3
    add r10, r4
    .else
    add r1, r9
    .endif
.endm

.macro GATHERING side
    SAVE
    mov r8, r1
    mov r7, r3 // words left
    ldr r4, [sp, #36]
    mov r9, r4
    mov r1, r2
    mov r2, r0
    movs r0, #0
    mov r10, r0
1:  GATHER \side
    subs r7, #1
    bne 1b
    mov r0, r10
    RESTORE
.endm

// void trimtab_gather_x(from, step, to, words, skip)
FUNCTION trimtab_gather_x
    GATHERING x

// uint32_t trimtab_gather_w(from, step, to, words, skip)
FUNCTION trimtab_gather_w
    GATHERING w
#endif
