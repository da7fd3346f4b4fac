/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What differs between the kernels that this module is built for. HAVE_NAME is
 * set if kmod/compat/NAME.c compiles against the kernel's headers
 * (scripts/compat-probe): distributions backport, so no version is compared.
 */
#ifndef VMM_COMPAT_H
#define VMM_COMPAT_H

#include <linux/hrtimer.h>
#include <linux/mm.h>

#ifdef HAVE_FOLL_INTERRUPTIBLE
#define VMM_FOLL_INTERRUPTIBLE	FOLL_INTERRUPTIBLE
#else
#define VMM_FOLL_INTERRUPTIBLE	0
#endif

#ifdef HAVE_FOLL_HONOR_NUMA_FAULT
#define VMM_FOLL_NUMA_FAULT	FOLL_HONOR_NUMA_FAULT
#else
#define VMM_FOLL_NUMA_FAULT	0	/* always done */
#endif

#ifndef HAVE_HRTIMER_SETUP
static inline void hrtimer_setup(struct hrtimer *timer,
				 enum hrtimer_restart (*function)(struct hrtimer *),
				 clockid_t clock, enum hrtimer_mode mode)
{
	hrtimer_init(timer, clock, mode);
	timer->function = function;
}
#endif

#endif /* VMM_COMPAT_H */
