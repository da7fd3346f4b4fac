// SPDX-License-Identifier: GPL-2.0
/*
 * A tap device that exists already: its owner made it, put it on a bridge and
 * brought it up. Frames go in and out as they are, without offload headers.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "loop.h"
#include "net/net.h"

#define TAP_FRAME_MAX	65550
#define TAP_BATCH	64		/* frames under one hold of the lock */

struct tap_net {
	struct net net;
	int fd;
	struct loop_fd *loop_fd;
	size_t kept;			/* bytes of a frame the guest had no room for */
	uint8_t frame[TAP_FRAME_MAX];
};

static bool tap_deliver(struct tap_net *tap, size_t len)
{
	if (!tap->net.receive ||
	    tap->net.receive(tap->net.owner, tap->frame, len)) {
		tap->kept = 0;
		return true;
	}
	/* the device's own queue keeps the rest, and drops when it is full */
	tap->kept = len;
	loop_fd_set(tap->loop_fd, 0);
	return false;
}

static void tap_ready(void *owner, uint32_t events)
{
	struct tap_net *tap = owner;
	ssize_t len;
	int n;

	(void)events;
	for (n = 0; n < TAP_BATCH && !tap->kept; n++) {
		len = read(tap->fd, tap->frame, sizeof(tap->frame));
		/* the device was deleted: epoll would spin */
		if (len < 0 && errno == EBADFD)
			loop_fd_set(tap->loop_fd, 0);
		if (len <= 0)
			break;
		tap_deliver(tap, len);
	}
}

static void tap_resume(struct net *net)
{
	struct tap_net *tap = (struct tap_net *)net;

	if (tap->kept && !tap_deliver(tap, tap->kept))
		return;
	loop_fd_set(tap->loop_fd, EPOLLIN);
}

static void tap_send(struct net *net, const struct iovec *iov, unsigned int n,
		     size_t len)
{
	struct tap_net *tap = (struct tap_net *)net;

	(void)len;
	/* a full or closed device drops frames, as a wire does */
	if (writev(tap->fd, iov, n) < 0)
		return;
}

static void tap_free(struct net *net)
{
	struct tap_net *tap = (struct tap_net *)net;

	loop_fd_remove(tap->loop_fd);
	if (tap->fd >= 0)
		close(tap->fd);
	free(tap);
}

static const struct net_ops tap_ops = {
	.send = tap_send,
	.resume = tap_resume,
	.free = tap_free,
};

static int tap_refuse(const char *ifname, int error, char *err, size_t errlen)
{
	const char *why = strerror(error), *todo = "";

	switch (error) {
	case ENOENT:
		why = "/dev/net/tun is missing";
		todo = "; load the module: modprobe tun";
		break;
	case ENODEV:
		why = "there is no such interface";
		todo = "; make it: ip tuntap add dev NAME mode tap user USER && ip link set NAME up";
		break;
	case EPERM:
	case EACCES:
		why = "no permission";
		todo = "; it must belong to this user: ip tuntap add dev NAME mode tap user USER";
		break;
	case EBUSY:
		why = "another program has it open";
		todo = "; give each VM a tap device of its own";
		break;
	case EINVAL:
		why = "it is no tap device, or one with several queues";
		todo = "; make one: ip tuntap add dev NAME mode tap user USER";
		break;
	}
	snprintf(err, errlen, "tap device %s: %s%s", ifname, why, todo);
	return -1;
}

static int tap_open(struct tap_net *tap, const char *ifname, char *err,
		    size_t errlen)
{
	struct ifreq ifr = { .ifr_flags = IFF_TAP | IFF_NO_PI };

	/* TUNSETIFF would make one, down and on no bridge: not what was meant */
	if (strlen(ifname) >= IFNAMSIZ || !if_nametoindex(ifname))
		return tap_refuse(ifname, ENODEV, err, errlen);
	tap->fd = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);
	if (tap->fd < 0)
		return tap_refuse(ifname, errno, err, errlen);
	strcpy(ifr.ifr_name, ifname);
	if (ioctl(tap->fd, TUNSETIFF, &ifr) < 0)
		return tap_refuse(ifname, errno, err, errlen);
	return 0;
}

struct net *net_tap_new(struct loop *loop, const char *ifname, char *err,
			size_t errlen)
{
	struct tap_net *tap = calloc(1, sizeof(*tap));

	if (!tap) {
		snprintf(err, errlen, "tap device %s: no memory", ifname);
		return NULL;
	}
	tap->net.ops = &tap_ops;
	tap->fd = -1;
	if (tap_open(tap, ifname, err, errlen))
		goto fail;
	tap->loop_fd = loop_fd_add(loop, tap->fd, EPOLLIN, tap_ready, tap);
	if (tap->loop_fd)
		return &tap->net;
	snprintf(err, errlen, "tap device %s: it cannot be polled: %s", ifname,
		 strerror(errno));
fail:
	tap_free(&tap->net);
	return NULL;
}
