// SPDX-License-Identifier: GPL-2.0
/*
 * What kmod/pv.c keeps in guest memory: steal time and the EOI word, with a guest
 * and a host that come between at every point where they can.
 */
#include "lapic_fixture.h"

static struct {
	struct {
		u64 run_delay;
	} sched_info;
} thread, *const current = &thread;

static inline bool sched_info_on(void)
{
	return true;
}

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wsign-compare"
#include "../../kmod/pv.c"
#pragma GCC diagnostic pop

/* ---- the machine -------------------------------------------------------------- */

#define STEAL		0x1040
#define WORD		0x2004
#define VECTOR		0x51

static u8 ram[0x3000];
static bool absent;		/* the host has no page there just now */
static bool gone;		/* and will have none */
static int lost_races;		/* the guest changes the word that often */
static int flushes, faults;
static u32 versions[8], nversions;

static bool there(u64 gpa, u32 len)
{
	return !gone && gpa < sizeof(ram) && len <= sizeof(ram) - gpa;
}

int vmm_mem_read(struct vmm_vm *v, u64 gpa, void *buf, u32 len)
{
	(void)v;
	faults += absent;
	if (!there(gpa, len))
		return -EFAULT;
	memcpy(buf, ram + gpa, len);
	return 0;
}

int vmm_mem_write(struct vmm_vm *v, u64 gpa, const void *buf, u32 len)
{
	(void)v;
	faults += absent;
	if (!there(gpa, len))
		return -EFAULT;
	memcpy(ram + gpa, buf, len);
	if (gpa == STEAL + 8 && nversions < ARRAY_SIZE(versions))
		versions[nversions++] = *(const u32 *)buf;
	return 0;
}

int vmm_mem_write_now(struct vmm_vm *v, u64 gpa, const void *buf, u32 len)
{
	return absent ? -EFAULT : vmm_mem_write(v, gpa, buf, len);
}

int vmm_guest_read(struct vmm_vcpu *vcpu, u64 gpa, void *buf, u32 len)
{
	return absent && vcpu->loaded ? -EFAULT : vmm_mem_read(vcpu->vm, gpa, buf, len);
}

int vmm_mem_cmpxchg(struct vmm_vm *v, u64 gpa, u32 size, u64 old, u64 new)
{
	u32 *word = (u32 *)(ram + gpa);

	(void)v;
	assert_int_equal(size, 4);
	if (lost_races) {
		lost_races--;
		*word ^= KVM_VCPU_FLUSH_TLB;
	}
	if (*word != (u32)old)
		return 1;
	*word = new;
	return 0;
}

static void flush(struct vmm_vcpu *vcpu)
{
	(void)vcpu;
	flushes++;
}

static const struct vmm_ops ops = { .flush = flush };
const struct vmm_ops *vmm_ops = &ops;

static volatile struct kvm_steal_time *steal(void)
{
	return (void *)(ram + STEAL);
}

static volatile u32 *word(void)
{
	return (void *)(ram + WORD);
}

static int setup(void **state)
{
	lapic_setup(state);
	enable_all();
	memset(ram, 0, sizeof(ram));
	absent = gone = false;
	lost_races = flushes = faults = nversions = 0;
	thread.sched_info.run_delay = 5000;
	vmm_pv_reset(c0);
	vmm_pv_cpuid(c0, vmm_pv_features());
	assert_int_equal(vmm_pv_msr_write(c0, MSR_KVM_STEAL_TIME, STEAL | 1), 0);
	assert_int_equal(vmm_pv_msr_write(c0, MSR_KVM_PV_EOI_EN, WORD | 1), 0);
	return 0;
}

#define PV_TEST(name) cmocka_unit_test_setup(name, setup)

/* ---- steal time ----------------------------------------------------------------- */

static void test_steal(void **state)
{
	(void)state;
	/* what this thread waited before is not the guest's */
	vmm_pv_back(c0);
	assert_int_equal(steal()->steal, 0);
	thread.sched_info.run_delay += 700;
	vmm_pv_back(c0);
	vmm_pv_back(c0);
	assert_int_equal(steal()->steal, 700);
	assert_int_equal(nversions, 2);
	assert_true(versions[0] & 1);
	assert_int_equal(versions[1], versions[0] + 1);
	/* rubbish in the version becomes an odd one, then an even one */
	steal()->version = 0xfffffffe;
	thread.sched_info.run_delay += 1;
	vmm_pv_back(c0);
	assert_int_equal(versions[2], 0xffffffff);
	assert_int_equal(versions[3], 0);
	assert_int_equal(steal()->steal, 701);
	/* another thread */
	c0->pv.new_thread = true;
	thread.sched_info.run_delay = 3;
	vmm_pv_back(c0);
	thread.sched_info.run_delay = 13;
	vmm_pv_back(c0);
	assert_int_equal(steal()->steal, 711);
	/* nobody there */
	gone = true;
	thread.sched_info.run_delay = 20;
	vmm_pv_away(c0);
	vmm_pv_back(c0);
	gone = false;
	assert_int_equal(steal()->steal, 711);
	assert_int_equal(vmm_pv_msr_write(c0, MSR_KVM_STEAL_TIME, 0), 0);
	thread.sched_info.run_delay = 50;
	vmm_pv_away(c0);
	vmm_pv_back(c0);
	assert_int_equal(steal()->steal, 711);
	assert_int_equal(steal()->preempted, 0);
}

static void test_away(void **state)
{
	(void)state;
	/* a byte that the last host left: this vCPU runs, and its TLB is empty */
	steal()->preempted = KVM_VCPU_PREEMPTED;
	vmm_pv_back(c0);
	assert_int_equal(steal()->preempted, 0);
	assert_int_equal(flushes, 0);
	vmm_pv_away(c0);
	assert_int_equal(steal()->preempted, KVM_VCPU_PREEMPTED);
	steal()->preempted |= KVM_VCPU_FLUSH_TLB;
	/* away is away: what was asked for stays */
	vmm_pv_away(c0);
	assert_int_equal(steal()->preempted, 3);
	vmm_pv_back(c0);
	assert_int_equal(steal()->preempted, 0);
	assert_int_equal(flushes, 1);
	vmm_pv_away(c0);
	vmm_pv_back(c0);
	assert_int_equal(flushes, 1);
	/* another page: what that says is seen to before the guest goes on */
	c0->loaded = true;
	assert_int_equal(vmm_pv_msr_write(c0, MSR_KVM_STEAL_TIME, STEAL | 1), -EAGAIN);
	c0->loaded = false;
	/* no page: it does not say so, and no fault was taken for that */
	absent = c0->loaded = true;
	vmm_pv_away(c0);
	assert_int_equal(faults, 0);
	c0->loaded = false;
	assert_int_equal(steal()->preempted, 0);
	/* in the slow gear it may fault */
	vmm_pv_away(c0);
	assert_int_equal(faults, 1);
	absent = false;
	assert_int_equal(steal()->preempted, KVM_VCPU_PREEMPTED);
	vmm_pv_back(c0);
	assert_int_equal(flushes, 1);
	/* the page goes while it is away: better once too often */
	vmm_pv_away(c0);
	gone = true;
	vmm_pv_back(c0);
	assert_int_equal(flushes, 2);
}

static void test_away_races(void **state)
{
	int i;

	(void)state;
	vmm_pv_back(c0);
	for (i = 1; i < 10; i++) {
		vmm_pv_away(c0);
		flushes = 0;
		lost_races = i;
		vmm_pv_back(c0);
		assert_int_equal(steal()->preempted, 0);
		/* it was asked for last, or nobody knows */
		if (i >= TRIES || i & 1)
			assert_int_equal(flushes, 1);
		lost_races = 0;
	}
	/* without that feature the byte only says that it was away */
	vmm_pv_cpuid(c0, vmm_pv_features() & ~BIT(KVM_FEATURE_PV_TLB_FLUSH));
	vmm_pv_away(c0);
	steal()->preempted = 3;
	flushes = 0;
	vmm_pv_back(c0);
	assert_int_equal(steal()->preempted, 0);
	assert_int_equal(flushes, 0);
}

/* ---- EOI ------------------------------------------------------------------------- */

static void raise_vector(u8 vector)
{
	lapic_accept(c0, vector, false);
	c0->offer = vmm_lapic_pending(c0);
}

/* as the run loop does it */
static bool enters(void)
{
	if (!vmm_pv_eoi_offer(c0))
		return false;
	if (c0->offer >= 0 && !c0->ev.extint_pending)
		vmm_lapic_ack(c0, c0->offer);
	return true;
}

static void exits(bool took)
{
	if (c0->offer >= 0 && !took)
		vmm_lapic_untaken(c0, c0->offer);
	c0->offer = -1;
	if (c0->pv.eoi_vector)
		assert_true(vmm_pv_eoi_settle(c0));
}

static bool in_isr(u8 vector)
{
	return test_bit(vector, lapic_map(&c0->apic, LAPIC_ISR));
}

static void test_eoi(void **state)
{
	(void)state;
	c0->loaded = true;
	c0->offer = -1;
	assert_true(enters());
	assert_int_equal(*word(), 0);
	raise_vector(VECTOR);
	assert_true(enters());
	assert_int_equal(*word(), 1);
	/* not taken yet, and offered again */
	exits(false);
	c0->offer = vmm_lapic_pending(c0);
	assert_int_equal(c0->offer, VECTOR);
	assert_true(enters());
	assert_int_equal(*word(), 1);
	/* taken; no EOI up to this exit */
	exits(true);
	assert_true(in_isr(VECTOR));
	assert_true(enters());
	*word() = 0;
	exits(false);
	assert_false(in_isr(VECTOR));
	assert_int_equal(c0->pv.eoi_vector, 0);
	/* taken and ended between two exits */
	raise_vector(VECTOR);
	assert_true(enters());
	*word() = 0;
	exits(true);
	assert_false(in_isr(VECTOR));
	assert_int_equal(vmm_lapic_pending(c0), -1);
}

/* one that is sent when the guest is done with the first is another one */
static void test_eoi_again(void **state)
{
	(void)state;
	c0->loaded = true;
	raise_vector(VECTOR);
	assert_true(enters());
	/* taken, ended; no exit yet: it has to be told */
	*word() = 0;
	assert_true(lapic_accept(c0, VECTOR, false));
	exits(true);
	assert_false(in_isr(VECTOR));
	assert_int_equal(vmm_lapic_pending(c0), VECTOR);
	/* not taken before the second came: they are one, and its EOI is heard */
	c0->offer = VECTOR;
	assert_true(enters());
	assert_true(lapic_accept(c0, VECTOR, false));
	exits(false);
	assert_int_equal(vmm_lapic_pending(c0), VECTOR);
	c0->offer = VECTOR;
	assert_true(enters());
	/* taken, in service, and another one: that waits for an EOI with an exit */
	assert_true(lapic_accept(c0, VECTOR, false));
	exits(true);
	assert_true(in_isr(VECTOR));
	assert_true(enters());
	assert_int_equal(*word(), 0);
	wr(c0, LAPIC_EOI, 0);
	assert_int_equal(vmm_lapic_pending(c0), VECTOR);
}

/* with a second one in sight the EOI must be heard at once */
static void test_eoi_two(void **state)
{
	static const u8 others[] = { 0x31, 0x52, 0x71, VECTOR };
	unsigned int i;

	(void)state;
	c0->loaded = true;
	for (i = 0; i < ARRAY_SIZE(others); i++) {
		raise_vector(VECTOR);
		assert_true(enters());
		exits(true);
		raise_vector(others[i]);
		assert_true(enters());
		assert_int_equal(*word(), 0);
		assert_int_equal(c0->pv.eoi_vector, 0);
		exits(c0->offer >= 0);
		/* nested: not for that one either */
		assert_int_equal(c0->pv.eoi_vector, 0);
		wr(c0, LAPIC_EOI, 0);
		if (c0->offer < 0 && others[i] == 0x71)
			wr(c0, LAPIC_EOI, 0);
		/* what waited behind it is alone now */
		c0->offer = vmm_lapic_pending(c0);
		if (c0->offer >= 0) {
			assert_true(enters());
			assert_int_equal(*word(), 1);
			*word() = 0;
			exits(true);
		}
		assert_int_equal(vmm_lapic_pending(c0), -1);
		assert_false(in_isr(VECTOR));
	}
	/* two at the same time */
	lapic_accept(c0, 0x31, false);
	raise_vector(VECTOR);
	assert_true(enters());
	assert_int_equal(*word(), 0);
}

static void test_eoi_not(void **state)
{
	(void)state;
	c0->loaded = true;
	/* level-triggered: the monitor is to hear of it */
	lapic_accept(c0, VECTOR, true);
	c0->offer = VECTOR;
	assert_true(enters());
	assert_int_equal(*word(), 0);
	vmm_lapic_ack(c0, VECTOR);
	assert_int_equal(vmm_lapic_mmio_write(c0, LAPIC_EOI << 4, 0, &last_eoi), 1);
	/* the PIC's has no EOI here */
	raise_vector(VECTOR);
	c0->ev.extint_pending = 1;
	assert_true(enters());
	assert_int_equal(*word(), 0);
	c0->ev.extint_pending = 0;
	/* no page, no EOI in memory */
	absent = true;
	assert_true(enters());
	assert_int_equal(c0->pv.eoi_vector, 0);
}

/* the page goes while the guest's EOI may be there: the slow gear sees to it */
static void test_eoi_page_goes(void **state)
{
	(void)state;
	c0->loaded = true;
	raise_vector(VECTOR);
	assert_true(enters());
	exits(true);
	*word() = 0;
	absent = true;
	assert_false(vmm_pv_eoi_settle(c0));
	assert_true(in_isr(VECTOR));
	c0->loaded = false;
	assert_true(vmm_pv_eoi_settle(c0));
	assert_false(in_isr(VECTOR));
	/* the same before an entry at which it has to be taken back */
	absent = false;
	c0->loaded = true;
	raise_vector(VECTOR);
	assert_true(enters());
	exits(true);
	raise_vector(0x31);
	absent = true;
	assert_false(enters());
	assert_int_equal(c0->pv.eoi_vector, VECTOR);
	/* or at which the guest gives it another word */
	assert_int_equal(vmm_pv_msr_write(c0, MSR_KVM_PV_EOI_EN, 0), -EAGAIN);
	c0->loaded = false;
	assert_int_equal(vmm_pv_msr_write(c0, MSR_KVM_PV_EOI_EN, 0), 0);
	assert_int_equal(*word(), 0);
	assert_int_equal(c0->pv.eoi_vector, 0);
	assert_true(in_isr(VECTOR));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		PV_TEST(test_steal), PV_TEST(test_away), PV_TEST(test_away_races),
		PV_TEST(test_eoi), PV_TEST(test_eoi_again), PV_TEST(test_eoi_two), PV_TEST(test_eoi_not),
		PV_TEST(test_eoi_page_goes),
	};

	return cmocka_run_group_tests_name("pv", tests, NULL, NULL);
}
