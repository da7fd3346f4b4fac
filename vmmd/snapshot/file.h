/* SPDX-License-Identifier: GPL-2.0 */
/*
 * A snapshot file: a state (vmstate.h) from the beginning to its "end", with
 * these sections more:
 *
 *   parent     after "memory": the file of which this one is the difference
 *   disk       before the first "device": the file with the disk as it was
 *   index      after "end": where each page is, sorted; pages that are in no
 *              index, this one's or its parents', are zero
 *
 * and a trailer, so that the index and what comes after the pages can be found
 * from the end. Names of files are relative to that of the snapshot, and the disk's
 * is in the same directory: a snapshot from elsewhere cannot show its guest a file
 * of this host.
 */
#ifndef VMMD_SNAPSHOT_FILE_H
#define VMMD_SNAPSHOT_FILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "state/section.h"
#include "state/vmstate.h"

#define SNAPSHOT_MAGIC		"VMMSNAP1"
#define SNAPSHOT_NAME_MAX	255
#define SNAPSHOT_CHAIN_MAX	32	/* a file and its parents */

#define SNAPSHOT_PARENT		"parent"
#define SNAPSHOT_DISK		"disk"
#define SNAPSHOT_INDEX		"index"

struct snapshot_parent {
	uint8_t id[STATE_ID];
	char file[SNAPSHOT_NAME_MAX + 1];
};

struct snapshot_disk {
	uint64_t size;			/* of the disk, bytes */
	char file[SNAPSHOT_NAME_MAX + 1];
};

/* `count` pages from gpa on are those from `first` on of the section at `offset` */
struct snapshot_run {
	uint64_t gpa;
	uint64_t offset;
	uint32_t count;
	uint32_t first;
};

struct snapshot_trailer {
	char magic[8];
	uint64_t state;		/* offset of the first section behind the pages */
	uint64_t index;		/* offset of the section */
	uint32_t state_number;	/* of the two sections */
	uint32_t index_number;
	uint32_t pad;
	uint32_t crc;		/* CRC32C of what stands before it */
};

struct snapshot_reader {
	int fd;
	uint64_t at;			/* bytes */
};

struct snapshot_file {
	char *path;
	uint64_t size;			/* bytes */
	struct snapshot_reader reader;
	struct source in;		/* reads there */
	struct snapshot_trailer trailer;
	struct vmstate state;
	bool has_parent;
	struct snapshot_parent parent;
	uint64_t rest;			/* offset behind the beginning */
	uint32_t rest_number;
	struct snapshot_run *run;	/* the index: in order, each run possible */
	uint64_t nruns;
};

/* open, and read the beginning; NULL with one line in err[] */
struct snapshot_file *snapshot_open(const char *path, char *err, size_t errlen);
void snapshot_close(struct snapshot_file *f);
/* let f->in read from there on */
void snapshot_seek(struct snapshot_file *f, uint64_t offset, uint32_t number);

/*
 * A file and its parents, opened: chain[0] is `path`, each next one the parent of
 * the one before. How many, or -errno with one line in err[].
 */
int snapshot_open_chain(const char *path,
			struct snapshot_file *chain[SNAPSHOT_CHAIN_MAX],
			char *err, size_t errlen);
void snapshot_close_chain(struct snapshot_file **chain, int n);

/* the run that has the page at gpa, NULL: none */
const struct snapshot_run *snapshot_find(const struct snapshot_file *f,
					 uint64_t gpa);
/*
 * The pages of a run's section into buf of PAGES_BYTES; *count: how many. 0, or
 * -errno with one line in err[]. By any thread, whatever f->in is doing.
 */
struct pages_coder;
int snapshot_read_pages(struct snapshot_file *f, struct pages_coder *coder,
			const struct snapshot_run *run, void *buf,
			uint32_t *count, char *err, size_t errlen);

/* the file with its disk; file[0] is 0: none. 0, or -errno with one line in err[] */
int snapshot_find_disk(struct snapshot_file *f, struct snapshot_disk *d, char *err,
		       size_t errlen);

/* name, relative to the directory of `path`; to be freed, NULL: out of memory */
char *snapshot_beside(const char *path, const char *name);

#endif
