/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Scatter lists: copies in and out, and cutting pieces off either end.
 */
#ifndef VMMD_IOV_H
#define VMMD_IOV_H

#include <stddef.h>
#include <sys/uio.h>

/* up to len bytes, from `skip` bytes into the list on; returns how many */
size_t iov_read(const struct iovec *iov, unsigned int n, size_t skip,
		void *buf, size_t len);
size_t iov_write(const struct iovec *iov, unsigned int n, size_t skip,
		 const void *buf, size_t len);
size_t iov_fill_zero(const struct iovec *iov, unsigned int n, size_t skip,
		     size_t len);

/* drop `len` bytes (at most all) at the front / back, changing the list */
void iov_drop_front(struct iovec **iov, unsigned int *n, size_t len);
void iov_drop_back(struct iovec *iov, unsigned int *n, size_t len);

/* the address of the list's last byte; NULL: no byte in it */
void *iov_last_byte(const struct iovec *iov, unsigned int n);

#endif
