// SPDX-License-Identifier: GPL-2.0
#include <errno.h>
#include <gnutls/gnutls.h>
#include <limits.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "library.h"
#include "loop.h"
#include "migrate/channel.h"
#include "migrate/tls.h"

#define LIBRARY		"libgnutls.so.30"
/* 1.3 and nothing else; secure groups and ciphers as the library sees them */
#define PRIORITY	"NORMAL:-VERS-ALL:+VERS-TLS1.3"

/* how long a peer that was refused may take to go */
#define PART_MS		1000
#define PART_READS	64

#define FUNCTIONS(F)						\
	F(gnutls_certificate_allocate_credentials)		\
	F(gnutls_certificate_free_credentials)			\
	F(gnutls_certificate_set_x509_trust_file)		\
	F(gnutls_certificate_set_x509_key_file)			\
	F(gnutls_init)						\
	F(gnutls_deinit)					\
	F(gnutls_priority_set_direct)				\
	F(gnutls_credentials_set)				\
	F(gnutls_certificate_server_set_request)		\
	F(gnutls_session_set_verify_cert)			\
	F(gnutls_transport_set_int2)				\
	F(gnutls_handshake)					\
	F(gnutls_alert_send_appropriate)			\
	F(gnutls_record_get_direction)				\
	F(gnutls_record_send)					\
	F(gnutls_record_recv)					\
	F(gnutls_record_check_pending)				\
	F(gnutls_bye)						\
	F(gnutls_strerror)					\
	F(gnutls_session_get_verify_cert_status)		\
	F(gnutls_certificate_verification_status_print)		\
	F(gnutls_free)

static struct {
	FUNCTIONS(LIBRARY_POINTER)
} lib;

struct tls {
	gnutls_certificate_credentials_t cred;
	gnutls_session_t session;
};

static char load_error[128];	/* "": none */

static void load(void)
{
	void *so = dlopen(LIBRARY, RTLD_NOW | RTLD_LOCAL);
	const char *missing = NULL;

	if (!so) {
		snprintf(load_error, sizeof(load_error), "TLS needs GnuTLS, " LIBRARY ", which cannot be loaded: install the package libgnutls30");
		return;
	}
	FUNCTIONS(LIBRARY_FIND)
	if (missing)
		snprintf(load_error, sizeof(load_error), LIBRARY " has no %s: use GnuTLS 3.6 or newer", missing);
}

static int fail(const struct channel *c, char *err, size_t errlen, const char *what)
{
	snprintf(err, errlen, "%s: TLS: %s", c->peer, what);
	return -EPROTO;
}

static int load_credentials(struct tls *t, const struct channel *c, const char *dir,
			    char *err, size_t errlen)
{
	char ca[PATH_MAX], cert[PATH_MAX], key[PATH_MAX];
	int ret;

	if (snprintf(ca, sizeof(ca), "%s/ca.pem", dir) >= (int)sizeof(ca) ||
	    snprintf(cert, sizeof(cert), "%s/cert.pem", dir) >= (int)sizeof(cert) ||
	    snprintf(key, sizeof(key), "%s/key.pem", dir) >= (int)sizeof(key))
		return fail(c, err, errlen, "the path of --tls-dir is too long");
	if (CALL(gnutls_certificate_allocate_credentials)(&t->cred)) {
		t->cred = NULL;
		return fail(c, err, errlen, "out of memory");
	}
	ret = CALL(gnutls_certificate_set_x509_trust_file)(t->cred, ca,
							   GNUTLS_X509_FMT_PEM);
	if (ret <= 0) {
		snprintf(err, errlen, "%s: no certificate of an authority in it: %s", ca,
			 ret ? CALL(gnutls_strerror)(ret) : "it is empty");
		return -EINVAL;
	}
	ret = CALL(gnutls_certificate_set_x509_key_file)(t->cred, cert, key,
							 GNUTLS_X509_FMT_PEM);
	if (!ret)
		return 0;
	snprintf(err, errlen, "%s, %s: no certificate and its key: %s", cert, key,
		 CALL(gnutls_strerror)(ret));
	return -EINVAL;
}

static int make_session(struct tls *t, struct channel *c, const char *host, char *err,
			size_t errlen)
{
	int ret;

	ret = CALL(gnutls_init)(&t->session, (host ? GNUTLS_CLIENT : GNUTLS_SERVER) |
				GNUTLS_NONBLOCK | GNUTLS_NO_SIGNAL);
	if (ret) {
		t->session = NULL;
		return fail(c, err, errlen, CALL(gnutls_strerror)(ret));
	}
	ret = CALL(gnutls_priority_set_direct)(t->session, PRIORITY, NULL);
	if (!ret)
		ret = CALL(gnutls_credentials_set)(t->session, GNUTLS_CRD_CERTIFICATE,
						   t->cred);
	if (ret)
		return fail(c, err, errlen, CALL(gnutls_strerror)(ret));
	if (!host)
		CALL(gnutls_certificate_server_set_request)(t->session,
							    GNUTLS_CERT_REQUIRE);
	/* a client's certificate is for no host: that it is the authority's counts */
	CALL(gnutls_session_set_verify_cert)(t->session, host, 0);
	CALL(gnutls_transport_set_int2)(t->session, c->rfd, c->wfd);
	return 0;
}

static int wait_peer(struct tls *t, struct channel *c)
{
	struct pollfd p[2] = {
		{ .fd = c->wake_fd, .events = POLLIN },
		{ .fd = tls_wants_write(t) ? c->wfd : c->rfd,
		  .events = tls_wants_write(t) ? POLLOUT : POLLIN },
	};
	uint64_t now = loop_now();
	int ms = -1, n;

	if (c->deadline)
		ms = c->deadline > now ? (c->deadline - now + 999999) / 1000000 : 0;
	n = poll(p, 2, ms);
	if (n < 0)
		return errno == EINTR ? 0 : -errno;
	if (!n)
		return -ETIMEDOUT;
	return p[0].revents ? -ECANCELED : 0;
}

/*
 * The peer is to read why, and a connection that is closed with something unread
 * is reset, with the alert in it: take what comes until the peer has gone, too.
 */
static void part(struct tls *t, struct channel *c, int ret)
{
	struct pollfd p = { .fd = c->rfd, .events = POLLIN };
	char rest[4096];
	int i;

	CALL(gnutls_alert_send_appropriate)(t->session, ret);
	shutdown(c->wfd, SHUT_WR);
	for (i = 0; i < PART_READS && poll(&p, 1, PART_MS) > 0; i++)
		if (read(c->rfd, rest, sizeof(rest)) <= 0)
			return;
}

/* what is wrong with the peer's certificate, or the library's word */
static int handshake_failed(struct tls *t, struct channel *c, int ret, char *err,
			    size_t errlen)
{
	unsigned int status = CALL(gnutls_session_get_verify_cert_status)(t->session);
	gnutls_datum_t text = { 0 };

	if (ret != GNUTLS_E_CERTIFICATE_VERIFICATION_ERROR ||
	    CALL(gnutls_certificate_verification_status_print)(status, GNUTLS_CRT_X509,
							       &text, 0))
		return fail(c, err, errlen, CALL(gnutls_strerror)(ret));
	fail(c, err, errlen, (const char *)text.data);
	(*CALL(gnutls_free))(text.data);
	return -EPROTO;
}

static int handshake(struct tls *t, struct channel *c, char *err, size_t errlen)
{
	int ret, waited;

	for (;;) {
		ret = CALL(gnutls_handshake)(t->session);
		if (!ret)
			return 0;
		if (ret == GNUTLS_E_AGAIN || ret == GNUTLS_E_INTERRUPTED) {
			waited = wait_peer(t, c);
			if (!waited)
				continue;
			return fail(c, err, errlen, strerror(-waited));
		}
		if (ret != GNUTLS_E_WARNING_ALERT_RECEIVED)
			break;
	}
	part(t, c, ret);
	return handshake_failed(t, c, ret, err, errlen);
}

int tls_start(struct channel *c, const char *dir, const char *host, char *err,
	      size_t errlen)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;
	struct tls *t;
	int ret;

	pthread_once(&once, load);
	if (*load_error)
		return fail(c, err, errlen, load_error);
	t = calloc(1, sizeof(*t));
	if (!t)
		return fail(c, err, errlen, "out of memory");
	ret = load_credentials(t, c, dir, err, errlen);
	if (!ret)
		ret = make_session(t, c, host, err, errlen);
	if (!ret)
		ret = handshake(t, c, err, errlen);
	if (ret)
		tls_free(t);
	else
		c->tls = t;
	return ret;
}

void tls_free(struct tls *t)
{
	if (!t)
		return;
	if (t->session)
		CALL(gnutls_deinit)(t->session);
	if (t->cred)
		CALL(gnutls_certificate_free_credentials)(t->cred);
	free(t);
}

static ssize_t result(ssize_t n)
{
	if (n >= 0)
		return n;
	switch (n) {
	case GNUTLS_E_AGAIN:
		return -EAGAIN;
	case GNUTLS_E_INTERRUPTED:
		return -EINTR;
	case GNUTLS_E_PREMATURE_TERMINATION:
		return 0;
	/* our certificate, as a rule: with TLS 1.3 that is heard this late */
	case GNUTLS_E_FATAL_ALERT_RECEIVED:
		return -EACCES;
	case GNUTLS_E_PUSH_ERROR:
	case GNUTLS_E_PULL_ERROR:
		return -ECONNRESET;
	}
	return -EPROTO;
}

ssize_t tls_send(struct tls *t, const void *buf, size_t len)
{
	return result(CALL(gnutls_record_send)(t->session, buf, len));
}

ssize_t tls_receive(struct tls *t, void *buf, size_t len)
{
	return result(CALL(gnutls_record_recv)(t->session, buf, len));
}

bool tls_wants_read(const struct tls *t)
{
	return !CALL(gnutls_record_get_direction)(t->session);
}

bool tls_wants_write(const struct tls *t)
{
	return CALL(gnutls_record_get_direction)(t->session);
}

bool tls_pending(const struct tls *t)
{
	return CALL(gnutls_record_check_pending)(t->session);
}

void tls_bye(struct tls *t)
{
	CALL(gnutls_bye)(t->session, GNUTLS_SHUT_WR);
}
