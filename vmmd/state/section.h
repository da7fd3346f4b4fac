/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The state of a VM as a sequence of sections, in a file or on a wire: each has
 * a tag, a version, a length and checksums, and its place in the sequence. The
 * format is in vmmd-state(5). What is read is hostile: nothing is believed before
 * its checksum fits, and no more is allocated than the reader allows.
 */
#ifndef VMMD_STATE_SECTION_H
#define VMMD_STATE_SECTION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SECTION_TAG	16	/* bytes, padded with zeroes */

struct section_head {
	char tag[SECTION_TAG];
	uint32_t version;
	uint32_t number;	/* 0, 1, ... in the sequence */
	uint64_t len;		/* of the body, which follows, bytes */
	uint32_t body_crc;	/* CRC32C */
	uint32_t head_crc;	/* CRC32C of all that stands before it */
};

/* bytes go there; 0 or -errno */
struct sink {
	int (*write)(void *owner, const void *buf, size_t len);
	void *owner;
	uint32_t number;	/* of the next section */
};

/* exactly len bytes come; 0, -ENODATA at the end, another -errno */
struct source {
	int (*read)(void *owner, void *buf, size_t len);
	void *owner;
	const char *name;	/* for reports: a file's, a peer's */
	uint32_t number;
	struct section_head head;	/* of the last section_next */
};

/* body in two parts, of which the second may be empty; 0 or -errno */
int section_put(struct sink *out, const char *tag, uint32_t version,
		const void *body, size_t len, const void *more, size_t morelen);

/*
 * The next section's head. -EBADMSG, -ENODATA or another -errno, with one line
 * in err[] that names the source and the section.
 */
int section_next(struct source *in, char *err, size_t errlen);
bool section_is(const struct source *in, const char *tag);
/* a line about the section whose head was read; -EBADMSG */
int section_bad(const struct source *in, char *err, size_t errlen,
		const char *fmt, ...) __attribute__((format(printf, 4, 5)));
/* no control characters: a name out of a file that can be shown on a terminal */
bool section_name_ok(const char *name);
/* not newer than what this program knows; -ENOTSUP, told, if it is */
int section_version(const struct source *in, uint32_t newest, char *err,
		    size_t errlen);
/* the body into buf of `max` bytes: its length is head.len. 0 or -errno, told */
int section_body(struct source *in, void *buf, size_t max, char *err,
		 size_t errlen);

/* both of a file descriptor; owner points to an int. Not for pages by the million */
int fd_write(void *owner, const void *buf, size_t len);
int fd_read(void *owner, void *buf, size_t len);

#endif
