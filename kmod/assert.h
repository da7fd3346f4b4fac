/* SPDX-License-Identifier: GPL-2.0 */
/*
 * make DEBUG=1: what no emulated CPU shows, a missing TLB flush or a stale ASID,
 * is asserted. A failure is told once and ends the VM, never the host: RUN
 * answers EIO from then on.
 */
#ifndef VMM_ASSERT_H
#define VMM_ASSERT_H

#include <linux/printk.h>

#include "vmm.h"

#ifdef VMM_DEBUG
#define vmm_assert(vm, cond)						\
	do {								\
		struct vmm_vm *assert_vm = (vm);			\
									\
		if (!(cond) && !assert_vm->broken) {			\
			WRITE_ONCE(assert_vm->broken, true);		\
			pr_err("vmm: BUG: %s:%d: %s\n", __FILE__,	\
			       __LINE__, #cond);			\
		}							\
	} while (0)
#else
#define vmm_assert(vm, cond)	((void)(vm))
#endif

#endif
