// SPDX-License-Identifier: GPL-2.0
#include <assert.h>
#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "crc32c.h"
#include "state/section.h"

static_assert(sizeof(struct section_head) == 40, "section_head is a file format");

#define HEAD_CRC_LEN	offsetof(struct section_head, head_crc)

int section_put(struct sink *out, const char *tag, uint32_t version,
		const void *body, size_t len, const void *more, size_t morelen)
{
	struct section_head h = {
		.version = version,
		.number = out->number++,
		.len = len + morelen,
		.body_crc = crc32c(crc32c(0, body, len), more, morelen),
	};
	int ret;

	assert(strlen(tag) <= SECTION_TAG);
	memcpy(h.tag, tag, strlen(tag));
	h.head_crc = crc32c(0, &h, HEAD_CRC_LEN);
	ret = out->write(out->owner, &h, sizeof(h));
	if (!ret && len)
		ret = out->write(out->owner, body, len);
	if (!ret && morelen)
		ret = out->write(out->owner, more, morelen);
	return ret;
}

static bool tag_ok(const char tag[SECTION_TAG])
{
	size_t n = strnlen(tag, SECTION_TAG), i;

	for (i = 0; i < SECTION_TAG; i++)
		if (i < n ? !isgraph((unsigned char)tag[i]) : tag[i])
			return false;
	return n;
}

bool section_name_ok(const char *name)
{
	for (; *name; name++)
		if (iscntrl((unsigned char)*name))
			return false;
	return true;
}

int section_bad(const struct source *in, char *err, size_t errlen,
		const char *fmt, ...)
{
	char what[256];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(what, sizeof(what), fmt, ap);
	va_end(ap);
	snprintf(err, errlen, "%s: section %u \"%.*s\": %s", in->name,
		 in->head.number, SECTION_TAG, in->head.tag, what);
	return -EBADMSG;
}

static int told(const struct source *in, int ret, const char *of, char *err,
		size_t errlen)
{
	if (ret == -ENODATA)
		snprintf(err, errlen, "%s: ends in the middle, in the %s of section %u",
			 in->name, of, in->number);
	else if (ret)
		snprintf(err, errlen, "%s: the %s of section %u cannot be read: %s",
			 in->name, of, in->number, strerror(-ret));
	return ret;
}

int section_next(struct source *in, char *err, size_t errlen)
{
	struct section_head *h = &in->head;
	int ret;

	memset(h, 0, sizeof(*h));
	ret = told(in, in->read(in->owner, h, sizeof(*h)), "head", err, errlen);
	if (ret)
		return ret;
	if (crc32c(0, h, HEAD_CRC_LEN) != h->head_crc || !tag_ok(h->tag)) {
		snprintf(err, errlen, "%s: the head of section %u is damaged, or this is no state of a VM",
			 in->name, in->number);
		return -EBADMSG;
	}
	if (h->number != in->number)
		return section_bad(in, err, errlen, "stands where section %u should be",
				   in->number);
	in->number++;
	return 0;
}

bool section_is(const struct source *in, const char *tag)
{
	return !strncmp(in->head.tag, tag, SECTION_TAG);
}

int section_version(const struct source *in, uint32_t newest, char *err,
		    size_t errlen)
{
	if (in->head.version && in->head.version <= newest)
		return 0;
	section_bad(in, err, errlen,
		    "has version %u, this vmmd knows those up to %u: use a newer one",
		    in->head.version, newest);
	return -ENOTSUP;
}

int section_body(struct source *in, void *buf, size_t max, char *err,
		 size_t errlen)
{
	uint64_t len = in->head.len;
	int ret;

	if (len > max)
		return section_bad(in, err, errlen, "has %" PRIu64 " bytes, at most %zu are possible",
				   len, max);
	ret = told(in, len ? in->read(in->owner, buf, len) : 0, "body", err, errlen);
	if (ret)
		return ret;
	if (crc32c(0, buf, len) != in->head.body_crc)
		return section_bad(in, err, errlen, "its body is damaged: the checksum is another");
	return 0;
}

int fd_write(void *owner, const void *buf, size_t len)
{
	const uint8_t *p = buf;
	ssize_t n;

	while (len) {
		n = write(*(int *)owner, p, len);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		p += n;
		len -= n;
	}
	return 0;
}

int fd_read(void *owner, void *buf, size_t len)
{
	uint8_t *p = buf;
	ssize_t n;

	while (len) {
		n = read(*(int *)owner, p, len);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		if (!n)
			return -ENODATA;
		p += n;
		len -= n;
	}
	return 0;
}
