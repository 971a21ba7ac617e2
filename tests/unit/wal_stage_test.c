/* wal_stage_test.c: reservation, publication, rotation, space: what writers see. Inline logs on the simulated disk, and threads where it is about threads. */
#include <criterion/criterion.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "blockdev/base/memory.h"
#include "blockdev/base/units.h"
#include "include/mote.h"
#include "tests/support/wal_rig.h"
#include "wal/wal_format.h"
#include "wal/wal_private.h"

Test(wal_stage, reservations_follow_each_other_in_payload_and_seq)
{
    struct wal_rig *rig = wal_rig_open(&(struct wal_rig_options){0});
    struct wal_slot a, b, c;
    cr_assert_eq(wal_next_seq(rig->wal), 1);
    cr_assert_eq(wal_reserve(rig->wal, 100, 3, rig->user, &a), MOTE_OK);
    cr_assert_eq(wal_reserve(rig->wal, 50, 1, rig->user, &b), MOTE_OK);
    cr_assert_eq(wal_reserve(rig->wal, 16, 0, rig->user, &c), MOTE_OK);
    cr_assert_eq(a.first_seq, 1);
    cr_assert_eq(b.first_seq, 4);
    cr_assert_eq(c.first_seq, 5);
    cr_assert_eq(b.payload, a.payload + 100);
    cr_assert_eq(c.payload, b.payload + 50);
    cr_assert_eq(a.user, rig->user);
    cr_assert_eq(wal_next_seq(rig->wal), 5);
    wal_rig_destroy(rig);
}

Test(wal_stage, impossible_reservations_are_refused)
{
    struct wal_rig *rig = wal_rig_open(&(struct wal_rig_options){0});
    struct wal_slot slot;
    uint32_t max = wal_payload_bytes_max(rig->wal);
    cr_assert_eq(max, 16384 - 128);
    cr_assert_eq(wal_reserve(rig->wal, max + 1, 1, rig->user, &slot), MOTE_ETOOBIG);
    cr_assert_eq(wal_reserve(rig->wal, 100, 1 << 20, rig->user, &slot), MOTE_ETOOBIG);
    cr_assert_eq(wal_reserve(rig->wal, 0, 1, rig->user, &slot), MOTE_EINVAL);
    cr_assert_eq(wal_next_seq(rig->wal), 1, "nothing of it has a seq");
    cr_assert_eq(wal_reserve(rig->wal, max, 1, rig->user, &slot), MOTE_OK);
    wal_rig_destroy(rig);
}

Test(wal_stage, another_user_gets_retry)
{
    struct wal_rig *rig = wal_rig_open(&(struct wal_rig_options){0});
    struct wal_slot slot;
    struct wal_cut cut;
    int other;
    cr_assert_eq(wal_active_user(rig->wal), rig->user);
    cr_assert_eq(wal_reserve(rig->wal, 16, 1, &other, &slot), WAL_RETRY);
    cr_assert_eq(wal_rotate(rig->wal, &other, &cut), MOTE_OK);
    cr_assert_eq(wal_active_user(rig->wal), &other);
    cr_assert_eq(wal_reserve(rig->wal, 16, 1, rig->user, &slot), WAL_RETRY);
    cr_assert_eq(wal_reserve(rig->wal, 16, 1, &other, &slot), MOTE_OK);
    cr_assert_eq(slot.first_seq, 1);
    wal_rig_destroy(rig);
}

Test(wal_stage, rotation_cuts_between_seqs_and_frames)
{
    struct wal_rig *rig = wal_rig_open(&(struct wal_rig_options){0});
    struct wal_cut empty, cut, again;
    int users[3];
    cr_assert_eq(wal_rotate(rig->wal, &users[0], &empty), MOTE_OK);
    cr_assert_eq(empty.seq, 0);
    cr_assert_eq(atomic_load(&empty.lsn), 0);
    cr_assert_eq(atomic_load(&empty.settled), 1);
    uint64_t seq;
    cr_assert_eq(wal_rig_append(rig, 5000, 4, WAL_URGENCY_NONE, 0, &seq), MOTE_OK);
    cr_assert_eq(seq, 4);
    cr_assert_eq(wal_rotate(rig->wal, &users[1], &cut), MOTE_OK);
    cr_assert_eq(cut.seq, 4);
    cr_assert_eq(atomic_load(&cut.lsn), 8192);
    cr_assert_eq(atomic_load(&cut.settled), 1);
    cr_assert_eq(wal_tail_lsn(rig->wal), 8192);
    cr_assert_eq(wal_durable_seq(rig->wal), 0, "a rotation waits for nothing");
    cr_assert_eq(wal_rotate(rig->wal, &users[2], &again), MOTE_OK);
    cr_assert_eq(again.seq, 4);
    cr_assert_eq(atomic_load(&again.lsn), 8192);
    cr_assert_eq(wal_wait(rig->wal, 4, INT64_MAX), MOTE_OK);
    cr_assert_eq(wal_durable_lsn(rig->wal), 8192);
    struct wal_spy_report report;
    wal_spy_report(rig->spy, &report);
    cr_assert_eq(report.writes, 1, "empty rotations write nothing");
    wal_rig_destroy(rig);
}

Test(wal_stage, cut_settles_when_its_last_slot_is_published)
{
    struct wal_rig *rig = wal_rig_open(&(struct wal_rig_options){0});
    struct wal_slot early, late;
    struct wal_cut first, second, third;
    int users[3];
    cr_assert_eq(wal_rig_reserve(rig, 100, 1, &early), MOTE_OK);
    cr_assert_eq(wal_rotate(rig->wal, &users[0], &first), MOTE_OK);
    cr_assert_eq(wal_rig_reserve(rig, 100, 1, &late), MOTE_OK);
    cr_assert_eq(wal_rotate(rig->wal, &users[1], &second), MOTE_OK);
    cr_assert_eq(wal_rotate(rig->wal, &users[2], &third), MOTE_OK);
    cr_assert_eq(first.seq, 1);
    cr_assert_eq(second.seq, 2);
    cr_assert_eq(third.seq, 2);
    cr_assert_eq(atomic_load(&first.settled), 0);
    cr_assert_eq(atomic_load(&first.lsn), UINT64_MAX);
    wal_publish(rig->wal, &late, WAL_URGENCY_NOW, 0);
    wal_pump(rig->wal);
    cr_assert_eq(atomic_load(&second.settled), 0, "the earlier stage is not published");
    cr_assert_eq(wal_durable_seq(rig->wal), 0);
    cr_assert_eq(wal_wait(rig->wal, 1, 2000000), MOTE_ETIMEOUT);
    wal_publish(rig->wal, &early, WAL_URGENCY_NONE, 0);
    wal_pump(rig->wal);
    cr_assert_eq(atomic_load(&first.settled), 1);
    cr_assert_eq(atomic_load(&first.lsn), 4096);
    cr_assert_eq(atomic_load(&second.settled), 1);
    cr_assert_eq(atomic_load(&second.lsn), 8192);
    cr_assert_eq(atomic_load(&third.lsn), 8192);
    cr_assert_eq(wal_wait(rig->wal, 2, INT64_MAX), MOTE_OK);
    wal_rig_destroy(rig);
}

Test(wal_stage, many_cuts_on_an_unpublished_stage_all_settle)
{
    struct wal_rig *rig = wal_rig_open(&(struct wal_rig_options){0});
    struct wal_slot slot;
    static struct wal_cut cuts[32];
    cr_assert_eq(wal_rig_reserve(rig, 100, 1, &slot), MOTE_OK);
    for (int i = 0; i < 32; i++)
        cr_assert_eq(wal_rotate(rig->wal, &cuts[i], &cuts[i]), MOTE_OK);
    wal_publish(rig->wal, &slot, WAL_URGENCY_NONE, 0);
    wal_pump(rig->wal);
    for (int i = 0; i < 32; i++) {
        cr_assert_eq(atomic_load(&cuts[i].settled), 1);
        cr_assert_eq(atomic_load(&cuts[i].lsn), 4096);
        cr_assert_eq(cuts[i].seq, 1);
    }
    wal_rig_destroy(rig);
}

Test(wal_stage, full_stage_makes_way_for_the_next)
{
    struct wal_rig *rig = wal_rig_open(&(struct wal_rig_options){.stage_count = 6});
    uint64_t seq = 0;
    for (int i = 0; i < 5; i++)
        cr_assert_eq(wal_rig_append(rig, 10000, 2, WAL_URGENCY_NONE, 0, &seq), MOTE_OK);
    cr_assert_eq(seq, 10);
    cr_assert_eq(wal_tail_lsn(rig->wal), 4 * 12288, "four are sealed, one is active");
    cr_assert_eq(wal_durable_seq(rig->wal), 0);
    struct wal_counters counters;
    wal_get_counters(rig->wal, &counters);
    cr_assert_eq(counters.writer_stalls, 0);
    /* Beyond the last stage a writer commits by itself (inline). */
    for (int i = 0; i < 20; i++)
        cr_assert_eq(wal_rig_append(rig, 10000, 1, WAL_URGENCY_NONE, 0, &seq), MOTE_OK);
    cr_assert_gt(wal_durable_seq(rig->wal), 10);
    wal_get_counters(rig->wal, &counters);
    cr_assert_gt(counters.writer_stalls, 0);
    cr_assert_gt(counters.writer_stall_ns, 0);
    cr_assert_eq(wal_wait(rig->wal, seq, INT64_MAX), MOTE_OK);
    struct wal_rig_found found;
    wal_rig_recover(rig, rig->device, false, &found);
    cr_assert_eq(found.result, MOTE_OK);
    cr_assert_eq(found.first_seq, 1);
    cr_assert_eq(found.last_seq, seq);
    cr_assert_eq(found.gap_count, 0);
    cr_assert(found.content_good);
    wal_rig_destroy(rig);
}

Test(wal_stage, seq_count_alone_can_fill_a_stage)
{
    struct wal_rig *rig = wal_rig_open(&(struct wal_rig_options){0});
    uint64_t seq;
    cr_assert_eq(wal_rig_append(rig, 16, (1 << 20) - 1, WAL_URGENCY_NONE, 0, &seq), MOTE_OK);
    cr_assert_eq(seq, (1 << 20) - 1);
    cr_assert_eq(wal_rig_append(rig, 16, 1, WAL_URGENCY_NONE, 0, &seq), MOTE_OK);
    cr_assert_eq(seq, 1 << 20);
    cr_assert_eq(wal_tail_lsn(rig->wal), 4096);
    cr_assert_eq(wal_wait(rig->wal, seq, INT64_MAX), MOTE_OK);
    wal_rig_destroy(rig);
}

Test(wal_stage, log_not_started_refuses_reservations)
{
    struct wal_rig *rig = wal_rig_open(&(struct wal_rig_options){0});
    struct wal_slot slot;
    uint64_t end_lsn;
    cr_assert_eq(wal_close(rig->wal, &end_lsn), MOTE_OK);
    cr_assert_eq(wal_reserve(rig->wal, 16, 1, wal_active_user(rig->wal), &slot), MOTE_EINVAL);
    struct wal_cut cut;
    cr_assert_eq(wal_rotate(rig->wal, rig, &cut), MOTE_EINVAL);
    wal_rig_destroy(rig);
}

/* ---- Space ---- */

Test(wal_stage, space_runs_out_only_for_new_reservations)
{
    struct wal_rig *rig = wal_rig_open(&(struct wal_rig_options){.extent_count = 3, .stage_count = 8});
    uint64_t seq = 0, last = 0;
    int code;
    while ((code = wal_rig_append(rig, 9000, 1, WAL_URGENCY_NONE, 0, &seq)) == MOTE_OK)
        last = seq;
    cr_assert_eq(code, MOTE_ENOSPC);
    cr_assert_geq(last, 8);
    cr_assert_eq(wal_next_seq(rig->wal), last + 1);
    cr_assert_eq(wal_wait(rig->wal, last, INT64_MAX), MOTE_OK, "whatever has a seq has space");
    uint64_t end_lsn;
    cr_assert_eq(wal_close(rig->wal, &end_lsn), MOTE_OK, "so has the end frame");
    cr_assert_leq(end_lsn, 3 * 65536);
    struct wal_rig_found found;
    wal_rig_recover(rig, rig->device, false, &found);
    cr_assert_eq(found.recovery.verdict, WAL_CLEAN);
    cr_assert_eq(found.last_seq, last);
    wal_rig_destroy(rig);
}

Test(wal_stage, space_set_aside_suffices_for_every_size)
{
    /* Frames of all sizes, marks between them, discontinuities in reach: nothing asserts, nothing lacks space, everything is found. */
    for (uint64_t seed = 1; seed <= 60; seed++) {
        struct wal_rig *rig = wal_rig_open(&(struct wal_rig_options){.extent_count = 2 + (uint32_t)seed % 4, .frame_align_bytes = seed % 2 ? 512 : 4096, .mark_delay_ms = seed % 3 == 0});
        unsigned random = (unsigned)seed;
        uint64_t seq, last = 0;
        int code;
        for (;;) {
            code = wal_rig_append(rig, 16 + (uint32_t)rand_r(&random) % (16384 - 128 - 16), 1, WAL_URGENCY_NOW, 0, &seq);
            if (code != MOTE_OK)
                break;
            last = seq;
            if (rand_r(&random) % 3 == 0) {
                cr_assert_eq(wal_wait(rig->wal, seq, INT64_MAX), MOTE_OK);
                if (seed % 3 == 0)
                    usleep(1000);
            }
            wal_pump(rig->wal);
        }
        cr_assert_eq(code, MOTE_ENOSPC, "seed %u", (unsigned)seed);
        cr_assert_eq(wal_wait(rig->wal, last, INT64_MAX), MOTE_OK);
        usleep(1000);
        wal_pump(rig->wal);
        uint64_t end_lsn;
        cr_assert_eq(wal_close(rig->wal, &end_lsn), MOTE_OK);
        struct wal_rig_found found;
        wal_rig_recover(rig, rig->device, false, &found);
        cr_assert_eq(found.recovery.verdict, WAL_CLEAN, "seed %u", (unsigned)seed);
        cr_assert_eq(found.last_seq, last);
        cr_assert_eq(found.gap_count, 0);
        struct wal_spy_report report;
        wal_spy_report(rig->spy, &report);
        cr_assert_eq(report.violations, 0, "%s", report.violation);
        wal_rig_destroy(rig);
    }
}

Test(wal_stage, ranges_come_when_the_log_asks)
{
    struct wal_rig *rig = wal_rig_open(&(struct wal_rig_options){.extents_first = 1, .extent_count = 8, .low_space_bytes = 30000});
    uint64_t seq;
    for (int i = 0; i < 30; i++) {
        cr_assert_eq(wal_rig_append(rig, 9000, 1, WAL_URGENCY_NOW, 0, &seq), MOTE_OK);
        wal_pump(rig->wal);
    }
    cr_assert_geq(rig->range_count, 6);
    cr_assert_eq(atomic_load(&rig->need_space_calls), rig->range_count - 1, "asked once for each range");
    struct wal_counters counters;
    wal_get_counters(rig->wal, &counters);
    cr_assert_gt(counters.pads, 0);
    wal_rig_destroy(rig);
}

Test(wal_stage, space_error_lasts_until_a_range_comes)
{
    struct wal_rig *rig = wal_rig_open(&(struct wal_rig_options){.extents_first = 1, .extent_count = 3, .keep_space = true});
    uint64_t seq;
    wal_set_space_error(rig->wal, MOTE_ENOSPC);
    int code;
    do
        code = wal_rig_append(rig, 9000, 1, WAL_URGENCY_NOW, 0, &seq);
    while (code == MOTE_OK);
    cr_assert_eq(code, MOTE_ENOSPC);
    cr_assert_eq(wal_rig_append(rig, 9000, 1, WAL_URGENCY_NOW, 0, &seq), MOTE_ENOSPC);
    cr_assert(wal_rig_add_extent(rig));
    cr_assert_eq(wal_rig_append(rig, 9000, 1, WAL_URGENCY_NOW, 0, &seq), MOTE_OK);
    wal_rig_destroy(rig);
}

Test(wal_stage, ranges_that_do_not_fit_are_refused)
{
    struct wal_rig *rig = wal_rig_open(&(struct wal_rig_options){.extents_first = 2, .extent_count = 4});
    const uint64_t end = 2 * 65536;
    const struct wal_range bad[] = {
        {end + 4096, 0, 65536}, {end - 4096, 0, 65536}, {end, 1, 65536}, {end, 0, 12288}, {end, 0, 65537}, {end, 1 << 30, 65536}, {end, 0, UINT64_MAX - 4095},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        cr_assert_eq(wal_add_range(rig->wal, &bad[i]), MOTE_EINVAL, "case %zu", i);
    cr_assert(wal_rig_add_extent(rig));
    wal_rig_destroy(rig);
}

Test(wal_stage, ranges_end_at_their_stated_number_and_the_head_frees_them)
{
    struct wal_rig *rig = wal_rig_open(&(struct wal_rig_options){.extent_count = 4});
    struct wal_range range = {4 * 65536, 0, 65536};
    int code;
    uint32_t added = 4;
    while ((code = wal_add_range(rig->wal, &range)) == MOTE_OK) {
        range.lsn += 65536;
        added++;
    }
    cr_assert_eq(code, MOTE_EBUDGET);
    cr_assert_eq(added, 4096);
    wal_set_head(rig->wal, 3 * 65536);
    cr_assert_eq(wal_add_range(rig->wal, &range), MOTE_EBUDGET, "the range that the tail is in stays, whatever the head");
    wal_rig_append_durable(rig, 16000, 1);
    wal_rig_append_durable(rig, 16000, 1);
    wal_rig_append_durable(rig, 16000, 1);
    wal_rig_append_durable(rig, 16000, 1);
    wal_set_head(rig->wal, 65536);
    cr_assert_eq(wal_add_range(rig->wal, &range), MOTE_OK);
    wal_rig_destroy(rig);
}

/* ---- Threads ---- */

enum { WRITERS = 6, ROUNDS = 3000 };

struct writer {
    pthread_t thread;
    struct wal_rig *rig;
    uint64_t seqs[ROUNDS];
};

static void *reserve_rounds(void *argument)
{
    struct writer *writer = argument;
    for (int i = 0; i < ROUNDS; i++)
        if (wal_rig_append(writer->rig, 16 + (uint32_t)i % 50, 1, WAL_URGENCY_NONE, 0, &writer->seqs[i]) != MOTE_OK)
            abort();
    return NULL;
}

Test(wal_stage, writers_in_parallel_share_seqs_without_gap)
{
    struct wal_rig *rig = wal_rig_open(&(struct wal_rig_options){.threaded = true, .extent_count = 32});
    static struct writer writers[WRITERS];
    static uint8_t seen[WRITERS * ROUNDS + 1];
    for (int i = 0; i < WRITERS; i++) {
        writers[i].rig = rig;
        pthread_create(&writers[i].thread, NULL, reserve_rounds, &writers[i]);
    }
    for (int i = 0; i < WRITERS; i++)
        pthread_join(writers[i].thread, NULL);
    for (int i = 0; i < WRITERS; i++)
        for (int j = 0; j < ROUNDS; j++) {
            cr_assert_leq(writers[i].seqs[j], WRITERS * ROUNDS);
            cr_assert_eq(seen[writers[i].seqs[j]]++, 0);
            cr_assert(j == 0 || writers[i].seqs[j] > writers[i].seqs[j - 1]);
        }
    cr_assert_eq(wal_next_seq(rig->wal), WRITERS * ROUNDS + 1);
    cr_assert_eq(wal_wait(rig->wal, WRITERS * ROUNDS, INT64_MAX), MOTE_OK);
    struct wal_rig_found found;
    wal_rig_recover(rig, rig->device, false, &found);
    cr_assert_eq(found.last_seq, WRITERS * ROUNDS);
    cr_assert_eq(found.gap_count, 0);
    cr_assert(found.content_good);
    wal_rig_destroy(rig);
}

static void *add_extent_later(void *argument)
{
    usleep(20000);
    wal_rig_add_extent(argument);
    return NULL;
}

Test(wal_stage, blocked_writer_goes_on_when_a_range_comes)
{
    for (int threaded = 0; threaded < 2; threaded++) {
        struct wal_rig *rig = wal_rig_open(&(struct wal_rig_options){.threaded = threaded, .extents_first = 1, .extent_count = 2, .keep_space = true});
        pthread_t thread;
        uint64_t seq = 0;
        pthread_create(&thread, NULL, add_extent_later, rig);
        for (int i = 0; i < 8; i++)
            cr_assert_eq(wal_rig_append(rig, 9000, 1, WAL_URGENCY_NOW, 0, &seq), MOTE_OK);
        pthread_join(thread, NULL);
        cr_assert_eq(wal_wait(rig->wal, seq, INT64_MAX), MOTE_OK);
        cr_assert_gt(atomic_load(&rig->need_space_calls), 0);
        struct wal_counters counters;
        wal_get_counters(rig->wal, &counters);
        cr_assert_gt(counters.writer_stalls, 0);
        wal_rig_destroy(rig);
    }
}

Test(wal_stage, recycled_stage_has_another_generation)
{
    /* So that a compare-and-swap whose thread slept meanwhile fails, though bytes and count are equal again. */
    struct wal_rig *rig = wal_rig_open(&(struct wal_rig_options){0});
    const _Atomic uint64_t *word = &rig->wal->stages[atomic_load(&rig->wal->active_index)].word;
    uint64_t before = atomic_load(word);
    cr_assert_eq(wal_word_bytes(before), 0);
    for (uint32_t i = 0; i < rig->options.stage_count; i++)
        wal_rig_append_durable(rig, 100, 1);
    cr_assert_eq(&rig->wal->stages[atomic_load(&rig->wal->active_index)].word, word, "once around the ring");
    cr_assert_eq(wal_word_bytes(atomic_load(word)), 0);
    cr_assert_neq(atomic_load(word), before);
    struct wal_cut cut;
    before = atomic_load(word);
    cr_assert_eq(wal_rotate(rig->wal, rig, &cut), MOTE_OK);
    cr_assert_neq(atomic_load(word), before, "an empty rotation changes the user, so the word too");
    wal_rig_destroy(rig);
}

/* ---- Holding ---- */

struct holder {
    struct wal_rig *rig;
    struct wal_slot slot;
    uint8_t copy[64];
    bool kept;
};

static void *release_later(void *argument)
{
    struct holder *holder = argument;
    usleep(20000);
    holder->kept = memcmp(holder->copy, holder->slot.payload, sizeof holder->copy) == 0;
    wal_release(holder->rig->wal, &holder->slot);
    return NULL;
}

Test(wal_stage, held_payload_stays_until_it_is_released)
{
    for (int threaded = 0; threaded < 2; threaded++) {
        struct wal_rig *rig = wal_rig_open(&(struct wal_rig_options){.threaded = threaded});
        struct holder holder = {.rig = rig};
        pthread_t thread;
        cr_assert_eq(wal_rig_reserve(rig, sizeof holder.copy, 1, &holder.slot), MOTE_OK);
        memcpy(holder.copy, holder.slot.payload, sizeof holder.copy);
        wal_hold(rig->wal, &holder.slot);
        wal_publish(rig->wal, &holder.slot, WAL_URGENCY_NOW, 0);
        cr_assert_eq(wal_wait(rig->wal, 1, INT64_MAX), MOTE_OK, "a hold does not hold up the commit");
        for (uint32_t i = 2; i < rig->options.stage_count; i++)
            wal_rig_append_durable(rig, 100, 1);
        pthread_create(&thread, NULL, release_later, &holder);
        wal_rig_append_durable(rig, 100, 1);
        wal_rig_append_durable(rig, 100, 1); /* In the stage that was held. */
        pthread_join(thread, NULL);
        cr_assert(holder.kept);
        cr_assert_eq(atomic_load(&rig->wal->held_up), 0);
        struct wal_counters counters;
        wal_get_counters(rig->wal, &counters);
        cr_assert_gt(counters.writer_stalls, 0);
        wal_rig_destroy(rig);
    }
}

/* ---- Creation ---- */

Test(wal_stage, options_out_of_range_are_refused)
{
    struct blockdev *device;
    struct memory *memory;
    cr_assert_eq(sim_create(&(struct sim_options){.size_bytes = MIB_BYTES, .logical_block_bytes = 4096}, &device), MOTE_OK);
    cr_assert_eq(memory_create(4 * MIB_BYTES, false, &memory), MOTE_OK);
    const struct wal_options good = {.device = device, .memory = memory, .frame_bytes_max = 16384, .frame_align_bytes = 4096, .inflight_max = 2, .stage_count = 4, .barrier = MOTE_BARRIER_FLUSH, .inline_io = true};
    struct wal_options bad[10];
    for (int i = 0; i < 10; i++)
        bad[i] = good;
    bad[0].frame_align_bytes = 512; /* below the logical block */
    bad[1].frame_align_bytes = 6144;
    bad[2].frame_bytes_max = 10000;
    bad[3].frame_bytes_max = 4096;
    bad[4].frame_bytes_max = REQUEST_BYTES_MAX + 4096;
    bad[5].inflight_max = 0;
    bad[6].stage_count = 3;
    bad[7].inflight_max = 65;
    bad[8].barrier = MOTE_BARRIER_AUTO;
    bad[9].barrier = 9;
    struct wal *wal;
    for (int i = 0; i < 10; i++) {
        cr_assert_eq(wal_create(&bad[i], &wal), MOTE_EINVAL, "case %d", i);
        cr_assert_null(wal);
    }
    struct wal_options large = good;
    large.stage_count = 1000;
    cr_assert_eq(wal_create(&large, &wal), MOTE_EBUDGET);
    cr_assert_eq(wal_create(&good, &wal), MOTE_OK);
    cr_assert_eq(wal_start(wal, &(struct wal_start){.next_seq = 1}), MOTE_EINVAL, "no range");
    cr_assert_eq(wal_add_range(wal, &(struct wal_range){0, 0, 65536}), MOTE_OK);
    cr_assert_eq(wal_start(wal, &(struct wal_start){.next_seq = 0}), MOTE_EINVAL);
    cr_assert_eq(wal_start(wal, &(struct wal_start){.next_seq = 1, .first_lsn = 100}), MOTE_EINVAL);
    cr_assert_eq(wal_start(wal, &(struct wal_start){.next_seq = 1, .first_lsn = 65536 + 4096}), MOTE_EINVAL);
    cr_assert_eq(wal_start(wal, &(struct wal_start){.next_seq = 1}), MOTE_OK);
    cr_assert_eq(wal_start(wal, &(struct wal_start){.next_seq = 1}), MOTE_EINVAL, "twice");
    wal_destroy(wal);
    blockdev_close(device);
    memory_destroy(memory);
}

Test(wal_stage, log_without_room_says_so_at_its_end)
{
    struct blockdev *device;
    struct memory *memory;
    struct wal *wal;
    struct wal_slot slot;
    uint64_t end_lsn;
    cr_assert_eq(sim_create(&(struct sim_options){.size_bytes = MIB_BYTES, .logical_block_bytes = 4096}, &device), MOTE_OK);
    cr_assert_eq(memory_create(4 * MIB_BYTES, false, &memory), MOTE_OK);
    const struct wal_options options = {.device = device, .memory = memory, .frame_bytes_max = 16384, .frame_align_bytes = 4096, .inflight_max = 2, .stage_count = 4, .barrier = MOTE_BARRIER_FLUSH, .inline_io = true};
    cr_assert_eq(wal_create(&options, &wal), MOTE_OK);
    cr_assert_eq(wal_add_range(wal, &(struct wal_range){0, 0, 16384}), MOTE_OK);
    cr_assert_eq(wal_start(wal, &(struct wal_start){.next_seq = 1, .first_lsn = 16384}), MOTE_OK, "at the very end of what is mapped");
    wal_set_space_error(wal, MOTE_ENOSPC);
    cr_assert_eq(wal_reserve(wal, 16, 1, NULL, &slot), MOTE_ENOSPC);
    cr_assert_eq(wal_close(wal, &end_lsn), MOTE_ENOSPC);
    wal_destroy(wal);
    blockdev_close(device);
    memory_destroy(memory);
}

Test(wal_stage, read_only_log_only_counts)
{
    struct memory *memory;
    struct wal *wal;
    struct wal_counters counters;
    uint64_t end_lsn;
    cr_assert_eq(memory_create(MIB_BYTES, false, &memory), MOTE_OK);
    cr_assert_eq(wal_create(&(struct wal_options){.memory = memory, .read_only = true}, &wal), MOTE_OK);
    wal_get_counters(wal, &counters);
    cr_assert_eq(counters.frames, 0);
    cr_assert_eq(wal_start(wal, &(struct wal_start){.next_seq = 1}), MOTE_EINVAL);
    cr_assert_eq(wal_close(wal, &end_lsn), MOTE_EINVAL);
    wal_destroy(wal);
    memory_destroy(memory);
}
