// SPDX-License-Identifier: GPL-2.0
/*
 * Which groups of the VMCB's fields the CPU need not read again at VMRUN, since it
 * has them from this VMCB's last exit and nobody wrote them (APM 2 15.15). TPR,
 * debug registers and CR2 are written at each entry and not among them.
 *
 * A new ASID begins anew: a vCPU gets one where it has not run last, and behind
 * everything that switched SVM off.
 */
#include "svm/svm.h"

/* the fields that many hands write are compared instead of watched over */
u64 svm_clean_take(struct svm_vcpu *svm)
{
	const struct vmcb *v = svm->vmcb;
	u64 registers = v->intercept_cr | (u64)v->intercept_dr << 32;
	u64 events = v->intercept_exc | (u64)v->intercept3 << 32;
	u64 clean = svm->clean;

	if (registers != svm->intercepts[0] || events != svm->intercepts[1] ||
	    v->tsc_offset != svm->intercepts[2]) {
		svm->intercepts[0] = registers;
		svm->intercepts[1] = events;
		svm->intercepts[2] = v->tsc_offset;
		clean &= ~CLEAN_INTERCEPTS;
	}
	svm->clean = CLEAN_KEPT;
	return clean;
}

#ifdef VMM_DEBUG

#define FIELDS(group, first, last)					\
	{ group, offsetof(struct vmcb, first), offsetofend(struct vmcb, last) }

static const struct {
	u64 group;
	u32 start, end;
} fields[] = {
	FIELDS(CLEAN_INTERCEPTS, intercept_cr, intercept5),
	FIELDS(CLEAN_INTERCEPTS, tsc_offset, tsc_offset),
	FIELDS(CLEAN_MAPS, iopm_pa, msrpm_pa),
	FIELDS(CLEAN_ASID, asid, asid),
	FIELDS(CLEAN_NP, n_cr3, n_cr3),
	FIELDS(CLEAN_NP, pat, pat),
	FIELDS(CLEAN_CR, cr4, cr0),
	FIELDS(CLEAN_CR, efer, efer),
	FIELDS(CLEAN_TABLES, gdtr, gdtr),
	FIELDS(CLEAN_TABLES, idtr, idtr),
	FIELDS(CLEAN_SEGMENTS, es, ds),
	FIELDS(CLEAN_SEGMENTS, cpl, cpl),
};

void svm_clean_seen(struct svm_vcpu *svm)
{
	memcpy(svm->seen, svm->vmcb, sizeof(svm->seen));
}

bool svm_clean_right(struct svm_vcpu *svm)
{
	const u8 *now = (void *)svm->vmcb;
	int i;

	for (i = 0; i < ARRAY_SIZE(fields); i++)
		if (svm->vmcb->clean & fields[i].group &&
		    memcmp(now + fields[i].start, svm->seen + fields[i].start,
			   fields[i].end - fields[i].start))
			return false;
	return true;
}

#endif
