/* blob.c: blob files: where the next bytes go, and when a file is dropped (blob.h, lsm/blob_file.h).
 *
 * Each table writes to a file of its own, so that rows that go together free their bytes together. A file is as large as a two-thousandth of the device, at most 64 MiB and at least an extent: one edit of the manifest for so many bytes, and
 * so many files at most. A table that goes on writing gets several files by one edit, one, then two, four, up to FILES_BYTES_MAX together, as long as they are little beside what is free: an edit costs a barrier, and the device idles meanwhile.
 * What a file has left when its handle is closed stays unused until it is dropped, as files made ahead do.
 * Locks: grow_mutex (who makes a file; manifest's commit mutex under it) before the leaf mutex.
 */
#include "engine/blob.h"

#include <inttypes.h>
#include <string.h>

#include "engine/retention.h"

#define FILE_BYTES_MAX (64u << 20)
#define FILES_OF_DEVICE 2048u
#define FILES_BYTES_MAX (64u << 20) /* of an edit */
#define AHEAD_OF_FREE 64u           /* what is made ahead is a part of this of what is free, at most */
#define SPACE_TRIES 6u
#define DROPS_MAX 64u

struct blobs {
    pthread_mutex_t mutex, grow_mutex;
    struct blob_file **files; /* ascending id */
    uint32_t count, capacity;
    _Atomic uint32_t wanted;  /* a file may have lost its last user */
};

/* ---- The list ---- */

/* The place of the file of that id; blobs->count: there is none. */
static uint32_t place_locked(const struct blobs *blobs, uint64_t file_id)
{
    uint32_t low = 0, high = blobs->count;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (blobs->files[middle]->id < file_id)
            low = middle + 1;
        else
            high = middle;
    }
    return low < blobs->count && blobs->files[low]->id == file_id ? low : blobs->count;
}

static struct blob_file *find_locked(const struct blobs *blobs, uint64_t file_id)
{
    uint32_t at = place_locked(blobs, file_id);
    return at < blobs->count ? blobs->files[at] : NULL;
}

static int make_room(struct mote_db *db, uint32_t needed)
{
    struct blobs *blobs = db->blobs;
    if (needed <= blobs->capacity)
        return MOTE_OK;
    uint32_t capacity = needed + needed / 2 + 8;
    struct blob_file **files = memory_realloc(db->memory, blobs->files, capacity * sizeof(struct blob_file *));
    if (!files)
        return MOTE_EBUDGET;
    blobs->files = files;
    blobs->capacity = capacity;
    return MOTE_OK;
}

static void add_locked(struct blobs *blobs, struct blob_file *file)
{
    uint32_t at = blobs->count++;
    for (; at > 0 && blobs->files[at - 1]->id > file->id; at--)
        blobs->files[at] = blobs->files[at - 1];
    blobs->files[at] = file;
}

int blobs_create(struct mote_db *db)
{
    db->blobs = memory_alloc_zero(db->memory, sizeof *db->blobs);
    if (!db->blobs)
        return MOTE_EBUDGET;
    struct blobs *blobs = db->blobs;
    pthread_mutex_init(&blobs->mutex, NULL);
    pthread_mutex_init(&blobs->grow_mutex, NULL);
    const struct manifest_state *state = manifest_get_state(db->manifest);
    int result = make_room(db, state->blob_count);
    for (uint32_t i = 0; i < state->blob_count && !result; i++)
        add_locked(blobs, state->blobs[i].file);
    atomic_store(&blobs->wanted, 1); /* what a crash left without a user */
    blob_io_pool_create(db);
    return result;
}

void blobs_destroy(struct mote_db *db)
{
    if (!db->blobs)
        return;
    blob_io_pool_destroy(db);
    pthread_mutex_destroy(&db->blobs->grow_mutex);
    pthread_mutex_destroy(&db->blobs->mutex);
    memory_free(db->memory, db->blobs->files);
    memory_free(db->memory, db->blobs);
    db->blobs = NULL;
}

/* ---- Holds ---- */

static int push_hold(struct mote_db *db, struct blob_holds *holds, uint32_t more)
{
    if (holds->count + more <= holds->capacity)
        return MOTE_OK;
    uint32_t capacity = 2 * holds->capacity + more;
    struct blob_file **files = memory_realloc(db->memory, holds->files, capacity * sizeof(struct blob_file *));
    if (!files)
        return MOTE_EBUDGET;
    holds->files = files;
    holds->capacity = capacity;
    return MOTE_OK;
}

static void release_locked(struct blobs *blobs, struct blob_file *file)
{
    assert(file->holds > 0);
    if (--file->holds == 0)
        atomic_store(&blobs->wanted, 1);
}

void blobs_release(struct mote_db *db, struct blob_holds *holds)
{
    if (holds->count) {
        pthread_mutex_lock(&db->blobs->mutex);
        for (uint32_t i = 0; i < holds->count; i++)
            release_locked(db->blobs, holds->files[i]);
        pthread_mutex_unlock(&db->blobs->mutex);
    }
    memory_free(db->memory, holds->files);
    *holds = (struct blob_holds){0};
}

int blobs_move_holds(struct mote_db *db, struct blob_holds *from, struct blob_holds *to)
{
    int result = push_hold(db, to, from->count);
    if (result)
        return result;
    if (from->count)
        memcpy(to->files + to->count, from->files, from->count * sizeof(struct blob_file *));
    to->count += from->count;
    from->count = 0;
    return MOTE_OK;
}

int blobs_hold_reference(struct mote_db *db, const struct blob_reference *reference, struct blob_holds *holds)
{
    int result = push_hold(db, holds, reference->piece_count);
    if (result)
        return result;
    pthread_mutex_lock(&db->blobs->mutex);
    for (uint32_t i = 0; i < reference->piece_count; i++) {
        struct blob_piece piece;
        blob_reference_piece(reference, i, &piece);
        struct blob_file *file = find_locked(db->blobs, piece.file_id);
        if (!file)
            continue; /* damage, of which the reader is told */
        file->holds++;
        holds->files[holds->count++] = file;
    }
    pthread_mutex_unlock(&db->blobs->mutex);
    return MOTE_OK;
}

/* The next of a row's references, from column *at on; false: there is none. */
static bool next_reference(const struct schema *schema, const struct schema *image_schema, const uint8_t *image, uint32_t *at, struct blob_reference *reference)
{
    while (*at < schema->column_count) {
        uint32_t position = (*at)++;
        struct mote_value value;
        if (!(schema->columns[position].flags & MOTE_COLUMN_LARGE))
            continue;
        row_value(schema, image_schema, image, position, &value);
        if (!value.is_null && blob_reference_decode(value.as.bytes.data, value.as.bytes.size_bytes, reference))
            return true;
    }
    return false;
}

int blobs_hold_image(struct mote_db *db, const struct schema *schema, const struct schema *image_schema, const uint8_t *image, struct blob_holds *holds)
{
    struct blob_reference reference;
    uint32_t at = 0;
    int result = MOTE_OK;
    while (!result && next_reference(schema, image_schema, image, &at, &reference))
        result = blobs_hold_reference(db, &reference, holds);
    return result;
}

static uint32_t generation_bit(const struct mote_db *db, const struct generation *generation)
{
    assert(generation >= db->generations && generation < db->generations + GENERATIONS_MAX);
    return 1u << (generation - db->generations);
}

void blobs_note_image(struct mote_db *db, const struct schema *schema, const uint8_t *image, const struct generation *generation)
{
    struct blob_reference reference;
    uint32_t at = 0, bit = generation_bit(db, generation);
    while (next_reference(schema, schema, image, &at, &reference)) {
        pthread_mutex_lock(&db->blobs->mutex);
        for (uint32_t i = 0; i < reference.piece_count; i++) {
            struct blob_piece piece;
            blob_reference_piece(&reference, i, &piece);
            struct blob_file *file = find_locked(db->blobs, piece.file_id);
            if (file)
                atomic_fetch_or(&file->generations, bit);
        }
        pthread_mutex_unlock(&db->blobs->mutex);
    }
}

void blobs_forget(struct mote_db *db, const struct generation *generation)
{
    uint32_t bit = generation_bit(db, generation);
    pthread_mutex_lock(&db->blobs->mutex);
    for (uint32_t i = 0; i < db->blobs->count; i++)
        if (atomic_fetch_and(&db->blobs->files[i]->generations, ~bit) & bit)
            atomic_store(&db->blobs->wanted, 1);
    pthread_mutex_unlock(&db->blobs->mutex);
}

/* ---- Room ---- */

static uint32_t file_extents(const struct mote_db *db)
{
    const struct layout *layout = &db->superblock.layout;
    uint64_t bytes = (uint64_t)layout_extent_count(layout) * layout->extent_bytes / FILES_OF_DEVICE;
    bytes = bytes < FILE_BYTES_MAX ? bytes : FILE_BYTES_MAX;
    return bytes > layout->extent_bytes ? (uint32_t)(bytes / layout->extent_bytes) : 1;
}

static void seal_locked(struct mote_table *table)
{
    if (!table->blob_file)
        return;
    table->blob_file->used_pages = table->blob_next_page;
    release_locked(table->db->blobs, table->blob_file);
    table->blob_file = NULL;
}

/* What was made ahead is let go. */
static void let_go_ahead_locked(struct mote_table *table)
{
    while (table->blob_ahead_count > 0)
        release_locked(table->db->blobs, table->blob_ahead[--table->blob_ahead_count]);
    table->blob_ahead_wanted = 0;
}

/* It is held already. */
static void begin_file_locked(struct mote_table *table, struct blob_file *file)
{
    assert(file->holds > 0 && !table->blob_file);
    table->blob_file = file;
    table->blob_next_page = 0;
    table->blob_pages = (uint32_t)(file->run.count * (table->db->superblock.layout.extent_bytes / PAGE_BYTES));
}

void blobs_seal(struct mote_table *table)
{
    pthread_mutex_lock(&table->db->blobs->mutex);
    seal_locked(table);
    let_go_ahead_locked(table);
    pthread_mutex_unlock(&table->db->blobs->mutex);
}

/* A piece of what the table's present file has left, or of the next that was made ahead. */
static bool take_piece(struct mote_table *table, uint32_t page_count, struct blob_holds *holds, struct blob_piece *piece)
{
    struct blobs *blobs = table->db->blobs;
    pthread_mutex_lock(&blobs->mutex);
    uint32_t left = table->blob_file ? table->blob_pages - table->blob_next_page : 0;
    if (!left && table->blob_ahead_count > 0) {
        seal_locked(table);
        begin_file_locked(table, table->blob_ahead[--table->blob_ahead_count]);
        left = table->blob_pages;
    }
    if (left) {
        struct blob_file *file = table->blob_file;
        *piece = (struct blob_piece){file->id, table->blob_next_page, left < page_count ? left : page_count};
        table->blob_next_page += piece->page_count;
        file->holds++;
        holds->files[holds->count++] = file;
    }
    pthread_mutex_unlock(&blobs->mutex);
    return left > 0;
}

/* How many files the next edit makes. */
static uint32_t choose_file_count(struct mote_table *table, uint32_t extents_each)
{
    struct mote_db *db = table->db;
    struct extents_counts counts;
    extents_get_counts(db->extents, &counts);
    uint64_t spare = counts.free > counts.reserved ? (counts.free - counts.reserved) / AHEAD_OF_FREE / extents_each : 0;
    uint64_t most = FILES_BYTES_MAX / ((uint64_t)extents_each * db->superblock.layout.extent_bytes);
    most = most < 1 + spare ? most : 1 + spare;
    pthread_mutex_lock(&db->blobs->mutex);
    uint32_t ahead = table->blob_ahead_wanted, next = 2 * ahead + 1;
    table->blob_ahead_wanted = next < BLOB_FILES_AHEAD_MAX ? next : BLOB_FILES_AHEAD_MAX;
    bool alone = most < 2 || db->blobs->count > FILES_OF_DEVICE; /* the manifest has room for twice as many */
    pthread_mutex_unlock(&db->blobs->mutex);
    return alone ? 1 : 1 + ahead < most ? 1 + ahead : (uint32_t)most;
}

/* Room for so many files, each of one run; for one of one extent where there is no more. *count: how many it became. */
static int allocate_runs(struct mote_table *table, struct extent_run *runs, uint32_t *count)
{
    struct mote_db *db = table->db;
    struct extent_reservation reservation;
    uint32_t each = file_extents(db), wanted = choose_file_count(table, each);
    int result = extents_reserve(db->extents, wanted * each, false, &reservation);
    if (result == MOTE_ENOSPC && wanted * each > 1)
        result = extents_reserve(db->extents, wanted = each = 1, false, &reservation);
    *count = 0;
    while (!result && *count < wanted) {
        result = extents_allocate(db->extents, &reservation, 1, each, &runs[*count]);
        *count += !result;
    }
    extents_unreserve(db->extents, &reservation);
    return *count ? MOTE_OK : result;
}

/* In the manifest before they are used. */
static int commit_files(struct mote_table *table, const struct extent_run *runs, uint32_t count, struct blob_file **files)
{
    struct mote_db *db = table->db;
    struct manifest_edit *edit;
    uint64_t ids[1 + BLOB_FILES_AHEAD_MAX];
    int result = manifest_edit_begin(db->manifest, &edit);
    if (!result) {
        for (uint32_t i = 0; i < count; i++)
            manifest_edit_add_blob_file(edit, ids[i] = manifest_take_section_id(db->manifest), table->id, runs[i]);
        result = db_settle(db, manifest_commit(edit, NULL, NULL));
    }
    for (uint32_t i = 0; i < count && !result; i++) {
        files[i] = manifest_find_blob_file(db->manifest, ids[i]);
        assert(files[i]);
    }
    return result;
}

static int make_files(struct mote_table *table)
{
    struct mote_db *db = table->db;
    struct blobs *blobs = db->blobs;
    struct extent_run runs[1 + BLOB_FILES_AHEAD_MAX];
    struct blob_file *files[1 + BLOB_FILES_AHEAD_MAX];
    uint32_t count;
    int result = allocate_runs(table, runs, &count);
    if (result)
        return result;
    pthread_mutex_lock(&blobs->mutex);
    result = make_room(db, blobs->count + count);
    pthread_mutex_unlock(&blobs->mutex);
    if (!result)
        result = commit_files(table, runs, count, files);
    for (uint32_t i = 0; i < count && result && !atomic_load(&db->poisoned); i++)
        extents_release_unused(db->extents, runs[i]);
    if (result)
        return result;
    pthread_mutex_lock(&blobs->mutex);
    assert(table->blob_ahead_count == 0); /* files are made by one at a time, when there are none */
    for (uint32_t i = 0; i < count; i++) {
        add_locked(blobs, files[i]);
        files[i]->holds++;
        if (i > 0)
            table->blob_ahead[table->blob_ahead_count++] = files[count - i];
    }
    seal_locked(table);
    begin_file_locked(table, files[0]);
    pthread_mutex_unlock(&blobs->mutex);
    return MOTE_OK;
}

/* What memtables hold may be what lets old versions go. */
static bool make_space(struct mote_db *db, uint32_t tries)
{
    if (blobs_reclaim(db, true))
        return true;
    if (tries == 0 && mote_flush(db) == MOTE_OK)
        return true;
    bool did = jobs_make_space(db);
    return blobs_reclaim(db, true) || did || (blobs_collect_garbage(db, true) && blobs_reclaim(db, true));
}

int blobs_allocate(struct mote_table *table, uint32_t page_count, bool may_make_space, struct blob_holds *holds, struct blob_piece *piece)
{
    struct mote_db *db = table->db;
    struct blobs *blobs = db->blobs;
    uint32_t tries = 0;
    int result = push_hold(db, holds, 1);
    while (!result && !take_piece(table, page_count, holds, piece)) {
        pthread_mutex_lock(&blobs->grow_mutex);
        bool taken = take_piece(table, page_count, holds, piece); /* somebody may have made one meanwhile */
        result = taken ? MOTE_OK : make_files(table);
        pthread_mutex_unlock(&blobs->grow_mutex);
        if (taken)
            break;
        if (result == MOTE_ENOSPC && may_make_space && tries < SPACE_TRIES && make_space(db, tries)) {
            tries++;
            result = MOTE_OK;
        } else if (result == MOTE_ENOSPC) {
            error_set(MOTE_ENOSPC, "%s has no room for a large value of table %s: delete rows, or give the table a retention", blockdev_path(db->device), atomic_load(&table->schema)->name);
        }
    }
    return result;
}

int blobs_locate(struct mote_db *db, const struct blob_piece *piece, uint64_t *device_bytes)
{
    const struct layout *layout = &db->superblock.layout;
    pthread_mutex_lock(&db->blobs->mutex);
    const struct blob_file *file = find_locked(db->blobs, piece->file_id);
    struct extent_run run = file ? file->run : (struct extent_run){0, 0};
    pthread_mutex_unlock(&db->blobs->mutex);
    if (((uint64_t)piece->first_page + piece->page_count) * PAGE_BYTES > run.count * layout->extent_bytes)
        return error_set(MOTE_EDAMAGED, "a large value refers to blob file %" PRIu64 ", which is not there, or shorter: run fsck.mote", piece->file_id);
    *device_bytes = layout_extent_offset(layout, run.first) + (uint64_t)piece->first_page * PAGE_BYTES;
    return MOTE_OK;
}

void blobs_count(struct mote_db *db, uint64_t *file_count, uint64_t *device_bytes)
{
    pthread_mutex_lock(&db->blobs->mutex);
    *file_count = db->blobs->count;
    *device_bytes = 0;
    for (uint32_t i = 0; i < db->blobs->count; i++)
        *device_bytes += db->blobs->files[i]->run.count * db->superblock.layout.extent_bytes;
    pthread_mutex_unlock(&db->blobs->mutex);
}

bool blobs_is_settled(struct mote_db *db, const struct blob_file *file)
{
    pthread_mutex_lock(&db->blobs->mutex);
    bool settled = file->holds == 0 && atomic_load(&file->generations) == 0 && !file->stuck;
    pthread_mutex_unlock(&db->blobs->mutex);
    return settled;
}

void blobs_set_stuck(struct mote_db *db, uint64_t file_id)
{
    pthread_mutex_lock(&db->blobs->mutex);
    struct blob_file *file = find_locked(db->blobs, file_id);
    if (file)
        file->stuck = true;
    pthread_mutex_unlock(&db->blobs->mutex);
}

/* ---- Copies ---- */

/* What is used of the files that tables write to; those that are fuller than not are sealed, so that what is copied of them need not be copied again. */
static void look_at_open_locked(struct mote_db *db)
{
    for (uint32_t i = 0; i < db->options.tables_max; i++) {
        struct mote_table *table = &db->tables[i];
        if (table->db != db || !table->blob_file)
            continue;
        table->blob_file->used_pages = table->blob_next_page;
        if (table->blob_next_page > table->blob_pages / 2)
            seal_locked(table);
    }
}

static void note_uses_locked(const struct blobs *blobs, const struct version *version, struct blob_copy *copies)
{
    for (uint32_t t = 0; t < version->count; t++)
        for (uint32_t s = 0; s < version->lists[t]->count; s++) {
            const struct segment *segment = version->lists[t]->segments[s];
            for (uint32_t i = 0; i < segment->blob_count; i++) {
                uint32_t at = place_locked(blobs, segment->blobs[i].file->id);
                assert(at < blobs->count); /* a file that a segment names is not dropped */
                copies[at].file = segment->blobs[i].file;
            }
        }
}

int blobs_hold_version(struct mote_db *db, const struct version *version, struct blob_copy **copies, uint32_t *count, uint64_t *mark)
{
    struct blobs *blobs = db->blobs;
    const struct layout *layout = &db->superblock.layout;
    *count = 0;
    pthread_mutex_lock(&blobs->mutex);
    struct blob_copy *made = *copies = memory_alloc_zero(db->memory, (blobs->count + 1) * sizeof *made);
    if (made) {
        look_at_open_locked(db);
        note_uses_locked(blobs, version, made);
    }
    for (uint32_t i = 0; made && i < blobs->count; i++) {
        struct blob_file *file = blobs->files[i];
        bool used = made[i].file != NULL;
        if ((!used || file->holds > 0) && file->id < *mark)
            *mark = file->id;
        if (!used)
            continue;
        file->holds++;
        made[(*count)++] = (struct blob_copy){file, file->used_pages ? (uint64_t)file->used_pages * PAGE_BYTES : file->run.count * layout->extent_bytes};
    }
    pthread_mutex_unlock(&blobs->mutex);
    return made ? MOTE_OK : MOTE_EBUDGET;
}

void blobs_let_go_copy(struct mote_db *db, struct blob_copy *copy)
{
    pthread_mutex_lock(&db->blobs->mutex);
    release_locked(db->blobs, copy->file);
    copy->file = NULL;
    pthread_mutex_unlock(&db->blobs->mutex);
}

void blobs_let_go_copies(struct mote_db *db, struct blob_copy *copies, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++)
        if (copies[i].file)
            blobs_let_go_copy(db, &copies[i]);
    memory_free(db->memory, copies);
}

/* ---- Dropping ---- */

/* With the mutex no hold comes; see invariant 5 of blob_file.h for the order. */
static bool is_unused(const struct blob_file *file) { return file->holds == 0 && atomic_load(&file->generations) == 0 && atomic_load(&file->segments) == 0; }

static void seal_unused_locked(struct mote_db *db)
{
    for (uint32_t i = 0; i < db->options.tables_max; i++) {
        struct mote_table *table = &db->tables[i];
        struct blob_file *file = table->db == db ? table->blob_file : NULL;
        if (table->db == db)
            let_go_ahead_locked(table);
        if (file && file->holds == 1 && atomic_load(&file->generations) == 0 && atomic_load(&file->segments) == 0)
            seal_locked(table);
    }
}

/* Takes up to DROPS_MAX unused files off the list. */
static uint32_t collect_unused(struct mote_db *db, bool everything, struct blob_file **unused)
{
    struct blobs *blobs = db->blobs;
    uint32_t count = 0, kept = 0;
    pthread_mutex_lock(&blobs->mutex);
    atomic_store(&blobs->wanted, 0);
    if (everything)
        seal_unused_locked(db);
    for (uint32_t i = 0; i < blobs->count; i++) {
        struct blob_file *file = blobs->files[i];
        if (count < DROPS_MAX && is_unused(file))
            unused[count++] = file;
        else
            blobs->files[kept++] = file;
    }
    blobs->count = kept;
    if (count == DROPS_MAX)
        atomic_store(&blobs->wanted, 1);
    pthread_mutex_unlock(&blobs->mutex);
    return count;
}

bool blobs_reclaim(struct mote_db *db, bool everything)
{
    struct blob_file *unused[DROPS_MAX];
    struct blobs *blobs = db->blobs;
    struct manifest_edit *edit;
    if (db->read_only || atomic_load(&db->poisoned))
        return false;
    if (everything)
        generations_let_go(db);
    bool wanted = manifest_take_blobs_unused(db->manifest);
    if (!(wanted || atomic_load_explicit(&blobs->wanted, memory_order_relaxed) || everything))
        return false;
    pthread_mutex_lock(&blobs->grow_mutex); /* nobody adds to the list between taking files off it and, if the edit fails, back */
    uint32_t count = collect_unused(db, everything, unused);
    int result = count ? manifest_edit_begin(db->manifest, &edit) : MOTE_OK;
    if (count && !result) {
        for (uint32_t i = 0; i < count; i++)
            manifest_edit_drop_blob_file(edit, unused[i]->id);
        result = db_settle(db, manifest_commit(edit, NULL, NULL));
    }
    if (result) {
        pthread_mutex_lock(&blobs->mutex);
        for (uint32_t i = 0; i < count; i++)
            add_locked(blobs, unused[i]);
        atomic_store(&blobs->wanted, 1);
        pthread_mutex_unlock(&blobs->mutex);
    }
    pthread_mutex_unlock(&blobs->grow_mutex);
    return count && !result;
}
