/* thread.h: what the library's own threads ask of the scheduler. A commit takes a few hundred microseconds, and a thread that computes without a pause keeps its processor for the scheduler's slice, 3 to 4 ms: where there are as many busy
 * threads as processors, each wake of a thread that somebody waits for may cost that. So threads that only react ask for short slices, and threads that compute in the background step aside between pieces of work.
 *
 * Nothing here needs privileges, and nothing fails: what a kernel does not know it does not do. The application's threads are left as they are. Threads: the calling one is meant.
 */
#ifndef MOTE_BLOCKDEV_BASE_THREAD_H
#define MOTE_BLOCKDEV_BASE_THREAD_H

/* The calling thread's name, at most 15 bytes, as ps and top show it. */
void thread_name(const char *name);
/* The calling thread mostly sleeps and does little when it is woken: a slice of 100 us (sched_setattr, since Linux 6.12; earlier kernels take it and do nothing), so that a wake takes the processor from one that has a long slice. Its
 * nice value, and what time-critical policy the application may have set, stay. */
void thread_prefer_latency(void);
/* One turn of a short wait for another processor, some ten nanoseconds. On aarch64 isb: yield does nothing on most cores, and a loop that counts turns would give up too soon. */
static inline void thread_pause(void)
{
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("isb" ::: "memory");
#endif
}
/* Lets others run, if any wait: some 0.3 us where none does. Between pieces of background work of 100 to 300 us. */
void thread_step_aside(void);

#endif
