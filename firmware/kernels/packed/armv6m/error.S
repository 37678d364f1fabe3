// Errors of inputs: sums of int32 times int8, and their way to int8 (packed.h).
#if defined(__ARM_ARCH_6M__)
    .syntax unified
    .thumb
    .text
#include "thumb1.h"

// Two rows of d by four weights, 8 products in 24 + 3 cycles. With W the weights + 128 as one word, byte j adds
// d * (W >> 8 j): the bytes above it and the 128 are taken away at the end.
// r0 w, r1 d, r2 r3 two d, r4 four weights, r5 spare, sums of row 0: r12 r8 r10 r6, of row 1: lr r9 r11 r7
.macro SPREAD
    ldmia r0!, {r4}
    ldmia r1!, {r2, r3}
    lsrs r5, r4, #8
    muls r5, r2
    add r8, r5
    lsrs r5, r4, #8
    muls r5, r3
    add r9, r5
    lsrs r5, r4, #16
    muls r5, r2
    add r10, r5
    lsrs r5, r4, #16
    muls r5, r3
    add r11, r5
    mov r5, r4
    muls r5, r2
    add r12, r5
    lsrs r5, r4, #24
    muls r2, r5
    adds r6, r6, r2
    muls r5, r3
    adds r7, r7, r5
    muls r4, r3
    add lr, r4
.endm
#define SPREAD_BYTES 48

.macro SPREAD_END a, b, c, last
    mov r2, \a
    mov r3, \b
    mov r4, \c
    lsls r5, r3, #8
    subs r2, r2, r5
    lsls r5, r4, #8
    subs r3, r3, r5
    lsls r5, \last, #8
    subs r4, r4, r5
    ldmia r1!, {r5} // 128 * the sum of d
    subs r2, r2, r5
    subs r3, r3, r5
    subs r4, r4, r5
    subs r5, \last, r5
    stmia r0!, {r2, r3, r4, r5}
.endm

// void trimtab_spread(w, w_end, d, sums, pairs); on the stack: w, w_end, sums, entry
FUNCTION trimtab_spread
    SAVE
    ldr r4, [sp, #36]
    mov r7, r4 // pairs left
    subs r4, r0, r1 // the first round has the odd terms: it is entered late
    lsls r4, r4, #28
    lsrs r4, r4, #30
    movs r5, #SPREAD_BYTES
    muls r4, r5
    adr r5, 2f
    adds r4, r4, r5
    sub sp, #20
    str r0, [sp, #0]
    str r1, [sp, #4]
    str r3, [sp, #8]
    str r4, [sp, #12]
    str r7, [sp, #16]
    mov r1, r2
1:  ldr r0, [sp, #0]
    ldr r5, [sp, #12]
    movs r6, #0
    movs r7, #0
    mov r8, r6
    mov r9, r6
    mov r10, r6
    mov r11, r6
    mov r12, r6
    mov lr, r6
    mov pc, r5
    .balign 4
2:  SPREAD
    SPREAD
    SPREAD
    SPREAD
    ldr r5, [sp, #4]
    cmp r0, r5
    bne 2b
    ldr r0, [sp, #8]
    SPREAD_END r12, r8, r10, r6
    SPREAD_END lr, r9, r11, r7
    str r0, [sp, #8]
    ldr r5, [sp, #16]
    subs r5, #1
    str r5, [sp, #16]
    beq 3f
    b 1b
3:  add sp, #20
    RESTORE

// uint32_t trimtab_round(sums, g, p): 14 cycles each, as long as a sum is neither too large for 7 bits nor the largest
// so far; one comparison tells.
// r0 sums, r1 value, r2 spare, r3 g, r4 half, r5 shift, r6 magnitude that needs no care, r7 twice that; r8 step,
// r9 end of the row, r10 largest magnitude, r11 skip, r12 rows left, lr bytes of g after a row; on the stack: bytes of
// sums in a row, limit
FUNCTION trimtab_round
    SAVE
    sub sp, #8
    mov r3, r1
    ldmia r2!, {r4, r5, r6, r7} // half, shift, largest, limit
    mov r10, r6
    str r7, [sp, #4]
    ldmia r2!, {r1} // step, width, skip, rows, after a row
    mov r8, r1
    ldmia r2!, {r1}
    str r1, [sp, #0]
    ldmia r2!, {r1}
    mov r11, r1
    ldmia r2!, {r1}
    mov r12, r1
    ldr r1, [r2]
    mov lr, r1
    cmp r6, r7
    bls 1f
    mov r6, r7
1:  lsls r7, r6, #1
2:  ldr r1, [sp, #0]
    adds r1, r1, r0
    mov r9, r1
3:  ldmia r0!, {r1}
    adds r2, r1, r6
    cmp r2, r7
    bhi 5f
    adds r1, r1, r4
    asrs r1, r5
4:  strb r1, [r3]
    add r3, r8
    cmp r0, r9
    bne 3b
    add r0, r11
    add r3, lr
    mov r1, r12
    subs r1, #1
    mov r12, r1
    bne 2b
    mov r0, r10
    add sp, #8
    RESTORE
5:  asrs r7, r1, #31
    adds r2, r1, r7
    eors r2, r7 // the magnitude
    cmp r2, r10
    bls 6f
    mov r10, r2
6:  mov r6, r10
    ldr r7, [sp, #4]
    cmp r6, r7
    bls 7f
    mov r6, r7
7:  lsls r7, r6, #1
    adds r1, r1, r4
    asrs r1, r5
    movs r2, #127
    cmp r1, r2
    bgt 8f
    rsbs r2, r2, #0
    cmp r1, r2
    bge 4b
8:  mov r1, r2
    b 4b
#endif
