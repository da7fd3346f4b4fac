// SPDX-License-Identifier: GPL-2.0
/*
 * Each state group: what is written is read; what no CPU could hold or what
 * would hurt the host is refused, and nothing has changed then; and rubbish in
 * every field, after which the guest runs or does not, but the host lives
 * (CVE-2021-3653 is the kind of fault).
 */
#include <cpuid.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "kselftest_harness.h"
#include "vm.h"

FIXTURE(state) {
	struct vm *vm;
	struct vcpu *v;
	struct vmm_state st;
};

FIXTURE_SETUP(state)
{
	self->vm = vm_guest("long64", 1);
	self->v = &self->vm->vcpu[0];
	ASSERT_EQ(0, vcpu_get(self->v, VMM_STATE_ALL, &self->st));
}

FIXTURE_TEARDOWN(state)
{
	vm_free(self->vm);
}

/* ---- reset ------------------------------------------------------------------------ */

/* SDM 3A table 9-1, APM 2 14.1.3 */
TEST(reset_state)
{
	static struct vmm_state st;
	struct vm *vm = vm_create(VM_RAM);
	struct vcpu *v = vm_add_vcpu(vm), *ap = vm_add_vcpu(vm);

	ASSERT_EQ(0, vcpu_get(v, VMM_STATE_ALL, &st));
	EXPECT_EQ(0xfff0, st.regs.rip);
	EXPECT_EQ(2, st.regs.rflags);
	EXPECT_EQ(0xf000, st.sregs.seg[VMM_CS].selector);
	EXPECT_EQ(0xffff0000, st.sregs.seg[VMM_CS].base);
	EXPECT_EQ(0xffff, st.sregs.seg[VMM_CS].limit);
	EXPECT_EQ(0, st.sregs.seg[VMM_DS].base);
	EXPECT_EQ(0x60000010, st.sregs.cr0);
	EXPECT_EQ(0, st.sregs.cr3 | st.sregs.cr4 | st.sregs.efer | st.sregs.cr2);
	EXPECT_EQ(0xffff, st.sregs.idtr.limit);
	EXPECT_EQ(0xffff0ff0, st.dregs.dr6);
	EXPECT_EQ(0x400, st.dregs.dr7);
	EXPECT_EQ(0xfee00900, st.apic.base);
	EXPECT_EQ(0xff, st.apic.regs[0x0f]);
	EXPECT_EQ(1, st.xsave.xcr0);
	EXPECT_EQ(VMM_RUNNING, st.events.run_state);
	ASSERT_EQ(0, vcpu_get(ap, VMM_STATE_EVENTS | VMM_STATE_APIC, &st));
	EXPECT_EQ(VMM_WAIT_SIPI, st.events.run_state);
	EXPECT_EQ(0xfee00800, st.apic.base);
	EXPECT_EQ(1 << 24, st.apic.regs[2]);
	vm_free(vm);
}

/* ---- each group ---------------------------------------------------------------------- */

TEST_F(state, groups_are_separate)
{
	static struct vmm_state st;
	u32 bit;

	/* a group that is not asked for is not written */
	for (bit = 0; bit < 7; bit++) {
		memset(&st, 0, sizeof(st));
		ASSERT_EQ(0, vcpu_get(self->v, 1u << bit, &st));
		EXPECT_EQ(!(1u << bit & VMM_STATE_SREGS), !st.sregs.cr0);
		EXPECT_EQ(!(1u << bit & VMM_STATE_REGS), !st.regs.rflags);
		EXPECT_EQ(!(1u << bit & VMM_STATE_DREGS), !st.dregs.dr6);
		EXPECT_EQ(!(1u << bit & VMM_STATE_APIC), !st.apic.base);
		EXPECT_EQ(!(1u << bit & VMM_STATE_MSRS), !st.msrs.count);
		EXPECT_EQ(!(1u << bit & VMM_STATE_XSAVE), !st.xsave.xcr0);
	}
}

TEST_F(state, registers_read_back)
{
	static struct vmm_state st;
	int i;

	st = self->st;
	for (i = 0; i < 16; i++)
		st.regs.gpr[i] = 0x0123456789abcdefull * (i + 1);
	st.regs.rip = 0x89abcdef;
	st.regs.rflags = 0x246;
	st.sregs.cr2 = 0xfedcba9876543210ull;
	st.sregs.cr8 = 5;
	for (i = 0; i < VMM_NSEG; i++) {
		st.sregs.seg[i].selector = 0x10 * (i + 1);
		st.sregs.seg[i].base = 0x10000 * (i + 1);
		st.sregs.seg[i].limit = 0xfff0 + i;
	}
	st.sregs.gdtr = (struct vmm_table) { .base = 0x12340000, .limit = 0x7f };
	st.sregs.idtr = (struct vmm_table) { .base = 0x43210000, .limit = 0xfff };
	st.dregs.dr[0] = 0x1000;
	st.dregs.dr[3] = 0xffffffff81000000ull;
	st.dregs.dr7 = 0x402;
	ASSERT_EQ(0, vcpu_set(self->v, VMM_STATE_REGS | VMM_STATE_SREGS |
			      VMM_STATE_DREGS, &st));
	ASSERT_EQ(0, vcpu_get(self->v, VMM_STATE_ALL, &self->st));
	EXPECT_EQ(0, memcmp(&st.regs, &self->st.regs, sizeof(st.regs)));
	EXPECT_EQ(0, memcmp(&st.sregs, &self->st.sregs, sizeof(st.sregs)));
	EXPECT_EQ(0, memcmp(&st.dregs, &self->st.dregs, sizeof(st.dregs)));
	/* CR8 is the APIC's task priority */
	EXPECT_EQ(0x50, self->st.apic.regs[8]);
}

TEST_F(state, msrs_read_back)
{
	static struct vmm_state st;
	struct vmm_msr one = { .index = 0xc0000082, .value = 0xffffffff81000000ull };
	u32 i;

	ASSERT_LT(10, self->st.msrs.count);
	/* all of them at once, as they were */
	ASSERT_EQ(0, vcpu_set(self->v, VMM_STATE_MSRS, &self->st));
	/* a subset */
	st.msrs.count = 1;
	st.msrs.msr[0] = one;
	ASSERT_EQ(0, vcpu_set(self->v, VMM_STATE_MSRS, &st));
	ASSERT_EQ(0, vcpu_get(self->v, VMM_STATE_MSRS, &st));
	for (i = 0; i < st.msrs.count; i++) {
		u32 index = st.msrs.msr[i].index;

		EXPECT_EQ(self->st.msrs.msr[i].index, index);
		EXPECT_EQ(0, st.msrs.msr[i].pad);
		if (index != 0x10)
			EXPECT_EQ(index == one.index ? one.value :
				  self->st.msrs.msr[i].value, st.msrs.msr[i].value);
	}
}

/* as wide as the CPU's, with or without five levels of paging in the host */
TEST_F(state, addresses_in_msrs)
{
	static struct vmm_state st;
	u32 eax, ebx, ecx, edx;
	int bits;

	ASSERT_NE(0, __get_cpuid(0x80000008, &eax, &ebx, &ecx, &edx));
	bits = eax >> 8 & 0xff;
	ASSERT_LE(48, bits);
	st.msrs.count = 1;
	/* KERNEL_GS_BASE */
	st.msrs.msr[0] = (struct vmm_msr){ .index = 0xc0000102, .value = ~0ull << (bits - 1) };
	EXPECT_EQ(0, vcpu_set(self->v, VMM_STATE_MSRS, &st));
	st.msrs.msr[0].value = 1ull << (bits - 1);
	EXPECT_EQ(-EINVAL, vcpu_set(self->v, VMM_STATE_MSRS, &st));
}

/* ---- what is refused ------------------------------------------------------------------ */

/* a field by its offset in vmm_state: a value of this size is put there */
struct row {
	const char *what;
	u32 mask;
	size_t offset, size;
	u64 value;
};

#define ROW(group, field, v)						\
	{ #field " = " #v, group, offsetof(struct vmm_state, field),	\
	  sizeof(((struct vmm_state *)0)->field), v }
#define SREGS(field, v)		ROW(VMM_STATE_SREGS, sregs.field, v)
#define EVENTS(field, v)	ROW(VMM_STATE_EVENTS, events.field, v)
#define DREGS(field, v)		ROW(VMM_STATE_DREGS, dregs.field, v)
#define APIC(field, v)		ROW(VMM_STATE_APIC, apic.field, v)
#define MSRS(field, v)		ROW(VMM_STATE_MSRS, msrs.field, v)
#define XSAVE(field, v)		ROW(VMM_STATE_XSAVE, xsave.field, v)

static const struct row refused[] = {
	/* PG without PE, NW without CD, upper half */
	SREGS(cr0, 0x80000010), SREGS(cr0, 0x20000011), SREGS(cr0, 1ull << 32),
	SREGS(cr4, 1ull << 63), SREGS(cr4, 1u << 13 /* VMXE */), SREGS(cr4, 1u << 15),
	SREGS(cr8, 16), SREGS(cr8, 1ull << 32),
	/* SVME, reserved, LMA without paging */
	SREGS(efer, 0x1000), SREGS(efer, 2), SREGS(efer, 0x500), SREGS(efer, 1ull << 40),
	SREGS(gdtr.pad, 1), SREGS(idtr.pad, 1),
	SREGS(gdtr.limit, 0x10000), SREGS(idtr.limit, ~0u),
	SREGS(seg[VMM_ES].attr, 0x1093), SREGS(seg[VMM_CS].attr, 0x809b),
	SREGS(seg[VMM_TR].attr, 0xf08b),
	EVENTS(type, 4), EVENTS(type, 255), EVENTS(type, VMM_EVENT_NMI),
	EVENTS(has_error, 1), EVENTS(has_error, 2), EVENTS(error, 1),
	EVENTS(nmi_pending, 3), EVENTS(nmi_blocked, 2), EVENTS(shadow, 2),
	EVENTS(run_state, 4), EVENTS(run_state, 255),
	EVENTS(init_pending, 2), EVENTS(sipi_pending, 255),
	EVENTS(extint_pending, 2), EVENTS(unhalted, 2), EVENTS(pad[6], 1), EVENTS(reserved, 1),
	{ "two external interrupts", VMM_STATE_EVENTS,
	  offsetof(struct vmm_state, events), 4, 0x01004001 },
	DREGS(dr6, 1ull << 32), DREGS(dr7, 1ull << 32), DREGS(dr7, ~0ull),
	APIC(base, 0xfee00901), APIC(base, 0xfee00500), APIC(base, 1ull << 63),
	APIC(regs[0x00], 1), APIC(regs[0x02], 0x7f000000), APIC(regs[0x03], 0),
	APIC(regs[0x08], 0x100), APIC(regs[0x3f], 1),
	APIC(regs[0x32], 0x70000), APIC(regs[0x20], 1),
	MSRS(count, VMM_MAX_MSRS + 1), MSRS(count, ~0u), MSRS(pad, 1),
	MSRS(msr[0].index, 0xdeadbeef), MSRS(msr[0].index, 0xc0010117),
	MSRS(msr[0].index, 0xc0000080), MSRS(msr[0].pad, 1),
	XSAVE(pad, 1), XSAVE(size, 0), XSAVE(size, VMM_XSAVE_SIZE + 1), XSAVE(size, ~0u),
	XSAVE(xcr0, 0), XSAVE(xcr0, 2), XSAVE(xcr0, 5), XSAVE(xcr0, ~0ull),
	XSAVE(xcr0, 1ull << 63 | 1),
	/* MXCSR's upper half; XSTATE_BV beyond XCR0; XCOMP_BV; header's rest */
	XSAVE(area[26], 1), XSAVE(area[27], 0x80), XSAVE(area[519], 0x80),
	XSAVE(area[527], 0x80), XSAVE(area[520], 1), XSAVE(area[540], 1),
	XSAVE(area[575], 1),
};

static void put(struct vmm_state *st, const struct row *r)
{
	memcpy((u8 *)st + r->offset, &r->value, r->size);
}

/* times differ between two reads */
static void still(struct vmm_state *st)
{
	if (vcpu_find_msr(st, 0x10))
		vcpu_find_msr(st, 0x10)->value = 0;
}

TEST_F(state, bad_values_are_refused)
{
	static struct vmm_state st, after;
	unsigned int i;

	still(&self->st);
	for (i = 0; i < ARRAY_SIZE(refused); i++) {
		st = self->st;
		put(&st, &refused[i]);
		EXPECT_EQ(-EINVAL, vcpu_set(self->v, refused[i].mask, &st))
			TH_LOG("%s", refused[i].what);
		ASSERT_EQ(0, vcpu_get(self->v, VMM_STATE_ALL, &after));
		still(&after);
		EXPECT_EQ(0, memcmp(&self->st, &after, sizeof(after)))
			TH_LOG("%s has changed something", refused[i].what);
	}
}

/* a bad group takes the good ones with it */
TEST_F(state, all_or_nothing)
{
	static struct vmm_state st, after;

	still(&self->st);
	st = self->st;
	st.regs.gpr[VMM_RBX] = 0x77;
	st.dregs.dr[1] = 0x77;
	st.apic.regs[8] = 0x20;
	st.msrs.count = 2;
	st.msrs.msr[0] = (struct vmm_msr) { .index = 0xc0000082, .value = 0x77 };
	st.msrs.msr[1] = (struct vmm_msr) { .index = 0xc0000082, .value = 1ull << 60 };
	EXPECT_EQ(-EINVAL, vcpu_set(self->v, VMM_STATE_ALL, &st));
	ASSERT_EQ(0, vcpu_get(self->v, VMM_STATE_ALL, &after));
	still(&after);
	EXPECT_EQ(0, memcmp(&self->st, &after, sizeof(after)));
}

/* reserved RFLAGS bits are dropped as POPF drops them, bit 1 is always set */
TEST_F(state, rflags)
{
	self->st.regs.rflags = ~0ull;
	ASSERT_EQ(0, vcpu_set(self->v, VMM_STATE_REGS, &self->st));
	ASSERT_EQ(0, vcpu_get(self->v, VMM_STATE_REGS, &self->st));
	EXPECT_EQ(2, self->st.regs.rflags & 0xffffffffffc0802aull);
	self->st.regs.rflags = 0;
	ASSERT_EQ(0, vcpu_set(self->v, VMM_STATE_REGS, &self->st));
	ASSERT_EQ(0, vcpu_get(self->v, VMM_STATE_REGS, &self->st));
	EXPECT_EQ(2, self->st.regs.rflags);
}

/* legal, and the end of an emulated host that is entered so: svm/run.c */
TEST_F(state, long_mode_enabled_first)
{
	/* mov eax,cr4; or al,PAE; mov cr4,eax; out 1,al; mov ecx,EFER; rdmsr; out 2,al */
	static const u8 code[] = {
		0xe6, 0x00, 0x0f, 0x20, 0xe0, 0x0c, 0x20, 0x0f, 0x22, 0xe0, 0xe6, 0x01,
		0xb9, 0x80, 0x00, 0x00, 0xc0, 0x0f, 0x32, 0xe6, 0x02,
	};
	struct vmm_run *run = self->v->run;
	unsigned int port;

	vcpu_start32(self->v, GUEST_IMAGE);
	memcpy(self->vm->ram + GUEST_IMAGE, code, sizeof(code));
	ASSERT_EQ(0, vcpu_get(self->v, VMM_STATE_SREGS, &self->st));
	self->st.sregs.efer = 0x100;
	ASSERT_EQ(0, vcpu_set(self->v, VMM_STATE_SREGS, &self->st));
	for (port = 0; port < 3; port++) {
		ASSERT_EQ(0, vcpu_run(self->v));
		ASSERT_EQ(VMM_EXIT_IO, run->reason);
		ASSERT_EQ(port, run->exit.io.port);
		ASSERT_EQ(0, vcpu_get(self->v, VMM_STATE_REGS | VMM_STATE_SREGS, &self->st));
		EXPECT_EQ(0x100, self->st.sregs.efer);
		vcpu_complete(self->v);
	}
	EXPECT_EQ(0x20, self->st.sregs.cr4);
	EXPECT_EQ(0x100, self->st.regs.gpr[VMM_RAX]);
}

/* not every CPU refuses this one: CR3 beyond the physical addresses, in real mode */
TEST_F(state, refused_entry_changes_nothing)
{
	static struct vmm_state after;

	vcpu_start16(self->v, 0, GUEST_IMAGE);
	memcpy(self->vm->ram + GUEST_IMAGE, (const u8[]) { 0xe6, 0x01 }, 2);
	ASSERT_EQ(0, vcpu_get(self->v, VMM_STATE_REGS | VMM_STATE_SREGS, &self->st));
	self->st.sregs.cr3 = 1ull << 60;
	ASSERT_EQ(0, vcpu_set(self->v, VMM_STATE_SREGS, &self->st));
	ASSERT_EQ(0, vcpu_run(self->v));
	if (self->v->run->reason == VMM_EXIT_IO)
		SKIP(return, "the CPU took it");
	ASSERT_EQ(VMM_EXIT_ENTRY_FAILED, self->v->run->reason);
	ASSERT_EQ(0, vcpu_get(self->v, VMM_STATE_REGS | VMM_STATE_SREGS, &after));
	EXPECT_EQ(0, memcmp(&self->st.regs, &after.regs, sizeof(after.regs)));
	EXPECT_EQ(0, memcmp(&self->st.sregs, &after.sregs, sizeof(after.sregs)));
	EXPECT_STREQ("CR3", self->v->run->exit.failed.why);
}

/* VT-x looks at all of it, SDM 3C 27.3.1; from real mode's state on */
static const struct {
	struct row row;
	const char *why;
} named[] = {
	{ SREGS(cr3, 1ull << 60), "CR3" },
	{ SREGS(seg[VMM_TR].attr, 0x89), "TR.type" },
	{ SREGS(seg[VMM_TR].attr, 0x0b), "TR" },
	{ SREGS(seg[VMM_LDTR].attr, 0x81), "LDTR.type" },
	{ SREGS(seg[VMM_CS].attr, 0x91), "CS.type" },
	{ SREGS(seg[VMM_DS].attr, 0x92), "DS.type" },
	{ SREGS(seg[VMM_SS].attr, 0xf3), "SS.DPL" },
	{ SREGS(seg[VMM_FS].attr, 0x83), "FS.S" },
	{ SREGS(seg[VMM_ES].limit, 0x100000), "ES.G" },
	{ SREGS(seg[VMM_GS].base, 1ull << 60), "GS.base" },
	{ SREGS(gdtr.base, 1ull << 60), "GDTR.base" },
	{ SREGS(idtr.base, 1ull << 60), "IDTR.base" },
	{ ROW(VMM_STATE_REGS, regs.rip, 1ull << 40), "RIP" },
	{ ROW(VMM_STATE_REGS, regs.rflags, 1u << 17), "RFLAGS.VM" },
};

TEST_F(state, refused_entry_says_why)
{
	static struct vmm_state bad, after;
	struct vmm_info info;
	unsigned int i;

	ASSERT_EQ(0, vm_ioctl(self->vm->dev, VMM_GET_INFO, &info));
	if (info.vendor != VMM_VENDOR_VMX)
		SKIP(return, "SVM's CPUs take nearly all of it");
	vcpu_start16(self->v, 0, GUEST_IMAGE);
	memcpy(self->vm->ram + GUEST_IMAGE, (const u8[]) { 0xe6, 0x01 }, 2);
	ASSERT_EQ(0, vcpu_get(self->v, VMM_STATE_REGS | VMM_STATE_SREGS, &self->st));
	for (i = 0; i < 16; i++)
		self->st.regs.gpr[i] = 0x1111111111111111ull * i;
	for (i = 0; i < ARRAY_SIZE(named); i++) {
		bad = self->st;
		put(&bad, &named[i].row);
		ASSERT_EQ(0, vcpu_set(self->v, VMM_STATE_REGS | VMM_STATE_SREGS, &bad));
		ASSERT_EQ(0, vcpu_run(self->v));
		ASSERT_EQ(VMM_EXIT_ENTRY_FAILED, self->v->run->reason)
			TH_LOG("%s", named[i].row.what);
		EXPECT_NE(NULL, strstr(self->v->run->exit.failed.why, named[i].why))
			TH_LOG("%s: %s", named[i].row.what, self->v->run->exit.failed.why);
		ASSERT_EQ(0, vcpu_get(self->v, VMM_STATE_REGS, &after));
		EXPECT_EQ(0, memcmp(bad.regs.gpr, after.regs.gpr, sizeof(bad.regs.gpr)));
		/* and what is right runs */
		ASSERT_EQ(0, vcpu_set(self->v, VMM_STATE_REGS | VMM_STATE_SREGS, &self->st));
		ASSERT_EQ(0, vcpu_run(self->v));
		ASSERT_EQ(VMM_EXIT_IO, self->v->run->reason) TH_LOG("%s", named[i].row.what);
	}
}

/* a monitor that executes an instruction writes the FPU's state, then completes it */
TEST_F(state, fpu_leaves_the_exit_to_be_completed)
{
	/* out 1,al; out 2,al */
	static const u8 code[] = { 0xe6, 0x01, 0xe6, 0x02 };

	vcpu_start16(self->v, 0, GUEST_IMAGE);
	memcpy(self->vm->ram + GUEST_IMAGE, code, sizeof(code));
	ASSERT_EQ(0, vcpu_run(self->v));
	ASSERT_EQ(VMM_EXIT_IO, self->v->run->reason);
	ASSERT_EQ(1, self->v->run->exit.io.port);
	ASSERT_EQ(0, vcpu_get(self->v, VMM_STATE_ALL, &self->st));
	ASSERT_EQ(0, vcpu_set(self->v, VMM_STATE_XSAVE, &self->st));
	self->v->run->flags = VMM_RUN_COMPLETE;
	ASSERT_EQ(0, vcpu_run(self->v));
	ASSERT_EQ(VMM_EXIT_IO, self->v->run->reason);
	EXPECT_EQ(2, self->v->run->exit.io.port);
	/* but where it was to go on is no longer known after this */
	ASSERT_EQ(0, vcpu_set(self->v, VMM_STATE_REGS, &self->st));
	self->v->run->flags = VMM_RUN_COMPLETE;
	EXPECT_EQ(-EINVAL, vcpu_run(self->v));
}

#define XSTATE_BV	512
#define FXSAVE_SIZE	512
#define XSAVE_SIZE	576	/* with the header, without any component more */

/* SDM 1 13.6: nobody has touched the rest, whatever XCR0 says */
TEST_F(state, fpu_in_use)
{
	static const u8 out[] = { 0xe6, 0x01 };
	struct vmm_info info;
	u64 bv;

	ASSERT_EQ(0, vm_ioctl(self->vm->dev, VMM_GET_INFO, &info));
	vcpu_start16(self->v, 0, GUEST_IMAGE);
	memcpy(self->vm->ram + GUEST_IMAGE, out, sizeof(out));
	ASSERT_EQ(0, vcpu_get(self->v, VMM_STATE_XSAVE, &self->st));
	if (self->st.xsave.size < XSAVE_SIZE)
		SKIP(return, "the host has no XSAVE");
	self->st.xsave.xcr0 = info.xcr0_mask;
	ASSERT_EQ(0, vcpu_set(self->v, VMM_STATE_XSAVE, &self->st));
	ASSERT_EQ(0, vcpu_run(self->v));
	ASSERT_EQ(VMM_EXIT_IO, self->v->run->reason);
	ASSERT_EQ(0, vcpu_get(self->v, VMM_STATE_XSAVE, &self->st));
	memcpy(&bv, self->st.xsave.area + XSTATE_BV, sizeof(bv));
	EXPECT_EQ(0, bv & ~3ull);
}

/* as hosts have it that cannot do as much */
TEST_F(state, fpu_of_other_hosts)
{
	static const u32 sizes[] = { FXSAVE_SIZE, XSAVE_SIZE };
	struct vmm_xsave *x = &self->st.xsave;
	struct vmm_info info;
	u64 bv = 4;
	u32 i, all;

	ASSERT_EQ(0, vm_ioctl(self->vm->dev, VMM_GET_INFO, &info));
	for (i = 0; i < ARRAY_SIZE(sizes); i++) {
		ASSERT_EQ(0, vcpu_get(self->v, VMM_STATE_XSAVE, &self->st));
		all = x->size;
		/* what is in front of the header is XMM0's; behind, nobody's */
		memset(x->area + 160, 0x55 + i, 16);
		memset(x->area + sizes[i], 0xff, sizeof(x->area) - sizes[i]);
		x->size = sizes[i];
		ASSERT_EQ(0, vcpu_set(self->v, VMM_STATE_XSAVE, &self->st)) TH_LOG("%u", i);
		memset(x, 0, sizeof(*x));
		ASSERT_EQ(0, vcpu_get(self->v, VMM_STATE_XSAVE, &self->st));
		EXPECT_EQ(all, x->size);
		EXPECT_EQ(0x55 + i, x->area[160]);
		if (all >= XSAVE_SIZE)
			EXPECT_EQ(3, x->area[XSTATE_BV]);
	}
	/* neither half a header nor less than it says that there is */
	x->size = XSAVE_SIZE - 1;
	if (all >= XSAVE_SIZE)
		EXPECT_EQ(-EINVAL, vcpu_set(self->v, VMM_STATE_XSAVE, &self->st));
	x->size = FXSAVE_SIZE - 1;
	EXPECT_EQ(-EINVAL, vcpu_set(self->v, VMM_STATE_XSAVE, &self->st));
	if (info.xcr0_mask & bv) {
		x->size = XSAVE_SIZE;
		memcpy(x->area + XSTATE_BV, &bv, sizeof(bv));
		EXPECT_EQ(-EINVAL, vcpu_set(self->v, VMM_STATE_XSAVE, &self->st));
		x->size = all;
		EXPECT_EQ(0, vcpu_set(self->v, VMM_STATE_XSAVE, &self->st));
	}
}

/* the events' part of SDM 3C 27.2.1.3: an error code has 16 bits */
TEST_F(state, refused_event_says_why)
{
	static struct vmm_state after;
	struct vmm_info info;

	ASSERT_EQ(0, vm_ioctl(self->vm->dev, VMM_GET_INFO, &info));
	if (info.vendor != VMM_VENDOR_VMX)
		SKIP(return, "SVM's CPUs take any error code");
	vcpu_start32(self->v, GUEST_IMAGE);
	ASSERT_EQ(0, vcpu_get(self->v, VMM_STATE_EVENTS, &self->st));
	self->st.events.type = VMM_EVENT_EXCEPTION;
	self->st.events.vector = 13;
	self->st.events.has_error = 1;
	self->st.events.error = 0x10000;
	ASSERT_EQ(0, vcpu_set(self->v, VMM_STATE_EVENTS, &self->st));
	ASSERT_EQ(0, vcpu_run(self->v));
	ASSERT_EQ(VMM_EXIT_ENTRY_FAILED, self->v->run->reason);
	EXPECT_STREQ("VM-entry exception error code", self->v->run->exit.failed.why);
	/* it is still to be delivered */
	ASSERT_EQ(0, vcpu_get(self->v, VMM_STATE_EVENTS, &after));
	EXPECT_EQ(0, memcmp(&self->st.events, &after.events, sizeof(after.events)));
}

/* ---- rubbish ------------------------------------------------------------------------- */

static u64 seed = 0x123456789abcdefull;

static u64 random64(void)
{
	seed ^= seed << 13;
	seed ^= seed >> 7;
	seed ^= seed << 17;
	return seed;
}

/* values at the borders of something, more often than any others */
static u64 nasty(void)
{
	static const u64 v[] = {
		0, 1, 2, 0x7f, 0x80, 0xff, 0xffff, 0x10000, 0x7fffffff, 0x80000000,
		0xffffffff, 1ull << 32, 0x7fffffffffff, 0x800000000000,
		0xffff800000000000, 1ull << 52, 1ull << 63, ~0ull, ~0xfffull,
		0xfee00000, 0xfee00d00, 0x80000011, 0x60000010, 0x500, 0xd01, 0x6b0,
	};
	u64 r = random64();

	switch (r & 3) {
	case 0:
		return v[(r >> 8) % ARRAY_SIZE(v)];
	case 1:
		return 1ull << (r >> 8 & 63);
	case 2:
		return v[(r >> 8) % ARRAY_SIZE(v)] ^ 1ull << (r >> 16 & 63);
	default:
		return random64();
	}
}

static const struct {
	u32 mask;
	size_t offset, size;
} groups[] = {
#define GROUP(mask, field) \
	{ mask, offsetof(struct vmm_state, field), sizeof(((struct vmm_state *)0)->field) }
	GROUP(VMM_STATE_REGS, regs), GROUP(VMM_STATE_EVENTS, events),
	GROUP(VMM_STATE_DREGS, dregs), GROUP(VMM_STATE_APIC, apic),
	GROUP(VMM_STATE_MSRS, msrs), GROUP(VMM_STATE_XSAVE, xsave),
	/* twice: most of what VMRUN looks at is here */
	GROUP(VMM_STATE_SREGS, sregs), GROUP(VMM_STATE_SREGS, sregs),
};

/* one to three fields of a group, at any alignment that a field has */
static u32 poison(struct vmm_state *st)
{
	unsigned int g = random64() % ARRAY_SIZE(groups), n = random64() % 3 + 1;
	static const u8 sizes[] = { 1, 2, 4, 8, 8 };

	while (n--) {
		u64 value = nasty();
		size_t size = sizes[random64() % sizeof(sizes)];
		size_t at = random64() % (groups[g].size / size) * size;

		memcpy((u8 *)st + groups[g].offset + at, &value, size);
	}
	return groups[g].mask;
}

/* ends a RUN that would go on for ever */
struct kicker {
	int fd;
	volatile bool stop;
	pthread_t thread;
};

static void *kicker(void *arg)
{
	struct kicker *k = arg;

	while (!k->stop) {
		vm_ioctl_n(k->fd, VMM_KICK, 0);
		usleep(2000);
	}
	return NULL;
}

struct tally {
	unsigned int refused, ran, failed_entry, unnamed;
};

/*
 * Bochs also wants CS.RPL to be CS.DPL, and RIP to be canonical, which the manual
 * does not ask for.
 */
static bool named_why(const struct vmm_run *run)
{
	const struct vmm_segment *cs = &run->sregs.seg[VMM_CS];
	s64 upper = (s64)run->regs.rip >> 47;

	if (!strncmp(run->exit.failed.why, "VM-instruction error", 20))
		return false;
	return strncmp(run->exit.failed.why, "guest state", 11) ||
	       (cs->selector & 3) != (cs->attr >> VMM_SEG_DPL_SHIFT & 3) ||
	       (upper && upper != -1);
}

/* a few exits on; whatever they are, none may be an error of RUN itself */
static void run_on(struct vcpu *v, struct tally *t)
{
	unsigned int i;
	int r;

	for (i = 0; i < 3; i++) {
		r = vcpu_run(v);
		if (r && r != -EINTR)
			vm_die("VMM_RUN of a state that was accepted: %d", r);
		if (!r && v->run->reason == VMM_EXIT_ENTRY_FAILED) {
			t->failed_entry++;
			t->unnamed += !named_why(v->run);
		}
		if (!r && v->run->reason == VMM_EXIT_IO && !v->run->exit.io.string)
			vcpu_complete(v);
	}
	v->run->flags = 0;
	t->ran++;
}

static void poison_rounds(struct vcpu *v, unsigned int ms, struct tally *t)
{
	static struct vmm_state clean, st;
	u64 end = vm_now_ms() + ms;
	u32 mask;

	if (vcpu_get(v, VMM_STATE_ALL, &clean))
		vm_die("VMM_GET_STATE failed");
	while (vm_now_ms() < end) {
		st = clean;
		mask = poison(&st);
		if (random64() & 1)
			mask |= poison(&st);
		if (vcpu_set(v, mask, &st)) {
			t->refused++;
			continue;
		}
		run_on(v, t);
		/* whatever came of it can be read, and the clean one written */
		if (vcpu_get(v, VMM_STATE_ALL, &st) || vcpu_set(v, VMM_STATE_ALL, &clean))
			vm_die("a clean state is refused after %u runs", t->ran);
	}
}

FIXTURE(rubbish) {
	struct vm *vm;
};

FIXTURE_VARIANT(rubbish) {
	int mode;
};

FIXTURE_VARIANT_ADD(rubbish, real) { 16 };
FIXTURE_VARIANT_ADD(rubbish, protected) { 32 };
FIXTURE_VARIANT_ADD(rubbish, long) { 64 };

FIXTURE_SETUP(rubbish)
{
	/* out 0x80,al; nop; jmp back: the same bytes in all three modes */
	static const u8 code[] = { 0xe6, 0x80, 0x90, 0xeb, 0xfb };

	self->vm = vm_create(VM_RAM);
	vm_add_vcpu(self->vm);
	memcpy(self->vm->ram + GUEST_IMAGE, code, sizeof(code));
	if (variant->mode == 16)
		vcpu_start16(&self->vm->vcpu[0], 0, GUEST_IMAGE);
	else if (variant->mode == 32)
		vcpu_start32(&self->vm->vcpu[0], GUEST_IMAGE);
	else
		vcpu_start64(&self->vm->vcpu[0], GUEST_IMAGE);
}

FIXTURE_TEARDOWN(rubbish)
{
	vm_free(self->vm);
}

TEST_F_TIMEOUT(rubbish, host_lives, 60)
{
	struct kicker k = { .fd = self->vm->vcpu[0].fd };
	struct vm *witness;
	struct tally t = {};

	/* other rubbish: SEED=N in the environment */
	seed += variant->mode;
	if (getenv("SEED"))
		seed += strtoull(getenv("SEED"), NULL, 0) * 0x9e3779b97f4a7c15ull;
	ASSERT_EQ(0, pthread_create(&k.thread, NULL, kicker, &k));
	poison_rounds(&self->vm->vcpu[0], 5000, &t);
	k.stop = true;
	pthread_join(k.thread, NULL);
	TH_LOG("%u refused, %u ran, %u entries failed", t.refused, t.ran, t.failed_entry);
	EXPECT_EQ(0, t.unnamed);
	/* rubbish that is always or never refused tests nothing */
	EXPECT_LT(100, t.refused);
	EXPECT_LT(100, t.ran);
	witness = vm_guest("long64", 1);
	ASSERT_EQ(VM_EXITED, vm_run(witness, 10000)) vm_explain(witness);
	EXPECT_EQ(0, witness->result);
	vm_free(witness);
}

TEST_HARNESS_MAIN
