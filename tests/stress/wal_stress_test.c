/* wal_stress_test.c: many writers with mixed urgencies, rotations and waits over the simulated disk, with the log's I/O thread and inline; a plain program, so that it runs under ThreadSanitizer.
 *
 * Checked: each seq is given out once, without a gap; each wait that returned is true; cuts settle, lie between frames and in order; after wal_close a recovery finds every row with its bytes; no
 * submission broke the window. Arguments: rounds (default 6). */
#include <inttypes.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "blockdev/base/bytes.h"
#include "blockdev/base/units.h"
#include "include/mote.h"
#include "tests/support/wal_rig.h"

enum { WRITERS = 5, APPENDS = 2500, ROTATIONS = 60 };

static uint64_t passed_count, failed_count;

struct writer {
    pthread_t thread;
    struct wal_rig *rig;
    unsigned random;
    uint32_t append_count;
    uint64_t first[APPENDS];
    uint32_t count[APPENDS];
    uint64_t wrong;
};

struct rotator {
    pthread_t thread;
    struct wal_rig *rig;
    struct wal_cut cuts[ROTATIONS];
    int users[ROTATIONS];
    _Atomic uint32_t rotated;
    uint64_t wrong;
};

static void check(bool good, const char *what)
{
    if (good) {
        passed_count++;
    } else {
        failed_count++;
        fprintf(stderr, "FAILED: %s\n", what);
    }
}

/* The payload stays what it is until the slot is released, durable or not. */
static void let_go_slowly(struct writer *writer, const struct wal_slot *slot)
{
    for (int yields = rand_r(&writer->random) % 8; yields > 0; yields--)
        sched_yield();
    writer->wrong += load_u32(slot->payload) != slot->size_bytes || load_u64(slot->payload + 8) != slot->first_seq;
    wal_release(writer->rig->wal, slot);
}

static void *run_writer(void *argument)
{
    struct writer *writer = argument;
    struct wal *wal = writer->rig->wal;
    for (uint32_t i = 0; i < writer->append_count; i++) {
        uint32_t size_bytes = 16 + (uint32_t)rand_r(&writer->random) % (rand_r(&writer->random) % 50 == 0 ? 8000 : 120);
        uint32_t count = 1 + (uint32_t)rand_r(&writer->random) % 3;
        struct wal_slot slot;
        if (wal_rig_reserve(writer->rig, size_bytes, count, &slot) != MOTE_OK) {
            writer->wrong++;
            break;
        }
        if (rand_r(&writer->random) % 64 == 0)
            sched_yield(); /* As if preempted between reserve and publish. */
        bool hold = rand_r(&writer->random) % 8 == 0;
        if (hold)
            wal_hold(wal, &slot);
        enum wal_urgency urgency = (enum wal_urgency)(rand_r(&writer->random) % 4);
        wal_publish(wal, &slot, urgency, (uint32_t)rand_r(&writer->random) % 3);
        if (hold)
            let_go_slowly(writer, &slot);
        writer->first[i] = slot.first_seq;
        writer->count[i] = count;
        uint64_t seq = slot.first_seq + count - 1;
        if (urgency == WAL_URGENCY_OWN)
            writer->wrong += wal_finish(wal, &slot, count) != MOTE_OK || wal_durable_seq(wal) < seq;
        else if (rand_r(&writer->random) % 40 == 0)
            writer->wrong += wal_wait(wal, seq, INT64_MAX) != MOTE_OK || wal_durable_seq(wal) < seq;
        else if (rand_r(&writer->random) % 40 == 0)
            wal_wait(wal, seq, (int64_t)(rand_r(&writer->random) % 100) * NS_PER_US);
        else if (rand_r(&writer->random) % 40 == 0)
            wal_commit(wal, seq);
    }
    return NULL;
}

static void *run_rotator(void *argument)
{
    struct rotator *rotator = argument;
    struct wal *wal = rotator->rig->wal;
    for (uint32_t i = 0; i < ROTATIONS; i++) {
        struct wal_cut *cut = &rotator->cuts[i];
        if (wal_rotate(wal, &rotator->users[i], cut) != MOTE_OK) {
            rotator->wrong++;
            break;
        }
        rotator->wrong += wal_wait(wal, cut->seq, INT64_MAX) != MOTE_OK;
        /* Durable, so settled and placed. */
        uint64_t lsn = atomic_load(&cut->lsn);
        rotator->wrong += lsn == UINT64_MAX || atomic_load(&cut->settled) != 1 || lsn > wal_durable_lsn(wal);
        rotator->wrong += i > 0 && (cut->seq < rotator->cuts[i - 1].seq || lsn < atomic_load(&rotator->cuts[i - 1].lsn));
        atomic_store(&rotator->rotated, i + 1);
        for (int j = 0; j < 20; j++) {
            sched_yield();
            wal_pump(wal);
        }
    }
    return NULL;
}

static void check_seqs(const struct writer *writers, uint64_t next_seq)
{
    uint8_t *seen = calloc(next_seq, 1);
    bool once = true, rising = true;
    uint64_t given = 0;
    for (int i = 0; i < WRITERS; i++)
        for (uint32_t j = 0; j < writers[i].append_count; j++) {
            rising &= j == 0 || writers[i].first[j] > writers[i].first[j - 1];
            for (uint64_t seq = writers[i].first[j]; seq < writers[i].first[j] + writers[i].count[j]; seq++) {
                once &= seq > 0 && seq < next_seq && seen[seq]++ == 0;
                given++;
            }
        }
    free(seen);
    check(once && given == next_seq - 1, "each seq is given out once, without a gap");
    check(rising, "a writer's seqs rise");
}

static void check_recovery(struct wal_rig *rig, uint64_t last_seq)
{
    static struct wal_rig_found found;
    wal_rig_recover(rig, rig->device, false, &found);
    check(found.result == MOTE_OK && found.recovery.verdict == WAL_CLEAN, "recovery is clean");
    check(found.last_seq == last_seq && found.gap_count == 0 && found.recovery.row_count == last_seq, "every row is there");
    check(found.content_good, "with its bytes");
}

static void run_round(uint64_t seed, bool threaded)
{
    static struct writer writers[WRITERS];
    static struct rotator rotator;
    static const uint32_t barriers[] = {MOTE_BARRIER_FLUSH, MOTE_BARRIER_FUA, MOTE_BARRIER_NONE};
    struct wal_rig_options options = {.threaded = threaded,
                                      .barrier = barriers[seed % 3],
                                      .inflight_max = 1 + (uint32_t)seed % 4,
                                      .mark_delay_ms = 1,
                                      .extent_bytes = 2 * MIB_BYTES,
                                      .extent_count = 60,
                                      .extents_first = 1,
                                      .low_space_bytes = seed % 2 ? 65536 : 0,
                                      .reorder = true,
                                      .seed = seed};
    struct wal_rig *rig = wal_rig_open(&options);
    memset(&rotator, 0, sizeof rotator);
    rotator.rig = rig;
    for (int i = 0; i < WRITERS; i++) {
        writers[i].rig = rig;
        writers[i].random = (unsigned)(seed * 100 + (uint64_t)i);
        writers[i].append_count = threaded ? APPENDS : APPENDS / 3;
        writers[i].wrong = 0;
        pthread_create(&writers[i].thread, NULL, run_writer, &writers[i]);
    }
    pthread_create(&rotator.thread, NULL, run_rotator, &rotator);
    uint64_t wrong = 0;
    for (int i = 0; i < WRITERS; i++) {
        pthread_join(writers[i].thread, NULL);
        wrong += writers[i].wrong;
    }
    pthread_join(rotator.thread, NULL);
    check(wrong == 0, "appends and waits succeed");
    check(rotator.wrong == 0 && atomic_load(&rotator.rotated) == ROTATIONS, "rotations cut in order");
    uint64_t next_seq = wal_next_seq(rig->wal), end_lsn;
    check_seqs(writers, next_seq);
    check(wal_close(rig->wal, &end_lsn) == MOTE_OK && wal_durable_seq(rig->wal) == next_seq - 1, "close makes all durable");
    struct wal_spy_report report;
    wal_spy_report(rig->spy, &report);
    check(report.violations == 0, report.violation);
    struct wal_counters counters;
    wal_get_counters(rig->wal, &counters);
    check(counters.rows == next_seq - 1, "counters agree");
    printf("seed %" PRIu64 " %s barrier %u inflight %u: %" PRIu64 " rows, %" PRIu64 " frames, %" PRIu64 " marks, %" PRIu64 " pads, %" PRIu64 " stalls\n", seed, threaded ? "thread" : "inline",
           options.barrier, options.inflight_max, counters.rows, counters.frames, counters.marks, counters.pads, counters.writer_stalls);
    wal_rig_stop(rig);
    check_recovery(rig, next_seq - 1);
    wal_rig_destroy(rig);
}

int main(int argc, char **argv)
{
    uint64_t round_count = argc > 1 ? strtoull(argv[1], NULL, 10) : 6;
    for (uint64_t seed = 1; seed <= round_count; seed++) {
        run_round(seed, true);
        run_round(seed, false);
    }
    printf("%" PRIu64 " passed, %" PRIu64 " failed\n", passed_count, failed_count);
    return failed_count != 0;
}
