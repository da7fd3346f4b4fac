/* SPDX-License-Identifier: GPL-2.0 */
/*
 * A disk's first sector, started by the BIOS: copies sector 1 to sector 2 and
 * prints the memory map on COM1, a line of hexadecimal for each range (base,
 * length, type). Then "ok", or "failed" when the disk did not do it. Powers
 * off through the PM block at the place that SeaBIOS gives it.
 */
#define COM1	0x3f8
#define PM_CNT	0x604
#define SMAP	0x534d4150

	.code16
	.text
	.globl _start
_start:
	cli
	cld
	xor	%ax, %ax
	mov	%ax, %ds
	mov	%ax, %es
	mov	%ax, %ss
	mov	$_start, %sp
	sti

	/* DL is the drive */
	mov	$packet, %si
	mov	$0x42, %ah
	int	$0x13
	jc	failed
	incb	lba
	mov	$0x4300, %ax
	int	$0x13
	jc	failed

	xor	%ebx, %ebx
range:
	mov	$0xe820, %eax
	mov	$SMAP, %edx
	mov	$20, %ecx
	mov	$entry, %di
	int	$0x15
	jc	done
	mov	entry + 4, %eax
	call	put_hex
	mov	entry, %eax
	call	put_hex
	mov	$' ', %al
	call	put
	mov	entry + 12, %eax
	call	put_hex
	mov	entry + 8, %eax
	call	put_hex
	mov	$' ', %al
	call	put
	mov	entry + 16, %eax
	call	put_hex
	mov	$'\n', %al
	call	put
	test	%ebx, %ebx
	jnz	range
done:
	mov	$ok, %si
	jmp	say
failed:
	mov	$bad, %si
say:
	lodsb
	test	%al, %al
	jz	off
	call	put
	jmp	say
off:
	mov	$PM_CNT, %dx
	mov	$0x2000, %ax		/* SLP_EN, S5 */
	out	%ax, %dx
	hlt
	jmp	off

put_hex:				/* EAX */
	mov	$8, %cx
1:	rol	$4, %eax
	push	%eax
	and	$15, %al
	add	$'0', %al
	cmp	$'9', %al
	jbe	2f
	add	$'a' - '9' - 1, %al
2:	call	put
	pop	%eax
	loop	1b
	ret

put:					/* AL, when the transmitter is free */
	push	%ax
	mov	$COM1 + 5, %dx
1:	in	%dx, %al
	test	$0x20, %al
	jz	1b
	pop	%ax
	mov	$COM1, %dx
	out	%al, %dx
	ret

ok:	.asciz	"ok\n"
bad:	.asciz	"failed\n"
	.balign	4
packet:					/* of INT 13h, AH = 42h and 43h */
	.byte	16, 0
	.word	1			/* sectors */
	.word	0x8000, 0		/* offset, segment */
lba:	.quad	1
entry	= 0x9000

	.org	510
	.word	0xaa55
