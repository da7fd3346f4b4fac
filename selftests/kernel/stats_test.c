// SPDX-License-Identifier: GPL-2.0
/*
 * Counters: a guest that makes known exits moves those that it should, by ioctl
 * and in debugfs; and reading them while VMs come and go hurts nobody.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "kselftest_harness.h"
#include "vm.h"

#define DEBUGFS		"/sys/kernel/debug"
#define ROOM		128

static struct vmm_stat list[ROOM];
static u32 list_count;

static int read_list(int fd, unsigned long request)
{
	struct vmm_stats s = { .count = ROOM, .stats = (u64)list };
	int r;

	memset(list, 0xee, sizeof(list));
	r = vm_ioctl(fd, request, &s);
	list_count = s.count;
	return r;
}

FIXTURE(stats) {
	struct vm *vm;
	struct vcpu *v;
	struct vmm_run *run;
};

FIXTURE_SETUP(stats)
{
	self->vm = vm_create(VM_RAM);
	self->v = vm_add_vcpu(self->vm);
	self->run = self->v->run;
	vcpu_start16(self->v, 0, GUEST_IMAGE);
}

FIXTURE_TEARDOWN(stats)
{
	if (self->vm)
		vm_free(self->vm);
}

#define CODE(...)							\
	memcpy(self->vm->ram + GUEST_IMAGE, (const u8[]) { __VA_ARGS__ },	\
	       sizeof((const u8[]) { __VA_ARGS__ }))

/* ---- what is counted --------------------------------------------------------- */

TEST_F(stats, known_exits)
{
	struct vcpu *v = self->v;

	/* 3 times cpuid; mov ecx,0x1b; rdmsr; in al,0x12; out 0x34,al; jmp . */
	CODE(0x0f, 0xa2, 0x0f, 0xa2, 0x0f, 0xa2, 0x66, 0xb9, 0x1b, 0, 0, 0, 0x0f, 0x32,
	     0xe4, 0x12, 0xe6, 0x34, 0xeb, 0xfe);
	ASSERT_EQ(0, vcpu_stat(v, "runs"));
	ASSERT_EQ(0, vcpu_stat(v, "exit_cpuid"));
	ASSERT_EQ(0, vcpu_exit(v));
	ASSERT_EQ(VMM_EXIT_IO, self->run->reason);
	EXPECT_EQ(3, vcpu_stat(v, "exit_cpuid"));
	EXPECT_EQ(1, vcpu_stat(v, "exit_msr"));
	EXPECT_EQ(1, vcpu_stat(v, "exit_io"));
	EXPECT_EQ(1, vcpu_stat(v, "user_exits"));
	EXPECT_LE(1, vcpu_stat(v, "runs"));
	/* at least the page of the code, which an exit told of */
	EXPECT_LE(1, vcpu_stat(v, "faults"));
	EXPECT_LE(vcpu_stat(v, "faults"), vcpu_stat(v, "exit_page_fault"));
	EXPECT_LE(2, vcpu_stat(v, "gear_changes"));
	vcpu_complete(v);
	ASSERT_EQ(0, vcpu_exit(v));
	EXPECT_EQ(3, vcpu_stat(v, "exit_cpuid"));
	EXPECT_EQ(2, vcpu_stat(v, "exit_io"));
	EXPECT_LE(2, vcpu_stat(v, "runs"));
	EXPECT_EQ(0, vcpu_stat(v, "exit_unknown"));
	EXPECT_EQ(0, vcpu_stat(v, "exit_entry_failed"));
}

TEST_F(stats, mmio_and_exception)
{
	struct vmm_inject in = { .type = VMM_EVENT_EXCEPTION, .vector = 3 };
	struct vcpu *v = self->v;

	/* IVT entry 3 to what stands at GUEST_IMAGE; out 0x12,al */
	((u16 *)self->vm->ram)[6] = GUEST_IMAGE;
	((u16 *)self->vm->ram)[7] = 0;
	CODE(0xe6, 0x12);
	ASSERT_EQ(0, vm_ioctl(v->fd, VMM_INJECT, &in));
	EXPECT_EQ(0, vcpu_stat(v, "exceptions"));
	ASSERT_EQ(0, vcpu_exit(v));
	ASSERT_EQ(VMM_EXIT_IO, self->run->reason);
	/* again if the delivery was cut short by a page that was not there yet */
	EXPECT_LE(1, vcpu_stat(v, "exceptions"));
	EXPECT_EQ(0, vcpu_stat(v, "interrupts"));
	EXPECT_EQ(0, vcpu_stat(v, "nmis"));
}

TEST_F(stats, interrupt)
{
	struct vcpu *v = self->v;

	vcpu_virtual_wire(v);
	/* IVT entry 0x30: out 0x12,al. Code: sti; jmp . */
	((u16 *)self->vm->ram)[0x60] = GUEST_IMAGE + 16;
	((u16 *)self->vm->ram)[0x61] = 0;
	CODE(0xfb, 0xeb, 0xfe);
	self->vm->ram[GUEST_IMAGE + 16] = 0xe6;
	self->vm->ram[GUEST_IMAGE + 17] = 0x12;
	self->run->flags = VMM_RUN_WINDOW;
	ASSERT_EQ(0, vcpu_exit(v));
	ASSERT_EQ(VMM_EXIT_WINDOW, self->run->reason);
	EXPECT_EQ(0, vcpu_stat(v, "interrupts"));
	self->run->flags = VMM_RUN_EXTINT;
	self->run->extint = 0x30;
	ASSERT_EQ(0, vcpu_exit(v));
	ASSERT_EQ(VMM_EXIT_IO, self->run->reason);
	EXPECT_LE(1, vcpu_stat(v, "interrupts"));
	EXPECT_EQ(0, vcpu_stat(v, "exceptions"));
}

TEST(ipis_and_halts)
{
	struct vm *vm = vm_guest("hltpingpong", 2);
	u64 sum;

	vm_arg(vm, 0, 1);
	vm_arg(vm, 1, 200);
	ASSERT_EQ(VM_EXITED, vm_run(vm, 20000)) vm_explain(vm);
	ASSERT_EQ(0, vm->result) vm_explain(vm);
	/* 200 there and back, and what starts the second CPU */
	EXPECT_LE(100, vcpu_stat(&vm->vcpu[0], "ipis"));
	EXPECT_LE(100, vcpu_stat(&vm->vcpu[1], "ipis"));
	EXPECT_LE(1, vcpu_stat(&vm->vcpu[1], "halts"));
	sum = vcpu_stat(&vm->vcpu[0], "ipis") + vcpu_stat(&vm->vcpu[1], "ipis");
	EXPECT_EQ(sum, vm_stat(vm, "ipis"));
	sum = vcpu_stat(&vm->vcpu[0], "exit_hlt") + vcpu_stat(&vm->vcpu[1], "exit_hlt");
	EXPECT_EQ(sum, vm_stat(vm, "exit_hlt"));
	EXPECT_LE(1, sum);
	EXPECT_EQ(2, vm_stat(vm, "vcpus"));
	EXPECT_LE(4, vm_stat(vm, "page_table_pages"));
	vm_free(vm);
}

struct spinner {
	struct vcpu *v;
	int r;
};

static void *spin(void *arg)
{
	struct spinner *s = arg;

	s->r = vcpu_exit(s->v);
	return NULL;
}

/* they can be read from another thread while the vCPU is in RUN */
TEST_F_TIMEOUT(stats, kick_while_running, 20)
{
	struct spinner run = { .v = self->v };
	pthread_t t;

	/*
	 * sti; 1: cpuid; jmp 1b. With IF clear an emulated VT-x masks the host's
	 * interrupts for as long as one exit follows the other.
	 */
	CODE(0xfb, 0x0f, 0xa2, 0xeb, 0xfc);
	ASSERT_EQ(0, pthread_create(&t, NULL, spin, &run));
	while (vcpu_stat(self->v, "exit_cpuid") < 1000)
		;
	EXPECT_LE(1, vcpu_stat(self->v, "runs"));
	EXPECT_EQ(0, vcpu_stat(self->v, "user_exits"));
	ASSERT_EQ(0, vm_ioctl_n(self->v->fd, VMM_KICK, 0));
	pthread_join(t, NULL);
	EXPECT_EQ(0, run.r);
	EXPECT_EQ(1, vcpu_stat(self->v, "user_exits"));
	EXPECT_LE(vcpu_stat(self->v, "kicks"), 1);
}

TEST_F(stats, unmapping)
{
	u64 zaps = vm_stat(self->vm, "unmappings"), flushes;

	CODE(0xe6, 0x12, 0xe6, 0x12);
	ASSERT_EQ(0, vcpu_exit(self->v));
	flushes = vcpu_stat(self->v, "tlb_flushes");
	ASSERT_EQ(0, vm_unmap(self->vm, 0, 0x10000));
	EXPECT_LE(zaps + 1, vm_stat(self->vm, "unmappings"));
	vcpu_complete(self->v);
	ASSERT_EQ(0, vcpu_exit(self->v));
	EXPECT_EQ(VMM_EXIT_MMIO, self->run->reason);
	EXPECT_EQ(flushes + 1, vcpu_stat(self->v, "tlb_flushes"));
}

/* ---- names and arguments ------------------------------------------------------- */

static void check_names(struct __test_metadata *_metadata)
{
	u32 i, j;

	for (i = 0; i < list_count; i++) {
		size_t n = strnlen(list[i].name, VMM_STAT_NAME);

		EXPECT_LT(0, n);
		EXPECT_LT(n, VMM_STAT_NAME);
		for (; n < VMM_STAT_NAME; n++)
			EXPECT_EQ(0, list[i].name[n]);
		for (j = 0; j < i; j++)
			EXPECT_NE(0, strcmp(list[i].name, list[j].name));
	}
}

TEST_F(stats, names)
{
	u32 n;

	ASSERT_EQ(0, read_list(self->v->fd, VMM_GET_VCPU_STATS));
	check_names(_metadata);
	n = list_count;
	ASSERT_EQ(0, read_list(self->vm->fd, VMM_GET_STATS));
	check_names(_metadata);
	EXPECT_LT(n, list_count);
	/* nothing behind the last one was written */
	EXPECT_EQ(0xee, (u8)list[list_count].name[0]);
}

static void bad_arguments(struct __test_metadata *_metadata, int fd, unsigned long request)
{
	struct vmm_stats s = { .count = ROOM, .stats = (u64)list };
	u32 count;

	ASSERT_EQ(0, vm_ioctl(fd, request, &s));
	count = s.count;
	s = (struct vmm_stats){ .count = ROOM, .pad = 1, .stats = (u64)list };
	EXPECT_EQ(-EINVAL, vm_ioctl(fd, request, &s));
	EXPECT_EQ(ROOM, s.count);
	/* too little room: told how much is wanted, and nothing written */
	list[0].name[0] = '?';
	s = (struct vmm_stats){ .count = count - 1, .stats = (u64)list };
	EXPECT_EQ(-E2BIG, vm_ioctl(fd, request, &s));
	EXPECT_EQ(count, s.count);
	EXPECT_EQ('?', list[0].name[0]);
	s = (struct vmm_stats){};
	EXPECT_EQ(-E2BIG, vm_ioctl(fd, request, &s));
	EXPECT_EQ(count, s.count);
	s = (struct vmm_stats){ .count = count, .stats = (u64)list };
	EXPECT_EQ(0, vm_ioctl(fd, request, &s));
	s = (struct vmm_stats){ .count = ~0U, .stats = (u64)list };
	EXPECT_EQ(0, vm_ioctl(fd, request, &s));
	s = (struct vmm_stats){ .count = count, .stats = 8 };
	EXPECT_EQ(-EFAULT, vm_ioctl(fd, request, &s));
	s = (struct vmm_stats){ .count = count, .stats = 1ULL << 63 };
	EXPECT_EQ(-EFAULT, vm_ioctl(fd, request, &s));
	EXPECT_EQ(-EFAULT, vm_ioctl(fd, request, NULL));
}

TEST_F(stats, bad_arguments)
{
	struct vmm_stats s = { .count = ROOM, .stats = (u64)list };

	bad_arguments(_metadata, self->vm->fd, VMM_GET_STATS);
	bad_arguments(_metadata, self->v->fd, VMM_GET_VCPU_STATS);
	EXPECT_EQ(-ENOTTY, vm_ioctl(self->v->fd, VMM_GET_STATS, &s));
	EXPECT_EQ(-ENOTTY, vm_ioctl(self->vm->fd, VMM_GET_VCPU_STATS, &s));
	EXPECT_EQ(-ENOTTY, vm_ioctl(self->vm->dev, VMM_GET_STATS, &s));
}

TEST_F(stats, another_process)
{
	struct vmm_stats s = { .count = ROOM, .stats = (u64)list };
	pid_t child = fork();
	int status;

	if (!child)
		_exit(vm_ioctl(self->vm->fd, VMM_GET_STATS, &s) != -EIO ||
		      vm_ioctl(self->v->fd, VMM_GET_VCPU_STATS, &s) != -EIO);
	ASSERT_EQ(child, waitpid(child, &status, 0));
	EXPECT_EQ(0, status);
}

/* ---- debugfs ------------------------------------------------------------------- */

/* the first directory of this process's VMs, or "" */
static void vm_directory(char *path, size_t size)
{
	struct dirent *e;
	char mine[32];
	DIR *d;

	path[0] = 0;
	if (access(DEBUGFS "/vmm", F_OK))
		mount("debugfs", DEBUGFS, "debugfs", 0, NULL);
	snprintf(mine, sizeof(mine), "%d-", getpid());
	d = opendir(DEBUGFS "/vmm");
	if (!d)
		vm_die("%s: %s", DEBUGFS "/vmm", strerror(errno));
	while ((e = readdir(d)))
		if (!strncmp(e->d_name, mine, strlen(mine)))
			snprintf(path, size, "%s/vmm/%s", DEBUGFS, e->d_name);
	closedir(d);
}

/* the value of a line "name value" of a file, or ~0 */
static u64 line_of(const char *directory, const char *file, const char *name)
{
	unsigned long long value, found = ~0ULL;
	char path[512], word[64];
	FILE *f;

	snprintf(path, sizeof(path), "%s/%s", directory, file);
	f = fopen(path, "r");
	if (!f)
		vm_die("%s: %s", path, strerror(errno));
	while (fscanf(f, "%63s %llu", word, &value) == 2)
		if (!strcmp(word, name))
			found = value;
	fclose(f);
	return found;
}

TEST_F(stats, debugfs)
{
	char path[300];
	struct stat st;
	char held[400], buf[64];
	int fd;

	CODE(0x0f, 0xa2, 0x0f, 0xa2, 0xe4, 0x12);
	ASSERT_EQ(0, vcpu_exit(self->v));
	vm_directory(path, sizeof(path));
	ASSERT_NE(0, path[0]);
	EXPECT_EQ(2, line_of(path, "vcpu0", "exit_cpuid"));
	EXPECT_EQ(2, line_of(path, "stats", "exit_cpuid"));
	EXPECT_EQ(1, line_of(path, "stats", "vcpus"));
	vm_add_vcpu(self->vm);
	EXPECT_EQ(0, line_of(path, "vcpu1", "exit_cpuid"));
	EXPECT_EQ(2, line_of(path, "stats", "vcpus"));
	/* for root alone, and not to be written */
	snprintf(held, sizeof(held), "%s/stats", path);
	ASSERT_EQ(0, stat(held, &st));
	EXPECT_EQ(0400, st.st_mode & 0777);
	/* one that is open when the VM goes shows nothing more */
	fd = open(held, O_RDONLY);
	ASSERT_LE(0, fd);
	vm_free(self->vm);
	self->vm = NULL;
	EXPECT_EQ(-1, read(fd, buf, sizeof(buf)));
	EXPECT_EQ(EIO, errno);
	close(fd);
	vm_directory(path, sizeof(path));
	EXPECT_EQ(0, path[0]);
}

/* ---- trace events -------------------------------------------------------------- */

#define TRACEFS		"/sys/kernel/tracing"

static void trace_write(const char *file, const char *text)
{
	char path[128];
	FILE *f;

	snprintf(path, sizeof(path), "%s/%s", TRACEFS, file);
	f = fopen(path, "w");
	if (!f || fputs(text, f) < 0 || fclose(f))
		vm_die("%s: %s", path, strerror(errno));
}

static unsigned int trace_lines(const char *event, const char *text)
{
	unsigned int n = 0;
	char line[512];
	FILE *f = fopen(TRACEFS "/trace", "r");

	while (f && fgets(line, sizeof(line), f))
		n += strstr(line, event) && strstr(line, text);
	if (f)
		fclose(f);
	return n;
}

TEST_F(stats, trace)
{
	struct vmm_inject in = { .type = VMM_EVENT_EXCEPTION, .vector = 3 };

	if (access(TRACEFS "/trace", F_OK))
		mount("tracefs", TRACEFS, "tracefs", 0, NULL);
	((u16 *)self->vm->ram)[6] = GUEST_IMAGE;
	((u16 *)self->vm->ram)[7] = 0;
	CODE(0x0f, 0xa2, 0x0f, 0xa2, 0xe4, 0x12, 0x0f, 0xa2, 0xe4, 0x12);
	trace_write("trace", "");
	trace_write("events/vmm/enable", "1");
	ASSERT_EQ(0, vm_ioctl(self->v->fd, VMM_INJECT, &in));
	ASSERT_EQ(0, vcpu_exit(self->v));
	trace_write("events/vmm/enable", "0");
	EXPECT_EQ(2, trace_lines("vmm_exit:", "exit_cpuid"));
	EXPECT_EQ(1, trace_lines("vmm_exit:", "exit_io rip 0x8004 info 0x12"));
	EXPECT_LE(1, trace_lines("vmm_inject:", "exception vector 3"));
	EXPECT_LE(1, trace_lines("vmm_fault:", "result 0"));
	EXPECT_LE(3, trace_lines("vmm_entry:", "rip"));
	/* off again: no more of them */
	vcpu_complete(self->v);
	ASSERT_EQ(0, vcpu_exit(self->v));
	EXPECT_EQ(2, trace_lines("vmm_exit:", "exit_cpuid"));
}

struct reader {
	volatile bool stop;
	u64 reads;
};

static void read_all(struct reader *r, const char *directory)
{
	static const char *const file[] = { "stats", "vcpu0", "vcpu1" };
	char path[512], buf[4096];
	unsigned int i;
	int fd;

	for (i = 0; i < 3; i++) {
		snprintf(path, sizeof(path), "%s/%s", directory, file[i]);
		fd = open(path, O_RDONLY);
		if (fd < 0)
			continue;
		while (read(fd, buf, sizeof(buf)) > 0)
			r->reads++;
		close(fd);
	}
}

static void *reader(void *arg)
{
	struct reader *r = arg;
	char path[300];

	while (!r->stop) {
		vm_directory(path, sizeof(path));
		if (path[0])
			read_all(r, path);
	}
	return NULL;
}

TEST(read_while_it_dies)
{
	struct reader r = {};
	struct vm *vm;
	pthread_t t;
	int i;

	ASSERT_EQ(0, pthread_create(&t, NULL, reader, &r));
	for (i = 0; i < 40 || r.reads < 20; i++) {
		vm = vm_create(VM_RAM);
		vm_add_vcpu(vm);
		vm_add_vcpu(vm);
		if (i & 1)
			usleep(2000);
		vm_free(vm);
	}
	r.stop = true;
	pthread_join(t, NULL);
}

TEST_HARNESS_MAIN
