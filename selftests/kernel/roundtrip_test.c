// SPDX-License-Identifier: GPL-2.0
/*
 * After any exit: read all state, destroy the VM, make a new one, write all,
 * go on. The guest's own checks, what it told its devices and all of its memory
 * must be as in a run that nobody disturbed.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kselftest_harness.h"
#include "vm.h"

FIXTURE(roundtrip) {
	int unused;
};

FIXTURE_VARIANT(roundtrip) {
	const char *image;
	unsigned int cpus;
	u64 arg[GUEST_NARGS];
	unsigned int every;	/* of this many exits, one is a round trip */
	bool exact;		/* memory and reports depend on no clock */
};

/* a row overrides the defaults that it does not want */
#pragma GCC diagnostic ignored "-Woverride-init"

#define GUEST(name, ...)						\
	FIXTURE_VARIANT_ADD(roundtrip, name) {				\
		.image = #name, .cpus = 1, .every = 1, .exact = true,	\
		__VA_ARGS__						\
	}

VM_PLAIN_GUESTS(GUEST);
/* these see the time: their own checks count, their memory does not */
GUEST(msrs, .exact = false);
GUEST(smpt, .arg = { 0, 100 });
GUEST(dirty, .arg = { 512, 64, 20, 3 });
GUEST(timer, .exact = false);
GUEST(timer_x2apic, .image = "timer", .arg = { 1 }, .exact = false);
GUEST(shadow, .arg = { 0, 20 }, .exact = false);
GUEST(ipi, .cpus = 3, .arg = { 0, 50, 3 }, .exact = false);

FIXTURE_SETUP(roundtrip)
{
}

FIXTURE_TEARDOWN(roundtrip)
{
}

struct disturb {
	unsigned int every;
	unsigned int exits, trips;
	struct vcpu *fresh;	/* whose exit was answered by a round trip */
	u32 reason;
	u8 exit[sizeof(((struct vmm_run *)0)->exit)];
};

/*
 * Each exit comes twice: the first time all is torn down without an answer. The
 * new VM's first exit must say the same thing; that one is answered. Exits that
 * have already happened when they are told, such as a kick, do not come again.
 */
static enum vm_verdict disturb(struct vcpu *v)
{
	struct disturb *d = v->vm->priv;
	bool repeats = v->run->reason == VMM_EXIT_IO || v->run->reason == VMM_EXIT_MMIO;

	if (d->fresh == v && repeats) {
		if (v->run->reason != d->reason ||
		    memcmp(d->exit, &v->run->exit, sizeof(d->exit)))
			vm_die("exit %s differs after the round trip: rip %#llx",
			       vm_exit_name(v->run->reason), v->run->regs.rip);
		d->fresh = NULL;
		return VM_HANDLE;
	}
	if (!repeats || d->fresh || d->exits++ % d->every)
		return VM_HANDLE;
	d->reason = v->run->reason;
	memcpy(d->exit, &v->run->exit, sizeof(d->exit));
	d->fresh = v;
	d->trips++;
	vm_roundtrip(v->vm, v);
	return VM_AGAIN;
}

static struct vm *start(const FIXTURE_VARIANT(roundtrip) *variant)
{
	struct vm *vm = vm_guest(variant->image, variant->cpus);
	unsigned int i;

	for (i = 0; i < GUEST_NARGS; i++)
		vm_arg(vm, i, variant->arg[i]);
	return vm;
}

TEST_F_TIMEOUT(roundtrip, at_every_exit, 120)
{
	struct vm *quiet = start(variant), *vm = start(variant);
	struct disturb d = { .every = variant->every };

	ASSERT_EQ(VM_EXITED, vm_run(quiet, 30000)) vm_explain(quiet);
	ASSERT_EQ(0, quiet->result) vm_explain(quiet);

	vm->on_exit = disturb;
	vm->priv = &d;
	ASSERT_EQ(VM_EXITED, vm_run(vm, 60000)) vm_explain(vm);
	ASSERT_EQ(0, vm->result) vm_explain(vm);
	EXPECT_LT(0, d.trips);
	EXPECT_STREQ(quiet->testdev.console, vm->testdev.console);
	if (variant->exact) {
		EXPECT_TRUE(testdev_equal(&quiet->testdev, &vm->testdev));
		EXPECT_EQ(0, memcmp(quiet->ram, vm->ram, VM_RAM));
	}
	vm_free(vm);
	vm_free(quiet);
}

/* ---- what is written is what is read ----------------------------------------------- */

/* values that go on by themselves, or are computed when read */
static void still(struct vmm_state *st)
{
	struct vmm_msr *tsc = vcpu_find_msr(st, 0x10);

	if (tsc)
		tsc->value = 0;
	st->apic.regs[0x39] = 0;
}

static void *differing(const void *a, const void *b, size_t size)
{
	const u8 *x = a, *y = b;

	while (size-- && *x == *y) {
		x++;
		y++;
	}
	return (void *)x;
}

TEST(state_reads_back)
{
	static struct vm_saved before, after;
	struct vm *vm = vm_guest("timer", 2);

	ASSERT_EQ(VM_EXITED, vm_run(vm, 20000)) vm_explain(vm);
	vm_save(vm, &before);
	vm_rebuild(vm, &before);
	vm_save(vm, &after);
	for (int i = 0; i < 2; i++) {
		still(&before.state[i]);
		still(&after.state[i]);
		EXPECT_EQ(0, memcmp(&before.state[i], &after.state[i],
				    sizeof(before.state[i])))
			TH_LOG("vCPU %d, first difference at offset %td", i,
			       (u8 *)differing(&before.state[i], &after.state[i],
					       sizeof(before.state[i])) -
			       (u8 *)&before.state[i]);
	}
	EXPECT_LE(before.clock.ns, after.clock.ns);
	vm_free(vm);
}

/* the clock and the TSC go on from what was written, not from zero */
TEST(time_goes_on)
{
	static struct vm_saved s, t;
	struct vm *vm = vm_guest("letter", 1);

	vm_save(vm, &s);
	s.clock.ns += 1000000000000ull;
	ASSERT_NE(NULL, vcpu_find_msr(&s.state[0], 0x10));
	vcpu_find_msr(&s.state[0], 0x10)->value += 1ull << 42;
	vm_rebuild(vm, &s);
	vm_save(vm, &t);
	EXPECT_LE(s.clock.ns, t.clock.ns);
	EXPECT_GT(s.clock.ns + 60000000000ull, t.clock.ns);
	EXPECT_LE(vcpu_find_msr(&s.state[0], 0x10)->value,
		  vcpu_find_msr(&t.state[0], 0x10)->value);
	EXPECT_GT(vcpu_find_msr(&s.state[0], 0x10)->value + (1ull << 40),
		  vcpu_find_msr(&t.state[0], 0x10)->value);
	vm_free(vm);
}

TEST_HARNESS_MAIN
