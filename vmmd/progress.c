// SPDX-License-Identifier: GPL-2.0
#include <stdio.h>
#include <unistd.h>

#include "progress.h"

#define WIDTH	40

void progress_show(struct progress *p, uint64_t done, uint64_t total)
{
	static const char bar[WIDTH + 1] = "########################################";
	int full;

	if (!isatty(STDERR_FILENO) || !total)
		return;
	if (done > total)
		done = total;
	full = (double)done / total * WIDTH;
	fprintf(stderr, "\r%s [%-*.*s] %3d %% of %llu MiB ", p->what, WIDTH, full, bar,
		(int)((double)done / total * 100), (unsigned long long)(total >> 20));
	p->shown = true;
}

void progress_end(struct progress *p)
{
	if (p->shown)
		fputc('\n', stderr);
	p->shown = false;
}
