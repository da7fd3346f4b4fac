/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What a bare guest and its harness (selftests/kernel/vm.h) agree on.
 *
 * Included by assembly and by C on both sides, so it holds numbers only.
 */
#ifndef GUEST_ABI_H
#define GUEST_ABI_H

/* ---- memory ------------------------------------------------------------- */

/* Page tables of the runtime: 4 GiB of identity map in 2 MiB pages. */
#define GUEST_PML4	0x1000
#define GUEST_PDPT	0x2000
#define GUEST_PD	0x3000		/* four pages: one GiB each */

/* Four arguments of 64 bits, written by the harness before the start. */
#define GUEST_ARGS	0x600
#define GUEST_NARGS	4

/*
 * What the guest is about to do to MMIO, see below. The harness does not
 * decode instructions: the guest tells it beforehand what comes.
 */
#define GUEST_MMIO_DESC	0x680

/* Stacks grow down from here: one per CPU in the order of their start. */
#define GUEST_STACK16	0x8000		/* 16-bit guests, CPU 0 only */
#define GUEST_STACKS	0x80000
#define GUEST_STACK	0x1000

/*
 * The image: loaded here, entered here in real mode at 0000:8000, and by a
 * start-up IPI with this vector at 0800:0000.
 */
#define GUEST_IMAGE	0x8000
#define GUEST_SIPI	0x08

/* Free for the tests: from here up to the end of RAM, 4 MiB at least. */
#define GUEST_FREE	0x100000
#define GUEST_RAM	0x400000

/* ---- ports -------------------------------------------------------------- */

#define PORT_CONSOLE	0xe9		/* OUT byte: one character */
#define PORT_EXIT	0xf4		/* OUT dword: the result, 0 is success */

/* report(code, value): three OUTs of a dword each, CODE first */
#define PORT_CODE	0x5f0
#define PORT_VALUE_LO	0x5f4
#define PORT_VALUE_HI	0x5f8		/* this one completes the report */

/* OUT of any size is kept; IN of any size gives back its low bytes. */
#define PORT_LATCH	0x520
#define PORT_LATCH_IMM	0xe4		/* the same one, for the immediate form */
/* IN dword: size of the last OUT to the latch | number of OUTs to it << 8 */
#define PORT_LATCH_INFO	0x524
/* IN: each byte is one more than the byte before, from 0 */
#define PORT_COUNTER	0x528
/* OUT: rotates the sum left by 1 and adds the value; IN dword: the sum */
#define PORT_SUM	0x52c
/* OUT dword: ask the harness for something; meaning is the test's own */
#define PORT_ASK	0x530

/* ---- MMIO --------------------------------------------------------------- */

/*
 * 64 KiB of device memory that no mapping covers. The first byte of it holds
 * 0, the second 1 and so on (the low byte of the offset); stores are kept.
 */
#define GUEST_MMIO	0xd0000000
#define GUEST_MMIO_SIZE	0x10000
/* A page of RAM that ends where the device memory begins. */
#define GUEST_MMIO_EDGE	(GUEST_MMIO - 0x1000)
/* And one at the end of it. */
#define GUEST_MMIO_END	(GUEST_MMIO + GUEST_MMIO_SIZE)

/*
 * struct guest_mmio at GUEST_MMIO_DESC, as offsets for assembly:
 * the address is linear and physical alike.
 */
#define DESC_LEN	0		/* u8: bytes of the instruction */
#define DESC_SIZE	1		/* u8: 1, 2, 4, 8 bytes of access */
#define DESC_REG	2		/* u8: enum vmm_gpr, or DESC_IMM */
#define DESC_FLAGS	3		/* u8: DESC_* */
#define DESC_IMM_VALUE	8		/* u64 */
#define DESC_ADDR	16		/* u64 */

#define DESC_IMM	0xff
#define DESC_STORE	1		/* else a load */
#define DESC_ZEXT	2		/* load zero-extends to 64 bits */
#define DESC_SEXT	4		/* load sign-extends to 64 bits */

#endif /* GUEST_ABI_H */
