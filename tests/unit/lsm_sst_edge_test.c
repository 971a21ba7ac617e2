/* lsm_sst_edge_test.c: SSTables at the edges: rows out of order, memory that runs out at each allocation, what dump prints. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "blockdev/base/errors.h"
#include "tests/support/sst_world.h"

static struct model numbered_rows(const struct schema *schema, uint32_t count)
{
    struct model model = {0};
    for (uint32_t i = 0; i < count; i++) {
        struct mote_value values[2] = {{.type = MOTE_TYPE_INT64, .as.i64 = 2 * (int64_t)i}, {.type = MOTE_TYPE_TIMESTAMP, .as.i64 = 2 * i}};
        sst_model_add(&model, schema, values, 2, 1 + i, false);
    }
    sst_model_sort(&model);
    return model;
}

Test(lsm_sst_edge, rows_out_of_order_are_refused)
{
    struct sst_world_options options = {.seed = 2};
    struct sst_world world;
    struct extents_counts before, after;
    sst_world_open(&world, &options);
    struct schema *schema = sst_plain_schema(&world, 1);
    extents_get_counts(world.extents, &before);
    for (uint32_t kind = 0; kind < 3; kind++) {
        struct model model = numbered_rows(schema, 10);
        struct extent_reservation reservation;
        struct segment segment;
        struct sst_builder_options builder_options = sst_world_builder(&world, schema, &reservation, 1, 100);
        builder_options.block_rows = 2;
        if (kind == 0) { /* a smaller key */
            struct model_row swap = model.rows[4];
            model.rows[4] = model.rows[5];
            model.rows[5] = swap;
        } else { /* the same key with the same seq, or a greater one */
            free(model.rows[5].key);
            model.rows[5].key = malloc(17);
            memcpy(model.rows[5].key, model.rows[4].key, 16);
            model.rows[5].seq = model.rows[4].seq + kind - 1;
        }
        cr_assert_eq(sst_world_build(&world, &builder_options, &model, 0, 10, false, &segment), MOTE_EINTERNAL);
        extents_unreserve(world.extents, &reservation);
        sst_model_free(&model);
    }
    extents_get_counts(world.extents, &after);
    cr_assert_eq(before.free, after.free, "a refused builder keeps extents");
    cr_assert_eq(after.reserved, 0);
    schema_free(world.memory, schema);
    sst_world_close(&world);
}

Test(lsm_sst_edge, dump_prints_index_and_rows)
{
    struct sst_world_options options = {.seed = 8};
    struct sst_world world;
    sst_world_open(&world, &options);
    struct schema *schema = sst_plain_schema(&world, 1);
    struct model model = numbered_rows(schema, 100);
    struct segment segment;
    char *text;
    size_t size;
    sst_world_segment(&world, schema, &model, 33, 40, &segment);
    FILE *out = open_memstream(&text, &size);
    cr_assert_eq(sst_dump(&world.context, world.queue, &segment, schema, -1, out), 0);
    cr_assert_eq(sst_dump(&world.context, world.queue, &segment, schema, 2, out), 0);
    cr_assert_eq(sst_dump(&world.context, world.queue, &segment, schema, 3, out), MOTE_EINVAL);
    fclose(out);
    cr_assert(strstr(text, "segment 33 table 7 \"plain\" schema version 1 run 33 level 0"));
    cr_assert(strstr(text, "100 rows, 0 of them tombstones, seqs 1 to 100"));
    cr_assert(strstr(text, "block 2: 20 rows"));
    cr_assert(strstr(text, "put seq 100 series=198 t=198 f0=NULL"), "%s", text);
    cr_assert(strstr(text, "series: 40 values, min 0, max 78, sum 1560"));
    free(text);
    sst_model_free(&model);
    schema_free(world.memory, schema);
    sst_world_close(&world);
}

Test(lsm_sst_edge, memory_that_runs_out_leaves_nothing_behind)
{
    struct sst_world_options options = {.seed = 4};
    struct sst_world world;
    sst_world_open(&world, &options);
    struct schema *schema = sst_random_schema(&world, 4);
    struct model model = sst_random_rows(&world, schema, NULL, 300, 5000, 10);
    struct segment segment;
    uint64_t used = memory_used_bytes(world.memory);
    int result = MOTE_EBUDGET;
    for (int n = 0; result == MOTE_EBUDGET; n++) {
        struct extent_reservation reservation;
        struct extents_counts counts;
        struct sst_builder_options builder_options = sst_world_builder(&world, schema, &reservation, 1, model.count);
        memory_fail_after(world.memory, n, true);
        result = sst_world_build(&world, &builder_options, &model, 0, model.count, n % 2, &segment);
        memory_fail_after(world.memory, -1, false);
        extents_unreserve(world.extents, &reservation);
        cr_assert(result == MOTE_OK || result == MOTE_EBUDGET);
        cr_assert_eq(memory_used_bytes(world.memory), used, "allocation %d", n);
        extents_get_counts(world.extents, &counts);
        cr_assert(result == MOTE_OK || counts.free == counts.total);
    }
    for (int n = 0, done = 0; !done; n++) {
        struct sst_iterator *iterator = NULL;
        memory_fail_after(world.memory, n, true);
        result = sst_iterator_create(&world.context, world.queue, &iterator);
        if (!result)
            result = sst_iterator_open(iterator, &segment, schema);
        uint32_t at = 0;
        int on = result ? result : sst_first(iterator);
        for (; on > 0; on = sst_next(iterator), at++) {
            char fault[200];
            int error;
            bool equal = sst_row_equals(iterator, schema, &model.rows[at], fault, &error);
            cr_assert(equal || error == MOTE_EBUDGET, "%s", fault);
            if (error)
                break;
        }
        memory_fail_after(world.memory, -1, false);
        done = on == 0;
        cr_assert(!done || at == model.count);
        cr_assert(done || on == MOTE_EBUDGET || on == 1);
        sst_iterator_destroy(iterator);
        cr_assert_eq(memory_used_bytes(world.memory), used);
    }
    sst_model_free(&model);
    schema_free(world.memory, schema);
    sst_world_close(&world);
}
