// SPDX-License-Identifier: GPL-2.0
/*
 * The vCPU thread: VMM_RUN, look at the exit, do it, again.
 *
 * Being told to stop: `want` is written first, then the run page's kick flag,
 * then VMM_KICK. The thread clears the flag first and reads `want` after that,
 * so either it sees the new wish or the next VMM_RUN returns at once.
 */
#define _GNU_SOURCE 1		/* pthread_setname_np */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "dump.h"
#include "emulate.h"
#include "machine.h"
#include "vcpu.h"
#include "vector.h"
#include "vm.h"

#define MSR_IA32_TSC	0x10
/*
 * Bytes; a tenth of it is used. In the 8 MiB that threads have by default Linux
 * would put a page of 2 MiB.
 */
#define STACK_SIZE	(256 * 1024)

/* ---- reports -------------------------------------------------------------- */

void vcpu_report(struct vcpu *v, const char *fmt, ...)
{
	struct vmm_state *st = &v->scratch;
	va_list ap;

	flockfile(stderr);
	fprintf(stderr, "vmmd: vCPU %u: ", v->id);
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fputc('\n', stderr);
	dump_exit(stderr, v->api.run);
	if (!api_get_state(&v->api, st, VMM_STATE_REGS | VMM_STATE_SREGS |
			   VMM_STATE_EVENTS))
		dump_state(stderr, machine_mem(v->vm->machine), st);
	fflush(stderr);
	funlockfile(stderr);
}

/* ---- emulation ------------------------------------------------------------ */

static uint64_t op_mmio_read(void *owner, uint64_t gpa, unsigned int size)
{
	struct vcpu *v = owner;

	return machine_mmio_read(v->vm->machine, gpa, size);
}

static void op_mmio_write(void *owner, uint64_t gpa, uint64_t value,
			  unsigned int size)
{
	struct vcpu *v = owner;

	machine_mmio_write(v->vm->machine, gpa, value, size);
}

static uint64_t op_pio_read(void *owner, uint16_t port, unsigned int size)
{
	struct vcpu *v = owner;

	return machine_pio_read(v->vm->machine, port, size);
}

static void op_pio_write(void *owner, uint16_t port, uint32_t value,
			 unsigned int size)
{
	struct vcpu *v = owner;

	machine_pio_write(v->vm->machine, port, value, size);
}

static int op_vec_get(void *owner, unsigned int reg, uint8_t *out)
{
	struct vcpu *v = owner;
	int ret = api_get_state(&v->api, &v->scratch, VMM_STATE_XSAVE);

	return ret ? ret : vector_get(&v->scratch.xsave, reg, out);
}

static int op_vec_set(void *owner, unsigned int reg, const uint8_t *in)
{
	struct vcpu *v = owner;
	int ret = api_get_state(&v->api, &v->scratch, VMM_STATE_XSAVE);

	if (!ret)
		ret = vector_set(&v->scratch.xsave, reg, in);
	return ret ? ret : api_set_state(&v->api, &v->scratch, VMM_STATE_XSAVE);
}

static int op_x87_get(void *owner, void *x87)
{
	struct vcpu *v = owner;
	int ret = api_get_state(&v->api, &v->scratch, VMM_STATE_XSAVE);

	return ret ? ret : x87_get(&v->scratch.xsave, x87);
}

static int op_x87_set(void *owner, const void *x87)
{
	struct vcpu *v = owner;
	int ret = api_get_state(&v->api, &v->scratch, VMM_STATE_XSAVE);

	if (!ret)
		ret = x87_set(&v->scratch.xsave, x87);
	return ret ? ret : api_set_state(&v->api, &v->scratch, VMM_STATE_XSAVE);
}

static const struct emu_ops vcpu_emu_ops = {
	.mmio_read	= op_mmio_read,
	.mmio_write	= op_mmio_write,
	.pio_read	= op_pio_read,
	.pio_write	= op_pio_write,
	.vec_get	= op_vec_get,
	.vec_set	= op_vec_set,
	.x87_get	= op_x87_get,
	.x87_set	= op_x87_set,
};

static void vcpu_inject(struct vcpu *v, const struct walk_fault *f)
{
	struct vmm_inject inj = {
		.type = VMM_EVENT_EXCEPTION,
		.vector = f->vector,
		.has_error = f->has_error,
		.error = f->error,
	};
	int ret;

	if (f->vector == WALK_PF) {
		v->api.run->sregs.cr2 = f->cr2;
		v->api.run->set |= VMM_STATE_SREGS;
	}
	ret = api_inject(&v->api, &inj);
	if (ret) {
		vcpu_report(v, "an exception could not be injected: %s",
			    strerror(-ret));
		vm_crashed(v->vm, VM_EXIT_ERROR);
	}
}

/*
 * What the instruction at CS:RIP wants cannot be done. There is no way on for
 * the guest; but a user of it, who may have been given device memory, must not
 * be able to end it, and gets #UD. That is told once.
 */
static void vcpu_cannot(struct vcpu *v, const char *what, const char *detail)
{
	const struct walk_fault ud = { .vector = WALK_UD };
	struct vmm_sregs sregs = v->api.run->sregs;
	const struct walk w = {
		.sregs = &sregs,
		.rflags = v->api.run->regs.rflags,
	};
	bool user = walk_cpl(&w) == 3;

	if (!user || !v->told_user)
		vcpu_report(v, "%s%s%s", what, detail,
			    user ? "; the guest's user gets #UD" : "");
	v->told_user |= user;
	if (user)
		vcpu_inject(v, &ud);
	else
		vm_crashed(v->vm, VM_EXIT_CRASHED);
}

/* io: what the exit says of string port I/O, or NULL */
static void vcpu_emulate(struct vcpu *v, const struct vmm_exit_io *io)
{
	struct vmm_run *run = v->api.run;
	struct emu emu;

	/* one by one: `why` is long, and seldom of interest */
	emu.mem = machine_mem(v->vm->machine);
	emu.cache = v->decoded;
	emu.ops = &vcpu_emu_ops;
	emu.owner = v;
	emu.phys_bits = v->vm->phys_bits;
	emu.sregs = &run->sregs;	/* nobody writes them before the next RUN */
	emu.io = io;
	emu.regs = run->regs;
	switch (emu_run(&emu)) {
	case EMU_DONE:
		/* the module ends the interrupt shadow and traps a single step */
		run->flags |= VMM_RUN_COMPLETE;
		break;
	case EMU_AGAIN:
		break;
	case EMU_FAULT:
		vcpu_inject(v, &emu.fault);
		break;
	case EMU_UNSUPPORTED:
		vcpu_cannot(v, "cannot emulate: ", emu.why);
		return;
	}
	run->regs = emu.regs;
	run->set |= VMM_STATE_REGS;
}

/* ---- exits ---------------------------------------------------------------- */

static void exit_io(struct vcpu *v)
{
	struct vmm_run *run = v->api.run;
	struct vmm_exit_io *io = &run->exit.io;

	if (io->string) {
		vcpu_emulate(v, io);
		return;
	}
	if (io->in)
		io->data = machine_pio_read(v->vm->machine, io->port, io->size);
	else
		machine_pio_write(v->vm->machine, io->port, io->data, io->size);
	run->flags |= VMM_RUN_COMPLETE;
}

/* a MOV that the module has decoded */
static void exit_mov(struct vcpu *v, struct vmm_exit_mmio *m)
{
	if (m->access & VMM_ACCESS_WRITE)
		machine_mmio_write(v->vm->machine, m->gpa, m->data, m->size);
	else
		m->data = machine_mmio_read(v->vm->machine, m->gpa, m->size);
	v->api.run->flags |= VMM_RUN_COMPLETE;
}

static void exit_mmio(struct vcpu *v)
{
	if (v->api.run->exit.mmio.size) {
		exit_mov(v, &v->api.run->exit.mmio);
	} else if (v->api.run->events.type != VMM_EVENT_NONE) {
		/* no instruction did that, and there is nothing to execute */
		vcpu_report(v, "the delivery of an interrupt or exception touched an address where no memory is");
		vm_crashed(v->vm, VM_EXIT_CRASHED);
	} else if (v->api.run->exit.mmio.access & VMM_ACCESS_FETCH) {
		vcpu_cannot(v, "jumped to an address where no memory is", "");
	} else {
		vcpu_emulate(v, NULL);
	}
}

static void vcpu_exit(struct vcpu *v)
{
	struct vmm_run *run = v->api.run;

	switch (run->reason) {
	case VMM_EXIT_IO:
		exit_io(v);
		return;
	case VMM_EXIT_MMIO:
		exit_mmio(v);
		return;
	case VMM_EXIT_EOI:
		machine_eoi(v->vm->machine, run->exit.eoi.vector);
		return;
	case VMM_EXIT_WINDOW:
		v->window = true;
		return;
	case VMM_EXIT_NONE:
	case VMM_EXIT_KICK:
		return;
	case VMM_EXIT_SHUTDOWN:
		vcpu_report(v, "triple fault");
		vm_triple_fault(v->vm);
		return;
	case VMM_EXIT_FAULT:
		vcpu_report(v, "the host has no page for guest memory: %s",
			    strerror(-run->exit.fault.error));
		vm_crashed(v->vm, VM_EXIT_ERROR);
		return;
	case VMM_EXIT_ENTRY_FAILED:
		vcpu_report(v, "the CPU refuses to enter the guest with this state");
		break;
	default:
		vcpu_report(v, "left the guest for a reason that is not known");
		break;
	}
	vm_crashed(v->vm, VM_EXIT_CRASHED);
}

/*
 * ExtINT: the PIC is ours, the moment is the module's. While the PIC asks, RUN
 * is told to exit as soon as an interrupt could be taken; only then the PIC is
 * acknowledged, since that cannot be undone.
 */
static void vcpu_extint(struct vcpu *v)
{
	struct vmm_run *run = v->api.run;

	if (!atomic_load(&v->pic_hint)) {
		v->window = false;
		return;
	}
	/* cleared before the PIC is asked: it may raise its wire meanwhile */
	atomic_store(&v->pic_hint, false);
	if (machine_pic_pending(v->vm->machine)) {
		/* look again after the next exit: more may be waiting */
		atomic_store(&v->pic_hint, true);
		if (v->window) {
			run->extint = machine_pic_ack(v->vm->machine);
			run->flags |= VMM_RUN_EXTINT;
		} else {
			run->flags |= VMM_RUN_WINDOW;
		}
	}
	v->window = false;
}

static void vcpu_step(struct vcpu *v)
{
	int ret;

	vcpu_extint(v);
	v->api.run->flags |= VMM_RUN_MOV;
	ret = api_run(&v->api);
	if (!ret) {
		vcpu_exit(v);
	} else if (ret != -EINTR) {
		vcpu_report(v, "VMM_RUN failed: %s", strerror(-ret));
		vm_crashed(v->vm, VM_EXIT_ERROR);
	}
}

/* ---- the thread ----------------------------------------------------------- */

/* wait for a wish other than to pause; returns it */
static enum vcpu_state vcpu_park(struct vcpu *v)
{
	enum vcpu_state want;

	pthread_mutex_lock(&v->vm->lock);
	v->state = VCPU_PAUSED;
	pthread_cond_broadcast(&v->vm->changed);
	while ((want = atomic_load(&v->want)) == VCPU_PAUSED)
		pthread_cond_wait(&v->vm->changed, &v->vm->lock);
	v->state = want;
	pthread_cond_broadcast(&v->vm->changed);
	pthread_mutex_unlock(&v->vm->lock);
	return want;
}

/*
 * The instruction of the last exit is done here, but the module does not know
 * yet: whoever reads the state of a paused vCPU would have it done again.
 */
static void vcpu_settle(struct vcpu *v)
{
	struct vmm_run *run = v->api.run;
	int ret;

	if (!run->flags && !run->set)
		return;
	__atomic_store_n(&run->kick, 1, __ATOMIC_SEQ_CST);
	do {
		ret = api_run(&v->api);
	} while (ret == -EINTR);
	if (ret) {
		vcpu_report(v, "VMM_RUN failed: %s", strerror(-ret));
		vm_crashed(v->vm, VM_EXIT_ERROR);
	}
}

static void *vcpu_main(void *arg)
{
	struct vcpu *v = arg;

	/* first of all, too: nobody waits for a vCPU that does not say it runs */
	while (vcpu_park(v) != VCPU_FINISHED) {
		for (;;) {
			__atomic_store_n(&v->api.run->kick, 0, __ATOMIC_SEQ_CST);
			if (atomic_load(&v->want) != VCPU_RUNNING)
				break;
			vcpu_step(v);
		}
		vcpu_settle(v);
	}
	return NULL;
}

int vcpu_init(struct vcpu *v, struct vm *vm, unsigned int id,
	      struct vmm_cpuid_entry *cpuid, uint32_t ncpuid)
{
	int ret;

	v->vm = vm;
	v->id = id;
	v->state = VCPU_PAUSED;
	atomic_init(&v->want, VCPU_PAUSED);
	ret = api_vcpu_create(&vm->api, id, &v->api);
	if (ret < 0)
		return ret;
	ret = api_set_cpuid(&v->api, cpuid, ncpuid);
	if (!ret)
		ret = api_get_state(&v->api, &v->initial, VMM_STATE_ALL);
	if (ret) {
		api_vcpu_close(&v->api);
		return ret;
	}
	v->decoded = emu_cache_new();
	v->cpuid = calloc(ncpuid + 1, sizeof(*cpuid));
	if (!v->cpuid) {
		vcpu_destroy(v);
		return -ENOMEM;
	}
	for (v->ncpuid = 0; v->ncpuid < ncpuid; v->ncpuid++)
		v->cpuid[v->ncpuid] = cpuid[v->ncpuid];
	return 0;
}

void vcpu_destroy(struct vcpu *v)
{
	free(v->cpuid);
	emu_cache_free(v->decoded);
	api_vcpu_close(&v->api);
}

int vcpu_start(struct vcpu *v)
{
	pthread_attr_t attr;
	char name[16];
	int ret;

	ret = pthread_attr_init(&attr);
	if (ret)
		return -ret;
	ret = pthread_attr_setstacksize(&attr, STACK_SIZE);
	if (!ret)
		ret = pthread_create(&v->thread, &attr, vcpu_main, v);
	pthread_attr_destroy(&attr);
	if (ret)
		return -ret;
	v->started = true;
	snprintf(name, sizeof(name), "vcpu%u", v->id);
	pthread_setname_np(v->thread, name);
	return 0;
}

void vcpu_join(struct vcpu *v)
{
	if (v->started)
		pthread_join(v->thread, NULL);
	v->started = false;
}

static void vcpu_kick(struct vcpu *v)
{
	if (v->started && pthread_equal(pthread_self(), v->thread))
		return;		/* not in VMM_RUN, then */
	__atomic_store_n(&v->api.run->kick, 1, __ATOMIC_SEQ_CST);
	api_kick(&v->api);
}

void vcpu_want(struct vcpu *v, enum vcpu_state want)
{
	atomic_store(&v->want, want);
	if (want != VCPU_RUNNING)
		vcpu_kick(v);
	pthread_cond_broadcast(&v->vm->changed);
}

void vcpu_forget_tsc(struct vmm_state *st)
{
	uint32_t i, n = 0;

	for (i = 0; i < st->msrs.count; i++)
		if (st->msrs.msr[i].index != MSR_IA32_TSC)
			st->msrs.msr[n++] = st->msrs.msr[i];
	/* no rubbish behind the last: states are written to files */
	memset(&st->msrs.msr[n], 0, (st->msrs.count - n) * sizeof(*st->msrs.msr));
	st->msrs.count = n;
}

static int vcpu_begin(struct vcpu *v, struct vmm_state *st, bool pic_hint)
{
	v->window = false;
	v->api.run->flags = 0;
	v->api.run->set = 0;
	atomic_store(&v->pic_hint, pic_hint);
	return api_set_state(&v->api, st, VMM_STATE_ALL);
}

int vcpu_reset(struct vcpu *v)
{
	v->scratch = v->initial;
	/* so that the vCPUs' time stamps stay in step */
	vcpu_forget_tsc(&v->scratch);
	return vcpu_begin(v, &v->scratch, false);
}

int vcpu_load(struct vcpu *v, struct vmm_state *st, uint64_t tsc_base)
{
	const struct vmm_tsc tsc = { .base = tsc_base };
	int ret = api_set_tsc(&v->api, &tsc);

	/* the PIC's wire may be high, and nobody will raise it again */
	return ret ? ret : vcpu_begin(v, st, true);
}

void vcpu_pic_raised(struct vcpu *v)
{
	atomic_store(&v->pic_hint, true);
	vcpu_kick(v);
}
