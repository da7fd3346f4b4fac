/* SPDX-License-Identifier: GPL-2.0 */
/* A snapshot file while it is written: under another name until it is whole. */
#ifndef VMMD_SNAPSHOT_WRITER_H
#define VMMD_SNAPSHOT_WRITER_H

#include <stddef.h>
#include <stdint.h>

#include "snapshot/file.h"
#include "state/pages.h"

struct run_list {
	struct snapshot_run *run;
	uint64_t n, room;
};

struct snapshot_writer {
	struct sink sink;
	struct pages_out pages;		/* skip_zero: none was written before */
	uint64_t offset;		/* bytes written, buffered ones too */
	uint64_t npages;
	struct snapshot_trailer trailer;
	/* private */
	int fd;
	char *path, *tmp;
	uint8_t *buf;
	size_t used;
	struct run_list notes;		/* in the order in which they were written */
	int error;			/* of a note */
};

/* all return 0 or -errno; after an error there is only writer_discard */
int writer_open(struct snapshot_writer *w, const char *path);
int writer_pages(void *writer, uint64_t gpa, const void *data, uint32_t count);
/* here begins what comes after the pages */
void writer_mark_state(struct snapshot_writer *w);
/* the index of these ranges, all to the disk, and there it is: the writer is gone */
int writer_commit(struct snapshot_writer *w, const struct state_range *range,
		  unsigned int n);
void writer_discard(struct snapshot_writer *w);

#endif
