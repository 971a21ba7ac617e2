/* engine_index_merge_test.c: sections of declared indexes that a compaction makes out of its inputs' sections: byte for byte what building from the rows gives, whatever was replaced, deleted or held by a snapshot; a section that is missing or
 * damaged is built from rows instead. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/engine_private.h"
#include "tests/support/engine_fixture.h"

enum { VOCABULARY = 3000, WORDS_MAX = 40 };

/* ---- The text index's operations, counted ---- */

static unsigned merges, adds;
static struct row_index_ops counted;
static const struct row_index_ops *counted_ops[8];

static int count_merge(struct memory *memory, const uint8_t *options, uint32_t options_bytes, const struct section_merge_input *inputs, uint32_t input_count, const struct section_identity *identity, const struct section_sink *sink,
                       struct section_root *root)
{
    merges++;
    return text_row_index_ops.merge(memory, options, options_bytes, inputs, input_count, identity, sink, root);
}

static int count_add(struct row_index *index, uint32_t first_ordinal, const struct codec_vector *columns, uint32_t column_count, const uint8_t *deleted)
{
    adds++;
    return text_row_index_ops.add(index, first_ordinal, columns, column_count, deleted);
}

static void count_ops(mote_db *db)
{
    size_t count = 0;
    counted = text_row_index_ops;
    counted.merge = count_merge;
    counted.add = count_add;
    for (; engine_index_ops[count]; count++)
        counted_ops[count] = engine_index_ops[count] == &text_row_index_ops ? &counted : engine_index_ops[count];
    counted_ops[count] = NULL;
    db->sst.indexes = counted_ops;
}

/* ---- A table of texts ---- */

struct rig {
    struct fixture fixture;
    mote_table *table;
    uint64_t random;
};

static uint64_t draw(struct rig *rig, uint64_t below) { return fixture_random(&rig->random) % below; }

static void open_rig(struct rig *rig, uint64_t seed, uint32_t columns)
{
    static const uint32_t key[] = {0}, body[] = {1, 2};
    struct mote_column_definition definitions[3] = {{.name = "id", .type = MOTE_TYPE_INT64, .flags = MOTE_COLUMN_NOT_NULL}, {.name = "body", .type = MOTE_TYPE_TEXT}, {.name = "title", .type = MOTE_TYPE_TEXT}};
    struct mote_schema schema = MOTE_SCHEMA_INIT;
    rig->random = seed * 0x9E3779B97F4A7C15u + 1;
    fixture_image(&rig->fixture, 160 << 20);
    rig->fixture.options.compression = 1;
    rig->fixture.options.workers = MOTE_NO_THREADS;
    rig->fixture.options.compaction_runs_max = 32;
    fixture_open(&rig->fixture);
    schema.name = "texts";
    schema.columns = definitions;
    schema.column_count = 3;
    schema.key_columns = key;
    schema.key_column_count = 1;
    must(mote_table_create(rig->fixture.db, &schema, &rig->table));
    for (uint32_t i = 0; i < columns; i++) {
        struct mote_index_options options = MOTE_INDEX_OPTIONS_INIT;
        options.name = i ? "titles" : "bodies";
        options.kind = MOTE_INDEX_TEXT;
        options.columns = &body[i];
        options.column_count = 1;
        options.language = i ? NULL : "english";
        must(mote_index_create(rig->table, &options));
    }
    count_ops(rig->fixture.db);
}

static void close_rig(struct rig *rig)
{
    fixture_close(&rig->fixture);
    must(mote_verify(rig->fixture.path, NULL, NULL));
    fixture_remove(&rig->fixture);
}

static void make_text(struct rig *rig, uint32_t words, char *text)
{
    size_t length = 0;
    for (uint32_t i = 0; i < words; i++) {
        uint64_t word = draw(rig, 1 + draw(rig, VOCABULARY));
        length += (size_t)sprintf(text + length, "%s%c%c%c%llu", i ? " " : "", (int)('a' + word % 26), (int)('e' + word % 7), (int)('a' + word / 26 % 26), (unsigned long long)word);
    }
    text[length] = 0;
}

static void put(struct rig *rig, int64_t id)
{
    char body[WORDS_MAX * 16], title[WORDS_MAX * 16];
    make_text(rig, (uint32_t)draw(rig, WORDS_MAX), body);
    make_text(rig, 1 + (uint32_t)draw(rig, 3), title);
    struct mote_value values[3] = {value_i64(id), draw(rig, 20) ? value_text(body) : value_null(MOTE_TYPE_TEXT), value_text(title)};
    must(mote_append(rig->table, values, 3, NULL, NULL));
}

static void drop(struct rig *rig, int64_t id)
{
    struct mote_value key = value_i64(id);
    must(mote_delete(rig->table, &key, 1, NULL, NULL));
}

static void change(struct rig *rig, uint32_t count, int64_t base, uint64_t keys)
{
    for (uint32_t i = 0; i < count; i++) {
        int64_t id = base + (int64_t)draw(rig, keys);
        if (draw(rig, 6))
            put(rig, id);
        else
            drop(rig, id);
    }
}

/* ---- Sections beside builds from the rows ---- */

static uint8_t *read_section(mote_db *db, const struct segment_section *place)
{
    uint64_t bytes = round_up(place->length_bytes, PAGE_BYTES);
    uint8_t *data = aligned_alloc(PAGE_BYTES, bytes);
    must(blockdev_read_range(db->queue, layout_extent_offset(&db->superblock.layout, place->run.first), data, bytes));
    return data;
}

static void compare_section(mote_db *db, struct segment *segment, const struct schema *schema, const struct manifest_index *index)
{
    const struct segment_index *section = segment_find_index(segment, index->id);
    struct sst_index_feed feed = {.ops = &text_row_index_ops, .column_count = 1, .manifest = db->manifest};
    struct segment_section built;
    cr_assert_not_null(section, "segment %llu has no section of index %s", (unsigned long long)segment->record.id, index->name);
    index_columns(schema, index, feed.columns);
    /* Of the same number, so that its pages can be the same. */
    must(sst_index_build(&db->sst, db->compact_queue, segment, schema, index->options, index->options_bytes, &feed, section->section.section_id, &built));
    cr_assert_eq(built.length_bytes, section->section.length_bytes, "segment %llu: %llu bytes, not %llu", (unsigned long long)segment->record.id, (unsigned long long)section->section.length_bytes,
                 (unsigned long long)built.length_bytes);
    cr_assert(built.root_crc == section->section.root_crc && built.root_bytes == section->section.root_bytes && built.root_offset_bytes == section->section.root_offset_bytes);
    uint8_t *ours = read_section(db, &section->section), *theirs = read_section(db, &built);
    cr_assert_eq(memcmp(ours, theirs, built.length_bytes), 0);
    free(ours);
    free(theirs);
    extents_release_unused(db->extents, built.run);
}

/* Returns how many segments the table has. */
static uint32_t compare_all(mote_db *db)
{
    struct version *version = version_acquire(db->manifest);
    uint32_t segments = 0;
    for (uint32_t i = 0; i < db->index_count; i++) {
        const struct segment_list *list = version_find(version, db->indexes[i].table_id);
        segments = list ? list->count : 0;
        for (uint32_t k = 0; k < segments; k++)
            compare_section(db, list->segments[k], catalog_live_schema(db, db->indexes[i].table_id), &db->indexes[i]);
    }
    version_release(db->manifest, version);
    return segments;
}

static void compact(struct rig *rig, bool merged)
{
    bool did = true;
    must(mote_flush(rig->fixture.db));
    must(mote_flush_all_indexes(rig->fixture.db));
    merges = adds = 0;
    while (did)
        must(compact_once(rig->fixture.db, rig->table, true, &did));
    if (merged)
        cr_assert(merges > 0 && adds == 0, "%u merges, %u adds", merges, adds);
}

Test(engine_index_merge, merged_sections_are_those_that_rows_would_give)
{
    for (uint64_t seed = 1; seed <= 4; seed++) {
        struct rig rig;
        mote_cursor *cursor = NULL;
        open_rig(&rig, seed, 2);
        for (uint32_t round = 0; round < 3; round++) {
            for (uint32_t run = 0; run < 5; run++) {
                /* Here and there, all over, or each behind the others. */
                change(&rig, 300 + (uint32_t)draw(&rig, 1500), seed == 2 ? run * 2000 : 0, seed == 3 ? 300 : 4000);
                must(mote_flush(rig.fixture.db));
                if (seed == 4 && run == 2 && !cursor)
                    must(mote_scan(rig.table, NULL, &cursor)); /* holds older versions */
            }
            compact(&rig, true);
            compare_all(rig.fixture.db);
        }
        if (cursor)
            mote_cursor_close(cursor);
        close_rig(&rig);
    }
}

Test(engine_index_merge, inputs_that_spread_over_many_outputs_give_the_same)
{
    struct rig rig;
    open_rig(&rig, 7, 1);
    for (uint32_t run = 0; run < 3; run++) {
        change(&rig, 30000, 0, 1u << 30);
        must(mote_flush(rig.fixture.db));
    }
    compact(&rig, true);
    uint32_t segments = compare_all(rig.fixture.db);
    cr_assert_geq(segments, 2u, "%u", segments);
    close_rig(&rig);
}

static struct segment_index *first_section(mote_db *db, struct version *version)
{
    const struct segment_list *list = version_find(version, db->indexes[0].table_id);
    return segment_find_index(list->segments[0], db->indexes[0].id);
}

Test(engine_index_merge, missing_or_damaged_input_is_built_from_rows)
{
    for (unsigned damaged = 0; damaged < 3; damaged++) {
        struct rig rig;
        open_rig(&rig, 9, 1);
        mote_db *db = rig.fixture.db;
        for (uint32_t run = 0; run < 3; run++) {
            change(&rig, 1000, 0, 2000);
            must(mote_flush(db));
        }
        struct version *version = version_acquire(db->manifest);
        struct segment_index *section = first_section(db, version);
        bool did = true;
        if (damaged == 0) {
            atomic_store(&section->unusable, 1);
        } else {
            /* Its root, or one of its other pages, which nobody has read yet. */
            uint64_t byte = damaged == 1 ? section->section.root_offset_bytes + 60 : 2000, at = layout_extent_offset(&db->superblock.layout, section->section.run.first) + byte / PAGE_BYTES * PAGE_BYTES;
            uint8_t *page = aligned_alloc(PAGE_BYTES, PAGE_BYTES);
            must(blockdev_read_range(db->queue, at, page, PAGE_BYTES));
            page[byte % PAGE_BYTES] ^= 1;
            must(blockdev_write_range(db->queue, BLOCKDEV_SOURCE_INDEX, at, page, PAGE_BYTES));
            free(page);
        }
        version_release(db->manifest, version);
        merges = adds = 0;
        while (did)
            must(compact_once(db, rig.table, true, &did));
        cr_assert_eq(merges > 0, damaged == 2, "a root that is damaged is found before");
        cr_assert_eq(adds > 0, damaged == 0);
        must(mote_flush_all_indexes(db));
        cr_assert_gt(adds, 0u, "built from rows");
        compare_all(db);
        close_rig(&rig);
    }
}

Test(engine_index_merge, lack_of_memory_or_space_costs_the_section_and_no_row)
{
    struct rig rig;
    open_rig(&rig, 11, 1);
    mote_db *db = rig.fixture.db;
    for (uint32_t run = 0; run < 3; run++) {
        change(&rig, 800, 0, 1500);
        must(mote_flush(db));
    }
    uint64_t rows = fixture_count_rows(rig.table);
    struct extents_counts before, after;
    extents_get_counts(db->extents, &before);
    unsigned failed = 0;
    for (int64_t n = 0; n < 4000; n += 1 + n / 20) {
        bool did;
        memory_fail_after(db->memory, n, true);
        int result = compact_once(db, rig.table, true, &did);
        memory_fail_after(db->memory, -1, false);
        extents_get_counts(db->extents, &after);
        cr_assert_eq(after.reserved, before.reserved);
        failed += result != MOTE_OK;
        if (!result)
            break;
        cr_assert_eq(result, MOTE_EBUDGET, "%d", result);
        cr_assert_eq(after.used, before.used, "after %lld allocations", (long long)n);
    }
    cr_assert_gt(failed, 3u);
    must(mote_flush_all_indexes(db));
    cr_assert_eq(fixture_count_rows(rig.table), rows);
    compare_all(db);
    close_rig(&rig);
}
