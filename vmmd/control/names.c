// SPDX-License-Identifier: GPL-2.0
/*
 * Names in the runtime directory.
 *
 * The lock file is removed by its owner before it lets go of the lock. Somebody
 * who opened it before that gets a lock on a file without a name, sees that, and
 * begins again: so two starters never both hold what is NAME.lock.
 */
#define _GNU_SOURCE 1		/* struct ucred */
#include <assert.h>
#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "names.h"

#define FILE_MAX	(NAMES_MAX + sizeof(".sock"))
#define BACKLOG		16
#define OTHERS_WRITE	022
#define OTHERS		077

bool names_valid(const char *name)
{
	size_t i;

	for (i = 0; name[i]; i++)
		if (!isalnum((unsigned char)name[i]) && !strchr("._-", name[i]))
			return false;
	return i && i <= NAMES_MAX;
}

/* ---- the runtime directory ------------------------------------------------ */

/* its path, and which permissions nobody else may have there */
static int dir_path(char *path, size_t len, mode_t *none)
{
	const char *own = getenv("VMMD_RUNTIME_DIR"), *xdg = getenv("XDG_RUNTIME_DIR");
	struct stat st;
	int n;

	*none = OTHERS_WRITE;
	if (own && *own)
		n = snprintf(path, len, "%s", own);
	else if (xdg && *xdg && !stat(xdg, &st) && st.st_uid == geteuid())
		/* sudo may leave a variable that is another user's */
		n = snprintf(path, len, "%s/vmmd", xdg);
	else if (!geteuid())
		n = snprintf(path, len, "/run/vmmd");
	else {
		/* everybody may make this one: it has to be ours alone */
		*none = OTHERS;
		n = snprintf(path, len, "/tmp/vmmd-%u", (unsigned int)geteuid());
	}
	return n < 0 || (size_t)n >= len ? -ENAMETOOLONG : 0;
}

int names_dir(bool make, char *err, size_t errlen)
{
	char path[PATH_MAX];
	struct stat st;
	mode_t none;
	int fd, ret = dir_path(path, sizeof(path), &none);

	if (!ret && make && mkdir(path, 0700) && errno != EEXIST)
		ret = -errno;
	fd = ret ? -1 : open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0) {
		ret = ret ? ret : -errno;
		snprintf(err, errlen, "runtime directory %s: %s; wanted one that is yours: set VMMD_RUNTIME_DIR",
			 path, strerror(-ret));
		return ret;
	}
	if (!fstat(fd, &st) && st.st_uid == geteuid() && !(st.st_mode & none))
		return fd;
	close(fd);
	snprintf(err, errlen, "runtime directory %s: wanted one that is yours and that others cannot write to, found user %u and mode %03o: remove it, or set VMMD_RUNTIME_DIR",
		 path, (unsigned int)st.st_uid, (unsigned int)st.st_mode & 0777);
	return -EPERM;
}

static void file_name(char *file, const char *name, const char *suffix)
{
	snprintf(file, FILE_MAX, "%s%s", name, suffix);
}

/*
 * Through the directory's descriptor: a path of any length fits into an address,
 * and it is the directory that was looked at.
 */
static void address(struct sockaddr_un *addr, int dir, const char *name)
{
	memset(addr, 0, sizeof(*addr));
	addr->sun_family = AF_UNIX;
	static_assert(sizeof("/proc/self/fd/2147483647/") + FILE_MAX <=
		       sizeof(addr->sun_path), "a name fits");
	snprintf(addr->sun_path, sizeof(addr->sun_path), "/proc/self/fd/%d/%s.sock",
		 dir, name);
}

/* ---- the lock ------------------------------------------------------------- */

/* a descriptor that holds it; -EWOULDBLOCK: somebody else does, *pid if told */
static int lock_take(int dir, const char *name, bool make, pid_t *pid)
{
	char file[FILE_MAX], text[24] = "";
	struct stat mine, there;
	int fd, err;

	file_name(file, name, ".lock");
	for (;;) {
		fd = openat(dir, file, O_RDWR | O_NOFOLLOW | O_CLOEXEC |
				       (make ? O_CREAT : 0), 0600);
		if (fd < 0)
			return -errno;
		if (flock(fd, LOCK_EX | LOCK_NB)) {
			err = errno;
			if (pid && pread(fd, text, sizeof(text) - 1, 0) > 0)
				*pid = atoi(text);
			close(fd);
			return -err;
		}
		if (!fstat(fd, &mine) && !fstatat(dir, file, &there, 0) &&
		    mine.st_ino == there.st_ino && mine.st_dev == there.st_dev)
			return fd;
		close(fd);	/* its owner removed it: that was the end of it */
	}
}

/* with the lock held */
static void remove_files(int dir, const char *name)
{
	char file[FILE_MAX];

	file_name(file, name, ".sock");
	unlinkat(dir, file, 0);
	file_name(file, name, ".lock");
	unlinkat(dir, file, 0);
}

int names_take(struct names_own *own, const char *name, char *err, size_t errlen)
{
	const struct timespec pause = { .tv_nsec = 10000000 };
	unsigned int tries = 10;
	char text[24];
	pid_t pid = 0;
	int len;

	*own = (struct names_own){ .dir = -1, .lock = -1 };
	if (!names_valid(name)) {
		snprintf(err, errlen, "the name of a machine is " NAMES_RULE ", found '%s': give --name",
			 name);
		return -EINVAL;
	}
	strcpy(own->name, name);
	own->dir = names_dir(true, err, errlen);
	if (own->dir < 0)
		return own->dir;
	/* who looks for what is left over holds it for a moment, see lives() */
	do
		own->lock = lock_take(own->dir, name, true, &pid);
	while (own->lock == -EWOULDBLOCK && tries-- && !nanosleep(&pause, NULL));
	if (own->lock == -EWOULDBLOCK) {
		snprintf(err, errlen, "a machine named '%s' runs already, as process %d: choose another --name",
			 name, (int)pid);
		return -EEXIST;
	}
	if (own->lock < 0) {
		snprintf(err, errlen, "cannot make %s.lock in the runtime directory: %s",
			 name, strerror(-own->lock));
		return own->lock;
	}
	len = snprintf(text, sizeof(text), "%d\n", (int)getpid());
	if (ftruncate(own->lock, 0) || pwrite(own->lock, text, len, 0) != len) {
		snprintf(err, errlen, "cannot write %s.lock in the runtime directory: %s",
			 name, strerror(errno));
		return -EIO;
	}
	return 0;
}

int names_listen(struct names_own *own, char *err, size_t errlen)
{
	struct sockaddr_un addr;
	char file[FILE_MAX];
	int fd, e;

	file_name(file, own->name, ".sock");
	address(&addr, own->dir, own->name);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	/* what is there was of a VM that was killed: the lock is ours */
	if (fd >= 0)
		unlinkat(own->dir, file, 0);
	/* before bind, which makes the file with it: unix(7) */
	if (fd >= 0 && !fchmod(fd, 0600) &&
	    !bind(fd, (const void *)&addr, sizeof(addr))) {
		own->listens = true;
		if (!listen(fd, BACKLOG))
			return fd;
	}
	e = errno;
	if (fd >= 0)
		close(fd);
	snprintf(err, errlen, "cannot make the control socket %s in the runtime directory: %s",
		 file, strerror(e));
	return -e;
}

void names_release(struct names_own *own)
{
	if (own->lock >= 0) {
		remove_files(own->dir, own->name);
		close(own->lock);
	}
	if (own->dir >= 0)
		close(own->dir);
	*own = (struct names_own){ .dir = -1, .lock = -1 };
}

/* ---- for who looks for one ------------------------------------------------ */

static int connect_to(int dir, const char *name, pid_t *pid)
{
	struct sockaddr_un addr;
	struct ucred cred;
	socklen_t len = sizeof(cred);
	int fd, e;

	address(&addr, dir, name);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -errno;
	if (connect(fd, (const void *)&addr, sizeof(addr))) {
		e = errno;
		close(fd);
		return -e;
	}
	*pid = getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cred, &len) ? 0 : cred.pid;
	return fd;
}

/* somebody holds its lock; if nobody does, what is left of it goes */
static bool lives(int dir, const char *name)
{
	int lock = lock_take(dir, name, false, NULL);

	if (lock >= 0) {
		remove_files(dir, name);
		close(lock);
	}
	return lock == -EWOULDBLOCK;
}

int names_connect(const char *name, pid_t *pid, char *err, size_t errlen)
{
	int dir, fd = -ENOENT;

	if (!names_valid(name)) {
		snprintf(err, errlen, "the name of a machine is " NAMES_RULE ", found '%s'",
			 name);
		return -EINVAL;
	}
	dir = names_dir(false, err, errlen);
	if (dir == -ENOENT)
		goto none;
	if (dir < 0)
		return dir;
	fd = connect_to(dir, name, pid);
	if (fd == -ECONNREFUSED || fd == -ENOENT)
		fd = lives(dir, name) ? -EAGAIN : -ENOENT;
	close(dir);
	if (fd >= 0)
		return fd;
none:
	if (fd == -ENOENT)
		snprintf(err, errlen, "no machine named '%s' runs: see vmmd list", name);
	else if (fd == -EAGAIN)
		snprintf(err, errlen, "the machine named '%s' is starting or ending: try again", name);
	else
		snprintf(err, errlen, "cannot connect to the machine named '%s': %s",
			 name, strerror(-fd));
	return fd;
}

static int by_name(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

/* NAME of NAME.lock whose owner lives, to be freed; NULL: it is none */
static char *live_name(int dir, const char *file)
{
	const char *dot = strrchr(file, '.');
	char *name;

	if (!dot || strcmp(dot, ".lock"))
		return NULL;
	name = strndup(file, dot - file);
	if (name && names_valid(name) && lives(dir, name))
		return name;
	free(name);
	return NULL;
}

char **names_list(char *err, size_t errlen)
{
	char **list = calloc(1, sizeof(*list)), **more, *name;
	int fd = names_dir(false, err, errlen);
	DIR *dir = fd >= 0 ? fdopendir(fd) : NULL;
	struct dirent *e;
	size_t n = 0;

	if (fd == -ENOENT)
		return list;
	if (!dir && fd >= 0)
		close(fd);
	while (list && dir && (e = readdir(dir))) {
		name = live_name(dirfd(dir), e->d_name);
		if (!name)
			continue;
		more = realloc(list, (n + 2) * sizeof(*list));
		if (!more) {
			free(name);
			break;
		}
		list = more;
		list[n++] = name;
		list[n] = NULL;
	}
	if (dir)
		closedir(dir);
	if (list && fd >= 0) {
		qsort(list, n, sizeof(*list), by_name);
		return list;
	}
	names_list_free(list);
	return NULL;
}

void names_list_free(char **list)
{
	size_t i;

	for (i = 0; list && list[i]; i++)
		free(list[i]);
	free(list);
}
