/* sst_rows.c: the rows of the block that is being built, and their gathering into columns.
 *
 * A row of the newest schema costs one pointer when it is added. When the block is full its columns are gathered, 64 rows at a time through all columns, so that the images are read once from memory and then from
 * the first-level cache; neighbouring columns of 4 or 8 bytes are turned over sixteen bytes at a time, other widths have each its own loop. Tombstones and rows of older schemas (slow rows) stand there as an image of zeros and are filled in afterwards, value by value.
 *
 * Threads: one. Failures: MOTE_EBUDGET; MOTE_EINTERNAL for a key that does not fit the schema.
 */
#include <assert.h>

#include "blockdev/base/turn.h"
#include "engine/lsm/sst_builder_private.h"

/* Between columns lies a gap: columns of a power of two would all fall into the same few sets of the first-level cache. */
enum { TILE_ROWS = 64, PART_ALIGN_BYTES = 64, PART_GAP_BYTES = 5 * 64 };

static int create_arrays(struct sst_rows *rows)
{
    struct memory *memory = rows->memory;
    const struct schema *schema = rows->schema;
    uint32_t columns = schema->column_count, capacity = rows->capacity;
    rows->images = memory_alloc(memory, capacity * sizeof *rows->images);
    rows->seqs = memory_alloc(memory, capacity * sizeof *rows->seqs);
    rows->kinds = memory_alloc_zero(memory, capacity);
    rows->slow = memory_alloc(memory, capacity * sizeof *rows->slow);
    rows->null_rows = memory_alloc(memory, capacity * sizeof *rows->null_rows);
    rows->zero_image = memory_alloc_zero(memory, round_up(schema->fixed_bytes, 8) + 8);
    rows->vectors = memory_alloc_zero(memory, columns * sizeof *rows->vectors);
    rows->in_key = memory_alloc_zero(memory, columns * sizeof *rows->in_key);
    rows->fixed = memory_alloc(memory, columns * sizeof *rows->fixed);
    rows->var = memory_alloc(memory, columns * sizeof *rows->var);
    bool all = rows->images && rows->seqs && rows->kinds && rows->slow && rows->null_rows && rows->zero_image && rows->vectors && rows->in_key && rows->fixed && rows->var;
    return all ? MOTE_OK : MOTE_EBUDGET;
}

/* Puts the fixed columns in the order in which they lie in a row, and finds those that are copied together. */
static void find_neighbours(struct sst_rows *rows)
{
    struct sst_fixed_column *fixed = rows->fixed;
    for (uint32_t i = 1; i < rows->fixed_count; i++) {
        struct sst_fixed_column moving = fixed[i];
        uint32_t at = i;
        for (; at > 0 && fixed[at - 1].row_offset > moving.row_offset; at--)
            fixed[at] = fixed[at - 1];
        fixed[at] = moving;
    }
    for (uint32_t i = 0, together; i < rows->fixed_count; i += together) {
        uint32_t width = fixed[i].width, wanted = width == 4 ? 4 : width == 8 ? 2 : 1;
        for (together = 1; together < wanted && i + together < rows->fixed_count; together++)
            if (fixed[i + together].width != width || fixed[i + together].row_offset != fixed[i].row_offset + together * width)
                break;
        together = together == wanted ? wanted : 1;
        fixed[i].together = together;
    }
}

int sst_rows_create(struct sst_rows *rows, struct memory *memory, const struct schema *schema, uint32_t capacity, uint64_t raw_bytes_max)
{
    assert(capacity > 0 && schema->null_bytes % 8 == 0);
    *rows = (struct sst_rows){.memory = memory, .schema = schema, .capacity = capacity, .raw_bytes_max = raw_bytes_max};
    int result = create_arrays(rows);
    if (result)
        return result;
    for (uint32_t i = 0; i < schema->key_column_count; i++)
        rows->in_key[schema->key_columns[i]] = true;
    for (uint32_t i = 0; i < schema->column_count; i++) {
        const struct schema_column *column = &schema->columns[i];
        rows->vectors[i].type = column->type;
        rows->vectors[i].dimension = column->dimension;
        if (type_is_var(column->type))
            rows->var[rows->var_count++] = (struct sst_var_column){.position = i};
        else
            rows->fixed[rows->fixed_count++] = (struct sst_fixed_column){.position = i, .row_offset = column->row_offset, .width = column->value_bytes};
    }
    find_neighbours(rows);
    return MOTE_OK;
}

void sst_rows_destroy(struct sst_rows *rows)
{
    void *parts[] = {rows->images, rows->seqs, rows->kinds, rows->slow, rows->null_rows, rows->zero_image, rows->vectors, rows->in_key, rows->fixed, rows->var, rows->copies, rows->arena};
    if (!rows->memory)
        return;
    for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++)
        memory_free(rows->memory, parts[i]);
}

/* Bytes of what rows of that schema's version lack and are given by default. */
static uint64_t absent_bytes(const struct schema *schema, const struct schema *image_schema)
{
    uint64_t bytes = schema->fixed_bytes;
    for (uint32_t i = image_schema->column_count; i < schema->column_count; i++)
        if (type_is_var(schema->columns[i].type) && !schema->columns[i].default_value.is_null)
            bytes += schema->columns[i].default_value.as.bytes.size_bytes;
    return bytes;
}

uint64_t sst_rows_raw_bytes(const struct sst_rows *rows, const struct record *record, const struct schema *image_schema, uint32_t image_bytes)
{
    if (record->kind == RECORD_DELETE)
        return rows->schema->fixed_bytes + round_up(record->key_bytes, 8);
    uint64_t bytes = round_up(image_bytes, 8);
    return image_schema == rows->schema ? bytes : bytes + absent_bytes(rows->schema, image_schema);
}

static int copy_bytes(struct sst_rows *rows, const uint8_t **data, uint32_t data_bytes)
{
    uint64_t rounded = round_up(data_bytes, 8);
    if (!rows->copies) {
        /* One row may be larger than a block is meant to be: it then has a block to itself. */
        rows->copies_capacity = (rows->raw_bytes_max > MOTE_ROW_BYTES_MAX ? rows->raw_bytes_max : MOTE_ROW_BYTES_MAX) + MOTE_KEY_BYTES_MAX;
        rows->copies = memory_alloc(rows->memory, rows->copies_capacity);
        if (!rows->copies)
            return MOTE_EBUDGET;
    }
    if (rounded > rows->copies_capacity - rows->copied_bytes)
        return error_set(MOTE_ETOOBIG, "a row of %u bytes exceeds the largest row, %d bytes", data_bytes, MOTE_ROW_BYTES_MAX);
    memcpy(rows->copies + rows->copied_bytes, *data, data_bytes);
    *data = rows->copies + rows->copied_bytes;
    rows->copied_bytes += rounded;
    return MOTE_OK;
}

int sst_rows_add(struct sst_rows *rows, const struct record *record, const struct schema *image_schema, const uint8_t *image, uint32_t image_bytes, bool copy, uint64_t raw_bytes)
{
    assert(rows->count < rows->capacity);
    bool deleted = record->kind == RECORD_DELETE;
    const uint8_t *data = deleted ? record->key : image;
    uint32_t data_bytes = deleted ? record->key_bytes : image_bytes;
    if (copy || deleted) {
        /* A tombstone's key is copied always: nothing is said of the lifetime of keys. */
        int result = copy_bytes(rows, &data, data_bytes);
        if (result)
            return result;
    }
    uint32_t row = rows->count;
    if (deleted || image_schema != rows->schema) {
        if (deleted && key_decode(rows->schema, data, data_bytes, rows->key_values, rows->key_scratch))
            return error_set(MOTE_EINTERNAL, "the key of a tombstone of table %s does not fit its schema; please report it", rows->schema->name);
        rows->slow[rows->slow_count++] = (struct sst_slow_row){.row = row, .data_bytes = data_bytes, .data = data, .schema = deleted ? NULL : image_schema};
        data = rows->zero_image;
    }
    rows->images[row] = data;
    rows->seqs[row] = record->seq;
    rows->kinds[row] = deleted;
    rows->delete_count += deleted;
    rows->raw_bytes += raw_bytes;
    rows->count++;
    return MOTE_OK;
}

void sst_rows_add_stretch(struct sst_rows *rows, const struct record_stretch *stretch, uint32_t count)
{
    assert(count <= rows->capacity - rows->count && stretch->schema == rows->schema);
    const uint8_t *row = stretch->rows;
    for (uint32_t i = rows->count; i < rows->count + count; i++, row += stretch->row_bytes) {
        rows->images[i] = row + stretch->image_at;
        rows->seqs[i] = load_u64(row);
    }
    memset(rows->kinds + rows->count, 0, count);
    rows->raw_bytes += count * round_up(stretch->image_bytes, 8);
    rows->count += count;
}

void sst_rows_clear(struct sst_rows *rows)
{
    rows->count = rows->delete_count = rows->slow_count = rows->null_row_count = 0;
    rows->raw_bytes = rows->copied_bytes = 0;
}

/* The value of a column in a slow row; bytes live until the next call. */
static void slow_value(struct sst_rows *rows, const struct sst_slow_row *slow, uint32_t column, struct mote_value *value)
{
    const struct schema *schema = rows->schema;
    *value = (struct mote_value){.type = schema->columns[column].type, .is_null = 1};
    if (slow->schema) {
        row_value(schema, slow->schema, slow->data, column, value);
    } else if (rows->in_key[column]) {
        int result = key_decode(schema, slow->data, slow->data_bytes, rows->key_values, rows->key_scratch);
        assert(result == MOTE_OK); /* It was decoded when the row was added. */
        (void)result;
        for (uint32_t i = 0; i < schema->key_column_count; i++)
            if (schema->key_columns[i] == column)
                *value = rows->key_values[i];
    }
}

static void store_fixed(uint8_t *at, uint32_t width, const struct mote_value *value)
{
    if (value->is_null)
        memset(at, 0, width);
    else if (type_is_vector(value->type))
        memcpy(at, value->as.bytes.data, width);
    else
        memcpy(at, &value->as, width); /* Every scalar member of the union begins at its start. */
}

static void gather_tile(const struct sst_fixed_column *column, const uint8_t *const *images, uint32_t first, uint32_t count)
{
    const uint32_t offset = column->row_offset, width = column->width;
    uint8_t *out = column->values + (size_t)first * width;
    switch (width) {
    case 8:
        for (uint32_t i = 0; i < count; i++)
            memcpy(out + (size_t)i * 8, images[i] + offset, 8);
        break;
    case 4:
        for (uint32_t i = 0; i < count; i++)
            memcpy(out + (size_t)i * 4, images[i] + offset, 4);
        break;
    case 1:
        for (uint32_t i = 0; i < count; i++)
            out[i] = images[i][offset];
        break;
    case 24:
        for (uint32_t i = 0; i < count; i++)
            memcpy(out + (size_t)i * 24, images[i] + offset, 24);
        break;
    default:
        for (uint32_t i = 0; i < count; i++)
            memcpy(out + (size_t)i * width, images[i] + offset, width);
    }
}

/* Four neighbours of 4 bytes, or two of 8: sixteen bytes of each row, turned over in registers. */
static void gather_four(const struct sst_fixed_column *columns, const uint8_t *const *images, uint32_t first, uint32_t count)
{
    const uint32_t offset = columns->row_offset;
    uint32_t i = 0;
    for (; i + 4 <= count; i += 4) {
        const size_t at = (size_t)(first + i) * 4;
        const uint8_t *const from[4] = {images[i] + offset, images[i + 1] + offset, images[i + 2] + offset, images[i + 3] + offset};
        uint8_t *const to[4] = {columns[0].values + at, columns[1].values + at, columns[2].values + at, columns[3].values + at};
        turn_four(from, to);
    }
    for (uint32_t k = 0; i < count && k < 4; k++)
        gather_tile(&columns[k], images + i, first + i, count - i);
}

static void gather_two(const struct sst_fixed_column *columns, const uint8_t *const *images, uint32_t first, uint32_t count)
{
    const uint32_t offset = columns->row_offset;
    uint32_t i = 0;
    for (; i + 2 <= count; i += 2) {
        const size_t at = (size_t)(first + i) * 8;
        const uint8_t *const from[2] = {images[i] + offset, images[i + 1] + offset};
        uint8_t *const to[2] = {columns[0].values + at, columns[1].values + at};
        turn_two(from, to);
    }
    for (uint32_t k = 0; i < count && k < 2; k++)
        gather_tile(&columns[k], images + i, first + i, count - i);
}

static void find_null_rows(struct sst_rows *rows, uint32_t first, uint32_t count)
{
    uint32_t null_bytes = rows->schema->null_bytes;
    for (uint32_t i = first; i < first + count; i++) {
        uint64_t nulls = 0;
        for (uint32_t at = 0; at < null_bytes; at += 8)
            nulls |= load_u64(rows->images[i] + at);
        rows->null_rows[rows->null_row_count] = i;
        rows->null_row_count += nulls != 0;
    }
}

/* The fixed parts of the tile that comes next, from the second-level cache or memory, while this one is copied. */
static void prefetch_tile(const struct sst_rows *rows, uint32_t first)
{
    uint32_t end = rows->count - first < TILE_ROWS ? rows->count : first + TILE_ROWS, bytes = rows->schema->fixed_bytes < 512 ? rows->schema->fixed_bytes : 512;
    for (uint32_t i = first; i < end; i++)
        for (uint32_t at = 0; at < bytes; at += 64)
            __builtin_prefetch(rows->images[i] + at);
}

static void gather_fixed(struct sst_rows *rows)
{
    prefetch_tile(rows, 0);
    for (uint32_t first = 0; first < rows->count; first += TILE_ROWS) {
        uint32_t count = rows->count - first < TILE_ROWS ? rows->count - first : TILE_ROWS;
        if (count < rows->count - first)
            prefetch_tile(rows, first + TILE_ROWS);
        find_null_rows(rows, first, count);
        for (uint32_t i = 0; i < rows->fixed_count; i += rows->fixed[i].together) {
            const struct sst_fixed_column *column = &rows->fixed[i];
            if (column->together == 4)
                gather_four(column, rows->images + first, first, count);
            else if (column->together == 2)
                gather_two(column, rows->images + first, first, count);
            else
                gather_tile(column, rows->images + first, first, count);
        }
    }
    for (uint32_t i = 0; i < rows->fixed_count; i++) {
        const struct sst_fixed_column *column = &rows->fixed[i];
        for (uint32_t j = 0; j < rows->slow_count; j++) {
            struct mote_value value;
            slow_value(rows, &rows->slow[j], column->position, &value);
            store_fixed(column->values + (size_t)rows->slow[j].row * column->width, column->width, &value);
        }
    }
}

static void gather_var(struct sst_rows *rows, uint32_t column, uint32_t *offsets, uint8_t *bytes)
{
    const uint32_t at = rows->schema->columns[column].row_offset;
    uint32_t total = 0, slow = 0;
    for (uint32_t i = 0; i < rows->count; i++) {
        const uint8_t *image = rows->images[i], *data = image + load_u32(image + at);
        uint32_t length = load_u32(image + at + 4);
        if (slow < rows->slow_count && rows->slow[slow].row == i) {
            struct mote_value value;
            slow_value(rows, &rows->slow[slow++], column, &value);
            length = value.is_null ? 0 : (uint32_t)value.as.bytes.size_bytes;
            data = value.is_null ? NULL : value.as.bytes.data;
        }
        offsets[i] = total;
        if (length)
            memcpy(bytes + total, data, length);
        total += length;
    }
    offsets[rows->count] = total;
}

/* Clears the bit of a NULL; the bitmap is made at the first one. */
static void set_null(struct sst_rows *rows, uint8_t *bitmap, uint32_t column, uint32_t row)
{
    struct codec_vector *vector = &rows->vectors[column];
    if (!vector->validity) {
        memset(bitmap, 0xFF, rows->count / 8);
        if (rows->count % 8)
            bitmap[rows->count / 8] = (uint8_t)((1u << rows->count % 8) - 1);
        vector->validity = bitmap;
    }
    bitmap[row / 8] = (uint8_t)(bitmap[row / 8] & ~(1u << row % 8));
}

static void gather_nulls(struct sst_rows *rows, uint8_t *bitmaps, size_t bitmap_bytes)
{
    const struct schema *schema = rows->schema;
    for (uint32_t i = 0; i < rows->null_row_count; i++) {
        const uint8_t *image = rows->images[rows->null_rows[i]];
        for (uint32_t word = 0; word < schema->null_bytes; word += 8)
            for (uint64_t bits = load_u64(image + word); bits; bits &= bits - 1) {
                uint32_t column = word * 8 + (uint32_t)__builtin_ctzll(bits);
                assert(column < schema->column_count);
                set_null(rows, bitmaps + column * bitmap_bytes, column, rows->null_rows[i]);
            }
    }
    for (uint32_t i = 0; i < rows->slow_count; i++)
        for (uint32_t column = 0; column < schema->column_count; column++) {
            struct mote_value value = {0};
            if (rows->slow[i].schema)
                row_value(schema, rows->slow[i].schema, rows->slow[i].data, column, &value);
            else
                value.is_null = !rows->in_key[column];
            if (value.is_null)
                set_null(rows, bitmaps + column * bitmap_bytes, column, rows->slow[i].row);
        }
}

/* Lays the columns out in the arena: offsets and bytes of text and blobs, values of the others, the bitmaps. */
static int prepare_arena(struct sst_rows *rows, uint8_t **bitmaps, size_t *bitmap_bytes)
{
    size_t fixed_bytes = 0, count = rows->count;
    for (uint32_t i = 0; i < rows->fixed_count; i++)
        fixed_bytes += round_up(count * rows->fixed[i].width, PART_ALIGN_BYTES) + PART_GAP_BYTES;
    size_t offsets_bytes = round_up((count + 1) * sizeof(uint32_t), PART_ALIGN_BYTES);
    *bitmap_bytes = round_up(count / 8 + 1, 8);
    size_t needed = fixed_bytes + rows->var_count * (offsets_bytes + PART_ALIGN_BYTES) + rows->raw_bytes + rows->schema->column_count * *bitmap_bytes + PART_ALIGN_BYTES;
    if (needed > rows->arena_bytes) {
        memory_free(rows->memory, rows->arena);
        rows->arena_bytes = 0;
        rows->arena = memory_alloc_aligned(rows->memory, needed + needed / 8, PART_ALIGN_BYTES);
        if (!rows->arena)
            return MOTE_EBUDGET;
        rows->arena_bytes = needed + needed / 8;
    }
    *bitmaps = rows->arena;
    uint8_t *at = rows->arena + round_up(rows->schema->column_count * *bitmap_bytes, PART_ALIGN_BYTES);
    for (uint32_t i = 0; i < rows->fixed_count; i++) {
        rows->fixed[i].values = at;
        rows->vectors[rows->fixed[i].position].values = at;
        at += round_up(count * rows->fixed[i].width, PART_ALIGN_BYTES) + PART_GAP_BYTES;
    }
    for (uint32_t i = 0; i < rows->var_count; i++) {
        rows->var[i].offsets = (uint32_t *)(void *)at;
        rows->vectors[rows->var[i].position].offsets = rows->var[i].offsets;
        at += offsets_bytes;
    }
    rows->var_bytes = at;
    return MOTE_OK;
}

int sst_rows_gather(struct sst_rows *rows)
{
    uint8_t *bitmaps;
    size_t bitmap_bytes;
    assert(rows->count > 0);
    int result = prepare_arena(rows, &bitmaps, &bitmap_bytes);
    if (result)
        return result;
    rows->null_row_count = 0;
    for (uint32_t i = 0; i < rows->schema->column_count; i++) {
        rows->vectors[i].count = rows->count;
        rows->vectors[i].validity = NULL;
    }
    gather_fixed(rows);
    uint8_t *bytes = rows->var_bytes;
    for (uint32_t i = 0; i < rows->var_count; i++) {
        rows->vectors[rows->var[i].position].values = bytes;
        gather_var(rows, rows->var[i].position, rows->var[i].offsets, bytes);
        bytes += rows->var[i].offsets[rows->count];
        assert(bytes <= rows->arena + rows->arena_bytes);
    }
    gather_nulls(rows, bitmaps, bitmap_bytes);
    return MOTE_OK;
}
