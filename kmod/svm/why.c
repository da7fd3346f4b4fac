// SPDX-License-Identifier: GPL-2.0
/*
 * Why VMRUN refused: the consistency checks of APM 2 15.5.1 once more, by name.
 * Only those that a state which we accept can fail.
 */
#include <linux/kernel.h>
#include <asm/processor-flags.h>

#include "svm/svm.h"

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
		{ v->cr0 >> 32, "CR0" },
		{ v->cr0 & X86_CR0_NW && !(v->cr0 & X86_CR0_CD), "CR0.NW" },
		{ lme && pg && !(v->cr0 & X86_CR0_PE), "CR0.PE" },
		{ lme && pg && !pae, "CR4.PAE" },
		{ v->cr4 & ~vmm_cr4_allowed(), "CR4" },
		{ v->cr3 >> boot_cpu_data.x86_phys_bits, "CR3" },
		{ v->dr6 >> 32, "DR6" },
		{ v->dr7 >> 32, "DR7" },
		{ lme && pg && pae && v->cs.attr & VMM_SEG_L && v->cs.attr & VMM_SEG_DB, "CS.D" },
	};
	u32 used = 0;
	int i;

	for (i = 0; i < ARRAY_SIZE(rules); i++)
		if (rules[i].broken)
			used += scnprintf(text + used, size - used, "%s%s",
					  used ? " " : "", rules[i].name);
	if (!used)
		scnprintf(text, size, v->event_inj & EVENT_VALID ? "EVENTINJ" : "VMCB");
}
