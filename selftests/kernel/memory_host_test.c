// SPDX-License-Identifier: GPL-2.0
/*
 * Guest memory is the process's memory: whatever Linux does with the pages, the
 * guest sees what the process sees, or the process gets VMM_EXIT_FAULT.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <linux/mman.h>
#include <sys/mman.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "kselftest_harness.h"
#include "mm.h"
#include "touch.h"

#define PAGE	0x1000ull
#define MIB	(1ull << 20)
#define AREA	TOUCH_AREA

FIXTURE(host) {
	struct vm *vm;
	struct vcpu *v;
};

FIXTURE_SETUP(host)
{
	self->vm = touch_vm(1);
	self->v = &self->vm->vcpu[0];
}

FIXTURE_TEARDOWN(host)
{
	vm_free(self->vm);
}

static int map(struct vm *vm, u64 gpa, u64 size, void *hva, u32 flags)
{
	return vm_map(vm, gpa, size, hva, flags);
}

/* the dword at gpa, or ~exit */
static u32 read_at(struct vcpu *v, u64 gpa)
{
	u32 value, r = touch_read(v, gpa, &value);

	return r ? ~r : value;
}

/* is the access refused with this errno, and reported right? */
static bool faults(struct vcpu *v, u64 gpa, u32 access, int error)
{
	struct vmm_exit_fault *f = &v->run->exit.fault;
	u32 value, r;

	r = access & VMM_ACCESS_WRITE ? touch_write(v, gpa, 1) : touch_read(v, gpa, &value);
	return r == VMM_EXIT_FAULT && f->gpa == gpa && f->error == error &&
	       (f->access & VMM_ACCESS_WRITE) == access;
}

static int new_memfd(u64 size)
{
	int fd = memfd_create("memory-test", MFD_CLOEXEC);

	if (fd < 0 || ftruncate(fd, size))
		vm_die("memfd: %s", strerror(errno));
	return fd;
}

static void *map_shared(int fd, u64 size, int prot)
{
	void *p = mmap(NULL, size, prot, MAP_SHARED, fd, 0);

	if (p == MAP_FAILED)
		vm_die("mmap: %s", strerror(errno));
	return p;
}

/* CVE-2021-22543: pages that nobody counts must not become guest memory */
TEST_F(host, pfn_mappings_are_refused)
{
	unsigned long vvar = 0;
	char line[256];
	FILE *f = fopen("/proc/self/maps", "re");
	int fd = open("/dev/mem", O_RDWR | O_CLOEXEC);
	void *p;

	while (fgets(line, sizeof(line), f))
		if (strstr(line, "[vvar]"))
			sscanf(line, "%lx-", &vvar);
	fclose(f);
	ASSERT_NE(0, vvar);
	ASSERT_EQ(0, map(self->vm, AREA, PAGE, (void *)vvar, 0));
	EXPECT_TRUE(faults(self->v, AREA, 0, -EFAULT));
	EXPECT_TRUE(faults(self->v, AREA + 8, VMM_ACCESS_WRITE, -EFAULT));

	ASSERT_LE(0, fd);
	p = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0xb8000);
	ASSERT_NE(MAP_FAILED, p);
	ASSERT_EQ(0, map(self->vm, AREA + PAGE, PAGE, p, 0));
	EXPECT_TRUE(faults(self->v, AREA + PAGE, 0, -EFAULT));
	EXPECT_TRUE(faults(self->v, AREA + PAGE, VMM_ACCESS_WRITE, -EFAULT));
}

TEST_F(host, hole_faults_until_it_is_filled)
{
	u32 *p = touch_alloc(4 * PAGE, PAGE);

	ASSERT_EQ(0, map(self->vm, AREA, 4 * PAGE, p, 0));
	p[1024] = 11;
	EXPECT_EQ(11, read_at(self->v, AREA + PAGE));
	munmap(p + 1024, PAGE);
	EXPECT_TRUE(faults(self->v, AREA + PAGE, 0, -EFAULT));
	EXPECT_TRUE(faults(self->v, AREA + PAGE + 4, VMM_ACCESS_WRITE, -EFAULT));
	EXPECT_EQ(0, read_at(self->v, AREA + 2 * PAGE));
	ASSERT_EQ(p + 1024, mmap(p + 1024, PAGE, PROT_READ | PROT_WRITE,
				 MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0));
	EXPECT_EQ(0, read_at(self->v, AREA + PAGE));
	EXPECT_EQ(VMM_EXIT_NONE, touch_write(self->v, AREA + PAGE, 12));
	EXPECT_EQ(12, p[1024]);
}

/* after a fault exit the same instruction runs again, and nothing was lost */
TEST_F(host, fault_exit_can_be_retried)
{
	u32 *p = touch_alloc(PAGE, PAGE);

	ASSERT_EQ(0, map(self->vm, AREA, PAGE, p, 0));
	mprotect(p, PAGE, PROT_NONE);
	ASSERT_TRUE(faults(self->v, AREA, VMM_ACCESS_WRITE, -EFAULT));
	mprotect(p, PAGE, PROT_READ | PROT_WRITE);
	ASSERT_EQ(0, vcpu_run(self->v));
	EXPECT_EQ(VMM_EXIT_IO, self->v->run->reason);
	EXPECT_EQ(1, p[0]);
}

TEST_F(host, protection_of_the_process_holds_for_the_guest)
{
	u32 *p = touch_alloc(2 * PAGE, PAGE);

	ASSERT_EQ(0, map(self->vm, AREA, 2 * PAGE, p, 0));
	EXPECT_EQ(VMM_EXIT_NONE, touch_write(self->v, AREA, 21));
	mprotect(p, PAGE, PROT_READ);
	EXPECT_EQ(21, read_at(self->v, AREA));
	EXPECT_TRUE(faults(self->v, AREA, VMM_ACCESS_WRITE, -EFAULT));
	mprotect(p, PAGE, PROT_NONE);
	EXPECT_TRUE(faults(self->v, AREA, 0, -EFAULT));
	mprotect(p, PAGE, PROT_READ | PROT_WRITE);
	EXPECT_EQ(21, read_at(self->v, AREA));
	EXPECT_EQ(VMM_EXIT_NONE, touch_write(self->v, AREA, 22));
	EXPECT_EQ(22, p[0]);
}

TEST_F(host, read_only_file_mapping_is_not_written)
{
	int fd = new_memfd(2 * PAGE);
	u32 *rw = map_shared(fd, 2 * PAGE, PROT_READ | PROT_WRITE);
	u32 *ro = map_shared(fd, 2 * PAGE, PROT_READ);

	rw[0] = 31;
	ASSERT_EQ(0, map(self->vm, AREA, 2 * PAGE, ro, 0));
	EXPECT_EQ(31, read_at(self->v, AREA));
	EXPECT_TRUE(faults(self->v, AREA, VMM_ACCESS_WRITE, -EFAULT));
	EXPECT_TRUE(faults(self->v, AREA + PAGE, VMM_ACCESS_WRITE, -EFAULT));
	EXPECT_EQ(31, rw[0]);
}

TEST_F(host, private_file_pages_are_copied_before_a_write)
{
	int fd = new_memfd(PAGE);
	u32 *file = map_shared(fd, PAGE, PROT_READ | PROT_WRITE);
	u32 *p = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);

	file[0] = 41;
	ASSERT_EQ(0, map(self->vm, AREA, PAGE, p, 0));
	EXPECT_EQ(41, read_at(self->v, AREA));
	file[0] = 42;
	EXPECT_EQ(42, read_at(self->v, AREA));
	EXPECT_EQ(VMM_EXIT_NONE, touch_write(self->v, AREA, 43));
	EXPECT_EQ(43, p[0]);
	EXPECT_EQ(42, file[0]);
}

TEST_F(host, shrinking_file_faults)
{
	int fd = new_memfd(8 * PAGE);
	u32 *p = map_shared(fd, 8 * PAGE, PROT_READ | PROT_WRITE);

	ASSERT_EQ(0, map(self->vm, AREA, 8 * PAGE, p, 0));
	EXPECT_EQ(VMM_EXIT_NONE, touch_write(self->v, AREA + 6 * PAGE, 51));
	EXPECT_EQ(VMM_EXIT_NONE, touch_write(self->v, AREA + 2 * PAGE, 52));
	ASSERT_EQ(0, ftruncate(fd, 4 * PAGE));
	EXPECT_TRUE(faults(self->v, AREA + 6 * PAGE, 0, -EFAULT));
	EXPECT_TRUE(faults(self->v, AREA + 5 * PAGE, VMM_ACCESS_WRITE, -EFAULT));
	EXPECT_EQ(52, read_at(self->v, AREA + 2 * PAGE));
	ASSERT_EQ(0, ftruncate(fd, 8 * PAGE));
	EXPECT_EQ(0, read_at(self->v, AREA + 6 * PAGE));
}

TEST_F(host, discarded_pages_read_zero)
{
	int fd = new_memfd(4 * PAGE);
	u32 *p = touch_alloc(4 * PAGE, PAGE);
	u32 *q = map_shared(fd, 4 * PAGE, PROT_READ | PROT_WRITE);

	ASSERT_EQ(0, map(self->vm, AREA, 4 * PAGE, p, 0));
	ASSERT_EQ(0, map(self->vm, AREA + MIB, 4 * PAGE, q, 0));
	EXPECT_EQ(VMM_EXIT_NONE, touch_write(self->v, AREA + PAGE, 61));
	EXPECT_EQ(VMM_EXIT_NONE, touch_write(self->v, AREA + 2 * PAGE, 62));
	ASSERT_EQ(0, madvise(p + 1024, PAGE, MADV_DONTNEED));
	EXPECT_EQ(0, read_at(self->v, AREA + PAGE));
	EXPECT_EQ(62, read_at(self->v, AREA + 2 * PAGE));
	EXPECT_EQ(VMM_EXIT_NONE, touch_write(self->v, AREA + PAGE, 63));
	EXPECT_EQ(63, p[1024]);

	EXPECT_EQ(VMM_EXIT_NONE, touch_write(self->v, AREA + MIB, 64));
	ASSERT_EQ(0, fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, PAGE));
	EXPECT_EQ(0, read_at(self->v, AREA + MIB));
	EXPECT_EQ(VMM_EXIT_NONE, touch_write(self->v, AREA + MIB, 65));
	EXPECT_EQ(65, q[0]);
}

TEST_F(host, moved_memory_leaves_the_guest)
{
	u32 *p = touch_alloc(2 * PAGE, PAGE), *q = touch_alloc(2 * PAGE, PAGE);

	ASSERT_EQ(0, map(self->vm, AREA, 2 * PAGE, p, 0));
	EXPECT_EQ(VMM_EXIT_NONE, touch_write(self->v, AREA, 71));
	ASSERT_EQ(q, mremap(p, 2 * PAGE, 2 * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, q));
	EXPECT_TRUE(faults(self->v, AREA, 0, -EFAULT));
	EXPECT_EQ(71, q[0]);
	/* something else in the old place */
	ASSERT_EQ(p, mmap(p, 2 * PAGE, PROT_READ | PROT_WRITE,
			  MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0));
	EXPECT_EQ(VMM_EXIT_NONE, touch_write(self->v, AREA, 72));
	EXPECT_EQ(71, q[0]);
	ASSERT_EQ(p, mremap(q, 2 * PAGE, 2 * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, p));
	EXPECT_EQ(71, read_at(self->v, AREA));
}

/* both ways: the child's copy stays as it was, and the guest keeps the parent's */
TEST_F(host, fork_copies_on_write)
{
	u32 *p = touch_alloc(2 * PAGE, PAGE);
	int go[2], status;
	char c = 0;
	pid_t child;

	ASSERT_EQ(0, map(self->vm, AREA, 2 * PAGE, p, 0));
	EXPECT_EQ(VMM_EXIT_NONE, touch_write(self->v, AREA, 81));
	EXPECT_EQ(VMM_EXIT_NONE, touch_write(self->v, AREA + PAGE, 82));
	ASSERT_EQ(0, pipe(go));
	child = fork();
	if (!child) {
		p[1024] = 83;
		if (read(go[0], &c, 1) != 1)
			_exit(2);
		_exit(p[0] == 81 && p[1024] == 83 ? 0 : 1);
	}
	EXPECT_EQ(81, read_at(self->v, AREA));
	EXPECT_EQ(VMM_EXIT_NONE, touch_write(self->v, AREA, 84));
	EXPECT_EQ(84, p[0]);
	ASSERT_EQ(1, write(go[1], &c, 1));
	ASSERT_EQ(child, waitpid(child, &status, 0));
	EXPECT_EQ(0, status);
	EXPECT_EQ(82, read_at(self->v, AREA + PAGE));
	EXPECT_EQ(VMM_EXIT_NONE, touch_write(self->v, AREA + PAGE, 85));
	EXPECT_EQ(85, p[1024]);
}

/* how many page tables reading every page of the range adds */
static s64 tables_for(struct vcpu *v, u64 gpa, u64 size)
{
	u64 before = vm_stat(v->vm, "page_table_pages"), at;

	for (at = gpa; at < gpa + size; at += PAGE)
		read_at(v, at);
	return vm_stat(v->vm, "page_table_pages") - before;
}

#define HUGE_SIZE	(32 * MIB)
#define SMALL_TABLES	((s64)(HUGE_SIZE / (2 * MIB)))	/* one for 2 MiB */

TEST_F(host, transparent_huge_pages_are_mapped_large)
{
	u32 *p = touch_alloc(HUGE_SIZE, 2 * MIB);
	u64 i;

	ASSERT_EQ(0, map(self->vm, AREA, HUGE_SIZE, p, 0));
	if (madvise(p, HUGE_SIZE, MADV_HUGEPAGE))
		SKIP(return, "no transparent huge pages");
	for (i = 0; i < HUGE_SIZE / PAGE; i++)
		p[i * 1024] = i;
	EXPECT_LT(tables_for(self->v, AREA, HUGE_SIZE), SMALL_TABLES / 2);

	/* Linux splits one of them: only that one becomes small */
	ASSERT_EQ(0, madvise(p + 5 * 1024, PAGE, MADV_DONTNEED));
	EXPECT_LT(tables_for(self->v, AREA, HUGE_SIZE), SMALL_TABLES / 2);
	for (i = 0; i < HUGE_SIZE / PAGE; i += 31)
		EXPECT_EQ(i == 5 ? 0 : i, read_at(self->v, AREA + i * PAGE));
	EXPECT_EQ(0, read_at(self->v, AREA + 5 * PAGE));
	EXPECT_EQ(4, read_at(self->v, AREA + 4 * PAGE));
	EXPECT_EQ(VMM_EXIT_NONE, touch_write(self->v, AREA + 5 * PAGE, 91));
	EXPECT_EQ(91, p[5 * 1024]);
}

TEST_F(host, mapping_split_inside_a_huge_page)
{
	u32 *p = touch_alloc(2 * MIB, 2 * MIB);

	if (madvise(p, 2 * MIB, MADV_HUGEPAGE))
		SKIP(return, "no transparent huge pages");
	memset(p, 1, 2 * MIB);
	ASSERT_EQ(0, map(self->vm, AREA, 2 * MIB, p, VMM_MAP_READONLY));
	EXPECT_EQ(0x01010101, read_at(self->v, AREA));
	EXPECT_EQ(0, vm_protect(self->vm, AREA + MIB, PAGE, 0));
	EXPECT_EQ(VMM_EXIT_NONE, touch_write(self->v, AREA + MIB, 92));
	EXPECT_EQ(VMM_EXIT_MMIO, touch_write(self->v, AREA + MIB - 4, 93));
	EXPECT_EQ(VMM_EXIT_MMIO, touch_write(self->v, AREA + MIB + PAGE, 94));
	EXPECT_EQ(92, p[MIB / 4]);
	EXPECT_EQ(0x01010101, p[MIB / 4 - 1]);
	EXPECT_EQ(0, vm_unmap(self->vm, AREA, PAGE));
	EXPECT_EQ(VMM_EXIT_MMIO, touch_write(self->v, AREA, 95));
	EXPECT_EQ(0x01010101, read_at(self->v, AREA + PAGE));
}

/* gpa and hva that do not agree modulo 2 MiB cannot share a large page */
TEST_F(host, huge_page_at_an_odd_address)
{
	u32 *p = touch_alloc(4 * MIB, 2 * MIB);
	u64 i;

	madvise(p, 4 * MIB, MADV_HUGEPAGE);
	for (i = 0; i < 4 * MIB / PAGE; i++)
		p[i * 1024] = i;
	ASSERT_EQ(0, map(self->vm, AREA + PAGE, 4 * MIB, p, 0));
	for (i = 0; i < 4 * MIB / PAGE; i += 7)
		EXPECT_EQ(i, read_at(self->v, AREA + PAGE + i * PAGE));
}

TEST_F(host, hugetlb_pages_are_mapped_large)
{
	u32 *p;
	u64 i;

	mm_write("/proc/sys/vm/nr_hugepages", "16");
	p = mmap(NULL, HUGE_SIZE, PROT_READ | PROT_WRITE,
		 MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB, -1, 0);
	if (p == MAP_FAILED)
		SKIP(return, "no huge pages to be had");
	ASSERT_EQ(0, map(self->vm, AREA, HUGE_SIZE, p, 0));
	for (i = 0; i < HUGE_SIZE; i += 2 * MIB)
		EXPECT_EQ(VMM_EXIT_NONE, touch_write(self->v, AREA + i + PAGE, i));
	EXPECT_LT(tables_for(self->v, AREA, HUGE_SIZE), SMALL_TABLES / 2);
	for (i = 0; i < HUGE_SIZE; i += 2 * MIB)
		EXPECT_EQ(i, p[(i + PAGE) / 4]);
	munmap(p, HUGE_SIZE);
	EXPECT_TRUE(faults(self->v, AREA + PAGE, 0, -EFAULT));
	mm_write("/proc/sys/vm/nr_hugepages", "0");
}

#define KSM	"/sys/kernel/mm/ksm/"
#define TWINS	64

TEST_F(host, merged_pages_come_apart_when_written)
{
	u32 *p = touch_alloc(TWINS * PAGE, PAGE);
	u64 i, until = vm_now_ms() + 20000;

	if (madvise(p, TWINS * PAGE, MADV_MERGEABLE))
		SKIP(return, "no KSM");
	ASSERT_EQ(0, map(self->vm, AREA, TWINS * PAGE, p, 0));
	for (i = 0; i < TWINS; i++)
		EXPECT_EQ(VMM_EXIT_NONE, touch_write(self->v, AREA + i * PAGE, 4711));
	mm_write(KSM "pages_to_scan", "1000");
	mm_write(KSM "sleep_millisecs", "5");
	mm_write(KSM "run", "1");
	while (mm_number(KSM "pages_sharing") < TWINS / 2 && vm_now_ms() < until)
		usleep(10000);
	EXPECT_LE(TWINS / 2, mm_number(KSM "pages_sharing"));
	for (i = 0; i < TWINS; i += 3)
		EXPECT_EQ(4711, read_at(self->v, AREA + i * PAGE));
	for (i = 0; i < TWINS; i += 3)
		EXPECT_EQ(VMM_EXIT_NONE, touch_write(self->v, AREA + i * PAGE, i));
	for (i = 0; i < TWINS; i++) {
		EXPECT_EQ(i % 3 ? 4711 : i, p[i * 1024]);
		EXPECT_EQ(i % 3 ? 4711 : i, read_at(self->v, AREA + i * PAGE));
	}
	mm_write(KSM "run", "2");
}

/*
 * A file's pages that only the guest wrote must reach the file: it is read back
 * around the page cache.
 */
TEST_F(host, what_the_guest_wrote_reaches_the_disk)
{
	static const char image[] = "/tmp/memory-test.img";
	int fd = open(image, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	u32 *p, *back = touch_alloc(PAGE, PAGE);
	int round;

	ASSERT_LE(0, fd);
	ASSERT_EQ(0, ftruncate(fd, 16 * MIB));
	close(fd);
	if (system("modprobe -q loop; mkfs.ext4 -q /tmp/memory-test.img && "
		   "mkdir -p /tmp/memory-test && "
		   "mount -o loop /tmp/memory-test.img /tmp/memory-test"))
		SKIP(return, "no loop device with ext4 to be had");
	fd = open("/tmp/memory-test/file", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	ASSERT_LE(0, fd);
	ASSERT_EQ(0, ftruncate(fd, PAGE));
	p = map_shared(fd, PAGE, PROT_READ | PROT_WRITE);
	ASSERT_EQ(0, map(self->vm, AREA, PAGE, p, 0));
	for (round = 1; round < 6; round++) {
		EXPECT_EQ(VMM_EXIT_NONE, touch_write(self->v, AREA, round));
		ASSERT_EQ(0, fsync(fd));
		posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
		int direct = open("/tmp/memory-test/file", O_RDONLY | O_DIRECT | O_CLOEXEC);

		ASSERT_EQ((ssize_t)PAGE, read(direct, back, PAGE));
		close(direct);
		EXPECT_EQ(round, back[0]);
	}
	ASSERT_EQ(0, vm_unmap(self->vm, AREA, PAGE));
	munmap(p, PAGE);
	close(fd);
	EXPECT_EQ(0, system("umount /tmp/memory-test"));
	unlink(image);
}

#define SWAPPED	(8 * MIB)

/*
 * All of it, and all of it: pages that the guest used since are spared by the
 * first MADV_PAGEOUT, which makes them old.
 */
static void page_out(void *p)
{
	madvise(p, SWAPPED, MADV_PAGEOUT);
	madvise(p, SWAPPED, MADV_PAGEOUT);
}

/* out to swap and in again: a page that only the guest dirtied is not clean */
TEST_F(host, what_the_guest_wrote_survives_swap)
{
	u32 *p = touch_alloc(SWAPPED, 2 * MIB);
	long out = mm_vmstat("pswpout");
	u64 i, round;

	if (!mm_swap_on())
		SKIP(return, "no zram to swap to");
	ASSERT_EQ(0, map(self->vm, AREA, SWAPPED, p, 0));
	for (round = 1; round < 4; round++) {
		for (i = 0; i < SWAPPED / PAGE; i += 1 + round)
			touch_write(self->v, AREA + i * PAGE, round << 16 | i);
		page_out(p);
		for (i = 0; i < SWAPPED / PAGE; i += 1 + round)
			EXPECT_EQ(round << 16 | i, read_at(self->v, AREA + i * PAGE));
		page_out(p);
		for (i = 0; i < SWAPPED / PAGE; i += 1 + round)
			EXPECT_EQ(round << 16 | i, p[i * 1024]);
	}
	EXPECT_LE(out + (long)(3 * SWAPPED / PAGE / 8), mm_vmstat("pswpout"));
	EXPECT_EQ(0, mm_swap_off());
}

/* how many of every second page, from the first on, are in memory */
static unsigned int resident(const void *p, unsigned int first)
{
	int fd = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
	unsigned int n = 0;
	u64 i, entry;

	for (i = first; i < SWAPPED / PAGE; i += 2) {
		if (pread(fd, &entry, 8, ((uintptr_t)p / PAGE + i) * 8) != 8)
			vm_die("pagemap: %s", strerror(errno));
		n += entry >> 63;
	}
	close(fd);
	return n;
}

/* no translation is left that would hide an access from the page tables */
static void flush_tlb(struct vcpu *v)
{
	static struct vmm_state st;

	if (vcpu_get(v, VMM_STATE_SREGS, &st) || vcpu_set(v, VMM_STATE_SREGS, &st))
		vm_die("VMM_GET_STATE or VMM_SET_STATE of the segments");
}

/* from 6.10 on it does not ask whether a page is in use, and no other call does */
static bool pageout_asks(void)
{
	unsigned int major, minor;
	struct utsname u;

	if (uname(&u) || sscanf(u.release, "%u.%u", &major, &minor) != 2)
		vm_die("uname: %s", strerror(errno));
	return major < 6 || (major == 6 && minor < 10);
}

/* the accessed bits of the nested tables count: what only the guest uses stays */
TEST_F(host, pages_that_the_guest_reads_are_not_reclaimed)
{
	u32 *p = touch_alloc(SWAPPED, PAGE);
	struct vmm_info info;
	u64 i;

	ASSERT_EQ(0, vm_ioctl(self->vm->dev, VMM_GET_INFO, &info));
	if (!(info.features & VMM_FEAT_AD))
		SKIP(return, "this CPU's nested page tables have no accessed bits");
	if (!pageout_asks())
		SKIP(return, "this kernel's MADV_PAGEOUT takes pages in use, too");
	if (!mm_swap_on())
		SKIP(return, "no zram to swap to");
	madvise(p, SWAPPED, MADV_NOHUGEPAGE);
	for (i = 0; i < SWAPPED / PAGE; i++)
		p[i * 1024] = i + 1;
	ASSERT_EQ(0, map(self->vm, AREA, SWAPPED, p, 0));
	for (i = 0; i < SWAPPED / PAGE; i++)
		EXPECT_EQ(i + 1, read_at(self->v, AREA + i * PAGE));
	/* they become old */
	madvise(p, SWAPPED, MADV_PAGEOUT);
	flush_tlb(self->v);
	for (i = 0; i < SWAPPED / PAGE; i += 2)
		EXPECT_EQ(i + 1, read_at(self->v, AREA + i * PAGE));
	madvise(p, SWAPPED, MADV_PAGEOUT);
	TH_LOG("%u pages of those in use stayed, %u of the others", resident(p, 0),
	       resident(p, 1));
	EXPECT_LT(SWAPPED / PAGE / 2 * 9 / 10, resident(p, 0));
	EXPECT_GT(SWAPPED / PAGE / 2 / 10, resident(p, 1));
	EXPECT_EQ(0, mm_swap_off());
}

/* MADV_FREE: gone or kept as it was, but a later write of the guest stays */
TEST_F(host, write_after_madv_free_stays)
{
	u32 *p = touch_alloc(SWAPPED, PAGE);
	u64 i;

	madvise(p, SWAPPED, MADV_NOHUGEPAGE);
	ASSERT_EQ(0, map(self->vm, AREA, SWAPPED, p, 0));
	for (i = 0; i < SWAPPED / PAGE; i++)
		touch_write(self->v, AREA + i * PAGE, 1);
	ASSERT_EQ(0, madvise(p, SWAPPED, MADV_FREE));
	for (i = 0; i < SWAPPED / PAGE; i += 2)
		touch_write(self->v, AREA + i * PAGE, 2);
	page_out(p);
	for (i = 0; i < SWAPPED / PAGE; i += 2)
		EXPECT_EQ(2, read_at(self->v, AREA + i * PAGE));
}

TEST_HARNESS_MAIN
