// SPDX-License-Identifier: GPL-2.0
/*
 * User networking: libslirp is a small TCP/IP stack that talks Ethernet to
 * the guest and sockets to the host, without any privilege.
 *
 *   10.0.2.0/24, gateway and host 10.0.2.2, DNS 10.0.2.3, DHCP from 10.0.2.15
 *
 * slirp wants its sockets polled together, and tells which ones anew each
 * time. They live in an epoll set of their own, which is one descriptor of
 * the loop; the set is brought up to date after slirp has worked.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <libslirp.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "iov.h"
#include "library.h"
#include "loop.h"
#include "net/net.h"

#define LIBRARY		"libslirp.so.0"
#define USER_NETWORK	0x0a000200U		/* 10.0.2.0 */
#define USER_MASK	0xffffff00U
#define USER_HOST	(USER_NETWORK + 2)
#define USER_DNS	(USER_NETWORK + 3)
#define USER_DHCP	(USER_NETWORK + 15)
#define USER_FRAME_MAX	65550
#define USER_BACKLOG	(256 * 1024U)		/* bytes kept for the guest */
#define USER_BATCH	64
#define USER_FDS	4096
#define MSEC		1000000ULL

#define FUNCTIONS(F)							\
	F(slirp_new)							\
	F(slirp_cleanup)						\
	F(slirp_input)							\
	F(slirp_pollfds_fill)						\
	F(slirp_pollfds_poll)						\
	F(slirp_add_hostfwd)

/* GLib, which comes with it, takes as long to load as all else of a restore */
static struct {
	FUNCTIONS(LIBRARY_POINTER)
} lib;

struct user_fd {
	int fd;				/* -1: free */
	int wanted;			/* SLIRP_POLL_* of the last fill */
	int added;			/* as the epoll set has it; 0: absent */
	int ready;
};

struct user_frame {
	struct user_frame *next;
	size_t len;
	uint8_t data[];
};

struct user_timer {
	struct user_net *un;
	struct loop_timer *timer;
	SlirpTimerCb fn;
	void *opaque;
};

struct user_net {
	struct net net;
	Slirp *slirp;
	struct loop *loop;
	int epoll;
	struct loop_fd *epoll_fd;
	struct loop_timer *timer;	/* when slirp wants to be called */
	bool soon;			/* it is armed for now */
	struct user_fd *fds;
	int nfds;
	/* frames that the guest had no room for */
	struct user_frame *head, *tail;
	size_t backlog;			/* bytes */
	uint8_t frame[USER_FRAME_MAX];
};

/* ---- the set of sockets --------------------------------------------------- */

static uint32_t to_epoll(int poll)
{
	return (poll & SLIRP_POLL_IN ? EPOLLIN : 0) |
	       (poll & SLIRP_POLL_OUT ? EPOLLOUT : 0) |
	       (poll & SLIRP_POLL_PRI ? EPOLLPRI : 0);
}

static int from_epoll(uint32_t events)
{
	return (events & EPOLLIN ? SLIRP_POLL_IN : 0) |
	       (events & EPOLLOUT ? SLIRP_POLL_OUT : 0) |
	       (events & EPOLLPRI ? SLIRP_POLL_PRI : 0) |
	       (events & EPOLLERR ? SLIRP_POLL_ERR : 0) |
	       (events & EPOLLHUP ? SLIRP_POLL_HUP : 0);
}

/* the slot of an fd, or a free one; -1: no memory or too many */
static int find_slot(struct user_net *un, int fd)
{
	struct user_fd *more;
	int i, free_slot = -1;

	for (i = 0; i < un->nfds; i++) {
		if (un->fds[i].fd == fd)
			return i;
		if (un->fds[i].fd < 0)
			free_slot = i;
	}
	if (free_slot >= 0)
		return free_slot;
	if (un->nfds >= USER_FDS)
		return -1;
	more = reallocarray(un->fds, un->nfds + 16, sizeof(*more));
	if (!more)
		return -1;
	un->fds = more;
	for (i = 0; i < 16; i++)
		more[un->nfds + i] = (struct user_fd){ .fd = -1 };
	un->nfds += 16;
	return un->nfds - 16;
}

static int add_poll(int fd, int events, void *opaque)
{
	struct user_net *un = opaque;
	int slot = find_slot(un, fd);

	if (slot < 0)
		return -1;
	un->fds[slot].fd = fd;
	un->fds[slot].wanted = events;
	return slot;
}

static int get_revents(int idx, void *opaque)
{
	struct user_net *un = opaque;

	return idx >= 0 && idx < un->nfds ? un->fds[idx].ready : 0;
}

/* bring the epoll set in line with what slirp wants */
static void sync_slot(struct user_net *un, int slot)
{
	struct user_fd *f = &un->fds[slot];
	struct epoll_event ev = {
		.events = to_epoll(f->wanted),
		.data.u32 = slot,
	};
	int op = EPOLL_CTL_MOD;

	if (f->fd < 0 || f->wanted == f->added)
		return;
	if (!f->wanted)
		op = EPOLL_CTL_DEL;
	else if (!f->added)
		op = EPOLL_CTL_ADD;
	epoll_ctl(un->epoll, op, f->fd, &ev);
	f->added = f->wanted;
	if (!f->wanted)
		f->fd = -1;
}

static void update(struct user_net *un)
{
	uint32_t timeout = UINT32_MAX;		/* ms */
	int i;

	for (i = 0; i < un->nfds; i++)
		un->fds[i].wanted = 0;
	CALL(slirp_pollfds_fill)(un->slirp, &timeout, add_poll, un);
	for (i = 0; i < un->nfds; i++)
		sync_slot(un, i);
	if (un->soon)
		return;
	if (timeout == UINT32_MAX)
		loop_timer_cancel(un->timer);
	else
		loop_timer_arm(un->timer, loop_now() + timeout * MSEC);
}

/* slirp closes the descriptor after this: its number may come back at once */
static void cb_unregister_poll_fd(int fd, void *opaque)
{
	struct user_net *un = opaque;
	int i;

	for (i = 0; i < un->nfds; i++) {
		if (un->fds[i].fd != fd)
			continue;
		if (un->fds[i].added)
			epoll_ctl(un->epoll, EPOLL_CTL_DEL, fd, NULL);
		un->fds[i] = (struct user_fd){ .fd = -1 };
	}
}

static void cb_register_poll_fd(int fd, void *opaque)
{
	(void)fd;
	(void)opaque;
}

/* let slirp see what is ready and what is due */
static void work(struct user_net *un)
{
	struct epoll_event ev[USER_BATCH];
	int i, n;

	un->soon = false;
	n = epoll_wait(un->epoll, ev, USER_BATCH, 0);
	for (i = 0; i < n; i++)
		un->fds[ev[i].data.u32].ready = from_epoll(ev[i].events);
	CALL(slirp_pollfds_poll)(un->slirp, 0, get_revents, un);
	for (i = 0; i < un->nfds; i++)
		un->fds[i].ready = 0;
	update(un);
	net_received(&un->net);
}

static void user_ready(void *owner, uint32_t events)
{
	(void)events;
	work(owner);
}

static void user_timer(void *owner)
{
	work(owner);
}

/* after the guest sent something: once per burst, from the loop */
static void work_soon(struct user_net *un)
{
	if (un->soon)
		return;
	un->soon = true;
	loop_timer_arm(un->timer, loop_now());
}

/* ---- frames to the guest -------------------------------------------------- */

/* keep it for resume; more than the limit is lost, as on a full wire */
static void backlog_add(struct user_net *un, const void *frame, size_t len)
{
	struct user_frame *f;

	if (un->backlog + len > USER_BACKLOG)
		return;
	f = malloc(sizeof(*f) + len);
	if (!f)
		return;
	f->next = NULL;
	f->len = len;
	memcpy(f->data, frame, len);
	if (un->tail)
		un->tail->next = f;
	else
		un->head = f;
	un->tail = f;
	un->backlog += len;
}

static void backlog_drop(struct user_net *un)
{
	struct user_frame *f = un->head;

	un->head = f->next;
	if (!un->head)
		un->tail = NULL;
	un->backlog -= f->len;
	free(f);
}

static ssize_t cb_send_packet(const void *frame, size_t len, void *opaque)
{
	struct user_net *un = opaque;

	if (!un->net.receive)
		return len;
	if (un->head || !un->net.receive(un->net.owner, 0, frame, len))
		backlog_add(un, frame, len);
	return len;
}

static void user_resume(struct net *net, unsigned int pair)
{
	struct user_net *un = (struct user_net *)net;

	while (un->head && net->receive &&
	       net->receive(net->owner, pair, un->head->data, un->head->len))
		backlog_drop(un);
}

/* ---- frames from the guest ------------------------------------------------ */

static void user_send(struct net *net, unsigned int pair,
		      const struct iovec *iov, unsigned int n, size_t len)
{
	struct user_net *un = (struct user_net *)net;

	if (len > sizeof(un->frame))
		return;
	len = iov_read(iov, n, 0, un->frame, len);
	CALL(slirp_input)(un->slirp, un->frame, len);
	work_soon(un);
}

/* ---- slirp's other wishes ------------------------------------------------- */

/* what a guest does wrong is the guest's affair, and no line of ours */
static void cb_guest_error(const char *msg, void *opaque)
{
	(void)msg;
	(void)opaque;
}

static int64_t cb_clock_get_ns(void *opaque)
{
	(void)opaque;
	return loop_now();
}

static void timer_fired(void *owner)
{
	struct user_timer *t = owner;

	t->fn(t->opaque);
	net_received(&t->un->net);
	work_soon(t->un);
}

static void *cb_timer_new(SlirpTimerCb fn, void *cb_opaque, void *opaque)
{
	struct user_net *un = opaque;
	struct user_timer *t = calloc(1, sizeof(*t));

	if (!t)
		return NULL;
	t->un = un;
	t->fn = fn;
	t->opaque = cb_opaque;
	t->timer = loop_timer_new(un->loop, timer_fired, t);
	if (!t->timer) {
		free(t);
		return NULL;
	}
	return t;
}

static void cb_timer_free(void *timer, void *opaque)
{
	struct user_timer *t = timer;

	(void)opaque;
	if (!t)
		return;
	loop_timer_free(t->timer);
	free(t);
}

static void cb_timer_mod(void *timer, int64_t expire_ms, void *opaque)
{
	struct user_timer *t = timer;

	(void)opaque;
	if (t)
		loop_timer_arm(t->timer, (uint64_t)expire_ms * MSEC);
}

static void cb_notify(void *opaque)
{
	work_soon(opaque);
}

static const SlirpCb callbacks = {
	.send_packet = cb_send_packet,
	.guest_error = cb_guest_error,
	.clock_get_ns = cb_clock_get_ns,
	.timer_new = cb_timer_new,
	.timer_free = cb_timer_free,
	.timer_mod = cb_timer_mod,
	.register_poll_fd = cb_register_poll_fd,
	.unregister_poll_fd = cb_unregister_poll_fd,
	.notify = cb_notify,
};

/* ---- making one ----------------------------------------------------------- */

static void user_free(struct net *net)
{
	struct user_net *un = (struct user_net *)net;

	net->receive = NULL;
	if (un->slirp)
		CALL(slirp_cleanup)(un->slirp);
	while (un->head)
		backlog_drop(un);
	loop_fd_remove(un->epoll_fd);
	loop_timer_free(un->timer);
	if (un->epoll >= 0)
		close(un->epoll);
	free(un->fds);
	free(un);
}

static const struct net_ops user_ops = {
	.send = user_send,
	.resume = user_resume,
	.free = user_free,
};

/* from the loop's thread alone; what is loaded stays */
static bool load(char *err, size_t errlen)
{
	void *so = dlopen(LIBRARY, RTLD_NOW | RTLD_LOCAL);
	const char *missing = NULL;

	if (!so) {
		snprintf(err, errlen, "network: user networking needs " LIBRARY ", which cannot be loaded: install the package libslirp0, or give --net none or --net tap=NAME");
		return false;
	}
	FUNCTIONS(LIBRARY_FIND)
	if (missing)
		snprintf(err, errlen, "network: " LIBRARY " has no %s", missing);
	return !missing;
}

static Slirp *start_slirp(struct user_net *un)
{
	const SlirpConfig cfg = {
		.version = 3,
		.in_enabled = true,
		.vnetwork.s_addr = htonl(USER_NETWORK),
		.vnetmask.s_addr = htonl(USER_MASK),
		.vhost.s_addr = htonl(USER_HOST),
		.vdhcp_start.s_addr = htonl(USER_DHCP),
		.vnameserver.s_addr = htonl(USER_DNS),
		.vhostname = "vmm",
	};

	return CALL(slirp_new)(&cfg, &callbacks, un);
}

static int forward(struct user_net *un, const struct net_forward *f,
		   char *err, size_t errlen)
{
	const struct in_addr host = { htonl(INADDR_LOOPBACK) };
	const struct in_addr guest = { htonl(USER_DHCP) };

	if (!CALL(slirp_add_hostfwd)(un->slirp, f->udp, host, f->host_port, guest,
			       f->guest_port))
		return 0;
	if (errno == EADDRINUSE)
		snprintf(err, errlen,
			 "--forward: port 127.0.0.1:%u is already bound by another program; stop it or choose another port",
			 f->host_port);
	else
		snprintf(err, errlen,
			 "--forward: port 127.0.0.1:%u cannot be bound: %s",
			 f->host_port, strerror(errno));
	return -1;
}

struct net *net_user_new(struct loop *loop, const struct net_forward *fwd,
			 unsigned int nfwd, char *err, size_t errlen)
{
	struct user_net *un;
	unsigned int i;

	if (!load(err, errlen))
		return NULL;
	un = calloc(1, sizeof(*un));
	if (!un) {
		snprintf(err, errlen, "network: no memory");
		return NULL;
	}
	un->net.ops = &user_ops;
	un->net.pairs = 1;
	un->loop = loop;
	un->epoll = epoll_create1(EPOLL_CLOEXEC);
	un->timer = loop_timer_new(loop, user_timer, un);
	if (un->epoll >= 0)
		un->epoll_fd = loop_fd_add(loop, un->epoll, EPOLLIN, user_ready,
					   un);
	if (un->epoll_fd && un->timer)
		un->slirp = start_slirp(un);
	if (!un->slirp) {
		snprintf(err, errlen, "network: user networking (libslirp) cannot start: %s",
			 strerror(errno));
		goto fail;
	}
	for (i = 0; i < nfwd; i++)
		if (forward(un, &fwd[i], err, errlen))
			goto fail;
	update(un);
	return &un->net;
fail:
	user_free(&un->net);
	return NULL;
}
