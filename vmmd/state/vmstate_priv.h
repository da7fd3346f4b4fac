/* SPDX-License-Identifier: GPL-2.0 */
/* Between vmstate_save.c, vmstate_load.c and vmstate_host.c: the sections. */
#ifndef VMMD_STATE_VMSTATE_PRIV_H
#define VMMD_STATE_VMSTATE_PRIV_H

#include "state/vmstate.h"

#define STATE_DEVICE_NAME	32	/* of a device, padded with zeroes */

/* what this vmmd writes, and the newest that it reads */
struct state_section {
	const char *tag;
	uint32_t version;
	size_t max;		/* bytes of a body */
};

static const struct state_section
	state_ident	= { "vmm-state", 1, sizeof(struct state_ident) },
	state_options	= { "options", 1, 65536 },
	state_firmware	= { "firmware", 1, 16 << 20 },
	state_cpuid	= { "cpuid", 1, VMM_MAX_CPUID * sizeof(struct vmm_cpuid_entry) },
	state_memory	= { "memory", 1, STATE_RANGES * sizeof(struct state_range) },
	state_device	= { "device", 1, 65536 },
	state_clock	= { "clock", 1, sizeof(struct vmm_clock) },
	state_vcpu	= { "vcpu", 1, 65536 },
	state_end	= { "end", 1, 0 };

/* then comes a struct vmm_state */
struct state_vcpu_head {
	uint32_t id;
	uint32_t pad;
	uint64_t tsc;		/* the vCPU's, at the instant of "clock" */
};

#endif
