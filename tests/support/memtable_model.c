/* memtable_model.c: see memtable_model.h. */
#include "tests/support/memtable_model.h"

#include <stdlib.h>
#include <string.h>

#include "blockdev/base/units.h"
#include "tests/support/engine_fixture.h"
#include "tests/support/lsm_rows.h"

void memtable_world_make(struct memtable_world *f, uint64_t arena_bytes, uint32_t table_slots)
{
    const struct mote_column_definition columns[] = {{.name = "series", .type = MOTE_TYPE_INT32}, {.name = "t", .type = MOTE_TYPE_TIMESTAMP}, {.name = "note", .type = MOTE_TYPE_TEXT}};
    const uint32_t key[] = {0, 1};
    f->memory = lsm_memory(4 << 20);
    f->schema = lsm_schema(f->memory, columns, 3, key, 2, 1);
    f->arena_bytes = arena_bytes;
    f->arena = aligned_alloc(PAGE_BYTES, round_up(arena_bytes, PAGE_BYTES));
    require(f->arena != NULL);
    memset(f->arena, 0x5A, arena_bytes); /* nothing may rely on zeros */
    require(memtable_generation_create(f->memory, f->arena, arena_bytes, table_slots, &f->generation) == MOTE_OK);
}

void memtable_world_free(struct memtable_world *f)
{
    memtable_generation_destroy(f->memory, f->generation);
    schema_free(f->memory, f->schema);
    memory_destroy(f->memory);
    free(f->arena);
}

static int compare_entries(const struct memtable_entry *a, const struct memtable_entry *b)
{
    int order = key_compare(a->key, a->key_bytes, b->key, b->key_bytes);
    return order ? order : (a->seq < b->seq) - (a->seq > b->seq);
}

int memtable_model_compare_for_qsort(const void *a, const void *b) { return compare_entries(a, b); }

/* Index of the first entry that is not before this one. */
static size_t find_entry(const struct memtable_model *model, const struct memtable_entry *wanted)
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

void memtable_model_add(struct memtable_model *model, const struct memtable_entry *entry)
{
    size_t at = find_entry(model, entry);
    require(model->count < MEMTABLE_ENTRIES_MAX);
    memmove(&model->entries[at + 1], &model->entries[at], (model->count - at) * sizeof *entry);
    model->entries[at] = *entry;
    model->count++;
}

void memtable_world_insert(struct memtable_world *f, struct memtable *table, struct memtable_room *room, const struct memtable_entry *entry)
{
    bool put = entry->kind == RECORD_PUT;
    memtable_insert(table, room, f->schema, entry->key, entry->key_bytes, entry->seq, entry->kind, put ? entry->image : NULL, put ? entry->image_bytes : 0);
    require(room->at <= room->end); /* an insert takes no more than its room */
}

void memtable_model_expect_on(const struct memtable_world *f, const struct memtable_iterator *iterator, const struct memtable_entry *entry)
{
    struct record record;
    const struct schema *schema;
    const uint8_t *image;
    uint32_t image_bytes;
    require(iterator->side != 0);
    memtable_record(iterator, &record, &schema, &image, &image_bytes);
    require(key_compare(record.key, record.key_bytes, entry->key, entry->key_bytes) == 0 && record.seq == entry->seq && record.kind == entry->kind && schema == f->schema);
    if (entry->kind == RECORD_DELETE) {
        require(image == NULL && image_bytes == 0);
        return;
    }
    require((uintptr_t)image % 8 == 0);
    require(image_bytes == entry->image_bytes);
    require(memcmp(image, entry->image, image_bytes) == 0);
}

void memtable_model_random_key(uint64_t *random, uint32_t kind, struct memtable_entry *entry)
{
    if (kind == 0) {
        entry->key_bytes = 12;
        store_be32(entry->key, (uint32_t)lsm_random_below(random, 5));
        store_be64(entry->key + 4, lsm_random_below(random, 300));
        return;
    }
    entry->key_bytes = (uint32_t)lsm_random_below(random, MEMTABLE_KEY_ROOM + 1);
    for (uint32_t i = 0; i < entry->key_bytes; i++)
        entry->key[i] = kind == 1 ? (uint8_t)(lsm_random_below(random, 8) == 0) : (uint8_t)lsm_random(random);
}

void memtable_model_random(uint64_t *random, uint32_t kind, uint64_t seq, struct memtable_entry *entry)
{
    memtable_model_random_key(random, kind, entry);
    entry->seq = seq;
    entry->kind = lsm_random_below(random, 5) == 0 ? RECORD_DELETE : RECORD_PUT;
    entry->image_bytes = (uint32_t)lsm_random_below(random, sizeof entry->image + 1);
    for (uint32_t i = 0; i < entry->image_bytes; i++)
        entry->image[i] = (uint8_t)lsm_random(random);
}

void memtable_model_check(struct memtable_world *f, struct memtable *table, const struct memtable_model *model)
{
    struct memtable_iterator iterator;
    memtable_iterate(table, &iterator);
    require(memtable_count(table) == model->count);
    bool on = memtable_first(&iterator);
    for (size_t i = 0; i < model->count; i++, on = memtable_next(&iterator)) {
        require(on);
        memtable_model_expect_on(f, &iterator, &model->entries[i]);
    }
    require(!on);
    require(!memtable_next(&iterator));
    on = memtable_last(&iterator);
    for (size_t i = model->count; i-- > 0; on = memtable_previous(&iterator)) {
        require(on);
        memtable_model_expect_on(f, &iterator, &model->entries[i]);
    }
    require(!on);
}

void memtable_model_check_seek(struct memtable_world *f, struct memtable *table, const struct memtable_model *model, const struct memtable_entry *wanted)
{
    struct memtable_iterator iterator;
    memtable_iterate(table, &iterator);
    size_t at = find_entry(model, wanted);
    require(memtable_seek(&iterator, wanted->key, wanted->key_bytes, wanted->seq) == (at < model->count));
    if (at < model->count) {
        memtable_model_expect_on(f, &iterator, &model->entries[at]);
        require(memtable_previous(&iterator) == (at > 0));
        if (at > 0)
            memtable_model_expect_on(f, &iterator, &model->entries[at - 1]);
    }
    require(memtable_seek_before(&iterator, wanted->key, wanted->key_bytes, wanted->seq) == (at > 0));
    if (at > 0) {
        memtable_model_expect_on(f, &iterator, &model->entries[at - 1]);
        require(memtable_next(&iterator) == (at < model->count));
    }
}
