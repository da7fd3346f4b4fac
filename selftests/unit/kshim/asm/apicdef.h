/* SPDX-License-Identifier: GPL-2.0 */
#define APIC_DEFAULT_PHYS_BASE	0xfee00000
