// SPDX-License-Identifier: GPL-2.0
/*
 * MSRs: what is not listed here does not exist for the guest (#GP). Those that
 * hardware switches are the vendor's, those of the APIC are lapic.c's.
 */
#include <linux/percpu.h>
#include <asm/cpufeature.h>
#include <asm/kvm_para.h>
#include <asm/msr.h>

#include "vmm.h"

#define MTRR_VCNT	8
#define MTRR_CAP	(MTRR_VCNT | 1U << 8 | 1U << 10)	/* fixed, WC */

/* carried by VMM_STATE_MSRS, in this order */
static const u32 saved_msrs[] = {
	/* the TSC first: what is written after it may mean guest time */
	MSR_IA32_TSC,
	MSR_STAR, MSR_LSTAR, MSR_CSTAR, MSR_SYSCALL_MASK, MSR_KERNEL_GS_BASE,
	MSR_IA32_SYSENTER_CS, MSR_IA32_SYSENTER_ESP, MSR_IA32_SYSENTER_EIP,
	MSR_IA32_CR_PAT, MSR_IA32_MISC_ENABLE, MSR_TSC_AUX,
	MSR_MTRRdefType,
	MSR_MTRRfix64K_00000, MSR_MTRRfix16K_80000, MSR_MTRRfix16K_A0000,
	MSR_MTRRfix4K_C0000, MSR_MTRRfix4K_C8000, MSR_MTRRfix4K_D0000,
	MSR_MTRRfix4K_D8000, MSR_MTRRfix4K_E0000, MSR_MTRRfix4K_E8000,
	MSR_MTRRfix4K_F0000, MSR_MTRRfix4K_F8000,
	0x200, 0x201, 0x202, 0x203, 0x204, 0x205, 0x206, 0x207,
	0x208, 0x209, 0x20a, 0x20b, 0x20c, 0x20d, 0x20e, 0x20f,
	MSR_KVM_WALL_CLOCK_NEW, MSR_KVM_SYSTEM_TIME_NEW,
	MSR_KVM_STEAL_TIME, MSR_KVM_PV_EOI_EN, MSR_KVM_POLL_CONTROL,
};

static_assert(ARRAY_SIZE(saved_msrs) <= VMM_MAX_MSRS);

/* the kernel writes it when a CPU starts, and never again */
static DEFINE_PER_CPU(u64, host_tsc_aux);

/* as wide as the CPU's are: a guest may use five levels where this kernel does not */
static bool canonical(u64 va)
{
	int bits = boot_cpu_data.x86_virt_bits;

	return (s64)(va << (64 - bits)) >> (64 - bits) == (s64)va;
}

static u64 *mtrr_slot(struct vmm_vcpu *vcpu, u32 index)
{
	switch (index) {
	case 0x200 ... 0x20f:
		return &vcpu->mtrr_var[index - 0x200];
	case MSR_MTRRfix64K_00000:
		return &vcpu->mtrr_fixed[0];
	case MSR_MTRRfix16K_80000 ... MSR_MTRRfix16K_A0000:
		return &vcpu->mtrr_fixed[1 + index - MSR_MTRRfix16K_80000];
	case MSR_MTRRfix4K_C0000 ... MSR_MTRRfix4K_F8000:
		return &vcpu->mtrr_fixed[3 + index - MSR_MTRRfix4K_C0000];
	case MSR_MTRRdefType:
		return &vcpu->mtrr_def;
	}
	return NULL;
}

static bool memory_type_ok(u8 type)
{
	return type < 7 && type != 2 && type != 3;	/* SDM 3A table 12-2 */
}

/* they are kept and shown; with nested paging they rule nothing here */
static int mtrr_check(u32 index, u64 value)
{
	int i;

	if (index == MSR_MTRRdefType)
		return value & ~0xcffULL || !memory_type_ok(value) ? -EPERM : 0;
	if (index >= 0x200 && index <= 0x20f) {
		u64 beyond = ~0ULL << vmm_npt_gpa_bits();

		if (index & 1)
			return value & (beyond | 0x7ff) ? -EPERM : 0;
		return value & (beyond | 0xf00) || !memory_type_ok(value) ? -EPERM : 0;
	}
	for (i = 0; i < 8; i++)
		if (!memory_type_ok(value >> i * 8))
			return -EPERM;
	return 0;
}

static int pat_check(u64 value)
{
	int i;

	for (i = 0; i < 8; i++) {
		u8 t = value >> i * 8;

		if (t > 7 || t == 2 || t == 3)
			return -EPERM;
	}
	return 0;
}

static u64 efer_valid(void)
{
	return EFER_SCE | EFER_LME | EFER_LMA | EFER_NX;
}

static int set_efer(struct vmm_vcpu *vcpu, u64 value)
{
	u64 old = vmm_op(get_efer)(vcpu);
	struct vmm_sregs s;

	if (value & ~efer_valid())
		return -EPERM;
	/* LME is locked while paging is on, LMA is the CPU's (APM 2 3.1.7) */
	if ((value ^ old) & EFER_LME && vmm_op(get_cr)(vcpu, 0) & X86_CR0_PG)
		return -EPERM;
	vmm_op(get_sregs)(vcpu, &s);
	s.efer = (value & ~(u64)EFER_LMA) | (old & EFER_LMA);
	vmm_ops->set_sregs(vcpu, &s);
	return 0;
}

/* addresses must be canonical; SYSENTER_CS, STAR and SFMASK are plain numbers */
static bool holds_address(u32 index)
{
	switch (index) {
	case MSR_LSTAR:
	case MSR_CSTAR:
	case MSR_FS_BASE:
	case MSR_GS_BASE:
	case MSR_KERNEL_GS_BASE:
	case MSR_IA32_SYSENTER_ESP:
	case MSR_IA32_SYSENTER_EIP:
		return true;
	}
	return false;
}

static int set_vendor_msr(struct vmm_vcpu *vcpu, u32 index, u64 value)
{
	if (holds_address(index) && !canonical(value))
		return -EPERM;
	if (index == MSR_IA32_CR_PAT && pat_check(value))
		return -EPERM;
	return vmm_ops->set_msr(vcpu, index, value) ? -EPERM : 0;
}

static int set_clock_msr(struct vmm_vcpu *vcpu, u32 index, u64 value)
{
	if (!vmm_pv_has(vcpu, KVM_FEATURE_CLOCKSOURCE2))
		return -EPERM;
	if (index == MSR_KVM_WALL_CLOCK || index == MSR_KVM_WALL_CLOCK_NEW) {
		if (value & 3)
			return -EPERM;
		vcpu->kvm_wall_clock = value;
		if (value)
			vmm_request(vcpu, REQ_WALL);
		return 0;
	}
	if (value & 2)
		return -EPERM;
	vcpu->kvm_system_time = value;
	vmm_request(vcpu, REQ_CLOCK);
	return 0;
}

static bool is_apic_msr(u32 index)
{
	return index == MSR_IA32_APICBASE || index == MSR_IA32_TSC_DEADLINE ||
	       (index >= 0x800 && index <= 0x8ff);
}

int vmm_msr_read(struct vmm_vcpu *vcpu, u32 index, u64 *value)
{
	const u64 *slot = mtrr_slot(vcpu, index);

	if (slot) {
		*value = *slot;
		return 0;
	}
	if (is_apic_msr(index))
		return vmm_lapic_msr_read(vcpu, index, value);
	switch (index) {
	case MSR_IA32_TSC:
		*value = vmm_guest_tsc(vcpu);
		return 0;
	case MSR_EFER:
		*value = vmm_op(get_efer)(vcpu);
		return 0;
	case MSR_TSC_AUX:
		*value = vcpu->loaded && vcpu->has_rdtscp ? __rdmsr(MSR_TSC_AUX) :
			 vcpu->tsc_aux;
		return vcpu->has_rdtscp ? 0 : -EPERM;
	case MSR_IA32_MISC_ENABLE:
		*value = vcpu->misc_enable;
		return 0;
	case MSR_MTRRcap:
		*value = MTRR_CAP;
		return 0;
	case MSR_IA32_UCODE_REV:
		/* no update is wanted: AMD's form of "new enough" */
		*value = 0x01000065;
		return 0;
	case MSR_KVM_SYSTEM_TIME:
	case MSR_KVM_SYSTEM_TIME_NEW:
		*value = vcpu->kvm_system_time;
		return vmm_pv_has(vcpu, KVM_FEATURE_CLOCKSOURCE2) ? 0 : -EPERM;
	case MSR_KVM_WALL_CLOCK:
	case MSR_KVM_WALL_CLOCK_NEW:
		*value = vcpu->kvm_wall_clock;
		return vmm_pv_has(vcpu, KVM_FEATURE_CLOCKSOURCE2) ? 0 : -EPERM;
	case MSR_KVM_STEAL_TIME:
	case MSR_KVM_PV_EOI_EN:
	case MSR_KVM_POLL_CONTROL:
		return vmm_pv_msr_read(vcpu, index, value);
	/* there, with nothing in them: systems read these without asking */
	case MSR_IA32_PLATFORM_ID:
	case MSR_IA32_MCG_CAP:
	case MSR_IA32_MCG_STATUS:
	case MSR_IA32_DEBUGCTLMSR:
	case MSR_IA32_XSS:
	case MSR_K7_HWCR:
	case MSR_AMD64_SYSCFG:
	case MSR_AMD64_NB_CFG:
	case MSR_FAM10H_MMIO_CONF_BASE:
	case MSR_K8_INT_PENDING_MSG:
	case MSR_AMD64_DC_CFG:
	case MSR_AMD64_PATCH_LOADER:
		*value = 0;
		return 0;
	}
	return vmm_ops->get_msr(vcpu, index, value) ? -EPERM : 0;
}

int vmm_msr_write(struct vmm_vcpu *vcpu, u32 index, u64 value, u8 *eoi)
{
	u64 *slot = mtrr_slot(vcpu, index);

	if (slot) {
		if (mtrr_check(index, value))
			return -EPERM;
		*slot = value;
		return 0;
	}
	if (is_apic_msr(index))
		return vmm_lapic_msr_write(vcpu, index, value, eoi);
	switch (index) {
	case MSR_IA32_TSC:
		vcpu->tsc_offset = value - vmm_host_tsc();
		vmm_lapic_tsc_moved(vcpu);
		vmm_request(vcpu, REQ_CLOCK);
		return 0;
	case MSR_EFER:
		return set_efer(vcpu, value);
	case MSR_TSC_AUX:
		if (!vcpu->has_rdtscp || value >> 32)
			return -EPERM;
		vcpu->tsc_aux = value;
		if (vcpu->loaded)
			wrmsrl(MSR_TSC_AUX, value);
		return 0;
	case MSR_IA32_MISC_ENABLE:
		vcpu->misc_enable = value;
		return 0;
	case MSR_KVM_SYSTEM_TIME:
	case MSR_KVM_SYSTEM_TIME_NEW:
	case MSR_KVM_WALL_CLOCK:
	case MSR_KVM_WALL_CLOCK_NEW:
		return set_clock_msr(vcpu, index, value);
	case MSR_KVM_STEAL_TIME:
	case MSR_KVM_PV_EOI_EN:
	case MSR_KVM_POLL_CONTROL:
		return vmm_pv_msr_write(vcpu, index, value);
	case MSR_IA32_UCODE_REV:
	case MSR_AMD64_PATCH_LOADER:
		return 0;	/* an update that changes nothing */
	case MSR_IA32_MCG_STATUS:
	case MSR_IA32_DEBUGCTLMSR:
	case MSR_IA32_XSS:
	case MSR_K7_HWCR:
		return value ? -EPERM : 0;
	}
	return set_vendor_msr(vcpu, index, value);
}

/*
 * TSC_AUX is read by RDTSCP without an exit, on some CPUs also by a guest whose
 * CPUID has none. The kernel's own use of it is in userspace only (the CPU number),
 * so it may be the guest's in the fast gear.
 */
void vmm_msr_load(struct vmm_vcpu *vcpu)
{
	if (boot_cpu_has(X86_FEATURE_RDTSCP) && vcpu->tsc_aux != this_cpu_read(host_tsc_aux))
		wrmsrl(MSR_TSC_AUX, vcpu->tsc_aux);
}

void vmm_msr_put(struct vmm_vcpu *vcpu)
{
	u64 host = this_cpu_read(host_tsc_aux);

	if (boot_cpu_has(X86_FEATURE_RDTSCP) && vcpu->tsc_aux != host)
		wrmsrl(MSR_TSC_AUX, host);
}

void vmm_msr_open_cpu(void)
{
	u64 value;

	if (!boot_cpu_has(X86_FEATURE_RDTSCP))
		return;
	rdmsrl(MSR_TSC_AUX, value);
	this_cpu_write(host_tsc_aux, value);
}

void vmm_msr_reset(struct vmm_vcpu *vcpu)
{
	static const u32 zeroed[] = {
		MSR_STAR, MSR_LSTAR, MSR_CSTAR, MSR_SYSCALL_MASK,
		MSR_KERNEL_GS_BASE, MSR_IA32_SYSENTER_CS,
		MSR_IA32_SYSENTER_ESP, MSR_IA32_SYSENTER_EIP,
	};
	int i;

	for (i = 0; i < ARRAY_SIZE(zeroed); i++)
		vmm_ops->set_msr(vcpu, zeroed[i], 0);
	vmm_ops->set_msr(vcpu, MSR_IA32_CR_PAT, 0x0007040600070406ULL);
	vcpu->misc_enable = MSR_IA32_MISC_ENABLE_FAST_STRING;
	vcpu->tsc_aux = 0;
	vcpu->mtrr_def = 0;
	memset(vcpu->mtrr_fixed, 0, sizeof(vcpu->mtrr_fixed));
	memset(vcpu->mtrr_var, 0, sizeof(vcpu->mtrr_var));
	vcpu->kvm_system_time = 0;
	vcpu->kvm_wall_clock = 0;
	vmm_pv_reset(vcpu);
}

void vmm_msrs_get(struct vmm_vcpu *vcpu, struct vmm_msrs *m)
{
	u32 i;

	m->count = 0;
	for (i = 0; i < ARRAY_SIZE(saved_msrs); i++) {
		u64 value;

		if (vmm_msr_read(vcpu, saved_msrs[i], &value))
			continue;
		m->msr[m->count++] = (struct vmm_msr){
			.index = saved_msrs[i], .value = value,
		};
	}
}

static bool is_saved(u32 index)
{
	u32 i;

	for (i = 0; i < ARRAY_SIZE(saved_msrs); i++)
		if (saved_msrs[i] == index)
			return true;
	return false;
}

int vmm_msrs_set(struct vmm_vcpu *vcpu, const struct vmm_msrs *m)
{
	u32 i;
	u8 eoi;

	if (m->count > VMM_MAX_MSRS || m->pad)
		return -EINVAL;
	for (i = 0; i < m->count; i++)
		if (m->msr[i].pad || !is_saved(m->msr[i].index))
			return -EINVAL;
	for (i = 0; i < m->count; i++)
		if (vmm_msr_write(vcpu, m->msr[i].index, m->msr[i].value, &eoi))
			return -EINVAL;
	return 0;
}
