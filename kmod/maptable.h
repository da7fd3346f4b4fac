/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The arithmetic of the gpa -> hva table: pure functions on sorted arrays,
 * which the unit tests compile as they are.
 *
 * A table is sorted by gpa, does not overlap, and is canonical: neighbours
 * that continue each other in gpa and in hva and have the same flags are one
 * entry. So a mapping has no identity of its own, only bytes have.
 */
#ifndef VMM_MAPTABLE_H
#define VMM_MAPTABLE_H

#include <linux/types.h>
#include <linux/vmm.h>

struct vmm_mapping {
	u64 gpa;
	u64 size;		/* bytes, never 0 */
	u64 hva;
	u32 flags;		/* VMM_MAP_* */
};

/*
 * Is this a range that a guest with gpa_bits of physical addresses may have?
 * Says nothing about hva but its alignment and that it does not wrap.
 * 0 or -EINVAL.
 */
int vmm_table_check(const struct vmm_map *m, int gpa_bits, u32 flags_allowed);

/* index of the first entry that ends above gpa; n if there is none */
u32 vmm_table_find(const struct vmm_mapping *in, u32 n, u64 gpa);

/*
 * in[n] -> out[], which has room for n + 2. Each returns the entries of the
 * new table, or -errno with out[] undefined.
 *   map      -EEXIST  something is mapped in the range
 *   unmap    -ENOENT  nothing is mapped in the range
 *   protect  -ENOENT  not every byte of the range is mapped
 */
int vmm_table_map(struct vmm_mapping *out, const struct vmm_mapping *in, u32 n,
		  const struct vmm_mapping *m);
int vmm_table_unmap(struct vmm_mapping *out, const struct vmm_mapping *in, u32 n,
		    u64 gpa, u64 size);
int vmm_table_protect(struct vmm_mapping *out, const struct vmm_mapping *in, u32 n,
		      u64 gpa, u64 size, u32 flags);

#endif /* VMM_MAPTABLE_H */
