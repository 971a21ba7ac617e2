/* recent_build.c: a batch of rows in memory, with its sections (recent.h): rows sorted by key, their columns as vectors, tile by tile, to each kind's own builder, whose pages go to memory.
 *
 * Threads: the builder's; nothing is shared. Failures: want of memory only, which costs a section or the batch. */
#include <assert.h>
#include <string.h>

#include "blockdev/base/bytes.h"
#include "engine/recent.h"

enum { TILE_ROWS = 512, TILE_BYTES_MAX = 1 << 20, PAGE_ALIGN_BYTES = 64, PAGES_BYTES_MIN = 16384 };

/* ---- Order ---- */

struct recent_row recent_row_of(const struct memtable *memtable, struct memtable_ref ref)
{
    const struct schema *schema;
    const uint8_t *image;
    uint32_t image_bytes;
    uint8_t head[8] = {0};
    struct record record;
    memtable_ref_record(memtable, ref, &record, &schema, &image, &image_bytes);
    memcpy(head, record.key, record.key_bytes < sizeof head ? record.key_bytes : sizeof head);
    return (struct recent_row){load_be64(head), record.seq, ref};
}

/* Key ascending, seq descending. */
static bool comes_first(const struct memtable *memtable, const struct recent_row *a, const struct recent_row *b)
{
    const struct schema *schema;
    const uint8_t *image;
    uint32_t image_bytes;
    struct record x, y;
    if (a->prefix != b->prefix)
        return a->prefix < b->prefix;
    memtable_ref_record(memtable, a->ref, &x, &schema, &image, &image_bytes);
    memtable_ref_record(memtable, b->ref, &y, &schema, &image, &image_bytes);
    int order = key_compare(x.key, x.key_bytes, y.key, y.key_bytes);
    return order ? order < 0 : a->seq > b->seq;
}

/* Where the stretch in order that begins at `from` ends. */
static uint32_t stretch_end(const struct memtable *memtable, const struct recent_row *rows, uint32_t from, uint32_t count)
{
    uint32_t end = from + 1;
    while (end < count && comes_first(memtable, &rows[end - 1], &rows[end]))
        end++;
    return end < count ? end : count;
}

static void merge_stretches(const struct memtable *memtable, const struct recent_row *from, uint32_t begin, uint32_t middle, uint32_t end, struct recent_row *to)
{
    uint32_t a = begin, b = middle;
    for (uint32_t i = begin; i < end; i++)
        to[i] = a < middle && (b >= end || comes_first(memtable, &from[a], &from[b])) ? from[a++] : from[b++];
}

/* Stretches that are in order are merged, two and two, from one half of the room to the other: rows that came in order cost a look, batches that were sorted before a merge. Returns the half that has the result. */
static const struct recent_row *sort_rows(const struct memtable *memtable, struct recent_row *rows, uint32_t count)
{
    struct recent_row *from = rows, *to = rows + count;
    while (count > 0 && stretch_end(memtable, from, 0, count) < count) {
        for (uint32_t begin = 0; begin < count;) {
            uint32_t middle = stretch_end(memtable, from, begin, count), end = middle < count ? stretch_end(memtable, from, middle, count) : count;
            merge_stretches(memtable, from, begin, middle, end, to);
            begin = end;
        }
        struct recent_row *swapped = from;
        from = to;
        to = swapped;
    }
    return from;
}

/* ---- Pages in memory ---- */

struct pages {
    struct memory *memory;
    uint8_t *bytes;
    uint64_t used, capacity, bytes_max;
};

static int place_page(void *context, uint32_t length_bytes, uint64_t *offset_bytes)
{
    struct pages *pages = context;
    uint64_t at = round_up(pages->used, PAGE_ALIGN_BYTES), needed = at + length_bytes;
    if (needed > pages->bytes_max)
        return MOTE_EBUDGET;
    if (needed > pages->capacity) {
        uint64_t capacity = 2 * pages->capacity > needed ? 2 * pages->capacity : needed + PAGES_BYTES_MIN;
        uint8_t *grown = memory_realloc(pages->memory, pages->bytes, capacity);
        if (!grown)
            return MOTE_EBUDGET;
        pages->bytes = grown;
        pages->capacity = capacity;
    }
    if (at > pages->used)
        memset(pages->bytes + pages->used, 0, at - pages->used);
    pages->used = at;
    *offset_bytes = at;
    return MOTE_OK;
}

static int write_page(void *context, const void *data, uint32_t length_bytes)
{
    struct pages *pages = context;
    assert(length_bytes <= pages->capacity - pages->used);
    memcpy(pages->bytes + pages->used, data, length_bytes);
    pages->used += length_bytes;
    return MOTE_OK;
}

/* Nothing is checked: what was written here has been nowhere else. */
static int read_page(void *context, uint64_t offset_bytes, uint32_t length_bytes, int (*check)(const uint8_t *data, uint32_t length_bytes, void *check_context), void *check_context, const uint8_t **data, void **handle)
{
    struct recent_section *section = context;
    (void)check;
    (void)check_context;
    if (length_bytes == 0 || offset_bytes > section->length_bytes || length_bytes > section->length_bytes - offset_bytes)
        return error_set(MOTE_EDAMAGED, "a page of an index in memory lies outside of its section");
    *data = section->bytes + offset_bytes;
    *handle = section;
    return MOTE_OK;
}

static void release_page(void *context, void *handle)
{
    (void)context;
    (void)handle;
}

/* ---- Columns ---- */

struct tile {
    struct memory *memory;
    uint32_t count;
    const struct schema *schemas[TILE_ROWS];
    const uint8_t *images[TILE_ROWS];
    uint8_t *values[ROW_INDEX_COLUMNS_MAX];
    uint64_t capacities[ROW_INDEX_COLUMNS_MAX];
    uint32_t offsets[ROW_INDEX_COLUMNS_MAX][TILE_ROWS + 1];
    uint8_t validity[ROW_INDEX_COLUMNS_MAX][TILE_ROWS / 8];
    struct codec_vector columns[ROW_INDEX_COLUMNS_MAX];
};

static bool reserve_values(struct tile *tile, uint32_t column, uint64_t bytes)
{
    if (bytes <= tile->capacities[column])
        return true;
    uint64_t capacity = 2 * tile->capacities[column] > bytes ? 2 * tile->capacities[column] : bytes + 4096;
    uint8_t *grown = memory_realloc(tile->memory, tile->values[column], capacity);
    if (!grown)
        return false;
    tile->values[column] = grown;
    tile->capacities[column] = capacity;
    return true;
}

/* As many rows as one tile takes from `first` on: texts and blobs are bounded by bytes, of the first column that has them. */
static void find_images(struct tile *tile, const struct recent_batch *batch, uint32_t first)
{
    uint64_t bytes = 0;
    tile->count = 0;
    while (first + tile->count < batch->row_count && tile->count < TILE_ROWS && bytes < TILE_BYTES_MAX) {
        struct record record;
        uint32_t image_bytes;
        memtable_ref_record(batch->memtable, batch->rows[first + tile->count], &record, &tile->schemas[tile->count], &tile->images[tile->count], &image_bytes);
        bytes += image_bytes;
        tile->count++;
    }
}

static bool fill_column(struct tile *tile, const struct schema *schema, uint32_t number, uint32_t position)
{
    const struct schema_column *column = &schema->columns[position];
    size_t value_bytes = codec_value_bytes(column->type, column->dimension);
    uint8_t *validity = tile->validity[number];
    bool any_null = false;
    memset(validity, 0, TILE_ROWS / 8);
    if (value_bytes && !reserve_values(tile, number, value_bytes * tile->count))
        return false;
    tile->offsets[number][0] = 0;
    for (uint32_t row = 0; row < tile->count; row++) {
        struct mote_value value;
        uint32_t at = tile->offsets[number][row];
        row_value(schema, tile->schemas[row], tile->images[row], position, &value);
        bool is_bytes = !value_bytes || type_is_vector(column->type);
        uint64_t size_bytes = value.is_null ? 0 : value_bytes ? value_bytes : value.as.bytes.size_bytes;
        if (!value_bytes && !reserve_values(tile, number, at + size_bytes + 1))
            return false;
        uint8_t *to = tile->values[number] + (value_bytes ? row * value_bytes : at);
        if (size_bytes)
            memcpy(to, is_bytes ? value.as.bytes.data : (const void *)&value.as, size_bytes);
        else if (value_bytes)
            memset(to, 0, value_bytes);
        tile->offsets[number][row + 1] = at + (value_bytes ? 0 : (uint32_t)size_bytes);
        validity[row / 8] = (uint8_t)(validity[row / 8] | !value.is_null << row % 8);
        any_null |= value.is_null != 0;
    }
    tile->columns[number] = (struct codec_vector){.type = column->type, .dimension = column->dimension, .count = tile->count, .values = tile->values[number], .offsets = value_bytes ? NULL : tile->offsets[number],
                                                  .validity = any_null ? validity : NULL};
    return true;
}

/* ---- Sections ---- */

static int feed_rows(struct tile *tile, const struct schema *schema, const struct manifest_index *definition, const struct recent_batch *batch, const struct row_index_ops *ops, struct row_index *builder)
{
    uint32_t positions[ROW_INDEX_COLUMNS_MAX];
    int result = MOTE_OK;
    index_columns(schema, definition, positions);
    for (uint32_t first = 0; first < batch->row_count && !result; first += tile->count) {
        find_images(tile, batch, first);
        for (uint32_t i = 0; i < definition->column_count && !result; i++)
            result = fill_column(tile, schema, i, positions[i]) ? MOTE_OK : MOTE_EBUDGET;
        if (!result)
            result = ops->add(builder, first, tile->columns, definition->column_count, NULL);
    }
    return result;
}

static int finish_section(struct mote_db *db, const struct row_index_ops *ops, struct row_index *builder, uint64_t bytes_max, struct recent_section *section)
{
    struct pages pages = {.memory = db->memory, .bytes_max = bytes_max};
    const struct section_sink sink = {.place = place_page, .write = write_page, .context = &pages};
    int result = ops->complete ? ops->complete(builder) : MOTE_OK;
    if (!result)
        result = ops->finish(builder, &section->identity, &sink, &section->root);
    if (result) {
        memory_free(db->memory, pages.bytes);
        return result;
    }
    uint8_t *fitted = memory_realloc(db->memory, pages.bytes, pages.used);
    section->bytes = fitted ? fitted : pages.bytes;
    section->length_bytes = pages.used;
    section->source = (struct section_source){.read = read_page, .release = release_page, .context = section};
    return MOTE_OK;
}

/* bytes_max: what builder and section may take. */
static int build_section(struct mote_db *db, struct tile *tile, const struct schema *schema, const struct manifest_index *definition, const struct recent_batch *batch, uint64_t bytes_max, struct recent_section *section)
{
    const struct row_index_ops *ops = sst_index_ops(&db->sst, definition->kind);
    struct row_index *builder = NULL;
    if (!ops || ops->builder_bytes(definition->options, definition->options_bytes, batch->row_count) > bytes_max)
        return MOTE_EBUDGET;
    int result = ops->create(db->memory, definition->options, definition->options_bytes, batch->row_count, &builder);
    if (result)
        return result;
    if (ops->set_limit)
        ops->set_limit(builder, bytes_max, NULL);
    result = feed_rows(tile, schema, definition, batch, ops, builder);
    if (!result)
        result = finish_section(db, ops, builder, bytes_max, section);
    ops->destroy(builder);
    return result;
}

/* ---- Batches ---- */

static void find_times(const struct schema *schema, struct recent_batch *batch)
{
    batch->time_min_ns = INT64_MAX;
    batch->time_max_ns = INT64_MIN;
    for (uint32_t i = 0; i < batch->row_count; i++) {
        const struct schema *image_schema;
        const uint8_t *image;
        struct record record;
        struct mote_value value;
        uint32_t image_bytes;
        int64_t time_ns;
        memtable_ref_record(batch->memtable, batch->rows[i], &record, &image_schema, &image, &image_bytes);
        batch->seq_min = record.seq < batch->seq_min ? record.seq : batch->seq_min;
        if (schema->time_column < 0)
            continue;
        row_value(schema, image_schema, image, (uint32_t)schema->time_column, &value);
        if (!value_time(&schema->columns[schema->time_column], &value, &time_ns))
            continue;
        batch->timed_count++;
        batch->time_min_ns = time_ns < batch->time_min_ns ? time_ns : batch->time_min_ns;
        batch->time_max_ns = time_ns > batch->time_max_ns ? time_ns : batch->time_max_ns;
    }
}

static void build_sections(struct mote_db *db, const struct schema *schema, struct recent_batch *batch, const struct manifest_index *definitions, uint32_t definition_count, uint64_t bytes_max, uint64_t first_section_id)
{
    struct tile *tile = memory_alloc_zero(db->memory, sizeof *tile);
    if (!tile)
        return;
    tile->memory = db->memory;
    for (uint32_t i = 0; i < definition_count; i++) {
        struct recent_section *section = &batch->sections[batch->section_count];
        *section = (struct recent_section){.index_id = definitions[i].id, .identity = {.segment_id = batch->id, .section_id = first_section_id + i}};
        memcpy(section->identity.uuid, db->sst.uuid, sizeof section->identity.uuid);
        if (batch->bytes >= bytes_max || build_section(db, tile, schema, &definitions[i], batch, bytes_max - batch->bytes, section))
            continue;
        batch->bytes += section->length_bytes;
        batch->section_count++;
    }
    for (uint32_t i = 0; i < ROW_INDEX_COLUMNS_MAX; i++)
        memory_free(db->memory, tile->values[i]);
    memory_free(db->memory, tile);
}

struct recent_batch *recent_batch_make(struct mote_db *db, const struct schema *schema, struct memtable *memtable, struct recent_row *rows, uint32_t count, const struct manifest_index *definitions, uint32_t definition_count,
                                       uint64_t bytes_max, uint64_t first_section_id)
{
    struct recent_batch *batch = memory_alloc_zero(db->memory, sizeof *batch);
    struct memtable_ref *refs = memory_alloc(db->memory, (count + 1) * sizeof *refs);
    if (!batch || !refs) {
        memory_free(db->memory, batch);
        memory_free(db->memory, refs);
        return NULL;
    }
    const struct recent_row *sorted = sort_rows(memtable, rows, count);
    for (uint32_t i = 0; i < count; i++)
        refs[i] = sorted[i].ref;
    batch->id = UINT64_MAX - first_section_id; /* segments count from below */
    batch->memtable = memtable;
    batch->rows = refs;
    batch->row_count = count;
    batch->seq_min = UINT64_MAX;
    batch->bytes = sizeof *batch + count * sizeof *refs;
    find_times(schema, batch);
    build_sections(db, schema, batch, definitions, definition_count, bytes_max, first_section_id);
    return batch;
}

void recent_batch_free(struct mote_db *db, struct recent_batch *batch)
{
    for (uint32_t i = 0; i < batch->section_count; i++)
        memory_free(db->memory, batch->sections[i].bytes);
    memory_free(db->memory, batch->rows);
    memory_free(db->memory, batch);
}

struct recent_section *recent_batch_find(struct recent_batch *batch, uint64_t index_id)
{
    for (uint32_t i = 0; i < batch->section_count; i++)
        if (batch->sections[i].index_id == index_id)
            return atomic_load(&batch->sections[i].unusable) ? NULL : &batch->sections[i];
    return NULL;
}
