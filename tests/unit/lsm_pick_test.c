/* lsm_pick_test.c: which of the segments that lie above each other by key alone are merged (engine/lsm/pick.c): none in time order below spread_max, steps beyond it, and small ones much sooner. Lists made by hand: nothing is read of a segment. */
#include <criterion/criterion.h>
#include <stdlib.h>

#include "blockdev/base/units.h"
#include "engine/lsm/lsm.h"

enum { SEGMENTS = 1000 };

/* A version of one table whose segments have all keys, and times one after the other. */
static struct version *make_version(uint64_t segment_bytes)
{
    struct version *version = calloc(1, sizeof *version + sizeof version->lists[0]);
    struct segment_list *list = calloc(1, sizeof *list + 3 * SEGMENTS * sizeof list->segments[0]);
    struct segment *segments = calloc(SEGMENTS, sizeof *segments);
    cr_assert(version && list && segments);
    version->count = 1;
    version->lists[0] = list;
    list->table_id = 7;
    list->count = SEGMENTS;
    for (uint32_t i = 0; i < SEGMENTS; i++) {
        const uint8_t least[] = {0, (uint8_t)(i >> 8), (uint8_t)i}, greatest[] = {9, (uint8_t)(i >> 8), (uint8_t)i};
        struct segment_record *record = &segments[i].record;
        record->id = record->run_id = i + 1;
        record->table_id = 7;
        record->time_min = i * 100;
        record->time_max = i * 100 + 99;
        record->seq_min = i * 100 + 1;
        record->seq_max = i * 100 + 100;
        record->row_count = 100;
        record->segment_bytes = segment_bytes;
        segment_key_set(&record->min_key, least, 3);
        segment_key_set(&record->max_key, greatest, 3);
        for (uint32_t order = 0; order < 3; order++)
            list->segments[order * SEGMENTS + i] = &segments[i];
    }
    return version;
}

static bool pick(const struct version *version, uint32_t spread_max, struct lsm_compaction *compaction)
{
    *compaction = (struct lsm_compaction){.spread_max = spread_max};
    return lsm_pick_compaction(version, 7, 4, false, NULL, NULL, compaction);
}

static void free_version(struct version *version)
{
    free(version->lists[0]->segments[0]);
    free(version->lists[0]);
    free(version);
}

Test(lsm_pick, segments_in_time_order_are_merged_only_beyond_the_spread)
{
    static struct lsm_compaction compaction;
    struct version *version = make_version(32 * MIB_BYTES);
    cr_assert_eq(lsm_spread(version->lists[0], UINT64_MAX), SEGMENTS);
    cr_assert_eq(lsm_spread(version->lists[0], MIB_BYTES), 0);
    cr_assert(!pick(version, 4096, &compaction), "%u segments in time order are to be merged", compaction.input_count);
    cr_assert(!pick(version, SEGMENTS + 1, &compaction));
    cr_assert(pick(version, SEGMENTS, &compaction));
    cr_assert(compaction.input_count >= 2 && compaction.input_count <= LSM_LANES_MAX, "%u", compaction.input_count);
    free_version(version);
}

Test(lsm_pick, small_segments_are_merged_though_few_are_above_each_other)
{
    enum { SMALL = 70 };
    static struct lsm_compaction compaction;
    struct version *version = make_version(32 * MIB_BYTES);
    for (uint32_t i = 0; i < SMALL; i++) {
        cr_assert(i >= 64 || !pick(version, 4096, &compaction), "%u small ones", i);
        version->lists[0]->segments[i * 3]->record.segment_bytes = MIB_BYTES;
    }
    cr_assert(pick(version, 4096, &compaction));
    cr_assert_geq(compaction.input_count, 2);
    for (uint32_t i = 0; i < compaction.input_count; i++)
        cr_assert_eq(compaction.inputs[i]->record.segment_bytes, MIB_BYTES, "a large segment is merged for the sake of small ones");
    free_version(version);
}
