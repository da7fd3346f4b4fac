/* SPDX-License-Identifier: GPL-2.0 */
/* Bytes in memory that grow: a sink. */
#ifndef VMMD_STATE_BUFFER_H
#define VMMD_STATE_BUFFER_H

#include <stddef.h>
#include <stdint.h>

struct buffer {
	uint8_t *data;		/* the owner frees it */
	size_t len, room;
};

int buffer_write(void *buffer, const void *data, size_t len);	/* 0 or -ENOMEM */

#endif
