// SPDX-License-Identifier: GPL-2.0
/* Linux's memory management, from the outside. See mm.h. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "mm.h"

#define PAGE		0x1000ull
#define PFN		((1ull << 55) - 1)
#define PRESENT		(1ull << 63)
#define MPOL_MF_MOVE	2
#define PAGEOUTS	5
#define COLLAPSES	10

/* ---- files ------------------------------------------------------------------- */

void mm_write(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);

	if (fd < 0 || write(fd, text, strlen(text)) < 0)
		vm_die("cannot write %s: %s", path, strerror(errno));
	close(fd);
}

long mm_number(const char *path)
{
	FILE *f = fopen(path, "re");
	long n = -1;

	if (f) {
		if (fscanf(f, "%ld", &n) != 1)
			n = -1;
		fclose(f);
	}
	return n;
}

long mm_vmstat(const char *name)
{
	FILE *f = fopen("/proc/vmstat", "re");
	char line[128];
	long n = -1;
	size_t len = strlen(name);

	while (f && n < 0 && fgets(line, sizeof(line), f))
		if (!strncmp(line, name, len) && line[len] == ' ')
			n = atol(line + len);
	if (f)
		fclose(f);
	return n;
}

/* ---- swap -------------------------------------------------------------------- */

bool mm_swap_on(void)
{
	return !system("modprobe -q zram && echo 64M >/sys/block/zram0/disksize && "
		       "mkswap -q /dev/zram0 && swapon /dev/zram0");
}

int mm_swap_off(void)
{
	return system("swapoff /dev/zram0 && echo 1 >/sys/block/zram0/reset");
}

/* Those in use since are spared by a MADV_PAGEOUT, which makes them old. */
void mm_page_out(void *p, size_t size)
{
	unsigned int i;

	for (i = 0; i < PAGEOUTS && mm_resident(p, size); i++)
		madvise(p, size, MADV_PAGEOUT);
}

/* ---- pages ------------------------------------------------------------------- */

static u64 pagemap(int fd, const void *p)
{
	u64 entry;

	if (pread(fd, &entry, 8, (uintptr_t)p / PAGE * 8) != 8)
		vm_die("cannot read /proc/self/pagemap: %s", strerror(errno));
	return entry;
}

static int open_pagemap(void)
{
	int fd = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		vm_die("cannot open /proc/self/pagemap: %s", strerror(errno));
	return fd;
}

u64 mm_pfn(const void *p)
{
	int fd = open_pagemap();
	u64 entry = pagemap(fd, p);

	close(fd);
	return entry & PRESENT ? entry & PFN : 0;
}

unsigned int mm_resident(const void *p, size_t size)
{
	unsigned int n = 0;
	int fd = open_pagemap();
	size_t at;

	for (at = 0; at < size; at += PAGE)
		n += pagemap(fd, (const char *)p + at) >> 63;
	close(fd);
	return n;
}

u64 mm_huge(const void *p, size_t size)
{
	unsigned long start = 0, end = 0, from = (unsigned long)p, kb;
	FILE *f = fopen("/proc/self/smaps", "re");
	char line[256];
	u64 sum = 0;

	while (f && fgets(line, sizeof(line), f)) {
		if (sscanf(line, "%lx-%lx ", &start, &end) == 2)
			continue;
		if (start < from + size && from < end &&
		    (sscanf(line, "AnonHugePages: %lu kB", &kb) == 1 ||
		     sscanf(line, "ShmemPmdMapped: %lu kB", &kb) == 1))
			sum += kb << 10;
	}
	if (!f)
		vm_die("cannot read /proc/self/smaps: %s", strerror(errno));
	fclose(f);
	return sum;
}

/* Somebody else may hold a page for a moment. */
int mm_collapse(void *p, size_t size)
{
	unsigned int i;
	int error = 0;

	for (i = 0; i < COLLAPSES; i++) {
		error = madvise(p, size, MADV_COLLAPSE) ? errno : 0;
		if (!error && mm_huge(p, size) == size)
			return 0;
		usleep(20000);
	}
	return error ?: EAGAIN;
}

/* ---- nodes ------------------------------------------------------------------- */

int mm_node(const void *p)
{
	int status;

	if (syscall(SYS_move_pages, 0, 1ul, &p, NULL, &status, 0))
		return -errno;
	return status;
}

int mm_move(void *p, size_t size, size_t page, int node)
{
	size_t at;
	int status;

	for (at = 0; at < size; at += page) {
		void *one = (char *)p + at;

		if (syscall(SYS_move_pages, 0, 1ul, &one, &node, &status, MPOL_MF_MOVE) < 0)
			return errno;
		if (status != node)
			return status < 0 ? -status : EBUSY;
	}
	return 0;
}
