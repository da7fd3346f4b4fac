// SPDX-License-Identifier: GPL-2.0
#define _GNU_SOURCE 1		/* asprintf */
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "snapshot/file.h"
#include "crc32c.h"
#include "state/pages.h"

static_assert(sizeof(struct snapshot_run) == 24 &&
	      sizeof(struct snapshot_trailer) == 40 &&
	      sizeof(struct snapshot_parent) == 272 &&
	      sizeof(struct snapshot_disk) == 264, "file formats");

static int read_at(int fd, void *buf, size_t len, uint64_t at)
{
	uint8_t *p = buf;
	ssize_t n;

	while (len) {
		n = pread(fd, p, len, at);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n ? -errno : -ENODATA;
		p += n;
		at += n;
		len -= n;
	}
	return 0;
}

static int file_read(void *owner, void *buf, size_t len)
{
	struct snapshot_reader *r = owner;
	int ret = read_at(r->fd, buf, len, r->at);

	r->at += len;
	return ret;
}

void snapshot_seek(struct snapshot_file *f, uint64_t offset, uint32_t number)
{
	f->reader.at = offset;
	f->in.number = number;
}

char *snapshot_beside(const char *path, const char *name)
{
	const char *slash = strrchr(path, '/');
	char *full;

	if (name[0] == '/' || !slash)
		return strdup(name);
	if (asprintf(&full, "%.*s/%s", (int)(slash - path), path, name) < 0)
		return NULL;
	return full;
}

/* ---- opening -------------------------------------------------------------- */

static int read_trailer(struct snapshot_file *f, char *err, size_t errlen)
{
	struct snapshot_trailer *t = &f->trailer;
	struct stat st;
	int ret;

	if (fstat(f->reader.fd, &st)) {
		ret = -errno;
		snprintf(err, errlen, "%s: %s", f->path, strerror(errno));
		return ret;
	}
	f->size = st.st_size;
	if (!S_ISREG(st.st_mode)) {
		snprintf(err, errlen, "%s: wanted a snapshot, found no regular file",
			 f->path);
		return -EINVAL;
	}
	if (st.st_size < (off_t)sizeof(*t) ||
	    read_at(f->reader.fd, t, sizeof(*t), st.st_size - sizeof(*t)) ||
	    memcmp(t->magic, SNAPSHOT_MAGIC, sizeof(t->magic))) {
		snprintf(err, errlen, "%s: no snapshot, or only the beginning of one",
			 f->path);
		return -EBADMSG;
	}
	if (crc32c(0, t, offsetof(struct snapshot_trailer, crc)) != t->crc || t->pad) {
		snprintf(err, errlen, "%s: its trailer is damaged", f->path);
		return -EBADMSG;
	}
	return 0;
}

static int read_parent(struct snapshot_file *f, char *err, size_t errlen)
{
	struct source *in = &f->in;
	int ret = section_version(in, 1, err, errlen);

	if (!ret)
		ret = section_body(in, &f->parent, sizeof(f->parent), err, errlen);
	if (ret)
		return ret;
	if (in->head.len != sizeof(f->parent) || !f->parent.file[0] ||
	    f->parent.file[SNAPSHOT_NAME_MAX] || !section_name_ok(f->parent.file))
		return section_bad(in, err, errlen, "names no file");
	f->has_parent = true;
	f->rest = f->reader.at;
	f->rest_number = in->number;
	return 0;
}

static bool run_ok(const struct snapshot_run *r)
{
	return r->count && r->count <= PAGES_MAX && r->first <= PAGES_MAX - r->count &&
	       r->gpa % PAGES_SIZE == 0 && r->gpa + r->count * PAGES_SIZE > r->gpa;
}

/* each run possible, in order, no page twice: the first that is not; nruns: none */
static uint64_t bad_run(const struct snapshot_file *f)
{
	const struct snapshot_run *r = f->run, *last = r + f->nruns;
	uint64_t end = 0;

	for (; r < last && run_ok(r) && r->gpa >= end; r++)
		end = r->gpa + r->count * PAGES_SIZE;
	return r - f->run;
}

static int read_index(struct snapshot_file *f, char *err, size_t errlen)
{
	struct source *in = &f->in;
	uint64_t bad;
	int ret;

	snapshot_seek(f, f->trailer.index, f->trailer.index_number);
	ret = section_next(in, err, errlen);
	if (!ret && !section_is(in, SNAPSHOT_INDEX))
		ret = section_bad(in, err, errlen, "\"%s\" was wanted here",
				  SNAPSHOT_INDEX);
	if (!ret)
		ret = section_version(in, 1, err, errlen);
	if (ret)
		return ret;
	if (in->head.len % sizeof(*f->run) || in->head.len > f->size)
		return section_bad(in, err, errlen, "is no whole table");
	f->nruns = in->head.len / sizeof(*f->run);
	f->run = malloc(in->head.len + 1);
	if (!f->run) {
		snprintf(err, errlen, "%s: out of memory", f->path);
		return -ENOMEM;
	}
	ret = section_body(in, f->run, in->head.len, err, errlen);
	if (ret)
		return ret;
	bad = bad_run(f);
	if (bad < f->nruns)
		return section_bad(in, err, errlen, "its run %" PRIu64 " cannot be, or not there",
				   bad);
	return 0;
}

static int read_beginning(struct snapshot_file *f, char *err, size_t errlen)
{
	int ret = read_trailer(f, err, errlen);

	if (!ret)
		ret = vmstate_read(&f->in, &f->state, err, errlen);
	if (ret)
		return ret;
	f->rest = f->reader.at;
	f->rest_number = f->in.number;
	ret = section_next(&f->in, err, errlen);
	if (!ret && section_is(&f->in, SNAPSHOT_PARENT))
		ret = read_parent(f, err, errlen);
	return ret ? ret : read_index(f, err, errlen);
}

struct snapshot_file *snapshot_open(const char *path, char *err, size_t errlen)
{
	struct snapshot_file *f = calloc(1, sizeof(*f));

	if (f)
		f->path = strdup(path);
	if (!f || !f->path) {
		free(f);
		snprintf(err, errlen, "%s: out of memory", path);
		return NULL;
	}
	f->in = (struct source){ .read = file_read, .owner = &f->reader,
				.name = f->path };
	f->reader.fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	if (f->reader.fd < 0)
		snprintf(err, errlen, "snapshot %s: %s", path, strerror(errno));
	else if (!read_beginning(f, err, errlen))
		return f;
	snapshot_close(f);
	return NULL;
}

void snapshot_close(struct snapshot_file *f)
{
	if (!f)
		return;
	free(f->run);
	if (f->reader.fd >= 0)
		close(f->reader.fd);
	vmstate_free(&f->state);
	free(f->path);
	free(f);
}

int snapshot_find_disk(struct snapshot_file *f, struct snapshot_disk *d, char *err,
		       size_t errlen)
{
	struct source *in = &f->in;
	int ret;

	memset(d, 0, sizeof(*d));
	snapshot_seek(f, f->trailer.state, f->trailer.state_number);
	ret = section_next(in, err, errlen);
	if (ret || !section_is(in, SNAPSHOT_DISK))
		return ret;
	ret = section_version(in, 1, err, errlen);
	if (!ret)
		ret = section_body(in, d, sizeof(*d), err, errlen);
	if (!ret && (in->head.len != sizeof(*d) || !d->file[0] ||
		     d->file[SNAPSHOT_NAME_MAX] || strchr(d->file, '/') ||
		     !section_name_ok(d->file) ||
		     d->size % 512))
		ret = section_bad(in, err, errlen, "names no disk");
	return ret;
}

/* ---- chains --------------------------------------------------------------- */

static bool same_memory(const struct snapshot_file *a, const struct snapshot_file *b)
{
	return a->state.nranges == b->state.nranges &&
	       !memcmp(a->state.range, b->state.range, sizeof(a->state.range));
}

/* the parent of `child`; NULL, told */
static struct snapshot_file *open_parent(const struct snapshot_file *child,
					 char *err, size_t errlen)
{
	char *path = snapshot_beside(child->path, child->parent.file);
	struct snapshot_file *f = path ? snapshot_open(path, err, errlen) : NULL;

	if (!path)
		snprintf(err, errlen, "%s: out of memory", child->path);
	free(path);
	if (!f)
		return NULL;
	if (!memcmp(f->state.ident.id, child->parent.id, STATE_ID) &&
	    same_memory(f, child))
		return f;
	snprintf(err, errlen, "%s: is the difference to another snapshot than the one that %s now is",
		 child->path, f->path);
	snapshot_close(f);
	return NULL;
}

int snapshot_open_chain(const char *path,
			struct snapshot_file *chain[SNAPSHOT_CHAIN_MAX],
			char *err, size_t errlen)
{
	int n = 0;

	chain[n] = snapshot_open(path, err, errlen);
	while (chain[n]) {
		if (!chain[n++]->has_parent)
			return n;
		if (n == SNAPSHOT_CHAIN_MAX) {
			snprintf(err, errlen, "%s: has more than %d parents", path,
				 SNAPSHOT_CHAIN_MAX - 1);
			break;
		}
		chain[n] = open_parent(chain[n - 1], err, errlen);
	}
	snapshot_close_chain(chain, n);
	return -EBADMSG;
}

void snapshot_close_chain(struct snapshot_file **chain, int n)
{
	while (n > 0)
		snapshot_close(chain[--n]);
}

/* ---- pages ---------------------------------------------------------------- */

const struct snapshot_run *snapshot_find(const struct snapshot_file *f,
					 uint64_t gpa)
{
	uint64_t low = 0, high = f->nruns, mid;
	const struct snapshot_run *r;

	/* the last that begins at or below gpa */
	while (low < high) {
		mid = low + (high - low) / 2;
		if (f->run[mid].gpa <= gpa)
			low = mid + 1;
		else
			high = mid;
	}
	if (!low)
		return NULL;
	r = &f->run[low - 1];
	return gpa - r->gpa < r->count * PAGES_SIZE ? r : NULL;
}

int snapshot_read_pages(struct snapshot_file *f, struct pages_coder *coder,
			const struct snapshot_run *run, void *buf,
			uint32_t *count, char *err, size_t errlen)
{
	uint8_t *body = pages_coder_body(coder);
	struct snapshot_reader reader = { f->reader.fd, run->offset };
	struct source in = { .read = file_read, .owner = &reader, .name = f->path };
	struct snapshot_run r = *run;
	struct section_head head;
	struct pages_head h;
	int ret;

	ret = read_at(reader.fd, &head, sizeof(head), r.offset);
	in.number = head.number;
	if (!ret)
		ret = section_next(&in, err, errlen);
	else
		snprintf(err, errlen, "%s: its index leads beyond its end", f->path);
	if (!ret && !section_is(&in, PAGES_TAG))
		ret = section_bad(&in, err, errlen, "pages were wanted here");
	if (!ret)
		ret = section_version(&in, PAGES_VERSION, err, errlen);
	if (!ret)
		ret = section_body(&in, body, PAGES_BODY_MAX, err, errlen);
	if (ret)
		return ret;
	if (pages_check(body, in.head.len, &h) ||
	    h.gpa + r.first * PAGES_SIZE != r.gpa || r.first + r.count > h.count)
		return section_bad(&in, err, errlen, "has other pages than its index says");
	if (pages_get(coder, body, in.head.len, buf))
		return section_bad(&in, err, errlen, "its pages cannot be unpacked");
	*count = h.count;
	return 0;
}
