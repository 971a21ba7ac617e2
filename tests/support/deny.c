/* deny.c: see deny.h. The filter: load the call's number, one comparison for each denied call, then allow; for another architecture's calls: allow. */
#include "tests/support/deny.h"

#include <assert.h>
#include <errno.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

#if defined(__x86_64__)
#define THIS_ARCHITECTURE AUDIT_ARCH_X86_64
#elif defined(__aarch64__)
#define THIS_ARCHITECTURE AUDIT_ARCH_AARCH64
#else
#error "deny.c does not know this architecture"
#endif

enum { DENIED_MAX = 16 };

int deny_syscalls(const int *numbers, unsigned count, int with_errno)
{
    struct sock_filter filter[DENIED_MAX + 6];
    unsigned short at = 0;
    assert(count <= DENIED_MAX && with_errno > 0);
    filter[at++] = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, arch));
    filter[at++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, THIS_ARCHITECTURE, 1, 0);
    filter[at++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
    filter[at++] = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr));
    for (unsigned i = 0; i < count; i++)
        filter[at++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (unsigned)numbers[i], (unsigned char)(count - i), 0);
    filter[at++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
    filter[at++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | ((unsigned)with_errno & SECCOMP_RET_DATA));
    struct sock_fprog program = {.len = at, .filter = filter};
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 || prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) != 0)
        return errno;
    return 0;
}

int deny_io_uring(int with_errno)
{
    static const int numbers[] = {SYS_io_uring_setup, SYS_io_uring_enter, SYS_io_uring_register};
    return deny_syscalls(numbers, sizeof numbers / sizeof *numbers, with_errno);
}

int deny_libaio(int with_errno)
{
    static const int numbers[] = {SYS_io_setup, SYS_io_submit, SYS_io_getevents};
    return deny_syscalls(numbers, sizeof numbers / sizeof *numbers, with_errno);
}
