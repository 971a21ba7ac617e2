/* verify.c: reads every structure and every checksum of a volume and writes nothing: superblock slots, manifest frames of both copies, the log, every segment with its index sections, which are compared with the rows (index_audit.c). */
#include <string.h>

#include "blockdev/probe.h"
#include "engine/blob.h"
#include "engine/engine_private.h"

struct verify {
    void (*report)(const struct mote_error *fault, void *context);
    void *context;
    uint64_t faults;
};

static void note(const struct mote_error *fault, void *context)
{
    struct verify *verify = context;
    verify->faults++;
    if (verify->report)
        verify->report(fault, verify->context);
}

/* The calling thread's present error becomes a fault. */
static void note_last(struct verify *verify)
{
    struct mote_error error;
    error_get(&error);
    note(&error, verify);
}

/* ---- Superblock: a slot that is neither empty nor valid is a fault ---- */

static void verify_slot(struct mote_db *db, struct verify *verify, uint64_t offset_bytes, const uint8_t *slot)
{
    struct superblock decoded;
    static const uint8_t empty[SUPERBLOCK_SLOT_BYTES];
    if (memcmp(slot, empty, sizeof empty) == 0 || superblock_decode(slot, offset_bytes, &decoded) == MOTE_OK)
        return;
    error_set(MOTE_EDAMAGED, "a superblock slot fails its checksum; the other copies stand in for it");
    error_add_device(blockdev_path(db->device), offset_bytes, SUPERBLOCK_SLOT_BYTES);
    note_last(verify);
}

static int verify_superblocks(struct mote_db *db, struct verify *verify)
{
    uint8_t *slot = memory_alloc_aligned(db->memory, SUPERBLOCK_SLOT_BYTES, PAGE_BYTES);
    if (!slot)
        return MOTE_EBUDGET;
    for (unsigned copy = 0; copy < 2; copy++) {
        for (uint64_t generation = 0; generation < SUPERBLOCK_SLOTS; generation++) {
            uint64_t offset = layout_slot_offset(&db->superblock.layout, copy, generation);
            if (blockdev_read_range(db->queue, offset, slot, SUPERBLOCK_SLOT_BYTES))
                note_last(verify);
            else
                verify_slot(db, verify, offset, slot);
        }
    }
    memory_free(db->memory, slot);
    return MOTE_OK;
}

/* ---- Manifest: what is valid in one copy should be so in both ---- */

struct walk {
    struct mote_db *db;
    struct verify *verify;
};

static void visit_frame(void *context, unsigned copy, unsigned area, uint64_t offset_bytes, uint64_t sequence, uint64_t generation, uint32_t kind, uint32_t length_bytes, bool valid)
{
    struct walk *walk = context;
    (void)generation;
    (void)kind;
    if (valid || area != walk->db->superblock.manifest_area)
        return;
    error_set(MOTE_EDAMAGED, "manifest frame %llu of copy %u fails its checksum; the other copy stands in for it and the next open heals it", (unsigned long long)sequence, copy);
    error_add_device(blockdev_path(walk->db->device), layout_manifest_offset(&walk->db->superblock.layout, copy, area) + offset_bytes, length_bytes);
    note_last(walk->verify);
}

/* ---- Segments ---- */

static void note_index(void *context) { note_last(context); }

static int verify_segments(struct mote_db *db, struct verify *verify)
{
    int result = MOTE_OK;
    struct version *version = version_acquire(db->manifest);
    for (uint32_t t = 0; t < version->count && !result; t++) {
        const struct segment_list *list = version->lists[t];
        const struct schema *schema = catalog_live_schema(db, list->table_id);
        for (uint32_t s = 0; schema && s < list->count && !result; s++) {
            result = sst_verify(&db->sst, db->queue, list->segments[s], schema, note, verify);
            if (result == MOTE_EDAMAGED)
                result = MOTE_OK; /* reported */
            if (!result)
                result = indexes_verify(db, list->segments[s], schema, note_index, verify);
            if (!result)
                result = blobs_verify_segment(db, list->segments[s], schema, note_index, verify);
        }
    }
    version_release(db->manifest, version);
    return result;
}

/* Large values of rows that only the log has. */
static int verify_memtables(struct mote_db *db, struct verify *verify)
{
    int result = MOTE_OK;
    struct view view;
    view_acquire(db, &view);
    for (uint32_t g = 0; g < view.generation_count; g++)
        for (uint32_t t = 0; t < db->table_count && !result; t++) {
            const struct schema *schema = catalog_live_schema(db, db->tables[t].id);
            struct memtable *memtable = schema && schema->has_large ? memtable_of_table(view.generations[g]->memtables, schema->table_id, false) : NULL;
            if (memtable)
                result = blobs_verify_memtable(db, memtable, schema, note_index, verify);
        }
    view_release(db, &view);
    return result;
}

static int verify_open(struct mote_db *db, struct verify *verify)
{
    struct walk walk = {db, verify};
    int result = verify_superblocks(db, verify);
    if (!result)
        result = manifest_walk(db->queue, db->memory, &db->superblock, visit_frame, &walk);
    if (!result)
        result = verify_segments(db, verify);
    if (!result)
        result = verify_memtables(db, verify);
    return result;
}

int mote_verify(const char *path, void (*report)(const struct mote_error *fault, void *context), void *context)
{
    struct verify verify = {report, context, 0};
    struct mote_options options = MOTE_OPTIONS_INIT;
    mote_db *db;
    options.read_only = 1;
    /* Opening reads superblock, manifest and log, and refuses what is damaged beyond its second copy. */
    int result = mote_open(path, &options, &db, NULL);
    if (result == MOTE_EDAMAGED || result == MOTE_ELOST) {
        note_last(&verify);
        return MOTE_EDAMAGED;
    }
    if (result)
        return result;
    result = verify_open(db, &verify);
    struct mote_error cause;
    error_get(&cause);
    int closed = mote_close(db);
    if (result) {
        error_restore(&cause);
        return result;
    }
    if (verify.faults)
        return error_set(MOTE_EDAMAGED, "%llu faults were found on %s", (unsigned long long)verify.faults, path);
    return closed;
}
