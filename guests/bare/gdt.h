/* SPDX-License-Identifier: GPL-2.0 */
/* Selectors of the descriptor table in start.S. */
#ifndef GUEST_GDT_H
#define GUEST_GDT_H

#define SEL_CODE32	0x08
#define SEL_DATA	0x10
#define SEL_CODE64	0x18
#define SEL_ABSENT	0x20		/* data, not present: #NP, as SS #SS */
#define SEL_CODE16	0x28
#define SEL_USER32	0x33
#define SEL_USER_DATA	0x3b
#define SEL_USER64	0x43
#define SEL_TSS		0x48

#endif /* GUEST_GDT_H */
