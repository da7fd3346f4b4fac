/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Entry of every bare guest that has C in it: real mode, and from there to
 * the mode the guest is built for, MODE = 16, 32 or 64.
 *
 * Each CPU comes through here, the first one at 0000:8000 and the others at
 * 0800:0000 from a start-up IPI. The order of arrival picks the stack; the
 * first one calls main(), the others ap_main(number).
 */
#include "abi.h"
#include "gdt.h"

#define CR0_PE		0x00000001
#define CR0_PG		0x80000000
#define CR4_PAE		0x00000020
#define CR4_OSFXSR	0x00000600	/* and OSXMMEXCPT */
#define EFER		0xc0000080
#define EFER_LME	0x100

	.section .start, "ax"
	.code16
	.globl _start
_start:
	cli
	cld
	ljmp	$0, $1f
1:	xor	%ax, %ax
	mov	%ax, %ds
	mov	%ax, %es
	mov	%ax, %ss
	mov	$1, %edi
	lock xaddl %edi, cpus_started
#if MODE == 16
	mov	%ax, %fs
	mov	%ax, %gs
	/* C reaches data anywhere: a visit to protected mode lifts the 64 KiB limit */
	lgdtl	flat_pointer
	mov	%cr0, %ecx
	or	$CR0_PE, %cl
	mov	%ecx, %cr0
	mov	$8, %dx
	mov	%dx, %ds
	mov	%dx, %es
	and	$~CR0_PE, %cl
	mov	%ecx, %cr0
	mov	%ax, %ds
	mov	%ax, %es
	mov	$GUEST_STACK16, %esp
	calll	trap_init
	calll	main
	jmp	finish
#else
	lgdtl	gdt_pointer
	mov	%cr0, %eax
	or	$CR0_PE, %eax
	mov	%eax, %cr0
	ljmpl	$SEL_CODE32, $1f

	.code32
1:	mov	$SEL_DATA, %eax
	mov	%eax, %ds
	mov	%eax, %es
	mov	%eax, %ss
	mov	%eax, %fs
	mov	%eax, %gs
	imul	$GUEST_STACK, %edi, %eax
	mov	$GUEST_STACKS, %esp
	sub	%eax, %esp
#if MODE == 32
	push	%edi
	call	trap_init
	pop	%edi
	test	%edi, %edi
	jnz	1f
	call	main
	jmp	finish
1:	push	%edi
	call	ap_main
	jmp	stop
#else
	test	%edi, %edi
	jnz	1f
	call	identity_map
1:	mov	$GUEST_PML4, %eax
	mov	%eax, %cr3
	mov	$(CR4_PAE | CR4_OSFXSR), %eax
	mov	%eax, %cr4
	mov	$EFER, %ecx
	rdmsr
	or	$EFER_LME, %eax
	wrmsr
	mov	%cr0, %eax
	or	$CR0_PG, %eax
	mov	%eax, %cr0
	ljmp	$SEL_CODE64, $1f

	.code64
1:	mov	%edi, %ebx
	call	trap_init
	mov	%ebx, %edi
	test	%edi, %edi
	jnz	1f
	call	main
	jmp	finish
1:	call	ap_main
	jmp	stop

	.code32
/* 2 MiB pages, present, writable, user; the upper half of entries stays 0 */
identity_map:
	movl	$(GUEST_PDPT + 7), GUEST_PML4
	xor	%ecx, %ecx
1:	mov	%ecx, %eax
	shl	$12, %eax
	add	$(GUEST_PD + 7), %eax
	mov	%eax, GUEST_PDPT(, %ecx, 8)
	inc	%ecx
	cmp	$4, %ecx
	jb	1b
	xor	%ecx, %ecx
1:	mov	%ecx, %eax
	shl	$21, %eax
	or	$0x87, %eax
	mov	%eax, GUEST_PD(, %ecx, 8)
	inc	%ecx
	cmp	$2048, %ecx
	jb	1b
	ret
#endif
#endif

#if MODE == 16
	.code16
#elif MODE == 32
	.code32
#else
	.code64
#endif
/* exit with EAX */
finish:
	mov	$PORT_EXIT, %dx
	out	%eax, %dx
/* nobody comes back from the exit port, except to be stopped for good */
stop:	cli
1:	hlt
	jmp	1b

	.data
	.globl cpus_started
	.balign 4
cpus_started:
	.long	0

#if MODE == 16
	.balign 8
flat_gdt:
	.quad	0
	.quad	0x00cf93000000ffff
flat_pointer:
	.word	flat_pointer - flat_gdt - 1
	.long	flat_gdt
#else
	.globl gdt
	.balign 8
gdt:
	.quad	0
	.quad	0x00cf9b000000ffff	/* SEL_CODE32 */
	.quad	0x00cf93000000ffff	/* SEL_DATA */
	.quad	0x00af9b000000ffff	/* SEL_CODE64 */
	.quad	0x00cf13000000ffff	/* SEL_ABSENT: data, P clear */
	.quad	0x00009b000000ffff	/* SEL_CODE16 */
	.quad	0x00cffb000000ffff	/* SEL_USER32 */
	.quad	0x00cff3000000ffff	/* SEL_USER_DATA */
	.quad	0x00affb000000ffff	/* SEL_USER64 */
	.quad	0			/* SEL_TSS, set by trap_init */
	.quad	0
gdt_end:
gdt_pointer:
	.word	gdt_end - gdt - 1
	.long	gdt
	.long	0
#endif
