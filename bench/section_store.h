/* section_store.h: an index section in memory for the benches of the indexes: room for the bound of its size is there from the beginning, and reading a page is handing out its place, as from a warm cache whose pages were verified before. */
#ifndef MOTE_BENCH_SECTION_STORE_H
#define MOTE_BENCH_SECTION_STORE_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "blockdev/section.h"

struct section_store {
    uint8_t *bytes;
    uint64_t length, capacity;
    uint64_t *reads; /* counts pages where it is not NULL; for one thread */
    struct section_sink sink;
    struct section_source source;
};

static inline int section_store_place(void *context, uint32_t length_bytes, uint64_t *offset_bytes)
{
    const struct section_store *store = context;
    if (store->length + length_bytes > store->capacity) {
        fprintf(stderr, "a section is longer than the bound of its size\n");
        exit(1);
    }
    *offset_bytes = store->length;
    return 0;
}

static inline int section_store_append(void *context, const void *data, uint32_t length_bytes)
{
    struct section_store *store = context;
    memcpy(store->bytes + store->length, data, length_bytes);
    store->length += length_bytes;
    return 0;
}

static inline int section_store_read(void *context, uint64_t offset_bytes, uint32_t length_bytes, int (*check)(const uint8_t *, uint32_t, void *), void *check_context, const uint8_t **data, void **handle)
{
    const struct section_store *store = context;
    (void)length_bytes, (void)check, (void)check_context;
    if (store->reads)
        ++*store->reads;
    *data = store->bytes + offset_bytes;
    *handle = NULL;
    return 0;
}

static inline void section_store_release(void *context, void *handle) { (void)context, (void)handle; }

/* Stays where it is from here on. All of it is touched, so that no measured write is the first of its page. */
static inline void section_store_open(struct section_store *store, uint64_t capacity, uint64_t *reads)
{
    *store = (struct section_store){.bytes = malloc(capacity), .capacity = capacity, .reads = reads};
    if (!store->bytes) {
        fprintf(stderr, "no memory for a section\n");
        exit(1);
    }
    memset(store->bytes, 1, capacity);
    store->sink = (struct section_sink){section_store_place, section_store_append, store};
    store->source = (struct section_source){.read = section_store_read, .release = section_store_release, .context = store};
}

#endif
