// SPDX-License-Identifier: GPL-2.0
/*
 * virtio block device (virtio 1.2, 5.2). A request is parsed and handed to
 * block.h in the thread that sees the notification; it is answered there if the
 * host had it at hand, else in the loop's. A failed request is an I/O error to
 * the guest and a line on stderr.
 *
 * Queues differ in who rings and who is interrupted only: all are served by the
 * one ring of block.h, and a batch of answers is one interrupt for each.
 */
#include <assert.h>
#include <errno.h>
#include <linux/virtio_blk.h>
#include <linux/virtio_ids.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "block/block.h"
#include "iov.h"
#include "loop.h"
#include "mem.h"
#include "virtio/virtio_blk.h"
#include "virtio/virtio_pci.h"

#define BLK_SECTOR	512
#define BLK_QUEUE	VQ_SIZE_MAX
#define BLK_SEG_MAX	(BLK_QUEUE - 2)		/* header and status */
#define BLK_SIZE_MAX	(64 * 1024U)		/* bytes of a segment */
#define BLK_DATA_MAX	((uint64_t)BLK_SEG_MAX * BLK_SIZE_MAX)
#define BLK_RANGE_MAX	(256 * 1024 * 1024U / BLK_SECTOR) /* to discard, zero */

static_assert(VIRTIO_BLK_QUEUES_MAX <= VIRTIO_QUEUES_MAX &&
	      VIRTIO_BLK_QUEUES_MAX <= 32, "a bit each in 32");

struct virtio_blk;

struct blk_request {
	struct block_req io;
	struct virtio_blk *blk;
	unsigned int q;			/* it came from this queue */
	uint32_t type;
	uint32_t written;		/* what the used ring says, bytes */
	uint8_t *status;		/* in guest memory */
	struct vq_chain chain;
	bool out;			/* with the host */
	struct blk_request *next;	/* free list */
};

struct virtio_blk {
	struct virtio_dev vdev;
	struct block *block;
	struct virtio_blk_config config;
	struct loop_timer *more;
	uint32_t more_queues;		/* held more than one batch; a bit each */
	uint32_t answered;		/* have answers not signalled; a bit each */
	struct blk_request *free;
	/* as many as can be in flight; memory is touched as they are needed */
	struct blk_request *request;
	unsigned int nused;
};

/* ---- answers -------------------------------------------------------------- */

static void blk_put(struct blk_request *r)
{
	r->out = false;
	r->next = r->blk->free;
	r->blk->free = r;
}

static void blk_release(struct blk_request *r)
{
	struct virtio_blk *blk = r->blk;

	vq_push(&blk->vdev.vq[r->q], r->chain.head, r->written);
	blk->answered |= 1U << r->q;
	blk_put(r);
}

static void blk_answer(struct blk_request *r, uint8_t status)
{
	*r->status = status;
	blk_release(r);
}

/* after a batch: one interrupt for each queue, if the driver wants it */
static void blk_signal(void *owner)
{
	struct virtio_blk *blk = owner;
	uint32_t queues = blk->answered;

	blk->answered = 0;
	for (; queues; queues &= queues - 1)
		virtio_signal(&blk->vdev, __builtin_ctz(queues));
}

static const char *blk_name(const struct blk_request *r)
{
	switch (r->type) {
	case VIRTIO_BLK_T_IN:
		return "read";
	case VIRTIO_BLK_T_OUT:
		return "write";
	case VIRTIO_BLK_T_FLUSH:
		return "flush";
	case VIRTIO_BLK_T_DISCARD:
		return "discard";
	}
	return "write of zeroes";
}

static void blk_report(struct blk_request *r, int error)
{
	virtio_report(&r->blk->vdev,
		      "%s: %s of %llu bytes at %llu failed: %s; the guest got an I/O error%s",
		      block_path(r->blk->block), blk_name(r),
		      (unsigned long long)r->io.len,
		      (unsigned long long)r->io.offset, strerror(error),
		      error == ENOSPC || error == EDQUOT ?
		      ", make room on the host's file system" : "");
}

static void blk_done(struct block_req *io, int result)
{
	struct blk_request *r = io->owner;
	struct virtio_blk *blk = r->blk;
	uint8_t status = VIRTIO_BLK_S_OK;

	/* 5.2.6.2: a driver that cannot flush gets writes through */
	if (!result && io->op == BLOCK_WRITE &&
	    !virtio_has_feature(&blk->vdev, VIRTIO_BLK_F_FLUSH)) {
		io->op = BLOCK_FLUSH;
		block_submit(blk->block, io);
		return;
	}
	if (result == -EOPNOTSUPP) {
		status = VIRTIO_BLK_S_UNSUPP;
	} else if (result) {
		blk_report(r, -result);
		status = VIRTIO_BLK_S_IOERR;
	}
	blk_answer(r, status);
}

/* ---- requests ------------------------------------------------------------- */

static void blk_submit(struct blk_request *r, enum block_op op)
{
	r->io.op = op;
	block_submit(r->blk->block, &r->io);
}

/* is [sector, + len bytes) on the disk */
static bool blk_in_range(const struct virtio_blk *blk, uint64_t sector,
			 uint64_t len)
{
	uint64_t sectors = len / BLK_SECTOR;

	return sector <= blk->config.capacity &&
	       sectors <= blk->config.capacity - sector;
}

static void blk_transfer(struct blk_request *r, uint64_t sector, bool write)
{
	struct vq_chain *c = &r->chain;
	uint64_t len = write ? c->out_len : c->in_len;

	if (!len || len % BLK_SECTOR || len > BLK_DATA_MAX ||
	    !blk_in_range(r->blk, sector, len) ||
	    (write && block_read_only(r->blk->block))) {
		blk_answer(r, VIRTIO_BLK_S_IOERR);
		return;
	}
	r->io.offset = sector * BLK_SECTOR;
	r->io.len = len;
	r->io.iov = write ? c->out : c->in;
	r->io.niov = write ? c->nout : c->nin;
	if (!write)
		r->written += len;
	blk_submit(r, write ? BLOCK_WRITE : BLOCK_READ);
}

/* discard and write zeroes: one range, as max_*_seg promises */
static void blk_range(struct blk_request *r, bool discard)
{
	struct virtio_blk_discard_write_zeroes range;
	struct vq_chain *c = &r->chain;
	uint32_t allowed = discard ? 0 : VIRTIO_BLK_WRITE_ZEROES_FLAG_UNMAP;

	if (c->out_len != sizeof(range) ||
	    !virtio_has_feature(&r->blk->vdev, discard ? VIRTIO_BLK_F_DISCARD :
				VIRTIO_BLK_F_WRITE_ZEROES)) {
		blk_answer(r, VIRTIO_BLK_S_UNSUPP);
		return;
	}
	iov_read(c->out, c->nout, 0, &range, sizeof(range));
	if (range.flags & ~allowed) {
		blk_answer(r, VIRTIO_BLK_S_UNSUPP);
		return;
	}
	r->io.offset = range.sector * BLK_SECTOR;
	r->io.len = (uint64_t)range.num_sectors * BLK_SECTOR;
	if (!r->io.len || range.num_sectors > BLK_RANGE_MAX ||
	    !blk_in_range(r->blk, range.sector, r->io.len)) {
		blk_answer(r, VIRTIO_BLK_S_IOERR);
		return;
	}
	r->io.may_unmap = range.flags & VIRTIO_BLK_WRITE_ZEROES_FLAG_UNMAP;
	blk_submit(r, discard ? BLOCK_DISCARD : BLOCK_WRITE_ZEROES);
}

static void blk_get_id(struct blk_request *r)
{
	char id[VIRTIO_BLK_ID_BYTES] = { 0 };

	snprintf(id, sizeof(id), "vmm-disk-%02x", r->blk->vdev.pci.devfn);
	r->written += iov_write(r->chain.in, r->chain.nin, 0, id, sizeof(id));
	blk_answer(r, VIRTIO_BLK_S_OK);
}

/* 5.2.6: a header, data, and a status byte at the very end */
static bool blk_parse(struct blk_request *r, struct virtio_blk_outhdr *hdr)
{
	struct vq_chain *c = &r->chain;

	r->status = iov_last_byte(c->in, c->nin);
	if (c->out_len < sizeof(*hdr) || !r->status) {
		virtio_fail(&r->blk->vdev,
			    "a request without %s; the device stops until the guest resets it",
			    r->status ? "header" : "status byte");
		return false;
	}
	iov_read(c->out, c->nout, 0, hdr, sizeof(*hdr));
	iov_drop_front(&c->out, &c->nout, sizeof(*hdr));
	iov_drop_back(c->in, &c->nin, 1);
	c->out_len -= sizeof(*hdr);
	c->in_len -= 1;
	return true;
}

static void blk_handle(struct blk_request *r)
{
	struct virtio_blk_outhdr hdr;

	if (!blk_parse(r, &hdr)) {
		blk_release(r);
		return;
	}
	r->io.offset = 0;
	r->io.len = 0;
	r->type = hdr.type;
	r->written = 1;
	switch (hdr.type) {
	case VIRTIO_BLK_T_IN:
	case VIRTIO_BLK_T_OUT:
		blk_transfer(r, hdr.sector, hdr.type == VIRTIO_BLK_T_OUT);
		break;
	case VIRTIO_BLK_T_FLUSH:
		blk_submit(r, BLOCK_FLUSH);
		break;
	case VIRTIO_BLK_T_GET_ID:
		blk_get_id(r);
		break;
	case VIRTIO_BLK_T_DISCARD:
	case VIRTIO_BLK_T_WRITE_ZEROES:
		blk_range(r, hdr.type == VIRTIO_BLK_T_DISCARD);
		break;
	default:
		blk_answer(r, VIRTIO_BLK_S_UNSUPP);
	}
}

/* never runs out: a queue has BLK_QUEUE entries */
static struct blk_request *blk_get(struct virtio_blk *blk)
{
	struct blk_request *r = blk->free;

	if (r) {
		blk->free = r->next;
		return r;
	}
	r = &blk->request[blk->nused++];
	r->blk = blk;
	r->io.done = blk_done;
	r->io.owner = r;
	return r;
}

/* take up to max requests to the host in one go; returns how many */
static unsigned int blk_batch(struct virtio_blk *blk, unsigned int q,
			      unsigned int max)
{
	struct blk_request *r;
	unsigned int n;

	block_plug(blk->block);
	for (n = 0; n < max; n++) {
		r = blk_get(blk);
		if (virtio_pop(&blk->vdev, q, &r->chain) <= 0) {
			blk_put(r);
			break;
		}
		r->q = q;
		r->out = true;
		blk_handle(r);
	}
	block_unplug(blk->block);
	return n;
}

static void blk_notify(void *owner, unsigned int q)
{
	struct virtio_blk *blk = owner;
	struct virtqueue *vq = &blk->vdev.vq[q];
	/* one queue's worth: a guest that refills it cannot keep us here */
	unsigned int n, left = BLK_QUEUE;
	bool more;

	vq_refuse_notify(vq);
	/* what came while the host worked needs no notification of its own */
	do {
		n = blk_batch(blk, q, left);
		left -= n;
		more = !left || vq_want_notify(vq, vq_pos(vq));
	} while (more && left && n);
	/* those that never reached the block */
	blk_signal(blk);
	if (!more || !virtio_running(&blk->vdev))
		return;
	blk->more_queues |= 1U << q;
	loop_timer_arm(blk->more, loop_now());
}

static void blk_more(void *owner)
{
	struct virtio_blk *blk = owner;
	uint32_t queues = blk->more_queues;

	blk->more_queues = 0;
	for (; queues; queues &= queues - 1)
		blk_notify(blk, __builtin_ctz(queues));
}

static void blk_quiesce(void *owner)
{
	struct virtio_blk *blk = owner;

	block_drain(blk->block);
	blk->more_queues = 0;
	loop_timer_cancel(blk->more);
}

static void blk_in_flight(void *owner)
{
	struct virtio_blk *blk = owner;
	struct mem *mem = blk->vdev.env->mem;
	struct blk_request *r;
	unsigned int i;

	for (r = blk->request; r < blk->request + blk->nused; r++) {
		if (!r->out)
			continue;
		mem_wrote_at(mem, r->status, 1);
		/* what was read already is behind io.iov */
		for (i = 0; r->io.op == BLOCK_READ && i < r->io.niov; i++)
			mem_wrote_at(mem, r->io.iov[i].iov_base,
				     r->io.iov[i].iov_len);
	}
}

static void blk_free(void *owner)
{
	struct virtio_blk *blk = owner;

	block_set_batch(blk->block, NULL, NULL);
	loop_timer_free(blk->more);
	free(blk->request);
	free(blk);
}

static const struct virtio_ops blk_ops = {
	.notify = blk_notify,
	.quiesce = blk_quiesce,
	.in_flight = blk_in_flight,
	.free = blk_free,
};

/* ---- making one ----------------------------------------------------------- */

static uint64_t blk_features(const struct block *block, unsigned int queues)
{
	uint64_t f = 1ULL << VIRTIO_BLK_F_SIZE_MAX | 1ULL << VIRTIO_BLK_F_SEG_MAX |
		1ULL << VIRTIO_BLK_F_BLK_SIZE | 1ULL << VIRTIO_BLK_F_TOPOLOGY |
		1ULL << VIRTIO_BLK_F_FLUSH;

	if (queues > 1)
		f |= 1ULL << VIRTIO_BLK_F_MQ;
	if (block_read_only(block))
		return f | 1ULL << VIRTIO_BLK_F_RO;
	f |= 1ULL << VIRTIO_BLK_F_WRITE_ZEROES;
	if (block_can_discard(block))
		f |= 1ULL << VIRTIO_BLK_F_DISCARD;
	return f;
}

static void blk_fill_config(struct virtio_blk *blk, unsigned int queues)
{
	struct virtio_blk_config *c = &blk->config;
	unsigned int physical = block_align(blk->block);

	c->capacity = block_size(blk->block) / BLK_SECTOR;
	c->size_max = BLK_SIZE_MAX;
	c->seg_max = BLK_SEG_MAX;
	/* always 512, which is all that SeaBIOS boots from */
	c->blk_size = BLK_SECTOR;
	if (physical < 4096)
		physical = 4096;
	c->physical_block_exp = __builtin_ctz(physical / BLK_SECTOR);
	c->min_io_size = physical / BLK_SECTOR;
	c->num_queues = queues;
	c->max_discard_sectors = BLK_RANGE_MAX;
	c->max_discard_seg = 1;
	c->discard_sector_alignment = physical / BLK_SECTOR;
	c->max_write_zeroes_sectors = BLK_RANGE_MAX;
	c->max_write_zeroes_seg = 1;
	c->write_zeroes_may_unmap = 1;
}

int virtio_blk_new(struct dev_env *env, struct pci_bus *bus,
		   struct block *block, unsigned int queues)
{
	struct virtio_blk *blk = calloc(1, sizeof(*blk));

	if (!blk)
		return -ENOMEM;
	/* and one to try the next chain with */
	blk->request = calloc(queues * BLK_QUEUE + 1, sizeof(*blk->request));
	blk->more = loop_timer_new(env->loop, blk_more, blk);
	if (!blk->request || !blk->more) {
		loop_timer_free(blk->more);
		free(blk->request);
		free(blk);
		return -ENOMEM;
	}
	blk->block = block;
	block_set_batch(block, blk_signal, blk);
	blk_fill_config(blk, queues);
	blk->vdev = (struct virtio_dev){
		.name = "virtio-blk",
		.id = VIRTIO_ID_BLOCK,
		.class_code = 0x010000,		/* SCSI storage controller */
		.features = blk_features(block, queues),
		.config = &blk->config,
		.config_len = sizeof(blk->config),
		.nqueues = queues,
		.queue_size = BLK_QUEUE,
		.ops = &blk_ops,
		.owner = blk,
	};
	return virtio_pci_new(&blk->vdev, env, bus);
}
