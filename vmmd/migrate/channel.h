/* SPDX-License-Identifier: GPL-2.0 */
/*
 * A stream of bytes between two vmmds, both ways: over a socket, a pair of pipes or
 * TLS. For one thread. Nothing waits longer than it may: reads and writes end when
 * wake_fd becomes readable, and tell when a deadline has passed.
 */
#ifndef VMMD_MIGRATE_CHANNEL_H
#define VMMD_MIGRATE_CHANNEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "migrate/address.h"

#define CHANNEL_BUF	65536U

struct tls;

struct channel {
	char peer[320];		/* for reports */
	int wake_fd;		/* -1: none. Readable: -ECANCELED */
	uint64_t deadline;	/* loop_now(); 0: none */
	/* it has passed: called once, and the deadline is gone. NULL: -ETIMEDOUT */
	void (*late)(void *owner);
	void *owner;
	uint64_t patience;	/* ns of nothing, where no deadline is; 0: any */
	uint64_t limit;		/* bytes a second to send; 0: as they go */
	uint64_t sent;		/* bytes that left the buffer */
	/* private */
	int rfd, wfd;		/* non-blocking; may be one */
	struct tls *tls;
	pid_t ssh;		/* 0: none */
	uint64_t next_send;	/* loop_now(), of the limit */
	size_t used;
	uint8_t buf[CHANNEL_BUF];
};

/* takes the fds, which may be the same, also if it fails */
struct channel *channel_new(int rfd, int wfd, const char *peer);
/* what is in the buffer is lost. NULL is fine */
void channel_close(struct channel *c);

/*
 * To or from the peer: 0 or -errno, with -ENODATA for its end. write keeps bytes
 * until there are many, or channel_flush.
 */
int channel_write(void *channel, const void *buf, size_t len);
int channel_flush(struct channel *c);
int channel_read(void *channel, void *buf, size_t len);
/* is there something to read now, or its end */
bool channel_readable(struct channel *c);
/* has the deadline passed: then it is told. 0 or -ETIMEDOUT */
int channel_check(struct channel *c);
/* wait until wake_fd or that time */
int channel_sleep(struct channel *c, uint64_t until);
bool channel_woken(const struct channel *c);	/* is wake_fd readable now */
/* nothing more is sent; read what still comes, for at most that long */
void channel_linger(struct channel *c, uint64_t ns);

/* ---- making --------------------------------------------------------------- */

struct channel_opts {
	const char *tls_dir;	/* NULL: none */
	bool insecure;		/* tcp without TLS, wherever to */
	const char *disk;	/* ssh: the --disk of the receive there. NULL: none */
	int wake_fd;
	uint64_t timeout;	/* ns; 0: none */
};

/* NULL with one line in err[] */
struct channel *channel_connect(const struct address *a,
				const struct channel_opts *o, char *err,
				size_t errlen);
/* a place to wait at for those that connect; a stays. NULL with one line in err[] */
struct listener;
struct listener *listener_new(const struct address *a, const struct channel_opts *o,
			      char *err, size_t errlen);
/* the next one, until that time, loop_now(), 0: for ever; standard input is but one */
struct channel *listener_accept(struct listener *l, uint64_t until, char *err,
				size_t errlen);
/* from now on it ends when wake_fd becomes readable, as a channel; is it */
void listener_wake(struct listener *l, int wake_fd);
bool listener_woken(const struct listener *l);
void listener_close(struct listener *l);	/* a unix socket's name is gone then */

#endif
