// What the loops with DSP instructions share: cores that multiply two pairs of halves in one instruction (Cortex-M4,
// M7, M33). Words are as pack() in packed.h makes them: X = a0, a1 and W = w1, w0, so that smladx adds a0*w0 + a1*w1.
.macro FUNCTION name
    .global \name
    .thumb_func
    .type \name, %function
    .balign 4
\name:
.endm

.macro SAVE // 36 bytes: arguments on the stack lie behind them
    push {r4-r11, lr}
.endm

.macro RESTORE
    pop {r4-r11, pc}
.endm
