// SPDX-License-Identifier: GPL-2.0
/*
 * Where tracking begins: large leaves become tables of small ones in their place,
 * and all leaves lose the bits by which it will know what is new. Nothing faults
 * for that but, with write protection, the next write to each page.
 */
#include <linux/mm.h>
#include <linux/sched.h>

#include "npt.h"

#define SPLIT_STEP	(32UL << 20)	/* bytes looked at without letting others in */

struct split {
	struct vmm_vm *vm;
	bool large;		/* large leaves may stay */
	u64 mask;		/* bits that go */
	u64 *spare;		/* a table to be used, or NULL */
};

/* *entry, a large leaf that was `old`, becomes a table; false: needs a spare one */
static bool split_leaf(struct split *s, u64 *entry, u64 old, int level)
{
	u64 *table = s->spare, part, i;

	if (!table)
		return false;
	do {
		if (!pt_present(old) || !pt_is_leaf(old, level))
			return true;
		part = old & ~s->mask;
		if (level == 2)
			part &= ~vmm_ops->pt->large;
		for (i = 0; i < PT_ENTRIES; i++)
			table[i] = part + i * pt_span(level - 1);
	} while (!try_cmpxchg(entry, &old, pt_addr(virt_to_phys(table)) | vmm_ops->pt->table));
	pt_account(s->vm, table, 1);
	pt_count_leaf(s->vm, level, -1);
	pt_count_leaf(s->vm, level - 1, PT_ENTRIES);
	s->spare = NULL;
	return true;
}

static void clear_leaf(struct split *s, u64 *entry, u64 old)
{
	while (pt_present(old) && old & s->mask && !try_cmpxchg(entry, &old, old & ~s->mask))
		;
}

/* where it stopped for want of a table, or end; mmu_lock held for reading */
static u64 split_table(struct split *s, u64 *table, int level, u64 start, u64 end)
{
	u64 span = pt_span(level), next, at;

	for (; start < end; start = next) {
		u64 *entry = pt_entry(table, start, level);
		u64 old = READ_ONCE(*entry);

		next = min(end, (start | (span - 1)) + 1);
		if (!pt_present(old))
			continue;
		if (pt_is_leaf(old, level)) {
			if (level == 1 || s->large) {
				clear_leaf(s, entry, old);
				continue;
			}
			if (!split_leaf(s, entry, old, level))
				return start;
			old = READ_ONCE(*entry);
			if (!pt_present(old))
				continue;
		}
		at = split_table(s, pt_child(old), level - 1, start, next);
		if (at != next)
			return at;
	}
	return end;
}

int vmm_npt_split(struct vmm_vm *vm, u64 gpa_start, u64 gpa_end, bool large, u64 mask)
{
	struct split s = { .vm = vm, .large = large, .mask = mask };
	u64 at = gpa_start;

	while (at < gpa_end) {
		read_lock(&vm->mmu_lock);
		at = split_table(&s, vm->npt_root, pt_levels(), at,
				 min(gpa_end, at + SPLIT_STEP));
		read_unlock(&vm->mmu_lock);
		if (!s.spare)
			s.spare = pt_alloc();
		if (!s.spare)
			return -ENOMEM;
		cond_resched();
	}
	free_page((unsigned long)s.spare);
	return 0;
}
