/* blockdev_contract_stress_test.c: the contract over each backend on an image file as a plain program, so that ThreadSanitizer can watch its threads. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "blockdev/probe.h"
#include "include/mote.h"
#include "tests/support/blockdev_contract.h"
#include "tests/support/tempdir.h"

int main(int argc, char **argv)
{
    uint64_t seed = argc > 1 ? strtoull(argv[1], NULL, 0) : (uint64_t)time(NULL);
    struct tempdir folder;
    unsigned failed = 0, passed = 0;
    tempdir_make(&folder);
    printf("seed %" PRIu64 "\n", seed);
    for (uint32_t backend = MOTE_BACKEND_IO_URING; backend <= MOTE_BACKEND_THREADS; backend++) {
        struct blockdev_open_options options = {.backend = backend};
        struct blockdev *device = NULL;
        struct mote_error error;
        char name[16];
        snprintf(name, sizeof name, "image%u", backend);
        int result = blockdev_image_create(tempdir_file(&folder, name), CONTRACT_BYTES_MIN, true, NULL, NULL);
        if (result == MOTE_OK)
            result = blockdev_open(tempdir_file(&folder, name), &options, &device);
        if (result == MOTE_ENOTSUP) {
            mote_last_error(&error);
            printf("SKIPPED: %s\n", error.message);
            continue;
        }
        unsigned failures = result == MOTE_OK ? contract_run(device, seed) : 1;
        *(failures ? &failed : &passed) += 1;
        blockdev_close(device);
    }
    tempdir_remove(&folder);
    printf("%u passed, %u failed\n", passed, failed);
    return failed != 0;
}
