// SPDX-License-Identifier: GPL-2.0
/*
 * Port 0x80: firmware writes progress codes there, and kernels whatever they
 * like to pass a microsecond. Nobody wants to know; a doorbell that nobody
 * hears spares the exits.
 */
#include <errno.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "dev/devices.h"

#define POST_PORT	0x80

struct post {
	struct dev_env *env;
	int eventfd;
};

static void post_reset(void *owner)
{
}

static size_t post_save(void *owner, void *buf, size_t max)
{
	return 0;
}

static int post_load(void *owner, const void *buf, size_t len)
{
	return len ? -EINVAL : 0;
}

static void post_free(void *owner)
{
	struct post *post = owner;

	if (post->eventfd >= 0) {
		post->env->doorbell(post->env, true, POST_PORT, -1);
		close(post->eventfd);
	}
	free(post);
}

static const struct dev_ops post_ops = {
	.reset = post_reset,
	.save = post_save,
	.load = post_load,
	.free = post_free,
};

int post_new(struct dev_env *env)
{
	struct post *post = calloc(1, sizeof(*post));
	int err;

	if (!post)
		return -ENOMEM;
	post->env = env;
	post->eventfd = -1;
	err = env->add(env, "post", &post_ops, post);
	if (err) {
		free(post);
		return err;
	}
	if (!env->doorbell)
		return 0;
	post->eventfd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	/* without it they are exits: the bus drops them */
	if (post->eventfd >= 0 &&
	    env->doorbell(env, true, POST_PORT, post->eventfd)) {
		close(post->eventfd);
		post->eventfd = -1;
	}
	return 0;
}
