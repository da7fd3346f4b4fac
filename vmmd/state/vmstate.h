/* SPDX-License-Identifier: GPL-2.0 */
/*
 * A VM as sections, all but the pages of its memory and its disk. What begins a
 * state says how to make such a VM; the rest is loaded into that:
 *
 *   vmm-state  who and when, and on what host
 *   options    the machine, as options_text
 *   firmware   unless the machine boots a kernel
 *   cpuid      for each vCPU
 *   memory     where RAM and ROM are
 *   pages ...  later ones replace earlier ones; here and between what follows
 *   device     for each
 *   clock
 *   vcpu       for each vCPU
 *   end        nothing was left out
 */
#ifndef VMMD_STATE_VMSTATE_H
#define VMMD_STATE_VMSTATE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <linux/vmm.h>

#include "state/section.h"
#include "vm.h"

#define STATE_ID	16		/* bytes */
#define STATE_RANGES	8

/* body of "vmm-state" */
struct state_ident {
	uint8_t id[STATE_ID];		/* random */
	uint8_t parent[STATE_ID];	/* what this is the difference to; or zeroes */
	uint64_t created;		/* CLOCK_REALTIME, ns */
	uint32_t vendor;		/* enum vmm_vendor */
	uint32_t tsc_khz;
	uint32_t vcpus;
	uint32_t abi_version;		/* VMM_ABI_VERSION */
};

struct state_range {
	uint64_t gpa;
	uint64_t size;
	uint32_t rom;
	uint32_t pad;
};

struct state_cpuid {
	uint32_t count;
	struct vmm_cpuid_entry *entry;
};

/* the beginning of a state, read */
struct vmstate {
	struct state_ident ident;
	char *text;			/* options_text */
	size_t text_len;
	uint8_t *firmware;
	size_t firmware_size;
	struct state_cpuid *cpuid;	/* array of ident.vcpus */
	struct state_range range[STATE_RANGES];
	unsigned int nranges;
};

/*
 * Saving: begin may come while the VM runs; end with the lock held, all vCPUs
 * paused, and before the last harvest of pages. 0 or -errno.
 */
int vmstate_save_begin(struct vm *vm, struct sink *out,
		       const struct state_ident *ident);
int vmstate_save_end(struct vm *vm, struct sink *out);
/* after that, and the last pages */
int vmstate_put_end(struct sink *out);
/* a new id; parent NULL: none */
void vmstate_identify(struct vm *vm, struct state_ident *ident,
		      const uint8_t *parent);

/*
 * Loading: read the beginning, up to and with "memory". 0 or -errno with one line
 * in err[]; to be freed in either case.
 */
int vmstate_read(struct source *in, struct vmstate *st, char *err, size_t errlen);
void vmstate_free(struct vmstate *st);
/* could a VM with these CPUs run here; -ENOTSUP, with the first thing that is not */
int vmstate_check_host(const struct vmstate *st, const struct vmm_info *info,
		       const struct vmm_cpuid_entry *host, uint32_t count,
		       char *err, size_t errlen);
/* is its memory laid out as this VM's */
int vmstate_check_memory(const struct vmstate *st, struct mem *mem,
			 const char *name, char *err, size_t errlen);

/*
 * The rest, into a VM that was made from the beginning and never ran: call for
 * each section whose head was read, other than "pages". vmstate_loader_done: was
 * that all of it.
 */
struct vmstate_loader {
	struct vm *vm;
	uint64_t vcpus;			/* loaded; a bit each */
	uint64_t devices;
	struct vmm_clock clock;		/* when it was saved */
	bool has_clock;
	bool ended;
};

int vmstate_load(struct vmstate_loader *l, struct source *in, char *err,
		 size_t errlen);
int vmstate_load_done(const struct vmstate_loader *l, const char *name, char *err,
		      size_t errlen);

#endif
