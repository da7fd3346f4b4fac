/* SPDX-License-Identifier: GPL-2.0 */
/*
 * A whole VM without a module, to be saved and loaded: the machine is real, the
 * vCPUs' state is what was last set. One file of a program includes this: it
 * brings functions of api.c and vm.c (see the Makefile).
 */
#ifndef SELFTESTS_VM_FIXTURE_H
#define SELFTESTS_VM_FIXTURE_H

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cpuid.h"
#include "fixture.h"
#include "loop.h"
#include "mem.h"
#include "options.h"
#include "options_text.h"
#include "snapshot/restore.h"
#include "snapshot/snapshot.h"
#include "snapshot_fixture.h"
#include "state/pages.h"
#include "state/ram.h"
#include "state/vmstate.h"
#include "vcpu.h"

#define VMX_CPUS	2
#define VMX_MEMORY	(16ULL << 20)

struct vmx {
	struct vm vm;
	struct vm_options opt;
	struct vmstate state;		/* what it was made from */
	struct vcpu vcpu[VMX_CPUS];
	struct vmm_cpuid_entry cpuid[2];
	struct vmm_run *run;
	pthread_t thread;
	/* the module's, without one */
	struct vmm_state regs[VMX_CPUS];
	struct vmm_tsc tsc[VMX_CPUS];
	struct vmm_clock clock;
	bool refuse;			/* no state is taken */
	bool stood_still;		/* what the guest writes from here on comes after */
	void (*paused)(struct vmx *x);	/* the guest's last moments */
	char err[512];
};

/* there is one at a time whose vCPUs are asked */
static struct vmx *vmx_now;
/* those that are made from here on have no disk */
static bool vmx_no_disk;
/* or that of the first one, which has it yet */
static bool vmx_same_disk;

/* ---- the module ----------------------------------------------------------- */

int api_get_state(struct api_vcpu *vcpu, struct vmm_state *st, uint32_t mask)
{
	*st = vmx_now->regs[vcpu->fd];
	return 0;
}

int api_set_state(struct api_vcpu *vcpu, struct vmm_state *st, uint32_t mask)
{
	if (vmx_now->refuse)
		return -EINVAL;
	vmx_now->regs[vcpu->fd] = *st;
	return 0;
}

int api_get_tsc(struct api_vcpu *vcpu, struct vmm_tsc *t)
{
	*t = vmx_now->tsc[vcpu->fd];
	return 0;
}

int api_set_tsc(struct api_vcpu *vcpu, const struct vmm_tsc *t)
{
	vmx_now->tsc[vcpu->fd] = *t;
	return 0;
}

int api_get_clock(struct api_vm *vm, struct vmm_clock *c)
{
	*c = vmx_now->clock;
	return 0;
}

int api_set_clock(struct api_vm *vm, const struct vmm_clock *c)
{
	vmx_now->clock = *c;
	return 0;
}

/* the guest runs until here */
int vm_pause(struct vm *vm, unsigned int why)
{
	struct vmx *x = (struct vmx *)vm;

	vm->paused |= why;
	if (x->paused)
		x->paused(x);
	x->stood_still = true;
	return 0;
}

int vm_resume(struct vm *vm, unsigned int why)
{
	vm->paused &= ~why;
	return 0;
}

/* ---- making one ----------------------------------------------------------- */

static void vmx_lock(struct vmx *x)
{
	pthread_mutex_lock(&x->vm.lock);
}

static void vmx_unlock(struct vmx *x)
{
	pthread_mutex_unlock(&x->vm.lock);
}

static void *vmx_loop(void *arg)
{
	loop_run(((struct vmx *)arg)->vm.loop);
	return NULL;
}

/* those of the fixture, or of the state that it is made from */
static void vmx_options(struct vmx *x, const struct vmstate *from)
{
	static char firmware[300], disk[300];
	char *argv[60] = {
		(char *)"vmmd", (char *)"run", disk, (char *)"--firmware", firmware,
		(char *)"--console=none",
	};
	static const char own[] = "--net=user\0--memory=16M\0--cpus=2\0--name=fixture\0--balloon=1M";
	const char *text = from ? from->text : own;
	size_t len = from ? from->text_len : sizeof(own), at;
	static uint8_t image[65536];
	int argc = 6;

	memset(image + 65520, 0xea, 16);
	snprintf(firmware, sizeof(firmware), "%s", sf_path("firmware"));
	snprintf(disk, sizeof(disk), "%s", sf_path(from && !vmx_same_disk ? "disk-2" : "disk"));
	sf_write(firmware, image, sizeof(image));
	if (access(disk, F_OK)) {
		sf_write(disk, "what the guest wrote", 20);
		assert_int_equal(truncate(disk, 1 << 20), 0);
	}
	for (at = 0; at < len; at += strlen(text + at) + 1) {
		assert_true(argc < 59);
		argv[argc++] = (char *)text + at;
	}
	if (options_parse(argc, argv, &x->opt, x->err, sizeof(x->err)) != OPTIONS_RUN)
		fail_msg("%s", x->err);
}

static void vmx_vcpus(struct vmx *x)
{
	unsigned int i;

	x->run = calloc(VMX_CPUS, sizeof(*x->run));
	x->cpuid[0] = (struct vmm_cpuid_entry){ .function = 0, .eax = 1 };
	x->cpuid[1] = (struct vmm_cpuid_entry){ .function = 1, .edx = 0x11 };
	for (i = 0; i < VMX_CPUS; i++)
		x->vcpu[i] = (struct vcpu){
			.vm = &x->vm, .id = i, .api = { .fd = i, .run = &x->run[i] },
			.cpuid = x->cpuid, .ncpuid = 2,
		};
	x->vm.vcpu = x->vcpu;
	x->vm.nvcpus = VMX_CPUS;
	x->vm.api.info = (struct vmm_info){ .vendor = VMM_VENDOR_SVM, .tsc_khz = 2000000 };
}

/* from nothing, or from a state, whose firmware and options it has */
static struct vmx *vmx_new(const struct vmstate *from)
{
	struct vmx *x = calloc(1, sizeof(*x));

	fx_hold_clock(true);
	vmx_options(x, from);
	if (vmx_no_disk)
		x->opt.config.disk = NULL;
	x->opt.config.disk_late = from && vmx_same_disk;
	if (from) {
		x->opt.config.incoming = true;
		x->opt.config.memory_fd = -1;
		x->opt.config.firmware_image = from->firmware;
		x->opt.config.firmware_size = from->firmware_size;
	}
	pthread_mutex_init(&x->vm.lock, NULL);
	pthread_cond_init(&x->vm.changed, NULL);
	x->vm.opt = &x->opt;
	x->vm.loop = loop_new(&x->vm.lock);
	x->vm.machine = machine_new(NULL, x->vm.loop, &x->vm.lock, &x->opt.config,
				    x->err, sizeof(x->err));
	if (!x->vm.machine || machine_build(x->vm.machine, x->err, sizeof(x->err)))
		fail_msg("%s", x->err);
	vmx_vcpus(x);
	vmx_now = x;
	assert_int_equal(pthread_create(&x->thread, NULL, vmx_loop, x), 0);
	return x;
}

static void vmx_free(struct vmx *x)
{
	snapshot_save_stop(&x->vm);
	loop_stop(x->vm.loop, 0);
	pthread_join(x->thread, NULL);
	snapshot_forget(&x->vm);
	machine_free(x->vm.machine);
	loop_free(x->vm.loop);
	pthread_mutex_destroy(&x->vm.lock);
	pthread_cond_destroy(&x->vm.changed);
	free(x->run);
	free(x);
}

/* give every device, vCPU and clock a state that no reset leaves */
static inline void vmx_stir(struct vmx *x)
{
	static const struct { uint16_t port, value; } out[] = {
		{ 0x20, 0x11 }, { 0x21, 0x30 }, { 0x21, 4 }, { 0x21, 1 }, { 0x21, 0xfa },
		{ 0xa0, 0x11 }, { 0xa1, 0x38 }, { 0xa1, 2 }, { 0xa1, 1 }, { 0xa1, 0x7f },
		{ 0x43, 0x34 }, { 0x40, 0x12 }, { 0x40, 0x34 }, { 0x43, 0x80 },
		{ 0x70, 0x0f }, { 0x71, 0x5a }, { 0x70, 0x10 },
		{ 0x3fb, 0x83 }, { 0x3f8, 3 }, { 0x3f9, 0 }, { 0x3fb, 3 }, { 0x3fc, 0xb },
		{ 0x64, 0x60 }, { 0x60, 0x45 }, { 0x80, 0x77 }, { 0x600 + 2, 0x20 },
	};
	struct machine *m = x->vm.machine;
	unsigned int i;

	for (i = 0; i < sizeof(out) / sizeof(out[0]); i++)
		machine_pio_write(m, out[i].port, out[i].value, 1);
	machine_pio_write(m, 0xcf8, 0x80000000U | 1 << 11 | 0x60, 4);
	machine_mmio_write(m, MACHINE_IOAPIC, 0x12, 4);
	machine_mmio_write(m, MACHINE_IOAPIC + 0x10, 0x131, 4);
	for (i = 0; i < VMX_CPUS; i++) {
		memset(&x->regs[i], 0, sizeof(x->regs[i]));
		x->regs[i].regs.rip = 0x1000 + i;
		x->regs[i].regs.gpr[0] = 0x1111111111111111ULL * (i + 1);
		x->tsc[i].base = 5000000000ULL + i;
	}
	x->clock = (struct vmm_clock){ .ns = 123456789, .ticks = 246913578 };
}

/* what a guest writes: page `what` of the model's kind at a page of RAM */
static inline void vmx_write(struct vmx *x, unsigned int page, uint32_t what)
{
	static uint8_t data[PAGES_SIZE];
	struct rng r = { what };

	memset(data, what, sizeof(data));
	if (what >= 100)
		rng_fill(&r, data, sizeof(data));
	assert_true(mem_write(machine_mem(x->vm.machine), page * PAGES_SIZE, data,
			      sizeof(data)));
}

/* everything but RAM as save.c writes it, without what is new each time */
static inline void vmx_save(struct vmx *x, struct stream *s)
{
	stream_init(s);
	vmx_now = x;
	vmx_lock(x);
	assert_int_equal(vmstate_save_end(&x->vm, &s->out), 0);
	vmx_unlock(x);
}

static inline void vmx_snapshot_done(void *owner, const struct snapshot_result *r)
{
	*(struct snapshot_result *)owner = *r;
}

/* a whole snapshot, or a difference to the last one */
static inline void vmx_snapshot(struct vmx *x, const char *path, bool diff)
{
	struct snapshot_result r = { .error = 1 };
	struct snapshot_opts opts = {
		.path = path, .diff = diff, .done = vmx_snapshot_done, .owner = &r,
	};

	vmx_now = x;
	vmx_lock(x);
	if (!snapshot_save_start(&x->vm, &opts, r.text, sizeof(r.text)))
		fail_msg("%s", r.text);
	while (x->vm.saving)
		pthread_cond_wait(&x->vm.changed, &x->vm.lock);
	vmx_unlock(x);
	if (r.error)
		fail_msg("%s", r.text);
}

/* what comes behind the pages of a file */
static inline int vmx_load(struct vmx *x, struct snapshot_file *f, char *err,
			   size_t errlen)
{
	int ret;

	vmx_now = x;
	vmx_lock(x);
	ret = vmstate_check_memory(&f->state, machine_mem(x->vm.machine), f->path, err, errlen);
	if (!ret)
		ret = restore_state(f, &x->vm, err, errlen);
	vmx_unlock(x);
	return ret;
}

#endif
