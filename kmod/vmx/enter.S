/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The world switch, SDM 3C chapters 27 and 28. The VMCS holds what the CPU
 * switches by itself; the general registers are ours to move.
 */
#include <linux/linkage.h>
#include <linux/objtool.h>
#include <asm/asm.h>
#include <asm/unwind_hints.h>

#include "gprs.h"

#define HOST_RSP_FIELD	0x6c14

/*
 * int vmx_enter(u64 *gpr, bool launched)
 *
 * Interrupts are off, the VMCS is current and its HOST_RIP is vmx_exited. An exit
 * comes back there with our RSP; a VMLAUNCH or VMRESUME that fails goes on behind
 * itself, with the guest's registers but our RSP, too. 0: exit; 1: failed.
 */
	.text
SYM_FUNC_START(vmx_enter)
	SAVE_HOST_GPRS
	push	%rdi

	mov	$HOST_RSP_FIELD, %eax
	vmwrite	%rsp, %rax
	test	%sil, %sil

	mov	RAX(%rdi), %rax
	LOAD_GUEST_GPRS

	UNWIND_HINT_SAVE
	jz	1f
	vmresume
	jmp	2f
1:	vmlaunch
2:
	pop	%rdi
	FORGET_GUEST_GPRS
	mov	$1, %eax
	jmp	3f

SYM_INNER_LABEL(vmx_exited, SYM_L_GLOBAL)
	UNWIND_HINT_RESTORE
	ANNOTATE_NOENDBR
	push	%rax
	mov	8(%rsp), %rax
	pop	RAX(%rax)
	SAVE_GUEST_GPRS
	FORGET_GUEST
	xor	%eax, %eax
3:
	RESTORE_HOST_GPRS
	RET
SYM_FUNC_END(vmx_enter)
