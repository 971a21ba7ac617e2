/* overlay.c: see overlay.h. */
#include "engine/overlay.h"

#include "engine/write_set.h"

#define ARENA_BYTES_MIN (16u * 1024u)
#define TABLE_SLOTS_MIN 4u

/* A memtable to be filled, before it takes the place of the old one. */
struct making {
    struct overlay made; /* of which memtables, arena and figures count */
    uint64_t limit_seq;
    bool full;
};

static void free_memtables(struct overlay *overlay)
{
    memtable_generation_destroy(overlay->db->memory, overlay->memtables);
    memory_free(overlay->db->memory, overlay->arena);
    overlay->memtables = NULL;
    overlay->arena = NULL;
}

static int make_memtables(struct overlay *overlay)
{
    overlay->arena = memory_alloc_aligned(overlay->db->memory, overlay->arena_bytes, 64);
    if (!overlay->arena)
        return MOTE_EBUDGET;
    int result = memtable_generation_create(overlay->db->memory, overlay->arena, overlay->arena_bytes, overlay->table_slots, &overlay->memtables);
    if (result)
        free_memtables(overlay);
    return result;
}

/* false: there is no room, or no slot for the table. */
static bool insert(struct overlay *overlay, uint64_t table_id, const struct schema *schema, const struct record *record, const uint8_t *image, uint32_t image_bytes)
{
    struct memtable_room room;
    struct memtable *memtable = memtable_of_table(overlay->memtables, table_id, true);
    if (!memtable || !memtable_reserve(overlay->memtables, memtable_room_bytes(1, round_up(image_bytes, 8) + record->key_bytes), &room))
        return false;
    memtable_insert(memtable, &room, schema, record->key, record->key_bytes, record->seq, (enum record_kind)record->kind, image, image_bytes);
    memtable_unreserve(overlay->memtables, &room);
    overlay->row_count++;
    overlay->content_bytes += round_up(image_bytes, 8) + round_up(record->key_bytes, 8);
    overlay->ops_bytes += LOG_OP_HEADER_BYTES + LOG_ITEM_HEADER_BYTES + round_up(image ? image_bytes : record->key_bytes, 8);
    return true;
}

static int copy_table(void *context, uint64_t table_id, struct memtable *memtable)
{
    struct making *making = context;
    struct memtable_iterator iterator;
    memtable_iterate(memtable, &iterator);
    for (bool on = memtable_first(&iterator); on; on = memtable_next(&iterator)) {
        struct record record;
        const struct schema *schema;
        const uint8_t *image;
        uint32_t image_bytes;
        memtable_record(&iterator, &record, &schema, &image, &image_bytes);
        if (record.seq > making->limit_seq)
            continue;
        making->full = !insert(&making->made, table_id, schema, &record, image, image_bytes);
        if (making->full)
            return 1;
    }
    return 0;
}

/* The writes up to a number in an arena of at least so many bytes. */
static int make_anew(struct overlay *overlay, uint64_t writes, uint64_t arena_bytes, uint32_t table_slots)
{
    struct making making = {.limit_seq = OVERLAY_SEQ + writes, .full = true};
    for (; making.full; arena_bytes *= 2) {
        making.made = (struct overlay){.db = overlay->db, .arena_bytes = arena_bytes, .table_slots = table_slots};
        int result = make_memtables(&making.made);
        if (result)
            return result;
        making.full = false;
        if (overlay->memtables)
            memtable_visit(overlay->memtables, copy_table, &making);
        if (making.full)
            free_memtables(&making.made);
    }
    free_memtables(overlay);
    overlay->memtables = making.made.memtables;
    overlay->arena = making.made.arena;
    overlay->arena_bytes = making.made.arena_bytes;
    overlay->table_slots = table_slots;
    overlay->row_count = making.made.row_count;
    overlay->content_bytes = making.made.content_bytes;
    overlay->ops_bytes = making.made.ops_bytes;
    overlay->writes = writes;
    return MOTE_OK;
}

int overlay_create(struct mote_db *db, struct overlay **out)
{
    struct overlay *overlay = memory_alloc_zero(db->memory, sizeof *overlay);
    if (!overlay)
        return MOTE_EBUDGET;
    *overlay = (struct overlay){.db = db, .references = 1};
    int result = make_anew(overlay, 0, ARENA_BYTES_MIN, TABLE_SLOTS_MIN);
    if (result)
        memory_free(db->memory, overlay);
    else
        *out = overlay;
    return result;
}

void overlay_hold(struct overlay *overlay) { overlay->references++; }

void overlay_release(struct overlay *overlay)
{
    assert(overlay->references > 0);
    if (--overlay->references > 0)
        return;
    struct memory *memory = overlay->db->memory;
    free_memtables(overlay);
    memory_free(memory, overlay);
}

int overlay_write(struct overlay *overlay, uint64_t table_id, const struct schema *schema, const uint8_t *key, uint32_t key_bytes, const uint8_t *image, uint32_t image_bytes)
{
    struct record record = {.key = key, .key_bytes = key_bytes, .kind = image ? RECORD_PUT : RECORD_DELETE, .seq = OVERLAY_SEQ + overlay->writes + 1};
    uint64_t ops_bytes = LOG_OP_HEADER_BYTES + LOG_ITEM_HEADER_BYTES + round_up(image ? image_bytes : key_bytes, 8);
    int result = write_set_check_size(overlay->db, overlay->row_count + 1, overlay->content_bytes + round_up(image_bytes, 8) + round_up(key_bytes, 8), overlay->ops_bytes + ops_bytes);
    while (!result && !insert(overlay, table_id, schema, &record, image, image_bytes)) {
        bool slots = memtable_of_table(overlay->memtables, table_id, true) == NULL;
        result = make_anew(overlay, overlay->writes, 2 * overlay->arena_bytes, slots ? 2 * overlay->table_slots : overlay->table_slots);
    }
    overlay->writes += !result;
    return result;
}

int overlay_return(struct overlay *overlay, uint64_t writes)
{
    assert(writes <= overlay->writes);
    return make_anew(overlay, writes, ARENA_BYTES_MIN, overlay->table_slots);
}
