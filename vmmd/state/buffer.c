// SPDX-License-Identifier: GPL-2.0
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "state/buffer.h"

#define FIRST	65536

int buffer_write(void *buffer, const void *data, size_t len)
{
	struct buffer *b = buffer;
	size_t room = b->room ? b->room : FIRST;
	uint8_t *more;

	while (room - b->len < len)
		room *= 2;
	if (room != b->room) {
		more = realloc(b->data, room);
		if (!more)
			return -ENOMEM;
		b->data = more;
		b->room = room;
	}
	memcpy(b->data + b->len, data, len);
	b->len += len;
	return 0;
}
