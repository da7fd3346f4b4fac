// SPDX-License-Identifier: GPL-2.0
/* Every ioctl of the three descriptors, with good and with bad arguments. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "kselftest_harness.h"
#include "vm.h"

#define PAGE	4096
/* an address that no process has anything at */
#define BAD	((void *)8)

_Static_assert(sizeof(struct vmm_info) == 72, "vmm_info");
_Static_assert(sizeof(struct vmm_cpuid) == 16, "vmm_cpuid");
_Static_assert(sizeof(struct vmm_cpuid_entry) == 32, "vmm_cpuid_entry");
_Static_assert(sizeof(struct vmm_map) == 32, "vmm_map");
_Static_assert(sizeof(struct vmm_track) == 24, "vmm_track");
_Static_assert(sizeof(struct vmm_harvest) == 32, "vmm_harvest");
_Static_assert(sizeof(struct vmm_msi) == 16, "vmm_msi");
_Static_assert(sizeof(struct vmm_doorbell) == 32, "vmm_doorbell");
_Static_assert(sizeof(struct vmm_irqfd) == 16, "vmm_irqfd");
_Static_assert(sizeof(struct vmm_route) == 24, "vmm_route");
_Static_assert(sizeof(struct vmm_routes) == 16, "vmm_routes");
_Static_assert(sizeof(struct vmm_coalesce) == 24, "vmm_coalesce");
_Static_assert(sizeof(struct vmm_ring) <= PAGE, "vmm_ring");
_Static_assert(sizeof(struct vmm_clock) == 32, "vmm_clock");
_Static_assert(sizeof(struct vmm_tsc) == 32, "vmm_tsc");
_Static_assert(sizeof(struct vmm_regs) == 144, "vmm_regs");
_Static_assert(sizeof(struct vmm_sregs) == 208, "vmm_sregs");
_Static_assert(sizeof(struct vmm_events) == 32, "vmm_events");
_Static_assert(sizeof(struct vmm_dregs) == 48, "vmm_dregs");
_Static_assert(sizeof(struct vmm_apic) == 272, "vmm_apic");
_Static_assert(sizeof(struct vmm_msrs) == 8 + 16 * VMM_MAX_MSRS, "vmm_msrs");
_Static_assert(sizeof(struct vmm_xsave) == 4096, "vmm_xsave");
_Static_assert(sizeof(struct vmm_inject) == 8, "vmm_inject");
_Static_assert(sizeof(struct vmm_exit_failed) == 128, "vmm_exit_failed");
_Static_assert(sizeof(struct vmm_run) <= PAGE, "vmm_run");

FIXTURE(abi) {
	struct vm *vm;
	struct vcpu *v;
	struct vmm_info info;
};

FIXTURE_SETUP(abi)
{
	self->vm = vm_create(VM_RAM);
	self->v = vm_add_vcpu(self->vm);
	ASSERT_EQ(0, vm_ioctl(self->vm->dev, VMM_GET_INFO, &self->info));
}

FIXTURE_TEARDOWN(abi)
{
	vm_free(self->vm);
}

/* ---- all of them ------------------------------------------------------------- */

static const unsigned long requests[] = {
	VMM_GET_INFO, VMM_GET_CPUID, VMM_CREATE_VM,
	VMM_CREATE_VCPU, VMM_MAP, VMM_UNMAP, VMM_PROTECT, VMM_SEND_MSI,
	VMM_GET_CLOCK, VMM_SET_CLOCK, VMM_TRACK, VMM_HARVEST,
	VMM_BIND_DOORBELL, VMM_UNBIND_DOORBELL, VMM_BIND_IRQ, VMM_UNBIND_IRQ,
	VMM_SET_ROUTES, VMM_COALESCE,
	VMM_RUN, VMM_KICK, VMM_GET_STATE, VMM_SET_STATE, VMM_SET_CPUID, VMM_INJECT,
	VMM_GET_TSC, VMM_SET_TSC,
};

/* which descriptor a request belongs to: by its number, as the header has it */
static int owner(struct vm *vm, unsigned long request)
{
	switch (_IOC_NR(request) >> 4) {
	case 0:
		return vm->dev;
	case 1:
		return vm->fd;
	default:
		return vm->vcpu[0].fd;
	}
}

TEST_F(abi, foreign_request_is_enotty)
{
	int fds[] = { self->vm->dev, self->vm->fd, self->v->fd };
	unsigned int i, k;

	for (i = 0; i < ARRAY_SIZE(requests); i++)
		for (k = 0; k < ARRAY_SIZE(fds); k++) {
			if (owner(self->vm, requests[i]) == fds[k])
				continue;
			EXPECT_EQ(-ENOTTY, vm_ioctl(fds[k], requests[i], BAD))
				TH_LOG("request %#lx on descriptor %u", requests[i], k);
		}
}

TEST_F(abi, unknown_request_is_enotty)
{
	int fds[] = { self->vm->dev, self->vm->fd, self->v->fd };
	unsigned int k, nr;

	for (k = 0; k < ARRAY_SIZE(fds); k++) {
		for (nr = 0x30; nr < 0x100; nr += 7)
			EXPECT_EQ(-ENOTTY, vm_ioctl(fds[k], _IO(VMM_IOC_TYPE, nr), BAD));
		EXPECT_EQ(-ENOTTY, vm_ioctl(fds[k], _IO('K', 0x20), BAD));
	}
}

/* the size is part of the request: another one is another request */
TEST_F(abi, wrong_size_is_enotty)
{
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(requests); i++) {
		unsigned long r = requests[i] + (1ul << _IOC_SIZESHIFT);

		EXPECT_EQ(-ENOTTY, vm_ioctl(owner(self->vm, r), r, BAD))
			TH_LOG("request %#lx", r);
	}
}

TEST_F(abi, bad_pointer_is_efault)
{
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(requests); i++) {
		if (!_IOC_SIZE(requests[i]))
			continue;
		EXPECT_EQ(-EFAULT, vm_ioctl(owner(self->vm, requests[i]),
					    requests[i], BAD))
			TH_LOG("request %#lx", requests[i]);
	}
}

/* the last byte of the argument lies on a page that is not there */
TEST_F(abi, half_an_argument_is_efault)
{
	u8 *p = mmap(NULL, 4 * PAGE, PROT_READ | PROT_WRITE,
		     MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	unsigned int i;

	ASSERT_NE(MAP_FAILED, (void *)p);
	ASSERT_EQ(0, munmap(p + 3 * PAGE, PAGE));
	for (i = 0; i < ARRAY_SIZE(requests); i++) {
		size_t size = _IOC_SIZE(requests[i]);

		if (!size)
			continue;
		memset(p, 0, 3 * PAGE);
		EXPECT_EQ(-EFAULT, vm_ioctl(owner(self->vm, requests[i]), requests[i],
					    p + 3 * PAGE - size + 1))
			TH_LOG("request %#lx", requests[i]);
	}
}

TEST_F(abi, argument_must_be_zero)
{
	EXPECT_EQ(-EINVAL, vm_ioctl_n(self->vm->dev, VMM_CREATE_VM, 1));
	EXPECT_EQ(-EINVAL, vm_ioctl_n(self->v->fd, VMM_RUN, 1));
	EXPECT_EQ(-EINVAL, vm_ioctl_n(self->v->fd, VMM_KICK, 1));
}

/* ---- another address space ------------------------------------------------------ */

TEST_F(abi, foreign_mm_is_eio)
{
	static struct vmm_state st;
	struct vmm_clock c = {};
	int status;
	pid_t pid = fork();

	ASSERT_LE(0, pid);
	if (!pid) {
		/* bits of what went wrong */
		int r = 0;

		r |= vm_ioctl_n(self->v->fd, VMM_RUN, 0) != -EIO;
		r |= (vm_ioctl_n(self->v->fd, VMM_KICK, 0) != -EIO) << 1;
		r |= (vcpu_get(self->v, VMM_STATE_ALL, &st) != -EIO) << 2;
		r |= (vm_ioctl(self->vm->fd, VMM_GET_CLOCK, &c) != -EIO) << 3;
		r |= (vm_ioctl_n(self->vm->fd, VMM_CREATE_VCPU, 1) != -EIO) << 4;
		r |= (vm_unmap(self->vm, 0, PAGE) != -EIO) << 5;
		/* the device is nobody's */
		r |= (vm_ioctl(self->vm->dev, VMM_GET_INFO, &self->info) != 0) << 6;
		_exit(r);
	}
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	ASSERT_TRUE(WIFEXITED(status));
	EXPECT_EQ(0, WEXITSTATUS(status));
	/* and the owner's goes on */
	EXPECT_EQ(0, vm_ioctl(self->vm->fd, VMM_GET_CLOCK, &c));
}

/* ---- /dev/vmm ------------------------------------------------------------------- */

TEST_F(abi, get_info)
{
	struct vmm_info *i = &self->info;

	/* scripts/parity reads this */
	printf("# VMM_GET_INFO vendor=%u features=%#llx\n", i->vendor, i->features);
	fflush(stdout);
	EXPECT_EQ(VMM_ABI_VERSION, i->abi_version);
	EXPECT_TRUE(i->vendor == VMM_VENDOR_SVM || i->vendor == VMM_VENDOR_VMX);
	EXPECT_LE(2, i->max_vcpus);
	EXPECT_LE(64, i->max_maps);
	EXPECT_LE(36, i->gpa_bits);
	EXPECT_GE(52, i->gpa_bits);
	EXPECT_NE(0, i->tsc_khz);
	EXPECT_EQ(1, i->xcr0_mask ? i->xcr0_mask & 1 : 1);
	EXPECT_EQ(0, i->reserved[0] | i->reserved[1] | i->reserved[2] | i->reserved[3]);
}

TEST_F(abi, get_cpuid)
{
	struct vmm_cpuid_entry e[VMM_MAX_CPUID + 1];
	struct vmm_cpuid c = { .count = VMM_MAX_CPUID, .entries = (uintptr_t)e };
	u32 n;

	memset(e, 0x5a, sizeof(e));
	ASSERT_EQ(0, vm_ioctl(self->vm->dev, VMM_GET_CPUID, &c));
	n = c.count;
	ASSERT_LT(4, n);
	ASSERT_GE(VMM_MAX_CPUID, n);
	/* nothing is written behind the last one */
	EXPECT_EQ(0x5a5a5a5a, e[n].function);
	c.count = n;
	EXPECT_EQ(0, vm_ioctl(self->vm->dev, VMM_GET_CPUID, &c));
	c.count = n - 1;
	EXPECT_EQ(-E2BIG, vm_ioctl(self->vm->dev, VMM_GET_CPUID, &c));
	c.count = 0;
	EXPECT_EQ(-E2BIG, vm_ioctl(self->vm->dev, VMM_GET_CPUID, &c));
	/* more room than there can be is no error */
	c.count = ~0u;
	EXPECT_EQ(0, vm_ioctl(self->vm->dev, VMM_GET_CPUID, &c));
	c.pad = 1;
	EXPECT_EQ(-EINVAL, vm_ioctl(self->vm->dev, VMM_GET_CPUID, &c));
	c.pad = 0;
	c.count = VMM_MAX_CPUID;
	c.entries = 8;
	EXPECT_EQ(-EFAULT, vm_ioctl(self->vm->dev, VMM_GET_CPUID, &c));
}

TEST_F(abi, create_vm)
{
	int fd = vm_ioctl_n(self->vm->dev, VMM_CREATE_VM, 0);

	ASSERT_LE(0, fd);
	EXPECT_EQ(FD_CLOEXEC, fcntl(fd, F_GETFD));
	EXPECT_EQ(0, close(fd));
}

/* without a free descriptor there is no VM, and none that stays behind */
TEST_F(abi, create_without_descriptors)
{
	struct rlimit old, few;

	ASSERT_EQ(0, getrlimit(RLIMIT_NOFILE, &old));
	few = old;
	few.rlim_cur = 3;
	ASSERT_EQ(0, setrlimit(RLIMIT_NOFILE, &few));
	EXPECT_EQ(-EMFILE, vm_ioctl_n(self->vm->dev, VMM_CREATE_VM, 0));
	EXPECT_EQ(-EMFILE, vm_ioctl_n(self->vm->fd, VMM_CREATE_VCPU, 1));
	ASSERT_EQ(0, setrlimit(RLIMIT_NOFILE, &old));
	EXPECT_LE(0, vm_ioctl_n(self->vm->fd, VMM_CREATE_VCPU, 1));
}

/* ---- VM ---------------------------------------------------------------------------- */

TEST_F(abi, create_vcpu)
{
	int fd;

	EXPECT_EQ(-EEXIST, vm_ioctl_n(self->vm->fd, VMM_CREATE_VCPU, 0));
	EXPECT_EQ(-EINVAL, vm_ioctl_n(self->vm->fd, VMM_CREATE_VCPU, self->info.max_vcpus));
	EXPECT_EQ(-EINVAL, vm_ioctl_n(self->vm->fd, VMM_CREATE_VCPU, ~0ul));
	EXPECT_EQ(-EINVAL, vm_ioctl_n(self->vm->fd, VMM_CREATE_VCPU, 1ul << 32));
	fd = vm_ioctl_n(self->vm->fd, VMM_CREATE_VCPU, self->info.max_vcpus - 1);
	ASSERT_LE(0, fd);
	EXPECT_EQ(FD_CLOEXEC, fcntl(fd, F_GETFD));
}

TEST_F(abi, as_many_vcpus_as_promised)
{
	u32 i;

	for (i = 1; i < self->info.max_vcpus; i++)
		ASSERT_LE(0, vm_ioctl_n(self->vm->fd, VMM_CREATE_VCPU, i));
}

TEST_F(abi, map_arguments)
{
	u64 top = 1ull << self->info.gpa_bits, hva = (uintptr_t)self->vm->ram;
	const struct {
		struct vmm_map m;
		int want;
	} rows[] = {
		{ { top - PAGE, PAGE, hva, 0, 0 }, 0 },
		{ { 0x40000000, PAGE, hva, VMM_MAP_READONLY, 0 }, 0 },
		{ { 0x40000000, PAGE, hva, 0, 0 }, -EEXIST },
		{ { VM_RAM - PAGE, 2 * PAGE, hva, 0, 0 }, -EEXIST },
		{ { 0x50000000, 0, hva, 0, 0 }, -EINVAL },
		{ { 0x50000001, PAGE, hva, 0, 0 }, -EINVAL },
		{ { 0x50000000, PAGE + 1, hva, 0, 0 }, -EINVAL },
		{ { 0x50000000, PAGE, hva + 1, 0, 0 }, -EINVAL },
		{ { 0x50000000, PAGE, hva, 2, 0 }, -EINVAL },
		{ { 0x50000000, PAGE, hva, 1u << 31, 0 }, -EINVAL },
		{ { 0x50000000, PAGE, hva, 0, 1 }, -EINVAL },
		{ { top, PAGE, hva, 0, 0 }, -EINVAL },
		{ { top - PAGE, 2 * PAGE, hva, 0, 0 }, -EINVAL },
		{ { ~0xfffull, PAGE, hva, 0, 0 }, -EINVAL },
		{ { ~0xfffull, 2 * PAGE, hva, 0, 0 }, -EINVAL },
		{ { 0x50000000, ~0xfffull, hva, 0, 0 }, -EINVAL },
		{ { 0x50000000, PAGE, 1ull << 63, 0, 0 }, -EINVAL },
		{ { 0x50000000, PAGE, ~0xfffull, 0, 0 }, -EINVAL },
		{ { 0x50000000, 2 * PAGE, 0x7ffffffff000, 0, 0 }, -EINVAL },
	};
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(rows); i++)
		EXPECT_EQ(rows[i].want, vm_ioctl(self->vm->fd, VMM_MAP, (void *)&rows[i].m))
			TH_LOG("row %u", i);
}

TEST_F(abi, unmap_and_protect_arguments)
{
	const struct {
		struct vmm_map m;
		int unmap, protect;
	} rows[] = {
		{ { 0x90000000, PAGE, 0, 0, 0 }, -ENOENT, -ENOENT },
		{ { 0, PAGE + 1, 0, 0, 0 }, -EINVAL, -EINVAL },
		{ { 1, PAGE, 0, 0, 0 }, -EINVAL, -EINVAL },
		{ { 0, 0, 0, 0, 0 }, -EINVAL, -EINVAL },
		{ { 0, PAGE, PAGE, 0, 0 }, -EINVAL, -EINVAL },
		{ { 0, PAGE, 0, 2, 0 }, -EINVAL, -EINVAL },
		{ { 0, PAGE, 0, 0, 1 }, -EINVAL, -EINVAL },
		{ { ~0xfffull, 2 * PAGE, 0, 0, 0 }, -EINVAL, -EINVAL },
		/* half of it is mapped */
		{ { VM_RAM - PAGE, 2 * PAGE, 0, 0, 0 }, 0, -ENOENT },
	};
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(rows); i++) {
		EXPECT_EQ(rows[i].protect, vm_ioctl(self->vm->fd, VMM_PROTECT,
						    (void *)&rows[i].m))
			TH_LOG("row %u", i);
		EXPECT_EQ(rows[i].unmap, vm_ioctl(self->vm->fd, VMM_UNMAP,
						  (void *)&rows[i].m))
			TH_LOG("row %u", i);
	}
	/* flags are of no use to UNMAP, but are to PROTECT */
	EXPECT_EQ(0, vm_protect(self->vm, 0, PAGE, VMM_MAP_READONLY));
	EXPECT_EQ(-EINVAL, vm_ioctl(self->vm->fd, VMM_UNMAP, &(struct vmm_map) {
		.size = PAGE, .flags = VMM_MAP_READONLY }));
}

TEST_F(abi, msi_arguments)
{
	struct vmm_msi m = { .address = 0xfee00000, .data = 0x40 };

	/* the APIC is off after reset: nobody takes it */
	EXPECT_LE(0, vm_ioctl(self->vm->fd, VMM_SEND_MSI, &m));
	m.pad = 1;
	EXPECT_EQ(-EINVAL, vm_ioctl(self->vm->fd, VMM_SEND_MSI, &m));
	m.pad = 0;
	m.address = 0xfed00000;
	EXPECT_EQ(-EINVAL, vm_ioctl(self->vm->fd, VMM_SEND_MSI, &m));
	m.address = 0x1fee00000;
	EXPECT_GE(0, vm_ioctl(self->vm->fd, VMM_SEND_MSI, &m));
	m.address = 0xfee00000;
	m.data = 0x340;			/* delivery mode 3 does not exist */
	EXPECT_EQ(-EINVAL, vm_ioctl(self->vm->fd, VMM_SEND_MSI, &m));
}

TEST_F(abi, clock)
{
	struct vmm_clock c = {}, d = {};
	unsigned int i;

	ASSERT_EQ(0, vm_ioctl(self->vm->fd, VMM_GET_CLOCK, &c));
	ASSERT_EQ(0, vm_ioctl(self->vm->fd, VMM_GET_CLOCK, &d));
	EXPECT_LE(c.ns, d.ns);
	EXPECT_LT(c.ticks, d.ticks);
	EXPECT_EQ(0, d.reserved[0] | d.reserved[1]);
	c.ns = 1ull << 50;
	ASSERT_EQ(0, vm_ioctl(self->vm->fd, VMM_SET_CLOCK, &c));
	ASSERT_EQ(0, vm_ioctl(self->vm->fd, VMM_GET_CLOCK, &d));
	EXPECT_LE(c.ns, d.ns);
	EXPECT_GT(c.ns + 60000000000, d.ns);
	for (i = 0; i < 2; i++) {
		memset(&c, 0, sizeof(c));
		c.reserved[i] = 1;
		EXPECT_EQ(-EINVAL, vm_ioctl(self->vm->fd, VMM_SET_CLOCK, &c));
	}
	memset(&c, 0, sizeof(c));
	c.ns = 1ull << 63;
	EXPECT_EQ(-EINVAL, vm_ioctl(self->vm->fd, VMM_SET_CLOCK, &c));
}

static u64 guest_tsc(struct vcpu *v)
{
	static struct vmm_state st;
	u32 i;

	vcpu_get(v, VMM_STATE_MSRS, &st);
	for (i = 0; i < st.msrs.count; i++)
		if (st.msrs.msr[i].index == 0x10)
			return st.msrs.msr[i].value;
	return 0;
}

/* no tick is lost between two vCPUs, and the base is what the TSC counts from */
TEST_F(abi, tsc)
{
	const u64 base = 1ull << 40;
	struct vcpu *w = vm_add_vcpu(self->vm);
	struct vmm_tsc t = {}, u = {};
	struct vmm_clock c = {}, d = {};
	unsigned int i;
	u64 tsc;

	ASSERT_EQ(0, vm_ioctl(self->v->fd, VMM_GET_TSC, &t));
	ASSERT_EQ(0, vm_ioctl(w->fd, VMM_GET_TSC, &u));
	EXPECT_EQ(t.base, u.base);
	EXPECT_EQ(0, t.reserved[0] | t.reserved[1] | t.reserved[2]);
	t.base = base;
	ASSERT_EQ(0, vm_ioctl(self->v->fd, VMM_SET_TSC, &t));
	ASSERT_EQ(0, vm_ioctl(self->v->fd, VMM_GET_TSC, &u));
	EXPECT_EQ(base, u.base);
	ASSERT_EQ(0, vm_ioctl(self->vm->fd, VMM_GET_CLOCK, &c));
	tsc = guest_tsc(self->v);
	ASSERT_EQ(0, vm_ioctl(self->vm->fd, VMM_GET_CLOCK, &d));
	EXPECT_LE(base + c.ticks, tsc);
	EXPECT_GE(base + d.ticks, tsc);
	/* a clock that is set moves no TSC */
	ASSERT_EQ(0, vm_ioctl(self->vm->fd, VMM_SET_CLOCK, &d));
	EXPECT_LE(tsc, guest_tsc(self->v));
	EXPECT_GT(tsc + (1ull << 40), guest_tsc(self->v));
	for (i = 0; i < 3; i++) {
		memset(&t, 0, sizeof(t));
		t.reserved[i] = 1;
		EXPECT_EQ(-EINVAL, vm_ioctl(self->v->fd, VMM_SET_TSC, &t));
	}
}

/* ---- vCPU -------------------------------------------------------------------------- */

TEST_F(abi, run_page_is_one_shared_page)
{
	int fd = self->v->fd, rw = PROT_READ | PROT_WRITE;
	struct vmm_run *second;
	int status;
	pid_t pid;

	EXPECT_EQ(MAP_FAILED, mmap(NULL, PAGE, rw, MAP_SHARED, fd, PAGE));
	EXPECT_EQ(MAP_FAILED, mmap(NULL, 2 * PAGE, rw, MAP_SHARED, fd, 0));
	EXPECT_EQ(MAP_FAILED, mmap(NULL, PAGE, rw, MAP_PRIVATE, fd, 0));
	EXPECT_EQ(MAP_FAILED, mmap(NULL, PAGE, rw, MAP_SHARED, self->vm->dev, 0));
	second = mmap(NULL, PAGE, rw, MAP_SHARED, fd, 0);
	ASSERT_NE(MAP_FAILED, (void *)second);
	self->v->run->kick = 0x1234;
	EXPECT_EQ(0x1234, second->kick);
	self->v->run->kick = 0;
	/* a mapping that grows finds nothing behind the page */
	second = mremap(second, PAGE, 2 * PAGE, MREMAP_MAYMOVE);
	if (second == MAP_FAILED)
		return;
	pid = fork();
	ASSERT_LE(0, pid);
	if (!pid)
		_exit(((volatile u8 *)second)[PAGE] ? 1 : 0);
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	ASSERT_TRUE(WIFSIGNALED(status));
	EXPECT_EQ(SIGBUS, WTERMSIG(status));
}

TEST_F(abi, set_cpuid)
{
	struct vmm_cpuid_entry e[2] = { { .function = 0 }, { .function = 1 } };
	struct vmm_cpuid c = { .count = 2, .entries = (uintptr_t)e };

	EXPECT_EQ(0, vm_ioctl(self->v->fd, VMM_SET_CPUID, &c));
	e[1].pad = 1;
	EXPECT_EQ(-EINVAL, vm_ioctl(self->v->fd, VMM_SET_CPUID, &c));
	e[1].pad = 0;
	e[1].flags = 2;
	EXPECT_EQ(-EINVAL, vm_ioctl(self->v->fd, VMM_SET_CPUID, &c));
	e[1].flags = 0;
	c.pad = 1;
	EXPECT_EQ(-EINVAL, vm_ioctl(self->v->fd, VMM_SET_CPUID, &c));
	c.pad = 0;
	c.count = 0;
	EXPECT_EQ(-EINVAL, vm_ioctl(self->v->fd, VMM_SET_CPUID, &c));
	c.count = VMM_MAX_CPUID + 1;
	EXPECT_EQ(-E2BIG, vm_ioctl(self->v->fd, VMM_SET_CPUID, &c));
	c.count = ~0u;
	EXPECT_EQ(-E2BIG, vm_ioctl(self->v->fd, VMM_SET_CPUID, &c));
	c.count = 2;
	c.entries = 8;
	EXPECT_EQ(-EFAULT, vm_ioctl(self->v->fd, VMM_SET_CPUID, &c));
}

TEST_F(abi, inject)
{
	const struct {
		struct vmm_inject in;
		int want;
	} rows[] = {
		{ { VMM_EVENT_NONE, 0, 0, 0, 0 }, -EINVAL },
		{ { VMM_EVENT_INTR, 0x40, 0, 0, 0 }, -EINVAL },
		{ { 9, 0, 0, 0, 0 }, -EINVAL },
		{ { VMM_EVENT_NMI, 3, 0, 0, 0 }, -EINVAL },
		{ { VMM_EVENT_NMI, 0, 1, 0, 0 }, -EINVAL },
		{ { VMM_EVENT_NMI, 0, 0, 1, 0 }, -EINVAL },
		{ { VMM_EVENT_NMI, 0, 0, 0, 1 }, -EINVAL },
		{ { VMM_EVENT_EXCEPTION, 32, 0, 0, 0 }, -EINVAL },
		{ { VMM_EVENT_EXCEPTION, 2, 0, 0, 0 }, -EINVAL },
		{ { VMM_EVENT_EXCEPTION, 13, 0, 0, 0 }, -EINVAL },
		{ { VMM_EVENT_EXCEPTION, 13, 2, 0, 0 }, -EINVAL },
		{ { VMM_EVENT_EXCEPTION, 6, 1, 0, 0 }, -EINVAL },
		{ { VMM_EVENT_EXCEPTION, 6, 0, 0, 1 }, -EINVAL },
		{ { VMM_EVENT_EXCEPTION, 6, 0, 1, 0 }, -EINVAL },
		{ { VMM_EVENT_EXCEPTION, 13, 1, 0, 0x18 }, 0 },
		{ { VMM_EVENT_EXCEPTION, 6, 0, 0, 0 }, -EBUSY },
		{ { VMM_EVENT_NMI, 0, 0, 0, 0 }, 0 },
	};
	static struct vmm_state st;
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(rows); i++)
		EXPECT_EQ(rows[i].want, vm_ioctl(self->v->fd, VMM_INJECT,
						 (void *)&rows[i].in))
			TH_LOG("row %u", i);
	ASSERT_EQ(0, vcpu_get(self->v, VMM_STATE_EVENTS, &st));
	EXPECT_EQ(VMM_EVENT_EXCEPTION, st.events.type);
	EXPECT_EQ(13, st.events.vector);
	EXPECT_EQ(0x18, st.events.error);
	EXPECT_EQ(1, st.events.nmi_pending);
}

TEST_F(abi, state_arguments)
{
	static struct vmm_state st;

	EXPECT_EQ(-EINVAL, vcpu_get(self->v, VMM_STATE_ALL + 1, &st));
	EXPECT_EQ(-EINVAL, vcpu_set(self->v, 1u << 31, &st));
	ASSERT_EQ(0, vcpu_get(self->v, VMM_STATE_ALL, &st));
	EXPECT_EQ(0, vcpu_set(self->v, VMM_STATE_ALL, &st));
	/* no group: nothing to do */
	EXPECT_EQ(0, vcpu_get(self->v, 0, &st));
	EXPECT_EQ(0, vcpu_set(self->v, 0, &st));
	st.pad = 1;
	st.mask = VMM_STATE_REGS;
	EXPECT_EQ(-EINVAL, vm_ioctl(self->v->fd, VMM_GET_STATE, &st));
	EXPECT_EQ(-EINVAL, vm_ioctl(self->v->fd, VMM_SET_STATE, &st));
}

TEST_F(abi, run_flags)
{
	struct vmm_run *run = self->v->run;
	unsigned int bit;

	for (bit = 4; bit < 32; bit++) {
		run->flags = 1u << bit;
		EXPECT_EQ(-EINVAL, vcpu_run(self->v));
	}
	run->flags = 0;
	for (bit = 0; bit < 32; bit++) {
		if (1u << bit & (VMM_STATE_REGS | VMM_STATE_SREGS | VMM_STATE_EVENTS))
			continue;
		run->set = 1u << bit;
		EXPECT_EQ(-EINVAL, vcpu_run(self->v));
	}
	run->set = 0;
	/* nothing to complete; no interrupt with IF clear */
	run->flags = VMM_RUN_COMPLETE;
	EXPECT_EQ(-EINVAL, vcpu_run(self->v));
	run->flags = VMM_RUN_EXTINT;
	run->extint = 0x40;
	EXPECT_EQ(-EBUSY, vcpu_run(self->v));
	run->extint = 256;
	EXPECT_EQ(-EINVAL, vcpu_run(self->v));
	run->flags = 0;
	run->kick = 1;
	EXPECT_EQ(0, vcpu_run(self->v));
	EXPECT_EQ(VMM_EXIT_KICK, run->reason);
}

TEST_HARNESS_MAIN
