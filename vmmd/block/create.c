// SPDX-License-Identifier: GPL-2.0
#define _GNU_SOURCE 1
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "block/block_priv.h"

int block_create(const char *path, uint64_t size, char *err, unsigned long errlen)
{
	int fd, ret;

	if (!size || size % 512 || size > INT64_MAX) {
		snprintf(err, errlen, "disk %s: %" PRIu64 " bytes are no size of a disk",
			 path, size);
		return -EINVAL;
	}
	fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (fd < 0) {
		ret = -errno;
		snprintf(err, errlen, "disk %s: it cannot be made: %s", path, strerror(errno));
		return ret;
	}
	ret = ftruncate(fd, size) < 0 || fsync(fd) < 0 ? -errno : file_sync_dir(path);
	close(fd);
	if (!ret)
		return 0;
	snprintf(err, errlen, "disk %s: it cannot have %" PRIu64 " bytes: %s", path, size,
		 strerror(-ret));
	unlink(path);
	return ret;
}
