// SPDX-License-Identifier: GPL-2.0
/*
 * A disk's generation: a number in a file beside it, DISK.vmmd-generation, as a
 * raw disk has no place for it. Who has the disk open has its lock, so nobody
 * else is at this file. It is replaced as a whole: after a crash it has the old
 * number or the new one.
 */
#define _GNU_SOURCE 1		/* asprintf */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "block/block_priv.h"
#include "crc32c.h"

#define LINE_MAX_LEN	64	/* of what we write */

/* by whatever name the disk was opened */
static char *beside(const struct block *b, const char *suffix)
{
	char *real = realpath(b->file->path, NULL), *path = NULL;

	if (real && asprintf(&path, "%s.vmmd-generation%s", real, suffix) < 0)
		path = NULL;
	free(real);
	return path;
}

static void format_line(char line[LINE_MAX_LEN], uint64_t generation)
{
	int n = snprintf(line, LINE_MAX_LEN, "vmmd-generation 1 %" PRIu64 " ",
			 generation);

	snprintf(line + n, LINE_MAX_LEN - n, "%08x\n", crc32c(0, line, n));
}

/* only what format_line writes */
static bool parse_line(const char *line, uint64_t *generation)
{
	char again[LINE_MAX_LEN];

	if (sscanf(line, "vmmd-generation 1 %" SCNu64, generation) != 1)
		return false;
	format_line(again, *generation);
	return !strcmp(line, again);
}

static int check_place(const struct block *b, char *err, unsigned long errlen)
{
	if (!b->file->is_device)
		return 0;
	file_refuse(b->file, err, errlen, "a block device has no place for a generation; use a file");
	return -EOPNOTSUPP;
}

int block_generation_get(const struct block *b, uint64_t *generation,
			 char *err, unsigned long errlen)
{
	char line[LINE_MAX_LEN + 1], *path;
	ssize_t n = -1;
	int fd, error;

	if (check_place(b, err, errlen))
		return -EOPNOTSUPP;
	path = beside(b, "");
	if (!path) {
		file_refuse(b->file, err, errlen, "its generation cannot be looked for: %s",
			    strerror(errno));
		return -ENOMEM;
	}
	*generation = 0;
	fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	error = errno;
	if (fd >= 0) {
		n = read(fd, line, LINE_MAX_LEN);
		error = n < 0 ? errno : EBADMSG;
		close(fd);
	} else if (error == ENOENT) {
		free(path);
		return 0;	/* it never had one */
	}
	if (n > 0) {
		line[n] = 0;
		if (parse_line(line, generation))
			error = 0;
	}
	if (error == EBADMSG)
		file_refuse(b->file, err, errlen, "its generation in %s is damaged; if no other copy of this VM runs, remove that file",
			    path);
	else if (error)
		file_refuse(b->file, err, errlen, "its generation in %s cannot be read: %s",
			    path, strerror(error));
	free(path);
	return -error;
}

static int write_line(const char *path, const char *line)
{
	ssize_t len = strlen(line);
	int fd, ret = 0;

	unlink(path);		/* of one who did not come to the end */
	fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
	if (fd < 0)
		return -errno;
	errno = ENOSPC;
	if (write(fd, line, len) != len || fsync(fd) < 0)
		ret = -errno;
	close(fd);
	if (ret)
		unlink(path);
	return ret;
}

static int replace(const struct block *b, uint64_t generation)
{
	char *path = beside(b, ""), *new = beside(b, ".new");
	char line[LINE_MAX_LEN];
	int ret = path && new ? 0 : -ENOMEM;

	format_line(line, generation);
	if (!ret)
		ret = write_line(new, line);
	if (!ret && rename(new, path) < 0) {
		ret = -errno;
		unlink(new);
	}
	if (!ret)
		ret = file_sync_dir(path);
	free(path);
	free(new);
	return ret;
}

int block_generation_set(struct block *b, uint64_t from, uint64_t to,
			 char *err, unsigned long errlen)
{
	uint64_t found;
	int ret = block_generation_get(b, &found, err, errlen);

	if (ret)
		return ret;
	if (b->file->read_only) {
		file_refuse(b->file, err, errlen, "it is open for reading only, so its generation stays");
		return -EROFS;
	}
	if (found != from || to <= from) {
		file_refuse(b->file, err, errlen, "its generation is %" PRIu64 " and was to go from %" PRIu64 " to %" PRIu64 ": another copy of this VM has it",
			    found, from, to);
		return -ESTALE;
	}
	ret = replace(b, to);
	if (ret)
		file_refuse(b->file, err, errlen, "its generation cannot be written: %s",
			    strerror(-ret));
	return ret;
}
