// Updates of weights (packed.h).
#if defined(__ARM_ARCH_6M__)
    .syntax unified
    .thumb
    .text
#include "thumb1.h"

// void trimtab_update_row(dw, k, r, p): 35 cycles each. A weight is k * 256 + r; its low byte is the new r.
// r0 dw, r1 end of k, r2 end of r, r3 counts from -n to 0, r4 value, r5 pre, r6 shift, r7 spare; r8 half of
// pre, r9 multiplier, r10 half of shift, r11 limit, r12 2 * limit
FUNCTION trimtab_update_row
    SAVE
    ldmia r3!, {r4, r5, r6}
    adds r1, r1, r4
    adds r2, r2, r4
    rsbs r7, r4, #0
    ldmia r3!, {r4}
    mov r8, r4
    ldmia r3!, {r4}
    mov r9, r4
    ldmia r3!, {r4}
    mov r10, r4
    mov r3, r7
    movs r4, #127
    lsls r4, r4, #8
    mov r11, r4
    add r4, r11
    mov r12, r4
1:  ldmia r0!, {r4}
    add r4, r8
    asrs r4, r5
    mov r7, r9
    muls r4, r7
    beq 3f
    add r4, r10
    asrs r4, r6
    mov r7, r11
    adds r7, r7, r4
    cmp r7, r12
    bhi 4f
2:  ldrsb r7, [r1, r3]
    lsls r7, r7, #8
    subs r4, r7, r4
    ldrsb r7, [r2, r3]
    adds r4, r4, r7
    mov r7, r11
    adds r7, r7, r4
    cmp r7, r12
    bhi 5f
    strb r4, [r2, r3]
    adds r4, #128
    asrs r4, r4, #8
    strb r4, [r1, r3]
3:  adds r3, #1
    bne 1b
    RESTORE
4:  asrs r7, r4, #31
    mov r4, r11
    eors r4, r7
    subs r4, r4, r7
    b 2b
5:  lsrs r7, r4, #31 // limit or - limit: the residual is 0
    movs r4, #0
    strb r4, [r2, r3]
    cmp r7, #0
    bne 6f
    movs r4, #127
    strb r4, [r1, r3]
    b 3b
6:  movs r4, #129
    strb r4, [r1, r3]
    b 3b

// int32_t trimtab_correlateS(x, g, p): 27 cycles for eight products, 31 where every other x is left out.
// r0 x, r1 g, r2 sum, r3-r7 operands; r8 bytes of a row of g, r9 skip, r10 rows left, r11 end of the row
.macro TWO stride
    .if \stride == 1
    ldmia r0!, {r3, r4}
    .else
    ldr r3, [r0, #0]
    ldr r4, [r0, #8]
    adds r0, #16
    .endif
    ldmia r1!, {r5, r6}
    muls r3, r5
    asrs r3, r3, #16
    adcs r2, r3
    muls r4, r6
    asrs r4, r4, #16
    adcs r2, r4
.endm
.macro CORRELATE name, stride
FUNCTION \name
    SAVE
    ldmia r2!, {r3, r4, r5}
    mov r8, r3
    mov r10, r4
    mov r9, r5
    movs r2, #0
1:  mov r3, r8
    add r3, r1
    mov r11, r3
2:  TWO \stride
    TWO \stride
    cmp r1, r11
    bne 2b
    add r0, r9
    mov r3, r10
    subs r3, #1
    mov r10, r3
    bne 1b
    mov r0, r2
    RESTORE
.endm

    CORRELATE trimtab_correlate1, 1
    CORRELATE trimtab_correlate2, 2
#endif
