// SPDX-License-Identifier: GPL-2.0
/*
 * Notifications without an exit: a queue's address in the notify block is a
 * doorbell of the module's, and the event loop looks at the queue while the
 * vCPU runs on. Where there are no doorbells the write comes through the BAR.
 */
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "loop.h"
#include "virtio/virtio_pci.h"

/* by edges: what counts is that it rang, so nobody reads it */
#define BELL_EVENTS	(EPOLLIN | EPOLLET)

struct virtio_bell {
	struct virtio_dev *vdev;
	unsigned int q;
	int fd;			/* eventfd */
	uint64_t gpa;		/* where it is bound; 0: nowhere */
	struct loop_fd *loop_fd;
};

static void bell_rang(void *owner, uint32_t events)
{
	struct virtio_bell *bell = owner;

	(void)events;
	virtio_notify(bell->vdev, bell->q);
}

void virtio_bell_set(struct virtio_dev *vdev, unsigned int q, uint64_t gpa)
{
	struct virtio_bell *bell = vdev->bell ? &vdev->bell[q] : NULL;
	struct dev_env *env = vdev->env;

	if (!bell || bell->gpa == gpa)
		return;
	if (bell->gpa)
		env->doorbell(env, false, bell->gpa, -1);
	bell->gpa = 0;
	/* refused, for want of memory or of doorbells: the BAR is still there */
	if (gpa && !env->doorbell(env, false, gpa, bell->fd))
		bell->gpa = gpa;
}

int virtio_bell_lend(struct virtio_dev *vdev, unsigned int q, bool lent)
{
	struct virtio_bell *bell = vdev->bell ? &vdev->bell[q] : NULL;

	if (!bell)
		return -1;
	/* it is heard again at once if it ever rang, since nobody reads it */
	loop_fd_set(bell->loop_fd, lent ? 0 : BELL_EVENTS);
	return bell->fd;
}

void virtio_bells_free(struct virtio_dev *vdev)
{
	unsigned int q;

	if (!vdev->bell)
		return;
	for (q = 0; q < vdev->nqueues; q++) {
		virtio_bell_set(vdev, q, 0);
		loop_fd_remove(vdev->bell[q].loop_fd);
		if (vdev->bell[q].fd >= 0)
			close(vdev->bell[q].fd);
	}
	free(vdev->bell);
	vdev->bell = NULL;
}

void virtio_bells_new(struct virtio_dev *vdev)
{
	struct virtio_bell *bell;
	unsigned int q;

	if (!vdev->env->doorbell)
		return;
	vdev->bell = calloc(vdev->nqueues, sizeof(*bell));
	if (!vdev->bell)
		return;
	for (q = 0; q < vdev->nqueues; q++) {
		bell = &vdev->bell[q];
		bell->vdev = vdev;
		bell->q = q;
		bell->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
		if (bell->fd >= 0)
			bell->loop_fd = loop_fd_add(vdev->env->loop, bell->fd,
						    BELL_EVENTS,
						    bell_rang, bell);
	}
	for (q = 0; q < vdev->nqueues; q++) {
		if (vdev->bell[q].loop_fd)
			continue;
		virtio_bells_free(vdev);
		break;
	}
}
