/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The world switch, APM 2 15.5 and 15.6. VMRUN swaps what the host cannot do
 * without; VMLOAD and VMSAVE the segment bases, TR, LDTR and the system call
 * MSRs; the general registers are ours to move.
 */
#include <linux/linkage.h>
#include <asm/asm.h>

#include "gprs.h"

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
	SAVE_HOST_GPRS
	push	%rdx
	push	%rdi

	mov	%rsi, %rax
	LOAD_GUEST_GPRS

	clgi
	sti
	vmload	%rax
	vmrun	%rax
	cli
	vmsave	%rax

	SAVE_GUEST_GPRS

	pop	%rax
	vmload	%rax
	stgi

	FORGET_GUEST
	RESTORE_HOST_GPRS
	RET
SYM_FUNC_END(svm_enter)
