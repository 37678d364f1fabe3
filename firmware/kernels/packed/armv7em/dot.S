// Packing, and the product of packed rows (packed.h).
#if defined(__ARM_FEATURE_DSP) && __ARM_ARCH_PROFILE == 'M'
    .syntax unified
    .thumb
    .text
#include "thumb2.h"

// Two rows of x by one of w, four bytes each: 8 products. r1 w, r4-r7 x, r8 r9 of w
.macro ROWS x, first, second
    ldmia \x!, {r4-r7}
    smladx \first, r4, r8, \first
    smladx \second, r6, r8, \second
    smladx \first, r5, r9, \first
    smladx \second, r7, r9, \second
.endm

// Two pairs of rows: 16 products in 11 instructions. r0 and r12 x, r2 r3 r10 r11 sums
.macro STEP
    ldmia r1!, {r8, r9}
    ROWS r0, r2, r3
    ROWS r12, r10, r11
.endm

// void trimtab_dot(x, w, w_end, acc, pairs, start); on the stack: w, w_end, acc
FUNCTION trimtab_dot
    SAVE
    push {r1-r3}
    subs lr, r2, r1 // bytes of a row
    ldr r3, [sp, #48]
1:  subs r3, #2 // pairs left
    blt 5f
    str r3, [sp, #48]
    ldr r1, [sp]
    add r12, r0, lr, lsl #1
    ldr r2, [sp, #52]
    mov r3, r2
    mov r10, r2
    mov r11, r2
    ands r4, lr, #8 // the first round has the odd step
    bne 3f
2:  STEP
3:  STEP
    ldr r4, [sp, #4]
    cmp r1, r4
    bne 2b
    mov r0, r12
    ldr r1, [sp, #8]
    stmia r1!, {r2, r3, r10, r11}
    str r1, [sp, #8]
    ldr r3, [sp, #48]
    b 1b
5:  adds r3, #1
    bne 9f
    ldr r1, [sp] // the last pair
    ldr r12, [sp, #4]
    ldr r2, [sp, #52]
    mov r3, r2
6:  ldmia r1!, {r8, r9}
    ROWS r0, r2, r3
    cmp r1, r12
    bne 6b
    ldr r1, [sp, #8]
    stmia r1!, {r2, r3}
9:  add sp, #12
    RESTORE

// void trimtab_pack_x(bytes, to, words, skip)
FUNCTION trimtab_pack_x
    push {r4, lr}
    adds r3, #8
1:  ldr r12, [r0], #4 // aligned or not
    sxtb16 r4, r12
    sxtb16 r12, r12, ror #8
    strd r4, r12, [r1]
    add r1, r3
    subs r2, #1
    bne 1b
    pop {r4, pc}

// uint32_t trimtab_pack_w(bytes, to, words): the other way round; returns their sum
FUNCTION trimtab_pack_w
    push {r4, r5, lr}
    movs r3, #0
    mov r5, #0x00010001
1:  ldr r12, [r0], #4
    sxtb16 r4, r12, ror #16
    sxtb16 r12, r12, ror #24
    smlad r3, r4, r5, r3
    smlad r3, r12, r5, r3
    strd r4, r12, [r1], #8
    subs r2, #1
    bne 1b
    mov r0, r3
    pop {r4, r5, pc}

// Four bytes, r1 apart. r0 from, r4-r7 bytes
.macro BYTES
    ldrsb r4, [r0]
    ldrsb r5, [r0, r1]
    add r0, r0, r1, lsl #1
    ldrsb r6, [r0]
    ldrsb r7, [r0, r1]
    add r0, r0, r1, lsl #1
.endm

// void trimtab_gather_x(from, step, to, words, skip)
FUNCTION trimtab_gather_x
    push {r4-r7, lr}
    ldr r12, [sp, #20]
    add r12, #8
1:  BYTES
    pkhbt r4, r4, r6, lsl #16
    pkhbt r5, r5, r7, lsl #16
    strd r4, r5, [r2]
    add r2, r12
    subs r3, #1
    bne 1b
    pop {r4-r7, pc}

// uint32_t trimtab_gather_w(from, step, to, words, skip)
FUNCTION trimtab_gather_w
    push {r4-r8, lr}
    movs r12, #0
    mov r8, #0x00010001
1:  BYTES
    pkhbt r4, r6, r4, lsl #16
    pkhbt r5, r7, r5, lsl #16
    smlad r12, r4, r8, r12
    smlad r12, r5, r8, r12
    strd r4, r5, [r2], #8
    subs r3, #1
    bne 1b
    mov r0, r12
    pop {r4-r8, pc}
#endif
