/* load.c: fills an engine for the read workloads: 64 series at about 100 Hz, in batches, settled, then closed and opened again, so that nothing is read from a memtable by accident. */
#include <string.h>

#include "bench/load.h"

uint64_t load_rows_count(const struct bench_options *options)
{
    uint64_t fit = options->size_bytes / ROW_BYTES / 4, rows = options->read_rows ? options->read_rows : options->quick ? 65536 : 4000000;
    rows = rows < fit ? rows : fit;
    return rows - rows % BATCH_ROWS_MAX;
}

static int fill(struct run *run, struct loaded *loaded)
{
    uint64_t settled_ns, begin_ns = clock_ns();
    for (uint64_t done = 0; done < loaded->rows; done += BATCH_ROWS_MAX) {
        const struct row *rows = rows_next(&loaded->source, BATCH_ROWS_MAX);
        if (run->engine->put(loaded->state, 0, rows, BATCH_ROWS_MAX, PUT_LAZY, NULL))
            return -1;
        for (unsigned i = 0; i < BATCH_ROWS_MAX; i++) {
            uint32_t bits[ROW_VALUES];
            memcpy(bits, rows[i].values, sizeof bits);
            loaded->checksum += row_checksum(&rows[i]);
            for (unsigned v = 0; v < ROW_VALUES; v++)
                loaded->column_checksum[v] += bits[v];
            struct scan_minute *minute = &loaded->minutes[scan_minute(rows[i].key.time_ns)];
            minute->count++;
            minute->sum += (double)rows[i].values[LOAD_MINUTE_COLUMN];
        }
    }
    if (run->engine->sync(loaded->state) || run->engine->settle(loaded->state, &settled_ns))
        return -1;
    loaded->load_seconds = (double)(settled_ns - begin_ns) / 1e9;
    return 0;
}

int load_rows(struct run *run, struct loaded *loaded)
{
    struct engine_options open = {.path = run->path, .barrier = run->barrier, .cache_bytes = run->options->memory_bytes / READ_CACHE_SHARE, .memory_bytes = READ_MEMORY_SHARE(run->options->memory_bytes), .create = true};
    *loaded = (struct loaded){.rows = load_rows_count(run->options)};
    loaded->ticks = loaded->rows / SERIES_COUNT;
    if (rows_open(&loaded->source, ROWS_RECORDED, 0, SERIES_COUNT, READ_STEP_SCALE))
        return -1;
    if (run->engine->open(&open, &loaded->state)) {
        rows_close(&loaded->source);
        return -1;
    }
    int code = fill(run, loaded);
    if (run->engine->close(loaded->state))
        code = -1;
    rows_close(&loaded->source); /* its memory belongs to the reader from now on; rows_make needs no pool */
    open.create = false;
    if (!code)
        code = run->engine->open(&open, &loaded->state);
    return code;
}

int load_close(struct run *run, struct loaded *loaded)
{
    return run->engine->close(loaded->state);
}
