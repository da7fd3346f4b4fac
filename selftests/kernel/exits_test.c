// SPDX-License-Identifier: GPL-2.0
/*
 * What the run page says at each kind of exit, and what the monitor may answer.
 * Code is put together here: a few bytes in real mode at 0000:8000.
 */
#include <cpuid.h>
#include <errno.h>
#include <string.h>
#include <sys/mman.h>

#include "kselftest_harness.h"
#include "vm.h"

#define PAGE	4096

/* indices of vmm_apic.regs */

FIXTURE(exits) {
	struct vm *vm;
	struct vcpu *v;
	struct vmm_run *run;
};

FIXTURE_SETUP(exits)
{
	self->vm = vm_create(VM_RAM);
	self->v = vm_add_vcpu(self->vm);
	self->run = self->v->run;
	vcpu_start16(self->v, 0, GUEST_IMAGE);
}

FIXTURE_TEARDOWN(exits)
{
	vm_free(self->vm);
}

#define CODE(...)							\
	memcpy(self->vm->ram + GUEST_IMAGE, (const u8[]) { __VA_ARGS__ },	\
	       sizeof((const u8[]) { __VA_ARGS__ }))

static struct vmm_regs *regs(struct vcpu *v)
{
	static struct vmm_state st;

	if (vcpu_get(v, VMM_STATE_REGS, &st))
		vm_die("VMM_GET_STATE failed");
	return &st.regs;
}

static void set_regs(struct vcpu *v, unsigned int n, u64 value)
{
	static struct vmm_state st;

	if (vcpu_get(v, VMM_STATE_REGS, &st))
		vm_die("VMM_GET_STATE failed");
	st.regs.gpr[n] = value;
	if (vcpu_set(v, VMM_STATE_REGS, &st))
		vm_die("VMM_SET_STATE failed");
}

/* the next RUN exits for I/O at this port */
#define NEXT_IO(p)							\
do {									\
	ASSERT_EQ(0, vcpu_exit(self->v));				\
	ASSERT_EQ(VMM_EXIT_IO, self->run->reason);			\
	ASSERT_EQ(p, self->run->exit.io.port);				\
} while (0)

TEST_F(exits, io_out)
{
	struct vmm_exit_io *io = &self->run->exit.io;

	/* out 0x12,al; out 0x34,ax; out 0x56,eax; mov dx,0xabcd; out dx,al; hlt */
	CODE(0xe6, 0x12, 0xe7, 0x34, 0x66, 0xe7, 0x56, 0xba, 0xcd, 0xab, 0xee, 0xf4);
	set_regs(self->v, VMM_RAX, 0x1122334455667788);
	NEXT_IO(0x12);
	EXPECT_EQ(1, io->size);
	EXPECT_EQ(0, io->in);
	EXPECT_EQ(0, io->string);
	EXPECT_EQ(0x88, io->data);
	EXPECT_EQ(0, io->pad[0] | io->pad[1] | io->pad[2] | io->pad2);
	vcpu_complete(self->v);
	NEXT_IO(0x34);
	EXPECT_EQ(2, io->size);
	EXPECT_EQ(0x7788, io->data);
	vcpu_complete(self->v);
	NEXT_IO(0x56);
	EXPECT_EQ(4, io->size);
	EXPECT_EQ(0x55667788, io->data);
	vcpu_complete(self->v);
	NEXT_IO(0xabcd);
	EXPECT_EQ(GUEST_IMAGE + 10, regs(self->v)->rip);
}

TEST_F(exits, io_in_merges_into_rax)
{
	/* in al,0x12; in ax,0x12; in eax,0x12; hlt */
	CODE(0xe4, 0x12, 0xe5, 0x12, 0x66, 0xe5, 0x12, 0xe6, 0x99);
	set_regs(self->v, VMM_RAX, ~0ull);
	NEXT_IO(0x12);
	EXPECT_EQ(1, self->run->exit.io.in);
	self->run->exit.io.data = 0x12345678;
	vcpu_complete(self->v);
	NEXT_IO(0x12);
	EXPECT_EQ(0xffffffffffffff78, regs(self->v)->gpr[VMM_RAX]);
	self->run->exit.io.data = 0x12345678;
	vcpu_complete(self->v);
	NEXT_IO(0x12);
	EXPECT_EQ(0xffffffffffff5678, regs(self->v)->gpr[VMM_RAX]);
	self->run->exit.io.data = 0x9abcdef0;
	vcpu_complete(self->v);
	NEXT_IO(0x99);
	EXPECT_EQ(0x9abcdef0, regs(self->v)->gpr[VMM_RAX]);
}

/* without COMPLETE the instruction is executed again, as often as one likes */
TEST_F(exits, io_without_complete_repeats)
{
	unsigned int i;

	CODE(0xe6, 0x12, 0xe6, 0x13);
	for (i = 0; i < 5; i++) {
		NEXT_IO(0x12);
		EXPECT_EQ(GUEST_IMAGE, regs(self->v)->rip);
	}
	vcpu_complete(self->v);
	NEXT_IO(0x13);
	/* flags are cleared by the kernel, so the next RUN repeats again */
	EXPECT_EQ(0, self->run->flags);
	NEXT_IO(0x13);
}

TEST_F(exits, complete_twice_is_refused)
{
	CODE(0xe6, 0x12, 0xe6, 0x13);
	NEXT_IO(0x12);
	vcpu_complete(self->v);
	self->run->kick = 1;
	ASSERT_EQ(0, vcpu_exit(self->v));
	ASSERT_EQ(VMM_EXIT_KICK, self->run->reason);
	EXPECT_EQ(GUEST_IMAGE + 2, regs(self->v)->rip);
	vcpu_complete(self->v);
	EXPECT_EQ(-EINVAL, vcpu_exit(self->v));
	self->run->flags = 0;
	self->run->kick = 0;
	NEXT_IO(0x13);
}

/* what SET_STATE writes makes the exit's instruction a thing of the past */
TEST_F(exits, complete_after_set_state_is_refused)
{
	CODE(0xe6, 0x12, 0xe6, 0x13);
	NEXT_IO(0x12);
	set_regs(self->v, VMM_RAX, 1);
	vcpu_complete(self->v);
	EXPECT_EQ(-EINVAL, vcpu_exit(self->v));
}

TEST_F(exits, string_io_shows_registers)
{
	/* mov dx,0x520; mov si,0x1234; rep outsw */
	CODE(0xba, 0x20, 0x05, 0xbe, 0x34, 0x12, 0xf3, 0x6f, 0xe6, 0x99);
	set_regs(self->v, VMM_RCX, 3);
	NEXT_IO(0x520);
	EXPECT_EQ(1, self->run->exit.io.string);
	EXPECT_EQ(2, self->run->exit.io.size);
	EXPECT_EQ(0, self->run->exit.io.in);
	EXPECT_EQ(VMM_STATE_REGS | VMM_STATE_SREGS,
		  self->run->valid & (VMM_STATE_REGS | VMM_STATE_SREGS));
	EXPECT_EQ(GUEST_IMAGE + 6, self->run->regs.rip);
	EXPECT_EQ(0x1234, self->run->regs.gpr[VMM_RSI]);
	EXPECT_EQ(3, self->run->regs.gpr[VMM_RCX]);
	EXPECT_EQ(0, self->run->sregs.seg[VMM_CS].base);
	/* one of three: RIP stays, so the rest comes as another exit */
	self->run->regs.gpr[VMM_RSI] += 2;
	self->run->regs.gpr[VMM_RCX]--;
	self->run->set = VMM_STATE_REGS;
	vcpu_complete(self->v);
	NEXT_IO(0x520);
	EXPECT_EQ(2, self->run->regs.gpr[VMM_RCX]);
	self->run->regs.gpr[VMM_RCX] = 0;
	self->run->regs.rip += 2;
	self->run->set = VMM_STATE_REGS;
	vcpu_complete(self->v);
	NEXT_IO(0x99);
	EXPECT_EQ(0, self->run->set);
}

/* ---- MMIO ------------------------------------------------------------------------ */

TEST_F(exits, mmio_record)
{
	struct vmm_exit_mmio *m = &self->run->exit.mmio;

	/* 32-bit: mov [0xd0000123],eax; mov eax,[0xd0000456] */
	CODE(0xa3, 0x23, 0x01, 0x00, 0xd0, 0xa1, 0x56, 0x04, 0x00, 0xd0, 0xe6, 0x99);
	vcpu_start32(self->v, GUEST_IMAGE);
	ASSERT_EQ(0, vcpu_exit(self->v));
	ASSERT_EQ(VMM_EXIT_MMIO, self->run->reason);
	EXPECT_EQ(0xd0000123, m->gpa);
	EXPECT_EQ(VMM_ACCESS_WRITE, m->access);
	EXPECT_EQ(0, m->size);
	EXPECT_EQ(GUEST_IMAGE, self->run->regs.rip);
	self->run->regs.rip += 5;
	self->run->set = VMM_STATE_REGS;
	vcpu_complete(self->v);
	ASSERT_EQ(0, vcpu_exit(self->v));
	ASSERT_EQ(VMM_EXIT_MMIO, self->run->reason);
	EXPECT_EQ(0xd0000456, m->gpa);
	EXPECT_EQ(0, m->access);
	self->run->regs.rip += 5;
	self->run->regs.gpr[VMM_RAX] = 0xfeedface;
	self->run->set = VMM_STATE_REGS;
	vcpu_complete(self->v);
	NEXT_IO(0x99);
	EXPECT_EQ(0xfeedface, regs(self->v)->gpr[VMM_RAX]);
}

/* VMM_RUN_MOV: the kernel has decoded it, and completes it */
TEST_F(exits, mmio_mov)
{
	struct vmm_exit_mmio *m = &self->run->exit.mmio;

	/* 32-bit: mov [0xd0000120],eax; mov [0xd0000121],ax; mov bl,[0xd0000457] */
	CODE(0xa3, 0x20, 0x01, 0x00, 0xd0, 0x66, 0xa3, 0x21, 0x01, 0x00, 0xd0,
	     0x8a, 0x1d, 0x57, 0x04, 0x00, 0xd0, 0xe6, 0x99);
	vcpu_start32(self->v, GUEST_IMAGE);
	set_regs(self->v, VMM_RAX, 0x11223344);
	set_regs(self->v, VMM_RBX, 0x55667788);
	self->run->flags = VMM_RUN_MOV;
	ASSERT_EQ(0, vcpu_exit(self->v));
	ASSERT_EQ(VMM_EXIT_MMIO, self->run->reason);
	EXPECT_EQ(0xd0000120, m->gpa);
	EXPECT_EQ(VMM_ACCESS_WRITE, m->access);
	EXPECT_EQ(4, m->size);
	EXPECT_EQ(0x11223344, m->data);
	EXPECT_EQ(0, self->run->valid);
	/* not completed: again, and whoever did not ask decodes it himself */
	ASSERT_EQ(0, vcpu_exit(self->v));
	ASSERT_EQ(VMM_EXIT_MMIO, self->run->reason);
	EXPECT_EQ(0, m->size);
	EXPECT_EQ(GUEST_IMAGE, self->run->regs.rip);
	self->run->flags = VMM_RUN_MOV;
	ASSERT_EQ(0, vcpu_exit(self->v));
	EXPECT_EQ(4, m->size);
	/* the next one is not aligned */
	self->run->flags = VMM_RUN_MOV;
	vcpu_complete(self->v);
	ASSERT_EQ(0, vcpu_exit(self->v));
	ASSERT_EQ(VMM_EXIT_MMIO, self->run->reason);
	EXPECT_EQ(0xd0000121, m->gpa);
	EXPECT_EQ(0, m->size);
	EXPECT_EQ(GUEST_IMAGE + 5, self->run->regs.rip);
	self->run->regs.rip += 6;
	self->run->set = VMM_STATE_REGS;
	self->run->flags = VMM_RUN_MOV;
	vcpu_complete(self->v);
	ASSERT_EQ(0, vcpu_exit(self->v));
	ASSERT_EQ(VMM_EXIT_MMIO, self->run->reason);
	EXPECT_EQ(0xd0000457, m->gpa);
	EXPECT_EQ(0, m->access);
	EXPECT_EQ(1, m->size);
	m->data = 0xfff5;
	vcpu_complete(self->v);
	NEXT_IO(0x99);
	EXPECT_EQ(0x556677f5, regs(self->v)->gpr[VMM_RBX]);
	EXPECT_EQ(GUEST_IMAGE + 17, regs(self->v)->rip);
}

TEST_F(exits, mmio_again_without_complete)
{
	CODE(0xa3, 0x23, 0x01, 0x00, 0xd0);
	vcpu_start32(self->v, GUEST_IMAGE);
	for (int i = 0; i < 3; i++) {
		ASSERT_EQ(0, vcpu_exit(self->v));
		ASSERT_EQ(VMM_EXIT_MMIO, self->run->reason);
		EXPECT_EQ(GUEST_IMAGE, self->run->regs.rip);
	}
	/* memory comes: the same instruction finds it */
	ASSERT_EQ(0, vm_map(self->vm, 0xd0000000, PAGE, self->vm->ram + 0x300000, 0));
	memcpy(self->vm->ram + GUEST_IMAGE + 5, (const u8[]) { 0xe6, 0x99 }, 2);
	set_regs(self->v, VMM_RAX, 0x5eed);
	NEXT_IO(0x99);
	EXPECT_EQ(0x5eed, *(u32 *)(self->vm->ram + 0x300123));
}

TEST_F(exits, write_to_readonly_is_mmio)
{
	/* mov eax,[0x300000]; mov [0x300000],eax */
	CODE(0xa1, 0x00, 0x00, 0x30, 0x00, 0xa3, 0x00, 0x00, 0x30, 0x00);
	vcpu_start32(self->v, GUEST_IMAGE);
	ASSERT_EQ(0, vm_protect(self->vm, 0x300000, PAGE, VMM_MAP_READONLY));
	*(u32 *)(self->vm->ram + 0x300000) = 0x1234;
	ASSERT_EQ(0, vcpu_exit(self->v));
	ASSERT_EQ(VMM_EXIT_MMIO, self->run->reason);
	EXPECT_EQ(0x300000, self->run->exit.mmio.gpa);
	EXPECT_EQ(VMM_ACCESS_WRITE, self->run->exit.mmio.access);
	EXPECT_EQ(0x1234, self->run->regs.gpr[VMM_RAX]);
	EXPECT_EQ(GUEST_IMAGE + 5, self->run->regs.rip);
}

/* ---- fault, kick, window, shutdown ---------------------------------------------------- */

TEST_F(exits, fault_names_the_hole)
{
	u8 *hole = mmap(NULL, PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	ASSERT_NE(MAP_FAILED, (void *)hole);
	ASSERT_EQ(0, munmap(hole, PAGE));
	/* mov [0x40000008],eax */
	CODE(0xa3, 0x08, 0x00, 0x00, 0x40, 0xe6, 0x99);
	vcpu_start32(self->v, GUEST_IMAGE);
	ASSERT_EQ(0, vm_map(self->vm, 0x40000000, PAGE, hole, 0));
	ASSERT_EQ(0, vcpu_exit(self->v));
	ASSERT_EQ(VMM_EXIT_FAULT, self->run->reason);
	EXPECT_EQ(0x40000008, self->run->exit.fault.gpa);
	EXPECT_EQ(VMM_ACCESS_WRITE, self->run->exit.fault.access);
	EXPECT_EQ(-EFAULT, self->run->exit.fault.error);
	/* mended: goes on where it was */
	ASSERT_EQ((void *)hole, mmap(hole, PAGE, PROT_READ | PROT_WRITE,
				     MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0));
	set_regs(self->v, VMM_RAX, 77);
	NEXT_IO(0x99);
	EXPECT_EQ(77, *(u32 *)(hole + 8));
}

TEST_F(exits, kick_latches)
{
	CODE(0xe6, 0x12);
	ASSERT_EQ(0, vm_ioctl_n(self->v->fd, VMM_KICK, 0));
	ASSERT_EQ(0, vm_ioctl_n(self->v->fd, VMM_KICK, 0));
	ASSERT_EQ(0, vcpu_exit(self->v));
	EXPECT_EQ(VMM_EXIT_KICK, self->run->reason);
	/* two are one; the instruction was not touched */
	NEXT_IO(0x12);
}

TEST_F(exits, kick_flag_returns_at_once)
{
	unsigned int i;

	CODE(0xe6, 0x12);
	self->run->kick = 1;
	for (i = 0; i < 3; i++) {
		ASSERT_EQ(0, vcpu_exit(self->v));
		EXPECT_EQ(VMM_EXIT_KICK, self->run->reason);
		EXPECT_EQ(GUEST_IMAGE, regs(self->v)->rip);
	}
	self->run->kick = 0;
	NEXT_IO(0x12);
}

TEST_F(exits, kick_wakes_hlt)
{
	/* hlt with interrupts off: nothing but a kick ends this */
	CODE(0xf4, 0xe6, 0x12);
	ASSERT_EQ(0, vm_ioctl_n(self->v->fd, VMM_KICK, 0));
	ASSERT_EQ(VM_TIMEOUT, vm_run(self->vm, 300));
	EXPECT_EQ(GUEST_IMAGE + 1, regs(self->v)->rip);
}

/* real mode: vector 0x40's handler is out 0x40,al */
#define HANDLER	0x9000

static void install_handler(struct vm *vm)
{
	vm->ram[0x40 * 4] = HANDLER & 0xff;
	vm->ram[0x40 * 4 + 1] = HANDLER >> 8;
	vm->ram[HANDLER] = 0xe6;
	vm->ram[HANDLER + 1] = 0x40;
	vm->ram[HANDLER + 2] = 0xcf;
}

/* this and the next fail in Bochs 2.7: see offer_interrupt in kmod/svm/run.c */
TEST_F(exits, window_and_extint)
{
	vcpu_virtual_wire(self->v);
	install_handler(self->vm);
	/* out 1; sti; out 2; out 3; the window opens behind STI's shadow */
	CODE(0xe6, 0x01, 0xfb, 0xe6, 0x02, 0xe6, 0x03);
	self->run->flags = VMM_RUN_WINDOW;
	NEXT_IO(0x01);
	vcpu_complete(self->v);
	self->run->flags |= VMM_RUN_WINDOW;
	NEXT_IO(0x02);
	/* not yet: OUT is in the shadow of STI */
	vcpu_complete(self->v);
	self->run->flags |= VMM_RUN_WINDOW;
	ASSERT_EQ(0, vcpu_exit(self->v));
	ASSERT_EQ(VMM_EXIT_WINDOW, self->run->reason);
	EXPECT_EQ(GUEST_IMAGE + 5, regs(self->v)->rip);
	self->run->flags = VMM_RUN_EXTINT;
	self->run->extint = 0x40;
	NEXT_IO(0x40);
	vcpu_complete(self->v);
	NEXT_IO(0x03);
}

TEST_F(exits, extint_wakes_hlt)
{
	vcpu_virtual_wire(self->v);
	install_handler(self->vm);
	CODE(0xfb, 0xf4, 0xe6, 0x03);
	self->run->flags = VMM_RUN_WINDOW;
	ASSERT_EQ(0, vcpu_exit(self->v));
	ASSERT_EQ(VMM_EXIT_WINDOW, self->run->reason);
	self->run->flags = VMM_RUN_EXTINT;
	self->run->extint = 0x40;
	NEXT_IO(0x40);
	vcpu_complete(self->v);
	NEXT_IO(0x03);
}

TEST_F(exits, injected_exception_and_nmi)
{
	struct vmm_inject ud = { .type = VMM_EVENT_EXCEPTION, .vector = 6 };
	struct vmm_inject nmi = { .type = VMM_EVENT_NMI };

	/* #UD: out 6; NMI: out 2, iret */
	memcpy(self->vm->ram + 6 * 4, (const u8[]) { 0x00, 0x91, 0, 0 }, 4);
	memcpy(self->vm->ram + 2 * 4, (const u8[]) { 0x00, 0x92, 0, 0 }, 4);
	memcpy(self->vm->ram + 0x9100, (const u8[]) { 0xe6, 0x06, 0xcf }, 3);
	memcpy(self->vm->ram + 0x9200, (const u8[]) { 0xe6, 0x02, 0xcf }, 3);
	CODE(0x90, 0xe6, 0x12);
	ASSERT_EQ(0, vm_ioctl(self->v->fd, VMM_INJECT, &ud));
	NEXT_IO(0x06);
	/* two NMIs: one in service, one latched, until IRET */
	ASSERT_EQ(0, vm_ioctl(self->v->fd, VMM_INJECT, &nmi));
	vcpu_complete(self->v);
	NEXT_IO(0x02);
	ASSERT_EQ(0, vm_ioctl(self->v->fd, VMM_INJECT, &nmi));
	vcpu_complete(self->v);
	NEXT_IO(0x02);
	vcpu_complete(self->v);
	NEXT_IO(0x12);
}

/* the real register may not be what the guest wrote: the host's MCE stays set */
TEST_F(exits, cr4_reads_as_written)
{
	static struct vmm_state st;

	/* mov eax,cr4; out 1,eax; mov eax,MCE|TSD; mov cr4,eax; mov ebx,cr4; out 2,al */
	CODE(0x0f, 0x20, 0xe0, 0x66, 0xe7, 0x01, 0x66, 0xb8, 0x44, 0x00, 0x00, 0x00,
	     0x0f, 0x22, 0xe0, 0x0f, 0x20, 0xe3, 0xe6, 0x02,
	     /* xor ecx,ecx; mov cr4,ecx; mov ebx,cr4; out 3,al */
	     0x66, 0x31, 0xc9, 0x0f, 0x22, 0xe1, 0x0f, 0x20, 0xe3, 0xe6, 0x03);
	NEXT_IO(1);
	EXPECT_EQ(0, self->run->exit.io.data);
	vcpu_complete(self->v);
	NEXT_IO(2);
	EXPECT_EQ(0x44, regs(self->v)->gpr[VMM_RBX]);
	ASSERT_EQ(0, vcpu_get(self->v, VMM_STATE_SREGS, &st));
	EXPECT_EQ(0x44, st.sregs.cr4);
	vcpu_complete(self->v);
	NEXT_IO(3);
	EXPECT_EQ(0, regs(self->v)->gpr[VMM_RBX]);
}

/* 0x66, REX and the upper registers mean nothing, or what they mean elsewhere */
TEST_F(exits, cr4_in_long_mode)
{
	static struct vmm_state st;

	/* mov r9,cr4; or r9,TSD; mov cr4,r9; data16 mov rdi,cr4; out 1,al */
	CODE(0x41, 0x0f, 0x20, 0xe1, 0x49, 0x83, 0xc9, 0x04, 0x41, 0x0f, 0x22, 0xe1,
	     0x66, 0x0f, 0x20, 0xe7, 0xe6, 0x01);
	vcpu_start64(self->v, GUEST_IMAGE);
	ASSERT_EQ(0, vcpu_get(self->v, VMM_STATE_SREGS, &st));
	NEXT_IO(1);
	EXPECT_EQ(st.sregs.cr4 | 4, regs(self->v)->gpr[VMM_R9]);
	EXPECT_EQ(st.sregs.cr4 | 4, regs(self->v)->gpr[VMM_RDI]);
}

/* what CPUID shows can be set, whether or not the host makes use of it */
TEST_F(exits, cr4_has_what_cpuid_shows)
{
	static struct vmm_state st;
	u32 eax, ebx, ecx, edx, cr4 = 0;

	ASSERT_EQ(1, __get_cpuid_count(7, 0, &eax, &ebx, &ecx, &edx));
	/* UMIP, LA57, FSGSBASE, SMEP, SMAP */
	cr4 |= (ecx >> 2 & 1) << 11 | (ecx >> 16 & 1) << 12 | (ebx & 1) << 16 |
	       (ebx >> 7 & 1) << 20 | (ebx >> 20 & 1) << 21;
	/* mov cr4,eax; out 1,al */
	CODE(0x0f, 0x22, 0xe0, 0xe6, 0x01);
	set_regs(self->v, VMM_RAX, cr4);
	NEXT_IO(1);
	ASSERT_EQ(0, vcpu_get(self->v, VMM_STATE_SREGS, &st));
	EXPECT_EQ(cr4, st.sregs.cr4);
	EXPECT_EQ(0, vcpu_set(self->v, VMM_STATE_SREGS, &st));
}

/* reserved bits, and PAE cleared in long mode: #GP, and CR4 is what it was */
TEST_F(exits, cr4_is_checked)
{
	static const u64 bad[] = { 1ull << 63, 1ull << 32, 1u << 15, 0 };
	static struct vmm_state st;
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(bad); i++) {
		/* mov cr4,rax; out 1,al, without an IDT: three faults end it */
		CODE(0x0f, 0x22, 0xe0, 0xe6, 0x01);
		vcpu_start64(self->v, GUEST_IMAGE);
		ASSERT_EQ(0, vcpu_get(self->v, VMM_STATE_ALL, &st));
		memset(&st.events, 0, sizeof(st.events));
		st.regs.gpr[VMM_RAX] = bad[i] ? st.sregs.cr4 | bad[i] : 0;
		st.sregs.idtr.limit = 0;
		ASSERT_EQ(0, vcpu_set(self->v, VMM_STATE_ALL, &st));
		ASSERT_EQ(0, vcpu_exit(self->v));
		EXPECT_EQ(VMM_EXIT_SHUTDOWN, self->run->reason);
		EXPECT_EQ(GUEST_IMAGE, regs(self->v)->rip);
	}
}

/* 32-bit interrupt gate to 0x9000 + n * 0x100, where the handler says out n */
static void install_gate(struct vm *vm, u8 n)
{
	const u8 gate[] = { 0x00, 0x90 + n, 0x08, 0x00, 0x00, 0x8e, 0x00, 0x00 };
	const u8 out[] = { 0xe6, n };

	memcpy(vm->ram + 0x6000 + n * 8, gate, sizeof(gate));
	memcpy(vm->ram + 0x9000 + n * 0x100, out, sizeof(out));
}

/* with a second NMI behind it IRET is stepped over: the guest must not see how */
TEST_F(exits, iret_faults_with_nmi_pending)
{
	struct vmm_inject nmi = { .type = VMM_EVENT_NMI };
	static const u64 gdt[] = { 0, 0xcf9b000000ffff, 0xcf93000000ffff };
	static struct vmm_state st;
	u32 seen = 0, *stack;

	memcpy(self->vm->ram + 0x5000, gdt, sizeof(gdt));
	install_gate(self->vm, 2);
	install_gate(self->vm, 13);
	/* the NMI's handler: mov word [esp+4],0x100: no such segment; iret */
	memcpy(self->vm->ram + 0x9202, (const u8[]) {
		0x66, 0xc7, 0x44, 0x24, 0x04, 0x00, 0x01, 0xcf }, 8);
	CODE(0x90, 0xe6, 0x12);
	vcpu_start32(self->v, GUEST_IMAGE);
	ASSERT_EQ(0, vcpu_get(self->v, VMM_STATE_REGS | VMM_STATE_SREGS, &st));
	st.regs.gpr[VMM_RSP] = 0x7000;
	st.sregs.gdtr = (struct vmm_table) { .base = 0x5000, .limit = sizeof(gdt) - 1 };
	st.sregs.idtr = (struct vmm_table) { .base = 0x6000, .limit = 14 * 8 - 1 };
	ASSERT_EQ(0, vcpu_set(self->v, VMM_STATE_REGS | VMM_STATE_SREGS, &st));
	ASSERT_EQ(0, vm_ioctl(self->v->fd, VMM_INJECT, &nmi));
	NEXT_IO(2);
	ASSERT_EQ(0, vm_ioctl(self->v->fd, VMM_INJECT, &nmi));
	/*
	 * IRET ends the mask even where it faults (SDM 3A 6.7.1): the handler of
	 * #GP runs, and the second NMI's, whose own IRET faults too.
	 */
	while (seen != (1 << 13 | 1 << 2)) {
		vcpu_complete(self->v);
		ASSERT_EQ(0, vcpu_exit(self->v));
		ASSERT_EQ(VMM_EXIT_IO, self->run->reason);
		ASSERT_EQ(0, seen & 1 << self->run->exit.io.port);
		seen |= 1 << self->run->exit.io.port;
	}
	/* below the first NMI's frame: error code, EIP, CS, EFLAGS */
	stack = (u32 *)(self->vm->ram + 0x7000 - 12 - 16);
	EXPECT_EQ(0x100, stack[0]);
	EXPECT_EQ(0x9209, stack[1]);
	/* RF, as for any fault, from CPUs that know of it (SDM 3B 18.3.1.1) */
	EXPECT_EQ(2, stack[3] & ~0x10000u);
}

TEST_F(exits, shutdown_stays_until_written)
{
	static struct vmm_state st;
	unsigned int i;

	ASSERT_EQ(0, vcpu_get(self->v, VMM_STATE_ALL, &st));
	st.sregs.idtr.limit = 0;
	ASSERT_EQ(0, vcpu_set(self->v, VMM_STATE_SREGS, &st));
	CODE(0x0f, 0x0b);
	for (i = 0; i < 3; i++) {
		ASSERT_EQ(0, vcpu_exit(self->v));
		ASSERT_EQ(VMM_EXIT_SHUTDOWN, self->run->reason);
	}
	ASSERT_EQ(0, vcpu_get(self->v, VMM_STATE_EVENTS, &st));
	EXPECT_EQ(VMM_STOPPED, st.events.run_state);
	CODE(0xe6, 0x12);
	/* the event that could not be delivered is state as well */
	memset(&st.events, 0, sizeof(st.events));
	ASSERT_EQ(0, vcpu_set(self->v, VMM_STATE_EVENTS, &st));
	vcpu_start16(self->v, 0, GUEST_IMAGE);
	NEXT_IO(0x12);
}

TEST_F(exits, level_msi_ends_with_eoi)
{
	struct vmm_msi m = { .address = 0xfee00000, .data = 0xc040 };
	static struct vmm_state st;

	install_handler(self->vm);
	self->vm->ram[HANDLER + 2] = 0x90;
	ASSERT_EQ(0, vcpu_get(self->v, VMM_STATE_APIC, &st));
	st.apic.regs[APIC_SVR] = 0x1ff;
	ASSERT_EQ(0, vcpu_set(self->v, VMM_STATE_APIC, &st));
	/* handler: out 0x40,al; nop; mov dword [0xfee000b0],0 through FS */
	memcpy(self->vm->ram + HANDLER + 2, (const u8[]) {
		0x64, 0x66, 0x67, 0xc7, 0x05, 0xb0, 0x00, 0x00, 0x00,
		0, 0, 0, 0, 0xe6, 0x41, 0xcf }, 16);
	CODE(0xfb, 0x90, 0xeb, 0xfe);
	ASSERT_EQ(0, vcpu_get(self->v, VMM_STATE_SREGS, &st));
	st.sregs.seg[VMM_FS].base = 0xfee00000;
	ASSERT_EQ(0, vcpu_set(self->v, VMM_STATE_SREGS, &st));
	ASSERT_EQ(1, vm_ioctl(self->vm->fd, VMM_SEND_MSI, &m));
	NEXT_IO(0x40);
	vcpu_complete(self->v);
	ASSERT_EQ(0, vcpu_exit(self->v));
	ASSERT_EQ(VMM_EXIT_EOI, self->run->reason) vm_explain(self->vm);
	EXPECT_EQ(0x40, self->run->exit.eoi.vector);
	NEXT_IO(0x41);
}

TEST_HARNESS_MAIN
