/* blob_verify.c: every large value of a segment, or of a memtable that was replayed, read and held against its checksums, and what the segment uses of each blob file against what the manifest says (blob.h).
 *
 * For mote_verify a fault is reported and the walk goes on; for mote_send the first one ends it. Threads: one. Failures: MOTE_EBUDGET, MOTE_EIO, and those of rows that cannot be read, of which sst_verify tells as well. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "engine/blob.h"
#include "engine/unique.h"

struct blob_walk {
    struct mote_db *db;
    struct blob_io *io;
    void (*note)(void *context); /* NULL: the first fault ends the walk */
    int (*tell)(void *context);  /* after each value; may be NULL */
    void *context;
    uint64_t first_file; /* values that lie before it are passed over */
    uint8_t *chunk;
    uint32_t chunk_capacity;
    uint64_t *used; /* by the segment's entries */
    const struct segment *segment; /* NULL: a memtable */
};

/* Whether the value is to be read. */
static bool count_pieces(struct blob_walk *walk, const struct blob_reference *reference)
{
    bool wanted = false;
    for (uint32_t i = 0; i < reference->piece_count; i++) {
        struct blob_piece piece;
        blob_reference_piece(reference, i, &piece);
        wanted = wanted || piece.file_id >= walk->first_file;
        for (uint32_t k = 0; walk->segment && k < walk->segment->blob_count; k++)
            if (walk->segment->blobs[k].file->id == piece.file_id)
                walk->used[k] += (uint64_t)piece.page_count * PAGE_BYTES;
    }
    return wanted;
}

/* The thread's present error is a fault. */
static int note_fault(struct blob_walk *walk, const struct schema *schema)
{
    error_add_table(schema->name);
    if (!walk->note)
        return MOTE_EDAMAGED;
    walk->note(walk->context);
    return MOTE_OK;
}

/* The present error's sentence tells as well which value of which row it is. */
static void name_value(const struct schema *schema, const struct record *record, uint32_t column)
{
    enum { KEY_TEXT_BYTES = 96 };
    struct mote_value values[MOTE_KEY_COLUMNS_MAX];
    uint8_t scratch[MOTE_KEY_BYTES_MAX];
    char key[KEY_TEXT_BYTES] = "";
    struct mote_error cause;
    error_get(&cause);
    if (key_decode(schema, record->key, record->key_bytes, values, scratch) != MOTE_OK) {
        error_restore(&cause); /* sst_verify tells of the key */
        return;
    }
    for (uint32_t i = 0, at = 0; i < schema->key_column_count && at < sizeof key; i++) {
        char text[UNIQUE_TEXT_BYTES];
        unique_value_text(&values[i], text);
        at += (uint32_t)snprintf(key + at, sizeof key - at, "%s%s", i ? ", " : "", text);
    }
    error_set(cause.code, "table %s, key %s, column %s: %s", schema->name, key, schema->columns[column].name, cause.message);
    error_add_device(cause.device, cause.offset_bytes, cause.length_bytes);
}

static int read_value(struct blob_walk *walk, const struct blob_reference *reference)
{
    if (walk->chunk_capacity < reference->chunk_bytes) {
        memory_free(walk->db->memory, walk->chunk);
        walk->chunk = memory_alloc(walk->db->memory, reference->chunk_bytes);
        walk->chunk_capacity = walk->chunk ? reference->chunk_bytes : 0;
    }
    int result = walk->chunk ? MOTE_OK : MOTE_EBUDGET;
    for (uint64_t at = 0; at < reference->length_bytes && !result; at += reference->chunk_bytes) {
        uint64_t left = reference->length_bytes - at;
        result = blob_read(walk->io, reference, at, walk->chunk, left < reference->chunk_bytes ? left : reference->chunk_bytes);
    }
    return result;
}

/* The value of one large column of the row. */
static int check_value(struct blob_walk *walk, const struct schema *schema, const struct record *record, uint32_t column, const struct mote_value *value)
{
    struct blob_reference reference;
    uint64_t length_bytes;
    if (value->is_null)
        return MOTE_OK;
    int result = blob_length(value->as.bytes.data, value->as.bytes.size_bytes, &length_bytes);
    if (!result && blob_reference_decode(value->as.bytes.data, value->as.bytes.size_bytes, &reference) && count_pieces(walk, &reference))
        result = read_value(walk, &reference);
    if (result == MOTE_EDAMAGED) {
        name_value(schema, record, column);
        result = note_fault(walk, schema);
    }
    return !result && walk->tell ? walk->tell(walk->context) : result;
}

/* ---- Segments ---- */

static int walk_rows(struct blob_walk *walk, struct sst_iterator *iterator, const struct schema *schema)
{
    int moved = sst_first(iterator);
    for (; moved > 0; moved = sst_next(iterator)) {
        struct record record;
        int result = sst_record(iterator, &record);
        for (uint32_t i = 0; i < schema->column_count && !result && record.kind == RECORD_PUT; i++) {
            struct mote_value value;
            if (!(schema->columns[i].flags & MOTE_COLUMN_LARGE))
                continue;
            result = sst_value(iterator, i, &value);
            if (!result)
                result = check_value(walk, schema, &record, i, &value);
        }
        if (result)
            return result;
    }
    return moved;
}

static int compare_uses(struct blob_walk *walk, const struct schema *schema)
{
    for (uint32_t i = 0; i < walk->segment->blob_count; i++) {
        if (walk->used[i] == walk->segment->blobs[i].bytes)
            continue;
        error_set(MOTE_EDAMAGED, "the rows of segment %" PRIu64 " use %" PRIu64 " bytes of blob file %" PRIu64 ", and the manifest says %" PRIu64, walk->segment->record.id, walk->used[i],
                  walk->segment->blobs[i].file->id, walk->segment->blobs[i].bytes);
        int result = note_fault(walk, schema);
        if (result)
            return result;
    }
    return MOTE_OK;
}

static int begin(struct blob_walk *walk)
{
    if (walk->segment && !(walk->used = memory_alloc_zero(walk->db->memory, (walk->segment->blob_count + 1) * sizeof *walk->used)))
        return MOTE_EBUDGET;
    return blob_io_create(walk->db, &walk->io);
}

static void end(struct blob_walk *walk)
{
    blob_io_destroy(walk->io);
    memory_free(walk->db->memory, walk->chunk);
    memory_free(walk->db->memory, walk->used);
}

/* Nothing but keys and the large columns is read of the rows. */
static int open_rows(struct blob_walk *walk, struct blockdev_queue *queue, struct segment *segment, const struct schema *schema, struct sst_iterator **iterator)
{
    uint32_t columns[MOTE_COLUMNS_MAX], count = 0;
    int result = sst_iterator_create(&walk->db->sst, queue, iterator);
    if (!result)
        result = sst_iterator_open(*iterator, segment, schema);
    if (result)
        return result;
    for (uint32_t i = 0; i < schema->column_count; i++)
        if (schema->columns[i].flags & MOTE_COLUMN_LARGE)
            columns[count++] = i;
    sst_iterator_set_columns(*iterator, columns, count, true, false);
    return MOTE_OK;
}

static int check_segment(struct blob_walk *walk, struct blockdev_queue *queue, struct segment *segment, const struct schema *schema)
{
    struct sst_iterator *iterator = NULL;
    if (!schema->has_large)
        return MOTE_OK;
    int result = begin(walk);
    if (!result)
        result = open_rows(walk, queue, segment, schema, &iterator);
    if (!result)
        result = walk_rows(walk, iterator, schema);
    if (!result)
        result = compare_uses(walk, schema);
    if (iterator)
        sst_iterator_destroy(iterator);
    end(walk);
    return result;
}

int blobs_check_segment(struct mote_db *db, struct blockdev_queue *queue, struct segment *segment, const struct schema *schema, uint64_t first_file, int (*tell)(void *context), void *context)
{
    struct blob_walk walk = {.db = db, .tell = tell, .context = context, .segment = segment, .first_file = first_file};
    return check_segment(&walk, queue, segment, schema);
}

int blobs_verify_segment(struct mote_db *db, struct segment *segment, const struct schema *schema, void (*note)(void *context), void *context)
{
    struct blob_walk walk = {.db = db, .note = note, .context = context, .segment = segment};
    int result = check_segment(&walk, db->queue, segment, schema);
    return result == MOTE_EDAMAGED ? MOTE_OK : result; /* sst_verify has told of it */
}

/* ---- Rows that only the log has ---- */

int blobs_verify_memtable(struct mote_db *db, struct memtable *memtable, const struct schema *schema, void (*note)(void *context), void *context)
{
    struct memtable_iterator iterator;
    struct blob_walk walk = {.db = db, .note = note, .context = context};
    int result = begin(&walk);
    memtable_iterate(memtable, &iterator);
    for (bool on = !result && memtable_first(&iterator); on && !result; on = memtable_next(&iterator)) {
        struct record record;
        const struct schema *image_schema;
        const uint8_t *image;
        uint32_t image_bytes;
        memtable_record(&iterator, &record, &image_schema, &image, &image_bytes);
        for (uint32_t i = 0; i < schema->column_count && !result && record.kind == RECORD_PUT; i++) {
            struct mote_value value;
            if (!(schema->columns[i].flags & MOTE_COLUMN_LARGE))
                continue;
            row_value(schema, image_schema, image, i, &value);
            result = check_value(&walk, schema, &record, i, &value);
        }
    }
    end(&walk);
    return result;
}
