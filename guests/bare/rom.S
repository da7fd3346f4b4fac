/* SPDX-License-Identifier: GPL-2.0 */
/*
 * A bare guest as 64 KiB of firmware: from the reset vector copy the image to
 * where it is linked and enter it, in real mode.
 */
#include "abi.h"

	.code16
	.text
rom:
	.incbin ROM_IMAGE
	.org	0xff00
start:
	cli
	cld
	xor	%ax, %ax
	mov	%ax, %es
	mov	$0xf000, %ax
	mov	%ax, %ds
	xor	%si, %si
	mov	$GUEST_IMAGE, %di
	mov	$0x4000, %cx
	rep movsw
	ljmp	$0, $GUEST_IMAGE
	.org	0xfff0
	ljmp	$0xf000, $0xff00
	.org	0x10000
