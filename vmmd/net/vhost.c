// SPDX-License-Identifier: GPL-2.0
/*
 * vhost-net, as linux/vhost.h has it. The kernel finds rings by our addresses and
 * buffers by the guest's, in a table of RAM: a descriptor that points to ROM or to
 * nothing is an error there as it is here. Its thread uses this process's memory
 * as we do, so whatever Linux does with that (swap, huge pages, balloon) holds.
 *
 * Where a used ring begins is not told but read from the ring, where it is what it
 * is in struct virtqueue, as nothing is in flight at either end of a loan.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/vhost.h>
#include <linux/virtio_config.h>
#include <linux/virtio_net.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "mem.h"
#include "net/vhost.h"

#define LOG_PAGE	4096ULL

/* the device puts the header there, VHOST_NET_F_VIRTIO_NET_HDR would add one */
#define VHOST_OWN_BITS	(1ULL << VHOST_F_LOG_ALL | 1ULL << VHOST_NET_F_VIRTIO_NET_HDR | \
			 1ULL << VIRTIO_F_ACCESS_PLATFORM)

static int vhost_ioctl(const struct vhost *vhost, unsigned long request, void *arg)
{
	return ioctl(vhost->fd, request, arg) < 0 ? -errno : 0;
}

int vhost_open(struct vhost *vhost, uint64_t *features)
{
	int ret;

	*features = 0;
	vhost->has_memory = false;
	vhost->fd = open("/dev/vhost-net", O_RDWR | O_CLOEXEC);
	if (vhost->fd < 0)
		return -errno;
	/* its thread is made here, and has the CPUs and the name of the caller */
	ret = vhost_ioctl(vhost, VHOST_SET_OWNER, NULL);
	if (!ret)
		ret = vhost_ioctl(vhost, VHOST_GET_FEATURES, features);
	*features &= ~VHOST_OWN_BITS;
	if (ret)
		vhost_close(vhost);
	return ret;
}

void vhost_close(struct vhost *vhost)
{
	if (vhost->fd >= 0)
		close(vhost->fd);
	vhost->fd = -1;
}

/* ---- memory --------------------------------------------------------------- */

/* not before there is any */
static int vhost_set_memory(struct vhost *vhost, const struct mem *mem)
{
	unsigned int i, n = mem_regions(mem);
	struct vhost_memory *table;
	struct mem_info r;
	int ret;

	table = calloc(1, sizeof(*table) + n * sizeof(table->regions[0]));
	if (!table)
		return -ENOMEM;
	for (i = 0; i < n; i++) {
		r = mem_region(mem, i);
		if (r.rom)
			continue;
		table->regions[table->nregions++] = (struct vhost_memory_region){
			.guest_phys_addr = r.gpa,
			.memory_size = r.size,
			.userspace_addr = (uintptr_t)r.hva,
		};
	}
	ret = vhost_ioctl(vhost, VHOST_SET_MEM_TABLE, table);
	free(table);
	vhost->has_memory = !ret;
	return ret;
}

/* ---- rings ---------------------------------------------------------------- */

static int vhost_set_fd(const struct vhost *vhost, unsigned long request,
			unsigned int n, int fd)
{
	struct vhost_vring_file file = { .index = n, .fd = fd };

	return vhost_ioctl(vhost, request, &file);
}

static int vhost_set_features(const struct vhost *vhost, bool log)
{
	uint64_t features = vhost->features | (log ? 1ULL << VHOST_F_LOG_ALL : 0);

	return vhost_ioctl(vhost, VHOST_SET_FEATURES, &features);
}

static int vhost_set_addr(const struct vhost *vhost, unsigned int n)
{
	const struct ring_loan *ring = &vhost->ring[n];
	struct vhost_vring_addr addr = {
		.index = n,
		.flags = vhost->logs ? 1U << VHOST_VRING_F_LOG : 0,
		.desc_user_addr = (uintptr_t)ring->desc,
		.avail_user_addr = (uintptr_t)ring->avail,
		.used_user_addr = (uintptr_t)ring->used,
		.log_guest_addr = ring->used_gpa,
	};

	return vhost_ioctl(vhost, VHOST_SET_VRING_ADDR, &addr);
}

static int vhost_set_ring(const struct vhost *vhost, unsigned int n)
{
	const struct ring_loan *ring = &vhost->ring[n];
	struct vhost_vring_state num = { .index = n, .num = ring->size };
	struct vhost_vring_state base = { .index = n, .num = ring->next };
	int ret = vhost_ioctl(vhost, VHOST_SET_VRING_NUM, &num);

	if (!ret)
		ret = vhost_ioctl(vhost, VHOST_SET_VRING_BASE, &base);
	if (!ret)
		ret = vhost_set_addr(vhost, n);
	if (!ret)
		ret = vhost_set_fd(vhost, VHOST_SET_VRING_ERR, n, ring->error);
	if (!ret)
		ret = vhost_set_fd(vhost, VHOST_SET_VRING_CALL, n, ring->call);
	if (!ret)
		ret = vhost_set_fd(vhost, VHOST_SET_VRING_KICK, n, ring->kick);
	return ret;
}

/* ---- the log of what it writes -------------------------------------------- */

/* into buffers, as the features say; used rings have a flag of their own */
static int vhost_log_buffers(struct vhost *vhost, const struct vhost_log *log)
{
	uint64_t base = (uintptr_t)log->bits;
	int ret = vhost_ioctl(vhost, VHOST_SET_LOG_BASE, &base);

	return ret ? ret : vhost_set_features(vhost, true);
}

int vhost_log_begin(struct vhost *vhost, const struct vhost_log *log)
{
	unsigned int n;
	int ret;

	if (vhost->logs)
		return 0;
	ret = vhost_log_buffers(vhost, log);
	vhost->logs = !ret;
	for (n = 0; n < VHOST_RINGS && !ret; n++)
		ret = vhost_set_addr(vhost, n);
	return ret;
}

int vhost_log_new(struct vhost_log *log, const struct mem *mem)
{
	unsigned int n = mem_regions(mem);
	struct mem_info last;
	void *bits;

	if (!n)
		return -EINVAL;
	last = mem_region(mem, n - 1);
	log->len = ((last.gpa + last.size) / LOG_PAGE + 63) / 64 * sizeof(uint64_t);
	/* nothing but zeroes where there is no RAM */
	bits = mmap(NULL, log->len, PROT_READ | PROT_WRITE,
		    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (bits == MAP_FAILED)
		return -errno;
	log->bits = bits;
	return 0;
}

void vhost_log_free(struct vhost_log *log)
{
	if (log->bits)
		munmap(log->bits, log->len);
	log->bits = NULL;
}

static void log_take_word(uint64_t *word, uint64_t gpa, struct mem *mem)
{
	uint64_t bits = __atomic_load_n(word, __ATOMIC_RELAXED);

	if (bits)
		bits = __atomic_exchange_n(word, 0, __ATOMIC_SEQ_CST);
	for (; bits; bits &= bits - 1)
		mem_wrote(mem, gpa + __builtin_ctzll(bits) * LOG_PAGE, LOG_PAGE);
}

void vhost_log_take(struct vhost_log *log, struct mem *mem)
{
	unsigned int i, n = log->bits ? mem_regions(mem) : 0;
	const uint64_t step = 64 * LOG_PAGE;
	struct mem_info r;
	uint64_t gpa;

	for (i = 0; i < n; i++) {
		r = mem_region(mem, i);
		if (r.rom)
			continue;
		for (gpa = r.gpa / step * step; gpa < r.gpa + r.size; gpa += step)
			log_take_word(&log->bits[gpa / step], gpa, mem);
	}
}

/* ---- from start to stop ---------------------------------------------------- */

/* its kick is not heard any more, and nobody is told of anything */
static void vhost_leave(const struct vhost *vhost)
{
	unsigned int n;

	for (n = 0; n < VHOST_RINGS; n++) {
		vhost_set_fd(vhost, VHOST_SET_VRING_KICK, n, -1);
		vhost_set_fd(vhost, VHOST_SET_VRING_CALL, n, -1);
		vhost_set_fd(vhost, VHOST_SET_VRING_ERR, n, -1);
	}
}

int vhost_start(struct vhost *vhost, const struct mem *mem,
		struct ring_loan ring[VHOST_RINGS], uint64_t features, int tap,
		const struct vhost_log *log)
{
	unsigned int n;
	int ret = vhost->has_memory ? 0 : vhost_set_memory(vhost, mem);

	memcpy(vhost->ring, ring, sizeof(vhost->ring));
	vhost->features = features;
	if (!ret)
		ret = log ? vhost_log_buffers(vhost, log) : vhost_set_features(vhost, false);
	vhost->logs = log;
	for (n = 0; n < VHOST_RINGS && !ret; n++)
		ret = vhost_set_ring(vhost, n);
	if (ret) {
		vhost_leave(vhost);
		return ret;
	}
	/* here the first begins, whatever comes of the second */
	for (n = 0; n < VHOST_RINGS && !ret; n++)
		ret = vhost_set_fd(vhost, VHOST_NET_SET_BACKEND, n, tap);
	if (ret)
		vhost_stop(vhost, ring);
	return ret;
}

void vhost_stop(struct vhost *vhost, struct ring_loan ring[VHOST_RINGS])
{
	struct vhost_vring_state base;
	unsigned int n;

	/* waits until the thread is done with what it took */
	for (n = 0; n < VHOST_RINGS; n++)
		vhost_set_fd(vhost, VHOST_NET_SET_BACKEND, n, -1);
	for (n = 0; n < VHOST_RINGS; n++) {
		base = (struct vhost_vring_state){ .index = n };
		if (!vhost_ioctl(vhost, VHOST_GET_VRING_BASE, &base))
			ring[n].next = base.num;
	}
	vhost_leave(vhost);
}
