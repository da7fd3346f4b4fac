// SPDX-License-Identifier: GPL-2.0
/*
 * Scatter lists: copies in and out, and cutting pieces off either end.
 */
#include <stdint.h>
#include <string.h>

#include "iov.h"

enum iov_op { IOV_READ, IOV_WRITE, IOV_ZERO };

static void iov_piece(enum iov_op op, uint8_t *mem, uint8_t *buf, size_t len)
{
	switch (op) {
	case IOV_READ:
		memcpy(buf, mem, len);
		break;
	case IOV_WRITE:
		memcpy(mem, buf, len);
		break;
	case IOV_ZERO:
		memset(mem, 0, len);
		break;
	}
}

static size_t iov_copy(enum iov_op op, const struct iovec *iov, unsigned int n,
		       size_t skip, uint8_t *buf, size_t len)
{
	size_t done = 0, piece;

	for (; n && done < len; iov++, n--) {
		if (skip >= iov->iov_len) {
			skip -= iov->iov_len;
			continue;
		}
		piece = iov->iov_len - skip;
		if (piece > len - done)
			piece = len - done;
		iov_piece(op, (uint8_t *)iov->iov_base + skip,
			  buf ? buf + done : NULL, piece);
		done += piece;
		skip = 0;
	}
	return done;
}

size_t iov_read(const struct iovec *iov, unsigned int n, size_t skip,
		void *buf, size_t len)
{
	return iov_copy(IOV_READ, iov, n, skip, buf, len);
}

size_t iov_write(const struct iovec *iov, unsigned int n, size_t skip,
		 const void *buf, size_t len)
{
	return iov_copy(IOV_WRITE, iov, n, skip, (uint8_t *)buf, len);
}

size_t iov_fill_zero(const struct iovec *iov, unsigned int n, size_t skip,
		     size_t len)
{
	return iov_copy(IOV_ZERO, iov, n, skip, NULL, len);
}

void iov_drop_front(struct iovec **iov, unsigned int *n, size_t len)
{
	while (*n && len >= (*iov)->iov_len) {
		len -= (*iov)->iov_len;
		(*iov)++;
		(*n)--;
	}
	if (*n) {
		(*iov)->iov_base = (uint8_t *)(*iov)->iov_base + len;
		(*iov)->iov_len -= len;
	}
}

void iov_drop_back(struct iovec *iov, unsigned int *n, size_t len)
{
	while (*n && len >= iov[*n - 1].iov_len) {
		len -= iov[*n - 1].iov_len;
		(*n)--;
	}
	if (*n)
		iov[*n - 1].iov_len -= len;
}

void *iov_last_byte(const struct iovec *iov, unsigned int n)
{
	while (n--)
		if (iov[n].iov_len)
			return (uint8_t *)iov[n].iov_base + iov[n].iov_len - 1;
	return NULL;
}
