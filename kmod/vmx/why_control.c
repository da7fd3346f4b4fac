// SPDX-License-Identifier: GPL-2.0
/*
 * Why an entry failed before it began: the checks of SDM 3C 27.2 once more, by
 * name. All but the event to inject is ours and not the guest's, so a name here is
 * that of a fault of the module; rules about controls that it never asks for
 * (SMM, posted interrupts, VM functions, shadow VMCSs) are left out.
 */
#include <linux/kernel.h>
#include <asm/msr.h>
#include <asm/processor-flags.h>

#include "vmx/why.h"

#define BASIC_ANY_ERROR_CODE	BIT_ULL(56)
#define MISC_CR3_TARGETS(misc)	((misc) >> 16 & 0x1ff)
#define EPTP_RESERVED		0xf80ULL
#define TYPE_RESERVED		(1 << 8)
#define ERROR_CODE_RESERVED	0xffff0000
#define AREA_ALIGN		16
#define APIC_PAGE_TPR		0x80
#define SELECTOR_RPL_TI		7
#define EFER_INTEL		(EFER_SCE | EFER_LME | EFER_LMA | EFER_NX)

static u64 read_msr(u32 msr)
{
	u64 value;

	rdmsrl(msr, value);
	return value;
}

/* A.2 to A.5: the low half are bits that must be 1, the high half that may be 1 */
static u32 control(struct vmx_look *l, u32 msr, unsigned long field, const char *name)
{
	u32 value = vmcs_read(field);
	u64 allowed = read_msr(msr);

	vmx_rule(l, (u32)allowed & ~value || value & ~(allowed >> 32), name, "");
	return value;
}

static void address(struct vmx_look *l, bool used, unsigned long field, u32 align,
		    const char *name)
{
	u64 pa = used ? vmcs_read(field) : 0;

	vmx_rule(l, pa & (align - 1) || vmx_beyond(pa), name, "");
}

/* 27.2.1.1, of the secondary controls and what they need of others */
static void look_at_secondary(struct vmx_look *l, u32 pin, u32 proc, u32 proc2)
{
	bool ept = proc2 & SECONDARY_EXEC_ENABLE_EPT, x2apic, vid;
	u64 caps = read_msr(MSR_IA32_VMX_EPT_VPID_CAP), eptp = vmcs_read(EPT_POINTER);
	u64 type = eptp & VMX_EPTP_MT_MASK;

	x2apic = proc2 & SECONDARY_EXEC_VIRTUALIZE_X2APIC_MODE;
	vid = proc2 & SECONDARY_EXEC_VIRTUAL_INTR_DELIVERY;
	vmx_rule(l, proc2 & SECONDARY_EXEC_ENABLE_VPID && !vmcs_read(VIRTUAL_PROCESSOR_ID),
		 "VPID", "");
	vmx_rule(l, ept && ((type == VMX_EPTP_MT_WB && !(caps & VMX_EPTP_WB_BIT)) ||
			    (type == VMX_EPTP_MT_UC && !(caps & VMX_EPTP_UC_BIT)) ||
			    (type != VMX_EPTP_MT_WB && type != VMX_EPTP_MT_UC) ||
			    (eptp & VMX_EPTP_PWL_MASK) != VMX_EPTP_PWL_4 ||
			    (eptp & VMX_EPTP_AD_ENABLE_BIT && !(caps & VMX_EPT_AD_BIT)) ||
			    eptp & EPTP_RESERVED || vmx_beyond(eptp)), "EPT pointer", "");
	vmx_rule(l, proc2 & SECONDARY_EXEC_UNRESTRICTED_GUEST && !ept, "unrestricted guest", "");
	vmx_rule(l, proc2 & SECONDARY_EXEC_ENABLE_PML && !ept, "PML", "");
	address(l, proc2 & SECONDARY_EXEC_ENABLE_PML, PML_ADDRESS, PAGE_SIZE, "PML address");
	address(l, proc2 & SECONDARY_EXEC_VIRTUALIZE_APIC_ACCESSES, APIC_ACCESS_ADDR,
		PAGE_SIZE, "APIC-access address");
	vmx_rule(l, x2apic && (proc2 & SECONDARY_EXEC_VIRTUALIZE_APIC_ACCESSES ||
			       !(proc & CPU_BASED_TPR_SHADOW)), "x2APIC virtualization", "");
	vmx_rule(l, proc2 & SECONDARY_EXEC_APIC_REGISTER_VIRT && !(proc & CPU_BASED_TPR_SHADOW),
		 "APIC-register virtualization", "");
	vmx_rule(l, vid && (!(proc & CPU_BASED_TPR_SHADOW) || !(pin & PIN_BASED_EXT_INTR_MASK)),
		 "virtual-interrupt delivery", "");
}

static void look_at_tpr(struct vmx_look *l, u32 proc2)
{
	u32 threshold = vmcs_read(TPR_THRESHOLD), tpr = l->vmx->apic_page[APIC_PAGE_TPR];

	address(l, true, VIRTUAL_APIC_PAGE_ADDR, PAGE_SIZE, "virtual-APIC address");
	vmx_rule(l, !(proc2 & SECONDARY_EXEC_VIRTUAL_INTR_DELIVERY) &&
		 (threshold >> 4 || (!(proc2 & SECONDARY_EXEC_VIRTUALIZE_APIC_ACCESSES) &&
				     threshold > tpr >> 4)), "TPR threshold", "");
}

/* 27.2.1.1; returns the pin-based controls */
static u32 look_at_execution(struct vmx_look *l)
{
	u32 pin = control(l, MSR_IA32_VMX_TRUE_PINBASED_CTLS, PIN_BASED_VM_EXEC_CONTROL,
			  "pin-based controls");
	u32 proc = control(l, MSR_IA32_VMX_TRUE_PROCBASED_CTLS, CPU_BASED_VM_EXEC_CONTROL,
			   "processor-based controls");
	u32 proc2 = 0;

	if (proc & CPU_BASED_ACTIVATE_SECONDARY_CONTROLS)
		proc2 = control(l, MSR_IA32_VMX_PROCBASED_CTLS2, SECONDARY_VM_EXEC_CONTROL,
				"secondary controls");
	vmx_rule(l, vmcs_read(CR3_TARGET_COUNT) > MISC_CR3_TARGETS(read_msr(MSR_IA32_VMX_MISC)),
		 "CR3-target count", "");
	address(l, proc & CPU_BASED_USE_IO_BITMAPS, IO_BITMAP_A, PAGE_SIZE, "I/O bitmap A");
	address(l, proc & CPU_BASED_USE_IO_BITMAPS, IO_BITMAP_B, PAGE_SIZE, "I/O bitmap B");
	address(l, proc & CPU_BASED_USE_MSR_BITMAPS, MSR_BITMAP, PAGE_SIZE, "MSR bitmap");
	vmx_rule(l, pin & PIN_BASED_VIRTUAL_NMIS && !(pin & PIN_BASED_NMI_EXITING),
		 "virtual NMIs", "");
	vmx_rule(l, proc & CPU_BASED_NMI_WINDOW_EXITING && !(pin & PIN_BASED_VIRTUAL_NMIS),
		 "NMI-window exiting", "");
	if (proc & CPU_BASED_TPR_SHADOW)
		look_at_tpr(l, proc2);
	look_at_secondary(l, pin, proc, proc2);
	return pin;
}

/* an area of MSRs, 27.2.1.2 and 27.2.1.3: each has 16 bytes */
static void area(struct vmx_look *l, unsigned long count_field, unsigned long field,
		 const char *name)
{
	u64 count = vmcs_read(count_field), pa = vmcs_read(field);

	vmx_rule(l, count && (pa & (AREA_ALIGN - 1) || vmx_beyond(pa) ||
			      vmx_beyond(pa + count * AREA_ALIGN - 1)), name, "");
}

static bool has_error_code(u32 vector)
{
	return vector == X86_TRAP_DF || vector == X86_TRAP_AC ||
	       (vector >= X86_TRAP_TS && vector <= X86_TRAP_PF);
}

/* 27.2.1.3: what is to be injected */
static void look_at_event(struct vmx_look *l)
{
	u32 type = l->inject & INTR_INFO_INTR_TYPE_MASK;
	u32 vector = l->inject & INTR_INFO_VECTOR_MASK;
	bool error = l->inject & INTR_INFO_DELIVER_CODE_MASK;
	bool exception = type == INTR_TYPE_HARD_EXCEPTION && l->cr0 & X86_CR0_PE;
	bool any = read_msr(MSR_IA32_VMX_BASIC) & BASIC_ANY_ERROR_CODE;

	if (!(l->inject & INTR_INFO_VALID_MASK))
		return;
	vmx_rule(l, type == TYPE_RESERVED || type == INTR_TYPE_OTHER_EVENT || l->inject & INTR_INFO_RESVD_BITS_MASK ||
		 (type == INTR_TYPE_NMI_INTR && vector != X86_TRAP_NMI) ||
		 (type == INTR_TYPE_HARD_EXCEPTION && vector > 31) ||
		 (error && !exception) ||
		 (exception && !any && error != has_error_code(vector)),
		 "VM-entry interruption information", "");
	vmx_rule(l, error && vmcs_read(VM_ENTRY_EXCEPTION_ERROR_CODE) & ERROR_CODE_RESERVED,
		 "VM-entry exception error code", "");
}

void vmx_look_at_controls(struct vmx_look *l)
{
	u32 pin = look_at_execution(l);
	u32 exit = control(l, MSR_IA32_VMX_TRUE_EXIT_CTLS, VM_EXIT_CONTROLS,
			   "VM-exit controls");

	vmx_rule(l, exit & VM_EXIT_SAVE_VMX_PREEMPTION_TIMER &&
		 !(pin & PIN_BASED_VMX_PREEMPTION_TIMER), "save preemption timer", "");
	area(l, VM_EXIT_MSR_STORE_COUNT, VM_EXIT_MSR_STORE_ADDR, "VM-exit MSR-store area");
	area(l, VM_EXIT_MSR_LOAD_COUNT, VM_EXIT_MSR_LOAD_ADDR, "VM-exit MSR-load area");
	control(l, MSR_IA32_VMX_TRUE_ENTRY_CTLS, VM_ENTRY_CONTROLS, "VM-entry controls");
	area(l, VM_ENTRY_MSR_LOAD_COUNT, VM_ENTRY_MSR_LOAD_ADDR, "VM-entry MSR-load area");
	look_at_event(l);
}

/* 27.2.3 */
static void look_at_host_segments(struct vmx_look *l)
{
	static const struct {
		unsigned long selector, base;
		const char *name;
	} seg[] = {
		{ HOST_ES_SELECTOR, 0, "ES" }, { HOST_CS_SELECTOR, 0, "CS" },
		{ HOST_SS_SELECTOR, 0, "SS" }, { HOST_DS_SELECTOR, 0, "DS" },
		{ HOST_FS_SELECTOR, HOST_FS_BASE, "FS" },
		{ HOST_GS_SELECTOR, HOST_GS_BASE, "GS" },
		{ HOST_TR_SELECTOR, HOST_TR_BASE, "TR" },
		{ 0, HOST_GDTR_BASE, "GDTR" }, { 0, HOST_IDTR_BASE, "IDTR" },
	};
	int i;

	for (i = 0; i < ARRAY_SIZE(seg); i++) {
		u16 selector = seg[i].selector ? vmcs_read(seg[i].selector) : 0;
		bool never_null = seg[i].selector == HOST_CS_SELECTOR ||
				  seg[i].selector == HOST_TR_SELECTOR;

		vmx_rule(l, selector & SELECTOR_RPL_TI || (never_null && !selector) ||
			 (seg[i].base && !vmx_canonical(vmcs_read(seg[i].base))),
			 "host ", seg[i].name);
	}
}

static bool fixed_broken(u64 value, u32 fixed0, u32 fixed1)
{
	u64 ones = read_msr(fixed0);

	return (value & ones) != ones || value & ~read_msr(fixed1);
}

/* 27.2.2 to 27.2.4; the host's is a 64-bit kernel */
void vmx_look_at_host(struct vmx_look *l)
{
	bool wide = vmcs_read(VM_EXIT_CONTROLS) & VM_EXIT_HOST_ADDR_SPACE_SIZE;
	u64 cr0 = vmcs_read(HOST_CR0), cr4 = vmcs_read(HOST_CR4);
	u64 efer = vmcs_read(HOST_IA32_EFER);

	vmx_rule(l, !wide, "host ", "address-space size");
	vmx_rule(l, fixed_broken(cr0, MSR_IA32_VMX_CR0_FIXED0, MSR_IA32_VMX_CR0_FIXED1),
		 "host ", "CR0");
	vmx_rule(l, fixed_broken(cr4, MSR_IA32_VMX_CR4_FIXED0, MSR_IA32_VMX_CR4_FIXED1) ||
		 !(cr4 & X86_CR4_PAE), "host ", "CR4");
	vmx_rule(l, vmx_beyond(vmcs_read(HOST_CR3)), "host ", "CR3");
	vmx_rule(l, !vmx_canonical(vmcs_read(HOST_IA32_SYSENTER_ESP)), "host ", "SYSENTER_ESP");
	vmx_rule(l, !vmx_canonical(vmcs_read(HOST_IA32_SYSENTER_EIP)), "host ", "SYSENTER_EIP");
	vmx_rule(l, efer & ~(u64)EFER_INTEL || !(efer & EFER_LMA) != !wide ||
		 !(efer & EFER_LME) != !wide, "host ", "EFER");
	look_at_host_segments(l);
	vmx_rule(l, !vmx_canonical(vmcs_read(HOST_RIP)), "host ", "RIP");
}
