/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The CPUID table of one vCPU: what the module supports, plus what only the
 * monitor knows, which is how many CPUs there are and which one this is.
 */
#ifndef VMMD_CPUID_H
#define VMMD_CPUID_H

#include <stddef.h>
#include <stdint.h>
#include <linux/vmm.h>

/* the entry that CPUID would answer from, NULL: none */
struct vmm_cpuid_entry *cpuid_find(const struct vmm_cpuid_entry *e, uint32_t count,
				   uint32_t function, uint32_t index);

/* rewrite in place for CPU `id` of `cpus`; may add leaves up to VMM_MAX_CPUID */
void cpuid_topology(struct vmm_cpuid_entry *e, uint32_t *count,
		    unsigned int id, unsigned int cpus);

/*
 * A paravirtual feature by its name's first `len` characters, as bits for
 * cpuid_hide_pv, which takes them out of the table; 0: there is none
 */
uint32_t cpuid_pv_feature(const char *name, size_t len);
void cpuid_hide_pv(struct vmm_cpuid_entry *e, uint32_t count, uint32_t bits);

/* MAXPHYADDR, 36 if the table does not say */
unsigned int cpuid_phys_bits(const struct vmm_cpuid_entry *e, uint32_t count);

#endif
