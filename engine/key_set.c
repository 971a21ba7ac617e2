/* key_set.c: see key_set.h. */
#include "engine/key_set.h"

#include <assert.h>
#include <string.h>

#include "blockdev/base/crc32c.h"
#include "blockdev/base/memory.h"
#include "include/mote.h"

struct slot {
    uint32_t key_bytes; /* plus 1; 0: empty */
    uint64_t at;
};

struct key_set {
    uint64_t mask;
    uint64_t used_bytes, bytes_max;
    uint8_t *bytes;
    struct slot slots[];
};

int key_set_create(struct memory *memory, uint64_t keys_max, uint64_t bytes_max, struct key_set **out)
{
    uint64_t slots = 16;
    while (slots < keys_max * 2)
        slots *= 2;
    struct key_set *set = memory_alloc_zero(memory, sizeof *set + slots * sizeof set->slots[0] + bytes_max);
    *out = set;
    if (!set)
        return MOTE_EBUDGET;
    set->mask = slots - 1;
    set->bytes_max = bytes_max;
    set->bytes = (uint8_t *)&set->slots[slots];
    return MOTE_OK;
}

void key_set_destroy(struct memory *memory, struct key_set *set) { memory_free(memory, set); }

bool key_set_add(struct key_set *set, const uint8_t *key, uint32_t key_bytes)
{
    uint64_t at = crc32c(0, key, key_bytes) * 0x9E3779B97F4A7C15ull >> 20;
    for (;; at++) {
        struct slot *slot = &set->slots[at & set->mask];
        if (slot->key_bytes == 0) {
            assert(set->used_bytes + key_bytes <= set->bytes_max);
            memcpy(set->bytes + set->used_bytes, key, key_bytes);
            *slot = (struct slot){key_bytes + 1, set->used_bytes};
            set->used_bytes += key_bytes;
            return true;
        }
        if (slot->key_bytes == key_bytes + 1 && memcmp(set->bytes + slot->at, key, key_bytes) == 0)
            return false;
    }
}
