// SPDX-License-Identifier: GPL-2.0
/*
 * The one file that makes our ioctls.
 */
#include <cpuid.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "api.h"

#define API_DEVICE	"/dev/vmm"

_Static_assert(sizeof(struct vmm_run) <= 4096, "the run page is one page");

/* ioctl() that gives -errno and is not stopped by a signal */
static int api_ioctl(int fd, unsigned long request, void *arg)
{
	int ret;

	do {
		ret = ioctl(fd, request, arg);
	} while (ret < 0 && errno == EINTR);
	return ret < 0 ? -errno : ret;
}

/* APM 3 8000_0001 ECX[2]: SVM; SDM 2A CPUID.1 ECX[5]: VMX */
static bool cpu_virtualizes(void)
{
	unsigned int a, b, c, d;

	if (__get_cpuid(0x80000001, &a, &b, &c, &d) && (c & (1U << 2)))
		return true;
	return __get_cpuid(1, &a, &b, &c, &d) && (c & (1U << 5));
}

static void explain_open(int error, char *err, unsigned long errlen)
{
	switch (error) {
	case ENOENT:
	case ENODEV:
	case ENXIO:
		if (!cpu_virtualizes())
			snprintf(err, errlen,
				 "wanted " API_DEVICE ", but this CPU shows neither SVM nor VMX: enable virtualization in the firmware, or use another machine");
		else
			snprintf(err, errlen,
				 "wanted " API_DEVICE ", but it does not exist: load the module (insmod vmm.ko; if that fails, dmesg says why)");
		break;
	case EACCES:
	case EPERM:
		snprintf(err, errlen,
			 "wanted " API_DEVICE ", but there is no permission to open it: run as root, or chgrp/chmod the device for this user");
		break;
	default:
		snprintf(err, errlen, "wanted " API_DEVICE ", but opening it failed: %s",
			 strerror(error));
	}
}

int api_open(struct api_vm *vm, char *err, unsigned long errlen)
{
	int ret;

	memset(vm, 0, sizeof(*vm));
	vm->fd = -1;
	vm->dev = open(API_DEVICE, O_RDWR | O_CLOEXEC);
	if (vm->dev < 0) {
		ret = -errno;
		explain_open(errno, err, errlen);
		return ret;
	}
	ret = api_ioctl(vm->dev, VMM_GET_INFO, &vm->info);
	if (ret < 0) {
		snprintf(err, errlen,
			 API_DEVICE " does not answer VMM_GET_INFO (%s): it is not the device of vmm.ko, or of another version; load the module that was built with this vmmd",
			 strerror(-ret));
		goto fail;
	}
	if (vm->info.abi_version != VMM_ABI_VERSION) {
		snprintf(err, errlen,
			 "wanted ABI version %u of " API_DEVICE ", found %u: load the module that was built with this vmmd",
			 VMM_ABI_VERSION, vm->info.abi_version);
		ret = -EPROTO;
		goto fail;
	}
	vm->fd = api_ioctl(vm->dev, VMM_CREATE_VM, NULL);
	if (vm->fd < 0) {
		ret = vm->fd;
		snprintf(err, errlen, "cannot create a VM: %s (dmesg may say more)",
			 strerror(-ret));
		goto fail;
	}
	return 0;
fail:
	api_close(vm);
	return ret;
}

void api_close(struct api_vm *vm)
{
	if (vm->fd >= 0)
		close(vm->fd);
	if (vm->dev >= 0)
		close(vm->dev);
	vm->fd = -1;
	vm->dev = -1;
}

int api_get_cpuid(struct api_vm *vm, struct vmm_cpuid_entry *e, uint32_t *count)
{
	struct vmm_cpuid arg = {
		.count = *count,
		.entries = (uintptr_t)e,
	};
	int ret = api_ioctl(vm->dev, VMM_GET_CPUID, &arg);

	if (!ret)
		*count = arg.count;
	return ret;
}

int api_map(struct api_vm *vm, uint64_t gpa, uint64_t size, void *hva,
	    uint32_t flags)
{
	struct vmm_map arg = {
		.gpa = gpa,
		.size = size,
		.hva = (uintptr_t)hva,
		.flags = flags,
	};

	return api_ioctl(vm->fd, VMM_MAP, &arg);
}

int api_unmap(struct api_vm *vm, uint64_t gpa, uint64_t size)
{
	struct vmm_map arg = { .gpa = gpa, .size = size };

	return api_ioctl(vm->fd, VMM_UNMAP, &arg);
}

int api_protect(struct api_vm *vm, uint64_t gpa, uint64_t size, uint32_t flags)
{
	struct vmm_map arg = { .gpa = gpa, .size = size, .flags = flags };

	return api_ioctl(vm->fd, VMM_PROTECT, &arg);
}

int api_msi(struct api_vm *vm, uint64_t address, uint32_t data)
{
	struct vmm_msi arg = { .address = address, .data = data };

	return api_ioctl(vm->fd, VMM_SEND_MSI, &arg);
}

int api_get_stats(struct api_vm *vm, struct vmm_stat *s, uint32_t *count)
{
	struct vmm_stats arg = { .count = *count, .stats = (uintptr_t)s };
	int ret = api_ioctl(vm->fd, VMM_GET_STATS, &arg);

	*count = arg.count;
	return ret;
}

int api_bind_doorbell(struct api_vm *vm, bool port, uint64_t addr, int eventfd)
{
	struct vmm_doorbell arg = {
		.addr = addr,
		.flags = port ? VMM_DOORBELL_PORT : 0,
		.fd = eventfd,
	};

	return api_ioctl(vm->fd, VMM_BIND_DOORBELL, &arg);
}

int api_unbind_doorbell(struct api_vm *vm, bool port, uint64_t addr)
{
	struct vmm_doorbell arg = {
		.addr = addr,
		.flags = port ? VMM_DOORBELL_PORT : 0,
		.fd = -1,
	};

	return api_ioctl(vm->fd, VMM_UNBIND_DOORBELL, &arg);
}

int api_coalesce(struct api_vm *vm, bool port, uint64_t addr, uint32_t size)
{
	struct vmm_coalesce arg = {
		.addr = addr,
		.size = size,
		.flags = port ? VMM_COALESCE_PORT : 0,
		.width = size,
	};

	return api_ioctl(vm->fd, VMM_COALESCE, &arg);
}

struct vmm_ring *api_ring(struct api_vm *vm)
{
	void *ring = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED,
			  vm->fd, 0);

	return ring == MAP_FAILED ? NULL : ring;
}

void api_ring_free(struct vmm_ring *ring)
{
	if (ring)
		munmap(ring, 4096);
}

int api_set_route(struct api_vm *vm, uint32_t gsi, uint64_t address,
		  uint32_t data)
{
	struct vmm_route route = {
		.gsi = gsi,
		.flags = address ? 0 : VMM_ROUTE_NONE,
		.address = address,
		.data = data,
	};
	struct vmm_routes arg = { .count = 1, .routes = (uintptr_t)&route };

	return api_ioctl(vm->fd, VMM_SET_ROUTES, &arg);
}

int api_bind_irq(struct api_vm *vm, uint32_t gsi, int eventfd, int resample)
{
	struct vmm_irqfd arg = {
		.gsi = gsi,
		.flags = resample < 0 ? 0 : VMM_IRQ_RESAMPLE,
		.fd = eventfd,
		.resample_fd = resample,
	};

	return api_ioctl(vm->fd, VMM_BIND_IRQ, &arg);
}

int api_unbind_irq(struct api_vm *vm, uint32_t gsi)
{
	struct vmm_irqfd arg = { .gsi = gsi, .fd = -1, .resample_fd = -1 };

	return api_ioctl(vm->fd, VMM_UNBIND_IRQ, &arg);
}

int api_track(struct api_vm *vm, uint64_t gpa, uint64_t size, bool on)
{
	struct vmm_track arg = {
		.gpa = gpa,
		.size = size,
		.flags = on ? VMM_TRACK_DIRTY : 0,
	};

	return api_ioctl(vm->fd, VMM_TRACK, &arg);
}

int api_harvest(struct api_vm *vm, uint64_t gpa, uint64_t size, uint64_t *bitmap)
{
	struct vmm_harvest arg = {
		.gpa = gpa,
		.size = size,
		.bitmap = (uintptr_t)bitmap,
		.flags = VMM_TRACK_DIRTY | VMM_HARVEST_CLEAR,
	};
	int ret = api_ioctl(vm->fd, VMM_HARVEST, &arg);

	return ret < 0 ? ret : 0;
}

int api_get_clock(struct api_vm *vm, struct vmm_clock *c)
{
	return api_ioctl(vm->fd, VMM_GET_CLOCK, c);
}

int api_set_clock(struct api_vm *vm, const struct vmm_clock *c)
{
	struct vmm_clock arg = *c;

	return api_ioctl(vm->fd, VMM_SET_CLOCK, &arg);
}

int api_vcpu_create(struct api_vm *vm, uint32_t id, struct api_vcpu *vcpu)
{
	int ret;

	vcpu->run = NULL;
	vcpu->fd = api_ioctl(vm->fd, VMM_CREATE_VCPU, (void *)(uintptr_t)id);
	if (vcpu->fd < 0)
		return vcpu->fd;
	vcpu->run = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED,
			 vcpu->fd, 0);
	if (vcpu->run == MAP_FAILED) {
		ret = -errno;
		vcpu->run = NULL;
		api_vcpu_close(vcpu);
		return ret;
	}
	return 0;
}

void api_vcpu_close(struct api_vcpu *vcpu)
{
	if (vcpu->run)
		munmap(vcpu->run, 4096);
	if (vcpu->fd >= 0)
		close(vcpu->fd);
	vcpu->run = NULL;
	vcpu->fd = -1;
}

/* -EINTR is news for the caller here: the vCPU left the guest for a signal */
int api_run(struct api_vcpu *vcpu)
{
	return ioctl(vcpu->fd, VMM_RUN, 0) < 0 ? -errno : 0;
}

int api_kick(struct api_vcpu *vcpu)
{
	return api_ioctl(vcpu->fd, VMM_KICK, NULL);
}

int api_get_state(struct api_vcpu *vcpu, struct vmm_state *st, uint32_t mask)
{
	st->mask = mask;
	st->pad = 0;
	return api_ioctl(vcpu->fd, VMM_GET_STATE, st);
}

int api_set_state(struct api_vcpu *vcpu, struct vmm_state *st, uint32_t mask)
{
	st->mask = mask;
	st->pad = 0;
	return api_ioctl(vcpu->fd, VMM_SET_STATE, st);
}

int api_set_cpuid(struct api_vcpu *vcpu, struct vmm_cpuid_entry *e,
		  uint32_t count)
{
	struct vmm_cpuid arg = {
		.count = count,
		.entries = (uintptr_t)e,
	};

	return api_ioctl(vcpu->fd, VMM_SET_CPUID, &arg);
}

int api_get_tsc(struct api_vcpu *vcpu, struct vmm_tsc *t)
{
	return api_ioctl(vcpu->fd, VMM_GET_TSC, t);
}

int api_set_tsc(struct api_vcpu *vcpu, const struct vmm_tsc *t)
{
	struct vmm_tsc arg = *t;

	return api_ioctl(vcpu->fd, VMM_SET_TSC, &arg);
}

int api_inject(struct api_vcpu *vcpu, const struct vmm_inject *inj)
{
	struct vmm_inject arg = *inj;

	return api_ioctl(vcpu->fd, VMM_INJECT, &arg);
}
