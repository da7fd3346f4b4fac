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

/* newer kernels count the pages of devices as all others */
#ifndef _PAGE_DEVMAP
#define _PAGE_DEVMAP		0
#endif

#ifdef HAVE_EVENTFD_SIGNAL_COUNT
#define vmm_eventfd_signal(ctx)	eventfd_signal(ctx, 1)
#else
#define vmm_eventfd_signal(ctx)	eventfd_signal(ctx)
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

/* callbacks are functions of (VMM_SYSCORE_ARG); VMM_SYSCORE defines the object */
#ifdef HAVE_REGISTER_SYSCORE
#define VMM_SYSCORE_ARG		void *data
#define VMM_SYSCORE(name, ...)						\
	static const struct syscore_ops name##_ops = { __VA_ARGS__ };	\
	static struct syscore name = { .ops = &name##_ops }
#else
#define VMM_SYSCORE_ARG		void
#define VMM_SYSCORE(name, ...)						\
	static struct syscore_ops name = { __VA_ARGS__ }
#define register_syscore	register_syscore_ops
#define unregister_syscore	unregister_syscore_ops
#endif

#endif /* VMM_COMPAT_H */
