/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The bits of a CPUID table that are features: which a host lacks, and giving a guest
 * only those that another host has, too.
 */
#ifndef VMMD_FEATURES_H
#define VMMD_FEATURES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <linux/vmm.h>

/* is there one in `given` that `host` has not; name[] tells the first one then */
bool features_missing(const struct vmm_cpuid_entry *given, uint32_t ngiven,
		      const struct vmm_cpuid_entry *host, uint32_t nhost,
		      char *name, size_t len);

/* one a line, for features_read; 0 or -errno */
int features_print(FILE *to, const struct vmm_cpuid_entry *e, uint32_t count);

struct features;
/* NULL with one line in err[]; for the caller to free */
struct features *features_read(const char *path, char *err, size_t errlen);
/* take what is not in the list out of the table, and what goes with it */
void features_keep(const struct features *l, struct vmm_cpuid_entry *e, uint32_t *count);

#endif
