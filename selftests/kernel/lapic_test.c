// SPDX-License-Identifier: GPL-2.0
/*
 * The in-kernel local APIC: from inside by the guest lapic64, in xAPIC and in
 * x2APIC mode, and from outside by MSIs, events and state.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "kselftest_harness.h"
#include "vm.h"
#include "../../guests/bare/lapic.h"

#define RUN_MS		60000
#define TIMER_REG	0x32
#define INITIAL_REG	0x38
#define CURRENT_REG	0x39
#define IRR_REG		0x20

/* ---- the guest's subjects ---------------------------------------------------- */

FIXTURE(lapic) {
	struct vm *vm;
};

FIXTURE_VARIANT(lapic) {
	int x2apic;
};

FIXTURE_VARIANT_ADD(lapic, xapic) {
	.x2apic = 0,
};

FIXTURE_VARIANT_ADD(lapic, x2apic) {
	.x2apic = 1,
};

FIXTURE_SETUP(lapic)
{
	self->vm = NULL;
}

FIXTURE_TEARDOWN(lapic)
{
	if (self->vm)
		vm_free(self->vm);
}

static struct vm *subject(int x2apic, unsigned int what, unsigned int cpus, u64 n)
{
	struct vm *vm = vm_guest("lapic64", cpus);
	struct vmm_info info;

	if (vm_ioctl(vm->dev, VMM_GET_INFO, &info))
		vm_die("VMM_GET_INFO failed");
	vm_arg(vm, 0, what);
	vm_arg(vm, 1, x2apic);
	vm_arg(vm, 2, info.tsc_khz);
	vm_arg(vm, 3, n);
	return vm;
}

static void show_apics(struct vm *vm)
{
	struct vmm_state st;
	unsigned int cpu, reg;

	for (cpu = 0; cpu < vm->nvcpus; cpu++) {
		if (vcpu_get(&vm->vcpu[cpu], VMM_STATE_APIC, &st))
			continue;
		fprintf(stderr, "# APIC %u:", cpu);
		for (reg = 0; reg < 64; reg++)
			if (st.apic.regs[reg])
				fprintf(stderr, " %x=%x", reg, st.apic.regs[reg]);
		fputc('\n', stderr);
	}
}

static int run(struct vm *vm)
{
	if (vm_run(vm, RUN_MS) == VM_EXITED && !vm->result)
		return 0;
	vm_explain(vm);
	show_apics(vm);
	return vm->result ?: -1;
}

#define SUBJECT(name, what, cpus, n)					\
TEST_F_TIMEOUT(lapic, name, 120)					\
{									\
	self->vm = subject(variant->x2apic, what, cpus, n);		\
	EXPECT_EQ(0, run(self->vm));					\
}

SUBJECT(oneshot, LAPIC_ONESHOT, 1, 0)
SUBJECT(periodic, LAPIC_PERIODIC, 1, 50)
SUBJECT(deadline, LAPIC_DEADLINE, 1, 0)
SUBJECT(priority, LAPIC_PRIORITY, 1, 0)
SUBJECT(errors, LAPIC_ERRORS, 1, 0)
SUBJECT(base, LAPIC_BASE, 1, 0)
SUBJECT(nested_nmi, LAPIC_NESTED_NMI, 1, 0)
SUBJECT(ipis_2, LAPIC_IPIS, 2, 2)
SUBJECT(ipis_4, LAPIC_IPIS, 4, 4)
SUBJECT(init_sipi, LAPIC_RESTART, 2, 0)

/* lost wake-ups show here: each round needs both to wake from HLT */
TEST_F_TIMEOUT(lapic, ping_pong, 300)
{
	const char *rounds = getenv("PING_PONG");
	u64 start = vm_now_ms();

	self->vm = subject(variant->x2apic, LAPIC_PING_PONG, 2,
			   rounds ? strtoul(rounds, NULL, 0) : 10000);
	EXPECT_EQ(VM_EXITED, vm_run(self->vm, 280000));
	EXPECT_EQ(0, self->vm->result)
		vm_explain(self->vm);
	TH_LOG("%llu ms", vm_now_ms() - start);
}

/* ---- MSIs and NMIs from outside ---------------------------------------------- */

static int send_msi(struct vm *vm, u64 address, u32 data)
{
	struct vmm_msi msi = { .address = address, .data = data };

	return vm_ioctl(vm->fd, VMM_SEND_MSI, &msi);
}

struct msi_test {
	unsigned int eois;
	unsigned int bad;		/* answers that were not as wanted */
};

static void want(struct msi_test *t, int found, int wanted)
{
	if (found == wanted)
		return;
	fprintf(stderr, "# wanted %d, found %d\n", wanted, found);
	t->bad++;
}

static void send_what_was_asked(struct vcpu *v, u32 what)
{
	struct vmm_inject nmi = { .type = VMM_EVENT_NMI };
	struct msi_test *t = v->vm->priv;
	struct vm *vm = v->vm;
	unsigned int i;

	switch (what) {
	case 1:
		for (i = 0; i < 16; i++)
			want(t, send_msi(vm, 0xfee00000, 0x80 + i), 1);
		break;
	case 2:
		want(t, send_msi(vm, 0xfee00000, 0xc080), 1);
		break;
	case 4:
		want(t, send_msi(vm, 0xfee00000, 0x400), 1);
		break;
	case 5:
		want(t, vm_ioctl(v->fd, VMM_INJECT, &nmi), 0);
		break;
	case 6:
		want(t, send_msi(vm, 0xfee01000, 0x400), 0);	/* no such CPU */
		want(t, send_msi(vm, 0xfee00000, 0x300), -EINVAL);
		want(t, send_msi(vm, 0xfee00010, 0x400), -EINVAL);
		want(t, send_msi(vm, 0xfed00000, 0x400), -EINVAL);
		want(t, send_msi(vm, 0x1fee00000, 0x400), -EINVAL);
		break;
	}
}

static bool is_ask(struct vcpu *v, bool in)
{
	struct vmm_exit_io *io = &v->run->exit.io;

	return v->run->reason == VMM_EXIT_IO && io->port == PORT_ASK && !io->in == !in;
}

static enum vm_verdict answer(struct vcpu *v, u32 value)
{
	v->run->exit.io.data = value;
	vcpu_complete(v);
	return VM_AGAIN;
}

static enum vm_verdict on_msi_exit(struct vcpu *v)
{
	struct msi_test *t = v->vm->priv;

	if (v->run->reason == VMM_EXIT_EOI) {
		want(t, v->run->exit.eoi.vector, 0x80);
		t->eois++;
		return VM_AGAIN;
	}
	if (is_ask(v, true))
		return answer(v, t->eois);
	if (is_ask(v, false))
		send_what_was_asked(v, v->run->exit.io.data);
	return VM_HANDLE;
}

TEST_F_TIMEOUT(lapic, msis, 120)
{
	struct msi_test t = { 0 };

	self->vm = subject(variant->x2apic, LAPIC_MSIS, 1, 0);
	self->vm->on_exit = on_msi_exit;
	self->vm->priv = &t;
	EXPECT_EQ(0, run(self->vm));
	EXPECT_EQ(1, t.eois);
	EXPECT_EQ(0, t.bad);
}

/* ---- many senders at once ------------------------------------------------------ */

#define FLOODERS	4
#define FLOOD		20000

static struct {
	struct vm *vm;
	pthread_t thread[FLOODERS];
	unsigned int running;
	unsigned int refused;
} flood;

static void *flooder(void *arg)
{
	unsigned int vector = 0x80 + (unsigned long)arg;
	int i;

	for (i = 0; i < FLOOD; i++)
		if (send_msi(flood.vm, 0xfee00000, vector) != 1)
			__atomic_fetch_add(&flood.refused, 1, __ATOMIC_SEQ_CST);
	/* the guest may be in HLT, and ours may be the last that wakes it */
	__atomic_fetch_sub(&flood.running, 1, __ATOMIC_SEQ_CST);
	send_msi(flood.vm, 0xfee00000, vector);
	return NULL;
}

static enum vm_verdict on_flood_exit(struct vcpu *v)
{
	unsigned long i;

	if (is_ask(v, true))
		return answer(v, !__atomic_load_n(&flood.running, __ATOMIC_SEQ_CST));
	if (is_ask(v, false)) {
		flood.running = FLOODERS;
		for (i = 0; i < FLOODERS; i++)
			if (pthread_create(&flood.thread[i], NULL, flooder, (void *)i))
				vm_die("no thread to send MSIs");
	}
	return VM_HANDLE;
}

TEST_F_TIMEOUT(lapic, flood, 120)
{
	int i;

	memset(&flood, 0, sizeof(flood));
	self->vm = flood.vm = subject(variant->x2apic, LAPIC_FLOOD, 1, FLOODERS);
	self->vm->on_exit = on_flood_exit;
	EXPECT_EQ(0, run(self->vm));
	for (i = 0; i < FLOODERS; i++)
		pthread_join(flood.thread[i], NULL);
	EXPECT_EQ(0, flood.refused);
}

/* ---- state --------------------------------------------------------------------- */

/* the running timer of a VM that is destroyed and made anew at each question */
static enum vm_verdict roundtrip_at_ask(struct vcpu *v)
{
	if (!is_ask(v, false))
		return VM_HANDLE;
	vcpu_complete(v);
	vcpu_finish(v);
	vm_roundtrip(v->vm, v);
	return VM_AGAIN;
}

TEST_F_TIMEOUT(lapic, timer_over_state, 120)
{
	self->vm = subject(variant->x2apic, LAPIC_OVER_STATE, 1, 20);
	self->vm->on_exit = roundtrip_at_ask;
	EXPECT_EQ(0, run(self->vm));
}

TEST(reset_state)
{
	struct vm *vm = vm_create(VM_RAM);
	struct vmm_state st;
	unsigned int cpu, reg;

	for (cpu = 0; cpu < 2; cpu++) {
		struct vcpu *v = vm_add_vcpu(vm);

		ASSERT_EQ(0, vcpu_get(v, VMM_STATE_APIC, &st));
		EXPECT_EQ(cpu ? 0xfee00800 : 0xfee00900, st.apic.base);
		EXPECT_EQ(0, st.apic.tsc_deadline);
		for (reg = 0; reg < 64; reg++) {
			u32 want = reg >= 0x32 && reg <= 0x37 ? 0x10000 : 0;

			if (reg == 0x02)
				want = cpu << 24;
			else if (reg == 0x03)
				want = 0x50014;
			else if (reg == 0x0e)
				want = 0xffffffff;
			else if (reg == 0x0f)
				want = 0xff;
			EXPECT_EQ(want, st.apic.regs[reg]);
		}
	}
	vm_free(vm);
}

/* written back as read, with everything in it that can be */
TEST(state_is_identity)
{
	struct vm *vm = vm_create(VM_RAM);
	struct vcpu *v = vm_add_vcpu(vm);
	struct vmm_state a, b;

	ASSERT_EQ(0, vcpu_get(v, VMM_STATE_APIC, &a));
	a.apic.regs[0x0f] = 0x1ff;
	a.apic.regs[0x08] = 0x25;
	a.apic.regs[0x0d] = 0x01000000;
	a.apic.regs[0x12] = 0x00010000;		/* 0x50 in service, */
	a.apic.regs[0x1a] = 0x00010000;		/* level */
	a.apic.regs[IRR_REG + 7] = 0x80000001;
	a.apic.regs[0x28] = 0x20;
	a.apic.regs[0x29] = 0x80;
	a.apic.regs[0x30] = 0x000c4051;
	a.apic.regs[0x31] = 0x02000000;
	a.apic.regs[TIMER_REG] = 0x000400ef;
	a.apic.regs[0x35] = 0x8700;
	a.apic.regs[0x3e] = 0xb;
	a.apic.tsc_deadline = 1ull << 60;
	ASSERT_EQ(0, vcpu_set(v, VMM_STATE_APIC, &a));
	ASSERT_EQ(0, vcpu_get(v, VMM_STATE_APIC, &b));
	a.apic.regs[0x0a] = 0x50;		/* PPR follows */
	EXPECT_EQ(0, memcmp(&a.apic, &b.apic, sizeof(a.apic)));

	/* a count that runs, and stops at its end with the vector in IRR */
	a.apic.tsc_deadline = 0;
	a.apic.regs[TIMER_REG] = 0x61;
	a.apic.regs[INITIAL_REG] = 50000000;
	a.apic.regs[CURRENT_REG] = 20000000;
	ASSERT_EQ(0, vcpu_set(v, VMM_STATE_APIC, &a));
	ASSERT_EQ(0, vcpu_get(v, VMM_STATE_APIC, &b));
	EXPECT_LE(b.apic.regs[CURRENT_REG], 20000000);
	usleep(40000);
	ASSERT_EQ(0, vcpu_get(v, VMM_STATE_APIC, &b));
	EXPECT_EQ(0, b.apic.regs[CURRENT_REG]);
	EXPECT_EQ(50000000, b.apic.regs[INITIAL_REG]);
	EXPECT_EQ(1 << 1, b.apic.regs[IRR_REG + 3]);
	vm_free(vm);
}

/* CR8 is its upper half: written with all the rest it takes nothing from it */
TEST(tpr_and_cr8)
{
	struct vm *vm = vm_create(VM_RAM);
	struct vcpu *v = vm_add_vcpu(vm);
	struct vmm_state st;

	ASSERT_EQ(0, vcpu_get(v, VMM_STATE_APIC, &st));
	st.apic.regs[0x08] = 0x25;
	ASSERT_EQ(0, vcpu_set(v, VMM_STATE_APIC, &st));
	ASSERT_EQ(0, vcpu_get(v, VMM_STATE_ALL, &st));
	EXPECT_EQ(0x25, st.apic.regs[0x08]);
	EXPECT_EQ(2, st.sregs.cr8);
	ASSERT_EQ(0, vcpu_set(v, VMM_STATE_ALL, &st));
	ASSERT_EQ(0, vcpu_get(v, VMM_STATE_ALL, &st));
	EXPECT_EQ(0x25, st.apic.regs[0x08]);
	/* one that is another is what counts */
	st.sregs.cr8 = 3;
	ASSERT_EQ(0, vcpu_set(v, VMM_STATE_SREGS, &st));
	ASSERT_EQ(0, vcpu_get(v, VMM_STATE_APIC, &st));
	EXPECT_EQ(0x30, st.apic.regs[0x08]);
	vm_free(vm);
}

TEST(hostile_state)
{
	static const struct {
		unsigned int reg;
		u32 value;
	} bad[] = {
		{ 0x00, 1 }, { 0x02, 1 }, { 0x02, 7 << 24 }, { 0x03, 0x14 }, { 0x08, 0x100 },
		{ 0x0b, 1 }, { 0x0d, 1 }, { 0x0e, 0 }, { 0x0f, 0x1000 }, { 0x10, 1 },
		{ 0x18, 0x8000 }, { 0x20, 2 }, { 0x28, 0x100 }, { 0x29, 0x100 },
		{ 0x2f, 0x10000 }, { 0x30, 0x1000 }, { 0x31, 1 }, { 0x32, 0x70000 },
		{ 0x33, 0x20000 }, { 0x35, 0x14000 }, { 0x37, 0x10700 }, { 0x32, 0x40 },
		{ 0x39, 1 }, { 0x3a, 1 }, { 0x3e, 4 }, { 0x3f, 1 },
	};
	static const u64 base[] = {
		0xfee00400, 0xfee00c00, 0xfee00801, 1ull << 52 | 0x800, ~0ull,
	};
	struct vm *vm = vm_create(VM_RAM);
	struct vcpu *v = vm_add_vcpu(vm);
	struct vmm_state good, st;
	unsigned int i;

	vm_add_vcpu(vm);
	v = &vm->vcpu[1];
	ASSERT_EQ(0, vcpu_get(v, VMM_STATE_APIC, &good));
	for (i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
		st = good;
		st.apic.regs[bad[i].reg] = bad[i].value;
		EXPECT_EQ(-EINVAL, vcpu_set(v, VMM_STATE_APIC, &st))
			TH_LOG("register %#x", bad[i].reg);
	}
	for (i = 0; i < sizeof(base) / sizeof(*base); i++) {
		st = good;
		st.apic.base = base[i];
		EXPECT_EQ(-EINVAL, vcpu_set(v, VMM_STATE_APIC, &st))
			TH_LOG("base %#llx", base[i]);
	}
	st = good;
	st.apic.tsc_deadline = 1;
	EXPECT_EQ(-EINVAL, vcpu_set(v, VMM_STATE_APIC, &st));
	ASSERT_EQ(0, vcpu_get(v, VMM_STATE_APIC, &st));
	EXPECT_EQ(0, memcmp(&good.apic, &st.apic, sizeof(good.apic)));

	/* the shortest timers that can be set: the host must not notice */
	st.apic.regs[0x0f] = 0x1ff;
	st.apic.regs[TIMER_REG] = 0x20040;
	st.apic.regs[0x3e] = 0xb;
	st.apic.regs[INITIAL_REG] = 1;
	st.apic.regs[CURRENT_REG] = 1;
	EXPECT_EQ(0, vcpu_set(v, VMM_STATE_APIC, &st));
	usleep(20000);
	EXPECT_EQ(0, vcpu_get(v, VMM_STATE_APIC, &st));
	EXPECT_EQ(1, st.apic.regs[IRR_REG + 2]);
	vm_free(vm);
}

TEST_HARNESS_MAIN
