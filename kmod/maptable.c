// SPDX-License-Identifier: GPL-2.0
/* The arithmetic of the gpa -> hva table. No kernel services: see maptable.h */
#include <linux/errno.h>

#include "maptable.h"

#define TABLE_PAGE	4096ULL

int vmm_table_check(const struct vmm_map *m, int gpa_bits, u32 flags_allowed)
{
	u64 limit = 1ULL << gpa_bits;

	if (m->pad || (m->flags & ~flags_allowed))
		return -EINVAL;
	if ((m->gpa | m->size | m->hva) & (TABLE_PAGE - 1))
		return -EINVAL;
	if (!m->size || m->gpa >= limit || m->size > limit - m->gpa)
		return -EINVAL;
	if (m->hva + m->size < m->hva)
		return -EINVAL;
	return 0;
}

u32 vmm_table_find(const struct vmm_mapping *in, u32 n, u64 gpa)
{
	u32 lo = 0, hi = n;

	while (lo < hi) {
		u32 mid = lo + (hi - lo) / 2;

		if (in[mid].gpa + in[mid].size > gpa)
			hi = mid;
		else
			lo = mid + 1;
	}
	return lo;
}

/* append *m, or let it lengthen the last entry if it only continues that */
static u32 table_emit(struct vmm_mapping *out, u32 count, const struct vmm_mapping *m)
{
	struct vmm_mapping *last = &out[count ? count - 1 : 0];

	if (!m->size)
		return count;
	if (count && last->flags == m->flags &&
	    last->gpa + last->size == m->gpa && last->hva + last->size == m->hva) {
		last->size += m->size;
		return count;
	}
	out[count] = *m;
	return count + 1;
}

/* the part of *m in [lo, hi), of size 0 if there is none */
static struct vmm_mapping table_clip(const struct vmm_mapping *m, u64 lo, u64 hi)
{
	struct vmm_mapping part = *m;
	u64 end = m->gpa + m->size;

	if (lo < m->gpa)
		lo = m->gpa;
	if (hi > end)
		hi = end;
	part.gpa = lo;
	part.hva += lo - m->gpa;
	part.size = lo < hi ? hi - lo : 0;
	return part;
}

int vmm_table_map(struct vmm_mapping *out, const struct vmm_mapping *in, u32 n,
		  const struct vmm_mapping *m)
{
	u32 at = vmm_table_find(in, n, m->gpa);
	u32 i, count = 0;

	if (at < n && in[at].gpa < m->gpa + m->size)
		return -EEXIST;
	for (i = 0; i < at; i++)
		count = table_emit(out, count, &in[i]);
	count = table_emit(out, count, m);
	for (; i < n; i++)
		count = table_emit(out, count, &in[i]);
	return count;
}

int vmm_table_unmap(struct vmm_mapping *out, const struct vmm_mapping *in, u32 n,
		    u64 gpa, u64 size)
{
	u64 end = gpa + size, found = 0;
	struct vmm_mapping part;
	u32 i, count = 0;

	for (i = 0; i < n; i++) {
		part = table_clip(&in[i], 0, gpa);
		count = table_emit(out, count, &part);
		part = table_clip(&in[i], gpa, end);
		found += part.size;
		part = table_clip(&in[i], end, ~0ULL);
		count = table_emit(out, count, &part);
	}
	return found ? (int)count : -ENOENT;
}

int vmm_table_protect(struct vmm_mapping *out, const struct vmm_mapping *in, u32 n,
		      u64 gpa, u64 size, u32 flags)
{
	u64 end = gpa + size, found = 0;
	struct vmm_mapping part;
	u32 i, count = 0;

	for (i = 0; i < n; i++) {
		part = table_clip(&in[i], 0, gpa);
		count = table_emit(out, count, &part);
		part = table_clip(&in[i], gpa, end);
		part.flags = flags;
		found += part.size;
		count = table_emit(out, count, &part);
		part = table_clip(&in[i], end, ~0ULL);
		count = table_emit(out, count, &part);
	}
	return found == size ? (int)count : -ENOENT;
}
