// SPDX-License-Identifier: GPL-2.0
/*
 * The run page is shared: while a guest runs, another thread writes rubbish all
 * over it. RUN may refuse or the guest may go astray; the host stays whole, and
 * what the kernel took from the page passed its checks (CVE-2019-14821 is the
 * kind of fault). The verdict is that of a second, untouched VM beside it, of
 * the host's log, and of the run's end in time.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "kselftest_harness.h"
#include "vm.h"

#define SECONDS_MS	4000

static u64 random64(u64 *seed)
{
	*seed ^= *seed << 13;
	*seed ^= *seed >> 7;
	*seed ^= *seed << 17;
	return *seed;
}

struct scribbler {
	struct vcpu *v;
	volatile bool stop;
	bool kick;
	u64 seed, writes;
	pthread_t thread;
};

/* mostly single words, rarely bytes: what a check sees must be what is used */
static void scribble(struct scribbler *s)
{
	u64 r = random64(&s->seed);
	volatile u32 *words = (void *)s->v->run;
	unsigned int n = sizeof(struct vmm_run) / 4;

	switch (r & 7) {
	case 0:		/* all that RUN looks at first */
		s->v->run->flags = r >> 8 & 15;
		s->v->run->set = r >> 16 & 7;
		s->v->run->extint = r >> 24 & 0x1ff;
		break;
	case 1:
		words[(r >> 8) % n] = random64(&s->seed);
		break;
	case 2:
		words[(r >> 8) % n] ^= 1u << (r >> 40 & 31);
		break;
	case 3:
		s->v->run->kick = r >> 8 & 1;
		break;
	case 4:
		memset((void *)&words[(r >> 8) % (n - 4)], r >> 32, 16);
		break;
	default:	/* leave it alone for a while: RUN shall get through, too */
		break;
	}
	s->writes++;
}

static void *scribbler(void *arg)
{
	struct scribbler *s = arg;

	while (!s->stop) {
		scribble(s);
		if (s->kick && s->writes % 64 == 0)
			vm_ioctl_n(s->v->fd, VMM_KICK, 0);
	}
	return NULL;
}

static void restart(struct vcpu *v, const struct vmm_state *clean)
{
	static struct vmm_state st;

	st = *clean;
	if (vcpu_set(v, VMM_STATE_ALL, &st))
		vm_die("a state that was read is refused");
}

struct tally {
	unsigned int ran, refused;
};

static void run_for(struct vcpu *v, const struct vmm_state *clean, unsigned int ms,
		    struct tally *t)
{
	u64 end = vm_now_ms() + ms;
	int r;

	while (vm_now_ms() < end) {
		r = vcpu_run(v);
		if (!r)
			t->ran++;
		else if (r == -EINVAL || r == -EBUSY)
			t->refused++;
		else if (r != -EINTR)
			vm_die("VMM_RUN: %d", r);
		/* wherever it went: from the start again, now and then */
		if ((t->ran + t->refused) % 16 == 0)
			restart(v, clean);
	}
}

FIXTURE(scribble) {
	struct vm *vm;
	struct scribbler s;
};

FIXTURE_VARIANT(scribble) {
	const char *image;
};

FIXTURE_VARIANT_ADD(scribble, real16) { "ports16" };
FIXTURE_VARIANT_ADD(scribble, prot32) { "ports32" };
FIXTURE_VARIANT_ADD(scribble, long64) { "mmio64" };

FIXTURE_SETUP(scribble)
{
	self->vm = vm_guest(variant->image, 1);
	self->s = (struct scribbler) {
		.v = &self->vm->vcpu[0], .seed = 0x5eed5eed, .kick = true,
	};
}

FIXTURE_TEARDOWN(scribble)
{
	vm_free(self->vm);
}

TEST_F_TIMEOUT(scribble, host_lives, 60)
{
	static struct vmm_state clean;
	struct vm *witness;
	struct tally t = {};

	ASSERT_EQ(0, vcpu_get(self->s.v, VMM_STATE_ALL, &clean));
	ASSERT_EQ(0, pthread_create(&self->s.thread, NULL, scribbler, &self->s));
	run_for(self->s.v, &clean, SECONDS_MS, &t);
	self->s.stop = true;
	pthread_join(self->s.thread, NULL);
	/* it was a test only if RUN did run, and did meet rubbish */
	EXPECT_LT(10, t.ran);
	EXPECT_LT(1000, self->s.writes);

	memset(self->s.v->run, 0, sizeof(struct vmm_run));
	witness = vm_guest("long64", 1);
	ASSERT_EQ(VM_EXITED, vm_run(witness, 10000)) vm_explain(witness);
	EXPECT_EQ(0, witness->result);
	vm_free(witness);
}

/* a page that says nonsense when RUN starts: refused, and nothing has changed */
TEST(refused_input_changes_nothing)
{
	static struct vmm_state before, after;
	struct vm *vm = vm_guest("long64", 1);
	struct vmm_run *run = vm->vcpu[0].run;

	ASSERT_EQ(0, vcpu_get(&vm->vcpu[0], VMM_STATE_REGS | VMM_STATE_SREGS |
			      VMM_STATE_EVENTS, &before));
	run->regs = before.regs;
	run->sregs = before.sregs;
	run->events = before.events;
	run->regs.rip = 0x1234;
	run->regs.gpr[VMM_RAX] = 0x1234;
	run->sregs.cr0 = 0x80000000;	/* PG without PE */
	run->set = VMM_STATE_REGS | VMM_STATE_SREGS;
	EXPECT_EQ(-EINVAL, vcpu_run(&vm->vcpu[0]));
	run->sregs = before.sregs;
	run->events.run_state = 77;
	run->set = VMM_STATE_REGS | VMM_STATE_SREGS | VMM_STATE_EVENTS;
	EXPECT_EQ(-EINVAL, vcpu_run(&vm->vcpu[0]));
	run->set = 0;
	ASSERT_EQ(0, vcpu_get(&vm->vcpu[0], VMM_STATE_REGS | VMM_STATE_SREGS |
			      VMM_STATE_EVENTS, &after));
	EXPECT_EQ(0, memcmp(&before.regs, &after.regs, sizeof(before.regs)));
	EXPECT_EQ(0, memcmp(&before.sregs, &after.sregs, sizeof(before.sregs)));
	EXPECT_EQ(0, memcmp(&before.events, &after.events, sizeof(before.events)));
	ASSERT_EQ(VM_EXITED, vm_run(vm, 10000)) vm_explain(vm);
	vm_free(vm);
}

TEST_HARNESS_MAIN
