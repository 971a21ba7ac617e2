/* lsm_memtable_test.c: the memtable against a sorted array, its rooms, slots and reset. One thread; tests/stress has more. */
#include "tests/support/lsm_rows.h"

#include "blockdev/base/units.h"
#include "engine/lsm/memtable.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>

enum { TABLES = 3, ENTRIES_MAX = 6000, KEY_ROOM = 24 };

struct fixture {
    struct memory *memory;
    struct schema *schema; /* key (int32 series, timestamp) */
    void *arena;
    uint64_t arena_bytes;
    struct memtable_generation *generation;
};

static void make_fixture(struct fixture *f, uint64_t arena_bytes, uint32_t table_slots)
{
    const struct mote_column_definition columns[] = {{.name = "series", .type = MOTE_TYPE_INT32}, {.name = "t", .type = MOTE_TYPE_TIMESTAMP}, {.name = "note", .type = MOTE_TYPE_TEXT}};
    const uint32_t key[] = {0, 1};
    f->memory = lsm_memory(4 << 20);
    f->schema = lsm_schema(f->memory, columns, 3, key, 2, 1);
    f->arena_bytes = arena_bytes;
    f->arena = aligned_alloc(PAGE_BYTES, round_up(arena_bytes, PAGE_BYTES));
    cr_assert(f->arena != NULL);
    memset(f->arena, 0x5A, arena_bytes); /* nothing may rely on zeros */
    cr_assert_eq(memtable_generation_create(f->memory, f->arena, arena_bytes, table_slots, &f->generation), MOTE_OK);
}

static void free_fixture(struct fixture *f)
{
    memtable_generation_destroy(f->memory, f->generation);
    schema_free(f->memory, f->schema);
    memory_destroy(f->memory);
    free(f->arena);
}

struct entry {
    uint8_t key[KEY_ROOM];
    uint32_t key_bytes;
    uint64_t seq;
    enum record_kind kind;
    uint8_t image[40];
    uint32_t image_bytes;
};

static int compare_entries(const struct entry *a, const struct entry *b)
{
    int order = key_compare(a->key, a->key_bytes, b->key, b->key_bytes);
    return order ? order : (a->seq < b->seq) - (a->seq > b->seq);
}

static int compare_for_qsort(const void *a, const void *b) { return compare_entries(a, b); }

struct model {
    struct entry *entries; /* sorted */
    size_t count;
};

/* Index of the first entry that is not before this one. */
static size_t model_find(const struct model *model, const struct entry *wanted)
{
    size_t low = 0, high = model->count;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (compare_entries(&model->entries[middle], wanted) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static void model_insert(struct model *model, const struct entry *entry)
{
    size_t at = model_find(model, entry);
    cr_assert_lt(model->count, ENTRIES_MAX);
    memmove(&model->entries[at + 1], &model->entries[at], (model->count - at) * sizeof *entry);
    model->entries[at] = *entry;
    model->count++;
}

static void insert(struct fixture *f, struct memtable *table, struct memtable_room *room, const struct entry *entry)
{
    bool put = entry->kind == RECORD_PUT;
    memtable_insert(table, room, f->schema, entry->key, entry->key_bytes, entry->seq, entry->kind, put ? entry->image : NULL, put ? entry->image_bytes : 0);
    cr_assert_leq(room->at, room->end, "an insert took more than its room");
}

static void assert_on(const struct fixture *f, const struct memtable_iterator *iterator, const struct entry *entry)
{
    struct record record;
    const struct schema *schema;
    const uint8_t *image;
    uint32_t image_bytes;
    cr_assert_neq(iterator->side, 0);
    memtable_record(iterator, &record, &schema, &image, &image_bytes);
    cr_assert(key_compare(record.key, record.key_bytes, entry->key, entry->key_bytes) == 0 && record.seq == entry->seq && record.kind == entry->kind && schema == f->schema);
    if (entry->kind == RECORD_DELETE) {
        cr_assert(image == NULL && image_bytes == 0);
        return;
    }
    cr_assert_eq((uintptr_t)image % 8, 0);
    cr_assert_eq(image_bytes, entry->image_bytes);
    cr_assert(memcmp(image, entry->image, image_bytes) == 0);
}

/* Keys of several kinds: rows of series (few values, so that keys repeat), keys of any length that agree in their first bytes, the empty key. */
static void random_key(uint64_t *random, uint32_t kind, struct entry *entry)
{
    if (kind == 0) {
        entry->key_bytes = 12;
        store_be32(entry->key, (uint32_t)lsm_random_below(random, 5));
        store_be64(entry->key + 4, lsm_random_below(random, 300));
        return;
    }
    entry->key_bytes = (uint32_t)lsm_random_below(random, KEY_ROOM + 1);
    for (uint32_t i = 0; i < entry->key_bytes; i++)
        entry->key[i] = kind == 1 ? (uint8_t)(lsm_random_below(random, 8) == 0) : (uint8_t)lsm_random(random);
}

static void random_entry(uint64_t *random, uint32_t kind, uint64_t seq, struct entry *entry)
{
    random_key(random, kind, entry);
    entry->seq = seq;
    entry->kind = lsm_random_below(random, 5) == 0 ? RECORD_DELETE : RECORD_PUT;
    entry->image_bytes = (uint32_t)lsm_random_below(random, sizeof entry->image + 1);
    for (uint32_t i = 0; i < entry->image_bytes; i++)
        entry->image[i] = (uint8_t)lsm_random(random);
}

/* All entries forwards, and all backwards. */
static void compare_whole(struct fixture *f, struct memtable *table, const struct model *model)
{
    struct memtable_iterator iterator;
    memtable_iterate(table, &iterator);
    cr_assert_eq(memtable_count(table), model->count);
    bool on = memtable_first(&iterator);
    for (size_t i = 0; i < model->count; i++, on = memtable_next(&iterator)) {
        cr_assert(on);
        assert_on(f, &iterator, &model->entries[i]);
    }
    cr_assert_not(on);
    cr_assert_not(memtable_next(&iterator));
    on = memtable_last(&iterator);
    for (size_t i = model->count; i-- > 0; on = memtable_previous(&iterator)) {
        cr_assert(on);
        assert_on(f, &iterator, &model->entries[i]);
    }
    cr_assert_not(on);
}

static void compare_seek(struct fixture *f, struct memtable *table, const struct model *model, const struct entry *wanted)
{
    struct memtable_iterator iterator;
    memtable_iterate(table, &iterator);
    size_t at = model_find(model, wanted);
    cr_assert_eq(memtable_seek(&iterator, wanted->key, wanted->key_bytes, wanted->seq), at < model->count);
    if (at < model->count) {
        assert_on(f, &iterator, &model->entries[at]);
        cr_assert_eq(memtable_previous(&iterator), at > 0);
        if (at > 0)
            assert_on(f, &iterator, &model->entries[at - 1]);
    }
    cr_assert_eq(memtable_seek_before(&iterator, wanted->key, wanted->key_bytes, wanted->seq), at > 0);
    if (at > 0) {
        assert_on(f, &iterator, &model->entries[at - 1]);
        cr_assert_eq(memtable_next(&iterator), at < model->count);
    }
}

static void run_model(uint64_t arena_bytes, uint32_t table_slots)
{
    uint64_t random = lsm_seed("lsm_memtable");
    struct fixture f;
    make_fixture(&f, arena_bytes, table_slots);
    struct model models[TABLES];
    for (int t = 0; t < TABLES; t++)
        models[t].entries = malloc(ENTRIES_MAX * sizeof(struct entry));
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
            struct entry entry;
            random_entry(&random, t, ++seq, &entry);
            struct memtable_room room;
            cr_assert(memtable_reserve(f.generation, memtable_room_bytes(1, entry.key_bytes + round_up(entry.image_bytes, 8)), &room));
            insert(&f, tables[t], &room, &entry);
            memtable_unreserve(f.generation, &room);
            model_insert(&models[t], &entry);
            random_key(&random, t, &entry);
            uint64_t kind = lsm_random_below(&random, 3);
            entry.seq = kind == 0 ? UINT64_MAX : kind == 1 ? 0 : lsm_random_below(&random, seq + 1);
            compare_seek(&f, tables[t], &models[t], &entry);
        }
        for (int t = 0; t < TABLES; t++) {
            compare_whole(&f, tables[t], &models[t]);
            for (size_t i = 0; i < models[t].count; i += 7)
                compare_seek(&f, tables[t], &models[t], &models[t].entries[i]);
        }
        cr_assert_eq(memtable_generation_count(f.generation), 4000);
        memtable_generation_reset(f.generation);
        cr_assert(memtable_generation_count(f.generation) == 0 && memtable_used_bytes(f.generation) == 0);
    }
    for (int t = 0; t < TABLES; t++)
        free(models[t].entries);
    free_fixture(&f);
}

Test(lsm_memtable, agrees_with_a_sorted_array) { run_model(8 << 20, 8); }

/* So many slots that the arena has no room for fingers. */
Test(lsm_memtable, without_fingers_agrees_with_a_sorted_array) { run_model(2 << 20, 4096); }

/* Rows as they arrive from a robot: series interleaved, each ascending, some late, some far back. The order must not depend on the fingers. */
Test(lsm_memtable, interleaved_series_are_in_order)
{
    uint64_t random = lsm_seed("lsm_memtable");
    struct fixture f;
    make_fixture(&f, 16 << 20, 4);
    static int64_t clock[300];
    enum { ROWS = 60000 };
    struct entry *entries = malloc(ROWS * sizeof *entries);
    struct memtable *table = memtable_of_table(f.generation, 9, true);
    for (uint32_t i = 0; i < ROWS; i++) {
        uint64_t series = lsm_random_below(&random, i < ROWS / 2 ? 64 : 300), late = lsm_random_below(&random, 20);
        struct entry *entry = &entries[i];
        *entry = (struct entry){.key_bytes = 12, .seq = i + 1, .kind = RECORD_PUT, .image_bytes = 8};
        clock[series] += (int64_t)lsm_random_below(&random, 1000);
        store_be32(entry->key, (uint32_t)series);
        store_be64(entry->key + 4, (uint64_t)(clock[series] - (late == 0 ? (int64_t)lsm_random_below(&random, 5000) : late == 1 ? clock[series] : 0)));
        struct memtable_room room;
        cr_assert(memtable_reserve(f.generation, memtable_room_bytes(1, 20), &room));
        insert(&f, table, &room, entry);
        memtable_unreserve(f.generation, &room);
    }
    qsort(entries, ROWS, sizeof *entries, compare_for_qsort);
    struct model model = {entries, ROWS};
    struct memtable_iterator iterator;
    memtable_iterate(table, &iterator);
    bool on = memtable_first(&iterator);
    for (size_t i = 0; i < ROWS; i++, on = memtable_next(&iterator))
        assert_on(&f, &iterator, &entries[i]);
    cr_assert_not(on);
    for (size_t i = 0; i < ROWS; i += 11)
        compare_seek(&f, table, &model, &entries[i]);
    free(entries);
    free_fixture(&f);
}

/* The bound of memtable_room_bytes holds for any number of rows with keys and images of any size, and what it overestimates comes back. */
Test(lsm_memtable, rooms_suffice)
{
    uint64_t random = lsm_seed("lsm_memtable"), seq = 0;
    struct fixture f;
    make_fixture(&f, 16 << 20, 4);
    struct memtable *table = memtable_of_table(f.generation, 1, true);
    for (int round = 0; round < 2000; round++) {
        static struct entry entries[40];
        uint64_t rows = 1 + lsm_random_below(&random, 40), size_bytes = 0;
        for (uint64_t i = 0; i < rows; i++) {
            random_entry(&random, (uint32_t)(round % 3), ++seq, &entries[i]);
            size_bytes += entries[i].key_bytes + (entries[i].kind == RECORD_PUT ? round_up(entries[i].image_bytes, 8) : 0);
        }
        struct memtable_room room;
        cr_assert(memtable_reserve(f.generation, memtable_room_bytes(rows, size_bytes), &room));
        uint64_t begin = room.at;
        for (uint64_t i = 0; i < rows; i++)
            insert(&f, table, &room, &entries[i]);
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
    free_fixture(&f);
}

Test(lsm_memtable, full_arena_refuses_rooms_and_keeps_its_rows)
{
    struct fixture f;
    make_fixture(&f, 256 << 10, 4);
    for (int round = 0; round < 2; round++) {
        struct memtable *table = memtable_of_table(f.generation, 5, true);
        struct memtable_room room;
        uint64_t count = 0, room_bytes = memtable_room_bytes(1, 12 + 40);
        cr_assert_not(memtable_reserve(f.generation, memtable_arena_bytes(f.generation) + 1, &room));
        cr_assert_not(memtable_reserve(f.generation, UINT64_MAX & ~7ull, &room));
        cr_assert_not(memtable_reserve(f.generation, UINT64_MAX, &room));
        for (; memtable_reserve(f.generation, room_bytes, &room); count++) {
            struct entry entry = {.key_bytes = 12, .seq = count + 1, .kind = RECORD_PUT, .image_bytes = 40};
            store_be64(entry.key, count);
            insert(&f, table, &room, &entry);
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
            struct entry entry = {.key_bytes = 12, .seq = seen + 1, .kind = RECORD_PUT, .image_bytes = 40};
            store_be64(entry.key, seen);
            assert_on(&f, &iterator, &entry);
        }
        cr_assert_eq(seen, count);
        memtable_generation_reset(f.generation);
        cr_assert_null(memtable_of_table(f.generation, 5, false));
        cr_assert_eq(memtable_used_bytes(f.generation), 0);
    }
    free_fixture(&f);
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
    struct fixture f;
    make_fixture(&f, 1 << 20, 8);
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
        const struct entry entry = {.key_bytes = 1, .seq = i, .kind = RECORD_DELETE};
        cr_assert(memtable_reserve(f.generation, memtable_room_bytes(1, 1), &room));
        insert(&f, tables[i], &room, &entry);
    }
    static const uint64_t order[7] = {0, 8, 11, 16, 24, 1ull << 63, UINT64_MAX - 1};
    cr_assert_eq(memtable_visit(f.generation, note_visit, &visited), MOTE_OK);
    cr_assert_eq(visited.count, 7);
    cr_assert_arr_eq(visited.ids, order, sizeof order);
    visited = (struct visited){.stop_at = 2};
    cr_assert_eq(memtable_visit(f.generation, note_visit, &visited), MOTE_EIO);
    cr_assert_eq(visited.count, 2);
    free_fixture(&f);
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
    struct fixture f;
    make_fixture(&f, 32 << 20, 4);
    struct model model = {malloc(ENTRIES_MAX * sizeof(struct entry)), 0};
    for (uint32_t series_count = 3; series_count < 6000; series_count *= 9) {
        struct memtable *table = memtable_of_table(f.generation, series_count, true);
        model.count = 0;
        for (uint32_t i = 0; i < ENTRIES_MAX; i++) {
            struct entry entry = {.key_bytes = 12, .seq = i + 1, .kind = lsm_random_below(&random, 9) ? RECORD_PUT : RECORD_DELETE, .image_bytes = 8};
            uint64_t back = lsm_random_below(&random, 10) ? 0 : lsm_random_below(&random, 4) * series_count;
            store_be32(entry.key, (uint32_t)lsm_random_below(&random, series_count));
            store_be64(entry.key + 4, i > back ? i - back : 0);
            struct memtable_room room;
            cr_assert(memtable_reserve(f.generation, memtable_room_bytes(1, 20), &room));
            insert(&f, table, &room, &entry);
            memtable_unreserve(f.generation, &room);
            model_insert(&model, &entry);
            if (i % 16 == 0) {
                entry.seq = lsm_random_below(&random, i + 2);
                entry.key_bytes = (uint32_t)lsm_random_below(&random, 13); /* a prefix, as range scans seek */
                compare_seek(&f, table, &model, &entry);
            }
        }
        compare_whole(&f, table, &model);
    }
    free(model.entries);
    free_fixture(&f);
}

/* ---- Several rows at a time ---- */

/* A table without text: its runs hold the images. */
static struct schema *make_fixed_schema(struct memory *memory)
{
    const struct mote_column_definition columns[] = {{.name = "series", .type = MOTE_TYPE_INT32}, {.name = "t", .type = MOTE_TYPE_TIMESTAMP}, {.name = "x", .type = MOTE_TYPE_FLOAT64}};
    const uint32_t key[] = {0, 1};
    return lsm_schema(memory, columns, 3, key, 2, 1);
}

/* Each record as memtable_next shows it is the one that stretches show, and stretches are used at all. */
static void compare_stretches(struct memtable *table, bool expect_long)
{
    struct memtable_iterator one, many;
    uint64_t seen = 0, longest = 0;
    memtable_iterate(table, &one);
    memtable_iterate(table, &many);
    bool on = memtable_first(&one), on_many = memtable_first(&many);
    while (on_many) {
        struct record_stretch stretch;
        bool side_by_side = memtable_stretch(&many, &stretch);
        uint32_t count = side_by_side ? stretch.count : 1;
        cr_assert_gt(count, 0);
        for (uint32_t i = 0; i < count; i++, on = memtable_next(&one), seen++) {
            struct record record;
            const struct schema *schema;
            const uint8_t *image;
            uint32_t image_bytes;
            cr_assert(on);
            memtable_record(&one, &record, &schema, &image, &image_bytes);
            if (!side_by_side)
                continue;
            const uint8_t *row = stretch.rows + (size_t)i * stretch.row_bytes;
            cr_assert(record.kind == RECORD_PUT && record.seq == load_u64(row) && record.key_bytes == stretch.key_bytes && schema == stretch.schema);
            cr_assert(memcmp(record.key, row + RECORD_STRETCH_KEY_AT, record.key_bytes) == 0 && image == row + stretch.image_at && image_bytes == stretch.image_bytes);
        }
        longest = count > longest ? count : longest;
        on_many = side_by_side ? memtable_skip(&many, count) : memtable_next(&many);
    }
    cr_assert(!on && seen == memtable_count(table));
    cr_assert(!expect_long || longest == 64);
}

Test(lsm_memtable, writes_of_many_rows_equal_a_sorted_array)
{
    uint64_t random = lsm_seed("lsm_memtable"), seq = 0;
    struct fixture f;
    make_fixture(&f, 16 << 20, 4);
    schema_free(f.memory, f.schema);
    f.schema = make_fixed_schema(f.memory);
    cr_assert_leq(f.schema->fixed_bytes, sizeof ((struct entry *)0)->image);
    struct model model = {malloc(ENTRIES_MAX * sizeof(struct entry)), 0};
    for (uint32_t series_count = 1; series_count < 200; series_count *= 6) {
        struct memtable *table = memtable_of_table(f.generation, series_count, true);
        int64_t clock = 0;
        model.count = 0;
        while (model.count + MEMTABLE_WRITE_ROWS_MAX < ENTRIES_MAX) {
            struct entry entries[MEMTABLE_WRITE_ROWS_MAX];
            uint8_t *places[MEMTABLE_WRITE_ROWS_MAX];
            uint32_t rows = 1 + (uint32_t)lsm_random_below(&random, MEMTABLE_WRITE_ROWS_MAX);
            bool in_order = model.count > ENTRIES_MAX / 2; /* then runs grow side by side */
            struct memtable_room room;
            struct memtable_write write;
            cr_assert(memtable_reserve(f.generation, memtable_room_bytes(rows, rows * (12 + round_up(f.schema->fixed_bytes, 8))), &room));
            memtable_write_begin(&write, table, &room, f.schema);
            for (uint32_t i = 0; i < rows; i++) {
                struct entry *entry = &entries[i];
                bool late = !in_order && lsm_random_below(&random, 6) == 0;
                *entry = (struct entry){.key_bytes = 12, .seq = ++seq, .kind = RECORD_PUT, .image_bytes = f.schema->fixed_bytes};
                store_be32(entry->key, (uint32_t)lsm_random_below(&random, series_count));
                store_be64(entry->key + 4, (uint64_t)(late ? (int64_t)lsm_random_below(&random, (uint64_t)clock + 1) : ++clock));
                for (uint32_t k = 0; k < entry->image_bytes; k++)
                    entry->image[k] = (uint8_t)lsm_random(&random);
                places[i] = memtable_write_place(&write, entry->key, 12, entry->seq, RECORD_PUT, entry->image_bytes);
            }
            for (uint32_t i = 0; i < rows; i++) {
                memcpy(places[i], entries[i].image, entries[i].image_bytes);
                model_insert(&model, &entries[i]);
            }
            memtable_write_publish(&write);
            cr_assert_leq(room.at, room.end);
            memtable_unreserve(f.generation, &room);
            compare_seek(&f, table, &model, &entries[rows / 2]);
        }
        compare_whole(&f, table, &model);
        compare_stretches(table, series_count == 1);
    }
    free(model.entries);
    free_fixture(&f);
}
