// Depthwise convolution of one channel (packed.h).
#if defined(__ARM_ARCH_6M__)
    .syntax unified
    .thumb
    .text
#include "thumb1.h"

// void trimtab_plane_load(to, from, step, p): words (v * mul + add) >> shift of one channel, 7 or 8 cycles each.
// r0 offset, r1 to, r2 from, r3 mul, r4 value, r5 shift, r6 add, r7 spare; r8 step, r9 bytes of a row, r10 skip,
// r11 end of the row, r12 rows left, lr entry
.macro LOAD
    ldrsb r4, [r2, r0]
    add r0, r8
    muls r4, r3
    adds r4, r4, r6
    asrs r4, r5
    stmia r1!, {r4}
.endm
#define LOAD_BYTES 12

FUNCTION trimtab_plane_load
    SAVE
    mov r8, r2
    mov r2, r1
    mov r1, r0
    ldmia r3!, {r4, r5, r6}
    mov r9, r4
    mov r10, r5
    mov r12, r6
    lsls r4, r4, #28 // the first round has the odd words: it is entered late
    rsbs r4, r4, #0
    lsrs r4, r4, #30
    movs r5, #LOAD_BYTES
    muls r4, r5
    adr r5, 2f
    adds r4, r4, r5
    mov lr, r4
    ldmia r3!, {r4, r5, r6}
    mov r3, r4
    movs r0, #0
1:  mov r4, r1
    add r4, r9
    mov r11, r4
    mov pc, lr
    .balign 4
2:  LOAD
    LOAD
    LOAD
    LOAD
    cmp r1, r11
    bne 2b
    add r1, r10
    mov r4, r12
    subs r4, #1
    mov r12, r4
    bne 1b
    RESTORE

// void trimtab_slide3(plane, w, p): 3x3, stride 1, down one column after the other, 35 cycles for 9 products.
// Each row adds to three sums: it ends one, is the middle of the next and begins another. The sum of output (r, c)
// goes where input (r + 1, c - 1) lay.
// r0 x, r1 spare, r2 input, r3 w22, r4 w20, r5 w21, r6 w10, r7 w11; r8 r9 r10 sums, r11 w12, r12 w00, lr pitch;
// on the stack: w02, w01, end, column, columns left, phase
#define W02 0
#define W01 4
#define END 8
#define COLUMN 12
#define COLUMNS 16
#define PHASE 20

.macro LAST sum, w // x is lost
    muls r0, \w
    add \sum, r0
.endm
.macro LOW sum, w
    mov r1, r0
    muls r1, \w
    add \sum, r1
.endm
.macro HIGH sum, w
    mov r1, \w
    muls r1, r0
    add \sum, r1
.endm
.macro STACKED sum, w
    ldr r1, [sp, #\w]
    muls r1, r0
    add \sum, r1
.endm

.macro ROW last, middle, first
    ldr r0, [r2, #0]
    mov r1, r12
    muls r1, r0
    mov \first, r1
    LOW \last, r4
    LAST \middle, r6
    ldr r0, [r2, #4]
    STACKED \first, W01
    LOW \last, r5
    LAST \middle, r7
    ldr r0, [r2, #8]
    STACKED \first, W02
    HIGH \middle, r11
    muls r0, r3
    add r0, \last
    str r0, [r2, #0]
    add r2, lr
.endm

FUNCTION trimtab_slide3
    SAVE
    sub sp, #24
    str r0, [sp, #COLUMN]
    ldmia r2!, {r3, r4, r5, r6} // columns, rows, pitch, phase
    str r3, [sp, #COLUMNS]
    mov lr, r5
    str r6, [sp, #PHASE]
    muls r4, r5
    adds r4, r4, r0
    str r4, [sp, #END]
    ldmia r1!, {r2, r3, r4}
    mov r12, r2
    str r3, [sp, #W01]
    str r4, [sp, #W02]
    ldmia r1!, {r6, r7}
    ldmia r1!, {r2, r4, r5}
    mov r11, r2
    ldmia r1!, {r3}
    ldr r2, [sp, #COLUMN]
1:  ldr r0, [r2, #0] // the first row ends no sum
    mov r1, r12
    muls r1, r0
    mov r10, r1
    muls r0, r6
    mov r9, r0
    ldr r0, [r2, #4]
    STACKED r10, W01
    LAST r9, r7
    ldr r0, [r2, #8]
    STACKED r10, W02
    HIGH r9, r11
    add r2, lr
    ldr r1, [sp, #PHASE] // rows before the first full round of three
    cmp r1, #1
    beq 6f
    bhi 7f
    ldr r1, [sp, #END]
    cmp r2, r1
    beq 5f
2:  ROW r9, r10, r8
3:  ROW r10, r8, r9
4:  ROW r8, r9, r10
    ldr r1, [sp, #END]
    cmp r2, r1
    bne 2b
5:  mov r0, r9
    str r0, [r2, #0]
    adds r1, #4
    str r1, [sp, #END]
    ldr r2, [sp, #COLUMN]
    adds r2, #4
    str r2, [sp, #COLUMN]
    ldr r1, [sp, #COLUMNS]
    subs r1, #1
    str r1, [sp, #COLUMNS]
    beq 8f
    b 1b
8:  add sp, #24
    RESTORE
6:  mov r8, r9
    mov r9, r10
    b 4b
7:  mov r8, r10
    mov r10, r9
    b 3b

// void trimtab_pair_load(to, from, p): words x + the x below it * 2^16, down one column after the other.
// r0 offset, r1 to, r2 from, r3 rows left, r4 r5 x and the one above, r6 spare, r7 pad * 2^16; r8 pad, r9 bytes from
// row to row, r10 pitch of `to`; on the stack: p, to, columns left
.macro BELOW x, above
    ldrsb \x, [r2, r0]
    add r0, r9
    lsls r6, \x, #16
    adds r6, r6, \above
    str r6, [r1]
    add r1, r10
.endm

FUNCTION trimtab_pair_load
    SAVE
    sub sp, #12
    str r2, [sp, #0]
    str r0, [sp, #4]
    ldmia r2!, {r3, r4, r5, r6, r7} // columns, rows, pitch of to, bytes from row to row, pad
    str r3, [sp, #8]
    mov r10, r5
    mov r9, r6
    mov r8, r7
    lsls r7, r7, #16
    mov r2, r1
1:  ldr r1, [sp, #0]
    ldr r3, [r1, #4]
    ldr r1, [sp, #4]
    movs r0, #0
    mov r5, r8
    lsrs r6, r3, #1
    bcc 2f
    mov r4, r8
    adds r3, #1
    b 3f
2:  BELOW r4, r5
3:  BELOW r5, r4
    subs r3, #2
    bne 2b
    adds r5, r5, r7
    str r5, [r1]
    ldr r1, [sp, #4]
    adds r1, #4
    str r1, [sp, #4]
    ldr r1, [sp, #0]
    ldr r1, [r1, #20] // bytes from column to column
    adds r2, r2, r1
    ldr r1, [sp, #8]
    subs r1, #1
    str r1, [sp, #8]
    bne 1b
    add sp, #12
    RESTORE

// void trimtab_pair_rows(to, from, step, p): words x + the x in the row below * 2^16, 10 cycles for two x.
// r0 offset, r1 to, r2 upper row, r3 lower row, r4 r5 x, r6 end of the row, r7 p; r8 step, r9 rows left
.macro BESIDE
    ldrsb r4, [r2, r0]
    ldrsb r5, [r3, r0]
    add r0, r8
    lsls r5, r5, #16
    adds r4, r4, r5
    stmia r1!, {r4}
.endm

FUNCTION trimtab_pair_rows
    SAVE
    mov r8, r2
    mov r7, r3
    mov r2, r1
    mov r1, r0
    ldr r4, [r7, #8]
    mov r9, r4
1:  ldr r3, [r7, #12]
    adds r3, r3, r2
    movs r0, #0
    ldr r6, [r7, #0]
    adds r6, r6, r1
    subs r4, r6, r1 // an odd number of words: begin at the second
    lsls r4, r4, #29
    bne 3f
2:  BESIDE
3:  BESIDE
    cmp r1, r6
    bne 2b
    ldr r4, [r7, #4]
    adds r1, r1, r4
    ldr r4, [r7, #16]
    adds r2, r2, r4
    mov r4, r9
    subs r4, #1
    mov r9, r4
    bne 1b
    RESTORE

// void trimtab_tileK_S(x, acc, w, p): acc += two packed rows of a K wide kernel, 4 outputs at once, column stride S.
// void trimtab_rowK(x, acc, w, p): one row, of whole words, stride 1.
// r0 x, r1 spare, r2 inputs, r3 acc, r4-r7 four sums; r8-r12 and lr weights, a seventh on the stack; on the stack:
// w6, end of the row, rows left, p
.macro PRODUCT sum, k
    .if \k == 0
    mov r1, r8
    .elseif \k == 1
    mov r1, r9
    .elseif \k == 2
    mov r1, r10
    .elseif \k == 3
    mov r1, r11
    .elseif \k == 4
    mov r1, r12
    .elseif \k == 5
    mov r1, lr
    .else
    ldr r1, [sp, #0]
    .endif
    muls r1, r0
    .if PACKED
    asrs r1, r1, #16
    adcs \sum, r1
    .else
    adds \sum, \sum, r1
    .endif
.endm
.macro PRODUCT_IF sum, k, width
    .if (\k >= 0) && (\k < \width)
    PRODUCT \sum, \k
    .endif
.endm
.macro INPUT column, width, stride
    .if \column < \width + 3 * \stride
    ldr r0, [r2, #4 * \column]
    PRODUCT_IF r4, (\column), \width
    PRODUCT_IF r5, (\column - \stride), \width
    PRODUCT_IF r6, (\column - 2 * \stride), \width
    PRODUCT_IF r7, (\column - 3 * \stride), \width
    .endif
.endm
.macro TILE name, width, stride
FUNCTION \name
    SAVE
    sub sp, #16
    str r3, [sp, #12]
    ldmia r2!, {r4, r5, r6}
    mov r8, r4
    mov r9, r5
    mov r10, r6
    .if \width > 3
    ldmia r2!, {r4, r5}
    mov r11, r4
    mov r12, r5
    .endif
    .if \width > 5
    ldmia r2!, {r4, r5}
    mov lr, r4
    str r5, [sp, #0]
    .endif
    mov r2, r0
    mov r0, r3
    mov r3, r1
    ldr r1, [r0, #8] // rows
1:  str r1, [sp, #8]
    ldr r1, [r0, #0] // bytes of acc in a row
    adds r1, r1, r3
    str r1, [sp, #4]
2:  ldmia r3!, {r4, r5, r6, r7}
    subs r3, #16
    .irp column, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12
    INPUT \column, \width, \stride
    .endr
    stmia r3!, {r4, r5, r6, r7}
    adds r2, #16 * \stride
    ldr r1, [sp, #4]
    cmp r3, r1
    beq 3f
    b 2b
3:  ldr r0, [sp, #12]
    ldr r1, [r0, #4] // bytes from the end of a row to the next one
    adds r2, r2, r1
    ldr r1, [sp, #8]
    subs r1, #1
    beq 4f
    b 1b
4:  add sp, #16
    RESTORE
.endm

    .set PACKED, 1
    TILE trimtab_tile3_2, 3, 2
    TILE trimtab_tile5_1, 5, 1
    TILE trimtab_tile5_2, 5, 2
    TILE trimtab_tile7_1, 7, 1
    TILE trimtab_tile7_2, 7, 2
    .set PACKED, 0
    TILE trimtab_row5, 5, 1
    TILE trimtab_row7, 7, 1
#endif
