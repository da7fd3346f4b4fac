// SPDX-License-Identifier: GPL-2.0
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>

#include "mem.h"
#include "options_text.h"
#include "state/vmstate_priv.h"
#include "vcpu.h"

void vmstate_identify(struct vm *vm, struct state_ident *ident,
		      const uint8_t *parent)
{
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	*ident = (struct state_ident){
		.created = now.tv_sec * 1000000000ULL + now.tv_nsec,
		.vendor = vm->api.info.vendor,
		.tsc_khz = vm->api.info.tsc_khz,
		.vcpus = vm->nvcpus,
		.abi_version = VMM_ABI_VERSION,
	};
	/* never blocks once the host has booted, and never is short below 256 */
	if (getrandom(ident->id, sizeof(ident->id), 0) != sizeof(ident->id))
		memcpy(ident->id, &ident->created, sizeof(ident->created));
	if (parent)
		memcpy(ident->parent, parent, sizeof(ident->parent));
}

static int put(struct sink *out, const struct state_section *s, const void *body,
	       size_t len, const void *more, size_t morelen)
{
	return section_put(out, s->tag, s->version, body, len, more, morelen);
}

static int save_options(struct vm *vm, struct sink *out, struct vm_options *opt)
{
	size_t len;
	char *text;
	int ret;

	*opt = *vm->opt;
	machine_describe(vm->machine, &opt->config);
	text = options_text(opt, &len);
	if (!text)
		return -ENOMEM;
	ret = put(out, &state_options, text, len, NULL, 0);
	free(text);
	return ret;
}

static int save_memory(struct vm *vm, struct sink *out)
{
	struct mem *mem = machine_mem(vm->machine);
	struct state_range range[STATE_RANGES] = { 0 };
	unsigned int i, n = mem_regions(mem);

	if (n > STATE_RANGES)
		return -E2BIG;
	for (i = 0; i < n; i++) {
		struct mem_info r = mem_region(mem, i);

		range[i] = (struct state_range){
			.gpa = r.gpa, .size = r.size, .rom = r.rom,
		};
	}
	return put(out, &state_memory, range, n * sizeof(*range), NULL, 0);
}

int vmstate_save_begin(struct vm *vm, struct sink *out,
		       const struct state_ident *ident)
{
	struct vm_options opt;
	unsigned int i;
	int ret;

	ret = put(out, &state_ident, ident, sizeof(*ident), NULL, 0);
	if (!ret)
		ret = save_options(vm, out, &opt);
	if (!ret && opt.config.firmware_size)
		ret = put(out, &state_firmware, opt.config.firmware_image,
			  opt.config.firmware_size, NULL, 0);
	for (i = 0; !ret && i < vm->nvcpus; i++)
		ret = put(out, &state_cpuid, vm->vcpu[i].cpuid,
			  vm->vcpu[i].ncpuid * sizeof(*vm->vcpu[i].cpuid), NULL, 0);
	return ret ? ret : save_memory(vm, out);
}

/* IA32_TSC is left out: it runs on meanwhile. tsc is exact */
static int save_vcpu(struct vcpu *v, const struct vmm_clock *clock,
		     struct sink *out)
{
	struct vmm_state *st = &v->scratch;
	struct state_vcpu_head h = { .id = v->id };
	struct vmm_tsc tsc;
	int ret;

	ret = api_get_state(&v->api, st, VMM_STATE_ALL);
	if (!ret)
		ret = api_get_tsc(&v->api, &tsc);
	if (ret)
		return ret;
	vcpu_forget_tsc(st);
	h.tsc = tsc.base + clock->ticks;
	return put(out, &state_vcpu, &h, sizeof(h), st, sizeof(*st));
}

static int save_device(struct vm *vm, unsigned int i, const char *name,
		       struct sink *out)
{
	size_t len = machine_dev_save(vm->machine, i, NULL, 0), n;
	char head[STATE_DEVICE_NAME] = { 0 };
	void *buf = malloc(len ? len : 1);
	int ret = -ENOMEM;

	if (!buf)
		return ret;
	memcpy(head, name, strnlen(name, sizeof(head)));
	n = machine_dev_save(vm->machine, i, buf, len);
	ret = n == len ? put(out, &state_device, head, sizeof(head), buf, len) : -EIO;
	free(buf);
	return ret;
}

int vmstate_save_end(struct vm *vm, struct sink *out)
{
	struct vmm_clock clock;
	const char *name;
	unsigned int i;
	int ret;

	/* quiesces the devices: their last interrupts are in the vCPUs' state */
	for (i = 0, ret = 0; !ret && (name = machine_dev_name(vm->machine, i)); i++)
		ret = save_device(vm, i, name, out);
	if (!ret)
		ret = api_get_clock(&vm->api, &clock);
	if (!ret)
		ret = put(out, &state_clock, &clock, sizeof(clock), NULL, 0);
	for (i = 0; !ret && i < vm->nvcpus; i++)
		ret = save_vcpu(&vm->vcpu[i], &clock, out);
	return ret;
}

int vmstate_put_end(struct sink *out)
{
	return put(out, &state_end, NULL, 0, NULL, 0);
}
