/* SPDX-License-Identifier: GPL-2.0 */
#ifndef VMMD_CRC32C_H
#define VMMD_CRC32C_H

#include <stddef.h>
#include <stdint.h>

/* CRC-32C (RFC 3720, B.4) of buf, going on from crc; 0 begins */
uint32_t crc32c(uint32_t crc, const void *buf, size_t len);

#endif
