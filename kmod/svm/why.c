// SPDX-License-Identifier: GPL-2.0
/*
 * Why VMRUN refused: the consistency checks of APM 2 15.5.1 once more, by name,
 * and of 15.20 and 15.25.4, which add to them.
 */
#include <linux/kernel.h>
#include <asm/processor-flags.h>

#include "svm/svm.h"

/* what may be set in EFER on one CPU or another, APM 2 3.1.7 */
#define EFER_MAY	0x0036fd01ULL

#define EVENT_RESERVED	(0xfffffULL << 12 & ~EVENT_VALID)
#define EVTYPE_SOFTWARE	4ULL

static bool bad_event(u64 event)
{
	u64 type = (event & EVTYPE_MASK) >> EVTYPE_SHIFT, vector = event & EVENT_VECTOR;

	if (!(event & EVENT_VALID))
		return false;
	if (event & EVENT_RESERVED || type == 1 || type > EVTYPE_SOFTWARE)
		return true;
	return type == EVTYPE_EXCEPTION && (vector > 31 || vector == X86_TRAP_NMI);
}

/* types of memory, APM 2 7.8.1: 2 and 3 are none, and above 7 there are none */
static bool bad_pat(u64 pat)
{
	int i;

	for (i = 0; i < 64; i += 8)
		if ((pat >> i & 0xff) > 7 || (pat >> i & 0xfe) == 2)
			return true;
	return false;
}

void svm_why(struct vmm_vcpu *vcpu, char *text, u32 size)
{
	const struct vmcb *v = to_svm(vcpu)->vmcb;
	bool pg = v->cr0 & X86_CR0_PG, lme = v->efer & EFER_LME;
	bool pae = v->cr4 & X86_CR4_PAE;
	const struct {
		bool broken;
		const char *name;
	} rules[] = {
		{ !(v->efer & EFER_SVME), "EFER.SVME" },
		{ v->efer & ~EFER_MAY, "EFER" },
		{ v->cr0 >> 32, "CR0" },
		{ v->cr0 & X86_CR0_NW && !(v->cr0 & X86_CR0_CD), "CR0.NW" },
		{ lme && pg && !(v->cr0 & X86_CR0_PE), "CR0.PE" },
		{ lme && pg && !pae, "CR4.PAE" },
		{ v->cr4 & ~vmm_cr4_allowed(), "CR4" },
		{ v->cr3 >> boot_cpu_data.x86_phys_bits, "CR3" },
		{ v->dr6 >> 32, "DR6" },
		{ v->dr7 >> 32, "DR7" },
		{ lme && pg && pae && v->cs.attr & VMM_SEG_L && v->cs.attr & VMM_SEG_DB, "CS.D" },
		{ bad_pat(v->pat), "PAT" },
		{ bad_event(v->event_inj), "EVENTINJ" },
		/* ours */
		{ !(v->intercept4 & INTERCEPT4_VMRUN), "VMRUN intercept" },
		{ !v->asid, "ASID" },
		{ v->n_cr3 >> boot_cpu_data.x86_phys_bits, "nCR3" },
	};
	u32 used = 0;
	int i;

	for (i = 0; i < ARRAY_SIZE(rules); i++)
		if (rules[i].broken)
			used += scnprintf(text + used, size - used, "%s%s",
					  used ? " " : "", rules[i].name);
	/* CPUs differ in which events they inject; else it is none of the above */
	if (!used)
		scnprintf(text, size, v->event_inj & EVENT_VALID ? "EVENTINJ" : "VMCB");
}
