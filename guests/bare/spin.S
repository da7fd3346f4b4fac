/* SPDX-License-Identifier: GPL-2.0 */
/* Never exits: says that it is there, then runs on with interrupts off. */
#include "abi.h"

	.section .start, "ax"
	.code16
	.globl _start
_start:
	cli
	mov	$PORT_ASK, %dx
	mov	$1, %eax
	out	%eax, %dx
1:	incl	%cs:count
	jmp	1b

	.balign 4
count:	.long	0
