// SPDX-License-Identifier: GPL-2.0
/*
 * PIIX4 function 3 (Intel 290562), of which there is the ACPI block: PM1a
 * event and control, PM timer, GPE0. No SMBus, no SMM: SCI_EN is always set,
 * and the FADT says so by naming no SMI command port. Sections: ACPI 6.5.
 */
#include <errno.h>
#include <stdlib.h>

#include "bus.h"
#include "dev/devices.h"
#include "dev/state.h"
#include "irq.h"
#include "loop.h"
#include "pci/pci_priv.h"

#define PM_HZ		3579545ULL
#define PM_SIZE		64
#define TMR_MSB		(1U << 23)	/* the timer has 24 bits */
#define TMR_MASK	0xffffffU

#define CFG_PMBASE	0x40
#define CFG_DEVACTB	0x58
#define CFG_PMREGMISC	0x80
#define PMIOSE		0x01

enum {
	R_PM1_STS = 0x00, R_PM1_EN = 0x02, R_PM1_CNT = 0x04, R_TMR = 0x08,
	R_GPE_STS = 0x0c, R_GPE_EN = 0x0e,
};

/* 4.8.3.1.1 */
#define TMR_STS		(1U << 0)
#define GBL_STS		(1U << 5)
#define PWRBTN_STS	(1U << 8)
#define RTC_STS		(1U << 10)
#define WAK_STS		(1U << 15)
#define STS_BITS	(TMR_STS | GBL_STS | PWRBTN_STS | RTC_STS | WAK_STS)
#define EN_BITS		(TMR_STS | GBL_STS | PWRBTN_STS | RTC_STS)
/* 4.8.3.2.1 */
#define SCI_EN		(1U << 0)
#define CNT_BITS	0x1c02U		/* BM_RLD, SLP_TYP */
#define SLP_TYP(v)	((v) >> 10 & 7)
#define SLP_EN		(1U << 13)
#define SLP_S5		0		/* as the DSDT's \_S5 says */

struct acpipm_state {
	uint64_t start;		/* ns of the timer's zero; saved: its age */
	uint64_t last;		/* timer ticks when TMR_STS was computed */
	uint16_t sts;
	uint16_t en;
	uint16_t cnt;
	uint16_t gpe_sts;
	uint16_t gpe_en;
	uint8_t pad[6];
	/* then the PCI state */
};

struct acpipm {
	struct acpipm_state s;
	struct pci_dev pci;
	struct dev_env *env;
	unsigned int sci;
	struct loop_timer *timer;
	bool mapped;
	uint16_t base;
};

static uint64_t ticks(const struct acpipm *pm)
{
	return muldiv(loop_now() - pm->s.start, PM_HZ, NSEC_PER_SEC);
}

/* 4.8.2.1: TMR_STS is set whenever the top bit changes, either way */
static void timer_update(struct acpipm *pm)
{
	uint64_t now = ticks(pm), next;

	if (now / TMR_MSB != pm->s.last / TMR_MSB)
		pm->s.sts |= TMR_STS;
	pm->s.last = now;
	if (!(pm->s.en & TMR_STS) || (pm->s.sts & TMR_STS)) {
		loop_timer_cancel(pm->timer);
		return;
	}
	next = (now / TMR_MSB + 1) * TMR_MSB;
	loop_timer_arm(pm->timer, pm->s.start +
				  muldiv_up(next, NSEC_PER_SEC, PM_HZ));
}

static void update(struct acpipm *pm)
{
	timer_update(pm);
	irq_set(pm->env->irq, pm->sci, 0,
		(pm->s.sts & pm->s.en) || (pm->s.gpe_sts & pm->s.gpe_en));
}

static void timer_fired(void *owner)
{
	update(owner);
}

void acpipm_power_button(struct acpipm *pm)
{
	pm->s.sts |= PWRBTN_STS;
	update(pm);
}

/* 4.8.3.2.1: SLP_EN is write-only and acts at once */
static void cnt_write(struct acpipm *pm, uint16_t value)
{
	pm->s.cnt = value & CNT_BITS;
	if ((value & SLP_EN) && SLP_TYP(value) == SLP_S5)
		pm->env->request_poweroff(pm->env);
}

static uint16_t reg_read(struct acpipm *pm, unsigned int reg)
{
	switch (reg) {
	case R_PM1_STS:
		timer_update(pm);
		return pm->s.sts;
	case R_PM1_EN:
		return pm->s.en;
	case R_PM1_CNT:
		return pm->s.cnt | SCI_EN;
	case R_TMR:
		return ticks(pm);
	case R_TMR + 2:
		return (ticks(pm) & TMR_MASK) >> 16;
	case R_GPE_STS:
		return pm->s.gpe_sts;
	case R_GPE_EN:
		return pm->s.gpe_en;
	}
	return 0;
}

static void reg_write(struct acpipm *pm, unsigned int reg, uint16_t value)
{
	switch (reg) {
	case R_PM1_STS:
		timer_update(pm);
		pm->s.sts &= ~value;
		break;
	case R_PM1_EN:
		pm->s.en = value & EN_BITS;
		break;
	case R_PM1_CNT:
		cnt_write(pm, value);
		break;
	case R_GPE_STS:
		pm->s.gpe_sts &= ~value;
		break;
	case R_GPE_EN:
		pm->s.gpe_en = value;
		break;
	}
	update(pm);
}

/* the registers are 16 bits wide, the timer 32: it must be read in one go */
static uint64_t pm_read(void *owner, uint64_t offset, unsigned int size)
{
	struct acpipm *pm = owner;
	uint64_t value = 0;
	unsigned int i;

	if (offset == R_TMR && size == 4)
		return ticks(pm) & TMR_MASK;
	for (i = 0; i < size; i++)
		value |= (uint64_t)(reg_read(pm, (offset + i) & ~1U) >>
				    ((offset + i) & 1 ? 8 : 0) & 0xff) << (8 * i);
	return value;
}

/* a byte of a register keeps its other byte (status: clears nothing in it) */
static void byte_write(struct acpipm *pm, unsigned int offset, uint8_t value)
{
	unsigned int reg = offset & ~1U, shift = offset & 1 ? 8 : 0;
	uint16_t old = 0;

	if (reg != R_PM1_STS && reg != R_GPE_STS)
		old = reg_read(pm, reg) & ~(0xffU << shift);
	reg_write(pm, reg, old | value << shift);
}

static void pm_write(void *owner, uint64_t offset, uint64_t value,
		     unsigned int size)
{
	struct acpipm *pm = owner;
	unsigned int i;

	if (size == 1 || (offset & 1)) {
		for (i = 0; i < size; i++)
			byte_write(pm, offset + i, value >> (8 * i));
		return;
	}
	for (i = 0; i < size; i += 2)
		reg_write(pm, offset + i, value >> (8 * i));
}

static const struct bus_ops pm_bus_ops = {
	.read = pm_read,
	.write = pm_write,
};

/* PMBA and PMIOSE: where the block is, and whether */
static void pm_remap(struct acpipm *pm)
{
	uint16_t base = pci_get16(&pm->pci.config[CFG_PMBASE]) & 0xffc0;
	bool on = (pm->pci.config[CFG_PMREGMISC] & PMIOSE) && base;

	if (pm->mapped && on && pm->base == base)
		return;
	if (pm->mapped)
		bus_remove(pm->env->pio, pm->base);
	pm->base = base;
	pm->mapped = on && !bus_add(pm->env->pio, base, PM_SIZE, &pm_bus_ops,
				    pm, "acpi-pm");
}

static void pm_config_written(void *owner, uint16_t offset, unsigned int size)
{
	if (pci_overlaps(offset, size, CFG_PMBASE, 4) ||
	    pci_overlaps(offset, size, CFG_PMREGMISC, 1))
		pm_remap(owner);
}

static void pm_reset(void *owner)
{
	struct acpipm *pm = owner;

	pci_dev_reset(&pm->pci);
	pm->pci.config[CFG_PMBASE] = 0x01;
	pm_remap(pm);
	pm->s = (struct acpipm_state){ .start = loop_now() };
	update(pm);
}

static size_t pm_save(void *owner, void *buf, size_t max)
{
	struct acpipm *pm = owner;
	struct acpipm_state st = pm->s;
	size_t len = sizeof(st) + pci_dev_save(&pm->pci, NULL, 0);

	if (!buf || max < len)
		return len;
	st.start = loop_now() - pm->s.start;
	memcpy(buf, &st, sizeof(st));
	pci_dev_save(&pm->pci, (uint8_t *)buf + sizeof(st), max - sizeof(st));
	return len;
}

static int pm_load(void *owner, const void *buf, size_t len)
{
	struct acpipm *pm = owner;
	struct acpipm_state st;
	int err;

	if (len < sizeof(st))
		return -EINVAL;
	memcpy(&st, buf, sizeof(st));
	if ((st.sts & ~STS_BITS) || (st.en & ~EN_BITS) || (st.cnt & ~CNT_BITS))
		return -EINVAL;
	err = pci_dev_load(&pm->pci, (const uint8_t *)buf + sizeof(st),
			   len - sizeof(st));
	if (err)
		return err;
	pm->s = st;
	pm->s.start = loop_now() - st.start;
	pm_remap(pm);
	update(pm);
	return 0;
}

static void pm_free(void *owner)
{
	struct acpipm *pm = owner;

	loop_timer_free(pm->timer);
	free(pm);
}

void acpipm_place(struct acpipm *pm, uint16_t base)
{
	pci_put16(&pm->pci.config[CFG_PMBASE], base | 1);
	pm->pci.config[CFG_PMREGMISC] |= PMIOSE;
	pm_remap(pm);
}

static const struct dev_ops pm_ops = {
	.reset = pm_reset,
	.save = pm_save,
	.load = pm_load,
	.free = pm_free,
};

struct acpipm *acpipm_new(struct dev_env *env, struct pci_bus *bus,
			  unsigned int sci)
{
	struct acpipm *pm = calloc(1, sizeof(*pm));
	struct pci_dev *pci;

	if (!pm)
		return NULL;
	pci = &pm->pci;
	pm->env = env;
	pm->sci = sci;
	pm->timer = loop_timer_new(env->loop, timer_fired, pm);
	if (!pm->timer) {
		free(pm);
		return NULL;
	}
	pci->name = "piix4-pm";
	pci->owner = pm;
	pci->config_written = pm_config_written;
	pci_init_ids(pci, PCI_VENDOR_ID_INTEL, 0x7113, 3,
		     PCI_CLASS_BRIDGE_OTHER, 0, 0);
	pci_put16(&pci->config[PCI_STATUS], 0x0280);
	/* APMC_EN as if SMM were set up: else firmware waits for an SMI */
	pci->config[CFG_DEVACTB + 3] = 0x02;
	pci_put16(&pci->wmask[CFG_PMBASE], 0xffc0);
	pci->wmask[CFG_PMREGMISC] = PMIOSE;
	pm_reset(pm);
	if (env->add(env, pci->name, &pm_ops, pm)) {
		pm_free(pm);
		return NULL;
	}
	if (pci_add(bus, pci, 1 << 3 | 3))	/* the machine frees it */
		return NULL;
	return pm;
}
