/* lsm_sst_stretch_test.c: rows that are added in stretches make the very segments that the same rows added one by one make: the same blocks, the same ends, the same checksums. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "blockdev/base/units.h"
#include "tests/support/sst_world.h"

enum { SEGMENTS_MAX = 64 };

struct shape {
    uint32_t columns, flags, block_rows, block_bytes_max, distinct_keys, tombstone_percent;
    uint64_t segment_bytes_max;
    bool filter;
};

struct outcome {
    struct segment_record records[SEGMENTS_MAX];
    uint32_t count;
    uint64_t in_stretches;
};

/* Rows from `at` on that may lie in one stretch: no tombstones, no key twice. */
static uint32_t stretch_count(const struct model *model, uint32_t at, uint32_t most)
{
    uint32_t count = 0;
    for (; count < most && at + count < model->count; count++) {
        const struct model_row *row = &model->rows[at + count];
        bool repeats = at + count > 0 && key_compare(row[-1].key, row[-1].key_bytes, row->key, row->key_bytes) == 0;
        if (row->kind != RECORD_PUT || repeats)
            break;
    }
    return count;
}

static void lay_out(const struct schema *schema, const struct model *model, uint32_t at, uint32_t count, uint8_t *rows, struct record_stretch *stretch)
{
    uint32_t key_bytes = schema->key_bytes_fixed, image_at = RECORD_STRETCH_KEY_AT + (uint32_t)round_up(key_bytes, 8), row_bytes = image_at + (uint32_t)round_up(schema->fixed_bytes, 8);
    *stretch = (struct record_stretch){rows, count, row_bytes, key_bytes, image_at, schema->fixed_bytes, schema};
    for (uint32_t i = 0; i < count; i++) {
        const struct model_row *row = &model->rows[at + i];
        cr_assert(row->key_bytes == key_bytes && row->image_bytes == schema->fixed_bytes);
        store_u64(rows + i * row_bytes, row->seq);
        memcpy(rows + i * row_bytes + RECORD_STRETCH_KEY_AT, row->key, key_bytes);
        memcpy(rows + i * row_bytes + image_at, row->image, row->image_bytes);
    }
}

/* The whole model, cut into segments where the builder is full. stretches_max 0: one by one. */
static void build(const struct shape *shape, uint32_t stretches_max, struct outcome *outcome)
{
    struct sst_world_options options = {.seed = 11, .extent_bytes = MIB_BYTES, .device_bytes = 128 * MIB_BYTES};
    struct sst_world world;
    sst_world_open(&world, &options);
    struct schema *schema = sst_plain_schema(&world, shape->columns);
    schema->flags |= shape->flags;
    struct model model = sst_random_rows(&world, schema, NULL, 20000, shape->distinct_keys, shape->tombstone_percent);
    uint32_t written = 0, row_bytes = RECORD_STRETCH_KEY_AT + (uint32_t)round_up(schema->key_bytes_fixed, 8) + (uint32_t)round_up(schema->fixed_bytes, 8);
    /* Images must outlive the builder. */
    uint8_t *arena = malloc((size_t)(model.count + 1) * row_bytes);
    *outcome = (struct outcome){.count = 0};
    while (written < model.count) {
        struct extent_reservation reservation;
        struct sst_builder_options with = sst_world_builder(&world, schema, &reservation, 50 + outcome->count, model.count - written);
        struct sst_builder *builder;
        with.block_rows = shape->block_rows;
        with.block_bytes_max = shape->block_bytes_max;
        with.segment_bytes_max = shape->segment_bytes_max;
        with.filter = shape->filter;
        sst_world_check(sst_builder_create(&with, &builder), "builder");
        while (written < model.count && !sst_builder_full(builder)) {
            uint32_t count = stretches_max ? stretch_count(&model, written, 1 + sst_random_below(&world, stretches_max)) : 0;
            int taken = 0;
            if (count) {
                struct record_stretch stretch;
                lay_out(schema, &model, written, count, arena + (size_t)written * row_bytes, &stretch);
                taken = sst_builder_add_stretch(builder, &stretch);
                cr_assert(taken >= 0 && taken <= (int)count, "%d", taken);
            }
            if (!taken) {
                const struct model_row *row = &model.rows[written];
                struct record record = {row->key, row->key_bytes, row->kind, row->seq};
                sst_world_check(sst_builder_add(builder, &record, schema, row->image, row->image_bytes, false), "add");
            }
            outcome->in_stretches += (uint64_t)taken;
            written += taken ? (uint32_t)taken : 1;
        }
        cr_assert_lt(outcome->count, SEGMENTS_MAX);
        sst_world_check(sst_builder_finish(builder, &outcome->records[outcome->count++]), "finish");
        sst_builder_destroy(builder);
        extents_unreserve(world.extents, &reservation);
    }
    free(arena);
    sst_model_free(&model);
    schema_free(world.memory, schema);
    sst_world_close(&world);
}

Test(lsm_sst_stretch, stretches_make_the_same_segments_as_single_rows)
{
    static const struct shape shapes[] = {
        {.columns = 3, .block_rows = 64, .block_bytes_max = 512 * 1024, .distinct_keys = 100000, .segment_bytes_max = 1u << 30},
        {.columns = 9, .block_rows = 1024, .block_bytes_max = 512 * 1024, .distinct_keys = 30000, .tombstone_percent = 3, .segment_bytes_max = 2 * MIB_BYTES},
        {.columns = 14, .block_rows = 1024, .block_bytes_max = 16 * 1024, .distinct_keys = 1 << 30, .segment_bytes_max = 2 * MIB_BYTES, .filter = true},
        {.columns = 5, .flags = MOTE_TABLE_ROW_PAGES, .block_rows = 200, .block_bytes_max = 64 * 1024, .distinct_keys = 50000, .tombstone_percent = 1, .segment_bytes_max = 2 * MIB_BYTES},
    };
    static struct outcome one, many;
    for (uint32_t s = 0; s < sizeof shapes / sizeof shapes[0]; s++) {
        build(&shapes[s], 0, &one);
        cr_assert_eq(one.in_stretches, 0);
        for (uint32_t most = 1; most < 3000; most *= 12) {
            build(&shapes[s], most, &many);
            cr_assert_gt(many.in_stretches, 5000, "shape %u: stretches are hardly used", s);
            cr_assert_eq(many.count, one.count, "shape %u, stretches up to %u: %u segments, one by one %u", s, most, many.count, one.count);
            for (uint32_t i = 0; i < one.count; i++) {
                const struct segment_record *a = &one.records[i], *b = &many.records[i];
                cr_assert(a->row_count == b->row_count && a->delete_count == b->delete_count && a->segment_bytes == b->segment_bytes && a->block_count == b->block_count, "shape %u, segment %u", s, i);
                cr_assert(a->seq_min == b->seq_min && a->seq_max == b->seq_max && a->time_min == b->time_min && a->time_max == b->time_max && a->footer_crc == b->footer_crc, "shape %u, segment %u", s, i);
            }
        }
    }
}

Test(lsm_sst_stretch, a_stretch_out_of_order_is_refused)
{
    struct sst_world_options options = {.seed = 12, .extent_bytes = MIB_BYTES, .device_bytes = 64 * MIB_BYTES};
    struct sst_world world;
    sst_world_open(&world, &options);
    struct schema *schema = sst_plain_schema(&world, 2);
    struct model model = sst_random_rows(&world, schema, NULL, 100, 1 << 30, 0);
    struct extent_reservation reservation;
    struct sst_builder_options with = sst_world_builder(&world, schema, &reservation, 50, model.count);
    struct sst_builder *builder;
    struct record_stretch stretch;
    static uint8_t rows[100 * 128];
    sst_world_check(sst_builder_create(&with, &builder), "builder");
    const struct model_row *last = &model.rows[model.count - 1];
    struct record record = {last->key, last->key_bytes, last->kind, last->seq};
    sst_world_check(sst_builder_add(builder, &record, schema, last->image, last->image_bytes, false), "add");
    lay_out(schema, &model, 0, 10, rows, &stretch);
    cr_assert_eq(sst_builder_add_stretch(builder, &stretch), MOTE_EINTERNAL);
    struct segment_record made;
    cr_assert_eq(sst_builder_finish(builder, &made), MOTE_EINTERNAL, "the failure is kept");
    sst_builder_destroy(builder);
    extents_unreserve(world.extents, &reservation);
    sst_model_free(&model);
    schema_free(world.memory, schema);
    sst_world_close(&world);
}
