// SPDX-License-Identifier: GPL-2.0
/*
 * Segmentation: APM 2 4.5, 4.7, 4.12. Paging: APM 2 5.2 - 5.6, SDM 3A 4.
 * Protection keys and shadow stacks are not looked at: the module offers
 * neither to guests.
 */
#include <stddef.h>

#include "mem.h"
#include "walk.h"

#define CR0_PE		(1ULL << 0)
#define CR0_WP		(1ULL << 16)
#define CR0_PG		(1ULL << 31)
#define CR4_PSE		(1ULL << 4)
#define CR4_PAE		(1ULL << 5)
#define CR4_LA57	(1ULL << 12)
#define CR4_SMEP	(1ULL << 20)
#define CR4_SMAP	(1ULL << 21)
#define EFER_LMA	(1ULL << 10)
#define EFER_NXE	(1ULL << 11)
#define RFLAGS_VM	(1ULL << 17)
#define RFLAGS_AC	(1ULL << 18)

#define PTE_P		(1ULL << 0)
#define PTE_W		(1ULL << 1)
#define PTE_U		(1ULL << 2)
#define PTE_A		(1ULL << 5)
#define PTE_D		(1ULL << 6)
#define PTE_PS		(1ULL << 7)
#define PTE_NX		(1ULL << 63)

/* page fault error code */
#define PF_P		(1U << 0)
#define PF_W		(1U << 1)
#define PF_U		(1U << 2)
#define PF_RSVD		(1U << 3)
#define PF_I		(1U << 4)

/* descriptor type bits of code and data segments */
#define TYPE_CODE	8
#define TYPE_DOWN	4		/* data: expands down */
#define TYPE_RW		2		/* data: writable, code: readable */

bool walk_is_64(const struct vmm_sregs *s)
{
	return (s->efer & EFER_LMA) && (s->seg[VMM_CS].attr & VMM_SEG_L);
}

unsigned int walk_cpl(const struct walk *w)
{
	if (!(w->sregs->cr0 & CR0_PE))
		return 0;
	if (w->rflags & RFLAGS_VM)
		return 3;
	return (w->sregs->seg[VMM_SS].attr >> VMM_SEG_DPL_SHIFT) & 3;
}

unsigned int walk_code_bits(const struct vmm_sregs *s)
{
	if (walk_is_64(s))
		return 64;
	/* the hidden part of CS counts in real mode too ("unreal" mode) */
	return s->seg[VMM_CS].attr & VMM_SEG_DB ? 32 : 16;
}

unsigned int walk_stack_bits(const struct vmm_sregs *s)
{
	if (walk_is_64(s))
		return 64;
	return s->seg[VMM_SS].attr & VMM_SEG_DB ? 32 : 16;
}

/* ---- segments ------------------------------------------------------------- */

static bool segment_fault(const struct walk *w, unsigned int seg,
			  struct walk_fault *fault)
{
	*fault = (struct walk_fault){
		.vector = seg == VMM_SS ? WALK_SS : WALK_GP,
		/* real mode pushes no error codes */
		.has_error = w->sregs->cr0 & CR0_PE,
	};
	return false;
}

static bool canonical(const struct vmm_sregs *s, uint64_t addr)
{
	unsigned int unused = s->cr4 & CR4_LA57 ? 64 - 57 : 64 - 48;

	return (uint64_t)((int64_t)(addr << unused) >> unused) == addr;
}

static bool segment_allows(const struct walk *w, const struct vmm_segment *s,
			   unsigned int access)
{
	unsigned int type = s->attr & VMM_SEG_TYPE;

	/* types are not looked at in real and virtual-8086 mode */
	if (!(w->sregs->cr0 & CR0_PE) || (w->rflags & RFLAGS_VM))
		return true;
	if (!(s->attr & VMM_SEG_P))
		return false;
	if (access & WALK_FETCH)
		return true;	/* CS is code, else it could not be loaded */
	if (access & WALK_WRITE)
		return !(type & TYPE_CODE) && (type & TYPE_RW);
	return !(type & TYPE_CODE) || (type & TYPE_RW);
}

static bool segment_limit(const struct vmm_segment *s, uint64_t offset,
			  unsigned int size)
{
	unsigned int type = s->attr & VMM_SEG_TYPE;
	uint64_t last = offset + size - 1;

	if ((s->attr & VMM_SEG_S) && !(type & TYPE_CODE) && (type & TYPE_DOWN))
		return offset > s->limit &&
		       last <= (s->attr & VMM_SEG_DB ? 0xffffffff : 0xffff);
	return last <= s->limit;
}

bool walk_segment(const struct walk *w, unsigned int seg, uint64_t offset,
		  unsigned int size, unsigned int access, uint64_t *linear,
		  struct walk_fault *fault)
{
	const struct vmm_segment *s = &w->sregs->seg[seg];

	if (walk_is_64(w->sregs)) {
		if (seg == VMM_FS || seg == VMM_GS)
			offset += s->base;
		*linear = offset;
		if (canonical(w->sregs, offset) &&
		    canonical(w->sregs, offset + size - 1))
			return true;
		return segment_fault(w, seg, fault);
	}
	offset &= 0xffffffff;
	*linear = (s->base + offset) & 0xffffffff;
	if (segment_allows(w, s, access) && segment_limit(s, offset, size))
		return true;
	return segment_fault(w, seg, fault);
}

/* ---- pages ---------------------------------------------------------------- */

/* one entry on the way, for the accessed and dirty bits */
struct step {
	uint64_t gpa;
	uint64_t value;
};

struct paging {
	unsigned int levels;
	unsigned int bits;		/* of the linear address per level */
	unsigned int entry;		/* bytes */
	bool pae_top;			/* level 3 is a PDPTE of legacy PAE */
};

static struct paging paging_of(const struct vmm_sregs *s)
{
	if (s->efer & EFER_LMA)
		return (struct paging){ s->cr4 & CR4_LA57 ? 5 : 4, 9, 8, false };
	if (s->cr4 & CR4_PAE)
		return (struct paging){ 3, 9, 8, true };
	return (struct paging){ 2, 10, 4, false };
}

static bool page_fault(const struct walk *w, uint64_t linear,
		       unsigned int access, uint32_t error,
		       struct walk_fault *fault)
{
	if (access & WALK_WRITE)
		error |= PF_W;
	if (walk_cpl(w) == 3)
		error |= PF_U;
	if ((access & WALK_FETCH) &&
	    ((w->sregs->efer & EFER_NXE) || (w->sregs->cr4 & CR4_SMEP)))
		error |= PF_I;
	*fault = (struct walk_fault){
		.vector = WALK_PF, .has_error = true, .error = error,
		.cr2 = linear,
	};
	return false;
}

/* the guest's other vCPUs write entries too: read each one once */
static bool read_entry(const struct walk *w, uint64_t gpa, unsigned int size,
		       uint64_t *value)
{
	const void *p = mem_ptr_ro(w->mem, gpa, size);

	if (!p)
		return false;
	*value = size == 8 ? __atomic_load_n((const uint64_t *)p, __ATOMIC_RELAXED) :
			     __atomic_load_n((const uint32_t *)p, __ATOMIC_RELAXED);
	return true;
}

/* false: somebody changed the entry meanwhile */
static bool set_bits(const struct walk *w, const struct step *s,
		     unsigned int size, uint64_t bits)
{
	uint64_t old8 = s->value;
	uint32_t old4 = s->value;
	bool done;
	void *p;

	if ((s->value & bits) == bits)
		return true;
	p = mem_ptr(w->mem, s->gpa, size);
	if (!p)
		return true;	/* tables in ROM keep their bits as they are */
	if (size == 8)
		done = __atomic_compare_exchange_n((uint64_t *)p, &old8,
						   old8 | bits, false,
						   __ATOMIC_SEQ_CST,
						   __ATOMIC_RELAXED);
	else
		done = __atomic_compare_exchange_n((uint32_t *)p, &old4,
						   old4 | (uint32_t)bits, false,
						   __ATOMIC_SEQ_CST,
						   __ATOMIC_RELAXED);
	mem_wrote(w->mem, s->gpa, size);
	return done;
}

/* bits lo..hi-1 */
static uint64_t bit_range(unsigned int lo, unsigned int hi)
{
	return hi <= lo ? 0 : ((1ULL << hi) - 1) & ~((1ULL << lo) - 1);
}

/* reserved bits of a present entry; large: it maps a page above level 1 */
static uint64_t reserved_bits(const struct walk *w, const struct paging *p,
			      unsigned int level, bool large)
{
	unsigned int shift = 12 + (level - 1) * p->bits;
	uint64_t bits;

	if (p->entry == 4) {
		/* PSE-36: 20:13 are address bits 39:32, 21 is reserved */
		if (!large)
			return 0;
		return 1ULL << 21 |
		       (w->phys_bits < 40 ?
			bit_range(13 + (w->phys_bits > 32 ? w->phys_bits - 32 : 0),
				  21) : 0);
	}
	bits = bit_range(w->phys_bits, 52);
	if (!(w->sregs->efer & EFER_NXE))
		bits |= PTE_NX;
	if (large)
		bits |= bit_range(13, shift);	/* 12 is PAT */
	if (level >= 4)
		bits |= PTE_PS;
	if (p->pae_top)
		bits |= bit_range(52, 63);
	return bits;
}

static bool is_large(const struct walk *w, const struct paging *p,
		     unsigned int level, uint64_t entry)
{
	if (!(entry & PTE_PS) || level == 1)
		return false;
	if (p->entry == 4)
		return w->sregs->cr4 & CR4_PSE;
	return level == 2 || (level == 3 && !p->pae_top);
}

/* may the access use a page whose combined bits are these */
static bool permitted(const struct walk *w, unsigned int access, uint64_t all,
		      bool nx)
{
	const struct vmm_sregs *s = w->sregs;
	bool user = walk_cpl(w) == 3;

	if (user && !(all & PTE_U))
		return false;
	if (access & WALK_FETCH)
		return !nx && (user || !(all & PTE_U) || !(s->cr4 & CR4_SMEP));
	if (!user && (all & PTE_U) && (s->cr4 & CR4_SMAP) &&
	    !(w->rflags & RFLAGS_AC))
		return false;
	if ((access & WALK_WRITE) && !(all & PTE_W))
		return !user && !(s->cr0 & CR0_WP);
	return true;
}

static uint64_t leaf_address(const struct paging *p, unsigned int level,
			     uint64_t entry, uint64_t linear)
{
	unsigned int shift = 12 + (level - 1) * p->bits;
	uint64_t base;

	if (p->entry == 4 && level == 2)
		base = (entry & 0xffc00000) | ((entry >> 13 & 0xff) << 32);
	else
		base = entry & bit_range(shift, 52);
	return base | (linear & bit_range(0, shift));
}

enum walk_result { WALK_OK, WALK_FAULTED, WALK_CHANGED };

/* what makes one walk to a page differ from another, in the address's low bits */
static uint64_t walk_key(const struct walk *w, uint64_t linear, unsigned int access)
{
	return (linear & ~0xfffULL) | access | (walk_cpl(w) == 3 ? 0x10 : 0) |
	       (w->rflags & RFLAGS_AC ? 0x20 : 0);
}

static struct walk_known *walk_slot(const struct walk *w, uint64_t key)
{
	return &w->known[(key >> 12 ^ key) % WALK_KNOWN];
}

static bool walk_again(const struct walk *w, const struct walk_known *k, uint64_t key)
{
	const struct vmm_sregs *s = w->sregs;
	unsigned int i;

	if (!k->n || k->page != key || k->cr3 != s->cr3 || k->cr0 != s->cr0 ||
	    k->cr4 != s->cr4 || k->efer != s->efer)
		return false;
	for (i = 0; i < k->n; i++)
		if (__atomic_load_n(k->at[i], __ATOMIC_RELAXED) != k->value[i])
			return false;
	return true;
}

/* a walk that succeeded, its bits set: the next one finds the same or differs */
static void walk_remember(const struct walk *w, uint64_t key, uint64_t gpa,
			  const struct paging *p, const struct step *step,
			  unsigned int n)
{
	struct walk_known *k = walk_slot(w, key);
	unsigned int i;

	k->n = 0;
	if (p->entry != 8)
		return;
	for (i = 0; i < n; i++) {
		k->at[i] = mem_ptr_ro(w->mem, step[i].gpa, 8);
		k->value[i] = step[i].value;
		if (i || !p->pae_top)
			k->value[i] |= PTE_A;
	}
	if (key & WALK_WRITE)
		k->value[n - 1] |= PTE_D;
	k->page = key;
	k->cr0 = w->sregs->cr0;
	k->cr3 = w->sregs->cr3;
	k->cr4 = w->sregs->cr4;
	k->efer = w->sregs->efer;
	k->gpa = gpa & ~0xfffULL;
	k->n = n;
}

static enum walk_result walk_mark(const struct walk *w, const struct paging *p,
				  const struct step *step, unsigned int n,
				  unsigned int access)
{
	uint64_t bits;
	unsigned int i;

	for (i = 0; i < n; i++) {
		bits = PTE_A;
		if (i == n - 1 && (access & WALK_WRITE))
			bits |= PTE_D;
		if (i == 0 && p->pae_top)
			continue;	/* a PDPTE has neither bit */
		if (!set_bits(w, &step[i], p->entry, bits))
			return WALK_CHANGED;
	}
	return WALK_OK;
}

static enum walk_result walk_once(const struct walk *w, uint64_t linear,
				  unsigned int access, uint64_t *gpa,
				  struct walk_fault *fault)
{
	const struct paging p = paging_of(w->sregs);
	uint64_t table, entry = 0, all = PTE_U | PTE_W;
	unsigned int level, n = 0;
	struct step step[WALK_LEVELS];
	bool nx = false, large;
	enum walk_result r;

	table = w->sregs->cr3 & (p.pae_top ? bit_range(5, 32) :
				 p.entry == 4 ? bit_range(12, 32) : bit_range(12, 52));
	for (level = p.levels; ; level--) {
		unsigned int shift = 12 + (level - 1) * p.bits;
		uint64_t index = (linear >> shift) & bit_range(0, p.bits);
		uint64_t at = table + index * p.entry;

		/* a table where nothing is reads as all ones */
		if (!read_entry(w, at, p.entry, &entry)) {
			page_fault(w, linear, access, PF_P | PF_RSVD, fault);
			return WALK_FAULTED;
		}
		if (!(entry & PTE_P)) {
			page_fault(w, linear, access, 0, fault);
			return WALK_FAULTED;
		}
		large = is_large(w, &p, level, entry);
		if (entry & reserved_bits(w, &p, level, large)) {
			page_fault(w, linear, access, PF_P | PF_RSVD, fault);
			return WALK_FAULTED;
		}
		step[n++] = (struct step){ at, entry };
		if (!(p.pae_top && level == 3)) {
			all &= entry;
			nx |= p.entry == 8 && (entry & PTE_NX);
		}
		if (level == 1 || large)
			break;
		table = entry & bit_range(12, 52);
	}
	*gpa = leaf_address(&p, level, entry, linear);
	if (access & WALK_PEEK)
		return WALK_OK;
	if (!permitted(w, access, all, nx)) {
		page_fault(w, linear, access, PF_P, fault);
		return WALK_FAULTED;
	}
	r = walk_mark(w, &p, step, n, access);
	if (r == WALK_OK && w->known)
		walk_remember(w, walk_key(w, linear, access), *gpa, &p, step, n);
	return r;
}

bool walk_page(const struct walk *w, uint64_t linear, unsigned int access,
	       uint64_t *gpa, struct walk_fault *fault)
{
	const struct walk_known *k;
	enum walk_result r;
	uint64_t key;

	if (!(w->sregs->cr0 & CR0_PG)) {
		*gpa = linear;
		return true;
	}
	if (w->known) {
		key = walk_key(w, linear, access);
		k = walk_slot(w, key);
		if (walk_again(w, k, key)) {
			*gpa = k->gpa | (linear & 0xfff);
			return true;
		}
	}
	/* each repetition means that another vCPU made progress */
	do {
		r = walk_once(w, linear, access, gpa, fault);
	} while (r == WALK_CHANGED);
	return r == WALK_OK;
}
