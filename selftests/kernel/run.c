// SPDX-License-Identifier: GPL-2.0
/* The harness of the kernel selftests: running a VM. See vm.h. */
#define _GNU_SOURCE
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "vm.h"

/* A vCPU that was kicked must be out of VMM_RUN after this, emulator or not. */
#define STOP_MS		20000

/* ---- one exit --------------------------------------------------------------- */

int vcpu_run(struct vcpu *v)
{
	int r = vm_ioctl_n(v->fd, VMM_RUN, 0);

	if (!r)
		v->exits++;
	return r;
}

int vcpu_exit(struct vcpu *v)
{
	int r;

	do {
		r = vcpu_run(v);
	} while (r == -EINTR);
	return r;
}

void vcpu_complete(struct vcpu *v)
{
	v->run->flags |= VMM_RUN_COMPLETE;
}

void vcpu_finish(struct vcpu *v)
{
	int r;

	if (!v->run->flags && !v->run->set)
		return;
	v->run->kick = 1;
	r = vcpu_run(v);
	v->run->kick = 0;
	if (r || v->run->reason != VMM_EXIT_KICK)
		vm_die("VMM_RUN with run.kick set: wanted exit KICK, found %d, exit %s",
		       r, vm_exit_name(v->run->reason));
}

static enum vm_end handle_io(struct vcpu *v)
{
	struct vmm_exit_io *io = &v->run->exit.io;
	struct testdev *d = &v->vm->testdev;

	if (io->string) {
		insn_string_io(v);
	} else {
		testdev_io(d, io->port, io->size, io->in, &io->data);
		vcpu_complete(v);
	}
	/* only the vCPU that wrote the port: another one may be behind */
	return d->exited && !io->in && io->port == PORT_EXIT ? VM_EXITED : VM_NONE;
}

enum vm_end vcpu_handle(struct vcpu *v)
{
	switch (v->run->reason) {
	case VMM_EXIT_IO:
		return handle_io(v);
	case VMM_EXIT_MMIO:
		insn_mmio(v);
		return VM_NONE;
	case VMM_EXIT_NONE:
	case VMM_EXIT_KICK:
	case VMM_EXIT_EOI:
	case VMM_EXIT_WINDOW:
		return VM_NONE;
	case VMM_EXIT_SHUTDOWN:
		return VM_SHUTDOWN;
	default:
		return VM_BAD_EXIT;
	}
}

enum vm_end vcpu_loop(struct vcpu *v)
{
	enum vm_end end = VM_NONE;
	int r;

	while (end == VM_NONE) {
		r = vcpu_run(v);
		if (r == -EINTR)
			continue;
		if (r) {
			v->vm->result = r;
			return VM_RUN_ERROR;
		}
		end = vcpu_handle(v);
	}
	v->vm->result = end == VM_EXITED ? (int)v->vm->testdev.exit_code :
					   (int)v->run->reason;
	return end;
}

/* ---- a whole run ------------------------------------------------------------ */

static void kick_others(struct vm *vm, struct vcpu *not_this)
{
	unsigned int i;

	for (i = 0; i < vm->nvcpus; i++)
		if (&vm->vcpu[i] != not_this)
			vm_ioctl_n(vm->vcpu[i].fd, VMM_KICK, 0);
}

/* under lock, so that no vCPU's fd is being replaced by vm_rebuild */
void vm_kick_all(struct vm *vm)
{
	pthread_mutex_lock(&vm->lock);
	kick_others(vm, NULL);
	pthread_mutex_unlock(&vm->lock);
}

static void end_run(struct vm *vm, struct vcpu *v, enum vm_end end, int result)
{
	pthread_mutex_lock(&vm->lock);
	if (vm->end == VM_NONE) {
		vm->end = end;
		vm->result = result;
		vm->ender = v;
		kick_others(vm, v);
	}
	pthread_cond_broadcast(&vm->cond);
	pthread_mutex_unlock(&vm->lock);
}

/* true: the run is over */
static bool pause_point(struct vcpu *v)
{
	struct vm *vm = v->vm;
	bool over;

	pthread_mutex_lock(&vm->lock);
	while (vm->parking && vm->end == VM_NONE) {
		v->parked = true;
		pthread_cond_broadcast(&vm->cond);
		pthread_cond_wait(&vm->cond, &vm->lock);
	}
	v->parked = false;
	over = vm->end != VM_NONE;
	pthread_mutex_unlock(&vm->lock);
	return over;
}

static void one_exit(struct vcpu *v)
{
	enum vm_verdict verdict = VM_HANDLE;
	enum vm_end end;

	if (v->vm->on_exit)
		verdict = v->vm->on_exit(v);
	if (verdict == VM_STOP)
		end_run(v->vm, v, VM_STOPPED, 0);
	if (verdict != VM_HANDLE)
		return;
	end = vcpu_handle(v);
	if (end != VM_NONE)
		end_run(v->vm, v, end, end == VM_EXITED ?
			(int)v->vm->testdev.exit_code : (int)v->run->reason);
}

static void *vcpu_thread(void *arg)
{
	struct vcpu *v = arg;
	struct vm *vm = v->vm;
	int r;

	while (!pause_point(v)) {
		r = vcpu_run(v);
		if (!r)
			one_exit(v);
		else if (r != -EINTR)
			end_run(vm, v, VM_RUN_ERROR, r);
	}
	pthread_mutex_lock(&vm->lock);
	vm->threads--;
	pthread_cond_broadcast(&vm->cond);
	pthread_mutex_unlock(&vm->lock);
	return NULL;
}

static struct timespec deadline(unsigned int ms)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	ts.tv_sec += ms / 1000;
	ts.tv_nsec += ms % 1000 * 1000000;
	if (ts.tv_nsec >= 1000000000) {
		ts.tv_sec++;
		ts.tv_nsec -= 1000000000;
	}
	return ts;
}

static void start_threads(struct vm *vm)
{
	unsigned int i;

	vm->end = VM_NONE;
	vm->result = 0;
	vm->ender = NULL;
	vm->threads = vm->nvcpus;
	for (i = 0; i < vm->nvcpus; i++)
		if (pthread_create(&vm->vcpu[i].thread, NULL, vcpu_thread, &vm->vcpu[i]))
			vm_die("no thread for vCPU %u", i);
}

enum vm_end vm_run(struct vm *vm, unsigned int ms)
{
	struct timespec until = deadline(ms);
	unsigned int i;
	int r = 0;

	start_threads(vm);
	pthread_mutex_lock(&vm->lock);
	while (vm->end == VM_NONE && r != ETIMEDOUT)
		r = pthread_cond_timedwait(&vm->cond, &vm->lock, &until);
	pthread_mutex_unlock(&vm->lock);
	end_run(vm, NULL, VM_TIMEOUT, 0);

	until = deadline(STOP_MS);
	pthread_mutex_lock(&vm->lock);
	for (r = 0; vm->threads && r != ETIMEDOUT; )
		r = pthread_cond_timedwait(&vm->cond, &vm->lock, &until);
	if (vm->threads)
		vm_die("%u vCPUs are still in VMM_RUN %d ms after VMM_KICK",
		       vm->threads, STOP_MS);
	pthread_mutex_unlock(&vm->lock);
	for (i = 0; i < vm->nvcpus; i++)
		pthread_join(vm->vcpu[i].thread, NULL);
	return vm->end;
}

/* ---- stopping the others, round trips --------------------------------------- */

static bool others_parked(struct vm *vm, struct vcpu *caller)
{
	unsigned int i;

	for (i = 0; i < vm->nvcpus; i++)
		if (&vm->vcpu[i] != caller && !vm->vcpu[i].parked)
			return false;
	return true;
}

void vm_park(struct vm *vm, struct vcpu *caller)
{
	struct timespec until = deadline(STOP_MS);
	int r = 0;

	pthread_mutex_lock(&vm->lock);
	/* two at once: the second waits, as parked, until the first is done */
	caller->parked = true;
	pthread_cond_broadcast(&vm->cond);
	while (vm->parking && vm->end == VM_NONE)
		pthread_cond_wait(&vm->cond, &vm->lock);
	caller->parked = false;
	vm->parking = true;
	kick_others(vm, caller);
	while (!others_parked(vm, caller) && vm->end == VM_NONE && r != ETIMEDOUT)
		r = pthread_cond_timedwait(&vm->cond, &vm->lock, &until);
	if (r == ETIMEDOUT)
		vm_die("a vCPU is still in VMM_RUN %d ms after VMM_KICK", STOP_MS);
	pthread_mutex_unlock(&vm->lock);
}

void vm_unpark(struct vm *vm)
{
	pthread_mutex_lock(&vm->lock);
	vm->parking = false;
	pthread_cond_broadcast(&vm->cond);
	pthread_mutex_unlock(&vm->lock);
}

void vm_roundtrip(struct vm *vm, struct vcpu *caller)
{
	static struct vm_saved saved;	/* too big for a stack; one at a time */

	if (caller)
		vm_park(vm, caller);
	pthread_mutex_lock(&vm->lock);
	if (vm->end == VM_NONE) {
		vm_save(vm, &saved);
		vm_rebuild(vm, &saved);
	}
	pthread_mutex_unlock(&vm->lock);
	if (caller)
		vm_unpark(vm);
}

/* ---- reports ---------------------------------------------------------------- */

const char *vm_end_name(enum vm_end end)
{
	static const char * const name[] = {
		[VM_NONE] = "running", [VM_EXITED] = "exit port",
		[VM_SHUTDOWN] = "shutdown", [VM_BAD_EXIT] = "bad exit",
		[VM_RUN_ERROR] = "VMM_RUN failed", [VM_TIMEOUT] = "timeout",
		[VM_STOPPED] = "stopped by the test",
	};

	return end < sizeof(name) / sizeof(*name) ? name[end] : "?";
}

const char *vm_exit_name(u32 reason)
{
	static const char * const name[] = {
		[VMM_EXIT_NONE] = "NONE", [VMM_EXIT_IO] = "IO",
		[VMM_EXIT_MMIO] = "MMIO", [VMM_EXIT_FAULT] = "FAULT",
		[VMM_EXIT_WINDOW] = "WINDOW", [VMM_EXIT_EOI] = "EOI",
		[VMM_EXIT_KICK] = "KICK", [VMM_EXIT_SHUTDOWN] = "SHUTDOWN",
		[VMM_EXIT_ENTRY_FAILED] = "ENTRY_FAILED",
		[VMM_EXIT_UNKNOWN] = "UNKNOWN",
	};

	return reason < sizeof(name) / sizeof(*name) ? name[reason] : "?";
}

static void explain_apic(const struct vmm_state *st)
{
	unsigned int i;

	fprintf(stderr, "#   apic base=%llx tpr=%x svr=%x lvtt=%x", st->apic.base,
		st->apic.regs[0x08], st->apic.regs[0x0f], st->apic.regs[0x32]);
	for (i = 0; i < 8; i++) {
		if (st->apic.regs[0x10 + i])
			fprintf(stderr, " isr%u=%08x", i, st->apic.regs[0x10 + i]);
		if (st->apic.regs[0x20 + i])
			fprintf(stderr, " irr%u=%08x", i, st->apic.regs[0x20 + i]);
	}
	fprintf(stderr, " shadow=%u nmi=%u/%u\n", st->events.shadow,
		st->events.nmi_pending, st->events.nmi_blocked);
}

static void explain_vcpu(struct vcpu *v)
{
	static struct vmm_state st;
	struct vmm_run *run = v->run;
	int r = vcpu_get(v, VMM_STATE_ALL, &st);

	fprintf(stderr, "# vCPU %u: %llu exits, last %s", v->id,
		v->exits, vm_exit_name(run->reason));
	if (run->reason == VMM_EXIT_UNKNOWN || run->reason == VMM_EXIT_ENTRY_FAILED)
		fprintf(stderr, " code=%#llx info=%#llx,%#llx event=%#llx",
			run->exit.raw.code, run->exit.raw.info1,
			run->exit.raw.info2, run->exit.raw.event);
	if (run->reason == VMM_EXIT_ENTRY_FAILED)
		fprintf(stderr, " refused: %.*s", (int)sizeof(run->exit.failed.why),
			run->exit.failed.why);
	if (run->reason == VMM_EXIT_FAULT)
		fprintf(stderr, " gpa=%#llx access=%u error=%d", run->exit.fault.gpa,
			run->exit.fault.access, run->exit.fault.error);
	if (r) {
		fprintf(stderr, "; VMM_GET_STATE: %s\n", strerror(-r));
		return;
	}
	fprintf(stderr, "\n#   cs:rip=%x:%llx rflags=%llx rsp=%llx rax=%llx cr0=%llx cr3=%llx cr4=%llx efer=%llx run_state=%u event=%u/%u\n",
		st.sregs.seg[VMM_CS].selector, st.regs.rip, st.regs.rflags,
		st.regs.gpr[VMM_RSP], st.regs.gpr[VMM_RAX], st.sregs.cr0,
		st.sregs.cr3, st.sregs.cr4, st.sregs.efer, st.events.run_state,
		st.events.type, st.events.vector);
	explain_apic(&st);
}

void vm_explain(struct vm *vm)
{
	struct testdev *d = &vm->testdev;
	unsigned int i;

	fprintf(stderr, "# ended: %s, result %d", vm_end_name(vm->end), vm->result);
	if (vm->end == VM_EXITED && vm->result >= 0x1000)
		fprintf(stderr, " (unexpected trap %d)", vm->result - 0x1000);
	else if (vm->end == VM_EXITED && vm->result)
		fprintf(stderr, " (line of the failed check)");
	fprintf(stderr, "; console \"%.*s\"\n", (int)d->console_len, d->console);
	for (i = d->nreports > 8 ? d->nreports - 8 : 0; i < d->nreports; i++)
		fprintf(stderr, "# report %u: %#x %#llx\n", i, d->report[i].code,
			d->report[i].value);
	for (i = 0; i < vm->nvcpus; i++)
		explain_vcpu(&vm->vcpu[i]);
}
