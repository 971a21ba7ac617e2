/* w9_indexes.c: the bulk ingest of w2 with declared indexes: none declared, each kind alone, all together. The sensor's rows have a point more, and beside each hundredth of them goes a row of another table with a text of some eight words and a
 * vector of 128 float32, as detections or log lines go beside a stream. A table of its own, since a vector takes its room in a row where it is NULL too. mote only: no peer has these indexes. Every table has a time column, and so
 * the timestamp index. After the run each index is asked, and must be complete.
 *
 * Tables are dropped as in w2. Settled: flushed, compacted, and all sections there, the graphs of the vectors too.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "bench/bench.h"
#include "bench/engine.h"
#include "blockdev/base/units.h"
#include "include/mote.h"

enum { SENSOR_COLUMNS = 3 + ROW_VALUES + 1, NOTE_COLUMNS = 5, NOTE_SHARE = 100, NOTE_ROWS_MAX = BATCH_ROWS_MAX / NOTE_SHARE + 1, DIMENSION = 128, TEXT_BYTES = 128, WORDS = 8, VOCABULARY = 8192, TABLES_LIVE = 3, TABLE_SHARE = 16, POOL = 4096 };

enum { WITH_COLUMN = 2, WITH_SPATIAL = 4, WITH_TEXT = 8, WITH_VECTOR = 16 };
static const unsigned none, column = WITH_COLUMN, spatial = WITH_SPATIAL, text = WITH_TEXT, vector = WITH_VECTOR, all = WITH_COLUMN | WITH_SPATIAL | WITH_TEXT | WITH_VECTOR;
static const struct bench_case cases[] = {{"none declared", &none}, {"column", &column}, {"spatial", &spatial}, {"text", &text}, {"vector", &vector}, {"all four", &all}};
static const struct metric metrics[] = {{"rows_per_s", "rows/s durable", false},
                                        {"settled_rows_per_s", "rows/s settled", false},
                                        {"cpu_s_per_million", "CPU s/M rows", true},
                                        {"written_per_raw", "written/raw", true},
                                        {"index_bytes_per_row", "index bytes/row", true},
                                        {"rows", "rows", false},
                                        {NULL, NULL, false}};

struct note {
    char words[TEXT_BYTES];
    uint32_t word_bytes;
    float vector[DIMENSION];
};

struct ingest {
    struct run *run;
    unsigned with;
    mote_db *db;
    mote_table *sensor, *notes;
    unsigned first_table, table_count;
    struct row_source source;
    struct note *pool; /* POOL; made before the clock starts */
    uint64_t rows, table_rows, rows_in_table, raw_bytes;
    /* A batch as columns. */
    struct row_columns columns;
    double points[BATCH_ROWS_MAX][3];
    int32_t note_series[NOTE_ROWS_MAX], note_sequence[NOTE_ROWS_MAX];
    int64_t note_time_ns[NOTE_ROWS_MAX];
    uint32_t word_offsets[NOTE_ROWS_MAX + 1];
    char words[NOTE_ROWS_MAX * TEXT_BYTES];
    float vectors[NOTE_ROWS_MAX][DIMENSION];
};

/* ---- Notes ---- */

static double random_unit(uint64_t *random) { return (double)(random_next(random) >> 11) * 0x1p-53; }

/* Frequent words are short and come often, as in a language. */
static void make_words(struct note *note, uint64_t *random)
{
    note->word_bytes = 0;
    for (unsigned i = 0; i < WORDS; i++) {
        unsigned word = (unsigned)(exp(random_unit(random) * log(VOCABULARY)) - 1);
        note->words[note->word_bytes++] = ' ';
        for (unsigned rest = word + 26; rest > 0; rest /= 26)
            note->words[note->word_bytes++] = (char)('a' + rest % 26);
    }
}

/* About one of 64 centres, as embeddings lie. */
static void make_vector(struct note *note, uint64_t *random)
{
    uint64_t centre = random_next(random) % 64 * 977 + 1;
    for (unsigned i = 0; i < DIMENSION; i++)
        note->vector[i] = (float)(2 * random_unit(&centre) - 1 + 0.5 * (random_unit(random) + random_unit(random) + random_unit(random) - 1.5));
}

static int make_pool(struct ingest *ingest)
{
    uint64_t random = 9;
    ingest->pool = malloc(POOL * sizeof *ingest->pool);
    if (!ingest->pool)
        return bench_fail("no memory");
    for (unsigned i = 0; i < POOL; i++) {
        make_words(&ingest->pool[i], &random);
        make_vector(&ingest->pool[i], &random);
    }
    return 0;
}

/* ---- Tables ---- */

static int declare(mote_table *table, const char *name, uint32_t kind, uint32_t position)
{
    struct mote_index_options options = MOTE_INDEX_OPTIONS_INIT;
    options.name = name;
    options.kind = kind;
    options.columns = &position;
    options.column_count = 1;
    return mote_index_create(table, &options) ? bench_fail_mote("cannot declare an index") : 0;
}

static int make_table(struct ingest *ingest, const char *prefix, const struct mote_column_definition *columns, uint32_t count, mote_table **table)
{
    static const uint32_t key[] = {0, 1, 2};
    char name[32];
    struct mote_schema schema = MOTE_SCHEMA_INIT;
    snprintf(name, sizeof name, "%s%u", prefix, ingest->table_count);
    schema.name = name;
    schema.columns = columns;
    schema.column_count = count;
    schema.key_columns = key;
    schema.key_column_count = 3;
    schema.time_column = 1;
    return mote_table_create(ingest->db, &schema, table) ? bench_fail_mote("cannot create a table") : 0;
}

static int make_tables(struct ingest *ingest)
{
    struct mote_column_definition sensor[SENSOR_COLUMNS] = {{.name = "series", .type = MOTE_TYPE_INT32}, {.name = "time", .type = MOTE_TYPE_TIMESTAMP}, {.name = "sequence", .type = MOTE_TYPE_INT32}}, notes[NOTE_COLUMNS];
    char names[ROW_VALUES][16];
    memcpy(notes, sensor, 3 * sizeof *notes);
    for (unsigned v = 0; v < ROW_VALUES; v++) {
        snprintf(names[v], sizeof names[v], "v%u", v);
        sensor[3 + v] = (struct mote_column_definition){.name = names[v], .type = MOTE_TYPE_FLOAT32};
    }
    sensor[3 + ROW_VALUES] = (struct mote_column_definition){.name = "place", .type = MOTE_TYPE_POINT3};
    notes[3] = (struct mote_column_definition){.name = "words", .type = MOTE_TYPE_TEXT};
    notes[4] = (struct mote_column_definition){.name = "vector", .type = MOTE_TYPE_VECTOR_F32, .dimension = DIMENSION};
    if (make_table(ingest, "sensor", sensor, SENSOR_COLUMNS, &ingest->sensor) || make_table(ingest, "notes", notes, NOTE_COLUMNS, &ingest->notes))
        return -1;
    if (ingest->with & WITH_COLUMN && declare(ingest->sensor, "value", MOTE_INDEX_COLUMN, 3))
        return -1;
    if (ingest->with & WITH_SPATIAL && declare(ingest->sensor, "place", MOTE_INDEX_SPATIAL, 3 + ROW_VALUES))
        return -1;
    if (ingest->with & WITH_TEXT && declare(ingest->notes, "words", MOTE_INDEX_TEXT, 3))
        return -1;
    if (ingest->with & WITH_VECTOR && declare(ingest->notes, "vector", MOTE_INDEX_VECTOR, 4))
        return -1;
    ingest->table_count++;
    ingest->rows_in_table = 0;
    return 0;
}

static int next_tables(struct ingest *ingest)
{
    if (ingest->table_count - ingest->first_table == TABLES_LIVE) {
        char name[32];
        snprintf(name, sizeof name, "sensor%u", ingest->first_table);
        if (mote_table_drop(ingest->db, name))
            return bench_fail_mote("cannot drop a table");
        snprintf(name, sizeof name, "notes%u", ingest->first_table++);
        if (mote_table_drop(ingest->db, name))
            return bench_fail_mote("cannot drop a table");
    }
    return make_tables(ingest);
}

/* ---- Rows ---- */

static void take_note(struct ingest *ingest, const struct row *row, uint32_t at)
{
    const struct note *note = &ingest->pool[(ingest->rows / NOTE_SHARE + at) % POOL];
    ingest->note_series[at] = row->key.series;
    ingest->note_time_ns[at] = row->key.time_ns;
    ingest->note_sequence[at] = row->key.sequence;
    memcpy(ingest->words + ingest->word_offsets[at], note->words, note->word_bytes);
    ingest->word_offsets[at + 1] = ingest->word_offsets[at] + note->word_bytes;
    memcpy(ingest->vectors[at], note->vector, sizeof note->vector);
}

static uint32_t turn_over(struct ingest *ingest, const struct row *rows)
{
    uint32_t notes = 0;
    rows_to_columns(rows, BATCH_ROWS_MAX, &ingest->columns);
    for (uint32_t i = 0; i < BATCH_ROWS_MAX; i++) {
        for (unsigned axis = 0; axis < 3; axis++)
            ingest->points[i][axis] = (double)rows[i].values[axis];
        if ((ingest->rows + i) % NOTE_SHARE == 0)
            take_note(ingest, &rows[i], notes++);
    }
    return notes;
}

static int append(mote_table *table, const struct mote_column *columns, uint32_t column_count, uint32_t row_count)
{
    struct mote_write_options how = MOTE_WRITE_OPTIONS_INIT;
    struct mote_batch batch = {.row_count = row_count, .column_count = column_count, .columns = columns};
    how.durability = MOTE_DURABILITY_NONE;
    return mote_append_columns(table, &batch, &how, NULL) ? bench_fail_mote("cannot append") : 0;
}

static int put(struct ingest *ingest, const struct row *rows)
{
    uint32_t notes = turn_over(ingest, rows);
    struct mote_column sensor[SENSOR_COLUMNS] = {{.type = MOTE_TYPE_INT32, .values = ingest->columns.series}, {.type = MOTE_TYPE_TIMESTAMP, .values = ingest->columns.time_ns}, {.type = MOTE_TYPE_INT32, .values = ingest->columns.sequence}};
    for (unsigned v = 0; v < ROW_VALUES; v++)
        sensor[3 + v] = (struct mote_column){.type = MOTE_TYPE_FLOAT32, .values = ingest->columns.values[v]};
    sensor[3 + ROW_VALUES] = (struct mote_column){.type = MOTE_TYPE_POINT3, .values = ingest->points};
    const struct mote_column note[NOTE_COLUMNS] = {{.type = MOTE_TYPE_INT32, .values = ingest->note_series},
                                                   {.type = MOTE_TYPE_TIMESTAMP, .values = ingest->note_time_ns},
                                                   {.type = MOTE_TYPE_INT32, .values = ingest->note_sequence},
                                                   {.type = MOTE_TYPE_TEXT, .values = ingest->words, .offsets = ingest->word_offsets},
                                                   {.type = MOTE_TYPE_VECTOR_F32, .dimension = DIMENSION, .values = ingest->vectors}};
    if (append(ingest->sensor, sensor, SENSOR_COLUMNS, BATCH_ROWS_MAX) || append(ingest->notes, note, NOTE_COLUMNS, notes))
        return -1;
    ingest->rows += BATCH_ROWS_MAX;
    ingest->rows_in_table += BATCH_ROWS_MAX;
    ingest->raw_bytes += BATCH_ROWS_MAX * (ROW_BYTES + sizeof ingest->points[0]) + notes * (sizeof(struct row_key) + sizeof ingest->vectors[0]) + ingest->word_offsets[notes];
    return 0;
}

/* ---- Afterwards ---- */

struct sections {
    uint64_t bytes;
    bool complete;
};

static int add_sections(const struct mote_index_info *info, void *context)
{
    struct sections *sections = context;
    sections->bytes += info->bytes;
    sections->complete = sections->complete && info->segments_indexed == info->segments && info->segments_damaged == 0;
    return 0;
}

static int ask(struct ingest *ingest, mote_table *table, const struct mote_term *term, uint64_t wanted)
{
    struct mote_search_options options = MOTE_SEARCH_OPTIONS_INIT;
    mote_hits *hits;
    options.terms = term;
    options.term_count = 1;
    options.limit = wanted;
    if (mote_search(table, &options, &hits))
        return bench_fail_mote("cannot search");
    uint64_t found = mote_hits_count(hits);
    mote_hits_close(hits);
    if (found == wanted)
        return 0;
    ingest->run->outbox->refused = 1;
    return bench_fail("w9, %s: a search found %llu rows instead of %llu", ingest->run->case_name, (unsigned long long)found, (unsigned long long)wanted);
}

/* Each index answers. */
static int ask_all(struct ingest *ingest)
{
    const uint32_t value = 3;
    struct mote_term by_value = {.kind = MOTE_TERM_RANGE, .columns = &value, .column_count = 1, .from = {.type = MOTE_TYPE_FLOAT32, .as.f32 = -INFINITY}, .to = {.type = MOTE_TYPE_FLOAT32, .is_null = 1}};
    struct mote_term near = {.kind = MOTE_TERM_NEAREST, .centre = {0.1, 0.2, 0.3}};
    struct mote_term like = {.kind = MOTE_TERM_VECTOR, .vector = ingest->pool[0].vector, .dimension = DIMENSION};
    struct mote_term words = {.kind = MOTE_TERM_WORDS, .flags = MOTE_TERM_ANY_WORD};
    char query[TEXT_BYTES + 1] = {0};
    memcpy(query, ingest->pool[0].words, ingest->pool[0].word_bytes);
    words.words = query;
    if (ingest->with & WITH_COLUMN && ask(ingest, ingest->sensor, &by_value, 10))
        return -1;
    if (ingest->with & WITH_SPATIAL && ask(ingest, ingest->sensor, &near, 10))
        return -1;
    if (ingest->with & WITH_TEXT && ask(ingest, ingest->notes, &words, 1))
        return -1;
    return ingest->with & WITH_VECTOR ? ask(ingest, ingest->notes, &like, 1) : 0;
}

static int finish(struct ingest *ingest, uint64_t begin_ns, double cpu)
{
    struct sections sections = {.complete = true};
    if (mote_wait(ingest->db, mote_visible_seq(ingest->db), MOTE_FOREVER))
        return bench_fail_mote("cannot wait");
    uint64_t durable_ns = clock_ns(), settled_ns;
    if (mote_flush(ingest->db) || mote_flush_all_indexes(ingest->db) || engine_mote_settle(ingest->db, &settled_ns) || mote_flush_all_indexes(ingest->db))
        return bench_fail_mote("cannot flush");
    double rows = (double)ingest->rows, cpu_used = cpu_seconds() - cpu;
    if (mote_index_list(ingest->sensor, add_sections, &sections) || mote_index_list(ingest->notes, add_sections, &sections))
        return bench_fail_mote("cannot list the indexes");
    if (!sections.complete)
        return bench_fail("w9, %s: not all sections are there", ingest->run->case_name);
    run_emit(ingest->run, NULL, "rows_per_s", rows / ((double)(durable_ns - begin_ns) / 1e9), NULL);
    run_emit(ingest->run, NULL, "settled_rows_per_s", rows / ((double)(settled_ns - begin_ns) / 1e9), NULL);
    run_emit(ingest->run, NULL, "cpu_s_per_million", cpu_used / rows * 1e6, NULL);
    run_emit(ingest->run, NULL, "index_bytes_per_row", ingest->rows_in_table ? (double)sections.bytes / (double)ingest->rows_in_table : 0, "declared ones; the timestamp index is part of the segments");
    run_emit(ingest->run, NULL, "rows", rows, NULL);
    run_emit_raw(ingest->run, NULL, ingest->raw_bytes);
    return ask_all(ingest);
}

static double seconds_of(const struct run *run) { return run->options->quick ? run->options->seconds : run->options->seconds * 10; }

static int measure(struct ingest *ingest)
{
    double cpu = cpu_seconds();
    uint64_t begin_ns = clock_ns(), end_ns = begin_ns + (uint64_t)(seconds_of(ingest->run) * 1e9);
    ingest->table_rows = round_up(ingest->run->options->size_bytes / TABLE_SHARE / ROW_BYTES, BATCH_ROWS_MAX);
    if (make_tables(ingest))
        return -1;
    do {
        if (ingest->rows_in_table >= ingest->table_rows && next_tables(ingest))
            return -1;
        if (put(ingest, rows_next(&ingest->source, BATCH_ROWS_MAX)))
            return -1;
    } while (clock_ns() < end_ns);
    return finish(ingest, begin_ns, cpu);
}

static int run_engine(struct run *run)
{
    if (run->engine != &engine_mote)
        return 0; /* no other engine has these indexes */
    struct mote_options open = MOTE_OPTIONS_INIT;
    struct mote_error error;
    struct ingest *ingest = calloc(1, sizeof *ingest);
    if (!ingest)
        return bench_fail("no memory");
    ingest->run = run;
    ingest->with = *(const unsigned *)run->case_data;
    open.barrier = run->barrier;
    int code = make_pool(ingest) || rows_open(&ingest->source, ROWS_RECORDED, 0, SERIES_COUNT, 1) ? -1 : 0;
    if (!code && mote_open(run->path, &open, &ingest->db, &error))
        code = bench_fail("cannot open: %s", error.message);
    if (!code) {
        code = measure(ingest);
        if (mote_close(ingest->db) && !code)
            code = bench_fail_mote("cannot close");
    }
    rows_close(&ingest->source);
    free(ingest->pool);
    free(ingest);
    return code;
}

const struct workload workload_w9 = {.name = "w9",
                                     .title = "W9: bulk ingest with indexes",
                                     .about = "The bulk ingest of w2, each row with a point more, and one of a hundred with a row of another table beside it: some eight words and a vector of 128 float32. Indexes beside the timestamp index: none, each of the "
                                              "others, all. Settled: flushed, compacted, all sections there. mote only: no other engine has these indexes.",
                                     .metrics = metrics,
                                     .cases = cases,
                                     .case_count = sizeof cases / sizeof cases[0],
                                     .engine = run_engine};
