// SPDX-License-Identifier: GPL-2.0
#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "value.h"

bool value_number(const char *s, size_t len, uint64_t min, uint64_t max,
		  uint64_t *out)
{
	uint64_t v = 0;
	size_t i;

	for (i = 0; i < len; i++) {
		if (!isdigit((unsigned char)s[i]) ||
		    __builtin_mul_overflow(v, 10, &v) ||
		    __builtin_add_overflow(v, (uint64_t)(s[i] - '0'), &v))
			return false;
	}
	*out = v;
	return len && v >= min && v <= max;
}

int value_size(const char *name, const char *s, uint64_t min, uint64_t max,
	       uint64_t *out, char *err, size_t errlen)
{
	static const char units[] = "KMGT";
	size_t digits = strspn(s, "0123456789");
	const char *unit = s + digits, *u = NULL;
	unsigned int shift = 0;
	uint64_t n;

	if (*unit) {
		u = strchr(units, toupper((unsigned char)*unit));
		shift = u ? 10 * (u - units + 1) : 0;
	}
	if ((*unit && !u) || (*unit && unit[1] && strcmp(unit + 1, "iB")) ||
	    !value_number(s, digits, 0, UINT64_MAX >> shift, &n)) {
		snprintf(err, errlen, "%s wants a size such as 512M or 2G, found '%s'",
			 name, s);
		return -EINVAL;
	}
	n <<= shift;
	if (n < min) {
		snprintf(err, errlen, "%s wants at least %lluM, found '%s', which is %llu bytes: give more%s",
			 name, (unsigned long long)min >> 20, s,
			 (unsigned long long)n,
			 shift ? "" : " (without a suffix it is bytes)");
		return -EINVAL;
	}
	if (n > max) {
		snprintf(err, errlen, "%s wants at most %lluT, found '%s': give less",
			 name, (unsigned long long)max >> 40, s);
		return -EINVAL;
	}
	*out = n;
	return 0;
}
