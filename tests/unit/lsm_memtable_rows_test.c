/* lsm_memtable_rows_test.c: memtables that take several rows at a time: writes of many, the stretches that iterators show of them, notes. One thread. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "blockdev/base/units.h"
#include "tests/support/lsm_rows.h"
#include "tests/support/memtable_model.h"

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

Test(lsm_memtable_rows, writes_of_many_rows_equal_a_sorted_array)
{
    uint64_t random = lsm_seed("lsm_memtable"), seq = 0;
    struct memtable_world f;
    memtable_world_make(&f, 16 << 20, 4);
    schema_free(f.memory, f.schema);
    f.schema = make_fixed_schema(f.memory);
    cr_assert_leq(f.schema->fixed_bytes, sizeof ((struct memtable_entry *)0)->image);
    struct memtable_model model = {malloc(MEMTABLE_ENTRIES_MAX * sizeof(struct memtable_entry)), 0};
    for (uint32_t series_count = 1; series_count < 200; series_count *= 6) {
        struct memtable *table = memtable_of_table(f.generation, series_count, true);
        int64_t clock = 0;
        model.count = 0;
        while (model.count + MEMTABLE_WRITE_ROWS_MAX < MEMTABLE_ENTRIES_MAX) {
            struct memtable_entry entries[MEMTABLE_WRITE_ROWS_MAX];
            uint8_t *places[MEMTABLE_WRITE_ROWS_MAX];
            uint32_t rows = 1 + (uint32_t)lsm_random_below(&random, MEMTABLE_WRITE_ROWS_MAX);
            bool in_order = model.count > MEMTABLE_ENTRIES_MAX / 2; /* then runs grow side by side */
            struct memtable_room room;
            struct memtable_write write;
            cr_assert(memtable_reserve(f.generation, memtable_room_bytes(rows, rows * (12 + round_up(f.schema->fixed_bytes, 8))), &room));
            memtable_write_begin(&write, table, &room, f.schema);
            for (uint32_t i = 0; i < rows; i++) {
                struct memtable_entry *entry = &entries[i];
                bool late = !in_order && lsm_random_below(&random, 6) == 0;
                *entry = (struct memtable_entry){.key_bytes = 12, .seq = ++seq, .kind = RECORD_PUT, .image_bytes = f.schema->fixed_bytes};
                store_be32(entry->key, (uint32_t)lsm_random_below(&random, series_count));
                store_be64(entry->key + 4, (uint64_t)(late ? (int64_t)lsm_random_below(&random, (uint64_t)clock + 1) : ++clock));
                for (uint32_t k = 0; k < entry->image_bytes; k++)
                    entry->image[k] = (uint8_t)lsm_random(&random);
                places[i] = memtable_write_place(&write, entry->key, 12, entry->seq, RECORD_PUT, entry->image_bytes);
            }
            for (uint32_t i = 0; i < rows; i++) {
                memcpy(places[i], entries[i].image, entries[i].image_bytes);
                memtable_model_add(&model, &entries[i]);
            }
            memtable_write_publish(&write);
            cr_assert_leq(room.at, room.end);
            memtable_unreserve(f.generation, &room);
            memtable_model_check_seek(&f, table, &model, &entries[rows / 2]);
        }
        memtable_model_check(&f, table, &model);
        compare_stretches(table, series_count == 1);
    }
    free(model.entries);
    memtable_world_free(&f);
}

/* Notes tell every noted row once, in the order of coming, whether it lies in a run or in the skiplist; deletes and rows of writes that noted nothing are in none. */
Test(lsm_memtable_rows, notes_tell_rows_in_the_order_of_their_coming)
{
    enum { WRITES = 600 };
    uint64_t random = lsm_seed("lsm_memtable_notes"), seq = 0;
    struct memtable_world f;
    memtable_world_make(&f, 4 << 20, 4);
    struct memtable *table = memtable_of_table(f.generation, 3, true);
    struct memtable_entry *noted = malloc(WRITES * MEMTABLE_WRITE_ROWS_MAX * sizeof *noted);
    uint32_t count = 0;
    struct memtable_note note;
    memtable_note_last(table, &note);
    cr_assert_eq(note.place, 0);
    for (uint32_t write = 0; write < WRITES; write++) {
        uint32_t rows = 1 + (uint32_t)lsm_random_below(&random, 9), puts = 0;
        bool noting = lsm_random_below(&random, 5) != 0;
        struct memtable_room room;
        cr_assert(memtable_reserve(f.generation, memtable_room_bytes(rows, rows * 200) + (noting ? memtable_note_bytes(rows) : 0), &room));
        cr_assert_eq(room.note, 0);
        if (noting)
            memtable_note_begin(table, &room, rows);
        for (uint32_t i = 0; i < rows; i++) {
            struct memtable_entry entry = {.key_bytes = 12, .seq = ++seq, .kind = lsm_random_below(&random, 7) ? RECORD_PUT : RECORD_DELETE, .image_bytes = 8 + 8 * (uint32_t)lsm_random_below(&random, 4)};
            store_be32(entry.key, (uint32_t)lsm_random_below(&random, 4));
            store_be64(entry.key + 4, lsm_random_below(&random, 3) ? seq : lsm_random_below(&random, seq + 1));
            for (uint32_t k = 0; k < entry.image_bytes; k++)
                entry.image[k] = (uint8_t)lsm_random(&random);
            memtable_world_insert(&f, table, &room, &entry);
            if (noting && entry.kind == RECORD_PUT)
                noted[count + puts++] = entry;
        }
        uint32_t total = memtable_note_end(table, &room);
        count += puts;
        cr_assert_eq(total, puts ? count : 0);
        cr_assert_leq(room.at, room.end);
        memtable_unreserve(f.generation, &room);
    }
    uint32_t at = count;
    for (memtable_note_last(table, &note); note.place; memtable_note_previous(table, &note)) {
        cr_assert_eq(note.total, at);
        at -= note.count;
        for (uint32_t i = 0; i < note.count; i++) {
            struct record record;
            const struct schema *schema;
            const uint8_t *image;
            uint32_t image_bytes;
            const struct memtable_entry *entry = &noted[at + i];
            memtable_ref_record(table, note.refs[i], &record, &schema, &image, &image_bytes);
            cr_assert(record.seq == entry->seq && record.kind == RECORD_PUT && key_compare(record.key, record.key_bytes, entry->key, entry->key_bytes) == 0 && schema == f.schema);
            cr_assert(image_bytes == entry->image_bytes && memcmp(image, entry->image, image_bytes) == 0);
        }
    }
    cr_assert_eq(at, 0);
    struct memtable_iterator iterator;
    memtable_iterate(table, &iterator);
    for (bool on = memtable_first(&iterator); on; on = memtable_next(&iterator)) {
        struct record one, other;
        const struct schema *schema;
        const uint8_t *image, *same;
        uint32_t image_bytes;
        memtable_record(&iterator, &one, &schema, &image, &image_bytes);
        memtable_ref_record(table, memtable_iterator_ref(&iterator), &other, &schema, &same, &image_bytes);
        cr_assert(one.key == other.key && one.seq == other.seq && image == same);
    }
    memtable_generation_reset(f.generation);
    table = memtable_of_table(f.generation, 3, true);
    memtable_note_last(table, &note);
    cr_assert_eq(note.place, 0);
    free(noted);
    memtable_world_free(&f);
}
