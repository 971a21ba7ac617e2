/* sim_pages.c: the simulated disk's content: tables of counted 4 KiB pages. A crash image is a table over a frozen base: to make one costs an array of
 * pointers and the pages that differ, not a copy of the device.
 *
 * Invariants: a page with more than one reference is never changed; a base is never changed. Threads: reference counts are atomic, tables belong to
 * whoever holds the device's mutex. Failures: memory that runs out aborts (test code). */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "blockdev/base/errors.h"
#include "blockdev/sim_private.h"

static const uint8_t zeros[PAGE_BYTES];

void *sim_allocate(size_t size_bytes)
{
    void *memory = calloc(1, size_bytes);
    if (!memory) {
        fprintf(stderr, "sim: no memory for %zu bytes\n", size_bytes);
        abort();
    }
    return memory;
}

void *sim_grow(void *array, uint32_t *capacity, uint32_t count, size_t item_bytes)
{
    if (count < *capacity)
        return array;
    uint32_t wanted = *capacity ? *capacity * 2 : 16;
    void *grown = realloc(array, (size_t)wanted * item_bytes);
    if (!grown) {
        fprintf(stderr, "sim: no memory for %u items\n", wanted);
        abort();
    }
    *capacity = wanted;
    return grown;
}

static void release_page(struct sim_page *page)
{
    if (page && atomic_fetch_sub_explicit(&page->refs, 1, memory_order_acq_rel) == 1)
        free(page);
}

/* Copies the pages that are not zero into a fresh mapping, so that the empty part of an image costs no memory. */
static uint8_t *copy_image(const uint8_t *image, uint64_t size_bytes)
{
    uint8_t *copy = mmap(NULL, size_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (copy == MAP_FAILED)
        return NULL;
    for (uint64_t at = 0; at < size_bytes; at += PAGE_BYTES) {
        size_t part_bytes = size_bytes - at < PAGE_BYTES ? (size_t)(size_bytes - at) : PAGE_BYTES;
        if (memcmp(image + at, zeros, part_bytes) != 0)
            memcpy(copy + at, image + at, part_bytes);
    }
    return copy;
}

int sim_base_create(const struct sim_options *options, struct sim_base **base)
{
    struct sim_base *made = calloc(1, sizeof *made);
    if (!made)
        return error_set(MOTE_ENOMEM, "no memory for a simulated disk");
    atomic_init(&made->refs, 1);
    made->page_count = (uint32_t)divide_up(options->size_bytes, PAGE_BYTES);
    if (options->initial) {
        made->flat_bytes = options->size_bytes;
        made->flat = options->initial;
        if (!options->initial_borrowed) {
            made->flat_owned = copy_image(options->initial, options->size_bytes);
            made->flat = made->flat_owned;
        }
        if (!made->flat) {
            free(made);
            return error_set(MOTE_ENOMEM, "no memory for a simulated disk of %llu bytes", (unsigned long long)options->size_bytes);
        }
    }
    *base = made;
    return MOTE_OK;
}

struct sim_base *sim_base_reference(struct sim_base *base)
{
    atomic_fetch_add_explicit(&base->refs, 1, memory_order_relaxed);
    return base;
}

void sim_base_release(struct sim_base *base)
{
    while (base && atomic_fetch_sub_explicit(&base->refs, 1, memory_order_acq_rel) == 1) {
        for (uint32_t i = 0; base->pages && i < base->page_count; i++)
            release_page(base->pages[i]);
        free(base->pages);
        if (base->flat_owned)
            munmap(base->flat_owned, base->flat_bytes);
        struct sim_base *parent = base->parent;
        free(base);
        base = parent;
    }
}

/* The bytes of a page and how many of them there are; the rest of the page is zeros. */
static const uint8_t *look_in_base(const struct sim_base *base, uint32_t page, size_t *size_bytes)
{
    for (; base; base = base->parent) {
        if (base->pages && base->pages[page]) {
            *size_bytes = PAGE_BYTES;
            return base->pages[page]->data;
        }
        if (base->flat) {
            uint64_t at = (uint64_t)page * PAGE_BYTES;
            *size_bytes = base->flat_bytes - at < PAGE_BYTES ? (size_t)(base->flat_bytes - at) : PAGE_BYTES;
            return base->flat + at;
        }
    }
    *size_bytes = PAGE_BYTES;
    return zeros;
}

static const uint8_t *look(const struct sim_table *table, uint32_t page, size_t *size_bytes)
{
    assert(page < table->page_count);
    for (const struct sim_table *at = table; at; at = at->below) {
        if (at->own[page]) {
            *size_bytes = PAGE_BYTES;
            return at->own[page]->data;
        }
        if (!at->below)
            return look_in_base(at->base, page, size_bytes);
    }
    return NULL;
}

/* The page as the table's own alone; whole: all of it will be overwritten. */
static uint8_t *make_own(struct sim_table *table, uint32_t page, bool whole)
{
    struct sim_page *own = table->own[page];
    if (own && atomic_load_explicit(&own->refs, memory_order_acquire) == 1)
        return own->data;
    struct sim_page *made = malloc(sizeof *made);
    if (!made) {
        fprintf(stderr, "sim: no memory for a page\n");
        abort();
    }
    atomic_init(&made->refs, 1);
    if (!whole) {
        size_t size_bytes;
        const uint8_t *old = look(table, page, &size_bytes);
        memcpy(made->data, old, size_bytes);
        memset(made->data + size_bytes, 0, PAGE_BYTES - size_bytes);
    }
    release_page(own);
    table->own[page] = made;
    return made->data;
}

void sim_table_init(struct sim_table *table, struct sim_base *base, const struct sim_table *below, uint64_t size_bytes)
{
    assert((base == NULL) != (below == NULL));
    table->base = base;
    table->below = below;
    table->page_count = (uint32_t)divide_up(size_bytes, PAGE_BYTES);
    table->own = sim_allocate(table->page_count * sizeof *table->own);
}

void sim_table_reset(struct sim_table *table)
{
    for (uint32_t i = 0; i < table->page_count; i++) {
        release_page(table->own[i]);
        table->own[i] = NULL;
    }
}

void sim_table_destroy(struct sim_table *table)
{
    for (uint32_t i = 0; i < table->page_count; i++)
        release_page(table->own[i]);
    free(table->own);
    sim_base_release(table->base);
}

void sim_table_write(struct sim_table *table, uint64_t offset_bytes, const uint8_t *data, uint64_t length_bytes)
{
    while (length_bytes > 0) {
        uint32_t page = (uint32_t)(offset_bytes / PAGE_BYTES);
        size_t within = (size_t)(offset_bytes % PAGE_BYTES);
        size_t part_bytes = PAGE_BYTES - within < length_bytes ? PAGE_BYTES - within : (size_t)length_bytes;
        uint8_t *own = make_own(table, page, part_bytes == PAGE_BYTES);
        if (data) {
            memcpy(own + within, data, part_bytes);
            data += part_bytes;
        } else {
            memset(own + within, 0, part_bytes);
        }
        offset_bytes += part_bytes;
        length_bytes -= part_bytes;
    }
}

void sim_table_lose(struct sim_table *table, uint64_t offset_bytes, uint64_t length_bytes)
{
    uint8_t sector[SECTOR_BYTES];
    memset(sector, SIM_LOST_BYTE, sizeof sector);
    for (uint64_t at = 0; at < length_bytes; at += sizeof sector)
        sim_table_write(table, offset_bytes + at, sector, length_bytes - at < sizeof sector ? length_bytes - at : sizeof sector);
}

void sim_table_read(const struct sim_table *table, uint64_t offset_bytes, uint8_t *data, uint64_t length_bytes)
{
    while (length_bytes > 0) {
        size_t within = (size_t)(offset_bytes % PAGE_BYTES);
        size_t part_bytes = PAGE_BYTES - within < length_bytes ? PAGE_BYTES - within : (size_t)length_bytes;
        size_t size_bytes;
        const uint8_t *page = look(table, (uint32_t)(offset_bytes / PAGE_BYTES), &size_bytes);
        assert(within + part_bytes <= size_bytes);
        memcpy(data, page + within, part_bytes);
        data += part_bytes;
        offset_bytes += part_bytes;
        length_bytes -= part_bytes;
    }
}

struct sim_base *sim_table_freeze(struct sim_table *table)
{
    assert(table->base && !table->below);
    struct sim_base *frozen = sim_allocate(sizeof *frozen);
    atomic_init(&frozen->refs, 1);
    frozen->parent = sim_base_reference(table->base);
    frozen->page_count = table->page_count;
    frozen->pages = sim_allocate(table->page_count * sizeof *frozen->pages);
    for (uint32_t i = 0; i < table->page_count; i++) {
        frozen->pages[i] = table->own[i];
        if (table->own[i])
            atomic_fetch_add_explicit(&table->own[i]->refs, 1, memory_order_relaxed);
    }
    return frozen;
}
