/* fuzz_run.c: see fuzz_run.h. */
#include "tests/support/fuzz_run.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static bool replay_file(const struct fuzz_run *run, const char *path, uint8_t *data)
{
    FILE *file = fopen(path, "rb");
    if (!file) {
        fprintf(stderr, "%s cannot be read\n", path);
        return false;
    }
    size_t size_bytes = fread(data, 1, run->bytes_max, file);
    fclose(file);
    (void)run->target(data, size_bytes);
    return true;
}

int fuzz_run(const struct fuzz_run *run, int argc, char **argv)
{
    uint64_t seed = 1, count = run->count, files = 0, failed = 0;
    uint8_t *data = malloc(run->bytes_max);
    if (!data)
        abort();
    if (run->prepare)
        run->prepare();
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "-n") == 0 && i + 1 < argc) {
            count = strtoull(argv[++i], NULL, 0);
        } else if (strcmp(argv[i], "-s") == 0 && i + 1 < argc) {
            seed = strtoull(argv[++i], NULL, 0);
        } else {
            files++;
            failed += !replay_file(run, argv[i], data);
        }
    }
    uint64_t random = seed ? seed : 1;
    if (files == 0)
        printf("seed %llu\n", (unsigned long long)seed);
    for (uint64_t i = 0; files == 0 && i < count; i++)
        (void)run->target(data, run->make(&random, data));
    if (run->finish)
        run->finish();
    free(data);
    printf("%llu passed, %llu failed\n", (unsigned long long)((files ? files : count) - failed), (unsigned long long)failed);
    return failed != 0;
}
