// What the Thumb-1 loops share. Cycles in comments are the Cortex-M0+'s: load, store and taken branch 2, ldm and stm
// 1 + registers, all else 1.
.macro FUNCTION name, section= // each in a section of its own, unless it shares one: what nobody calls is left out
    .ifb \section
    .section .text.\name, "ax", %progbits
    .else
    .section .text.\section, "ax", %progbits
    .endif
    .global \name
    .thumb_func
    .type \name, %function
    .balign 4
\name:
.endm

.macro SAVE // 36 bytes: arguments on the stack lie behind them
    push {r4-r7, lr}
    mov r4, r8
    mov r5, r9
    mov r6, r10
    mov r7, r11
    push {r4-r7}
.endm

.macro RESTORE
    pop {r4-r7}
    mov r8, r4
    mov r9, r5
    mov r10, r6
    mov r11, r7
    pop {r4-r7, pc}
.endm

// Clears the mask bit of output i. mask: address of the mask; t: spare; all are lost.
.macro UNMASK i, mask, t
    lsrs \t, \i, #3
    adds \mask, \mask, \t
    movs \t, #7
    ands \i, \t
    movs \t, #1
    lsls \t, \i
    ldrb \i, [\mask]
    bics \i, \t
    strb \i, [\mask]
.endm
