/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The event loop: file descriptors and timers of one VM, run by one thread
 * (the main one). Callbacks run with the machine lock held; adding, arming and
 * removing are allowed from any thread that holds it.
 */
#ifndef VMMD_LOOP_H
#define VMMD_LOOP_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

struct loop;
struct loop_fd;
struct loop_timer;

struct loop *loop_new(pthread_mutex_t *machine_lock);
void loop_free(struct loop *loop);
int loop_run(struct loop *loop);	/* until loop_stop; its code */
void loop_stop(struct loop *loop, int code);	/* any thread, any time */

/* events: EPOLLIN, EPOLLOUT; 0 is allowed (paused). NULL: out of memory/EPERM */
struct loop_fd *loop_fd_add(struct loop *loop, int fd, uint32_t events,
			    void (*fn)(void *owner, uint32_t events), void *owner);
void loop_fd_set(struct loop_fd *lf, uint32_t events);
void loop_fd_remove(struct loop_fd *lf);

struct loop_timer *loop_timer_new(struct loop *loop, void (*fn)(void *owner),
				  void *owner);
void loop_timer_arm(struct loop_timer *t, uint64_t when_ns);	/* loop_now time */
void loop_timer_cancel(struct loop_timer *t);
void loop_timer_free(struct loop_timer *t);
uint64_t loop_now(void);		/* CLOCK_MONOTONIC, ns */

/* run fn once in the loop's thread, machine lock held; from any thread */
int loop_post(struct loop *loop, void (*fn)(void *owner), void *owner);

#endif
