/* SPDX-License-Identifier: GPL-2.0 */
/* The other end of a control socket: what vmmd's own commands use. */
#ifndef VMMD_CLIENT_H
#define VMMD_CLIENT_H

#include <jansson.h>
#include <stddef.h>
#include <sys/types.h>

#define CLIENT_PATIENCE_MS	10000	/* for what takes no time */

struct client {
	int fd;
	pid_t pid;		/* the machine's process */
	char *buf;
	size_t used, size;
};

/* 0, or -errno as names_connect has it, with a line in err[] */
int client_open(struct client *c, const char *name, char *err, size_t errlen);
void client_close(struct client *c);

/*
 * Ask, and wait for the answer for at most patience_ms after each sign of life;
 * -1: for ever. The result, which is the caller's, or NULL with a line in err[].
 * progress may be NULL.
 */
json_t *client_call(struct client *c, const char *cmd, json_t *args /* stolen */,
		    int patience_ms,
		    void (*progress)(void *owner, json_t *event), void *owner,
		    char *err, size_t errlen);
/* the machine's process closes the connection: 0; -ETIMEDOUT: it did not */
int client_wait_end(struct client *c, int patience_ms);

/*
 * All of that, for a verb that asks one machine one thing, with its error on
 * stderr: the result or NULL.
 */
json_t *client_ask(const char *name, const char *cmd, json_t *args /* stolen */,
		   int patience_ms);

#endif
