/* SPDX-License-Identifier: GPL-2.0 */
/* A list of names that grows: why.c and why_control.c share it. */
#ifndef VMM_VMX_WHY_H
#define VMM_VMX_WHY_H

#include "vmx/vmx.h"

struct vmx_look {
	const struct vmx_vcpu *vmx;
	char *text;
	u32 size, used;
	/* of the guest: what many rules ask for */
	u64 cr0, cr4, rflags;
	bool ia32e, v86;
	u32 inject;
};

/* name a field, maybe of a group, if a rule about it is broken */
void vmx_rule(struct vmx_look *l, bool broken, const char *group, const char *field);
bool vmx_canonical(u64 va);
bool vmx_beyond(u64 pa);	/* what physical addresses there are */

/* why_control.c: SDM 3C 27.2 */
void vmx_look_at_controls(struct vmx_look *l);
void vmx_look_at_host(struct vmx_look *l);

#endif
