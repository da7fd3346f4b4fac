/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Exception and interrupt entries: stub N is at trap_stubs + N * 16. All push
 * the registers as struct frame of rt.h and call trap(frame).
 */
#include "gdt.h"

/* vectors for which the CPU pushes an error code: DF TS NP SS GP PF AC CP */
#define WITH_ERROR(v)	\
	(((v) == 8) || ((v) >= 10 && (v) <= 14) || ((v) == 17) || ((v) == 21))

	.text
	.balign 16
	.globl trap_stubs
#if MODE == 16

	.code16
trap_stubs:
	.set	vector, 0
	.rept	256
	.balign 16
	pushl	$0
	pushl	$vector
	jmp	common
	.set	vector, vector + 1
	.endr

common:
	pushal
	push	%ds
	push	%es
	xor	%ax, %ax
	mov	%ax, %ds
	mov	%ax, %es
	mov	%esp, %eax
	movzwl	%ax, %eax
	cld
	calll	trap
	pop	%es
	pop	%ds
	popal
	add	$8, %sp
	iret

#elif MODE == 32

	.code32
trap_stubs:
	.set	vector, 0
	.rept	256
	.balign 16
	.if	!WITH_ERROR(vector)
	push	$0
	.endif
	push	$vector
	jmp	common
	.set	vector, vector + 1
	.endr

common:
	pusha
	push	%ds
	push	%es
	mov	$SEL_DATA, %eax
	mov	%eax, %ds
	mov	%eax, %es
	mov	%esp, %eax
	cld
	call	trap
	pop	%es
	pop	%ds
	popa
	add	$8, %esp
	iret

#else

	.code64
trap_stubs:
	.set	vector, 0
	.rept	256
	.balign 16
	.if	!WITH_ERROR(vector)
	push	$0
	.endif
	push	$vector
	jmp	common
	.set	vector, vector + 1
	.endr

common:
	push	%rax
	push	%rcx
	push	%rdx
	push	%rbx
	push	%rbp
	push	%rsi
	push	%rdi
	push	%r8
	push	%r9
	push	%r10
	push	%r11
	push	%r12
	push	%r13
	push	%r14
	push	%r15
	mov	%rsp, %rdi
	mov	%rsp, %rbx
	and	$-16, %rsp
	cld
	call	trap
	mov	%rbx, %rsp
	pop	%r15
	pop	%r14
	pop	%r13
	pop	%r12
	pop	%r11
	pop	%r10
	pop	%r9
	pop	%r8
	pop	%rdi
	pop	%rsi
	pop	%rbp
	pop	%rbx
	pop	%rdx
	pop	%rcx
	pop	%rax
	add	$16, %rsp
	iretq
#endif
