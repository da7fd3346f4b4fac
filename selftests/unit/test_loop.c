// SPDX-License-Identifier: GPL-2.0
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <unistd.h>
#include <fcntl.h>
#include <cmocka.h>

#include "loop.h"

#define MS	1000000ULL

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

struct fixture {
	struct loop *loop;
	int a[2], b[2];			/* pipes */
	struct loop_fd *fa, *fb;
	struct loop_timer *t[3];
	unsigned int calls, limit;
	uint32_t events;
	char order[16];
};

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	f->loop = loop_new(&lock);
	*state = f;
	return !f->loop || pipe(f->a) || pipe(f->b);
}

static int teardown(void **state)
{
	struct fixture *f = *state;
	int i;

	loop_free(f->loop);
	for (i = 0; i < 2; i++) {
		close(f->a[i]);
		close(f->b[i]);
	}
	free(f);
	return 0;
}

/* the lock is held in every callback */
static void check_locked(void)
{
	assert_int_not_equal(pthread_mutex_trylock(&lock), 0);
}

static void stop(void *owner)
{
	struct fixture *f = owner;

	check_locked();
	loop_stop(f->loop, 7);
}

static void on_read(void *owner, uint32_t events)
{
	struct fixture *f = owner;
	char c;

	check_locked();
	f->events |= events;
	if (events & EPOLLIN)
		assert_int_equal(read(f->a[0], &c, 1), 1);
	if (++f->calls == f->limit)
		loop_stop(f->loop, 3);
}

static void test_stop(void **state)
{
	struct fixture *f = *state;

	loop_stop(f->loop, 5);
	loop_stop(f->loop, 6);		/* too late */
	assert_int_equal(loop_run(f->loop), 5);
}

static void test_fd(void **state)
{
	struct fixture *f = *state;

	f->limit = 3;
	f->fa = loop_fd_add(f->loop, f->a[0], EPOLLIN, on_read, f);
	assert_non_null(f->fa);
	assert_int_equal(write(f->a[1], "abc", 3), 3);
	assert_int_equal(loop_run(f->loop), 3);
	assert_int_equal(f->calls, 3);
}

static void test_bad_fd(void **state)
{
	struct fixture *f = *state;
	int plain = open("/proc/self/exe", O_RDONLY);

	assert_null(loop_fd_add(f->loop, plain, EPOLLIN, on_read, f));
	assert_null(loop_fd_add(f->loop, plain, 0, on_read, f));
	assert_null(loop_fd_add(f->loop, -1, EPOLLIN, on_read, f));
	close(plain);
}

/* a paused descriptor whose other end is gone must not make the loop spin */
static void test_paused(void **state)
{
	struct fixture *f = *state;

	f->fa = loop_fd_add(f->loop, f->a[0], 0, on_read, f);
	assert_non_null(f->fa);
	close(f->a[1]);
	f->t[0] = loop_timer_new(f->loop, stop, f);
	loop_timer_arm(f->t[0], loop_now() + 20 * MS);
	assert_int_equal(loop_run(f->loop), 7);
	assert_int_equal(f->calls, 0);
	f->a[1] = dup(f->a[0]);
}

static void resume(void *owner)
{
	struct fixture *f = owner;

	loop_fd_set(f->fa, EPOLLIN);
}

static void test_resumed(void **state)
{
	struct fixture *f = *state;

	f->limit = 1;
	f->fa = loop_fd_add(f->loop, f->a[0], EPOLLIN, on_read, f);
	loop_fd_set(f->fa, 0);
	assert_int_equal(write(f->a[1], "a", 1), 1);
	f->t[0] = loop_timer_new(f->loop, resume, f);
	loop_timer_arm(f->t[0], loop_now() + 5 * MS);
	assert_int_equal(loop_run(f->loop), 3);
	assert_int_equal(f->calls, 1);
}

/* whoever comes first removes both; the other one's event is queued already */
static void remove_both(void *owner, uint32_t events)
{
	struct fixture *f = owner;

	(void)events;
	f->calls++;
	loop_fd_remove(f->fa);
	loop_fd_remove(f->fb);
	loop_fd_remove(NULL);
	assert_int_equal(loop_post(f->loop, stop, f), 0);
}

static void test_remove_in_callback(void **state)
{
	struct fixture *f = *state;

	f->fa = loop_fd_add(f->loop, f->a[0], EPOLLIN, remove_both, f);
	f->fb = loop_fd_add(f->loop, f->b[0], EPOLLIN, remove_both, f);
	assert_int_equal(write(f->a[1], "a", 1), 1);
	assert_int_equal(write(f->b[1], "b", 1), 1);
	assert_int_equal(loop_run(f->loop), 7);
	assert_int_equal(f->calls, 1);
}

static void note(struct fixture *f, char c)
{
	f->order[f->calls++] = c;
}

static void fire0(void *owner)
{
	note(owner, '0');
}

static void fire1(void *owner)
{
	struct fixture *f = owner;

	note(f, '1');
	loop_timer_cancel(f->t[2]);	/* due at the same moment */
	assert_int_equal(loop_post(f->loop, stop, f), 0);
}

static void fire2(void *owner)
{
	note(owner, '2');
}

static void test_timers(void **state)
{
	struct fixture *f = *state;
	uint64_t now = loop_now();

	f->t[0] = loop_timer_new(f->loop, fire0, f);
	f->t[1] = loop_timer_new(f->loop, fire1, f);
	f->t[2] = loop_timer_new(f->loop, fire2, f);
	loop_timer_arm(f->t[2], now + 20 * MS + 1);
	loop_timer_arm(f->t[1], now + 20 * MS);
	loop_timer_arm(f->t[0], now + 10 * MS);
	usleep(25000);
	assert_int_equal(loop_run(f->loop), 7);
	assert_string_equal(f->order, "01");
	assert_true(loop_now() >= now + 20 * MS);
	loop_timer_free(f->t[0]);
	loop_timer_free(NULL);
}

/* a timer that always wants the past does not lock others out */
static void again(void *owner)
{
	struct fixture *f = owner;

	f->calls++;
	loop_timer_arm(f->t[0], 0);
}

static void test_greedy_timer(void **state)
{
	struct fixture *f = *state;

	f->t[0] = loop_timer_new(f->loop, again, f);
	loop_timer_arm(f->t[0], 0);
	f->limit = 0;
	f->fa = loop_fd_add(f->loop, f->a[0], EPOLLIN, remove_both, f);
	assert_int_equal(write(f->a[1], "a", 1), 1);
	assert_int_equal(loop_run(f->loop), 7);
}

static void count(void *owner)
{
	struct fixture *f = owner;

	check_locked();
	if (++f->calls == 4000)
		loop_stop(f->loop, 9);
}

static void *count_poster(void *arg)
{
	struct fixture *f = arg;
	int i;

	for (i = 0; i < 1000; i++)
		assert_int_equal(loop_post(f->loop, count, f), 0);
	return NULL;
}

/* none is lost and none runs twice */
static void test_posts(void **state)
{
	struct fixture *f = *state;
	pthread_t thread[4];
	int i;

	for (i = 0; i < 4; i++)
		pthread_create(&thread[i], NULL, count_poster, f);
	assert_int_equal(loop_run(f->loop), 9);
	for (i = 0; i < 4; i++)
		pthread_join(thread[i], NULL);
	assert_int_equal(f->calls, 4000);
	/* posted to a loop that ended: freed with it */
	assert_int_equal(loop_post(f->loop, count, f), 0);
}

/* a vCPU thread removes and adds while the loop is at work */
static void *churn(void *arg)
{
	struct fixture *f = arg;
	int i;

	for (i = 0; i < 2000; i++) {
		pthread_mutex_lock(&lock);
		loop_fd_remove(f->fb);
		f->fb = loop_fd_add(f->loop, f->b[0], EPOLLIN, on_read, f);
		pthread_mutex_unlock(&lock);
		if (write(f->a[1], "x", 1) != 1)
			break;
	}
	return NULL;
}

static void test_churn(void **state)
{
	struct fixture *f = *state;
	pthread_t thread;

	f->limit = 2000;
	f->fa = loop_fd_add(f->loop, f->a[0], EPOLLIN, on_read, f);
	pthread_create(&thread, NULL, churn, f);
	assert_int_equal(loop_run(f->loop), 3);
	pthread_join(thread, NULL);
	assert_int_equal(f->calls, 2000);
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_stop), T(test_fd), T(test_bad_fd), T(test_paused),
		T(test_resumed), T(test_remove_in_callback), T(test_timers),
		T(test_greedy_timer), T(test_posts), T(test_churn),
	};

	return cmocka_run_group_tests_name("loop", tests, NULL, NULL);
}
