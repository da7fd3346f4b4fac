// SPDX-License-Identifier: GPL-2.0
/*
 * To give the terminal back at any end needs the only state here outside a
 * struct, since a terminal belongs to the process.
 */
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <termios.h>
#include <unistd.h>

#include "terminal.h"

#define ESCAPE		0x01	/* Ctrl-A */

static struct termios saved_termios;
static volatile sig_atomic_t termios_saved;

/*
 * In the background, reading would stop the whole process (SIGTTIN). A terminal
 * that does not control us (-1) has no background.
 */
bool terminal_ours(void)
{
	pid_t foreground = tcgetpgrp(STDIN_FILENO);

	return isatty(STDIN_FILENO) &&
	       (foreground < 0 || foreground == getpgrp());
}

void terminal_restore(void)
{
	sigset_t ttou, old;

	if (!termios_saved)
		return;
	termios_saved = 0;
	sigemptyset(&ttou);
	sigaddset(&ttou, SIGTTOU);	/* if in the background by now */
	sigprocmask(SIG_BLOCK, &ttou, &old);
	tcsetattr(STDIN_FILENO, TCSANOW, &saved_termios);
	sigprocmask(SIG_SETMASK, &old, NULL);
}

static void terminal_signal(int sig)
{
	terminal_restore();
	signal(sig, SIG_DFL);
	raise(sig);
}

/* signals that would end the process without a word to us */
static void terminal_guard(void)
{
	static const int sigs[] = {
		SIGHUP, SIGINT, SIGQUIT, SIGILL, SIGABRT, SIGBUS, SIGFPE,
		SIGSEGV, SIGTERM, SIGXCPU, SIGXFSZ, SIGSYS, SIGALRM,
	};
	struct sigaction sa, old;
	unsigned int i;

	memset(&sa, 0, sizeof(sa));
	sa.sa_handler = terminal_signal;
	for (i = 0; i < sizeof(sigs) / sizeof(sigs[0]); i++)
		if (!sigaction(sigs[i], NULL, &old) &&
		    old.sa_handler == SIG_DFL)
			sigaction(sigs[i], &sa, NULL);
	atexit(terminal_restore);
}

/* output processing stays on, so that vmmd's own messages look right */
void terminal_raw(void)
{
	static bool guarded;
	struct termios t;

	if (tcgetattr(STDIN_FILENO, &saved_termios))
		return;
	if (!guarded)
		terminal_guard();
	guarded = true;
	termios_saved = 1;
	t = saved_termios;
	cfmakeraw(&t);
	t.c_oflag = saved_termios.c_oflag;
	tcsetattr(STDIN_FILENO, TCSANOW, &t);
}

size_t terminal_filter(struct terminal_keys *keys, uint8_t *buf, size_t len)
{
	size_t i, n = 0;

	for (i = 0; i < len; i++) {
		if (!keys->escaped && buf[i] == ESCAPE) {
			keys->escaped = true;
			continue;
		}
		if (keys->escaped && buf[i] != ESCAPE)
			keys->command(keys->owner, buf[i]);
		else
			buf[n++] = buf[i];
		keys->escaped = false;
	}
	return n;
}
