/* bench.c: `mote bench`: runs the program mote-bench with the same arguments. It is a program of its own because it links what no user of the command needs; it is looked for beside this
 * executable, then in the libexec folder of the same prefix. It ends with the exit codes of the other subcommands.
 */
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "tools/tool.h"

int command_bench(int argc, char **argv)
{
    static const char *const places[] = {"/mote-bench", "/../libexec/mote-bench"};
    char own[PATH_MAX], path[PATH_MAX + 32], name[] = "mote bench";
    ssize_t length = readlink("/proc/self/exe", own, sizeof own - 1);
    char *slash = NULL;
    if (length > 0) {
        own[length] = '\0';
        slash = strrchr(own, '/');
    }
    if (!slash) {
        fprintf(stderr, "mote bench: cannot tell where this program lies: %s\n", strerror(errno));
        return TOOL_DEVICE;
    }
    *slash = '\0';
    (void)argc; /* argv ends with NULL, as execv wants it */
    argv[0] = name;
    for (size_t i = 0; i < sizeof places / sizeof places[0]; i++) {
        snprintf(path, sizeof path, "%s%s", own, places[i]);
        execv(path, argv);
        if (errno != ENOENT && errno != ENOTDIR) {
            fprintf(stderr, "mote bench: cannot run %s: %s\n", path, strerror(errno));
            return TOOL_DEVICE;
        }
    }
    fprintf(stderr, "mote bench: mote-bench is neither in %s nor in %s/../libexec; build with -DMOTE_BENCH=ON\n", own, own);
    return TOOL_DEVICE;
}
