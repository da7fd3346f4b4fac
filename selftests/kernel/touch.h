/* SPDX-License-Identifier: GPL-2.0 */
/*
 * A vCPU as a probe of guest memory: one access at a time, and the exit it ends
 * with; or a worker that counts in every page of a range.
 *
 * The code lies at TOUCH_CODE in the VM's RAM, in 64-bit mode under the
 * harness' identity map of 4 GiB.
 */
#ifndef TOUCH_H
#define TOUCH_H

#include "vm.h"

#define TOUCH_CODE	0x9000
#define TOUCH_STOP	0xa000		/* dword in RAM, see touch_count */
#define TOUCH_PORT	0x10		/* OUT: the access is done */
#define TOUCH_AREA	0x40000000ull	/* gpa for the tests' own mappings */

/* a VM with `cpus` vCPUs ready to touch */
struct vm *touch_vm(unsigned int cpus);

/*
 * Access a dword at address `at`. VMM_EXIT_NONE: done, *value read; otherwise
 * the exit that came instead, described in v->run. Ends the test on errors.
 */
u32 touch_read(struct vcpu *v, u64 at, u32 *value);
u32 touch_write(struct vcpu *v, u64 at, u32 value);
/* execute TOUCH_INSN, which the caller put there */
u32 touch_fetch(struct vcpu *v, u64 at);
#define TOUCH_INSN	((u32)(0xe7 | TOUCH_PORT << 8))	/* OUT imm8, EAX */

/*
 * Prepare the vCPU to add 1 to the dword at start + p * 4096 + offset for every
 * page p below end, again and again, `rounds` times or until touch_stop. Then it
 * tells the number of rounds at TOUCH_PORT and halts. Run it with vm_run.
 */
void touch_count(struct vcpu *v, u64 start, u64 end, u32 offset, u32 rounds);
void touch_stop(struct vm *vm);		/* all of them, after the round */

/* what an address space has for the tests: aligned, anonymous, private */
void *touch_alloc(size_t size, size_t align);

/* kB of nested (and other secondary) page tables in the system, now */
long touch_table_kb(void);
/*
 * Do they become that many, or fewer? They have 5 seconds: what a killed process
 * held goes a bit later. While a VM lives its own page_table_pages is exact.
 */
bool touch_tables_back_to(long kb);

#endif /* TOUCH_H */
