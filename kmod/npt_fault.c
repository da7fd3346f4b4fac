// SPDX-License-Identifier: GPL-2.0
/*
 * Nested page faults: get the page that the process has behind a guest physical
 * address, and map it unless Linux has changed its mind meanwhile. In the fast gear
 * what is in the process's page table, else what Linux brings there.
 */
#include <linux/mm.h>
#include <linux/pgtable.h>
#include <linux/wait.h>

#include "compat.h"
#include "npt.h"

#define AROUND	(16 * PAGE_SIZE)	/* as much as Linux's fault_around_bytes */

struct fault {
	u64 gpa;			/* of the page */
	unsigned long hva;		/* of the page */
	bool write;			/* what the guest wants */
	bool writable;			/* what the host's page allows */
	bool data;			/* nobody fetches instructions there */
	bool tracked;			/* writes are to be noticed */
	int level;			/* of the table that gets the leaf */
	unsigned long seq;		/* vm->mmu_seq before the page was looked up */
	struct vmm_mapping map;
	struct page *page;		/* referenced, but not in the fast gear */
	struct host_map host;
	u64 *entry;			/* the leaf's, once it is there */
	u64 *spare;			/* zeroed table page, or NULL */
};

/* writable in the host's page table as it stands? then *f has the page */
static bool fault_page_writable(struct fault *f)
{
	struct page *page;

	if (get_user_pages_fast(f->hva, 1, FOLL_WRITE | FOLL_NOFAULT, &page) != 1)
		return false;
	if (f->page)
		put_page(f->page);
	f->page = page;
	f->writable = true;
	return true;
}

/*
 * Get the page behind f->hva. GUP refuses VM_IO and VM_PFNMAP areas, whose
 * pages nobody counts (CVE-2021-22543); there is no way around it here.
 */
static int fault_page(struct fault *f)
{
	unsigned int flags = FOLL_HWPOISON | VMM_FOLL_INTERRUPTIBLE | VMM_FOLL_NUMA_FAULT;
	bool readonly = f->map.flags & VMM_MAP_READONLY;
	long r;

	/* Where it costs nothing a read gets a writable mapping at once. */
	if (!readonly && fault_page_writable(f))
		return 0;
	if (f->write)
		flags |= FOLL_WRITE;
	r = get_user_pages_unlocked(f->hva, 1, &f->page, flags);
	if (r != 1) {
		f->page = NULL;
		return r < 0 ? r : -EFAULT;
	}
	f->writable = f->write;
	if (!f->write && !readonly)
		fault_page_writable(f);
	return 0;
}

/*
 * The guest may write to the page from now on, without Linux noticing, until
 * the notifier takes the mapping away: call it dirty in advance. A file's
 * page is left alone: its filesystem was told when the host's entry became
 * writable, and setting the bit without its knowledge could lose the write.
 */
static void fault_mark_dirty(struct fault *f)
{
	struct folio *folio = page_folio(f->page);

	if (folio_test_anon(folio) || folio_test_swapbacked(folio))
		if (!folio_test_dirty(folio))
			folio_set_dirty(folio);
}

/*
 * At which level does the host map f->page, with the right to write if we give
 * it away? The page may have changed since it was looked up: only to be asked
 * after fault_check() said 0.
 */
static int host_level(struct fault *f)
{
	u64 need = _PAGE_PRESENT | (f->writable ? _PAGE_RW : 0);
	u64 first = page_to_phys(f->page) & ~(pt_span(f->host.level) - 1);

	if (f->host.level > 1 && (f->host.leaf & need) == need &&
	    (f->host.leaf & PTE_PFN_MASK & ~(pt_span(f->host.level) - 1)) == first)
		return f->host.level;
	return 1;
}

static bool invalidating(struct vmm_vm *vm, unsigned long hva, u64 size)
{
	return vm->mmu_busy && hva < vm->inv_end && hva + size > vm->inv_start;
}

/*
 * Is what f->page was found by still so? 0; -EAGAIN: Linux has changed it, look
 * again; -EBUSY: Linux is changing it.
 */
static int fault_check(struct vmm_vm *vm, struct fault *f)
{
	if (invalidating(vm, f->hva, PAGE_SIZE))
		return -EBUSY;
	return vm->mmu_seq != f->seq ? -EAGAIN : 0;
}

/* the largest page that host, mapping and alignment allow */
static int fault_level(struct vmm_vm *vm, struct fault *f)
{
	int level = f->host.level > 1 ? min(host_level(f), vmm_ops->pt->max_leaf) : 1;

	for (; level > 1; level--) {
		u64 size = pt_span(level), gpa = f->gpa & ~(size - 1);

		if (((f->gpa ^ f->hva) & (size - 1)) == 0 && gpa >= f->map.gpa &&
		    gpa + size <= f->map.gpa + f->map.size &&
		    !vmm_dirty_tracked(vm, gpa, size) &&
		    !invalidating(vm, f->hva & ~(size - 1), size))
			break;
	}
	return level;
}

static u64 fault_leaf(struct fault *f)
{
	u64 pa = page_to_phys(f->page) & ~(pt_span(f->level) - 1);
	const struct vmm_pt_format *pt = vmm_ops->pt;
	u64 leaf = pt_addr(pa) | pt->leaf | pt->accessed;

	if (f->level > 1)
		leaf |= pt->large;
	if (f->tracked)
		return leaf | vmm_dirty_rights(f->writable, f->write);
	if (f->writable)
		leaf |= pt->write;
	if (f->write)
		leaf |= pt->dirty;
	if (f->data)
		leaf &= ~pt->fetch;
	return leaf;
}

/*
 * *entry, which was `old`, is to map f->page. 0; -EEXIST: something else is
 * there and has to be zapped first.
 */
static int fault_set_leaf(struct vmm_vm *vm, struct fault *f, u64 *entry, u64 old)
{
	u64 want = fault_leaf(f), hw = vmm_ops->pt->accessed | vmm_ops->pt->dirty;

	for (;;) {
		if (!pt_present(old)) {
			if (try_cmpxchg(entry, &old, want)) {
				pt_count_leaf(vm, f->level, 1);
				return 0;
			}
			continue;
		}
		if ((old ^ want) & ~(hw | vmm_ops->pt->write))
			return -EEXIST;
		/*
		 * Another vCPU was faster, perhaps for reading. More rights
		 * need no flush: the CPU walks again before it faults.
		 */
		if ((old | want) == old || try_cmpxchg(entry, &old, old | want))
			return 0;
	}
}

/* the table that *entry of a table of `level` points to, made if need be */
static u64 *fault_descend(struct vmm_vm *vm, struct fault *f, u64 *entry, u64 old)
{
	while (!pt_present(old)) {
		u64 *table = f->spare;

		if (!table)
			return NULL;
		if (try_cmpxchg(entry, &old, pt_addr(virt_to_phys(table)) | vmm_ops->pt->table)) {
			pt_account(vm, table, 1);
			f->spare = NULL;
			return table;
		}
	}
	return pt_child(old);
}

/*
 * Map f->page, mmu_lock held for reading, irqs off. 0; -ENOMEM: needs f->spare;
 * -EEXIST: a leaf is in the way.
 */
static int fault_install(struct vmm_vm *vm, struct fault *f)
{
	u64 *table = vm->npt_root, *entry, old;
	int level = pt_levels();

	f->tracked = vmm_dirty_tracked(vm, f->gpa, PAGE_SIZE);
	f->level = fault_level(vm, f);
	for (;;) {
		f->entry = entry = pt_entry(table, f->gpa, level);
		old = READ_ONCE(*entry);
		if (pt_present(old) && pt_is_leaf(old, level)) {
			/* large and good enough, or in the way */
			if (level > f->level) {
				f->level = level;
				return !f->write || (old & vmm_ops->pt->write) ? 0 : -EEXIST;
			}
			return fault_set_leaf(vm, f, entry, old);
		}
		if (level == f->level) {
			if (!pt_present(old) && !fault_set_leaf(vm, f, entry, 0))
				return 0;
			/* smaller pages are mapped here: stay with them */
			old = READ_ONCE(*entry);
			if (pt_is_leaf(old, level))
				continue;
			f->level--;
		}
		table = fault_descend(vm, f, entry, old);
		if (!table)
			return -ENOMEM;
		level--;
	}
}

/* whatever maps gpa now is not what it should be */
static void fault_clear_way(struct vmm_vm *vm, struct fault *f)
{
	write_lock(&vm->mmu_lock);
	vmm_npt_zap(vm, f->gpa, f->gpa + PAGE_SIZE);
	write_unlock(&vm->mmu_lock);
	vmm_npt_flush(vm);
}

/* 0; -EAGAIN, -EBUSY: see fault_check; -ENOMEM */
static int fault_map(struct vmm_vm *vm, struct fault *f)
{
	int r;

	for (;;) {
		read_lock(&vm->mmu_lock);
		r = fault_check(vm, f);
		if (!r) {
			local_irq_disable();
			if (!f->data)
				host_find(f->hva, &f->host);
			r = fault_install(vm, f);
			local_irq_enable();
		}
		read_unlock(&vm->mmu_lock);
		if (r != -ENOMEM)
			break;
		f->spare = pt_alloc();
		if (!f->spare)
			return -ENOMEM;
	}
	if (r == -EEXIST) {
		fault_clear_way(vm, f);
		r = -EAGAIN;
	}
	return r;
}

/* ---- the fast gear ------------------------------------------------------------ */

/*
 * The page's neighbours, if they are as easily had: the guest's next fault would
 * probably be about one of them. Nobody has touched them, so their A and D bits
 * stay clear, which a CPU without them could not express. Writable is only what
 * Linux holds for written already; else it would have to be told.
 */
static void fault_around(struct vmm_vm *vm, struct fault *f)
{
	u64 start = max(f->gpa & ~(AROUND - 1), f->map.gpa);
	u64 end = min((f->gpa | (AROUND - 1)) + 1, f->map.gpa + f->map.size);
	u64 before = min(f->gpa - start, f->hva & (PMD_SIZE - 1));
	u64 behind = min(end - f->gpa, PMD_SIZE - (f->hva & (PMD_SIZE - 1)));
	unsigned long hva = f->hva - before, hva_end = f->hva + behind;
	u64 *entry = f->entry - before / PAGE_SIZE;
	bool readonly = f->map.flags & VMM_MAP_READONLY;

	if (invalidating(vm, hva, hva_end - hva) || !vmm_dirty_sees_touch(vm))
		return;
	for (; hva < hva_end; hva += PAGE_SIZE, entry++) {
		struct host_page p;
		u64 leaf;

		if (pt_present(READ_ONCE(*entry)) || !host_page(&f->host, hva, &p))
			continue;
		leaf = pt_addr(page_to_phys(p.page)) | vmm_ops->pt->leaf;
		if (p.writable && p.dirty && !readonly)
			leaf |= vmm_ops->pt->write;
		cmpxchg(entry, 0, leaf);
	}
}

/* f->page and what it allows, if it is in the process's page table as it should be */
static bool fault_host_page(struct fault *f, bool *dirty)
{
	struct host_page p;

	host_find(f->hva, &f->host);
	if (!host_page(&f->host, f->hva, &p) || (f->write && !p.writable))
		return false;
	f->page = p.page;
	f->writable = p.writable && !(f->map.flags & VMM_MAP_READONLY);
	*dirty = p.dirty;
	return true;
}

/*
 * No reference is needed: under mmu_lock the page stays where it was found. A CPU
 * without A bits does not tell Linux which pages are in use; its faults do, in the
 * slow gear.
 */
bool vmm_npt_fault_now(struct vmm_vcpu *vcpu, u64 gpa, u32 access,
		       const struct vmm_mapping *map, unsigned long seq)
{
	struct vmm_vm *vm = vcpu->vm;
	struct fault f = {
		.gpa = gpa & PAGE_MASK,
		.hva = map->hva + ((gpa & PAGE_MASK) - map->gpa),
		.write = access & VMM_ACCESS_WRITE,
		.seq = seq,
		.map = *map,
	};
	bool done, dirty;

	if (!vmm_ops->pt->accessed || current->mm != vm->mm || !read_trylock(&vm->mmu_lock))
		return false;
	done = !fault_check(vm, &f) && fault_host_page(&f, &dirty) && !fault_install(vm, &f);
	if (done && f.writable && !dirty)
		fault_mark_dirty(&f);
	if (done && f.level == 1)
		fault_around(vm, &f);
	read_unlock(&vm->mmu_lock);
	return done;
}

/* ---- the slow gear ------------------------------------------------------------ */

/* as vmm_npt_fault, and -EAGAIN, -EBUSY */
static int fault_try(struct vmm_vm *vm, u64 gpa, u32 access)
{
	struct fault f = {
		.gpa = gpa & PAGE_MASK,
		.write = access & VMM_ACCESS_WRITE,
		.seq = READ_ONCE(vm->mmu_seq),
	};
	int r;

	/* seq before the table and before the page; checked under mmu_lock */
	smp_rmb();
	if (!vmm_mem_find(vm, gpa, &f.map))
		return 1;
	if (f.write && (f.map.flags & VMM_MAP_READONLY))
		return 1;
	f.hva = f.map.hva + (f.gpa - f.map.gpa);

	r = fault_page(&f);
	if (r)
		return r;
	r = fault_map(vm, &f);
	/* Before the reference goes: with it the page cannot go as a clean one. */
	if (f.writable)
		fault_mark_dirty(&f);
	put_page(f.page);
	if (f.spare)
		free_page((unsigned long)f.spare);
	return r;
}

int vmm_npt_map_apic(struct vmm_vm *vm, u64 gpa)
{
	struct fault f = {
		.gpa = gpa & PAGE_MASK,
		.write = true,
		.writable = true,
		.data = true,
		.seq = READ_ONCE(vm->mmu_seq),
		.map = { .gpa = gpa & PAGE_MASK, .size = PAGE_SIZE },
		.page = vm->apic_access,
	};
	int r;

	/* seq before what it guards, as in fault_try */
	smp_rmb();
	if (READ_ONCE(vm->apic_strays) || vmm_mem_find(vm, gpa, &f.map))
		return 1;
	r = fault_map(vm, &f);
	if (f.spare)
		free_page((unsigned long)f.spare);
	return r == -ENOMEM ? r : 0;
}

/*
 * Until an invalidation has ended since `seq`. Who ends it may be waiting for
 * the CPU that we would burn by trying again. Not for long: kicks do not wake
 * this up.
 */
static void fault_wait(struct vmm_vm *vm, unsigned long seq)
{
	wait_event_interruptible_timeout(vm->mmu_wait, READ_ONCE(vm->mmu_seq) != seq,
					 msecs_to_jiffies(10));
}

int vmm_npt_fault(struct vmm_vcpu *vcpu, u64 gpa, u32 access)
{
	struct vmm_vm *vm = vcpu->vm;
	unsigned long seq = READ_ONCE(vm->mmu_seq);
	int r;

	/* GUP is about current->mm; the ioctl layer let nobody else in */
	if (current->mm != vm->mm)
		return -EFAULT;
	r = fault_try(vm, gpa, access);
	if (r == -EBUSY)
		fault_wait(vm, seq);
	/*
	 * Getting the page may itself have invalidated what was there, a page
	 * shared with a child, say: the second try succeeds then. Beyond that
	 * let the guest fault again: the run loop looks at signals and kicks.
	 */
	if (r == -EAGAIN || r == -EBUSY)
		r = fault_try(vm, gpa, access);
	return r == -EAGAIN || r == -EBUSY ? 0 : r;
}
