# The program's beginning, and Linux's system calls for it.
	.text
	.p2align 2
	.literal_position
	.literal .Lmain, run
	.global _start
	.p2align 2
_start:
	l32r	a4, .Lmain
	callx8	a4
1:	j	1b

# int system(int number, int a, void *b, int c)
	.global system
	.p2align 2
system:
	entry	a1, 32
	or	a6, a3, a3
	or	a3, a4, a4
	or	a4, a5, a5
	syscall
	retw.n
