/* sst_page_write.c: the rows of the present block, laid out row by row in pages (sst_format.h), and the directory of these pages, which goes into the block's entry of its partition.
 *
 * Invariants: a unit's rows are as many as fit its page; a row that fits no page has a unit to itself. Nothing uninitialised is written: each unit is completed by zeros.
 * Threads: the builder's. Failures: MOTE_EBUDGET, and those of the stream. */
#include <assert.h>

#include "engine/lsm/sst_builder_private.h"

enum { ROW_OVERHEAD_BYTES = 18 /* seq, slot, rounding */, UNIT_OVERHEAD_BYTES = SST_BLOCK_HEADER_BYTES + SST_UNIT_HEADER_BYTES + 8 /* the slots' rounding */ };

uint64_t sst_pages_block_bound(const struct schema *schema, uint64_t rows, uint64_t raw_bytes)
{
    /* Where rows vary, the worst is a row just too large for a page (two pages), and a small one, alone in its page, before each: 12,288 bytes for some 4,010. */
    if (schema->has_var)
        return round_up((raw_bytes + rows * ROW_OVERHEAD_BYTES) / 8 * 25 + UNIT_OVERHEAD_BYTES, SST_PAGE_BYTES) + 3 * SST_PAGE_BYTES;
    uint64_t row_bytes = round_up(schema->fixed_bytes, 8) + ROW_OVERHEAD_BYTES, rows_a_page = (SST_PAGE_BYTES - UNIT_OVERHEAD_BYTES) / row_bytes;
    return (rows_a_page ? divide_up(rows, rows_a_page) * SST_PAGE_BYTES : rows * round_up(row_bytes + UNIT_OVERHEAD_BYTES, SST_PAGE_BYTES)) + SST_PAGE_BYTES;
}

uint64_t sst_pages_directory_bound(const struct schema *schema, uint64_t block_bytes)
{
    return (block_bytes / SST_PAGE_BYTES + 1) * (SST_UNIT_BYTES + (schema->key_bytes_fixed ? schema->key_bytes_fixed : MOTE_KEY_BYTES_MAX)) + SST_PAGES_HEADER_BYTES + 8;
}

/* ---- Images ---- */

/* One value at its place; *var_at: where the next text or blob goes. */
static void store_value(const struct schema_column *column, uint32_t position, const struct mote_value *value, uint8_t *image, uint32_t *var_at)
{
    uint8_t *at = image + column->row_offset;
    if (value->is_null) {
        image[position / 8] = (uint8_t)(image[position / 8] | 1u << position % 8);
    } else if (type_is_var(column->type)) {
        uint32_t size_bytes = (uint32_t)value->as.bytes.size_bytes;
        store_u32(at, *var_at);
        store_u32(at + 4, size_bytes);
        if (size_bytes)
            memcpy(image + *var_at, value->as.bytes.data, size_bytes);
        *var_at += size_bytes;
    } else {
        memcpy(at, type_is_vector(column->type) ? value->as.bytes.data : (const void *)&value->as, column->value_bytes);
    }
}

/* The image of a tombstone, or of a row of an older schema, in the newest schema. */
static int make_slow_image(struct sst_builder *builder, const struct sst_slow_row *slow, const uint8_t **image, uint32_t *image_bytes)
{
    struct sst_rows *rows = &builder->rows;
    const struct schema *schema = builder->schema;
    struct mote_value value;
    uint64_t needed = schema->fixed_bytes + slow->data_bytes;
    for (uint32_t i = slow->schema ? slow->schema->column_count : schema->column_count; i < schema->column_count; i++)
        needed += type_is_var(schema->columns[i].type) && !schema->columns[i].default_value.is_null ? schema->columns[i].default_value.as.bytes.size_bytes : 0;
    if (needed > builder->pages.image_capacity) {
        memory_free(builder->memory, builder->pages.image);
        builder->pages.image_capacity = 0;
        builder->pages.image = memory_alloc(builder->memory, needed + needed / 8);
        if (!builder->pages.image)
            return MOTE_EBUDGET;
        builder->pages.image_capacity = (uint32_t)(needed + needed / 8);
    }
    uint8_t *made = builder->pages.image;
    uint32_t var_at = schema->fixed_bytes;
    memset(made, 0, schema->fixed_bytes);
    if (!slow->schema && key_decode(schema, slow->data, slow->data_bytes, rows->key_values, rows->key_scratch))
        return error_set(MOTE_EINTERNAL, "the key of a tombstone of table %s does not fit its schema; please report it", schema->name);
    for (uint32_t i = 0; i < schema->column_count; i++) {
        value = (struct mote_value){.type = schema->columns[i].type, .is_null = 1};
        if (slow->schema)
            row_value(schema, slow->schema, slow->data, i, &value);
        for (uint32_t j = 0; !slow->schema && rows->in_key[i] && j < schema->key_column_count; j++)
            if (schema->key_columns[j] == i)
                value = rows->key_values[j];
        store_value(&schema->columns[i], i, &value, made, &var_at);
    }
    assert(var_at <= needed);
    *image = made;
    *image_bytes = var_at;
    return MOTE_OK;
}

static uint32_t image_bytes_of(const struct sst_rows *rows, const uint8_t *image)
{
    uint32_t bytes = rows->schema->fixed_bytes;
    for (uint32_t i = 0; i < rows->var_count; i++)
        bytes += load_u32(image + rows->schema->columns[rows->var[i].position].row_offset + 4);
    return bytes;
}

/* ---- Units ---- */

/* The unit that is being filled: its rows lie one behind the other where they would be if there were no slots, and are moved up when their number is known. */
struct unit {
    uint8_t *data;
    uint32_t base;       /* SST_BLOCK_HEADER_BYTES in the block's first unit */
    uint32_t first_page, rows;
    uint32_t rows_bytes; /* of the rows, each padded */
    uint32_t last_padding;
    uint16_t slots[SST_PAGE_BYTES / 16];
};

static uint32_t rows_at(const struct unit *unit, uint32_t rows) { return unit->base + SST_UNIT_HEADER_BYTES + (uint32_t)round_up(rows * 2, 8); }

static int grow(struct memory *memory, uint8_t **bytes, uint32_t *capacity, uint32_t used, uint32_t more)
{
    if (*capacity - used >= more)
        return MOTE_OK;
    uint32_t wanted = 2 * *capacity + more + 1024;
    uint8_t *grown = memory_realloc(memory, *bytes, wanted);
    if (!grown)
        return MOTE_EBUDGET;
    *bytes = grown;
    *capacity = wanted;
    return MOTE_OK;
}

/* The directory's unit, but for the checksum, with the key of the image. */
static int note_unit(struct sst_builder *builder, const struct unit *unit, uint64_t seq, const uint8_t *image)
{
    struct sst_pages *pages = &builder->pages;
    int result = grow(builder->memory, &pages->units, &pages->units_capacity, pages->unit_count * SST_UNIT_BYTES, SST_UNIT_BYTES);
    if (!result)
        result = grow(builder->memory, &pages->keys, &pages->keys_capacity, pages->keys_used_bytes, MOTE_KEY_BYTES_MAX);
    if (result)
        return result;
    pages->keys_used_bytes += key_from_row(builder->schema, image, pages->keys + pages->keys_used_bytes);
    uint8_t *at = pages->units + pages->unit_count++ * SST_UNIT_BYTES;
    store_u64(at, seq);
    store_u32(at + 8, 0);
    store_u32(at + 12, pages->keys_used_bytes);
    store_u16(at + 16, (uint16_t)unit->first_page);
    store_u16(at + 18, 0);
    return MOTE_OK;
}

/* Completes the unit; the number of its pages. */
static uint32_t end_unit(struct sst_builder *builder, struct unit *unit)
{
    uint32_t from = rows_at(unit, 0), at = rows_at(unit, unit->rows), end = at + unit->rows_bytes, pages = (uint32_t)divide_up(end, SST_PAGE_BYTES);
    assert(unit->rows > 0 && (pages == 1 || unit->rows == 1));
    memmove(unit->data + at, unit->data + from, unit->rows_bytes);
    memset(unit->data + unit->base, 0, at - unit->base);
    memset(unit->data + end, 0, (size_t)pages * SST_PAGE_BYTES - end);
    store_u16(unit->data + unit->base, (uint16_t)unit->rows);
    store_u16(unit->data + unit->base + 2, (uint16_t)pages);
    store_u32(unit->data + unit->base + 4, end - unit->last_padding);
    unit->slots[unit->rows - 1] &= (uint16_t)~SST_SLOT_PADDING; /* behind the last row the end says it */
    for (uint32_t i = 0; i < unit->rows; i++)
        store_u16(unit->data + unit->base + SST_UNIT_HEADER_BYTES + i * 2, (uint16_t)(unit->slots[i] + (at - from)));
    store_u16(builder->pages.units + (builder->pages.unit_count - 1) * SST_UNIT_BYTES + 18, (uint16_t)unit->rows);
    return pages;
}

static int add_row(struct sst_builder *builder, struct unit *unit, uint64_t seq, bool deleted, const uint8_t *image, uint32_t image_bytes)
{
    uint32_t padded_bytes = 8 + (uint32_t)round_up(image_bytes, 8);
    if (unit->rows > 0 && rows_at(unit, unit->rows + 1) + unit->rows_bytes + padded_bytes > SST_PAGE_BYTES) {
        uint32_t pages = end_unit(builder, unit);
        unit->data += (size_t)pages * SST_PAGE_BYTES;
        unit->first_page += pages;
        unit->base = unit->rows = unit->rows_bytes = 0;
    }
    int result = unit->rows == 0 ? note_unit(builder, unit, seq, image) : MOTE_OK;
    if (result)
        return result;
    uint32_t start = rows_at(unit, 0) + unit->rows_bytes;
    uint8_t *at = unit->data + start;
    unit->last_padding = padded_bytes - 8 - image_bytes;
    store_u64(at, seq);
    memcpy(at + 8, image, image_bytes);
    memset(at + 8 + image_bytes, 0, unit->last_padding);
    unit->slots[unit->rows++] = (uint16_t)(start | unit->last_padding | (deleted ? SST_SLOT_DELETED : 0u));
    unit->rows_bytes += padded_bytes;
    return MOTE_OK;
}

static int fill_units(struct sst_builder *builder, uint32_t *page_count)
{
    struct sst_rows *rows = &builder->rows;
    struct unit unit = {.data = builder->staging, .base = SST_BLOCK_HEADER_BYTES};
    uint32_t slow = 0;
    builder->pages.unit_count = builder->pages.keys_used_bytes = 0;
    for (uint32_t i = 0; i < rows->count; i++) {
        const uint8_t *image = rows->images[i];
        uint32_t image_bytes = 0;
        int result = MOTE_OK;
        if (slow < rows->slow_count && rows->slow[slow].row == i)
            result = make_slow_image(builder, &rows->slow[slow++], &image, &image_bytes);
        else
            image_bytes = image_bytes_of(rows, image);
        if (!result)
            result = add_row(builder, &unit, rows->seqs[i], rows->kinds[i], image, image_bytes);
        if (result)
            return result;
    }
    *page_count = unit.first_page + end_unit(builder, &unit);
    uint32_t directory_bytes = sst_pages_directory_bytes(builder);
    if (directory_bytes > builder->pages.directory_bytes_most)
        builder->pages.directory_bytes_most = directory_bytes;
    return MOTE_OK;
}

static void seal_units(struct sst_builder *builder, const struct sst_header *header)
{
    struct sst_pages *pages = &builder->pages;
    for (uint32_t i = 0; i < pages->unit_count; i++) {
        uint8_t *unit = pages->units + i * SST_UNIT_BYTES;
        uint32_t start = load_u16(unit + 16) * (uint32_t)SST_PAGE_BYTES, end = i + 1 < pages->unit_count ? load_u16(unit + SST_UNIT_BYTES + 16) * (uint32_t)SST_PAGE_BYTES : header->length_bytes;
        store_u32(unit + 8, crc32c(crc32c_seed(builder->options.context->uuid, SST_MAGIC_PAGE, header->segment_id, header->offset_bytes + start), builder->staging + start, end - start));
    }
}

int sst_pages_write(struct sst_builder *builder, uint64_t seq_min, uint64_t seq_max, struct sst_header *header)
{
    struct sst_rows *rows = &builder->rows;
    uint32_t page_count = 0;
    int result = sst_builder_staging(builder, sst_pages_block_bound(builder->schema, rows->count, rows->raw_bytes));
    if (!result)
        result = fill_units(builder, &page_count);
    if (!result)
        result = sst_stream_align(&builder->stream, SST_PAGE_BYTES);
    if (result)
        return result;
    uint8_t *block = builder->staging;
    *header = (struct sst_header){.magic = SST_MAGIC_ROWS, .length_bytes = page_count * SST_PAGE_BYTES, .segment_id = builder->options.segment_id};
    assert(header->length_bytes <= builder->staging_bytes && header->length_bytes <= SST_BLOCK_BYTES_MAX);
    store_u32(block + 32, rows->count);
    store_u32(block + 36, rows->delete_count);
    store_u32(block + 40, builder->repeat_count);
    store_u32(block + 44, builder->schema->column_count);
    store_u64(block + 48, seq_min);
    store_u64(block + 56, seq_max);
    result = sst_stream_place(&builder->stream, header->length_bytes, sst_builder_tail_bytes(builder), &header->offset_bytes);
    if (result)
        return result;
    assert(header->offset_bytes % SST_PAGE_BYTES == 0);
    sst_header_store(block, builder->options.context->uuid, header, NULL);
    seal_units(builder, header);
    return sst_stream_write(&builder->stream, block, header->length_bytes);
}

/* ---- The directory ---- */

uint32_t sst_pages_directory_bytes(const struct sst_builder *builder)
{
    return (uint32_t)round_up(SST_PAGES_HEADER_BYTES + builder->pages.unit_count * SST_UNIT_BYTES + builder->pages.keys_used_bytes, 8);
}

void sst_pages_directory_store(const struct sst_builder *builder, uint8_t *at)
{
    const struct sst_pages *pages = &builder->pages;
    store_u32(at, pages->unit_count);
    store_u32(at + 4, 0);
    memcpy(at + SST_PAGES_HEADER_BYTES, pages->units, (size_t)pages->unit_count * SST_UNIT_BYTES);
    memcpy(at + SST_PAGES_HEADER_BYTES + (size_t)pages->unit_count * SST_UNIT_BYTES, pages->keys, pages->keys_used_bytes);
}

void sst_pages_free(struct sst_builder *builder)
{
    memory_free(builder->memory, builder->pages.units);
    memory_free(builder->memory, builder->pages.keys);
    memory_free(builder->memory, builder->pages.image);
    builder->pages = (struct sst_pages){0};
}
