// SPDX-License-Identifier: GPL-2.0
/*
 * Descriptors and threads that come and go: close, dup, fork, exec and SIGKILL
 * in every state, signals and kicks against RUN. What is left behind shows in
 * the module's reference count.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "kselftest_harness.h"
#include "vm.h"

#define PAGE	4096
#define KILLS	12

static int references(void)
{
	FILE *f = fopen("/sys/module/vmm/refcnt", "r");
	int n = -1;

	if (!f || fscanf(f, "%d", &n) != 1)
		vm_die("cannot read /sys/module/vmm/refcnt");
	fclose(f);
	return n;
}

/* a closed descriptor's last work may be done a little later: bounded wait */
static int references_settle(int wanted)
{
	u64 end = vm_now_ms() + 10000;

	while (references() != wanted && vm_now_ms() < end)
		usleep(1000);
	return references();
}

FIXTURE(lifetime) {
	int before;
};

FIXTURE_SETUP(lifetime)
{
	self->before = references();
}

FIXTURE_TEARDOWN(lifetime)
{
	EXPECT_EQ(self->before, references_settle(self->before));
}

/* ---- order of closing ----------------------------------------------------------- */

TEST_F(lifetime, vm_closed_before_vcpu)
{
	struct vm *vm = vm_guest("letter", 1);

	close(vm->fd);
	close(vm->dev);
	vm->fd = vm->dev = -1;
	ASSERT_EQ(VM_EXITED, vcpu_loop(&vm->vcpu[0]));
	EXPECT_STREQ("V", vm->testdev.console);
	vm_free(vm);
}

TEST_F(lifetime, memory_unmapped_before_vm)
{
	struct vm *vm = vm_guest("dirty", 1);

	vm_arg(vm, 0, 512);
	vm_arg(vm, 1, 10);
	vm_arg(vm, 2, 2);
	vm_arg(vm, 3, 1);
	ASSERT_EQ(VM_EXITED, vcpu_loop(&vm->vcpu[0]));
	munmap(vm->ram, vm->ram_size + 2 * PAGE);
	/* the guest runs on into what is not there any more */
	vcpu_complete(&vm->vcpu[0]);
	ASSERT_EQ(0, vcpu_run(&vm->vcpu[0]));
	EXPECT_EQ(VMM_EXIT_FAULT, vm->vcpu[0].run->reason);
	close(vm->vcpu[0].fd);
	close(vm->fd);
	close(vm->dev);
	munmap(vm->vcpu[0].run, PAGE);
}

TEST_F(lifetime, vcpu_closed_and_its_id_stays_taken)
{
	struct vm *vm = vm_guest("letter", 2);

	close(vm->vcpu[1].fd);
	EXPECT_EQ(-EEXIST, vm_ioctl_n(vm->fd, VMM_CREATE_VCPU, 1));
	vm->vcpu[1].fd = -1;
	ASSERT_EQ(VM_EXITED, vcpu_loop(&vm->vcpu[0]));
	vm_free(vm);
}

TEST_F(lifetime, run_page_outlives_the_vm)
{
	struct vm *vm = vm_guest("letter", 1);
	struct vmm_run *run = vm->vcpu[0].run;

	ASSERT_EQ(VM_EXITED, vcpu_loop(&vm->vcpu[0]));
	close(vm->vcpu[0].fd);
	close(vm->fd);
	close(vm->dev);
	/* a mapping holds what it maps */
	EXPECT_LT(self->before, references());
	memset(run, 0x5a, PAGE);
	EXPECT_EQ(0x5a5a5a5a, run->reason);
	munmap(run, PAGE);
}

TEST_F(lifetime, dup_keeps_it)
{
	struct vm *vm = vm_guest("letter", 1);
	int fd = dup(vm->vcpu[0].fd);

	ASSERT_LE(0, fd);
	close(vm->vcpu[0].fd);
	vm->vcpu[0].fd = fd;
	ASSERT_EQ(VM_EXITED, vcpu_loop(&vm->vcpu[0]));
	vm_free(vm);
}

TEST_F(lifetime, create_and_close_in_a_loop)
{
	struct vm *vm;
	int i, dev = vm_open();

	for (i = 0; i < 300; i++)
		ASSERT_EQ(0, close(vm_ioctl_n(dev, VMM_CREATE_VM, 0)));
	close(dev);
	for (i = 0; i < 30; i++) {
		vm = vm_guest("letter", 4);
		vm_free(vm);
	}
}

/* ---- fork, exec -------------------------------------------------------------------- */

TEST_F(lifetime, child_keeps_the_descriptors_open)
{
	struct vm *vm = vm_guest("letter", 1);
	int go[2], status;
	pid_t pid;
	char c;

	ASSERT_EQ(0, pipe(go));
	pid = fork();
	ASSERT_LE(0, pid);
	if (!pid) {
		/* the parent's VM has no last close until this one ends */
		close(go[1]);
		_exit(read(go[0], &c, 1) == 1 ? 0 : 1);
	}
	vm_free(vm);
	EXPECT_LT(self->before, references());
	ASSERT_EQ(1, write(go[1], "x", 1));
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_EQ(0, status);
	EXPECT_EQ(self->before, references_settle(self->before));
}

TEST_F(lifetime, exec_closes)
{
	struct vm *vm = vm_guest("letter", 1);
	char script[200];
	int status;
	pid_t pid;

	snprintf(script, sizeof(script),
		 "test ! -e /proc/self/fd/%d -a ! -e /proc/self/fd/%d -a ! -e /proc/self/fd/%d",
		 vm->dev, vm->fd, vm->vcpu[0].fd);
	pid = fork();
	ASSERT_LE(0, pid);
	if (!pid) {
		execl("/bin/sh", "sh", "-c", script, NULL);
		_exit(99);
	}
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_EQ(0, status);
	vm_free(vm);
}

/* ---- SIGKILL in every state ---------------------------------------------------------- */


static void say_ready(int fd)
{
	if (write(fd, "r", 1) != 1)
		_exit(1);
}

static enum vm_verdict say_when_asked(struct vcpu *v)
{
	int *fd = v->vm->priv;

	if (v->run->reason == VMM_EXIT_IO && v->run->exit.io.port == PORT_ASK)
		say_ready(*fd);
	return VM_HANDLE;
}

static enum vm_verdict say_at_first_exit(struct vcpu *v)
{
	int *fd = v->vm->priv;

	if (*fd >= 0)
		say_ready(*fd);
	*fd = -1;
	return VM_HANDLE;
}

static void child_fresh(int fd)
{
	vm_create(VM_RAM);
	say_ready(fd);
	pause();
}

static void child_vcpus(int fd)
{
	vm_guest("letter", 4);
	say_ready(fd);
	pause();
}

static void child_spins(int fd)
{
	struct vm *vm = vm_guest("spin", 2);

	vm->priv = &fd;
	vm->on_exit = say_when_asked;
	vm_run(vm, 1000000);
}

static void child_halts(int fd)
{
	struct vm *vm = vm_guest("hltpingpong", 2);

	vm->priv = &fd;
	vm->on_exit = say_at_first_exit;
	vm_arg(vm, 1, ~0u);
	vm_run(vm, 1000000);
}

static void child_at_exit(int fd)
{
	struct vm *vm = vm_guest("ports64", 1);

	vcpu_run(&vm->vcpu[0]);
	say_ready(fd);
	pause();
}

static void child_faults(int fd)
{
	struct vm *vm = vm_guest("dirty", 1);

	vm->priv = &fd;
	vm->on_exit = say_when_asked;
	vm_arg(vm, 0, 512);
	vm_arg(vm, 1, 3000);
	vm_arg(vm, 2, ~0u);
	vm_arg(vm, 3, 1);
	vm_run(vm, 1000000);
}

static void child_rebuilds(int fd)
{
	struct vm *vm = vm_guest("letter", 2);

	say_ready(fd);
	for (;;)
		vm_roundtrip(vm, NULL);
}

FIXTURE(killed) {
	int before;
};

FIXTURE_VARIANT(killed) {
	void (*child)(int ready);
};

FIXTURE_VARIANT_ADD(killed, fresh) { child_fresh };
FIXTURE_VARIANT_ADD(killed, vcpus) { child_vcpus };
FIXTURE_VARIANT_ADD(killed, spins) { child_spins };
FIXTURE_VARIANT_ADD(killed, halts) { child_halts };
FIXTURE_VARIANT_ADD(killed, at_exit) { child_at_exit };
FIXTURE_VARIANT_ADD(killed, faults) { child_faults };
FIXTURE_VARIANT_ADD(killed, rebuilds) { child_rebuilds };

FIXTURE_SETUP(killed)
{
	self->before = references();
}

FIXTURE_TEARDOWN(killed)
{
}

TEST_F_TIMEOUT(killed, leaves_nothing, 60)
{
	int ready[2], status, i;
	pid_t pid;
	char c;

	for (i = 0; i < KILLS; i++) {
		ASSERT_EQ(0, pipe(ready));
		pid = fork();
		ASSERT_LE(0, pid);
		if (!pid) {
			variant->child(ready[1]);
			_exit(1);
		}
		ASSERT_EQ(1, read(ready[0], &c, 1));
		/* at another moment each time */
		usleep(i * 700);
		ASSERT_EQ(0, kill(pid, SIGKILL));
		ASSERT_EQ(pid, waitpid(pid, &status, 0));
		ASSERT_TRUE(WIFSIGNALED(status));
		close(ready[0]);
		close(ready[1]);
	}
	EXPECT_EQ(self->before, references_settle(self->before));
}

/* ---- threads, signals, kicks ------------------------------------------------------------ */

struct runner {
	pthread_t thread;
	struct vcpu *v;
	int result;
	volatile bool done;
};

static void *run_once(void *arg)
{
	struct runner *r = arg;

	r->result = vm_ioctl_n(r->v->fd, VMM_RUN, 0);
	r->done = true;
	return NULL;
}

static void start_runner(struct runner *r, struct vcpu *v)
{
	memset(r, 0, sizeof(*r));
	r->v = v;
	if (pthread_create(&r->thread, NULL, run_once, r))
		vm_die("no thread");
}

/* spinning from here on: past its only port exit */
static struct vm *spinning(void)
{
	struct vm *vm = vm_guest("spin", 1);
	struct vcpu *v = &vm->vcpu[0];

	if (vcpu_run(v) || v->run->reason != VMM_EXIT_IO)
		vm_die("spin did not ask");
	vcpu_handle(v);
	return vm;
}

static void on_signal(int sig)
{
	(void)sig;
}

static u64 guest_rip(struct vcpu *v)
{
	static struct vmm_state st;

	if (vcpu_get(v, VMM_STATE_REGS, &st))
		vm_die("VMM_GET_STATE failed");
	return st.regs.rip;
}

TEST_F(lifetime, signal_gives_eintr)
{
	struct sigaction sa = { .sa_handler = on_signal };
	struct vm *vm = spinning();
	struct runner r;
	int i;

	ASSERT_EQ(0, sigaction(SIGUSR1, &sa, NULL));
	for (i = 0; i < 20; i++) {
		start_runner(&r, &vm->vcpu[0]);
		/* one that comes before RUN is no use: until it has ended */
		while (!r.done) {
			pthread_kill(r.thread, SIGUSR1);
			usleep(1000);
		}
		pthread_join(r.thread, NULL);
		ASSERT_EQ(-EINTR, r.result);
	}
	EXPECT_LE(GUEST_IMAGE, guest_rip(&vm->vcpu[0]));
	vm_free(vm);
}

TEST_F(lifetime, kick_stops_what_never_exits)
{
	struct vm *vm = spinning();
	struct runner r;
	int i;

	for (i = 0; i < 50; i++) {
		start_runner(&r, &vm->vcpu[0]);
		usleep(i % 5 * 500);
		/* one is enough: it latches */
		ASSERT_EQ(0, vm_ioctl_n(vm->vcpu[0].fd, VMM_KICK, 0));
		pthread_join(r.thread, NULL);
		ASSERT_EQ(0, r.result);
		ASSERT_EQ(VMM_EXIT_KICK, vm->vcpu[0].run->reason);
	}
	vm_free(vm);
}

/* the second RUN waits its turn: each kick ends one of them */
TEST_F(lifetime, two_threads_take_turns)
{
	struct vm *vm = spinning();
	struct vcpu *v = &vm->vcpu[0];
	struct runner a, b;

	start_runner(&a, v);
	start_runner(&b, v);
	while (!a.done && !b.done) {
		ASSERT_EQ(0, vm_ioctl_n(v->fd, VMM_KICK, 0));
		usleep(2000);
	}
	while (!a.done || !b.done) {
		ASSERT_EQ(0, vm_ioctl_n(v->fd, VMM_KICK, 0));
		usleep(2000);
	}
	pthread_join(a.thread, NULL);
	pthread_join(b.thread, NULL);
	EXPECT_EQ(0, a.result);
	EXPECT_EQ(0, b.result);
	vm_free(vm);
}

/* RUN goes on from another thread than before */
static void *loop_thread(void *arg)
{
	return (void *)(uintptr_t)vcpu_loop(arg);
}

TEST_F(lifetime, run_moves_between_threads)
{
	struct vm *vm = vm_guest("long64", 1);
	pthread_t t;
	void *end;
	int i;

	for (i = 0; i < 5; i++) {
		struct runner r;

		start_runner(&r, &vm->vcpu[0]);
		pthread_join(r.thread, NULL);
		ASSERT_EQ(0, r.result);
		ASSERT_EQ(VM_NONE, vcpu_handle(&vm->vcpu[0]));
	}
	ASSERT_EQ(0, pthread_create(&t, NULL, loop_thread, &vm->vcpu[0]));
	pthread_join(t, &end);
	EXPECT_EQ(VM_EXITED, (uintptr_t)end);
	EXPECT_EQ(0, vm->result);
	vm_free(vm);
}

/* closing from another thread while RUN is in progress: RUN keeps its file */
TEST_F(lifetime, close_during_run)
{
	struct vm *vm = spinning();
	int spare = dup(vm->vcpu[0].fd);
	struct runner r;

	start_runner(&r, &vm->vcpu[0]);
	usleep(5000);
	close(vm->vcpu[0].fd);
	close(vm->fd);
	ASSERT_EQ(0, vm_ioctl_n(spare, VMM_KICK, 0));
	/* the thread may have been late, and found its descriptor closed */
	pthread_join(r.thread, NULL);
	EXPECT_TRUE(r.result == 0 || r.result == -EBADF);
	close(spare);
	close(vm->dev);
	munmap(vm->vcpu[0].run, PAGE);
}

TEST_HARNESS_MAIN
