/* column_fuzz.c: fuzz target of the column index's pages. The input changes a good section: its first eight bytes choose rows and questions, then each four bytes set a byte of the section (place, value), and all checksums are made good
 * again, so that everything behind them is reached. Searches in both directions, counts, estimates, sets and verify must end, within memory, with an answer or MOTE_EDAMAGED.
 *
 * With libFuzzer: clang -DMOTE_LIBFUZZER -fsanitize=fuzzer,address ... Without it the program replays the files it is given, or runs a seeded number of random inputs: column_fuzz [-n count] [-s seed] [file ...]. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "blockdev/base/bytes.h"
#include "blockdev/base/memory.h"
#include "index/column_format.h"
#include "tests/support/codec_check.h"
#include "tests/support/fuzz_run.h"
#include "tests/support/column_world.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size_bytes);

static uint64_t damaged_count;

static void need(bool holds, const char *what)
{
    if (!holds) {
        fprintf(stderr, "column_fuzz: %s\n", what);
        abort();
    }
}

static bool is_answer(int result)
{
    damaged_count += result == MOTE_EDAMAGED;
    return result == 0 || result == MOTE_EDAMAGED;
}

static void look_at(const struct column_hits *hits, uint64_t *sum)
{
    need(hits->count > 0 && hits->count <= COLUMN_BATCH_ROWS, "a batch of another size");
    for (uint32_t i = 0; i < hits->count; i++) {
        *sum += hits->ordinals[i] + (hits->inexact ? hits->inexact[i] : 0);
        if (!hits->values.offsets)
            continue;
        need(hits->values.offsets[i + 1] >= hits->values.offsets[i] && hits->values.offsets[i + 1] - hits->values.offsets[i] <= COLUMN_KEPT_BYTES, "a value that is too long");
        for (uint32_t at = hits->values.offsets[i]; at < hits->values.offsets[i + 1]; at++)
            *sum += ((const uint8_t *)hits->values.values)[at];
    }
}

static void ask(const struct column_section *section, const struct column_query *query, uint64_t row_count)
{
    struct column_search *search;
    struct column_hits hits;
    struct column_estimate estimate;
    struct column_set set;
    uint64_t counted = 0, found = 0, sum = 0;
    int created = column_search_create(section, query, &search), result = created ? 0 : 1, count = column_count(section, query, &counted, NULL);
    need(created == MOTE_EINVAL || is_answer(created), "create"); /* a root of another type does not take the operands */
    need(count == MOTE_EINVAL || is_answer(count), "count");
    while (result > 0 && found < 1u << 20) {
        result = column_search_next(search, &hits);
        if (result > 0)
            look_at(&hits, &sum);
        found += hits.count;
    }
    need(created || result > 0 || is_answer(result), "search");
    need(created || result || count || query->kind == COLUMN_IN || found == counted, "another number of rows than counted");
    column_search_destroy(search);
    result = column_estimate(section, query, &estimate);
    need(result == MOTE_EINVAL || is_answer(result), "estimate");
    result = column_search_set(section, query, row_count, &set);
    need(result == MOTE_EINVAL || result == MOTE_EBUDGET || is_answer(result), "set");
    if (!result)
        column_set_destroy(section->memory, &set);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size_bytes)
{
    static const uint32_t counts[] = {0, 1, 200, 1500, 700, 129};
    if (size_bytes < 8 || size_bytes > 1u << 12)
        return 0;
    uint64_t state = 1 + data[0];
    struct memory *memory = section_world_memory(6u << 20);
    struct column_rows rows = column_rows_make(&state, column_types[data[1] % COLUMN_TYPES], data[1] / COLUMN_TYPES % COLUMN_SHAPES, counts[data[2] % 6], data[3] & 1);
    struct column_world world;
    column_world_begin(&world, memory, false, data[3] & 2);
    need(column_world_build(&world, memory, &rows, 4096, &state) == 0, "a good section cannot be built");
    uint64_t used_bytes = memory_used_bytes(memory);
    bool changed = false;
    for (size_t i = 8; i + 4 <= size_bytes; i += 4) {
        uint64_t at = (load_u16(data + i) | (uint64_t)data[i + 2] << 16) % world.pages.length;
        changed |= world.pages.bytes[at] != data[i + 3];
        world.pages.bytes[at] = data[i + 3];
    }
    if (changed)
        column_world_reseal(&world);
    struct mote_value values[4];
    for (uint32_t i = 0; i < 4; i++)
        values[i] = rows.count ? column_rows_value(&rows, data[4 + i] * 31u % rows.count) : (struct mote_value){.type = rows.type, .as.bytes = {"", 0}};
    for (uint32_t kind = COLUMN_EQUAL; kind <= COLUMN_ALL; kind++) {
        struct column_query query = {.kind = (enum column_query_kind)kind, .descending = (kind + data[4]) % 2, .from = {COLUMN_INCLUDED, values[0]}, .to = {COLUMN_EXCLUDED, values[1]}, .values = values, .value_count = 4};
        ask(&world.section, &query, rows.count);
    }
    int result = column_verify(&world.section, rows.count);
    need(is_answer(result) && (changed || result == 0), "verify");
    need(world.pages.pinned == 0 && memory_used_bytes(memory) == used_bytes, "something was kept");
    section_world_end(&world.pages);
    column_rows_free(&rows);
    memory_destroy(memory);
    return 0;
}

#ifndef MOTE_LIBFUZZER
enum { INPUT_BYTES_MAX = 1 << 13 }; /* those that are made have at most 8 + 4 * 12 */

static size_t make_input(uint64_t *state, uint8_t *data)
{
    size_t changes = codec_check_random(state) % 6;
    for (size_t i = 0; i < 8 + 4 * changes; i++)
        data[i] = (uint8_t)(codec_check_random(state) >> 40);
    for (size_t i = 8; i < 8 + 4 * changes; i += 4) {
        uint64_t random = codec_check_random(state);
        data[i + 2] = 0;
        if (random % 2) /* mostly headers, where lies go furthest: those of the first leaf */
            store_u16(data + i, (uint16_t)(40 + (random >> 20) % 80));
        if (random % 5 == 0)
            data[i + 3] = (uint8_t)(random >> 61);
        if (random % 5 == 1)
            data[i + 3] = 255;
    }
    return 8 + 4 * changes;
}

int main(int argc, char **argv)
{
    const struct fuzz_run run = {.target = LLVMFuzzerTestOneInput, .make = make_input, .count = 4000, .bytes_max = INPUT_BYTES_MAX};
    return fuzz_run(&run, argc, argv);
}
#endif
