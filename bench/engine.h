/* engine.h: the one interface by which the workloads drive mote and its peers, so that all do the same work on the same rows.
 *
 * Rows come row by row (struct row), as a producer has them; turning them into the engine's own form (mote: columns; the others: a big-endian key and a value of 112 bytes) is the
 * engine's work and is in its time. Durable means the same for all: a completed barrier of the device covers it. A call that an engine has no equal for is NULL, and the case is then
 * absent from the report, never replaced by something weaker.
 *
 * Threads: writer and reader number the threads, below ENGINE_THREADS_MAX; each number is used by one thread at a time. Failures: 0 or -1 after a printed sentence.
 */
#ifndef MOTE_BENCH_ENGINE_H
#define MOTE_BENCH_ENGINE_H

#include "bench/bench.h"

enum { ENGINE_THREADS_MAX = 8 };

enum put_level {
    PUT_DURABLE, /* returns when the rows are durable */
    PUT_TICKET,  /* returns a ticket; engine->wait(ticket) returns when they are durable */
    PUT_LAZY,    /* durable after engine->sync */
};

struct engine_options {
    const char *path; /* the device, or a folder on a fresh ext4 */
    uint32_t barrier;
    uint64_t cache_bytes;  /* of blocks read; 0: the engine's default */
    uint64_t memory_bytes; /* all its memory, about; 0: the engine's default */
    bool create;           /* the volume or folder is fresh */
};

struct scan {
    int32_t series;     /* -1: all */
    int64_t from_ns;    /* where series is given */
    uint64_t limit;     /* rows; 0: all */
    int column;         /* -1: whole rows; else this one of the 28 (and the time, with by_minute) */
    bool by_minute;     /* count and sum the column for each minute */
};
enum { SCAN_MINUTES = 4096 };
struct scan_minute {
    uint64_t count;
    double sum;
};
struct scan_result {
    uint64_t rows;
    uint64_t checksum; /* whole rows: sum of row_checksum; one column: sum of its bits; by_minute: none, the minutes tell */
    struct scan_minute minutes[SCAN_MINUTES];
};
static inline uint64_t scan_minute(int64_t time_ns) { return (uint64_t)(time_ns / INT64_C(60000000000)) % SCAN_MINUTES; }
/* For engines that hold whole rows: what the scan wants of one. */
static inline void scan_take_row(const struct scan *scan, const struct row *row, struct scan_result *result)
{
    result->rows++;
    if (scan->column < 0) {
        result->checksum += row_checksum(row);
        return;
    }
    float value = row->values[scan->column];
    if (scan->by_minute) {
        struct scan_minute *minute = &result->minutes[scan_minute(row->key.time_ns)];
        minute->count++;
        minute->sum += (double)value;
        return;
    }
    uint32_t bits;
    __builtin_memcpy(&bits, &value, sizeof bits);
    result->checksum += bits;
}

struct engine_type {
    const char *name;
    const char *tuning;  /* what is set, in one sentence, for the report */
    const char *workloads; /* a variant for these alone, since the others would show the same twice; NULL: for all */
    bool on_filesystem;  /* lives in a folder on ext4; else on the device itself */
    int (*format)(const char *path); /* makes its volume, before a run begins and bytes are counted, as ext4 is made for the others; NULL: nothing to make */
    int (*open)(const struct engine_options *options, void **state);
    int (*close)(void *state);
    int (*put)(void *state, unsigned writer, const struct row *rows, uint32_t count, enum put_level level, uint64_t *ticket);
    int (*wait)(void *state, uint64_t ticket);        /* NULL: no commits under way */
    int (*sync)(void *state);                         /* everything put is durable */
    int (*settle)(void *state, uint64_t *settled_ns); /* everything is in its final place and nothing moves any more; since when */
    int (*next_table)(void *state);                   /* rows now go to a new table */
    int (*drop_table)(void *state);                   /* the oldest one */
    int (*get)(void *state, unsigned reader, const struct row_key *key, struct row *row); /* 1 found, 0 not there, -1 */
    int (*multi_get)(void *state, unsigned reader, const struct row_key *keys, uint32_t count, struct row *rows); /* number found, or -1 */
    int (*scan)(void *state, const struct scan *scan, struct scan_result *result);
    bool scans_series;                                /* scan can seek to a series; else only whole tables in order of arrival */
    int (*space)(void *state, uint64_t *bytes);       /* in use on the device */
};

extern const struct engine_type engine_mote, engine_mote_pages, engine_mote_log;
/* Flushed, and the compactions that this called for done: nothing was written for a tenth of a second. */
struct mote_db;
int engine_mote_settle(struct mote_db *db, uint64_t *settled_ns);
/* Ended by NULL; mote first, the peers where they were built in. */
extern const struct engine_type *const engine_types[];

/* Peers (bench/peers): makes an empty ext4 on the device and mounts it; takes it away again. NULL where the peers were not built in. */
struct filesystem {
    int (*make)(const char *device, const char *folder);
    int (*unmake)(const char *folder);
};
extern const struct filesystem *const engine_filesystem;

/* Key as 16 bytes whose order is (series, time, sequence): for engines that compare bytes. */
static inline void key_store(const struct row_key *key, uint8_t out[16])
{
    uint32_t series = __builtin_bswap32((uint32_t)key->series), sequence = __builtin_bswap32((uint32_t)key->sequence);
    uint64_t time = __builtin_bswap64((uint64_t)key->time_ns);
    __builtin_memcpy(out, &series, 4);
    __builtin_memcpy(out + 4, &time, 8);
    __builtin_memcpy(out + 12, &sequence, 4);
}
static inline void key_load(const uint8_t in[16], struct row_key *key)
{
    uint32_t series, sequence;
    uint64_t time;
    __builtin_memcpy(&series, in, 4);
    __builtin_memcpy(&time, in + 4, 8);
    __builtin_memcpy(&sequence, in + 12, 4);
    *key = (struct row_key){.series = (int32_t)__builtin_bswap32(series), .sequence = (int32_t)__builtin_bswap32(sequence), .time_ns = (int64_t)__builtin_bswap64(time)};
}

#endif
