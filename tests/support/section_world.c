/* section_world.c: see section_world.h. */
#include "tests/support/section_world.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "blockdev/base/memory.h"
#include "include/mote.h"
#include "tests/support/codec_check.h"

static void need(bool holds)
{
    if (!holds) {
        fprintf(stderr, "section_world: out of memory, or an announced page that is not inside\n");
        abort();
    }
}

static int place(void *context, uint32_t length_bytes, uint64_t *offset_bytes)
{
    struct section_world *world = context;
    uint64_t gap = world->gaps && world->length > 0 ? 64 * (codec_check_random(&world->random) % 5) : 0;
    if (world->length + gap + length_bytes > world->capacity) {
        world->capacity = 2 * (world->length + gap + length_bytes);
        world->bytes = realloc(world->bytes, world->capacity);
        need(world->bytes != NULL);
    }
    memset(world->bytes + world->length, 0xa5, gap);
    world->length += gap;
    *offset_bytes = world->length;
    return 0;
}

static int append(void *context, const void *data, uint32_t length_bytes)
{
    struct section_world *world = context;
    memcpy(world->bytes + world->length, data, length_bytes);
    world->length += length_bytes;
    return 0;
}

static int read_page(void *context, uint64_t offset_bytes, uint32_t length_bytes, int (*check)(const uint8_t *, uint32_t, void *), void *check_context, const uint8_t **data, void **handle)
{
    struct section_world *world = context;
    if (offset_bytes > world->length || length_bytes > world->length - offset_bytes)
        return MOTE_EDAMAGED;
    uint8_t *copy = malloc(length_bytes);
    need(copy != NULL);
    memcpy(copy, world->bytes + offset_bytes, length_bytes);
    world->reads++;
    int result = check(copy, length_bytes, check_context);
    if (result) {
        free(copy);
        return result;
    }
    world->pinned++;
    *data = copy;
    *handle = copy;
    return 0;
}

static void release_page(void *context, void *handle)
{
    struct section_world *world = context;
    world->pinned--;
    free(handle);
}

static void announce_pages(void *context, const struct section_page *pages, uint32_t count, int (*check)(const uint8_t *, uint32_t, void *))
{
    struct section_world *world = context;
    for (uint32_t i = 0; i < count; i++) {
        need(pages[i].offset_bytes <= world->length && pages[i].length_bytes <= world->length - pages[i].offset_bytes);
        world->announced += check(world->bytes + pages[i].offset_bytes, pages[i].length_bytes, pages[i].check_context) == 0;
    }
}

struct memory *section_world_memory(uint64_t budget_bytes)
{
    struct memory *memory;
    need(memory_create(budget_bytes, false, &memory) == 0 && memory_seal(memory) == 0);
    return memory;
}

void section_world_begin(struct section_world *world, bool gaps, bool prefetch)
{
    *world = (struct section_world){.random = 99, .gaps = gaps, .identity = {.segment_id = 77, .section_id = 5}};
    for (uint8_t i = 0; i < 16; i++)
        world->identity.uuid[i] = i;
    world->sink = (struct section_sink){place, append, world};
    world->source = (struct section_source){.read = read_page, .release = release_page, .context = world, .prefetch = prefetch ? announce_pages : NULL};
}

void section_world_end(struct section_world *world)
{
    free(world->bytes);
    world->bytes = NULL;
}
