/* deny.h: takes system calls away from the calling process with a seccomp filter, as a container's profile does. It cannot be undone: call it in a process of
 * its own (Criterion runs each test in one; plain programs fork). The calling thread and those it starts later are concerned. */
#ifndef MOTE_TESTS_DENY_H
#define MOTE_TESTS_DENY_H

/* Lets the system calls fail with this errno. Returns 0 or the errno with which the kernel refused the filter. */
int deny_syscalls(const int *numbers, unsigned count, int with_errno);
int deny_io_uring(int with_errno);
int deny_libaio(int with_errno);

#endif
