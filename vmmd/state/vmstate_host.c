// SPDX-License-Identifier: GPL-2.0
/*
 * Can a guest that was given these CPUs go on here. Its CPUID table stays as it
 * is: each feature in it must be one that this host's module offers.
 */
#include <errno.h>
#include <stdio.h>

#include "cpuid.h"
#include "features.h"
#include "state/vmstate_priv.h"

#define TSC_PPM		250ULL	/* further apart, and guests' clocks drift */

int vmstate_check_host(const struct vmstate *st, const struct vmm_info *info,
		       const struct vmm_cpuid_entry *host, uint32_t count,
		       char *err, size_t errlen)
{
	const struct state_ident *id = &st->ident;
	unsigned int host_bits = cpuid_phys_bits(host, count), given_bits, i;
	char feature[80];
	uint64_t apart = id->tsc_khz > info->tsc_khz ? id->tsc_khz - info->tsc_khz :
						       info->tsc_khz - id->tsc_khz;

	if (id->vendor != info->vendor) {
		snprintf(err, errlen, "the guest ran on a CPU with %s, this host's has %s: a guest cannot change from one to the other",
			 id->vendor == VMM_VENDOR_VMX ? "VT-x" : "SVM",
			 info->vendor == VMM_VENDOR_VMX ? "VT-x" : "SVM");
		return -ENOTSUP;
	}
	if (apart * 1000000 > info->tsc_khz * TSC_PPM) {
		snprintf(err, errlen, "the guest was given a TSC of %u kHz, this host's has %u: its clocks would run at another speed",
			 id->tsc_khz, info->tsc_khz);
		return -ENOTSUP;
	}
	for (i = 0; i < id->vcpus; i++) {
		given_bits = cpuid_phys_bits(st->cpuid[i].entry, st->cpuid[i].count);
		if (given_bits > host_bits) {
			snprintf(err, errlen, "the guest was given physical addresses of %u bits, this host has %u",
				 given_bits, host_bits);
			return -ENOTSUP;
		}
		if (features_missing(st->cpuid[i].entry, st->cpuid[i].count, host, count,
				     feature, sizeof(feature))) {
			snprintf(err, errlen, "the guest was given the CPU feature %s, which this host has not",
				 feature);
			return -ENOTSUP;
		}
	}
	return 0;
}
