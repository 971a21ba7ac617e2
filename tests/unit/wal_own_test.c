/* wal_own_test.c: a writer that commits its own rows (wal/own.c) beside the log's thread: when it does and when not, and that the thread misses nothing of what came meanwhile. */
#include <criterion/criterion.h>
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "include/mote.h"
#include "tests/support/wal_rig.h"
#include "wal/wal_format.h"

static const uint32_t barriers[] = {MOTE_BARRIER_FLUSH, MOTE_BARRIER_FUA, MOTE_BARRIER_NONE};
enum { BARRIER_COUNT = 3, WAIT_US = 5000000, STEP_US = 200 };

static struct wal_rig *open_rig(struct wal_rig_options options, uint32_t barrier)
{
    options.threaded = true;
    options.barrier = barrier;
    return wal_rig_open(&options);
}

static struct wal_slot publish_own(struct wal_rig *rig, uint32_t count)
{
    struct wal_slot slot;
    cr_assert_eq(wal_rig_reserve(rig, 100, count, &slot), MOTE_OK);
    wal_publish(rig->wal, &slot, WAL_URGENCY_OWN, 0);
    return slot;
}

/* As publish_own, when the thread has been found idle: a mark, or what it does after a start, may be under way. */
static struct wal_slot publish_owned(struct wal_rig *rig)
{
    for (int i = 0; i < 1000; i++) {
        struct wal_slot slot = publish_own(rig, 1);
        if (slot.own)
            return slot;
        cr_assert_eq(wal_finish(rig->wal, &slot, 1), MOTE_OK);
        usleep(STEP_US);
    }
    cr_assert(false, "an idle log lets a writer commit");
    return (struct wal_slot){0};
}

static bool durable_soon(struct wal_rig *rig, uint64_t seq)
{
    for (int waited_us = 0; waited_us < WAIT_US && wal_durable_seq(rig->wal) < seq; waited_us += STEP_US)
        usleep(STEP_US);
    return wal_durable_seq(rig->wal) >= seq;
}

static void close_rig(struct wal_rig *rig)
{
    struct wal_spy_report report;
    uint64_t end_lsn;
    uint64_t last_seq = wal_next_seq(rig->wal) - 1;
    cr_assert_eq(wal_close(rig->wal, &end_lsn), MOTE_OK);
    wal_rig_stop(rig);
    wal_spy_report(rig->spy, &report);
    cr_assert_eq(report.violations, 0, "%s", report.violation);
    cr_assert_leq(report.flushes_inflight_max, 1);
    static struct wal_rig_found found;
    wal_rig_recover(rig, rig->device, false, &found);
    cr_assert_eq(found.recovery.verdict, WAL_CLEAN);
    cr_assert_eq(found.last_seq, last_seq);
    cr_assert(found.content_good);
    wal_rig_destroy(rig);
}

Test(wal_own, idle_log_is_committed_by_its_writer)
{
    for (int i = 0; i < BARRIER_COUNT; i++) {
        struct wal_rig *rig = open_rig((struct wal_rig_options){0}, barriers[i]);
        struct wal_spy_report report;
        for (int round = 0; round < 50; round++) {
            struct wal_slot slot = publish_owned(rig);
            cr_assert_eq(wal_finish(rig->wal, &slot, 1), MOTE_OK);
            cr_assert(!slot.own);
            cr_assert_geq(wal_durable_seq(rig->wal), slot.first_seq);
        }
        wal_spy_report(rig->spy, &report);
        if (barriers[i] == MOTE_BARRIER_FLUSH)
            cr_assert_eq(report.linked_flushes, report.flushes, "each flush is linked with its frame");
        if (barriers[i] == MOTE_BARRIER_FUA)
            cr_assert_eq(report.fua_writes, report.writes);
        close_rig(rig);
    }
}

struct other {
    struct wal_rig *rig;
    enum wal_urgency urgency;
    int result;
    bool own;
    _Atomic bool published;
};

static void *append_and_wait(void *argument)
{
    struct other *other = argument;
    struct wal_slot slot;
    other->result = wal_rig_reserve(other->rig, 100, 1, &slot);
    if (other->result)
        return NULL;
    wal_publish(other->rig->wal, &slot, other->urgency, 0);
    other->own = slot.own;
    atomic_store(&other->published, true);
    other->result = other->urgency == WAL_URGENCY_OWN ? wal_finish(other->rig->wal, &slot, 1) : wal_wait(other->rig->wal, slot.first_seq, INT64_MAX);
    return NULL;
}

Test(wal_own, others_rows_become_durable_behind_it)
{
    for (int i = 0; i < BARRIER_COUNT * 4; i++) {
        struct wal_rig *rig = open_rig((struct wal_rig_options){0}, barriers[i / 4]);
        struct wal_slot slot = publish_owned(rig);
        struct other other = {.rig = rig, .urgency = (enum wal_urgency)(i % 4)};
        pthread_t thread;
        pthread_create(&thread, NULL, append_and_wait, &other);
        while (!atomic_load(&other.published))
            usleep(STEP_US);
        usleep(2000);
        cr_assert_lt(wal_durable_seq(rig->wal), slot.first_seq, "nobody else reaps it");
        cr_assert_eq(wal_finish(rig->wal, &slot, 1), MOTE_OK);
        pthread_join(thread, NULL);
        cr_assert_eq(other.result, MOTE_OK);
        cr_assert(!other.own, "one at a time");
        cr_assert_eq(wal_durable_seq(rig->wal), slot.first_seq + 1);
        close_rig(rig);
    }
}

/* Publications while the writer's commit closes the window wake nobody: the thread must still come to know of them. */
Test(wal_own, timed_and_urgent_rows_that_came_meanwhile_are_not_forgotten)
{
    for (int i = 0; i < BARRIER_COUNT * 2; i++) {
        struct wal_rig *rig = open_rig((struct wal_rig_options){.inflight_max = 1}, barriers[i / 2]);
        for (int round = 0; round < 10; round++) {
            struct wal_slot slot = publish_owned(rig);
            uint64_t seq;
            cr_assert_eq(wal_rig_append(rig, 64, 1, WAL_URGENCY_NONE, 0, &seq), MOTE_OK);
            if (i % 2)
                cr_assert_eq(wal_rig_append(rig, 64, 1, WAL_URGENCY_TIMED, 2, &seq), MOTE_OK);
            else
                cr_assert_eq(wal_rig_append(rig, 64, 1, WAL_URGENCY_NOW, 0, &seq), MOTE_OK);
            if (round % 2)
                usleep(1000); /* The thread has woken, found the window closed and sleeps again. */
            cr_assert_eq(wal_finish(rig->wal, &slot, 1), MOTE_OK);
            cr_assert(durable_soon(rig, seq), "barrier %u round %d", barriers[i / 2], round);
            uint64_t later;
            cr_assert_eq(wal_rig_append(rig, 64, 1, WAL_URGENCY_NOW, 0, &later), MOTE_OK);
            cr_assert(durable_soon(rig, later), "and the thread heeds publications again");
        }
        close_rig(rig);
    }
}

Test(wal_own, mark_follows_within_its_delay)
{
    struct wal_rig *rig = open_rig((struct wal_rig_options){.mark_delay_ms = 10}, MOTE_BARRIER_FUA);
    struct wal_counters counters;
    for (uint64_t round = 1; round <= 3; round++) {
        struct wal_slot slot = publish_owned(rig);
        cr_assert_eq(wal_finish(rig->wal, &slot, 1), MOTE_OK);
        for (int waited_us = 0; waited_us < WAIT_US; waited_us += STEP_US) {
            wal_get_counters(rig->wal, &counters);
            if (counters.marks >= round)
                break;
            usleep(STEP_US);
        }
        cr_assert_geq(counters.marks, round);
    }
    close_rig(rig);
}

Test(wal_own, writer_between_reserve_and_publish_leaves_the_frame_to_the_thread)
{
    for (int i = 0; i < BARRIER_COUNT; i++) {
        struct wal_rig *rig = open_rig((struct wal_rig_options){0}, barriers[i]);
        struct wal_slot late, slot;
        cr_assert_eq(wal_rig_reserve(rig, 100, 1, &late), MOTE_OK);
        slot = publish_own(rig, 1);
        cr_assert(!slot.own);
        usleep(1000);
        cr_assert_eq(wal_durable_seq(rig->wal), 0);
        wal_publish(rig->wal, &late, WAL_URGENCY_NONE, 0);
        cr_assert_eq(wal_finish(rig->wal, &slot, 1), MOTE_OK);
        slot = publish_owned(rig);
        cr_assert_eq(wal_finish(rig->wal, &slot, 1), MOTE_OK, "and the next idle log is the writer's again");
        close_rig(rig);
    }
}

Test(wal_own, space_is_asked_for_by_the_thread)
{
    struct wal_rig *rig = open_rig((struct wal_rig_options){.extents_first = 1, .extent_count = 40, .low_space_bytes = 40000}, MOTE_BARRIER_FUA);
    for (int i = 0; i < 300; i++) {
        struct wal_slot slot;
        cr_assert_eq(wal_rig_reserve(rig, 3000, 1, &slot), MOTE_OK);
        wal_publish(rig->wal, &slot, WAL_URGENCY_OWN, 0);
        cr_assert_eq(wal_finish(rig->wal, &slot, 1), MOTE_OK);
    }
    cr_assert_geq(atomic_load(&rig->need_space_calls), 15);
    close_rig(rig);
}

Test(wal_own, failed_write_or_barrier_poisons_and_is_never_repeated)
{
    const struct {
        uint32_t barrier, op;
        int system_errno, code;
    } failures[] = {
        {MOTE_BARRIER_FLUSH, BLOCKDEV_WRITE, EIO, MOTE_EIO},
        {MOTE_BARRIER_FLUSH, BLOCKDEV_FLUSH, EIO, MOTE_EIO},
        {MOTE_BARRIER_FUA, BLOCKDEV_WRITE, ENODEV, MOTE_ENODEV},
        {MOTE_BARRIER_NONE, BLOCKDEV_WRITE, ENOSPC, MOTE_ENOSPC},
    };
    for (size_t i = 0; i < sizeof failures / sizeof *failures; i++) {
        struct wal_rig *rig = open_rig((struct wal_rig_options){.faulty = true, .mark_delay_ms = 0}, failures[i].barrier);
        struct wal_slot slot = publish_owned(rig);
        cr_assert_eq(wal_finish(rig->wal, &slot, 1), MOTE_OK);
        uint64_t durable_seq = wal_durable_seq(rig->wal), end_lsn;
        int rule = faulty_add(rig->faulty, &(struct faulty_rule){.kind = FAULTY_ERRNO, .op_mask = 1u << failures[i].op, .times = 1, .system_errno = failures[i].system_errno});
        cr_assert_geq(rule, 0);
        slot = publish_own(rig, 1);
        cr_assert_eq(wal_finish(rig->wal, &slot, 1), failures[i].code);
        struct mote_error error;
        mote_last_error(&error);
        cr_assert_eq(error.system_errno, failures[i].system_errno);
        cr_assert_eq(wal_durable_seq(rig->wal), durable_seq);
        cr_assert_eq(wal_poisoned(rig->wal, NULL), failures[i].code);
        cr_assert_eq(wal_reserve(rig->wal, 100, 1, wal_active_user(rig->wal), &slot), MOTE_EPOISONED);
        cr_assert_eq(wal_close(rig->wal, &end_lsn), failures[i].code);
        cr_assert_eq(faulty_hits(rig->faulty, rule), 1);
        wal_rig_destroy(rig);
    }
}

Test(wal_own, thread_only_leaves_all_to_the_thread)
{
    struct wal_rig *rig = open_rig((struct wal_rig_options){.thread_only = true}, MOTE_BARRIER_FUA);
    for (int i = 0; i < 20; i++) {
        struct wal_slot slot = publish_own(rig, 2);
        cr_assert(!slot.own);
        cr_assert_eq(wal_finish(rig->wal, &slot, 2), MOTE_OK);
        cr_assert_geq(wal_durable_seq(rig->wal), slot.first_seq + 1);
    }
    close_rig(rig);
}
