// SPDX-License-Identifier: GPL-2.0
/* The firmware image: checked when it is read, mapped, copied at each reset. */
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "boot/firmware.h"
#include "mem.h"

#define UNIT		(64U << 10)
#define MAX_SIZE	(16U << 20)	/* from 0xff000000 up */
#define SHADOW		0xe0000U
#define SHADOW_SIZE	(128U << 10)
#define TOP		(1ULL << 32)
#define RESET_LEN	16
#define BIOS_MAX	(512U << 10)	/* larger images are UEFI */
#define MBR_CODE	440		/* bytes before the partition table */

static int bad(char *err, size_t errlen, const char *path, const char *found)
{
	snprintf(err, errlen,
		 "firmware %s: %s; wanted a PC BIOS image, such as that of Debian's package seabios (/usr/share/seabios/bios-256k.bin)",
		 path, found);
	return -EINVAL;
}

static int read_all(int fd, uint8_t *buf, size_t len)
{
	ssize_t n;

	for (; len; buf += n, len -= n) {
		n = read(fd, buf, len);
		if (n < 0 && errno != EINTR)
			return -errno;
		if (n == 0)
			return -EIO;
		if (n < 0)
			n = 0;
	}
	return 0;
}

static bool size_ok(uint64_t size)
{
	return size >= UNIT && size <= MAX_SIZE && size % UNIT == 0;
}

/* the CPU starts 16 bytes before the end: there must be something */
static bool has_reset_vector(const struct firmware *fw)
{
	const uint8_t *p = fw->data + fw->size - RESET_LEN;
	unsigned int i;

	for (i = 0; i < RESET_LEN; i++)
		if (p[i] != 0 && p[i] != 0xff)
			return true;
	return false;
}

static int load_fd(struct firmware *fw, int fd, const char *path, char *err,
		   size_t errlen)
{
	char found[128];
	struct stat st;
	int ret;

	if (fstat(fd, &st))
		return bad(err, errlen, path, strerror(errno));
	if (!S_ISREG(st.st_mode))
		return bad(err, errlen, path, "not a regular file");
	if (!size_ok(st.st_size)) {
		snprintf(found, sizeof(found),
			 "%lld bytes, not a multiple of 64 KiB up to 16 MiB",
			 (long long)st.st_size);
		return bad(err, errlen, path, found);
	}
	fw->size = st.st_size;
	fw->data = malloc(fw->size);
	if (!fw->data) {
		snprintf(err, errlen, "firmware %s: out of memory", path);
		return -ENOMEM;
	}
	ret = read_all(fd, fw->data, fw->size);
	if (ret)
		return bad(err, errlen, path, strerror(-ret));
	if (!has_reset_vector(fw))
		return bad(err, errlen, path,
			   "nothing at the reset vector, 16 bytes before the end");
	return 0;
}

int firmware_load(struct firmware *fw, const char *path, char *err,
		  size_t errlen)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK), ret;

	fw->data = NULL;
	fw->size = 0;
	if (fd < 0)
		return bad(err, errlen, path, strerror(errno));
	ret = load_fd(fw, fd, path, err, errlen);
	close(fd);
	if (ret)
		firmware_free(fw);
	return ret;
}

int firmware_take(struct firmware *fw, const void *image, size_t size, char *err,
		  size_t errlen)
{
	fw->size = 0;
	fw->data = size_ok(size) ? malloc(size) : NULL;
	if (!fw->data) {
		snprintf(err, errlen, "the saved firmware has %zu bytes, wanted a multiple of 64 KiB up to 16 MiB",
			 size);
		return -EINVAL;
	}
	fw->size = size;
	memcpy(fw->data, image, size);
	return 0;
}

void firmware_free(struct firmware *fw)
{
	free(fw->data);
	fw->data = NULL;
	fw->size = 0;
}

int firmware_map(struct firmware *fw, struct mem *mem)
{
	int ret = mem_add_rom(mem, TOP - fw->size, fw->data, fw->size, "firmware");

	if (!ret) {
		free(fw->data);
		fw->data = NULL;
	}
	return ret;
}

void firmware_shadow(const struct firmware *fw, struct mem *mem)
{
	size_t len = fw->size < SHADOW_SIZE ? fw->size : SHADOW_SIZE;

	mem_write(mem, SHADOW + SHADOW_SIZE - len, mem_ptr_ro(mem, TOP - len, len), len);
}

const char *firmware_cannot_boot(const struct firmware *fw, const uint8_t mbr[512])
{
	unsigned int i;

	if (fw->size > BIOS_MAX)	/* UEFI: knows file systems */
		return NULL;
	if (mbr[510] != 0x55 || mbr[511] != 0xaa)
		return "its first sector has no boot signature";
	for (i = 0; i < MBR_CODE; i++)
		if (mbr[i])
			return NULL;
	return "its first sector has no boot code (a disk for UEFI?)";
}
