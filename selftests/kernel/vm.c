// SPDX-License-Identifier: GPL-2.0
/* The harness of the kernel selftests: VM, vCPUs, start states. See vm.h. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "vm.h"

#define PAGE		4096u

void vm_die(const char *format, ...)
{
	va_list ap;

	va_start(ap, format);
	fputs("# ", stderr);
	vfprintf(stderr, format, ap);
	fputc('\n', stderr);
	va_end(ap);
	_exit(1);
}

u64 vm_now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * 1000ull + ts.tv_nsec / 1000000;
}

/* ---- ioctls ---------------------------------------------------------------- */

int vm_open(void)
{
	int fd = open("/dev/vmm", O_RDWR | O_CLOEXEC);

	if (fd < 0)
		vm_die("cannot open /dev/vmm: %s; is the module loaded?", strerror(errno));
	return fd;
}

int vm_ioctl(int fd, unsigned long request, void *arg)
{
	int r = ioctl(fd, request, arg);

	return r < 0 ? -errno : r;
}

int vm_ioctl_n(int fd, unsigned long request, unsigned long arg)
{
	int r = ioctl(fd, request, arg);

	return r < 0 ? -errno : r;
}

/* ---- objects --------------------------------------------------------------- */

static void map_now(struct vm *vm, const struct vmm_map *m)
{
	int r = vm_ioctl(vm->fd, VMM_MAP, (void *)m);

	if (r)
		vm_die("VMM_MAP of %#llx bytes at gpa %#llx: %s", m->size, m->gpa,
		       strerror(-r));
}

int vm_map(struct vm *vm, u64 gpa, u64 size, void *hva, u32 flags)
{
	struct vmm_map m = {
		.gpa = gpa, .size = size, .hva = (uintptr_t)hva, .flags = flags,
	};
	int r;

	if (vm->nmaps == VM_MAX_MAPS)
		vm_die("the harness keeps %d mappings at most", VM_MAX_MAPS);
	r = vm_ioctl(vm->fd, VMM_MAP, &m);
	if (!r)
		vm->map[vm->nmaps++] = m;
	return r;
}

/* The harness' own list follows only when exactly one of its entries is meant. */
static struct vmm_map *find_map(struct vm *vm, u64 gpa, u64 size)
{
	unsigned int i;

	for (i = 0; i < vm->nmaps; i++)
		if (vm->map[i].gpa == gpa && vm->map[i].size == size)
			return &vm->map[i];
	return NULL;
}

int vm_unmap(struct vm *vm, u64 gpa, u64 size)
{
	struct vmm_map m = { .gpa = gpa, .size = size };
	struct vmm_map *mine = find_map(vm, gpa, size);
	int r = vm_ioctl(vm->fd, VMM_UNMAP, &m);

	if (!r && mine)
		*mine = vm->map[--vm->nmaps];
	return r;
}

int vm_protect(struct vm *vm, u64 gpa, u64 size, u32 flags)
{
	struct vmm_map m = { .gpa = gpa, .size = size, .flags = flags };
	struct vmm_map *mine = find_map(vm, gpa, size);
	int r = vm_ioctl(vm->fd, VMM_PROTECT, &m);

	if (!r && mine)
		mine->flags = flags;
	return r;
}

static void create_fd(struct vm *vm)
{
	vm->dev = vm_open();
	vm->fd = vm_ioctl_n(vm->dev, VMM_CREATE_VM, 0);
	if (vm->fd < 0)
		vm_die("VMM_CREATE_VM: %s", strerror(-vm->fd));
}

/* waits are measured by a clock that nobody sets */
static void create_cond(struct vm *vm)
{
	pthread_condattr_t attr;

	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&vm->cond, &attr);
	pthread_condattr_destroy(&attr);
}

struct vm *vm_create(size_t ram_size)
{
	struct vm *vm = calloc(1, sizeof(*vm));
	size_t all = ram_size + 2 * PAGE;

	create_fd(vm);
	vm->memfd = memfd_create("vmm-selftest", MFD_CLOEXEC);
	if (vm->memfd < 0 || ftruncate(vm->memfd, all))
		vm_die("memfd of %zu bytes: %s", all, strerror(errno));
	vm->ram_size = ram_size;
	vm->ram = mmap(NULL, all, PROT_READ | PROT_WRITE, MAP_SHARED, vm->memfd, 0);
	if (vm->ram == MAP_FAILED)
		vm_die("mmap of %zu bytes: %s", all, strerror(errno));
	pthread_mutex_init(&vm->lock, NULL);
	create_cond(vm);
	testdev_init(&vm->testdev);
	if (vm_map(vm, 0, ram_size, vm->ram, 0) ||
	    vm_map(vm, GUEST_MMIO_EDGE, PAGE, vm->ram + ram_size, 0) ||
	    vm_map(vm, GUEST_MMIO_END, PAGE, vm->ram + ram_size + PAGE, 0))
		vm_die("VMM_MAP of the RAM failed");
	return vm;
}

static void create_vcpu_fd(struct vcpu *v)
{
	v->fd = vm_ioctl_n(v->vm->fd, VMM_CREATE_VCPU, v->id);
	if (v->fd < 0)
		vm_die("VMM_CREATE_VCPU %u: %s", v->id, strerror(-v->fd));
	v->run = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, v->fd, 0);
	if (v->run == MAP_FAILED)
		vm_die("mmap of the run page: %s", strerror(errno));
}

struct vcpu *vm_add_vcpu(struct vm *vm)
{
	struct vcpu *v = &vm->vcpu[vm->nvcpus];
	int r;

	if (vm->nvcpus == VM_MAX_VCPUS)
		vm_die("the harness has %d vCPUs at most", VM_MAX_VCPUS);
	v->vm = vm;
	v->id = vm->nvcpus++;
	create_vcpu_fd(v);
	r = vcpu_set_cpuid(v);
	if (r)
		vm_die("VMM_SET_CPUID: %s", strerror(-r));
	return v;
}

static u64 stat_of(int fd, unsigned long request, const char *name)
{
	struct vmm_stat list[64];
	struct vmm_stats s = { .count = 64, .stats = (uintptr_t)list };
	u32 i;

	if (vm_ioctl(fd, request, &s))
		vm_die("the counters cannot be read");
	for (i = 0; i < s.count; i++)
		if (!strcmp(list[i].name, name))
			return list[i].value;
	vm_die("there is no counter `%s`", name);
}

u64 vm_stat(struct vm *vm, const char *name)
{
	return stat_of(vm->fd, VMM_GET_STATS, name);
}

u64 vcpu_stat(struct vcpu *v, const char *name)
{
	return stat_of(v->fd, VMM_GET_VCPU_STATS, name);
}

static void close_fds(struct vm *vm)
{
	unsigned int i;

	for (i = 0; i < vm->nvcpus; i++) {
		munmap(vm->vcpu[i].run, PAGE);
		close(vm->vcpu[i].fd);
	}
	close(vm->fd);
	close(vm->dev);
}

void vm_free(struct vm *vm)
{
	close_fds(vm);
	munmap(vm->ram, vm->ram_size + 2 * PAGE);
	close(vm->memfd);
	free(vm);
}

struct vm *vm_guest(const char *image, unsigned int cpus)
{
	struct vm *vm = vm_create(VM_RAM);

	while (cpus--)
		vm_add_vcpu(vm);
	vm_load(vm, image, GUEST_IMAGE);
	vcpu_start16(&vm->vcpu[0], 0, GUEST_IMAGE);
	return vm;
}

/* the images lie beside the tests: build/selftests/x, build/guests/y.bin */
static int open_image(const char *image)
{
	char path[PATH_MAX + 64], *end;
	ssize_t n = readlink("/proc/self/exe", path, PATH_MAX);
	int fd;

	path[n < 0 ? 0 : n] = 0;
	for (;;) {
		end = strrchr(path, '/');
		if (!end)
			vm_die("no guests/%s.bin in any directory above the test", image);
		sprintf(end, "/guests/%.40s.bin", image);
		fd = open(path, O_RDONLY | O_CLOEXEC);
		if (fd >= 0)
			return fd;
		*end = 0;
	}
}

size_t vm_load(struct vm *vm, const char *image, u64 gpa)
{
	int fd = open_image(image);
	ssize_t n = read(fd, vm->ram + gpa, vm->ram_size - gpa);

	if (n <= 0)
		vm_die("image %s is empty or cannot be read", image);
	close(fd);
	return n;
}

void vm_arg(struct vm *vm, unsigned int n, u64 value)
{
	((u64 *)(vm->ram + GUEST_ARGS))[n] = value;
}

/* ---- start states ---------------------------------------------------------- */

#define CODE	(VMM_SEG_P | VMM_SEG_S | 0xb)
#define DATA	(VMM_SEG_P | VMM_SEG_S | 0x3)

static struct vmm_state *start_state(struct vcpu *v)
{
	struct vmm_state *st = calloc(1, sizeof(*st));
	int r = vcpu_get(v, VMM_STATE_REGS | VMM_STATE_SREGS, st);

	if (r)
		vm_die("VMM_GET_STATE: %s", strerror(-r));
	memset(&st->regs, 0, sizeof(st->regs));
	st->regs.rflags = 2;
	return st;
}

static void start(struct vcpu *v, struct vmm_state *st)
{
	int r = vcpu_set(v, VMM_STATE_REGS | VMM_STATE_SREGS, st);

	if (r)
		vm_die("VMM_SET_STATE of the start state: %s", strerror(-r));
	free(st);
}

static void flat_segments(struct vmm_sregs *s, u16 code_attr)
{
	unsigned int i;

	for (i = VMM_ES; i <= VMM_GS; i++)
		s->seg[i] = (struct vmm_segment) {
			.selector = 0x10, .limit = ~0u,
			.attr = DATA | VMM_SEG_G | VMM_SEG_DB,
		};
	s->seg[VMM_CS].selector = 0x08;
	s->seg[VMM_CS].attr = CODE | VMM_SEG_G | code_attr;
}

void vcpu_start16(struct vcpu *v, u16 cs, u16 ip)
{
	struct vmm_state *st = start_state(v);

	st->regs.rip = ip;
	st->sregs.seg[VMM_CS].selector = cs;
	st->sregs.seg[VMM_CS].base = cs << 4;
	start(v, st);
}

void vcpu_start32(struct vcpu *v, u32 eip)
{
	struct vmm_state *st = start_state(v);

	st->regs.rip = eip;
	flat_segments(&st->sregs, VMM_SEG_DB);
	st->sregs.cr0 |= 1;
	start(v, st);
}

void vcpu_start64(struct vcpu *v, u64 rip)
{
	struct vmm_state *st = start_state(v);
	u64 *pml4 = (u64 *)(v->vm->ram + GUEST_PML4);
	u64 *pdpt = (u64 *)(v->vm->ram + GUEST_PDPT);
	u64 *pd = (u64 *)(v->vm->ram + GUEST_PD);
	unsigned int i;

	pml4[0] = GUEST_PDPT + 7;
	for (i = 0; i < 4; i++)
		pdpt[i] = GUEST_PD + i * PAGE + 7;
	for (i = 0; i < 2048; i++)
		pd[i] = (u64)i << 21 | 0x87;
	st->regs.rip = rip;
	flat_segments(&st->sregs, VMM_SEG_L);
	st->sregs.cr3 = GUEST_PML4;
	st->sregs.cr4 = 0x620;
	st->sregs.efer = 0x500;
	st->sregs.cr0 = 0x80000031;
	start(v, st);
}

/* ---- state ----------------------------------------------------------------- */

int vcpu_get(struct vcpu *v, u32 mask, struct vmm_state *st)
{
	st->mask = mask;
	st->pad = 0;
	return vm_ioctl(v->fd, VMM_GET_STATE, st);
}

int vcpu_set(struct vcpu *v, u32 mask, struct vmm_state *st)
{
	st->mask = mask;
	st->pad = 0;
	return vm_ioctl(v->fd, VMM_SET_STATE, st);
}

void vcpu_virtual_wire(struct vcpu *v)
{
	static struct vmm_state st;

	if (vcpu_get(v, VMM_STATE_APIC, &st))
		vm_die("VMM_GET_STATE failed");
	st.apic.regs[APIC_SVR] = 0x1ff;
	st.apic.regs[APIC_LVT0] = 0x700;
	if (vcpu_set(v, VMM_STATE_APIC, &st))
		vm_die("VMM_SET_STATE failed");
}

/* the fields that differ from CPU to CPU: the APIC ID's copies */
static void cpuid_for(struct vmm_cpuid_entry *e, u32 id)
{
	if (e->function == 1)
		e->ebx = (e->ebx & 0x00ffffff) | id << 24;
	else if (e->function == 0xb || e->function == 0x1f)
		e->edx = id;
	else if (e->function == 0x8000001e)
		e->eax = id;
}

/* all that is offered, but for these bits of a leaf with index 0 */
static int set_cpuid_but(struct vcpu *v, u32 function, enum cpuid_reg reg, u32 bits)
{
	struct vmm_cpuid_entry entry[VMM_MAX_CPUID] = {};
	struct vmm_cpuid c = {
		.count = VMM_MAX_CPUID, .entries = (uintptr_t)entry,
	};
	u32 i;
	int r = vm_ioctl(v->vm->dev, VMM_GET_CPUID, &c);

	if (r)
		return r;
	for (i = 0; i < c.count; i++) {
		u32 *out[] = { &entry[i].eax, &entry[i].ebx, &entry[i].ecx, &entry[i].edx };

		cpuid_for(&entry[i], v->id);
		if (entry[i].function == function && !entry[i].index)
			*out[reg] &= ~bits;
	}
	return vm_ioctl(v->fd, VMM_SET_CPUID, &c);
}

int vcpu_set_cpuid(struct vcpu *v)
{
	return set_cpuid_but(v, 0, CPUID_EAX, 0);
}

void vcpu_hide(struct vcpu *v, u32 function, enum cpuid_reg reg, u32 bits)
{
	int r = set_cpuid_but(v, function, reg, bits);

	if (r)
		vm_die("VMM_SET_CPUID without bits of %x: %s", function, strerror(-r));
}

struct vmm_msr *vcpu_find_msr(struct vmm_state *st, u32 index)
{
	u32 i;

	for (i = 0; i < st->msrs.count && i < VMM_MAX_MSRS; i++)
		if (st->msrs.msr[i].index == index)
			return &st->msrs.msr[i];
	return NULL;
}

void vm_save(struct vm *vm, struct vm_saved *s)
{
	unsigned int i;
	int r;

	memset(s, 0, sizeof(*s));
	for (i = 0; i < vm->nvcpus; i++) {
		/* what was answered but not taken over is part of the state */
		vcpu_finish(&vm->vcpu[i]);
		r = vcpu_get(&vm->vcpu[i], VMM_STATE_ALL, &s->state[i]);
		if (r)
			vm_die("VMM_GET_STATE of all groups, vCPU %u: %s", i, strerror(-r));
	}
	r = vm_ioctl(vm->fd, VMM_GET_CLOCK, &s->clock);
	if (r)
		vm_die("VMM_GET_CLOCK: %s", strerror(-r));
}

void vm_rebuild(struct vm *vm, const struct vm_saved *s)
{
	unsigned int i;
	int r;

	close_fds(vm);
	create_fd(vm);
	for (i = 0; i < vm->nmaps; i++)
		map_now(vm, &vm->map[i]);
	/* all vCPUs before any state: a pending IPI may name any of them */
	for (i = 0; i < vm->nvcpus; i++) {
		create_vcpu_fd(&vm->vcpu[i]);
		r = vcpu_set_cpuid(&vm->vcpu[i]);
		if (r)
			vm_die("VMM_SET_CPUID: %s", strerror(-r));
	}
	r = vm_ioctl(vm->fd, VMM_SET_CLOCK, (void *)&s->clock);
	if (r)
		vm_die("VMM_SET_CLOCK: %s", strerror(-r));
	for (i = 0; i < vm->nvcpus; i++) {
		r = vm_ioctl(vm->vcpu[i].fd, VMM_SET_STATE, (void *)&s->state[i]);
		if (r)
			vm_die("VMM_SET_STATE of what was read, vCPU %u: %s", i,
			       strerror(-r));
	}
}
