// SPDX-License-Identifier: GPL-2.0
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "block_random.h"

uint8_t model[ODD + 4096];
uint64_t disk_size;
struct random guest[GUEST_AT_ONCE];

void make_model(uint64_t size)
{
	uint64_t i;
	int fd;

	disk_size = size;
	for (i = 0; i < size; i++)
		model[i] = i % (512 * 1024) < 4096 ? 0 : rnd(256);
	fd = open(path, O_CREAT | O_TRUNC | O_WRONLY, 0600);
	assert_int_equal(pwrite(fd, model, size, 0), size);
	close(fd);
}

void same_as_model(struct disk *d)
{
	static uint8_t got[ODD] __attribute__((aligned(4096)));
	uint64_t i;

	assert_int_equal(one(d, BLOCK_READ, 0, got, disk_size), 0);
	for (i = 0; i < disk_size; i++)
		if (got[i] != model[i])
			fail_msg("byte %llu is %02x and not %02x",
				 (unsigned long long)i, got[i], model[i]);
}

static bool overlaps(const struct random *r, unsigned int n, uint64_t offset,
		     uint64_t len)
{
	unsigned int i;

	for (i = 0; i < n; i++)
		if (r[i].busy && offset < r[i].offset + r[i].len &&
		    r[i].offset < offset + len)
			return true;
	return false;
}

void random_submit(struct disk *d, struct random *r, unsigned int n,
		   unsigned int i, uint64_t near)
{
	static const enum block_op ops[] = {
		BLOCK_READ, BLOCK_READ, BLOCK_WRITE, BLOCK_WRITE, BLOCK_WRITE,
		BLOCK_FLUSH, BLOCK_DISCARD, BLOCK_WRITE_ZEROES,
	};
	enum block_op op = ops[rnd(8)];
	uint64_t offset, len, left, k;
	unsigned int j;

	r[i].busy = false;
	do {
		len = 512 * (1 + rnd(rnd(8) ? 12 : 200));
		offset = rnd(3) ? near + 512 * rnd(64) :
			512 * (uint64_t)rnd(disk_size / 512);
		if (offset >= disk_size)
			offset = disk_size - 512;
		if (len > disk_size - offset)
			len = disk_size - offset;
	} while (overlaps(r, n, offset, len));
	r += i;
	r->busy = true;
	r->offset = offset;
	r->len = len;
	/* guest buffers may lie anywhere */
	r->data = r->pool + (rnd(2) ? rnd(512) : 0);
	for (k = 0; k < len; k++)
		r->data[k] = op == BLOCK_WRITE ? rnd(256) : 0xee;
	for (j = 0, left = len; left; j++) {
		k = j == 23 ? left : 1 + rnd(left);
		r->iov[j] = (struct iovec){ r->data + len - left, k };
		left -= k;
	}
	submit(d, &r->a, op, offset, len, r->iov, j);
	if (op == BLOCK_WRITE)
		memcpy(model + offset, r->data, len);
	else if (op == BLOCK_DISCARD || op == BLOCK_WRITE_ZEROES)
		memset(model + offset, 0, len);
}

bool random_done(struct random *r)
{
	if (!r->a.done)
		return false;
	r->busy = false;
	assert_int_equal(r->a.result, 0);
	/* nobody wrote there meanwhile */
	if (r->a.req.op == BLOCK_READ &&
	    memcmp(model + r->offset, r->data, r->len))
		fail_msg("read of %llu bytes at %llu", (unsigned long long)r->len,
			 (unsigned long long)r->offset);
	return true;
}

struct disk *start_disk(enum engine e, uint64_t size, bool overlay)
{
	const struct block_opts plain = { 0 };
	char base[256];

	in_dir(path, "disk.img");
	make_model(size);
	if (overlay) {
		strcpy(base, path);
		unlink(in_dir(path, "top"));
		assert_int_equal(block_overlay_create(path, base, err, sizeof(err)), 0);
	}
	return open_on(e, &plain);
}

void guest_works(struct disk *d, unsigned int steps)
{
	unsigned int i;

	while (steps--) {
		i = rnd(GUEST_AT_ONCE);
		if (guest[i].busy && !random_done(&guest[i])) {
			engine_wait(d->b);
			continue;
		}
		random_submit(d, guest, GUEST_AT_ONCE, i, 512 * (uint64_t)rnd(disk_size / 512));
	}
}

void guest_rests(struct disk *d)
{
	unsigned int i;

	block_drain(d->b);
	for (i = 0; i < GUEST_AT_ONCE; i++)
		if (guest[i].busy)
			assert_true(random_done(&guest[i]));
}
