/* SPDX-License-Identifier: GPL-2.0 */
/* What is in a snapshot file, for vmmd info. */
#ifndef VMMD_SNAPSHOT_INFO_H
#define VMMD_SNAPSHOT_INFO_H

#include <jansson.h>
#include <stddef.h>

/* the members are in vmmd(1); NULL with one line in err[] */
json_t *snapshot_describe(const char *path, char *err, size_t errlen);
/* the same for people, on standard output; enum vm_exit */
int snapshot_print(const json_t *info);

#endif
