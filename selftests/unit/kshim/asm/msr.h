/* SPDX-License-Identifier: GPL-2.0 */
/* MSRs are the test's; numbers of SDM 4 and SDM 3D appendix A */
#include "../kshim.h"

#define MSR_IA32_VMX_BASIC			0x480
#define MSR_IA32_VMX_MISC			0x485
#define MSR_IA32_VMX_CR0_FIXED0			0x486
#define MSR_IA32_VMX_CR0_FIXED1			0x487
#define MSR_IA32_VMX_CR4_FIXED0			0x488
#define MSR_IA32_VMX_CR4_FIXED1			0x489
#define MSR_IA32_VMX_PROCBASED_CTLS2		0x48b
#define MSR_IA32_VMX_EPT_VPID_CAP		0x48c
#define MSR_IA32_VMX_TRUE_PINBASED_CTLS		0x48d
#define MSR_IA32_VMX_TRUE_PROCBASED_CTLS	0x48e
#define MSR_IA32_VMX_TRUE_EXIT_CTLS		0x48f
#define MSR_IA32_VMX_TRUE_ENTRY_CTLS		0x490

u64 kshim_rdmsr(u32 msr);

#define rdmsrl(msr, value)	((value) = kshim_rdmsr(msr))
