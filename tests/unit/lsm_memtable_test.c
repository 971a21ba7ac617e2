/* lsm_memtable_test.c: the memtable against a sorted array, its rooms, slots and reset. Several rows at a time: lsm_memtable_rows_test.c. One thread; tests/stress has more. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "blockdev/base/units.h"
#include "tests/support/lsm_rows.h"
#include "tests/support/memtable_model.h"

enum { TABLES = 3 };

static void run_model(uint64_t arena_bytes, uint32_t table_slots)
{
    uint64_t random = lsm_seed("lsm_memtable");
    struct memtable_world f;
    memtable_world_make(&f, arena_bytes, table_slots);
    struct memtable_model models[TABLES];
    for (int t = 0; t < TABLES; t++)
        models[t].entries = malloc(MEMTABLE_ENTRIES_MAX * sizeof(struct memtable_entry));
    uint64_t seq = 0;
    for (int round = 0; round < 3; round++) {
        struct memtable *tables[TABLES];
        for (uint32_t t = 0; t < TABLES; t++) {
            models[t].count = 0;
            cr_assert_null(memtable_of_table(f.generation, t * 1000, false));
            tables[t] = memtable_of_table(f.generation, t * 1000, true);
            cr_assert(tables[t] && memtable_of_table(f.generation, t * 1000, false) == tables[t]);
        }
        for (int step = 0; step < 4000; step++) {
            uint32_t t = (uint32_t)lsm_random_below(&random, TABLES);
            struct memtable_entry entry;
            memtable_model_random(&random, t, ++seq, &entry);
            struct memtable_room room;
            cr_assert(memtable_reserve(f.generation, memtable_room_bytes(1, entry.key_bytes + round_up(entry.image_bytes, 8)), &room));
            memtable_world_insert(&f, tables[t], &room, &entry);
            memtable_unreserve(f.generation, &room);
            memtable_model_add(&models[t], &entry);
            memtable_model_random_key(&random, t, &entry);
            uint64_t kind = lsm_random_below(&random, 3);
            entry.seq = kind == 0 ? UINT64_MAX : kind == 1 ? 0 : lsm_random_below(&random, seq + 1);
            memtable_model_check_seek(&f, tables[t], &models[t], &entry);
        }
        for (int t = 0; t < TABLES; t++) {
            memtable_model_check(&f, tables[t], &models[t]);
            for (size_t i = 0; i < models[t].count; i += 7)
                memtable_model_check_seek(&f, tables[t], &models[t], &models[t].entries[i]);
        }
        cr_assert_eq(memtable_generation_count(f.generation), 4000);
        memtable_generation_reset(f.generation);
        cr_assert(memtable_generation_count(f.generation) == 0 && memtable_used_bytes(f.generation) == 0);
    }
    for (int t = 0; t < TABLES; t++)
        free(models[t].entries);
    memtable_world_free(&f);
}

Test(lsm_memtable, agrees_with_a_sorted_array) { run_model(8 << 20, 8); }

/* So many slots that the arena has no room for fingers. */
Test(lsm_memtable, without_fingers_agrees_with_a_sorted_array) { run_model(2 << 20, 4096); }

/* Rows as they arrive from a robot: series interleaved, each ascending, some late, some far back. The order must not depend on the fingers. */
Test(lsm_memtable, interleaved_series_are_in_order)
{
    uint64_t random = lsm_seed("lsm_memtable");
    struct memtable_world f;
    memtable_world_make(&f, 16 << 20, 4);
    static int64_t clock[300];
    enum { ROWS = 60000 };
    struct memtable_entry *entries = malloc(ROWS * sizeof *entries);
    struct memtable *table = memtable_of_table(f.generation, 9, true);
    for (uint32_t i = 0; i < ROWS; i++) {
        uint64_t series = lsm_random_below(&random, i < ROWS / 2 ? 64 : 300), late = lsm_random_below(&random, 20);
        struct memtable_entry *entry = &entries[i];
        *entry = (struct memtable_entry){.key_bytes = 12, .seq = i + 1, .kind = RECORD_PUT, .image_bytes = 8};
        clock[series] += (int64_t)lsm_random_below(&random, 1000);
        store_be32(entry->key, (uint32_t)series);
        store_be64(entry->key + 4, (uint64_t)(clock[series] - (late == 0 ? (int64_t)lsm_random_below(&random, 5000) : late == 1 ? clock[series] : 0)));
        struct memtable_room room;
        cr_assert(memtable_reserve(f.generation, memtable_room_bytes(1, 20), &room));
        memtable_world_insert(&f, table, &room, entry);
        memtable_unreserve(f.generation, &room);
    }
    qsort(entries, ROWS, sizeof *entries, memtable_model_compare_for_qsort);
    struct memtable_model model = {entries, ROWS};
    struct memtable_iterator iterator;
    memtable_iterate(table, &iterator);
    bool on = memtable_first(&iterator);
    for (size_t i = 0; i < ROWS; i++, on = memtable_next(&iterator))
        memtable_model_expect_on(&f, &iterator, &entries[i]);
    cr_assert_not(on);
    for (size_t i = 0; i < ROWS; i += 11)
        memtable_model_check_seek(&f, table, &model, &entries[i]);
    free(entries);
    memtable_world_free(&f);
}

/* The bound of memtable_room_bytes holds for any number of rows with keys and images of any size, and what it overestimates comes back. */
Test(lsm_memtable, rooms_suffice)
{
    uint64_t random = lsm_seed("lsm_memtable"), seq = 0;
    struct memtable_world f;
    memtable_world_make(&f, 16 << 20, 4);
    struct memtable *table = memtable_of_table(f.generation, 1, true);
    for (int round = 0; round < 2000; round++) {
        static struct memtable_entry entries[40];
        uint64_t rows = 1 + lsm_random_below(&random, 40), size_bytes = 0;
        for (uint64_t i = 0; i < rows; i++) {
            memtable_model_random(&random, (uint32_t)(round % 3), ++seq, &entries[i]);
            size_bytes += entries[i].key_bytes + (entries[i].kind == RECORD_PUT ? round_up(entries[i].image_bytes, 8) : 0);
        }
        struct memtable_room room;
        cr_assert(memtable_reserve(f.generation, memtable_room_bytes(rows, size_bytes), &room));
        uint64_t begin = room.at;
        for (uint64_t i = 0; i < rows; i++)
            memtable_world_insert(&f, table, &room, &entries[i]);
        uint64_t end = room.at;
        cr_assert_leq(end - begin, rows * 40 + 40 + rows * 7 + size_bytes);
        memtable_unreserve(f.generation, &room);
        cr_assert(room.at == end && room.end == end);
    }
    /* A room that is not the last is kept for those that fit into it, one after the other. */
    memtable_generation_reset(f.generation);
    struct memtable_room first, second, third, fourth;
    cr_assert(memtable_reserve(f.generation, 800, &first) && memtable_reserve(f.generation, 800, &second));
    cr_assert_eq(second.at, first.end);
    uint64_t used = memtable_used_bytes(f.generation), begin = first.at;
    memtable_unreserve(f.generation, &first);
    cr_assert_eq(memtable_used_bytes(f.generation), used);
    cr_assert(memtable_reserve(f.generation, 500, &first) && memtable_reserve(f.generation, 296, &third) && memtable_reserve(f.generation, 8, &fourth));
    cr_assert(first.at == begin && third.at == begin + 504 && third.end == begin + 800 && fourth.at == second.end);
    memtable_unreserve(f.generation, &fourth);
    memtable_unreserve(f.generation, &second);
    cr_assert_eq(memtable_used_bytes(f.generation), used - 800);
    memtable_world_free(&f);
}

Test(lsm_memtable, full_arena_refuses_rooms_and_keeps_its_rows)
{
    struct memtable_world f;
    memtable_world_make(&f, 256 << 10, 4);
    for (int round = 0; round < 2; round++) {
        struct memtable *table = memtable_of_table(f.generation, 5, true);
        struct memtable_room room;
        uint64_t count = 0, room_bytes = memtable_room_bytes(1, 12 + 40);
        cr_assert_not(memtable_reserve(f.generation, memtable_arena_bytes(f.generation) + 1, &room));
        cr_assert_not(memtable_reserve(f.generation, UINT64_MAX & ~7ull, &room));
        cr_assert_not(memtable_reserve(f.generation, UINT64_MAX, &room));
        for (; memtable_reserve(f.generation, room_bytes, &room); count++) {
            struct memtable_entry entry = {.key_bytes = 12, .seq = count + 1, .kind = RECORD_PUT, .image_bytes = 40};
            store_be64(entry.key, count);
            memtable_world_insert(&f, table, &room, &entry);
            memtable_unreserve(f.generation, &room);
        }
        /* A row of the run: seq, key and where the image is, and the image. */
        uint64_t most = memtable_arena_bytes(f.generation) / (8 + 16 + 8 + 40), least = memtable_arena_bytes(f.generation) / room_bytes;
        cr_assert(count <= most && count >= least - least / 8);
        cr_assert_eq(memtable_count(table), count);
        uint64_t rest = memtable_arena_bytes(f.generation) - memtable_used_bytes(f.generation);
        cr_assert_lt(rest, room_bytes);
        cr_assert(rest == 0 || memtable_reserve(f.generation, rest, &room));
        while (memtable_reserve(f.generation, 8, &room)) /* what was set aside */
            cr_assert_lt(rest += 8, memtable_arena_bytes(f.generation) / 8);
        struct memtable_iterator iterator;
        memtable_iterate(table, &iterator);
        uint64_t seen = 0;
        for (bool on = memtable_first(&iterator); on; on = memtable_next(&iterator), seen++) {
            struct memtable_entry entry = {.key_bytes = 12, .seq = seen + 1, .kind = RECORD_PUT, .image_bytes = 40};
            store_be64(entry.key, seen);
            memtable_model_expect_on(&f, &iterator, &entry);
        }
        cr_assert_eq(seen, count);
        memtable_generation_reset(f.generation);
        cr_assert_null(memtable_of_table(f.generation, 5, false));
        cr_assert_eq(memtable_used_bytes(f.generation), 0);
    }
    memtable_world_free(&f);
}

struct visited {
    uint64_t ids[16];
    uint32_t count;
    uint32_t stop_at;
};

static int note_visit(void *context, uint64_t table_id, struct memtable *memtable)
{
    struct visited *visited = context;
    cr_assert_eq(memtable_count(memtable), 1);
    visited->ids[visited->count++] = table_id;
    return visited->count == visited->stop_at ? MOTE_EIO : MOTE_OK;
}

Test(lsm_memtable, slots_are_found_used_up_and_visited_in_order)
{
    static const uint64_t ids[8] = {16, 0, 8, 24, UINT64_MAX - 1, 3, 1ull << 63, 11};
    struct memtable_world f;
    memtable_world_make(&f, 1 << 20, 8);
    struct memtable *tables[8];
    for (uint32_t i = 0; i < 8; i++) {
        tables[i] = memtable_of_table(f.generation, ids[i], true);
        cr_assert_not_null(tables[i]);
        for (uint32_t k = 0; k < i; k++)
            cr_assert_neq(tables[k], tables[i]);
    }
    cr_assert_null(memtable_of_table(f.generation, 77, true));
    cr_assert_null(memtable_of_table(f.generation, 77, false));
    for (uint32_t i = 0; i < 8; i++)
        cr_assert_eq(memtable_of_table(f.generation, ids[i], i % 2), tables[i]);
    struct visited visited = {.count = 0};
    cr_assert_eq(memtable_visit(f.generation, note_visit, &visited), MOTE_OK);
    cr_assert_eq(visited.count, 0, "tables without entries are not visited");
    for (uint32_t i = 0; i < 8; i += i == 4 ? 2 : 1) { /* all but 3 */
        struct memtable_room room;
        const struct memtable_entry entry = {.key_bytes = 1, .seq = i, .kind = RECORD_DELETE};
        cr_assert(memtable_reserve(f.generation, memtable_room_bytes(1, 1), &room));
        memtable_world_insert(&f, tables[i], &room, &entry);
    }
    static const uint64_t order[7] = {0, 8, 11, 16, 24, 1ull << 63, UINT64_MAX - 1};
    cr_assert_eq(memtable_visit(f.generation, note_visit, &visited), MOTE_OK);
    cr_assert_eq(visited.count, 7);
    cr_assert_arr_eq(visited.ids, order, sizeof order);
    visited = (struct visited){.stop_at = 2};
    cr_assert_eq(memtable_visit(f.generation, note_visit, &visited), MOTE_EIO);
    cr_assert_eq(visited.count, 2);
    memtable_world_free(&f);
}

Test(lsm_memtable, iterator_without_memtable_finds_nothing)
{
    struct memtable_iterator iterator;
    memtable_iterate(NULL, &iterator);
    cr_assert(!memtable_first(&iterator) && !memtable_last(&iterator) && !memtable_next(&iterator) && !memtable_previous(&iterator));
    cr_assert(!memtable_seek(&iterator, (const uint8_t *)"a", 1, 0) && !memtable_seek_before(&iterator, (const uint8_t *)"a", 1, 0));
}

Test(lsm_memtable, wrong_arenas_are_refused)
{
    struct memory *memory = lsm_memory(4 << 20);
    uint64_t used = memory_used_bytes(memory);
    struct memtable_generation *generation = NULL;
    uint8_t *arena = aligned_alloc(PAGE_BYTES, 65536);
    cr_assert_eq(memtable_generation_create(memory, NULL, 65536, 4, &generation), MOTE_EINVAL);
    cr_assert_eq(memtable_generation_create(memory, arena + 8, 60000, 4, &generation), MOTE_EINVAL);
    cr_assert_eq(memtable_generation_create(memory, arena, 65536, 0, &generation), MOTE_EINVAL);
    cr_assert_eq(memtable_generation_create(memory, arena, 65536, 4096, &generation), MOTE_EINVAL);
    cr_assert_eq(memtable_generation_create(memory, arena, 1000, 1, &generation), MOTE_EINVAL);
    cr_assert_eq(memtable_generation_create(memory, arena, 64ull << 30, 4, &generation), MOTE_EINVAL);
    memory_fail_after(memory, 0, true);
    cr_assert_eq(memtable_generation_create(memory, arena, 65536, 4, &generation), MOTE_EBUDGET);
    memory_fail_after(memory, -1, false);
    cr_assert_null(generation);
    memtable_generation_destroy(memory, NULL);
    cr_assert_eq(memory_used_bytes(memory), used);
    free(arena);
    memory_destroy(memory);
}

/* What lies in runs and what lies in the list is told apart by nobody: series in order, with repeated keys, rows of the past and tombstones between them, up to more series than there are runs. */
Test(lsm_memtable, runs_and_list_are_one_order)
{
    uint64_t random = lsm_seed("lsm_memtable");
    struct memtable_world f;
    memtable_world_make(&f, 32 << 20, 4);
    struct memtable_model model = {malloc(MEMTABLE_ENTRIES_MAX * sizeof(struct memtable_entry)), 0};
    for (uint32_t series_count = 3; series_count < 6000; series_count *= 9) {
        struct memtable *table = memtable_of_table(f.generation, series_count, true);
        model.count = 0;
        for (uint32_t i = 0; i < MEMTABLE_ENTRIES_MAX; i++) {
            struct memtable_entry entry = {.key_bytes = 12, .seq = i + 1, .kind = lsm_random_below(&random, 9) ? RECORD_PUT : RECORD_DELETE, .image_bytes = 8};
            uint64_t back = lsm_random_below(&random, 10) ? 0 : lsm_random_below(&random, 4) * series_count;
            store_be32(entry.key, (uint32_t)lsm_random_below(&random, series_count));
            store_be64(entry.key + 4, i > back ? i - back : 0);
            struct memtable_room room;
            cr_assert(memtable_reserve(f.generation, memtable_room_bytes(1, 20), &room));
            memtable_world_insert(&f, table, &room, &entry);
            memtable_unreserve(f.generation, &room);
            memtable_model_add(&model, &entry);
            if (i % 16 == 0) {
                entry.seq = lsm_random_below(&random, i + 2);
                entry.key_bytes = (uint32_t)lsm_random_below(&random, 13); /* a prefix, as range scans seek */
                memtable_model_check_seek(&f, table, &model, &entry);
            }
        }
        memtable_model_check(&f, table, &model);
    }
    free(model.entries);
    memtable_world_free(&f);
}
