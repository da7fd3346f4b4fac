/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Execute one instruction of the guest: one that touches MMIO, or string port
 * I/O. Zydis decodes, our code executes, memory operands go through the guest's
 * segments and page tables to guest memory or to the MMIO bus.
 */
#ifndef VMMD_EMULATE_H
#define VMMD_EMULATE_H

#include <stdbool.h>
#include <stdint.h>
#include <linux/vmm.h>

#include "walk.h"

#define EMU_VEC_SIZE	32		/* XMM in the low half, YMM in all of it */
#define EMU_X87_SIZE	160		/* of FXSAVE64's image, what comes before XMM0 */

struct emu_ops {
	/* size is 1, 2, 4 or 8 bytes */
	uint64_t (*mmio_read)(void *owner, uint64_t gpa, unsigned int size);
	void (*mmio_write)(void *owner, uint64_t gpa, uint64_t value,
			   unsigned int size);
	uint64_t (*pio_read)(void *owner, uint16_t port, unsigned int size);
	void (*pio_write)(void *owner, uint16_t port, uint32_t value,
			  unsigned int size);
	/* vector register `reg`, all EMU_VEC_SIZE bytes; 0 or -errno */
	int (*vec_get)(void *owner, unsigned int reg, uint8_t *v);
	int (*vec_set)(void *owner, unsigned int reg, const uint8_t *v);
	/* EMU_X87_SIZE bytes; set leaves alone what of it is MXCSR; 0 or -errno */
	int (*x87_get)(void *owner, void *x87);
	int (*x87_set)(void *owner, const void *x87);
};

/*
 * Instructions that were decoded before, found by their bytes, and the walks to
 * them and their operands. A guest uses few different ones on its devices. For one
 * thread.
 */
struct emu_cache;

struct emu_cache *emu_cache_new(void);	/* NULL: no memory */
void emu_cache_free(struct emu_cache *cache);

enum emu_result {
	EMU_DONE,		/* executed; regs are those after it */
	EMU_AGAIN,		/* a batch of a rep is done, or the guest is to try
				 * again by itself; regs->rip stays */
	EMU_FAULT,		/* inject `fault`; regs as far as a rep came */
	EMU_UNSUPPORTED,	/* `why` names the instruction; regs as before */
};

struct emu {
	/* in */
	struct mem *mem;
	struct emu_cache *cache;	/* may be NULL */
	const struct emu_ops *ops;
	void *owner;
	unsigned int phys_bits;
	const struct vmm_sregs *sregs;	/* a copy: not the run page itself */
	/*
	 * The string port I/O that the CPU left the guest for, NULL if it was
	 * something else. INS and OUTS do no other: it was the CPU that asked
	 * IOPL and the TSS, and the code may have been changed since.
	 */
	const struct vmm_exit_io *io;
	/* in and out */
	struct vmm_regs regs;
	/* out */
	struct walk_fault fault;
	char why[256];
};

enum emu_result emu_run(struct emu *emu);

/*
 * For reports: the bytes at CS:RIP into buf, at most max, and the text of the
 * instruction. Returns the number of bytes that could be read.
 */
unsigned int emu_peek(struct mem *mem, const struct vmm_regs *regs,
		      const struct vmm_sregs *sregs, uint8_t *buf,
		      unsigned int max, char *text, unsigned long textlen);

#endif
