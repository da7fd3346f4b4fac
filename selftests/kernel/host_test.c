// SPDX-License-Identifier: GPL-2.0
/*
 * The host changes under a running guest: CPUs go and come back, the clock is
 * set, NMIs rain, the process is stopped and continued, its memory is limited.
 */
#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/klog.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "hazard.h"
#include "kselftest_harness.h"

/* the harness's own limit, above ours */
#define TEST_LIMIT	120
#define PAUSE_US	2000
#define TOGGLES		50		/* of a CPU, each way counted */
#define CPU1		"/sys/devices/system/cpu/cpu1/online"

FIXTURE(host) {
};

FIXTURE_VARIANT(host) {
	const struct game *game;
};

FIXTURE_VARIANT_ADD(host, ping) {
	.game = &game_ping,
};

FIXTURE_VARIANT_ADD(host, timers) {
	.game = &game_timers,
};

FIXTURE_VARIANT_ADD(host, steady) {
	.game = &game_steady,
};

FIXTURE_SETUP(host)
{
}

FIXTURE_TEARDOWN(host)
{
}

TEST_F_TIMEOUT(host, guest_without_hazards, TEST_LIMIT)
{
	EXPECT_EQ(0, play(variant->game));
}

static void toggle_cpu(struct hazard *h, unsigned int n)
{
	kernel_write(h, CPU1, n & 1 ? "1" : "0");
}

TEST_F_TIMEOUT(host, cpu_offline_and_online, TEST_LIMIT)
{
	struct hazard h = { .once = toggle_cpu, .pause_us = PAUSE_US, .enough = TOGGLES };

	if (access(CPU1, W_OK))
		SKIP(return, "the host has no second CPU that can go offline");
	EXPECT_EQ(0, play_under(variant->game, &h));
	if (h.times & 1)
		kernel_write(&h, CPU1, "1");
	EXPECT_EQ(0, h.error);
	EXPECT_LE(TOGGLES, h.times);
	TH_LOG("%u times", h.times);
}

static void jump_clock(struct hazard *h, unsigned int n)
{
	struct timespec t;

	clock_gettime(CLOCK_REALTIME, &t);
	t.tv_sec += n & 1 ? 3600 : -3600;
	if (clock_settime(CLOCK_REALTIME, &t))
		h->error = errno;
}

TEST_F_TIMEOUT(host, clock_back_and_forth, TEST_LIMIT)
{
	struct hazard h = { .once = jump_clock, .pause_us = PAUSE_US };

	EXPECT_EQ(0, play_under(variant->game, &h));
	if (h.times & 1)
		jump_clock(&h, 1);
	EXPECT_EQ(0, h.error);
	EXPECT_LT(2, h.times);
}

/* All other CPUs say by NMI where they are, into the log. */
static void nmi_everywhere(struct hazard *h, unsigned int n)
{
	kernel_write(h, "/proc/sysrq-trigger", "l");
}

TEST_F_TIMEOUT(host, nmi_storm, TEST_LIMIT)
{
	struct hazard h = { .once = nmi_everywhere, .pause_us = PAUSE_US };

	if (sysconf(_SC_NPROCESSORS_ONLN) < 2)
		SKIP(return, "there is no other CPU to send NMIs to");
	/* thousands of lines: not to the serial line */
	ASSERT_LE(0, klogctl(6, NULL, 0));
	EXPECT_EQ(0, play_under(variant->game, &h));
	ASSERT_LE(0, klogctl(7, NULL, 0));
	EXPECT_EQ(0, h.error);
	EXPECT_LT(10, h.times);
}

TEST_F_TIMEOUT(host, process_stopped_and_continued, TEST_LIMIT)
{
	pid_t child = fork();
	unsigned int times = 0;
	int status;

	ASSERT_LE(0, child);
	if (!child)
		_exit(play(variant->game));
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

/* ---- a memory cgroup that is too small ---------------------------------------- */

#define CGROUPS		"/sys/fs/cgroup"
#define GROUP		CGROUPS "/vmm-host-test"
#define LIMIT		"8388608"
/* the guest writes all of this, in pages of 4 KiB */
#define FIRST_PAGE	(GUEST_FREE >> 12)
#define PAGES		((VM_RAM - GUEST_FREE) >> 12)

static long group_value(const char *file, const char *key)
{
	char path[PATH_MAX], line[128], *value;
	long n = -1;
	FILE *f;

	snprintf(path, sizeof(path), GROUP "/%s", file);
	f = fopen(path, "re");
	while (f && n < 0 && fgets(line, sizeof(line), f)) {
		value = strchr(line, ' ');
		if (!key)
			n = atol(line);
		else if (value && !strncmp(line, key, value - line) && !key[value - line])
			n = atol(value);
	}
	if (f)
		fclose(f);
	return n;
}

/* Ends only by the killer: a VM whose guest wants more than there may be. */
static void outgrow_group(void)
{
	static const struct game writer = {
		.image = "dirty", .cpus = 1,
		.arg = { FIRST_PAGE, PAGES, 1u << 30, 3 }, .times = 1,
	};

	if (kernel_write(NULL, GROUP "/cgroup.procs", "0"))
		_exit(1);
	_exit(2 + play(&writer));
}

TEST(memory_limit)
{
	unsigned int i;
	pid_t child;
	int status;

	if (kernel_write(NULL, CGROUPS "/cgroup.subtree_control", "+memory"))
		SKIP(return, "there is no memory controller");
	ASSERT_EQ(0, mkdir(GROUP, 0755));
	ASSERT_EQ(0, kernel_write(NULL, GROUP "/memory.max", LIMIT));
	/* absent where the kernel cannot swap */
	kernel_write(NULL, GROUP "/memory.swap.max", "0");
	child = fork();
	ASSERT_LE(0, child);
	if (!child)
		outgrow_group();
	ASSERT_EQ(child, waitpid(child, &status, 0));
	EXPECT_TRUE(WIFSIGNALED(status));
	EXPECT_EQ(SIGKILL, WTERMSIG(status));
	EXPECT_EQ(1, group_value("memory.events", "oom_kill"));
	/* what was charged is given back */
	for (i = 0; i < 100 && group_value("memory.current", NULL) > 1 << 20; i++)
		usleep(100000);
	EXPECT_GE(1 << 20, group_value("memory.current", NULL));
	EXPECT_EQ(0, rmdir(GROUP));
	/* and there is room for others */
	EXPECT_EQ(0, play(&game_ping));
}

TEST_HARNESS_MAIN
