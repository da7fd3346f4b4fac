/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Boot sector for Bochs: enters a Linux kernel that bochs.py has put into
 * memory, through PVH (see arch/x86/platform/pvh in Linux, and Xen's
 * docs/misc/pvh.pandoc). Reading it from a disk and unpacking it would take
 * the emulator 15 s.
 *
 * Bochs takes host memory for the guest's in blocks, each when the guest first
 * touches it and one after the other, but reads an image of "optramimage" into
 * host memory as if that were all one. So the image's first block is where it
 * belongs, and the following ones turn up wherever the guest touches memory
 * next. Blocks that the BIOS took are lost: the image starts with numbered
 * pads. We take the rest of those, and then touch the places where the real
 * contents are wanted, in their order.
 */
	.set MEMMAP, 0x8000	/* e820 entries, as the kernel wants them: 24 bytes each */
	.set STEP, 0x10000	/* no larger than Bochs's blocks (128 KiB) */
	.set PVH_MAGIC, 0x336ec578

	.code16
	.globl _start
_start:
	cli
	cld
	xor %ax, %ax
	mov %ax, %ds
	mov %ax, %es
	mov %ax, %ss
	mov $0x7c00, %sp
	ljmp $0, $1f
1:
	mov $MEMMAP, %di
	xor %ebx, %ebx
2:
	movl $0, 20(%di)
	mov $0xe820, %eax
	mov $20, %ecx
	mov $0x534d4150, %edx
	int $0x15
	jc 3f
	incl entries
	add $24, %di
	test %ebx, %ebx
	jnz 2b
3:
	cli
	in $0x92, %al		/* A20 */
	or $2, %al
	out %al, $0x92
	lgdt gdtr
	mov %cr0, %eax
	or $1, %al
	mov %eax, %cr0
	ljmp $8, $4f

	.code32
4:
	mov $16, %eax
	mov %eax, %ds
	mov %eax, %es
	mov %eax, %ss
	/*
	 * No last pad: the blocks did not come in that order, or the kernel has
	 * reset the machine. Both are the end.
	 */
	mov first_pad, %esi
	mov pads, %ecx
5:
	mov (%esi), %eax
	add $STEP, %esi
	cmp last_pad, %eax
	loopne 5b
	jne 9f
	mov $ranges, %edi
6:
	mov (%edi), %esi
	mov 4(%edi), %ecx
	add $8, %edi
	jecxz 8f
7:
	mov (%esi), %eax
	add $STEP, %esi
	loop 7b
	jmp 6b
8:
	mov start_info, %ebx
	cmpl $PVH_MAGIC, (%ebx)
	jne 9f
	mov entries, %eax
	mov %eax, 48(%ebx)	/* hvm_start_info.memmap_entries */
	jmp *entry
9:
	mov $0x8900, %dx	/* makes Bochs exit */
	mov $bye, %esi
	mov $8, %ecx
	rep outsb
	hlt

bye:	.ascii "Shutdown"
	.balign 8
gdt:	.quad 0
	.quad 0xcf9b000000ffff
	.quad 0xcf93000000ffff
gdtr:	.word 23
	.long gdt
entries:
	.long 0

	/* Filled in by bochs.py. */
	.org 466
entry:	.long 0
start_info:
	.long 0
first_pad:
	.long 0
pads:	.long 0
last_pad:
	.long 0
ranges:	.long 0, 0, 0, 0, 0, 0	/* address, steps; the last is 0 */
	.word 0xaa55
