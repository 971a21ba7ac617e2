/* blockdev_sim_test.c: the simulated disk against the rules in blockdev.h and sim.h. The property test keeps its own, much simpler model: a list of writes
 * with the events of their life, from which what each sector may hold after a cut follows by definition. */
#include <criterion/criterion.h>
#include <pthread.h>
#include <string.h>
#include <time.h>

#include "blockdev/base/bytes.h"
#include "blockdev/base/units.h"
#include "blockdev/sim_private.h"
#include "include/mote.h"
#include "tests/support/requests.h"

enum { SMALL_BYTES = 64 * 1024, SECTORS = SMALL_BYTES / 512 };

static struct blockdev *make_disk(bool reorder, uint64_t seed)
{
    struct sim_options options = {.size_bytes = SMALL_BYTES, .logical_block_bytes = 512, .seed = seed, .reorder = reorder, .record = true};
    struct blockdev *device;
    cr_assert_eq(sim_create(&options, &device), 0);
    return device;
}

/* The first byte of each sector of the image after the newest event. */
static uint8_t crash_byte(struct blockdev *device, enum sim_crash_policy policy, uint32_t index, uint64_t offset_bytes)
{
    static uint8_t image[SMALL_BYTES];
    sim_crash_image(device, UINT64_MAX, policy, index, 1, image);
    return image[offset_bytes];
}

Test(blockdev_sim, write_is_visible_at_completion_and_durable_after_flush)
{
    struct blockdev *device = make_disk(false, 1);
    struct blockdev_queue *queue = requests_queue(device, 8);
    uint8_t *data = requests_buffer(4096, 0xAA), *back = requests_buffer(4096, 0);
    cr_expect_eq(requests_write(queue, 4096, data, 4096), 0);
    cr_expect_eq(requests_read(queue, 4096, back, 4096), 0);
    cr_expect_arr_eq(back, data, 4096);
    cr_expect_eq(crash_byte(device, SIM_CRASH_NONE, 0, 4096), 0);
    cr_expect_eq(crash_byte(device, SIM_CRASH_ALL, 0, 4096), 0xAA);
    cr_expect_eq(sim_unflushed_count(device, UINT64_MAX), 1);
    cr_expect_eq(requests_flush(queue), 0);
    cr_expect_eq(crash_byte(device, SIM_CRASH_NONE, 0, 4096), 0xAA);
    cr_expect_eq(sim_unflushed_count(device, UINT64_MAX), 0);
    cr_expect_eq(requests_do(queue, BLOCKDEV_DISCARD, 0, 4096, NULL, 4096), 0);
    cr_expect_eq(crash_byte(device, SIM_CRASH_NONE, 0, 4096), SIM_LOST_BYTE);
    cr_expect_eq(crash_byte(device, SIM_CRASH_ALL, 0, 4096), SIM_LOST_BYTE);
    memset(data, 0xBB, 4096);
    cr_expect_eq(requests_do(queue, BLOCKDEV_WRITE, BLOCKDEV_FUA, 8192, data, 512), 0);
    cr_expect_eq(crash_byte(device, SIM_CRASH_NONE, 0, 8192), 0xBB);
    blockdev_queue_destroy(queue);
    blockdev_close(device);
    free(data);
    free(back);
}

Test(blockdev_sim, flush_covers_only_what_was_reaped_before_it_or_is_linked)
{
    struct blockdev *device = make_disk(false, 1);
    struct blockdev_queue *queue = requests_queue(device, 8);
    uint8_t *data = requests_buffer(512, 0xAA);
    /* The write is in flight when the flush is submitted: not covered, although it completes first. */
    struct blockdev_request write = {.op = BLOCKDEV_WRITE, .length_bytes = 512, .buffer = data}, flush = {.op = BLOCKDEV_FLUSH};
    struct blockdev_request *both[] = {&write, &flush}, *done[4];
    cr_assert_eq(blockdev_submit(queue, both, 2), 2);
    cr_assert_eq(blockdev_reap(queue, 2, -1, done, 4), 2);
    cr_expect_eq(crash_byte(device, SIM_CRASH_NONE, 0, 0), 0);
    /* Linked: covered. */
    write.offset_bytes = 512;
    write.flags = BLOCKDEV_LINK;
    cr_assert_eq(blockdev_submit(queue, both, 2), 2);
    cr_assert_eq(blockdev_reap(queue, 2, -1, done, 4), 2);
    cr_expect_eq(crash_byte(device, SIM_CRASH_NONE, 0, 512), 0xAA);
    cr_expect_eq(crash_byte(device, SIM_CRASH_NONE, 0, 0), 0xAA, "the first write had been reaped by then");
    blockdev_queue_destroy(queue);
    blockdev_close(device);
    free(data);
}

Test(blockdev_sim, linked_request_cannot_survive_before_its_predecessor_completed)
{
    struct blockdev *device = make_disk(false, 1);
    struct blockdev_queue *queue = requests_queue(device, 8);
    uint8_t *data = requests_buffer(512, 0xAA);
    struct blockdev_request requests[3] = {
        {.op = BLOCKDEV_WRITE, .flags = BLOCKDEV_LINK, .length_bytes = 512, .buffer = data},
        {.op = BLOCKDEV_FLUSH, .flags = BLOCKDEV_LINK},
        {.op = BLOCKDEV_WRITE, .offset_bytes = 512, .length_bytes = 512, .buffer = data},
    };
    struct blockdev_request *pointers[] = {&requests[0], &requests[1], &requests[2]}, *done[3];
    cr_assert_eq(blockdev_submit(queue, pointers, 3), 3);
    cr_expect_eq(sim_unflushed_count(device, UINT64_MAX), 1);
    for (int i = 0; i < 3; i++) {
        cr_expect_eq(crash_byte(device, SIM_CRASH_ALL, 0, 512), i == 2 ? 0xAA : 0);
        cr_assert_eq(blockdev_reap(queue, 1, -1, done, 1), 1);
        cr_expect_eq(done[0], &requests[i]);
    }
    blockdev_queue_destroy(queue);
    blockdev_close(device);
    free(data);
}

Test(blockdev_sim, older_write_never_comes_back_over_a_newer_durable_one)
{
    struct blockdev *device = make_disk(false, 1);
    struct blockdev_queue *queue = requests_queue(device, 8);
    uint8_t *old = requests_buffer(1024, 0x11), *new = requests_buffer(512, 0x22);
    cr_expect_eq(requests_write(queue, 0, old, 1024), 0);
    cr_expect_eq(requests_do(queue, BLOCKDEV_WRITE, BLOCKDEV_FUA, 0, new, 512), 0);
    cr_expect_eq(crash_byte(device, SIM_CRASH_ALL, 0, 0), 0x22);
    cr_expect_eq(crash_byte(device, SIM_CRASH_KEEP_ONE, 0, 0), 0x22);
    cr_expect_eq(crash_byte(device, SIM_CRASH_KEEP_ONE, 0, 512), 0x11);
    cr_expect_eq(crash_byte(device, SIM_CRASH_LOSE_ONE, 0, 512), 0);
    cr_expect_eq(requests_flush(queue), 0);
    cr_expect_eq(crash_byte(device, SIM_CRASH_NONE, 0, 0), 0x22);
    cr_expect_eq(crash_byte(device, SIM_CRASH_NONE, 0, 512), 0x11);
    blockdev_queue_destroy(queue);
    blockdev_close(device);
    free(old);
    free(new);
}

/* ---- The property test ---- */

enum { HISTORY_MAX = 4000, NEVER = 0x7FFFFFFF };

struct past_write { /* event numbers; NEVER: not yet */
    uint32_t id, first_sector, sector_count, chain;
    int submitted, completed, durable;
};
struct past_flush {
    uint32_t chain;
    int called, submitted, completed;
};

static struct history {
    struct past_write writes[HISTORY_MAX];
    struct past_flush flushes[HISTORY_MAX];
    int write_count, flush_count, event_count;
} history;

/* When each write became durable, by the definition in blockdev.h rule 3. */
static void settle_history(void)
{
    for (int i = 0; i < history.write_count; i++) {
        struct past_write *write = &history.writes[i];
        for (int j = 0; j < history.flush_count; j++) {
            const struct past_flush *flush = &history.flushes[j];
            bool linked = write->chain && write->chain == flush->chain && write->completed < flush->completed;
            if ((write->completed < flush->called || linked) && flush->completed < write->durable)
                write->durable = flush->completed;
        }
    }
}

/* The ids that a sector may hold after a cut at event; allowed[0] is the durable one (0: none). newest: what ALL must show. */
static int allowed_ids(uint32_t sector, int event, uint32_t allowed[64], uint32_t *newest)
{
    const struct past_write *durable = NULL;
    int count = 1, newest_key = -1;
    for (int i = 0; i < history.write_count; i++) {
        const struct past_write *write = &history.writes[i];
        if (sector - write->first_sector < write->sector_count && write->durable <= event && (!durable || write->completed > durable->completed))
            durable = write;
    }
    allowed[0] = durable ? durable->id : 0;
    *newest = allowed[0];
    for (int i = 0; i < history.write_count; i++) {
        const struct past_write *write = &history.writes[i];
        if (sector - write->first_sector >= write->sector_count || write->submitted > event || write->durable <= event)
            continue;
        if (write->completed <= event && durable && write->completed < durable->completed)
            continue;
        cr_assert_lt(count, 64);
        allowed[count++] = write->id;
        int key = write->completed <= event ? write->completed : 100000 + write->submitted;
        if (key > newest_key) {
            newest_key = key;
            *newest = write->id;
        }
    }
    return count;
}

struct live_request {
    struct blockdev_request request;
    bool busy, is_write, leads;
    int record;
    struct live_request *follower;
};

static void note_started(struct live_request *live)
{
    if (live->is_write)
        history.writes[live->record].submitted = history.event_count++;
    else
        history.flushes[live->record].submitted = history.event_count++;
}

static void note_completed(struct live_request *live)
{
    int event = history.event_count++;
    if (live->is_write) {
        history.writes[live->record].completed = event;
        if (live->request.flags & BLOCKDEV_FUA)
            history.writes[live->record].durable = event;
    } else {
        history.flushes[live->record].completed = event;
    }
    if (live->follower)
        note_started(live->follower);
    live->busy = false;
}

static void fill_request(struct live_request *live, uint64_t *random, uint32_t chain)
{
    uint8_t *buffer = live->request.buffer;
    memset(&live->request, 0, sizeof live->request);
    live->request.buffer = buffer;
    live->request.user = live;
    live->busy = true;
    live->follower = NULL;
    live->is_write = sim_random_below(random, 4) != 0;
    if (!live->is_write) {
        live->request.op = BLOCKDEV_FLUSH;
        live->record = history.flush_count;
        history.flushes[history.flush_count++] = (struct past_flush){chain, history.event_count, NEVER, NEVER};
        return;
    }
    uint32_t first = (uint32_t)sim_random_below(random, 24), count = 1 + (uint32_t)sim_random_below(random, 12);
    uint32_t id = (uint32_t)history.write_count + 1;
    for (uint32_t i = 0; i < count; i++)
        store_u32(buffer + i * 512, id);
    live->request.op = BLOCKDEV_WRITE;
    live->request.flags = sim_random_below(random, 6) == 0 ? BLOCKDEV_FUA : 0;
    live->request.offset_bytes = first * 512;
    live->request.length_bytes = count * 512;
    live->record = history.write_count;
    history.writes[history.write_count++] = (struct past_write){id, first, count, chain, NEVER, NEVER, NEVER};
}

/* Submits one to three requests, sometimes as a chain. */
static void submit_some(struct blockdev_queue *queue, struct live_request *lives, int live_count, uint64_t *random)
{
    static uint32_t chain_last;
    struct blockdev_request *batch[3];
    struct live_request *previous = NULL;
    unsigned count = 0, wanted = 1 + (unsigned)sim_random_below(random, 3);
    bool chained = wanted > 1 && sim_random_below(random, 2);
    chain_last++;
    for (int i = 0; i < live_count && count < wanted; i++) {
        if (lives[i].busy)
            continue;
        fill_request(&lives[i], random, chained ? chain_last : 0);
        if (chained && previous) {
            previous->follower = &lives[i];
            previous->request.flags |= BLOCKDEV_LINK;
        }
        previous = &lives[i];
        batch[count++] = &lives[i].request;
    }
    if (count == 0)
        return;
    /* A flush covers what was reaped before the call, whatever of its own batch is counted first. */
    for (unsigned i = 0; i < count; i++) {
        if (i == 0 || !chained)
            note_started(batch[i]->user);
    }
    cr_assert_eq(blockdev_submit(queue, batch, count), (int)count);
}

static void check_image(const uint8_t *image, int event, enum sim_crash_policy policy)
{
    for (uint32_t sector = 0; sector < 40; sector++) {
        uint32_t allowed[64], newest, id = load_u32(image + sector * 512);
        int count = allowed_ids(sector, event, allowed, &newest), found = 0;
        while (found < count && allowed[found] != id)
            found++;
        cr_assert_lt(found, count, "sector %u after event %d holds %u under policy %d, which it cannot", sector, event, id, policy);
        if (policy == SIM_CRASH_NONE)
            cr_assert_eq(id, allowed[0]);
        if (policy == SIM_CRASH_ALL)
            cr_assert_eq(id, newest);
    }
}

static void check_crashes(struct blockdev *device, uint64_t seed)
{
    static uint8_t image[SMALL_BYTES], twin[SMALL_BYTES];
    for (int event = 0; event < history.event_count; event++) {
        uint32_t unflushed = sim_unflushed_count(device, (uint64_t)event);
        for (int policy = SIM_CRASH_NONE; policy <= SIM_CRASH_TORN; policy++) {
            uint32_t count = policy == SIM_CRASH_LOSE_ONE || policy == SIM_CRASH_KEEP_ONE ? unflushed : policy == SIM_CRASH_TORN ? 3 : 1;
            for (uint32_t index = 0; index < count; index++) {
                struct blockdev *made;
                sim_crash_image(device, (uint64_t)event, (enum sim_crash_policy)policy, index, seed + index, image);
                check_image(image, event, (enum sim_crash_policy)policy);
                cr_assert_eq(sim_create_from_crash(device, (uint64_t)event, (enum sim_crash_policy)policy, index, seed + index, NULL, &made), 0);
                sim_read_content(made, false, twin);
                cr_assert_eq(memcmp(image, twin, SMALL_BYTES), 0);
                blockdev_close(made);
            }
        }
    }
}

Test(blockdev_sim, random_operations_leave_only_what_the_model_allows, .timeout = 60)
{
    uint64_t seed = requests_seed("random_operations"), random = seed;
    static struct live_request lives[8];
    static uint8_t buffers[8][12 * 512] __attribute__((aligned(512)));
    for (int i = 0; i < 8; i++)
        lives[i].request.buffer = buffers[i];
    for (int round = 0; round < 20; round++) {
        struct blockdev *device = make_disk(true, sim_random(&random));
        struct blockdev_queue *queue = requests_queue(device, 8);
        memset(&history, 0, sizeof history);
        for (int i = 0; i < 8; i++)
            lives[i].busy = false;
        for (int step = 0; step < 60; step++) {
            struct blockdev_request *done[8];
            submit_some(queue, lives, 8, &random);
            int reaped = blockdev_reap(queue, (unsigned)sim_random_below(&random, blockdev_queue_inflight(queue) + 1), -1, done, 8);
            for (int i = 0; i < reaped; i++) {
                cr_assert_eq(done[i]->result, 0);
                note_completed(done[i]->user);
            }
            cr_assert_eq(sim_event_count(device), (uint64_t)history.event_count);
        }
        settle_history();
        check_crashes(device, sim_random(&random));
        blockdev_queue_destroy(queue);
        blockdev_close(device);
    }
}

Test(blockdev_sim, torn_images_reach_every_state_that_the_model_allows, .timeout = 60)
{
    struct blockdev *device = make_disk(false, 1);
    struct blockdev_queue *queue = requests_queue(device, 4);
    /* Sectors 0..2 hold 1 durably. A completed write of 2 covers 0..1, one of 3 in flight 1..2: 2 * 3 * 2 states, 3 in the middle over 2 or under it. */
    uint8_t *data[3] = {requests_buffer(1536, 1), requests_buffer(1024, 2), requests_buffer(1024, 3)};
    cr_assert_eq(requests_do(queue, BLOCKDEV_WRITE, BLOCKDEV_FUA, 0, data[0], 1536), 0);
    cr_assert_eq(requests_write(queue, 0, data[1], 1024), 0);
    struct blockdev_request flying = {.op = BLOCKDEV_WRITE, .offset_bytes = 512, .length_bytes = 1024, .buffer = data[2]}, *pointer = &flying;
    cr_assert_eq(blockdev_submit(queue, &pointer, 1), 1);
    bool seen[4][4][4] = {0};
    static uint8_t image[SMALL_BYTES];
    for (uint64_t seed = 0; seed < 3000; seed++) {
        sim_crash_image(device, UINT64_MAX, SIM_CRASH_TORN, 0, seed, image);
        seen[image[0] & 3][image[512] & 3][image[1024] & 3] = true;
    }
    for (int a = 0; a < 4; a++)
        for (int b = 0; b < 4; b++)
            for (int c = 0; c < 4; c++)
                cr_expect_eq(seen[a][b][c], (a == 1 || a == 2) && b != 0 && (c == 1 || c == 3), "sectors %d %d %d", a, b, c);
    blockdev_queue_destroy(queue);
    blockdev_close(device);
    for (int i = 0; i < 3; i++)
        free(data[i]);
}

/* ---- The rest of the contract ---- */

static void run_order(uint64_t seed, int order[16])
{
    struct blockdev *device = make_disk(true, seed);
    struct blockdev_queue *queue = requests_queue(device, 16);
    struct blockdev_request requests[16], *pointers[16], *done[16];
    static uint8_t data[512] __attribute__((aligned(512)));
    for (int i = 0; i < 16; i++) {
        requests[i] = (struct blockdev_request){.op = BLOCKDEV_WRITE, .offset_bytes = (uint64_t)i * 512, .length_bytes = 512, .buffer = data};
        pointers[i] = &requests[i];
    }
    cr_assert_eq(blockdev_submit(queue, pointers, 16), 16);
    for (int count = 0; count < 16;) {
        int reaped = blockdev_reap(queue, 1, -1, done, 16);
        cr_assert_gt(reaped, 0);
        for (int i = 0; i < reaped; i++)
            order[count++] = (int)(done[i] - requests);
    }
    blockdev_queue_destroy(queue);
    blockdev_close(device);
}

Test(blockdev_sim, same_seed_gives_the_same_order_and_another_seed_another)
{
    int first[16], again[16], other[16];
    run_order(7, first);
    run_order(7, again);
    run_order(8, other);
    cr_expect_arr_eq(first, again, sizeof first);
    cr_expect_neq(memcmp(first, other, sizeof first), 0);
}

Test(blockdev_sim, initial_content_is_copied_or_borrowed_and_never_changed)
{
    uint8_t *initial = requests_buffer(SMALL_BYTES, 0x5A), *image = requests_buffer(SMALL_BYTES, 0);
    for (int borrowed = 0; borrowed < 2; borrowed++) {
        struct sim_options options = {.size_bytes = SMALL_BYTES - 512, .logical_block_bytes = 512, .initial = initial, .initial_borrowed = borrowed};
        struct blockdev *device;
        cr_assert_eq(sim_create(&options, &device), 0);
        struct blockdev_queue *queue = requests_queue(device, 1);
        if (!borrowed)
            memset(initial, 0x5B, SMALL_BYTES); /* a copy does not see this */
        uint8_t expected = 0x5A;
        sim_read_content(device, true, image);
        for (size_t i = 0; i < SMALL_BYTES - 512; i++)
            cr_assert_eq(image[i], expected);
        memset(image, 0x77, 512);
        cr_expect_eq(requests_do(queue, BLOCKDEV_WRITE, BLOCKDEV_FUA, SMALL_BYTES - 1024, image, 512), 0);
        cr_expect_eq(requests_do(queue, BLOCKDEV_READ, 0, SMALL_BYTES - 512, image, 512), MOTE_EINVAL);
        sim_read_content(device, true, image);
        cr_expect_eq(image[SMALL_BYTES - 1024], 0x77);
        cr_expect_eq(image[SMALL_BYTES - 1536], expected);
        memset(image, 0, SMALL_BYTES);
        blockdev_queue_destroy(queue);
        blockdev_close(device);
        if (!borrowed)
            memset(initial, 0x5A, SMALL_BYTES);
        for (size_t i = 0; i < SMALL_BYTES; i++)
            cr_assert_eq(initial[i], 0x5A);
    }
    free(initial);
    free(image);
}

Test(blockdev_sim, crash_device_outlives_its_origin_and_crashes_again)
{
    struct blockdev *device = make_disk(false, 1), *second, *third;
    struct blockdev_queue *queue = requests_queue(device, 4);
    uint8_t *data = requests_buffer(4096, 0x11), *image = requests_buffer(SMALL_BYTES, 0);
    cr_assert_eq(requests_write(queue, 0, data, 4096), 0);
    cr_assert_eq(requests_flush(queue), 0);
    cr_assert_eq(requests_write(queue, 4096, data, 4096), 0);
    struct sim_options options = {.record = true, .logical_block_bytes = 512};
    cr_assert_eq(sim_create_from_crash(device, UINT64_MAX, SIM_CRASH_ALL, 0, 0, &options, &second), 0);
    blockdev_queue_destroy(queue);
    blockdev_close(device);
    queue = requests_queue(second, 4);
    memset(data, 0x22, 4096);
    cr_assert_eq(requests_write(queue, 0, data, 2048), 0);
    cr_assert_eq(sim_create_from_crash(second, UINT64_MAX, SIM_CRASH_NONE, 0, 0, NULL, &third), 0);
    blockdev_queue_destroy(queue);
    blockdev_close(second);
    sim_read_content(third, true, image);
    cr_expect_eq(image[0], 0x11);
    cr_expect_eq(image[4096], 0x11);
    cr_expect_eq(image[8192], 0);
    blockdev_close(third);
    free(data);
    free(image);
}

Test(blockdev_sim, power_cut_fails_everything_until_power_returns)
{
    struct blockdev *device = make_disk(false, 1);
    struct blockdev_queue *queue = requests_queue(device, 8);
    uint8_t *data = requests_buffer(4096, 0x11), *image = requests_buffer(SMALL_BYTES, 0);
    cr_assert_eq(requests_write(queue, 0, data, 512), 0);
    struct blockdev_request requests[3] = {
        {.op = BLOCKDEV_WRITE, .flags = BLOCKDEV_LINK, .offset_bytes = 512, .length_bytes = 512, .buffer = data},
        {.op = BLOCKDEV_WRITE, .offset_bytes = 1024, .length_bytes = 512, .buffer = data},
        {.op = BLOCKDEV_FLUSH},
    };
    struct blockdev_request *pointers[] = {&requests[0], &requests[1], &requests[2]}, *done[3];
    cr_assert_eq(blockdev_submit(queue, pointers, 3), 3);
    sim_power_cut(device, SIM_CRASH_KEEP_ONE, 1, 0); /* the one in flight */
    cr_assert_eq(blockdev_reap(queue, 3, -1, done, 3), 3);
    for (int i = 0; i < 3; i++)
        cr_expect_eq(done[i]->result, MOTE_ENODEV);
    cr_expect_eq(requests_read(queue, 0, data, 512), MOTE_ENODEV);
    cr_expect_eq(blockdev_refresh(device), MOTE_ENODEV);
    sim_power_on(device);
    cr_expect_eq(blockdev_refresh(device), 0);
    sim_read_content(device, false, image);
    cr_expect_eq(image[0], 0, "completed, not flushed, not kept");
    cr_expect_eq(image[512], 0x11, "in flight, kept");
    cr_expect_eq(image[1024], 0, "never started");
    cr_assert_eq(requests_write(queue, 2048, data, 512), 0);
    cr_expect_eq(crash_byte(device, SIM_CRASH_ALL, 0, 2048), 0x11);
    cr_expect_eq(crash_byte(device, SIM_CRASH_NONE, 0, 512), 0x11);
    cr_expect_eq(crash_byte(device, SIM_CRASH_NONE, 0, 0), 0);
    blockdev_queue_destroy(queue);
    blockdev_close(device);
    free(data);
    free(image);
}

Test(blockdev_sim, marks_and_cuts_are_found_by_event)
{
    struct blockdev *device = make_disk(false, 1);
    struct blockdev_queue *queue = requests_queue(device, 2);
    uint8_t *data = requests_buffer(512, 1);
    bool barrier;
    cr_assert_eq(requests_write(queue, 0, data, 512), 0); /* events 0, 1 */
    sim_mark(device, 5, 100);                             /* 2 */
    cr_assert_eq(requests_flush(queue), 0);               /* 3, 4 */
    sim_mark(device, 6, 7);                               /* 5 */
    sim_mark(device, 5, 200);                             /* 6 */
    cr_expect_eq(sim_event_count(device), 7);
    static const bool cuts[7] = {true, true, false, true, true, false, false};
    for (uint64_t i = 0; i < 7; i++) {
        cr_expect_eq(sim_event_is_cut(device, i, &barrier), cuts[i]);
        cr_expect_eq(barrier, i == 4);
        cr_expect_eq(sim_mark_at(device, i, 5), i < 2 ? 0 : i < 6 ? 100 : 200);
        cr_expect_eq(sim_mark_at(device, i, 6), i < 5 ? 0 : 7);
        cr_expect_eq(sim_unflushed_count(device, i), i < 4 ? 1 : 0);
    }
    blockdev_queue_destroy(queue);
    blockdev_close(device);
    free(data);
}

static int64_t now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * NS_PER_S + now.tv_nsec;
}

static void *wake_later(void *queue)
{
    nanosleep(&(struct timespec){0, 30 * NS_PER_MS}, NULL);
    blockdev_wake(queue);
    return NULL;
}

Test(blockdev_sim, empty_reap_waits_for_the_time_limit_or_a_wake, .timeout = 10)
{
    struct blockdev *device = make_disk(true, 1);
    struct blockdev_queue_options options = {.depth = 4, .flags = BLOCKDEV_QUEUE_WAKE};
    struct blockdev_queue *queue;
    struct blockdev_request *done[4];
    cr_assert_eq(blockdev_queue_create(device, &options, &queue), 0);
    int64_t start_ns = now_ns();
    cr_expect_eq(blockdev_reap(queue, 1, 0, done, 4), 0);
    cr_expect_lt(now_ns() - start_ns, 20 * NS_PER_MS);
    start_ns = now_ns();
    cr_expect_eq(blockdev_reap(queue, 1, 30 * NS_PER_MS, done, 4), 0);
    cr_expect_geq(now_ns() - start_ns, 30 * NS_PER_MS);
    blockdev_wake(queue); /* before the reap: it returns at once */
    cr_expect_eq(blockdev_reap(queue, 1, -1, done, 4), 0);
    pthread_t thread;
    pthread_create(&thread, NULL, wake_later, queue);
    start_ns = now_ns();
    cr_expect_eq(blockdev_reap(queue, 1, INT64_MAX, done, 4), 0);
    cr_expect_geq(now_ns() - start_ns, 20 * NS_PER_MS);
    pthread_join(thread, NULL);
    blockdev_queue_destroy(queue);
    blockdev_close(device);
}

Test(blockdev_sim, full_queue_takes_whole_chains_only)
{
    struct blockdev *device = make_disk(false, 1);
    struct blockdev_queue *queue = requests_queue(device, 3);
    static uint8_t data[512] __attribute__((aligned(512)));
    struct blockdev_request requests[4], *pointers[4], *done[4];
    for (int i = 0; i < 4; i++) {
        requests[i] = (struct blockdev_request){.op = BLOCKDEV_WRITE, .flags = i == 2 ? BLOCKDEV_LINK : 0, .offset_bytes = (uint64_t)i * 512, .length_bytes = 512, .buffer = data};
        pointers[i] = &requests[i];
    }
    cr_expect_eq(blockdev_submit(queue, pointers, 4), 2);
    cr_expect_eq(blockdev_reap(queue, 2, -1, done, 4), 2);
    cr_expect_eq(blockdev_submit(queue, pointers + 2, 2), 2);
    cr_expect_eq(blockdev_reap(queue, 2, -1, done, 4), 2);
    struct sim_options wrong = {.size_bytes = 1000, .logical_block_bytes = 512};
    cr_expect_eq(sim_create(&wrong, &device), MOTE_EINVAL);
    wrong = (struct sim_options){.size_bytes = 8192, .logical_block_bytes = 1024};
    cr_expect_eq(sim_create(&wrong, &device), MOTE_EINVAL);
    device = blockdev_queue_device(queue);
    blockdev_queue_destroy(queue);
    blockdev_close(device);
}
