/* load.h: the rows that the read workloads load before they read (load.c). */
#ifndef MOTE_BENCH_LOAD_H
#define MOTE_BENCH_LOAD_H

#include "bench/engine.h"

enum { LOAD_MINUTE_COLUMN = 9 }; /* the column that is scanned alone, and summed by the minute */
/* Of the memory that the read workloads may take (256 MiB, --memory): the engines' block caches, all of an engine's memory where it has such a limit. The rest is the page cache's. */
enum { READ_CACHE_SHARE = 4, READ_STEP_SCALE = 10 };
#define READ_MEMORY_SHARE(bytes) ((bytes) / 8 * 5)

struct loaded {
    void *state; /* the engine, open again after a clean close */
    struct row_source source;
    uint64_t rows, ticks; /* rows of each series */
    uint64_t checksum, column_checksum[ROW_VALUES]; /* what full scans must find */
    struct scan_minute minutes[SCAN_MINUTES]; /* of LOAD_MINUTE_COLUMN */
    double load_seconds;
};
/* So many rows as the options say, or as fit. */
uint64_t load_rows_count(const struct bench_options *options);
/* Loads, settles, closes, opens. A failure closes what was opened. */
int load_rows(struct run *run, struct loaded *loaded);
int load_close(struct run *run, struct loaded *loaded);

#endif
