// SPDX-License-Identifier: GPL-2.0
/*
 * CPUID: what we can give (the host's leaves through allow masks, and the
 * hypervisor's own), the table the monitor sets, and the instruction.
 */
#include <linux/slab.h>
#include <asm/fpu/types.h>
#include <asm/fpu/xcr.h>
#include <asm/kvm_para.h>
#include <asm/processor.h>
#include <asm/processor-flags.h>
#include <asm/tsc.h>

#include "vmm.h"

#define OUR_LEAF	0x40000100

/* leaf 1 ECX: SSE3 PCLMUL SSSE3 FMA CX16 PCID SSE4.1 SSE4.2 MOVBE POPCNT AES
 * XSAVE AVX F16C RDRAND */
#define L1_ECX		(BIT(0) | BIT(1) | BIT(9) | BIT(12) | BIT(13) | BIT(17) | \
			 BIT(19) | BIT(20) | BIT(22) | BIT(23) | BIT(25) | BIT(26) | \
			 BIT(28) | BIT(29) | BIT(30))
/* ours whatever the host has: x2APIC, TSC-deadline, hypervisor present */
#define L1_ECX_OURS	(BIT(21) | BIT(24) | BIT(31))
#define L1_ECX_XSAVE	BIT(26)
#define L1_ECX_OSXSAVE	BIT(27)
/* all but DS, ACPI, SS, TM, IA-64, PBE, PSN and HTT (the monitor's) */
#define L1_EDX		0x078bfbffU
/* leaf 7: FSGSBASE BMI1 AVX2 SMEP BMI2 ERMS INVPCID AVX512F/DQ RDSEED ADX SMAP
 * IFMA CLFLUSHOPT CLWB CD SHA BW VL */
#define L7_EBX		(BIT(0) | BIT(3) | BIT(5) | BIT(7) | BIT(8) | BIT(9) | BIT(10) | \
			 BIT(16) | BIT(17) | BIT(18) | BIT(19) | BIT(20) | BIT(21) | \
			 BIT(23) | BIT(24) | BIT(28) | BIT(29) | BIT(30) | BIT(31))
/* VBMI UMIP VBMI2 GFNI VAES VPCLMUL VNNI BITALG VPOPCNTDQ LA57 */
#define L7_ECX		(BIT(1) | BIT(2) | BIT(6) | BIT(8) | BIT(9) | BIT(10) | BIT(11) | \
			 BIT(12) | BIT(14) | BIT(16))
#define L7_EBX_INVPCID	((u32)BIT(10))
#define L7_EDX		BIT(4)		/* FSRM */
#define LD1_EAX		(BIT(0) | BIT(1) | BIT(2))	/* XSAVEOPT XSAVEC XGETBV1 */
#define LD1_EAX_XSAVES	BIT(3)		/* with IA32_XSS always 0, see msr.c */
/* LAHF CR8 ABM SSE4A MISALIGN PREFETCHW XOP FMA4 TBM */
#define LE1_ECX		(BIT(0) | BIT(4) | BIT(5) | BIT(6) | BIT(7) | BIT(8) | BIT(11) | \
			 BIT(16) | BIT(21))
/* as leaf 1, and SYSCALL NX MMXEXT 1GB RDTSCP LM 3DNOW(EXT) */
#define LE1_EDX		((L1_EDX & 0x0183f3ffU) | BIT(11) | BIT(20) | BIT(22) | BIT(26) | \
			 BIT(27) | BIT(29) | BIT(30) | BIT(31))
#define LE1_EDX_RDTSCP	((u32)BIT(27))
#define LE7_EDX		BIT(8)		/* invariant TSC */

struct table {
	struct vmm_cpuid_entry *e;
	u32 count, max;
};

static struct vmm_cpuid_entry *add(struct table *t, u32 fn, u32 index, u32 flags)
{
	struct vmm_cpuid_entry *e;

	if (t->count++ >= t->max)
		return NULL;
	e = &t->e[t->count - 1];
	*e = (struct vmm_cpuid_entry){ .function = fn, .index = index, .flags = flags };
	cpuid_count(fn, index, &e->eax, &e->ebx, &e->ecx, &e->edx);
	return e;
}

static void put_string(struct vmm_cpuid_entry *e, const char *s)
{
	memcpy(&e->ebx, s, 4);
	memcpy(&e->ecx, s + 4, 4);
	memcpy(&e->edx, s + 8, 4);
}

static void basic_leaves(struct table *t)
{
	struct vmm_cpuid_entry *e;

	e = add(t, 0, 0, 0);
	if (e)
		e->eax = min_t(u32, e->eax, 0xd);
	e = add(t, 1, 0, 0);
	if (e) {
		/* CLFLUSH size stays; APIC ID and CPU count are the monitor's */
		e->ebx &= 0xff00;
		e->ecx = (e->ecx & L1_ECX) | L1_ECX_OURS;
		e->edx &= L1_EDX;
		if (!vmm_fpu_mask())
			e->ecx &= ~(u32)(BIT(26) | BIT(12) | BIT(28) | BIT(29));
	}
	if (boot_cpu_data.cpuid_level >= 2)
		add(t, 2, 0, 0);
	if (boot_cpu_data.cpuid_level < 7)
		return;
	e = add(t, 7, 0, VMM_CPUID_INDEXED);
	if (e) {
		e->eax = 0;
		e->ebx &= L7_EBX;
		if (!(vmm_ops->features() & VMM_FEAT_INVPCID))
			e->ebx &= ~L7_EBX_INVPCID;
		e->ecx &= L7_ECX;
		e->edx &= L7_EDX;
		if (!(vmm_fpu_mask() & BIT(2)))
			e->ebx &= ~(u32)BIT(5);
		if (!(vmm_fpu_mask() & BIT(7)))
			e->ebx &= 0x3fffffff & ~(u32)(BIT(16) | BIT(17) | BIT(21) | BIT(28));
	}
}

static void xsave_leaves(struct table *t)
{
	u64 mask = vmm_fpu_mask();
	struct vmm_cpuid_entry *e;
	int i;

	if (!mask)
		return;
	e = add(t, 0xd, 0, VMM_CPUID_INDEXED);
	if (e) {
		e->eax = mask;
		e->ebx = e->ecx = vmm_fpu_size(mask);
		e->edx = mask >> 32;
	}
	e = add(t, 0xd, 1, VMM_CPUID_INDEXED);
	if (e) {
		e->eax &= LD1_EAX | (vmm_ops->features() & VMM_FEAT_XSAVES ?
				     LD1_EAX_XSAVES : 0);
		e->ebx = e->ecx = e->edx = 0;
	}
	for (i = 2; i < 63; i++)
		if (mask & BIT_ULL(i))
			add(t, 0xd, i, VMM_CPUID_INDEXED);
}

/* KVM's documented ABI (x86/cpuid.rst), then our own leaf */
static void hypervisor_leaves(struct table *t)
{
	struct vmm_cpuid_entry *e;

	e = add(t, KVM_CPUID_SIGNATURE, 0, 0);
	if (e) {
		e->eax = KVM_CPUID_FEATURES;
		put_string(e, "KVMKVMKVM\0\0\0");
	}
	e = add(t, KVM_CPUID_FEATURES, 0, 0);
	if (e) {
		e->eax = vmm_pv_features();
		e->ebx = e->ecx = e->edx = 0;
	}
	e = add(t, OUR_LEAF, 0, 0);
	if (e) {
		e->eax = OUR_LEAF;
		put_string(e, "vmm vmm vmm ");
	}
}

static void extended_leaves(struct table *t)
{
	u32 max = min_t(u32, cpuid_eax(0x80000000), 0x80000008), fn;
	struct vmm_cpuid_entry *e;

	e = add(t, 0x80000000, 0, 0);
	if (e)
		e->eax = max;
	for (fn = 0x80000001; fn <= max; fn++) {
		e = add(t, fn, 0, 0);
		if (!e)
			continue;
		switch (fn) {
		case 0x80000001:
			e->ecx &= LE1_ECX;
			e->edx &= LE1_EDX;
			if (!(vmm_ops->features() & VMM_FEAT_RDTSCP))
				e->edx &= ~LE1_EDX_RDTSCP;
			break;
		case 0x80000007:
			e->eax = e->ebx = e->ecx = 0;
			e->edx &= LE7_EDX;
			break;
		case 0x80000008:
			e->eax = (e->eax & 0xff00) | vmm_npt_gpa_bits();
			e->ebx = e->ecx = e->edx = 0;
			break;
		}
	}
}

int vmm_cpuid_supported(struct vmm_cpuid_entry *e, u32 max)
{
	struct table t = { .e = e, .max = max };

	basic_leaves(&t);
	xsave_leaves(&t);
	hypervisor_leaves(&t);
	extended_leaves(&t);
	return t.count > max ? -E2BIG : t.count;
}

static const struct vmm_cpuid_entry *find(const struct vmm_cpuid_entry *e, u32 n,
					  u32 fn, u32 index)
{
	for (; n; n--, e++)
		if (e->function == fn &&
		    (!(e->flags & VMM_CPUID_INDEXED) || e->index == index))
			return e;
	return NULL;
}

const struct vmm_cpuid_entry *vmm_cpuid_find(struct vmm_vcpu *vcpu, u32 fn, u32 index)
{
	return find(vcpu->cpuid, vcpu->ncpuid, fn, index);
}

/* what the guest may set without being shown: nothing (SDM 3A 2.5, SDM 1 13.3) */
static void show_registers(struct vmm_vcpu *vcpu)
{
	static const struct vmm_cpuid_entry none;
	const struct vmm_cpuid_entry *l1 = vmm_cpuid_find(vcpu, 1, 0) ?: &none;
	const struct vmm_cpuid_entry *l7 = vmm_cpuid_find(vcpu, 7, 0) ?: &none;
	const struct vmm_cpuid_entry *ld = vmm_cpuid_find(vcpu, 0xd, 0) ?: &none;
	struct vmm_sregs s;

	vcpu->cr4_shown = vmm_cr4_allowed() & vmm_cr4_shown(l1->ecx, l7->ebx, l7->ecx);
	vcpu->xcr0_shown = XFEATURE_MASK_FP;
	if (l1->ecx & L1_ECX_XSAVE)
		vcpu->xcr0_shown |= vmm_fpu_mask() & (ld->eax | (u64)ld->edx << 32);
	vcpu->xcr0_may = vcpu->xcr0_shown | vcpu->xcr0;
	/* and what it has set is its own */
	vmm_sregs_get(vcpu, &s);
	if (vcpu->cr4_may != (vcpu->cr4_shown | s.cr4))
		vmm_sregs_set(vcpu, &s);
}

int vmm_cpuid_set(struct vmm_vcpu *vcpu, struct vmm_cpuid_entry *e, u32 count)
{
	const struct vmm_cpuid_entry *ext, *kvm;
	u32 i;

	for (i = 0; i < count; i++)
		if (e[i].pad || e[i].flags & ~VMM_CPUID_INDEXED)
			return -EINVAL;
	kfree(vcpu->cpuid);
	vcpu->cpuid = e;
	vcpu->ncpuid = count;
	ext = find(e, count, 0x80000001, 0);
	vcpu->has_rdtscp = boot_cpu_has(X86_FEATURE_RDTSCP) && ext &&
			   ext->edx & LE1_EDX_RDTSCP;
	kvm = find(e, count, KVM_CPUID_FEATURES, 0);
	vmm_pv_cpuid(vcpu, kvm ? kvm->eax & vmm_pv_features() : 0);
	show_registers(vcpu);
	return 0;
}

static u64 current_xcr0(struct vmm_vcpu *vcpu)
{
	/* the guest may have set it without an exit, see fpu.c */
	return vcpu->loaded && vmm_fpu_mask() ?
	       xgetbv(XCR_XFEATURE_ENABLED_MASK) & vcpu->xcr0_may : vcpu->xcr0;
}

/* beyond the last leaf: nothing (APM 3), or the last basic one's values (SDM 2A) */
static const struct vmm_cpuid_entry *lookup(struct vmm_vcpu *vcpu, u32 fn, u32 index)
{
	const struct vmm_cpuid_entry *e = vmm_cpuid_find(vcpu, fn, index), *base;

	if (e)
		return e;
	base = vmm_cpuid_find(vcpu, fn & 0xf0000000, 0);
	if (base && fn <= base->eax)
		return NULL;	/* inside: an empty leaf */
	if (!vmm_ops->cpuid_repeats)
		return NULL;
	base = vmm_cpuid_find(vcpu, 0, 0);
	return base ? vmm_cpuid_find(vcpu, base->eax, index) : NULL;
}

void vmm_cpuid_exec(struct vmm_vcpu *vcpu)
{
	u32 fn = vcpu->gpr[VMM_RAX], index = vcpu->gpr[VMM_RCX];
	const struct vmm_cpuid_entry *e = lookup(vcpu, fn, index);
	u32 a = 0, b = 0, c = 0, d = 0;

	if (e) {
		fn = e->function;	/* another than asked for if that is beyond the last */
		index = e->index;
		a = e->eax;
		b = e->ebx;
		c = e->ecx;
		d = e->edx;
		/* the bits that follow the guest's own settings */
		if (fn == 1) {
			c &= ~(u32)L1_ECX_OSXSAVE;
			if (vmm_op(get_cr)(vcpu, 4) & X86_CR4_OSXSAVE)
				c |= L1_ECX_OSXSAVE;
			if (!(vcpu->apic.base & MSR_IA32_APICBASE_ENABLE))
				d &= ~(u32)BIT(9);
		} else if (fn == 0xd && index == 0) {
			b = vmm_fpu_size(current_xcr0(vcpu));
		} else if (fn == 0xd && index == 1 && a & (BIT(1) | LD1_EAX_XSAVES)) {
			b = vmm_fpu_compact_size(current_xcr0(vcpu));
		}
	}
	vcpu->gpr[VMM_RAX] = a;
	vcpu->gpr[VMM_RBX] = b;
	vcpu->gpr[VMM_RCX] = c;
	vcpu->gpr[VMM_RDX] = d;
}
