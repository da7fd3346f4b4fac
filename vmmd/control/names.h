/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The names of running VMs: NAME.lock and NAME.sock in the runtime directory.
 * Who holds the lock on NAME.lock is the VM of that name, however a process
 * ended; the socket is only ever made and removed by who holds it.
 */
#ifndef VMMD_NAMES_H
#define VMMD_NAMES_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#define NAMES_MAX	64	/* characters of a name */
#define NAMES_RULE	"1 to 64 letters, digits, '.', '_' or '-'"

struct names_own {
	int dir;		/* the runtime directory; -1: without a name */
	int lock;
	bool listens;		/* the socket is there */
	char name[NAMES_MAX + 1];
};

bool names_valid(const char *name);

/*
 * The runtime directory, opened; made first if `make`. -errno with one line in
 * err[]; -ENOENT: there is none yet.
 */
int names_dir(bool make, char *err, size_t errlen);

/*
 * Be the VM of this name. 0; -EEXIST: there is one already; another -errno: no
 * name can be had, but a VM can do without. A line in err[] then, and *own is
 * fit for names_release in any case.
 */
int names_take(struct names_own *own, const char *name, char *err, size_t errlen);
/* its listening socket, mode 0600; or -errno with a line in err[] */
int names_listen(struct names_own *own, char *err, size_t errlen);
void names_release(struct names_own *own);

/*
 * For those who want to talk to one: a connected, blocking socket and the
 * process at its other end. -ENOENT: no VM of that name runs (what a killed one
 * left is removed); -EAGAIN: it is starting; a line in err[].
 */
int names_connect(const char *name, pid_t *pid, char *err, size_t errlen);
/* the names of those that run, sorted, NULL at the end; NULL: out of memory */
char **names_list(char *err, size_t errlen);
void names_list_free(char **list);

#endif
