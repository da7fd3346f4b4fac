// SPDX-License-Identifier: GPL-2.0
/*
 * MSIs from eventfds: routes, level-triggered ones, and eventfds that come, go
 * and are signalled meanwhile. The guest is a few bytes in real mode.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include "kselftest_harness.h"
#include "vm.h"

#define ADDRESS	0xfee00000
#define LEVEL	0xc000		/* level-triggered, asserted */
#define GSI	5
#define BOUND	1024		/* GSIs */
#define APIC_SVR 0x0f		/* indices of vmm_apic.regs */
#define APIC_ISR 0x10
#define APIC_IRR 0x20
#define HANDLER	0x9000

FIXTURE(irqfd) {
	struct vm *vm;
	struct vcpu *v;
	struct vmm_run *run;
	int efd, resample;
};

#define CODE(...)							\
	memcpy(self->vm->ram + GUEST_IMAGE, (const u8[]) { __VA_ARGS__ },	\
	       sizeof((const u8[]) { __VA_ARGS__ }))

#define NEXT_IO(p)							\
do {									\
	ASSERT_EQ(0, vcpu_exit(self->v));				\
	ASSERT_EQ(VMM_EXIT_IO, self->run->reason);			\
	ASSERT_EQ(p, self->run->exit.io.port);				\
} while (0)

static struct vmm_state st;

/*
 * The handler of vector n (0x40, 0x41): out n,al; then EOI, through FS, and
 * out n + 0x10,al; iret.
 */
static void install_handler(struct vm *vm, u8 n)
{
	const u16 at = HANDLER + (n & 0xf) * 0x40;
	const u8 code[] = {
		0xe6, n, 0x64, 0x66, 0x67, 0xc7, 0x05, 0xb0, 0x00, 0x00, 0x00,
		0, 0, 0, 0, 0xe6, n + 0x10, 0xcf,
	};

	vm->ram[n * 4] = at & 0xff;
	vm->ram[n * 4 + 1] = at >> 8;
	memcpy(vm->ram + at, code, sizeof(code));
}

/* ready for interrupts, in a loop that waits for them */
static void prepare(struct vm *vm)
{
	struct vcpu *v = &vm->vcpu[0];

	vcpu_start16(v, 0, GUEST_IMAGE);
	install_handler(vm, 0x40);
	install_handler(vm, 0x41);
	/* sti; l: nop; jmp l */
	memcpy(vm->ram + GUEST_IMAGE, (const u8[]) { 0xfb, 0x90, 0xeb, 0xfd }, 4);
	if (vcpu_get(v, VMM_STATE_APIC | VMM_STATE_SREGS | VMM_STATE_REGS, &st))
		vm_die("VMM_GET_STATE failed");
	st.apic.regs[APIC_SVR] = 0x1ff;
	st.sregs.seg[VMM_FS].base = 0xfee00000;
	st.regs.gpr[VMM_RSP] = 0x7000;
	if (vcpu_set(v, VMM_STATE_APIC | VMM_STATE_SREGS | VMM_STATE_REGS, &st))
		vm_die("VMM_SET_STATE failed");
}

FIXTURE_SETUP(irqfd)
{
	self->vm = vm_create(VM_RAM);
	self->v = vm_add_vcpu(self->vm);
	self->run = self->v->run;
	self->efd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	self->resample = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	prepare(self->vm);
}

FIXTURE_TEARDOWN(irqfd)
{
	close(self->efd);
	close(self->resample);
	vm_free(self->vm);
}

static void signal_fd(int efd)
{
	const u64 one = 1;

	if (write(efd, &one, sizeof(one)) != sizeof(one) && errno != EAGAIN)
		vm_die("cannot write to an eventfd");
}

static u64 rings(int efd)
{
	u64 count;

	return read(efd, &count, sizeof(count)) == sizeof(count) ? count : 0;
}

static int route(struct vm *vm, u32 gsi, u32 flags, u64 address, u32 data)
{
	struct vmm_route r = {
		.gsi = gsi, .flags = flags, .address = address, .data = data,
	};
	struct vmm_routes arg = { .count = 1, .routes = (uintptr_t)&r };

	return vm_ioctl(vm->fd, VMM_SET_ROUTES, &arg);
}

static int bind_irq(struct vm *vm, u32 gsi, u32 flags, int fd, int resample)
{
	struct vmm_irqfd arg = {
		.gsi = gsi, .flags = flags, .fd = fd, .resample_fd = resample,
	};

	return vm_ioctl(vm->fd, VMM_BIND_IRQ, &arg);
}

static int unbind_irq(struct vm *vm, u32 gsi)
{
	struct vmm_irqfd arg = { .gsi = gsi, .fd = -1, .resample_fd = -1 };

	return vm_ioctl(vm->fd, VMM_UNBIND_IRQ, &arg);
}

/* is the vector requested */
static bool requested(struct vcpu *v, u8 vector)
{
	if (vcpu_get(v, VMM_STATE_APIC, &st))
		vm_die("VMM_GET_STATE failed");
	return st.apic.regs[APIC_IRR + vector / 32] >> vector % 32 & 1;
}

static void forget_requests(struct vcpu *v)
{
	if (vcpu_get(v, VMM_STATE_APIC, &st))
		vm_die("VMM_GET_STATE failed");
	memset(&st.apic.regs[APIC_IRR], 0, 8 * sizeof(st.apic.regs[0]));
	if (vcpu_set(v, VMM_STATE_APIC, &st))
		vm_die("VMM_SET_STATE failed");
}

/* ---- messages --------------------------------------------------------------------- */

TEST_F(irqfd, signal_is_an_interrupt)
{
	ASSERT_EQ(0, route(self->vm, GSI, 0, ADDRESS, 0x40));
	ASSERT_EQ(0, bind_irq(self->vm, GSI, 0, self->efd, -1));
	EXPECT_FALSE(requested(self->v, 0x40));
	signal_fd(self->efd);
	/* on its way when the write returns, and taken from the eventfd */
	EXPECT_TRUE(requested(self->v, 0x40));
	EXPECT_EQ(0, rings(self->efd));
	NEXT_IO(0x40);
	vcpu_complete(self->v);
	NEXT_IO(0x50);
	signal_fd(self->efd);
	vcpu_complete(self->v);
	NEXT_IO(0x40);
}

static void *signal_soon(void *efd)
{
	usleep(50000);
	signal_fd(*(int *)efd);
	return NULL;
}

TEST_F(irqfd, signal_ends_hlt)
{
	pthread_t thread;

	/* sti; hlt; out 0x99,al */
	CODE(0xfb, 0xf4, 0xe6, 0x99);
	ASSERT_EQ(0, route(self->vm, GSI, 0, ADDRESS, 0x40));
	ASSERT_EQ(0, bind_irq(self->vm, GSI, 0, self->efd, -1));
	ASSERT_EQ(0, pthread_create(&thread, NULL, signal_soon, &self->efd));
	NEXT_IO(0x40);
	vcpu_complete(self->v);
	NEXT_IO(0x50);
	vcpu_complete(self->v);
	NEXT_IO(0x99);
	pthread_join(thread, NULL);
}

/* what was signalled before counts as well */
TEST_F(irqfd, signal_before_binding)
{
	signal_fd(self->efd);
	ASSERT_EQ(0, route(self->vm, GSI, 0, ADDRESS, 0x40));
	ASSERT_EQ(0, bind_irq(self->vm, GSI, 0, self->efd, -1));
	EXPECT_TRUE(requested(self->v, 0x40));
}

TEST_F(irqfd, route_changes_under_the_binding)
{
	ASSERT_EQ(0, bind_irq(self->vm, GSI, 0, self->efd, -1));
	signal_fd(self->efd);	/* goes nowhere */
	ASSERT_EQ(0, route(self->vm, GSI, 0, ADDRESS, 0x40));
	EXPECT_FALSE(requested(self->v, 0x40));
	signal_fd(self->efd);
	EXPECT_TRUE(requested(self->v, 0x40));
	ASSERT_EQ(0, route(self->vm, GSI, 0, ADDRESS, 0x41));
	EXPECT_FALSE(requested(self->v, 0x41));
	signal_fd(self->efd);
	EXPECT_TRUE(requested(self->v, 0x41));
	forget_requests(self->v);
	ASSERT_EQ(0, route(self->vm, GSI, VMM_ROUTE_NONE, 0, 0));
	signal_fd(self->efd);
	EXPECT_FALSE(requested(self->v, 0x40) || requested(self->v, 0x41));
}

TEST_F(irqfd, routes_change_together_or_not_at_all)
{
	struct vmm_route r[3] = {
		{ .gsi = 1, .address = ADDRESS, .data = 0x40 },
		{ .gsi = BOUND - 1, .address = ADDRESS, .data = 0x41 },
		{ .gsi = 2, .address = ADDRESS, .data = 0x42, .pad = 1 },
	};
	struct vmm_routes arg = { .count = 3, .routes = (uintptr_t)r };
	int other = eventfd(0, EFD_NONBLOCK);

	ASSERT_EQ(0, bind_irq(self->vm, 1, 0, self->efd, -1));
	ASSERT_EQ(0, bind_irq(self->vm, BOUND - 1, 0, other, -1));
	EXPECT_EQ(-EINVAL, vm_ioctl(self->vm->fd, VMM_SET_ROUTES, &arg));
	signal_fd(self->efd);
	EXPECT_FALSE(requested(self->v, 0x40));
	arg.count = 2;
	EXPECT_EQ(0, vm_ioctl(self->vm->fd, VMM_SET_ROUTES, &arg));
	signal_fd(self->efd);
	signal_fd(other);
	EXPECT_TRUE(requested(self->v, 0x40));
	EXPECT_TRUE(requested(self->v, 0x41));
	/* those not named stay */
	forget_requests(self->v);
	ASSERT_EQ(0, route(self->vm, 7, 0, ADDRESS, 0x43));
	signal_fd(other);
	EXPECT_TRUE(requested(self->v, 0x41));
	close(other);
}

/* one eventfd of two GSIs; one eventfd of a doorbell and a GSI */
TEST_F(irqfd, shared_eventfds)
{
	struct vmm_doorbell d = {
		.addr = 0x12, .flags = VMM_DOORBELL_PORT, .fd = self->efd,
	};

	ASSERT_EQ(0, route(self->vm, 1, 0, ADDRESS, 0x40));
	ASSERT_EQ(0, route(self->vm, 2, 0, ADDRESS, 0x41));
	ASSERT_EQ(0, bind_irq(self->vm, 1, 0, self->efd, -1));
	ASSERT_EQ(0, bind_irq(self->vm, 2, 0, self->efd, -1));
	signal_fd(self->efd);
	EXPECT_TRUE(requested(self->v, 0x40));
	EXPECT_TRUE(requested(self->v, 0x41));
	forget_requests(self->v);
	ASSERT_EQ(0, unbind_irq(self->vm, 2));
	ASSERT_EQ(0, vm_ioctl(self->vm->fd, VMM_BIND_DOORBELL, &d));
	/* the guest interrupts itself: sti; out 0x12,al; out 0x99,al */
	CODE(0xfb, 0x90, 0xe6, 0x12, 0xe6, 0x99);
	NEXT_IO(0x40);
	vcpu_complete(self->v);
	NEXT_IO(0x50);
	vcpu_complete(self->v);
	NEXT_IO(0x99);
}

/* ---- level-triggered ---------------------------------------------------------------- */

TEST_F(irqfd, eoi_signals_the_resampler)
{
	int other = eventfd(0, EFD_NONBLOCK);

	ASSERT_EQ(0, route(self->vm, GSI, 0, ADDRESS, LEVEL | 0x40));
	ASSERT_EQ(0, route(self->vm, GSI + 1, 0, ADDRESS, LEVEL | 0x41));
	ASSERT_EQ(0, bind_irq(self->vm, GSI, VMM_IRQ_RESAMPLE, self->efd, self->resample));
	ASSERT_EQ(0, bind_irq(self->vm, GSI + 1, VMM_IRQ_RESAMPLE, self->efd, other));
	ASSERT_EQ(0, unbind_irq(self->vm, GSI + 1));
	ASSERT_EQ(0, bind_irq(self->vm, GSI + 1, VMM_IRQ_RESAMPLE, other, other));
	signal_fd(self->efd);
	NEXT_IO(0x40);
	EXPECT_EQ(0, rings(self->resample));
	vcpu_complete(self->v);
	NEXT_IO(0x50);
	EXPECT_EQ(1, rings(self->resample));
	EXPECT_EQ(0, rings(other));
	/* still asserted: once more */
	signal_fd(self->efd);
	vcpu_complete(self->v);
	NEXT_IO(0x40);
	vcpu_complete(self->v);
	NEXT_IO(0x50);
	EXPECT_EQ(1, rings(self->resample));
	close(other);
}

/* the vector has pins of the monitor's as well */
TEST_F(irqfd, eoi_for_both)
{
	ASSERT_EQ(0, route(self->vm, GSI, VMM_ROUTE_EOI, ADDRESS, LEVEL | 0x40));
	ASSERT_EQ(0, bind_irq(self->vm, GSI, VMM_IRQ_RESAMPLE, self->efd, self->resample));
	signal_fd(self->efd);
	NEXT_IO(0x40);
	vcpu_complete(self->v);
	ASSERT_EQ(0, vcpu_exit(self->v));
	ASSERT_EQ(VMM_EXIT_EOI, self->run->reason);
	EXPECT_EQ(0x40, self->run->exit.eoi.vector);
	EXPECT_EQ(1, rings(self->resample));
	NEXT_IO(0x50);
}

TEST_F(irqfd, eoi_for_the_monitor)
{
	struct vmm_msi m = { .address = ADDRESS, .data = LEVEL | 0x41 };

	ASSERT_EQ(0, route(self->vm, GSI, 0, ADDRESS, LEVEL | 0x40));
	ASSERT_EQ(0, bind_irq(self->vm, GSI, VMM_IRQ_RESAMPLE, self->efd, self->resample));
	/* another vector */
	ASSERT_EQ(1, vm_ioctl(self->vm->fd, VMM_SEND_MSI, &m));
	NEXT_IO(0x41);
	vcpu_complete(self->v);
	ASSERT_EQ(0, vcpu_exit(self->v));
	ASSERT_EQ(VMM_EXIT_EOI, self->run->reason);
	NEXT_IO(0x51);
	/* unbound meanwhile */
	signal_fd(self->efd);
	vcpu_complete(self->v);
	NEXT_IO(0x40);
	ASSERT_EQ(0, unbind_irq(self->vm, GSI));
	vcpu_complete(self->v);
	ASSERT_EQ(0, vcpu_exit(self->v));
	ASSERT_EQ(VMM_EXIT_EOI, self->run->reason);
	EXPECT_EQ(0, rings(self->resample));
}

/* the eventfd that its own EOI signals: a guest that is never done, and no more */
TEST_F(irqfd, resampler_of_itself)
{
	unsigned int i;

	ASSERT_EQ(0, route(self->vm, GSI, 0, ADDRESS, LEVEL | 0x40));
	ASSERT_EQ(0, bind_irq(self->vm, GSI, VMM_IRQ_RESAMPLE, self->efd, self->efd));
	signal_fd(self->efd);
	for (i = 0; i < 5; i++) {
		NEXT_IO(0x40);
		vcpu_complete(self->v);
		NEXT_IO(0x50);
		vcpu_complete(self->v);
	}
}

/* ---- binding ------------------------------------------------------------------------ */

TEST_F(irqfd, bad_bindings)
{
	struct vmm_irqfd bad = { .gsi = GSI, .fd = self->efd, .resample_fd = -1 };
	int pipefd[2];

	ASSERT_EQ(0, pipe(pipefd));
	EXPECT_EQ(-EINVAL, bind_irq(self->vm, BOUND, 0, self->efd, -1));
	EXPECT_EQ(-EINVAL, bind_irq(self->vm, ~0u, 0, self->efd, -1));
	EXPECT_EQ(-EINVAL, bind_irq(self->vm, GSI, 2, self->efd, -1));
	EXPECT_EQ(-EINVAL, bind_irq(self->vm, GSI, 0, self->efd, self->resample));
	EXPECT_EQ(-EINVAL, bind_irq(self->vm, GSI, 0, pipefd[0], -1));
	EXPECT_EQ(-EINVAL, bind_irq(self->vm, GSI, 0, self->vm->fd, -1));
	EXPECT_EQ(-EBADF, bind_irq(self->vm, GSI, 0, -1, -1));
	EXPECT_EQ(-EBADF, bind_irq(self->vm, GSI, VMM_IRQ_RESAMPLE, self->efd, -1));
	EXPECT_EQ(-EINVAL, bind_irq(self->vm, GSI, VMM_IRQ_RESAMPLE, self->efd, pipefd[0]));
	EXPECT_EQ(-EFAULT, vm_ioctl(self->vm->fd, VMM_BIND_IRQ, (void *)8));
	EXPECT_EQ(-ENOENT, unbind_irq(self->vm, GSI));
	EXPECT_EQ(-EINVAL, unbind_irq(self->vm, BOUND));
	ASSERT_EQ(0, bind_irq(self->vm, GSI, 0, self->efd, -1));
	EXPECT_EQ(-EEXIST, bind_irq(self->vm, GSI, 0, self->efd, -1));
	EXPECT_EQ(-EEXIST, bind_irq(self->vm, GSI, VMM_IRQ_RESAMPLE, self->resample,
				    self->efd));
	EXPECT_EQ(-EINVAL, vm_ioctl(self->vm->fd, VMM_UNBIND_IRQ, &bad));
	EXPECT_EQ(0, unbind_irq(self->vm, GSI));
	EXPECT_EQ(-ENOENT, unbind_irq(self->vm, GSI));
	close(pipefd[0]);
	close(pipefd[1]);
}

TEST_F(irqfd, bad_routes)
{
	struct vmm_route r = { .address = ADDRESS, .data = 0x40 };
	struct vmm_routes arg = { .count = 1, .routes = (uintptr_t)&r };

	arg.pad = 1;
	EXPECT_EQ(-EINVAL, vm_ioctl(self->vm->fd, VMM_SET_ROUTES, &arg));
	arg.pad = 0;
	arg.count = 0;
	EXPECT_EQ(-EINVAL, vm_ioctl(self->vm->fd, VMM_SET_ROUTES, &arg));
	arg.count = BOUND + 1;
	EXPECT_EQ(-EINVAL, vm_ioctl(self->vm->fd, VMM_SET_ROUTES, &arg));
	arg.count = 1;
	arg.routes = 8;
	EXPECT_EQ(-EFAULT, vm_ioctl(self->vm->fd, VMM_SET_ROUTES, &arg));
	EXPECT_EQ(-EINVAL, route(self->vm, BOUND, 0, ADDRESS, 0x40));
	EXPECT_EQ(-EINVAL, route(self->vm, GSI, 4, ADDRESS, 0x40));
	EXPECT_EQ(-EINVAL, route(self->vm, GSI, VMM_ROUTE_NONE, ADDRESS, 0));
	EXPECT_EQ(-EINVAL, route(self->vm, GSI, VMM_ROUTE_NONE, 0, 1));
	EXPECT_EQ(-EINVAL, route(self->vm, GSI, VMM_ROUTE_NONE | VMM_ROUTE_EOI, 0, 0));
	EXPECT_EQ(-EINVAL, route(self->vm, GSI, 0, 0, 0x40));
	EXPECT_EQ(-EINVAL, route(self->vm, GSI, 0, ADDRESS | 1ull << 32, 0x40));
	EXPECT_EQ(-EINVAL, route(self->vm, GSI, 0, ADDRESS | 0x10, 0x40));
	EXPECT_EQ(-EINVAL, route(self->vm, GSI, 0, ADDRESS, 0x340));
	EXPECT_EQ(0, route(self->vm, GSI, 0, ADDRESS, 0x40));
}

TEST_F(irqfd, all_of_them)
{
	unsigned int i;

	for (i = 0; i < BOUND; i++)
		ASSERT_EQ(0, bind_irq(self->vm, i, 0, self->efd, -1));
	ASSERT_EQ(0, route(self->vm, BOUND - 1, 0, ADDRESS, 0x40));
	signal_fd(self->efd);
	EXPECT_TRUE(requested(self->v, 0x40));
}

TEST_F(irqfd, another_address_space_may_not)
{
	int status;
	pid_t pid = fork();

	ASSERT_GE(pid, 0);
	if (!pid)
		_exit(bind_irq(self->vm, GSI, 0, self->efd, -1) == -EIO &&
		      unbind_irq(self->vm, GSI) == -EIO &&
		      route(self->vm, GSI, 0, ADDRESS, 0x40) == -EIO ? 0 : 1);
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_EQ(0, status);
}

/* ---- life --------------------------------------------------------------------------- */

TEST_F(irqfd, closed_in_any_order)
{
	int fd = eventfd(0, 0), copy;
	struct vm *vm = vm_create(VM_RAM);

	/* all its descriptors are gone: nothing comes, and it can be unbound */
	ASSERT_EQ(0, route(self->vm, GSI, 0, ADDRESS, 0x40));
	ASSERT_EQ(0, bind_irq(self->vm, GSI, VMM_IRQ_RESAMPLE, fd, fd));
	copy = dup(fd);
	close(fd);
	signal_fd(copy);
	EXPECT_TRUE(requested(self->v, 0x40));
	close(copy);
	EXPECT_EQ(0, unbind_irq(self->vm, GSI));
	/* the VM goes first: a signal goes nowhere, and is there to be read */
	vm_add_vcpu(vm);
	prepare(vm);
	ASSERT_EQ(0, route(vm, GSI, 0, ADDRESS, 0x40));
	ASSERT_EQ(0, bind_irq(vm, GSI, VMM_IRQ_RESAMPLE, self->efd, self->resample));
	vm_free(vm);
	signal_fd(self->efd);
	EXPECT_EQ(1, rings(self->efd));
	/* one that stays bound while both go */
	ASSERT_EQ(0, bind_irq(self->vm, GSI, VMM_IRQ_RESAMPLE, self->efd, self->resample));
}

struct flood {
	int efd;
	bool stop;
};

static void *flooder(void *arg)
{
	struct flood *f = arg;

	while (!__atomic_load_n(&f->stop, __ATOMIC_RELAXED))
		signal_fd(f->efd);
	return NULL;
}

static void *changer(void *vm)
{
	unsigned int i;
	int r = 0;

	for (i = 0; i < 200 && !r; i++) {
		r = route(vm, GSI, 0, ADDRESS, 0x40 + (i & 1));
		if (!r)
			r = unbind_irq(vm, GSI);
		if (!r)
			r = bind_irq(vm, GSI, 0, ((struct vm *)vm)->memfd, -1) == -EINVAL ?
			    0 : -EPROTO;
		if (!r)
			r = bind_irq(vm, GSI, 0, *(int *)((struct vm *)vm)->priv, -1);
	}
	return (void *)(long)r;
}

/*
 * Signals without end while the binding and its route change: the guest takes its
 * interrupts, each with its EOI, and gets on.
 */
TEST_F_TIMEOUT(irqfd, changed_under_a_flood, 120)
{
	struct flood f = { .efd = self->efd };
	pthread_t flooding, changing;
	unsigned int taken = 0;
	void *r;

	self->vm->priv = &self->efd;
	ASSERT_EQ(0, route(self->vm, GSI, 0, ADDRESS, 0x40));
	ASSERT_EQ(0, bind_irq(self->vm, GSI, 0, self->efd, -1));
	ASSERT_EQ(0, pthread_create(&flooding, NULL, flooder, &f));
	ASSERT_EQ(0, pthread_create(&changing, NULL, changer, self->vm));
	while (taken < 500) {
		u16 port;

		ASSERT_EQ(0, vcpu_exit(self->v));
		ASSERT_EQ(VMM_EXIT_IO, self->run->reason);
		port = self->run->exit.io.port;
		ASSERT_TRUE(port == 0x40 || port == 0x41 || port == 0x50 || port == 0x51);
		taken += port < 0x50;
		vcpu_complete(self->v);
	}
	ASSERT_EQ(0, pthread_join(changing, &r));
	EXPECT_EQ(0, (long)r);
	/* unbound: from here on nothing is requested, though the flood goes on */
	ASSERT_EQ(0, unbind_irq(self->vm, GSI));
	forget_requests(self->v);
	usleep(20000);
	EXPECT_FALSE(requested(self->v, 0x40) || requested(self->v, 0x41));
	/* and a VM may go while it does */
	ASSERT_EQ(0, bind_irq(self->vm, GSI, 0, self->efd, -1));
	vm_free(self->vm);
	self->vm = vm_create(VM_RAM);
	f.stop = true;
	pthread_join(flooding, NULL);
}

/* killed in the middle of it all */
TEST_F_TIMEOUT(irqfd, killed_under_a_flood, 60)
{
	struct flood f = { .efd = self->efd };
	pthread_t flooding;
	unsigned int i;
	pid_t pid;

	ASSERT_EQ(0, pthread_create(&flooding, NULL, flooder, &f));
	for (i = 0; i < 5; i++) {
		pid = fork();
		ASSERT_GE(pid, 0);
		if (!pid) {
			struct vm *vm = vm_create(VM_RAM);

			vm_add_vcpu(vm);
			prepare(vm);
			if (route(vm, GSI, 0, ADDRESS, 0x40) ||
			    bind_irq(vm, GSI, 0, self->efd, -1))
				_exit(1);
			for (;;)
				if (!vcpu_exit(&vm->vcpu[0]))
					vcpu_complete(&vm->vcpu[0]);
		}
		usleep(30000);
		ASSERT_EQ(0, kill(pid, SIGKILL));
		ASSERT_EQ(pid, waitpid(pid, NULL, 0));
	}
	f.stop = true;
	pthread_join(flooding, NULL);
}

TEST_HARNESS_MAIN
