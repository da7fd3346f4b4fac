// SPDX-License-Identifier: GPL-2.0
/*
 * The guest's FPU. It is in the CPU during the fast gear only: the kernel's
 * begin/end pair looks after the host's own (design: no fpu_swap, which later
 * kernels keep for KVM), and preemption stays off in between.
 */
#include <linux/cache.h>
#include <linux/init.h>
#include <linux/slab.h>
#include <asm/cpufeature.h>
#include <asm/fpu/api.h>
#include <asm/fpu/types.h>
#include <asm/fpu/xcr.h>
#include <asm/msr.h>
#include <asm/special_insns.h>

#include "vmm.h"

/* SDM 1 13.1. No AMX (larger than our area), no PT, no PKRU (not switched) */
#define XCR0_GUEST	(XFEATURE_MASK_FP | XFEATURE_MASK_SSE | XFEATURE_MASK_YMM | \
			 XFEATURE_MASK_AVX512)

#define LEGACY_SIZE	512
#define XSAVE_HEADER	64
#define XSAVE_ALIGNED	BIT(1)		/* CPUID 0xd.n ECX: 64 bytes in the compact form */
#define MXCSR_OFFSET	24
#define MXCSR_MASK_OFFSET 28
#define MXCSR_RESET	0x1f80
#define FCW_RESET	0x37f

static bool have_xsave(void)
{
	return boot_cpu_has(X86_FEATURE_OSXSAVE);
}

/* the host's registers: the kernel writes them once per CPU, all alike */
static u64 host_xcr0 __ro_after_init, host_xss __ro_after_init;
static u64 guest_mask __ro_after_init;

/* the register itself may be a guest's later */
void __init vmm_fpu_setup(void)
{
	if (have_xsave())
		host_xcr0 = xgetbv(XCR_XFEATURE_ENABLED_MASK);
	if (boot_cpu_has(X86_FEATURE_XSAVES))
		rdmsrl(MSR_IA32_XSS, host_xss);
	guest_mask = host_xcr0 & XCR0_GUEST;
}

u64 vmm_fpu_mask(void)
{
	return guest_mask;
}

static u32 area_size(u64 xcr0, bool compact)
{
	u32 eax, ebx, ecx, edx, size = LEGACY_SIZE + XSAVE_HEADER;
	int i;

	for (i = 2; i < 63; i++) {
		if (!(xcr0 & BIT_ULL(i)))
			continue;
		cpuid_count(0xd, i, &eax, &ebx, &ecx, &edx);
		if (!compact)
			size = max(size, eax + ebx);
		else
			size = (ecx & XSAVE_ALIGNED ? ALIGN(size, 64) : size) + eax;
	}
	return size;
}

u32 vmm_fpu_size(u64 xcr0)
{
	return area_size(xcr0, false);
}

u32 vmm_fpu_compact_size(u64 xcr0)
{
	return area_size(xcr0, true);
}

int vmm_fpu_xcr0_check(u64 xcr0)
{
	if (!(xcr0 & XFEATURE_MASK_FP) || xcr0 & ~vmm_fpu_mask())
		return -EINVAL;
	if (xcr0 & XFEATURE_MASK_YMM && !(xcr0 & XFEATURE_MASK_SSE))
		return -EINVAL;
	if (xcr0 & XFEATURE_MASK_AVX512 &&
	    ((xcr0 & XFEATURE_MASK_AVX512) != XFEATURE_MASK_AVX512 ||
	     !(xcr0 & XFEATURE_MASK_YMM)))
		return -EINVAL;
	return 0;
}

static void xsave(void *area, u64 mask)
{
	asm volatile("xsave64 (%0)" : : "r"(area), "a"((u32)mask),
		     "d"((u32)(mask >> 32)) : "memory");
}

static void xrstor(const void *area, u64 mask)
{
	asm volatile("xrstor64 (%0)" : : "r"(area), "a"((u32)mask),
		     "d"((u32)(mask >> 32)) : "memory");
}

/* PKRU is not switched with the rest on all kernels: put back what we found */
static u32 read_pkru_if_any(void)
{
	return boot_cpu_has(X86_FEATURE_OSPKE) ? rdpkru() : 0;
}

/*
 * SVM cannot intercept XSAVES and XRSTORS: a guest with XSAVE may use them. What
 * IA32_XSS has set they would move to and from the CPU: the host's supervisor
 * state. Guests' IA32_XSS is 0.
 */
void vmm_fpu_load(struct vmm_vcpu *vcpu)
{
	kernel_fpu_begin_mask(0);
	vcpu->host_pkru = read_pkru_if_any();
	if (host_xss)
		wrmsrl(MSR_IA32_XSS, 0);
	if (!have_xsave()) {
		asm volatile("fxrstor64 (%0)" : : "r"(vcpu->fpu) : "memory");
		return;
	}
	xrstor(vcpu->fpu, vmm_fpu_mask());
	if (vcpu->xcr0 != host_xcr0)
		xsetbv(XCR_XFEATURE_ENABLED_MASK, vcpu->xcr0);
}

void vmm_fpu_put(struct vmm_vcpu *vcpu)
{
	if (have_xsave()) {
		/*
		 * Where XSETBV cannot be intercepted the guest may have changed
		 * the register behind our back: it is the guest's, but for what
		 * it was not shown.
		 */
		u64 now = xgetbv(XCR_XFEATURE_ENABLED_MASK);

		if (now != host_xcr0)
			xsetbv(XCR_XFEATURE_ENABLED_MASK, host_xcr0);
		if (!vmm_fpu_xcr0_check(now & vcpu->xcr0_may))
			vcpu->xcr0 = now & vcpu->xcr0_may;
		xsave(vcpu->fpu, vmm_fpu_mask());
	} else {
		asm volatile("fxsave64 (%0)" : : "r"(vcpu->fpu) : "memory");
	}
	if (host_xss)
		wrmsrl(MSR_IA32_XSS, host_xss);
	if (read_pkru_if_any() != vcpu->host_pkru)
		wrpkru(vcpu->host_pkru);
	kernel_fpu_end();
}

void vmm_fpu_reset(struct vmm_vcpu *vcpu)
{
	memset(vcpu->fpu, 0, PAGE_SIZE);
	*(u16 *)vcpu->fpu = FCW_RESET;
	*(u32 *)(vcpu->fpu + MXCSR_OFFSET) = MXCSR_RESET;
	*(u64 *)(vcpu->fpu + LEGACY_SIZE) = XFEATURE_MASK_FPSSE;
	vcpu->xcr0 = XFEATURE_MASK_FP;
}

int vmm_fpu_create(struct vmm_vcpu *vcpu)
{
	/* a page: 64-byte aligned, and XCR0_GUEST fits (AVX-512 ends at 2688) */
	vcpu->fpu = (void *)get_zeroed_page(GFP_KERNEL_ACCOUNT);
	if (!vcpu->fpu)
		return -ENOMEM;
	vmm_fpu_reset(vcpu);
	vcpu->xcr0_shown = vcpu->xcr0_may = guest_mask | XFEATURE_MASK_FP;
	return 0;
}

void vmm_fpu_destroy(struct vmm_vcpu *vcpu)
{
	free_page((unsigned long)vcpu->fpu);
}

/*
 * A component of zeroes is in its initial state (SDM 1 13.6; x87 and SSE are not told
 * by that). Some CPUs call all in use that XCR0 has, also what the guest was never
 * given, and what another host may not have: it could not be told to that one.
 */
static void mark_initial(u8 *area)
{
	u64 *in_use = (u64 *)(area + LEGACY_SIZE);
	u32 eax, ebx, ecx, edx;
	int i;

	for (i = 2; i < 63; i++) {
		if (!(*in_use & BIT_ULL(i)))
			continue;
		cpuid_count(0xd, i, &eax, &ebx, &ecx, &edx);
		if (!memchr_inv(area + ebx, 0, eax))
			*in_use &= ~BIT_ULL(i);
	}
}

void vmm_fpu_get(struct vmm_vcpu *vcpu, struct vmm_xsave *x)
{
	x->xcr0 = vcpu->xcr0;
	x->size = have_xsave() ? vmm_fpu_size(vmm_fpu_mask()) : LEGACY_SIZE;
	x->pad = 0;
	memcpy(x->area, vcpu->fpu, x->size);
	if (have_xsave())
		mark_initial(x->area);
}

/* the bits MXCSR may have: FXSAVE tells, 0 means the oldest set (SDM 1 11.6.6) */
static u32 mxcsr_mask(void)
{
	static u8 area[LEGACY_SIZE] __aligned(16);
	u32 mask;

	kernel_fpu_begin();
	asm volatile("fxsave64 %0" : "=m"(area));
	kernel_fpu_end();
	mask = *(u32 *)(area + MXCSR_MASK_OFFSET);
	return mask ? mask : 0xffbf;
}

/*
 * XRSTOR faults on any of these, SDM 1 13.8.1: a fault would be the host's. The host
 * that this comes from may have fewer components, or none but FXSAVE's.
 */
static int area_check(const struct vmm_xsave *x)
{
	const u64 *header = (const u64 *)(x->area + LEGACY_SIZE);
	u32 mxcsr = *(const u32 *)(x->area + MXCSR_OFFSET);
	int i;

	if (x->size > VMM_XSAVE_SIZE || x->size < LEGACY_SIZE)
		return -EINVAL;
	if (mxcsr & ~mxcsr_mask())
		return -EINVAL;
	if (!have_xsave() || x->size == LEGACY_SIZE)
		return 0;
	if (x->size < LEGACY_SIZE + XSAVE_HEADER)
		return -EINVAL;
	if (header[0] & ~vmm_fpu_mask() || vmm_fpu_size(header[0]) > x->size)
		return -EINVAL;
	for (i = 1; i < XSAVE_HEADER / 8; i++)
		if (header[i])
			return -EINVAL;
	return 0;
}

int vmm_fpu_set(struct vmm_vcpu *vcpu, const struct vmm_xsave *x)
{
	u32 size = have_xsave() ? vmm_fpu_size(vmm_fpu_mask()) : LEGACY_SIZE;

	if (x->pad || area_check(x))
		return -EINVAL;
	if (have_xsave() ? vmm_fpu_xcr0_check(x->xcr0) : x->xcr0 != XFEATURE_MASK_FP)
		return -EINVAL;
	vcpu->xcr0 = x->xcr0;
	vcpu->xcr0_may = vcpu->xcr0_shown | x->xcr0;
	/* what does not come is in its initial state */
	memset(vcpu->fpu, 0, PAGE_SIZE);
	memcpy(vcpu->fpu, x->area, min(size, x->size));
	if (x->size == LEGACY_SIZE)
		*(u64 *)(vcpu->fpu + LEGACY_SIZE) = XFEATURE_MASK_FPSSE;
	return 0;
}
