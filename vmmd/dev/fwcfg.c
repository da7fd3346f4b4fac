// SPDX-License-Identifier: GPL-2.0
/*
 * fw_cfg on ports 0x510 (selector), 0x511 (data) and 0x514 (DMA address), as
 * specified in QEMU's docs/specs/fw_cfg. Items are read-only for the guest.
 */
#include <endian.h>
#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>

#include "bus.h"
#include "dev/fwcfg.h"
#include "dev/state.h"
#include "mem.h"

#define PORT_SELECT	0x510
#define PORT_DMA	0x514

#define ID_TRADITIONAL	0x01
#define ID_DMA		0x02
#define DMA_SIGNATURE	0x51454d5520434647ULL	/* "QEMU CFG" */

#define DMA_ERROR	0x01
#define DMA_READ	0x02
#define DMA_SKIP	0x04
#define DMA_SELECT	0x08
#define DMA_WRITE	0x10
#define DMA_MAX		(16U << 20)	/* one transfer holds the machine lock */

#define MAX_ITEMS	64
#define NAME_LEN	56

struct item {
	uint16_t key;
	uint8_t *data;
	size_t len;
};

struct fwcfg_dma {		/* in guest memory, big-endian */
	uint32_t control;
	uint32_t length;
	uint64_t address;
};

struct dir_entry {		/* big-endian */
	uint32_t size;
	uint16_t select;
	uint16_t reserved;
	char name[NAME_LEN];
};

struct fwcfg_state {
	uint64_t dma_addr;	/* the high half waits for the low one */
	uint32_t offset;	/* into the selected item */
	uint16_t key;
	uint8_t pad[2];
};

struct fwcfg {
	struct fwcfg_state s;
	struct mem *mem;
	struct item item[MAX_ITEMS];
	unsigned int nitems;
	unsigned int nfiles;
};

static struct item *find(struct fwcfg *fw, uint16_t key)
{
	unsigned int i;

	for (i = 0; i < fw->nitems; i++)
		if (fw->item[i].key == key)
			return &fw->item[i];
	return NULL;
}

static void select_item(struct fwcfg *fw, uint16_t key)
{
	fw->s.key = key;
	fw->s.offset = 0;
}

/* past the end, and where there is no item: zeroes */
static uint8_t next_byte(struct fwcfg *fw)
{
	const struct item *it = find(fw, fw->s.key);

	if (!it || fw->s.offset >= it->len)
		return 0;
	return it->data[fw->s.offset++];
}

static bool dma_zero(struct fwcfg *fw, uint64_t gpa, uint32_t len)
{
	static const uint8_t zero[4096];
	uint32_t n;

	for (; len; gpa += n, len -= n) {
		n = len < sizeof(zero) ? len : sizeof(zero);
		if (!mem_write(fw->mem, gpa, zero, n))
			return false;
	}
	return true;
}

static bool dma_read(struct fwcfg *fw, uint64_t gpa, uint32_t len)
{
	const struct item *it = find(fw, fw->s.key);
	uint32_t n = 0;

	if (len > DMA_MAX || gpa + len < gpa)
		return false;
	if (it && fw->s.offset < it->len)
		n = it->len - fw->s.offset;
	if (n > len)
		n = len;
	if (n && !mem_write(fw->mem, gpa, it->data + fw->s.offset, n))
		return false;
	fw->s.offset += n;
	return dma_zero(fw, gpa + n, len - n);
}

static void dma_skip(struct fwcfg *fw, uint32_t len)
{
	const struct item *it = find(fw, fw->s.key);
	uint32_t left = it && fw->s.offset < it->len ? it->len - fw->s.offset : 0;

	fw->s.offset += len < left ? len : left;
}

/* everything in the descriptor is the guest's, and hostile */
static void dma_run(struct fwcfg *fw)
{
	uint64_t at = fw->s.dma_addr;
	struct fwcfg_dma dma;
	uint32_t control, result = 0, len;

	fw->s.dma_addr = 0;
	if (!mem_read(fw->mem, at, &dma, sizeof(dma)))
		return;		/* nowhere to tell it */
	control = be32toh(dma.control);
	len = be32toh(dma.length);
	if (control & DMA_SELECT)
		select_item(fw, control >> 16);
	if (control & DMA_READ) {
		if (!dma_read(fw, be64toh(dma.address), len))
			result = DMA_ERROR;
	} else if (control & DMA_WRITE) {
		result = DMA_ERROR;
	} else if (control & DMA_SKIP) {
		dma_skip(fw, len);
	}
	result = htobe32(result);
	mem_write(fw->mem, at, &result, sizeof(result));
}

static uint64_t select_read(void *owner, uint64_t offset, unsigned int size)
{
	struct fwcfg *fw = owner;

	/* the selector is write-only; a word there has the data above it */
	if (size == 2)
		return next_byte(fw) << 8;
	return offset == 1 ? next_byte(fw) : 0;
}

static void select_write(void *owner, uint64_t offset, uint64_t value,
			 unsigned int size)
{
	if (offset == 0 && size == 2)
		select_item(owner, value);
}

/* big-endian, as two words or one; the low word starts the transfer */
static uint64_t dma_port_read(void *owner, uint64_t offset, unsigned int size)
{
	uint64_t be = htobe64(DMA_SIGNATURE) >> (8 * offset);

	return size < 8 ? be & ((1ULL << (8 * size)) - 1) : be;
}

static void dma_port_write(void *owner, uint64_t offset, uint64_t value,
			   unsigned int size)
{
	struct fwcfg *fw = owner;

	if (offset == 0 && size == 8) {
		fw->s.dma_addr = be64toh(value);
		dma_run(fw);
	} else if (offset == 0 && size == 4) {
		fw->s.dma_addr = (uint64_t)be32toh(value) << 32;
	} else if (offset == 4 && size == 4) {
		fw->s.dma_addr |= be32toh(value);
		dma_run(fw);
	}
}

/* ---- what is in it -------------------------------------------------------- */

int fwcfg_add_item(struct fwcfg *fw, uint16_t key, const void *data, size_t len)
{
	struct item *it = &fw->item[fw->nitems];

	if (find(fw, key))
		return -EEXIST;
	if (fw->nitems == MAX_ITEMS || len > UINT32_MAX)
		return -ENOSPC;
	it->data = malloc(len ? len : 1);
	if (!it->data)
		return -ENOMEM;
	if (len)
		memcpy(it->data, data, len);
	it->key = key;
	it->len = len;
	fw->nitems++;
	return 0;
}

int fwcfg_add_u16(struct fwcfg *fw, uint16_t key, uint16_t value)
{
	value = htole16(value);
	return fwcfg_add_item(fw, key, &value, sizeof(value));
}

int fwcfg_add_u32(struct fwcfg *fw, uint16_t key, uint32_t value)
{
	value = htole32(value);
	return fwcfg_add_item(fw, key, &value, sizeof(value));
}

int fwcfg_add_u64(struct fwcfg *fw, uint16_t key, uint64_t value)
{
	value = htole64(value);
	return fwcfg_add_item(fw, key, &value, sizeof(value));
}

/* the directory: a count, then an entry for each file */
static int dir_append(struct fwcfg *fw, const char *name, size_t len,
		      uint16_t key)
{
	struct item *dir = find(fw, FWCFG_FILE_DIR);
	struct dir_entry e = {
		.size = htobe32(len),
		.select = htobe16(key),
	};
	uint32_t count = htobe32(fw->nfiles + 1);
	uint8_t *data;

	strncpy(e.name, name, NAME_LEN - 1);
	data = realloc(dir->data, dir->len + sizeof(e));
	if (!data)
		return -ENOMEM;
	memcpy(data + dir->len, &e, sizeof(e));
	memcpy(data, &count, sizeof(count));
	dir->data = data;
	dir->len += sizeof(e);
	fw->nfiles++;
	return 0;
}

int fwcfg_add_file(struct fwcfg *fw, const char *name, const void *data,
		   size_t len)
{
	uint16_t key = FWCFG_FILE_FIRST + fw->nfiles;
	const struct item *dir = find(fw, FWCFG_FILE_DIR);
	unsigned int i;
	int err;

	if (strlen(name) >= NAME_LEN)
		return -ENAMETOOLONG;
	for (i = 0; i < fw->nfiles; i++)
		if (!strcmp((const char *)dir->data + sizeof(uint32_t) +
			    i * sizeof(struct dir_entry) +
			    offsetof(struct dir_entry, name), name))
			return -EEXIST;
	err = fwcfg_add_item(fw, key, data, len);
	if (err)
		return err;
	err = dir_append(fw, name, len, key);
	if (err)
		free(fw->item[--fw->nitems].data);
	return err;
}

/* ---- the device ----------------------------------------------------------- */

static void fwcfg_reset(void *owner)
{
	struct fwcfg *fw = owner;

	memset(&fw->s, 0, sizeof(fw->s));
}

static size_t fwcfg_save(void *owner, void *buf, size_t max)
{
	struct fwcfg *fw = owner;

	return state_save(&fw->s, sizeof(fw->s), buf, max);
}

static int fwcfg_load(void *owner, const void *buf, size_t len)
{
	struct fwcfg *fw = owner;

	if (len != sizeof(fw->s))
		return -EINVAL;
	memcpy(&fw->s, buf, sizeof(fw->s));	/* any offset is safe */
	return 0;
}

static void fwcfg_free(void *owner)
{
	struct fwcfg *fw = owner;

	while (fw->nitems)
		free(fw->item[--fw->nitems].data);
	free(fw);
}

static const struct bus_ops select_ops = {
	.read = select_read,
	.write = select_write,
};

static const struct bus_ops dma_ops = {
	.read = dma_port_read,
	.write = dma_port_write,
};

static const struct dev_ops fwcfg_ops = {
	.reset = fwcfg_reset,
	.save = fwcfg_save,
	.load = fwcfg_load,
	.free = fwcfg_free,
};

struct fwcfg *fwcfg_new(struct dev_env *env)
{
	struct fwcfg *fw = calloc(1, sizeof(*fw));
	const uint32_t none = 0;

	if (!fw)
		return NULL;
	fw->mem = env->mem;
	if (fwcfg_add_item(fw, FWCFG_SIGNATURE, "QEMU", 4) ||
	    fwcfg_add_u32(fw, FWCFG_ID, ID_TRADITIONAL | ID_DMA) ||
	    fwcfg_add_item(fw, FWCFG_FILE_DIR, &none, sizeof(none)))
		goto out_free;
	if (bus_add(env->pio, PORT_SELECT, 2, &select_ops, fw, "fw-cfg"))
		goto out_free;
	if (bus_add(env->pio, PORT_DMA, 8, &dma_ops, fw, "fw-cfg-dma"))
		goto out_select;
	if (!env->add(env, "fw-cfg", &fwcfg_ops, fw))
		return fw;

	bus_remove(env->pio, PORT_DMA);
out_select:
	bus_remove(env->pio, PORT_SELECT);
out_free:
	fwcfg_free(fw);
	return NULL;
}
