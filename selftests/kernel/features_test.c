// SPDX-License-Identifier: GPL-2.0
/*
 * What some CPUs have and others lack: VMM_GET_INFO, CPUID and what a guest finds
 * tell the same. Where it is lacking, the same test sees what is done instead.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <sched.h>
#include <string.h>

#include "kselftest_harness.h"
#include "vm.h"

#define LE1_EDX_RDTSCP	(1u << 27)

FIXTURE(features) {
	struct vmm_info info;
};

FIXTURE_SETUP(features)
{
	int dev = vm_open();

	ASSERT_EQ(0, vm_ioctl(dev, VMM_GET_INFO, &self->info));
	close(dev);
}

FIXTURE_TEARDOWN(features)
{
}

static void run(struct __test_metadata *_metadata, struct vm *vm)
{
	ASSERT_EQ(VM_EXITED, vm_run(vm, 20000)) vm_explain(vm);
	ASSERT_EQ(0, vm->result) vm_explain(vm);
}

static u64 reported(struct vm *vm, u32 code)
{
	bool found;
	u64 value = testdev_report(&vm->testdev, code, 0, &found);

	if (!found)
		vm_die("the guest reports no %u", code);
	return value;
}

/* to the last CPU, where the host's TSC_AUX is not 0 if there are several */
static unsigned int pin(void)
{
	unsigned int last = sysconf(_SC_NPROCESSORS_ONLN) - 1;
	cpu_set_t cpu;

	CPU_ZERO(&cpu);
	CPU_SET(last, &cpu);
	if (sched_setaffinity(0, sizeof(cpu), &cpu))
		vm_die("sched_setaffinity to CPU %u: %s", last, strerror(errno));
	return last;
}

TEST_F(features, rdtscp)
{
	struct vm *vm = vm_guest("rdtscp", 1);

	pin();
	run(_metadata, vm);
	EXPECT_EQ(!!(self->info.features & VMM_FEAT_RDTSCP), reported(vm, 1));
	vm_free(vm);
}

/* without RDTSCP in its CPUID table: #UD, or at least nothing of the host's */
TEST_F(features, rdtscp_hidden)
{
	struct vm *vm = vm_guest("rdtscp", 1);

	vcpu_hide(&vm->vcpu[0], 0x80000001, CPUID_EDX, LE1_EDX_RDTSCP);
	pin();
	run(_metadata, vm);
	EXPECT_EQ(0, reported(vm, 1));
	if (reported(vm, 2) != 6)
		EXPECT_EQ(-1, (int)reported(vm, 2));
	EXPECT_EQ(0, reported(vm, 3));
	vm_free(vm);
}

TEST_F(features, invpcid)
{
	struct vm *vm = vm_guest("invpcid", 1);

	run(_metadata, vm);
	EXPECT_EQ(!!(self->info.features & VMM_FEAT_INVPCID), reported(vm, 1));
	vm_free(vm);
}

TEST_F(features, xsaves)
{
	struct vm *vm = vm_guest("xsaves", 1);

	run(_metadata, vm);
	EXPECT_EQ(!!(self->info.features & VMM_FEAT_XSAVES), reported(vm, 1));
	vm_free(vm);
}

/* TSC ticks of two vCPUs on one CPU that wait for each other */
static u64 turns(struct __test_metadata *_metadata, u64 rounds, bool pauses)
{
	struct vm *vm = vm_guest("pauses", 2);
	u64 ticks;

	vm_arg(vm, 0, rounds);
	vm_arg(vm, 1, pauses);
	run(_metadata, vm);
	ticks = reported(vm, 1);
	vm_free(vm);
	return ticks;
}

/*
 * A loop of PAUSEs gives the CPU to whom it waits for, where PAUSE loops exit. A
 * loop without takes all of its time slice, and so does any where they do not.
 */
TEST_F(features, pause_loops_end_early)
{
	u64 with, without;

	pin();
	with = turns(_metadata, 50, true);
	without = turns(_metadata, 50, false);
	TH_LOG("%llu ticks with PAUSE, %llu without", with, without);
	if (self->info.features & VMM_FEAT_PAUSE_LOOP)
		EXPECT_LT(with * 2, without);
}

TEST_HARNESS_MAIN
