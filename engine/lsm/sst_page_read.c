/* sst_page_read.c: blocks of row pages (sst_format.h): a point read of one unit, and a whole block's rows turned into columns for everyone else.
 *
 * A point read costs the index, which is in the cache, and one unit: it is read, checked against the page directory's checksum, searched, and its row copied. What reads on reads whole blocks, whose checksum is the header's.
 *
 * Invariants: a unit's counts and a row's place are bounded where they are used; a row that is handed out has its whole fixed area, and its text and blobs lie within it.
 * Threads: the iterator's. Failures: MOTE_EIO, MOTE_EDAMAGED, MOTE_EBUDGET.
 */
#include <assert.h>

#include "engine/lsm/schema_private.h"
#include "engine/lsm/sst_reader_private.h"

/* ---- The layout of the segment's row images ---- */

/* The same rule as a schema's rows, applied to the columns that the footer lists: so that a segment of any version, newer than the reader's schema too, can be read. */
static int make_layout(struct sst_iterator *iterator)
{
    struct sst_row_layout *layout = &iterator->layout;
    if (layout->offsets)
        return MOTE_OK;
    int result = sst_footer_pin(iterator);
    if (result)
        return result;
    uint32_t columns = iterator->footer.column_count, vars = 0;
    layout->offsets = memory_alloc(iterator->context->memory, 2 * columns * sizeof *layout->offsets);
    if (!layout->offsets)
        return MOTE_EBUDGET;
    layout->vars = layout->offsets + columns;
    uint64_t at = round_up(divide_up(columns, 8), 8);
    const uint8_t *footer = iterator->footer_pin.data + SST_FOOTER_HEADER_BYTES;
    for (uint32_t align = 8; align > 0; align /= 2) {
        for (uint32_t i = 0; i < columns; i++) {
            uint32_t type = load_u32(footer + i * SST_FOOTER_COLUMN_BYTES + 8), dimension = load_u32(footer + i * SST_FOOTER_COLUMN_BYTES + 12);
            if (type_row_align(type) != align)
                continue;
            layout->offsets[i] = (uint32_t)at;
            at += type_is_var(type) ? 8 : type_value_bytes(type, dimension);
            if (type_is_var(type))
                layout->vars[vars++] = i;
            if (at > MOTE_ROW_BYTES_MAX) {
                sst_layout_clear(iterator);
                return sst_refuse(iterator, iterator->segment->record.footer_offset_bytes, iterator->segment->record.footer_bytes, "the columns in its footer are no row");
            }
        }
    }
    layout->var_count = vars;
    layout->fixed_bytes = (uint32_t)at;
    assert(!iterator->schema || iterator->footer.schema_version != iterator->schema->version || layout->fixed_bytes == iterator->schema->fixed_bytes);
    return MOTE_OK;
}

void sst_layout_clear(struct sst_iterator *iterator)
{
    memory_free(iterator->context->memory, iterator->layout.offsets);
    iterator->layout = (struct sst_row_layout){0};
}

/* ---- Units and rows ---- */

/* A unit at hand. */
struct unit {
    const uint8_t *data;
    uint32_t base, rows, pages, end;
};

/* left_bytes: what there is from its first page on. */
static bool unit_open(const uint8_t *data, uint32_t left_bytes, bool first, struct unit *unit)
{
    uint32_t base = first ? SST_BLOCK_HEADER_BYTES : 0;
    if (left_bytes < SST_PAGE_BYTES)
        return false;
    *unit = (struct unit){data, base, load_u16(data + base), load_u16(data + base + 2), load_u32(data + base + 4)};
    return unit->rows > 0 && unit->pages > 0 && unit->pages <= left_bytes / SST_PAGE_BYTES && unit->end <= unit->pages * SST_PAGE_BYTES && base + SST_UNIT_HEADER_BYTES + unit->rows * 2 <= SST_PAGE_BYTES;
}

/* A row of a unit. */
struct page_row {
    const uint8_t *image;
    uint32_t image_bytes;
    uint64_t seq;
    bool deleted;
};

static bool unit_row(const struct sst_row_layout *layout, const struct unit *unit, uint32_t index, struct page_row *row)
{
    const uint8_t *slots = unit->data + unit->base + SST_UNIT_HEADER_BYTES;
    uint32_t slot = load_u16(slots + index * 2), start = slot & SST_SLOT_START, padding = slot & SST_SLOT_PADDING;
    uint32_t next = index + 1 < unit->rows ? load_u16(slots + index * 2 + 2) & SST_SLOT_START : unit->end;
    if (start < unit->base + SST_UNIT_HEADER_BYTES || next > unit->end || (uint64_t)start + 8 + layout->fixed_bytes + padding > next)
        return false;
    *row = (struct page_row){unit->data + start + 8, next - start - 8 - padding, load_u64(unit->data + start), slot & SST_SLOT_DELETED};
    for (uint32_t i = 0; i < layout->var_count; i++) {
        uint32_t at = load_u32(row->image + layout->offsets[layout->vars[i]]), size_bytes = load_u32(row->image + layout->offsets[layout->vars[i]] + 4);
        if (size_bytes > row->image_bytes || (size_bytes > 0 && at > row->image_bytes - size_bytes))
            return false;
    }
    return true;
}

static bool is_null(const uint8_t *image, uint32_t column) { return image[column / 8] >> column % 8 & 1; }

/* The value of one of the segment's columns. */
static void image_value(const struct sst_iterator *iterator, const uint8_t *image, uint32_t column, struct mote_value *value)
{
    const struct schema_column *definition = &iterator->schema->columns[column];
    const uint8_t *at = image + iterator->layout.offsets[column];
    *value = (struct mote_value){.type = definition->type, .is_null = is_null(image, column)};
    if (value->is_null)
        return;
    if (type_is_var(definition->type)) {
        value->as.bytes.size_bytes = load_u32(at + 4);
        value->as.bytes.data = value->as.bytes.size_bytes ? image + load_u32(at) : image;
    } else if (type_is_vector(definition->type)) {
        value->as.bytes.data = at;
        value->as.bytes.size_bytes = definition->value_bytes;
    } else {
        memcpy(&value->as, at, definition->value_bytes);
    }
}

/* The key of a row; false: it has none that may be. */
static bool row_key(const struct sst_iterator *iterator, const uint8_t *image, uint8_t key[MOTE_KEY_BYTES_MAX], uint32_t *key_bytes)
{
    const struct schema *schema = iterator->schema;
    uint32_t used = 0;
    for (uint32_t i = 0; i < schema->key_column_count; i++) {
        struct mote_value value;
        image_value(iterator, image, schema->key_columns[i], &value);
        if (value.is_null)
            return false;
        if (type_is_var(value.type) ? value.as.bytes.size_bytes > MOTE_KEY_BYTES_MAX || key_var_bytes(value.as.bytes.data, value.as.bytes.size_bytes) > MOTE_KEY_BYTES_MAX - used : used > MOTE_KEY_BYTES_MAX - 8)
            return false;
        used += key_append_value(value.type, &value, key + used);
    }
    *key_bytes = used;
    return true;
}

/* ---- The page directory ---- */

void sst_unit_load(const struct sst_block_entry *entry, uint32_t index, struct sst_unit *unit)
{
    assert(index < entry->unit_count);
    const uint8_t *at = entry->pages + SST_PAGES_HEADER_BYTES + index * SST_UNIT_BYTES, *keys = entry->pages + SST_PAGES_HEADER_BYTES + entry->unit_count * SST_UNIT_BYTES;
    uint32_t key_start = index ? load_u32(at - SST_UNIT_BYTES + 12) : 0, end = index + 1 < entry->unit_count ? load_u16(at + SST_UNIT_BYTES + 16) * (uint32_t)SST_PAGE_BYTES : entry->header.length_bytes;
    uint32_t start = load_u16(at + 16) * (uint32_t)SST_PAGE_BYTES;
    *unit = (struct sst_unit){.seq = load_u64(at), .crc = load_u32(at + 8), .offset_bytes = entry->header.offset_bytes + start, .length_bytes = end - start, .row_count = load_u16(at + 18), .key = keys + key_start};
    unit->key_bytes = load_u32(at + 12) - key_start;
}

bool sst_pages_validate(const uint8_t *pages, uint64_t size_bytes, uint64_t block_offset_bytes, uint32_t block_length_bytes, uint32_t block_rows)
{
    if (size_bytes < SST_PAGES_HEADER_BYTES || block_offset_bytes % SST_PAGE_BYTES || block_length_bytes % SST_PAGE_BYTES)
        return false;
    uint64_t units = load_u32(pages), rows = 0, key_end = 0;
    if (units == 0 || load_u32(pages + 4) != 0 || units > (size_bytes - SST_PAGES_HEADER_BYTES) / SST_UNIT_BYTES)
        return false;
    uint64_t keys_bytes = size_bytes - SST_PAGES_HEADER_BYTES - units * SST_UNIT_BYTES;
    for (uint64_t i = 0; i < units; i++) {
        const uint8_t *at = pages + SST_PAGES_HEADER_BYTES + i * SST_UNIT_BYTES;
        uint64_t end = load_u32(at + 12);
        if (end < key_end || end - key_end > MOTE_KEY_BYTES_MAX || end > keys_bytes || (i ? load_u16(at + 16) <= load_u16(at - SST_UNIT_BYTES + 16) : load_u16(at + 16) != 0) ||
            load_u16(at + 16) >= block_length_bytes / SST_PAGE_BYTES || load_u16(at + 18) == 0)
            return false;
        key_end = end;
        rows += load_u16(at + 18);
    }
    return rows == block_rows;
}

/* The last unit whose first row is at or before (key, seq); unit_count: the block begins behind it. */
static uint32_t find_unit(const struct sst_block_entry *entry, const uint8_t *key, uint32_t key_bytes, uint64_t seq)
{
    uint32_t low = 0, high = entry->unit_count;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        struct sst_unit unit;
        sst_unit_load(entry, middle, &unit);
        int order = key_compare(unit.key, unit.key_bytes, key, key_bytes);
        if (order < 0 || (order == 0 && unit.seq >= seq))
            low = middle + 1;
        else
            high = middle;
    }
    return low ? low - 1 : entry->unit_count;
}

/* ---- Point reads ---- */

struct unit_check {
    const uint8_t *uuid;
    uint64_t segment_id;
    const struct sst_unit *unit;
};

static int check_unit(const uint8_t *data, uint32_t length_bytes, void *context)
{
    const struct unit_check *check = context;
    uint32_t crc = crc32c(crc32c_seed(check->uuid, SST_MAGIC_PAGE, check->segment_id, check->unit->offset_bytes), data, length_bytes);
    return crc == check->unit->crc ? MOTE_OK : MOTE_EDAMAGED;
}

static int pin_unit(struct sst_iterator *iterator, const struct sst_unit *unit)
{
    struct unit_check check = {iterator->context->uuid, iterator->segment_id, unit};
    struct cache_key key = {iterator->segment_id, unit->offset_bytes};
    uint64_t contiguous_bytes;
    uint64_t device_offset = segment_device_offset(&iterator->segment->record, iterator->context->layout, unit->offset_bytes, unit->length_bytes, &contiguous_bytes);
    sst_unpin(iterator, &iterator->unit_pin);
    if (contiguous_bytes < unit->length_bytes)
        return sst_refuse(iterator, unit->offset_bytes, unit->length_bytes, "what its parent points to does not lie in one run of the segment");
    int result = cache_get(iterator->context->cache, key, iterator->queue, device_offset, unit->length_bytes, check_unit, &check, &iterator->unit_pin.entry, &iterator->unit_pin.data);
    if (result) {
        iterator->unit_pin.entry = NULL;
        if (result == MOTE_EDAMAGED)
            return sst_refuse(iterator, unit->offset_bytes, unit->length_bytes, "the checksum of a row page fails");
        error_add_table(sst_table_name(iterator));
    }
    return result;
}

static int refuse_unit(struct sst_iterator *iterator, const struct sst_unit *place)
{
    sst_unpin(iterator, &iterator->unit_pin);
    return sst_refuse(iterator, place->offset_bytes, place->length_bytes, "a row page contradicts itself or its directory");
}

/* Searches one unit for the first row at or behind (key, seq) that has the key: 1, or 0. */
static int search_unit(struct sst_iterator *iterator, const struct sst_block_entry *entry, uint32_t index, const uint8_t *key, uint32_t key_bytes, uint64_t seq, struct page_row *row)
{
    struct sst_unit place;
    struct unit unit;
    sst_unit_load(entry, index, &place);
    int result = make_layout(iterator);
    if (!result)
        result = pin_unit(iterator, &place);
    if (result)
        return result;
    if (!unit_open(iterator->unit_pin.data, place.length_bytes, index == 0, &unit) || unit.rows != place.row_count)
        return refuse_unit(iterator, &place);
    uint32_t low = 0, high = unit.rows;
    int order = -1;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2, probe_bytes;
        if (!unit_row(&iterator->layout, &unit, middle, row) || !row_key(iterator, row->image, iterator->probe, &probe_bytes))
            return refuse_unit(iterator, &place);
        int compared = key_compare(iterator->probe, probe_bytes, key, key_bytes);
        if (compared < 0 || (compared == 0 && row->seq > seq)) {
            low = middle + 1;
        } else {
            high = middle;
            order = compared;
        }
    }
    if (low == unit.rows || order != 0)
        return 0;
    return unit_row(&iterator->layout, &unit, low, row) ? 1 : refuse_unit(iterator, &place);
}

int sst_pages_get(struct sst_iterator *iterator, const struct sst_block_entry *entry, const uint8_t *key, uint32_t key_bytes, uint64_t seq, struct record *record)
{
    struct page_row row;
    uint32_t index = find_unit(entry, key, key_bytes, seq);
    int found = index < entry->unit_count ? search_unit(iterator, entry, index, key, key_bytes, seq, &row) : 0;
    if (found == 0) {
        /* The version looked for may begin the next unit. */
        index = index < entry->unit_count ? index + 1 : 0;
        struct sst_unit next;
        if (index == entry->unit_count)
            return 0;
        sst_unit_load(entry, index, &next);
        if (key_compare(next.key, next.key_bytes, key, key_bytes) != 0)
            return 0;
        found = search_unit(iterator, entry, index, key, key_bytes, seq, &row);
    }
    if (found <= 0)
        return found;
    iterator->unit_image = row.deleted ? NULL : row.image;
    iterator->unit_image_bytes = row.image_bytes;
    *record = (struct record){.key = key, .key_bytes = key_bytes, .kind = row.deleted ? RECORD_DELETE : RECORD_PUT, .seq = row.seq};
    return 1;
}

bool sst_pages_place(const struct sst_block_entry *entry, const uint8_t *key, uint32_t key_bytes, uint64_t seq, struct sst_unit *unit)
{
    uint32_t index = find_unit(entry, key, key_bytes, seq);
    sst_unit_load(entry, index < entry->unit_count ? index : 0, unit);
    return index < entry->unit_count || key_compare(unit->key, unit->key_bytes, key, key_bytes) == 0;
}

/* An image of the segment's version, brought to the reader's. */
static int convert_image(struct sst_iterator *iterator, uint8_t *room, uint32_t capacity_bytes, uint32_t *image_bytes)
{
    const struct schema *schema = iterator->schema;
    struct mote_value value;
    uint64_t size_bytes = schema->fixed_bytes, var_at = schema->fixed_bytes;
    for (uint32_t pass = 0; pass < 2; pass++) {
        for (uint32_t i = 0; i < schema->column_count; i++) {
            const struct schema_column *column = &schema->columns[i];
            if (i < iterator->stored_columns)
                image_value(iterator, iterator->unit_image, i, &value);
            else if (column->flags & MOTE_COLUMN_HAS_DEFAULT)
                value = column->default_value;
            else
                value = (struct mote_value){.type = column->type, .is_null = 1};
            bool var = type_is_var(column->type);
            uint8_t *at = room + column->row_offset;
            if (pass == 0) {
                size_bytes += var && !value.is_null ? value.as.bytes.size_bytes : 0;
            } else if (value.is_null) {
                room[i / 8] = (uint8_t)(room[i / 8] | 1u << i % 8);
            } else if (var) {
                store_u32(at, (uint32_t)var_at);
                store_u32(at + 4, (uint32_t)value.as.bytes.size_bytes);
                if (value.as.bytes.size_bytes)
                    memcpy(room + var_at, value.as.bytes.data, value.as.bytes.size_bytes);
                var_at += value.as.bytes.size_bytes;
            } else {
                memcpy(at, type_is_vector(column->type) ? value.as.bytes.data : (const void *)&value.as, column->value_bytes);
            }
        }
        *image_bytes = (uint32_t)(size_bytes <= UINT32_MAX ? size_bytes : UINT32_MAX);
        if (size_bytes > capacity_bytes)
            return MOTE_ETOOBIG;
        if (pass == 0)
            memset(room, 0, schema->fixed_bytes);
    }
    return MOTE_OK;
}

int sst_pages_image(struct sst_iterator *iterator, uint8_t *room, uint32_t capacity_bytes, uint32_t *image_bytes)
{
    int result = MOTE_OK;
    *image_bytes = 0;
    if (!iterator->unit_image)
        return MOTE_OK;
    if (iterator->footer.schema_version != iterator->schema->version) {
        result = convert_image(iterator, room, capacity_bytes, image_bytes);
    } else {
        *image_bytes = iterator->unit_image_bytes;
        if (*image_bytes <= capacity_bytes)
            memcpy(room, iterator->unit_image, *image_bytes);
        else
            result = MOTE_ETOOBIG;
    }
    return result ? error_set(MOTE_ETOOBIG, "a row of table %s takes %u bytes, there is room for %u", iterator->schema->name, *image_bytes, capacity_bytes) : MOTE_OK;
}

/* ---- Whole blocks: rows into columns ---- */

static int refuse_block(const struct sst_iterator *iterator)
{
    return sst_refuse(iterator, iterator->block.header.offset_bytes, iterator->block.header.length_bytes, "a block of row pages contradicts itself");
}

/* Finds every row of the pinned block, once for each block. */
static int find_rows(struct sst_iterator *iterator)
{
    struct sst_block *block = &iterator->block;
    if (iterator->rows_stamp == block->stamp)
        return MOTE_OK;
    int result = make_layout(iterator);
    if (result)
        return result;
    if (block->row_count > iterator->rows_capacity) {
        memory_free(iterator->context->memory, iterator->rows);
        iterator->rows_capacity = 0;
        iterator->rows = memory_alloc(iterator->context->memory, block->row_count * sizeof *iterator->rows);
        if (!iterator->rows)
            return MOTE_EBUDGET;
        iterator->rows_capacity = block->row_count;
    }
    const uint8_t *data = iterator->block_pin.data;
    uint32_t count = 0;
    for (uint32_t at = 0; at < block->length_bytes;) {
        struct unit unit;
        if (!unit_open(data + at, block->length_bytes - at, at == 0, &unit) || unit.rows > block->row_count - count)
            return refuse_block(iterator);
        for (uint32_t i = 0; i < unit.rows; i++) {
            struct page_row row;
            if (!unit_row(&iterator->layout, &unit, i, &row))
                return refuse_block(iterator);
            iterator->rows[count++] = (struct sst_row_place){(uint32_t)(row.image - data), row.deleted};
        }
        at += unit.pages * SST_PAGE_BYTES;
    }
    if (count != block->row_count)
        return refuse_block(iterator);
    iterator->rows_stamp = block->stamp;
    return MOTE_OK;
}

static void gather_fixed(const struct sst_iterator *iterator, uint32_t offset, uint32_t width, uint8_t *values)
{
    const uint8_t *data = iterator->block_pin.data + offset;
    uint32_t rows = iterator->block.row_count;
    const struct sst_row_place *places = iterator->rows;
    switch (width) {
    case 8:
        for (uint32_t i = 0; i < rows; i++)
            memcpy(values + (size_t)i * 8, data + places[i].start, 8);
        break;
    case 4:
        for (uint32_t i = 0; i < rows; i++)
            memcpy(values + (size_t)i * 4, data + places[i].start, 4);
        break;
    default:
        for (uint32_t i = 0; i < rows; i++)
            memcpy(values + (size_t)i * width, data + places[i].start, width);
    }
}

static void gather_var(const struct sst_iterator *iterator, uint32_t offset, uint32_t *offsets, uint8_t *values)
{
    uint32_t total = 0;
    for (uint32_t i = 0; i < iterator->block.row_count; i++) {
        const uint8_t *image = iterator->block_pin.data + iterator->rows[i].start;
        uint32_t size_bytes = load_u32(image + offset + 4);
        offsets[i] = total;
        if (size_bytes)
            memcpy(values + total, image + load_u32(image + offset), size_bytes);
        total += size_bytes;
    }
    offsets[iterator->block.row_count] = total;
}

static void gather_nulls(const struct sst_iterator *iterator, uint32_t column, struct sst_slot *slot, uint8_t *validity)
{
    uint32_t rows = iterator->block.row_count, nulls = 0;
    memset(validity, 0xFF, rows / 8);
    if (rows % 8)
        validity[rows / 8] = (uint8_t)((1u << rows % 8) - 1);
    for (uint32_t i = 0; i < rows; i++) {
        bool null = is_null(iterator->block_pin.data + iterator->rows[i].start, column);
        if (null)
            validity[i / 8] &= (uint8_t) ~(1u << i % 8);
        nulls += null;
    }
    slot->has_nulls = nulls > 0;
    if (!nulls)
        slot->vector.validity = NULL;
}

int sst_pages_column(struct sst_iterator *iterator, uint32_t column, uint32_t type, uint32_t dimension, struct sst_slot *slot)
{
    uint32_t *offsets, offset;
    uint8_t *validity, *values;
    uint64_t values_bytes = 0;
    bool var = type_is_var(type);
    int result = find_rows(iterator);
    if (result)
        return result;
    offset = iterator->layout.offsets[column];
    if (!var)
        values_bytes = (uint64_t)iterator->block.row_count * type_value_bytes(type, dimension);
    for (uint32_t i = 0; var && i < iterator->block.row_count; i++)
        values_bytes += load_u32(iterator->block_pin.data + iterator->rows[i].start + offset + 4);
    /* A hostile image's rows may share the bytes of their texts. */
    if (values_bytes > SST_BLOCK_BYTES_MAX)
        return refuse_block(iterator);
    slot->stamp = 0;
    result = sst_slot_reserve(iterator, slot, type, dimension, values_bytes, &offsets, &validity, &values);
    if (result)
        return result;
    if (var)
        gather_var(iterator, offset, offsets, values);
    else
        gather_fixed(iterator, offset, type_value_bytes(type, dimension), values);
    gather_nulls(iterator, column, slot, validity);
    slot->stamp = iterator->block.stamp;
    return MOTE_OK;
}

int sst_pages_numbers(struct sst_iterator *iterator, bool kinds, struct sst_slot *slot)
{
    uint32_t *offsets, rows = iterator->block.row_count;
    uint8_t *validity, *values;
    int result = find_rows(iterator);
    slot->stamp = 0;
    if (!result)
        result = sst_slot_reserve(iterator, slot, kinds ? MOTE_TYPE_BOOL : MOTE_TYPE_INT64, 1, (size_t)rows * (kinds ? 1 : 8), &offsets, &validity, &values);
    if (result)
        return result;
    for (uint32_t i = 0; kinds && i < rows; i++)
        values[i] = iterator->rows[i].deleted != 0;
    for (uint32_t i = 0; !kinds && i < rows; i++)
        memcpy(values + (size_t)i * 8, iterator->block_pin.data + iterator->rows[i].start - 8, 8);
    slot->has_nulls = false;
    slot->vector.validity = NULL;
    slot->stamp = iterator->block.stamp;
    return MOTE_OK;
}

/* ---- Checking ---- */

int sst_pages_verify(struct sst_iterator *iterator, const struct sst_block_entry *entry)
{
    const uint8_t *data = iterator->block_pin.data;
    int result = find_rows(iterator);
    for (uint32_t i = 0, row = 0; !result && i < entry->unit_count; i++) {
        struct sst_unit place;
        struct unit unit;
        uint32_t key_bytes;
        sst_unit_load(entry, i, &place);
        uint32_t start = (uint32_t)(place.offset_bytes - entry->header.offset_bytes);
        struct unit_check check = {iterator->context->uuid, iterator->segment_id, &place};
        const uint8_t *image = data + iterator->rows[row].start;
        bool fits = check_unit(data + start, place.length_bytes, &check) == MOTE_OK && unit_open(data + start, place.length_bytes, i == 0, &unit) && unit.rows == place.row_count &&
                    unit.pages == place.length_bytes / SST_PAGE_BYTES && load_u64(image - 8) == place.seq && row_key(iterator, image, iterator->probe, &key_bytes) &&
                    key_compare(iterator->probe, key_bytes, place.key, place.key_bytes) == 0;
        if (!fits)
            result = sst_refuse(iterator, place.offset_bytes, place.length_bytes, "a row page is not what its directory says");
        row += place.row_count;
    }
    return result;
}
