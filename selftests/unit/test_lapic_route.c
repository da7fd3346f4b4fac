// SPDX-License-Identifier: GPL-2.0
/* Who gets an IPI or an MSI, and that none is lost between CPUs. */
#include <pthread.h>

#include "lapic_fixture.h"

/* ---- IPIs ------------------------------------------------------------------ */

static void ipi(struct vmm_vcpu *c, u32 dest, u32 icr)
{
	wr(c, LAPIC_ICR2, dest << 24);
	wr(c, LAPIC_ICR, icr);
}

static void test_ipi_physical(void **state)
{
	(void)state;
	enable_all();
	ipi(c0, 3, 0x4055);
	assert_int_equal(kicks[3], 1);
	assert_int_equal(who_has(0x55), 1 << 3);
	/* to itself: it is not in the guest, and looks before it goes there */
	ipi(c0, 0, 0x4055);
	assert_int_equal(kicks[0], 0);
	assert_int_equal(who_has(0x55), 1 << 0);
	ipi(c0, 0xff, 0x4055);
	assert_int_equal(who_has(0x55), 0x3f);
	ipi(c0, NCPU, 0x4055);
	assert_int_equal(who_has(0x55), 0);
	ipi(c0, 200, 0x4055);
	assert_int_equal(who_has(0x55), 0);
	/* level has no meaning: no EOI for the monitor comes of it */
	ipi(c0, 3, 0xc055);
	assert_false(test_bit(0x55, lapic_map(&cpus[3].apic, LAPIC_TMR)));
	/* switched off in either way */
	wr(&cpus[2], LAPIC_SVR, 0xff);
	assert_int_equal(wrmsr(&cpus[4], 0x1b, 0xfee00000), 0);
	clear_irrs();
	ipi(c0, 0xff, 0x4055);
	assert_int_equal(who_has(0x55), 0x3f & ~(1 << 2 | 1 << 4));
	/* the second of two that meet is no news */
	ipi(c0, 3, 0x4055);
	ipi(c0, 3, 0x4055);
	assert_int_equal(kicks[3], 1);
}

static void test_ipi_shorthand(void **state)
{
	(void)state;
	enable_all();
	ipi(c1, 3, 0x44061);
	assert_int_equal(who_has(0x61), 1 << 1);
	ipi(c1, 3, 0x84061);
	assert_int_equal(who_has(0x61), 0x3f);
	ipi(c1, 3, 0xc4061);
	assert_int_equal(who_has(0x61), 0x3d);
	ipi(c1, 3, 0xc4400);
	assert_int_equal(who_got(REQ_NMI), 0x3d);
	ipi(c1, 3, 0xc4500);
	assert_int_equal(who_got(REQ_INIT), 0x3d);
}

static void test_ipi_modes(void **state)
{
	(void)state;
	enable_all();
	ipi(c0, 2, 0x4400);
	assert_int_equal(who_got(REQ_NMI), 1 << 2);
	ipi(c0, 2, 0x4500);
	assert_int_equal(who_got(REQ_INIT), 1 << 2);
	ipi(c0, 2, 0xc500);			/* INIT, level, assert */
	assert_int_equal(who_got(REQ_INIT), 1 << 2);
	ipi(c0, 0xff, 0x88500);			/* INIT level de-assert */
	assert_int_equal(who_got(REQ_INIT), 0);
	ipi(c0, 2, 0x4699);
	assert_int_equal(cpus[2].sipi_vector, 0x99);
	assert_int_equal(who_got(REQ_SIPI), 1 << 2);
	ipi(c0, 2, 0x4601);			/* vector below 16 is right here */
	assert_int_equal(cpus[2].sipi_vector, 1);
	assert_int_equal(c0->apic.errors, 0);
	clear_irrs();
	ipi(c0, 2, 0x4231);			/* SMI */
	ipi(c0, 2, 0x4331);			/* reserved */
	ipi(c0, 2, 0x4731);			/* ExtINT */
	assert_int_equal(cpus[2].requests, 0);
	assert_int_equal(who_has(0x31), 0);
}

static void test_ipi_logical_flat(void **state)
{
	u32 i, mask;

	(void)state;
	enable_all();
	for (i = 0; i < NCPU; i++)
		wr(&cpus[i], LAPIC_LDR, 1 << (24 + i));
	for (mask = 0; mask < 0x100; mask++) {
		ipi(c0, mask, 0x4871);
		assert_int_equal(who_has(0x71), mask & 0x3f);
	}
	/* one that answers to nothing still hears a broadcast */
	wr(&cpus[5], LAPIC_LDR, 0);
	ipi(c0, 0xff, 0x4871);
	assert_int_equal(who_has(0x71), 0x3f);
	ipi(c0, 0xfe, 0x4871);
	assert_int_equal(who_has(0x71), 0x1e);
}

static void test_ipi_logical_cluster(void **state)
{
	u32 i;

	(void)state;
	enable_all();
	for (i = 0; i < NCPU; i++) {	/* clusters 0 and 1 of three */
		wr(&cpus[i], LAPIC_DFR, 0);
		wr(&cpus[i], LAPIC_LDR, (i / 3) << 28 | 1 << (24 + i % 3));
	}
	ipi(c0, 0x05, 0x4871);
	assert_int_equal(who_has(0x71), 1 << 0 | 1 << 2);
	ipi(c0, 0x1f, 0x4871);
	assert_int_equal(who_has(0x71), 0x38);
	ipi(c0, 0x2f, 0x4871);
	assert_int_equal(who_has(0x71), 0);
	ipi(c0, 0x10, 0x4871);
	assert_int_equal(who_has(0x71), 0);
	ipi(c0, 0xff, 0x4871);
	assert_int_equal(who_has(0x71), 0x3f);
}

static void test_ipi_x2apic(void **state)
{
	static struct vmm_vcpu far;
	u32 i;

	(void)state;
	far = (struct vmm_vcpu){ .vm = &vm, .id = 35 };
	vmm_lapic_init(&far);
	vm.vcpus[35] = &far;
	vm.top = 36;
	enable_all();
	enable(&far);
	to_x2apic(&far);
	assert_int_equal(rdmsr(&far, 0x80d), 2 << 16 | 1 << 3);
	for (i = 0; i < NCPU; i++)
		to_x2apic(&cpus[i]);

	wrmsr(c0, 0x830, 4ULL << 32 | 0x4081);
	assert_int_equal(who_has(0x81), 1 << 4);
	wrmsr(c0, 0x830, 0xffULL << 32 | 0x4081);		/* an ID like another */
	assert_int_equal(who_has(0x81), 0);
	assert_false(in_irr(&far, 0x81));
	wrmsr(c0, 0x830, 0xffffffffULL << 32 | 0x4081);
	assert_int_equal(who_has(0x81), 0x3f);
	assert_true(in_irr(&far, 0x81));
	wrmsr(c0, 0x830, 35ULL << 32 | 0x4082);
	assert_true(in_irr(&far, 0x82));
	wrmsr(c0, 0x830, 0xffffULL << 32 | 0x4883);		/* cluster 0 */
	assert_int_equal(who_has(0x83), 0x3f);
	assert_false(in_irr(&far, 0x83));
	wrmsr(c0, 0x830, 0x2000aULL << 32 | 0x4883);
	assert_int_equal(who_has(0x83), 0);
	assert_true(in_irr(&far, 0x83));
	wrmsr(c0, 0x830, 0xffffffffULL << 32 | 0x4884);
	assert_int_equal(who_has(0x84), 0x3f);
	assert_int_equal(wrmsr(c0, 0x83f, 0x85), 0);
	assert_int_equal(who_has(0x85), 1 << 0);
	/* shorthand, 32 bits of destination ignored */
	wrmsr(c0, 0x830, 0x12345678ULL << 32 | 0xc4086);
	assert_int_equal(who_has(0x86), 0x3e);
	assert_true(in_irr(&far, 0x86));
}

static void test_lowest_priority(void **state)
{
	u32 i, v, seen = 0;

	(void)state;
	enable_all();
	for (i = 0; i < NCPU; i++) {
		wr(&cpus[i], LAPIC_LDR, 1 << (24 + i));
		wr(&cpus[i], LAPIC_TPR, 0x50);
	}
	wr(&cpus[4], LAPIC_TPR, 0x20);
	ipi(c0, 0x3f, 0x4991);
	assert_int_equal(who_has(0x91), 1 << 4);
	ipi(c0, 0x0f, 0x4991);			/* 4 is not among them: exactly one */
	v = who_has(0x91);
	assert_true(v && !(v & (v - 1)) && v <= 8);
	/* busy with an interrupt counts too */
	lapic_accept(&cpus[4], 0xd0, false);
	vmm_lapic_ack(&cpus[4], 0xd0);
	ipi(c0, 0x18, 0x4991);
	assert_int_equal(who_has(0x91), 1 << 3);
	/* disabled ones are no candidates */
	wr(&cpus[3], LAPIC_SVR, 0xff);
	ipi(c0, 0x18, 0x4991);
	assert_int_equal(who_has(0x91), 1 << 4);
	ipi(c0, 0x08, 0x4991);
	assert_int_equal(who_has(0x91), 0);

	/* where all are alike vectors spread, and each keeps its place */
	lapic_setup(state);
	enable_all();
	for (i = 0; i < NCPU; i++)
		wr(&cpus[i], LAPIC_LDR, 1 << (24 + i));
	for (v = 0x40; v < 0x40 + NCPU; v++) {
		u32 first, again;

		ipi(c0, 0x3f, 0x4900 | v);
		first = who_has(v);
		ipi(c0, 0x3f, 0x4900 | v);
		again = who_has(v);
		assert_int_equal(first, again);
		seen |= first;
	}
	assert_int_equal(seen, 0x3f);
}

/* ---- MSIs ------------------------------------------------------------------ */

static void test_msi(void **state)
{
	u32 i, v;

	(void)state;
	enable_all();
	for (i = 0; i < NCPU; i++)
		wr(&cpus[i], LAPIC_LDR, 1 << (24 + i));
	assert_int_equal(vmm_lapic_msi(&vm, 0xfee03000, 0x4031), 1);
	assert_int_equal(who_has(0x31), 1 << 3);
	assert_int_equal(vmm_lapic_msi(&vm, 0xfeeff000, 0x4031), NCPU);
	assert_int_equal(who_has(0x31), 0x3f);
	assert_int_equal(vmm_lapic_msi(&vm, 0xfee15004, 0x4031), 3);	/* logical */
	assert_int_equal(who_has(0x31), 0x15);
	assert_int_equal(vmm_lapic_msi(&vm, 0xfee15004, 0x4131), 1);	/* lowest */
	v = who_has(0x31);
	assert_true(v && !(v & (v - 1)) && !(v & ~0x15U));
	assert_int_equal(vmm_lapic_msi(&vm, 0xfee1500c, 0x4031), 1);	/* hint */
	v = who_has(0x31);
	assert_true(v && !(v & (v - 1)) && !(v & ~0x15U));
	/* nobody there; 15 bits of destination: 0x103 is not 3 */
	assert_int_equal(vmm_lapic_msi(&vm, 0xfee3f000, 0x4031), 0);
	assert_int_equal(vmm_lapic_msi(&vm, 0xfee03020, 0x4031), 0);
	assert_int_equal(vmm_lapic_msi(&vm, 0xfee03024, 0x4031), 0);
	assert_int_equal(vmm_lapic_msi(&vm, 0xfeefffe0, 0x4031), 0);
	assert_int_equal(who_has(0x31), 0);
	/* delivery modes */
	assert_int_equal(vmm_lapic_msi(&vm, 0xfee02000, 0x400), 1);
	assert_int_equal(who_got(REQ_NMI), 1 << 2);
	assert_int_equal(vmm_lapic_msi(&vm, 0xfeeff000, 0x400), NCPU);
	assert_int_equal(who_got(REQ_NMI), 0x3f);
	assert_int_equal(vmm_lapic_msi(&vm, 0xfee02000, 0x500), 1);
	assert_int_equal(who_got(REQ_INIT), 1 << 2);
	assert_int_equal(vmm_lapic_msi(&vm, 0xfee02000, 0x231), 0);	/* SMI */
	assert_int_equal(vmm_lapic_msi(&vm, 0xfee02000, 0x731), 0);	/* ExtINT */
	assert_int_equal(who_has(0x31), 0);
	/* the trigger mode is kept; reserved bits of the data are not looked at */
	assert_int_equal(vmm_lapic_msi(&vm, 0xfee02000, 0xffff3832 | 0x8000), 1);
	assert_true(test_bit(0x32, lapic_map(&cpus[2].apic, LAPIC_TMR)));
	assert_int_equal(who_has(0x32), 1 << 2);
	/* malformed */
	assert_int_equal(vmm_lapic_msi(&vm, 0xfee02000, 0x331), -EINVAL);
	assert_int_equal(vmm_lapic_msi(&vm, 0xfee02010, 0x31), -EINVAL);
	assert_int_equal(vmm_lapic_msi(&vm, 0xfef02000, 0x31), -EINVAL);
	assert_int_equal(vmm_lapic_msi(&vm, 0x1fee02000, 0x31), -EINVAL);
	assert_int_equal(vmm_lapic_msi(&vm, 0, 0), -EINVAL);
	assert_int_equal(who_has(0x31), 0);
}

/* 8-bit destinations and x2APIC targets, as before an IOMMU is there */
static void test_msi_x2apic(void **state)
{
	u32 i;

	(void)state;
	enable_all();
	for (i = 0; i < NCPU; i++)
		to_x2apic(&cpus[i]);
	assert_int_equal(vmm_lapic_msi(&vm, 0xfee03000, 0x31), 1);
	assert_int_equal(who_has(0x31), 1 << 3);
	assert_int_equal(vmm_lapic_msi(&vm, 0xfee0a004, 0x31), 2);
	assert_int_equal(who_has(0x31), 0x0a);
	assert_int_equal(vmm_lapic_msi(&vm, 0xfeeff004, 0x31), NCPU);
	assert_int_equal(who_has(0x31), 0x3f);
}

/* ---- senders on other CPUs ------------------------------------------------- */

#define ROUNDS	20000

static struct {
	u32 taken[256];
	bool stop;
} shared;

static void *sender(void *arg)
{
	u8 vector = (uintptr_t)arg;
	u32 i;

	for (i = 1; i <= ROUNDS; i++) {
		vmm_lapic_msi(&vm, 0xfee01000, vector);
		while (__atomic_load_n(&shared.taken[vector], __ATOMIC_SEQ_CST) < i)
			sched_yield();
	}
	return NULL;
}

static void *receiver(void *arg)
{
	(void)arg;
	while (!__atomic_load_n(&shared.stop, __ATOMIC_SEQ_CST)) {
		int v = vmm_lapic_pending(c1);

		if (v < 0) {
			sched_yield();
			continue;
		}
		vmm_lapic_ack(c1, v);
		vmm_lapic_mmio_write(c1, 0xb0, 0, &last_eoi);
		__atomic_fetch_add(&shared.taken[v], 1, __ATOMIC_SEQ_CST);
	}
	return NULL;
}

/* each waits for its own to be taken: one lost would hang here */
static void test_concurrent_senders(void **state)
{
	static const u8 vectors[] = { 0x31, 0x32, 0x95 };
	pthread_t rx, tx[3];
	u32 i;

	(void)state;
	memset(&shared, 0, sizeof(shared));
	enable(c1);
	assert_int_equal(pthread_create(&rx, NULL, receiver, NULL), 0);
	for (i = 0; i < 3; i++)
		assert_int_equal(pthread_create(&tx[i], NULL, sender,
						(void *)(uintptr_t)vectors[i]), 0);
	for (i = 0; i < 3; i++)
		pthread_join(tx[i], NULL);
	__atomic_store_n(&shared.stop, true, __ATOMIC_SEQ_CST);
	pthread_join(rx, NULL);
	for (i = 0; i < 3; i++)
		assert_int_equal(shared.taken[vectors[i]], ROUNDS);
	assert_int_equal(vmm_lapic_pending(c1), -1);
}

/* the hypercall's: a map of APIC IDs */
static void test_ipi_map(void **state)
{
	u64 map[2] = { 0x2d, 0 };

	(void)state;
	enable_all();
	assert_int_equal(vmm_lapic_ipis(&vm, map, 64, 0, 0x55), 4);
	assert_int_equal(kicks[5], 1);
	assert_int_equal(who_has(0x55), 0x2d);
	assert_int_equal(vmm_lapic_ipis(&vm, map, 64, 2, 0x4055), 3);
	assert_int_equal(who_has(0x55), 0x34);
	/* the second word, where that begins */
	map[0] = 0;
	map[1] = ~0ULL;
	assert_int_equal(vmm_lapic_ipis(&vm, map, 64, 0, 0x55), 0);
	assert_int_equal(vmm_lapic_ipis(&vm, map, 4, 0, 0x55), 2);
	assert_int_equal(who_has(0x55), 0x30);
	/* nobody there, also where the sum wraps */
	map[0] = ~0ULL;
	assert_int_equal(vmm_lapic_ipis(&vm, map, 64, NCPU, 0x55), 0);
	assert_int_equal(vmm_lapic_ipis(&vm, map, 64, ~0U, 0x55), 0);
	assert_int_equal(vmm_lapic_ipis(&vm, map, 64, 0, 0x400), NCPU);
	assert_int_equal(who_got(REQ_NMI), 0x3f);
	/* one that is off does not count, and one that takes no interrupts */
	assert_int_equal(wrmsr(&cpus[4], 0x1b, 0xfee00000), 0);
	wr(&cpus[2], LAPIC_SVR, 0xff);
	assert_int_equal(vmm_lapic_ipis(&vm, map, 64, 0, 0x55), 4);
	assert_int_equal(who_has(0x55), 0x2b);
	/* logical, to all, no vector */
	assert_int_equal(vmm_lapic_ipis(&vm, map, 64, 0, 0x855), -22);
	assert_int_equal(vmm_lapic_ipis(&vm, map, 64, 0, 0x80055), -22);
	assert_int_equal(vmm_lapic_ipis(&vm, map, 64, 0, 15), -22);
	assert_int_equal(who_has(0x55), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		LAPIC_TEST(test_ipi_physical), LAPIC_TEST(test_ipi_shorthand),
		LAPIC_TEST(test_ipi_modes), LAPIC_TEST(test_ipi_logical_flat),
		LAPIC_TEST(test_ipi_logical_cluster),
		LAPIC_TEST(test_ipi_x2apic), LAPIC_TEST(test_lowest_priority),
		LAPIC_TEST(test_ipi_map), LAPIC_TEST(test_msi), LAPIC_TEST(test_msi_x2apic),
		LAPIC_TEST(test_concurrent_senders),
	};

	return cmocka_run_group_tests_name("lapic_route", tests, NULL, NULL);
}
