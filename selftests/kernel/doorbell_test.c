// SPDX-License-Identifier: GPL-2.0
/*
 * Doorbells: which guest writes signal which eventfd, and that all others are
 * the monitor's as before. A few bytes of code at 0000:8000 in each test.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "kselftest_harness.h"
#include "vm.h"

#define PAGE	4096
#define BELL	(GUEST_MMIO + 0x128)
#define PORT	0x12
#define MAX	1024		/* doorbells of a VM */
#define ARRAY(a)	(sizeof(a) / sizeof((a)[0]))

FIXTURE(doorbell) {
	struct vm *vm;
	struct vcpu *v;
	struct vmm_run *run;
	int efd;
};

FIXTURE_SETUP(doorbell)
{
	self->vm = vm_create(VM_RAM);
	self->v = vm_add_vcpu(self->vm);
	self->run = self->v->run;
	self->efd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	vcpu_start16(self->v, 0, GUEST_IMAGE);
}

FIXTURE_TEARDOWN(doorbell)
{
	close(self->efd);
	vm_free(self->vm);
}

#define CODE(...)							\
	memcpy(self->vm->ram + GUEST_IMAGE, (const u8[]) { __VA_ARGS__ },	\
	       sizeof((const u8[]) { __VA_ARGS__ }))

/* the next RUN exits for I/O at this port */
#define NEXT_IO(p)							\
do {									\
	ASSERT_EQ(0, vcpu_exit(self->v));				\
	ASSERT_EQ(VMM_EXIT_IO, self->run->reason);			\
	ASSERT_EQ(p, self->run->exit.io.port);				\
} while (0)

/* signals since the last look */
static u64 rings(int efd)
{
	u64 count;

	return read(efd, &count, sizeof(count)) == sizeof(count) ? count : 0;
}

static int bind_bell(struct vm *vm, u32 flags, u64 addr, u32 size, u64 data, int fd)
{
	struct vmm_doorbell d = {
		.addr = addr, .data = data, .size = size, .flags = flags, .fd = fd,
	};

	return vm_ioctl(vm->fd, VMM_BIND_DOORBELL, &d);
}

static int unbind_bell(struct vm *vm, u32 flags, u64 addr, u32 size, u64 data)
{
	struct vmm_doorbell d = {
		.addr = addr, .data = data, .size = size, .flags = flags, .fd = -1,
	};

	return vm_ioctl(vm->fd, VMM_UNBIND_DOORBELL, &d);
}

static int bind_port(struct vm *vm, u16 port, int fd)
{
	return bind_bell(vm, VMM_DOORBELL_PORT, port, 0, 0, fd);
}

static void set_regs(struct vcpu *v, const struct vmm_regs *r)
{
	static struct vmm_state st;

	st.regs = *r;
	if (vcpu_set(v, VMM_STATE_REGS, &st))
		vm_die("VMM_SET_STATE failed");
}

static struct vmm_regs *regs(struct vcpu *v)
{
	static struct vmm_state st;

	if (vcpu_get(v, VMM_STATE_REGS, &st))
		vm_die("VMM_GET_STATE failed");
	return &st.regs;
}

/* ---- ports ------------------------------------------------------------------------ */

TEST_F(doorbell, port_of_any_size)
{
	/* out 0x12,al; out 0x12,ax; out 0x12,eax; out 0x13,al */
	CODE(0xe6, 0x12, 0xe7, 0x12, 0x66, 0xe7, 0x12, 0xe6, 0x13);
	ASSERT_EQ(0, bind_port(self->vm, PORT, self->efd));
	NEXT_IO(0x13);
	EXPECT_EQ(3, rings(self->efd));
	EXPECT_EQ(GUEST_IMAGE + 7, regs(self->v)->rip);
}

TEST_F(doorbell, port_of_one_size)
{
	CODE(0xe6, 0x12, 0xe7, 0x12, 0x66, 0xe7, 0x12, 0xe6, 0x13);
	ASSERT_EQ(0, bind_bell(self->vm, VMM_DOORBELL_PORT, PORT, 2, 0, self->efd));
	NEXT_IO(PORT);
	EXPECT_EQ(1, self->run->exit.io.size);
	vcpu_complete(self->v);
	NEXT_IO(PORT);
	EXPECT_EQ(4, self->run->exit.io.size);
	EXPECT_EQ(1, rings(self->efd));
	vcpu_complete(self->v);
	NEXT_IO(0x13);
	EXPECT_EQ(0, rings(self->efd));
}

TEST_F(doorbell, each_datum_its_own)
{
	int other = eventfd(0, EFD_NONBLOCK);
	u32 flags = VMM_DOORBELL_PORT | VMM_DOORBELL_MATCH;

	/* mov al,1; out 0x12,al; inc al; out 0x12,al; inc al; out 0x12,al */
	CODE(0xb0, 0x01, 0xe6, 0x12, 0xfe, 0xc0, 0xe6, 0x12, 0xfe, 0xc0, 0xe6, 0x12);
	ASSERT_EQ(0, bind_bell(self->vm, flags, PORT, 1, 1, self->efd));
	ASSERT_EQ(0, bind_bell(self->vm, flags, PORT, 1, 2, other));
	NEXT_IO(PORT);
	EXPECT_EQ(3, self->run->exit.io.data);
	EXPECT_EQ(1, rings(self->efd));
	EXPECT_EQ(1, rings(other));
	close(other);
}

/* the upper half of EAX is no part of what a port of 16 bits is given */
TEST_F(doorbell, datum_has_the_width_of_the_write)
{
	struct vmm_regs r = { .rip = GUEST_IMAGE, .rflags = 2 };

	CODE(0xe7, 0x12, 0xe6, 0x13);
	r.gpr[VMM_RAX] = 0xffffffff5555beef;
	set_regs(self->v, &r);
	ASSERT_EQ(0, bind_bell(self->vm, VMM_DOORBELL_PORT | VMM_DOORBELL_MATCH, PORT,
			       2, 0xbeef, self->efd));
	NEXT_IO(0x13);
	EXPECT_EQ(1, rings(self->efd));
}

TEST_F(doorbell, neither_in_nor_string_nor_neighbour)
{
	/* in al,0x12; out 0x11,eax; mov dx,0x12; outsb */
	CODE(0xe4, 0x12, 0x66, 0xe7, 0x11, 0xba, 0x12, 0x00, 0x6e);
	ASSERT_EQ(0, bind_port(self->vm, PORT, self->efd));
	NEXT_IO(PORT);
	EXPECT_EQ(1, self->run->exit.io.in);
	vcpu_complete(self->v);
	NEXT_IO(0x11);
	vcpu_complete(self->v);
	NEXT_IO(PORT);
	EXPECT_EQ(1, self->run->exit.io.string);
	EXPECT_EQ(0, rings(self->efd));
}

/* the trap of a single step comes behind it, as behind any OUT */
TEST_F(doorbell, single_step)
{
	struct vmm_regs r = { .rip = GUEST_IMAGE, .rflags = 0x102 };

	/* #DB at 0000:9000: out 1,al */
	memcpy(self->vm->ram + 4, (const u8[]) { 0x00, 0x90, 0, 0 }, 4);
	memcpy(self->vm->ram + 0x9000, (const u8[]) { 0xe6, 0x01 }, 2);
	CODE(0xe6, 0x12, 0xe6, 0x13);
	r.gpr[VMM_RSP] = 0x7000;
	set_regs(self->v, &r);
	ASSERT_EQ(0, bind_port(self->vm, PORT, self->efd));
	NEXT_IO(0x01);
	EXPECT_EQ(1, rings(self->efd));
	EXPECT_EQ(GUEST_IMAGE + 2, *(u16 *)(self->vm->ram + 0x7000 - 6));
}

/* ---- MMIO ------------------------------------------------------------------------- */

static const struct form {
	const char *what;
	u8 mode;
	u8 len;
	u8 code[16];
	u8 size;		/* 0: not one that the kernel does */
	u64 data;
} forms[] = {
	{ "mov [rbx],al", 64, 2, { 0x88, 0x03 }, 1, 0x88 },
	{ "mov [rbx],r9b", 64, 3, { 0x44, 0x88, 0x0b }, 1, 0x99 },
	{ "mov [rbx],ax", 64, 3, { 0x66, 0x89, 0x03 }, 2, 0x7788 },
	{ "mov [rbx],eax", 64, 2, { 0x89, 0x03 }, 4, 0x55667788 },
	{ "mov [rbx],rax", 64, 3, { 0x48, 0x89, 0x03 }, 8, 0x1122334455667788 },
	{ "mov [rbx+8*rcx-8],r9d", 64, 5, { 0x44, 0x89, 0x4c, 0xcb, 0xf8 }, 4, 0x99 },
	{ "mov [r10+0x100],ax", 64, 8,
	  { 0x66, 0x41, 0x89, 0x82, 0x00, 0x01, 0x00, 0x00 }, 2, 0x7788 },
	{ "mov [r12],ax", 64, 5, { 0x66, 0x41, 0x89, 0x04, 0x24 }, 2, 0x7788 },
	{ "mov [rbp+0],ax", 64, 4, { 0x66, 0x89, 0x45, 0x00 }, 2, 0x7788 },
	{ "mov fs:[rsi],eax", 64, 3, { 0x64, 0x89, 0x06 }, 4, 0x55667788 },
	{ "mov [eip+disp],eax", 64, 7, { 0x67, 0x89, 0x05, 0x21, 0x81, 0xff, 0xcf },
	  4, 0x55667788 },
	{ "mov byte [rbx],0x5a", 64, 3, { 0xc6, 0x03, 0x5a }, 1, 0x5a },
	{ "mov word [rbx],0x1234", 64, 5, { 0x66, 0xc7, 0x03, 0x34, 0x12 }, 2, 0x1234 },
	{ "mov dword [rbx],-2", 64, 6, { 0xc7, 0x03, 0xfe, 0xff, 0xff, 0xff },
	  4, 0xfffffffe },
	{ "mov qword [rbx],-2", 64, 7, { 0x48, 0xc7, 0x03, 0xfe, 0xff, 0xff, 0xff },
	  8, 0xfffffffffffffffe },
	{ "mov [moffs],eax", 64, 9,
	  { 0xa3, 0x28, 0x01, 0x00, 0xd0, 0x00, 0x00, 0x00, 0x00 }, 4, 0x55667788 },
	{ "mov [moffs],al", 64, 9,
	  { 0xa2, 0x28, 0x01, 0x00, 0xd0, 0x00, 0x00, 0x00, 0x00 }, 1, 0x88 },
	{ "mov [ebx],ax", 64, 4, { 0x67, 0x66, 0x89, 0x03 }, 2, 0x7788 },
	{ "mov [ebx],eax", 32, 2, { 0x89, 0x03 }, 4, 0x55667788 },
	{ "mov [ebx],ax", 32, 3, { 0x66, 0x89, 0x03 }, 2, 0x7788 },
	{ "mov [disp32],al", 32, 6, { 0x88, 0x05, 0x28, 0x01, 0x00, 0xd0 }, 1, 0x88 },
	{ "mov [moffs],ax", 32, 6, { 0x66, 0xa3, 0x28, 0x01, 0x00, 0xd0 }, 2, 0x7788 },
	{ "mov gs:[esi],eax", 32, 3, { 0x65, 0x89, 0x06 }, 4, 0x55667788 },
	/* right, but not done in the kernel */
	{ "mov [ebx],ah", 32, 2, { 0x88, 0x23 }, 0, 0 },
	{ "xchg [rbx],eax", 64, 2, { 0x87, 0x03 }, 0, 0 },
	{ "or [rbx],eax", 64, 2, { 0x09, 0x03 }, 0, 0 },
	{ "stosd", 64, 1, { 0xab }, 0, 0 },
	{ "movnti [rbx],eax", 64, 3, { 0x0f, 0xc3, 0x03 }, 0, 0 },
};

static const struct form *form(const char *what)
{
	unsigned int i;

	for (i = 0; i < ARRAY(forms); i++)
		if (!strcmp(forms[i].what, what))
			return &forms[i];
	vm_die("no form %s", what);
}

static void start_form(struct vcpu *v, const struct form *f)
{
	static struct vmm_state st;
	u8 *code = v->vm->ram + GUEST_IMAGE;

	if (f->mode == 64)
		vcpu_start64(v, GUEST_IMAGE);
	else
		vcpu_start32(v, GUEST_IMAGE);
	memcpy(code, f->code, f->len);
	memcpy(code + f->len, (const u8[]) { 0xe6, 0x99 }, 2);
	if (vcpu_get(v, VMM_STATE_REGS | VMM_STATE_SREGS, &st))
		vm_die("VMM_GET_STATE failed");
	st.regs.gpr[VMM_RAX] = 0x1122334455667788;
	st.regs.gpr[VMM_RCX] = 1;
	st.regs.gpr[VMM_R9] = 0x99;
	st.regs.gpr[VMM_RBX] = BELL;
	st.regs.gpr[VMM_RBP] = BELL;
	st.regs.gpr[VMM_RDI] = BELL;
	st.regs.gpr[VMM_R12] = BELL;
	st.regs.gpr[VMM_R10] = BELL - 0x100;
	st.regs.gpr[VMM_RSI] = 0x108;
	st.sregs.seg[VMM_FS].base = BELL - 0x108;
	st.sregs.seg[VMM_GS].base = BELL - 0x108;
	if (vcpu_set(v, VMM_STATE_REGS | VMM_STATE_SREGS, &st))
		vm_die("VMM_SET_STATE failed");
}

TEST_F_TIMEOUT(doorbell, mmio_forms, 120)
{
	u32 flags = VMM_DOORBELL_MATCH;
	unsigned int i;

	for (i = 0; i < ARRAY(forms); i++) {
		const struct form *f = &forms[i];

		start_form(self->v, f);
		if (f->size) {
			ASSERT_EQ(0, bind_bell(self->vm, flags, BELL, f->size, f->data,
					       self->efd)) TH_LOG("%s", f->what);
			NEXT_IO(0x99);
			EXPECT_EQ(1, rings(self->efd)) TH_LOG("%s", f->what);
			ASSERT_EQ(0, unbind_bell(self->vm, flags, BELL, f->size, f->data));
			EXPECT_EQ(GUEST_IMAGE + f->len, regs(self->v)->rip);
			continue;
		}
		ASSERT_EQ(0, bind_bell(self->vm, 0, BELL, 0, 0, self->efd));
		ASSERT_EQ(0, vcpu_exit(self->v));
		EXPECT_EQ(VMM_EXIT_MMIO, self->run->reason) TH_LOG("%s", f->what);
		EXPECT_EQ(0, rings(self->efd)) TH_LOG("%s", f->what);
		ASSERT_EQ(0, unbind_bell(self->vm, 0, BELL, 0, 0));
	}
}

/* one that is not there, of another size, with another datum, a read */
TEST_F(doorbell, mmio_of_the_monitor)
{
	static const struct form others[] = {
		{ "mov [rbx+1],eax", 64, 3, { 0x89, 0x43, 0x01 }, 0, 0 },
		{ "mov [rbx-4],rax", 64, 4, { 0x48, 0x89, 0x43, 0xfc }, 0, 0 },
		{ "mov [rbx],ax", 64, 3, { 0x66, 0x89, 0x03 }, 0, 0 },
		{ "mov [rbx],r9d", 64, 3, { 0x44, 0x89, 0x0b }, 0, 0 },
		{ "mov eax,[rbx]", 64, 2, { 0x8b, 0x03 }, 0, 0 },
	};
	unsigned int i;

	ASSERT_EQ(0, bind_bell(self->vm, VMM_DOORBELL_MATCH, BELL, 4, 0x55667788,
			       self->efd));
	for (i = 0; i < ARRAY(others); i++) {
		start_form(self->v, &others[i]);
		ASSERT_EQ(0, vcpu_exit(self->v));
		EXPECT_EQ(VMM_EXIT_MMIO, self->run->reason) TH_LOG("%s", others[i].what);
	}
	EXPECT_EQ(0, rings(self->efd));
}

/* a write that begins in RAM faults where the bell is, but is another one */
TEST_F(doorbell, write_across_the_edge)
{
	/* mov [0xcffffffe],eax */
	static const struct form f = {
		"mov [edge-2],eax", 32, 5, { 0xa3, 0xfe, 0xff, 0xff, 0xcf }, 0, 0,
	};

	ASSERT_EQ(0, bind_bell(self->vm, 0, GUEST_MMIO, 4, 0, self->efd));
	start_form(self->v, &f);
	ASSERT_EQ(0, vcpu_exit(self->v));
	EXPECT_EQ(VMM_EXIT_MMIO, self->run->reason);
	EXPECT_EQ(GUEST_MMIO, self->run->exit.mmio.gpa);
	EXPECT_EQ(0, rings(self->efd));
}

/* what writes there is the delivery of an exception, at an instruction that would */
TEST_F(doorbell, stack_on_the_bell)
{
	struct vmm_inject ud = { .type = VMM_EVENT_EXCEPTION, .vector = 6 };
	static const u64 gdt[] = { 0, 0xcf9b000000ffff, 0xcf93000000ffff };
	const u8 gate[] = { 0x00, 0x90, 0x08, 0x00, 0x00, 0x8e, 0x00, 0x00 };
	static struct vmm_state st;

	memcpy(self->vm->ram + 0x5000, gdt, sizeof(gdt));
	memcpy(self->vm->ram + 0x6000 + 6 * 8, gate, sizeof(gate));
	start_form(self->v, form("mov [ebx],eax"));
	ASSERT_EQ(0, vcpu_get(self->v, VMM_STATE_REGS | VMM_STATE_SREGS, &st));
	st.regs.gpr[VMM_RSP] = BELL + 4;
	st.sregs.gdtr = (struct vmm_table) { .base = 0x5000, .limit = sizeof(gdt) - 1 };
	st.sregs.idtr = (struct vmm_table) { .base = 0x6000, .limit = 7 * 8 - 1 };
	ASSERT_EQ(0, vcpu_set(self->v, VMM_STATE_REGS | VMM_STATE_SREGS, &st));
	ASSERT_EQ(0, bind_bell(self->vm, 0, BELL, 4, 0, self->efd));
	ASSERT_EQ(0, vm_ioctl(self->v->fd, VMM_INJECT, &ud));
	ASSERT_EQ(0, vcpu_exit(self->v));
	EXPECT_EQ(VMM_EXIT_MMIO, self->run->reason);
	EXPECT_EQ(0, rings(self->efd));
	EXPECT_EQ(GUEST_IMAGE, self->run->regs.rip);
	EXPECT_EQ(6, self->run->events.vector);
}

TEST_F(doorbell, memory_comes_first)
{
	const struct form *eax = form("mov [rbx],eax");
	u8 *page = self->vm->ram + 0x300000;

	ASSERT_EQ(0, bind_bell(self->vm, 0, BELL, 0, 0, self->efd));
	ASSERT_EQ(0, vm_map(self->vm, GUEST_MMIO, PAGE, page, 0));
	start_form(self->v, eax);
	NEXT_IO(0x99);
	EXPECT_EQ(0x55667788, *(u32 *)(page + 0x128));
	/* and a read-only page is the monitor's */
	ASSERT_EQ(0, vm_protect(self->vm, GUEST_MMIO, PAGE, VMM_MAP_READONLY));
	start_form(self->v, eax);
	ASSERT_EQ(0, vcpu_exit(self->v));
	EXPECT_EQ(VMM_EXIT_MMIO, self->run->reason);
	EXPECT_EQ(0, rings(self->efd));
	ASSERT_EQ(0, vm_unmap(self->vm, GUEST_MMIO, PAGE));
	start_form(self->v, eax);
	NEXT_IO(0x99);
	EXPECT_EQ(1, rings(self->efd));
}

/* ---- binding ---------------------------------------------------------------------- */

TEST_F(doorbell, bad_arguments)
{
	u64 top;
	struct vmm_info info;
	int pipefd[2];
	u32 p = VMM_DOORBELL_PORT, m = VMM_DOORBELL_MATCH;
	struct vmm_doorbell d = { .addr = BELL, .fd = self->efd, .pad = 1 };

	ASSERT_EQ(0, vm_ioctl(self->vm->dev, VMM_GET_INFO, &info));
	top = 1ull << info.gpa_bits;
	EXPECT_EQ(-EINVAL, vm_ioctl(self->vm->fd, VMM_BIND_DOORBELL, &d));
	EXPECT_EQ(-EFAULT, vm_ioctl(self->vm->fd, VMM_BIND_DOORBELL, (void *)8));
	EXPECT_EQ(-EINVAL, bind_bell(self->vm, 4, BELL, 0, 0, self->efd));
	EXPECT_EQ(-EINVAL, bind_bell(self->vm, 1u << 31, BELL, 0, 0, self->efd));
	EXPECT_EQ(-EINVAL, bind_bell(self->vm, 0, BELL, 3, 0, self->efd));
	EXPECT_EQ(-EINVAL, bind_bell(self->vm, 0, BELL, 16, 0, self->efd));
	EXPECT_EQ(-EINVAL, bind_bell(self->vm, p, PORT, 8, 0, self->efd));
	EXPECT_EQ(-EINVAL, bind_bell(self->vm, m, BELL, 0, 5, self->efd));
	EXPECT_EQ(-EINVAL, bind_bell(self->vm, m, BELL, 2, 0x10000, self->efd));
	EXPECT_EQ(-EINVAL, bind_bell(self->vm, 0, BELL, 4, 5, self->efd));
	EXPECT_EQ(-EINVAL, bind_bell(self->vm, p, 0x10000, 0, 0, self->efd));
	EXPECT_EQ(-EINVAL, bind_bell(self->vm, p, 0xffff, 2, 0, self->efd));
	EXPECT_EQ(0, bind_bell(self->vm, p, 0xffff, 1, 0, self->efd));
	EXPECT_EQ(-EINVAL, bind_bell(self->vm, 0, top, 0, 0, self->efd));
	EXPECT_EQ(-EINVAL, bind_bell(self->vm, 0, top - 4, 8, 0, self->efd));
	EXPECT_EQ(-EINVAL, bind_bell(self->vm, 0, ~0ull, 0, 0, self->efd));
	EXPECT_EQ(0, bind_bell(self->vm, 0, top - 8, 8, 0, self->efd));
	EXPECT_EQ(-EBADF, bind_bell(self->vm, 0, BELL, 0, 0, -1));
	EXPECT_EQ(-EBADF, bind_bell(self->vm, 0, BELL, 0, 0, 1000));
	ASSERT_EQ(0, pipe(pipefd));
	EXPECT_EQ(-EINVAL, bind_bell(self->vm, 0, BELL, 0, 0, pipefd[1]));
	EXPECT_EQ(-EINVAL, bind_bell(self->vm, 0, BELL, 0, 0, self->vm->fd));
	EXPECT_EQ(-ENOENT, unbind_bell(self->vm, 0, BELL, 0, 0));
	d.pad = 0;
	EXPECT_EQ(-EINVAL, vm_ioctl(self->vm->fd, VMM_UNBIND_DOORBELL, &d));
	EXPECT_EQ(-ENOTTY, vm_ioctl(self->v->fd, VMM_BIND_DOORBELL, &d));
	close(pipefd[0]);
	close(pipefd[1]);
}

TEST_F(doorbell, no_write_rings_two)
{
	u32 m = VMM_DOORBELL_MATCH;

	ASSERT_EQ(0, bind_bell(self->vm, m, BELL, 2, 7, self->efd));
	EXPECT_EQ(-EEXIST, bind_bell(self->vm, m, BELL, 2, 7, self->efd));
	EXPECT_EQ(-EEXIST, bind_bell(self->vm, 0, BELL, 2, 0, self->efd));
	EXPECT_EQ(-EEXIST, bind_bell(self->vm, 0, BELL, 0, 0, self->efd));
	EXPECT_EQ(0, bind_bell(self->vm, m, BELL, 2, 8, self->efd));
	EXPECT_EQ(0, bind_bell(self->vm, m, BELL, 4, 7, self->efd));
	EXPECT_EQ(0, bind_bell(self->vm, 0, BELL, 8, 0, self->efd));
	EXPECT_EQ(0, bind_bell(self->vm, 0, BELL + 1, 0, 0, self->efd));
	/* a port of the same number is another place */
	EXPECT_EQ(0, bind_bell(self->vm, 0, PORT, 0, 0, self->efd));
	EXPECT_EQ(0, bind_bell(self->vm, VMM_DOORBELL_PORT, PORT, 0, 0, self->efd));
	/* unbinding wants exactly what was bound */
	EXPECT_EQ(-ENOENT, unbind_bell(self->vm, m, BELL, 2, 9));
	EXPECT_EQ(-ENOENT, unbind_bell(self->vm, 0, BELL, 2, 0));
	EXPECT_EQ(-ENOENT, unbind_bell(self->vm, 0, BELL, 0, 0));
	EXPECT_EQ(0, unbind_bell(self->vm, m, BELL, 2, 7));
	EXPECT_EQ(-ENOENT, unbind_bell(self->vm, m, BELL, 2, 7));
	EXPECT_EQ(0, bind_bell(self->vm, m, BELL, 2, 7, self->efd));
}

TEST_F_TIMEOUT(doorbell, as_many_as_there_may_be, 120)
{
	unsigned int i;

	/* from above and below: in whatever order, each is found */
	for (i = 0; i < MAX; i++)
		ASSERT_EQ(0, bind_bell(self->vm, 0,
				       i & 1 ? BELL + 8 * i : BELL - 8 * i,
				       4, 0, self->efd));
	EXPECT_EQ(-ENOSPC, bind_bell(self->vm, 0, BELL + 4, 4, 0, self->efd));
	start_form(self->v, form("mov [rbx],eax"));
	NEXT_IO(0x99);
	EXPECT_EQ(1, rings(self->efd));
	EXPECT_EQ(0, unbind_bell(self->vm, 0, BELL - 16, 4, 0));
	EXPECT_EQ(0, bind_bell(self->vm, 0, BELL + 4, 4, 0, self->efd));
	start_form(self->v, form("mov [rbx],eax"));
	NEXT_IO(0x99);
	EXPECT_EQ(1, rings(self->efd));
}

TEST_F(doorbell, another_address_space_may_not)
{
	int status;
	pid_t pid = fork();

	ASSERT_GE(pid, 0);
	if (!pid)
		_exit(bind_port(self->vm, PORT, self->efd) == -EIO &&
		      unbind_bell(self->vm, VMM_DOORBELL_PORT, PORT, 0, 0) == -EIO ? 0 : 1);
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_EQ(0, status);
}

/* ---- life -------------------------------------------------------------------------- */

TEST_F(doorbell, eventfd_closed_first)
{
	int fd = eventfd(0, 0);

	ASSERT_EQ(0, bind_port(self->vm, PORT, fd));
	close(fd);
	CODE(0xe6, 0x12, 0xe6, 0x13, 0xe6, 0x12);
	NEXT_IO(0x13);
	EXPECT_EQ(0, unbind_bell(self->vm, VMM_DOORBELL_PORT, PORT, 0, 0));
	vcpu_complete(self->v);
	NEXT_IO(0x12);
}

TEST_F(doorbell, vm_closed_first)
{
	struct vm *vm = vm_create(VM_RAM);

	vm_add_vcpu(vm);
	vcpu_start16(&vm->vcpu[0], 0, GUEST_IMAGE);
	memcpy(vm->ram + GUEST_IMAGE, (const u8[]) { 0xe6, 0x12, 0xe6, 0x13 }, 4);
	ASSERT_EQ(0, bind_port(vm, PORT, self->efd));
	ASSERT_EQ(0, vcpu_exit(&vm->vcpu[0]));
	vm_free(vm);
	EXPECT_EQ(1, rings(self->efd));
}

#define WRITES	20000

struct binder {
	struct vm *vm;
	int efd;
	bool stop;
	int error;
};

static void *bind_and_unbind(void *arg)
{
	struct binder *b = arg;

	while (!__atomic_load_n(&b->stop, __ATOMIC_RELAXED) && !b->error) {
		b->error = bind_port(b->vm, PORT, b->efd);
		if (!b->error)
			b->error = unbind_bell(b->vm, VMM_DOORBELL_PORT, PORT, 0, 0);
	}
	return NULL;
}

/* each write is a signal or an exit, none is both or lost */
TEST_F_TIMEOUT(doorbell, bound_and_unbound_while_ringing, 120)
{
	struct binder b = { .vm = self->vm, .efd = self->efd };
	struct vmm_regs r = { .rip = GUEST_IMAGE, .rflags = 2 };
	u64 exits = 0;
	pthread_t thread;

	/* l: out 0x12,al; dec ecx; jnz l; out 0x13,al */
	CODE(0xe6, 0x12, 0x66, 0x49, 0x75, 0xfa, 0xe6, 0x13);
	r.gpr[VMM_RCX] = WRITES;
	set_regs(self->v, &r);
	ASSERT_EQ(0, pthread_create(&thread, NULL, bind_and_unbind, &b));
	for (;;) {
		ASSERT_EQ(0, vcpu_exit(self->v));
		ASSERT_EQ(VMM_EXIT_IO, self->run->reason);
		if (self->run->exit.io.port != PORT)
			break;
		exits++;
		vcpu_complete(self->v);
	}
	b.stop = true;
	pthread_join(thread, NULL);
	EXPECT_EQ(0, b.error);
	EXPECT_EQ(WRITES, exits + rings(self->efd));
}

static void *run_once(void *vcpu)
{
	return (void *)(long)vcpu_exit(vcpu);
}

/* after unbinding there is no signal any more, wherever the vCPU was */
TEST_F_TIMEOUT(doorbell, unbinding_waits, 120)
{
	pthread_t thread;
	unsigned int i;
	void *r;

	/* l: out 0x12,al; jmp l */
	CODE(0xe6, 0x12, 0xeb, 0xfc);
	for (i = 0; i < 50; i++) {
		ASSERT_EQ(0, bind_port(self->vm, PORT, self->efd));
		ASSERT_EQ(0, pthread_create(&thread, NULL, run_once, self->v));
		while (!rings(self->efd))
			usleep(100);
		ASSERT_EQ(0, unbind_bell(self->vm, VMM_DOORBELL_PORT, PORT, 0, 0));
		rings(self->efd);
		ASSERT_EQ(0, pthread_join(thread, &r));
		ASSERT_EQ(0, (long)r);
		ASSERT_EQ(VMM_EXIT_IO, self->run->reason);
		ASSERT_EQ(0, rings(self->efd));
	}
}

/* a guest that rings for ever dies with its process; the eventfd's other owner stays */
TEST_F_TIMEOUT(doorbell, killed_while_ringing, 60)
{
	u64 count;
	pid_t pid = fork();

	ASSERT_GE(pid, 0);
	if (!pid) {
		struct vm *vm = vm_create(VM_RAM);

		vm_add_vcpu(vm);
		vcpu_start16(&vm->vcpu[0], 0, GUEST_IMAGE);
		memcpy(vm->ram + GUEST_IMAGE, (const u8[]) { 0xe6, 0x12, 0xeb, 0xfc }, 4);
		if (bind_port(vm, PORT, self->efd))
			_exit(1);
		vcpu_exit(&vm->vcpu[0]);
		_exit(2);
	}
	while (!(count = rings(self->efd)))
		usleep(1000);
	EXPECT_LT(0, count);
	ASSERT_EQ(0, kill(pid, SIGKILL));
	ASSERT_EQ(pid, waitpid(pid, NULL, 0));
	rings(self->efd);
	usleep(1000);
	EXPECT_EQ(0, rings(self->efd));
}

TEST_HARNESS_MAIN
