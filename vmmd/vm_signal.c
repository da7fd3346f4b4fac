// SPDX-License-Identifier: GPL-2.0
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "loop.h"
#include "vm.h"

#define NSEC	1000000000ULL

static void grace_over(void *owner)
{
	struct vm *vm = owner;

	if (vm->ending)
		return;
	fprintf(stderr, "vmmd: the guest did not power off within %u s of the power button: forced off\n",
		vm->grace);
	vm_end(vm, VM_EXIT_FORCED);
}

void vm_power_off(struct vm *vm, unsigned int grace, const char *who)
{
	if (vm->ending)
		return;
	if (!grace) {
		fprintf(stderr, "vmmd: %s: forced off\n", who);
		vm_end(vm, VM_EXIT_FORCED);
		return;
	}
	fprintf(stderr, "vmmd: %s: pressing the guest's power button, forcing it off in %u s\n",
		who, grace);
	vm->asked = true;
	vm->asked_at = loop_now();
	vm->grace = grace;
	loop_timer_arm(vm->grace_timer, loop_now() + grace * NSEC);
	machine_power_button(vm->machine);
	vm_resume(vm, VM_PAUSE_USER);
}

static void on_signal(void *owner, uint32_t events)
{
	struct signalfd_siginfo si;
	struct vm *vm = owner;
	char who[64];

	(void)events;
	if (read(vm->signal_fd, &si, sizeof(si)) != sizeof(si) || vm->ending)
		return;
	if (si.ssi_signo == SIGUSR1) {
		vm_report(vm);
		return;
	}
	/* timeout(1), for one, sends the same signal twice: that is one wish */
	if (vm->asked && loop_now() - vm->asked_at < NSEC)
		return;
	snprintf(who, sizeof(who), "signal %u (%s)", si.ssi_signo,
		 strsignal(si.ssi_signo));
	vm_power_off(vm, vm->asked ? 0 : vm->opt->grace, who);
}

int vm_signal_init(struct vm *vm)
{
	sigset_t set;
	int ret;

	/* a reader of our console or pipe that goes away is no reason to die */
	signal(SIGPIPE, SIG_IGN);
	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGHUP);
	sigaddset(&set, SIGUSR1);
	ret = pthread_sigmask(SIG_BLOCK, &set, NULL);
	if (ret)
		return -ret;
	vm->signal_fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	if (vm->signal_fd < 0)
		return -errno;
	vm->grace_timer = loop_timer_new(vm->loop, grace_over, vm);
	vm->signal_watch = loop_fd_add(vm->loop, vm->signal_fd, EPOLLIN,
				       on_signal, vm);
	return vm->grace_timer && vm->signal_watch ? 0 : -ENOMEM;
}

void vm_signal_free(struct vm *vm)
{
	loop_fd_remove(vm->signal_watch);
	loop_timer_free(vm->grace_timer);
	if (vm->signal_fd >= 0)
		close(vm->signal_fd);
}
