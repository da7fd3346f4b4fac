// SPDX-License-Identifier: GPL-2.0
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>

#include "block/block.h"
#include "migrate/disk_shared.h"

/* until the other side, which knows that it has to, lets go of the lock */
#define TRIES		250
#define TRY_NS		20000000L

void disk_shared_fill(const struct block *b, struct migrate_disk *d)
{
	char *real = realpath(block_path(b), NULL);

	memset(d, 0, sizeof(*d));
	d->size = block_size(b);
	memcpy(d->id, block_id(b), sizeof(d->id));
	if (block_read_only(b))
		d->flags |= DISK_READ_ONLY;
	snprintf(d->path, sizeof(d->path), "%s", real ? real : block_path(b));
	free(real);
}

/*
 * The step is random: a copy of the disk that lies on another host has hardly the same
 * generation, whatever became of it there.
 */
int disk_shared_describe(struct block *b, struct migrate_disk *d, char *err,
			 size_t errlen)
{
	uint32_t step = 0;
	int ret;

	disk_shared_fill(b, d);
	if (block_read_only(b) || block_is_device(b))
		return 0;
	if (getrandom(&step, sizeof(step), 0) != sizeof(step))
		step = 0;
	ret = block_generation_get(b, &d->generation, err, errlen);
	if (!ret)
		ret = block_generation_set(b, d->generation, d->generation + 1 + step,
					   err, errlen);
	d->generation += 1ULL + step;
	d->flags |= DISK_GENERATION;
	return ret;
}

int disk_shared_check(struct block *b, const struct migrate_disk *d, char *err,
		      size_t errlen)
{
	uint64_t generation;
	int ret;

	if (block_size(b) != d->size || memcmp(block_id(b), d->id, sizeof(d->id)) ||
	    (!block_read_only(b) && block_is_device(b) != !(d->flags & DISK_GENERATION))) {
		snprintf(err, errlen, "disk %s: it has %" PRIu64 " bytes and is not that of the source, %s, of %" PRIu64 ": both sides need the same file, on storage that they share",
			 block_path(b), block_size(b), d->path, d->size);
		return -EINVAL;
	}
	if (!(d->flags & DISK_GENERATION))
		return 0;
	ret = block_generation_get(b, &generation, err, errlen);
	if (ret || generation == d->generation)
		return ret;
	snprintf(err, errlen, "disk %s: its generation is %" PRIu64 " and that of the source's disk, %s, is %" PRIu64 ": it is another file, perhaps a copy; both sides need the same one, on storage that they share",
		 block_path(b), generation, d->path, d->generation);
	return -ESTALE;
}

static int stale(const struct block *b, char *err, size_t errlen)
{
	snprintf(err, errlen, "disk %s: its generation says that the other side has the machine",
		 block_path(b));
	return -ESTALE;
}

/* the lock is ours; if the number came about in spite of an error it counts */
static int set(struct block *b, uint64_t from, uint64_t to, char *err, size_t errlen)
{
	char ignored[256];
	uint64_t found;
	int ret = block_generation_set(b, from, to, err, errlen);

	if (ret && ret != -ESTALE &&
	    !block_generation_get(b, &found, ignored, sizeof(ignored)) && found == to)
		ret = 0;
	return ret;
}

static int take(struct block *b, const struct migrate_disk *d, char *err, size_t errlen)
{
	const struct timespec pause = { .tv_nsec = TRY_NS };
	char ignored[256];
	uint64_t found;
	unsigned int i;
	int ret;

	for (i = 0; i < TRIES; i++) {
		ret = block_take(b, err, errlen);
		if (ret != -EAGAIN)
			return ret;
		if (d->flags & DISK_GENERATION &&
		    !block_generation_get(b, &found, ignored, sizeof(ignored)) &&
		    found != d->generation)
			return stale(b, err, errlen);
		nanosleep(&pause, NULL);
	}
	return ret;
}

int disk_shared_claim(struct block *b, const struct migrate_disk *d, char *err,
		      size_t errlen)
{
	int ret = take(b, d, err, errlen);

	if (ret || !(d->flags & DISK_GENERATION))
		return ret;
	ret = set(b, d->generation, d->generation + 1, err, errlen);
	if (ret)
		block_let_go(b);
	return ret;
}

int disk_shared_settle(struct block *b, const struct migrate_disk *d, bool never,
		       char *err, size_t errlen)
{
	uint64_t found = d->generation;
	int ret = 0;

	if (d->flags & DISK_GENERATION)
		ret = block_generation_get(b, &found, err, errlen);
	else if (!never)
		ret = -EOPNOTSUPP;
	if (ret == -EOPNOTSUPP)
		snprintf(err, errlen, "disk %s: it has no generation that would tell", block_path(b));
	if (!ret && !never && found != d->generation)
		return stale(b, err, errlen);
	/* who never runs lets go of it, or has done that */
	if (!ret)
		ret = block_take(b, err, errlen);
	if (ret || !(d->flags & DISK_GENERATION))
		return ret;
	/* it may have become the target's until we had the lock */
	ret = block_generation_get(b, &found, err, errlen);
	if (!ret && !never && found != d->generation)
		ret = stale(b, err, errlen);
	/* who is known not to run needs no number that says so: there may be no room */
	if (!ret && set(b, found, found + 2, err, errlen) && !never)
		ret = -EIO;
	if (ret)
		block_let_go(b);
	return ret;
}
