// SPDX-License-Identifier: GPL-2.0
/*
 * Nested page tables: guest physical to host physical.
 *
 * Filled by faults only, each for one page or one large page, and emptied by
 * zaps. Faults run in parallel: mmu_lock for reading, every entry written with
 * cmpxchg. Zaps hold it for writing, so a table that a fault walks stays.
 * No page reference is kept: the MMU notifier (mem.c) takes an entry away
 * before Linux takes the page. A zap only unlinks; tables are freed by the
 * flush that follows, when no CPU can be walking them any more.
 *
 * A table of level 1 maps 4 KiB pages, of level 2 2 MiB pages, and so on.
 */
#include <linux/io.h>
#include <linux/mem_encrypt.h>
#include <linux/mm.h>
#include <linux/pgtable.h>
#include <linux/sched/signal.h>
#include <linux/vmstat.h>
#include <linux/wait.h>

#include "compat.h"
#include "vmm.h"

#define PT_ENTRIES	512
#define PT_MAX_LEAF	3		/* 1 GiB */

/*
 * What an entry looks like. Bits that are hardware's to set are 0 where the
 * format has none.
 */
struct pt_format {
	u64 present;		/* any of these */
	u64 table;		/* of an entry that points to a table */
	u64 leaf;		/* of an entry that maps a page for reading */
	u64 write;
	u64 large;		/* a leaf in a table above level 1 */
	u64 accessed;
	u64 dirty;
};

/*
 * APM 2 5.3, 15.25.5: the host's own long-mode format. Each nested access
 * counts as a user access, so U/S must be set. NX stays clear: whether the
 * guest may execute is for its own tables to say.
 */
#define AMD64_P		BIT_ULL(0)
#define AMD64_RW	BIT_ULL(1)
#define AMD64_US	BIT_ULL(2)
#define AMD64_A		BIT_ULL(5)
#define AMD64_D		BIT_ULL(6)
#define AMD64_PS	BIT_ULL(7)

static const struct pt_format pt_amd64 = {
	.present	= AMD64_P,
	.table		= AMD64_P | AMD64_RW | AMD64_US | AMD64_A,
	.leaf		= AMD64_P | AMD64_US,
	.write		= AMD64_RW,
	.large		= AMD64_PS,
	.accessed	= AMD64_A,
	.dirty		= AMD64_D,
};

static const struct pt_format *const fmt = &pt_amd64;

#define PT_ADDR		GENMASK_ULL(51, PAGE_SHIFT)

/* the nested walk has as many levels as the host's own, APM 2 15.25.3 */
static int pt_levels(void)
{
	return pgtable_l5_enabled() ? 5 : 4;
}

static u64 pt_span(int level)
{
	return 1ULL << (PAGE_SHIFT + 9 * (level - 1));
}

static u64 *pt_entry(u64 *table, u64 gpa, int level)
{
	return &table[(gpa / pt_span(level)) % PT_ENTRIES];
}

static bool pt_present(u64 entry)
{
	return entry & fmt->present;
}

static bool pt_is_leaf(u64 entry, int level)
{
	return level == 1 || (entry & fmt->large);
}

/* With memory encryption the C-bit belongs in every entry, APM 2 15.34.6. */
static u64 pt_addr(u64 pa)
{
	return __sme_set(pa);
}

static u64 *pt_child(u64 entry)
{
	return phys_to_virt(__sme_clr(entry & PT_ADDR));
}

int vmm_npt_gpa_bits(void)
{
	return min_t(int, boot_cpu_data.x86_phys_bits, 48);
}

/* ---- table pages ------------------------------------------------------------ */

/* also counted as SecPageTables in /proc/meminfo */
static void table_account(struct vmm_vm *vm, u64 *table, int n)
{
	atomic_long_add(n, &vm->npt_pages);
	mod_node_page_state(page_pgdat(virt_to_page(table)), NR_SECONDARY_PAGETABLE, n);
}

static u64 *table_alloc(void)
{
	return (u64 *)get_zeroed_page(GFP_KERNEL_ACCOUNT);
}

/* a table that was linked or is the root, with all below it */
static void table_free(struct vmm_vm *vm, u64 *table, int level)
{
	int i;

	for (i = 0; level > 1 && i < PT_ENTRIES; i++)
		if (pt_present(table[i]) && !pt_is_leaf(table[i], level))
			table_free(vm, pt_child(table[i]), level - 1);
	table_account(vm, table, -1);
	free_page((unsigned long)table);
}

/*
 * Unlinked tables wait for the flush in a list through page_private: the
 * address of the next one, with its level in the bits below the page size.
 * The tables' own contents must stay, a CPU may be walking them.
 */
static void detached_free(struct vmm_vm *vm, unsigned long head)
{
	while (head) {
		u64 *table = (u64 *)(head & PAGE_MASK);
		int level = head & ~PAGE_MASK;
		struct page *page = virt_to_page(table);

		head = page_private(page);
		set_page_private(page, 0);
		table_free(vm, table, level);
	}
}

static void detached_publish(struct vmm_vm *vm, unsigned long first, unsigned long last)
{
	struct page *page = virt_to_page((void *)(last & PAGE_MASK));
	unsigned long head = READ_ONCE(vm->npt_detached);

	do {
		set_page_private(page, head);
	} while (!try_cmpxchg(&vm->npt_detached, &head, first));
}

/* ---- zap ----------------------------------------------------------------------- */

struct zap {
	bool removed;
	unsigned long first, last;	/* list of detached tables */
};

static void zap_detach(struct zap *z, u64 *table, int level)
{
	set_page_private(virt_to_page(table), z->first);
	z->first = (unsigned long)table | level;
	if (!z->last)
		z->last = z->first;
}

/* A leaf that reaches beyond the range goes too; the rest faults in again. */
static void zap_table(struct zap *z, u64 *table, int level, u64 start, u64 end)
{
	u64 span = pt_span(level), next;

	for (; start < end; start = next) {
		u64 *entry = pt_entry(table, start, level);
		u64 old = READ_ONCE(*entry);

		next = min(end, (start | (span - 1)) + 1);
		if (!pt_present(old))
			continue;
		if (!pt_is_leaf(old, level) && next - start < span) {
			zap_table(z, pt_child(old), level - 1, start, next);
			continue;
		}
		/* The CPU may be setting A and D: an atomic exchange. */
		old = xchg(entry, 0);
		if (!pt_is_leaf(old, level))
			zap_detach(z, pt_child(old), level - 1);
		z->removed = true;
	}
}

bool vmm_npt_zap(struct vmm_vm *vm, u64 gpa_start, u64 gpa_end)
{
	struct zap z = {};

	lockdep_assert_held_write(&vm->mmu_lock);
	zap_table(&z, vm->npt_root, pt_levels(), gpa_start, gpa_end);
	if (!z.removed)
		return false;
	/*
	 * In this order: the generation tells a vCPU to flush what was cleared
	 * above; a table in the list says that its generation is out.
	 */
	atomic64_inc_return(&vm->tlb_gen);
	if (z.first)
		detached_publish(vm, z.first, z.last);
	return true;
}

/* ---- flush --------------------------------------------------------------------- */

static void flush_ipi(void *unused)
{
	/* that it arrived is all: the CPU left the guest for it */
}

/* make every vCPU that is in the guest leave it; returns when they have */
static void flush_kick(struct vmm_vm *vm)
{
	int i, idx, cpu;

	cpumask_clear(vm->flush_mask);
	idx = srcu_read_lock(&vm->srcu);
	for (i = 0; i < VMM_MAX_VCPUS; i++) {
		struct vmm_vcpu *vcpu = srcu_dereference(vm->vcpus[i], &vm->srcu);

		if (!vcpu || READ_ONCE(vcpu->mode) != MODE_GUEST)
			continue;
		cpu = READ_ONCE(vcpu->cpu);
		if (cpu >= 0)
			cpumask_set_cpu(cpu, vm->flush_mask);
	}
	srcu_read_unlock(&vm->srcu, idx);
	smp_call_function_many(vm->flush_mask, flush_ipi, NULL, true);
}

void vmm_npt_flush(struct vmm_vm *vm)
{
	unsigned long detached = 0;
	u64 gen = atomic64_read(&vm->tlb_gen);

	if (smp_load_acquire(&vm->tlb_done) >= gen)
		return;
	/* Those who wait here find their work done by the one before. */
	spin_lock(&vm->flush_lock);
	if (vm->tlb_done < gen) {
		/* the list before the generation, see vmm_npt_zap */
		detached = xchg(&vm->npt_detached, 0);
		gen = atomic64_read(&vm->tlb_gen);
		/*
		 * Pairs with the barrier after mode = MODE_GUEST in the run
		 * loop: either we see the mode, or the vCPU the generation.
		 */
		smp_mb();
		flush_kick(vm);
		smp_store_release(&vm->tlb_done, gen);
	}
	spin_unlock(&vm->flush_lock);
	detached_free(vm, detached);
}

/* ---- accessed bits ------------------------------------------------------------- */

static bool entry_young(u64 *entry, bool clear)
{
	u64 old = READ_ONCE(*entry);

	do {
		if (!pt_present(old) || !(old & fmt->accessed))
			return false;
	} while (clear && !try_cmpxchg(entry, &old, old & ~fmt->accessed));
	return true;
}

static bool table_young(u64 *table, int level, u64 start, u64 end, bool clear)
{
	bool young = false;
	u64 next;

	for (; start < end; start = next) {
		u64 *entry = pt_entry(table, start, level);
		u64 old = READ_ONCE(*entry);

		next = min(end, (start | (pt_span(level) - 1)) + 1);
		if (!pt_present(old))
			continue;
		if (pt_is_leaf(old, level))
			young |= entry_young(entry, clear);
		else
			young |= table_young(pt_child(old), level - 1, start, next, clear);
	}
	return young;
}

bool vmm_npt_young(struct vmm_vm *vm, u64 gpa_start, u64 gpa_end, bool clear)
{
	lockdep_assert_held(&vm->mmu_lock);
	return table_young(vm->npt_root, pt_levels(), gpa_start, gpa_end, clear);
}

/* ---- fault --------------------------------------------------------------------- */

struct fault {
	u64 gpa;			/* of the page */
	unsigned long hva;		/* of the page */
	bool write;			/* what the guest wants */
	bool writable;			/* what the host's page allows */
	int level;			/* of the table that gets the leaf */
	unsigned long seq;		/* vm->mmu_seq before the page was looked up */
	struct vmm_mapping map;
	struct page *page;		/* referenced */
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
 * under mmu_lock after fault_check() said 0, when the host's entry cannot change
 * unless we are called first. Interrupts off keep the host's tables (they are
 * freed after an IPI or a grace period).
 */
static int host_level(struct fault *f)
{
	u64 need = _PAGE_PRESENT | _PAGE_PSE | (f->writable ? _PAGE_RW : 0);
	unsigned long pfn = page_to_pfn(f->page);
	unsigned long flags;
	int level = 1;
	pgd_t pgd;
	p4d_t p4d;
	pud_t pud;
	pmd_t pmd;

	local_irq_save(flags);
	pgd = READ_ONCE(*pgd_offset(current->mm, f->hva));
	if (pgd_none(pgd))
		goto out;
	p4d = READ_ONCE(*p4d_offset(&pgd, f->hva));
	if (p4d_none(p4d) || !p4d_present(p4d))
		goto out;
	pud = READ_ONCE(*pud_offset(&p4d, f->hva));
	if (pud_none(pud) || !pud_present(pud))
		goto out;
	if (pud_leaf(pud)) {
		if ((pud_val(pud) & need) == need &&
		    pud_pfn(pud) == (pfn & ~(pt_span(3) / PAGE_SIZE - 1)))
			level = 3;
		goto out;
	}
	pmd = READ_ONCE(*pmd_offset(&pud, f->hva));
	if ((pmd_val(pmd) & need) == need &&
	    pmd_pfn(pmd) == (pfn & ~(pt_span(2) / PAGE_SIZE - 1)))
		level = 2;
out:
	local_irq_restore(flags);
	return level;
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

static int leaf_level_max(void)
{
	return boot_cpu_has(X86_FEATURE_GBPAGES) ? PT_MAX_LEAF : 2;
}

/* the largest page that host, mapping and alignment allow */
static int fault_level(struct vmm_vm *vm, struct fault *f)
{
	int level = min(host_level(f), leaf_level_max());

	for (; level > 1; level--) {
		u64 size = pt_span(level), gpa = f->gpa & ~(size - 1);

		if (((f->gpa ^ f->hva) & (size - 1)) == 0 && gpa >= f->map.gpa &&
		    gpa + size <= f->map.gpa + f->map.size &&
		    !invalidating(vm, f->hva & ~(size - 1), size))
			break;
	}
	return level;
}

static u64 fault_leaf(struct fault *f)
{
	u64 pa = page_to_phys(f->page) & ~(pt_span(f->level) - 1);
	u64 leaf = pt_addr(pa) | fmt->leaf | fmt->accessed;

	if (f->level > 1)
		leaf |= fmt->large;
	if (f->writable)
		leaf |= fmt->write;
	if (f->write)
		leaf |= fmt->dirty;
	return leaf;
}

/*
 * *entry, which was `old`, is to map f->page. 0; -EEXIST: something else is
 * there and has to be zapped first.
 */
static int fault_set_leaf(struct fault *f, u64 *entry, u64 old)
{
	u64 want = fault_leaf(f), hw = fmt->accessed | fmt->dirty;

	for (;;) {
		if (!pt_present(old)) {
			if (try_cmpxchg(entry, &old, want))
				return 0;
			continue;
		}
		if ((old ^ want) & ~(hw | fmt->write))
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
		if (try_cmpxchg(entry, &old, pt_addr(virt_to_phys(table)) | fmt->table)) {
			table_account(vm, table, 1);
			f->spare = NULL;
			return table;
		}
	}
	return pt_child(old);
}

/*
 * Map f->page, mmu_lock held for reading. 0; -ENOMEM: needs f->spare;
 * -EEXIST: a leaf is in the way.
 */
static int fault_install(struct vmm_vm *vm, struct fault *f)
{
	u64 *table = vm->npt_root, *entry, old;
	int level = pt_levels();

	f->level = fault_level(vm, f);
	for (;;) {
		entry = pt_entry(table, f->gpa, level);
		old = READ_ONCE(*entry);
		if (pt_present(old) && pt_is_leaf(old, level)) {
			/* large and good enough, or in the way */
			if (level > f->level)
				return !f->write || (old & fmt->write) ? 0 : -EEXIST;
			return fault_set_leaf(f, entry, old);
		}
		if (level == f->level) {
			if (!pt_present(old) && !fault_set_leaf(f, entry, 0))
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
		r = fault_check(vm, f) ?: fault_install(vm, f);
		read_unlock(&vm->mmu_lock);
		if (r != -ENOMEM)
			break;
		f->spare = table_alloc();
		if (!f->spare)
			return -ENOMEM;
	}
	if (r == -EEXIST) {
		fault_clear_way(vm, f);
		r = -EAGAIN;
	}
	return r;
}

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

/* ---- life ------------------------------------------------------------------------ */

int vmm_npt_create(struct vmm_vm *vm)
{
	u64 *root;

	if (!zalloc_cpumask_var(&vm->flush_mask, GFP_KERNEL_ACCOUNT))
		return -ENOMEM;
	root = table_alloc();
	if (!root) {
		free_cpumask_var(vm->flush_mask);
		return -ENOMEM;
	}
	table_account(vm, root, 1);
	vm->npt_root = root;
	return 0;
}

/* nobody else is left, no notifier and no vCPU that runs */
void vmm_npt_destroy(struct vmm_vm *vm)
{
	detached_free(vm, xchg(&vm->npt_detached, 0));
	table_free(vm, vm->npt_root, pt_levels());
	free_cpumask_var(vm->flush_mask);
}
