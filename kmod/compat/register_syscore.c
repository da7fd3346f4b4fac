// SPDX-License-Identifier: GPL-2.0
/* register_syscore(), whose callbacks get a pointer; it replaced register_syscore_ops() */
#include <linux/syscore_ops.h>

void probe(struct syscore *syscore);
void probe(struct syscore *syscore)
{
	register_syscore(syscore);
	syscore->ops->resume(syscore->data);
}
