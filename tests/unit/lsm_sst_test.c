/* lsm_sst_test.c: SSTables over the simulated disk against a model: random tables and rows of all types, versions, tombstones, rows of older schemas; forward, backward, seeks; runs of extents, full segments, huge rows; filters. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "blockdev/base/errors.h"
#include "blockdev/base/units.h"
#include "engine/lsm/sst_format.h"
#include "engine/lsm/sst_reader_private.h"
#include "tests/support/requests.h"
#include "tests/support/sst_world.h"

static void assert_row(struct sst_iterator *iterator, const struct schema *schema, const struct model_row *row)
{
    char fault[200] = "";
    int error;
    bool equal = sst_row_equals(iterator, schema, row, fault, &error);
    struct mote_error cause = {0};
    if (error)
        error_get(&cause);
    cr_assert(equal, "%s (%d %s)", fault, error, cause.message);
}

static int compare_place(const struct model_row *row, const uint8_t *key, uint32_t key_bytes, uint64_t seq)
{
    int order = key_compare(row->key, row->key_bytes, key, key_bytes);
    return order ? order : (row->seq < seq) - (row->seq > seq);
}

/* The first row at or behind (key, seq). */
static uint32_t model_find(const struct model *model, const uint8_t *key, uint32_t key_bytes, uint64_t seq)
{
    uint32_t low = 0, high = model->count;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (compare_place(&model->rows[middle], key, key_bytes, seq) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static void check_walks(struct sst_iterator *iterator, const struct schema *schema, const struct model *model)
{
    uint32_t at = 0;
    int on;
    for (on = sst_first(iterator); on > 0; on = sst_next(iterator), at++) {
        cr_assert_lt(at, model->count);
        assert_row(iterator, schema, &model->rows[at]);
    }
    cr_assert_eq(on, 0);
    cr_assert_eq(at, model->count);
    for (on = sst_last(iterator); on > 0; on = sst_previous(iterator)) {
        cr_assert_gt(at, 0);
        assert_row(iterator, schema, &model->rows[--at]);
    }
    cr_assert_eq(on, 0);
    cr_assert_eq(at, 0);
}

/* The point read against the first row at or behind (key, seq). */
static void check_get(struct sst_iterator *iterator, const struct schema *schema, const struct model_row *row, const uint8_t *key, uint32_t key_bytes, uint64_t seq)
{
    static uint8_t image[MOTE_ROW_BYTES_MAX], expected[MOTE_ROW_BYTES_MAX];
    struct record record;
    uint32_t image_bytes, expected_bytes;
    bool held = row && key_compare(row->key, row->key_bytes, key, key_bytes) == 0;
    int got = sst_get(iterator, key, key_bytes, seq, &record);
    cr_assert_eq(got, held, "get: %d", got);
    if (!held)
        return;
    cr_assert(record.kind == row->kind && record.seq == row->seq && key_compare(record.key, record.key_bytes, key, key_bytes) == 0);
    cr_assert_eq(sst_get_image(iterator, image, sizeof image, &image_bytes), 0);
    if (image_bytes > 0)
        cr_assert_eq(sst_get_image(iterator, image, image_bytes - 1, &expected_bytes), MOTE_ETOOBIG);
    cr_assert_eq(sst_get_image(iterator, image, sizeof image, &image_bytes), 0);
    cr_assert_eq(sst_seek(iterator, key, key_bytes, seq), 1);
    cr_assert_eq(sst_row_image(iterator, expected, sizeof expected, &expected_bytes), 0);
    cr_assert_eq(image_bytes, expected_bytes);
    cr_assert_eq(memcmp(image, expected, image_bytes), 0);
    if (row->schema == schema && row->kind == RECORD_PUT)
        cr_assert(image_bytes == row->image_bytes && memcmp(image, row->image, image_bytes) == 0);
}

static void check_seek(struct sst_iterator *iterator, const struct schema *schema, const struct model *model, const uint8_t *key, uint32_t key_bytes, uint64_t seq)
{
    uint32_t expected = model_find(model, key, key_bytes, seq);
    int on = sst_seek(iterator, key, key_bytes, seq);
    cr_assert_eq(on, expected < model->count, "seek: %d", on);
    if (on)
        assert_row(iterator, schema, &model->rows[expected]);
    on = sst_seek_before(iterator, key, key_bytes, seq);
    cr_assert_eq(on, expected > 0);
    if (on)
        assert_row(iterator, schema, &model->rows[expected - 1]);
    check_get(iterator, schema, expected < model->count ? &model->rows[expected] : NULL, key, key_bytes, seq);
    bool held = false;
    for (uint32_t i = expected; i < model->count && !held; i++)
        held = key_compare(model->rows[i].key, model->rows[i].key_bytes, key, key_bytes) == 0;
    on = sst_may_contain(iterator, key, key_bytes);
    cr_assert_geq(on, 0);
    cr_assert(on || !held || seq != UINT64_MAX, "a key that is there may not be denied");
}

static void check_seeks(struct sst_world *world, struct sst_iterator *iterator, const struct schema *schema, const struct model *model, uint32_t count)
{
    static const uint8_t high[4] = {0xFF, 0xFF, 0xFF, 0xFF};
    check_seek(iterator, schema, model, high, 0, UINT64_MAX);
    check_seek(iterator, schema, model, high, 4, 5);
    for (uint32_t i = 0; i < count; i++) {
        uint8_t key[MOTE_KEY_BYTES_MAX];
        const struct model_row *row = &model->rows[sst_random_below(world, model->count)];
        uint32_t key_bytes = row->key_bytes;
        uint64_t seq = i % 3 == 0 ? UINT64_MAX : i % 3 == 1 ? row->seq : row->seq - 1;
        memcpy(key, row->key, key_bytes);
        if (i % 5 == 4)
            key[sst_random_below(world, key_bytes)]++;
        if (i % 7 == 6)
            key_bytes = sst_random_below(world, key_bytes + 1);
        check_seek(iterator, schema, model, key, key_bytes, seq);
    }
}

static void check_record(const struct segment_record *record, const struct schema *schema, const struct model *model)
{
    uint64_t seq_min = UINT64_MAX, seq_max = 0, deletes = 0;
    int64_t time_min = INT64_MAX, time_max = INT64_MIN, time;
    for (uint32_t i = 0; i < model->count; i++) {
        const struct model_row *row = &model->rows[i];
        seq_min = row->seq < seq_min ? row->seq : seq_min;
        seq_max = row->seq > seq_max ? row->seq : seq_max;
        deletes += row->kind == RECORD_DELETE;
        if (sst_model_time(schema, row, &time)) {
            time_min = time < time_min ? time : time_min;
            time_max = time > time_max ? time : time_max;
        }
        cr_assert(segment_may_hold(record, row->key, row->key_bytes, row->key, row->key_bytes));
    }
    cr_assert_eq(record->row_count, model->count);
    cr_assert_eq(record->delete_count, deletes);
    cr_assert_eq(record->seq_min, seq_min);
    cr_assert_eq(record->seq_max, seq_max);
    cr_assert_eq(record->time_min, time_min);
    cr_assert_eq(record->time_max, time_max);
    cr_assert_eq(record->schema_version, schema->version);
    cr_assert_eq(record->table_id, schema->table_id);
}

static void print_fault(const struct mote_error *fault, void *context)
{
    (void)context;
    fprintf(stderr, "reported: %s\n", fault->message);
}

static void verify(struct sst_world *world, struct segment *segment, const struct schema *schema)
{
    cr_assert_eq(sst_verify(&world->context, world->queue, segment, schema, print_fault, NULL), 0);
    cr_assert_eq(atomic_load(&segment->timestamp_unusable), 0);
}

/* Everything about one segment of one model. */
static void check_segment(struct sst_world *world, struct segment *segment, const struct schema *schema, const struct model *model, uint32_t seeks)
{
    struct sst_iterator *iterator;
    cr_assert_eq(sst_iterator_create(&world->context, world->queue, &iterator), 0);
    sst_world_check(sst_iterator_open(iterator, segment, schema), "open");
    check_walks(iterator, schema, model);
    check_seeks(world, iterator, schema, model, seeks);
    sst_iterator_destroy(iterator);
    verify(world, segment, schema);
}

/* ---- Random tables ---- */

static void free_segment(struct sst_world *world, struct segment *segment)
{
    for (uint32_t i = 0; i < segment->record.extent_run_count; i++)
        extents_release_unused(world->extents, segment->record.runs[i]);
}

Test(lsm_sst, random_tables_read_back_as_written)
{
    struct sst_world_options options = {.seed = requests_seed("lsm_sst_random")};
    static const uint32_t counts[] = {1, 2, 17, 64, 65, 700, 5000};
    struct sst_world world;
    sst_world_open(&world, &options);
    for (uint32_t round = 0; round < 56; round++) {
        uint32_t count = counts[round % 7], block_rows = round % 4 == 0 ? 1024 : round % 4 == 1 ? 64 : 1 + sst_random_below(&world, 200);
        struct schema *old = sst_random_schema(&world, 10 + round), *schema = round % 3 == 0 ? sst_random_add_column(&world, old, round) : NULL;
        const struct schema *newest = schema ? schema : old;
        struct model model = sst_random_rows(&world, newest, schema ? old : NULL, count, round % 2 ? count * 4 : count / 3 + 1, round % 5 * 10);
        struct segment segment;
        sst_world_segment(&world, newest, &model, 100 + round, block_rows, &segment);
        check_record(&segment.record, newest, &model);
        sst_world_cold(&world);
        check_segment(&world, &segment, newest, &model, count < 100 ? 40 : 150);
        free_segment(&world, &segment);
        sst_model_free(&model);
        schema_free(world.memory, schema);
        schema_free(world.memory, old);
    }
    struct extents_counts counted;
    extents_get_counts(world.extents, &counted);
    cr_assert_eq(counted.free, counted.total, "extents were lost");
    sst_world_close(&world);
}

Test(lsm_sst, columns_added_after_the_segment_read_as_their_default)
{
    struct sst_world_options options = {.seed = requests_seed("lsm_sst_added")};
    struct sst_world world;
    sst_world_open(&world, &options);
    for (uint32_t round = 0; round < 24; round++) {
        struct schema *first = sst_random_schema(&world, 5), *second = sst_random_add_column(&world, first, 1), *third = sst_random_add_column(&world, second, 2);
        struct model model = sst_random_rows(&world, first, NULL, 300, 100, 20);
        struct segment segment;
        sst_world_segment(&world, first, &model, 1 + round, 50, &segment);
        struct sst_iterator *iterator;
        sst_world_check(sst_iterator_create(&world.context, world.queue, &iterator), "iterator");
        const struct schema *schemas[] = {first, third, second, third};
        for (uint32_t i = 0; i < 4; i++) {
            sst_world_check(sst_iterator_open(iterator, &segment, schemas[i]), "open");
            if (i == 0) {
                check_walks(iterator, first, &model);
                continue;
            }
            /* Tombstones of the model have NULL in the new columns; the segment's too old to tell, its rows have the default: PUTs only. */
            uint32_t at = 0;
            for (int on = sst_first(iterator); on > 0; on = sst_next(iterator), at++)
                if (model.rows[at].kind == RECORD_PUT)
                    assert_row(iterator, schemas[i], &model.rows[at]);
            cr_assert_eq(at, model.count);
        }
        sst_iterator_destroy(iterator);
        verify(&world, &segment, third);
        free_segment(&world, &segment);
        sst_model_free(&model);
        schema_free(world.memory, first);
        schema_free(world.memory, second);
        schema_free(world.memory, third);
    }
    sst_world_close(&world);
}

/* ---- Space ---- */

/* Leaves every second extent free, or runs of a few. */
static void fragment(struct sst_world *world, uint32_t run_max, struct extent_run *taken, uint32_t *taken_count)
{
    struct extents_counts counts;
    struct extent_reservation all;
    extents_get_counts(world->extents, &counts);
    sst_world_check(extents_reserve(world->extents, counts.free, false, &all), "reserve");
    *taken_count = 0;
    for (uint32_t at = 0; at < counts.total;) {
        struct extent_run run;
        uint32_t keep = 1 + sst_random_below(world, 2), leave = 1 + sst_random_below(world, run_max);
        if (all.count < keep + leave)
            break;
        sst_world_check(extents_allocate(world->extents, &all, keep, keep, &run), "allocate");
        taken[(*taken_count)++] = run;
        sst_world_check(extents_allocate(world->extents, &all, leave, leave, &run), "allocate");
        extents_release_unused(world->extents, run); /* free again; the cursor has passed */
        at += keep + leave;
    }
    extents_unreserve(world->extents, &all);
}

Test(lsm_sst, runs_that_are_not_contiguous_read_back_as_written)
{
    struct sst_world_options options = {.device_bytes = 16 * MIB_BYTES, .seed = requests_seed("lsm_sst_runs")};
    static struct extent_run taken[1024];
    uint32_t most_runs = 0;
    for (uint32_t round = 0; round < 9; round++, options.seed++) {
        struct sst_world world;
        options.logical_block_bytes = round % 2 ? 4096 : 512;
        sst_world_open(&world, &options);
        uint32_t taken_count, written = 0, segments = 0;
        fragment(&world, 1 + round % 4, taken, &taken_count);
        struct schema *schema = sst_plain_schema(&world, 4 + 2 * round);
        schema->flags |= round % 3 == 1 ? MOTE_TABLE_ROW_PAGES : 0;
        struct model model = sst_random_rows(&world, schema, NULL, 9000, 100000, 5);
        while (written < model.count) {
            struct extent_reservation reservation;
            struct sst_builder_options builder_options = sst_world_builder(&world, schema, &reservation, 50 + segments++, model.count);
            struct sst_builder *builder;
            struct segment segment = {0};
            uint32_t from = written;
            builder_options.block_bytes_max = 32 * 1024;
            builder_options.filter = round % 3 == 0;
            sst_world_check(sst_builder_create(&builder_options, &builder), "builder");
            while (written < model.count && !sst_builder_full(builder)) {
                const struct model_row *row = &model.rows[written++];
                struct record record = {row->key, row->key_bytes, row->kind, row->seq};
                sst_world_check(sst_builder_add(builder, &record, schema, row->image, row->image_bytes, false), "add");
            }
            cr_assert_gt(written, from, "a builder that is full from the start");
            sst_world_check(sst_builder_finish(builder, &segment.record), "finish");
            sst_builder_destroy(builder);
            extents_unreserve(world.extents, &reservation);
            most_runs = segment.record.extent_run_count > most_runs ? segment.record.extent_run_count : most_runs;
            struct model part = {model.rows + from, written - from};
            check_segment(&world, &segment, schema, &part, 30);
        }
        sst_model_free(&model);
        schema_free(world.memory, schema);
        sst_world_close(&world);
    }
    cr_assert_geq(most_runs, 4, "the test must meet segments of several runs, it met %u", most_runs);
}

Test(lsm_sst, segment_size_limit_splits_and_is_kept)
{
    struct sst_world_options options = {.seed = 5, .extent_bytes = MIB_BYTES, .device_bytes = 128 * MIB_BYTES};
    struct sst_world world;
    sst_world_open(&world, &options);
    struct schema *schema = sst_plain_schema(&world, 14);
    struct model model = sst_random_rows(&world, schema, NULL, 40000, 1 << 30, 0);
    uint32_t written = 0, segments = 0;
    while (written < model.count) {
        struct extent_reservation reservation;
        struct sst_builder_options builder_options = sst_world_builder(&world, schema, &reservation, 50 + segments++, model.count);
        struct sst_builder *builder;
        struct segment segment = {0};
        uint32_t from = written;
        builder_options.segment_bytes_max = 2 * MIB_BYTES;
        builder_options.block_rows = 1024;
        sst_world_check(sst_builder_create(&builder_options, &builder), "builder");
        while (written < model.count && !sst_builder_full(builder)) {
            const struct model_row *row = &model.rows[written++];
            struct record record = {row->key, row->key_bytes, row->kind, row->seq};
            sst_world_check(sst_builder_add(builder, &record, schema, row->image, row->image_bytes, true), "add");
        }
        sst_world_check(sst_builder_finish(builder, &segment.record), "finish");
        sst_builder_destroy(builder);
        extents_unreserve(world.extents, &reservation);
        cr_assert_leq(segment.record.segment_bytes, 2 * MIB_BYTES + 65536);
        cr_assert(written == model.count || segment.record.segment_bytes > MIB_BYTES, "%llu bytes only", (unsigned long long)segment.record.segment_bytes);
        struct model part = {model.rows + from, written - from};
        check_segment(&world, &segment, schema, &part, 30);
    }
    cr_assert_gt(segments, 1);
    sst_model_free(&model);
    schema_free(world.memory, schema);
    sst_world_close(&world);
}

Test(lsm_sst, bytes_bound_is_never_exceeded)
{
    struct sst_world_options options = {.seed = requests_seed("lsm_sst_bound")};
    struct sst_world world;
    sst_world_open(&world, &options);
    for (uint32_t round = 0; round < 40; round++) {
        struct schema *old = sst_random_schema(&world, 3), *schema = sst_random_add_column(&world, old, 1);
        struct model model = sst_random_rows(&world, schema, old, 1 + sst_random_below(&world, 800), 10000, round % 4 * 20);
        uint64_t raw_bytes = 0;
        uint32_t block_rows = 1 + sst_random_below(&world, 300);
        struct segment segment;
        for (uint32_t i = 0; i < model.count; i++)
            raw_bytes += model.rows[i].kind == RECORD_PUT ? model.rows[i].image_bytes : model.rows[i].key_bytes;
        sst_world_segment(&world, schema, &model, 1 + round, block_rows, &segment);
        cr_assert_leq(segment.record.segment_bytes, sst_bytes_bound(schema, block_rows, model.count, raw_bytes));
        free_segment(&world, &segment);
        sst_model_free(&model);
        schema_free(world.memory, schema);
        schema_free(world.memory, old);
    }
    sst_world_close(&world);
}

Test(lsm_sst, rows_of_the_largest_size_read_back)
{
    struct sst_world_options options = {.seed = 3, .cache_bytes = 32 * MIB_BYTES};
    struct sst_world world;
    sst_world_open(&world, &options);
    struct mote_column_definition columns[] = {{.name = "k", .type = MOTE_TYPE_TEXT}, {.name = "b", .type = MOTE_TYPE_BLOB}, {.name = "v", .type = MOTE_TYPE_VECTOR_F32, .dimension = 16384}};
    uint32_t keys[] = {0};
    struct mote_schema definition = MOTE_SCHEMA_INIT;
    struct schema *schema;
    definition.name = "huge";
    definition.columns = columns;
    definition.column_count = 3;
    definition.key_columns = keys;
    definition.key_column_count = 1;
    sst_world_check(schema_create(world.memory, &definition, 9, 1, &schema), "schema");
    struct model model = {0};
    uint32_t blob_bytes = MOTE_ROW_BYTES_MAX - schema->fixed_bytes - 1000;
    uint8_t *bytes = malloc(blob_bytes), *vector = calloc(16384, 4);
    for (uint32_t i = 0; i < 9; i++) {
        char key[1000];
        memset(key, 'a' + (int)i, sizeof key);
        for (uint32_t at = 0; at < blob_bytes; at++)
            bytes[at] = (uint8_t)sst_random(&world);
        struct mote_value values[3] = {{.type = MOTE_TYPE_TEXT, .as.bytes = {key, 990 + i}}, {.type = MOTE_TYPE_BLOB, .as.bytes = {bytes, i % 2 ? blob_bytes : 1}}, {.type = MOTE_TYPE_VECTOR_F32, .as.bytes = {vector, 65536}}};
        sst_model_add(&model, schema, values, 3, 10 + i, i == 4);
    }
    sst_model_sort(&model);
    for (uint32_t id = 1; id <= 2; id++) { /* images kept, and copied */
        struct segment segment;
        for (uint32_t layout = 0; layout < 2; layout++) {
            schema->flags = layout ? MOTE_TABLE_ROW_PAGES : 0;
            sst_world_segment(&world, schema, &model, id + 2 * layout, 1024, &segment);
            check_segment(&world, &segment, schema, &model, 20);
        }
    }
    free(bytes);
    free(vector);
    sst_model_free(&model);
    schema_free(world.memory, schema);
    sst_world_close(&world);
}

/* ---- Filters, runs ---- */

static uint32_t count_filters(struct sst_world *world, struct segment *segment, const struct schema *schema)
{
    struct sst_iterator *iterator;
    uint32_t filters = 0;
    sst_world_check(sst_iterator_create(&world->context, world->queue, &iterator), "iterator");
    sst_world_check(sst_iterator_open(iterator, segment, schema), "open");
    for (uint32_t i = 0; i < iterator->footer.partition_count; i++) {
        struct sst_directory_entry entry;
        sst_directory_load(iterator, i, &entry);
        filters += entry.filter.length_bytes > 0;
    }
    sst_iterator_destroy(iterator);
    return filters;
}

static struct model numbered_rows(const struct schema *schema, uint32_t count, bool in_order)
{
    struct model model = {0};
    for (uint32_t i = 0; i < count; i++) {
        struct mote_value values[2] = {{.type = MOTE_TYPE_INT64, .as.i64 = 2 * (int64_t)(in_order ? i : (i * 2654435761u) >> 8)}, {.type = MOTE_TYPE_TIMESTAMP, .as.i64 = 2 * i}};
        sst_model_add(&model, schema, values, 2, 1 + i, false);
    }
    sst_model_sort(&model);
    return model;
}

Test(lsm_sst, filters_are_built_for_keys_out_of_order_and_deny_most_absent_keys)
{
    struct sst_world_options options = {.seed = 11};
    struct sst_world world;
    sst_world_open(&world, &options);
    struct schema *schema = sst_plain_schema(&world, 2);
    for (uint32_t in_order = 0; in_order < 2; in_order++) {
        struct model model = numbered_rows(schema, 20000, in_order);
        struct segment segment;
        struct sst_iterator *iterator;
        sst_world_segment(&world, schema, &model, 1 + in_order, 64, &segment);
        cr_assert_eq(count_filters(&world, &segment, schema), in_order ? 0 : (20000 + 4095) / 4096);
        sst_world_check(sst_iterator_create(&world.context, world.queue, &iterator), "iterator");
        sst_world_check(sst_iterator_open(iterator, &segment, schema), "open");
        uint32_t passed = 0;
        for (uint32_t i = 0; i < model.count; i++) {
            uint8_t key[16];
            cr_assert_eq(sst_may_contain(iterator, model.rows[i].key, model.rows[i].key_bytes), 1);
            memcpy(key, model.rows[i].key, 16);
            key[15] ^= 1; /* odd times are not there */
            passed += sst_may_contain(iterator, key, 16) != 0;
        }
        if (!in_order)
            cr_assert_lt(passed, model.count / 40, "%u of %u absent keys pass", passed, model.count);
        sst_iterator_destroy(iterator);
        check_segment(&world, &segment, schema, &model, 50);
        sst_model_free(&model);
    }
    schema_free(world.memory, schema);
    sst_world_close(&world);
}

/* Brute force of sst_run_length over the model, within the block that begins at `block` (rows of this test's blocks are known). */
Test(lsm_sst, run_lengths_equal_brute_force)
{
    struct sst_world_options options = {.seed = requests_seed("lsm_sst_run_length")};
    struct sst_world world;
    sst_world_open(&world, &options);
    for (uint32_t round = 0; round < 20; round++) {
        struct schema *schema = sst_random_schema(&world, 3);
        uint32_t block_rows = 20 + sst_random_below(&world, 50);
        struct model model = sst_random_rows(&world, schema, NULL, 600, round % 2 ? 100000 : 200, round % 3 * 3);
        struct segment segment;
        struct sst_iterator *iterator;
        sst_world_segment(&world, schema, &model, 1 + round, block_rows, &segment);
        sst_world_check(sst_iterator_create(&world.context, world.queue, &iterator), "iterator");
        sst_world_check(sst_iterator_open(iterator, &segment, schema), "open");
        uint32_t at = 0;
        for (int on = sst_first(iterator); on > 0; on = sst_next(iterator), at++) {
            const struct model_row *bound = sst_random_below(&world, 2) ? &model.rows[sst_random_below(&world, model.count)] : NULL;
            uint64_t snapshot = sst_random_below(&world, 3) ? UINT64_MAX : model.rows[sst_random_below(&world, model.count)].seq;
            uint32_t end = at - sst_block_row(iterator) + block_rows, expected = 0;
            end = end < model.count ? end : model.count;
            for (uint32_t i = at; i < end; i++) {
                const struct model_row *row = &model.rows[i];
                bool same = i > at && key_compare(row->key, row->key_bytes, model.rows[i - 1].key, model.rows[i - 1].key_bytes) == 0;
                if (row->kind != RECORD_PUT || same || row->seq > snapshot || (bound && key_compare(row->key, row->key_bytes, bound->key, bound->key_bytes) >= 0))
                    break;
                expected++;
            }
            uint32_t run = sst_run_length(iterator, snapshot, bound ? bound->key : NULL, bound ? bound->key_bytes : 0);
            cr_assert_eq(run, expected, "row %u: %u for %u", at, run, expected);
        }
        cr_assert_eq(at, model.count);
        sst_iterator_destroy(iterator);
        free_segment(&world, &segment);
        sst_model_free(&model);
        schema_free(world.memory, schema);
    }
    sst_world_close(&world);
}

/* ---- Iterators ---- */

Test(lsm_sst, iterator_opened_again_and_unpinned_goes_on)
{
    struct sst_world_options options = {.seed = 21, .cache_bytes = 256 * 1024}; /* room for little: everything is evicted soon */
    struct sst_world world;
    sst_world_open(&world, &options);
    struct schema *schema = sst_random_schema(&world, 4);
    struct model models[2] = {sst_random_rows(&world, schema, NULL, 3000, 5000, 10), sst_random_rows(&world, schema, NULL, 2500, 500, 10)};
    struct segment segments[2];
    struct sst_iterator *iterators[2];
    for (uint32_t i = 0; i < 2; i++) {
        sst_world_segment(&world, schema, &models[i], 1 + i, 100, &segments[i]);
        sst_world_check(sst_iterator_create(&world.context, world.queue, &iterators[i]), "iterator");
        sst_world_check(sst_iterator_open(iterators[i], &segments[i], schema), "open");
        cr_assert_eq(sst_first(iterators[i]), 1);
    }
    for (uint32_t at = 0; at < 2500; at++)
        for (uint32_t i = 0; i < 2; i++) {
            if (at >= models[i].count)
                continue;
            assert_row(iterators[i], schema, &models[i].rows[at]);
            sst_iterator_unpin(iterators[i]);
            if (at % 3 == 0)
                assert_row(iterators[i], schema, &models[i].rows[at]);
            cr_assert_geq(sst_next(iterators[i]), 0);
        }
    for (uint32_t i = 0; i < 40; i++) { /* one iterator on both in turn, and on the same again through another struct */
        uint32_t which = sst_random_below(&world, 2);
        struct segment *copy = malloc(sizeof *copy);
        memcpy((void *)copy, (const void *)&segments[which], sizeof *copy);
        sst_world_check(sst_iterator_open(iterators[0], copy, schema), "open");
        check_seeks(&world, iterators[0], schema, &models[which], 5);
        if (i % 2)
            sst_iterator_unpin(iterators[0]);
        sst_world_check(sst_iterator_open(iterators[0], &segments[which], schema), "open");
        memset((void *)copy, 0xEE, sizeof *copy);
        free(copy);
        check_seeks(&world, iterators[0], schema, &models[which], 5);
    }
    for (uint32_t i = 0; i < 2; i++) {
        sst_iterator_destroy(iterators[i]);
        sst_model_free(&models[i]);
    }
    schema_free(world.memory, schema);
    sst_world_close(&world);
}
