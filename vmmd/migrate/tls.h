/* SPDX-License-Identifier: GPL-2.0 */
/*
 * TLS 1.3 over a non-blocking socket, each side with a certificate of an authority
 * that the other trusts. GnuTLS is loaded when it is first needed: a VM that is not
 * migrated that way does without its memory and its start.
 */
#ifndef VMMD_MIGRATE_TLS_H
#define VMMD_MIGRATE_TLS_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

struct channel;
struct tls;

/*
 * Speak TLS on the channel from here on: ca.pem, cert.pem and key.pem are in dir.
 * host NULL: accept a connection; else connect to that one, whose certificate has to
 * be for it. 0, or -errno with one line in err[].
 */
int tls_start(struct channel *c, const char *dir, const char *host, char *err,
	      size_t errlen);
void tls_free(struct tls *t);		/* NULL is fine */

/* bytes, 0 (receive: the end), or -errno; -EAGAIN: wait as told by the next two */
ssize_t tls_send(struct tls *t, const void *buf, size_t len);
ssize_t tls_receive(struct tls *t, void *buf, size_t len);
bool tls_wants_read(const struct tls *t);	/* a send does */
bool tls_wants_write(const struct tls *t);	/* a receive does */
bool tls_pending(const struct tls *t);		/* some was read and unpacked */
void tls_bye(struct tls *t);

#endif
