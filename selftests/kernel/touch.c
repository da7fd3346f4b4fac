// SPDX-License-Identifier: GPL-2.0
/* A vCPU as a probe of guest memory. See touch.h. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "touch.h"

#define STR2(x)	#x
#define STR(x)	STR2(x)
#define OUT	"out %eax, $" STR(TOUCH_PORT) "\n"

/* never run here, only copied */
asm(".pushsection .rodata\n"
    "touch_code:\n"
    "touch_code_read:  mov (%rbx), %eax\n" OUT
    "touch_code_write: mov %eax, (%rbx)\n" OUT
    "touch_code_fetch: jmp *%rbx\n"
    "touch_code_count:\n"
    "1:	mov %rdi, %rbx\n"
    "2:	incl (%rbx,%rdx)\n"
    "	add $4096, %rbx\n"
    "	cmp %rsi, %rbx\n"
    "	jb 2b\n"
    "	inc %eax\n"
    "	cmp %ecx, %eax\n"
    "	jae 3f\n"
    "	cmpl $0, " STR(TOUCH_STOP) "\n"
    "	je 1b\n"
    "3:\n"
    "	" OUT
    "4:	cli\n"
    "	hlt\n"
    "	jmp 4b\n"
    "touch_code_end:\n"
    ".popsection\n");

extern const u8 touch_code[], touch_code_read[], touch_code_write[];
extern const u8 touch_code_fetch[], touch_code_count[], touch_code_end[];

/* after reset all but the first wait for a start-up IPI: spare them that */
static void wake_up(struct vcpu *v)
{
	v->run->events = (struct vmm_events){ .run_state = VMM_RUNNING };
	v->run->set |= VMM_STATE_EVENTS;
}

struct vm *touch_vm(unsigned int cpus)
{
	struct vm *vm = vm_create(VM_RAM);

	memcpy(vm->ram + TOUCH_CODE, touch_code, touch_code_end - touch_code);
	while (cpus--)
		vcpu_start64(vm_add_vcpu(vm), TOUCH_CODE);
	return vm;
}

static void at_code(struct vcpu *v, const u8 *code)
{
	struct vmm_regs *regs = &v->run->regs;

	memset(regs, 0, sizeof(*regs));
	regs->rip = TOUCH_CODE + (code - touch_code);
	regs->rflags = 2;
	v->run->flags = 0;		/* whatever was not done is not done */
	v->run->set = VMM_STATE_REGS;
	wake_up(v);
}

static u32 one_access(struct vcpu *v, const u8 *code, u64 at, u32 value)
{
	int r;

	at_code(v, code);
	v->run->regs.gpr[VMM_RBX] = at;
	v->run->regs.gpr[VMM_RAX] = value;
	do {
		r = vcpu_run(v);
		/* the kick of a run that was over by then comes in this one */
	} while (r == -EINTR || (!r && v->run->reason == VMM_EXIT_KICK));
	if (r)
		vm_die("VMM_RUN for an access at %#llx: %s", at, strerror(-r));
	if (v->run->reason != VMM_EXIT_IO || v->run->exit.io.port != TOUCH_PORT)
		return v->run->reason;
	return VMM_EXIT_NONE;
}

u32 touch_read(struct vcpu *v, u64 at, u32 *value)
{
	u32 r = one_access(v, touch_code_read, at, 0);

	if (r == VMM_EXIT_NONE)
		*value = v->run->exit.io.data;
	return r;
}

u32 touch_write(struct vcpu *v, u64 at, u32 value)
{
	return one_access(v, touch_code_write, at, value);
}

u32 touch_fetch(struct vcpu *v, u64 at)
{
	return one_access(v, touch_code_fetch, at, 0);
}

void touch_count(struct vcpu *v, u64 start, u64 end, u32 offset, u32 rounds)
{
	at_code(v, touch_code_count);
	v->run->regs.gpr[VMM_RDI] = start;
	v->run->regs.gpr[VMM_RSI] = end;
	v->run->regs.gpr[VMM_RDX] = offset;
	v->run->regs.gpr[VMM_RCX] = rounds;
	*(u32 *)(v->vm->ram + TOUCH_STOP) = 0;
}

void touch_stop(struct vm *vm)
{
	__atomic_store_n((u32 *)(vm->ram + TOUCH_STOP), 1, __ATOMIC_SEQ_CST);
}

void *touch_alloc(size_t size, size_t align)
{
	char *p = mmap(NULL, size + align, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	uintptr_t at = ((uintptr_t)p + align - 1) & ~(align - 1);

	if (p == MAP_FAILED)
		vm_die("mmap of %zu bytes: %s", size, strerror(errno));
	return (void *)at;
}

/* the kernel sums per-CPU counters lazily unless asked */
static void stat_refresh(void)
{
	int fd = open("/proc/sys/vm/stat_refresh", O_RDONLY);
	char c;

	if (fd < 0 || read(fd, &c, 1) < 0)
		vm_die("cannot read /proc/sys/vm/stat_refresh: %s", strerror(errno));
	close(fd);
}

static long table_kb(void)
{
	FILE *f = fopen("/proc/meminfo", "re");
	char line[128];
	long kb = -1;

	stat_refresh();
	while (f && fgets(line, sizeof(line), f))
		if (sscanf(line, "SecPageTables: %ld kB", &kb) == 1)
			break;
	if (!f || kb < 0)
		vm_die("no SecPageTables in /proc/meminfo");
	fclose(f);
	return kb;
}

/* what a worker of the kernel's is just adding up is in no counter for a moment */
long touch_table_kb(void)
{
	long kb = table_kb(), before;

	do {
		before = kb;
		usleep(10000);
		kb = table_kb();
	} while (kb != before);
	return kb;
}

bool touch_tables_back_to(long kb)
{
	u64 until = vm_now_ms() + 5000;

	while (touch_table_kb() > kb) {
		if (vm_now_ms() > until)
			return false;
		usleep(20000);
	}
	return true;
}
