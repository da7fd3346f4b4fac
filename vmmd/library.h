/* SPDX-License-Identifier: GPL-2.0 */
/*
 * A shared library that is loaded when it is wanted: linked to it, every start of ours
 * would load it. Who uses it lists its functions, and calls them by their own names:
 *
 *	#define FUNCTIONS(F)	F(one) F(another)
 *	static struct { FUNCTIONS(LIBRARY_POINTER) } lib;
 *	...
 *	FUNCTIONS(LIBRARY_FIND)
 *	...
 *	CALL(one)(argument);
 */
#ifndef VMMD_LIBRARY_H
#define VMMD_LIBRARY_H

#include <dlfcn.h>

#define LIBRARY_POINTER(name)	typeof(&(name)) name##_;

/* with what dlopen() gave in `so`; `missing` is then the name of one that is not there */
#define LIBRARY_FIND(name)						\
	lib.name##_ = (typeof(lib.name##_))dlsym(so, #name);		\
	if (!lib.name##_)						\
		missing = #name;

#define CALL(name)	(lib.name##_)

#endif
