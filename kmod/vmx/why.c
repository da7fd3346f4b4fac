// SPDX-License-Identifier: GPL-2.0
/*
 * Why an entry was refused: the checks of the guest's state, SDM 3C 27.3.1, once
 * more, by name. why_control.c has those of 27.2, which come before.
 */
#include <linux/kernel.h>
#include <asm/msr.h>
#include <asm/processor-flags.h>

#include "vmx/why.h"

#define RFLAGS_RESERVED	0xffffffffffc08028ULL
#define PDPTE_RESERVED	0x1e6ULL
#define AR_V86		0xf3
#define TYPE_CODE_ACCESSED 9
#define TYPE_DATA_ACCESSED 3
#define PENDING_DBG_ENABLED BIT(12)
#define PENDING_DBG_RTM	BIT(16)
#define PENDING_DBG_MAY	(0xfULL | PENDING_DBG_ENABLED | PENDING_DBG_BS | PENDING_DBG_RTM)
#define DEBUGCTL_RESERVED (~0xffc7ULL)
/* enclaves (bit 4) are not for guests */
#define STATE_RESERVED	(~0xfU)

struct segment {
	const char *name;
	u16 sel;
	u32 limit, ar;
	u64 base;
};

void vmx_rule(struct vmx_look *l, bool broken, const char *group, const char *field)
{
	if (broken)
		l->used += scnprintf(l->text + l->used, l->size - l->used, "%s%s%s",
				     l->used ? " " : "", group, field);
}

/*
 * Bits that an address may not have of its own: all above the CPU's widest linear
 * address, whatever CR4.LA57 says now (SDM 1 3.3.7.1, of registers that are
 * loaded and not used).
 */
static bool upper_alike(u64 va, int width)
{
	s64 upper = (s64)va >> width;

	return !upper || upper == -1;
}

bool vmx_canonical(u64 va)
{
	return upper_alike(va, boot_cpu_data.x86_virt_bits - 1);
}

bool vmx_beyond(u64 pa)
{
	return pa >> boot_cpu_data.x86_phys_bits;
}

/* 27.3.1.1 */
static void look_at_registers(struct vmx_look *l)
{
	u64 efer = vmcs_read(GUEST_IA32_EFER), fixed0, fixed1;
	bool pg = l->cr0 & X86_CR0_PG;

	rdmsrl(MSR_IA32_VMX_CR0_FIXED0, fixed0);
	/* with unrestricted guests these two are the guest's */
	fixed0 &= ~(X86_CR0_PE | X86_CR0_PG);
	vmx_rule(l, (l->cr0 & fixed0) != fixed0 || l->cr0 >> 32, "CR0", "");
	vmx_rule(l, (pg && !(l->cr0 & X86_CR0_PE)) || (l->ia32e && !pg), "CR0", ".PG");
	rdmsrl(MSR_IA32_VMX_CR4_FIXED0, fixed0);
	rdmsrl(MSR_IA32_VMX_CR4_FIXED1, fixed1);
	vmx_rule(l, (l->cr4 & fixed0) != fixed0 || l->cr4 & ~fixed1, "CR4", "");
	vmx_rule(l, l->ia32e && !(l->cr4 & X86_CR4_PAE), "CR4", ".PAE");
	vmx_rule(l, !l->ia32e && l->cr4 & X86_CR4_PCIDE, "CR4", ".PCIDE");
	vmx_rule(l, vmx_beyond(vmcs_read(GUEST_CR3)), "CR3", "");
	vmx_rule(l, vmcs_read(GUEST_IA32_DEBUGCTL) & DEBUGCTL_RESERVED, "DEBUGCTL", "");
	vmx_rule(l, vmcs_read(GUEST_DR7) >> 32, "DR7", "");
	vmx_rule(l, !vmx_canonical(vmcs_read(GUEST_SYSENTER_ESP)), "SYSENTER_ESP", "");
	vmx_rule(l, !vmx_canonical(vmcs_read(GUEST_SYSENTER_EIP)), "SYSENTER_EIP", "");
	vmx_rule(l, efer & ~(u64)(EFER_SCE | EFER_LME | EFER_LMA | EFER_NX), "EFER", "");
	vmx_rule(l, !(efer & EFER_LMA) != !l->ia32e, "EFER", ".LMA");
	vmx_rule(l, pg && !(efer & EFER_LMA) != !(efer & EFER_LME), "EFER", ".LME");
}

static struct segment segment(int n, const char *name)
{
	return (struct segment){
		.name = name,
		.sel = vmcs_read(GUEST_ES_SELECTOR + 2 * n),
		.limit = vmcs_read(GUEST_ES_LIMIT + 2 * n),
		.ar = vmcs_read(GUEST_ES_AR_BYTES + 2 * n),
		.base = vmcs_read(GUEST_ES_BASE + 2 * n),
	};
}

static bool usable(const struct segment *s)
{
	return !(s->ar & VMX_AR_UNUSABLE_MASK);
}

static u32 type(const struct segment *s)
{
	return s->ar & VMX_AR_TYPE_MASK;
}

/* of any usable segment */
static void look_at_form(struct vmx_look *l, const struct segment *s, bool system)
{
	bool g = s->ar & VMX_AR_G_MASK;

	vmx_rule(l, !(s->ar & VMX_AR_S_MASK) != system, s->name, ".S");
	vmx_rule(l, !(s->ar & VMX_AR_P_MASK), s->name, ".P");
	vmx_rule(l, s->ar & VMX_AR_RESERVD_MASK, s->name, ".attr");
	vmx_rule(l, (g && (s->limit & 0xfff) != 0xfff) || (!g && s->limit >> 20), s->name,
		 ".G");
}

static void look_at_code(struct vmx_look *l, const struct segment *cs,
			 const struct segment *ss)
{
	u32 t = type(cs), dpl = VMX_AR_DPL(cs->ar), cpl = VMX_AR_DPL(ss->ar);

	vmx_rule(l,
		 t != TYPE_DATA_ACCESSED && (t & TYPE_CODE_ACCESSED) != TYPE_CODE_ACCESSED,
		 "CS", ".type");
	vmx_rule(l,
		 (t == TYPE_DATA_ACCESSED && dpl) || ((t == 9 || t == 11) && dpl != cpl) ||
			 ((t == 13 || t == 15) && dpl > cpl),
		 "CS", ".DPL");
	vmx_rule(l, l->ia32e && cs->ar & VMX_AR_L_MASK && cs->ar & VMX_AR_DB_MASK, "CS",
		 ".D");
	vmx_rule(l, cs->base >> 32, "CS", ".base");
	look_at_form(l, cs, false);
	vmx_rule(l, (t == TYPE_DATA_ACCESSED || !(l->cr0 & X86_CR0_PE)) && cpl, "SS",
		 ".DPL");
	if (!usable(ss))
		return;
	vmx_rule(l, type(ss) != 3 && type(ss) != 7, "SS", ".type");
	vmx_rule(l, ss->base >> 32, "SS", ".base");
	look_at_form(l, ss, false);
}

static void look_at_data(struct vmx_look *l, const struct segment *s, bool wide)
{
	vmx_rule(l, wide && !vmx_canonical(s->base), s->name, ".base");
	if (!usable(s))
		return;
	vmx_rule(l,
		 !(s->ar & VMX_AR_TYPE_ACCESSES_MASK) ||
			 (s->ar & VMX_AR_TYPE_CODE_MASK &&
			  !(s->ar & VMX_AR_TYPE_READABLE_MASK)),
		 s->name, ".type");
	vmx_rule(l, !wide && s->base >> 32, s->name, ".base");
	look_at_form(l, s, false);
}

static void look_at_v86(struct vmx_look *l, const struct segment *s)
{
	vmx_rule(l, s->base != (u64)s->sel << 4, s->name, ".base");
	vmx_rule(l, s->limit != 0xffff, s->name, ".limit");
	vmx_rule(l, s->ar != AR_V86, s->name, ".attr");
}

static void look_at_system(struct vmx_look *l)
{
	struct segment tr = segment(VMM_TR, "TR"), ldtr = segment(VMM_LDTR, "LDTR");

	vmx_rule(l, tr.sel & 4, "TR", ".selector");
	vmx_rule(l, !usable(&tr), "TR", "");
	vmx_rule(l, type(&tr) != 11 && (l->ia32e || type(&tr) != 3), "TR", ".type");
	vmx_rule(l, !vmx_canonical(tr.base), "TR", ".base");
	look_at_form(l, &tr, true);
	if (!usable(&ldtr))
		return;
	vmx_rule(l, ldtr.sel & 4, "LDTR", ".selector");
	vmx_rule(l, type(&ldtr) != 2, "LDTR", ".type");
	vmx_rule(l, !vmx_canonical(ldtr.base), "LDTR", ".base");
	look_at_form(l, &ldtr, true);
}

/* 27.3.1.2, 27.3.1.3 */
static void look_at_segments(struct vmx_look *l)
{
	static const char *const names[] = { "ES", "CS", "SS", "DS", "FS", "GS" };
	struct segment s[ARRAY_SIZE(names)];
	int n;

	for (n = 0; n < ARRAY_SIZE(names); n++) {
		s[n] = segment(n, names[n]);
		if (l->v86)
			look_at_v86(l, &s[n]);
		else if (n != VMM_CS && n != VMM_SS)
			look_at_data(l, &s[n], n >= VMM_FS);
	}
	if (!l->v86)
		look_at_code(l, &s[VMM_CS], &s[VMM_SS]);
	look_at_system(l);
	vmx_rule(l, !vmx_canonical(vmcs_read(GUEST_GDTR_BASE)), "GDTR", ".base");
	vmx_rule(l, !vmx_canonical(vmcs_read(GUEST_IDTR_BASE)), "IDTR", ".base");
	vmx_rule(l, vmcs_read(GUEST_GDTR_LIMIT) >> 16, "GDTR", ".limit");
	vmx_rule(l, vmcs_read(GUEST_IDTR_LIMIT) >> 16, "IDTR", ".limit");
}

/* 27.3.1.4 */
static void look_at_rip(struct vmx_look *l)
{
	bool wide = l->ia32e && vmcs_read(GUEST_CS_AR_BYTES) & VMX_AR_L_MASK;
	u64 rip = vmcs_read(GUEST_RIP);

	/* canonical or not: the fetch will tell */
	vmx_rule(l, wide ? !upper_alike(rip, boot_cpu_data.x86_virt_bits) : rip >> 32,
		 "RIP", "");
	vmx_rule(l, l->rflags & RFLAGS_RESERVED || !(l->rflags & X86_EFLAGS_FIXED),
		 "RFLAGS", "");
	vmx_rule(l, l->v86 && (l->ia32e || !(l->cr0 & X86_CR0_PE)), "RFLAGS", ".VM");
}

/* 27.3.1.5 */
static void look_at_the_rest(struct vmx_look *l)
{
	u32 state = vmcs_read(GUEST_INTERRUPTIBILITY_INFO);
	u32 activity = vmcs_read(GUEST_ACTIVITY_STATE);
	bool sti = state & GUEST_INTR_STATE_STI, mov_ss = state & GUEST_INTR_STATE_MOV_SS;
	bool valid = l->inject & INTR_INFO_VALID_MASK, iflag = l->rflags & X86_EFLAGS_IF;
	u32 event = l->inject & INTR_INFO_INTR_TYPE_MASK;
	bool extint = valid && event == INTR_TYPE_EXT_INTR;
	bool nmi = valid && event == INTR_TYPE_NMI_INTR;
	u64 pending = vmcs_read(GUEST_PENDING_DBG_EXCEPTIONS);

	/* we use none but one: a CPU in HLT is ours to wake */
	vmx_rule(l, activity != GUEST_ACTIVITY_ACTIVE, "activity state", "");
	vmx_rule(l, extint && !iflag, "RFLAGS", ".IF");
	vmx_rule(l,
		 state & STATE_RESERVED || state & GUEST_INTR_STATE_SMI ||
			 (sti && (mov_ss || !iflag)) || (extint && (sti || mov_ss)) ||
			 (nmi && (mov_ss || state & GUEST_INTR_STATE_NMI)),
		 "interruptibility", "");
	vmx_rule(l,
		 pending & ~PENDING_DBG_MAY ||
			 (pending & PENDING_DBG_RTM &&
			  (pending != (PENDING_DBG_RTM | PENDING_DBG_ENABLED) || mov_ss)) ||
			 ((sti || mov_ss) &&
			  !(l->rflags & X86_EFLAGS_TF) != !(pending & PENDING_DBG_BS)),
		 "pending debug exceptions", "");
	vmx_rule(l, vmcs_read(VMCS_LINK_POINTER) != ~0ULL, "VMCS link pointer", "");
}

/* 27.3.1.6 */
static void look_at_pdptes(struct vmx_look *l)
{
	static const char *const number[] = { "0", "1", "2", "3" };
	int i;

	if (!(l->cr0 & X86_CR0_PG) || !(l->cr4 & X86_CR4_PAE) || l->ia32e)
		return;
	for (i = 0; i < ARRAY_SIZE(number); i++) {
		u64 pdpte = vmcs_read(GUEST_PDPTR0 + 2 * i);

		vmx_rule(l, pdpte & 1 && (pdpte & PDPTE_RESERVED || vmx_beyond(pdpte)),
			 "PDPTE", number[i]);
	}
}

/* SDM 3C 31.4: what VMLAUNCH and VMRESUME say when they do not begin */
static void failed_early(struct vmx_look *l)
{
	u64 error = vmcs_read(VM_INSTRUCTION_ERROR);

	if (error == VMXERR_ENTRY_INVALID_CONTROL_FIELD)
		vmx_look_at_controls(l);
	else if (error == VMXERR_ENTRY_INVALID_HOST_STATE_FIELD)
		vmx_look_at_host(l);
	if (!l->used)
		scnprintf(l->text, l->size, "VM-instruction error %llu", error);
}

static void failed_late(struct vmx_look *l)
{
	look_at_registers(l);
	look_at_segments(l);
	look_at_rip(l);
	look_at_the_rest(l);
	look_at_pdptes(l);
	if (!l->used)
		scnprintf(l->text, l->size, "guest state, qualification %llu",
			  l->vmx->exit_qualification);
}

void vmx_why(struct vmm_vcpu *vcpu, char *text, u32 size)
{
	const struct vmx_vcpu *vmx = to_vmx(vcpu);
	struct vmx_look l = {
		.vmx = vmx,
		.text = text,
		.size = size,
		.cr0 = vmcs_read(GUEST_CR0),
		.cr4 = vmcs_read(GUEST_CR4),
		.rflags = vmcs_read(GUEST_RFLAGS),
		.ia32e = vmcs_read(VM_ENTRY_CONTROLS) & VM_ENTRY_IA32E_MODE,
		.inject = vmx->injected,
	};

	l.v86 = l.rflags & X86_EFLAGS_VM;
	if ((u16)vmx->exit_reason == EXIT_REASON_INVALID_STATE)
		failed_late(&l);
	else
		failed_early(&l);
}
