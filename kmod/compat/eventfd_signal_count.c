// SPDX-License-Identifier: GPL-2.0
/* eventfd_signal() took the number to add, which became always 1 */
#include <linux/eventfd.h>

void probe(struct eventfd_ctx *ctx);
void probe(struct eventfd_ctx *ctx)
{
	eventfd_signal(ctx, 1);
}
