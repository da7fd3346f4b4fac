// SPDX-License-Identifier: GPL-2.0
/*
 * Linux without firmware. Guest memory at the start:
 *
 *     0x6000  GDT                      0x7000  boot_params, the "zero page"
 *     0x8000  page tables, 6 pages: the first 4 GiB at their own addresses
 *    0x10000  command line            0xe0000  ACPI tables, then the RSDP
 *   where the kernel prefers: the kernel; below the end of low RAM: the initrd
 *
 * Field numbers are those of Linux' boot.rst and struct boot_params.
 */
#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <linux/vmm.h>

#include "boot/acpi.h"
#include "boot/linux.h"
#include "mem.h"

#define GDT_AT		0x6000ULL
#define PARAMS_AT	0x7000ULL
#define TABLES_AT	0x8000ULL	/* PML4, PDPT, four page directories */
#define CMDLINE_AT	0x10000ULL
#define CMDLINE_MAX	0x10000U
#define ACPI_AT		0xe0000ULL
#define ACPI_END	0x100000ULL
#define BASE_RAM_END	0xa0000ULL
#define HIGH_RAM	0x100000ULL
#define TOP_4G		(1ULL << 32)
#define PAGE		4096ULL

/* the setup header in the file and in boot_params */
#define HDR		0x1f1
#define HDR_SECTORS	0x1f1		/* u8, of 512 bytes */
#define HDR_JUMP	0x201		/* its offset says where the header ends */
#define HDR_MAGIC	0x202
#define HDR_VERSION	0x206		/* u16 */
#define HDR_LOADER	0x210		/* u8 */
#define HDR_INITRD	0x218		/* u32 address, u32 size */
#define HDR_INITRD_LEN	0x21c
#define HDR_CMDLINE	0x228		/* u32 */
#define HDR_INITRD_MAX	0x22c		/* u32, the highest address of its bytes */
#define HDR_XLOADFLAGS	0x236		/* u16 */
#define HDR_CMDLINE_MAX	0x238		/* u32, without the 0 at the end */
#define HDR_PREFERRED	0x258		/* u64 */
#define HDR_INIT_SIZE	0x260		/* u32 */
#define HDR_END		0x300		/* as much as we read */

#define MAGIC		0x53726448U	/* "HdrS" */
#define VERSION		0x020c		/* xloadflags came with it: Linux 3.8 */
#define KERNEL_64	0x0001
#define LOADER_OTHER	0xff
#define ENTRY_64	0x200		/* from where the kernel was loaded */
#define SECTOR		512U
#define SECTORS_DEFAULT	4U

/* the rest of boot_params */
#define PARAMS_RSDP	0x070		/* u64 */
#define PARAMS_NE820	0x1e8		/* u8 */
#define PARAMS_E820	0x2d0

#define E820_RAM	1
#define E820_RESERVED	2

/* __BOOT_CS and __BOOT_DS */
#define SEL_CODE	0x10
#define SEL_DATA	0x18
#define GDT_CODE	0x00af9b000000ffffULL
#define GDT_DATA	0x00cf93000000ffffULL
#define GDT_ENTRIES	4

#define PTE_TABLE	0x03ULL		/* present, writable */
#define PTE_LARGE	0x83ULL

#define CR0_PE		(1ULL << 0)
#define CR0_ET		(1ULL << 4)
#define CR0_NE		(1ULL << 5)
#define CR0_PG		(1ULL << 31)
#define CR4_PAE		(1ULL << 5)
#define EFER_LME	(1ULL << 8)
#define EFER_LMA	(1ULL << 10)

#define MSR_MTRR_DEF_TYPE	0x2ff
#define MTRR_ENABLED_WB		0x806	/* as firmware leaves it for RAM */

struct linux_boot {
	const char *kernel_path, *initrd_path;
	int kernel, initrd;			/* fds; initrd -1: none */
	uint8_t header[HDR_END];		/* the file's beginning */
	char *cmdline;
	uint64_t setup_len, kernel_len, initrd_len;	/* bytes */
	uint64_t kernel_at, initrd_at;		/* gpa */
	struct boot_info info;
	struct acpi_files acpi;			/* ready to be put at ACPI_AT */
	uint64_t rsdp_at;
};

static uint16_t get16(const uint8_t *p)
{
	uint16_t v;

	memcpy(&v, p, sizeof(v));
	return le16toh(v);
}

static uint32_t get32(const uint8_t *p)
{
	uint32_t v;

	memcpy(&v, p, sizeof(v));
	return le32toh(v);
}

static uint64_t get64(const uint8_t *p)
{
	return get32(p) | (uint64_t)get32(p + 4) << 32;
}

static void put32(uint8_t *p, uint32_t v)
{
	v = htole32(v);
	memcpy(p, &v, sizeof(v));
}

static void put64(uint8_t *p, uint64_t v)
{
	v = htole64(v);
	memcpy(p, &v, sizeof(v));
}

/* ---- the files ------------------------------------------------------------ */

static int bad_kernel(const struct linux_boot *b, char *err, size_t errlen,
		      const char *found)
{
	snprintf(err, errlen,
		 "kernel %s: %s; wanted a 64-bit Linux bzImage, such as /boot/vmlinuz-*",
		 b->kernel_path, found);
	return -EINVAL;
}

static int bad_initrd(const struct linux_boot *b, char *err, size_t errlen,
		      const char *found)
{
	snprintf(err, errlen, "initrd %s: %s; wanted a file that the kernel %s can unpack",
		 b->initrd_path, found, b->kernel_path);
	return -EINVAL;
}

/* the fd, or -errno; only regular files: they are read at each reset */
static int open_file(const char *path, uint64_t *len)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	struct stat st;

	if (fd < 0)
		return -errno;
	if (!fstat(fd, &st) && S_ISREG(st.st_mode)) {
		*len = st.st_size;
		return fd;
	}
	close(fd);
	return -ENODATA;
}

static const char *open_error(int err)
{
	return err == -ENODATA ? "not a regular file" : strerror(-err);
}

/* all of it, or -errno; -EIO: the file is shorter than it was */
static int read_at(int fd, void *buf, uint64_t len, uint64_t at)
{
	uint8_t *p = buf;
	ssize_t n;

	while (len) {
		n = pread(fd, p, len, at);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		if (!n)
			return -EIO;
		p += n;
		at += n;
		len -= n;
	}
	return 0;
}

static int open_kernel(struct linux_boot *b, char *err, size_t errlen)
{
	const uint8_t *h = b->header;
	uint64_t len;

	b->kernel = open_file(b->kernel_path, &len);
	if (b->kernel < 0)
		return bad_kernel(b, err, errlen, open_error(b->kernel));
	if (len < HDR_END)
		return bad_kernel(b, err, errlen, "too short for a kernel");
	if (read_at(b->kernel, b->header, HDR_END, 0))
		return bad_kernel(b, err, errlen, "cannot be read");
	if (get32(h + HDR_MAGIC) != MAGIC)
		return bad_kernel(b, err, errlen, h[0] == 0x7f && h[1] == 'E' ?
				  "an ELF file" : "no Linux boot header");
	if (get16(h + HDR_VERSION) < VERSION)
		return bad_kernel(b, err, errlen, "its boot protocol is older than 2.12");
	if (!(get16(h + HDR_XLOADFLAGS) & KERNEL_64))
		return bad_kernel(b, err, errlen, "a 32-bit kernel");
	b->setup_len = ((h[HDR_SECTORS] ? h[HDR_SECTORS] : SECTORS_DEFAULT) + 1) * SECTOR;
	if (len <= b->setup_len + ENTRY_64)
		return bad_kernel(b, err, errlen, "cut short");
	b->kernel_len = len - b->setup_len;
	return 0;
}

static int open_initrd(struct linux_boot *b, char *err, size_t errlen)
{
	if (!b->initrd_path)
		return 0;
	b->initrd = open_file(b->initrd_path, &b->initrd_len);
	if (b->initrd < 0)
		return bad_initrd(b, err, errlen, open_error(b->initrd));
	if (!b->initrd_len)
		return bad_initrd(b, err, errlen, "empty");
	return 0;
}

static int take_cmdline(struct linux_boot *b, const char *cmdline, char *err,
			size_t errlen)
{
	uint32_t max = get32(b->header + HDR_CMDLINE_MAX);

	if (max > CMDLINE_MAX - 1)
		max = CMDLINE_MAX - 1;
	if (strlen(cmdline) > max) {
		snprintf(err, errlen, "the kernel %s takes a command line of %u characters, found %zu: give a shorter --append",
			 b->kernel_path, max, strlen(cmdline));
		return -EINVAL;
	}
	b->cmdline = strdup(cmdline);
	if (b->cmdline)
		return 0;
	snprintf(err, errlen, "kernel %s: out of memory", b->kernel_path);
	return -ENOMEM;
}

struct linux_boot *linux_boot_new(const char *kernel, const char *initrd,
				  const char *cmdline, char *err, size_t errlen)
{
	struct linux_boot *b = calloc(1, sizeof(*b));

	if (!b) {
		snprintf(err, errlen, "kernel %s: out of memory", kernel);
		return NULL;
	}
	b->kernel_path = kernel;
	b->initrd_path = initrd;
	b->kernel = b->initrd = -1;
	if (!open_kernel(b, err, errlen) && !open_initrd(b, err, errlen) &&
	    !take_cmdline(b, cmdline, err, errlen))
		return b;
	linux_boot_free(b);
	return NULL;
}

void linux_boot_free(struct linux_boot *b)
{
	if (!b)
		return;
	if (b->kernel >= 0)
		close(b->kernel);
	if (b->initrd >= 0)
		close(b->initrd);
	acpi_free(&b->acpi);
	free(b->cmdline);
	free(b);
}

/* ---- where it goes -------------------------------------------------------- */

static int no_room(const struct linux_boot *b, const char *path, uint64_t need,
		   char *err, size_t errlen)
{
	snprintf(err, errlen, "%s wants %" PRIu64 " MiB of memory below %" PRIu64 " MiB beside what is there: give more --memory",
		 path, (need + (1 << 20) - 1) >> 20, b->info.ram_low >> 20);
	return -EINVAL;
}

/* as high as the kernel and the RAM below 4 GiB allow */
static int fit_initrd(struct linux_boot *b, uint64_t kernel_end, char *err,
		      size_t errlen)
{
	uint64_t end = (uint64_t)get32(b->header + HDR_INITRD_MAX) + 1;

	if (b->initrd < 0)
		return 0;
	if (end > b->info.ram_low)
		end = b->info.ram_low;
	if (end < kernel_end || end - kernel_end < b->initrd_len + PAGE)
		return no_room(b, b->initrd_path, b->initrd_len + PAGE, err, errlen);
	b->initrd_at = (end - b->initrd_len) & ~(PAGE - 1);
	return 0;
}

int linux_boot_fit(struct linux_boot *b, const struct boot_info *info, char *err,
		   size_t errlen)
{
	uint64_t size = get32(b->header + HDR_INIT_SIZE), end;
	int ret;

	b->info = *info;
	if (size < b->kernel_len)
		size = b->kernel_len;
	b->kernel_at = get64(b->header + HDR_PREFERRED);
	if (b->kernel_at < HIGH_RAM || b->kernel_at % PAGE ||
	    __builtin_add_overflow(b->kernel_at, size, &end))
		return bad_kernel(b, err, errlen, "its header asks for an impossible address");
	if (end > info->ram_low)
		return no_room(b, b->kernel_path, end, err, errlen);
	ret = fit_initrd(b, end, err, errlen);
	if (ret)
		return ret;
	acpi_free(&b->acpi);
	ret = acpi_build(&b->acpi, info->cpus);
	if (ret) {
		snprintf(err, errlen, "cannot build the ACPI tables: %s", strerror(-ret));
		return ret;
	}
	acpi_link(&b->acpi, ACPI_AT);
	b->rsdp_at = (ACPI_AT + b->acpi.tables.len + 15) & ~15ULL;
	if (b->rsdp_at + b->acpi.rsdp.len > ACPI_END)
		return no_room(b, "the ACPI tables", b->acpi.tables.len, err, errlen);
	return 0;
}

/* ---- putting it there ----------------------------------------------------- */

static void add_e820(uint8_t *params, uint64_t addr, uint64_t size, uint32_t type)
{
	uint8_t *e = params + PARAMS_E820 + params[PARAMS_NE820]++ * 20;

	put64(e, addr);
	put64(e + 8, size);
	put32(e + 16, type);
}

static void make_params(const struct linux_boot *b, uint8_t *params)
{
	/* the jump's offset counts from behind itself */
	unsigned int end = HDR_MAGIC + b->header[HDR_JUMP];

	memset(params, 0, PAGE);
	if (end > PARAMS_E820)
		end = PARAMS_E820;
	memcpy(params + HDR, b->header + HDR, end - HDR);
	params[HDR_LOADER] = LOADER_OTHER;
	put32(params + HDR_CMDLINE, CMDLINE_AT);
	put32(params + HDR_INITRD, b->initrd_at);
	put32(params + HDR_INITRD_LEN, b->initrd_len);
	put64(params + PARAMS_RSDP, b->rsdp_at);
	add_e820(params, 0, BASE_RAM_END, E820_RAM);
	add_e820(params, ACPI_AT, ACPI_END - ACPI_AT, E820_RESERVED);
	add_e820(params, HIGH_RAM, b->info.ram_low - HIGH_RAM, E820_RAM);
	if (b->info.ram_high)
		add_e820(params, TOP_4G, b->info.ram_high, E820_RAM);
}

static bool place_tables(struct mem *mem)
{
	const uint64_t gdt[GDT_ENTRIES] = {
		[SEL_CODE / 8] = htole64(GDT_CODE), [SEL_DATA / 8] = htole64(GDT_DATA),
	};
	uint8_t *table = mem_ptr(mem, TABLES_AT, 6 * PAGE);
	unsigned int i;

	if (!table)
		return false;
	memset(table, 0, 2 * PAGE);
	put64(table, (TABLES_AT + PAGE) | PTE_TABLE);
	for (i = 0; i < 4; i++)
		put64(table + PAGE + 8 * i, (TABLES_AT + (2 + i) * PAGE) | PTE_TABLE);
	for (i = 0; i < 4 * 512; i++)
		put64(table + 2 * PAGE + 8 * i, (uint64_t)i << 21 | PTE_LARGE);
	mem_wrote(mem, TABLES_AT, 6 * PAGE);
	return mem_write(mem, GDT_AT, gdt, sizeof(gdt));
}

/* 0 or -errno */
static int place_file(struct mem *mem, uint64_t gpa, int fd, uint64_t len, uint64_t at)
{
	void *p = mem_ptr(mem, gpa, len);

	if (!p)
		return -EFAULT;
	mem_wrote(mem, gpa, len);
	return read_at(fd, p, len, at);
}

int linux_boot_place(struct linux_boot *b, struct mem *mem)
{
	const char *what = b->kernel_path;
	uint8_t params[PAGE];
	int ret;

	make_params(b, params);
	if (!place_tables(mem) || !mem_write(mem, PARAMS_AT, params, sizeof(params)) ||
	    !mem_write(mem, CMDLINE_AT, b->cmdline, strlen(b->cmdline) + 1) ||
	    !mem_write(mem, ACPI_AT, b->acpi.tables.data, b->acpi.tables.len) ||
	    !mem_write(mem, b->rsdp_at, b->acpi.rsdp.data, b->acpi.rsdp.len))
		return -EFAULT;
	ret = place_file(mem, b->kernel_at, b->kernel, b->kernel_len, b->setup_len);
	if (!ret && b->initrd >= 0) {
		what = b->initrd_path;
		ret = place_file(mem, b->initrd_at, b->initrd, b->initrd_len, 0);
	}
	if (ret)
		fprintf(stderr, "vmmd: %s: %s; it is read again at each reset: leave it as it is while the machine runs\n",
			what, ret == -EIO ? "shorter than it was" : strerror(-ret));
	return ret;
}

static void set_msr(struct vmm_msrs *m, uint32_t index, uint64_t value)
{
	uint32_t i;

	for (i = 0; i < m->count; i++)
		if (m->msr[i].index == index)
			m->msr[i].value = value;
}

/* boot.rst, "64-bit boot protocol": paging on, flat segments, RSI the params */
void linux_boot_state(const struct linux_boot *b, struct vmm_state *st)
{
	const struct vmm_segment code = {
		.limit = 0xffffffff, .selector = SEL_CODE,
		.attr = 0xb | VMM_SEG_S | VMM_SEG_P | VMM_SEG_L | VMM_SEG_G,
	};
	const struct vmm_segment data = {
		.limit = 0xffffffff, .selector = SEL_DATA,
		.attr = 0x3 | VMM_SEG_S | VMM_SEG_P | VMM_SEG_DB | VMM_SEG_G,
	};
	struct vmm_sregs *s = &st->sregs;

	s->seg[VMM_CS] = code;
	s->seg[VMM_DS] = s->seg[VMM_ES] = s->seg[VMM_SS] = data;
	s->seg[VMM_TR] = (struct vmm_segment){ .limit = 0x67, .attr = 0xb | VMM_SEG_P };
	s->gdtr = (struct vmm_table){ .base = GDT_AT, .limit = GDT_ENTRIES * 8 - 1 };
	s->cr0 = CR0_PG | CR0_NE | CR0_ET | CR0_PE;
	s->cr3 = TABLES_AT;
	s->cr4 = CR4_PAE;
	s->efer = EFER_LME | EFER_LMA;
	memset(&st->regs, 0, sizeof(st->regs));
	st->regs.gpr[VMM_RSI] = PARAMS_AT;
	st->regs.rip = b->kernel_at + ENTRY_64;
	st->regs.rflags = 2;
	set_msr(&st->msrs, MSR_MTRR_DEF_TYPE, MTRR_ENABLED_WB);
}
