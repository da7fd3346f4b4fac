// SPDX-License-Identifier: GPL-2.0
/* Guests played while the host changes. See hazard.h. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "hazard.h"

#define TIMEOUT_MS	100000

const struct game game_ping = {
	.image = "hltpingpong", .cpus = 2, .arg = { 1, 4000 }, .times = 1,
};

const struct game game_timers = {
	.image = "timer", .cpus = 1, .arg = { 1 }, .times = 60,
};

static void *hazard_thread(void *arg)
{
	struct hazard *h = arg;

	while (!h->stop && !h->error && (!h->limit || h->times < h->limit)) {
		h->once(h, h->times++);
		usleep(h->pause_us);
	}
	return NULL;
}

static int play_once(const struct game *g)
{
	struct vm *vm = vm_guest(g->image, g->cpus);
	unsigned int i;
	int r = 1;

	for (i = 0; i < GUEST_NARGS; i++)
		vm_arg(vm, i, g->arg[i]);
	if (vm_run(vm, TIMEOUT_MS) == VM_EXITED && vm->result == 0)
		r = 0;
	else
		vm_explain(vm);
	vm_free(vm);
	return r;
}

int play(const struct game *g)
{
	unsigned int i;

	for (i = 0; i < g->times; i++)
		if (play_once(g))
			return 1;
	return 0;
}

int play_under(const struct game *g, struct hazard *h)
{
	pthread_t t;
	int r;

	if (pthread_create(&t, NULL, hazard_thread, h))
		vm_die("no thread for the hazard");
	r = play(g);
	h->stop = true;
	pthread_join(t, NULL);
	return r;
}

int kernel_write(struct hazard *h, const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	int error = 0;

	if (fd < 0 || write(fd, text, strlen(text)) < 0)
		error = errno;
	if (fd >= 0)
		close(fd);
	if (h && error)
		h->error = error;
	return error;
}
