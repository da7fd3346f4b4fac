/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The world switch, APM 2 15.5 and 15.6. VMRUN swaps what the host cannot do
 * without; VMLOAD and VMSAVE the segment bases, TR, LDTR and the system call
 * MSRs; the general registers are ours to move.
 */
#include <linux/linkage.h>
#include <asm/asm.h>
#include <asm/nospec-branch.h>

/* newer kernels name the form for VM exits apart */
#ifndef UNTRAIN_RET_VM
#define UNTRAIN_RET_VM UNTRAIN_RET
#endif

/* offsets into vcpu->gpr[], enum vmm_gpr; RAX and RSP travel in the VMCB */
#define RCX	(1 * 8)
#define RDX	(2 * 8)
#define RBX	(3 * 8)
#define RBP	(5 * 8)
#define RSI	(6 * 8)
#define RDI	(7 * 8)
#define R8	(8 * 8)
#define R9	(9 * 8)
#define R10	(10 * 8)
#define R11	(11 * 8)
#define R12	(12 * 8)
#define R13	(13 * 8)
#define R14	(14 * 8)
#define R15	(15 * 8)

/*
 * void svm_enter(u64 *gpr, u64 vmcb_pa, u64 host_pa)
 *
 * Interrupts are off. GIF is off from before the guest's state is loaded to
 * after the host's is back, so neither an NMI nor an interrupt sees a guest's
 * GS base. IF is set for VMRUN only: with V_INTR_MASKING it is what lets a
 * host interrupt end the guest's turn (APM 2 15.21.1). STI is not right before
 * VMRUN: emulated CPUs take its shadow along into the guest, where an STI as
 * the first instruction then casts none.
 */
	.text
SYM_FUNC_START(svm_enter)
	push	%rbp
	push	%rbx
	push	%r12
	push	%r13
	push	%r14
	push	%r15
	push	%rdx
	push	%rdi

	mov	%rsi, %rax
	mov	RCX(%rdi), %rcx
	mov	RDX(%rdi), %rdx
	mov	RBX(%rdi), %rbx
	mov	RBP(%rdi), %rbp
	mov	RSI(%rdi), %rsi
	mov	R8(%rdi), %r8
	mov	R9(%rdi), %r9
	mov	R10(%rdi), %r10
	mov	R11(%rdi), %r11
	mov	R12(%rdi), %r12
	mov	R13(%rdi), %r13
	mov	R14(%rdi), %r14
	mov	R15(%rdi), %r15
	mov	RDI(%rdi), %rdi

	clgi
	sti
	vmload	%rax
	vmrun	%rax
	cli
	vmsave	%rax

	/* the guest's RDI goes to the stack, the array's address comes back */
	xchg	%rdi, (%rsp)
	mov	%rcx, RCX(%rdi)
	mov	%rdx, RDX(%rdi)
	mov	%rbx, RBX(%rdi)
	mov	%rbp, RBP(%rdi)
	mov	%rsi, RSI(%rdi)
	mov	%r8, R8(%rdi)
	mov	%r9, R9(%rdi)
	mov	%r10, R10(%rdi)
	mov	%r11, R11(%rdi)
	mov	%r12, R12(%rdi)
	mov	%r13, R13(%rdi)
	mov	%r14, R14(%rdi)
	mov	%r15, R15(%rdi)
	pop	%rcx
	mov	%rcx, RDI(%rdi)

	pop	%rax
	vmload	%rax
	stgi

	/*
	 * The return predictor holds nothing of the guest's before the first
	 * RET, and no register a value of its for speculation to use.
	 */
	FILL_RETURN_BUFFER %rax, RSB_CLEAR_LOOPS, X86_FEATURE_RSB_VMEXIT
	UNTRAIN_RET_VM
	xor	%ecx, %ecx
	xor	%edx, %edx
	xor	%esi, %esi
	xor	%r8d, %r8d
	xor	%r9d, %r9d
	xor	%r10d, %r10d
	xor	%r11d, %r11d

	pop	%r15
	pop	%r14
	pop	%r13
	pop	%r12
	pop	%rbx
	pop	%rbp
	RET
SYM_FUNC_END(svm_enter)
