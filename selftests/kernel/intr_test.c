// SPDX-License-Identifier: GPL-2.0
/*
 * Interrupts, whoever delivers them: the guest intr keeps a model of its APIC and
 * compares at each step. Where the CPU delivers by itself (SDM 3C chapter 30) all of
 * this is its work; the module's parameter virt_intr=0 leaves it to the module.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "kselftest_harness.h"
#include "vm.h"
#include "../../guests/bare/intr.h"

#define RUN_MS		100000
#define PAGE		4096
#define APIC_BASE	0xfee00000

FIXTURE(intr) {
	struct vm *vm;
};

FIXTURE_VARIANT(intr) {
	int x2apic;
};

FIXTURE_VARIANT_ADD(intr, xapic) {
	.x2apic = 0,
};

FIXTURE_VARIANT_ADD(intr, x2apic) {
	.x2apic = 1,
};

FIXTURE_SETUP(intr)
{
	self->vm = NULL;
}

FIXTURE_TEARDOWN(intr)
{
	if (self->vm)
		vm_free(self->vm);
}

static struct vm *subject(unsigned int what, int x2apic, u64 n)
{
	struct vm *vm = vm_guest("intr", what == INTR_MIXED ? 2 : 1);

	vm_arg(vm, 0, what);
	vm_arg(vm, 1, x2apic);
	vm_arg(vm, 2, n);
	return vm;
}

static int run(struct vm *vm)
{
	if (vm_run(vm, RUN_MS) == VM_EXITED && !vm->result)
		return 0;
	vm_explain(vm);
	return vm->result ?: -1;
}

TEST_F_TIMEOUT(intr, nested, 120)
{
	u64 start = vm_now_ms();
	bool found;

	self->vm = subject(INTR_NESTED, variant->x2apic, 20000);
	EXPECT_EQ(0, run(self->vm));
	TH_LOG("%llu ms, %llu delivered with IF clear", vm_now_ms() - start,
	       testdev_report(&self->vm->testdev, 3, 0, &found));
}

TEST_F_TIMEOUT(intr, nested_over_state, 120)
{
	static struct vm_saved saved;
	unsigned int i;

	self->vm = subject(INTR_NESTED, variant->x2apic, 1000000);
	/* stopped anywhere, also in the middle of a handler */
	for (i = 0; i < 20; i++) {
		ASSERT_EQ(VM_TIMEOUT, vm_run(self->vm, 20)) vm_explain(self->vm);
		vm_save(self->vm, &saved);
		vm_rebuild(self->vm, &saved);
	}
}

/* ---- level-triggered ones ---------------------------------------------------- */

struct level {
	bool pending[256];		/* sent as level-triggered */
	unsigned int ending;		/* vector whose EOI comes next, or 0 */
	bool told;			/* its EOI is an exit */
	unsigned int eois, wrong;
};

static void send_three(struct vcpu *v, unsigned int first)
{
	struct level *l = v->vm->priv;
	unsigned int i;

	for (i = 0; i < 3; i++) {
		/* in turns, so that each vector is this once and that another time */
		bool level = (first + l->eois + i) % 3 == 0;
		struct vmm_msi msi = {
			.address = APIC_BASE, .data = (first + i) | (level ? 0xc000 : 0),
		};

		l->pending[first + i] = level;
		if (vm_ioctl(v->vm->fd, VMM_SEND_MSI, &msi) != 1)
			l->wrong++;
	}
}

static void check_last(struct level *l)
{
	if (l->ending && l->pending[l->ending] != l->told)
		l->wrong++;
}

static enum vm_verdict on_level(struct vcpu *v)
{
	struct level *l = v->vm->priv;
	struct vmm_exit_io *io = &v->run->exit.io;

	if (v->run->reason == VMM_EXIT_EOI) {
		if (v->run->exit.eoi.vector != l->ending || l->told)
			l->wrong++;
		l->told = true;
		l->eois++;
		return VM_AGAIN;
	}
	if (v->run->reason != VMM_EXIT_IO || io->port != PORT_ASK)
		return VM_HANDLE;
	if (io->data & INTR_ENDS) {
		check_last(l);
		l->ending = io->data & 0xff;
		l->told = false;
	} else {
		check_last(l);
		l->ending = 0;
		send_three(v, io->data & 0xff);
	}
	return VM_HANDLE;
}

TEST_F_TIMEOUT(intr, level, 120)
{
	struct level l = { .ending = 0 };

	self->vm = subject(INTR_LEVEL, variant->x2apic, 300);
	self->vm->on_exit = on_level;
	self->vm->priv = &l;
	EXPECT_EQ(0, run(self->vm));
	check_last(&l);
	EXPECT_EQ(0, l.wrong);
	EXPECT_LT(200, l.eois);
}

/* ---- what has no variants ------------------------------------------------------ */

TEST(modes)
{
	struct vm *vm = subject(INTR_MODES, 0, 20);

	EXPECT_EQ(0, run(vm));
	vm_free(vm);
}

static struct {
	u32 *memory;
	unsigned int mmios, wrong;
} at_page;

/* `mov (%rdi),%eax` of 2 bytes */
static enum vm_verdict on_page(struct vcpu *v)
{
	struct vmm_run *run = v->run;

	if (run->reason == VMM_EXIT_MMIO && run->exit.mmio.gpa >> 12 == APIC_BASE >> 12) {
		if (run->exit.mmio.access & VMM_ACCESS_WRITE)
			at_page.wrong++;
		at_page.mmios++;
		run->regs.gpr[VMM_RAX] = INTR_MMIO;
		run->regs.rip += 2;
		run->set = VMM_STATE_REGS;
		vcpu_complete(v);
		return VM_AGAIN;
	}
	if (run->reason != VMM_EXIT_IO || run->exit.io.port != PORT_ASK)
		return VM_HANDLE;
	if (run->exit.io.data == INTR_MAP ?
	    vm_map(v->vm, APIC_BASE, PAGE, at_page.memory, 0) :
	    vm_unmap(v->vm, APIC_BASE, PAGE))
		at_page.wrong++;
	return VM_HANDLE;
}

TEST(page)
{
	struct vm *vm = subject(INTR_PAGE, 0, 0);

	at_page.mmios = 0;
	at_page.memory = mmap(NULL, PAGE, PROT_READ | PROT_WRITE,
			      MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	ASSERT_NE(MAP_FAILED, at_page.memory);
	at_page.memory[0x80 / 4] = INTR_MEMORY;
	vm->on_exit = on_page;
	EXPECT_EQ(0, run(vm));
	EXPECT_EQ(0, at_page.wrong);
	EXPECT_EQ(2, at_page.mmios);
	vm_free(vm);
}

/* no memory for the one in x2APIC mode, nothing missing for the other */
TEST(mixed)
{
	struct vm *vm = subject(INTR_MIXED, 0, 200);

	at_page.mmios = 0;
	vm->on_exit = on_page;
	EXPECT_EQ(0, run(vm));
	EXPECT_EQ(0, at_page.wrong);
	EXPECT_EQ(400, at_page.mmios);
	vm_free(vm);
}

/* not by the page, where Bochs delivers what a guest sends itself too early */
TEST(behind_an_eoi)
{
	struct vm *vm = subject(INTR_BEHIND, 1, 300);

	EXPECT_EQ(0, run(vm));
	vm_free(vm);
}

TEST_HARNESS_MAIN
