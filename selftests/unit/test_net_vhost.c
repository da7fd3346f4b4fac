// SPDX-License-Identifier: GPL-2.0
/*
 * What the host's vhost-net is told, and in which order: its device is played here,
 * as strict as the kernel's. And what a tap device does with it and without.
 */
#define _GNU_SOURCE 1		/* unshare */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <linux/vhost.h>
#include <linux/virtio_config.h>
#include <linux/virtio_net.h>
#include <linux/virtio_ring.h>
#include <net/if.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "loop.h"
#include "mem.h"
#include "net/net.h"
#include "net/vhost.h"

#define PAGE		4096ULL
#define PAIRS		2
#define FEATURES	(1ULL << VIRTIO_F_VERSION_1 | 1ULL << VIRTIO_NET_F_MRG_RXBUF | \
			 1ULL << VIRTIO_RING_F_EVENT_IDX)
#define OWN_FEATURES	(1ULL << VHOST_F_LOG_ALL | 1ULL << VHOST_NET_F_VIRTIO_NET_HDR | \
			 1ULL << VIRTIO_F_ACCESS_PLATFORM)

/* ---- the kernel, played ------------------------------------------------------ */

struct kernel_ring {
	unsigned int num, base;
	struct vhost_vring_addr addr;
	int kick, call, error, backend;
};

static struct {
	int open_errno;		/* of the next attempts */
	unsigned int fail_at;	/* which request fails, from 1 on; 0: none */
	unsigned int requests;
	unsigned int opened;
	int fd;			/* the last one */
	bool owned;
	uint64_t features;
	uint64_t log;		/* address */
	size_t nregions;
	struct vhost_memory_region region[8];
	struct kernel_ring ring[VHOST_RINGS];
} kernel;

/* these two replace the C library's, which is what they are for all else */
int open(const char *path, int flags, ...)
{
	va_list ap;
	int mode;

	va_start(ap, flags);
	mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(ap, int) : 0;
	va_end(ap);
	if (strcmp(path, "/dev/vhost-net"))
		return syscall(SYS_openat, AT_FDCWD, path, flags, mode);
	if (kernel.open_errno) {
		errno = kernel.open_errno;
		return -1;
	}
	kernel.opened++;
	kernel.owned = false;
	kernel.fd = eventfd(0, EFD_CLOEXEC);
	return kernel.fd;
}

static int kernel_memory(const struct vhost_memory *table)
{
	assert_true(table->nregions <= 8);
	kernel.nregions = table->nregions;
	memcpy(kernel.region, table->regions, kernel.nregions * sizeof(kernel.region[0]));
	return table->padding ? EOPNOTSUPP : 0;
}

/* of a ring: 0 or errno */
static int kernel_ring(unsigned long request, void *arg)
{
	const struct vhost_vring_file *file = arg;
	struct vhost_vring_state *state = arg;
	struct kernel_ring *r;

	assert_true(state->index < VHOST_RINGS);
	r = &kernel.ring[state->index];
	switch (request) {
	case VHOST_SET_VRING_NUM:
		r->num = state->num;
		return r->backend >= 0 ? EBUSY : 0;
	case VHOST_SET_VRING_BASE:
		r->base = state->num;
		return r->backend >= 0 ? EBUSY : 0;
	case VHOST_GET_VRING_BASE:
		state->num = r->base;
		return 0;
	case VHOST_SET_VRING_ADDR:
		memcpy(&r->addr, arg, sizeof(r->addr));
		assert_true(!r->addr.flags || kernel.log);
		return r->addr.flags & ~(1U << VHOST_VRING_F_LOG) ? EOPNOTSUPP : 0;
	case VHOST_SET_VRING_KICK:
		r->kick = file->fd;
		return 0;
	case VHOST_SET_VRING_CALL:
		r->call = file->fd;
		return 0;
	case VHOST_SET_VRING_ERR:
		r->error = file->fd;
		return 0;
	case VHOST_NET_SET_BACKEND:
		/* nothing of a ring is missing when it begins */
		if (file->fd >= 0)
			assert_true(kernel.nregions && r->num && r->addr.used_user_addr &&
				    r->kick >= 0 && r->call >= 0 && r->error >= 0);
		r->backend = file->fd;
		return 0;
	}
	return ENOTTY;
}

/* does it note what it writes into buffers */
static bool logs(void)
{
	return kernel.features >> VHOST_F_LOG_ALL & 1;
}

static int kernel_request(unsigned long request, void *arg)
{
	if (++kernel.requests == kernel.fail_at)
		return EPERM;
	if (request == VHOST_SET_OWNER) {
		if (kernel.owned)
			return EBUSY;
		kernel.owned = true;
		return 0;
	}
	if (request == VHOST_GET_FEATURES) {
		*(uint64_t *)arg = FEATURES | OWN_FEATURES;
		return 0;
	}
	if (!kernel.owned)
		return EPERM;
	if (request == VHOST_SET_FEATURES) {
		kernel.features = *(uint64_t *)arg;
		assert_true(!logs() || (kernel.log && kernel.nregions));
		return kernel.features & ~(FEATURES | OWN_FEATURES) ? EOPNOTSUPP : 0;
	}
	if (request == VHOST_SET_LOG_BASE) {
		kernel.log = *(uint64_t *)arg;
		return 0;
	}
	if (request == VHOST_SET_MEM_TABLE)
		return kernel_memory(arg);
	return kernel_ring(request, arg);
}

int ioctl(int fd, unsigned long request, ...)
{
	va_list ap;
	void *arg;
	int ret;

	va_start(ap, request);
	arg = va_arg(ap, void *);
	va_end(ap);
	if (_IOC_TYPE(request) != VHOST_VIRTIO)
		return syscall(SYS_ioctl, fd, request, arg);
	ret = kernel_request(request, arg);
	errno = ret;
	return ret ? -1 : 0;
}

static void kernel_new(void)
{
	unsigned int i;

	memset(&kernel, 0, sizeof(kernel));
	for (i = 0; i < VHOST_RINGS; i++)
		kernel.ring[i] = (struct kernel_ring){
			.kick = -1, .call = -1, .error = -1, .backend = -1,
		};
}

static bool kernel_is_quiet(void)
{
	unsigned int i;

	for (i = 0; i < VHOST_RINGS; i++)
		if (kernel.ring[i].backend >= 0 || kernel.ring[i].kick >= 0 ||
		    kernel.ring[i].call >= 0 || kernel.ring[i].error >= 0)
			return false;
	return true;
}

/* ---- a pair of rings --------------------------------------------------------- */

struct fixture {
	struct vhost vhost;
	struct mem *mem;
	struct ring_loan ring[VHOST_RINGS];
	uint64_t features;
};

static int setup(void **state)
{
	static struct fixture f;
	static uint8_t rom[PAGE];
	unsigned int i;

	kernel_new();
	f = (struct fixture){ .mem = mem_new(NULL), .vhost.fd = -1 };
	if (mem_add_ram(f.mem, 0, 4 * PAGE, "low") ||
	    mem_add_rom(f.mem, 4 * PAGE, rom, PAGE, "rom") ||
	    mem_add_ram(f.mem, 1ULL << 32, 2 * PAGE, "high"))
		return -1;
	for (i = 0; i < VHOST_RINGS; i++)
		f.ring[i] = (struct ring_loan){
			.desc = mem_ptr(f.mem, i * PAGE, 1),
			.avail = mem_ptr(f.mem, i * PAGE + 1024, 1),
			.used = mem_ptr(f.mem, i * PAGE + 2048, 1),
			.used_gpa = i * PAGE + 2048,
			.size = 64 << i,
			.next = 7 + i,
			.kick = 100 + i, .call = 110 + i, .error = 120 + i,
		};
	*state = &f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	vhost_close(&f->vhost);
	mem_free(f->mem);
	return 0;
}

static void starts_and_stops(void **state)
{
	struct fixture *f = *state;
	unsigned int i;

	assert_int_equal(vhost_open(&f->vhost, &f->features), 0);
	/* what it means to us, not to the driver, is not among them */
	assert_int_equal(f->features, FEATURES);
	assert_int_equal(vhost_start(&f->vhost, f->mem, f->ring, FEATURES, 5, NULL), 0);
	assert_int_equal(kernel.features, FEATURES);
	assert_int_equal(kernel.nregions, 2);		/* ROM is not written to */
	for (i = 0; i < 2; i++) {
		uint64_t gpa = i ? 1ULL << 32 : 0;

		assert_int_equal(kernel.region[i].guest_phys_addr, gpa);
		assert_int_equal(kernel.region[i].memory_size, (i ? 2 : 4) * PAGE);
		assert_int_equal(kernel.region[i].userspace_addr,
				 (uintptr_t)mem_ptr(f->mem, gpa, 1));
	}
	for (i = 0; i < VHOST_RINGS; i++) {
		const struct kernel_ring *r = &kernel.ring[i];

		assert_int_equal(r->num, f->ring[i].size);
		assert_int_equal(r->base, 7 + i);
		assert_int_equal(r->addr.desc_user_addr, (uintptr_t)f->ring[i].desc);
		assert_int_equal(r->addr.avail_user_addr, (uintptr_t)f->ring[i].avail);
		assert_int_equal(r->addr.used_user_addr, (uintptr_t)f->ring[i].used);
		assert_int_equal(r->kick, 100 + i);
		assert_int_equal(r->call, 110 + i);
		assert_int_equal(r->error, 120 + i);
		assert_int_equal(r->backend, 5);
	}
	kernel.ring[VHOST_RX].base = 1000;
	kernel.ring[VHOST_TX].base = 2;
	vhost_stop(&f->vhost, f->ring);
	assert_true(kernel_is_quiet());
	assert_int_equal(f->ring[VHOST_RX].next, 1000);
	assert_int_equal(f->ring[VHOST_TX].next, 2);
	/* again, from there on; the table is known */
	kernel.region[0].memory_size = 0;
	assert_int_equal(vhost_start(&f->vhost, f->mem, f->ring, FEATURES, 5, NULL), 0);
	assert_int_equal(kernel.ring[VHOST_RX].base, 1000);
	assert_int_equal(kernel.region[0].memory_size, 0);
	vhost_stop(&f->vhost, f->ring);
}

/* whatever it refuses: an error, nothing runs, and another attempt may work */
static void refuses(void **state)
{
	struct fixture *f = *state;
	unsigned int n, wanted;

	assert_int_equal(vhost_open(&f->vhost, &f->features), 0);
	kernel.requests = 0;
	assert_int_equal(vhost_start(&f->vhost, f->mem, f->ring, FEATURES, 5, NULL), 0);
	wanted = kernel.requests;
	vhost_stop(&f->vhost, f->ring);
	assert_true(wanted > 10);
	for (n = 1; n <= wanted; n++) {
		vhost_close(&f->vhost);
		kernel_new();
		assert_int_equal(vhost_open(&f->vhost, &f->features), 0);
		f->ring[VHOST_RX].next = 3;
		f->ring[VHOST_TX].next = 4;
		kernel.requests = 0;
		kernel.fail_at = n;
		assert_int_equal(vhost_start(&f->vhost, f->mem, f->ring, FEATURES, 5, NULL),
				 -EPERM);
		assert_true(kernel_is_quiet());
		assert_int_equal(f->ring[VHOST_RX].next, 3);
		assert_int_equal(f->ring[VHOST_TX].next, 4);
		assert_int_equal(vhost_start(&f->vhost, f->mem, f->ring, FEATURES, 5, NULL), 0);
		vhost_stop(&f->vhost, f->ring);
	}
	assert_int_equal(vhost_start(&f->vhost, f->mem, f->ring, 1ULL << 34, 5,
				     NULL),
			 -EOPNOTSUPP);
}

/* into buffers and into rings */
static bool logs_all(void)
{
	unsigned int i, rings = 0;

	for (i = 0; i < VHOST_RINGS; i++)
		rings += kernel.ring[i].addr.flags == 1U << VHOST_VRING_F_LOG;
	assert_int_equal(rings, logs() ? VHOST_RINGS : 0);
	return rings;
}

/* as if the kernel had written there */
static void kernel_writes(uint64_t gpa)
{
	uint64_t *bits = (uint64_t *)(uintptr_t)kernel.log;

	bits[gpa / PAGE / 64] |= 1ULL << gpa / PAGE % 64;
}

/* the pages of a region that are known to be written: 64 are enough here */
static uint64_t written(struct mem *mem, unsigned int region)
{
	uint64_t bits = 0;

	assert_true(mem_harvest(mem, region, &bits) >= 0);
	return bits;
}

static void notes_what_it_writes(void **state)
{
	struct fixture *f = *state;
	struct vhost_log log = { 0 };
	unsigned int n;

	assert_int_equal(vhost_open(&f->vhost, &f->features), 0);
	assert_int_equal(mem_track(f->mem, true), 0);
	assert_int_equal(vhost_log_new(&log, f->mem), 0);
	assert_int_equal(vhost_start(&f->vhost, f->mem, f->ring, FEATURES, 5, NULL), 0);
	assert_false(logs_all());
	/* while it runs, and from a start on */
	assert_int_equal(vhost_log_begin(&f->vhost, &log), 0);
	for (n = 0; n < 2; n++) {
		assert_true(logs_all());
		assert_int_equal(kernel.log, (uintptr_t)log.bits);
		assert_int_equal(kernel.features & FEATURES, FEATURES);
		assert_int_equal(kernel.ring[n].addr.log_guest_addr, f->ring[n].used_gpa);
		assert_int_equal(kernel.ring[n].addr.desc_user_addr,
				 (uintptr_t)f->ring[n].desc);
		vhost_stop(&f->vhost, f->ring);
		assert_int_equal(vhost_start(&f->vhost, f->mem, f->ring, FEATURES, 5,
					     &log), 0);
	}
	/* the next harvest knows of it, once; what is no RAM does not count */
	kernel_writes(3 * PAGE);
	kernel_writes(4 * PAGE);
	kernel_writes(9 * PAGE);
	kernel_writes((1ULL << 32) + PAGE);
	vhost_log_take(&log, f->mem);
	assert_int_equal(written(f->mem, 0), 1 << 3);
	assert_int_equal(written(f->mem, 2), 1 << 1);
	vhost_log_take(&log, f->mem);
	assert_int_equal(written(f->mem, 0) | written(f->mem, 2), 0);
	vhost_stop(&f->vhost, f->ring);
	assert_int_equal(vhost_start(&f->vhost, f->mem, f->ring, FEATURES, 5, NULL), 0);
	assert_false(logs_all());
	for (n = 1; n <= 4; n++) {
		f->vhost.logs = false;
		kernel.requests = 0;
		kernel.fail_at = n;
		assert_int_equal(vhost_log_begin(&f->vhost, &log), -EPERM);
	}
	vhost_stop(&f->vhost, f->ring);
	vhost_log_free(&log);
}

static void does_not_open(void **state)
{
	struct fixture *f = *state;

	kernel.open_errno = ENOENT;
	assert_int_equal(vhost_open(&f->vhost, &f->features), -ENOENT);
	assert_int_equal(f->vhost.fd, -1);
	kernel.open_errno = 0;
	for (kernel.fail_at = 1; kernel.fail_at <= 2; kernel.fail_at++) {
		kernel.requests = 0;
		assert_int_equal(vhost_open(&f->vhost, &f->features), -EPERM);
		assert_int_equal(f->vhost.fd, -1);
		assert_int_equal(f->features, 0);
		assert_int_equal(fcntl(kernel.fd, F_GETFD), -1);
	}
}

/* ---- a tap device -------------------------------------------------------------- */

static struct net *open_tap(struct loop *loop, enum net_vhost vhost, char err[256])
{
	const struct net_tap_opts o = { "tap0", PAIRS, false, vhost };

	return net_tap_new(loop, &o, err, 256);
}

/* in a child with a network of its own; 77: none can be had */
static int on_a_tap(void)
{
	pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
	struct ifreq ifr = {
		.ifr_name = "tap0",
		.ifr_flags = IFF_TAP | IFF_NO_PI | IFF_MULTI_QUEUE,
	};
	struct ring_loan ring[2];
	struct fixture *f;
	char err[256] = "";
	struct loop *loop;
	struct net *net;
	int fd;

	if (unshare(CLONE_NEWNET) < 0)
		return 77;
	fd = open("/dev/net/tun", O_RDWR);
	if (fd < 0 || ioctl(fd, TUNSETIFF, &ifr) < 0 || ioctl(fd, TUNSETPERSIST, 1) < 0)
		return 77;
	close(fd);
	if (setup((void **)&f))
		return 1;
	loop = loop_new(&lock);
	net = open_tap(loop, NET_VHOST_OFF, err);
	if (!net || net->lend || kernel.opened)
		return 2;
	net->ops->free(net);
	kernel.open_errno = ENOENT;
	net = open_tap(loop, NET_VHOST_AUTO, err);
	if (!net || net->lend)
		return 3;
	net->ops->free(net);
	if (open_tap(loop, NET_VHOST_ON, err) || !strstr(err, "modprobe vhost_net") ||
	    strchr(err, '\n'))
		return 4;
	kernel.open_errno = EACCES;
	if (open_tap(loop, NET_VHOST_ON, err) || !strstr(err, "no permission"))
		return 5;
	kernel.open_errno = 0;
	net = open_tap(loop, NET_VHOST_ON, err);
	if (!net || net->lend != FEATURES || kernel.opened != PAIRS)
		return 6;
	net->mem = f->mem;
	memcpy(ring, f->ring, sizeof(ring));
	/* its own descriptor of the device, which is another for each pair */
	if (net->ops->start(net, 1, ring, FEATURES) || kernel.ring[0].backend < 0)
		return 7;
	fd = kernel.ring[0].backend;
	kernel.ring[1].base = 55;
	/* memory is not tracked, and then it is */
	if (net->ops->wrote(net) || logs_all() || mem_track(f->mem, true) ||
	    net->ops->wrote(net) || !logs_all())
		return 10;
	kernel_writes(2 * PAGE);
	if (net->ops->wrote(net) || written(f->mem, 0) != 1 << 2)
		return 11;
	kernel_writes(PAGE);
	net->ops->stop(net, 1, ring);
	if (!kernel_is_quiet() || ring[1].next != 55 || written(f->mem, 0) != 1 << 1)
		return 8;
	if (net->ops->start(net, 0, ring, FEATURES) || kernel.ring[0].backend == fd ||
	    !logs_all())
		return 9;
	net->ops->stop(net, 0, ring);
	net->ops->free(net);
	loop_free(loop);
	teardown((void **)&f);
	return 0;
}

static void tap_device(void **state)
{
	int status;
	pid_t pid;

	(void)state;
	fflush(NULL);
	pid = fork();
	if (!pid)
		_exit(on_a_tap());
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	if (WEXITSTATUS(status) == 77)
		skip();
	assert_int_equal(WEXITSTATUS(status), 0);
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(starts_and_stops),
		T(refuses),
		T(notes_what_it_writes),
		T(does_not_open),
		cmocka_unit_test(tap_device),
	};

	return cmocka_run_group_tests_name("net_vhost", tests, NULL, NULL);
}
