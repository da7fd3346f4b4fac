// SPDX-License-Identifier: GPL-2.0
/*
 * kmod's names for why VT-x refused an entry: one rule of SDM 3C 27.2 or 27.3.1
 * broken gives the one field's name, a good state none.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <cmocka.h>

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wsign-compare"
/* the VMCS is an array: the header's instruction is not for here */
#define vmcs_read vmread
#include "../../kmod/vmx/vmx.h"
#undef vmcs_read
static u64 vmcs[VMCS_FIELDS];

static u64 vmcs_read(unsigned long field)
{
	assert_in_range(field, 0, VMCS_FIELDS - 1);
	return vmcs[field];
}

#include "../../kmod/vmx/why.c"
#include "../../kmod/vmx/why_control.c"
#pragma GCC diagnostic pop

#define FAILED_LATE	(BIT(31) | EXIT_REASON_INVALID_STATE)
#define FAILED_EARLY	BIT(31)

/* ---- a CPU ---------------------------------------------------------------------- */

#define CR4_ALLOWED	0x3727ffULL

struct cpuinfo_x86 boot_cpu_data;
static bool any_error_code;

/* allowed-0 and allowed-1 of Bochs's Haswell */
u64 kshim_rdmsr(u32 msr)
{
	switch (msr) {
	case MSR_IA32_VMX_BASIC:
		return 0x00d810000000002bULL | (any_error_code ? BIT_ULL(56) : 0);
	case MSR_IA32_VMX_MISC:
		return 4 << 16;
	case MSR_IA32_VMX_CR0_FIXED0:
		return 0x80000021;
	case MSR_IA32_VMX_CR0_FIXED1:
		return 0xffffffff;
	case MSR_IA32_VMX_CR4_FIXED0:
		return X86_CR4_VMXE;
	case MSR_IA32_VMX_CR4_FIXED1:
		return CR4_ALLOWED;
	case MSR_IA32_VMX_TRUE_PINBASED_CTLS:
		return 0x0000007f00000016ULL;
	case MSR_IA32_VMX_TRUE_PROCBASED_CTLS:
		return 0xf7f9fffe04006172ULL;
	case MSR_IA32_VMX_PROCBASED_CTLS2:
		return 0x00067fff00000000ULL;
	case MSR_IA32_VMX_TRUE_EXIT_CTLS:
		return 0x007fffff00036dfbULL;
	case MSR_IA32_VMX_TRUE_ENTRY_CTLS:
		return 0x0000ffff000011fbULL;
	case MSR_IA32_VMX_EPT_VPID_CAP:
		return VMX_EPTP_WB_BIT | BIT(6);
	}
	fail_msg("MSR %#x is none of VMX", msr);
	return 0;
}

/* ---- good states ---------------------------------------------------------------- */

enum base { LONG, PAE, V86, REAL, HOST };

#define SEL(n)		(GUEST_ES_SELECTOR + 2 * (n))
#define LIMIT(n)	(GUEST_ES_LIMIT + 2 * (n))
#define AR(n)		(GUEST_ES_AR_BYTES + 2 * (n))
#define BASE(n)		(GUEST_ES_BASE + 2 * (n))
#define PDPTE(n)	(GUEST_PDPTR0 + 2 * (n))

#define UNUSABLE	BIT(16)

static struct vmx_vcpu vmx;
static u8 apic_page[4096];
static struct vmm_vcpu vcpu = { .arch = &vmx };

static void segment_set(int n, u16 sel, u32 ar, u32 limit, u64 base)
{
	vmcs[SEL(n)] = sel;
	vmcs[AR(n)] = ar;
	vmcs[LIMIT(n)] = limit;
	vmcs[BASE(n)] = base;
}

static void segments_set(u32 code, u32 data, u32 limit)
{
	int n;

	for (n = VMM_ES; n <= VMM_GS; n++)
		segment_set(n, 0x1000, n == VMM_CS ? code : data, limit,
			    limit == 0xffff ? 0x10000 : 0);
	segment_set(VMM_LDTR, 0, UNUSABLE, 0, 0);
	segment_set(VMM_TR, 0x18, 0x8b, 0x67, 0xffff800000000000);
}

static void controls_set(void)
{
	vmcs[PIN_BASED_VM_EXEC_CONTROL] = 0x16 | PIN_BASED_EXT_INTR_MASK |
		PIN_BASED_NMI_EXITING | PIN_BASED_VIRTUAL_NMIS;
	vmcs[CPU_BASED_VM_EXEC_CONTROL] = 0x04006172 | CPU_BASED_TPR_SHADOW |
		CPU_BASED_USE_MSR_BITMAPS | CPU_BASED_ACTIVATE_SECONDARY_CONTROLS;
	vmcs[SECONDARY_VM_EXEC_CONTROL] = SECONDARY_EXEC_ENABLE_EPT |
		SECONDARY_EXEC_ENABLE_VPID | SECONDARY_EXEC_UNRESTRICTED_GUEST;
	vmcs[VIRTUAL_PROCESSOR_ID] = 1;
	vmcs[EPT_POINTER] = 0x1000 | VMX_EPTP_PWL_4 | VMX_EPTP_MT_WB;
	vmcs[MSR_BITMAP] = 0x2000;
	vmcs[VIRTUAL_APIC_PAGE_ADDR] = 0x3000;
	vmcs[VM_EXIT_CONTROLS] = 0x36dfb | VM_EXIT_HOST_ADDR_SPACE_SIZE;
	vmcs[VM_ENTRY_CONTROLS] = 0x11fb;
}

static void host_set(void)
{
	int field;

	for (field = HOST_ES_SELECTOR; field <= HOST_TR_SELECTOR; field += 2)
		vmcs[field] = 0x10;
	for (field = HOST_FS_BASE; field <= HOST_RIP; field += 2)
		vmcs[field] = 0xffffffff81000000;
	vmcs[HOST_CR0] = 0x80050033;
	vmcs[HOST_CR3] = 0x5000;
	vmcs[HOST_CR4] = X86_CR4_PAE | X86_CR4_VMXE;
	vmcs[HOST_IA32_EFER] = 0xd01;
}

static void good(enum base base)
{
	memset(vmcs, 0, sizeof(vmcs));
	memset(apic_page, 0, sizeof(apic_page));
	vmx = (struct vmx_vcpu){ .apic_page = apic_page, .exit_reason = FAILED_LATE };
	any_error_code = false;
	boot_cpu_data.x86_virt_bits = 48;
	boot_cpu_data.x86_phys_bits = 40;
	controls_set();
	host_set();
	vmcs[VM_INSTRUCTION_ERROR] = base == HOST ? 8 : 7;
	vmcs[VMCS_LINK_POINTER] = ~0ULL;
	vmcs[GUEST_RFLAGS] = 2;
	vmcs[GUEST_CR0] = base == REAL ? X86_CR0_NE : X86_CR0_PG | X86_CR0_NE | X86_CR0_PE;
	vmcs[GUEST_CR4] = X86_CR4_VMXE | (base == REAL ? 0 : X86_CR4_PAE);
	vmcs[PDPTE(0)] = vmcs[PDPTE(3)] = 0x1001;
	vmcs[PDPTE(1)] = ~1ULL;		/* not present: anything */
	if (base == REAL || base == V86)
		segments_set(base == V86 ? 0xf3 : 0x9b, base == V86 ? 0xf3 : 0x93, 0xffff);
	else
		segments_set(base == LONG ? 0xa09b : 0xc09b, 0xc093, 0xffffffff);
	if (base == V86)
		vmcs[GUEST_RFLAGS] |= X86_EFLAGS_VM;
	if (base != LONG)
		return;
	vmcs[VM_ENTRY_CONTROLS] |= VM_ENTRY_IA32E_MODE;
	vmcs[GUEST_IA32_EFER] = 0xd01;
	vmcs[GUEST_RIP] = 0xffffffff81000000;
}

static const char *why(void)
{
	static char text[96];

	memset(text, 0xff, sizeof(text));
	vmx_why(&vcpu, text, sizeof(text));
	return text;
}

/* ---- 27.3.1 --------------------------------------------------------------------- */

struct row {
	const char *want;
	enum base base;
	u32 inject;
	struct {
		u16 field;
		u64 value;
	} set[3];
};

#define INJECT(type, vector)	(INTR_INFO_VALID_MASK | (type) | (vector))
#define NONCANONICAL		0x800000000000ULL
#define HIGH			(1ULL << 40)

static const struct row state_rows[] = {
	/* 27.3.1.1 */
	{ "CR0", LONG, 0, { { GUEST_CR0, 0x80000001 } } },
	{ "CR0", LONG, 0, { { GUEST_CR0, 0x180000021 } } },
	{ "CR0.PG", REAL, 0, { { GUEST_CR0, 0x80000020 } } },
	{ "CR0.PG", LONG, 0, { { GUEST_CR0, 0x21 } } },
	{ "CR4", LONG, 0, { { GUEST_CR4, X86_CR4_PAE } } },
	{ "CR4", LONG, 0, { { GUEST_CR4, 0x2020 | BIT(31) } } },
	{ "CR4.PAE", LONG, 0, { { GUEST_CR4, X86_CR4_VMXE } } },
	{ "CR4.PCIDE", PAE, 0, { { GUEST_CR4, 0x2020 | X86_CR4_PCIDE } } },
	{ "CR3", LONG, 0, { { GUEST_CR3, HIGH } } },
	{ "DEBUGCTL", LONG, 0, { { GUEST_IA32_DEBUGCTL, BIT(3) } } },
	{ "DEBUGCTL", LONG, 0, { { GUEST_IA32_DEBUGCTL, BIT(16) } } },
	{ "DR7", LONG, 0, { { GUEST_DR7, 1ULL << 32 } } },
	{ "SYSENTER_ESP", LONG, 0, { { GUEST_SYSENTER_ESP, NONCANONICAL } } },
	{ "SYSENTER_EIP", LONG, 0, { { GUEST_SYSENTER_EIP, NONCANONICAL } } },
	{ "EFER", LONG, 0, { { GUEST_IA32_EFER, 0xd01 | EFER_SVME } } },
	{ "EFER.LMA", REAL, 0, { { GUEST_IA32_EFER, EFER_LMA } } },
	{ "EFER.LME", LONG, 0, { { GUEST_IA32_EFER, EFER_LMA } } },
	{ "EFER.LME", PAE, 0, { { GUEST_IA32_EFER, EFER_LME } } },
	/* 27.3.1.2: selectors and bases */
	{ "TR.selector", LONG, 0, { { SEL(VMM_TR), 0x1c } } },
	{ "LDTR.selector", LONG, 0, { { SEL(VMM_LDTR), 4 }, { AR(VMM_LDTR), 0x82 } } },
	{ "ES.base", LONG, 0, { { BASE(VMM_ES), 1ULL << 32 } } },
	{ "CS.base", LONG, 0, { { BASE(VMM_CS), 1ULL << 32 } } },
	{ "SS.base", LONG, 0, { { BASE(VMM_SS), 1ULL << 32 } } },
	{ "DS.base", LONG, 0, { { BASE(VMM_DS), 1ULL << 32 } } },
	{ "FS.base", LONG, 0, { { BASE(VMM_FS), NONCANONICAL } } },
	{ "GS.base", LONG, 0, { { BASE(VMM_GS), NONCANONICAL }, { AR(VMM_GS), UNUSABLE } } },
	{ "TR.base", LONG, 0, { { BASE(VMM_TR), NONCANONICAL } } },
	{ "LDTR.base", LONG, 0, { { BASE(VMM_LDTR), NONCANONICAL }, { AR(VMM_LDTR), 0x82 } } },
	/* virtual-8086 */
	{ "CS.base", V86, 0, { { SEL(VMM_CS), 0x1001 } } },
	{ "ES.limit", V86, 0, { { LIMIT(VMM_ES), 0xfffff } } },
	{ "GS.attr", V86, 0, { { AR(VMM_GS), 0x93 } } },
	/* types */
	{ "CS.type", LONG, 0, { { AR(VMM_CS), 0xa09a } } },
	{ "CS.type", LONG, 0, { { AR(VMM_CS), 0xa097 } } },
	{ "SS.type", LONG, 0, { { AR(VMM_SS), 0xc092 } } },
	{ "SS.type", LONG, 0, { { AR(VMM_SS), 0xc09b } } },
	{ "DS.type", LONG, 0, { { AR(VMM_DS), 0xc092 } } },
	{ "ES.type", LONG, 0, { { AR(VMM_ES), 0xc099 } } },
	{ "TR.type", LONG, 0, { { AR(VMM_TR), 0x83 } } },
	{ "TR.type", PAE, 0, { { AR(VMM_TR), 0x89 } } },
	{ "LDTR.type", LONG, 0, { { AR(VMM_LDTR), 0x83 } } },
	/* S, P, reserved bits, granularity */
	{ "CS.S", LONG, 0, { { AR(VMM_CS), 0xa08b } } },
	{ "SS.S", LONG, 0, { { AR(VMM_SS), 0xc083 } } },
	{ "FS.S", LONG, 0, { { AR(VMM_FS), 0xc083 } } },
	{ "TR.S", LONG, 0, { { AR(VMM_TR), 0x9b } } },
	{ "LDTR.S", LONG, 0, { { AR(VMM_LDTR), 0x92 } } },
	{ "CS.P", LONG, 0, { { AR(VMM_CS), 0xa01b } } },
	{ "SS.P", LONG, 0, { { AR(VMM_SS), 0xc013 } } },
	{ "GS.P", LONG, 0, { { AR(VMM_GS), 0xc013 } } },
	{ "TR.P", LONG, 0, { { AR(VMM_TR), 0x0b } } },
	{ "LDTR.P", LONG, 0, { { AR(VMM_LDTR), 0x02 } } },
	{ "CS.attr", LONG, 0, { { AR(VMM_CS), 0xa19b } } },
	{ "ES.attr", LONG, 0, { { AR(VMM_ES), 0x2c093 } } },
	{ "TR.attr", LONG, 0, { { AR(VMM_TR), 0x28b } } },
	{ "LDTR.attr", LONG, 0, { { AR(VMM_LDTR), 0x882 } } },
	{ "CS.G", LONG, 0, { { LIMIT(VMM_CS), 0xfffff000 } } },
	{ "DS.G", LONG, 0, { { AR(VMM_DS), 0x4093 } } },
	{ "TR.G", LONG, 0, { { AR(VMM_TR), 0x808b } } },
	{ "LDTR.G", LONG, 0, { { AR(VMM_LDTR), 0x82 }, { LIMIT(VMM_LDTR), 0x100000 } } },
	{ "TR", LONG, 0, { { AR(VMM_TR), UNUSABLE | 0x8b } } },
	/* privilege levels and modes */
	{ "CS.DPL", LONG, 0, { { AR(VMM_CS), 0xa0fb } } },
	{ "CS.DPL", LONG, 0, { { AR(VMM_CS), 0xa0ff } } },
	{ "CS.DPL", PAE, 0, { { AR(VMM_CS), 0xc0b3 } } },
	{ "SS.DPL", PAE, 0, { { AR(VMM_CS), 0xc093 }, { AR(VMM_SS), 0xc0f3 } } },
	{ "SS.DPL", REAL, 0, { { AR(VMM_SS), 0xb3 }, { AR(VMM_CS), 0xbb } } },
	{ "CS.D", LONG, 0, { { AR(VMM_CS), 0xe09b } } },
	/* 27.3.1.3 */
	{ "GDTR.base", LONG, 0, { { GUEST_GDTR_BASE, NONCANONICAL } } },
	{ "IDTR.base", LONG, 0, { { GUEST_IDTR_BASE, NONCANONICAL } } },
	{ "GDTR.limit", LONG, 0, { { GUEST_GDTR_LIMIT, 0x10000 } } },
	{ "IDTR.limit", LONG, 0, { { GUEST_IDTR_LIMIT, 0x10000 } } },
	/* 27.3.1.4 */
	{ "RIP", LONG, 0, { { GUEST_RIP, 1ULL << 48 } } },
	{ "RIP", LONG, 0, { { AR(VMM_CS), 0xc09b } } },
	{ "RIP", PAE, 0, { { GUEST_RIP, 1ULL << 32 } } },
	{ "RFLAGS", LONG, 0, { { GUEST_RFLAGS, 0 } } },
	{ "RFLAGS", LONG, 0, { { GUEST_RFLAGS, 2 | BIT(3) } } },
	{ "RFLAGS", LONG, 0, { { GUEST_RFLAGS, 2 | BIT(5) } } },
	{ "RFLAGS", LONG, 0, { { GUEST_RFLAGS, 2 | BIT(15) } } },
	{ "RFLAGS", LONG, 0, { { GUEST_RFLAGS, 2 | BIT(22) } } },
	{ "RFLAGS.VM", V86, 0, { { GUEST_CR0, X86_CR0_NE } } },
	{ "RFLAGS.IF", LONG, INJECT(INTR_TYPE_EXT_INTR, 0x20), {} },
	/* 27.3.1.5 */
	{ "activity state", LONG, 0, { { GUEST_ACTIVITY_STATE, 1 } } },
	{ "interruptibility", LONG, 0, { { GUEST_INTERRUPTIBILITY_INFO, 0x20 } } },
	{ "interruptibility", LONG, 0, { { GUEST_INTERRUPTIBILITY_INFO, 0x10 } } },
	{ "interruptibility", LONG, 0, { { GUEST_INTERRUPTIBILITY_INFO, 4 } } },
	{ "interruptibility", LONG, 0, { { GUEST_INTERRUPTIBILITY_INFO, 1 } } },
	{ "interruptibility", LONG, 0,
	  { { GUEST_INTERRUPTIBILITY_INFO, 3 }, { GUEST_RFLAGS, 0x202 } } },
	{ "interruptibility", LONG, INJECT(INTR_TYPE_EXT_INTR, 0x20),
	  { { GUEST_INTERRUPTIBILITY_INFO, 1 }, { GUEST_RFLAGS, 0x202 } } },
	{ "interruptibility", LONG, INJECT(INTR_TYPE_EXT_INTR, 0x20),
	  { { GUEST_INTERRUPTIBILITY_INFO, 2 }, { GUEST_RFLAGS, 0x202 } } },
	{ "interruptibility", LONG, INJECT(INTR_TYPE_NMI_INTR, 2),
	  { { GUEST_INTERRUPTIBILITY_INFO, 2 } } },
	{ "interruptibility", LONG, INJECT(INTR_TYPE_NMI_INTR, 2),
	  { { GUEST_INTERRUPTIBILITY_INFO, 8 } } },
	{ "pending debug exceptions", LONG, 0, { { GUEST_PENDING_DBG_EXCEPTIONS, BIT(13) } } },
	{ "pending debug exceptions", LONG, 0,
	  { { GUEST_PENDING_DBG_EXCEPTIONS, BIT(14) }, { GUEST_INTERRUPTIBILITY_INFO, 2 } } },
	{ "pending debug exceptions", LONG, 0,
	  { { GUEST_RFLAGS, 0x102 }, { GUEST_INTERRUPTIBILITY_INFO, 2 } } },
	{ "pending debug exceptions", LONG, 0, { { GUEST_PENDING_DBG_EXCEPTIONS, BIT(16) } } },
	{ "pending debug exceptions", LONG, 0,
	  { { GUEST_PENDING_DBG_EXCEPTIONS, BIT(16) | BIT(12) | 1 } } },
	{ "pending debug exceptions", LONG, 0,
	  { { GUEST_PENDING_DBG_EXCEPTIONS, BIT(16) | BIT(12) },
	    { GUEST_INTERRUPTIBILITY_INFO, 2 } } },
	{ "VMCS link pointer", LONG, 0, { { VMCS_LINK_POINTER, 0x1000 } } },
	/* 27.3.1.6 */
	{ "PDPTE0", PAE, 0, { { PDPTE(0), 3 } } },
	{ "PDPTE1", PAE, 0, { { PDPTE(1), 0x21 } } },
	{ "PDPTE2", PAE, 0, { { PDPTE(2), HIGH | 1 } } },
	{ "PDPTE3", PAE, 0, { { PDPTE(3), 1ULL << 63 | 1 } } },
};

/* what breaks no rule, though it is near to that */
static const struct row good_rows[] = {
	{ "", LONG, 0, {} },
	{ "", PAE, 0, {} },
	{ "", V86, 0, {} },
	{ "", REAL, 0, {} },
	{ "", REAL, 0, { { GUEST_IA32_EFER, EFER_LME } } },
	/* any of these is held back from the guest, and not looked at */
	{ "", LONG, 0, { { GUEST_CR0, 0xe0000021 } } },
	{ "", LONG, 0, { { PDPTE(0), 3 } } },
	{ "", REAL, 0, { { PDPTE(0), 3 }, { GUEST_CR4, X86_CR4_VMXE | X86_CR4_PAE } } },
	{ "", PAE, 0, { { PDPTE(0), 3 }, { GUEST_CR4, X86_CR4_VMXE } } },
	{ "", LONG, 0, { { AR(VMM_ES), UNUSABLE | 0xc092 }, { BASE(VMM_ES), HIGH } } },
	{ "", LONG, 0, { { AR(VMM_SS), UNUSABLE }, { BASE(VMM_SS), HIGH } } },
	{ "", LONG, 0, { { BASE(VMM_LDTR), HIGH }, { SEL(VMM_LDTR), 4 } } },
	{ "", LONG, 0, { { AR(VMM_DS), 0xc095 } } },
	{ "", LONG, 0, { { AR(VMM_CS), 0xa09f } } },
	{ "", LONG, 0, { { AR(VMM_CS), 0xa0fb }, { AR(VMM_SS), 0xc0f3 } } },
	{ "", LONG, 0, { { AR(VMM_CS), 0xa0bf }, { AR(VMM_SS), 0xc0f3 } } },
	{ "", PAE, 0, { { AR(VMM_TR), 0x83 } } },
	{ "", PAE, 0, { { AR(VMM_CS), 0xc093 } } },
	{ "", LONG, 0, { { LIMIT(VMM_TR), 0xfffff } } },
	{ "", LONG, 0, { { GUEST_GDTR_LIMIT, 0xffff }, { GUEST_IDTR_LIMIT, 0xffff } } },
	/* bit 47 need not be as those above it */
	{ "", LONG, 0, { { GUEST_RIP, NONCANONICAL } } },
	{ "", LONG, INJECT(INTR_TYPE_EXT_INTR, 0x20), { { GUEST_RFLAGS, 0x202 } } },
	{ "", LONG, INJECT(INTR_TYPE_NMI_INTR, 2), {} },
	{ "", LONG, INJECT(INTR_TYPE_HARD_EXCEPTION, 6), { { GUEST_INTERRUPTIBILITY_INFO, 2 } } },
	{ "", LONG, INTR_TYPE_EXT_INTR, { { GUEST_INTERRUPTIBILITY_INFO, 2 } } },
	{ "", LONG, 0, { { GUEST_INTERRUPTIBILITY_INFO, 1 }, { GUEST_RFLAGS, 0x202 } } },
	{ "", LONG, 0, { { GUEST_PENDING_DBG_EXCEPTIONS, BIT(12) | 1 } } },
	{ "", LONG, 0, { { GUEST_PENDING_DBG_EXCEPTIONS, BIT(16) | BIT(12) } } },
	{ "", LONG, 0, { { GUEST_IA32_DEBUGCTL, 0xffc7 } } },
	{ "", LONG, 0, { { GUEST_PENDING_DBG_EXCEPTIONS, BIT(14) },
			 { GUEST_RFLAGS, 0x102 }, { GUEST_INTERRUPTIBILITY_INFO, 2 } } },
};

static void state_is(const struct row *r)
{
	unsigned int i;

	good(r->base);
	vmx.injected = r->inject;
	for (i = 0; i < ARRAY_SIZE(r->set); i++)
		if (r->set[i].field)
			vmcs[r->set[i].field] = r->set[i].value;
}

static void states_that_are_refused(void **unused)
{
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(state_rows); i++) {
		state_is(&state_rows[i]);
		if (strcmp(why(), state_rows[i].want))
			fail_msg("row %u: wanted %s, found %s", i, state_rows[i].want, why());
	}
}

static void states_that_are_not(void **unused)
{
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(good_rows); i++) {
		state_is(&good_rows[i]);
		vmx.exit_qualification = i;
		if (sscanf(why(), "guest state, qualification %u", &(unsigned int){ 0 }) != 1)
			fail_msg("good row %u: found %s", i, why());
	}
}

/* a CPU with 57-bit linear addresses takes them whatever CR4.LA57 is */
static void wide_addresses(void **unused)
{
	good(LONG);
	boot_cpu_data.x86_virt_bits = 57;
	vmcs[BASE(VMM_FS)] = NONCANONICAL;
	vmcs[GUEST_RIP] = 1ULL << 56;
	assert_string_equal(why(), "guest state, qualification 0");
	vmcs[BASE(VMM_FS)] = 1ULL << 56;
	vmcs[GUEST_RIP] = 1ULL << 57;
	assert_string_equal(why(), "FS.base RIP");
}

static void many_names(void **unused)
{
	char text[8];

	good(LONG);
	vmcs[GUEST_CR3] = HIGH;
	vmcs[AR(VMM_TR)] = 0x89;
	vmcs[GUEST_RFLAGS] = 0;
	assert_string_equal(why(), "CR3 TR.type RFLAGS");
	vmx_why(&vcpu, text, sizeof(text));
	assert_string_equal(text, "CR3 TR.");
}

/* ---- 27.2 ----------------------------------------------------------------------- */

/* what a row sets is toggled: bits of controls */
static const struct row control_rows[] = {
	/* 27.2.1.1 */
	{ "pin-based controls", LONG, 0, { { PIN_BASED_VM_EXEC_CONTROL, BIT(1) } } },
	{ "pin-based controls", LONG, 0, { { PIN_BASED_VM_EXEC_CONTROL, BIT(7) } } },
	{ "processor-based controls", LONG, 0, { { CPU_BASED_VM_EXEC_CONTROL, BIT(1) } } },
	{ "processor-based controls", LONG, 0, { { CPU_BASED_VM_EXEC_CONTROL, BIT(0) } } },
	{ "secondary controls", LONG, 0, { { SECONDARY_VM_EXEC_CONTROL, BIT(30) } } },
	{ "CR3-target count", LONG, 0, { { CR3_TARGET_COUNT, 5 } } },
	{ "I/O bitmap A", LONG, 0, { { CPU_BASED_VM_EXEC_CONTROL, BIT(25) }, { IO_BITMAP_A, 8 } } },
	{ "I/O bitmap B", LONG, 0,
	  { { CPU_BASED_VM_EXEC_CONTROL, BIT(25) }, { IO_BITMAP_B, HIGH } } },
	{ "MSR bitmap", LONG, 0, { { MSR_BITMAP, 0x800 } } },
	{ "MSR bitmap", LONG, 0, { { MSR_BITMAP, HIGH } } },
	{ "virtual-APIC address", LONG, 0, { { VIRTUAL_APIC_PAGE_ADDR, 1 } } },
	{ "TPR threshold", LONG, 0, { { TPR_THRESHOLD, 1 } } },
	{ "TPR threshold", LONG, 0, { { TPR_THRESHOLD, BIT(4) }, { SECONDARY_VM_EXEC_CONTROL, 1 } } },
	{ "virtual NMIs", LONG, 0, { { PIN_BASED_VM_EXEC_CONTROL, BIT(3) } } },
	{ "NMI-window exiting", LONG, 0,
	  { { PIN_BASED_VM_EXEC_CONTROL, BIT(5) }, { CPU_BASED_VM_EXEC_CONTROL, BIT(22) } } },
	{ "VPID", LONG, 0, { { VIRTUAL_PROCESSOR_ID, 1 } } },
	{ "EPT pointer", LONG, 0, { { EPT_POINTER, 6 } } },
	{ "EPT pointer", LONG, 0, { { EPT_POINTER, 3 } } },
	{ "EPT pointer", LONG, 0, { { EPT_POINTER, 0x20 } } },
	{ "EPT pointer", LONG, 0, { { EPT_POINTER, BIT(6) } } },
	{ "EPT pointer", LONG, 0, { { EPT_POINTER, BIT(7) } } },
	{ "EPT pointer", LONG, 0, { { EPT_POINTER, HIGH } } },
	{ "unrestricted guest", LONG, 0, { { SECONDARY_VM_EXEC_CONTROL, BIT(1) } } },
	{ "PML", LONG, 0, { { SECONDARY_VM_EXEC_CONTROL, BIT(1) | BIT(7) | BIT(17) } } },
	{ "PML address", LONG, 0,
	  { { SECONDARY_VM_EXEC_CONTROL, BIT(17) }, { PML_ADDRESS, 0x10 } } },
	{ "APIC-access address", LONG, 0,
	  { { SECONDARY_VM_EXEC_CONTROL, BIT(0) }, { APIC_ACCESS_ADDR, 0x10 } } },
	{ "x2APIC virtualization", LONG, 0, { { SECONDARY_VM_EXEC_CONTROL, BIT(0) | BIT(4) } } },
	{ "x2APIC virtualization", LONG, 0,
	  { { SECONDARY_VM_EXEC_CONTROL, BIT(4) }, { CPU_BASED_VM_EXEC_CONTROL, BIT(21) } } },
	{ "APIC-register virtualization", LONG, 0,
	  { { SECONDARY_VM_EXEC_CONTROL, BIT(8) }, { CPU_BASED_VM_EXEC_CONTROL, BIT(21) } } },
	{ "virtual-interrupt delivery", LONG, 0,
	  { { SECONDARY_VM_EXEC_CONTROL, BIT(9) }, { CPU_BASED_VM_EXEC_CONTROL, BIT(21) } } },
	{ "virtual-interrupt delivery", LONG, 0,
	  { { SECONDARY_VM_EXEC_CONTROL, BIT(9) }, { PIN_BASED_VM_EXEC_CONTROL, BIT(0) } } },
	/* 27.2.1.2, 27.2.1.3 */
	{ "VM-exit controls", LONG, 0, { { VM_EXIT_CONTROLS, BIT(0) } } },
	{ "VM-exit controls", LONG, 0, { { VM_EXIT_CONTROLS, BIT(23) } } },
	{ "save preemption timer", LONG, 0, { { VM_EXIT_CONTROLS, BIT(22) } } },
	{ "VM-exit MSR-store area", LONG, 0,
	  { { VM_EXIT_MSR_STORE_COUNT, 1 }, { VM_EXIT_MSR_STORE_ADDR, 8 } } },
	{ "VM-exit MSR-load area", LONG, 0,
	  { { VM_EXIT_MSR_LOAD_COUNT, 2 }, { VM_EXIT_MSR_LOAD_ADDR, HIGH - 16 } } },
	{ "VM-entry controls", LONG, 0, { { VM_ENTRY_CONTROLS, BIT(16) } } },
	{ "VM-entry MSR-load area", LONG, 0,
	  { { VM_ENTRY_MSR_LOAD_COUNT, 1 }, { VM_ENTRY_MSR_LOAD_ADDR, HIGH } } },
	{ "VM-entry interruption information", LONG, INJECT(1 << 8, 1), {} },
	{ "VM-entry interruption information", LONG, INJECT(7 << 8, 0), {} },
	{ "VM-entry interruption information", LONG, INJECT(BIT(12), 0x20), {} },
	{ "VM-entry interruption information", LONG, INJECT(INTR_TYPE_NMI_INTR, 3), {} },
	{ "VM-entry interruption information", LONG, INJECT(INTR_TYPE_HARD_EXCEPTION, 32), {} },
	{ "VM-entry interruption information", LONG, INJECT(INTR_TYPE_HARD_EXCEPTION, 13), {} },
	{ "VM-entry interruption information", LONG,
	  INJECT(INTR_TYPE_HARD_EXCEPTION | INTR_INFO_DELIVER_CODE_MASK, 6), {} },
	{ "VM-entry interruption information", LONG,
	  INJECT(INTR_TYPE_EXT_INTR | INTR_INFO_DELIVER_CODE_MASK, 0x20), {} },
	{ "VM-entry interruption information", REAL,
	  INJECT(INTR_TYPE_HARD_EXCEPTION | INTR_INFO_DELIVER_CODE_MASK, 13), {} },
	{ "VM-entry exception error code", LONG,
	  INJECT(INTR_TYPE_HARD_EXCEPTION | INTR_INFO_DELIVER_CODE_MASK, 13),
	  { { VM_ENTRY_EXCEPTION_ERROR_CODE, 0x10000 } } },
	/* 27.2.2 */
	{ "host address-space size", HOST, 0, { { VM_EXIT_CONTROLS, BIT(9) },
						{ HOST_IA32_EFER, 0x500 } } },
	{ "host CR0", HOST, 0, { { HOST_CR0, X86_CR0_PG } } },
	{ "host CR0", HOST, 0, { { HOST_CR0, 1ULL << 32 } } },
	{ "host CR4", HOST, 0, { { HOST_CR4, X86_CR4_VMXE } } },
	{ "host CR4", HOST, 0, { { HOST_CR4, X86_CR4_PAE } } },
	{ "host CR4", HOST, 0, { { HOST_CR4, BIT(31) } } },
	{ "host CR3", HOST, 0, { { HOST_CR3, HIGH } } },
	{ "host SYSENTER_ESP", HOST, 0, { { HOST_IA32_SYSENTER_ESP, NONCANONICAL } } },
	{ "host SYSENTER_EIP", HOST, 0, { { HOST_IA32_SYSENTER_EIP, NONCANONICAL } } },
	{ "host EFER", HOST, 0, { { HOST_IA32_EFER, EFER_SVME } } },
	{ "host EFER", HOST, 0, { { HOST_IA32_EFER, EFER_LMA } } },
	{ "host EFER", HOST, 0, { { HOST_IA32_EFER, EFER_LME } } },
	/* 27.2.3, 27.2.4 */
	{ "host CS", HOST, 0, { { HOST_CS_SELECTOR, 0x10 } } },
	{ "host TR", HOST, 0, { { HOST_TR_SELECTOR, 0x10 } } },
	{ "host SS", HOST, 0, { { HOST_SS_SELECTOR, 3 } } },
	{ "host DS", HOST, 0, { { HOST_DS_SELECTOR, 4 } } },
	{ "host ES", HOST, 0, { { HOST_ES_SELECTOR, 1 } } },
	{ "host FS", HOST, 0, { { HOST_FS_BASE, NONCANONICAL } } },
	{ "host GS", HOST, 0, { { HOST_GS_BASE, NONCANONICAL } } },
	{ "host TR", HOST, 0, { { HOST_TR_BASE, NONCANONICAL } } },
	{ "host GDTR", HOST, 0, { { HOST_GDTR_BASE, NONCANONICAL } } },
	{ "host IDTR", HOST, 0, { { HOST_IDTR_BASE, NONCANONICAL } } },
	{ "host RIP", HOST, 0, { { HOST_RIP, NONCANONICAL } } },
};

static void controls_are(const struct row *r)
{
	unsigned int i;

	good(r->base);
	vmx.exit_reason = FAILED_EARLY;
	vmx.injected = r->inject;
	for (i = 0; i < ARRAY_SIZE(r->set); i++)
		if (r->set[i].value)
			vmcs[r->set[i].field] ^= r->set[i].value;
}

static void controls_that_are_refused(void **unused)
{
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(control_rows); i++) {
		controls_are(&control_rows[i]);
		if (strcmp(why(), control_rows[i].want))
			fail_msg("row %u: wanted %s, found %s", i, control_rows[i].want, why());
	}
}

/* near to it, or of a control that is off */
static const struct row good_controls[] = {
	{ "", LONG, 0, {} },
	{ "", HOST, 0, {} },
	{ "", LONG, 0, { { IO_BITMAP_A, 8 }, { PML_ADDRESS, 8 }, { APIC_ACCESS_ADDR, 8 } } },
	{ "", LONG, 0, { { CR3_TARGET_COUNT, 4 }, { VM_ENTRY_MSR_LOAD_ADDR, 8 } } },
	{ "", LONG, 0, { { VM_EXIT_MSR_LOAD_COUNT, 1 }, { VM_EXIT_MSR_LOAD_ADDR, HIGH - 16 } } },
	{ "", LONG, 0, { { CPU_BASED_VM_EXEC_CONTROL, BIT(21) }, { TPR_THRESHOLD, 1 },
			 { VIRTUAL_APIC_PAGE_ADDR, 8 } } },
	{ "", LONG, 0, { { TPR_THRESHOLD, 1 }, { SECONDARY_VM_EXEC_CONTROL, BIT(0) } } },
	{ "", LONG, 0, { { SECONDARY_VM_EXEC_CONTROL, BIT(8) | BIT(9) } } },
	{ "", LONG, 0, { { CPU_BASED_VM_EXEC_CONTROL, BIT(22) } } },
	{ "", LONG, 0, { { CPU_BASED_VM_EXEC_CONTROL, BIT(31) }, { SECONDARY_VM_EXEC_CONTROL, BIT(30) } } },
	{ "", LONG, 0, { { PIN_BASED_VM_EXEC_CONTROL, BIT(6) }, { VM_EXIT_CONTROLS, BIT(22) } } },
	{ "", LONG, INTR_TYPE_NMI_INTR, {} },
	{ "", LONG, INJECT(INTR_TYPE_NMI_INTR, 2), {} },
	{ "", LONG, INJECT(INTR_TYPE_HARD_EXCEPTION, 6), {} },
	{ "", LONG, INJECT(INTR_TYPE_HARD_EXCEPTION, 31), {} },
	{ "", LONG, INJECT(INTR_TYPE_HARD_EXCEPTION | INTR_INFO_DELIVER_CODE_MASK, 8), {} },
	{ "", LONG, INJECT(INTR_TYPE_HARD_EXCEPTION | INTR_INFO_DELIVER_CODE_MASK, 17), {} },
	{ "", LONG, INJECT(INTR_TYPE_HARD_EXCEPTION | INTR_INFO_DELIVER_CODE_MASK, 14),
	  { { VM_ENTRY_EXCEPTION_ERROR_CODE, 0xffff } } },
	{ "", REAL, INJECT(INTR_TYPE_HARD_EXCEPTION, 13), {} },
	{ "", HOST, 0, { { HOST_SS_SELECTOR, 0x10 }, { HOST_FS_SELECTOR, 0x10 } } },
};

static void controls_that_are_not(void **unused)
{
	unsigned int i, error;

	for (i = 0; i < ARRAY_SIZE(good_controls); i++) {
		controls_are(&good_controls[i]);
		if (sscanf(why(), "VM-instruction error %u", &error) != 1 ||
		    error != vmcs[VM_INSTRUCTION_ERROR])
			fail_msg("good row %u: found %s", i, why());
	}
	/* an error that is nothing of a field's */
	controls_are(&control_rows[0]);
	vmcs[VM_INSTRUCTION_ERROR] = 5;
	assert_string_equal(why(), "VM-instruction error 5");
}

/* the threshold counts against the TPR there is */
static void tpr_threshold(void **unused)
{
	controls_are(&good_controls[0]);
	apic_page[0x80] = 0x40;
	vmcs[TPR_THRESHOLD] = 4;
	assert_string_equal(why(), "VM-instruction error 7");
	vmcs[TPR_THRESHOLD] = 5;
	assert_string_equal(why(), "TPR threshold");
}

/* IA32_VMX_BASIC[56]: an exception brings an error code or does not */
static void any_error_code_goes(void **unused)
{
	controls_are(&good_controls[0]);
	any_error_code = true;
	vmx.injected = INJECT(INTR_TYPE_HARD_EXCEPTION, 13);
	assert_string_equal(why(), "VM-instruction error 7");
	vmx.injected = INJECT(INTR_TYPE_HARD_EXCEPTION | INTR_INFO_DELIVER_CODE_MASK, 6);
	assert_string_equal(why(), "VM-instruction error 7");
	vmcs[GUEST_CR0] = X86_CR0_NE;
	assert_string_equal(why(), "VM-entry interruption information");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(states_that_are_refused),
		cmocka_unit_test(states_that_are_not),
		cmocka_unit_test(wide_addresses),
		cmocka_unit_test(many_names),
		cmocka_unit_test(controls_that_are_refused),
		cmocka_unit_test(controls_that_are_not),
		cmocka_unit_test(tpr_threshold),
		cmocka_unit_test(any_error_code_goes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
