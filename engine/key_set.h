/* key_set.h: a set of keys of known greatest number and size, for finding repeats within one batch. Open addressing over a private copy of the keys. One thread. */
#ifndef MOTE_ENGINE_KEY_SET_H
#define MOTE_ENGINE_KEY_SET_H

#include <stdbool.h>
#include <stdint.h>

struct memory;
struct key_set;

int key_set_create(struct memory *memory, uint64_t keys_max, uint64_t bytes_max, struct key_set **set);
void key_set_destroy(struct memory *memory, struct key_set *set);
/* false: the key is in the set already. */
bool key_set_add(struct key_set *set, const uint8_t *key, uint32_t key_bytes);

#endif
