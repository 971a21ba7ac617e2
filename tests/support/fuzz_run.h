/* fuzz_run.h: the main program of a fuzz target where no fuzzer drives it: seeded inputs, or files that a fuzzer left.
 *
 *     TARGET [-n COUNT] [-s SEED] [FILE...]
 *
 * Ends with a line "N passed, N failed"; a fault that the target finds ends the program. */
#ifndef MOTE_TESTS_SUPPORT_FUZZ_RUN_H
#define MOTE_TESTS_SUPPORT_FUZZ_RUN_H

#include <stddef.h>
#include <stdint.h>

struct fuzz_run {
    int (*target)(const uint8_t *data, size_t size_bytes);
    /* Makes an input of at most bytes_max; random: not 0. Returns its size. */
    size_t (*make)(uint64_t *random, uint8_t *data);
    uint64_t count; /* of inputs, where nothing else is asked for */
    size_t bytes_max; /* of an input, of a file too: the rest of a longer one is left out */
    void (*prepare)(void), (*finish)(void); /* may be NULL */
};
/* The exit code. */
int fuzz_run(const struct fuzz_run *run, int argc, char **argv);

#endif
