/* wal_commit_test.c: group commit over the simulated disk and the fault injector: urgencies, waits, pipelining and its window, barriers, marks, pads, the end, failures. */
#include <criterion/criterion.h>
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "include/mote.h"
#include "tests/support/wal_rig.h"
#include "wal/wal_format.h"

static int64_t now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1000000000LL + now.tv_nsec;
}

static struct wal_spy_report report_of(struct wal_rig *rig)
{
    struct wal_spy_report report;
    wal_spy_report(rig->spy, &report);
    cr_assert_eq(report.violations, 0, "%s", report.violation);
    return report;
}

static struct wal_counters counters_of(struct wal_rig *rig)
{
    struct wal_counters counters;
    wal_get_counters(rig->wal, &counters);
    return counters;
}

/* ---- Urgency and waiting ---- */

Test(wal_commit, now_is_durable_after_a_pump_and_none_is_not)
{
    struct wal_rig *rig = wal_rig_open(&(struct wal_rig_options){0});
    uint64_t none, now;
    cr_assert_eq(wal_rig_append(rig, 100, 1, WAL_URGENCY_NONE, 0, &none), MOTE_OK);
    wal_pump(rig->wal);
    cr_assert_eq(wal_durable_seq(rig->wal), 0);
    cr_assert_eq(report_of(rig).writes, 0);
    cr_assert_eq(wal_rig_append(rig, 100, 1, WAL_URGENCY_NOW, 0, &now), MOTE_OK);
    wal_pump(rig->wal);
    cr_assert_eq(wal_durable_seq(rig->wal), now, "the urgent one takes the other along");
    cr_assert_eq(report_of(rig).writes, 1);
    wal_rig_destroy(rig);
}

Test(wal_commit, timed_is_sealed_at_its_deadline)
{
    for (int threaded = 0; threaded < 2; threaded++) {
        struct wal_rig *rig = wal_rig_open(&(struct wal_rig_options){.threaded = threaded});
        uint64_t seq;
        int64_t start_ns = now_ns();
        cr_assert_eq(wal_rig_append(rig, 100, 1, WAL_URGENCY_TIMED, 500, &seq), MOTE_OK);
        cr_assert_eq(wal_rig_append(rig, 100, 1, WAL_URGENCY_TIMED, 30, &seq), MOTE_OK, "the shortest counts");
        cr_assert_eq(wal_rig_append(rig, 100, 1, WAL_URGENCY_TIMED, 500, &seq), MOTE_OK);
        while (wal_durable_seq(rig->wal) < seq) {
            wal_pump(rig->wal);
            usleep(200);
        }
        int64_t took_ns = now_ns() - start_ns;
        cr_assert_geq(took_ns, 30000000);
        cr_assert_lt(took_ns, 400000000);
        wal_rig_destroy(rig);
    }
}

Test(wal_commit, wait_returns_durable_or_timeout)
{
    for (int threaded = 0; threaded < 2; threaded++) {
        struct wal_rig *rig = wal_rig_open(&(struct wal_rig_options){.threaded = threaded});
        uint64_t seq;
        cr_assert_eq(wal_wait(rig->wal, 0, 0), MOTE_OK, "what was durable before the start");
        cr_assert_eq(wal_wait(rig->wal, 5, 3000000), MOTE_ETIMEOUT, "a seq nobody has");
        cr_assert_eq(wal_rig_append(rig, 100, 5, WAL_URGENCY_NONE, 0, &seq), MOTE_OK);
        cr_assert_eq(wal_wait(rig->wal, seq, INT64_MAX), MOTE_OK, "waiting makes it urgent");
        cr_assert_eq(wal_durable_seq(rig->wal), 5);
        cr_assert_eq(wal_durable_lsn(rig->wal), wal_tail_lsn(rig->wal));
        cr_assert_eq(wal_wait(rig->wal, 3, 0), MOTE_OK);
        struct wal_slot held;
        cr_assert_eq(wal_rig_reserve(rig, 100, 1, &held), MOTE_OK);
        cr_assert_eq(wal_wait(rig->wal, 6, 3000000), MOTE_ETIMEOUT, "a writer between reserve and publish holds it up");
        wal_publish(rig->wal, &held, WAL_URGENCY_NONE, 0);
        cr_assert_eq(wal_wait(rig->wal, 6, INT64_MAX), MOTE_OK, "and the publication is enough");
        wal_rig_destroy(rig);
    }
}

Test(wal_commit, commit_asks_without_waiting)
{
    struct wal_rig *rig = wal_rig_open(&(struct wal_rig_options){.threaded = true});
    uint64_t seq;
    cr_assert_eq(wal_rig_append(rig, 100, 1, WAL_URGENCY_NONE, 0, &seq), MOTE_OK);
    wal_commit(rig->wal, seq);
    for (int i = 0; i < 5000 && wal_durable_seq(rig->wal) < seq; i++)
        usleep(200);
    cr_assert_eq(wal_durable_seq(rig->wal), seq);
    wal_rig_destroy(rig);
}

static uint64_t callback_seq;
static void note_durable(void *context, uint64_t durable_seq)
{
    (void)context;
    callback_seq = durable_seq;
}

Test(wal_commit, advance_is_told_by_callback_and_eventfd)
{
    struct wal_rig *rig = wal_rig_open(&(struct wal_rig_options){.on_durable = note_durable, .mark_delay_ms = 1});
    int fd = wal_eventfd(rig->wal);
    cr_assert_geq(fd, 0);
    cr_assert_eq(wal_eventfd(rig->wal), fd);
    struct pollfd poll_fd = {.fd = fd, .events = POLLIN};
    cr_assert_eq(poll(&poll_fd, 1, 0), 0);
    uint64_t seq = wal_rig_append_durable(rig, 100, 7);
    cr_assert_eq(callback_seq, seq);
    cr_assert_eq(poll(&poll_fd, 1, 0), 1);
    uint64_t events;
    cr_assert_eq(read(fd, &events, sizeof events), sizeof events);
    callback_seq = 0;
    usleep(2000);
    wal_pump(rig->wal);
    cr_assert_eq(report_of(rig).marks, 1);
    cr_assert_eq(callback_seq, 0, "a mark makes no row durable");
    cr_assert_eq(poll(&poll_fd, 1, 0), 0);
    wal_poison(rig->wal, MOTE_EIO);
    cr_assert_eq(poll(&poll_fd, 1, 0), 1, "the end is told too");
    wal_rig_destroy(rig);
}

/* ---- Pipelining, window, barriers ---- */

Test(wal_commit, fua_and_none_pipeline_up_to_the_window)
{
    const uint32_t barriers[] = {MOTE_BARRIER_FUA, MOTE_BARRIER_NONE};
    for (int i = 0; i < 2; i++) {
        struct wal_rig *rig = wal_rig_open(&(struct wal_rig_options){.barrier = barriers[i], .inflight_max = 4});
        uint64_t seq;
        wal_spy_hold(rig->spy, true);
        for (int j = 0; j < 9; j++) {
            cr_assert_eq(wal_rig_append(rig, 100, 1, WAL_URGENCY_NOW, 0, &seq), MOTE_OK);
            wal_pump(rig->wal);
        }
        struct wal_spy_report report = report_of(rig);
        cr_assert_eq(report.writes, 4, "four in flight, five rows wait together");
        cr_assert_eq(report.frames_inflight_max, 4);
        cr_assert_eq(report.flushes, 0);
        cr_assert_eq(report.fua_writes, barriers[i] == MOTE_BARRIER_FUA ? 4 : 0);
        cr_assert_eq(wal_durable_seq(rig->wal), 0);
        wal_spy_let(rig->spy, 1);
        wal_pump(rig->wal);
        cr_assert_eq(wal_durable_seq(rig->wal), 1);
        cr_assert_eq(report_of(rig).writes, 5);
        wal_spy_hold(rig->spy, false);
        cr_assert_eq(wal_wait(rig->wal, seq, INT64_MAX), MOTE_OK);
        cr_assert_eq(report_of(rig).writes, 5);
        cr_assert_eq(counters_of(rig).barriers, barriers[i] == MOTE_BARRIER_FUA ? 5 : 0);
        wal_rig_destroy(rig);
    }
}

Test(wal_commit, flush_of_a_lone_frame_is_linked)
{
    struct wal_rig *rig = wal_rig_open(&(struct wal_rig_options){0});
    wal_rig_append_durable(rig, 100, 1);
    wal_rig_append_durable(rig, 100, 1);
    struct wal_spy_report report = report_of(rig);
    cr_assert_eq(report.writes, 2);
    cr_assert_eq(report.flushes, 2);
    cr_assert_eq(report.linked_flushes, 2);
    wal_rig_destroy(rig);
}

Test(wal_commit, rows_that_come_during_a_flush_share_the_next)
{
    struct wal_rig *rig = wal_rig_open(&(struct wal_rig_options){.inflight_max = 4});
    uint64_t seq;
    wal_spy_hold(rig->spy, true);
    for (int j = 0; j < 9; j++) {
        cr_assert_eq(wal_rig_append(rig, 100, 1, WAL_URGENCY_NOW, 0, &seq), MOTE_OK);
        wal_pump(rig->wal);
    }
    cr_assert_eq(report_of(rig).writes, 1);
    wal_spy_hold(rig->spy, false);
    cr_assert_eq(wal_wait(rig->wal, seq, INT64_MAX), MOTE_OK);
    struct wal_spy_report report = report_of(rig);
    cr_assert_eq(report.writes, 2);
    cr_assert_eq(report.flushes, 2);
    cr_assert_eq(report.flushes_inflight_max, 1);
    wal_rig_destroy(rig);
}

Test(wal_commit, full_stages_are_written_during_a_flush_and_one_flush_covers_them)
{
    struct wal_rig *rig = wal_rig_open(&(struct wal_rig_options){.inflight_max = 4, .stage_count = 8});
    uint64_t seq;
    wal_spy_hold(rig->spy, true);
    cr_assert_eq(wal_rig_append(rig, 100, 1, WAL_URGENCY_NOW, 0, &seq), MOTE_OK);
    wal_pump(rig->wal);
    for (int j = 0; j < 4; j++)
        cr_assert_eq(wal_rig_append(rig, 10000, 1, WAL_URGENCY_NONE, 0, &seq), MOTE_OK);
    wal_pump(rig->wal);
    struct wal_spy_report report = report_of(rig);
    cr_assert_eq(report.writes, 4);
    cr_assert_eq(report.flushes, 1);
    wal_spy_hold(rig->spy, false);
    wal_pump(rig->wal);
    report = report_of(rig);
    cr_assert_eq(report.writes, 4);
    cr_assert_eq(wal_durable_seq(rig->wal), 4);
    cr_assert_eq(report.flushes, 2);
    cr_assert_eq(report.linked_flushes, 1);
    wal_rig_destroy(rig);
}

Test(wal_commit, window_holds_under_every_barrier_and_order)
{
    for (uint64_t seed = 1; seed <= 30; seed++) {
        const uint32_t barriers[] = {MOTE_BARRIER_FLUSH, MOTE_BARRIER_FUA, MOTE_BARRIER_NONE};
        struct wal_rig *rig = wal_rig_open(&(struct wal_rig_options){.barrier = barriers[seed % 3], .reorder = true, .seed = seed, .inflight_max = 1 + (uint32_t)seed % 5, .extent_count = 24, .threaded = seed % 2});
        unsigned random = (unsigned)seed;
        uint64_t seq = 0;
        for (int i = 0; i < 100; i++) {
            if (wal_rig_append(rig, 16 + (uint32_t)rand_r(&random) % 15000, 1, (enum wal_urgency)(rand_r(&random) % 3), 0, &seq) != MOTE_OK)
                break;
            if (rand_r(&random) % 4 == 0)
                wal_pump(rig->wal);
        }
        cr_assert_eq(wal_wait(rig->wal, seq, INT64_MAX), MOTE_OK);
        struct wal_spy_report report = report_of(rig);
        cr_assert_leq(report.frames_inflight_max, rig->options.inflight_max);
        cr_assert_leq(report.window_bytes_max, (uint64_t)rig->options.inflight_max * rig->options.frame_bytes_max);
        wal_rig_destroy(rig);
    }
}

Test(wal_commit, sim_durable_content_holds_what_is_acknowledged)
{
    /* The spy of the flush itself: a power cut that keeps nothing unflushed leaves every acknowledged row. */
    const uint32_t barriers[] = {MOTE_BARRIER_FLUSH, MOTE_BARRIER_FUA};
    for (int i = 0; i < 2; i++) {
        struct wal_rig *rig = wal_rig_open(&(struct wal_rig_options){.barrier = barriers[i]});
        uint64_t seq = wal_rig_append_durable(rig, 3000, 3), later;
        cr_assert_eq(wal_rig_append(rig, 3000, 3, WAL_URGENCY_NONE, 0, &later), MOTE_OK);
        sim_power_cut(rig->sim, SIM_CRASH_NONE, 0, 0);
        cr_assert_neq(wal_wait(rig->wal, later, INT64_MAX), MOTE_OK);
        wal_rig_stop(rig);
        sim_power_on(rig->sim);
        struct wal_rig_found found;
        wal_rig_recover(rig, rig->device, false, &found);
        cr_assert_eq(found.last_seq, seq);
        wal_rig_destroy(rig);
    }
}

/* ---- Marks, pads, end ---- */

Test(wal_commit, idle_log_writes_one_mark_that_covers_the_last_frame)
{
    for (int threaded = 0; threaded < 2; threaded++) {
        struct wal_rig *rig = wal_rig_open(&(struct wal_rig_options){.mark_delay_ms = 10, .threaded = threaded});
        wal_rig_append_durable(rig, 100, 1);
        int64_t start_ns = now_ns();
        while (report_of(rig).marks == 0 && now_ns() - start_ns < 2000000000) {
            wal_pump(rig->wal);
            usleep(100);
        }
        struct wal_spy_report report = report_of(rig);
        cr_assert_eq(report.marks, 1);
        cr_assert_eq(report.last_kind, WAL_FRAME_MARK);
        cr_assert_eq(report.last_durable_lsn, 4096);
        for (int i = 0; i < 30; i++) {
            usleep(1000);
            wal_pump(rig->wal);
        }
        cr_assert_eq(report_of(rig).marks, 1, "a mark is not followed by a mark");
        cr_assert_eq(wal_durable_lsn(rig->wal), 8192);
        wal_rig_append_durable(rig, 100, 1);
        for (int i = 0; i < 30; i++) {
            usleep(1000);
            wal_pump(rig->wal);
        }
        cr_assert_eq(report_of(rig).marks, 2);
        cr_assert_eq(counters_of(rig).marks, 2);
        struct wal_rig_found found;
        wal_rig_recover(rig, rig->device, false, &found);
        cr_assert_eq(found.last_seq, 2);
        cr_assert_eq(found.recovery.durable_lsn_seen, 12288);
        wal_rig_destroy(rig);
    }
}

Test(wal_commit, mark_does_not_wait_for_rows_that_nobody_wants)
{
    struct wal_rig *rig = wal_rig_open(&(struct wal_rig_options){.mark_delay_ms = 1});
    uint64_t seq = wal_rig_append_durable(rig, 100, 1);
    cr_assert_eq(wal_rig_append(rig, 100, 1, WAL_URGENCY_NONE, 0, &seq), MOTE_OK);
    usleep(1500);
    wal_pump(rig->wal);
    cr_assert_eq(report_of(rig).marks, 1);
    cr_assert_eq(wal_wait(rig->wal, seq, INT64_MAX), MOTE_OK);
    struct wal_rig_found found;
    wal_rig_recover(rig, rig->device, false, &found);
    cr_assert_eq(found.last_seq, 2);
    cr_assert_eq(found.gap_count, 0);
    wal_rig_destroy(rig);
}

Test(wal_commit, pad_fills_what_is_left_before_a_discontinuity)
{
    /* Extents 0 and 1 follow each other on the device, 1 and 2 do not. */
    struct wal_rig *rig = wal_rig_open(&(struct wal_rig_options){.extent_count = 4});
    for (int i = 0; i < 12; i++)
        wal_rig_append_durable(rig, 11000, 1); /* 12288 bytes a frame: 10.67 in two extents */
    struct wal_spy_report report = report_of(rig);
    cr_assert_eq(report.pads, 1, "across 0 and 1 frames run on, before 2 there is a pad");
    struct wal_rig_found found;
    wal_rig_recover(rig, rig->device, false, &found);
    cr_assert_eq(found.last_seq, 12);
    cr_assert_eq(found.frame_lsn[10], 2 * 65536);
    cr_assert_eq(counters_of(rig).pads, 1);
    wal_rig_destroy(rig);
}

Test(wal_commit, rotation_cuts_where_recovery_sees_a_frame_end)
{
    struct wal_rig *rig = wal_rig_open(&(struct wal_rig_options){.extent_count = 8});
    static struct wal_cut cuts[10];
    for (int i = 0; i < 10; i++) {
        for (int j = 0; j <= i % 3; j++)
            cr_assert_eq(wal_rig_append(rig, 5000, 2, WAL_URGENCY_NONE, 0, NULL), MOTE_OK);
        cr_assert_eq(wal_rotate(rig->wal, &cuts[i], &cuts[i]), MOTE_OK);
    }
    cr_assert_eq(wal_wait(rig->wal, cuts[9].seq, INT64_MAX), MOTE_OK);
    struct wal_rig_found found;
    wal_rig_recover(rig, rig->device, false, &found);
    for (int i = 0; i < 10; i++) {
        bool ends = false;
        for (uint32_t j = 0; j < found.frame_count; j++) {
            uint64_t end_seq = j + 1 < found.frame_count ? found.frame_first_seq[j + 1] - 1 : found.last_seq;
            ends |= end_seq == cuts[i].seq && found.frame_lsn[j] + found.frame_bytes[j] == atomic_load(&cuts[i].lsn);
        }
        cr_assert(ends, "cut %d", i);
    }
    wal_rig_destroy(rig);
}

Test(wal_commit, close_makes_all_durable_and_ends_the_log)
{
    for (int threaded = 0; threaded < 2; threaded++) {
        struct wal_rig *rig = wal_rig_open(&(struct wal_rig_options){.threaded = threaded, .mark_delay_ms = 1});
        uint64_t seq, end_lsn;
        for (int i = 0; i < 5; i++)
            cr_assert_eq(wal_rig_append(rig, 7000, 1, WAL_URGENCY_NONE, 0, &seq), MOTE_OK);
        cr_assert_eq(wal_close(rig->wal, &end_lsn), MOTE_OK);
        cr_assert_eq(wal_durable_seq(rig->wal), 5);
        cr_assert_eq(wal_durable_lsn(rig->wal), end_lsn);
        cr_assert_eq(wal_tail_lsn(rig->wal), end_lsn);
        cr_assert_eq(report_of(rig).ends, 1);
        wal_rig_stop(rig);
        sim_power_cut(rig->sim, SIM_CRASH_NONE, 0, 0);
        sim_power_on(rig->sim);
        struct wal_rig_found found;
        wal_rig_recover(rig, rig->device, false, &found);
        cr_assert_eq(found.recovery.verdict, WAL_CLEAN);
        cr_assert_eq(found.recovery.end_lsn, end_lsn);
        cr_assert_eq(found.last_seq, 5);
        wal_rig_destroy(rig);
    }
}

Test(wal_commit, close_of_an_empty_log_is_clean)
{
    struct wal_rig *rig = wal_rig_open(&(struct wal_rig_options){0});
    uint64_t end_lsn;
    cr_assert_eq(wal_close(rig->wal, &end_lsn), MOTE_OK);
    cr_assert_eq(end_lsn, 4096);
    struct wal_rig_found found;
    wal_rig_recover(rig, rig->device, false, &found);
    cr_assert_eq(found.recovery.verdict, WAL_CLEAN);
    cr_assert_eq(found.recovery.next_seq, 1);
    wal_rig_destroy(rig);
}

/* ---- Failures ---- */

struct failure {
    const char *name;
    uint32_t barrier, op;
    int system_errno, code;
};

static void check_poisoned(struct wal_rig *rig, const struct failure *failure, uint64_t durable_seq, uint64_t seq)
{
    struct mote_error error;
    struct wal_slot slot;
    struct wal_cut cut;
    cr_assert_eq(wal_wait(rig->wal, seq, INT64_MAX), failure->code, "%s", failure->name);
    mote_last_error(&error);
    cr_assert_eq(error.code, failure->code);
    cr_assert_eq(error.system_errno, failure->system_errno, "%s", failure->name);
    cr_assert(strlen(error.message) > 20);
    cr_assert_eq(wal_poisoned(rig->wal, &error), failure->code);
    cr_assert_eq(error.system_errno, failure->system_errno);
    cr_assert_eq(wal_wait(rig->wal, durable_seq, 0), MOTE_OK, "what was acknowledged stays so");
    cr_assert_eq(wal_reserve(rig->wal, 100, 1, wal_active_user(rig->wal), &slot), MOTE_EPOISONED);
    cr_assert_eq(wal_rotate(rig->wal, rig, &cut), MOTE_EPOISONED);
    uint64_t end_lsn;
    cr_assert_eq(wal_close(rig->wal, &end_lsn), failure->code);
    cr_assert_eq(wal_durable_seq(rig->wal), durable_seq);
}

Test(wal_commit, failed_write_or_barrier_poisons_and_is_never_repeated)
{
    const struct failure failures[] = {
        {"flush mode, write", MOTE_BARRIER_FLUSH, BLOCKDEV_WRITE, EIO, MOTE_EIO},     {"flush mode, flush", MOTE_BARRIER_FLUSH, BLOCKDEV_FLUSH, EIO, MOTE_EIO},
        {"fua mode, write", MOTE_BARRIER_FUA, BLOCKDEV_WRITE, EIO, MOTE_EIO},         {"none mode, write", MOTE_BARRIER_NONE, BLOCKDEV_WRITE, ENOSPC, MOTE_ENOSPC},
        {"flush mode, no device", MOTE_BARRIER_FLUSH, BLOCKDEV_WRITE, ENODEV, MOTE_ENODEV},
    };
    for (size_t i = 0; i < sizeof failures / sizeof *failures * 2; i++) {
        const struct failure *failure = &failures[i / 2];
        struct wal_rig *rig = wal_rig_open(&(struct wal_rig_options){.barrier = failure->barrier, .faulty = true, .threaded = i % 2, .mark_delay_ms = 1});
        uint64_t durable_seq = wal_rig_append_durable(rig, 100, 2), seq;
        int rule = faulty_add(rig->faulty, &(struct faulty_rule){.kind = FAULTY_ERRNO, .op_mask = 1u << failure->op, .times = 1, .system_errno = failure->system_errno, .source_mask = failure->op == BLOCKDEV_FLUSH ? 0 : 1u << BLOCKDEV_SOURCE_WAL});
        cr_assert_geq(rule, 0);
        cr_assert_eq(wal_rig_append(rig, 100, 2, WAL_URGENCY_NOW, 0, &seq), MOTE_OK);
        check_poisoned(rig, failure, durable_seq, seq);
        struct wal_spy_report before = report_of(rig);
        for (int j = 0; j < 5; j++) {
            usleep(2000);
            wal_pump(rig->wal);
        }
        struct wal_spy_report after = report_of(rig);
        cr_assert_eq(after.writes, before.writes, "%s: no write, no mark, no end", failure->name);
        cr_assert_eq(after.flushes, before.flushes);
        cr_assert_eq(faulty_hits(rig->faulty, rule), 1, "the fault lasted for one request; nothing tried it again");
        wal_rig_destroy(rig);
    }
}

Test(wal_commit, frames_behind_a_failed_one_are_not_acknowledged)
{
    struct wal_rig *rig = wal_rig_open(&(struct wal_rig_options){.barrier = MOTE_BARRIER_FUA, .faulty = true, .inflight_max = 4});
    faulty_add(rig->faulty, &(struct faulty_rule){.kind = FAULTY_ERRNO, .op_mask = 1u << BLOCKDEV_WRITE, .skip = 1, .times = 1, .system_errno = EIO});
    uint64_t seq;
    wal_spy_hold(rig->spy, true);
    for (int i = 0; i < 4; i++) {
        cr_assert_eq(wal_rig_append(rig, 100, 1, WAL_URGENCY_NOW, 0, &seq), MOTE_OK);
        wal_pump(rig->wal);
    }
    cr_assert_eq(report_of(rig).writes, 4);
    wal_spy_hold(rig->spy, false);
    cr_assert_eq(wal_wait(rig->wal, 4, INT64_MAX), MOTE_EIO);
    cr_assert_leq(wal_durable_seq(rig->wal), 1);
    cr_assert_eq(wal_wait(rig->wal, 2, INT64_MAX), MOTE_EIO);
    wal_rig_destroy(rig);
}

static void *wait_for_seq(void *argument)
{
    struct wal_rig *rig = argument;
    return (void *)(intptr_t)wal_wait(rig->wal, 1, INT64_MAX);
}

Test(wal_commit, engine_poison_wakes_waiters_and_keeps_its_code)
{
    struct wal_rig *rig = wal_rig_open(&(struct wal_rig_options){.threaded = true});
    struct wal_slot slot;
    pthread_t thread;
    void *result;
    cr_assert_eq(wal_rig_reserve(rig, 100, 1, &slot), MOTE_OK);
    pthread_create(&thread, NULL, wait_for_seq, rig);
    usleep(5000);
    wal_poison(rig->wal, MOTE_ENODEV);
    pthread_join(thread, &result);
    cr_assert_eq((int)(intptr_t)result, MOTE_ENODEV);
    wal_poison(rig->wal, MOTE_EIO);
    cr_assert_eq(wal_poisoned(rig->wal, NULL), MOTE_ENODEV, "the first stays");
    wal_publish(rig->wal, &slot, WAL_URGENCY_NOW, 0);
    cr_assert_eq(wal_wait(rig->wal, 1, INT64_MAX), MOTE_ENODEV);
    wal_rig_destroy(rig);
}

Test(wal_commit, lost_power_poisons)
{
    for (int threaded = 0; threaded < 2; threaded++) {
        struct wal_rig *rig = wal_rig_open(&(struct wal_rig_options){.threaded = threaded});
        uint64_t seq;
        wal_rig_append_durable(rig, 100, 1);
        sim_power_cut(rig->sim, SIM_CRASH_ALL, 0, 0);
        cr_assert_eq(wal_rig_append(rig, 100, 1, WAL_URGENCY_NOW, 0, &seq), MOTE_OK);
        cr_assert_eq(wal_wait(rig->wal, seq, INT64_MAX), MOTE_ENODEV);
        wal_rig_destroy(rig);
    }
}

/* ---- Inline committers in turn ---- */

enum { WAITERS = 5, WAIT_ROUNDS = 200 };

static void *append_and_wait(void *argument)
{
    struct wal_rig *rig = argument;
    for (int i = 0; i < WAIT_ROUNDS; i++) {
        uint64_t seq;
        if (wal_rig_append(rig, 64, 1, i % 2 ? WAL_URGENCY_NOW : WAL_URGENCY_NONE, 0, &seq) != MOTE_OK || wal_wait(rig->wal, seq, INT64_MAX) != MOTE_OK || wal_durable_seq(rig->wal) < seq)
            abort();
    }
    return NULL;
}

Test(wal_commit, inline_waiters_take_the_committers_role_in_turn)
{
    struct wal_rig *rig = wal_rig_open(&(struct wal_rig_options){.extent_count = 64, .extent_bytes = 262144, .mark_delay_ms = 1});
    pthread_t threads[WAITERS];
    for (int i = 0; i < WAITERS; i++)
        pthread_create(&threads[i], NULL, append_and_wait, rig);
    for (int i = 0; i < WAITERS; i++)
        pthread_join(threads[i], NULL);
    cr_assert_eq(wal_durable_seq(rig->wal), WAITERS * WAIT_ROUNDS);
    report_of(rig);
    wal_rig_destroy(rig);
}

/* ---- Counters ---- */

Test(wal_commit, counters_count)
{
    struct wal_rig *rig = wal_rig_open(&(struct wal_rig_options){0});
    struct wal_counters counters = counters_of(rig);
    cr_assert_eq(counters.frames, 0);
    cr_assert_eq(counters.commit_ns_max, 0);
    for (int i = 0; i < 10; i++)
        wal_rig_append_durable(rig, 1000, 3);
    counters = counters_of(rig);
    cr_assert_eq(counters.frames, 10);
    cr_assert_eq(counters.rows, 30);
    cr_assert_eq(counters.payload_bytes, 10000);
    cr_assert_eq(counters.frame_bytes, 40960);
    cr_assert_eq(counters.barriers, 10);
    cr_assert_gt(counters.commit_ns_p50, 0);
    cr_assert_leq(counters.commit_ns_p50, counters.commit_ns_p99);
    cr_assert_leq(counters.commit_ns_p99, counters.commit_ns_p999);
    cr_assert_leq(counters.commit_ns_p999, counters.commit_ns_max);
    wal_rig_destroy(rig);
}
