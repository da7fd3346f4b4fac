// SPDX-License-Identifier: GPL-2.0
/*
 * The host sleeps under a running guest, or goes down.
 *
 * /sys/power/pm_test stops a suspend at five depths and turns back: tasks frozen,
 * devices suspended, the platform asked, all CPUs but one offline, and that one
 * too. After the last comes the real one, which the RTC ends.
 *
 * Linked statically: from "devices" on, the lab in QEMU has no files but those in
 * memory, for 9p's virtio device does not survive being suspended.
 * selftests/e2e/sleep has it run there. And selftests/e2e/down.py calls, since
 * that ends the lab,
 *
 *	power_test down reboot|poweroff
 *	power_test down kexec|crash KERNEL INITRD COMMANDLINE
 *
 * with guests on all CPUs, whose VMM_RUN then tells the kernel's log what it got.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/kexec.h>
#include <linux/magic.h>
#include <linux/reboot.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statfs.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "hazard.h"
#include "kselftest_harness.h"

#define TEST_LIMIT	240
#define POWER		"/sys/power/"
#define DELAY		"/sys/module/suspend/parameters/pm_test_delay"
#define WAKE_ALARM	"/sys/class/rtc/rtc0/wakealarm"
#define DELAY_S		"1"
#define WAKE_S		"3"
#define SLEEPS		2
#define PAUSE_US	300000
/* how far clocks may be apart that go on together, emulator or not */
#define TOLERANCE_MS	500

static bool file_has(const char *path, const char *word)
{
	char line[4096] = "";
	FILE *f = fopen(path, "re");
	bool has = false;

	while (f && !has && fgets(line, sizeof(line), f))
		has = strstr(line, word);
	if (f)
		fclose(f);
	return has;
}

#define MAX_CPUS	8
#define MSR_VM_HSAVE_PA	0xc0010117

FIXTURE(suspend) {
	struct vm *idle;		/* never runs: has a TSC */
	u64 save_area[MAX_CPUS];
};

/*
 * Where VMRUN saves the host on each CPU. A CPU that was reset has forgotten it,
 * and the host would be saved at address 0. Nothing to remember without SVM.
 */
static void get_save_areas(struct vm *vm, u64 *area)
{
	int fd, i, n = sysconf(_SC_NPROCESSORS_ONLN);
	struct vmm_info info;
	char path[32];

	memset(area, 0, MAX_CPUS * sizeof(*area));
	if (vm_ioctl(vm->dev, VMM_GET_INFO, &info))
		vm_die("no VMM_GET_INFO");
	for (i = 0; info.vendor == VMM_VENDOR_SVM && i < n && i < MAX_CPUS; i++) {
		sprintf(path, "/dev/cpu/%d/msr", i);
		fd = open(path, O_RDONLY | O_CLOEXEC);
		if (fd < 0 || pread(fd, &area[i], 8, MSR_VM_HSAVE_PA) != 8)
			vm_die("%s: %s; try modprobe msr", path, strerror(errno));
		if (!area[i])
			vm_die("CPU %d has no save area for the host", i);
		close(fd);
	}
}

FIXTURE_VARIANT(suspend) {
	const char *state;		/* freeze: to idle; mem: to RAM */
	const char *depth;		/* NULL: all the way */
};

#define DEPTH(name, how, where)						\
	FIXTURE_VARIANT_ADD(suspend, name) {				\
		.state = how, .depth = where,				\
	}

DEPTH(to_idle_freezer, "freeze", "freezer");
DEPTH(to_idle_platform, "freeze", "platform");
DEPTH(to_ram_freezer, "mem", "freezer");
DEPTH(to_ram_devices, "mem", "devices");
DEPTH(to_ram_platform, "mem", "platform");
DEPTH(to_ram_processors, "mem", "processors");
DEPTH(to_ram_core, "mem", "core");
DEPTH(to_ram, "mem", NULL);
DEPTH(to_disk_core, "disk", "core");

FIXTURE_SETUP(suspend)
{
	self->idle = vm_create(VM_RAM);
	vm_add_vcpu(self->idle);
	get_save_areas(self->idle, self->save_area);
}

FIXTURE_TEARDOWN(suspend)
{
	vm_free(self->idle);
}

/* sentence why this cannot be tried here, or NULL */
static const char *obstacle(const FIXTURE_VARIANT(suspend) *variant)
{
	struct statfs fs;

	if (!file_has(POWER "state", variant->state))
		return "the kernel has no such state";
	if (!strcmp(variant->state, "mem") && !file_has(POWER "mem_sleep", "deep"))
		return "the machine has no suspend to RAM";
	if (variant->depth && access(POWER "pm_test", W_OK))
		return "the kernel has no pm_test";
	if (!variant->depth && access(WAKE_ALARM, W_OK))
		return "nothing would wake the machine";
	if (variant->depth && !strcmp(variant->depth, "freezer"))
		return NULL;
	if (file_has("/proc/filesystems", "\t9p\n") &&
	    (statfs("/proc/self/exe", &fs) || fs.f_type != TMPFS_MAGIC))
		return "files on 9p do not survive it";
	return NULL;
}

static u64 guest_ms(struct vm *vm)
{
	static struct vmm_state st;
	struct vmm_info info;
	struct vmm_msr *tsc;

	if (vm_ioctl(vm->dev, VMM_GET_INFO, &info) ||
	    vcpu_get(&vm->vcpu[0], VMM_STATE_MSRS, &st))
		vm_die("no VMM_GET_INFO, or no VMM_GET_STATE of the MSRs");
	tsc = vcpu_find_msr(&st, 0x10);
	if (!tsc)
		vm_die("the state has no TSC");
	return tsc->value / info.tsc_khz;
}

struct sleeper {
	struct hazard hazard;
	const char *state;
	bool alarm;
	struct vm *idle;
	s64 worst_ms;			/* that host's and guest's clocks were apart */
};

static void host_sleeps(struct hazard *h, unsigned int n)
{
	struct sleeper *s = (struct sleeper *)h;
	s64 host, guest;

	if (s->alarm && kernel_write(h, WAKE_ALARM, "+" WAKE_S))
		return;
	host = vm_now_ms();
	guest = guest_ms(s->idle);
	kernel_write(h, POWER "state", s->state);
	guest = guest_ms(s->idle) - guest;
	host = vm_now_ms() - host;
	if (llabs(guest - host) > llabs(s->worst_ms))
		s->worst_ms = guest - host;
}

/* The guest's clock stands still as long as CLOCK_MONOTONIC does. */
TEST_F_TIMEOUT(suspend, guests_go_on, TEST_LIMIT)
{
	const struct game *game[] = { &game_ping, &game_timers };
	const char *why = obstacle(variant);
	u64 area[MAX_CPUS];
	unsigned int i;

	if (why)
		SKIP(return, "%s", why);
	kernel_write(NULL, POWER "pm_test", variant->depth ? variant->depth : "none");
	kernel_write(NULL, POWER "mem_sleep", "deep");
	kernel_write(NULL, DELAY, DELAY_S);
	for (i = 0; i < 2; i++) {
		struct sleeper s = {
			.hazard = {
				.once = host_sleeps, .pause_us = PAUSE_US,
				.limit = SLEEPS,
			},
			.state = variant->state, .alarm = !variant->depth,
			.idle = self->idle,
		};

		EXPECT_EQ(0, play_under(game[i], &s.hazard));
		EXPECT_EQ(0, s.hazard.error);
		EXPECT_LE(1, s.hazard.times);
		EXPECT_GT(TOLERANCE_MS, llabs(s.worst_ms));
	}
	kernel_write(NULL, POWER "pm_test", "none");
	get_save_areas(self->idle, area);
	EXPECT_EQ(0, memcmp(area, self->save_area, sizeof(area)));
}

/* ---- down --------------------------------------------------------------------- */

/* spins until VMM_RUN fails; that goes to the kernel's log */
static void *spin(void *arg)
{
	struct vcpu *v = arg;
	char text[128];
	int r;

	do {
		r = vcpu_run(v);
		if (!r)
			vcpu_handle(v);
	} while (!r || r == -EINTR);
	snprintf(text, sizeof(text), "power_test: VMM_RUN: %s\n", strerror(-r));
	kernel_write(NULL, "/dev/kmsg", text);
	return NULL;
}

static void spin_everywhere(void)
{
	long n = sysconf(_SC_NPROCESSORS_ONLN);
	struct vm *vm;
	pthread_t t;

	while (n--) {
		vm = vm_guest("spin", 1);
		if (pthread_create(&t, NULL, spin, &vm->vcpu[0]))
			vm_die("no thread for a vCPU");
		/* it says so once, then says nothing more */
		while (!*(volatile unsigned int *)&vm->testdev.asks)
			usleep(10000);
	}
	sleep(1);
}

static int kexec_load(char **file, unsigned long flags)
{
	int kernel = open(file[0], O_RDONLY | O_CLOEXEC);
	int initrd = open(file[1], O_RDONLY | O_CLOEXEC);

	return syscall(SYS_kexec_file_load, kernel, initrd, strlen(file[2]) + 1, file[2],
		       flags);
}

static void down(int command)
{
	sync();
	syscall(SYS_reboot, LINUX_REBOOT_MAGIC1, LINUX_REBOOT_MAGIC2, command, NULL);
}

/* The first CPU: a kernel that follows a crash may not send that one an INIT. */
static void stay_on_first_cpu(void)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(0, &set);
	if (sched_setaffinity(0, sizeof(set), &set))
		vm_die("sched_setaffinity: %s", strerror(errno));
}

static int go_down(const char *how, char **file)
{
	bool crash = !strcmp(how, "crash"), kexec = !strcmp(how, "kexec");

	if ((crash || kexec) && kexec_load(file, crash ? KEXEC_FILE_ON_CRASH : 0))
		vm_die("kexec_file_load: %s", strerror(errno));
	spin_everywhere();
	stay_on_first_cpu();
	if (!strcmp(how, "reboot"))
		down(LINUX_REBOOT_CMD_RESTART);
	else if (!strcmp(how, "poweroff"))
		down(LINUX_REBOOT_CMD_POWER_OFF);
	else if (kexec)
		down(LINUX_REBOOT_CMD_KEXEC);
	else if (crash)
		kernel_write(NULL, "/proc/sysrq-trigger", "c");
	vm_die("the host does not go down by %s: %s", how, strerror(errno));
}

int main(int argc, char **argv)
{
	if (argc >= 3 && !strcmp(argv[1], "down"))
		return go_down(argv[2], argv + 3);
	return test_harness_run(argc, argv);
}
