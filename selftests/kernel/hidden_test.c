// SPDX-License-Identifier: GPL-2.0
/*
 * What a guest's CPUID table does not show it cannot turn on in CR4 or XCR0, unless
 * the monitor did. Code is put together here: a few bytes in long mode.
 */
#include <cpuid.h>
#include <string.h>

#include "kselftest_harness.h"
#include "vm.h"

#define CR4_OSXSAVE	(1u << 18)
#define XCR0_AVX	4u

FIXTURE(hidden) {
	struct vmm_info info;
	struct vm *vm;
	struct vcpu *v;
	struct vmm_state st;
};

FIXTURE_SETUP(hidden)
{
	self->vm = vm_create(VM_RAM);
	self->v = vm_add_vcpu(self->vm);
	ASSERT_EQ(0, vm_ioctl(self->vm->dev, VMM_GET_INFO, &self->info));
}

FIXTURE_TEARDOWN(hidden)
{
	vm_free(self->vm);
}

/* the code in long mode; without an IDT, where an exception ends it */
static void prepare(FIXTURE_DATA(hidden) *self, const u8 *code, size_t len)
{
	vcpu_start64(self->v, GUEST_IMAGE);
	memcpy(self->vm->ram + GUEST_IMAGE, code, len);
	/* with SMEP the kernel cannot run from pages of the user's */
	*(u64 *)(self->vm->ram + GUEST_PML4) &= ~4ull;
	if (vcpu_get(self->v, VMM_STATE_ALL, &self->st))
		vm_die("VMM_GET_STATE failed");
	memset(&self->st.events, 0, sizeof(self->st.events));
	self->st.sregs.idtr.limit = 0;
}

/* with the state that was prepared: why it ends; the state is that of then */
static u32 run(FIXTURE_DATA(hidden) *self)
{
	u32 why;

	if (vcpu_set(self->v, VMM_STATE_ALL, &self->st) || vcpu_exit(self->v))
		vm_die("VMM_SET_STATE or VMM_RUN failed");
	why = self->v->run->reason;
	if (why == VMM_EXIT_IO) {
		vcpu_complete(self->v);
		vcpu_finish(self->v);
	}
	if (vcpu_get(self->v, VMM_STATE_ALL, &self->st))
		vm_die("VMM_GET_STATE failed");
	return why;
}

/* the bit of CR4 that needs a bit of CPUID */
static const struct {
	u32 function;
	enum cpuid_reg reg;
	u32 bit;
	u64 cr4;
} bits[] = {
	{ 1, CPUID_ECX, 17, 1 << 17 },	/* PCIDE */
	{ 1, CPUID_ECX, 26, CR4_OSXSAVE },
	{ 7, CPUID_EBX, 0, 1 << 16 },	/* FSGSBASE */
	{ 7, CPUID_EBX, 7, 1 << 20 },	/* SMEP */
	{ 7, CPUID_EBX, 20, 1 << 21 },	/* SMAP */
	{ 7, CPUID_ECX, 2, 1 << 11 },	/* UMIP */
};

static bool host_has(unsigned int i)
{
	u32 r[4];

	return __get_cpuid_count(bits[i].function, 0, &r[0], &r[1], &r[2], &r[3]) &&
	       r[bits[i].reg] >> bits[i].bit & 1;
}

static void hide(FIXTURE_DATA(hidden) *self, unsigned int i)
{
	vcpu_hide(self->v, bits[i].function, bits[i].reg, 1u << bits[i].bit);
}

/* the guest sets it; it was there before or not */
static u32 set_bit_of(FIXTURE_DATA(hidden) *self, unsigned int i, bool before)
{
	/* mov cr4,rax; out 1,al */
	static const u8 code[] = { 0x0f, 0x22, 0xe0, 0xe6, 0x01 };

	prepare(self, code, sizeof(code));
	self->st.regs.gpr[VMM_RAX] = self->st.sregs.cr4 | bits[i].cr4;
	if (before)
		self->st.sregs.cr4 |= bits[i].cr4;
	return run(self);
}

TEST_F(hidden, cr4)
{
	unsigned int i, tried = 0;
	u64 bit;

	for (i = 0; i < ARRAY_SIZE(bits); i++) {
		if (!host_has(i))
			continue;
		tried++;
		bit = bits[i].cr4;
		ASSERT_EQ(0, vcpu_set_cpuid(self->v));
		EXPECT_EQ(VMM_EXIT_IO, set_bit_of(self, i, false)) TH_LOG("%llx", bit);
		EXPECT_EQ(bit, self->st.sregs.cr4 & bit);
		/* what it has set is its own, though the table no longer shows it */
		hide(self, i);
		ASSERT_EQ(0, vcpu_get(self->v, VMM_STATE_SREGS, &self->st));
		EXPECT_EQ(bit, self->st.sregs.cr4 & bit);
		EXPECT_EQ(VMM_EXIT_SHUTDOWN, set_bit_of(self, i, false)) TH_LOG("%llx", bit);
		EXPECT_EQ(0, self->st.sregs.cr4 & bit);
		EXPECT_EQ(VMM_EXIT_IO, set_bit_of(self, i, true)) TH_LOG("%llx", bit);
		EXPECT_EQ(bit, self->st.sregs.cr4 & bit);
	}
	if (!tried)
		SKIP(return, "this CPU has none of these");
}

/* the guest asks for x87, SSE and AVX */
static u32 set_xcr0(FIXTURE_DATA(hidden) *self)
{
	/* xor ecx,ecx; mov eax,7; xor edx,edx; xsetbv; out 1,al */
	static const u8 code[] = {
		0x31, 0xc9, 0xb8, 0x07, 0x00, 0x00, 0x00, 0x31, 0xd2, 0x0f, 0x01, 0xd1,
		0xe6, 0x01,
	};

	prepare(self, code, sizeof(code));
	self->st.sregs.cr4 |= CR4_OSXSAVE;
	self->st.xsave.xcr0 = 1;
	return run(self);
}

/* #GP; where the CPU cannot tell of XSETBV, it does at least not last */
TEST_F(hidden, xcr0)
{
	u32 eax, ebx, ecx, edx;

	if (!__get_cpuid_count(0xd, 0, &eax, &ebx, &ecx, &edx) || !(eax & XCR0_AVX))
		SKIP(return, "this CPU has no AVX");
	EXPECT_EQ(VMM_EXIT_IO, set_xcr0(self));
	EXPECT_EQ(7, self->st.xsave.xcr0);
	vcpu_hide(self->v, 0xd, CPUID_EAX, XCR0_AVX);
	EXPECT_EQ(self->info.features & VMM_FEAT_XSETBV ? VMM_EXIT_SHUTDOWN : VMM_EXIT_IO,
		  set_xcr0(self));
	EXPECT_EQ(0, self->st.xsave.xcr0 & XCR0_AVX);
	/* the monitor may give it */
	self->st.xsave.xcr0 = 7;
	EXPECT_EQ(0, vcpu_set(self->v, VMM_STATE_XSAVE, &self->st));
}

TEST_HARNESS_MAIN
