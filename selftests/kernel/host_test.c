// SPDX-License-Identifier: GPL-2.0
/*
 * The host changes under a running guest: CPUs go and come back, the clock is
 * set, the process is stopped and continued. Two vCPUs wake each other out of
 * HLT meanwhile, so that anything lost shows as a standstill.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "vm.h"
#include "kselftest_harness.h"

/* the harness's own limit, above ours */
#define TEST_LIMIT	120
FIXTURE(host) {
};

FIXTURE_SETUP(host)
{
}

FIXTURE_TEARDOWN(host)
{
}


#define ROUNDS		4000
#define TIMEOUT_MS	100000
#define CPU1		"/sys/devices/system/cpu/cpu1/online"

struct hazard {
	void (*once)(struct hazard *h, unsigned int n);
	unsigned int times;		/* how often it was done */
	volatile bool stop;
	int error;			/* the first errno */
};

static void *hazard_thread(void *arg)
{
	struct hazard *h = arg;

	while (!h->stop && !h->error) {
		h->once(h, h->times++);
		usleep(2000);
	}
	return NULL;
}

/* 0 when the guest played to its end; vm_explain has told if not */
static int play(unsigned int rounds)
{
	struct vm *vm = vm_guest("hltpingpong", 2);
	int r = 1;

	vm_arg(vm, 0, 1);
	vm_arg(vm, 1, rounds);
	if (vm_run(vm, TIMEOUT_MS) == VM_EXITED && vm->result == 0)
		r = 0;
	else
		vm_explain(vm);
	vm_free(vm);
	return r;
}

static int play_under(struct hazard *h)
{
	pthread_t t;
	int r;

	if (pthread_create(&t, NULL, hazard_thread, h))
		vm_die("no thread for the hazard");
	r = play(ROUNDS);
	h->stop = true;
	pthread_join(t, NULL);
	return r;
}

static void cpu1_set(struct hazard *h, const char *value)
{
	int fd = open(CPU1, O_WRONLY | O_CLOEXEC);

	if (fd < 0 || write(fd, value, 1) != 1)
		h->error = errno;
	if (fd >= 0)
		close(fd);
}

static void toggle_cpu(struct hazard *h, unsigned int n)
{
	cpu1_set(h, n & 1 ? "1" : "0");
}

TEST_F_TIMEOUT(host, guest_without_hazards, TEST_LIMIT)
{
	EXPECT_EQ(0, play(ROUNDS));
}

TEST_F_TIMEOUT(host, host_cpu_offline_and_online, TEST_LIMIT)
{
	struct hazard h = { .once = toggle_cpu };

	if (access(CPU1, W_OK))
		SKIP(return, "the host has no second CPU that can go offline");
	EXPECT_EQ(0, play_under(&h));
	if (h.times & 1)
		cpu1_set(&h, "1");
	EXPECT_EQ(0, h.error);
	EXPECT_LT(2, h.times);
}

static void jump_clock(struct hazard *h, unsigned int n)
{
	struct timespec t;

	clock_gettime(CLOCK_REALTIME, &t);
	t.tv_sec += n & 1 ? 3600 : -3600;
	if (clock_settime(CLOCK_REALTIME, &t))
		h->error = errno;
}

TEST_F_TIMEOUT(host, host_clock_back_and_forth, TEST_LIMIT)
{
	struct hazard h = { .once = jump_clock };

	EXPECT_EQ(0, play_under(&h));
	if (h.times & 1)
		jump_clock(&h, 1);
	EXPECT_EQ(0, h.error);
	EXPECT_LT(2, h.times);
}

TEST_F_TIMEOUT(host, process_stopped_and_continued, TEST_LIMIT)
{
	pid_t child = fork();
	unsigned int times = 0;
	int status;

	ASSERT_LE(0, child);
	if (!child)
		_exit(play(ROUNDS));
	while (!waitpid(child, &status, WNOHANG)) {
		kill(child, SIGSTOP);
		usleep(1000);
		kill(child, SIGCONT);
		usleep(5000);
		times++;
	}
	EXPECT_TRUE(WIFEXITED(status));
	EXPECT_EQ(0, WEXITSTATUS(status));
	EXPECT_LT(2, times);
}

TEST_HARNESS_MAIN
