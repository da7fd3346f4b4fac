// SPDX-License-Identifier: GPL-2.0
#define _GNU_SOURCE 1		/* asprintf */
#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "snapshot/writer.h"
#include "crc32c.h"

#define BUFFER		(1U << 20)
/* a guest that is restored waits for all of a section when it touches one page of it */
#define SECTION_PAGES	16U

static int flush(struct snapshot_writer *w)
{
	int ret = fd_write(&w->fd, w->buf, w->used);

	w->used = 0;
	return ret;
}

static int writer_write(void *owner, const void *buf, size_t len)
{
	struct snapshot_writer *w = owner;
	int ret;

	w->offset += len;
	if (w->used + len > BUFFER) {
		ret = flush(w);
		if (ret)
			return ret;
	}
	if (len > BUFFER)
		return fd_write(&w->fd, buf, len);
	memcpy(w->buf + w->used, buf, len);
	w->used += len;
	return 0;
}

static int add_run(struct run_list *l, const struct snapshot_run *r)
{
	uint64_t room = l->room ? 2 * l->room : 1024;
	void *more;

	if (l->n == l->room) {
		more = reallocarray(l->run, room, sizeof(*l->run));
		if (!more)
			return -ENOMEM;
		l->run = more;
		l->room = room;
	}
	l->run[l->n++] = *r;
	return 0;
}

static void note(void *owner, const struct pages_head *h)
{
	struct snapshot_writer *w = owner;
	const struct snapshot_run run = {
		.gpa = h->gpa, .offset = w->offset, .count = h->count,
	};

	w->npages += h->count;
	if (add_run(&w->notes, &run))
		w->error = -ENOMEM;
}

int writer_open(struct snapshot_writer *w, const char *path)
{
	memset(w, 0, sizeof(*w));
	w->sink = (struct sink){ .write = writer_write, .owner = w };
	w->pages = (struct pages_out){
		.coder = pages_coder_new(), .sink = &w->sink, .tag = PAGES_TAG,
		.note = note, .owner = w,
	};
	w->fd = -1;
	w->path = strdup(path);
	w->buf = malloc(BUFFER);
	if (asprintf(&w->tmp, "%s.XXXXXX", path) < 0)
		w->tmp = NULL;
	if (!w->pages.coder || !w->path || !w->buf || !w->tmp)
		return -ENOMEM;
	/* nobody's but the user's: a guest's memory is in it */
	w->fd = mkostemp(w->tmp, O_CLOEXEC);
	return w->fd < 0 ? -errno : 0;
}

int writer_pages(void *writer, uint64_t gpa, const void *data, uint32_t count)
{
	struct snapshot_writer *w = writer;
	uint32_t at, n;
	int ret = 0;

	for (at = 0; !ret && at < count; at += n) {
		n = SECTION_PAGES - (gpa / PAGES_SIZE + at) % SECTION_PAGES;
		if (n > count - at)
			n = count - at;
		ret = pages_put(&w->pages, gpa + at * PAGES_SIZE,
				(const uint8_t *)data + at * PAGES_SIZE, n);
	}
	return ret ? ret : w->error;
}

void writer_mark_state(struct snapshot_writer *w)
{
	w->trailer.state = w->offset;
	w->trailer.state_number = w->sink.number;
}

/* ---- the index ------------------------------------------------------------ */

/* what was written later counts: `who` is, for each page, its note's number + 1 */
static void settle(const struct snapshot_writer *w, const struct state_range *range,
		   uint32_t *who)
{
	const struct snapshot_run *r;
	uint64_t i, page;
	uint32_t k;

	for (i = 0; i < w->notes.n; i++) {
		r = &w->notes.run[i];
		if (r->gpa < range->gpa || r->gpa - range->gpa >= range->size)
			continue;
		page = (r->gpa - range->gpa) / PAGES_SIZE;
		for (k = 0; k < r->count; k++)
			who[page + k] = i + 1;
	}
}

static int index_range(struct snapshot_writer *w, const struct state_range *range,
		       struct run_list *index)
{
	uint64_t pages = range->size / PAGES_SIZE, page, end;
	uint32_t *who = calloc(pages, sizeof(*who));
	struct snapshot_run r;
	int ret = 0;

	if (!who)
		return -ENOMEM;
	settle(w, range, who);
	for (page = 0; !ret && page < pages; page = end) {
		for (end = page + 1; end < pages && who[end] == who[page]; end++)
			;
		if (!who[page])
			continue;
		r = w->notes.run[who[page] - 1];
		r.first = (range->gpa + page * PAGES_SIZE - r.gpa) / PAGES_SIZE;
		r.gpa = range->gpa + page * PAGES_SIZE;
		r.count = end - page;
		ret = add_run(index, &r);
	}
	free(who);
	return ret;
}

static int put_index(struct snapshot_writer *w, const struct state_range *range,
		     unsigned int n)
{
	struct run_list index = { 0 };
	unsigned int i;
	int ret = 0;

	for (i = 0; !ret && i < n; i++)
		if (!range[i].rom)
			ret = index_range(w, &range[i], &index);
	w->trailer.index = w->offset;
	w->trailer.index_number = w->sink.number;
	if (!ret)
		ret = section_put(&w->sink, SNAPSHOT_INDEX, 1, index.run,
				  index.n * sizeof(*index.run), NULL, 0);
	free(index.run);
	return ret;
}

/* ---- the end -------------------------------------------------------------- */

static int put_trailer(struct snapshot_writer *w)
{
	struct snapshot_trailer *t = &w->trailer;

	memcpy(t->magic, SNAPSHOT_MAGIC, sizeof(t->magic));
	t->crc = crc32c(0, t, offsetof(struct snapshot_trailer, crc));
	return writer_write(w, t, sizeof(*t));
}

/* the new name is on the disk, too */
static int sync_directory(const char *path)
{
	char *copy = strdup(path);
	int fd, ret = 0;

	if (!copy)
		return -ENOMEM;
	fd = open(dirname(copy), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0 || fsync(fd))
		ret = -errno;
	if (fd >= 0)
		close(fd);
	free(copy);
	return ret;
}

static void writer_free(struct snapshot_writer *w)
{
	if (w->fd >= 0)
		close(w->fd);
	pages_coder_free(w->pages.coder);
	free(w->notes.run);
	free(w->path);
	free(w->tmp);
	free(w->buf);
	memset(w, 0, sizeof(*w));
	w->fd = -1;
}

int writer_commit(struct snapshot_writer *w, const struct state_range *range,
		  unsigned int n)
{
	int ret = put_index(w, range, n);

	if (!ret)
		ret = put_trailer(w);
	if (!ret)
		ret = flush(w);
	if (!ret && fsync(w->fd))
		ret = -errno;
	if (!ret && rename(w->tmp, w->path))
		ret = -errno;
	if (ret)
		return ret;
	/* it is there, whatever the directory says */
	ret = sync_directory(w->path);
	if (ret)
		fprintf(stderr, "vmmd: snapshot %s: its directory cannot be synced: %s; it may be gone after a crash of the host\n",
			w->path, strerror(-ret));
	writer_free(w);
	return 0;
}

void writer_discard(struct snapshot_writer *w)
{
	if (w->fd >= 0)
		unlink(w->tmp);
	writer_free(w);
}
