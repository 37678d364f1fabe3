// From accumulators to int8 outputs (packed.h), TensorFlow Lite's double rounding.
#if defined(__ARM_FEATURE_DSP) && __ARM_ARCH_PROFILE == 'M'
    .syntax unified
    .thumb
    .text
#include "thumb2.h"

#define SHIFT 12
#define STEP 28
#define WIDTH 32
#define SKIP 36
#define ROWS 40
#define FIRST 44
#define MASK 48

// One output: 12 instructions, 0 .. range before lo is added. The high product of twice the accumulator, rounded, is
// trimtab_high31.
// r0 acc, r1 y, r2 multiplier, r3 twice the offset, r4 shift, r5 half, r6 range, r7 lo, r8 step, r9 end of the row,
// r10 value, r12 q, r11 lr spare
.macro OUTPUT clamped
    ldr r10, [r0], #4
    add r10, r3, r10, lsl #1
    smmulr r10, r10, r2
    add r10, r10, r10, asr #31
    add r10, r5
    asrs r10, r10, r4
    cmp r10, r6
    bhi \clamped
    add r10, r7
    strb r10, [r1]
    add r1, r8
.endm

.macro CLAMPED next
    cmp r10, #0
    ite lt
    movlt r10, r7
    addge r10, r6, r7
    strb r10, [r1]
    ldr r11, [r12, #MASK]
    cmp r11, #0
    beq 1f
    ldr r10, [r12, #FIRST] // clears the mask bit
    sub r10, r1, r10
    add r11, r11, r10, lsr #3
    and r10, #7
    mov lr, #1
    lsl lr, r10
    ldrb r10, [r11]
    bic r10, lr
    strb r10, [r11]
1:  add r1, r8
    b \next
.endm

// void trimtab_requant_rows(acc, y, q, offset)
FUNCTION trimtab_requant_rows
    SAVE
    mov r12, r2
    lsl r3, #1
    ldr r2, [r12]
    add r4, r12, #SHIFT
    ldm r4, {r4-r8} // shift, half, range, lo, step
    ldr lr, [r12, #ROWS]
    push {lr}
2:  ldr r9, [r12, #WIDTH]
    add r9, r0
    sub r10, r9, r0
    ands r10, #4 // an odd number of outputs: begin at the second
    bne 4f
3:  OUTPUT 8f
4:  OUTPUT 9f
5:  cmp r0, r9
    bne 3b
    ldr r10, [r12, #SKIP]
    add r0, r10
    ldr r10, [sp]
    subs r10, #1
    str r10, [sp]
    bne 2b
    add sp, #4
    RESTORE
8:  CLAMPED 4b
9:  CLAMPED 5b
#endif
