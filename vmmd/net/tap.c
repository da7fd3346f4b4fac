// SPDX-License-Identifier: GPL-2.0
/*
 * A tap device that exists already: its owner made it, put it on a bridge and
 * brought it up. Frames go in and out with a header that leaves checksums and
 * segmentation to the guest or to the host's kernel, as the guest can.
 *
 * A pair of queues is a descriptor of its own (IFF_MULTI_QUEUE); those that the
 * guest does not use are detached, or the kernel would send frames there.
 *
 * Where the host has vhost-net, the front end may leave a pair to it.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <linux/virtio_net.h>
#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "loop.h"
#include "mem.h"
#include "net/net.h"
#include "net/vhost.h"

#define TAP_HEADER	((int)sizeof(struct virtio_net_hdr_mrg_rxbuf))
#define TAP_FRAME_MAX	(TAP_HEADER + 65550)
#define TAP_BATCH	64		/* frames under one hold of the lock */

struct tap_queue {
	struct tap_net *tap;
	unsigned int pair;
	int fd;
	struct loop_fd *loop_fd;
	struct vhost vhost;
	bool running;			/* vhost moves the frames */
	bool attached;
	size_t kept;			/* bytes of a frame the guest had no room for */
	uint8_t frame[TAP_FRAME_MAX];
};

struct tap_net {
	struct net net;
	unsigned int offloads;		/* TUN_F_*, as the kernel was told */
	struct vhost_log log;		/* of what vhost writes, or none */
	struct tap_queue q[];		/* net.pairs of them */
};

/* a descriptor without a queue is always "ready" */
static void tap_listen(struct tap_queue *tq)
{
	bool on = tq->attached && !tq->running && !tq->kept;

	loop_fd_set(tq->loop_fd, on ? EPOLLIN : 0);
}

/* ---- frames --------------------------------------------------------------- */

static bool tap_deliver(struct tap_queue *tq, size_t len)
{
	struct net *net = &tq->tap->net;

	if (!net->receive || net->receive(net->owner, tq->pair, tq->frame, len)) {
		tq->kept = 0;
		return true;
	}
	/* the device's own queue keeps the rest, and drops when it is full */
	tq->kept = len;
	tap_listen(tq);
	return false;
}

static void tap_ready(void *owner, uint32_t events)
{
	struct tap_queue *tq = owner;
	ssize_t len;
	int n;

	(void)events;
	for (n = 0; n < TAP_BATCH && !tq->kept; n++) {
		len = read(tq->fd, tq->frame, sizeof(tq->frame));
		/* the device was deleted: epoll would spin */
		if (len < 0 && errno == EBADFD)
			loop_fd_set(tq->loop_fd, 0);
		if (len <= 0)
			break;
		tap_deliver(tq, len);
	}
	net_received(&tq->tap->net);
}

static void tap_resume(struct net *net, unsigned int pair)
{
	struct tap_queue *tq = &((struct tap_net *)net)->q[pair];

	if (tq->attached && !tq->running && tq->kept)
		tap_deliver(tq, tq->kept);
	tap_listen(tq);
}

static void tap_send(struct net *net, unsigned int pair,
		     const struct iovec *iov, unsigned int n, size_t len)
{
	struct tap_queue *tq = &((struct tap_net *)net)->q[pair];

	(void)len;
	/* a full or closed device drops frames, as a wire does */
	if (writev(tq->fd, iov, n) < 0)
		return;
}

/* ---- queues --------------------------------------------------------------- */

static int tap_attach(struct tap_queue *tq, bool on)
{
	struct ifreq ifr = {
		.ifr_flags = on ? IFF_ATTACH_QUEUE : IFF_DETACH_QUEUE,
	};

	if (tq->attached == on)
		return 0;
	if (ioctl(tq->fd, TUNSETQUEUE, &ifr) < 0)
		return -errno;
	tq->attached = on;
	tq->kept = 0;
	tap_listen(tq);
	return 0;
}

static int tap_attach_first(struct tap_net *tap, unsigned int pairs)
{
	unsigned int i;
	int ret = 0;

	for (i = 1; i < tap->net.pairs && !ret; i++)
		ret = tap_attach(&tap->q[i], i < pairs);
	return ret;
}

static unsigned int tap_attached(const struct tap_net *tap)
{
	unsigned int n = 1;

	while (n < tap->net.pairs && tap->q[n].attached)
		n++;
	return n;
}

static int tap_configure(struct net *net, unsigned int pairs,
			 unsigned int offloads)
{
	struct tap_net *tap = (struct tap_net *)net;
	unsigned int before = tap_attached(tap);
	int ret = tap_attach_first(tap, pairs);

	if (!ret && offloads != tap->offloads &&
	    ioctl(tap->q[0].fd, TUNSETOFFLOAD, (unsigned long)offloads) < 0)
		ret = -errno;
	if (ret) {
		tap_attach_first(tap, before);
		return ret;
	}
	tap->offloads = offloads;
	return 0;
}

/* ---- vhost ---------------------------------------------------------------- */

/* the log, if one is needed, or NULL; 0 or -errno */
static int tap_log(struct tap_net *tap, struct vhost_log **log)
{
	*log = mem_tracked(tap->net.mem) ? &tap->log : NULL;
	return *log && !tap->log.bits ? vhost_log_new(&tap->log, tap->net.mem) : 0;
}

static int tap_start(struct net *net, unsigned int pair, struct ring_loan ring[2],
		     uint64_t features)
{
	struct tap_net *tap = (struct tap_net *)net;
	struct tap_queue *tq = &tap->q[pair];
	struct vhost_log *log;
	int ret = tap_log(tap, &log);

	if (!ret)
		ret = vhost_start(&tq->vhost, net->mem, ring, features, tq->fd, log);
	if (ret) {
		vhost_log_take(&tap->log, net->mem);
		return ret;
	}
	tq->running = true;
	/* lost: it would come after those that the kernel has in its queue */
	tq->kept = 0;
	tap_listen(tq);
	return 0;
}

static void tap_stop(struct net *net, unsigned int pair, struct ring_loan ring[2])
{
	struct tap_net *tap = (struct tap_net *)net;
	struct tap_queue *tq = &tap->q[pair];

	vhost_stop(&tq->vhost, ring);
	vhost_log_take(&tap->log, net->mem);
	tq->running = false;
	tap_listen(tq);
}

static int tap_wrote(struct net *net)
{
	struct tap_net *tap = (struct tap_net *)net;
	struct vhost_log *log;
	int ret = tap_log(tap, &log);
	unsigned int i;

	for (i = 0; i < net->pairs && log && !ret; i++)
		if (tap->q[i].running)
			ret = vhost_log_begin(&tap->q[i].vhost, log);
	vhost_log_take(&tap->log, net->mem);
	return ret;
}

static void tap_close_vhost(struct tap_net *tap)
{
	unsigned int i;

	for (i = 0; i < tap->net.pairs; i++)
		vhost_close(&tap->q[i].vhost);
	tap->net.lend = 0;
}

/* one for each pair, or for none */
static int tap_open_vhost(struct tap_net *tap)
{
	unsigned int i;
	int ret = 0;

	for (i = 0; i < tap->net.pairs && !ret; i++)
		ret = vhost_open(&tap->q[i].vhost, &tap->net.lend);
	if (ret)
		tap_close_vhost(tap);
	return ret;
}

static void tap_free(struct net *net)
{
	struct tap_net *tap = (struct tap_net *)net;
	unsigned int i;

	tap_close_vhost(tap);
	vhost_log_free(&tap->log);
	for (i = 0; i < net->pairs; i++) {
		loop_fd_remove(tap->q[i].loop_fd);
		if (tap->q[i].fd >= 0)
			close(tap->q[i].fd);
	}
	free(tap);
}

static const struct net_ops tap_ops = {
	.send = tap_send,
	.resume = tap_resume,
	.configure = tap_configure,
	.start = tap_start,
	.stop = tap_stop,
	.wrote = tap_wrote,
	.free = tap_free,
};

/* ---- making one ----------------------------------------------------------- */

static int tap_refuse(const struct net_tap_opts *o, int error, char *err,
		      size_t errlen)
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
		why = "it is no tap device, or one without several queues";
		todo = "; make one: ip tuntap add dev NAME mode tap multi_queue user USER";
		break;
	}
	snprintf(err, errlen, "tap device %s: %s%s", o->ifname, why, todo);
	return -1;
}

/* 0 or -errno */
static int tap_open_queue(struct tap_queue *tq, const char *ifname, bool multi)
{
	struct ifreq ifr = {
		.ifr_flags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR |
			     (multi ? IFF_MULTI_QUEUE : 0),
	};
	const int size = TAP_HEADER;
	int ret;

	tq->fd = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);
	if (tq->fd < 0)
		return -errno;
	strcpy(ifr.ifr_name, ifname);
	if (ioctl(tq->fd, TUNSETIFF, &ifr) < 0 ||
	    ioctl(tq->fd, TUNSETVNETHDRSZ, &size) < 0) {
		ret = -errno;
		close(tq->fd);
		tq->fd = -1;
		return ret;
	}
	tq->attached = true;
	return 0;
}

/*
 * The device was made with or without multi_queue, and must be opened as it was
 * made; one with is good for one pair, too.
 */
static int tap_open_first(struct tap_net *tap, const struct net_tap_opts *o,
			  bool *multi)
{
	int ret;

	*multi = o->pairs > 1;
	ret = tap_open_queue(&tap->q[0], o->ifname, *multi);
	if (ret != -EINVAL || (*multi && !o->or_less))
		return ret;
	tap->net.pairs = 1;
	*multi = !*multi;
	return tap_open_queue(&tap->q[0], o->ifname, *multi);
}

static int tap_open(struct tap_net *tap, const struct net_tap_opts *o,
		    char *err, size_t errlen)
{
	unsigned int i;
	bool multi;
	int ret;

	/* TUNSETIFF would make one, down and on no bridge: not what was meant */
	if (strlen(o->ifname) >= IFNAMSIZ || !if_nametoindex(o->ifname))
		return tap_refuse(o, ENODEV, err, errlen);
	ret = tap_open_first(tap, o, &multi);
	for (i = 1; i < tap->net.pairs && !ret; i++)
		ret = tap_open_queue(&tap->q[i], o->ifname, multi);
	/* whoever had it before may have left others */
	if (!ret && ioctl(tap->q[0].fd, TUNSETOFFLOAD, 0UL) < 0)
		ret = -errno;
	return ret ? tap_refuse(o, -ret, err, errlen) : 0;
}

static void tap_refuse_vhost(const struct net_tap_opts *o, int error, char *err,
			     size_t errlen)
{
	const char *why = strerror(error);

	if (error == ENOENT || error == ENODEV || error == ENXIO)
		why = "it does not exist; load the module (modprobe vhost_net), or leave --net-vhost on out";
	else if (error == EACCES || error == EPERM)
		why = "no permission; chgrp/chmod it for this user, or leave --net-vhost on out";
	snprintf(err, errlen, "tap device %s: wanted /dev/vhost-net for it: %s",
		 o->ifname, why);
}

static int tap_watch(struct tap_net *tap, struct loop *loop)
{
	unsigned int i;

	for (i = 0; i < tap->net.pairs; i++) {
		tap->q[i].loop_fd = loop_fd_add(loop, tap->q[i].fd, EPOLLIN,
						tap_ready, &tap->q[i]);
		if (!tap->q[i].loop_fd)
			return -errno;
	}
	/* until the guest asks for more */
	return tap_attach_first(tap, 1);
}

struct net *net_tap_new(struct loop *loop, const struct net_tap_opts *opts,
			char *err, size_t errlen)
{
	struct tap_net *tap = calloc(1, sizeof(*tap) +
				     opts->pairs * sizeof(tap->q[0]));
	unsigned int i;
	int ret;

	if (!tap) {
		snprintf(err, errlen, "tap device %s: no memory", opts->ifname);
		return NULL;
	}
	tap->net.ops = &tap_ops;
	tap->net.pairs = opts->pairs;
	tap->net.has_header = true;
	for (i = 0; i < opts->pairs; i++) {
		tap->q[i].tap = tap;
		tap->q[i].pair = i;
		tap->q[i].fd = -1;
		tap->q[i].vhost.fd = -1;
	}
	if (tap_open(tap, opts, err, errlen))
		goto fail;
	ret = opts->vhost == NET_VHOST_OFF ? 0 : tap_open_vhost(tap);
	if (ret && opts->vhost == NET_VHOST_ON) {
		tap_refuse_vhost(opts, -ret, err, errlen);
		goto fail;
	}
	ret = tap_watch(tap, loop);
	if (!ret)
		return &tap->net;
	snprintf(err, errlen, "tap device %s: it cannot be polled: %s",
		 opts->ifname, strerror(-ret));
fail:
	tap_free(&tap->net);
	return NULL;
}
