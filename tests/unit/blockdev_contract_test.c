/* blockdev_contract_test.c: the contract of blockdev.h over io_uring, libaio and threads on an image file, and what only an image file can provoke: ends that move,
 * short transfers, failures in the middle of a chain, denied system calls. */
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "blockdev/base/units.h"
#include "blockdev/faulty.h"
#include "blockdev/probe.h"
#include "blockdev/sim.h"
#include "include/mote.h"
#include "tests/support/blockdev_contract.h"
#include "tests/support/deny.h"
#include "tests/support/tempdir.h"

static struct tempdir folder;

static void make_folder(void) { tempdir_make(&folder); }
static void remove_folder(void) { tempdir_remove(&folder); }
TestSuite(blockdev, .init = make_folder, .fini = remove_folder, .timeout = 120);

static const struct {
    uint32_t number;
    const char *name;
} backends[] = {{MOTE_BACKEND_IO_URING, "io_uring"}, {MOTE_BACKEND_LIBAIO, "libaio"}, {MOTE_BACKEND_THREADS, "threads"}};
enum { BACKENDS = 3, IMAGE_BYTES = CONTRACT_BYTES_MIN + 64 * 1024 };

/* Opens a fresh image with a backend; sparse to be quick. */
static struct blockdev *open_image(const char *name, uint32_t backend)
{
    struct blockdev_open_options options = {.backend = backend, .busy_timeout_ms = 2000};
    struct blockdev *device = NULL;
    struct mote_error error;
    const char *path = tempdir_file(&folder, name);
    if (access(path, F_OK) != 0)
        cr_assert_eq(blockdev_image_create(path, IMAGE_BYTES, true, NULL, NULL), MOTE_OK);
    if (blockdev_open(path, &options, &device) != MOTE_OK) {
        mote_last_error(&error);
        cr_assert_fail("%s", error.message);
    }
    return device;
}

static void run_contract_on(unsigned backend)
{
    uint64_t seed = (uint64_t)time(NULL);
    struct blockdev *device = open_image("image", backends[backend].number);
    cr_assert_str_eq(blockdev_backend(device), backends[backend].name);
    cr_assert_str_eq(blockdev_backend_reason(device), "");
    cr_expect_eq(contract_run(device, seed), 0, "seed %" PRIu64, seed);
    blockdev_close(device);
}

Test(blockdev, io_uring_on_an_image_fulfils_the_contract) { run_contract_on(0); }
Test(blockdev, libaio_on_an_image_fulfils_the_contract) { run_contract_on(1); }
Test(blockdev, threads_on_an_image_fulfil_the_contract) { run_contract_on(2); }

/* The simulated disk and the fault injector stand in for a device in other tests: they keep the same contract. */
Test(blockdev, sim_fulfils_the_contract)
{
    uint64_t seed = (uint64_t)time(NULL);
    for (unsigned i = 0; i < 4; i++) {
        struct sim_options options = {.size_bytes = CONTRACT_BYTES_MIN, .logical_block_bytes = i % 2 ? 4096 : 512, .seed = seed, .reorder = i >= 2};
        struct blockdev *device = NULL;
        cr_assert_eq(sim_create(&options, &device), MOTE_OK);
        cr_expect_eq(contract_run(device, seed), 0, "seed %" PRIu64 ", %u", seed, i);
        blockdev_close(device);
    }
}

Test(blockdev, faulty_without_rules_fulfils_the_contract)
{
    uint64_t seed = (uint64_t)time(NULL);
    for (unsigned i = 0; i < BACKENDS; i++) {
        struct blockdev *device = NULL;
        cr_assert_eq(faulty_create(open_image("image", backends[i].number), &device), MOTE_OK);
        cr_expect_eq(contract_run(device, seed), 0, "seed %" PRIu64 ", %s", seed, blockdev_backend(device));
        blockdev_close(device);
    }
}

static struct blockdev_queue *make_queue(struct blockdev *device, unsigned depth)
{
    struct blockdev_queue_options options = {.depth = depth};
    struct blockdev_queue *queue = NULL;
    cr_assert_eq(blockdev_queue_create(device, &options, &queue), MOTE_OK);
    return queue;
}

static void submit_and_wait(struct blockdev_queue *queue, struct blockdev_request *requests, unsigned count)
{
    struct blockdev_request *all[16], *done[16];
    for (unsigned i = 0; i < count; i++)
        all[i] = &requests[i];
    cr_assert_eq(blockdev_submit(queue, all, count), (int)count);
    cr_assert_eq(blockdev_reap(queue, count, 10 * NS_PER_S, done, 16), (int)count);
}

/* Rule 4: the file ends inside the request, or before it; the device's size is of before. */
Test(blockdev, read_past_a_moved_end_is_an_error)
{
    for (unsigned i = 0; i < BACKENDS; i++) {
        struct blockdev *device = open_image(backends[i].name, backends[i].number);
        struct blockdev_queue *queue = make_queue(device, 8);
        uint8_t *data = contract_buffer(MIB_BYTES, 1);
        cr_assert_eq(truncate(blockdev_path(device), MIB_BYTES + 5 * PAGE_BYTES / 2), 0);
        struct blockdev_request requests[3] = {contract_request(BLOCKDEV_READ, MIB_BYTES, 4 * PAGE_BYTES, data, 0),
                                               contract_request(BLOCKDEV_READ, 2 * MIB_BYTES, PAGE_BYTES, data + 4 * PAGE_BYTES, 0),
                                               contract_request(BLOCKDEV_READ, MIB_BYTES, 2 * PAGE_BYTES, data + 8 * PAGE_BYTES, 0)};
        submit_and_wait(queue, requests, 3);
        cr_expect_eq(requests[0].result, MOTE_EIO, "%s", backends[i].name);
        cr_expect_eq(requests[1].result, MOTE_EIO, "%s", backends[i].name);
        cr_expect_eq(requests[2].result, MOTE_OK, "%s", backends[i].name);
        cr_expect_eq(blockdev_read_range(queue, MIB_BYTES, data, MIB_BYTES), MOTE_EIO);
        struct mote_error error;
        mote_last_error(&error);
        cr_expect_not_null(strstr(error.message, "cannot read"));
        cr_expect_str_eq(error.device, blockdev_path(device));
        cr_expect_eq(blockdev_refresh(device), MOTE_OK);
        cr_expect_eq(blockdev_geometry(device)->size_bytes, (MIB_BYTES + 5 * PAGE_BYTES / 2) / blockdev_geometry(device)->logical_block_bytes * blockdev_geometry(device)->logical_block_bytes);
        cr_expect_eq(blockdev_read_range(queue, MIB_BYTES, data, MIB_BYTES), MOTE_EINVAL);
        cr_assert_eq(truncate(blockdev_path(device), 0), 0);
        cr_expect_eq(blockdev_refresh(device), MOTE_ENODEV);
        blockdev_queue_destroy(queue);
        blockdev_close(device);
        free(data);
    }
}

/* Rule 2: what is linked behind a failure completes as cancelled and is not done; what is not linked is. */
Test(blockdev, chain_behind_a_failure_is_cancelled)
{
    for (unsigned i = 0; i < BACKENDS; i++) {
        struct blockdev *device = open_image(backends[i].name, backends[i].number);
        struct blockdev_queue *queue = make_queue(device, 16);
        uint8_t *data = contract_buffer(8 * PAGE_BYTES, 1), *kept = contract_buffer(8 * PAGE_BYTES, 2), *seen = contract_buffer(8 * PAGE_BYTES, 3);
        cr_assert_eq(blockdev_write_range(queue, BLOCKDEV_SOURCE_OTHER, 0, kept, 8 * PAGE_BYTES), MOTE_OK);
        cr_assert_eq(truncate(blockdev_path(device), MIB_BYTES + PAGE_BYTES), 0);
        for (unsigned failing = 0; failing < 4; failing++) {
            /* A read that fails, whole or short, as each link of a chain of writes; then an unlinked write. */
            for (unsigned part = 0; part < 2; part++) {
                struct blockdev_request requests[5];
                for (unsigned k = 0; k < 4; k++)
                    requests[k] = contract_request(BLOCKDEV_WRITE, k * (uint64_t)PAGE_BYTES, PAGE_BYTES, data + k * PAGE_BYTES, k < 3 ? BLOCKDEV_LINK : 0);
                requests[failing] = contract_request(BLOCKDEV_READ, MIB_BYTES + (part ? 0 : PAGE_BYTES), 2 * PAGE_BYTES, data + 6 * PAGE_BYTES, failing < 3 ? BLOCKDEV_LINK : 0);
                requests[4] = contract_request(BLOCKDEV_WRITE, 5 * PAGE_BYTES, PAGE_BYTES, data + 5 * PAGE_BYTES, 0);
                submit_and_wait(queue, requests, 5);
                for (unsigned k = 0; k < 4; k++) {
                    cr_expect_eq(requests[k].result, k < failing ? MOTE_OK : MOTE_EIO, "%s: link %u, failing %u", backends[i].name, k, failing);
                    if (k > failing)
                        cr_expect_eq(requests[k].system_errno, ECANCELED);
                }
                cr_expect_eq(requests[4].result, MOTE_OK);
                cr_assert_eq(blockdev_read_range(queue, 0, seen, 6 * PAGE_BYTES), MOTE_OK);
                cr_expect_arr_eq(seen, data, failing * PAGE_BYTES);
                cr_expect_arr_eq(seen + failing * PAGE_BYTES, kept + failing * PAGE_BYTES, (5 - failing) * PAGE_BYTES);
                cr_expect_arr_eq(seen + 5 * PAGE_BYTES, data + 5 * PAGE_BYTES, PAGE_BYTES);
                cr_assert_eq(blockdev_write_range(queue, BLOCKDEV_SOURCE_OTHER, 0, kept, 8 * PAGE_BYTES), MOTE_OK);
            }
        }
        blockdev_queue_destroy(queue);
        blockdev_close(device);
        free(data);
        free(kept);
        free(seen);
    }
}

/* Rule 4 and 6: a file size limit in the middle of a write makes it short; the rest fails; it is one error, and nothing calls it a success. */
Test(blockdev, write_cut_short_is_an_error)
{
    struct rlimit limit, before;
    signal(SIGXFSZ, SIG_IGN);
    cr_assert_eq(getrlimit(RLIMIT_FSIZE, &before), 0);
    for (unsigned i = 0; i < BACKENDS; i++) {
        struct blockdev *device = open_image(backends[i].name, backends[i].number);
        struct blockdev_queue *queue = make_queue(device, 8);
        uint8_t *data = contract_buffer(4 * PAGE_BYTES, 1);
        struct blockdev_counters counters;
        limit = before;
        limit.rlim_cur = MIB_BYTES + 2 * PAGE_BYTES;
        cr_assert_eq(setrlimit(RLIMIT_FSIZE, &limit), 0);
        struct blockdev_request requests[4] = {contract_request(BLOCKDEV_WRITE, MIB_BYTES, 4 * PAGE_BYTES, data, 0), contract_request(BLOCKDEV_WRITE, 0, PAGE_BYTES, data, 0),
                                               contract_request(BLOCKDEV_WRITE, MIB_BYTES, 4 * PAGE_BYTES, data, BLOCKDEV_LINK | BLOCKDEV_FUA),
                                               contract_request(BLOCKDEV_FLUSH, 0, 0, NULL, 0)};
        submit_and_wait(queue, requests, 4);
        cr_assert_eq(setrlimit(RLIMIT_FSIZE, &before), 0);
        cr_expect(requests[0].result == MOTE_EIO || requests[0].result == MOTE_ENOSPC, "%s: %d", backends[i].name, requests[0].result);
        cr_expect_eq(requests[1].result, MOTE_OK);
        cr_expect(requests[2].result == MOTE_EIO || requests[2].result == MOTE_ENOSPC);
        cr_expect(requests[3].result == MOTE_EIO && requests[3].system_errno == ECANCELED);
        blockdev_get_counters(device, &counters);
        cr_expect_eq(counters.error_count, 3);
        cr_expect_eq(counters.written_bytes[BLOCKDEV_SOURCE_OTHER], PAGE_BYTES);
        blockdev_queue_destroy(queue);
        blockdev_close(device);
        free(data);
    }
}

Test(blockdev, write_on_a_read_only_device_is_refused)
{
    for (unsigned i = 0; i < BACKENDS; i++) {
        struct blockdev *device = open_image("image", backends[i].number);
        blockdev_close(device);
        struct blockdev_open_options options = {.backend = backends[i].number, .read_only = true};
        cr_assert_eq(blockdev_open(tempdir_file(&folder, "image"), &options, &device), MOTE_OK);
        cr_expect(blockdev_geometry(device)->read_only);
        struct blockdev_queue *queue = make_queue(device, 4);
        uint8_t *data = contract_buffer(PAGE_BYTES, 1);
        cr_expect_eq(blockdev_write_range(queue, BLOCKDEV_SOURCE_OTHER, 0, data, PAGE_BYTES), MOTE_EREADONLY);
        cr_expect_eq(blockdev_discard_range(queue, 0, PAGE_BYTES), MOTE_EREADONLY);
        cr_expect_eq(blockdev_read_range(queue, 0, data, PAGE_BYTES), MOTE_OK);
        cr_expect_eq(blockdev_flush(queue), MOTE_OK);
        cr_expect_eq(data[0] | data[PAGE_BYTES - 1], 0);
        blockdev_queue_destroy(queue);
        blockdev_close(device);
        free(data);
    }
}

Test(blockdev, registered_memory_is_used_where_the_kernel_allows)
{
    uint8_t *memory = contract_buffer(4 * MIB_BYTES, 1);
    for (unsigned i = 0; i < BACKENDS; i++) {
        struct blockdev *device = open_image("image", backends[i].number);
        struct blockdev_queue_options options = {.depth = 4, .registered_base = memory, .registered_bytes = 4 * MIB_BYTES};
        struct blockdev_queue *queue = NULL;
        cr_assert_eq(blockdev_queue_create(device, &options, &queue), MOTE_OK);
        cr_expect_eq(blockdev_queue_registered(queue), i == 0);
        cr_expect_eq(blockdev_queue_device(queue), device);
        blockdev_queue_destroy(queue);
        blockdev_close(device);
    }
    free(memory);
}

/* The tiers: each denial passes to the next backend, and the reason is kept; a backend asked for by name is not replaced. */
static void expect_backend(uint32_t asked, const char *name, const char *reason)
{
    struct blockdev *device = open_image("image", asked);
    cr_expect_str_eq(blockdev_backend(device), name);
    cr_expect_str_eq(blockdev_backend_reason(device), reason);
    struct blockdev_queue *queue = make_queue(device, 8);
    uint8_t *data = contract_buffer(MIB_BYTES, 1), *seen = contract_buffer(MIB_BYTES, 2);
    cr_expect_eq(blockdev_write_range(queue, BLOCKDEV_SOURCE_OTHER, 0, data, MIB_BYTES), MOTE_OK);
    cr_expect_eq(blockdev_flush(queue), MOTE_OK);
    cr_expect_eq(blockdev_read_range(queue, 0, seen, MIB_BYTES), MOTE_OK);
    cr_expect_arr_eq(seen, data, MIB_BYTES);
    blockdev_queue_destroy(queue);
    blockdev_close(device);
    free(data);
    free(seen);
}

static void expect_refusal(uint32_t asked, const char *name, const char *why)
{
    struct blockdev_open_options options = {.backend = asked};
    struct blockdev *device = NULL;
    struct mote_error error;
    cr_expect_eq(blockdev_open(tempdir_file(&folder, "image"), &options, &device), MOTE_ENOTSUP);
    mote_last_error(&error);
    cr_expect(device == NULL && strstr(error.message, name) && strstr(error.message, why), "%s", error.message);
}

Test(blockdev, nothing_denied_takes_io_uring) { expect_backend(MOTE_BACKEND_AUTO, "io_uring", ""); }

Test(blockdev, io_uring_denied_falls_back_to_libaio)
{
    cr_assert_eq(deny_io_uring(EPERM), 0);
    expect_backend(MOTE_BACKEND_AUTO, "libaio", "io_uring: Operation not permitted");
    expect_refusal(MOTE_BACKEND_IO_URING, "io_uring", "Operation not permitted");
    expect_backend(MOTE_BACKEND_THREADS, "threads", "");
}

Test(blockdev, io_uring_and_libaio_denied_fall_back_to_threads)
{
    cr_assert_eq(deny_io_uring(ENOSYS), 0);
    cr_assert_eq(deny_libaio(EACCES), 0);
    expect_backend(MOTE_BACKEND_AUTO, "threads", "io_uring: Function not implemented; libaio: Permission denied");
    expect_refusal(MOTE_BACKEND_LIBAIO, "libaio", "Permission denied");
}

Test(blockdev, libaio_denied_keeps_io_uring)
{
    cr_assert_eq(deny_libaio(EPERM), 0);
    expect_backend(MOTE_BACKEND_AUTO, "io_uring", "");
}
