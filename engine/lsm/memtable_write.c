/* memtable_write.c: a row's way into the memtable (memtable.h): a place in its series' run, or a node of the skiplist, filled by the caller, then shown to readers.
 *
 * A row that finds its run takes none of the room, except for an image that the run does not hold itself; the room is there for the case that it does not. Runs that a write has entered are its own until it publishes, so that several rows
 * of one series cost one entering.
 * Threads: a write belongs to one thread; any number of writes at a time. Never fails. */
#include "engine/lsm/memtable_private.h"

#include <assert.h>

#include "blockdev/base/units.h"

void memtable_write_begin(struct memtable_write *write, struct memtable *memtable, struct memtable_room *room, const struct schema *schema)
{
    write->memtable = memtable;
    write->room = room;
    write->schema = schema;
    write->row_count = write->run_count = write->node_count = 0;
}

static inline uint8_t *take_room(struct memtable_room *room, uint64_t size_bytes, const struct memtable *memtable, uint32_t *offset)
{
    assert(size_bytes <= room->end - room->at);
    *offset = (uint32_t)(room->at / NODE_UNIT_BYTES);
    room->at += size_bytes;
    return memtable->list.arena + (uint64_t)*offset * NODE_UNIT_BYTES;
}

/* Height of the next tower: one in four has the next level. Taken from the seq, which is never repeated, so that no thread keeps a state. */
static inline uint32_t draw_height(uint64_t seq, struct memtable_room *room)
{
    uint32_t height = 1 + (uint32_t)__builtin_ctzll(mix_bits(seq) | 1ull << (2 * (TOWER_HEIGHT_MAX - 1))) / 2;
    room->tower_credit += 2;
    if (height > room->tower_credit)
        height = room->tower_credit;
    room->tower_credit -= height;
    /* A node has at least one link; two were just earned, so that the credit never falls below what later rows need. */
    assert(height >= 1 && height <= TOWER_HEIGHT_MAX);
    return height;
}

static uint8_t *place_node(struct memtable_write *write, const struct skip_target *target, enum record_kind kind, uint32_t image_bytes)
{
    uint32_t height = draw_height(target->seq, write->room), image_at = node_image_at(height, target->key_bytes), offset;
    struct skip_node *node = (struct skip_node *)(void *)take_room(write->room, image_at + round_up(image_bytes, NODE_UNIT_BYTES), write->memtable, &offset);
    node->prefix = target->prefix;
    node->seq = target->seq;
    node->schema = write->schema;
    node->image_bytes = image_bytes;
    node->key_bytes = (uint16_t)target->key_bytes;
    node->kind = (uint8_t)kind;
    node->height = (uint8_t)height;
    memcpy((uint8_t *)node + node_key_at(height), target->key, target->key_bytes);
    write->nodes[write->node_count++] = offset;
    if (write->room->note && kind == RECORD_PUT)
        memtable_note_add(write->memtable, write->room, (const uint8_t *)node, NULL);
    return (uint8_t *)node + image_at;
}

uint8_t *memtable_write_place(struct memtable_write *write, const uint8_t *key, uint32_t key_bytes, uint64_t seq, enum record_kind kind, uint32_t image_bytes)
{
    assert(key_bytes <= MOTE_KEY_BYTES_MAX && write->row_count < MEMTABLE_WRITE_ROWS_MAX);
    const struct schema *schema = write->schema;
    struct skip_target target = skip_target_make(key, key_bytes, seq);
    uint32_t tail_bytes = schema->key_tail_bytes;
    write->row_count++;
    bool whole = tail_bytes != 0 && key_bytes >= tail_bytes && (schema->key_bytes_fixed == 0 || key_bytes == schema->key_bytes_fixed);
    if (!whole || kind != RECORD_PUT)
        return place_node(write, &target, kind, image_bytes);
    struct run *run;
    bool entered;
    uint8_t *place = run_place(write->memtable, schema, &target, tail_bytes, (uint64_t)(uintptr_t)write, &run, &entered);
    if (entered)
        write->runs[write->run_count++] = run;
    if (!place)
        return place_node(write, &target, kind, image_bytes);
    assert(run->image_bytes == 0 || run->image_bytes == image_bytes);
    if (write->room->note)
        memtable_note_add(write->memtable, write->room, place - run->image_at, run);
    if (run->image_bytes != 0)
        return place;
    uint32_t offset;
    uint8_t *image = take_room(write->room, round_up(image_bytes, NODE_UNIT_BYTES), write->memtable, &offset);
    store_u32(place, offset);
    store_u32(place + 4, image_bytes);
    return image;
}

void memtable_write_publish(struct memtable_write *write)
{
    struct memtable *memtable = write->memtable;
    for (uint32_t i = 0; i < write->run_count; i++)
        run_publish(write->runs[i]);
    for (uint32_t i = 0; i < write->node_count; i++) {
        struct skip_target target = node_target(node_at(&memtable->list, write->nodes[i]));
        skiplist_link(&memtable->list, &target, write->nodes[i], series_tag(&target, write->schema->key_tail_bytes));
    }
    atomic_fetch_add_explicit(&memtable->count, write->row_count, memory_order_relaxed);
    write->row_count = write->run_count = write->node_count = 0;
}

void memtable_insert(struct memtable *memtable, struct memtable_room *room, const struct schema *schema, const uint8_t *key, uint32_t key_bytes, uint64_t seq, enum record_kind kind, const uint8_t *image,
                     uint32_t image_bytes)
{
    assert((kind == RECORD_PUT) == (image != NULL));
    struct memtable_write write;
    memtable_write_begin(&write, memtable, room, schema);
    uint8_t *place = memtable_write_place(&write, key, key_bytes, seq, kind, image_bytes);
    if (image_bytes != 0)
        memcpy(place, image, image_bytes);
    memtable_write_publish(&write);
}

#define KEYS_BYTES 2048u
_Static_assert(KEYS_BYTES >= MOTE_KEY_BYTES_MAX, "a key at least");

static void copy_images(const uint8_t *from, size_t count, size_t size_bytes, uint8_t *const *to)
{
    for (size_t i = 0; i < count; i++, from += size_bytes)
        memcpy(to[i], from, size_bytes);
}

int64_t memtable_insert_batch(struct memtable *memtable, struct memtable_room *room, const struct row_batch *prepared, const uint8_t *images, size_t first_row, size_t row_count, uint64_t first_seq, int64_t rowid,
                              int64_t *rowid_max)
{
    const struct schema *schema = prepared->schema;
    uint8_t keys[KEYS_BYTES], *places[MEMTABLE_WRITE_ROWS_MAX];
    uint32_t key_bytes = schema->key_bytes_fixed;
    assert(!schema->has_var && key_bytes > 0);
    size_t tile_rows = KEYS_BYTES / key_bytes < MEMTABLE_WRITE_ROWS_MAX ? KEYS_BYTES / key_bytes : MEMTABLE_WRITE_ROWS_MAX, stride_bytes = round_up(schema->fixed_bytes, NODE_UNIT_BYTES);
    struct memtable_write write;
    memtable_write_begin(&write, memtable, room, schema);
    for (size_t done = 0; done < row_count; done += tile_rows) {
        size_t first = first_row + done, count = row_count - done < tile_rows ? row_count - done : tile_rows;
        int64_t next_rowid = row_batch_encode_keys(prepared, first, count, rowid, keys, key_bytes);
        for (size_t i = 0; i < count; i++) {
            const uint8_t *key = keys + i * key_bytes;
            int64_t seen = schema->auto_increment ? (int64_t)(load_be64(key) ^ (1ull << 63)) : INT64_MIN;
            *rowid_max = seen > *rowid_max && seen != INT64_MAX ? seen : *rowid_max; /* nothing comes after the last number: it leaves the counter alone */
            places[i] = memtable_write_place(&write, key, key_bytes, first_seq + done + i, RECORD_PUT, schema->fixed_bytes);
        }
        if (images)
            copy_images(images + first * stride_bytes, count, stride_bytes, places);
        else
            row_batch_encode_at(prepared, first, count, rowid, places);
        rowid = next_rowid;
        memtable_write_publish(&write);
    }
    return rowid;
}
