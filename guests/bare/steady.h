/* SPDX-License-Identifier: GPL-2.0 */
/* What the guest steady and who runs it agree on. */
#ifndef GUEST_STEADY_H
#define GUEST_STEADY_H

#define STEADY_NS	1		/* report: how long it took by the pv clock */

#define STEADY_CLOCKS	(GUEST_FREE + 0x1000)
#define STEADY_MEMORY	(GUEST_FREE + 0x10000)

#endif /* GUEST_STEADY_H */
