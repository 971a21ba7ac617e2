/* blockdev_faulty_test.c: each fault of the injector, over a simulated disk whose content tells what really happened. */
#include <criterion/criterion.h>
#include <errno.h>
#include <string.h>

#include "blockdev/base/units.h"
#include "blockdev/faulty.h"
#include "blockdev/sim.h"
#include "include/mote.h"
#include "tests/support/requests.h"

enum { DISK_BYTES = 1024 * 1024, WRITES = 1 << BLOCKDEV_WRITE, READS = 1 << BLOCKDEV_READ, FLUSHES = 1 << BLOCKDEV_FLUSH, DISCARDS = 1 << BLOCKDEV_DISCARD };

static struct blockdev *device;
static struct blockdev_queue *queue;
static uint8_t *data, *back;
static uint8_t content[DISK_BYTES];

static void set_up(void)
{
    struct sim_options options = {.size_bytes = DISK_BYTES, .logical_block_bytes = 512, .record = true};
    struct blockdev *inner;
    cr_assert_eq(sim_create(&options, &inner), 0);
    cr_assert_eq(faulty_create(inner, &device), 0);
    queue = requests_queue(device, 8);
    data = requests_buffer(16384, 0xAA);
    back = requests_buffer(16384, 0);
}

static void tear_down(void)
{
    blockdev_queue_destroy(queue);
    blockdev_close(device);
    free(data);
    free(back);
}

TestSuite(blockdev_faulty, .init = set_up, .fini = tear_down, .timeout = 10);

static int add(struct faulty_rule rule)
{
    int number = faulty_add(device, &rule);
    cr_assert_geq(number, 0);
    return number;
}

static uint8_t content_at(uint64_t offset_bytes)
{
    sim_read_content(faulty_inner(device), false, content);
    return content[offset_bytes];
}

Test(blockdev_faulty, without_rules_everything_passes)
{
    cr_expect_str_eq(blockdev_backend(device), "faulty(sim)");
    cr_expect_eq(requests_write(queue, 4096, data, 4096), 0);
    cr_expect_eq(requests_flush(queue), 0);
    cr_expect_eq(requests_read(queue, 4096, back, 4096), 0);
    cr_expect_arr_eq(data, back, 4096);
    cr_expect_eq(requests_do(queue, BLOCKDEV_DISCARD, 0, 4096, NULL, 4096), 0);
    cr_expect_eq(content_at(4096), SIM_LOST_BYTE);
    struct blockdev_counters counters;
    blockdev_get_counters(device, &counters);
    cr_expect_eq(counters.write_count, 1);
    cr_expect_eq(counters.flush_count, 1);
}

Test(blockdev_faulty, errno_hits_after_skip_so_many_times_and_in_range_only)
{
    int rule = add((struct faulty_rule){.kind = FAULTY_ERRNO, .op_mask = WRITES, .offset_bytes = 8192, .length_bytes = 4096, .skip = 1, .times = 2, .system_errno = EIO});
    static const int expected[5] = {0, MOTE_EIO, MOTE_EIO, 0, 0};
    for (int i = 0; i < 5; i++) {
        cr_expect_eq(requests_write(queue, 4096, data, 4096), 0, "outside the range");
        cr_expect_eq(requests_write(queue, 4096, data, 8192), expected[i], "touches the range");
        cr_expect_eq(requests_read(queue, 8192, back, 4096), 0);
        cr_expect_eq(requests_flush(queue), 0);
    }
    cr_expect_eq(faulty_hits(device, rule), 2);
    faulty_clear(device);
    for (unsigned op = BLOCKDEV_READ; op <= BLOCKDEV_DISCARD; op++) {
        add((struct faulty_rule){.kind = FAULTY_ERRNO, .op_mask = 1u << op, .times = UINT64_MAX, .system_errno = op == BLOCKDEV_WRITE ? ENOSPC : EIO});
        for (int i = 0; i < 3; i++)
            cr_expect_eq(requests_do(queue, (enum blockdev_op)op, 0, 0, op == BLOCKDEV_DISCARD ? NULL : data, op == BLOCKDEV_FLUSH ? 0 : 4096),
                         op == BLOCKDEV_WRITE ? MOTE_ENOSPC : MOTE_EIO);
        faulty_clear(device);
    }
    cr_expect_eq(content_at(0), 0, "a failed write does nothing");
}

Test(blockdev_faulty, source_mask_selects)
{
    add((struct faulty_rule){.kind = FAULTY_ERRNO, .op_mask = WRITES, .source_mask = 1 << BLOCKDEV_SOURCE_WAL, .times = UINT64_MAX, .system_errno = EIO});
    cr_expect_eq(blockdev_write_range(queue, BLOCKDEV_SOURCE_MANIFEST, 0, data, 4096), 0);
    cr_expect_eq(blockdev_write_range(queue, BLOCKDEV_SOURCE_WAL, 0, data, 4096), MOTE_EIO);
}

Test(blockdev_faulty, lost_is_reported_good_and_not_done)
{
    add((struct faulty_rule){.kind = FAULTY_LOST, .op_mask = WRITES | FLUSHES, .skip = 1, .times = 2});
    cr_expect_eq(requests_write(queue, 0, data, 512), 0);
    cr_expect_eq(requests_write(queue, 512, data, 512), 0);
    cr_expect_eq(requests_flush(queue), 0);
    cr_expect_eq(content_at(0), 0xAA);
    cr_expect_eq(content_at(512), 0);
    sim_read_content(faulty_inner(device), true, content);
    cr_expect_eq(content[0], 0, "the flush was lost too");
    cr_expect_eq(requests_flush(queue), 0);
    sim_read_content(faulty_inner(device), true, content);
    cr_expect_eq(content[0], 0xAA);
}

Test(blockdev_faulty, misdirected_lands_elsewhere_or_nowhere)
{
    add((struct faulty_rule){.kind = FAULTY_MISDIRECTED, .op_mask = WRITES, .times = 1, .shift_bytes = -4096});
    cr_expect_eq(requests_write(queue, 8192, data, 4096), 0);
    cr_expect_eq(content_at(4096), 0xAA);
    cr_expect_eq(content_at(8192), 0);
    add((struct faulty_rule){.kind = FAULTY_MISDIRECTED, .op_mask = READS, .times = 1, .shift_bytes = -4096});
    cr_expect_eq(requests_read(queue, 8192, back, 4096), 0);
    cr_expect_eq(back[0], 0xAA);
    add((struct faulty_rule){.kind = FAULTY_MISDIRECTED, .op_mask = WRITES, .times = 2, .shift_bytes = -8192});
    cr_expect_eq(requests_write(queue, 4096, data, 4096), 0, "below 0: lost");
    cr_expect_eq(requests_write(queue, 16384, data, 4096), 0);
    cr_expect_eq(content_at(8192), 0xAA);
}

Test(blockdev_faulty, bit_flips_in_reads_and_writes_leave_the_callers_data_alone)
{
    add((struct faulty_rule){.kind = FAULTY_BIT_FLIP, .op_mask = WRITES, .times = 1, .bit = 8 * 700 + 3});
    cr_expect_eq(requests_write(queue, 0, data, 4096), 0);
    cr_expect_eq(content_at(699), 0xAA);
    cr_expect_eq(content_at(700), 0xAA ^ 8);
    cr_expect_eq(data[700], 0xAA);
    add((struct faulty_rule){.kind = FAULTY_BIT_FLIP, .op_mask = READS, .times = 1, .bit = 8 * 10});
    cr_expect_eq(requests_read(queue, 0, back, 4096), 0);
    cr_expect_eq(back[10], 0xAB);
    cr_expect_eq(back[11], 0xAA);
    cr_expect_eq(content_at(10), 0xAA);
    cr_expect_eq(requests_read(queue, 0, back, 4096), 0);
    cr_expect_eq(back[10], 0xAA);
}

Test(blockdev_faulty, short_does_half_and_fails)
{
    add((struct faulty_rule){.kind = FAULTY_SHORT, .times = 4});
    cr_expect_eq(requests_write(queue, 0, data, 4096), MOTE_EIO);
    cr_expect_eq(content_at(2047), 0xAA);
    cr_expect_eq(content_at(2048), 0);
    cr_expect_eq(requests_read(queue, 0, back, 4096), MOTE_EIO);
    cr_expect_eq(back[2047], 0xAA);
    cr_expect_eq(requests_write(queue, 8192, data, 512), MOTE_EIO);
    cr_expect_eq(content_at(8192), 0);
    cr_expect_eq(requests_flush(queue), MOTE_EIO);
    cr_expect_eq(requests_flush(queue), 0);
}

Test(blockdev_faulty, delayed_completes_after_a_later_one_and_no_flush_covers_it)
{
    add((struct faulty_rule){.kind = FAULTY_DELAY, .op_mask = WRITES, .times = 1});
    struct blockdev_request requests[3] = {
        {.op = BLOCKDEV_WRITE, .length_bytes = 512, .buffer = data},
        {.op = BLOCKDEV_WRITE, .offset_bytes = 512, .length_bytes = 512, .buffer = data},
        {.op = BLOCKDEV_FLUSH},
    };
    struct blockdev_request *pointers[] = {&requests[0], &requests[1], &requests[2]}, *done[3];
    cr_assert_eq(blockdev_submit(queue, pointers, 2), 2);
    cr_assert_eq(blockdev_reap(queue, 1, -1, done, 1), 1);
    cr_expect_eq(done[0], &requests[1]);
    cr_assert_eq(blockdev_submit(queue, pointers + 2, 1), 1);
    cr_assert_eq(blockdev_reap(queue, 2, -1, done, 3), 2);
    cr_expect_eq(requests[0].result, 0);
    sim_read_content(faulty_inner(device), true, content);
    cr_expect_eq(content[0], 0);
    cr_expect_eq(content[512], 0xAA);
    cr_expect_eq(content_at(0), 0xAA);
    /* Alone it completes all the same. */
    faulty_clear(device);
    add((struct faulty_rule){.kind = FAULTY_DELAY, .times = 2});
    cr_expect_eq(requests_write(queue, 0, data, 512), 0);
    cr_expect_eq(requests_flush(queue), 0);
}

Test(blockdev_faulty, removed_fails_everything_until_it_is_back)
{
    struct blockdev_request early = {.op = BLOCKDEV_WRITE, .length_bytes = 512, .buffer = data}, *pointer = &early, *done;
    cr_assert_eq(blockdev_submit(queue, &pointer, 1), 1);
    add((struct faulty_rule){.kind = FAULTY_REMOVED, .op_mask = FLUSHES, .times = 1});
    struct blockdev_request flush = {.op = BLOCKDEV_FLUSH}, *second = &flush;
    cr_assert_eq(blockdev_submit(queue, &second, 1), 1);
    for (int i = 0; i < 2; i++) {
        cr_assert_eq(blockdev_reap(queue, 1, -1, &done, 1), 1);
        cr_expect_eq(done->result, MOTE_ENODEV);
    }
    cr_expect_eq(requests_read(queue, 0, back, 512), MOTE_ENODEV);
    cr_expect_eq(blockdev_refresh(device), MOTE_ENODEV);
    faulty_clear(device);
    cr_expect_eq(blockdev_refresh(device), 0);
    cr_expect_eq(requests_write(queue, 0, data, 512), 0);
}

Test(blockdev_faulty, shrink_fails_beyond_at_once_and_shows_after_refresh)
{
    faulty_shrink(device, DISK_BYTES / 2);
    cr_expect_eq(blockdev_geometry(device)->size_bytes, DISK_BYTES);
    cr_expect_eq(requests_write(queue, DISK_BYTES / 2 - 512, data, 1024), MOTE_EIO);
    cr_expect_eq(requests_write(queue, DISK_BYTES / 2 - 512, data, 512), 0);
    cr_expect_eq(blockdev_refresh(device), 0);
    cr_expect_eq(blockdev_geometry(device)->size_bytes, DISK_BYTES / 2);
    cr_expect_eq(requests_read(queue, DISK_BYTES / 2, data, 512), MOTE_EINVAL);
}

/* A chain of write, flush, write with a fault on one member: nothing behind a failure is done, everything before it is. */
Test(blockdev_faulty, fault_within_a_chain_cancels_what_follows)
{
    for (int bad = 0; bad < 4; bad++) { /* 3: none */
        uint64_t base = 65536u * (unsigned)(bad + 1);
        faulty_clear(device);
        if (bad < 3)
            add((struct faulty_rule){.kind = FAULTY_ERRNO, .skip = (uint64_t)bad, .times = 1, .system_errno = EIO});
        struct blockdev_request requests[3] = {
            {.op = BLOCKDEV_WRITE, .flags = BLOCKDEV_LINK, .offset_bytes = base, .length_bytes = 512, .buffer = data},
            {.op = BLOCKDEV_FLUSH, .flags = BLOCKDEV_LINK},
            {.op = BLOCKDEV_WRITE, .offset_bytes = base + 512, .length_bytes = 512, .buffer = data},
        };
        struct blockdev_request *pointers[] = {&requests[0], &requests[1], &requests[2]}, *done[3];
        cr_assert_eq(blockdev_submit(queue, pointers, 3), 3);
        cr_assert_eq(blockdev_reap(queue, 3, -1, done, 3), 3);
        for (int i = 0; i < 3; i++) {
            cr_expect_eq(requests[i].result, i < bad ? 0 : MOTE_EIO);
            cr_expect_eq(requests[i].system_errno, i < bad ? 0 : i == bad ? EIO : ECANCELED);
        }
        cr_expect_eq(content_at(base), bad > 0 ? 0xAA : 0);
        cr_expect_eq(content_at(base + 512), bad == 3 ? 0xAA : 0);
    }
}

Test(blockdev_faulty, queue_is_destroyed_with_requests_in_every_state)
{
    add((struct faulty_rule){.kind = FAULTY_DELAY, .op_mask = WRITES, .times = 1});
    add((struct faulty_rule){.kind = FAULTY_ERRNO, .op_mask = FLUSHES, .times = 1, .system_errno = EIO});
    struct blockdev_request requests[4] = {
        {.op = BLOCKDEV_WRITE, .flags = BLOCKDEV_LINK, .length_bytes = 512, .buffer = data},
        {.op = BLOCKDEV_WRITE, .offset_bytes = 512, .length_bytes = 512, .buffer = data},
        {.op = BLOCKDEV_FLUSH, .flags = BLOCKDEV_LINK},
        {.op = BLOCKDEV_WRITE, .offset_bytes = 1024, .length_bytes = 512, .buffer = data},
    };
    struct blockdev_request *pointers[] = {&requests[0], &requests[1], &requests[2], &requests[3]};
    struct blockdev_queue *second = requests_queue(device, 8);
    cr_assert_eq(blockdev_submit(second, pointers, 4), 4);
    blockdev_queue_destroy(second);
    cr_expect_eq(content_at(0), 0xAA);
    cr_expect_eq(content_at(512), 0xAA);
    cr_expect_eq(content_at(1024), 0);
    struct faulty_rule rule = {.kind = FAULTY_LOST};
    while (faulty_add(device, &rule) != 31)
        continue;
    cr_expect_eq(faulty_add(device, &rule), MOTE_EBUDGET);
}
