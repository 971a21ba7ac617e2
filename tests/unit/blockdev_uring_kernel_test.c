/* blockdev_uring_kernel_test.c: the io_uring backend on kernels that this machine does not have: without the newer setup flags, without registered buffers, without a
 * discard command, short of memory in the middle of a batch. The backend is compiled in here with the calls into liburing replaced; the linker
 * then takes these definitions of uring_ops instead of the library's. */
#include <liburing.h>
#include <stdbool.h>
#include <stddef.h>

static unsigned known_flags = ~0u; /* setup flags that the pretended kernel knows */
static bool refuse_buffers;        /* locked-memory limit */
static int take_at_most = -1;      /* entries that one submit takes; -1: all */

static int pretend_queue_init(unsigned entries, struct io_uring *ring, unsigned flags)
{
    return flags & ~known_flags ? -22 /* EINVAL */ : io_uring_queue_init(entries, ring, flags);
}

static int pretend_register_buffers(struct io_uring *ring, const struct iovec *regions, unsigned count)
{
    return refuse_buffers ? -12 /* ENOMEM */ : io_uring_register_buffers(ring, regions, count);
}

static int pretend_submit(struct io_uring *ring)
{
    unsigned tail = ring->sq.sqe_tail;
    if (take_at_most < 0 || io_uring_sq_ready(ring) <= (unsigned)take_at_most)
        return io_uring_submit(ring);
    ring->sq.sqe_tail -= io_uring_sq_ready(ring) - (unsigned)take_at_most;
    int taken = take_at_most > 0 ? io_uring_submit(ring) : -11 /* EAGAIN */;
    ring->sq.sqe_tail = tail;
    return taken;
}

#define io_uring_queue_init pretend_queue_init
#define io_uring_register_buffers pretend_register_buffers
#define io_uring_submit pretend_submit
#include "blockdev/uring.c" /* the unit under test */
#undef io_uring_submit

#include <criterion/criterion.h>
#include <pthread.h>
#include <time.h>

#include "blockdev/probe.h"
#include "include/mote.h"
#include "tests/support/blockdev_contract.h"
#include "tests/support/tempdir.h"

static struct tempdir folder;

static void make_folder(void) { tempdir_make(&folder); }
static void remove_folder(void) { tempdir_remove(&folder); }
TestSuite(uring, .init = make_folder, .fini = remove_folder, .timeout = 60);

static struct blockdev *open_image(void)
{
    struct blockdev_open_options options = {.backend = MOTE_BACKEND_IO_URING};
    struct blockdev *device = NULL;
    cr_assert_eq(blockdev_image_create(tempdir_file(&folder, "image"), CONTRACT_BYTES_MIN, true, NULL, NULL), MOTE_OK);
    cr_assert_eq(blockdev_open(tempdir_file(&folder, "image"), &options, &device), MOTE_OK);
    return device;
}

static void expect_contract(unsigned expected_flags)
{
    uint64_t seed = (uint64_t)time(NULL);
    struct blockdev *device = open_image();
    struct blockdev_queue_options options = {.depth = 4};
    struct blockdev_queue *queue = NULL;
    cr_assert_eq(blockdev_queue_create(device, &options, &queue), MOTE_OK);
    cr_expect_eq(uring_of(queue)->setup_flags, expected_flags);
    blockdev_queue_destroy(queue);
    cr_expect_eq(contract_run(device, seed), 0, "seed %" PRIu64, seed);
    blockdev_close(device);
}

Test(uring, kernel_without_deferred_task_work_fulfils_the_contract)
{
    known_flags = IORING_SETUP_SUBMIT_ALL | IORING_SETUP_COOP_TASKRUN | IORING_SETUP_TASKRUN_FLAG;
    expect_contract(known_flags);
}

Test(uring, kernel_without_setup_flags_fulfils_the_contract)
{
    known_flags = 0;
    expect_contract(0);
}

Test(uring, refused_buffers_are_done_without)
{
    struct blockdev *device = open_image();
    uint8_t *memory = contract_buffer(MIB_BYTES, 1);
    struct blockdev_queue_options options = {.depth = 4, .registered_base = memory, .registered_bytes = MIB_BYTES};
    struct blockdev_queue *queue = NULL;
    refuse_buffers = true;
    cr_assert_eq(blockdev_queue_create(device, &options, &queue), MOTE_OK);
    cr_expect_not(blockdev_queue_registered(queue));
    cr_expect_eq(blockdev_write_range(queue, BLOCKDEV_SOURCE_OTHER, 0, memory, MIB_BYTES), MOTE_OK);
    blockdev_queue_destroy(queue);
    refuse_buffers = false;
    cr_assert_eq(blockdev_queue_create(device, &options, &queue), MOTE_OK);
    cr_expect(blockdev_queue_registered(queue));
    blockdev_queue_destroy(queue);
    blockdev_close(device);
    free(memory);
}

/* Which region a buffer belongs to, at the seams and outside. */
Test(uring, buffer_region_is_found_at_every_seam)
{
    uint8_t *base = (uint8_t *)(uintptr_t)(1ull << 40);
    struct uring_queue queue = {.registered_base = base, .registered_bytes = 2 * BUFFER_REGION_BYTES + MIB_BYTES};
    cr_expect_eq(find_region(&queue, base, PAGE_BYTES), 0);
    cr_expect_eq(find_region(&queue, base - PAGE_BYTES, PAGE_BYTES), -1);
    cr_expect_eq(find_region(&queue, base - PAGE_BYTES, 2 * PAGE_BYTES), -1);
    cr_expect_eq(find_region(&queue, base + BUFFER_REGION_BYTES - PAGE_BYTES, PAGE_BYTES), 0);
    cr_expect_eq(find_region(&queue, base + BUFFER_REGION_BYTES - PAGE_BYTES, 2 * PAGE_BYTES), -1);
    cr_expect_eq(find_region(&queue, base + BUFFER_REGION_BYTES, PAGE_BYTES), 1);
    cr_expect_eq(find_region(&queue, base + 2 * BUFFER_REGION_BYTES, MIB_BYTES), 2);
    cr_expect_eq(find_region(&queue, base + 2 * BUFFER_REGION_BYTES + MIB_BYTES - PAGE_BYTES, 2 * PAGE_BYTES), -1);
    queue.registered_base = NULL;
    cr_expect_eq(find_region(&queue, base, PAGE_BYTES), -1);
}

/* Invariant 3: the kernel stops in the middle of a batch. What it did not take is not taken, except the rest of a chain that was cut: cancelled. */
Test(uring, batch_that_is_cut_loses_nothing_and_breaks_no_chain)
{
    struct blockdev *device = open_image();
    struct blockdev_queue_options options = {.depth = 16};
    struct blockdev_queue *queue = NULL;
    uint8_t *data = contract_buffer(8 * PAGE_BYTES, 1);
    cr_assert_eq(blockdev_queue_create(device, &options, &queue), MOTE_OK);
    /* Requests 0; 1-2-3 a chain; 4; 5-6 a chain. Taken whole: */
    static const unsigned chain_end[7] = {1, 4, 4, 4, 5, 7, 7};
    static const bool linked[7] = {false, true, true, false, false, true, false};
    for (int limit = 0; limit <= 7; limit++) {
        struct blockdev_request requests[7], *all[7], *done[16];
        for (unsigned i = 0; i < 7; i++) {
            requests[i] = contract_request(BLOCKDEV_WRITE, i * (uint64_t)PAGE_BYTES, PAGE_BYTES, data + i * PAGE_BYTES, linked[i] ? BLOCKDEV_LINK : 0);
            all[i] = &requests[i];
        }
        take_at_most = limit;
        int taken = blockdev_submit(queue, all, 7);
        take_at_most = -1;
        if (limit == 0) {
            cr_expect_eq(taken, MOTE_ENOMEM); /* nothing is in flight that could free memory */
            continue;
        }
        unsigned expected = chain_end[limit - 1];
        cr_assert_eq(taken, (int)expected, "limit %d: %d", limit, taken);
        cr_assert_eq(blockdev_reap(queue, expected, 10 * NS_PER_S, done, 16), (int)expected);
        for (unsigned i = 0; i < expected; i++) {
            bool cancelled = i >= (unsigned)limit;
            cr_expect_eq(requests[i].result, cancelled ? MOTE_EIO : MOTE_OK);
            cr_expect_eq(requests[i].system_errno, cancelled ? ECANCELED : 0);
        }
        for (unsigned i = expected; i < 7; i++)
            cr_expect_eq(requests[i].result, 77, "untouched");
        /* The queue goes on as if nothing had been. */
        if (expected < 7) {
            cr_expect_eq(blockdev_submit(queue, all + expected, 7 - expected), (int)(7 - expected));
            cr_expect_eq(blockdev_reap(queue, 7 - expected, 10 * NS_PER_S, done, 16), (int)(7 - expected));
        }
    }
    /* With something in flight a kernel without memory means: later. */
    struct blockdev_request first = contract_request(BLOCKDEV_WRITE, 0, PAGE_BYTES, data, 0), second = first, *one = &first, *done;
    cr_expect_eq(blockdev_submit(queue, &one, 1), 1);
    take_at_most = 0;
    one = &second;
    cr_expect_eq(blockdev_submit(queue, &one, 1), 0);
    take_at_most = -1;
    cr_expect_eq(blockdev_reap(queue, 1, -1, &done, 1), 1);
    cr_expect_eq(blockdev_submit(queue, &one, 1), 1);
    cr_expect_eq(blockdev_reap(queue, 1, -1, &done, 1), 1);
    cr_expect(first.result == MOTE_OK && second.result == MOTE_OK);
    blockdev_queue_destroy(queue);
    blockdev_close(device);
    free(data);
}

static void *submit_from_thread(void *argument)
{
    struct blockdev_request request = {.op = BLOCKDEV_FLUSH}, *one = &request;
    struct blockdev_queue *queue = argument;
    int taken = blockdev_submit(queue, &one, 1);
    return (void *)(intptr_t)taken;
}

/* The ring of one thread refuses another: an error, not a hang and not a lost request. */
Test(uring, submit_from_a_second_thread_is_refused)
{
    struct blockdev *device = open_image();
    struct blockdev_queue_options options = {.depth = 16};
    struct blockdev_queue *queue = NULL;
    pthread_t thread;
    void *taken = NULL;
    cr_assert_eq(blockdev_queue_create(device, &options, &queue), MOTE_OK);
    cr_assert_eq(blockdev_flush(queue), MOTE_OK);
    bool single = (uring_of(queue)->setup_flags & IORING_SETUP_SINGLE_ISSUER) != 0;
    cr_assert_eq(pthread_create(&thread, NULL, submit_from_thread, queue), 0);
    cr_assert_eq(pthread_join(thread, &taken), 0);
    if (single)
        cr_expect_eq((int)(intptr_t)taken, MOTE_EINVAL);
    cr_expect(!single || blockdev_flush(queue) == MOTE_OK);
    blockdev_queue_destroy(queue);
    blockdev_close(device);
}

/* Without a discard command (before Linux 6.12) the ioctl does it; here the path of an image file. */
Test(uring, discard_without_a_command_fulfils_the_contract)
{
    uint64_t seed = (uint64_t)time(NULL);
    struct blockdev *device = open_image();
    atomic_store(&file_of(device)->discard_by_ioctl, true);
    cr_expect_eq(contract_run(device, seed), 0, "seed %" PRIu64, seed);
    blockdev_close(device);
}
