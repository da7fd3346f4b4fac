// SPDX-License-Identifier: GPL-2.0
/*
 * KVM's paravirtual ABI: from inside by the guest pv, and from outside by CPUID
 * tables, state, other load on the CPU, and probes in the module.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sysinfo.h>
#include <sys/mount.h>
#include <unistd.h>

#include "kselftest_harness.h"
#include "vm.h"
#include "../../guests/bare/pv.h"

#define RUN_MS		60000
#define KVM_LEAF	0x40000001
#define MSR_STEAL	0x4b564d03
#define MSR_EOI		0x4b564d04
#define MSR_POLL	0x4b564d05

#define F_STEAL		(1u << 5)
#define F_EOI		(1u << 6)
#define F_UNHALT	(1u << 7)
#define F_TLB		(1u << 9)
#define F_IPI		(1u << 11)
#define F_POLL		(1u << 12)
#define F_YIELD		(1u << 13)
#define F_CLOCK		(1u << 3)
#define F_ALL		(F_STEAL | F_EOI | F_UNHALT | F_TLB | F_IPI | F_POLL | F_YIELD | F_CLOCK)

static struct vm *subject(unsigned int what, unsigned int cpus, u64 n)
{
	struct vm *vm = vm_guest("pv", cpus);
	struct vmm_info info;

	if (vm_ioctl(vm->dev, VMM_GET_INFO, &info))
		vm_die("VMM_GET_INFO failed");
	vm_arg(vm, 0, what);
	vm_arg(vm, 1, n);
	vm_arg(vm, 2, info.tsc_khz);
	return vm;
}

static int run(struct vm *vm)
{
	if (vm_run(vm, RUN_MS) == VM_EXITED && !vm->result)
		return 0;
	vm_explain(vm);
	return vm->result ?: -1;
}

/* the table that is supported, without these features; returns those left */
static u32 hide(struct vcpu *v, u32 features)
{
	struct vmm_cpuid_entry entry[VMM_MAX_CPUID] = {};
	struct vmm_cpuid c = {
		.count = VMM_MAX_CPUID, .entries = (uintptr_t)entry,
	};
	u32 i, left = 0;
	int r = vm_ioctl(v->vm->dev, VMM_GET_CPUID, &c);

	for (i = 0; i < c.count; i++)
		if (entry[i].function == KVM_LEAF)
			left = entry[i].eax &= ~features;
	r = r ?: vm_ioctl(v->fd, VMM_SET_CPUID, &c);
	if (r)
		vm_die("the CPUID table: %s", strerror(-r));
	return left;
}

/* all of it on one CPU, for what only shows when two want the same */
static void on_one_cpu(void)
{
	cpu_set_t cpu;

	CPU_ZERO(&cpu);
	CPU_SET(sched_getcpu(), &cpu);
	if (sched_setaffinity(0, sizeof(cpu), &cpu))
		vm_die("sched_setaffinity: %s", strerror(errno));
}

static void write_file(const char *path, const char *text, int flags)
{
	int fd = open(path, flags);

	if (fd < 0 || write(fd, text, strlen(text)) < 0)
		vm_die("cannot write '%s' to %s: %s", text, path, strerror(errno));
	close(fd);
}

/* ---- what the table shows ---------------------------------------------------- */

TEST(all_are_offered)
{
	struct vm *vm = vm_guest("pv", 1);

	EXPECT_EQ(F_ALL, hide(&vm->vcpu[0], 0) & F_ALL);
	vm_free(vm);
}

FIXTURE(table) {
	struct vm *vm;
};

FIXTURE_VARIANT(table) {
	u32 hidden;
};

#define TABLE(name, what)						\
	FIXTURE_VARIANT_ADD(table, name) { .hidden = (what) }
TABLE(all_on, 0);
TABLE(all_off, ~0u);
TABLE(no_clock, F_CLOCK);
TABLE(no_steal, F_STEAL);
TABLE(no_eoi, F_EOI);
TABLE(no_unhalt, F_UNHALT);
TABLE(no_ipi, F_IPI);
TABLE(no_poll, F_POLL);
TABLE(no_yield, F_YIELD);

FIXTURE_SETUP(table)
{
	self->vm = subject(PV_TABLE, 1, 0);
}

FIXTURE_TEARDOWN(table)
{
	vm_free(self->vm);
}

TEST_F(table, nothing_else_is_there)
{
	vm_arg(self->vm, 1, hide(&self->vm->vcpu[0], variant->hidden));
	EXPECT_EQ(0, run(self->vm));
}

/* ---- state ------------------------------------------------------------------- */

static int set_msr(struct vcpu *v, u32 index, u64 value)
{
	struct vmm_state *st = calloc(1, sizeof(*st));
	int r;

	st->msrs.count = 1;
	st->msrs.msr[0].index = index;
	st->msrs.msr[0].value = value;
	r = vcpu_set(v, VMM_STATE_MSRS, st);
	free(st);
	return r;
}

static bool msr_is(struct vcpu *v, u32 index, u64 value)
{
	struct vmm_state *st = calloc(1, sizeof(*st));
	struct vmm_msr *m;
	bool ok;

	if (vcpu_get(v, VMM_STATE_MSRS, st))
		vm_die("VMM_GET_STATE failed");
	m = vcpu_find_msr(st, index);
	ok = m && m->value == value;
	free(st);
	return ok;
}

static bool msr_listed(struct vcpu *v, u32 index)
{
	struct vmm_state *st = calloc(1, sizeof(*st));
	bool ok;

	if (vcpu_get(v, VMM_STATE_MSRS, st))
		vm_die("VMM_GET_STATE failed");
	ok = vcpu_find_msr(st, index);
	free(st);
	return ok;
}

TEST(msrs_are_state)
{
	struct vm *vm = vm_guest("pv", 1);
	struct vcpu *v = &vm->vcpu[0];

	EXPECT_TRUE(msr_is(v, MSR_STEAL, 0));
	EXPECT_TRUE(msr_is(v, MSR_EOI, 0));
	EXPECT_TRUE(msr_is(v, MSR_POLL, 1));
	EXPECT_EQ(0, set_msr(v, MSR_STEAL, PV_STEAL_PAGE | 1));
	EXPECT_EQ(0, set_msr(v, MSR_EOI, PV_EOI_WORD | 1));
	EXPECT_EQ(0, set_msr(v, MSR_POLL, 0));
	/* reserved bits */
	EXPECT_EQ(-EINVAL, set_msr(v, MSR_STEAL, PV_STEAL_PAGE | 0x21));
	EXPECT_EQ(-EINVAL, set_msr(v, MSR_EOI, PV_EOI_WORD | 3));
	EXPECT_EQ(-EINVAL, set_msr(v, MSR_POLL, 2));
	vm_roundtrip(vm, NULL);
	EXPECT_TRUE(msr_is(v, MSR_STEAL, PV_STEAL_PAGE | 1));
	EXPECT_TRUE(msr_is(v, MSR_EOI, PV_EOI_WORD | 1));
	EXPECT_TRUE(msr_is(v, MSR_POLL, 0));
	/* what the table no longer shows is gone, and comes back empty */
	hide(v, ~0u);
	EXPECT_FALSE(msr_listed(v, MSR_STEAL));
	EXPECT_FALSE(msr_listed(v, MSR_EOI));
	EXPECT_FALSE(msr_listed(v, MSR_POLL));
	EXPECT_EQ(-EINVAL, set_msr(v, MSR_STEAL, 0));
	EXPECT_EQ(-EINVAL, set_msr(v, MSR_EOI, 0));
	EXPECT_EQ(-EINVAL, set_msr(v, MSR_POLL, 1));
	hide(v, 0);
	EXPECT_TRUE(msr_is(v, MSR_STEAL, 0));
	EXPECT_TRUE(msr_is(v, MSR_EOI, 0));
	EXPECT_TRUE(msr_is(v, MSR_POLL, 1));
	vm_free(vm);
}

/* a kick that has not met its HLT yet ends the next one, in a new VM, too */
TEST(unhalted_is_state)
{
	static const u8 code[] = { 0xfa, 0xf4, 0x31, 0xc0, 0xba, 0xf4, 0x00, 0x66, 0xef };
	struct vm *vm = vm_create(VM_RAM);
	struct vcpu *v = vm_add_vcpu(vm);
	struct vmm_state *st = calloc(1, sizeof(*st));

	/* cli; hlt; xor ax, ax; mov dx, PORT_EXIT; out dx, eax */
	memcpy(vm->ram + 0x1000, code, sizeof(code));
	vcpu_start16(v, 0, 0x1000);
	ASSERT_EQ(0, vcpu_get(v, VMM_STATE_EVENTS, st));
	EXPECT_EQ(0, st->events.unhalted);
	st->events.unhalted = 1;
	ASSERT_EQ(0, vcpu_set(v, VMM_STATE_EVENTS, st));
	vm_roundtrip(vm, NULL);
	EXPECT_EQ(VM_EXITED, vm_run(vm, 10000)) vm_explain(vm);
	ASSERT_EQ(0, vcpu_get(v, VMM_STATE_EVENTS, st));
	EXPECT_EQ(0, st->events.unhalted);
	free(st);
	vm_free(vm);
}

/* ---- those that take their time */

FIXTURE(load) {
	int unused;
};

FIXTURE_SETUP(load)
{
	self->unused = 0;
}

FIXTURE_TEARDOWN(load)
{
	self->unused = 0;
}

/* ---- steal time ---------------------------------------------------------------- */

static void *hog(void *stop)
{
	while (!__atomic_load_n((int *)stop, __ATOMIC_RELAXED))
		;
	return NULL;
}

TEST_F_TIMEOUT(load, steal_time, 120)
{
	const u64 ms = 600;
	struct vm *vm = subject(PV_STEAL, 1, ms);
	u64 stolen, ticks, khz;
	int stop = 0;
	bool found;
	pthread_t t;

	khz = ((u64 *)(vm->ram + GUEST_ARGS))[2];
	on_one_cpu();
	ASSERT_EQ(0, pthread_create(&t, NULL, hog, &stop));
	EXPECT_EQ(0, run(vm));
	__atomic_store_n(&stop, 1, __ATOMIC_RELAXED);
	pthread_join(t, NULL);
	stolen = testdev_report(&vm->testdev, PV_REPORT_STEAL, 0, &found) / 1000000;
	EXPECT_TRUE(found);
	ticks = testdev_report(&vm->testdev, PV_REPORT_TSC, 0, &found) / khz;
	TH_LOG("%llu of %llu ms", stolen, ticks);
	/* one of two that want the CPU has half of it; the hog was there all along */
	EXPECT_GE(stolen, ticks / 5);
	EXPECT_LE(stolen, ticks + 100);
	vm_free(vm);
}

/* ---- EOI, HLT, IPIs --------------------------------------------------------------- */

/* kicks come all the time, and each time the VM is made anew */
static void *kicker(void *arg)
{
	struct vm *vm = arg;

	while (!__atomic_load_n((int *)vm->priv, __ATOMIC_RELAXED)) {
		vm_kick_all(vm);
		usleep(20000);
	}
	return NULL;
}

static enum vm_verdict roundtrip(struct vcpu *v)
{
	if (v->run->reason == VMM_EXIT_KICK)
		vm_roundtrip(v->vm, v);
	return VM_HANDLE;
}

static int run_disturbed(struct vm *vm)
{
	int stop = 0, r;
	pthread_t t;

	vm->priv = &stop;
	vm->on_exit = roundtrip;
	if (pthread_create(&t, NULL, kicker, vm))
		vm_die("no thread");
	r = run(vm);
	__atomic_store_n(&stop, 1, __ATOMIC_RELAXED);
	pthread_join(t, NULL);
	return r;
}

FIXTURE(guest) {
	struct vm *vm;
};

FIXTURE_VARIANT(guest) {
	bool disturbed;
};

FIXTURE_VARIANT_ADD(guest, alone) {
	.disturbed = false,
};

FIXTURE_VARIANT_ADD(guest, disturbed) {
	.disturbed = true,
};

FIXTURE_SETUP(guest)
{
	self->vm = NULL;
}

FIXTURE_TEARDOWN(guest)
{
	if (self->vm)
		vm_free(self->vm);
}

/* in the tests: skipped in the setup, they would run all the same */
#define NEEDS_CPUS()							\
	do {								\
		if (variant->disturbed && get_nprocs() < 2)		\
			SKIP(return, "one CPU that makes VMs anew has no time left for guests that spin"); \
	} while (0)

static int run_variant(struct vm *vm, bool disturbed)
{
	return disturbed ? run_disturbed(vm) : run(vm);
}

/* EOIs cost no exit then, and none is asked for in memory; SVM's CPUs only deliver */
static bool cpu_ends_interrupts(struct vm *vm)
{
	struct vmm_info info;

	if (vm_ioctl(vm->dev, VMM_GET_INFO, &info))
		vm_die("VMM_GET_INFO failed");
	return info.vendor == VMM_VENDOR_VMX && info.features & VMM_FEAT_VIRT_INTR;
}

/* the guest counts those of its n EOIs that it says in memory */
static void count_eois(struct __test_metadata *_metadata, struct vm *vm, u64 n, bool disturbed)
{
	u64 in_memory;
	bool found;

	EXPECT_EQ(0, run_variant(vm, disturbed));
	in_memory = testdev_report(&vm->testdev, PV_REPORT_EOIS, 0, &found);
	EXPECT_TRUE(found);
	TH_LOG("%llu of %llu EOIs in memory", in_memory, n);
	/* but for those that the host's own interrupts came between */
	if (cpu_ends_interrupts(vm)) {
		EXPECT_EQ(0, in_memory);
	} else if (!disturbed) {
		EXPECT_GE(in_memory, n / 2);
	}
}

TEST_F_TIMEOUT(guest, eoi, 120)
{
	const u64 n = 300;

	NEEDS_CPUS();
	self->vm = subject(PV_EOI, 1, n);
	count_eois(_metadata, self->vm, n, variant->disturbed);
}

/* none of them is taken for the one before */
TEST_F_TIMEOUT(guest, eoi_spin, 120)
{
	const u64 n = variant->disturbed ? 100 : 1000;

	NEEDS_CPUS();
	self->vm = subject(PV_EOI_SPIN, 2, n);
	count_eois(_metadata, self->vm, n, variant->disturbed);
}

TEST_F_TIMEOUT(guest, unhalt, 120)
{
	const u64 n = variant->disturbed ? 200 : 2000;

	NEEDS_CPUS();
	self->vm = subject(PV_UNHALT, 2, n);
	EXPECT_EQ(0, run_variant(self->vm, variant->disturbed));
	EXPECT_EQ(2 * n, *(u32 *)(self->vm->ram + PV_TURN));
}

TEST_F_TIMEOUT(guest, ipis, 120)
{
	NEEDS_CPUS();
	self->vm = subject(PV_IPI, 4, 4);
	EXPECT_EQ(0, run_variant(self->vm, variant->disturbed));
}

/* ring 3 may not: vmcall or vmmcall; out dx, eax */
TEST(hypercalls_are_the_kernels)
{
	struct vm *vm = vm_create(VM_RAM);
	struct vcpu *v = vm_add_vcpu(vm);
	struct vmm_state *st = calloc(1, sizeof(*st));
	struct vmm_info info = {};
	u8 code[] = { 0x0f, 0x01, 0xc1, 0xef };
	int i;

	ASSERT_EQ(0, vm_ioctl(vm->dev, VMM_GET_INFO, &info));
	if (info.vendor == VMM_VENDOR_SVM)
		code[2] = 0xd9;
	memcpy(vm->ram + 0x100000, code, sizeof(code));
	vcpu_start64(v, 0x100000);
	ASSERT_EQ(0, vcpu_get(v, VMM_STATE_REGS | VMM_STATE_SREGS, st));
	for (i = VMM_ES; i <= VMM_GS; i++) {
		st->sregs.seg[i].attr |= 3 << VMM_SEG_DPL_SHIFT;
		st->sregs.seg[i].selector |= 3;
	}
	st->regs.rflags = 0x3002;	/* IOPL 3 */
	st->regs.gpr[VMM_RAX] = 10;
	st->regs.gpr[VMM_RBX] = 1;
	st->regs.gpr[VMM_RSI] = 0x51;
	st->regs.gpr[VMM_RDX] = PORT_EXIT;
	ASSERT_EQ(0, vcpu_set(v, VMM_STATE_REGS | VMM_STATE_SREGS, st));
	/* RDX is an argument, too: the lowest APIC ID, which nobody has */
	EXPECT_EQ(VM_EXITED, vm_run(vm, 10000)) vm_explain(vm);
	EXPECT_EQ(-EPERM, vm->result);
	free(st);
	vm_free(vm);
}

/* ---- TLB flush ------------------------------------------------------------------- */

#define TRACING		"/sys/kernel/tracing/"

static u64 probe_hits(void)
{
	char line[256];
	u64 hits = 0, n;
	FILE *f = fopen(TRACING "kprobe_profile", "r");

	if (!f)
		vm_die("no kprobe_profile: %s", strerror(errno));
	while (fgets(line, sizeof(line), f))
		if (sscanf(line, " vmm_pv_flush %llu", &n) == 1)
			hits = n;
	fclose(f);
	return hits;
}

static u64 flushes(bool asked)
{
	struct vm *vm = subject(PV_FLUSH, 2, asked);
	u64 before = probe_hits();
	int r = run(vm);

	vm_free(vm);
	if (r)
		vm_die("the guest ended with %d", r);
	return probe_hits() - before;
}

/* emulated TLBs are empty after each entry anyhow: count what we ask the CPU for */
TEST_F_TIMEOUT(load, tlb_flush, 120)
{
	struct vmm_info info = {};
	struct vm *vm = vm_create(VM_RAM);
	u64 without, with;

	ASSERT_EQ(0, vm_ioctl(vm->dev, VMM_GET_INFO, &info));
	vm_free(vm);
	if (access(TRACING "kprobe_events", F_OK) &&
	    mount("tracefs", "/sys/kernel/tracing", "tracefs", 0, NULL))
		SKIP(return, "this kernel has no tracefs");
	write_file(TRACING "kprobe_events", info.vendor == VMM_VENDOR_SVM ?
		   "p:vmm_pv_flush svm_flush\n" : "p:vmm_pv_flush vmx_flush\n",
		   O_WRONLY | O_APPEND);
	write_file(TRACING "events/kprobes/vmm_pv_flush/enable", "1", O_WRONLY);
	without = flushes(false);
	with = flushes(true);
	write_file(TRACING "events/kprobes/vmm_pv_flush/enable", "0", O_WRONLY);
	write_file(TRACING "kprobe_events", "-:vmm_pv_flush\n", O_WRONLY | O_APPEND);
	TH_LOG("%llu flushes unasked, %llu asked 20 times", without, with);
	EXPECT_GE(with, without + 15);
}

/* ---- directed yield ----------------------------------------------------------------- */

static u64 ms_per_1000(u64 how, u64 rounds)
{
	struct vm *vm = subject(PV_YIELD, 2, rounds);
	u64 start = vm_now_ms(), ms;
	int r;

	vm_arg(vm, 3, how);
	r = run(vm);
	ms = vm_now_ms() - start;
	vm_free(vm);
	if (r)
		vm_die("the guest ended with %d", r);
	return ms * 1000 / rounds;
}

/* two that wait for each other on one CPU: without a yield each takes its slice */
TEST_F_TIMEOUT(load, sched_yield, 200)
{
	u64 not, call;

	on_one_cpu();
	not = ms_per_1000(YIELD_NOT, 100);
	call = ms_per_1000(YIELD_CALL, 1000);
	TH_LOG("1000 rounds: %llu ms, with SCHED_YIELD %llu ms", not, call);
	EXPECT_LE(call, not / 2);
}

TEST_F_TIMEOUT(load, pause_loops, 200)
{
	struct vmm_info info = {};
	struct vm *vm = vm_create(VM_RAM);
	u64 not, pause;

	ASSERT_EQ(0, vm_ioctl(vm->dev, VMM_GET_INFO, &info));
	vm_free(vm);
	if (!(info.features & VMM_FEAT_PAUSE_LOOP))
		SKIP(return, "no exits of loops of PAUSEs");
	on_one_cpu();
	not = ms_per_1000(YIELD_NOT, 100);
	pause = ms_per_1000(YIELD_PAUSE, 300);
	TH_LOG("1000 rounds: %llu ms, with PAUSE %llu ms", not, pause);
	EXPECT_LE(pause, not / 2);
}

/* ---- HLT: with and without polling no wake-up is lost ---------------------------------- */

#define POLL_NS	"/sys/module/vmm/parameters/halt_poll_ns"

FIXTURE(halt) {
	char before[32];
};

FIXTURE_VARIANT(halt) {
	const char *poll_ns;
};

FIXTURE_VARIANT_ADD(halt, sleeps) {
	.poll_ns = "0",
};

FIXTURE_VARIANT_ADD(halt, polls) {
	.poll_ns = "200000",
};

FIXTURE_VARIANT_ADD(halt, polls_for_ever) {
	.poll_ns = "4000000000",
};

FIXTURE_SETUP(halt)
{
	int fd = open(POLL_NS, O_RDONLY);

	if (fd < 0 || read(fd, self->before, sizeof(self->before) - 1) <= 0)
		vm_die("cannot read " POLL_NS);
	close(fd);
	write_file(POLL_NS, variant->poll_ns, O_WRONLY);
}

FIXTURE_TEARDOWN(halt)
{
	write_file(POLL_NS, self->before, O_WRONLY);
}

TEST_F_TIMEOUT(halt, ping_pong, 120)
{
	struct vm *vm = vm_guest("hltpingpong", 2);

	vm_arg(vm, 0, 1);
	vm_arg(vm, 1, 2000);
	EXPECT_EQ(0, run(vm));
	vm_free(vm);
}

/* cli; hlt: only the monitor ends it */
TEST_F_TIMEOUT(halt, is_stopped, 60)
{
	struct vm *vm = vm_create(VM_RAM);
	static const u8 code[] = { 0xfa, 0xf4, 0xeb, 0xfd };

	vm_add_vcpu(vm);
	memcpy(vm->ram + 0x1000, code, sizeof(code));
	vcpu_start16(&vm->vcpu[0], 0, 0x1000);
	EXPECT_EQ(VM_TIMEOUT, vm_run(vm, 300));
	EXPECT_EQ(VM_TIMEOUT, vm_run(vm, 300));
	vm_free(vm);
}

TEST_HARNESS_MAIN
