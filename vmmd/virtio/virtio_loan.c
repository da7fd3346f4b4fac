// SPDX-License-Identifier: GPL-2.0
/*
 * Queues that the host's kernel works in our stead. Their doorbells ring there,
 * and the eventfd by which it asks for an interrupt is bound to the queue's
 * message in the module: then neither way passes through this process. While the
 * vector is masked, or there are no messages, the event loop hears the eventfd and
 * does what virtio_signal does; changing over loses nothing, as the eventfd counts.
 */
#include <errno.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "loop.h"
#include "ring.h"
#include "virtio/virtio_pci.h"

struct virtio_loan {
	struct virtio_dev *vdev;
	unsigned int q;
	bool lent;
	int kick, call, error;		/* eventfds, as in struct ring_loan */
	struct loop_fd *call_fd, *error_fd;
	unsigned int gsi;
	bool bound;			/* call is, to gsi's message: */
	uint64_t addr;
	uint32_t data;
};

static bool take_count(int fd)
{
	uint64_t count;

	return read(fd, &count, sizeof(count)) == sizeof(count);
}

static void loan_called(void *owner, uint32_t events)
{
	struct virtio_loan *loan = owner;

	(void)events;
	if (take_count(loan->call))
		virtio_interrupt_queue(loan->vdev, loan->q);
}

static void loan_failed(void *owner, uint32_t events)
{
	struct virtio_loan *loan = owner;

	(void)events;
	if (take_count(loan->error) && loan->lent)
		virtio_fail(loan->vdev,
			    "queue %u: the host's kernel found a ring or a descriptor that breaks the rules; the device stops until the guest resets it",
			    loan->q);
}

/* ---- interrupts ----------------------------------------------------------- */

static void loan_unbind(struct virtio_loan *loan)
{
	struct dev_env *env = loan->vdev->env;

	if (!loan->bound)
		return;
	env->msi_bind(env, loan->gsi, -1, -1);
	loan->bound = false;
}

static bool loan_bind(struct virtio_loan *loan)
{
	struct dev_env *env = loan->vdev->env;
	uint64_t addr;
	uint32_t data;

	if (!env->msi_bind ||
	    !pci_msix_message(&loan->vdev->pci, loan->vdev->vector[loan->q], &addr,
			      &data))
		return false;
	if (loan->bound && loan->addr == addr && loan->data == data)
		return true;
	/* no message: what the guest wrote there sends nothing */
	if (env->msi_route(env, loan->gsi, addr, data))
		return false;
	loan->addr = addr;
	loan->data = data;
	if (loan->bound)
		return true;
	loop_fd_set(loan->call_fd, 0);
	loan->bound = !env->msi_bind(env, loan->gsi, loan->call, -1);
	return loan->bound;
}

/* where calls go, as the vector is now */
static void loan_place(struct virtio_loan *loan)
{
	if (loan_bind(loan))
		return;
	loan_unbind(loan);
	loop_fd_set(loan->call_fd, EPOLLIN);
}

void virtio_loan_message(struct virtio_dev *vdev, uint16_t vector)
{
	unsigned int q;

	for (q = 0; vdev->loan && q < vdev->nqueues; q++)
		if (vdev->loan[q].lent && vdev->vector[q] == vector)
			loan_place(&vdev->loan[q]);
}

/* ---- queues --------------------------------------------------------------- */

bool virtio_lend(struct virtio_dev *vdev, unsigned int q, struct ring_loan *ring)
{
	struct virtio_loan *loan = vdev->loan ? &vdev->loan[q] : NULL;

	/* without bells nobody but us hears of notifications */
	if (!loan || !vdev->bell || !virtio_running(vdev))
		return false;
	/* the state of a queue that was loaded may owe the driver one */
	virtio_signal(vdev, q);
	if (!vq_lend(&vdev->vq[q], ring))
		return false;
	loan->kick = virtio_bell_lend(vdev, q, true);
	ring->kick = loan->kick;
	ring->call = loan->call;
	ring->error = loan->error;
	loan->lent = true;
	loan_place(loan);
	return true;
}

void virtio_return(struct virtio_dev *vdev, unsigned int q, uint16_t next)
{
	struct virtio_loan *loan = &vdev->loan[q];

	loan->lent = false;
	loan_unbind(loan);
	loop_fd_set(loan->call_fd, 0);
	if (take_count(loan->call))
		virtio_interrupt_queue(vdev, q);
	take_count(loan->error);
	virtio_bell_lend(vdev, q, false);
	vq_return(&vdev->vq[q], next);
}

void virtio_loan_kick(struct virtio_dev *vdev, unsigned int q)
{
	const uint64_t one = 1;

	/* fails only when the counter is full, and then it was heard already */
	if (write(vdev->loan[q].kick, &one, sizeof(one)) < 0)
		return;
}

/* ---- making --------------------------------------------------------------- */

void virtio_loans_free(struct virtio_dev *vdev)
{
	struct virtio_loan *loan;
	unsigned int q;

	for (q = 0; vdev->loan && q < vdev->nqueues; q++) {
		loan = &vdev->loan[q];
		loop_fd_remove(loan->call_fd);
		loop_fd_remove(loan->error_fd);
		if (loan->call >= 0)
			close(loan->call);
		if (loan->error >= 0)
			close(loan->error);
	}
	free(vdev->loan);
	vdev->loan = NULL;
}

static bool loan_open(struct virtio_loan *loan)
{
	struct loop *loop = loan->vdev->env->loop;

	loan->call = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	loan->error = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (loan->call < 0 || loan->error < 0)
		return false;
	loan->call_fd = loop_fd_add(loop, loan->call, 0, loan_called, loan);
	loan->error_fd = loop_fd_add(loop, loan->error, EPOLLIN, loan_failed, loan);
	return loan->call_fd && loan->error_fd;
}

int virtio_loans_new(struct virtio_dev *vdev)
{
	struct virtio_loan *loan;
	bool good = true;
	unsigned int q;

	vdev->loan = calloc(vdev->nqueues, sizeof(*loan));
	if (!vdev->loan)
		return -ENOMEM;
	for (q = 0; q < vdev->nqueues; q++) {
		loan = &vdev->loan[q];
		*loan = (struct virtio_loan){ .vdev = vdev, .q = q, .call = -1, .error = -1 };
		loan->gsi = vdev->env->gsis++;
		good = loan_open(loan) && good;
	}
	if (good)
		return 0;
	virtio_loans_free(vdev);
	return -EMFILE;
}
