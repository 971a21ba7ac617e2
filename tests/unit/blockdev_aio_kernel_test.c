/* blockdev_aio_kernel_test.c: the libaio backend on kernels that this machine does not have: without IOCB_CMD_FDSYNC and IOCB_CMD_POLL (before 4.18), or without room for a
 * whole batch. The backend is compiled in here with io_submit replaced; the linker then takes these definitions of aio_ops
 * instead of the library's. */
#include <libaio.h>
#include <stdbool.h>

static bool know_fdsync = true, know_poll = true;
static long take_at_most = -1; /* requests that one io_submit takes; -1: all; 0: EAGAIN */
static unsigned refusals;

/* Stops at the first request that the pretended kernel does not know, as a real one does. */
static int pretend_submit(io_context_t context, long count, struct iocb **batch)
{
    long known = 0;
    while (known < count && !(batch[known]->aio_lio_opcode == IO_CMD_FDSYNC && !know_fdsync) && !(batch[known]->aio_lio_opcode == IO_CMD_POLL && !know_poll))
        known++;
    if (known == 0 && count > 0) {
        refusals++;
        return -22; /* EINVAL */
    }
    if (take_at_most >= 0 && known > take_at_most)
        known = take_at_most;
    return known == 0 && count > 0 ? -11 /* EAGAIN */ : io_submit(context, known, batch);
}

#define io_submit pretend_submit
#include "blockdev/aio.c" /* the unit under test */
#undef io_submit

#include <criterion/criterion.h>
#include <time.h>

#include "blockdev/probe.h"
#include "include/mote.h"
#include "tests/support/blockdev_contract.h"
#include "tests/support/tempdir.h"

static struct tempdir folder;

static void make_folder(void) { tempdir_make(&folder); }
static void remove_folder(void) { tempdir_remove(&folder); }
TestSuite(aio, .init = make_folder, .fini = remove_folder, .timeout = 60);

static struct blockdev *open_image(void)
{
    struct blockdev_open_options options = {.backend = MOTE_BACKEND_LIBAIO};
    struct blockdev *device = NULL;
    cr_assert_eq(blockdev_image_create(tempdir_file(&folder, "image"), CONTRACT_BYTES_MIN, true, NULL, NULL), MOTE_OK);
    cr_assert_eq(blockdev_open(tempdir_file(&folder, "image"), &options, &device), MOTE_OK);
    return device;
}

static void expect_contract(void)
{
    uint64_t seed = (uint64_t)time(NULL);
    struct blockdev *device = open_image();
    cr_expect_eq(contract_run(device, seed), 0, "seed %" PRIu64, seed);
    blockdev_close(device);
}

Test(aio, kernel_without_fdsync_fulfils_the_contract)
{
    know_fdsync = false;
    expect_contract();
    cr_expect_gt(refusals, 0);
}

Test(aio, kernel_without_poll_fulfils_the_contract)
{
    know_poll = false;
    expect_contract();
    cr_expect_gt(refusals, 0);
}

Test(aio, kernel_that_takes_one_at_a_time_fulfils_the_contract)
{
    take_at_most = 1;
    expect_contract();
}

/* EAGAIN for everything, then room again: what was taken by submit is done by reap. */
Test(aio, kernel_without_room_delays_and_loses_nothing)
{
    struct blockdev *device = open_image();
    struct blockdev_queue_options options = {.depth = 8};
    struct blockdev_queue *queue = NULL;
    uint8_t *data = contract_buffer(8 * PAGE_BYTES, 1), *seen = contract_buffer(8 * PAGE_BYTES, 2);
    struct blockdev_request requests[8], *all[8], *done[8];
    cr_assert_eq(blockdev_queue_create(device, &options, &queue), MOTE_OK);
    for (unsigned i = 0; i < 8; i++) {
        requests[i] = contract_request(BLOCKDEV_WRITE, i * (uint64_t)PAGE_BYTES, PAGE_BYTES, data + i * PAGE_BYTES, i % 3 == 0 ? BLOCKDEV_LINK : 0);
        all[i] = &requests[i];
    }
    take_at_most = 0;
    cr_expect_eq(blockdev_submit(queue, all, 8), 8);
    cr_expect_eq(blockdev_reap(queue, 8, 20 * NS_PER_MS, done, 8), 0);
    take_at_most = -1;
    cr_expect_eq(blockdev_reap(queue, 8, 10 * NS_PER_S, done, 8), 8);
    for (unsigned i = 0; i < 8; i++)
        cr_expect_eq(requests[i].result, MOTE_OK);
    cr_expect_eq(blockdev_read_range(queue, 0, seen, 8 * PAGE_BYTES), MOTE_OK);
    cr_expect_arr_eq(seen, data, 8 * PAGE_BYTES);
    blockdev_queue_destroy(queue);
    blockdev_close(device);
    free(data);
    free(seen);
}
