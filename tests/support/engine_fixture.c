/* engine_fixture.c: see engine_fixture.h. */
#include "tests/support/engine_fixture.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "blockdev/base/units.h"
#include "blockdev/faulty.h"
#include "blockdev/probe.h"
#include "engine/recent.h"
#include "tests/support/gate.h"

void fixture_must(int result, int expected, const char *what, const char *file, int line)
{
    struct mote_error error;
    if (result == expected)
        return;
    mote_last_error(&error);
    fprintf(stderr, "%s:%d: %s gave %d (%s), expected %d (%s). Last error: %s: %s\n", file, line, what, result, mote_error_name(result), expected, mote_error_name(expected), mote_error_name(error.code),
            error.message);
    abort();
}

void fixture_require(bool holds, const char *what, const char *file, int line)
{
    if (holds)
        return;
    fprintf(stderr, "%s:%d: %s does not hold\n", file, line, what);
    abort();
}

/* ---- Making ---- */

static uint32_t set_strategy = UINT32_MAX;

void fixture_set_strategy(uint32_t strategy) { set_strategy = strategy; }

int fixture_declare_unique(mote_table *table, const char *name, uint32_t column)
{
    struct mote_index_options options = FIXTURE_INDEX_OPTIONS_INIT;
    options.name = name;
    options.kind = MOTE_INDEX_COLUMN;
    options.columns = &column;
    options.column_count = 1;
    options.unique = 1;
    return mote_index_create(table, &options);
}

uint32_t fixture_strategy(void)
{
    const char *given = getenv("MOTE_TEST_STRATEGY");
    return set_strategy != UINT32_MAX ? set_strategy : given ? (uint32_t)atoi(given) : MOTE_INDEX_BATCH;
}

static void follow_few_rows(struct fixture *fixture)
{
    enum { ROWS = 24 };
    if (fixture_strategy() != MOTE_INDEX_BATCH && !fixture->options.read_only)
        recents_set_rows(fixture->db, ROWS);
}

static void set_options(struct fixture *fixture)
{
    fixture->options = (struct mote_options)MOTE_OPTIONS_INIT;
    fixture->options.memory_bytes = 40 * MIB_BYTES;
    fixture->options.memtable_bytes = 4 * MIB_BYTES;
    fixture->options.memtable_count = 3;
    fixture->options.cache_bytes = 8 * MIB_BYTES;
    fixture->options.tables_max = 64;
    fixture->options.cursors_max = 8;
    fixture->options.checkpoint_period_ms = MOTE_NEVER;
    fixture->options.blob_threshold_bytes = 4096;
}

void fixture_image(struct fixture *fixture, uint64_t size_bytes)
{
    struct mote_format_options format = MOTE_FORMAT_OPTIONS_INIT;
    memset(fixture, 0, sizeof *fixture);
    tempdir_make(&fixture->folder);
    snprintf(fixture->path, sizeof fixture->path, "%s/volume", fixture->folder.path);
    format.image_size_bytes = size_bytes;
    format.sparse = 1;
    must(mote_format(fixture->path, &format, NULL));
    set_options(fixture);
}

void fixture_sim(struct fixture *fixture, uint64_t size_bytes, uint64_t seed, bool record)
{
    struct mote_format_options format = MOTE_FORMAT_OPTIONS_INIT;
    struct sim_options options = {.size_bytes = size_bytes, .logical_block_bytes = 512, .seed = seed, .reorder = true, .record = record};
    memset(fixture, 0, sizeof *fixture);
    must(sim_create(&options, &fixture->sim));
    memcpy(format.uuid, "mote test volume", sizeof format.uuid);
    must(engine_format(fixture->sim, &format, NULL));
    set_options(fixture);
}

/* ---- Opening ---- */

static void make_gate(struct fixture *fixture)
{
    struct blockdev_open_options how = {.backend = fixture->options.backend, .busy_timeout_ms = 1000, .read_only = fixture->options.read_only != 0};
    require(!fixture->db && !fixture->gate);
    if (!fixture->sim)
        must(blockdev_open(fixture->path, &how, &fixture->base));
    fixture->gate = gate_create(fixture->sim ? fixture->sim : fixture->base);
}

void fixture_open_gated(struct fixture *fixture)
{
    make_gate(fixture);
    must(engine_open_at(fixture->gate, &fixture->options, fixture->realtime_ns, fixture->realtime_context, &fixture->db, NULL));
    follow_few_rows(fixture);
}

void fixture_open_faulty(struct fixture *fixture)
{
    make_gate(fixture);
    must(faulty_create(fixture->gate, &fixture->faulty));
    must(engine_open(fixture->faulty, &fixture->options, &fixture->db, NULL));
}

void fixture_open(struct fixture *fixture)
{
    require(!fixture->db);
    if (fixture->sim || fixture->realtime_ns)
        fixture_open_gated(fixture);
    else
        must(mote_open(fixture->path, &fixture->options, &fixture->db, NULL));
    follow_few_rows(fixture);
}

/* The handle is gone, and with it the gate that it was opened on. */
static void forget_handle(struct fixture *fixture)
{
    fixture->db = NULL;
    fixture->gate = fixture->faulty = NULL;
    if (fixture->base)
        blockdev_close(fixture->base);
    fixture->base = NULL;
}

void fixture_close(struct fixture *fixture)
{
    must(mote_close(fixture->db));
    forget_handle(fixture);
}

void fixture_kill(struct fixture *fixture)
{
    if (fixture->gate)
        gate_release(fixture->gate);
    blockdev_close(engine_abandon(fixture->db));
    forget_handle(fixture);
}

void fixture_power_cut(struct fixture *fixture, enum sim_crash_policy policy, uint64_t seed)
{
    sim_power_cut(fixture->sim, policy, 0, seed);
    fixture_kill(fixture);
    sim_power_on(fixture->sim);
}

void fixture_crash(struct fixture *fixture)
{
    fixture_kill(fixture);
    fixture_open(fixture);
}

void fixture_reopen(struct fixture *fixture)
{
    fixture_close(fixture);
    fixture_open(fixture);
}

void fixture_remove(struct fixture *fixture)
{
    if (fixture->db)
        fixture_kill(fixture);
    if (fixture->sim)
        blockdev_close(fixture->sim);
    else
        tempdir_remove(&fixture->folder);
    memset(fixture, 0, sizeof *fixture);
}

bool fixture_event(struct fixture *fixture, const char *table, uint64_t *random)
{
    switch (fixture_random(random) % 8) {
    case 0:
    case 1:
    case 2:
        must(mote_flush(fixture->db));
        return false;
    case 3:
        must(mote_compact(fixture->db, table));
        return false;
    case 4:
        must(mote_checkpoint(fixture->db));
        return false;
    case 5:
        fixture_reopen(fixture);
        return true;
    case 6:
        must(mote_wait(fixture->db, mote_visible_seq(fixture->db), MOTE_FOREVER));
        fixture_crash(fixture);
        return true;
    default:
        must(mote_flush_all_indexes(fixture->db));
        return false;
    }
}

struct mote_stats fixture_stats(struct fixture *fixture)
{
    struct mote_stats stats = {.size_bytes = sizeof stats};
    must(mote_get_stats(fixture->db, &stats));
    return stats;
}

uint64_t fixture_count_rows(mote_table *table)
{
    struct mote_chunk chunk;
    mote_cursor *cursor;
    uint64_t rows = 0;
    must(mote_scan(table, NULL, &cursor));
    do {
        must(mote_cursor_next(cursor, &chunk));
        rows += chunk.row_count;
    } while (chunk.row_count > 0);
    mote_cursor_close(cursor);
    return rows;
}

uint64_t fixture_scale(uint64_t work)
{
    const char *scale = getenv("MOTE_TEST_SCALE");
    uint64_t percent = scale ? strtoull(scale, NULL, 10) : 100;
    uint64_t scaled = work * percent / 100;
    return scaled ? scaled : 1;
}

uint64_t fixture_random(uint64_t *state)
{
    uint64_t x = *state ? *state : 0x9E3779B97F4A7C15ull;
    x ^= x << 13;
    x ^= x >> 7;
    x ^= x << 17;
    *state = x;
    return x * 0x2545F4914F6CDD1Dull;
}

int64_t fixture_now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * NS_PER_S + now.tv_nsec;
}

/* ---- Values ---- */

struct mote_value value_i64(int64_t value) { return (struct mote_value){.type = MOTE_TYPE_INT64, .as.i64 = value}; }
struct mote_value value_i32(int32_t value) { return (struct mote_value){.type = MOTE_TYPE_INT32, .as.i32 = value}; }
struct mote_value value_timestamp(int64_t value) { return (struct mote_value){.type = MOTE_TYPE_TIMESTAMP, .as.i64 = value}; }
struct mote_value value_f64(double value) { return (struct mote_value){.type = MOTE_TYPE_FLOAT64, .as.f64 = value}; }
struct mote_value value_f32(float value) { return (struct mote_value){.type = MOTE_TYPE_FLOAT32, .as.f32 = value}; }
struct mote_value value_bool(bool value) { return (struct mote_value){.type = MOTE_TYPE_BOOL, .as.boolean = value}; }
struct mote_value value_text(const char *text) { return value_bytes(MOTE_TYPE_TEXT, text, strlen(text)); }
struct mote_value value_null(uint32_t type) { return (struct mote_value){.type = type, .is_null = 1}; }

struct mote_value value_bytes(uint32_t type, const void *data, uint64_t size_bytes)
{
    struct mote_value value = {.type = type};
    value.as.bytes.data = data;
    value.as.bytes.size_bytes = size_bytes;
    return value;
}

struct mote_value value_point(double x, double y, double z)
{
    struct mote_value value = {.type = MOTE_TYPE_POINT3};
    value.as.point[0] = x;
    value.as.point[1] = y;
    value.as.point[2] = z;
    return value;
}

/* Bytes of a value of a fixed type. */
static size_t fixed_bytes(uint32_t type, uint32_t dimension)
{
    switch (type) {
    case MOTE_TYPE_INT64:
    case MOTE_TYPE_TIMESTAMP:
    case MOTE_TYPE_FLOAT64:
        return 8;
    case MOTE_TYPE_INT32:
    case MOTE_TYPE_FLOAT32:
        return 4;
    case MOTE_TYPE_BOOL:
        return 1;
    case MOTE_TYPE_POINT3:
        return 24;
    case MOTE_TYPE_VECTOR_F32:
        return 4ull * dimension;
    case MOTE_TYPE_VECTOR_F16:
        return 2ull * dimension;
    default:
        require(type == MOTE_TYPE_VECTOR_U8);
        return dimension;
    }
}

struct mote_value chunk_value(const struct mote_chunk *chunk, size_t column, size_t row)
{
    const struct mote_column *from = &chunk->columns[column];
    struct mote_value value = {.type = from->type};
    if (from->validity && !(from->validity[row / 8] >> (row % 8) & 1)) {
        value.is_null = 1;
        return value;
    }
    if (from->offsets)
        return value_bytes(from->type, (const uint8_t *)from->values + from->offsets[row], from->offsets[row + 1] - from->offsets[row]);
    size_t bytes = fixed_bytes(from->type, from->dimension);
    const uint8_t *at = (const uint8_t *)from->values + row * bytes;
    if (from->type == MOTE_TYPE_VECTOR_F32 || from->type == MOTE_TYPE_VECTOR_F16 || from->type == MOTE_TYPE_VECTOR_U8)
        return value_bytes(from->type, at, bytes);
    memcpy(&value.as, at, bytes);
    return value;
}

bool value_equal(const struct mote_value *a, const struct mote_value *b)
{
    if (a->type != b->type || (a->is_null != 0) != (b->is_null != 0))
        return false;
    if (a->is_null)
        return true;
    switch (a->type) {
    case MOTE_TYPE_TEXT:
    case MOTE_TYPE_BLOB:
    case MOTE_TYPE_VECTOR_F32:
    case MOTE_TYPE_VECTOR_F16:
    case MOTE_TYPE_VECTOR_U8:
        return a->as.bytes.size_bytes == b->as.bytes.size_bytes && (a->as.bytes.size_bytes == 0 || memcmp(a->as.bytes.data, b->as.bytes.data, a->as.bytes.size_bytes) == 0);
    default:
        return memcmp(&a->as, &b->as, fixed_bytes(a->type, 1)) == 0;
    }
}
