/* lsm_window_test.c: windows of time: numbers, classes of segments, doubling, and which segments the picker merges. */
#include <criterion/criterion.h>

#include <stdlib.h>

#include "engine/lsm/lsm.h"

struct world {
    struct segment segments[64];
    struct segment_list *list;
};

static int compare_times(const void *a, const void *b)
{
    const struct segment_record *x = &(*(struct segment *const *)a)->record, *y = &(*(struct segment *const *)b)->record;
    return (x->time_min > y->time_min) - (x->time_min < y->time_min);
}

/* Segments of all keys, each of one time range. */
static void make_list(struct world *world, const int64_t (*times)[2], uint32_t count)
{
    const uint8_t low[] = {0}, high[] = {0xff};
    world->list = calloc(1, sizeof *world->list + 3 * count * sizeof world->list->segments[0]);
    world->list->table_id = 7;
    world->list->count = count;
    for (uint32_t i = 0; i < count; i++) {
        struct segment_record *record = &world->segments[i].record;
        *record = (struct segment_record){.id = i + 1, .table_id = 7, .run_id = i + 1, .row_count = 10, .seq_min = 10 * i + 1, .seq_max = 10 * i + 10, .time_min = times[i][0], .time_max = times[i][1], .segment_bytes = 1 << 20};
        segment_key_set(&record->min_key, low, 1);
        segment_key_set(&record->max_key, high, 1);
        for (uint32_t k = 0; k < 3; k++)
            world->list->segments[k * count + i] = &world->segments[i];
    }
    qsort(world->list->segments + 2 * count, count, sizeof world->list->segments[0], compare_times);
}

Test(lsm_window, numbers_go_down_below_zero)
{
    const int64_t cases[][3] = {{0, 10, 0}, {9, 10, 0}, {10, 10, 1}, {-1, 10, -1}, {-10, 10, -1}, {-11, 10, -2}, {INT64_MIN, 1000, INT64_MIN / 1000 - 1}, {INT64_MAX, 1000, INT64_MAX / 1000}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        cr_assert_eq(window_number(cases[i][0], cases[i][1]), cases[i][2], "case %zu", i);
}

Test(lsm_window, classes_tell_windows_from_what_lies_apart)
{
    const struct window_frame frame = window_frame_make(100, 1050, 2010);
    cr_assert(frame.from_ns == 1000 && frame.to_ns == 2099);
    const struct {
        int64_t from_ns, to_ns;
        enum window_kind kind;
        int64_t number;
    } cases[] = {{1000, 1099, WINDOW_INSIDE, 10}, {1099, 1100, WINDOW_SPANNING, 11}, {0, 999, WINDOW_BEFORE, 0}, {900, 1000, WINDOW_SPANNING, 10}, {2100, 9999, WINDOW_BEYOND, 0}, {5, 4, WINDOW_UNTIMED, 0}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        const struct segment_record record = {.time_min = cases[i].from_ns, .time_max = cases[i].to_ns};
        struct window_class class = window_classify(&record, &frame);
        cr_assert(class.kind == cases[i].kind && class.number == cases[i].number, "case %zu: kind %d number %ld", i, (int)class.kind, (long)class.number);
    }
    const struct window_frame all = window_frame_make(100, INT64_MIN, INT64_MAX);
    cr_assert(all.from_ns == INT64_MIN && all.to_ns == INT64_MAX);
}

Test(lsm_window, windows_double_until_they_are_few)
{
    struct world world;
    int64_t times[40][2];
    for (uint32_t i = 0; i < 40; i++)
        times[i][0] = times[i][1] = 1000 + 100 * (int64_t)i;
    make_list(&world, times, 40);
    const struct window_frame frame = window_frame_make(100, INT64_MIN, INT64_MAX), late = window_frame_make(100, 4500, INT64_MAX);
    cr_assert_eq(window_widen(world.list, &frame, 40), 100);
    cr_assert_eq(window_widen(world.list, &frame, 39), 200);
    cr_assert_eq(window_widen(world.list, &frame, 10), 800);
    cr_assert_eq(window_widen(world.list, &late, 5), 100); /* what lies before the frame does not count */
    cr_assert_eq(window_widen(NULL, &frame, 1), 100);
    free(world.list);
}

/* Four segments in each of three windows, all above each other by key and time within their window. */
Test(lsm_window, picker_merges_segments_of_one_window)
{
    struct world world;
    int64_t times[12][2];
    for (uint32_t i = 0; i < 12; i++) {
        times[i][0] = 1000 + 100 * (int64_t)(i % 3);
        times[i][1] = times[i][0] + 99;
    }
    make_list(&world, times, 12);
    struct version *version = calloc(1, sizeof *version + sizeof version->lists[0]);
    struct lsm_compaction *compaction = calloc(1, sizeof *compaction);
    version->count = 1;
    version->lists[0] = world.list;
    for (uint32_t everything = 0; everything < 2; everything++) {
        *compaction = (struct lsm_compaction){.spread_max = 8, .windows = window_frame_make(100, INT64_MIN, INT64_MAX)};
        cr_assert(lsm_pick_compaction(version, 7, 4, everything != 0, NULL, NULL, compaction));
        cr_assert_eq(compaction->input_count, 4);
        for (uint32_t i = 1; i < compaction->input_count; i++)
            cr_assert(window_same(window_classify(&compaction->inputs[i]->record, &compaction->windows), window_classify(&compaction->inputs[0]->record, &compaction->windows)));
    }
    /* In one window of all they are merged together. */
    *compaction = (struct lsm_compaction){.spread_max = 8, .windows = window_frame_make(10000, INT64_MIN, INT64_MAX)};
    cr_assert(lsm_pick_compaction(version, 7, 4, true, NULL, NULL, compaction));
    cr_assert_eq(compaction->input_count, 12);
    free(compaction);
    free(version);
    free(world.list);
}
