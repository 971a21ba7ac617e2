/* engine_fixture.h: a volume on an image file or on a simulated disk, opened, killed, cut and opened again, for tests of the public API.
 *
 * What a test sets up is not what it tests: failures in here, and of must(), abort the program with the place and the engine's own sentence. They work in any thread and in plain programs. */
#ifndef MOTE_TESTS_SUPPORT_ENGINE_FIXTURE_H
#define MOTE_TESTS_SUPPORT_ENGINE_FIXTURE_H

#include "blockdev/sim.h"
#include "engine/engine.h"
#include "tests/support/tempdir.h"

/* The call succeeds, or the program ends. */
#define must(call) fixture_must((call), MOTE_OK, #call, __FILE__, __LINE__)
/* The call fails with exactly this code. */
#define must_fail(call, code) fixture_must((call), (code), #call, __FILE__, __LINE__)
/* The condition holds. */
#define require(condition) fixture_require((condition), #condition, __FILE__, __LINE__)

void fixture_must(int result, int expected, const char *what, const char *file, int line);
void fixture_require(bool holds, const char *what, const char *file, int line);

struct fixture {
    struct tempdir folder;
    char path[TEMPDIR_PATH_BYTES + 16];
    struct mote_options options; /* of the next open; small: 32 MiB, 4 MiB memtables, no automatic checkpoint by time */
    int64_t (*realtime_ns)(void *context); /* in place of the real-time clock from the next open on; NULL: none */
    void *realtime_context;
    mote_db *db;
    struct blockdev *sim;    /* simulated disk, or NULL */
    struct blockdev *base;   /* image file opened for a gate, or NULL */
    struct blockdev *gate;   /* around sim or base, while open with one */
    struct blockdev *faulty; /* around the gate, while open with one */
};

/* A formatted sparse image file, not open. */
void fixture_image(struct fixture *fixture, uint64_t size_bytes);
/* A formatted simulated disk. record: keep its events. */
void fixture_sim(struct fixture *fixture, uint64_t size_bytes, uint64_t seed, bool record);
/* Opens it by mote_open (image), or engine_open through a gate (sim). */
void fixture_open(struct fixture *fixture);
/* The same through a gate, and through a fault injector around that. */
void fixture_open_gated(struct fixture *fixture);
void fixture_open_faulty(struct fixture *fixture);
/* Closes cleanly. */
void fixture_close(struct fixture *fixture);
/* What SIGKILL leaves: nothing more is written. The device's cache survives. */
void fixture_kill(struct fixture *fixture);
/* A power cut of the simulated disk. */
void fixture_power_cut(struct fixture *fixture, enum sim_crash_policy policy, uint64_t seed);
/* Kill, then open. */
void fixture_crash(struct fixture *fixture);
/* Close, then open. */
void fixture_reopen(struct fixture *fixture);
/* Whatever is open is abandoned; files go. */
void fixture_remove(struct fixture *fixture);

/* One of the things that a volume goes through, drawn from random: a flush, a compaction of the table, a checkpoint, a close and open, a crash (of which nothing is lost: everything is made durable before), all indexes completed. true: it was
 * opened anew, and the tables with it. */
bool fixture_event(struct fixture *fixture, const char *table, uint64_t *random);

struct mote_stats fixture_stats(struct fixture *fixture);
/* Rows that a scan of the whole table yields. */
uint64_t fixture_count_rows(mote_table *table);
/* MOTE_TEST_SCALE scales the work of long tests in percent (default 100); at least 1. */
uint64_t fixture_scale(uint64_t work);
/* The next number of a xorshift generator. */
uint64_t fixture_random(uint64_t *state);
int64_t fixture_now_ns(void);

/* The strategy of the indexes that a test declares: MOTE_TEST_STRATEGY (0 to 2; default 0), so that every test of indexes can be run with each; or what was set. Where it is not BATCH, few rows make a batch in memory (fixture_open). */
uint32_t fixture_strategy(void);
void fixture_set_strategy(uint32_t strategy);
#define FIXTURE_INDEX_OPTIONS_INIT {.size_bytes = sizeof(struct mote_index_options), .strategy = fixture_strategy()}
/* A unique column index of that name and column: what mote_index_create returns. */
int fixture_declare_unique(mote_table *table, const char *name, uint32_t column);

/* Values. */
struct mote_value value_i64(int64_t value);
struct mote_value value_i32(int32_t value);
struct mote_value value_timestamp(int64_t value);
struct mote_value value_f64(double value);
struct mote_value value_f32(float value);
struct mote_value value_bool(bool value);
struct mote_value value_text(const char *text);
struct mote_value value_bytes(uint32_t type, const void *data, uint64_t size_bytes);
struct mote_value value_point(double x, double y, double z);
struct mote_value value_null(uint32_t type);
/* Value of a row of a chunk. */
struct mote_value chunk_value(const struct mote_chunk *chunk, size_t column, size_t row);
/* Bit for bit. */
bool value_equal(const struct mote_value *a, const struct mote_value *b);

#endif
