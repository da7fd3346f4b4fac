// SPDX-License-Identifier: GPL-2.0
/*
 * Which pages of the tracked ranges the guest has written or accessed.
 *
 * While a page is mapped, its leaf in the nested page tables is the truth: its
 * D bit or, by write protection, its W bit; its A bit or, without such bits, that
 * it is there at all. A bitmap of each range holds the rest: what leaves said that
 * are gone, what the module wrote itself, and what the CPUs have logged.
 *
 * A harvest takes bits out of leaves and bitmap under mmu_lock, flushes once,
 * and only then tells what it found: a CPU that still has the translation of a
 * page taken may write to it unseen until the flush, but the caller looks at that
 * page after it. Whoever zaps a leaf moves its bits, and asks for its flush,
 * under the same mmu_lock: a harvest that finds the bits waits for that flush.
 *
 * PML (SDM 3C 29.3.6): a CPU logs an address when it sets a D bit. Tracked leaves
 * begin with D clear, so every one with D set is in the bitmap or in a log, and a
 * harvest looks at those only.
 */
#define pr_fmt(fmt) "vmm: " fmt

#include <linux/bitmap.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/sched.h>
#include <linux/slab.h>
#include <linux/uaccess.h>

#include "npt.h"

#define WORD_PAGES	BITS_PER_LONG
#define WORD_SIZE	(WORD_PAGES * PAGE_SIZE)
#define CHUNK_WORDS	128		/* looked at without letting others in */
#define CHUNK_SIZE	(CHUNK_WORDS * WORD_SIZE)

static char *dirty = "auto";
module_param(dirty, charp, 0444);
MODULE_PARM_DESC(dirty, "pages written are found by: auto, the best that the CPU has; bits, not by PML; wp, write protection");

enum vmm_dirty_by vmm_dirty_by __read_mostly;

struct tracked {
	u64 gpa;		/* c */
	u64 size;		/* c */
	u32 flags;		/* c  VMM_TRACK_* */
	unsigned long *dirty;	/* a  bits by page; NULL if that is not tracked */
	unsigned long *accessed; /* a */
	unsigned long *taken;	/* T  by a harvest under way */
};

struct vmm_tracks {		/* immutable once published, except for bits */
	u32 count;
	struct tracked range[];
};

/* with T, mmu_lock or srcu held */
static struct vmm_tracks *tracks_of(struct vmm_vm *vm)
{
	return rcu_dereference_raw(vm->tracks);
}

/* ---- the bitmaps ------------------------------------------------------------- */

/* no lock but what keeps the map: others set and take bits meanwhile */
static void set_bits(unsigned long *map, u64 first, u64 end)
{
	while (first < end) {
		if (first % WORD_PAGES == 0 && end - first >= WORD_PAGES) {
			xchg(&map[first / WORD_PAGES], ~0UL);
			first += WORD_PAGES;
		} else {
			set_bit(first++, map);
		}
	}
}

static void mark(struct vmm_vm *vm, u64 gpa, u64 size, u32 what)
{
	struct vmm_tracks *tracks = tracks_of(vm);
	u32 i;

	for (i = 0; tracks && i < tracks->count; i++) {
		struct tracked *t = &tracks->range[i];
		u64 start = max(gpa, t->gpa), end = min(gpa + size, t->gpa + t->size);

		if (start >= end)
			continue;
		start = (start - t->gpa) >> PAGE_SHIFT;
		end = (end - t->gpa) >> PAGE_SHIFT;
		if (what & t->flags & VMM_TRACK_DIRTY)
			set_bits(t->dirty, start, end);
		if (what & t->flags & VMM_TRACK_ACCESSED)
			set_bits(t->accessed, start, end);
	}
}

/* what in a leaf says that its page was written or accessed; 0: that it is there */
static u64 leaf_mask(u32 what)
{
	const struct vmm_pt_format *pt = vmm_ops->pt;

	if (vmm_dirty_by == DIRTY_BY_WP)
		return what == VMM_TRACK_DIRTY ? pt->write : 0;
	return what == VMM_TRACK_DIRTY ? pt->dirty : pt->accessed;
}

void vmm_dirty_leaf_gone(struct vmm_vm *vm, u64 gpa, u64 size, u64 leaf)
{
	u64 accessed = leaf_mask(VMM_TRACK_ACCESSED) ?: vmm_ops->pt->present;

	mark(vm, gpa, size, (leaf & leaf_mask(VMM_TRACK_DIRTY) ? VMM_TRACK_DIRTY : 0) |
			    (leaf & accessed ? VMM_TRACK_ACCESSED : 0));
}

void vmm_dirty_made_old(struct vmm_vm *vm, u64 gpa, u64 size)
{
	mark(vm, gpa, size, VMM_TRACK_ACCESSED);
}

/*
 * After the write: before it, a harvest could take the bit and its caller read
 * the page too early.
 */
void vmm_dirty_written(struct vmm_vm *vm, u64 gpa, u32 len)
{
	u64 start = gpa & PAGE_MASK;
	int idx = srcu_read_lock(&vm->srcu);

	mark(vm, start, PAGE_ALIGN(gpa + len) - start, VMM_TRACK_DIRTY | VMM_TRACK_ACCESSED);
	srcu_read_unlock(&vm->srcu, idx);
}

void vmm_dirty_logged(struct vmm_vm *vm, const u64 *gpa, u32 n)
{
	int idx = srcu_read_lock(&vm->srcu);
	u32 i;

	for (i = 0; i < n; i++)
		mark(vm, gpa[i] & PAGE_MASK, PAGE_SIZE, VMM_TRACK_DIRTY);
	srcu_read_unlock(&vm->srcu, idx);
}

/* ---- for faults --------------------------------------------------------------- */

bool vmm_dirty_tracked(struct vmm_vm *vm, u64 gpa, u64 size)
{
	struct vmm_tracks *tracks = tracks_of(vm);
	u32 i;

	for (i = 0; tracks && i < tracks->count; i++) {
		const struct tracked *t = &tracks->range[i];

		if (t->flags & VMM_TRACK_DIRTY &&
		    gpa < t->gpa + t->size && t->gpa < gpa + size)
			return true;
	}
	return false;
}

u64 vmm_dirty_rights(bool writable, bool write)
{
	const struct vmm_pt_format *pt = vmm_ops->pt;

	switch (vmm_dirty_by) {
	case DIRTY_BY_LOG:
		break;
	case DIRTY_BY_BITS:
		return (writable ? pt->write : 0) | (write ? pt->dirty : 0);
	case DIRTY_BY_WP:
		return write ? pt->write | pt->dirty : 0;
	}
	/* the CPU logs only what it sets itself */
	return writable ? pt->write : 0;
}

bool vmm_dirty_sees_touch(struct vmm_vm *vm)
{
	return vmm_dirty_by != DIRTY_BY_WP || !tracks_of(vm);
}

/* ---- VMM_TRACK ---------------------------------------------------------------- */

static void tracked_free(struct tracked *t)
{
	kvfree(t->dirty);
	kvfree(t->accessed);
	kvfree(t->taken);
}

static unsigned long *bits_alloc(u64 size)
{
	return kvcalloc(DIV_ROUND_UP_ULL(size, WORD_SIZE), sizeof(long),
			GFP_KERNEL_ACCOUNT | __GFP_NOWARN);
}

static int tracked_alloc(struct tracked *t, const struct vmm_track *arg)
{
	*t = (struct tracked){ .gpa = arg->gpa, .size = arg->size, .flags = arg->flags };
	if (t->flags & VMM_TRACK_DIRTY)
		t->dirty = bits_alloc(t->size);
	if (t->flags & VMM_TRACK_ACCESSED)
		t->accessed = bits_alloc(t->size);
	t->taken = bits_alloc(t->size);
	if ((t->flags & VMM_TRACK_DIRTY && !t->dirty) ||
	    (t->flags & VMM_TRACK_ACCESSED && !t->accessed) || !t->taken) {
		tracked_free(t);
		return -ENOMEM;
	}
	return 0;
}

/* all leaves of *zap go: as the old ones have it, or the new ones */
static void tracks_replace(struct vmm_vm *vm, struct vmm_tracks *new,
			   const struct vmm_track *zap_before,
			   const struct vmm_track *zap_after)
{
	struct vmm_tracks *old = tracks_of(vm);

	write_lock(&vm->mmu_lock);
	if (zap_before)
		vmm_npt_zap(vm, zap_before->gpa, zap_before->gpa + zap_before->size);
	rcu_assign_pointer(vm->tracks, new);
	if (zap_after)
		vmm_npt_zap(vm, zap_after->gpa, zap_after->gpa + zap_after->size);
	write_unlock(&vm->mmu_lock);
	vmm_npt_flush(vm);
	synchronize_srcu(&vm->srcu);
	kfree(old);
}

/* the new one is in force: what the leaves of its range say is from before */
static void leaves_begin(struct vmm_vm *vm, const struct vmm_track *arg)
{
	u64 end = arg->gpa + arg->size, mask = 0;
	u32 what;

	for (what = VMM_TRACK_DIRTY; what <= VMM_TRACK_ACCESSED; what <<= 1)
		if (arg->flags & what)
			mask |= leaf_mask(what);
	if (vmm_npt_split(vm, arg->gpa, end, !(arg->flags & VMM_TRACK_DIRTY), mask)) {
		/* no memory for tables; the worst is that pages count as written */
		write_lock(&vm->mmu_lock);
		vmm_npt_zap(vm, arg->gpa, end);
		write_unlock(&vm->mmu_lock);
	}
	vmm_npt_stale(vm);
	vmm_npt_flush(vm);
}

/*
 * All that may become a large leaf when this range is not tracked any more, its
 * neighbours in the same large page with it: a table that stays would keep them small.
 */
static struct vmm_track around_large(const struct vmm_track *arg)
{
	u64 span = pt_span(vmm_ops->pt->max_leaf);
	struct vmm_track t = { .gpa = arg->gpa & ~(span - 1) };

	t.size = ((arg->gpa + arg->size + span - 1) & ~(span - 1)) - t.gpa;
	return t;
}

/* is accessed whatever has a leaf */
static bool accessed_is_there(u32 flags)
{
	return flags & VMM_TRACK_ACCESSED && !leaf_mask(VMM_TRACK_ACCESSED);
}

/* may another one begin? 0, -EEXIST, -ENOSPC, -E2BIG */
static int tracks_room(const struct vmm_tracks *tracks, const struct vmm_track *arg)
{
	/* their bitmaps then take less than a hundredth of the host's memory */
	u64 sum = arg->size, limit = (u64)totalram_pages() * PAGE_SIZE * 64;
	u32 i;

	for (i = 0; tracks && i < tracks->count; i++) {
		const struct tracked *t = &tracks->range[i];

		if (arg->gpa < t->gpa + t->size && t->gpa < arg->gpa + arg->size)
			return -EEXIST;
		sum += t->size;
	}
	if (i == VMM_MAX_TRACKS)
		return -ENOSPC;
	return arg->size > VMM_MAX_TRACKED || sum > limit ? -E2BIG : 0;
}

static int track_begin(struct vmm_vm *vm, const struct vmm_track *arg)
{
	struct vmm_tracks *old = tracks_of(vm), *new;
	u32 count = old ? old->count : 0;
	int r = tracks_room(old, arg);

	if (r)
		return r;
	new = kzalloc(struct_size(new, range, count + 1), GFP_KERNEL_ACCOUNT);
	if (!new)
		return -ENOMEM;
	r = tracked_alloc(&new->range[count], arg);
	if (r) {
		kfree(new);
		return r;
	}
	if (count)
		memcpy(new->range, old->range, count * sizeof(*new->range));
	new->count = count + 1;
	if (arg->flags & VMM_TRACK_DIRTY && vmm_dirty_by == DIRTY_BY_LOG && !vm->log_dirty) {
		/* before the first leaf without D: no vCPU sets one unlogged */
		WRITE_ONCE(vm->log_dirty, true);
		vmm_npt_kick(vm);
	}
	tracks_replace(vm, new, accessed_is_there(arg->flags) ? arg : NULL, NULL);
	leaves_begin(vm, arg);
	return 0;
}

static int track_end(struct vmm_vm *vm, const struct vmm_track *arg)
{
	struct vmm_tracks *old = tracks_of(vm), *new = NULL;
	struct vmm_track around = around_large(arg);
	u32 count = old ? old->count : 0, at, i;
	bool log = false;
	struct tracked gone;

	for (at = 0; at < count; at++)
		if (old->range[at].gpa == arg->gpa && old->range[at].size == arg->size)
			break;
	if (at == count)
		return -ENOENT;
	if (count > 1) {
		new = kzalloc(struct_size(new, range, count - 1), GFP_KERNEL_ACCOUNT);
		if (!new)
			return -ENOMEM;
		for (i = 0; i < count; i++)
			if (i != at)
				new->range[new->count++] = old->range[i];
		for (i = 0; i < new->count; i++)
			log |= new->range[i].flags & VMM_TRACK_DIRTY;
	}
	gone = old->range[at];
	/* for large ones to come back, and the rights that write protection took */
	tracks_replace(vm, new, NULL, &around);
	WRITE_ONCE(vm->log_dirty, log && vmm_dirty_by == DIRTY_BY_LOG);
	tracked_free(&gone);
	return 0;
}

/* 0 or -EINVAL */
static int check_range(u64 gpa, u64 size)
{
	u64 limit = 1ULL << vmm_npt_gpa_bits();

	return (gpa | size) & ~PAGE_MASK || !size || gpa >= limit || size > limit - gpa ?
	       -EINVAL : 0;
}

int vmm_dirty_track(struct vmm_vm *vm, const struct vmm_track *t)
{
	int r = check_range(t->gpa, t->size);

	if (r || t->pad || t->flags & ~(VMM_TRACK_DIRTY | VMM_TRACK_ACCESSED))
		return -EINVAL;
	if (mutex_lock_killable(&vm->track_lock))
		return -EINTR;
	r = t->flags ? track_begin(vm, t) : track_end(vm, t);
	mutex_unlock(&vm->track_lock);
	return r;
}

/* ---- VMM_HARVEST -------------------------------------------------------------- */

struct harvest {
	struct vmm_vm *vm;
	struct tracked *t;
	unsigned long *map;	/* t's, of what is looked for */
	u32 what;		/* VMM_TRACK_* */
	bool clear;
	bool log;		/* the bitmap knows all but what comes now */
	bool cleared;		/* some leaf was: flush */
	u32 found;		/* pages */
};

/*
 * From the leaf to the bitmap. With a log the bitmap was first: taken are D bits
 * of the pages found there and no others, whose log entry is still to come.
 */
static void look_at_leaf(struct harvest *h, u64 *entry, u64 gpa, u64 span)
{
	u64 mask = leaf_mask(h->what), old = READ_ONCE(*entry);

	if (h->log && !test_bit((gpa - h->t->gpa) / PAGE_SIZE, h->t->taken))
		return;
	do {
		if (!pt_present(old) || (mask && !(old & mask)))
			return;
	} while (h->clear && !try_cmpxchg(entry, &old, mask ? old & ~mask : 0));
	h->cleared |= h->clear;
	if (!mask)
		vmm_dirty_leaf_gone(h->vm, gpa, span, old);
	else if (!h->log)
		mark(h->vm, gpa, span, h->what);
}

static void look_at_table(struct harvest *h, u64 *table, int level, u64 start, u64 end)
{
	u64 span = pt_span(level), next;

	for (; start < end; start = next) {
		u64 *entry = pt_entry(table, start, level);
		u64 old = READ_ONCE(*entry);

		next = min(end, (start | (span - 1)) + 1);
		if (!pt_present(old))
			continue;
		if (pt_is_leaf(old, level))
			look_at_leaf(h, entry, start & ~(span - 1), span);
		else
			look_at_table(h, pt_child(old), level - 1, start, next);
	}
}

static void look_at(struct harvest *h, u64 start, u64 end)
{
	look_at_table(h, h->vm->npt_root, pt_levels(), start, end);
}

static unsigned long take_word(struct harvest *h, unsigned long *word, unsigned long mask)
{
	if (!READ_ONCE(*word))
		return 0;
	if (!h->clear)
		return READ_ONCE(*word) & mask;
	return atomic_long_fetch_andnot(mask, (atomic_long_t *)word) & mask;
}

/* at most CHUNK_SIZE; start is that of a word */
static void harvest_chunk(struct harvest *h, u64 start, u64 end)
{
	u64 n = (start - h->t->gpa) / WORD_SIZE, next;
	unsigned long mask;

	read_lock(&h->vm->mmu_lock);
	if (!h->log)
		look_at(h, start, end);
	for (; start < end; start = next, n++) {
		next = min_t(u64, end, start + WORD_SIZE);
		mask = ~0UL >> (WORD_PAGES - (next - start) / PAGE_SIZE);
		h->t->taken[n] = take_word(h, &h->map[n], mask);
		if (h->log && h->clear && h->t->taken[n])
			look_at(h, start, next);
		h->found += hweight_long(h->t->taken[n]);
	}
	read_unlock(&h->vm->mmu_lock);
}

/* nobody heard of them */
static void put_back(struct harvest *h, u64 first, u64 words)
{
	u64 n;

	for (n = first; n < first + words; n++)
		atomic_long_or(h->t->taken[n], (atomic_long_t *)&h->map[n]);
}

static int harvest_range(struct harvest *h, const struct vmm_harvest *arg)
{
	u64 first = (arg->gpa - h->t->gpa) / WORD_SIZE;
	u64 words = DIV_ROUND_UP_ULL(arg->size, WORD_SIZE);
	u64 at = arg->gpa, end = arg->gpa + arg->size, next;

	if (h->log)
		vmm_npt_kick(h->vm);	/* a vCPU empties its log when it exits */
	for (; at < end; at = next) {
		next = min_t(u64, end, at + CHUNK_SIZE);
		harvest_chunk(h, at, next);
		cond_resched();
	}
	if (h->cleared)
		vmm_npt_stale(h->vm);
	vmm_npt_flush(h->vm);
	if (!copy_to_user(u64_to_user_ptr(arg->bitmap), h->t->taken + first,
			  words * sizeof(long)))
		return h->found;
	if (h->clear)
		put_back(h, first, words);
	return -EFAULT;
}

/* the range that holds all of it, or NULL */
static struct tracked *find_tracked(struct vmm_vm *vm, const struct vmm_harvest *arg)
{
	struct vmm_tracks *tracks = tracks_of(vm);
	u32 i;

	for (i = 0; tracks && i < tracks->count; i++) {
		struct tracked *t = &tracks->range[i];

		if (arg->gpa >= t->gpa && arg->gpa - t->gpa < t->size &&
		    arg->size <= t->size - (arg->gpa - t->gpa))
			return t;
	}
	return NULL;
}

int vmm_dirty_harvest(struct vmm_vm *vm, const struct vmm_harvest *arg)
{
	struct harvest h = {
		.vm = vm,
		.what = arg->flags & ~VMM_HARVEST_CLEAR,
		.clear = arg->flags & VMM_HARVEST_CLEAR,
	};
	int r = check_range(arg->gpa, arg->size);

	h.log = h.what == VMM_TRACK_DIRTY && vmm_dirty_by == DIRTY_BY_LOG;
	if (r || arg->pad || arg->bitmap % sizeof(u64) ||
	    (h.what != VMM_TRACK_DIRTY && h.what != VMM_TRACK_ACCESSED))
		return -EINVAL;
	if (mutex_lock_killable(&vm->track_lock))
		return -EINTR;
	h.t = find_tracked(vm, arg);
	if (!h.t || !(h.t->flags & h.what)) {
		r = -ENOENT;
	} else if ((arg->gpa - h.t->gpa) % WORD_SIZE) {
		r = -EINVAL;
	} else {
		h.map = h.what == VMM_TRACK_DIRTY ? h.t->dirty : h.t->accessed;
		r = harvest_range(&h, arg);
	}
	mutex_unlock(&vm->track_lock);
	return r;
}

/* ---- life --------------------------------------------------------------------- */

void vmm_dirty_destroy(struct vmm_vm *vm)
{
	struct vmm_tracks *tracks = tracks_of(vm);
	u32 i;

	for (i = 0; tracks && i < tracks->count; i++)
		tracked_free(&tracks->range[i]);
	kfree(tracks);
}

int vmm_dirty_setup(void)
{
	bool wp = !strcmp(dirty, "wp"), bits = !strcmp(dirty, "bits");

	if (!wp && !bits && strcmp(dirty, "auto")) {
		pr_err("wanted dirty=auto, bits or wp, found dirty=%s: leave it out\n", dirty);
		return -EINVAL;
	}
	if (wp || !vmm_ops->pt->dirty)
		vmm_dirty_by = DIRTY_BY_WP;
	else if (bits || !(vmm_ops->features() & VMM_FEAT_PML))
		vmm_dirty_by = DIRTY_BY_BITS;
	else
		vmm_dirty_by = DIRTY_BY_LOG;
	return 0;
}
