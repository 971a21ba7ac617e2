/* unique_map.c: see unique.h. Open addressing with linear probing over a private copy of the keys; equal hashes lie in one stretch. One thread at a time. */
#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "blockdev/base/bytes.h"
#include "engine/unique.h"
#include "index/column_index.h"

#define ENTRIES_MIN 64u

uint64_t unique_hash(const void *data, uint64_t size_bytes)
{
    const uint8_t *at = data;
    uint64_t hash = 0x9e3779b97f4a7c15u ^ size_bytes, rest = 0;
    for (; size_bytes >= 8; at += 8, size_bytes -= 8) {
        hash = (hash ^ load_u64(at)) * 0xff51afd7ed558ccdu;
        hash ^= hash >> 32;
    }
    for (uint32_t i = 0; i < size_bytes; i++)
        rest |= (uint64_t)at[i] << 8 * i;
    hash = (hash ^ rest) * 0xff51afd7ed558ccdu;
    hash ^= hash >> 29;
    hash *= 0xc4ceb9fe1a85ec53u;
    hash ^= hash >> 32;
    return hash ? hash : 1;
}

void unique_value_text(const struct mote_value *value, char text[UNIQUE_TEXT_BYTES])
{
    uint64_t size_bytes = value->as.bytes.size_bytes;
    switch (value->type) {
    case MOTE_TYPE_TEXT:
        snprintf(text, UNIQUE_TEXT_BYTES, "\"%.*s\"%s", (int)(size_bytes < 40 ? size_bytes : 40), size_bytes ? (const char *)value->as.bytes.data : "", size_bytes > 40 ? "..." : "");
        break;
    case MOTE_TYPE_BLOB:
        snprintf(text, UNIQUE_TEXT_BYTES, "(a blob of %" PRIu64 " bytes)", size_bytes);
        break;
    case MOTE_TYPE_FLOAT64:
        snprintf(text, UNIQUE_TEXT_BYTES, "%.17g", value->as.f64);
        break;
    case MOTE_TYPE_FLOAT32:
        snprintf(text, UNIQUE_TEXT_BYTES, "%.9g", (double)value->as.f32);
        break;
    default:
        snprintf(text, UNIQUE_TEXT_BYTES, "%" PRId64, value->type == MOTE_TYPE_BOOL ? (int64_t)value->as.boolean : value->type == MOTE_TYPE_INT32 ? (int64_t)value->as.i32 : value->as.i64);
    }
}

uint64_t unique_hash_value(const struct mote_value *value)
{
    uint8_t bytes[COLUMN_RANK_BYTES_MAX];
    if (value->type == MOTE_TYPE_TEXT || value->type == MOTE_TYPE_BLOB)
        return unique_hash(value->as.bytes.data, value->as.bytes.size_bytes);
    return unique_hash(bytes, column_rank_bytes(value, false, bytes));
}

static bool has_room(const struct unique_map *map, uint64_t entries, uint64_t key_bytes) { return 2 * (map->used + entries) <= map->capacity && key_bytes <= map->keys_capacity - map->keys_bytes; }

int unique_map_reserve(struct unique_map *map, uint64_t entries, uint64_t key_bytes, uint64_t mark_min)
{
    struct unique_map made = {.memory = map->memory, .capacity = ENTRIES_MIN};
    uint64_t kept = 0, kept_bytes = 0;
    if (map->capacity && has_room(map, entries, key_bytes))
        return MOTE_OK;
    for (uint64_t i = 0; i < map->capacity; i++) {
        bool stays = map->entries[i].key_bytes && map->entries[i].mark > mark_min;
        kept += stays;
        kept_bytes += stays ? map->entries[i].key_bytes - 1 : 0;
    }
    /* Twice what is needed now, so that many small writes do not copy the map each time. */
    while (made.capacity < 4 * (kept + entries))
        made.capacity *= 2;
    made.keys_capacity = 2 * (kept_bytes + key_bytes) + 1024;
    made.entries = memory_alloc_zero(map->memory, made.capacity * sizeof *made.entries);
    made.keys = memory_alloc(map->memory, made.keys_capacity);
    if (!made.entries || !made.keys) {
        unique_map_free(&made);
        return MOTE_EBUDGET;
    }
    for (uint64_t i = 0; i < map->capacity; i++) {
        const struct unique_entry *entry = &map->entries[i];
        if (entry->key_bytes && entry->mark > mark_min)
            unique_map_add(&made, entry->hash, unique_map_key(map, entry), entry->key_bytes - 1, entry->mark);
    }
    unique_map_free(map);
    *map = made;
    return MOTE_OK;
}

void unique_map_add(struct unique_map *map, uint64_t hash, const uint8_t *key, uint32_t key_bytes, uint64_t mark)
{
    uint64_t slot = hash & (map->capacity - 1);
    for (;; slot = (slot + 1) & (map->capacity - 1)) {
        struct unique_entry *entry = &map->entries[slot];
        if (entry->key_bytes == 0)
            break;
        if (entry->hash == hash && entry->key_bytes == key_bytes + 1 && memcmp(unique_map_key(map, entry), key, key_bytes) == 0) {
            entry->mark = mark;
            return;
        }
    }
    assert(has_room(map, 1, key_bytes));
    map->entries[slot] = (struct unique_entry){hash, mark, map->keys_bytes, key_bytes + 1};
    memcpy(map->keys + map->keys_bytes, key, key_bytes);
    map->keys_bytes += key_bytes;
    map->used++;
}

struct unique_entry *unique_map_next(const struct unique_map *map, uint64_t hash, uint64_t *at)
{
    while (map->capacity) {
        struct unique_entry *entry = &map->entries[(hash + (*at)++) & (map->capacity - 1)];
        if (entry->key_bytes == 0)
            return NULL;
        if (entry->hash == hash)
            return entry;
    }
    return NULL;
}

void unique_map_free(struct unique_map *map)
{
    struct memory *memory = map->memory;
    memory_free(memory, map->entries);
    memory_free(memory, map->keys);
    *map = (struct unique_map){.memory = memory};
}
