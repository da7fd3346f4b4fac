// SPDX-License-Identifier: GPL-2.0
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "snapshot/file.h"
#include "snapshot/info.h"
#include "vm.h"

/* ---- as an object --------------------------------------------------------- */

static json_t *options(const struct vmstate *st)
{
	json_t *list = json_array();
	size_t at;

	for (at = 0; at < st->text_len; at += strlen(st->text + at) + 1)
		json_array_append_new(list, json_string(st->text + at));
	return list;
}

static uint64_t memory(const struct vmstate *st)
{
	uint64_t size = 0;
	unsigned int i;

	for (i = 0; i < st->nranges; i++)
		if (!st->range[i].rom)
			size += st->range[i].size;
	return size;
}

static uint64_t pages(const struct snapshot_file *f)
{
	uint64_t n = 0, i;

	for (i = 0; i < f->nruns; i++)
		n += f->run[i].count;
	return n;
}

static json_t *parents(struct snapshot_file **chain, int n)
{
	json_t *list = json_array();
	int i;

	for (i = 1; i < n; i++)
		json_array_append_new(list, json_pack("{ss sI sI}", "file", chain[i]->path,
						      "pages", (json_int_t)pages(chain[i]),
						      "bytes", (json_int_t)chain[i]->size));
	return list;
}

static json_t *describe(struct snapshot_file **chain, int n,
			const struct snapshot_disk *d)
{
	const struct snapshot_file *f = chain[0];
	const struct state_ident *id = &f->state.ident;
	char hex[2 * STATE_ID + 1];
	json_t *disk = json_null();
	unsigned int i;

	for (i = 0; i < STATE_ID; i++)
		snprintf(hex + 2 * i, 3, "%02x", id->id[i]);
	if (d->file[0])
		disk = json_pack("{ss sI}", "file", d->file, "size", (json_int_t)d->size);
	return json_pack("{ss ss sf ss sI si sI so so so sI sI}", "file", f->path,
			 "id", hex, "created", id->created / 1e9, "vendor",
			 id->vendor == VMM_VENDOR_VMX ? "VT-x" : "SVM",
			 "tsc_khz", (json_int_t)id->tsc_khz, "cpus", (int)id->vcpus,
			 "memory", (json_int_t)memory(&f->state), "options",
			 options(&f->state), "disk", disk, "parents", parents(chain, n),
			 "pages", (json_int_t)pages(f), "bytes", (json_int_t)f->size);
}

json_t *snapshot_describe(const char *path, char *err, size_t errlen)
{
	struct snapshot_file *chain[SNAPSHOT_CHAIN_MAX];
	struct snapshot_disk d;
	json_t *info = NULL;
	int n = snapshot_open_chain(path, chain, err, errlen);

	if (n < 0)
		return NULL;
	if (!snapshot_find_disk(chain[0], &d, err, errlen)) {
		info = describe(chain, n, &d);
		/* a name or an option that is no UTF-8 */
		if (!info)
			snprintf(err, errlen, "%s: has text in it that cannot be shown",
				 path);
	}
	snapshot_close_chain(chain, n);
	return info;
}

/* ---- for people ----------------------------------------------------------- */

static const char *string(const json_t *info, const char *key)
{
	return json_string_value(json_object_get(info, key));
}

static long long integer(const json_t *info, const char *key)
{
	return json_integer_value(json_object_get(info, key));
}

static void print_when(const json_t *info)
{
	time_t when = json_number_value(json_object_get(info, "created"));
	struct tm tm;
	char text[64];

	if (!localtime_r(&when, &tm) || !strftime(text, sizeof(text), "%F %T %z", &tm))
		snprintf(text, sizeof(text), "-");
	printf("taken:   %s\n", text);
}

static void print_pages(const json_t *info)
{
	printf("%lld pages in %lld bytes\n", integer(info, "pages"), integer(info, "bytes"));
}

/* what a terminal would do something with becomes a '?' */
static void print_option(const char *s)
{
	putchar(' ');
	for (; *s; s++)
		putchar((unsigned char)*s < ' ' || *s == 127 ? '?' : *s);
}

int snapshot_print(const json_t *info)
{
	const json_t *disk = json_object_get(info, "disk");
	json_t *v;
	size_t i;

	printf("file:    %s\n", string(info, "file"));
	print_when(info);
	printf("host:    %s, TSC of %lld kHz\ncpus:    %lld\nmemory:  %lld MiB\noptions:",
	       string(info, "vendor"), integer(info, "tsc_khz"),
	       integer(info, "cpus"), (integer(info, "memory") + (1 << 20) - 1) >> 20);
	json_array_foreach(json_object_get(info, "options"), i, v)
		print_option(json_string_value(v));
	if (json_is_object(disk))
		printf("\ndisk:    %s, %lld bytes", string(disk, "file"),
		       integer(disk, "size"));
	printf("\nholds:   ");
	print_pages(info);
	json_array_foreach(json_object_get(info, "parents"), i, v) {
		printf("parent:  %s, ", string(v, "file"));
		print_pages(v);
	}
	if (!fflush(stdout) && !ferror(stdout))
		return VM_EXIT_OK;
	perror("vmmd: cannot write to standard output");
	return VM_EXIT_ERROR;
}
