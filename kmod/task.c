// SPDX-License-Identifier: GPL-2.0
/*
 * Task switches, SDM 3A 8.2 - 8.3. VT-x leaves all of them to us; what the CPU has
 * checked before the exit (SDM 3C 26.4.2) may have changed since, so it is checked
 * again, except for privileges.
 *
 * Up to the end of `load` nothing is changed but the registers' image in the old
 * TSS, and that may be written twice. So when the host has no page for something,
 * the exit goes to the monitor and the whole happens again.
 */
#include <linux/build_bug.h>
#include <linux/mm.h>
#include <asm/debugreg.h>
#include <asm/processor-flags.h>
#include <asm/trap_pf.h>
#include <asm/trapnr.h>

#include "vmm.h"

#define SEL_TI		4
#define SEL_RPL		3
#define SEL_INDEX	(~(u32)7)
#define SEL_NOT_RPL	(~(u32)3)
#define ERROR_EXT	1

/* descriptor types: SDM 3A tables 3-1, 3-2 */
#define TYPE_ACCESSED	1
#define TYPE_RW		2	/* data: writable, code: readable */
#define TYPE_DOWN	4	/* data: expands down; code: conforming */
#define TYPE_CODE	8
#define TYPE_LDT	2
#define TYPE_TSS	1
#define TYPE_BUSY	2	/* of a TSS */
#define TYPE_32		8

#define CODE_ATTR	(VMM_SEG_P | VMM_SEG_S | TYPE_CODE | TYPE_RW | TYPE_ACCESSED)
#define V86_ATTR	(VMM_SEG_P | VMM_SEG_S | 3 << VMM_SEG_DPL_SHIFT | \
			 TYPE_RW | TYPE_ACCESSED)

#define EFLAGS_DEFINED	0x3f7fd5
#define DR7_LOCAL	0x155	/* L0..L3, LE */

struct tss32 {
	u16 link, pad;
	u32 stacks[6];
	u32 cr3, eip, eflags;
	u32 gpr[8];
	struct {
		u16 sel, pad;
	} seg[6];
	u16 ldt, pad_ldt;
	u16 trap, iomap;
};

struct tss16 {
	u16 link;
	u16 stacks[6];
	u16 ip, flags;
	u16 gpr[8];
	u16 seg[4];
	u16 ldt;
};

static_assert(sizeof(struct tss32) == 104);
static_assert(sizeof(struct tss16) == 44);

union tss {
	struct tss32 w;
	struct tss16 h;
};

/* a few bytes at a linear address: two pages at most */
struct span {
	u64 gpa[2];
	u32 first;		/* bytes of it in the first page */
};

/* what the new task begins with */
struct state {
	u32 cr3, eip, eflags;
	u32 gpr[8];
	u16 seg[6];
	u16 ldt;
	bool trap;
};

struct task {
	struct vmm_vcpu *vcpu;
	u16 selector;		/* of the new TSS */
	enum vmm_task_by by;
	bool wide;		/* the new TSS is a 32-bit one */
	struct vmm_segment tr;
	struct vmm_mmu mmu;	/* the old task's, then the new one's */
	struct vmm_sregs s;	/* likewise */
	struct span link, old_busy, new_busy;
	struct state state;

	u8 vector;		/* a fault: of the task that vcpu is in */
	u32 error;
	u32 cr2;
	u64 no_page;		/* gpa that the host has no page for */
};

/* what the steps below return */
enum { OK, FAULT, NO_PAGE };

static u32 ext(const struct task *t)
{
	return t->vcpu->fact.task.event ? ERROR_EXT : 0;
}

static int fault(struct task *t, u8 vector, u32 selector)
{
	t->vector = vector;
	t->error = (u16)(selector & SEL_NOT_RPL) | ext(t);
	return FAULT;
}

/* ---- guest memory ------------------------------------------------------------- */

static int map_page(struct task *t, u32 va, u32 access, u64 *gpa)
{
	struct vmm_walk w;
	int r = vmm_walk(t->vcpu, &t->mmu, va, access, &w);

	*gpa = w.gpa;
	if (r < 0) {
		t->no_page = w.gpa;
		return NO_PAGE;
	}
	if (r) {
		t->vector = X86_TRAP_PF;
		t->error = w.error;
		t->cr2 = va;
		return FAULT;
	}
	return OK;
}

static int map(struct task *t, u32 va, u32 len, u32 access, struct span *span)
{
	int r;

	span->first = min_t(u32, len, PAGE_SIZE - (va & ~PAGE_MASK));
	r = map_page(t, va, access, &span->gpa[0]);
	if (!r && span->first < len)
		r = map_page(t, va + span->first, access, &span->gpa[1]);
	return r;
}

static int read_span(struct task *t, const struct span *span, void *buf, u32 len)
{
	u32 first = min(len, span->first);

	t->no_page = span->gpa[0];
	if (vmm_mem_read(t->vcpu->vm, span->gpa[0], buf, first))
		return NO_PAGE;
	if (first == len)
		return OK;
	t->no_page = span->gpa[1];
	return vmm_mem_read(t->vcpu->vm, span->gpa[1], buf + first, len - first) ?
		NO_PAGE : OK;
}

static int write_span(struct task *t, const struct span *span, const void *buf, u32 len)
{
	u32 first = min(len, span->first);

	t->no_page = span->gpa[0];
	if (vmm_mem_write(t->vcpu->vm, span->gpa[0], buf, first))
		return NO_PAGE;
	if (first == len)
		return OK;
	t->no_page = span->gpa[1];
	return vmm_mem_write(t->vcpu->vm, span->gpa[1], buf + first, len - first) ?
		NO_PAGE : OK;
}

/* ---- descriptors --------------------------------------------------------------- */

/* where the descriptor is; false: beyond its table. No LDT has a limit of 0. */
static bool descriptor_at(const struct task *t, u16 sel, u32 *va)
{
	const struct vmm_segment *ldt = &t->s.seg[VMM_LDTR];
	u32 index = sel & SEL_INDEX;

	if (sel & SEL_TI) {
		*va = ldt->base + index;
		return index + 7 <= ldt->limit;
	}
	*va = t->s.gdtr.base + index;
	return index + 7 <= t->s.gdtr.limit;
}

/* SDM 3A 3.4.5 */
static struct vmm_segment unpack(u16 sel, u64 d)
{
	u32 limit = (d & 0xffff) | (d >> 32 & 0xf0000);

	return (struct vmm_segment){
		.base = (d >> 16 & 0xffffff) | (d >> 32 & 0xff000000),
		.limit = d >> 55 & 1 ? limit << 12 | 0xfff : limit,
		.selector = sel,
		.attr = (d >> 40 & 0xff) | (d >> 44 & 0xf00),
	};
}

/* a selector that points nowhere is the fault `vector` */
static int get_descriptor(struct task *t, u16 sel, u8 vector, struct vmm_segment *seg)
{
	struct span span;
	u64 d;
	u32 va;
	int r;

	if (!(sel & SEL_NOT_RPL) || !descriptor_at(t, sel, &va))
		return fault(t, vector, sel);
	r = map(t, va, sizeof(d), 0, &span);
	if (!r)
		r = read_span(t, &span, &d, sizeof(d));
	if (!r)
		*seg = unpack(sel, d);
	return r;
}

static int dpl(const struct vmm_segment *seg)
{
	return seg->attr >> VMM_SEG_DPL_SHIFT & 3;
}

/* is set in the descriptor when a segment register gets it */
static int set_accessed(struct task *t, struct vmm_segment *seg)
{
	struct span span;
	u8 byte;
	u32 va;
	int r;

	if (seg->attr & TYPE_ACCESSED)
		return OK;
	descriptor_at(t, seg->selector, &va);
	r = map(t, va + 5, 1, WALK_WRITE, &span);
	if (r)
		return r;
	seg->attr |= TYPE_ACCESSED;
	byte = seg->attr;
	return write_span(t, &span, &byte, 1);
}

static int set_busy(struct task *t, const struct span *span, bool busy)
{
	u8 byte;
	int r = read_span(t, span, &byte, 1);

	if (r)
		return r;
	byte = busy ? byte | TYPE_BUSY : byte & ~TYPE_BUSY;
	return write_span(t, span, &byte, 1);
}

/* ---- before the switch: faults are the old task's --------------------------------- */

static bool nests(const struct task *t)
{
	return t->by == TASK_BY_CALL || t->by == TASK_BY_GATE;
}

static bool leaves(const struct task *t)
{
	return t->by == TASK_BY_IRET || t->by == TASK_BY_JMP;
}

static u32 tss_size(bool wide)
{
	return wide ? sizeof(struct tss32) : sizeof(struct tss16);
}

/* SDM 3A table 8-1, the first rows */
static int check_new_tss(struct task *t)
{
	u8 bad = t->by == TASK_BY_IRET ? X86_TRAP_TS : X86_TRAP_GP;
	u8 type = t->by == TASK_BY_IRET ? TYPE_TSS | TYPE_BUSY : TYPE_TSS;
	int r;

	if (t->selector & SEL_TI)
		return fault(t, bad, t->selector);
	r = get_descriptor(t, t->selector, bad, &t->tr);
	if (r)
		return r;
	if ((t->tr.attr & (VMM_SEG_S | VMM_SEG_TYPE) & ~TYPE_32) != type)
		return fault(t, bad, t->selector);
	if (!(t->tr.attr & VMM_SEG_P))
		return fault(t, X86_TRAP_NP, t->selector);
	t->wide = t->tr.attr & TYPE_32;
	if (t->tr.limit < tss_size(t->wide) - 1)
		return fault(t, X86_TRAP_TS, t->selector);
	return OK;
}

static void save16(const struct vmm_vcpu *vcpu, const struct vmm_sregs *s, u32 eip,
		   u32 eflags, struct tss16 *h)
{
	int n;

	h->ip = eip;
	h->flags = eflags;
	for (n = 0; n < 8; n++)
		h->gpr[n] = vcpu->gpr[n];
	for (n = VMM_ES; n <= VMM_DS; n++)
		h->seg[n] = s->seg[n].selector;
}

static void save32(const struct vmm_vcpu *vcpu, const struct vmm_sregs *s, u32 eip,
		   u32 eflags, struct tss32 *w)
{
	int n;

	w->eip = eip;
	w->eflags = eflags;
	for (n = 0; n < 8; n++)
		w->gpr[n] = vcpu->gpr[n];
	for (n = VMM_ES; n <= VMM_GS; n++)
		w->seg[n].sel = s->seg[n].selector;
}

/* the registers, which is all that the CPU writes of a TSS; CR3 and LDTR stay */
static int save_old(struct task *t, const struct span *span, u32 len, bool wide)
{
	struct vmm_vcpu *vcpu = t->vcpu;
	u32 eip = vcpu->rip + vcpu->fact.insn_len, eflags = vcpu->rflags;
	union tss tss;
	void *from = wide ? (void *)&tss.w.eip : &tss.h.ip;
	int r = read_span(t, span, from, len);

	if (r)
		return r;
	if (t->by == TASK_BY_IRET)
		eflags &= ~X86_EFLAGS_NT;
	if (wide)
		save32(vcpu, &t->s, eip, eflags, &tss.w);
	else
		save16(vcpu, &t->s, eip, eflags, &tss.h);
	return write_span(t, span, from, len);
}

static void unpack16(const struct tss16 *h, struct state *st)
{
	int n;

	st->eip = h->ip;
	st->eflags = h->flags;
	/* the upper halves are undefined; this is what CPUs have shown */
	for (n = 0; n < 8; n++)
		st->gpr[n] = h->gpr[n] | 0xffff0000;
	for (n = VMM_ES; n <= VMM_DS; n++)
		st->seg[n] = h->seg[n];
	st->ldt = h->ldt;
}

static void unpack32(const struct tss32 *w, struct state *st)
{
	int n;

	st->cr3 = w->cr3;
	st->eip = w->eip;
	st->eflags = w->eflags;
	memcpy(st->gpr, w->gpr, sizeof(st->gpr));
	for (n = VMM_ES; n <= VMM_GS; n++)
		st->seg[n] = w->seg[n].sel;
	st->ldt = w->ldt;
	st->trap = w->trap & 1;
}

/*
 * All that will be touched is looked up before the first byte is written: a page
 * fault leaves the old task as it was.
 */
static int save(struct task *t)
{
	const struct vmm_segment *old = &t->s.seg[VMM_TR];
	bool wide = old->attr & TYPE_32;
	u32 from = wide ? offsetof(struct tss32, eip) : offsetof(struct tss16, ip);
	u32 end = wide ? offsetof(struct tss32, ldt) : offsetof(struct tss16, ldt);
	u32 gdt = t->s.gdtr.base;
	struct span old_tss, new_tss;
	union tss tss;
	int r;

	if (old->limit < end - 1)
		return fault(t, X86_TRAP_TS, old->selector);
	r = map(t, old->base + from, end - from, WALK_WRITE, &old_tss);
	if (!r)
		r = map(t, t->tr.base, tss_size(t->wide), 0, &new_tss);
	if (!r && nests(t))
		r = map(t, t->tr.base, sizeof(u16), WALK_WRITE, &t->link);
	if (!r && leaves(t))
		r = map(t, gdt + (old->selector & SEL_INDEX) + 5, 1, WALK_WRITE,
			&t->old_busy);
	if (!r && t->by != TASK_BY_IRET)
		r = map(t, gdt + (t->selector & SEL_INDEX) + 5, 1, WALK_WRITE,
			&t->new_busy);
	if (!r)
		r = save_old(t, &old_tss, end - from, wide);
	if (!r)
		r = read_span(t, &new_tss, &tss, tss_size(t->wide));
	if (r)
		return r;
	if (t->wide)
		unpack32(&tss.w, &t->state);
	else
		unpack16(&tss.h, &t->state);
	return OK;
}

/* ---- the new task's state: from here on faults are its own ---------------------------- */

static int load_ldtr(struct task *t)
{
	struct vmm_segment seg;
	u16 sel = t->state.ldt;
	int r;

	if (!(sel & SEL_NOT_RPL))
		return OK;
	/* one that is itself in the LDT points nowhere: there is none yet */
	r = get_descriptor(t, sel, X86_TRAP_TS, &seg);
	if (r)
		return r;
	if ((seg.attr & (VMM_SEG_S | VMM_SEG_TYPE)) != TYPE_LDT || !(seg.attr & VMM_SEG_P))
		return fault(t, X86_TRAP_TS, sel);
	t->s.seg[VMM_LDTR] = seg;
	return OK;
}

static bool fits_cs(const struct vmm_segment *seg, int cpl)
{
	if (!(seg->attr & TYPE_CODE))
		return false;
	return seg->attr & TYPE_DOWN ? dpl(seg) <= cpl : dpl(seg) == cpl;
}

static bool fits_ss(const struct vmm_segment *seg, int cpl)
{
	return !(seg->attr & TYPE_CODE) && seg->attr & TYPE_RW && dpl(seg) == cpl &&
	       (seg->selector & SEL_RPL) == cpl;
}

static bool fits_data(const struct vmm_segment *seg, int cpl)
{
	bool code = seg->attr & TYPE_CODE;

	if (code && !(seg->attr & TYPE_RW))
		return false;
	if (code && seg->attr & TYPE_DOWN)
		return true;
	return dpl(seg) >= cpl && dpl(seg) >= (seg->selector & SEL_RPL);
}

/* SDM 3A table 8-1, the later rows */
static int load_segment(struct task *t, int n, int cpl)
{
	struct vmm_segment seg;
	u16 sel = t->state.seg[n];
	bool fits;
	int r;

	if (!(sel & SEL_NOT_RPL) && n != VMM_CS && n != VMM_SS)
		return OK;
	r = get_descriptor(t, sel, X86_TRAP_TS, &seg);
	if (r)
		return r;
	fits = n == VMM_CS ? fits_cs(&seg, cpl) : n == VMM_SS ? fits_ss(&seg, cpl) :
	       fits_data(&seg, cpl);
	if (!(seg.attr & VMM_SEG_S) || !fits)
		return fault(t, X86_TRAP_TS, sel);
	if (!(seg.attr & VMM_SEG_P))
		return fault(t, n == VMM_SS ? X86_TRAP_SS : X86_TRAP_NP, sel);
	r = set_accessed(t, &seg);
	if (!r)
		t->s.seg[n] = seg;
	return r;
}

/*
 * Selectors go in first. A segment that then turns out bad leaves what stands here
 * behind it: nothing, and for CS something that VM entry accepts. Until SS is
 * there CPL is 3, so that the handler of the fault gets a stack from the TSS.
 */
static void load_selectors(struct task *t)
{
	struct vmm_sregs *s = &t->s;
	int n;

	for (n = VMM_ES; n <= VMM_GS; n++)
		s->seg[n] = (struct vmm_segment){ .selector = t->state.seg[n] };
	s->seg[VMM_SS].attr = 3 << VMM_SEG_DPL_SHIFT;
	s->seg[VMM_CS].limit = 0xffff;
	s->seg[VMM_CS].attr = CODE_ATTR | TYPE_DOWN;	/* conforming: fits any CPL */
	s->seg[VMM_LDTR] = (struct vmm_segment){ .selector = t->state.ldt };
	s->seg[VMM_TR] = t->tr;
	s->seg[VMM_TR].attr |= TYPE_BUSY;
}

static void load_v86(struct task *t)
{
	int n;

	for (n = VMM_ES; n <= VMM_GS; n++)
		t->s.seg[n] = (struct vmm_segment){
			.base = t->state.seg[n] << 4, .limit = 0xffff,
			.selector = t->state.seg[n], .attr = V86_ATTR,
		};
}

static int load_segments(struct task *t)
{
	static const u8 order[] = { VMM_CS, VMM_SS, VMM_ES, VMM_DS, VMM_FS, VMM_GS };
	int cpl = t->state.seg[VMM_CS] & SEL_RPL;
	struct vmm_segment cs;
	int i, r;

	load_selectors(t);
	if (t->state.eflags & X86_EFLAGS_VM)
		load_v86(t);
	r = load_ldtr(t);
	if (r || t->state.eflags & X86_EFLAGS_VM)
		return r;
	cs = t->s.seg[VMM_CS];
	for (i = 0; i < ARRAY_SIZE(order); i++) {
		r = load_segment(t, order[i], cpl);
		/* CPL is SS's, and CS must agree with it */
		if (r && order[i] == VMM_SS)
			t->s.seg[VMM_CS] = cs;
		if (r)
			return r;
	}
	return OK;
}

/* the last byte that a segment holds, or the first below it that expands down */
static bool within(const struct vmm_segment *seg, u32 offset, u32 size)
{
	u32 last = offset + size - 1;

	if (last < offset)
		return false;
	if ((seg->attr & (TYPE_CODE | TYPE_DOWN)) == TYPE_DOWN)
		return offset > seg->limit && (seg->attr & VMM_SEG_DB || last <= 0xffff);
	return last <= seg->limit;
}

/* on the new task's stack, as wide as its TSS */
static int push_error(struct task *t)
{
	const struct vmm_segment *ss = &t->s.seg[VMM_SS];
	u32 error = t->vcpu->fact.task.error, size = t->wide ? 4 : 2;
	u32 mask = ss->attr & VMM_SEG_DB ? ~0U : 0xffff;
	u32 *sp = &t->state.gpr[VMM_RSP], offset = (*sp - size) & mask;
	struct span span;
	int r;

	if (!within(ss, offset, size))
		return fault(t, X86_TRAP_SS, 0);
	r = map(t, ss->base + offset, size,
		WALK_WRITE | (dpl(ss) == 3 ? WALK_USER : 0), &span);
	if (!r)
		r = write_span(t, &span, &error, size);
	if (!r)
		*sp = (*sp & ~mask) | offset;
	return r;
}

static int load(struct task *t)
{
	int r;

	t->s.cr0 |= X86_CR0_TS;
	if (t->wide && t->s.cr0 & X86_CR0_PG)
		t->s.cr3 = t->mmu.cr3 = t->state.cr3;
	if (nests(t))
		t->state.eflags |= X86_EFLAGS_NT;
	r = load_segments(t);
	if (!r && t->state.eip > t->s.seg[VMM_CS].limit)
		r = fault(t, X86_TRAP_GP, 0);
	if (!r && t->vcpu->fact.task.has_error)
		r = push_error(t);
	return r;
}

/* ---- the switch ------------------------------------------------------------------------ */

/* the old task's link and the busy bits: the last of memory */
static int mark_tasks(struct task *t, u16 old)
{
	int r = nests(t) ? write_span(t, &t->link, &old, sizeof(old)) : OK;

	if (!r && leaves(t))
		r = set_busy(t, &t->old_busy, false);
	if (!r && t->by != TASK_BY_IRET)
		r = set_busy(t, &t->new_busy, true);
	return r;
}

static void commit(struct task *t)
{
	struct vmm_vcpu *vcpu = t->vcpu;
	int n;

	for (n = 0; n < 8; n++)
		vcpu->gpr[n] = t->state.gpr[n];
	vcpu->rip = t->state.eip;
	vcpu->rflags = (t->state.eflags & EFLAGS_DEFINED) | X86_EFLAGS_FIXED;
	vcpu->dregs.dr7 &= ~(u64)DR7_LOCAL;
	vcpu->ev.shadow = 0;
	if (t->by == TASK_BY_IRET)
		vcpu->ev.nmi_blocked = 0;
	/* with PAE the vendor loads the PDPTEs that CR3 points to */
	vmm_ops->set_sregs(vcpu, &t->s);
	if (t->wide)
		vmm_op(flush)(vcpu);
}

static bool contributory(u8 vector)
{
	return vector == X86_TRAP_DE ||
	       (vector >= X86_TRAP_TS && vector <= X86_TRAP_GP);
}

/* a fault while an event is delivered: SDM 3A 6.15, table 6-5 */
static int raise_fault(struct task *t)
{
	struct vmm_vcpu *vcpu = t->vcpu;
	u8 first = vcpu->fact.task.vector;
	bool second = contributory(t->vector), page = t->vector == X86_TRAP_PF;

	if (page)
		vcpu->cr2 = t->cr2;
	if (vcpu->fact.task.event == VMM_EVENT_EXCEPTION) {
		if (first == X86_TRAP_DF && (second || page))
			return vmm_exit_shutdown(vcpu);
		if ((contributory(first) && second) ||
		    (first == X86_TRAP_PF && (second || page))) {
			vmm_queue_exception(vcpu, X86_TRAP_DF, true, 0);
			return 1;
		}
	}
	vmm_queue_exception(vcpu, t->vector, true, t->error);
	return 1;
}

/* the monitor may mend it: then the event comes again, or the instruction does */
static int leave(struct task *t)
{
	struct vmm_vcpu *vcpu = t->vcpu;
	const struct vmm_fact *f = &vcpu->fact;

	if (f->task.event && !f->insn_len) {
		vcpu->ev.type = f->task.event;
		vcpu->ev.vector = f->task.vector;
		vcpu->ev.has_error = f->task.has_error;
		vcpu->ev.error = f->task.error;
	}
	vcpu->run->exit.fault = (struct vmm_exit_fault){
		.gpa = t->no_page, .error = -EFAULT,
	};
	vmm_exit_to_user(vcpu, VMM_EXIT_FAULT);
	return -1;
}

int vmm_task_switch(struct vmm_vcpu *vcpu)
{
	struct task t = {
		.vcpu = vcpu,
		.selector = vcpu->fact.task.selector,
		.by = vcpu->fact.task.by,
	};
	u16 old;
	int r;

	/* it reads and writes here and there: no hurry, rather be able to sleep */
	if (vcpu->loaded)
		return 0;
	vmm_mmu_get(vcpu, &t.mmu);
	vmm_op(get_sregs)(vcpu, &t.s);
	old = t.s.seg[VMM_TR].selector;
	r = check_new_tss(&t);
	if (!r)
		r = save(&t);
	if (r)
		return r == FAULT ? raise_fault(&t) : leave(&t);
	r = load(&t);
	if (r == NO_PAGE || mark_tasks(&t, old))
		return leave(&t);
	commit(&t);
	if (r)
		return raise_fault(&t);
	if (t.state.trap) {
		vcpu->dregs.dr6 |= DR_SWITCH;
		vmm_queue_exception(vcpu, X86_TRAP_DB, false, 0);
	}
	return 1;
}
