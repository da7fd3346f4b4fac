// SPDX-License-Identifier: GPL-2.0
/*
 * Why an entry was refused: the checks of SDM 3C 27.3.1 once more, by name. Only
 * those that a state which we accept can fail; our own fields are not looked at.
 */
#include <linux/kernel.h>
#include <asm/msr.h>
#include <asm/processor-flags.h>

#include "vmx/vmx.h"

#define RFLAGS_RESERVED	0xffffffffffc08028ULL
#define PDPTE_RESERVED	0x1e6ULL
#define AR_V86		0xf3
#define TYPE_CODE_ACCESSED 9
#define TYPE_DATA_ACCESSED 3

struct look {
	char *text;
	u32 size, used;
	/* what many rules ask for */
	u64 cr0, cr4, rflags;
	bool ia32e, v86;
	u32 inject;
};

struct segment {
	const char *name;
	u16 sel;
	u32 limit, ar;
	u64 base;
};

/* name a field if a rule about it is broken */
static void rule(struct look *l, bool broken, const char *seg, const char *field)
{
	if (broken)
		l->used += scnprintf(l->text + l->used, l->size - l->used, "%s%s%s",
				     l->used ? " " : "", seg, field);
}

static bool canonical(u64 va)
{
	return (s64)(va << 16) >> 16 == (s64)va;
}

/* 27.3.1.1 */
static void look_at_controls(struct look *l)
{
	u64 efer = vmcs_read(GUEST_IA32_EFER), cr3 = vmcs_read(GUEST_CR3), fixed1;
	bool pg = l->cr0 & X86_CR0_PG;

	rdmsrl(MSR_IA32_VMX_CR4_FIXED1, fixed1);
	rule(l, pg && !(l->cr0 & X86_CR0_PE), "CR0", ".PG");
	rule(l, l->cr4 & ~fixed1, "CR4", "");
	rule(l, l->ia32e && !pg, "CR0", ".PG");
	rule(l, l->ia32e && !(l->cr4 & X86_CR4_PAE), "CR4", ".PAE");
	rule(l, !l->ia32e && l->cr4 & X86_CR4_PCIDE, "CR4", ".PCIDE");
	rule(l, cr3 >> boot_cpu_data.x86_phys_bits, "CR3", "");
	rule(l, vmcs_read(GUEST_DR7) >> 32, "DR7", "");
	rule(l, !canonical(vmcs_read(GUEST_SYSENTER_ESP)), "SYSENTER_ESP", "");
	rule(l, !canonical(vmcs_read(GUEST_SYSENTER_EIP)), "SYSENTER_EIP", "");
	rule(l, !(efer & EFER_LMA) != !l->ia32e, "EFER", ".LMA");
	rule(l, pg && !(efer & EFER_LMA) != !(efer & EFER_LME), "EFER", ".LME");
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
static void look_at_form(struct look *l, const struct segment *s, bool system)
{
	bool g = s->ar & VMX_AR_G_MASK;

	rule(l, !(s->ar & VMX_AR_S_MASK) != system, s->name, ".S");
	rule(l, !(s->ar & VMX_AR_P_MASK), s->name, ".P");
	rule(l, s->ar & VMX_AR_RESERVD_MASK, s->name, ".attr");
	rule(l, (g && (s->limit & 0xfff) != 0xfff) || (!g && s->limit >> 20), s->name, ".G");
}

static void look_at_code(struct look *l, const struct segment *cs, const struct segment *ss)
{
	u32 t = type(cs), dpl = VMX_AR_DPL(cs->ar), cpl = VMX_AR_DPL(ss->ar);

	rule(l, t != TYPE_DATA_ACCESSED && (t & TYPE_CODE_ACCESSED) != TYPE_CODE_ACCESSED,
	     "CS", ".type");
	rule(l, (t == TYPE_DATA_ACCESSED && dpl) || ((t == 9 || t == 11) && dpl != cpl) ||
	     ((t == 13 || t == 15) && dpl > cpl), "CS", ".DPL");
	rule(l, l->ia32e && cs->ar & VMX_AR_L_MASK && cs->ar & VMX_AR_DB_MASK, "CS", ".D");
	rule(l, cs->base >> 32, "CS", ".base");
	look_at_form(l, cs, false);
	rule(l, (t == TYPE_DATA_ACCESSED || !(l->cr0 & X86_CR0_PE)) && cpl, "SS", ".DPL");
	if (!usable(ss))
		return;
	rule(l, type(ss) != 3 && type(ss) != 7, "SS", ".type");
	rule(l, ss->base >> 32, "SS", ".base");
	look_at_form(l, ss, false);
}

static void look_at_data(struct look *l, const struct segment *s, bool wide)
{
	rule(l, wide && !canonical(s->base), s->name, ".base");
	if (!usable(s))
		return;
	rule(l, !(s->ar & VMX_AR_TYPE_ACCESSES_MASK) ||
	     (s->ar & VMX_AR_TYPE_CODE_MASK && !(s->ar & VMX_AR_TYPE_READABLE_MASK)),
	     s->name, ".type");
	rule(l, !wide && s->base >> 32, s->name, ".base");
	look_at_form(l, s, false);
}

static void look_at_v86(struct look *l, const struct segment *s)
{
	rule(l, s->base != (u64)s->sel << 4, s->name, ".base");
	rule(l, s->limit != 0xffff, s->name, ".limit");
	rule(l, s->ar != AR_V86, s->name, ".attr");
}

static void look_at_system(struct look *l)
{
	struct segment tr = segment(VMM_TR, "TR"), ldtr = segment(VMM_LDTR, "LDTR");

	rule(l, tr.sel & 4, "TR", ".selector");
	rule(l, !usable(&tr), "TR", "");
	rule(l, type(&tr) != 11 && (l->ia32e || type(&tr) != 3), "TR", ".type");
	rule(l, !canonical(tr.base), "TR", ".base");
	look_at_form(l, &tr, true);
	if (!usable(&ldtr))
		return;
	rule(l, ldtr.sel & 4, "LDTR", ".selector");
	rule(l, type(&ldtr) != 2, "LDTR", ".type");
	rule(l, !canonical(ldtr.base), "LDTR", ".base");
	look_at_form(l, &ldtr, true);
}

/* 27.3.1.2, 27.3.1.3 */
static void look_at_segments(struct look *l)
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
	rule(l, !canonical(vmcs_read(GUEST_GDTR_BASE)), "GDTR", ".base");
	rule(l, !canonical(vmcs_read(GUEST_IDTR_BASE)), "IDTR", ".base");
	rule(l, vmcs_read(GUEST_GDTR_LIMIT) >> 16, "GDTR", ".limit");
	rule(l, vmcs_read(GUEST_IDTR_LIMIT) >> 16, "IDTR", ".limit");
}

/* 27.3.1.4, 27.3.1.5 */
static void look_at_the_rest(struct look *l)
{
	u32 state = vmcs_read(GUEST_INTERRUPTIBILITY_INFO), cs = vmcs_read(GUEST_CS_AR_BYTES);
	bool shadow = state & (GUEST_INTR_STATE_STI | GUEST_INTR_STATE_MOV_SS);
	u32 event = l->inject & INTR_INFO_INTR_TYPE_MASK;
	u64 rip = vmcs_read(GUEST_RIP);
	bool extint = l->inject & INTR_INFO_VALID_MASK && event == INTR_TYPE_EXT_INTR;
	bool nmi = l->inject & INTR_INFO_VALID_MASK && event == INTR_TYPE_NMI_INTR;
	bool iflag = l->rflags & X86_EFLAGS_IF;

	rule(l, l->ia32e && cs & VMX_AR_L_MASK ? !canonical(rip) : rip >> 32, "RIP", "");
	rule(l, l->rflags & RFLAGS_RESERVED || !(l->rflags & X86_EFLAGS_FIXED), "RFLAGS", "");
	rule(l, l->v86 && (l->ia32e || !(l->cr0 & X86_CR0_PE)), "RFLAGS", ".VM");
	rule(l, extint && !iflag, "RFLAGS", ".IF");
	rule(l, (state & GUEST_INTR_STATE_STI && !iflag) || (extint && shadow) ||
	     (nmi && state & (GUEST_INTR_STATE_MOV_SS | GUEST_INTR_STATE_NMI)),
	     "interruptibility", "");
	rule(l, shadow && !(l->rflags & X86_EFLAGS_TF) !=
	     !(vmcs_read(GUEST_PENDING_DBG_EXCEPTIONS) & PENDING_DBG_BS),
	     "pending debug exceptions", "");
}

/* 27.3.1.6 */
static void look_at_pdptes(struct look *l)
{
	u64 beyond = ~0ULL << boot_cpu_data.x86_phys_bits;
	int i;

	if (!(l->cr0 & X86_CR0_PG) || !(l->cr4 & X86_CR4_PAE) || l->ia32e)
		return;
	for (i = 0; i < 4; i++) {
		u64 pdpte = vmcs_read(GUEST_PDPTR0 + 2 * i);

		rule(l, pdpte & 1 && pdpte & (PDPTE_RESERVED | beyond), "PDPTE", "");
	}
}

void vmx_why(struct vmm_vcpu *vcpu, char *text, u32 size)
{
	const struct vmx_vcpu *vmx = to_vmx(vcpu);
	struct look l = {
		.text = text, .size = size,
		.cr0 = vmcs_read(GUEST_CR0), .cr4 = vmcs_read(GUEST_CR4),
		.rflags = vmcs_read(GUEST_RFLAGS),
		.ia32e = vmcs_read(VM_ENTRY_CONTROLS) & VM_ENTRY_IA32E_MODE,
		.inject = vmx->injected,
	};

	l.v86 = l.rflags & X86_EFLAGS_VM;
	if ((u16)vmx->exit_reason != EXIT_REASON_INVALID_STATE) {
		scnprintf(text, size, "VM-instruction error %llu",
			  vmcs_read(VM_INSTRUCTION_ERROR));
		return;
	}
	look_at_controls(&l);
	look_at_segments(&l);
	look_at_the_rest(&l);
	look_at_pdptes(&l);
	if (!l.used)
		scnprintf(text, size, "guest state, qualification %llu",
			  vmx->exit_qualification);
}
