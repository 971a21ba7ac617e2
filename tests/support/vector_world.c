/* vector_world.c: see vector_world.h. */
#include "tests/support/vector_world.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "blockdev/base/bytes.h"
#include "blockdev/base/crc32c.h"
#include "blockdev/base/memory.h"
#include "index/vector_format.h"
#include "tests/support/codec_check.h"

static void need(bool holds)
{
    if (!holds) {
        fprintf(stderr, "vector_world: out of memory, or a build that failed\n");
        abort();
    }
}

void vector_world_begin(struct vector_world *world, struct memory *memory, bool gaps, bool prefetch)
{
    section_world_begin(&world->pages, gaps, prefetch);
    world->section = (struct vector_section){&world->pages.identity, &world->pages.root, &world->pages.source, memory};
}

void vector_world_build(struct vector_world *world, const struct vector_rows *rows, const struct vector_options *options)
{
    struct vector_builder *builder;
    need(vector_builder_create(world->section.memory, options, rows->count, &builder) == 0);
    for (uint32_t i = 0; i < rows->count; i++)
        need(vector_builder_add(builder, rows->ordinals[i], vector_row(rows, i)) == 0);
    need(vector_builder_finish(builder, &world->pages.identity, &world->pages.sink, &world->pages.root) == 0);
    need(world->pages.root.length_bytes == world->pages.length && (world->pages.gaps || world->pages.length <= vector_bytes_bound(options, rows->count)));
    vector_builder_destroy(builder);
}

struct vector_index *vector_world_open(const struct vector_world *world, bool resident)
{
    struct vector_index *index;
    need(vector_open(&world->section, resident ? UINT64_MAX : 0, &index) == 0);
    return index;
}

uint32_t vector_world_pages(const struct vector_world *world, uint64_t *offsets, uint32_t max)
{
    uint32_t count = 0;
    for (uint64_t at = 0; at + 4096 <= world->pages.length && count < max;) {
        const uint8_t *page = world->pages.bytes + at;
        bool is_page = load_u32(page) == VECTOR_MAGIC && load_u64(page + 24) == at;
        if (is_page)
            offsets[count++] = at;
        at += is_page ? load_u32(page + 32) : 64;
    }
    return count;
}

static uint32_t seal_page(struct vector_world *world, uint64_t offset_bytes)
{
    uint8_t *page = world->pages.bytes + offset_bytes;
    uint32_t length_bytes = load_u32(page + 32);
    if (length_bytes < 8 || length_bytes > world->pages.length - offset_bytes) /* a lie about the length itself */
        length_bytes = 4096;
    uint32_t crc = crc32c(crc32c_seed(world->pages.identity.uuid, VECTOR_MAGIC, world->pages.identity.segment_id, offset_bytes), page + 8, length_bytes - 8);
    store_u32(page + 4, crc);
    return crc;
}

/* Enters the checksum where `from` on entries name this page. */
static bool enter_checksum(uint8_t *from, uint32_t count, uint64_t offset_bytes, uint32_t crc)
{
    for (uint32_t i = 0; i < count; i++)
        if (load_u64(from + (size_t)i * VECTOR_ENTRY_BYTES) == offset_bytes) {
            store_u32(from + (size_t)i * VECTOR_ENTRY_BYTES + 8, crc);
            return true;
        }
    return false;
}

void vector_world_reseal(struct vector_world *world, uint64_t offset_bytes)
{
    uint8_t *root = world->pages.bytes + world->pages.root.root_offset_bytes;
    uint32_t crc = seal_page(world, offset_bytes), room = (world->pages.root.root_bytes - VECTOR_ROOT_FIXED_BYTES) / VECTOR_ENTRY_BYTES, directories = load_u32(root + 44);
    directories = directories < room ? directories : room;
    for (uint32_t i = 0; offset_bytes != world->pages.root.root_offset_bytes && i < directories; i++) {
        uint64_t at = load_u64(root + VECTOR_ROOT_FIXED_BYTES + (size_t)i * VECTOR_ENTRY_BYTES);
        if (at == offset_bytes || at > world->pages.length || world->pages.length - at < 4096)
            continue;
        uint32_t bytes = load_u32(world->pages.bytes + at + 32), count = load_u32(world->pages.bytes + at + 44);
        if (bytes <= world->pages.length - at && bytes > VECTOR_HEADER_BYTES && count <= (bytes - VECTOR_HEADER_BYTES) / VECTOR_ENTRY_BYTES && enter_checksum(world->pages.bytes + at + VECTOR_HEADER_BYTES, count, offset_bytes, crc))
            (void)enter_checksum(root + VECTOR_ROOT_FIXED_BYTES, directories, at, seal_page(world, at));
    }
    if (offset_bytes != world->pages.root.root_offset_bytes)
        (void)enter_checksum(root + VECTOR_ROOT_FIXED_BYTES, directories, offset_bytes, crc);
    uint32_t root_crc = crc32c(crc32c_seed(world->pages.identity.uuid, VECTOR_MAGIC, world->pages.identity.segment_id, world->pages.root.root_offset_bytes), root + 8, world->pages.root.root_bytes - 8);
    store_u32(root + 4, root_crc);
    world->pages.root.root_crc = root_crc;
}

/* ---- Vectors ---- */

const char *const vector_shape_names[VECTOR_SHAPES] = {"uniform", "clusters", "all equal", "duplicates", "sparse", "huge", "tiny", "one far away", "zeros among them", "integers"};

static float uniform(uint64_t *state) { return (float)((double)(codec_check_random(state) >> 11) * 0x1p-53); }

static void make_vector(uint64_t *state, uint32_t shape, uint32_t i, float *vector, uint32_t dimension)
{
    uint64_t chosen = codec_check_random(state), of_cluster = (shape == 1 ? chosen % 20 : shape == 3 ? chosen % 7 : 0) + 1;
    for (uint32_t j = 0; j < dimension; j++) {
        float a = uniform(state) - 0.5f, centre = uniform(&of_cluster) * 4;
        switch (shape) {
        case 1: vector[j] = centre + a; break;
        case 2: vector[j] = (float)(j % 5) - 1.25f; break;
        case 3: vector[j] = centre; break;
        case 4: vector[j] = codec_check_random(state) % 8 ? 0 : a; break;
        case 5: vector[j] = a * 2 * 3.3e38f; break;
        case 6: vector[j] = a * 1e-38f; break;
        case 7: vector[j] = i == 3 ? 1e20f * a : a; break;
        case 8: vector[j] = i % 5 == 2 ? 0 : a; break;
        case 9: vector[j] = (float)(int)(a * 8); break;
        default: vector[j] = a; break;
        }
    }
}

struct vector_rows vector_rows_make(uint64_t *state, uint32_t shape, uint32_t count, uint32_t dimension, bool sparse)
{
    struct vector_rows rows = {.count = count, .dimension = dimension, .ordinals = malloc(((size_t)count + 1) * sizeof(uint32_t)), .vectors = malloc(((size_t)count + 1) * dimension * sizeof(float))};
    uint32_t ordinal = 0;
    need(rows.ordinals && rows.vectors);
    for (uint32_t i = 0; i < count; i++) {
        ordinal += sparse ? (uint32_t)(codec_check_random(state) >> 61) : 0;
        rows.ordinals[i] = ordinal++;
        make_vector(state, shape, i, rows.vectors + (size_t)i * dimension, dimension);
    }
    rows.row_count = ordinal;
    return rows;
}

void vector_rows_free(struct vector_rows *rows)
{
    free(rows->ordinals);
    free(rows->vectors);
}

/* Element i of a vector as it is stored: divided by the length, if that is asked for and there is one. */
static double length_of(enum vector_metric metric, const float *vector, uint32_t dimension)
{
    volatile double square = 0;
    for (uint32_t i = 0; metric == VECTOR_COSINE && i < dimension; i++) {
        volatile double product = (double)vector[i] * (double)vector[i];
        square = square + product;
    }
    return square > 0 ? sqrt(square) : 1;
}

double vector_world_distance(enum vector_metric metric, const float *query, const float *vector, uint32_t dimension)
{
    double query_length = length_of(metric, query, dimension), vector_length = length_of(metric, vector, dimension);
    volatile double sums[16] = {0};
    for (uint32_t i = 0; i < dimension; i++) {
        volatile float q = (float)((double)query[i] / query_length), v = (float)((double)vector[i] / vector_length);
        volatile double t = (double)q - (double)v, product = metric == VECTOR_L2 ? t * t : (double)q * (double)v;
        sums[i % 16] = sums[i % 16] + product;
    }
    for (uint32_t half = 8; half > 0; half /= 2)
        for (uint32_t j = 0; j < half; j++)
            sums[j] = sums[j] + sums[j + half];
    return metric == VECTOR_L2 ? sums[0] : metric == VECTOR_COSINE ? 1 - sums[0] : 0 - sums[0];
}

static int compare_hits(const void *a, const void *b)
{
    const struct vector_hit *x = a, *y = b;
    if (x->distance < y->distance || x->distance > y->distance)
        return x->distance < y->distance ? -1 : 1;
    return (x->ordinal > y->ordinal) - (x->ordinal < y->ordinal);
}

struct vector_hit *vector_world_ranked(const struct vector_rows *rows, enum vector_metric metric, const float *query, bool (*keep)(void *context, uint32_t ordinal), void *context, uint32_t *count)
{
    struct vector_hit *hits = malloc(((size_t)rows->count + 1) * sizeof *hits);
    need(hits != NULL);
    *count = 0;
    for (uint32_t i = 0; i < rows->count; i++)
        if (!keep || keep(context, rows->ordinals[i]))
            hits[(*count)++] = (struct vector_hit){vector_world_distance(metric, query, vector_row(rows, i), rows->dimension), rows->ordinals[i]};
    qsort(hits, *count, sizeof *hits, compare_hits);
    return hits;
}
