/* SPDX-License-Identifier: GPL-2.0 */
/*
 * As much of the kernel as kmod's APIC and task switches need to run in a unit
 * test: types that vmm.h mentions, real atomic bit operations, and timers on a
 * clock that only the test moves. linux/NAME.h beside this are those names, all
 * empty.
 */
#ifndef KSHIM_H
#define KSHIM_H

#include <assert.h>
#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <linux/types.h>

typedef __u8 u8;
typedef __u16 u16;
typedef __u32 u32;
typedef __u64 u64;
typedef __s32 s32;
typedef __s64 s64;

#define __rcu
#define fallthrough		__attribute__((fallthrough))
#define sizeof_field(t, f)	sizeof(((t *)0)->f)
#define offsetofend(t, f)	(offsetof(t, f) + sizeof_field(t, f))
#define container_of(p, t, f)	((t *)((char *)(p) - offsetof(t, f)))
#define READ_ONCE(x)		__atomic_load_n(&(x), __ATOMIC_RELAXED)
#define WRITE_ONCE(x, v)	__atomic_store_n(&(x), v, __ATOMIC_RELAXED)

#define __user
#define __uninitialized
#define noinline		__attribute__((noinline))
#define ARRAY_SIZE(a)		(sizeof(a) / sizeof((a)[0]))
#define PAGE_SIZE		4096UL
#define PAGE_MASK		(~(PAGE_SIZE - 1))

#define BITS_PER_LONG		64
#define BIT(n)			(1UL << (n))
#define BIT_ULL(n)		(1ULL << (n))
#define GENMASK_ULL(h, l)	((~0ULL >> (63 - (h))) & (~0ULL << (l)))
#define GENMASK(h, l)		((unsigned long)GENMASK_ULL(h, l))
#define FIELD_GET(mask, v)	(((v) & (mask)) >> __builtin_ctzll(mask))
#define __fls(x)		(63UL - __builtin_clzl(x))
#define __ffs(x)		((unsigned long)__builtin_ctzl(x))

#define max(a, b)		((a) > (b) ? (a) : (b))
#define min(a, b)		((a) < (b) ? (a) : (b))
#define min_t(t, a, b)		min((t)(a), (t)(b))
#define max_t(t, a, b)		max((t)(a), (t)(b))
#define clamp(v, lo, hi)	min(max(v, lo), hi)

/* bit operations: by byte, as nothing promises that `map` was stored as longs */
static inline bool test_bit(unsigned long nr, const unsigned long *map)
{
	return __atomic_load_n((const u8 *)map + nr / 8, __ATOMIC_SEQ_CST) >> nr % 8 & 1;
}

static inline bool test_and_set_bit(unsigned long nr, unsigned long *map)
{
	u8 bit = 1 << nr % 8;

	return __atomic_fetch_or((u8 *)map + nr / 8, bit, __ATOMIC_SEQ_CST) & bit;
}

static inline void set_bit(unsigned long nr, unsigned long *map)
{
	test_and_set_bit(nr, map);
}

static inline bool test_and_clear_bit(unsigned long nr, unsigned long *map)
{
	u8 bit = 1 << nr % 8;

	return __atomic_fetch_and((u8 *)map + nr / 8, (u8)~bit, __ATOMIC_SEQ_CST) & bit;
}

static inline void clear_bit(unsigned long nr, unsigned long *map)
{
	test_and_clear_bit(nr, map);
}

#define __set_bit(nr, map)	set_bit(nr, map)
#define __clear_bit(nr, map)	clear_bit(nr, map)
#define xchg(p, v)		__atomic_exchange_n(p, v, __ATOMIC_SEQ_CST)
#define smp_mb__after_atomic()	__atomic_thread_fence(__ATOMIC_SEQ_CST)
#define smp_load_acquire(p)	__atomic_load_n(p, __ATOMIC_ACQUIRE)
#define smp_mb()		__atomic_thread_fence(__ATOMIC_SEQ_CST)
#define smp_rmb()		__atomic_thread_fence(__ATOMIC_ACQUIRE)
#define smp_wmb()		__atomic_thread_fence(__ATOMIC_RELEASE)

/* types that are only mentioned */
typedef struct { int unused; } atomic_t, rwlock_t, spinlock_t, wait_queue_head_t;
typedef struct { long counter; } atomic_long_t;
typedef struct { s64 counter; } atomic64_t;
typedef struct { int unused; } call_single_data_t;
typedef struct { int unused; } cpumask_var_t[1];
struct kref { int unused; };
struct mutex { int unused; };
struct srcu_struct { int unused; };
struct mmu_notifier { int unused; };
struct rcu_head { int unused; };
struct mm_struct;

/* ---- static calls are indirect ones ------------------------------------------ */

#define DECLARE_STATIC_CALL(name, func)	struct vmm_ops
#define static_call(name)	(name)
#define vmm_op_flush		vmm_ops->flush
#define vmm_op_get_cr		vmm_ops->get_cr
#define vmm_op_get_efer		vmm_ops->get_efer
#define vmm_op_get_sregs	vmm_ops->get_sregs

/* ---- user memory: there is no fast gear in a test ---------------------------- */

#define u64_to_user_ptr(a)	((void *)(uintptr_t)(a))
#define pagefault_disable()	do { } while (0)
#define pagefault_enable()	do { } while (0)
#define __copy_from_user_inatomic(to, from, n) (memcpy(to, from, n), 0UL)
#define user_access_begin(p, n)	1
#define user_access_end()	do { } while (0)
/* the label is for faults, of which there are none */
#define unsafe_get_user(x, p, label)					\
	do {								\
		if (0)							\
			goto label;					\
		memcpy(&(x), p, sizeof(x));				\
	} while (0)

static inline void yield(void)
{
}

#define EFER_SCE		(1U << 0)
#define EFER_LME		(1U << 8)
#define EFER_LMA		(1U << 10)
#define EFER_NX			(1U << 11)
#define EFER_SVME		(1U << 12)

/* as in the kernel: how much there is, not how much there would be */
#define scnprintf(text, size, ...) \
	({ size_t n_ = snprintf(text, size, __VA_ARGS__); n_ < (size) ? n_ : (size) - 1; })

#define asmlinkage
#define DECLARE_PER_CPU(type, name)	extern type name
#ifndef __always_inline
#define __always_inline			inline
#endif

extern struct cpuinfo_x86 {
	u8 x86_virt_bits, x86_phys_bits;
} boot_cpu_data;

/* ---- time: stands still until the test moves it ---------------------------- */

typedef s64 ktime_t;

#define ktime_add_ns(t, ns)	((t) + (s64)(ns))
#define ktime_sub(a, b)		((a) - (b))
#define ktime_to_ns(t)		(t)
#define ktime_before(a, b)	((a) < (b))

enum hrtimer_restart { HRTIMER_NORESTART, HRTIMER_RESTART };
enum hrtimer_mode { HRTIMER_MODE_ABS_HARD };
#define CLOCK_MONOTONIC		1

struct hrtimer {
	enum hrtimer_restart (*function)(struct hrtimer *timer);
	ktime_t expires;
	bool queued;
};

extern ktime_t kshim_now;
extern u32 tsc_khz;

static inline ktime_t ktime_get(void)
{
	return kshim_now;
}

#define HAVE_HRTIMER_SETUP 1
static inline void hrtimer_setup(struct hrtimer *timer,
				 enum hrtimer_restart (*function)(struct hrtimer *),
				 int clock, enum hrtimer_mode mode)
{
	(void)clock;
	(void)mode;
	timer->function = function;
	timer->queued = false;
}

static inline void hrtimer_start(struct hrtimer *timer, ktime_t expires,
				 enum hrtimer_mode mode)
{
	(void)mode;
	timer->expires = expires;
	timer->queued = true;
}

static inline int hrtimer_try_to_cancel(struct hrtimer *timer)
{
	bool was = timer->queued;

	timer->queued = false;
	return was;
}

#define hrtimer_cancel(timer)	hrtimer_try_to_cancel(timer)

#endif /* KSHIM_H */
