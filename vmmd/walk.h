/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The guest's view of memory: segments, then page tables, as the CPU walks
 * them. Needed to emulate an instruction; the tables lie in guest memory and
 * are hostile.
 */
#ifndef VMMD_WALK_H
#define VMMD_WALK_H

#include <stdbool.h>
#include <stdint.h>
#include <linux/vmm.h>

struct mem;

/* an exception that the access raises, for the caller to inject */
struct walk_fault {
	uint8_t vector;
	bool has_error;
	uint32_t error;
	uint64_t cr2;		/* of a page fault */
};

#define WALK_DE		0
#define WALK_UD		6
#define WALK_SS		12
#define WALK_GP		13
#define WALK_PF		14

#define WALK_WRITE	(1U << 0)
#define WALK_FETCH	(1U << 1)
#define WALK_PEEK	(1U << 2)	/* for a report: no permission checks,
					 * accessed and dirty bits stay */

/*
 * Walks done before, for one thread. One is used again while every entry that it
 * read has the same value still, so nobody has to say when tables change. That
 * needs guest memory to stay where it is.
 */
#define WALK_KNOWN	16
#define WALK_LEVELS	5

struct walk_known {
	uint64_t page;			/* linear; in the low bits who asked what */
	uint64_t cr0, cr3, cr4, efer;
	uint64_t gpa;
	unsigned int n;			/* 0: nothing is here */
	const uint64_t *at[WALK_LEVELS];
	uint64_t value[WALK_LEVELS];
};

struct walk {
	struct mem *mem;
	struct walk_known *known;	/* WALK_KNOWN of them, or NULL */
	const struct vmm_sregs *sregs;
	uint64_t rflags;		/* AC matters for SMAP */
	unsigned int phys_bits;		/* MAXPHYADDR as the guest knows it */
};

bool walk_is_64(const struct vmm_sregs *s);	/* 64-bit mode, not compatibility */
unsigned int walk_cpl(const struct walk *w);
/* width of code in bits: 16, 32, 64 */
unsigned int walk_code_bits(const struct vmm_sregs *s);
/* width of the stack pointer in bits: 16, 32, 64 */
unsigned int walk_stack_bits(const struct vmm_sregs *s);

/*
 * seg:offset to a linear address, for all of `size` bytes; seg is enum
 * vmm_seg, access WALK_*. False: *fault is #GP or #SS.
 */
bool walk_segment(const struct walk *w, unsigned int seg, uint64_t offset,
		  unsigned int size, unsigned int access, uint64_t *linear,
		  struct walk_fault *fault);

/*
 * Linear to guest physical. Sets accessed and dirty bits. The answer holds up
 * to the end of the 4 KiB page. False: *fault is #PF.
 */
bool walk_page(const struct walk *w, uint64_t linear, unsigned int access,
	       uint64_t *gpa, struct walk_fault *fault);

#endif
