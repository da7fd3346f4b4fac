// SPDX-License-Identifier: GPL-2.0
#include <errno.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "mem.h"
#include "options.h"
#include "state/pages.h"
#include "state/vmstate_priv.h"
#include "vcpu.h"

/* ---- the beginning -------------------------------------------------------- */

/* head, version and body of what must come now; *len: its length */
static int take_body(struct source *in, const struct state_section *s, void *buf,
		     size_t max, size_t *len, char *err, size_t errlen)
{
	int ret = section_version(in, s->version, err, errlen);

	*len = 0;
	if (!ret)
		ret = section_body(in, buf, max, err, errlen);
	if (!ret)
		*len = in->head.len;
	return ret;
}

/* the same, allocated, with a 0 behind it */
static int take_new(struct source *in, const struct state_section *s, void **body,
		    size_t *len, char *err, size_t errlen)
{
	int ret;

	if (in->head.len > s->max)
		return section_bad(in, err, errlen, "has %" PRIu64 " bytes, at most %zu are possible",
				   in->head.len, s->max);
	*body = calloc(1, in->head.len + 1);
	if (!*body) {
		snprintf(err, errlen, "%s: out of memory", in->name);
		return -ENOMEM;
	}
	ret = take_body(in, s, *body, s->max, len, err, errlen);
	if (ret) {
		free(*body);
		*body = NULL;
	}
	return ret;
}

static int want(struct source *in, const struct state_section *s, char *err,
		size_t errlen)
{
	int ret = section_next(in, err, errlen);

	if (!ret && !section_is(in, s->tag))
		ret = section_bad(in, err, errlen, "\"%s\" was wanted here", s->tag);
	return ret;
}

static int read_ident(struct source *in, struct vmstate *st, char *err,
		      size_t errlen)
{
	struct state_ident *id = &st->ident;
	size_t len;
	int ret = want(in, &state_ident, err, errlen);

	if (!ret)
		ret = take_body(in, &state_ident, id, sizeof(*id), &len, err, errlen);
	if (ret)
		return ret;
	if (len != sizeof(*id) || !id->vcpus || id->vcpus > OPTIONS_CPUS_MAX)
		return section_bad(in, err, errlen, "says nothing that is possible");
	if (id->abi_version != VMM_ABI_VERSION) {
		section_bad(in, err, errlen, "is of ABI version %u, this vmmd's is %u",
			    id->abi_version, VMM_ABI_VERSION);
		return -ENOTSUP;
	}
	return 0;
}

static int read_cpuid(struct source *in, struct vmstate *st, char *err,
		      size_t errlen)
{
	unsigned int i;
	void *body;
	size_t len;
	int ret;

	st->cpuid = calloc(st->ident.vcpus, sizeof(*st->cpuid));
	if (!st->cpuid) {
		snprintf(err, errlen, "%s: out of memory", in->name);
		return -ENOMEM;
	}
	for (i = 0; i < st->ident.vcpus; i++) {
		ret = i ? want(in, &state_cpuid, err, errlen) : 0;
		if (!ret)
			ret = take_new(in, &state_cpuid, &body, &len, err, errlen);
		if (ret)
			return ret;
		st->cpuid[i].entry = body;
		st->cpuid[i].count = len / sizeof(struct vmm_cpuid_entry);
		if (!len || len % sizeof(struct vmm_cpuid_entry))
			return section_bad(in, err, errlen, "is no whole table");
	}
	return 0;
}

/* whole pages, in order, none twice, and so fewer than 2^64 bytes in all */
static bool ranges_ok(const struct vmstate *st)
{
	uint64_t end = 0;
	unsigned int i;

	for (i = 0; i < st->nranges; i++) {
		const struct state_range *r = &st->range[i];

		if (r->gpa < end || r->rom > 1 || r->pad || !r->size ||
		    (r->gpa | r->size) % PAGES_SIZE || r->gpa + r->size < r->gpa)
			return false;
		end = r->gpa + r->size;
	}
	return true;
}

static int read_memory(struct source *in, struct vmstate *st, char *err,
		       size_t errlen)
{
	size_t len;
	int ret = want(in, &state_memory, err, errlen);

	if (!ret)
		ret = take_body(in, &state_memory, st->range, sizeof(st->range),
				&len, err, errlen);
	if (ret)
		return ret;
	st->nranges = len / sizeof(*st->range);
	if (!len || len % sizeof(*st->range))
		return section_bad(in, err, errlen, "is no whole table");
	if (!ranges_ok(st))
		return section_bad(in, err, errlen, "has ranges that cannot be");
	return 0;
}

int vmstate_read(struct source *in, struct vmstate *st, char *err, size_t errlen)
{
	void *body;
	int ret;

	memset(st, 0, sizeof(*st));
	ret = read_ident(in, st, err, errlen);
	if (!ret)
		ret = want(in, &state_options, err, errlen);
	if (!ret)
		ret = take_new(in, &state_options, &body, &st->text_len, err, errlen);
	if (ret)
		return ret;
	st->text = body;
	ret = section_next(in, err, errlen);
	if (!ret && section_is(in, state_firmware.tag)) {
		ret = take_new(in, &state_firmware, &body, &st->firmware_size,
			       err, errlen);
		if (ret)
			return ret;
		st->firmware = body;
		ret = section_next(in, err, errlen);
	}
	if (!ret && !section_is(in, state_cpuid.tag))
		ret = section_bad(in, err, errlen, "\"%s\" was wanted here",
				  state_cpuid.tag);
	if (!ret)
		ret = read_cpuid(in, st, err, errlen);
	return ret ? ret : read_memory(in, st, err, errlen);
}

void vmstate_free(struct vmstate *st)
{
	unsigned int i;

	free(st->text);
	free(st->firmware);
	for (i = 0; st->cpuid && i < st->ident.vcpus; i++)
		free(st->cpuid[i].entry);
	free(st->cpuid);
	memset(st, 0, sizeof(*st));
}

int vmstate_check_memory(const struct vmstate *st, struct mem *mem,
			 const char *name, char *err, size_t errlen)
{
	unsigned int i;

	for (i = 0; i < st->nranges && i < mem_regions(mem); i++) {
		struct mem_info r = mem_region(mem, i);
		const struct state_range *s = &st->range[i];

		if (s->gpa != r.gpa || s->size != r.size || s->rom != r.rom || s->pad)
			break;
	}
	if (i == st->nranges && i == mem_regions(mem))
		return 0;
	snprintf(err, errlen, "%s: section \"%s\": its range %u is not where this vmmd puts memory",
		 name, state_memory.tag, i);
	return -EBADMSG;
}

/* ---- the rest ------------------------------------------------------------- */

static int load_device(struct vmstate_loader *l, struct source *in, char *err,
		       size_t errlen)
{
	char name[STATE_DEVICE_NAME + 1] = { 0 };
	const char *have;
	unsigned int i;
	uint8_t *body;
	size_t len;
	int ret;

	ret = take_new(in, &state_device, (void **)&body, &len, err, errlen);
	if (ret)
		return ret;
	if (len < STATE_DEVICE_NAME) {
		free(body);
		return section_bad(in, err, errlen, "has no name");
	}
	memcpy(name, body, STATE_DEVICE_NAME);
	if (!section_name_ok(name)) {
		free(body);
		return section_bad(in, err, errlen, "has a name that is none");
	}
	for (i = 0; (have = machine_dev_name(l->vm->machine, i)); i++)
		if (!strncmp(have, name, STATE_DEVICE_NAME) && !(l->devices & 1ULL << i))
			break;
	if (!have)
		ret = section_bad(in, err, errlen, "is of %s, which this machine has not",
				  name);
	else if (machine_dev_load(l->vm->machine, i, body + STATE_DEVICE_NAME,
				  len - STATE_DEVICE_NAME))
		ret = section_bad(in, err, errlen, "is no state of this machine's %s", name);
	else
		l->devices |= 1ULL << i;
	free(body);
	return ret;
}

static int load_clock(struct vmstate_loader *l, struct source *in, char *err,
		      size_t errlen)
{
	size_t len;
	int ret;

	ret = take_body(in, &state_clock, &l->clock, sizeof(l->clock), &len, err,
			errlen);
	if (ret)
		return ret;
	if (len != sizeof(l->clock) || l->has_clock)
		return section_bad(in, err, errlen, "is no clock, or another one");
	ret = api_set_clock(&l->vm->api, &l->clock);
	if (ret)
		return section_bad(in, err, errlen, "does not fit: %s", strerror(-ret));
	l->has_clock = true;
	return 0;
}

/* the first group of registers that the module does not take by itself */
static const char *refused_group(struct vcpu *v, struct vmm_state *st)
{
	static const char *const group[] = {
		"REGS", "SREGS", "EVENTS", "DREGS", "APIC", "MSRS", "XSAVE",
	};
	size_t i;

	for (i = 0; i < sizeof(group) / sizeof(group[0]); i++)
		if (api_set_state(&v->api, st, 1U << i))
			return group[i];
	return "all of it together";
}

static int load_vcpu(struct vmstate_loader *l, struct source *in, char *err,
		     size_t errlen)
{
	struct state_vcpu_head h;
	struct vmm_state *st;
	uint8_t *body;
	size_t len;
	int ret;

	ret = take_new(in, &state_vcpu, (void **)&body, &len, err, errlen);
	if (ret)
		return ret;
	if (len != sizeof(h) + sizeof(*st)) {
		ret = section_bad(in, err, errlen, "has %zu bytes, wanted %zu", len,
				  sizeof(h) + sizeof(*st));
		goto out;
	}
	memcpy(&h, body, sizeof(h));
	if (h.id >= l->vm->nvcpus || l->vcpus & 1ULL << h.id || h.pad || !l->has_clock) {
		ret = section_bad(in, err, errlen, "is of vCPU %u, which is not wanted here",
				  h.id);
		goto out;
	}
	st = &l->vm->vcpu[h.id].scratch;
	memcpy(st, body + sizeof(h), sizeof(*st));
	/* the clock was set a moment ago, and that is its tick 0 */
	ret = vcpu_load(&l->vm->vcpu[h.id], st, h.tsc);
	if (ret)
		ret = section_bad(in, err, errlen, "of vCPU %u is refused by the module: %s (%s)",
				  h.id, strerror(-ret),
				  refused_group(&l->vm->vcpu[h.id], st));
	l->vcpus |= 1ULL << h.id;
out:
	free(body);
	return ret;
}

int vmstate_load(struct vmstate_loader *l, struct source *in, char *err,
		 size_t errlen)
{
	size_t len;

	if (section_is(in, state_device.tag))
		return load_device(l, in, err, errlen);
	if (section_is(in, state_clock.tag))
		return load_clock(l, in, err, errlen);
	if (section_is(in, state_vcpu.tag))
		return load_vcpu(l, in, err, errlen);
	if (section_is(in, state_end.tag)) {
		l->ended = true;
		return take_body(in, &state_end, NULL, 0, &len, err, errlen);
	}
	section_bad(in, err, errlen, "is not known to this vmmd: use a newer one");
	return -ENOTSUP;
}

int vmstate_load_done(const struct vmstate_loader *l, const char *name, char *err,
		      size_t errlen)
{
	const char *what = NULL, *dev;
	unsigned int i;

	for (i = 0; (dev = machine_dev_name(l->vm->machine, i)); i++)
		if (!(l->devices & 1ULL << i))
			what = dev;
	for (i = 0; i < l->vm->nvcpus; i++)
		if (!(l->vcpus & 1ULL << i))
			what = "a vCPU";
	if (!l->has_clock)
		what = "the clock";
	if (!l->ended)
		what = "its end";
	if (!what)
		return 0;
	snprintf(err, errlen, "%s: there is no state of %s in it", name, what);
	return -EBADMSG;
}
