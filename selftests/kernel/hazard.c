// SPDX-License-Identifier: GPL-2.0
/* Guests played while the host changes. See hazard.h. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "hazard.h"
#include "../../guests/bare/steady.h"

#define TIMEOUT_MS	100000

const struct game game_ping = {
	.image = "hltpingpong", .cpus = 2, .arg = { 1, 4000 }, .times = 1,
};

const struct game game_timers = {
	.image = "timer", .cpus = 1, .arg = { 1 }, .times = 60,
};

const struct game game_steady = {
	.image = "steady", .cpus = 4, .arg = { 1, 4, 100 }, .times = 1, .ns = STEADY_NS,
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

/* a clock that jumps ahead takes longer than what there was of time */
static bool in_time(struct vm *vm, const struct game *g, u64 ms)
{
	bool found;
	u64 ns;

	if (!g->ns)
		return true;
	ns = testdev_report(&vm->testdev, g->ns, 0, &found);
	if (found && ns / 1000000 <= ms + ms / 50 + 10)
		return true;
	fprintf(stderr, "# the guest's clock says %llu ns, ours %llu ms\n", ns, ms);
	return false;
}

static int play_once(const struct game *g)
{
	struct vm *vm = vm_guest(g->image, g->cpus);
	u64 start = vm_now_ms();
	unsigned int i;
	int r = 1;

	for (i = 0; i < GUEST_NARGS; i++)
		vm_arg(vm, i, g->arg[i]);
	if (vm_run(vm, TIMEOUT_MS) == VM_EXITED && vm->result == 0 &&
	    in_time(vm, g, vm_now_ms() - start))
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
	do {
		r = play(g);
	} while (!r && !h->error && h->times < h->enough);
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
