// From accumulators to int8 outputs (packed.h), TensorFlow Lite's double rounding.
#if defined(__ARM_ARCH_6M__)
    .syntax unified
    .thumb
    .text
#include "thumb1.h"

#define SHIFT 12
#define HALF 16
#define RANGE 20
#define LO 24
#define STEP 28
#define WIDTH 32
#define SKIP 36
#define ROWS 40
#define FIRST 44
#define MASK 48

// One output: 23 cycles, 0 .. 255 before lo is added. The sign is taken before the first rounding; it differs after it
// only at 0, where both signs give the same output.
// r0 acc, r1 value, r2 r3 spare, r4 m2, r5 shift, r6 y, r7 end of the row; r8 lo, r9 m0, r10 m1, r11 half, r12 step,
// lr offset; on the stack: first output, width, rows left, skip, mask
.macro SMALL clamped, large
    ldmia r0!, {r1}
    add r1, lr
    .ifnb \large
    asrs r2, r1, #20
    asrs r3, r1, #31
    cmp r2, r3
    bne \large
    .endif
    mov r2, r9
    muls r2, r1
    asrs r2, r2, #10
    mov r3, r10
    muls r3, r1
    adds r2, r2, r3
    asrs r2, r2, #10
    muls r1, r4
    adds r1, r1, r2
    asrs r2, r1, #31
    asrs r1, r1, #11
    adcs r1, r2
    add r1, r11
    asrs r1, r5
    cmp r1, #255
    bhi \clamped
    add r1, r8
    strb r1, [r6]
    add r6, r12
.endm

.macro CLAMPED next
    mvns r1, r1 // the low byte becomes 0 or 255
    asrs r1, r1, #31
    add r1, r8
    strb r1, [r6]
    ldr r2, [sp, #16]
    cmp r2, #0
    beq 1f
    ldr r3, [sp, #0]
    subs r3, r6, r3
    UNMASK r3, r2, r1
1:  add r6, r12
    b \next
.endm

// Ends with 1, or at `large` with 0 where that is given.
.macro SMALL_ROWS large
    SAVE
    sub sp, #20
    mov lr, r3
    mov r6, r1
    ldr r3, [r2, #FIRST]
    str r3, [sp, #0]
    ldr r3, [r2, #MASK]
    str r3, [sp, #16]
    ldmia r2!, {r1, r3, r4, r5}
    mov r9, r1
    mov r10, r3
    ldmia r2!, {r1, r3, r7}
    mov r11, r1
    mov r8, r7
    ldmia r2!, {r1, r3, r7}
    mov r12, r1
    str r3, [sp, #4]
    str r7, [sp, #12]
    ldr r3, [r2]
    str r3, [sp, #8]
2:  ldr r7, [sp, #4]
    adds r7, r7, r0
    subs r2, r7, r0 // an odd number of outputs: begin at the second
    lsls r2, r2, #29
    bne 4f
3:  SMALL 8f, \large
4:  SMALL 9f, \large
5:  cmp r0, r7
    bne 3b
    ldr r1, [sp, #12]
    adds r0, r0, r1
    ldr r1, [sp, #8]
    subs r1, #1
    str r1, [sp, #8]
    bne 2b
    movs r0, #1
7:  add sp, #20
    RESTORE
8:  CLAMPED 4b
9:  CLAMPED 5b
.endm

// void trimtab_requant_small(acc, y, q, offset)
FUNCTION trimtab_requant_small
    SMALL_ROWS

// int32_t trimtab_requant_checked(acc, y, q, offset): 27 cycles for each output
FUNCTION trimtab_requant_checked
    SMALL_ROWS 10f
10: movs r0, #0
    b 7b

// One output: 23 cycles, or 11 where the sum is below 1. Registers as above, but r11 what rounds, and lr offset.
.macro RELU negative, clamped
    ldmia r0!, {r1}
    add r1, lr
    cmp r1, #0
    ble \negative
    lsrs r2, r1, #20
    bne 7f
    mov r2, r9
    muls r2, r1
    lsrs r2, r2, #10
    mov r3, r10
    muls r3, r1
    adds r2, r2, r3
    lsrs r2, r2, #10
    muls r1, r4
    adds r1, r1, r2
    add r1, r11
    lsrs r1, r5
    cmp r1, #255
    bhi \clamped
    add r1, r8
    strb r1, [r6]
    add r6, r12
.endm

.macro SMALLEST next
    mov r1, r8
    strb r1, [r6]
    add r6, r12
    b \next
.endm

.macro LARGEST next
    movs r1, #255
    add r1, r8
    strb r1, [r6]
    add r6, r12
    b \next
.endm

// int32_t trimtab_requant_relu(acc, y, q, offset); on the stack: width, rows left, skip
FUNCTION trimtab_requant_relu
    SAVE
    sub sp, #12
    mov lr, r3
    mov r6, r1
    ldmia r2!, {r1, r3, r4, r5}
    mov r9, r1
    mov r10, r3
    ldmia r2!, {r1, r3, r7}
    mov r11, r1
    mov r8, r7
    ldmia r2!, {r1, r3, r7}
    mov r12, r1
    str r3, [sp, #0]
    str r7, [sp, #8]
    ldr r3, [r2]
    str r3, [sp, #4]
2:  ldr r7, [sp, #0]
    adds r7, r7, r0
    subs r2, r7, r0 // an odd number of outputs: begin at the second
    lsls r2, r2, #29
    bne 4f
3:  RELU 8f, 10f
4:  RELU 9f, 11f
5:  cmp r0, r7
    bne 3b
    ldr r1, [sp, #8]
    adds r0, r0, r1
    ldr r1, [sp, #4]
    subs r1, #1
    str r1, [sp, #4]
    bne 2b
    movs r0, #1
6:  add sp, #12
    RESTORE
7:  movs r0, #0
    b 6b
8:  SMALLEST 4b
9:  SMALLEST 5b
10: LARGEST 4b
11: LARGEST 5b

// The product from 16-bit halves, as in trimtab_high31: 33 cycles.
// r0 acc, r1 y, r2 lower and r3 upper half of m, r4 value, r5-r7 spare; r8 half, r9 shift, r10 step, r11 lo,
// r12 end of the row, lr range; on the stack: first output, width, rows left, skip, mask
// void trimtab_requant_wide(acc, y, q)
FUNCTION trimtab_requant_wide
    SAVE
    sub sp, #20
    ldr r3, [r2, #FIRST]
    str r3, [sp, #0]
    ldr r3, [r2, #MASK]
    str r3, [sp, #16]
    ldr r3, [r2, #SHIFT]
    mov r9, r3
    ldr r3, [r2, #HALF]
    mov r8, r3
    ldr r3, [r2, #RANGE]
    mov lr, r3
    ldr r3, [r2, #LO]
    mov r11, r3
    ldr r3, [r2, #STEP]
    mov r10, r3
    ldr r3, [r2, #WIDTH]
    str r3, [sp, #4]
    ldr r3, [r2, #ROWS]
    str r3, [sp, #8]
    ldr r3, [r2, #SKIP]
    str r3, [sp, #12]
    ldr r3, [r2, #4]
    ldr r2, [r2, #0]
1:  ldr r7, [sp, #4]
    add r7, r0
    mov r12, r7
2:  ldmia r0!, {r4}
    uxth r5, r4
    asrs r4, r4, #16
    mov r6, r5
    muls r6, r2
    lsrs r6, r6, #16
    muls r5, r3
    adds r6, r6, r5
    mov r5, r4
    muls r5, r2
    muls r4, r3
    adds r4, r4, r4
    lsls r7, r5, #17
    lsrs r7, r7, #17
    adds r6, r6, r7
    asrs r5, r5, #15
    adds r4, r4, r5
    lsrs r6, r6, #15
    adcs r4, r6
    asrs r7, r4, #31
    adds r4, r4, r7
    add r4, r8
    mov r7, r9
    asrs r4, r7
    cmp r4, lr
    bhi 8f
    add r4, r11
    strb r4, [r1]
3:  add r1, r10
    cmp r0, r12
    bne 2b
    ldr r4, [sp, #12]
    adds r0, r0, r4
    ldr r4, [sp, #8]
    subs r4, #1
    str r4, [sp, #8]
    bne 1b
    add sp, #20
    RESTORE
8:  asrs r7, r4, #31 // clamped: 0 or range
    mov r4, lr
    bics r4, r7
    add r4, r11
    strb r4, [r1]
    ldr r5, [sp, #16]
    cmp r5, #0
    beq 3b
    ldr r6, [sp, #0]
    subs r6, r1, r6
    UNMASK r6, r5, r7
    b 3b
#endif
