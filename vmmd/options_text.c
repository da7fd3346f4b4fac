// SPDX-License-Identifier: GPL-2.0
#include <inttypes.h>
#include <limits.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "options_text.h"
#include "vm.h"

static void __attribute__((format(printf, 2, 3)))
say(FILE *t, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vfprintf(t, fmt, ap);
	va_end(ap);
	fputc(0, t);
}

/* as it can be found from another directory */
static void say_file(FILE *t, const char *option, const char *path)
{
	char *full = path ? realpath(path, NULL) : NULL;

	if (path)
		say(t, "%s=%s", option, full ? full : path);
	free(full);
}

static void say_net(FILE *t, const struct vm_config *c)
{
	unsigned int i;

	switch (c->net) {
	case NET_USER:
		say(t, "--net=user");
		break;
	case NET_TAP:
		say(t, "--net=tap=%s", c->tap);
		break;
	case NET_NONE:
		say(t, "--net=none");
		break;
	}
	if (c->net_queues)
		say(t, "--net-queues=%u", c->net_queues);
	if (c->has_mac)
		say(t, "--mac=%02x:%02x:%02x:%02x:%02x:%02x", c->mac[0],
		    c->mac[1], c->mac[2], c->mac[3], c->mac[4], c->mac[5]);
	for (i = 0; i < c->nforward; i++)
		say(t, "--forward=%s:%u:%u", c->forward[i].udp ? "udp" : "tcp",
		    c->forward[i].host_port, c->forward[i].guest_port);
}

static void say_kernel(FILE *t, const struct vm_config *c)
{
	if (!c->kernel)
		return;
	say_file(t, "--kernel", c->kernel);
	say_file(t, "--initrd", c->initrd);
	if (c->append)
		say(t, "--append=%s", c->append);
}

char *options_text(const struct vm_options *opt, size_t *len)
{
	const struct vm_config *c = &opt->config;
	char *text = NULL;
	FILE *t = open_memstream(&text, len);

	if (!t)
		return NULL;
	if (c->name)
		say(t, "--name=%s", c->name);
	say(t, "--cpus=%u", c->cpus);
	say(t, "--memory=%" PRIu64, c->memory);
	if (c->has_balloon)
		say(t, "--balloon=%" PRIu64, c->balloon);
	if (c->hugepages)
		say(t, "--hugepages=%s", c->hugepages >> 30 ? "1G" : "2M");
	if (c->disk_read_only)
		say(t, "--read-only");
	if (c->disk_direct)
		say(t, "--direct");
	if (c->disk_queues)
		say(t, "--disk-queues=%u", c->disk_queues);
	say_net(t, c);
	say(t, "--ring=%s", c->packed_rings ? "packed" : "split");
	say_kernel(t, c);
	say(t, "--grace=%u", opt->grace);
	say(t, "--on-crash=%s", opt->on_crash == ON_CRASH_EXIT ? "exit" : "reset");
	if (!fclose(t))
		return text;
	free(text);
	return NULL;
}

const char *const options_text_carried[] = {
	"name", "cpus", "memory", "balloon", "hugepages", "read-only", "direct",
	"disk-queues", "net", "net-queues", "mac", "forward", "ring", "kernel",
	"initrd", "append", "grace", "on-crash", NULL,
};

static bool carried(const char *s)
{
	const char *const *name;
	size_t n;

	if (strncmp(s, "--", 2))
		return false;
	n = strcspn(s + 2, "=");
	for (name = options_text_carried; *name; name++)
		if (strlen(*name) == n && !memcmp(*name, s + 2, n))
			return true;
	return false;
}

const char *options_text_alien(const char *text, size_t len)
{
	size_t at;

	for (at = 0; at < len; at += strlen(text + at) + 1)
		if (!carried(text + at))
			return text + at;
	return NULL;
}
