/* blob_row.c: large values of a row handle: read when they are first asked for, from blob files that the handle holds (blob.h). Any thread may ask; a mutex guards what was read. */
#include "engine/blob.h"

struct loaded {
    uint32_t position;
    uint8_t *bytes;
    uint64_t size_bytes;
};
struct row_blobs {
    struct mote_db *db;
    pthread_mutex_t mutex;
    struct blob_holds holds;
    struct loaded *loaded;
    uint32_t count, capacity;
};

static void forget(struct row_blobs *blobs)
{
    for (uint32_t i = 0; i < blobs->count; i++)
        memory_free(blobs->db->memory, blobs->loaded[i].bytes);
    blobs->count = 0;
    blobs_release(blobs->db, &blobs->holds);
}

int row_blobs_hold(struct mote_db *db, const struct schema *schema, const struct schema *image_schema, const uint8_t *image, struct row_blobs **blobs)
{
    if (!*blobs) {
        *blobs = memory_alloc_zero(db->memory, sizeof **blobs);
        if (!*blobs)
            return MOTE_EBUDGET;
        (*blobs)->db = db;
        pthread_mutex_init(&(*blobs)->mutex, NULL);
    }
    forget(*blobs);
    return blobs_hold_image(db, schema, image_schema, image, &(*blobs)->holds);
}

static struct loaded *add_loaded(struct row_blobs *blobs)
{
    if (blobs->count == blobs->capacity) {
        uint32_t capacity = blobs->capacity + 2;
        struct loaded *loaded = memory_realloc(blobs->db->memory, blobs->loaded, capacity * sizeof *loaded);
        if (!loaded)
            return NULL;
        blobs->loaded = loaded;
        blobs->capacity = capacity;
    }
    return &blobs->loaded[blobs->count];
}

static int load(struct row_blobs *blobs, uint32_t position, const struct mote_value *value, struct loaded **loaded)
{
    uint64_t size_bytes;
    int result = blob_length(value->as.bytes.data, value->as.bytes.size_bytes, &size_bytes);
    if (result)
        return result;
    struct loaded *made = add_loaded(blobs);
    uint8_t *bytes = made ? memory_alloc(blobs->db->memory, size_bytes + 1) : NULL;
    if (!bytes)
        return error_set(MOTE_EBUDGET, "a large value of %llu bytes does not fit what is left of the memory budget: read it piece by piece with mote_blob_reader_open, or raise memory_bytes", (unsigned long long)size_bytes);
    result = blob_fetch(blobs->db, value->as.bytes.data, value->as.bytes.size_bytes, bytes);
    if (result) {
        memory_free(blobs->db->memory, bytes);
        return result;
    }
    *made = (struct loaded){position, bytes, size_bytes};
    blobs->count++;
    *loaded = made;
    return MOTE_OK;
}

int row_blobs_value(struct row_blobs *blobs, uint32_t position, struct mote_value *value)
{
    const uint8_t *stored = value->as.bytes.data;
    if (value->as.bytes.size_bytes > 0 && stored[0] == BLOB_INLINE) {
        value->as.bytes.data = stored + 1;
        value->as.bytes.size_bytes--;
        return MOTE_OK;
    }
    struct loaded *found = NULL;
    int result = MOTE_OK;
    pthread_mutex_lock(&blobs->mutex);
    for (uint32_t i = 0; i < blobs->count && !found; i++)
        if (blobs->loaded[i].position == position)
            found = &blobs->loaded[i];
    if (!found)
        result = load(blobs, position, value, &found);
    if (!result) {
        value->as.bytes.data = found->bytes;
        value->as.bytes.size_bytes = found->size_bytes;
    }
    pthread_mutex_unlock(&blobs->mutex);
    return result;
}

void row_blobs_free(struct mote_db *db, struct row_blobs *blobs)
{
    if (!blobs)
        return;
    forget(blobs);
    pthread_mutex_destroy(&blobs->mutex);
    memory_free(db->memory, blobs->loaded);
    memory_free(db->memory, blobs);
}
