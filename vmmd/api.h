/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The one file that makes our ioctls. Every call returns 0 (or what it says)
 * or -errno; the errors are those of vmm(4).
 */
#ifndef VMMD_API_H
#define VMMD_API_H

#include <stdbool.h>
#include <stdint.h>
#include <linux/vmm.h>

struct api_vm {
	int dev;		/* /dev/vmm */
	int fd;
	struct vmm_info info;
};

struct api_vcpu {
	int fd;
	struct vmm_run *run;	/* the run page */
};

/* with one line in err[]: insmod, permission, CPU, ABI version */
int api_open(struct api_vm *vm, char *err, unsigned long errlen);
void api_close(struct api_vm *vm);

int api_get_cpuid(struct api_vm *vm, struct vmm_cpuid_entry *e, uint32_t *count);
int api_map(struct api_vm *vm, uint64_t gpa, uint64_t size, void *hva,
	    uint32_t flags);
int api_unmap(struct api_vm *vm, uint64_t gpa, uint64_t size);
int api_protect(struct api_vm *vm, uint64_t gpa, uint64_t size, uint32_t flags);
int api_msi(struct api_vm *vm, uint64_t address, uint32_t data);
/* the VM's counters: room for *count, which becomes how many there are; -E2BIG */
int api_get_stats(struct api_vm *vm, struct vmm_stat *s, uint32_t *count);
/* writes of any size to that gpa or port add 1 to the eventfd */
int api_bind_doorbell(struct api_vm *vm, bool port, uint64_t addr, int eventfd);
int api_unbind_doorbell(struct api_vm *vm, bool port, uint64_t addr);
/*
 * The module keeps writes of `size` bytes to addr in the VM's ring, and the
 * vCPU runs on; api_ring maps that, NULL: it cannot be had.
 */
int api_coalesce(struct api_vm *vm, bool port, uint64_t addr, uint32_t size);
struct vmm_ring *api_ring(struct api_vm *vm);
void api_ring_free(struct vmm_ring *ring);
/*
 * The eventfd sends the message of the GSI, which may change meanwhile (0, 0:
 * none); its EOI signals `resample` unless that is -1.
 */
int api_set_route(struct api_vm *vm, uint32_t gsi, uint64_t address,
		  uint32_t data);
int api_bind_irq(struct api_vm *vm, uint32_t gsi, int eventfd, int resample);
int api_unbind_irq(struct api_vm *vm, uint32_t gsi);
/* pages that the guest writes in [gpa, gpa + size): track them, find and forget them */
int api_track(struct api_vm *vm, uint64_t gpa, uint64_t size, bool on);
int api_harvest(struct api_vm *vm, uint64_t gpa, uint64_t size, uint64_t *bitmap);
int api_get_clock(struct api_vm *vm, struct vmm_clock *c);
int api_set_clock(struct api_vm *vm, const struct vmm_clock *c);

int api_vcpu_create(struct api_vm *vm, uint32_t id, struct api_vcpu *vcpu);
void api_vcpu_close(struct api_vcpu *vcpu);
int api_run(struct api_vcpu *vcpu);
int api_kick(struct api_vcpu *vcpu);
int api_get_state(struct api_vcpu *vcpu, struct vmm_state *st, uint32_t mask);
int api_set_state(struct api_vcpu *vcpu, struct vmm_state *st, uint32_t mask);
int api_set_cpuid(struct api_vcpu *vcpu, struct vmm_cpuid_entry *e,
		  uint32_t count);
int api_get_tsc(struct api_vcpu *vcpu, struct vmm_tsc *t);
int api_set_tsc(struct api_vcpu *vcpu, const struct vmm_tsc *t);
int api_inject(struct api_vcpu *vcpu, const struct vmm_inject *inj);

#endif
