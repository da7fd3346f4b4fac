/* SPDX-License-Identifier: GPL-2.0 */
/* The smallest guest: prints one letter and halts, in real mode. */
#include "abi.h"

	.section .start, "ax"
	.code16
	.globl _start
_start:
	mov	$'V', %al
	out	%al, $PORT_CONSOLE
	xor	%eax, %eax
	mov	$PORT_EXIT, %dx
	out	%eax, %dx
1:	cli
	hlt
	jmp	1b
