// SPDX-License-Identifier: GPL-2.0
/*
 * The bare guests, one row each: image, CPUs, arguments, time, wanted end.
 * What a guest checks it checks itself; a failed one ends with the number of
 * its source line.
 */
#define _GNU_SOURCE
#include <sched.h>
#include <stdio.h>
#include <string.h>

#include "kselftest_harness.h"
#include "vm.h"

FIXTURE(guest) {
	struct vm *vm;
};

FIXTURE_VARIANT(guest) {
	const char *image;
	unsigned int cpus;
	u64 arg[GUEST_NARGS];
	unsigned int ms;
	enum vm_end end;
	int result;
};

/* a row overrides the defaults that it does not want */
#pragma GCC diagnostic ignored "-Woverride-init"

#define GUEST(name, ...)						\
	FIXTURE_VARIANT_ADD(guest, name) {				\
		.image = #name, .cpus = 1, .ms = 20000,			\
		.end = VM_EXITED, .result = 0, __VA_ARGS__		\
	}

/* modes, ports, MMIO, exceptions, CPUID, MSRs */
VM_PLAIN_GUESTS(GUEST);
GUEST(msrs);

/* paging */
GUEST(smpt, .arg = { 0, 300 });
GUEST(dirty, .arg = { 512, 64, 20, 3 });
GUEST(remap);

/* APIC; the first argument is x2APIC */
#define APIC_GUEST(name, guest_name, ...)				\
	GUEST(name, .image = guest_name, __VA_ARGS__)
APIC_GUEST(timer, "timer", .arg = { 0 });
APIC_GUEST(timer_x2apic, "timer", .arg = { 1 });
APIC_GUEST(ipi_2, "ipi", .cpus = 2, .arg = { 0, 500, 2 });
APIC_GUEST(ipi_4, "ipi", .cpus = 4, .arg = { 0, 500, 4 });
APIC_GUEST(ipi_4_x2apic, "ipi", .cpus = 4, .arg = { 1, 500, 4 });
APIC_GUEST(smp_8, "smp", .cpus = 8, .arg = { 0, 8, 100 });
APIC_GUEST(smp_64, "smp", .cpus = 64, .arg = { 0, 64, 20 }, .ms = 50000);
APIC_GUEST(smp_64_x2apic, "smp", .cpus = 64, .arg = { 1, 64, 20 }, .ms = 50000);
APIC_GUEST(hltpingpong, "hltpingpong", .cpus = 2, .arg = { 0, 1000 });
APIC_GUEST(hltpingpong_x2apic, "hltpingpong", .cpus = 2, .arg = { 1, 1000 });
APIC_GUEST(shadow, "shadow", .arg = { 0, 50 });
APIC_GUEST(shadow_x2apic, "shadow", .arg = { 1, 50 });

/* bad ends: a triple fault is the end; what goes on forever is stopped */
#define BAD(name, guest_name, n, how)					\
	GUEST(name, .image = guest_name, .arg = { n }, .ms = 1500,	\
	      .end = how, .result = (how) == VM_SHUTDOWN ? VMM_EXIT_SHUTDOWN : 0)
BAD(idt_limit_0, "badidt", 0, VM_SHUTDOWN);
BAD(idt_gates_absent, "badidt", 1, VM_SHUTDOWN);
BAD(ac_forever, "badidt", 3, VM_TIMEOUT);
BAD(ud_forever, "badidt", 4, VM_TIMEOUT);
BAD(pf_forever, "badidt", 5, VM_TIMEOUT);
BAD(no_stack, "badidt", 6, VM_SHUTDOWN);
BAD(spin, "spin", 0, VM_TIMEOUT);

FIXTURE_SETUP(guest)
{
	unsigned int i;

	self->vm = vm_guest(variant->image, variant->cpus);
	for (i = 0; i < GUEST_NARGS; i++)
		vm_arg(self->vm, i, variant->arg[i]);
}

FIXTURE_TEARDOWN(guest)
{
	vm_free(self->vm);
}

TEST_F_TIMEOUT(guest, ends_as_wanted, 60)
{
	struct vm *vm = self->vm;

	vm_run(vm, variant->ms);
	if (vm->end != variant->end || vm->result != variant->result)
		vm_explain(vm);
	ASSERT_EQ(variant->end, vm->end);
	ASSERT_EQ(variant->result, vm->result);
}

/* ---- what a row cannot say ---------------------------------------------------- */

TEST(letter_says_v)
{
	struct vm *vm = vm_guest("letter", 1);

	ASSERT_EQ(VM_EXITED, vm_run(vm, 10000)) vm_explain(vm);
	EXPECT_STREQ("V", vm->testdev.console);
	vm_free(vm);
}

/*
 * Where the module switches tasks. With SVM the CPU does, and the emulated one
 * has its own idea of some of it: guests/bare/tasks.c says of what.
 */
TEST(tasks_by_the_book)
{
	struct vm *vm = vm_guest("tasks", 1);
	struct vmm_info info = {};

	ASSERT_EQ(0, vm_ioctl(vm->dev, VMM_GET_INFO, &info));
	if (info.vendor == VMM_VENDOR_SVM)
		SKIP(goto out, "the CPU switches tasks");
	vm_arg(vm, 0, 1);
	ASSERT_EQ(VM_EXITED, vm_run(vm, 20000)) vm_explain(vm);
	ASSERT_EQ(0, vm->result) vm_explain(vm);
out:
	vm_free(vm);
}

/* The power-on state: the first instruction is fetched at FFFFFFF0. */
TEST(reset_vector)
{
	static u8 rom[4096] __attribute__((aligned(4096)));
	/* mov al,'R'; out 0xe9,al; xor eax,eax; mov dx,0xf4; out dx,eax */
	static const u8 code[] = {
		0xb0, 'R', 0xe6, 0xe9, 0x66, 0x31, 0xc0, 0xba, 0xf4, 0x00,
		0x66, 0xef, 0xf4,
	};
	struct vm *vm = vm_create(VM_RAM);

	memcpy(rom + 0xff0, code, sizeof(code));
	ASSERT_EQ(0, vm_map(vm, 0xfffff000, sizeof(rom), rom, VMM_MAP_READONLY));
	vm_add_vcpu(vm);
	ASSERT_EQ(VM_EXITED, vm_run(vm, 10000)) vm_explain(vm);
	EXPECT_STREQ("R", vm->testdev.console);
	vm_free(vm);
}

/* a jump, a push, a page table where nothing is: exits that name the place */
static enum vm_verdict stop_at_mmio(struct vcpu *v)
{
	struct vmm_exit_mmio *m = v->vm->priv;

	if (v->run->reason != VMM_EXIT_MMIO)
		return VM_HANDLE;
	*m = v->run->exit.mmio;
	return VM_STOP;
}

#define ACCESS_RWX	(VMM_ACCESS_WRITE | VMM_ACCESS_FETCH)

static void nowhere(struct __test_metadata *_metadata, u64 how, u64 gpa, u32 access)
{
	struct vm *vm = vm_guest("nowhere", 1);
	struct vmm_exit_mmio m = {};

	vm->on_exit = stop_at_mmio;
	vm->priv = &m;
	vm_arg(vm, 0, how);
	ASSERT_EQ(VM_STOPPED, vm_run(vm, 10000)) vm_explain(vm);
	EXPECT_EQ(gpa, m.gpa);
	EXPECT_EQ(access, m.access & ACCESS_RWX);
	vm_free(vm);
}

TEST(jump_to_nowhere)
{
	nowhere(_metadata, 0, 0x80000000, VMM_ACCESS_FETCH);
}

TEST(jump_to_device)
{
	nowhere(_metadata, 1, GUEST_MMIO, VMM_ACCESS_FETCH);
}

/* its registers are data, also where the CPU itself reads them */
TEST(jump_to_apic)
{
	nowhere(_metadata, 5, 0xfee00000, VMM_ACCESS_FETCH);
}

TEST(push_to_nowhere)
{
	nowhere(_metadata, 2, 0x800007f8, VMM_ACCESS_WRITE);
}

/* the CPU reads gate 6 */
TEST(idt_nowhere)
{
	nowhere(_metadata, 4, 0x80000060, 0);
}

/* the walker's own access: a write, as it would set the accessed bit */
TEST(page_table_nowhere)
{
	struct vm *vm = vm_guest("nowhere", 1);
	struct vmm_exit_mmio m = {};

	vm->on_exit = stop_at_mmio;
	vm->priv = &m;
	vm_arg(vm, 0, 3);
	ASSERT_EQ(VM_STOPPED, vm_run(vm, 10000)) vm_explain(vm);
	EXPECT_EQ(0x80000000, m.gpa & ~0xfffull);
	vm_free(vm);
}

/*
 * #DB forever (CVE-2015-8104). On one CPU, because emulated ones keep the guest's
 * breakpoint armed after it: whoever comes to that address meets it, until
 * another guest takes it back on the same CPU.
 */
TEST(db_forever)
{
	struct vm *vm = vm_guest("badidt", 1);
	cpu_set_t cpu;

	CPU_ZERO(&cpu);
	CPU_SET(sched_getcpu(), &cpu);
	ASSERT_EQ(0, sched_setaffinity(0, sizeof(cpu), &cpu));
	vm_arg(vm, 0, 2);
	EXPECT_EQ(VM_TIMEOUT, vm_run(vm, 1500)) vm_explain(vm);
	vm_free(vm);

	vm = vm_guest("badidt", 1);
	vm_arg(vm, 0, 7);
	ASSERT_EQ(VM_EXITED, vm_run(vm, 10000)) vm_explain(vm);
	EXPECT_EQ(0, vm->result);
	vm_free(vm);
}

/* dirty's checksum against the same pattern made here */
TEST(dirty_checksum)
{
	enum { first = 512, pages = 100, rounds = 30, stride = 7 };
	struct vm *vm = vm_guest("dirty", 1);
	static u64 memory[pages][512];
	u64 sum = 0, r, p;
	bool found;

	vm_arg(vm, 0, first);
	vm_arg(vm, 1, pages);
	vm_arg(vm, 2, rounds);
	vm_arg(vm, 3, stride);
	ASSERT_EQ(VM_EXITED, vm_run(vm, 20000)) vm_explain(vm);
	for (r = 0; r < rounds; r++)
		for (p = r % stride; p < pages; p += stride)
			memory[p][r] = p << 32 | r;
	for (p = 0; p < pages; p++)
		for (r = 0; r < 512; r++)
			sum = (sum << 1 | sum >> 63) + memory[p][r];
	EXPECT_EQ(sum, testdev_report(&vm->testdev, 1, 0, &found));
	EXPECT_TRUE(found);
	EXPECT_EQ(0, memcmp(memory, vm->ram + first * 4096, sizeof(memory)));
	EXPECT_EQ(rounds, vm->testdev.asks);
	vm_free(vm);
}

TEST_HARNESS_MAIN
