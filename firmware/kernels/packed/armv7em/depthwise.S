// One channel of a depthwise convolution (packed.h).
#if defined(__ARM_FEATURE_DSP) && __ARM_ARCH_PROFILE == 'M'
    .syntax unified
    .thumb
    .text
#include "thumb2.h"

// void trimtab_slide_load(to, from, step, p): rows -1 and 0, 1 and 2, ... of the image packed, in every other row of
// the plane; where there is no such row, zeros.
// r0 to, r1 from, r2 step, r3 bytes of an image row, r4 mul, r5 shift, r6 add, r7 halves that are kept, r8 end of the
// row, r9 bytes to the row below, r10 r11 values, r12 p, lr image rows left
FUNCTION trimtab_slide_load
    SAVE
    mov r12, r3
    ldr r3, [r12]
    ldrd lr, r4, [r12, #8]
    ldrd r5, r6, [r12, #16]
    mul r3, r2, r3
    lsrs r3, #2
    mov r7, #-1
    lsls r7, r7, #16
    mov r9, #0
1:  ldr r8, [r12]
    add r8, r0
    cmp r4, #1
    it eq
    cmpeq r5, #0
    bne 3f
    pkhbt r6, r6, r6, lsl #16
2:  ldrsb r10, [r1]
    ldrsb r11, [r1, r9]
    add r1, r2
    pkhbt r10, r10, r11, lsl #16
    sadd16 r10, r10, r6
    and r10, r7
    str r10, [r0], #4
    cmp r0, r8
    bne 2b
    b 4f
3:  ldrsb r10, [r1]
    ldrsb r11, [r1, r9]
    add r1, r2
    mla r10, r10, r4, r6
    mla r11, r11, r4, r6
    asrs r10, r5
    asrs r11, r5
    pkhbt r10, r10, r11, lsl #16
    and r10, r7
    str r10, [r0], #4
    cmp r0, r8
    bne 3b
4:  ldrd r8, r10, [r12] // over the row between
    add r0, r8
    add r0, r0, r10, lsl #1
    cmp r9, #0
    itt ne // that were two rows
    addne r1, r3
    subne lr, #1
    subs lr, #1
    beq 9f
    mov r9, r3
    mov r7, #-1
    cmp lr, #1
    itt eq
    moveq r9, #0
    lsreq r7, r7, #16
    b 1b
9:  RESTORE

// The products of one column with a pair of rows. r9 x, old sums with weights 1 and 2, new ones with 0 and 1
.macro COLUMN offset, old0, old1, new0, new1, upper, lower
    ldr r9, [r0, #\offset]
    smlabt \old0, r9, \lower, \old0
    smlad \old1, r9, \lower, \old1
    smlad \new0, r9, \upper, \new0
    smlatb \new1, r9, \upper, \new1
.endm

// Two rows of one output column: 18 products in 18 instructions, and two sums are done.
// r0 plane, r1 - pitch, r3 r6, r4 r7, r5 r8 weights
.macro ROWS old0, old1, new0, new1
    ldr r9, [r0]
    smlabt \old0, r9, r6, \old0
    smlad \old1, r9, r6, \old1
    smuad \new0, r9, r3
    smultb \new1, r9, r3
    COLUMN 4, \old0, \old1, \new0, \new1, r4, r7
    COLUMN 8, \old0, \old1, \new0, \new1, r5, r8
    str \old0, [r0, r1]
    str \old1, [r0]
    sub r0, r0, r1, lsl #1
.endm

// void trimtab_slide3(plane, w, p); r2 pairs of rows left; on the stack: top of the column, columns left, rows
FUNCTION trimtab_slide3
    SAVE
    ldm r1, {r3-r11}
    pkhbt r3, r3, r6, lsl #16
    pkhbt r6, r6, r9, lsl #16
    pkhbt r4, r4, r7, lsl #16
    pkhbt r7, r7, r10, lsl #16
    pkhbt r5, r5, r8, lsl #16
    pkhbt r8, r8, r11, lsl #16
    ldm r2, {r9, r10, r11}
    rsb r1, r11, #0
    push {r0, r9, r10}
1:  ldr r9, [r0]
    smuad r12, r9, r3
    smultb lr, r9, r3
    ldr r9, [r0, #4]
    smlad r12, r9, r4, r12
    smlatb lr, r9, r4, lr
    ldr r9, [r0, #8]
    smlad r12, r9, r5, r12
    smlatb lr, r9, r5, lr
    sub r0, r0, r1, lsl #1
    ldr r2, [sp, #8]
    lsrs r2, r2, #1
    beq 4f
2:  ROWS r12, lr, r10, r11
    subs r2, #1
    beq 3f
    ROWS r10, r11, r12, lr
    subs r2, #1
    bne 2b
    b 4f
3:  mov r12, r10
4:  ldrd r2, r9, [sp, #4]
    lsls r9, r9, #31
    it ne
    strne r12, [r0, r1] // an odd number of rows: one more
    ldr r0, [sp]
    adds r0, #4
    subs r2, #1
    strd r0, r2, [sp]
    bne 1b
    add sp, #12
    RESTORE

// void trimtab_pair_load(to, from, p): each column from top to bottom
// r3 columns, r4 rows, r5 pitch, r6 row step, r7 pad, r8 column step; r2 packed, r9 from, r10 r11 values, r12 to, lr rows
.macro PAIR above, below
    ldrsb \below, [r9]
    add r9, r6
    pkhbt r2, \above, \below, lsl #16
    str r2, [r12]
    add r12, r5
.endm

FUNCTION trimtab_pair_load
    SAVE
    ldm r2, {r3-r8}
1:  mov r9, r1
    mov r12, r0
    mov r10, r7
    subs lr, r4, #2
    blt 3f
2:  PAIR r10, r11
    PAIR r11, r10
    subs lr, #2
    bge 2b
3:  adds lr, #1
    bne 4f
    PAIR r10, r11
    mov r10, r11
4:  pkhbt r2, r10, r7, lsl #16
    str r2, [r12]
    adds r0, #4
    add r1, r8
    subs r3, #1
    bne 1b
    RESTORE

// Tiles of four outputs: products of a pair of kernel rows. r0 x, r1 acc, r2-r8 w, r9-r12 sums, lr and a free r8 values
    .altmacro
.macro PRODUCT op, acc, w, x
    \op r\acc, \x, r\w, r\acc
.endm

// The products of word j of a row.
.macro PRODUCTS op, k, s, j, x
    .irp i, 0, 1, 2, 3
    .if (\j - \i * \s >= 0) && (\j - \i * \s < \k)
    PRODUCT \op, %(9 + \i), %(2 + \j - \i * \s), \x
    .endif
    .endr
.endm

.macro WORD op, k, s, j
    .if \k < 7 && \j + 1 < 3 * \s + \k
    .if \j % 2 == 0
    ldrd lr, r8, [r0, #4 * \j]
    PRODUCTS \op, \k, \s, \j, lr
    PRODUCTS \op, \k, \s, %(\j + 1), r8
    .endif
    .elseif \k == 7 || \j % 2 == 0
    ldr lr, [r0, #4 * \j]
    PRODUCTS \op, \k, \s, \j, lr
    .endif
.endm

// void trimtab_tileK_S(x, acc, w, p), and rowK for words; on the stack: end of the row, bytes in a row, bytes of x to
// the next one, rows left
.macro TILES name, op, k, s, last
FUNCTION \name
    SAVE
    ldm r3, {r4-r6}
    push {r3-r6}
    ldm r2, {r2-\last}
1:  ldr lr, [sp, #4]
    add lr, r1
    str lr, [sp]
2:  ldm r1, {r9-r12}
    j = 0
    .rept 3 * \s + \k
    WORD \op, \k, \s, %j
    j = j + 1
    .endr
    adds r0, #16 * \s
    stmia r1!, {r9-r12}
    ldr lr, [sp]
    cmp r1, lr
    bne 2b
    ldr lr, [sp, #8]
    add r0, lr
    ldr lr, [sp, #12]
    subs lr, #1
    str lr, [sp, #12]
    bne 1b
    add sp, #16
    RESTORE
.endm

    TILES trimtab_tile3_2, smladx, 3, 2, r4
    TILES trimtab_tile5_1, smladx, 5, 1, r6
    TILES trimtab_tile5_2, smladx, 5, 2, r6
    TILES trimtab_tile7_1, smladx, 7, 1, r8
    TILES trimtab_tile7_2, smladx, 7, 2, r8
    TILES trimtab_row5, mla, 5, 1, r6
    TILES trimtab_row7, mla, 7, 1, r8
#endif
