// Rows of weights as they lie, by inputs that were prepared (packed.h).
#if defined(__ARM_ARCH_6M__)
    .syntax unified
    .thumb
    .text
#include "thumb1.h"

// Magnitudes of d, from bytes of x + 128 in both lanes. r2 what is negative, r5 spare, r6 mask, r7 1 in both
// lanes; r8 128 - zx in both lanes, r12 their sum of 256 + d, lr of magnitudes
.macro MAGNITUDES x
    add \x, r8
    add r12, \x
    lsrs r2, \x, #8
    mov r5, r7
    bics r5, r2
    lsls r2, r5, #8
    subs r2, r2, r5
    ands \x, r6
    eors \x, r2
    adds \x, \x, r5
    add lr, \x
.endm

// void trimtab_prepare(p): 52 cycles for four inputs. r0 x, r1 to, r3 r4 magnitudes; r9 end, r10 128 in each
// byte, r11 spare
FUNCTION trimtab_prepare
    SAVE
    push {r0}
    ldmia r0!, {r1, r2, r3, r4}
    mov r9, r3
    mov r8, r4
    mov r0, r1
    mov r1, r2
    ldr r6, 5f
    ldr r7, 5f + 4
    ldr r3, 5f + 8
    mov r10, r3
    movs r3, #0
    mov r12, r3
    mov lr, r3
1:  ldmia r0!, {r3}
    mov r2, r10
    eors r3, r2
    lsrs r4, r3, #8
    ands r3, r6
    ands r4, r6
    MAGNITUDES r3
    mov r11, r2
    MAGNITUDES r4
    lsls r2, r2, #8
    mov r5, r11
    eors r2, r5
    mov r5, r10
    eors r2, r5
    movs r5, #16
    rors r3, r5
    rors r4, r5
    stmia r1!, {r2, r3, r4}
    lsrs r2, r3, #16
    adds r3, r3, r2
    lsrs r2, r4, #16
    adds r4, r4, r2
    orrs r3, r4
    uxth r3, r3
    cmp r3, #255
    bhi 2f
    cmp r0, r9
    bne 1b
2:  pop {r4}
    stmia r4!, {r0, r1}
    adds r4, #8
    mov r0, lr
    mov r1, r12
    stmia r4!, {r0, r1}
    RESTORE
    .balign 4
5:  .word 0x00ff00ff, 0x00010001, 0x80808080

// Four weights of one row: 13 cycles.
// r0 x, r1 w, r2 what makes weights positive, r3 r4 magnitudes, r5 r6 spare, r7 mask; r8 bytes to the next
// row, r9 to the next four weights of the first row, r10 r11 r12 lr sums
.macro FOUR sum, next
    ldr r5, [r1]
    add r1, \next
    eors r5, r2
    lsrs r6, r5, #8
    ands r5, r7
    ands r6, r7
    muls r5, r3
    muls r6, r4
    lsrs r5, r5, #16
    lsrs r6, r6, #16
    add \sum, r5
    add \sum, r6
.endm

// void trimtab_rows(x, w, pitch, sums, rows): four rows in 59 cycles for each four weights, two in 33, and a
// single one as two. On the stack: x, w, sums; rows left lie behind what is saved
#define LEFT 48

FUNCTION trimtab_rows
    SAVE
    push {r0, r1, r3}
    mov r8, r2
    ldr r7, 5f
1:  ldr r0, [sp, #0]
    ldr r1, [sp, #4]
    movs r2, #0
    mov r10, r2
    mov r11, r2
    mov r12, r2
    mov lr, r2
    mov r5, r8
    movs r4, #4
    ldr r6, [sp, #LEFT]
    cmp r6, #4
    bhs 3f
    cmp r6, #1
    bne 2f
    movs r5, #0
    mov r8, r5
2:  subs r4, r4, r5
    mov r9, r4
    adds r5, r5, r5
    adds r5, r5, r1
    str r5, [sp, #4]
    subs r6, #2
    str r6, [sp, #LEFT]
    ldmia r0!, {r2, r3, r4}
4:  FOUR r10, r8
    FOUR r11, r9
    ldmia r0!, {r2, r3, r4}
    cmp r2, #0
    bne 4b
    ldr r0, [sp, #8]
    mov r1, r10
    mov r2, r11
    stmia r0!, {r1, r2}
    b 7f
3:  subs r4, r4, r5
    subs r4, r4, r5
    subs r4, r4, r5
    mov r9, r4
    lsls r5, r5, #2
    adds r5, r5, r1
    str r5, [sp, #4]
    subs r6, #4
    str r6, [sp, #LEFT]
    ldmia r0!, {r2, r3, r4}
6:  FOUR r10, r8
    FOUR r11, r8
    FOUR r12, r8
    FOUR lr, r9
    ldmia r0!, {r2, r3, r4}
    cmp r2, #0
    bne 6b
    ldr r0, [sp, #8]
    mov r1, r10
    mov r2, r11
    mov r3, r12
    mov r4, lr
    stmia r0!, {r1, r2, r3, r4}
7:  str r0, [sp, #8]
    ldr r6, [sp, #LEFT]
    cmp r6, #0
    bgt 1b
    add sp, #12
    RESTORE
    .balign 4
5:  .word 0x00ff00ff

// int32_t trimtab_requant_outputs(acc, o, n, q): 61 cycles for each output, by digits of its multiplier (see
// requant.S). r0 acc, r1 o, r2 q, r3 value, r4-r7 spare; r8 bias, r9 multipliers, r10 shifts, r11 y, r12 what
// is added, lr end of acc; on the stack acc
#define LO 20
#define HI 24
#define ZERO 28
#define STEP 32
#define ONCE 36
#define MASK 40

FUNCTION trimtab_requant_outputs
    SAVE
    push {r0}
    lsls r2, r2, #2
    adds r2, r2, r0
    mov lr, r2
    mov r2, r3
    ldmia r3!, {r4, r5, r6, r7}
    mov r8, r4
    mov r9, r5
    mov r10, r6
    mov r11, r7
    ldr r3, [r3]
    mov r12, r3
1:  ldmia r0!, {r3}
    add r3, r12
    lsls r7, r1, #2
    mov r4, r8
    ldr r4, [r4, r7]
    adds r3, r3, r4
    asrs r5, r3, #19 // |acc| < 2^19
    asrs r6, r3, #31
    cmp r5, r6
    bne 9f
    mov r5, r10
    ldrsb r5, [r5, r1]
    mvns r5, r5 // e - 1
    cmp r5, #18
    bhi 9f
    mov r4, r9
    ldr r4, [r4, r7]
    lsls r6, r4, #22
    lsrs r6, r6, #22
    muls r6, r3
    asrs r6, r6, #10
    lsls r7, r4, #12
    lsrs r7, r7, #22
    muls r7, r3
    adds r6, r6, r7
    asrs r6, r6, #10
    asrs r4, r4, #20
    muls r3, r4
    adds r3, r3, r6 // the product / 2^20
    movs r4, #1
    ldr r6, [r2, #ONCE]
    cmp r6, #0
    beq 6f
    adds r5, #11
2:  lsls r4, r5
    adds r3, r3, r4
    adds r5, #1
    asrs r3, r5
    ldr r4, [r2, #LO]
    cmp r3, r4
    blt 7f
    ldr r4, [r2, #HI]
    cmp r3, r4
    bgt 7f
3:  ldr r4, [r2, #ZERO]
    adds r3, r3, r4
    mov r4, r11
    strb r3, [r4, r1]
    ldr r4, [r2, #STEP]
    adds r1, r1, r4
    cmp r0, lr
    bne 1b
4:  pop {r3}
    subs r0, r0, r3
    lsrs r0, r0, #2
    RESTORE
6:  movs r6, #1 // rounds twice
    lsls r6, r6, #10
    adds r3, r3, r6
    asrs r3, r3, #11
    asrs r6, r3, #31
    adds r3, r3, r6
    b 2b
7:  mov r3, r4 // clamped
    ldr r4, [r2, #MASK]
    cmp r4, #0
    beq 3b
    mov r5, r1
    UNMASK r5, r4, r6
    b 3b
9:  subs r0, #4
    b 4b
#endif
