// Errors of inputs: sums of int16 times int8, and their way to int8 (packed.h).
#if defined(__ARM_FEATURE_DSP) && __ARM_ARCH_PROFILE == 'M'
    .syntax unified
    .thumb
    .text
#include "thumb2.h"

// Two terms of one pair of channels. r1 r3 errors at two positions, r12 lr weights
.macro CHANNELS a, b, c, d
    ldrd r12, lr, [r0], #8
    smlad \a, r1, r12, \a
    smlad \b, r1, lr, \b
    smlad \c, r3, r12, \c
    smlad \d, r3, lr, \d
.endm

// Two terms: 16 products in 11 instructions. r0 weights, r2 errors, r4-r11 sums
.macro SPREAD
    ldrd r1, r3, [r2], #8
    CHANNELS r4, r5, r8, r9
    CHANNELS r6, r7, r10, r11
.endm

// void trimtab_spread(w, w_end, d, sums, pairs): w are four weights + 128 of each term; they are unpacked to pairs of
// terms that end where w does
FUNCTION trimtab_spread
    SAVE
    push {r2, r3}
    subs r2, r1, r0
    sub r3, r0, r2 // pairs of terms
    mov r2, r3
    mov r11, #0x80808080
1:  ldrd r4, r5, [r0], #8
    eor r4, r11
    eor r5, r11
    sxtb16 r6, r4
    sxtb16 r7, r5
    sxtb16 r4, r4, ror #8
    sxtb16 r5, r5, ror #8
    pkhbt r8, r6, r7, lsl #16
    pkhbt r9, r4, r5, lsl #16
    pkhtb r10, r7, r6, asr #16
    pkhtb r12, r5, r4, asr #16
    stmia r3!, {r8, r9, r10, r12}
    cmp r0, r1
    bne 1b
    mov r0, r2
    pop {r2, r3}
    push {r0, r1, r3} // pairs of terms, their end, sums
    ldr r12, [sp, #48] // pairs left
2:  ldr r0, [sp]
    movs r4, #0
    movs r5, #0
    movs r6, #0
    movs r7, #0
    mov r8, r4
    mov r9, r4
    mov r10, r4
    mov r11, r4
3:  SPREAD
    SPREAD
    ldr r1, [sp, #4]
    cmp r0, r1
    bne 3b
    ldr r1, [sp, #8]
    stmia r1!, {r4-r11}
    str r1, [sp, #8]
    ldr r1, [sp, #48]
    subs r1, #1
    str r1, [sp, #48]
    bne 2b
    add sp, #12
    RESTORE

// uint32_t trimtab_round(sums, g, p): 10 instructions each, as long as a sum is neither too large for 7 bits nor the
// largest so far; one comparison tells.
// r0 sums, r1 g, r2 p, r3 half, r4 shift, r5 largest magnitude, r6 limit, r7 step, r8 end of the row, r9 magnitude that
// needs no care, r10 value, r11 its magnitude, r12 rows left
.macro ROUND careful
    ldr r10, [r0], #4
    eor r11, r10, r10, asr #31
    sub r11, r11, r10, asr #31
    cmp r11, r9
    bhs \careful
    add r10, r3
    asrs r10, r4
    strb r10, [r1]
    add r1, r7
.endm

.macro CAREFUL next
    cmp r11, r5
    it hi
    movhi r5, r11
    cmp r5, r6 // below both
    ite lo
    addlo r9, r5, #1
    movhs r9, r6
    add r10, r3
    asrs r10, r4
    ssat r10, #8, r10
    cmn r10, #128
    it eq
    mvneq r10, #126
    strb r10, [r1]
    add r1, r7
    b \next
.endm

FUNCTION trimtab_round
    SAVE
    ldm r2!, {r3-r7} // half, shift, largest, limit, step; then width, skip, rows, after a row
    cmp r5, r6
    ite lo
    addlo r9, r5, #1
    movhs r9, r6
    ldr r12, [r2, #8]
1:  ldr r8, [r2]
    ands r10, r8, #4 // an odd number: begin at the second
    add r8, r0
    bne 3f
2:  ROUND 8f
3:  ROUND 9f
4:  cmp r0, r8
    bne 2b
    ldr r10, [r2, #4]
    add r0, r10
    ldr r10, [r2, #12]
    add r1, r10
    subs r12, #1
    bne 1b
    mov r0, r5
    RESTORE
8:  CAREFUL 3b
9:  CAREFUL 4b
#endif
