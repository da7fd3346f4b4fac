/* SPDX-License-Identifier: GPL-2.0 */
/* Where a VM goes to or comes from, as the user writes it. */
#ifndef VMMD_MIGRATE_ADDRESS_H
#define VMMD_MIGRATE_ADDRESS_H

#include <stdbool.h>
#include <stddef.h>

#define ADDRESS_PORT	"7321"		/* of tcp, unless another is given */
#define ADDRESS_HOST	255		/* characters */
#define ADDRESS_PATH	107		/* bytes of sun_path, without its end */

enum address_kind { ADDRESS_TCP, ADDRESS_UNIX, ADDRESS_SSH, ADDRESS_STDIO };

struct address {
	enum address_kind kind;
	char host[ADDRESS_HOST + 1];	/* tcp, ssh; "": any, of those to listen on */
	char port[6];			/* tcp: digits */
	char path[ADDRESS_PATH + 1];	/* unix */
};

/*
 * tcp:HOST[:PORT], unix:PATH, ssh:[USER@]HOST, to connect to; or, `listen`,
 * tcp:[ADDR]:PORT, unix:PATH, -. An IPv6 address is in brackets. 0, or -EINVAL with
 * one line in err[].
 */
int address_parse(struct address *a, const char *text, bool listen, char *err,
		  size_t errlen);

#endif
