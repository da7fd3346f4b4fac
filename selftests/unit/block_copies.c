// SPDX-License-Identifier: GPL-2.0
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "block_copies.h"

void copy_done(void *owner, int result)
{
	struct copy *c = owner;

	assert_int_equal(c->result, 1);
	c->c = NULL;
	c->result = result;
}

void copy_start(struct disk *d, struct copy *c, const char *name,
		const struct block_copy_opts *o)
{
	c->result = 1;
	in_dir(c->path, name);
	memcpy(c->instant, model, disk_size);
	c->c = block_copy_start(d->b, c->path, o, copy_done, c, err, sizeof(err));
	if (!c->c)
		fail_msg("%s", err);
	assert_int_equal(c->result, 1);		/* never from inside */
}

void copy_wait(struct disk *d, struct copy *c)
{
	while (c->result == 1)
		engine_wait(d->b);
}

void copy_check(struct copy *c)
{
	const struct block_opts ro = { .read_only = true };
	static uint8_t got[ODD];
	char keep[256];
	struct disk *d;
	uint64_t i;

	assert_int_equal(c->result, 0);
	strcpy(keep, path);
	strcpy(path, c->path);
	d = disk_open(&ro);
	if (!d->b)
		fail_msg("%s", err);
	assert_int_equal(block_size(d->b), disk_size);
	assert_int_equal(one(d, BLOCK_READ, 0, got, disk_size), 0);
	for (i = 0; i < disk_size; i++)
		if (got[i] != c->instant[i])
			fail_msg("%s: byte %llu is %02x and was %02x", c->what,
				 (unsigned long long)i, got[i], c->instant[i]);
	disk_close(d);
	strcpy(path, keep);
}

void copy_forget(struct copy *c)
{
	unlink(c->path);
}
