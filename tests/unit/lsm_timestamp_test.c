/* lsm_timestamp_test.c: time in SSTables: searches of the timestamp section against brute force, iterators with a time range (rows inside are never left out, blocks outside are skipped, late rows do not spoil it), rebuilding, damage of
 * the section alone. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "blockdev/base/errors.h"
#include "blockdev/base/units.h"
#include "engine/lsm/sst_reader_private.h"
#include "tests/support/requests.h"
#include "tests/support/sst_world.h"

/* ---- Tables ---- */

/* int64 key "k", a time column of that type outside of the key, a float64. */
static struct schema *keyed_schema(struct sst_world *world, uint32_t time_type)
{
    struct mote_column_definition columns[] = {{.name = "k", .type = MOTE_TYPE_INT64}, {.name = "t", .type = time_type}, {.name = "x", .type = MOTE_TYPE_FLOAT64}};
    uint32_t keys[] = {0};
    struct mote_schema definition = MOTE_SCHEMA_INIT;
    struct schema *schema;
    definition.name = "keyed";
    definition.columns = columns;
    definition.column_count = 3;
    definition.key_columns = keys;
    definition.key_column_count = 1;
    definition.time_column = 1;
    sst_world_check(schema_create(world->memory, &definition, 3, 1, &schema), "schema");
    return schema;
}

enum shape { ASCENDING, LATE, RANDOM, EXTREME, SOME_NULL, SHAPES };

static struct model keyed_rows(struct sst_world *world, const struct schema *schema, uint32_t count, enum shape shape, uint32_t tombstone_percent)
{
    struct model model = {0};
    for (uint32_t i = 0; i < count; i++) {
        int64_t time = (int64_t)i * 1000000 + sst_random_below(world, 900000);
        if (shape == LATE && i % 50 == 7)
            time = (int64_t)sst_random_below(world, count) * 1000000;
        if (shape == RANDOM)
            time = (int64_t)(sst_random(world) >> 20) - (1ll << 42);
        if (shape == EXTREME)
            time = i % 3 == 0 ? INT64_MIN + (int64_t)(i % 7) : i % 3 == 1 ? INT64_MAX - (int64_t)(i % 5) : (int64_t)(i % 40) - 20;
        struct mote_value values[3] = {{.type = MOTE_TYPE_INT64, .as.i64 = i}, {.type = schema->columns[1].type, .as.i64 = time}, {.type = MOTE_TYPE_FLOAT64, .as.f64 = i}};
        if (schema->columns[1].type == MOTE_TYPE_FLOAT64)
            values[1].as.f64 = (double)time * 1e-9;
        values[1].is_null = shape == SOME_NULL && i % 4 == 1;
        sst_model_add(&model, schema, values, 3, 10 + i, sst_random_below(world, 100) < tombstone_percent);
    }
    sst_model_sort(&model);
    return model;
}

/* ---- Search ---- */

struct search {
    const struct model *model;
    const struct schema *schema;
    int64_t from, to;
    uint64_t count;
    bool wrong;
};

static int check_hits(void *context, const int64_t *times_ns, const uint32_t *ordinals, uint32_t count)
{
    struct search *search = context;
    for (uint32_t i = 0; i < count; i++) {
        int64_t time;
        bool has = ordinals[i] < search->model->count && sst_model_time(search->schema, &search->model->rows[ordinals[i]], &time);
        search->wrong |= !has || time != times_ns[i] || time < search->from || time > search->to;
    }
    search->count += count;
    return 0;
}

static int search(struct sst_world *world, struct segment *segment, const struct schema *schema, const struct model *model, int64_t from, int64_t to)
{
    struct search found = {.model = model, .schema = schema, .from = from, .to = to};
    uint64_t expected = 0;
    for (uint32_t i = 0; i < model->count; i++) {
        int64_t time;
        expected += sst_model_time(schema, &model->rows[i], &time) && time >= from && time <= to;
    }
    int result = sst_timestamp_search(&world->context, world->queue, segment, from, to, check_hits, &found);
    if (!result) {
        cr_assert(!found.wrong, "a row that is not in the range");
        cr_assert_eq(found.count, expected, "%llu rows found of %llu", (unsigned long long)found.count, (unsigned long long)expected);
    }
    return result;
}

static void random_range(struct sst_world *world, const struct schema *schema, const struct model *model, uint32_t i, int64_t *from, int64_t *to)
{
    int64_t a = 0, b = 0;
    (void)sst_model_time(schema, &model->rows[sst_random_below(world, model->count)], &a);
    (void)sst_model_time(schema, &model->rows[sst_random_below(world, model->count)], &b);
    *from = a < b ? a : b;
    *to = i % 3 == 0 ? *from : i % 3 == 1 && *from < INT64_MAX - 30000000 ? *from + 30000000 : a < b ? b : a;
    if (i % 7 == 6)
        *from = INT64_MIN;
    if (i % 11 == 10)
        *to = INT64_MAX;
}

/* ---- Iterators with a range ---- */

/* Walks in one direction; every row of the model in the range, and every tombstone without a time, must be met in order, and nothing that is not in the model. The rows met. */
static uint32_t walk_range(struct sst_world *world, struct segment *segment, const struct schema *schema, const struct model *model, int64_t from, int64_t to, bool forward)
{
    struct sst_iterator *iterator;
    uint32_t met = 0, at = forward ? 0 : model->count; /* model rows not passed yet */
    sst_world_check(sst_iterator_create(&world->context, world->queue, &iterator), "iterator");
    sst_world_check(sst_iterator_open(iterator, segment, schema), "open");
    sst_iterator_set_time_range(iterator, from, to);
    int on = forward ? sst_first(iterator) : sst_last(iterator);
    for (;; on = forward ? sst_next(iterator) : sst_previous(iterator)) {
        struct record record = {0};
        cr_assert_geq(on, 0);
        if (on)
            sst_world_check(sst_record(iterator, &record), "record");
        /* Pass over what was skipped: none of it may be needed. */
        for (; forward ? at < model->count : at > 0; at += forward ? 1u : 0u) {
            const struct model_row *row = &model->rows[forward ? at : --at];
            int64_t time;
            bool has_time = sst_model_time(schema, row, &time);
            if (on && row->seq == record.seq)
                break;
            cr_assert(!(has_time && time >= from && time <= to), "seq %llu is in the range and left out", (unsigned long long)row->seq);
            cr_assert(!(row->kind == RECORD_DELETE && !has_time), "a tombstone without a time was left out");
        }
        if (!on)
            break;
        cr_assert(forward ? at < model->count : true, "a row that is not in the model, or out of order");
        at += forward ? 1u : 0u;
        met++;
    }
    /* Seeks under a range come to a row at or behind the one asked for. */
    for (uint32_t i = 0; i < 10; i++) {
        uint32_t pick = sst_random_below(world, model->count);
        const struct model_row *row = &model->rows[pick];
        struct record record;
        int64_t time;
        bool wanted = (sst_model_time(schema, row, &time) && time >= from && time <= to) || (row->kind == RECORD_DELETE && !sst_model_time(schema, row, &time));
        on = sst_seek(iterator, row->key, row->key_bytes, row->seq);
        cr_assert_geq(on, 0);
        if (on)
            sst_world_check(sst_record(iterator, &record), "record");
        cr_assert(!wanted || (on && record.seq == row->seq));
        on = sst_seek_before(iterator, row->key, row->key_bytes, row->seq);
        cr_assert_geq(on, 0);
        if (on)
            sst_world_check(sst_record(iterator, &record), "record");
        cr_assert(!on || key_compare(record.key, record.key_bytes, row->key, row->key_bytes) < 0 || record.seq > row->seq);
    }
    sst_iterator_destroy(iterator);
    return met;
}

Test(lsm_timestamp, searches_and_ranges_equal_brute_force)
{
    static const uint32_t types[] = {MOTE_TYPE_TIMESTAMP, MOTE_TYPE_INT64, MOTE_TYPE_FLOAT64};
    struct sst_world_options options = {.seed = requests_seed("lsm_timestamp_ranges")};
    struct sst_world world;
    sst_world_open(&world, &options);
    for (uint32_t round = 0; round < 3 * SHAPES; round++) {
        struct schema *schema = keyed_schema(&world, types[round / SHAPES]);
        struct model model = keyed_rows(&world, schema, 3000, round % SHAPES, round % 2 ? 1 : 0);
        struct segment segment;
        sst_world_segment(&world, schema, &model, 1 + round, 32, &segment);
        for (uint32_t i = 0; i < 14; i++) {
            int64_t from, to;
            random_range(&world, schema, &model, i, &from, &to);
            cr_assert_eq(search(&world, &segment, schema, &model, from, to), 0);
            walk_range(&world, &segment, schema, &model, from, to, i % 2);
        }
        cr_assert_eq(atomic_load(&segment.timestamp_unusable), 0);
        for (uint32_t i = 0; i < segment.record.extent_run_count; i++)
            extents_release_unused(world.extents, segment.record.runs[i]);
        sst_model_free(&model);
        schema_free(world.memory, schema);
    }
    sst_world_close(&world);
}

Test(lsm_timestamp, random_tables_ranges_equal_brute_force)
{
    struct sst_world_options options = {.seed = requests_seed("lsm_timestamp_tables")};
    struct sst_world world;
    sst_world_open(&world, &options);
    for (uint32_t round = 0; round < 40; round++) {
        struct schema *schema = sst_random_schema(&world, 3);
        struct model model = sst_random_rows(&world, schema, NULL, 900, round % 2 ? 100000 : 300, round % 4 * 4);
        struct segment segment;
        sst_world_segment(&world, schema, &model, 1 + round, 16, &segment);
        for (uint32_t i = 0; i < 6; i++) {
            int64_t from, to;
            random_range(&world, schema, &model, i, &from, &to);
            if (schema->time_column >= 0)
                cr_assert_eq(search(&world, &segment, schema, &model, from, to), 0);
            else
                cr_assert_eq(search(&world, &segment, schema, &model, from, to), MOTE_ENOTFOUND);
            walk_range(&world, &segment, schema, &model, from, to, i % 2);
        }
        for (uint32_t i = 0; i < segment.record.extent_run_count; i++)
            extents_release_unused(world.extents, segment.record.runs[i]);
        sst_model_free(&model);
        schema_free(world.memory, schema);
    }
    sst_world_close(&world);
}

Test(lsm_timestamp, late_rows_do_not_make_a_range_read_everything)
{
    struct sst_world_options options = {.seed = 77};
    struct sst_world world;
    sst_world_open(&world, &options);
    struct schema *schema = keyed_schema(&world, MOTE_TYPE_TIMESTAMP);
    struct model model = keyed_rows(&world, schema, 20000, LATE, 0);
    struct segment segment;
    sst_world_segment(&world, schema, &model, 1, 100, &segment);
    int64_t from = 9000ll * 1000000, to = 9010ll * 1000000;
    uint64_t inside = 0;
    for (uint32_t i = 0; i < model.count; i++) {
        int64_t time;
        inside += sst_model_time(schema, &model.rows[i], &time) && time >= from && time <= to;
    }
    cr_assert_gt(inside, 5);
    /* Each block has late rows, so that the zone maps let most of the 200 through. */
    uint32_t with_index = walk_range(&world, &segment, schema, &model, from, to, true);
    cr_assert_leq(with_index, (8 + inside) * 100, "%u rows were read for %llu", with_index, (unsigned long long)inside);
    atomic_store(&segment.timestamp_unusable, 1);
    uint32_t without = walk_range(&world, &segment, schema, &model, from, to, true);
    cr_assert_gt(without, 2 * with_index, "the zone maps alone: %u rows, with the index %u", without, with_index);
    sst_model_free(&model);
    schema_free(world.memory, schema);
    sst_world_close(&world);
}

Test(lsm_timestamp, tombstones_without_a_time_are_never_skipped)
{
    struct sst_world_options options = {.seed = 78};
    struct sst_world world;
    sst_world_open(&world, &options);
    struct schema *schema = keyed_schema(&world, MOTE_TYPE_TIMESTAMP);
    struct model model = keyed_rows(&world, schema, 4000, ASCENDING, 0);
    uint32_t deleted[] = {3, 1900, 3999};
    for (uint32_t i = 0; i < 3; i++) {
        free(model.rows[deleted[i]].image);
        model.rows[deleted[i]].image = NULL;
        model.rows[deleted[i]].image_bytes = 0;
        model.rows[deleted[i]].kind = RECORD_DELETE;
    }
    struct segment segment;
    sst_world_segment(&world, schema, &model, 1, 50, &segment);
    cr_assert_eq(walk_range(&world, &segment, schema, &model, INT64_MAX - 1, INT64_MAX, true), 150, "the three blocks with a tombstone, and no other");
    cr_assert_eq(walk_range(&world, &segment, schema, &model, 2600ll * 1000000, 2610ll * 1000000, false), 200);
    sst_model_free(&model);
    schema_free(world.memory, schema);
    sst_world_close(&world);
}

/* ---- Rebuilding and damage ---- */

Test(lsm_timestamp, rebuilt_section_answers_as_the_first)
{
    struct sst_world_options options = {.seed = requests_seed("lsm_timestamp_rebuild")};
    struct sst_world world;
    sst_world_open(&world, &options);
    for (uint32_t shape = 0; shape < SHAPES; shape++) {
        struct schema *schema = keyed_schema(&world, MOTE_TYPE_TIMESTAMP);
        struct model model = keyed_rows(&world, schema, 9000, shape, 3);
        struct segment segment;
        struct extents_counts before, after;
        struct segment_section section;
        sst_world_segment(&world, schema, &model, 1 + shape, 256, &segment);
        extents_get_counts(world.extents, &before);
        for (uint64_t id = 1000; id < 1003; id++) {
            sst_world_check(sst_rebuild_timestamp(&world.context, world.queue, &segment, schema, id, &section), "rebuild");
            extents_get_counts(world.extents, &after);
            cr_assert_eq(after.used, before.used + section.run.count);
            cr_assert_eq(after.reserved, 0);
            cr_assert_eq(section.section_id, id);
            segment.record.timestamp = section;
            sst_world_cold(&world);
            for (uint32_t i = 0; i < 10; i++) {
                int64_t from, to;
                random_range(&world, schema, &model, i, &from, &to);
                cr_assert_eq(search(&world, &segment, schema, &model, from, to), 0);
                walk_range(&world, &segment, schema, &model, from, to, i % 2);
            }
            cr_assert_eq(sst_verify(&world.context, world.queue, &segment, schema, NULL, NULL), 0);
            extents_release_unused(world.extents, section.run);
        }
        /* A section of other rows is found out. */
        section.root_crc ^= 1;
        segment.record.timestamp = section;
        cr_assert_eq(search(&world, &segment, schema, &model, 0, 1), MOTE_EDAMAGED);
        cr_assert_eq(atomic_load(&segment.timestamp_unusable), 1);
        /* A write that fails: the extents come back, but for the failed one. */
        faulty_add(world.device, &(struct faulty_rule){.kind = FAULTY_ERRNO, .op_mask = 1u << BLOCKDEV_WRITE, .times = 1, .system_errno = 5});
        cr_assert_eq(sst_rebuild_timestamp(&world.context, world.queue, &segment, schema, 2000, &section), MOTE_EIO);
        extents_get_counts(world.extents, &after);
        cr_assert_eq(after.used, before.used);
        cr_assert_eq(after.bad, before.bad + 1);
        faulty_clear(world.device);
        sst_model_free(&model);
        schema_free(world.memory, schema);
    }
    sst_world_close(&world);
}

Test(lsm_timestamp, damaged_section_is_noted_and_ranges_still_hold)
{
    struct sst_world_options options = {.seed = requests_seed("lsm_timestamp_damage"), .device_bytes = 16 * MIB_BYTES, .cache_bytes = 2 * MIB_BYTES};
    struct sst_world world;
    sst_world_open(&world, &options);
    struct schema *schema = keyed_schema(&world, MOTE_TYPE_TIMESTAMP);
    struct model model = keyed_rows(&world, schema, 3000, LATE, 0);
    struct segment segment;
    struct sst_iterator *iterator;
    uint8_t sector[4096] __attribute__((aligned(4096)));
    sst_world_segment(&world, schema, &model, 1, 32, &segment);
    sst_world_check(sst_iterator_create(&world.context, world.queue, &iterator), "iterator");
    sst_world_check(sst_iterator_open(iterator, &segment, schema), "open");
    uint64_t start = iterator->footer.timestamp_offset_bytes, length = iterator->footer.timestamp_length_bytes, device_offset = layout_extent_offset(&world.layout, segment.record.runs[0].first);
    sst_iterator_destroy(iterator);
    cr_assert_eq(segment.record.extent_run_count, 1);
    uint32_t noted = 0, tried = 0;
    for (uint64_t at = start; at < start + length; at += 1 + length / 300, tried++) {
        uint64_t place = round_down(device_offset + at, 512);
        sst_world_check(blockdev_read_range(world.queue, place, sector, 512), "read");
        uint8_t bit = (uint8_t)(1u << sst_random_below(&world, 8));
        sector[device_offset + at - place] ^= bit;
        sst_world_check(blockdev_write_range(world.queue, BLOCKDEV_SOURCE_OTHER, place, sector, 512), "write");
        sst_world_cold(&world);
        int result = search(&world, &segment, schema, &model, INT64_MIN, INT64_MAX);
        cr_assert(result == 0 || result == MOTE_EDAMAGED);
        atomic_store(&segment.timestamp_unusable, 0);
        walk_range(&world, &segment, schema, &model, 1000000000, 1010000000, tried % 2);
        noted += atomic_load(&segment.timestamp_unusable);
        sector[device_offset + at - place] ^= bit;
        sst_world_check(blockdev_write_range(world.queue, BLOCKDEV_SOURCE_OTHER, place, sector, 512), "write");
        atomic_store(&segment.timestamp_unusable, 0);
    }
    cr_assert_gt(noted, tried / 4, "%u of %u", noted, tried);
    sst_model_free(&model);
    schema_free(world.memory, schema);
    sst_world_close(&world);
}
