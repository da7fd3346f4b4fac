// SPDX-License-Identifier: GPL-2.0
/*
 * kmod's task switches and its walk of the guest's page tables, compiled here:
 * guest memory is an array, the vendor a struct. guests/bare/tasks.c asks the same
 * of a whole machine; here are the formats, the faults, and the host's failures.
 */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wmissing-field-initializers"
#pragma GCC diagnostic ignored "-Wsign-compare"
#include "../../kmod/walk.c"
#include "../../kmod/task.c"
#pragma GCC diagnostic pop

/* ---- the machine -------------------------------------------------------------- */

#define RAM_SIZE	0x20000
#define PAGES		(RAM_SIZE / 4096)

/* each in pages of its own */
#define GDT	0x1000
#define LDT	0x2000
#define OLD	0x3fc0		/* both TSS lie across two pages */
#define NEW	0x5fd0
#define STACK	0x8000		/* its end */
#define TABLES	0x10000
#define TABLES2	0x14000

enum {
	SEL_CODE = 0x08, SEL_DATA = 0x10, SEL_OLD = 0x18, SEL_NEW = 0x20,
	SEL_LDT = 0x28, SEL_UCODE = 0x33, SEL_UDATA = 0x3b, SEL_GONE_DATA = 0x40,
	SEL_GONE_CODE = 0x48, SEL_EXECUTE = 0x50, SEL_READ = 0x58,
	SEL_CONFORM = 0x60, SEL_CONFORM3 = 0x6b, SEL_GONE_LDT = 0x70,
	SEL_CODE16 = 0x78, SEL_DOWN = 0x80, SEL_FRESH = 0x88, SEL_END = 0x90,
};

static u8 ram[RAM_SIZE];
static bool absent[PAGES];	/* the host has no page there */
static bool rom[PAGES];
static struct vmm_sregs sregs;
static struct vmm_run run_page;
static struct vmm_vm vm;
static struct vmm_vcpu cpu, *const vcpu = &cpu;
static int flushes, shutdowns, lost_races;

static bool there(u64 gpa, u32 len)
{
	return gpa < RAM_SIZE && len <= RAM_SIZE - gpa &&
	       !absent[gpa / 4096] && !absent[(gpa + len - 1) / 4096];
}

int vmm_mem_read(struct vmm_vm *v, u64 gpa, void *buf, u32 len)
{
	if (!there(gpa, len))
		return -EFAULT;
	memcpy(buf, ram + gpa, len);
	return 0;
}

int vmm_mem_write(struct vmm_vm *v, u64 gpa, const void *buf, u32 len)
{
	if (!there(gpa, len) || rom[gpa / 4096])
		return -EFAULT;
	memcpy(ram + gpa, buf, len);
	return 0;
}

int vmm_mem_cmpxchg(struct vmm_vm *v, u64 gpa, u32 size, u64 old, u64 new)
{
	if (!there(gpa, size) || rom[gpa / 4096])
		return -EFAULT;
	assert_true(size == 4 || size == 8);
	if (lost_races) {
		lost_races--;
		return 1;
	}
	if (memcmp(ram + gpa, &old, size))
		return 1;
	memcpy(ram + gpa, &new, size);
	return 0;
}

bool vmm_mem_find(struct vmm_vm *v, u64 gpa, struct vmm_mapping *out)
{
	return false;
}

int vmm_npt_gpa_bits(void)
{
	return 40;
}

static u64 get_cr(struct vmm_vcpu *c, int n)
{
	return n == 0 ? sregs.cr0 : n == 3 ? sregs.cr3 : sregs.cr4;
}

static u64 get_efer(struct vmm_vcpu *c)
{
	return sregs.efer;
}

static void get_sregs(struct vmm_vcpu *c, struct vmm_sregs *s)
{
	*s = sregs;
}

static void set_sregs(struct vmm_vcpu *c, const struct vmm_sregs *s)
{
	sregs = *s;
}

static void flush(struct vmm_vcpu *c)
{
	flushes++;
}

static const struct vmm_ops ops = {
	.get_cr = get_cr, .get_efer = get_efer, .get_sregs = get_sregs,
	.set_sregs = set_sregs, .flush = flush,
};
const struct vmm_ops *vmm_ops = &ops;

void vmm_queue_exception(struct vmm_vcpu *c, u8 vector, bool has_error, u32 error)
{
	assert_int_equal(c->ev.type, VMM_EVENT_NONE);
	c->ev.type = VMM_EVENT_EXCEPTION;
	c->ev.vector = vector;
	c->ev.has_error = has_error;
	c->ev.error = error;
}

void vmm_exit_to_user(struct vmm_vcpu *c, u32 reason)
{
	c->run->reason = reason;
}

int vmm_exit_shutdown(struct vmm_vcpu *c)
{
	shutdowns++;
	return -1;
}

/* ---- its contents --------------------------------------------------------------- */

static struct tss32 *const old32 = (void *)(ram + OLD), *const new32 = (void *)(ram + NEW);
static struct tss16 *const old16 = (void *)(ram + OLD), *const new16 = (void *)(ram + NEW);

static void descriptor(u32 at, u16 sel, u32 base, u32 limit, u32 access, u32 flags)
{
	u64 d = (limit & 0xffff) | (u64)(base & 0xffffff) << 16 | (u64)access << 40 |
		(u64)(limit >> 16 & 0xf) << 48 | (u64)flags << 52 |
		(u64)(base >> 24) << 56;

	memcpy(ram + at + (sel & ~7), &d, 8);
}

static u8 access_of(u16 sel)
{
	return ram[GDT + (sel & ~7) + 5];
}

static void set_access(u16 sel, u8 access)
{
	ram[GDT + (sel & ~7) + 5] = access;
}

static bool is_busy(u16 sel)
{
	return access_of(sel) & 2;
}

static void make_gdt(void)
{
	/* a null selector does not look at it */
	descriptor(GDT, 0, 0, 0xfffff, 0x9b, 0xc);
	descriptor(GDT, SEL_CODE, 0, 0xfffff, 0x9b, 0xc);
	descriptor(GDT, SEL_DATA, 0, 0xfffff, 0x93, 0xc);
	descriptor(GDT, SEL_OLD, OLD, 103, 0x8b, 0);
	descriptor(GDT, SEL_NEW, NEW, 103, 0x89, 0);
	descriptor(GDT, SEL_LDT, LDT, 15, 0x82, 0);
	descriptor(GDT, SEL_UCODE, 0, 0xfffff, 0xfb, 0xc);
	descriptor(GDT, SEL_UDATA, 0, 0xfffff, 0xf3, 0xc);
	descriptor(GDT, SEL_GONE_DATA, 0, 0xfffff, 0x13, 0xc);
	descriptor(GDT, SEL_GONE_CODE, 0, 0xfffff, 0x1b, 0xc);
	descriptor(GDT, SEL_EXECUTE, 0, 0xfffff, 0x99, 0xc);
	descriptor(GDT, SEL_READ, 0, 0xfffff, 0x90, 0xc);	/* not accessed */
	descriptor(GDT, SEL_CONFORM, 0, 0xfffff, 0x9f, 0xc);
	descriptor(GDT, SEL_CONFORM3, 0, 0xfffff, 0xff, 0xc);
	descriptor(GDT, SEL_GONE_LDT, LDT, 15, 0x02, 0);
	descriptor(GDT, SEL_CODE16, 0x12345678, 0xffff, 0x9b, 0);
	descriptor(GDT, SEL_DOWN, 0, 0x7fff, 0x97, 4);		/* expands down */
	descriptor(GDT, SEL_FRESH, 0, 0xfffff, 0x92, 0xc);	/* not accessed */
	descriptor(LDT, 0x08, 0x4000, 0xff, 0x93, 4);
}

static void new_wide(void)
{
	int n;

	memset(new32, 0, sizeof(*new32));
	*new32 = (struct tss32){
		.cr3 = TABLES2, .eip = 0xe1e1e1, .eflags = 0x246, .ldt = SEL_LDT,
		.link = 0x7777,
	};
	for (n = 0; n < 8; n++)
		new32->gpr[n] = 0xc0000000 + n;
	new32->gpr[VMM_RSP] = STACK;
	for (n = VMM_ES; n <= VMM_GS; n++)
		new32->seg[n].sel = SEL_DATA;
	new32->seg[VMM_CS].sel = SEL_CODE;
	new32->seg[VMM_FS].sel = 0x0c;		/* from the LDT */
	new32->seg[VMM_GS].sel = 3;		/* null */
}

static void new_narrow(void)
{
	int n;

	memset(new32, 0xee, sizeof(*new32));
	*new16 = (struct tss16){ .ip = 0xe1e1, .flags = 0x246, .link = 0x7777 };
	for (n = 0; n < 8; n++)
		new16->gpr[n] = 0xc000 + n;
	new16->gpr[VMM_RSP] = STACK;
	for (n = VMM_ES; n <= VMM_DS; n++)
		new16->seg[n] = SEL_DATA;
	new16->seg[VMM_CS] = SEL_CODE;
	descriptor(GDT, SEL_NEW, NEW, 43, 0x81, 0);
}

static void fact(enum vmm_task_by by)
{
	vcpu->fact = (struct vmm_fact){
		.kind = FACT_TASK_SWITCH, .insn_len = by == TASK_BY_IRET ? 1 : 7,
		.task = { .selector = SEL_NEW, .by = by },
	};
	set_access(SEL_NEW, (access_of(SEL_NEW) & ~2) | (by == TASK_BY_IRET ? 2 : 0));
}

/* through a task gate by an event from outside */
static void fact_event(u8 type, u8 vector, bool has_error, u32 error)
{
	fact(TASK_BY_GATE);
	vcpu->fact.insn_len = 0;
	vcpu->fact.task.event = type;
	vcpu->fact.task.vector = vector;
	vcpu->fact.task.has_error = has_error;
	vcpu->fact.task.error = error;
}

static int setup(void **state)
{
	int n;

	memset(ram, 0, sizeof(ram));
	memset(absent, 0, sizeof(absent));
	memset(rom, 0, sizeof(rom));
	memset(&run_page, 0, sizeof(run_page));
	memset(vcpu, 0, sizeof(*vcpu));
	flushes = shutdowns = lost_races = 0;
	make_gdt();
	memset(old32, 0x55, sizeof(*old32));
	new_wide();
	vcpu->vm = &vm;
	vcpu->run = &run_page;
	for (n = 0; n < 16; n++)
		vcpu->gpr[n] = 0xa0000000 + n;
	vcpu->rip = 0x1234;
	vcpu->rflags = 0x4297;		/* NT */
	vcpu->dregs.dr6 = 0xffff0ff0;
	vcpu->dregs.dr7 = 0xffff07ff;
	vcpu->ev.shadow = 1;
	vcpu->ev.nmi_blocked = 1;
	sregs = (struct vmm_sregs){
		.cr0 = 0x11, .cr3 = TABLES,
		.gdtr = { GDT, SEL_END - 1, 0 },
		.seg[VMM_TR] = { OLD, 103, SEL_OLD, 0x8b },
	};
	for (n = VMM_ES; n <= VMM_GS; n++)
		sregs.seg[n] = (struct vmm_segment){ 0, ~0U, 0x100 + n * 8, 0xc93 };
	fact(TASK_BY_JMP);
	return 0;
}

/* ---- what must hold ----------------------------------------------------------------- */

static struct {
	u8 ram[RAM_SIZE];
	struct vmm_vcpu cpu;
	struct vmm_sregs sregs;
} before;

static void remember(void)
{
	memcpy(before.ram, ram, sizeof(ram));
	before.cpu = cpu;
	before.sregs = sregs;
}

/* the old task is still there, as it was */
static void assert_unswitched(void)
{
	assert_memory_equal(&before.sregs, &sregs, sizeof(sregs));
	assert_memory_equal(before.cpu.gpr, vcpu->gpr, sizeof(vcpu->gpr));
	assert_true(vcpu->rip == before.cpu.rip && vcpu->rflags == before.cpu.rflags);
	assert_true(vcpu->dregs.dr7 == before.cpu.dregs.dr7);
}

static void assert_fault(u8 vector, u32 error)
{
	assert_int_equal(vcpu->ev.type, VMM_EVENT_EXCEPTION);
	assert_int_equal(vcpu->ev.vector, vector);
	assert_true(vcpu->ev.has_error);
	assert_int_equal(vcpu->ev.error, error);
}

static void assert_old_saved32(u32 flags)
{
	int n;

	assert_int_equal(old32->eip, 0x1234 + vcpu->fact.insn_len);
	assert_int_equal(old32->eflags, flags);
	for (n = 0; n < 8; n++)
		assert_int_equal(old32->gpr[n], 0xa0000000 + n);
	for (n = VMM_ES; n <= VMM_GS; n++) {
		assert_int_equal(old32->seg[n].sel, 0x100 + n * 8);
		assert_int_equal(old32->seg[n].pad, 0x5555);
	}
	/* not the CPU's to write */
	assert_int_equal(old32->link, 0x5555);
	assert_int_equal(old32->cr3, 0x55555555);
	assert_int_equal(old32->ldt, 0x5555);
	assert_int_equal(old32->trap, 0x5555);
}

static void assert_seg(int n, u32 base, u32 limit, u16 sel, u16 attr)
{
	assert_int_equal(sregs.seg[n].selector, sel);
	assert_int_equal(sregs.seg[n].base, base);
	assert_int_equal(sregs.seg[n].limit, limit);
	assert_int_equal(sregs.seg[n].attr, attr);
}

static void assert_new_regs32(u32 flags)
{
	int n;

	assert_int_equal(vcpu->rip, 0xe1e1e1);
	assert_int_equal(vcpu->rflags, flags);
	for (n = 0; n < 8; n++)
		if (n != VMM_RSP)
			assert_int_equal(vcpu->gpr[n], 0xc0000000 + n);
	assert_int_equal(vcpu->dregs.dr7, 0xffff06aa);
	assert_int_equal(vcpu->ev.shadow, 0);
	assert_true(sregs.cr0 & X86_CR0_TS);
	assert_seg(VMM_TR, NEW, 103, SEL_NEW, 0x8b);
}

static void assert_new_segments(void)
{
	assert_seg(VMM_CS, 0, ~0U, SEL_CODE, 0xc9b);
	assert_seg(VMM_SS, 0, ~0U, SEL_DATA, 0xc93);
	assert_seg(VMM_DS, 0, ~0U, SEL_DATA, 0xc93);
	assert_seg(VMM_ES, 0, ~0U, SEL_DATA, 0xc93);
	assert_seg(VMM_FS, 0x4000, 0xff, 0x0c, 0x493);
	assert_seg(VMM_GS, 0, 0, 3, 0);
	assert_seg(VMM_LDTR, LDT, 15, SEL_LDT, 0x82);
}

/* ---- the kinds -------------------------------------------------------------------------- */

static void test_jump(void **state)
{
	assert_int_equal(vmm_task_switch(vcpu), 1);
	assert_old_saved32(0x4297);
	assert_new_regs32(0x246);
	assert_int_equal(vcpu->gpr[VMM_RSP], STACK);
	assert_new_segments();
	assert_int_equal(vcpu->ev.type, VMM_EVENT_NONE);
	assert_false(is_busy(SEL_OLD));
	assert_true(is_busy(SEL_NEW));
	assert_int_equal(new32->link, 0x7777);
	assert_int_equal(vcpu->ev.nmi_blocked, 1);
	/* no paging: CR3 stays */
	assert_int_equal(sregs.cr3, TABLES);
}

static void test_call(void **state)
{
	fact(TASK_BY_CALL);
	assert_int_equal(vmm_task_switch(vcpu), 1);
	assert_old_saved32(0x4297);
	assert_new_regs32(0x4246);
	assert_new_segments();
	assert_true(is_busy(SEL_OLD));
	assert_true(is_busy(SEL_NEW));
	assert_int_equal(new32->link, SEL_OLD);
}

static void test_iret(void **state)
{
	fact(TASK_BY_IRET);
	assert_int_equal(vmm_task_switch(vcpu), 1);
	assert_old_saved32(0x0297);
	assert_new_regs32(0x246);
	assert_new_segments();
	assert_false(is_busy(SEL_OLD));
	assert_true(is_busy(SEL_NEW));
	assert_int_equal(new32->link, 0x7777);
	assert_int_equal(vcpu->ev.nmi_blocked, 0);
}

static void test_gate(void **state)
{
	u32 error;

	fact_event(VMM_EVENT_EXCEPTION, X86_TRAP_GP, true, 0x12345678);
	assert_int_equal(vmm_task_switch(vcpu), 1);
	assert_old_saved32(0x4297);
	assert_new_regs32(0x4246);
	assert_true(is_busy(SEL_OLD));
	assert_true(is_busy(SEL_NEW));
	assert_int_equal(new32->link, SEL_OLD);
	assert_int_equal(vcpu->gpr[VMM_RSP], STACK - 4);
	memcpy(&error, ram + STACK - 4, 4);
	assert_int_equal(error, 0x12345678);
	assert_int_equal(vcpu->ev.type, VMM_EVENT_NONE);
}

static void test_16_bit(void **state)
{
	u32 error;
	int n;

	new_narrow();
	fact_event(VMM_EVENT_EXCEPTION, X86_TRAP_GP, true, 0x12345678);
	/* SS is a big one: all of ESP counts */
	descriptor(GDT, SEL_DATA, 0, 0xffff, 0x93, 0);
	assert_int_equal(vmm_task_switch(vcpu), 1);
	assert_old_saved32(0x4297);
	assert_int_equal(vcpu->rip, 0xe1e1);
	assert_int_equal(vcpu->rflags, 0x4246);
	for (n = 0; n < 8; n++)
		if (n != VMM_RSP)
			assert_int_equal(vcpu->gpr[n], 0xffffc000 + n);
	/* the error code is as wide as the TSS */
	assert_int_equal(vcpu->gpr[VMM_RSP], 0xffff0000 | (STACK - 2));
	memcpy(&error, ram + STACK - 2, 4);
	assert_int_equal(error, 0x5678);
	assert_seg(VMM_FS, 0, 0, 0, 0);
	assert_seg(VMM_GS, 0, 0, 0, 0);
	assert_seg(VMM_LDTR, 0, 0, 0, 0);
	assert_seg(VMM_TR, NEW, 43, SEL_NEW, 0x83);
	assert_int_equal(new16->link, SEL_OLD);
	assert_int_equal(sregs.cr3, TABLES);
}

static void test_from_16_bit(void **state)
{
	int n;

	memset(old32, 0x55, sizeof(*old32));
	sregs.seg[VMM_TR].attr = 0x83;
	sregs.seg[VMM_TR].limit = 43;
	assert_int_equal(vmm_task_switch(vcpu), 1);
	assert_new_regs32(0x246);
	assert_int_equal(old16->ip, 0x123b);
	assert_int_equal(old16->flags, 0x4297);
	for (n = 0; n < 8; n++)
		assert_int_equal(old16->gpr[n], n);
	for (n = VMM_ES; n <= VMM_DS; n++)
		assert_int_equal(old16->seg[n], 0x100 + n * 8);
	assert_int_equal(old16->link, 0x5555);
	assert_int_equal(old16->ldt, 0x5555);
	for (n = sizeof(*old16); n < (int)sizeof(*old32); n++)
		assert_int_equal(((u8 *)old16)[n], 0x55);
}

/* IRET to itself: what is loaded is what has just been saved */
static void test_to_itself(void **state)
{
	set_access(SEL_OLD, 0x8b);
	fact(TASK_BY_IRET);
	vcpu->fact.task.selector = SEL_OLD;
	for (int n = VMM_ES; n <= VMM_GS; n++)
		sregs.seg[n].selector = n == VMM_CS ? SEL_CODE : SEL_DATA;
	memset(old32, 0, sizeof(*old32));
	assert_int_equal(vmm_task_switch(vcpu), 1);
	assert_int_equal(vcpu->ev.type, VMM_EVENT_NONE);
	assert_int_equal(vcpu->rip, 0x1235);
	assert_int_equal(vcpu->rflags, 0x0297);
	assert_int_equal(vcpu->gpr[VMM_RSI], 0xa0000006);
	assert_true(is_busy(SEL_OLD) == false);
}

static void test_fast_gear(void **state)
{
	vcpu->loaded = true;
	remember();
	assert_int_equal(vmm_task_switch(vcpu), 0);
	assert_unswitched();
	assert_memory_equal(before.ram, ram, sizeof(ram));
}

static void test_trap_bit(void **state)
{
	new32->trap = 1;
	assert_int_equal(vmm_task_switch(vcpu), 1);
	assert_new_regs32(0x246);
	assert_int_equal(vcpu->ev.type, VMM_EVENT_EXCEPTION);
	assert_int_equal(vcpu->ev.vector, X86_TRAP_DB);
	assert_false(vcpu->ev.has_error);
	assert_int_equal(vcpu->dregs.dr6, 0xffff8ff0);
}

static void test_v86(void **state)
{
	int n;

	new32->eflags = 0x23202;
	new32->eip = 0xffff;
	for (n = VMM_ES; n <= VMM_GS; n++)
		new32->seg[n].sel = 0x1110 * (n + 1);
	assert_int_equal(vmm_task_switch(vcpu), 1);
	assert_int_equal(vcpu->ev.type, VMM_EVENT_NONE);
	for (n = VMM_ES; n <= VMM_GS; n++)
		assert_seg(n, 0x11100 * (n + 1), 0xffff, 0x1110 * (n + 1), 0xf3);
	assert_seg(VMM_LDTR, LDT, 15, SEL_LDT, 0x82);

	setup(NULL);
	new32->eflags = 0x23202;
	new32->eip = 0x10000;
	assert_int_equal(vmm_task_switch(vcpu), 1);
	assert_fault(X86_TRAP_GP, 0);
}

static void in_ring3(void)
{
	int n;

	setup(NULL);
	for (n = VMM_ES; n <= VMM_GS; n++)
		new32->seg[n].sel = SEL_UDATA;
	new32->seg[VMM_CS].sel = SEL_UCODE;
}

static void test_ring3(void **state)
{
	in_ring3();
	assert_int_equal(vmm_task_switch(vcpu), 1);
	assert_int_equal(vcpu->ev.type, VMM_EVENT_NONE);
	assert_seg(VMM_CS, 0, ~0U, SEL_UCODE, 0xcfb);
	assert_seg(VMM_SS, 0, ~0U, SEL_UDATA, 0xcf3);

	/* data of ring 0, though asked for with its rights */
	in_ring3();
	new32->seg[VMM_ES].sel = SEL_DATA;
	assert_int_equal(vmm_task_switch(vcpu), 1);
	assert_fault(X86_TRAP_TS, SEL_DATA);
}

/* conforming code of ring 0 in ring 3, and as data that asks for no privilege */
static void test_conforming(void **state)
{
	int n;

	for (n = VMM_ES; n <= VMM_GS; n++)
		new32->seg[n].sel = SEL_UDATA;
	new32->seg[VMM_CS].sel = SEL_CONFORM | 3;
	new32->seg[VMM_DS].sel = SEL_CONFORM | 3;
	assert_int_equal(vmm_task_switch(vcpu), 1);
	assert_int_equal(vcpu->ev.type, VMM_EVENT_NONE);
	assert_seg(VMM_CS, 0, ~0U, SEL_CONFORM | 3, 0xc9f);
}

static void test_accessed(void **state)
{
	new32->seg[VMM_DS].sel = SEL_READ;
	assert_int_equal(vmm_task_switch(vcpu), 1);
	assert_seg(VMM_DS, 0, ~0U, SEL_READ, 0xc91);
	assert_int_equal(access_of(SEL_READ), 0x91);
}

/* ---- faults before the switch ---------------------------------------------------------------- */

static void refused(u8 vector, u32 error)
{
	remember();
	assert_int_equal(vmm_task_switch(vcpu), 1);
	assert_fault(vector, error);
	assert_unswitched();
	assert_memory_equal(before.ram, ram, sizeof(ram));
	vcpu->ev.type = VMM_EVENT_NONE;
}

static void test_bad_selector(void **state)
{
	static const u16 bad[] = { 0, 3, SEL_NEW | 4, SEL_END, 0xfff8, SEL_DATA, SEL_LDT };
	int i;

	for (i = 0; i < (int)ARRAY_SIZE(bad); i++) {
		fact(TASK_BY_JMP);
		vcpu->fact.task.selector = bad[i];
		refused(X86_TRAP_GP, bad[i] & ~3);
		fact(TASK_BY_IRET);
		vcpu->fact.task.selector = bad[i];
		refused(X86_TRAP_TS, bad[i] & ~3);
		fact_event(VMM_EVENT_INTR, 0x40, false, 0);
		vcpu->fact.task.selector = bad[i];
		refused(X86_TRAP_GP, (bad[i] & ~3) | 1);
	}
	/* a TSS in the LDT is none, and half a descriptor neither */
	fact(TASK_BY_JMP);
	descriptor(LDT, 0, NEW, 103, 0x89, 0);
	sregs.seg[VMM_LDTR] = (struct vmm_segment){ LDT, 15, SEL_LDT, 0x82 };
	vcpu->fact.task.selector = 4;
	refused(X86_TRAP_GP, 4);
	fact(TASK_BY_JMP);
	sregs.gdtr.limit = SEL_NEW + 6;
	refused(X86_TRAP_GP, SEL_NEW);
}

static void test_half_in_ldt(void **state)
{
	descriptor(GDT, SEL_LDT, LDT, 14, 0x82, 0);
	assert_int_equal(vmm_task_switch(vcpu), 1);
	assert_fault(X86_TRAP_TS, 0x0c);
}

static void test_bad_tss(void **state)
{
	static const enum vmm_task_by all[] = {
		TASK_BY_CALL, TASK_BY_IRET, TASK_BY_JMP, TASK_BY_GATE,
	};
	int i, wide;

	for (i = 0; i < 4; i++) {
		bool iret = all[i] == TASK_BY_IRET;

		for (wide = 0; wide < 2; wide++) {
			u8 type = wide ? 0x89 : 0x81;

			descriptor(GDT, SEL_NEW, NEW, wide ? 102 : 42, type, 0);
			fact(all[i]);
			refused(X86_TRAP_TS, SEL_NEW);
			descriptor(GDT, SEL_NEW, NEW, 103, type & ~0x80, 0);
			fact(all[i]);
			refused(X86_TRAP_NP, SEL_NEW);
			/* busy, or for IRET not */
			set_access(SEL_NEW, iret ? type : type | 2);
			refused(iret ? X86_TRAP_TS : X86_TRAP_GP, SEL_NEW);
		}
	}
	setup(NULL);
	sregs.seg[VMM_TR].limit = 0x5e;
	refused(X86_TRAP_TS, SEL_OLD);
	sregs.seg[VMM_TR].limit = 0x5f;
	assert_int_equal(vmm_task_switch(vcpu), 1);
	assert_int_equal(vcpu->ev.type, VMM_EVENT_NONE);
}

/* ---- faults after it --------------------------------------------------------------------------- */

static const struct {
	int seg;		/* of enum vmm_seg; VMM_TR: EIP beyond its limit */
	u16 sel;
	u8 vector;
	u16 error;
} broken[] = {
	{ VMM_LDTR, 0x0c, X86_TRAP_TS, 0x0c },
	{ VMM_LDTR, SEL_END, X86_TRAP_TS, SEL_END },
	{ VMM_LDTR, SEL_DATA, X86_TRAP_TS, SEL_DATA },
	{ VMM_LDTR, SEL_FRESH, X86_TRAP_TS, SEL_FRESH },
	{ VMM_LDTR, SEL_OLD, X86_TRAP_TS, SEL_OLD },
	{ VMM_LDTR, SEL_GONE_LDT, X86_TRAP_TS, SEL_GONE_LDT },
	{ VMM_CS, 0, X86_TRAP_TS, 0 },
	{ VMM_CS, SEL_DATA, X86_TRAP_TS, SEL_DATA },
	{ VMM_CS, SEL_OLD, X86_TRAP_TS, SEL_OLD },
	{ VMM_CS, SEL_END, X86_TRAP_TS, SEL_END },
	{ VMM_CS, 0x14, X86_TRAP_TS, 0x14 },		/* beyond the LDT */
	{ VMM_CS, SEL_CODE | 3, X86_TRAP_TS, SEL_CODE },
	{ VMM_CS, SEL_UCODE & ~3, X86_TRAP_TS, SEL_UCODE & ~3 },
	{ VMM_CS, SEL_CONFORM3 & ~3, X86_TRAP_TS, SEL_CONFORM3 & ~3 },
	{ VMM_CS, SEL_GONE_CODE, X86_TRAP_NP, SEL_GONE_CODE },
	{ VMM_SS, 0, X86_TRAP_TS, 0 },
	{ VMM_SS, SEL_CODE, X86_TRAP_TS, SEL_CODE },
	{ VMM_SS, SEL_READ, X86_TRAP_TS, SEL_READ },
	{ VMM_SS, SEL_LDT, X86_TRAP_TS, SEL_LDT },
	{ VMM_SS, SEL_UDATA, X86_TRAP_TS, SEL_UDATA & ~3 },
	{ VMM_SS, SEL_UDATA & ~3, X86_TRAP_TS, SEL_UDATA & ~3 },
	{ VMM_SS, SEL_DATA | 3, X86_TRAP_TS, SEL_DATA },
	{ VMM_SS, SEL_GONE_DATA, X86_TRAP_SS, SEL_GONE_DATA },
	{ VMM_DS, SEL_EXECUTE, X86_TRAP_TS, SEL_EXECUTE },
	{ VMM_ES, SEL_NEW, X86_TRAP_TS, SEL_NEW },
	{ VMM_FS, SEL_END, X86_TRAP_TS, SEL_END },
	{ VMM_GS, 0x14, X86_TRAP_TS, 0x14 },
	{ VMM_GS, SEL_DATA | 3, X86_TRAP_TS, SEL_DATA },
	{ VMM_DS, SEL_GONE_DATA, X86_TRAP_NP, SEL_GONE_DATA },
	{ VMM_TR, SEL_CODE16, X86_TRAP_GP, 0 },
};

static void break_it(int i)
{
	u16 sel = broken[i].sel;

	if (broken[i].seg == VMM_LDTR)
		new32->ldt = sel;
	else if (broken[i].seg == VMM_TR)
		new32->seg[VMM_CS].sel = sel;
	else
		new32->seg[broken[i].seg].sel = sel;
}

static void test_broken_segments(void **state)
{
	int i, n;

	for (i = 0; i < (int)ARRAY_SIZE(broken); i++) {
		const struct vmm_segment *cs = &sregs.seg[VMM_CS];
		const struct vmm_segment *ss = &sregs.seg[VMM_SS];

		setup(NULL);
		break_it(i);
		assert_int_equal(vmm_task_switch(vcpu), 1);
		assert_fault(broken[i].vector, broken[i].error);
		/* the switch is done */
		assert_old_saved32(0x4297);
		assert_new_regs32(0x246);
		assert_false(is_busy(SEL_OLD));
		assert_true(is_busy(SEL_NEW));
		for (n = VMM_ES; n <= VMM_GS; n++)
			assert_int_equal(sregs.seg[n].selector, new32->seg[n].sel);
		assert_int_equal(sregs.seg[VMM_LDTR].selector, new32->ldt);
		if (broken[i].seg == VMM_TR)
			continue;
		assert_int_equal(sregs.seg[broken[i].seg].attr & VMM_SEG_P,
				 broken[i].seg == VMM_CS ? VMM_SEG_P : 0);
		/* VM entry wants code, with the privilege of SS: SDM 3C 27.3.1.2 */
		assert_int_equal(cs->attr & 0x99, 0x99);
		if (cs->attr & 4)	/* conforming */
			assert_true((cs->attr & 0x60) <= (ss->attr & 0x60));
		else
			assert_int_equal(cs->attr & 0x60, ss->attr & 0x60);
	}
}

/* the same while an event from outside is delivered */
static void test_ext(void **state)
{
	int i;

	for (i = 0; i < (int)ARRAY_SIZE(broken); i++) {
		setup(NULL);
		break_it(i);
		fact_event(VMM_EVENT_NMI, 2, false, 0);
		assert_int_equal(vmm_task_switch(vcpu), 1);
		assert_fault(broken[i].vector, broken[i].error | 1);
		assert_int_equal(vcpu->ev.nmi_blocked, 1);
	}
}

/* SDM 3A table 6-5 */
static void test_double_fault(void **state)
{
	static const struct {
		u8 first;
		int end;	/* vector, or -1: shutdown */
	} row[] = {
		{ X86_TRAP_DB, X86_TRAP_TS }, { 6, X86_TRAP_TS },
		{ X86_TRAP_DE, X86_TRAP_DF }, { X86_TRAP_TS, X86_TRAP_DF },
		{ X86_TRAP_NP, X86_TRAP_DF }, { X86_TRAP_SS, X86_TRAP_DF },
		{ X86_TRAP_GP, X86_TRAP_DF }, { X86_TRAP_PF, X86_TRAP_DF },
		{ X86_TRAP_DF, -1 },
	};
	int i;

	for (i = 0; i < (int)ARRAY_SIZE(row); i++) {
		setup(NULL);
		new32->seg[VMM_DS].sel = SEL_EXECUTE;
		fact_event(VMM_EVENT_EXCEPTION, row[i].first, row[i].first >= 8, 0);
		if (row[i].end < 0) {
			assert_int_equal(vmm_task_switch(vcpu), -1);
			assert_int_equal(shutdowns, 1);
			continue;
		}
		assert_int_equal(vmm_task_switch(vcpu), 1);
		assert_fault(row[i].end,
			     row[i].end == X86_TRAP_DF ? 0 : SEL_EXECUTE | 1);
	}
	/* an interrupt has a vector too, but is no exception */
	setup(NULL);
	new32->seg[VMM_DS].sel = SEL_EXECUTE;
	fact_event(VMM_EVENT_INTR, X86_TRAP_GP, false, 0);
	assert_int_equal(vmm_task_switch(vcpu), 1);
	assert_fault(X86_TRAP_TS, SEL_EXECUTE | 1);
}

static void push(u16 ss, u32 sp, bool fits)
{
	setup(NULL);
	new32->seg[VMM_SS].sel = ss;
	new32->gpr[VMM_RSP] = sp;
	fact_event(VMM_EVENT_EXCEPTION, 17, true, 0);
	assert_int_equal(vmm_task_switch(vcpu), 1);
	assert_new_regs32(0x4246);
	if (!fits) {
		assert_fault(X86_TRAP_SS, 1);
		assert_int_equal(vcpu->gpr[VMM_RSP], sp);
	} else {
		assert_int_equal(vcpu->ev.type, VMM_EVENT_NONE);
		assert_int_equal(vcpu->gpr[VMM_RSP], sp - 4);
	}
}

static void test_push_limits(void **state)
{
	/* above 0x7fff and no upper end */
	push(SEL_DOWN, 0x8004, true);
	push(SEL_DOWN, 0x8003, false);
	push(SEL_DOWN, 4, false);
	push(SEL_DATA, 4, true);
	push(SEL_DATA, 2, false);
}

/* ---- paging ------------------------------------------------------------------------------------ */

#define PTE_ALL	(_PAGE_PRESENT | _PAGE_RW | _PAGE_USER)

static void put(u32 at, u64 entry, int size)
{
	memcpy(ram + at, &entry, size);
}

static u64 get(u32 at, int size)
{
	u64 entry = 0;

	memcpy(&entry, ram + at, size);
	return entry;
}

/* where the entry of a page is; identity, all rights */
static u32 pte_at(u32 tables, u32 va, bool pae)
{
	return tables + (pae ? 0x2000 + va / 4096 * 8 : 0x1000 + va / 4096 * 4);
}

static void make_tables(u32 tables, bool pae)
{
	int i, size = pae ? 8 : 4;

	if (pae) {
		put(tables, (tables + 0x1000) | _PAGE_PRESENT, 8);
		put(tables + 0x1000, (tables + 0x2000) | PTE_ALL, 8);
	} else {
		put(tables, (tables + 0x1000) | PTE_ALL, 4);
	}
	for (i = 0; i < PAGES; i++)
		put(pte_at(tables, i * 4096, pae), i * 4096 | PTE_ALL, size);
}

static void setup_paging(bool pae)
{
	setup(NULL);
	make_tables(TABLES, pae);
	make_tables(TABLES2, pae);
	sregs.cr0 |= X86_CR0_PG | X86_CR0_WP;
	sregs.cr4 = pae ? X86_CR4_PAE : 0;
}

static bool has(u32 tables, u32 va, bool pae, u64 bits)
{
	return (get(pte_at(tables, va, pae), pae ? 8 : 4) & bits) == bits;
}

static void test_cr3(void **state)
{
	bool pae;
	int i;

	for (i = 0; i < 2; i++) {
		pae = i;
		setup_paging(pae);
		fact_event(VMM_EVENT_EXCEPTION, X86_TRAP_GP, true, 5);
		assert_int_equal(vmm_task_switch(vcpu), 1);
		assert_int_equal(vcpu->ev.type, VMM_EVENT_NONE);
		assert_new_segments();
		assert_int_equal(sregs.cr3, TABLES2);
		assert_int_equal(flushes, 1);
		/* what was read and what was written, in whose tables */
		assert_true(has(TABLES, OLD, pae, _PAGE_ACCESSED | _PAGE_DIRTY));
		assert_true(has(TABLES, OLD + 0x40, pae, _PAGE_ACCESSED | _PAGE_DIRTY));
		assert_true(has(TABLES, NEW, pae, _PAGE_ACCESSED | _PAGE_DIRTY));
		assert_true(has(TABLES, NEW + 0x40, pae, _PAGE_ACCESSED));
		assert_false(has(TABLES, NEW + 0x40, pae, _PAGE_DIRTY));
		assert_true(has(TABLES, GDT, pae, _PAGE_ACCESSED | _PAGE_DIRTY));
		assert_true(has(TABLES2, GDT, pae, _PAGE_ACCESSED));
		assert_false(has(TABLES2, GDT, pae, _PAGE_DIRTY));
		assert_true(has(TABLES2, LDT, pae, _PAGE_ACCESSED));
		assert_true(has(TABLES2, STACK - 4, pae, _PAGE_ACCESSED | _PAGE_DIRTY));
		assert_false(has(TABLES, STACK - 4, pae, _PAGE_ACCESSED));
		assert_false(has(TABLES, LDT, pae, _PAGE_ACCESSED));
		assert_true(get(TABLES, 8) & (pae ? 1 : _PAGE_ACCESSED));
		assert_false(get(TABLES, 8) & _PAGE_DIRTY);
		if (pae)
			assert_false(get(TABLES, 8) & _PAGE_ACCESSED);
	}
}

/* a linear page of the old task's, or with `new` the new one's, without these bits */
static void fault_at(bool pae, enum vmm_task_by by, bool new, u32 va, u64 without,
		     u32 error)
{
	u32 pte = pte_at(new ? TABLES2 : TABLES, va, pae);
	int size = pae ? 8 : 4;

	setup_paging(pae);
	fact(by);
	put(pte, get(pte, size) & ~without, size);
	remember();
	assert_int_equal(vmm_task_switch(vcpu), 1);
	assert_fault(X86_TRAP_PF, error);
	assert_int_equal(vcpu->cr2 & ~0xfffULL, va & ~0xfffU);
	if (new) {
		assert_new_regs32(by == TASK_BY_CALL ? 0x4246 : 0x246);
		assert_int_equal(sregs.cr3, TABLES2);
		return;
	}
	assert_unswitched();
	/* accessed and dirty bits aside */
	assert_memory_equal(before.ram, ram, TABLES);
}

static void test_page_faults(void **state)
{
	const u64 p = _PAGE_PRESENT, w = _PAGE_RW;
	int i;

	for (i = 0; i < 2; i++) {
		fault_at(i, TASK_BY_JMP, false, OLD + 0x40, p, 2);
		fault_at(i, TASK_BY_JMP, false, OLD + 0x20, p, 2);
		fault_at(i, TASK_BY_JMP, false, OLD + 0x20, w, 3);
		fault_at(i, TASK_BY_JMP, false, NEW, p, 0);
		fault_at(i, TASK_BY_JMP, false, NEW + 0x30, p, 0);
		fault_at(i, TASK_BY_CALL, false, NEW, w, 3);
		fault_at(i, TASK_BY_JMP, false, GDT, p, 0);
		fault_at(i, TASK_BY_JMP, false, GDT, w, 3);
		fault_at(i, TASK_BY_IRET, false, GDT, w, 3);
		fault_at(i, TASK_BY_JMP, true, GDT, p, 0);
		fault_at(i, TASK_BY_CALL, true, LDT, p, 0);
	}
	/* JMP writes nothing into the new TSS */
	setup_paging(false);
	put(pte_at(TABLES, NEW, false), (NEW & ~0xfff) | _PAGE_PRESENT, 4);
	assert_int_equal(vmm_task_switch(vcpu), 1);
	assert_int_equal(vcpu->ev.type, VMM_EVENT_NONE);
}

/* to the stack of a task in ring 3 with its own rights */
static void test_user_push(void **state)
{
	int n;

	setup_paging(false);
	for (n = VMM_ES; n <= VMM_GS; n++)
		new32->seg[n].sel = SEL_UDATA;
	new32->seg[VMM_CS].sel = SEL_UCODE;
	put(pte_at(TABLES2, STACK - 4, false),
	    ((STACK - 4) & ~0xfff) | _PAGE_PRESENT | _PAGE_RW, 4);
	fact_event(VMM_EVENT_EXCEPTION, 17, true, 0);
	assert_int_equal(vmm_task_switch(vcpu), 1);
	assert_fault(X86_TRAP_PF, 7);
	assert_int_equal(vcpu->cr2, STACK - 4);
}

static int walk(u64 va, u32 access, struct vmm_walk *w)
{
	struct vmm_mmu mmu;

	vmm_mmu_get(vcpu, &mmu);
	return vmm_walk(vcpu, &mmu, va, access, w);
}

static void test_walk(void **state)
{
	struct vmm_walk w;

	/* 4 MiB with PSE-36: bits 20:13 are 39:32 */
	setup_paging(false);
	put(TABLES + 4, 0x00800000 | 0x5a << 13 | _PAGE_PSE | PTE_ALL, 4);
	sregs.cr4 |= X86_CR4_PSE;
	assert_int_equal(walk(0x00412345, 0, &w), 0);
	assert_true(w.gpa == 0x5a00812345ULL);
	put(TABLES + 4, 0x00800000 | 1 << 21 | _PAGE_PSE | PTE_ALL, 4);
	assert_int_equal(walk(0x00412345, 0, &w), 1);
	assert_int_equal(w.error, X86_PF_PROT | X86_PF_RSVD);
	/* without PSE it is a table, which lies nowhere */
	sregs.cr4 &= ~(u64)X86_CR4_PSE;
	assert_int_equal(walk(0x00412345, 0, &w), -EFAULT);
	assert_true(w.gpa == (0x00a00000 & ~0xfff) + 0x12 * 4);

	setup_paging(true);
	put(TABLES + 0x1008, 0x7000600000ULL | _PAGE_PSE | PTE_ALL, 8);
	assert_int_equal(walk(0x00212345, 0, &w), 0);
	assert_true(w.gpa == 0x7000612345ULL);
	put(TABLES + 0x1008, 0x7000600000ULL | 1 << 13 | _PAGE_PSE | PTE_ALL, 8);
	assert_int_equal(walk(0x00212345, 0, &w), 1);
	assert_int_equal(w.error, X86_PF_PROT | X86_PF_RSVD);
	/* NX without NXE, and addresses that no guest has */
	put(TABLES + 0x1008, 0x600000 | _PAGE_NX | _PAGE_PSE | PTE_ALL, 8);
	assert_int_equal(walk(0x00212345, WALK_WRITE, &w), 1);
	assert_int_equal(w.error, X86_PF_PROT | X86_PF_RSVD | X86_PF_WRITE);
	sregs.efer = EFER_NX;
	assert_int_equal(walk(0x00212345, 0, &w), 0);
	put(TABLES + 0x1008, 1ULL << 40 | 0x600000 | _PAGE_PSE | PTE_ALL, 8);
	assert_int_equal(walk(0x00212345, 0, &w), 1);
	assert_int_equal(walk(0x00212345, WALK_PEEK, &w), 0);
	/* the PDPTEs need not begin a page */
	put(TABLES + 0x20, (TABLES + 0x1000) | _PAGE_PRESENT, 8);
	put(TABLES, 0, 8);
	sregs.cr3 = TABLES + 0x20;
	assert_int_equal(walk(0x1234, 0, &w), 0);
	assert_true(w.gpa == 0x1234);
	sregs.cr3 = TABLES;
	/* entry 3 of them */
	assert_int_equal(walk(0xc0000000, WALK_USER, &w), 1);
	assert_int_equal(w.error, X86_PF_USER);

	setup_paging(false);
	sregs.cr4 |= X86_CR4_SMAP;
	assert_int_equal(walk(0x1000, 0, &w), 1);
	assert_int_equal(walk(0x1000, WALK_USER, &w), 0);
	assert_int_equal(walk(0x1000, WALK_PEEK, &w), 0);
	/* read-only does not bind ring 0 without WP */
	setup_paging(false);
	put(pte_at(TABLES, 0x1000, false), 0x1000 | _PAGE_PRESENT, 4);
	assert_int_equal(walk(0x1000, WALK_WRITE, &w), 1);
	assert_int_equal(walk(0x1000, WALK_USER, &w), 1);
	sregs.cr0 &= ~(u64)X86_CR0_WP;
	assert_int_equal(walk(0x1000, WALK_WRITE, &w), 0);
	put(pte_at(TABLES, 0x1000, false), 0x1000 | _PAGE_PRESENT | _PAGE_USER, 4);
	assert_int_equal(walk(0x1000, WALK_WRITE | WALK_USER, &w), 1);
	assert_int_equal(w.error, X86_PF_PROT | X86_PF_WRITE | X86_PF_USER);
	/* rights are those of all levels */
	setup_paging(false);
	put(TABLES, (TABLES + 0x1000) | _PAGE_PRESENT | _PAGE_USER, 4);
	assert_int_equal(walk(0x1000, WALK_WRITE, &w), 1);
	assert_int_equal(walk(0x1000, WALK_USER, &w), 0);
	put(TABLES, (TABLES + 0x1000) | _PAGE_PRESENT | _PAGE_RW, 4);
	assert_int_equal(walk(0x1000, WALK_USER, &w), 1);
}

static void test_walk_long(void **state)
{
	struct vmm_walk w;
	u64 va = 0xffff888000005678ULL;

	setup(NULL);
	sregs.cr0 |= X86_CR0_PG;
	sregs.cr4 = X86_CR4_PAE;
	sregs.efer = EFER_LMA;
	put(TABLES + (va >> 39 & 511) * 8, (TABLES + 0x1000) | PTE_ALL, 8);
	put(TABLES + 0x1000 + (va >> 30 & 511) * 8, 0x80000000 | _PAGE_PSE | PTE_ALL, 8);
	assert_int_equal(walk(va, WALK_PEEK, &w), 0);
	assert_true(w.gpa == 0x80005678);
	assert_false(get(TABLES + (va >> 39 & 511) * 8, 8) & _PAGE_ACCESSED);
	assert_int_equal(walk(va, 0, &w), 0);
	assert_true(get(TABLES + (va >> 39 & 511) * 8, 8) & _PAGE_ACCESSED);
	put(TABLES, TABLES2 | _PAGE_PSE | PTE_ALL, 8);
	put(TABLES2, _PAGE_PSE | PTE_ALL, 8);
	assert_int_equal(walk(0x1000, 0, &w), 1);
	assert_int_equal(w.error, X86_PF_PROT | X86_PF_RSVD);
	/* one level more: the same tables below it */
	put(TABLES2 + (va >> 48 & 511) * 8, TABLES | PTE_ALL, 8);
	sregs.cr3 = TABLES2;
	sregs.cr4 |= X86_CR4_LA57;
	assert_int_equal(walk(va, 0, &w), 0);
	assert_true(w.gpa == 0x80005678);
}

static void test_walk_races(void **state)
{
	struct vmm_walk w;

	setup_paging(false);
	lost_races = 2;
	assert_int_equal(walk(0x1000, WALK_WRITE, &w), 0);
	assert_int_equal(lost_races, 0);
	assert_true(has(TABLES, 0x1000, false, _PAGE_ACCESSED | _PAGE_DIRTY));
	/* somebody who never stops does not stop us */
	setup_paging(false);
	lost_races = 1000000;
	assert_int_equal(walk(0x1000, WALK_WRITE, &w), 0);
	assert_true(lost_races > 1000000 - 100);
	/* tables in ROM keep their bits */
	setup_paging(false);
	rom[TABLES / 4096] = rom[TABLES / 4096 + 1] = true;
	assert_int_equal(walk(0x1000, WALK_WRITE, &w), 0);
	assert_false(has(TABLES, 0x1000, false, _PAGE_ACCESSED));
}

/* ---- the host ------------------------------------------------------------------------------------- */

/*
 * Each page in turn is one that the host has not: the exit goes to the monitor,
 * nothing is lost, and when the page is there the switch happens as if it always
 * had been.
 */
static void test_no_page(void **state)
{
	static const enum vmm_task_by all[] = {
		TASK_BY_CALL, TASK_BY_IRET, TASK_BY_JMP, TASK_BY_GATE,
	};
	static u8 want[RAM_SIZE];
	struct vmm_sregs want_sregs;
	int i, page, read_only, failed = 0;

	for (i = 0; i < 4 * PAGES * 2; i++) {
		struct vmm_fact f;

		page = i / 8;
		read_only = i / 4 % 2;
		setup_paging(false);
		new32->seg[VMM_DS].sel = SEL_READ;
		fact(all[i % 4]);
		if (all[i % 4] == TASK_BY_GATE)
			fact_event(VMM_EVENT_EXCEPTION, X86_TRAP_GP, true, 0xabc);
		f = vcpu->fact;
		assert_int_equal(vmm_task_switch(vcpu), 1);
		memcpy(want, ram, sizeof(ram));
		want_sregs = sregs;

		setup_paging(false);
		new32->seg[VMM_DS].sel = SEL_READ;
		fact(all[i % 4]);
		vcpu->fact = f;
		(read_only ? rom : absent)[page] = true;
		remember();
		if (vmm_task_switch(vcpu) > 0) {
			/* not needed; tables that are ROM do without their bits */
			assert_memory_equal(&want_sregs, &sregs, sizeof(sregs));
			continue;
		}
		failed++;
		assert_unswitched();
		assert_int_equal(run_page.reason, VMM_EXIT_FAULT);
		assert_int_equal(run_page.exit.fault.error, -EFAULT);
		assert_int_equal(run_page.exit.fault.gpa / 4096, page);
		if (f.task.event) {
			assert_int_equal(vcpu->ev.type, VMM_EVENT_EXCEPTION);
			assert_int_equal(vcpu->ev.vector, X86_TRAP_GP);
			assert_int_equal(vcpu->ev.error, 0xabc);
		} else {
			assert_int_equal(vcpu->ev.type, VMM_EVENT_NONE);
		}
		(read_only ? rom : absent)[page] = false;
		vcpu->ev.type = VMM_EVENT_NONE;
		assert_int_equal(vmm_task_switch(vcpu), 1);
		assert_memory_equal(want, ram, sizeof(ram));
		assert_memory_equal(&want_sregs, &sregs, sizeof(sregs));
	}
	/* GDT, LDT, two TSS of two pages, stack, tables: no small number */
	assert_true(failed > 40);
}

/* INT1 is an event from outside by EXT, but an instruction that happens again */
static void test_int1_again(void **state)
{
	fact_event(VMM_EVENT_EXCEPTION, X86_TRAP_DB, false, 0);
	vcpu->fact.insn_len = 1;
	absent[NEW / 4096] = true;
	assert_int_equal(vmm_task_switch(vcpu), -1);
	assert_int_equal(vcpu->ev.type, VMM_EVENT_NONE);
	assert_int_equal(vcpu->rip, 0x1234);
}

/* ---- rubbish ------------------------------------------------------------------------------------------ */

static u32 seed;

static u32 any(void)
{
	seed = seed * 1664525 + 1013904223;
	return seed >> 8;
}

static void test_rubbish(void **state)
{
	int i, n;

	seed = 12345;
	for (i = 0; i < 200000; i++) {
		u32 spoil[] = { GDT, LDT, OLD, NEW, TABLES, TABLES + 0x1000,
				TABLES + 0x2000, TABLES2, TABLES2 + 0x1000 };
		bool pae = any() & 1;
		int r;

		setup_paging(pae);
		fact(any() & 3);
		if (vcpu->fact.task.by == TASK_BY_GATE)
			fact_event(any() & 3, any() & 31, any() & 1, any());
		for (n = any() % 6; n >= 0; n--)
			ram[spoil[any() % ARRAY_SIZE(spoil)] + any() % 0x90] = any();
		if (!(any() & 7))
			vcpu->fact.task.selector = any();
		if (!(any() & 7))
			sregs.gdtr.base = any() << 8;
		if (!(any() & 7))
			sregs.seg[VMM_TR].base = any() << 8;
		r = vmm_task_switch(vcpu);
		assert_true(r == 1 || r == -1);
		assert_true(r == 1 || shutdowns || run_page.reason == VMM_EXIT_FAULT);
		/* what VM entry would refuse: SDM 3C 27.3.1 */
		assert_int_equal(vcpu->rflags & ~0x3f7fd7ULL, 0);
		assert_true(vcpu->rflags & 2);
		assert_true(vcpu->rip >> 32 == 0);
		for (n = 0; n < VMM_NSEG; n++)
			assert_int_equal(sregs.seg[n].attr & ~0xfff, 0);
		assert_true(sregs.seg[VMM_CS].attr & VMM_SEG_P);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_jump, setup),
		cmocka_unit_test_setup(test_call, setup),
		cmocka_unit_test_setup(test_iret, setup),
		cmocka_unit_test_setup(test_gate, setup),
		cmocka_unit_test_setup(test_16_bit, setup),
		cmocka_unit_test_setup(test_from_16_bit, setup),
		cmocka_unit_test_setup(test_to_itself, setup),
		cmocka_unit_test_setup(test_fast_gear, setup),
		cmocka_unit_test_setup(test_trap_bit, setup),
		cmocka_unit_test_setup(test_v86, setup),
		cmocka_unit_test_setup(test_ring3, setup),
		cmocka_unit_test_setup(test_conforming, setup),
		cmocka_unit_test_setup(test_accessed, setup),
		cmocka_unit_test_setup(test_bad_selector, setup),
		cmocka_unit_test_setup(test_half_in_ldt, setup),
		cmocka_unit_test_setup(test_bad_tss, setup),
		cmocka_unit_test_setup(test_broken_segments, setup),
		cmocka_unit_test_setup(test_ext, setup),
		cmocka_unit_test_setup(test_double_fault, setup),
		cmocka_unit_test_setup(test_push_limits, setup),
		cmocka_unit_test_setup(test_cr3, setup),
		cmocka_unit_test_setup(test_page_faults, setup),
		cmocka_unit_test_setup(test_user_push, setup),
		cmocka_unit_test_setup(test_walk, setup),
		cmocka_unit_test_setup(test_walk_long, setup),
		cmocka_unit_test_setup(test_walk_races, setup),
		cmocka_unit_test_setup(test_no_page, setup),
		cmocka_unit_test_setup(test_int1_again, setup),
		cmocka_unit_test_setup(test_rubbish, setup),
	};

	return cmocka_run_group_tests_name("task", tests, NULL, NULL);
}
