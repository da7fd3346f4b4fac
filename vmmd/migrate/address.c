// SPDX-License-Identifier: GPL-2.0
#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "migrate/address.h"

static int bad(const char *text, const char *what, char *err, size_t errlen)
{
	snprintf(err, errlen, "'%.300s': %s", text, what);
	return -EINVAL;
}

static bool port_ok(const char *s)
{
	size_t n = strspn(s, "0123456789");
	long v = n && n <= 5 && !s[n] ? strtol(s, NULL, 10) : 0;

	return v >= 1 && v <= 65535;
}

/* what a resolver or ssh may be given; never an option of ssh's */
static bool host_ok(const char *s, size_t n, const char *more)
{
	size_t i;

	if (n > ADDRESS_HOST || (n && s[0] == '-'))
		return false;
	for (i = 0; i < n; i++)
		if (!isalnum((unsigned char)s[i]) && !strchr(more, s[i]))
			return false;
	return true;
}

static int parse_tcp(struct address *a, const char *text, const char *s, bool listen,
		     char *err, size_t errlen)
{
	const char *end, *port = NULL;
	size_t n;

	if (*s == '[') {
		end = strchr(++s, ']');
		if (!end || !host_ok(s, end - s, ":.%") || (end[1] && end[1] != ':'))
			return bad(text, "wanted an IPv6 address in brackets, and :PORT behind it",
				   err, errlen);
		n = end - s;
		port = end[1] ? end + 2 : NULL;
	} else {
		end = strchr(s, ':');
		n = end ? (size_t)(end - s) : strlen(s);
		port = end ? end + 1 : NULL;
		if (!host_ok(s, n, ".-_"))
			return bad(text, "wanted the name or address of a host", err,
				   errlen);
	}
	if (!n && !listen)
		return bad(text, "wanted tcp:HOST[:PORT], found no host", err, errlen);
	if (port && !port_ok(port))
		return bad(text, "wanted a port from 1 to 65535 behind the last ':'", err,
			   errlen);
	if (!port && listen)
		return bad(text, "wanted tcp:[ADDRESS]:PORT, found no port", err, errlen);
	memcpy(a->host, s, n);
	strcpy(a->port, port ? port : ADDRESS_PORT);
	return 0;
}

int address_parse(struct address *a, const char *text, bool listen, char *err,
		  size_t errlen)
{
	const char *s;

	memset(a, 0, sizeof(*a));
	if (listen && !strcmp(text, "-")) {
		a->kind = ADDRESS_STDIO;
		return 0;
	}
	if (!strncmp(text, "tcp:", 4)) {
		a->kind = ADDRESS_TCP;
		return parse_tcp(a, text, text + 4, listen, err, errlen);
	}
	if (!strncmp(text, "unix:", 5)) {
		a->kind = ADDRESS_UNIX;
		s = text + 5;
		if (!*s || strlen(s) > ADDRESS_PATH)
			return bad(text, "wanted unix:PATH with a path of 1 to 107 bytes",
				   err, errlen);
		strcpy(a->path, s);
		return 0;
	}
	if (!listen && !strncmp(text, "ssh:", 4)) {
		a->kind = ADDRESS_SSH;
		s = text + 4;
		if (!*s || !host_ok(s, strlen(s), "@.-_"))
			return bad(text, "wanted ssh:[USER@]HOST", err, errlen);
		strcpy(a->host, s);
		return 0;
	}
	return bad(text, listen ? "wanted tcp:[ADDRESS]:PORT, unix:PATH or -" :
		   "wanted tcp:HOST[:PORT], unix:PATH or ssh:HOST", err, errlen);
}
