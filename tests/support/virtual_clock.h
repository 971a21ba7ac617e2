/* virtual_clock.h: time and randomness under a test's control, so that a run is the same each time for the same seed. Including it defines clock_gettime and getrandom for the whole
 * program in place of the C library's: so it is included by exactly one file of a program, and only by programs that use one thread.
 *
 * Each look at the clock moves it on by VIRTUAL_CLOCK_STEP_NS, so that whoever polls it until a time comes gets there. */
#ifndef MOTE_TESTS_SUPPORT_VIRTUAL_CLOCK_H
#define MOTE_TESTS_SUPPORT_VIRTUAL_CLOCK_H

#include <string.h>
#include <sys/random.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "tests/support/model.h"

#define VIRTUAL_CLOCK_STEP_NS 2000

static uint64_t virtual_clock_ns = 1000000000;
static uint64_t virtual_clock_random = 1;

int clock_gettime(clockid_t clock, struct timespec *time)
{
    (void)clock;
    virtual_clock_ns += VIRTUAL_CLOCK_STEP_NS;
    time->tv_sec = (time_t)(virtual_clock_ns / 1000000000u);
    time->tv_nsec = (long)(virtual_clock_ns % 1000000000u);
    return 0;
}

ssize_t getrandom(void *buffer, size_t length, unsigned flags)
{
    (void)flags;
    for (size_t i = 0; i < length; i++)
        ((unsigned char *)buffer)[i] = (unsigned char)random_next(&virtual_clock_random);
    return (ssize_t)length;
}

/* Begins anew, the same for the same seed. */
static void virtual_clock_reset(uint64_t seed)
{
    virtual_clock_ns = 1000000000;
    virtual_clock_random = seed;
}

static void virtual_clock_advance(int64_t ns) { virtual_clock_ns += (uint64_t)ns; }

/* The machine's own clock. */
static inline double real_seconds(void)
{
    struct timespec now;
    syscall(SYS_clock_gettime, CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

#endif
