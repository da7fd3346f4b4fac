// SPDX-License-Identifier: GPL-2.0
#define _GNU_SOURCE 1		/* pipe2 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "detach.h"
#include "vm.h"

/* the child says that it is ready, or it ends */
static int parent(int fd, pid_t child)
{
	int status;
	ssize_t n;
	char c;

	do
		n = read(fd, &c, 1);
	while (n < 0 && errno == EINTR);
	if (n == 1)
		return VM_EXIT_OK;
	while (waitpid(child, &status, 0) < 0)
		if (errno != EINTR)
			return VM_EXIT_ERROR;
	/* it ended before it was ready, whatever it says: nothing runs */
	return WIFEXITED(status) && WEXITSTATUS(status) ? WEXITSTATUS(status) :
							  VM_EXIT_ERROR;
}

int detach_begin(int *fd, int *status)
{
	int pipes[2];
	pid_t pid;

	if (pipe2(pipes, O_CLOEXEC))
		return -errno;
	pid = fork();
	if (pid < 0) {
		close(pipes[0]);
		close(pipes[1]);
		return -errno;
	}
	if (pid) {
		close(pipes[1]);
		*status = parent(pipes[0], pid);
		close(pipes[0]);
		return 1;
	}
	close(pipes[0]);
	/* no terminal's hang-up, no Ctrl-C from here on */
	setsid();
	*fd = pipes[1];
	return 0;
}

bool detach_wanted(struct vm_options *opt, int *status)
{
	int ret = opt->detach ? detach_begin(&opt->ready_fd, status) : 0;

	if (ret < 0) {
		fprintf(stderr, "vmmd: cannot make a process in the background: %s\n",
			strerror(-ret));
		*status = VM_EXIT_ERROR;
	}
	return ret;
}

bool detach_ready(int fd)
{
	int null = open("/dev/null", O_RDWR | O_CLOEXEC);
	struct stat st;
	bool told;

	if (null >= 0) {
		dup2(null, STDIN_FILENO);
		dup2(null, STDOUT_FILENO);
		if (fstat(STDERR_FILENO, &st) || !S_ISREG(st.st_mode))
			dup2(null, STDERR_FILENO);
		close(null);
	}
	signal(SIGPIPE, SIG_IGN);
	told = write(fd, "", 1) == 1;
	close(fd);
	return told;
}
