// SPDX-License-Identifier: GPL-2.0
#include <assert.h>
#include <string.h>

#include "migrate/message.h"

static_assert(sizeof(struct migrate_hello) == 8 && sizeof(struct migrate_message) == 8,
	      "these are a protocol's");
static_assert(sizeof(struct migrate_streams) == 24, "and this");
static_assert(sizeof(struct migrate_disk) == 4136, "so is this");

int message_put(struct sink *out, const char *tag, uint32_t number, uint32_t flags)
{
	struct migrate_message m = { number, flags };

	return section_put(out, tag, 1, &m, sizeof(m), NULL, 0);
}

int message_take(struct source *in, struct migrate_message *m, char *err,
		 size_t errlen)
{
	int ret = section_version(in, 1, err, errlen);

	if (!ret)
		ret = section_body(in, m, sizeof(*m), err, errlen);
	if (!ret && in->head.len != sizeof(*m))
		ret = section_bad(in, err, errlen, "is too short");
	return ret;
}
