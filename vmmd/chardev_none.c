// SPDX-License-Identifier: GPL-2.0
/*
 * --console none: nobody is at the other end but those who come through the
 * control socket. The newest output is kept for them.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "chardev.h"

static ssize_t none_put(struct chardev *c, const uint8_t *buf, size_t len)
{
	return -EAGAIN;
}

static void none_want(struct chardev *c, bool on)
{
}

static void none_free(struct chardev *c)
{
	free(c);
}

static const struct chardev_ops none_ops = {
	.put = none_put,
	.want_put = none_want,
	.want_get = none_want,
	.free = none_free,
};

struct chardev *chardev_none_new(struct loop *loop, char *err, size_t errlen)
{
	struct chardev *c = calloc(1, sizeof(*c));

	if (!c || chardev_init(c, &none_ops, loop)) {
		free(c);
		snprintf(err, errlen, "console: out of memory");
		return NULL;
	}
	c->overwrite = true;
	return c;
}
