/* SPDX-License-Identifier: GPL-2.0 */
/* Values on the command line, of run's options and of the verbs'. */
#ifndef VMMD_VALUE_H
#define VMMD_VALUE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* all of s[0..len) as a decimal number in [min, max] */
bool value_number(const char *s, size_t len, uint64_t min, uint64_t max,
		  uint64_t *out);
/*
 * Bytes in [min, max], with a suffix K, M, G or T; or -EINVAL with a line in
 * err[], which begins with the option's name.
 */
int value_size(const char *name, const char *s, uint64_t min, uint64_t max,
	       uint64_t *out, char *err, size_t errlen);

#endif
