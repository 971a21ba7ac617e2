/* index_timestamp_test.c: the timestamp index by itself, in memory: search and count against brute force over random times with duplicates, negative and extreme ones; sections with gaps; every bit of a section flipped. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "blockdev/base/errors.h"
#include "blockdev/base/memory.h"
#include "index/timestamp_format.h"
#include "tests/support/codec_check.h"
#include "tests/support/requests.h"

/* A section in memory; gaps: some pages are preceded by bytes that belong to nothing. */
struct section {
    uint8_t *bytes;
    uint64_t length, capacity;
    uint64_t random;
    bool gaps;
    uint64_t reads;
    struct section_identity identity;
    struct section_root root;
};

static int place(void *context, uint32_t length_bytes, uint64_t *offset_bytes)
{
    struct section *section = context;
    (void)length_bytes;
    if (section->gaps && section->length > 0)
        section->length += 64 * (codec_check_random(&section->random) % 5);
    *offset_bytes = section->length;
    return 0;
}

static int append(void *context, const void *data, uint32_t length_bytes)
{
    struct section *section = context;
    if (section->length + length_bytes > section->capacity) {
        section->capacity = 2 * (section->length + length_bytes);
        section->bytes = realloc(section->bytes, section->capacity);
    }
    memcpy(section->bytes + section->length, data, length_bytes);
    section->length += length_bytes;
    return 0;
}

static int read_part(void *context, uint64_t offset_bytes, uint32_t length_bytes, int (*check)(const uint8_t *, uint32_t, void *), void *check_context, const uint8_t **data, void **handle)
{
    struct section *section = context;
    if (offset_bytes > section->length || length_bytes > section->length - offset_bytes)
        return MOTE_EDAMAGED;
    uint8_t *copy = malloc(length_bytes); /* of the exact size, for the address sanitizer */
    memcpy(copy, section->bytes + offset_bytes, length_bytes);
    section->reads++;
    int result = check(copy, length_bytes, check_context);
    if (result) {
        free(copy);
        return result;
    }
    *data = copy;
    *handle = copy;
    return 0;
}

static void release_part(void *context, void *handle)
{
    (void)context;
    free(handle);
}

struct rows {
    uint32_t count;
    int64_t *times;
    uint32_t *ordinals;
    uint32_t row_count;
};

static struct memory *make_memory(void)
{
    struct memory *memory;
    cr_assert_eq(memory_create(256u << 20, false, &memory), 0);
    cr_assert_eq(memory_seal(memory), 0);
    return memory;
}

enum { SHAPE_COUNT = 11 };

/* shape 0: ascending, every row; 1: ascending with rows that have no time; 2: some late rows; 3: series after series; 4: random with duplicates; 5: extremes; 6: all equal; 7: descending; 8: a few long series with the same times;
 * 9: series whose rows come in bursts with long pauses; 10: two times only, in runs */
static struct rows make_rows(uint64_t *random, uint32_t count, uint32_t shape)
{
    struct rows rows = {.count = count, .times = malloc((count + 1) * sizeof(int64_t)), .ordinals = malloc((count + 1) * sizeof(uint32_t))};
    int64_t time = -5000;
    uint32_t ordinal = 0;
    for (uint32_t i = 0; i < count; i++) {
        uint64_t r = codec_check_random(random);
        ordinal += shape == 1 || shape == 4 ? (uint32_t)(r >> 60) : 0;
        time += (int64_t)(r % 100);
        rows.ordinals[i] = ordinal++;
        rows.times[i] = shape == 2 && r % 97 == 0 ? time - (int64_t)(r >> 40) : shape == 3 ? (int64_t)(i % 1000) * 1000 + (int64_t)(r % 900) : shape == 4 ? (int64_t)(r % (count / 3 + 1)) - count / 8 : time;
        if (shape == 5)
            rows.times[i] = r % 5 == 0 ? INT64_MIN : r % 5 == 1 ? INT64_MAX : (int64_t)codec_check_random(random);
        if (shape == 6)
            rows.times[i] = 42;
        if (shape == 7)
            rows.times[i] = -(int64_t)i * 7;
        if (shape == 8)
            rows.times[i] = (int64_t)(i % (count / 7 + 1)) * 1000000 / 64 * 64;
        if (shape == 9)
            rows.times[i] = (int64_t)(i % 3001 / 500) * (INT64_MAX / 8) - INT64_MAX / 2 + (int64_t)(i % 500) * 3;
        if (shape == 10)
            rows.times[i] = i % 9000 < 5000 ? -1 : 1;
    }
    rows.row_count = ordinal;
    return rows;
}

static void free_rows(struct rows *rows)
{
    free(rows->times);
    free(rows->ordinals);
}

static void build(struct memory *memory, const struct rows *rows, struct section *section)
{
    struct ordinal_index *builder;
    struct section_sink sink = {place, append, section};
    for (uint8_t i = 0; i < 16; i++)
        section->identity.uuid[i] = i;
    section->identity.segment_id = 77;
    section->identity.section_id = 5;
    section->random = 99;
    cr_assert_eq(timestamp_builder_create(memory, rows->count, &builder), 0);
    for (uint32_t i = 0; i < rows->count; i++)
        cr_assert_eq(timestamp_builder_add(builder, rows->ordinals[i], rows->times[i]), 0);
    cr_assert_eq(timestamp_builder_finish(builder, &section->identity, &sink, &section->root), 0);
    cr_assert_eq(section->root.length_bytes, section->length);
    if (!section->gaps)
        cr_assert_leq(section->length, timestamp_bytes_bound(rows->count));
    cr_assert_leq(timestamp_bytes_bound(rows->count), ordinal_index_bytes_max(rows->count));
    timestamp_builder_destroy(builder);
}

struct found {
    const struct rows *rows;
    uint8_t *seen; /* by ordinal */
    uint64_t count;
    int64_t last_time, last_ordinal;
    int64_t from, to;
    bool wrong;
};

static int visit(void *context, const int64_t *times, const uint32_t *ordinals, uint32_t count)
{
    struct found *found = context;
    for (uint32_t i = 0; i < count; i++) {
        found->wrong |= times[i] < found->from || times[i] > found->to || times[i] < found->last_time || (times[i] == found->last_time && ordinals[i] <= found->last_ordinal);
        found->wrong |= ordinals[i] >= found->rows->row_count || found->seen[ordinals[i]];
        if (found->wrong)
            return 1;
        found->seen[ordinals[i]] = 1;
        found->last_time = times[i];
        found->last_ordinal = ordinals[i];
    }
    found->count += count;
    return 0;
}

/* The result of search and count; *wrong: an answer that is not the brute force's. */
static int ask(struct memory *memory, struct section *section, const struct rows *rows, int64_t from, int64_t to, bool *wrong)
{
    struct section_source source = {read_part, release_part, section};
    struct found found = {.rows = rows, .seen = calloc(rows->row_count + 1, 1), .last_time = INT64_MIN, .last_ordinal = -1, .from = from, .to = to};
    uint64_t expected = 0, counted = 0;
    for (uint32_t i = 0; i < rows->count; i++)
        expected += rows->times[i] >= from && rows->times[i] <= to;
    int result = timestamp_search(&section->identity, &section->root, &source, memory, from, to, visit, &found);
    *wrong = result > 0 || found.wrong || (!result && found.count != expected);
    for (uint32_t i = 0; !result && i < rows->count; i++)
        *wrong |= found.seen[rows->ordinals[i]] != (rows->times[i] >= from && rows->times[i] <= to);
    free(found.seen);
    if (result)
        return result;
    result = timestamp_count(&section->identity, &section->root, &source, memory, from, to, &counted);
    *wrong |= !result && counted != expected;
    return result;
}

Test(index_timestamp, random_times_answers_equal_brute_force)
{
    uint64_t random = requests_seed("index_timestamp_random") | 1;
    static const uint32_t counts[] = {0, 1, 2, 100, 4095, 4096, 4097, 30000, 65536, 65537, 150000, 1100000};
    struct memory *memory = make_memory();
    for (uint32_t shape = 0; shape < SHAPE_COUNT; shape++)
        for (uint32_t c = 0; c < sizeof counts / sizeof counts[0]; c++) {
            if ((counts[c] > 70000 && shape != 3 && shape != 4 && shape < 8) || (counts[c] > 200000 && shape != 3 && shape != 8))
                continue;
            struct rows rows = make_rows(&random, counts[c], shape);
            struct section section = {.gaps = shape % 2};
            struct section_source source = {read_part, release_part, &section};
            bool wrong;
            build(memory, &rows, &section);
            cr_assert_eq(timestamp_verify(&section.identity, &section.root, &source, memory, rows.row_count), 0);
            cr_assert_eq(ask(memory, &section, &rows, INT64_MIN, INT64_MAX, &wrong), 0);
            cr_assert(!wrong, "shape %u count %u", shape, counts[c]);
            for (int i = 0; i < 12; i++) {
                int64_t a = counts[c] ? rows.times[codec_check_random(&random) % counts[c]] : 3, b = counts[c] ? rows.times[codec_check_random(&random) % counts[c]] : 9;
                int64_t from = a < b ? a : b, to = a < b ? b : a;
                if (i % 4 == 1 && from < INT64_MAX && to > INT64_MIN && to > from)
                    from++, to--;
                if (i % 4 == 2)
                    to = from;
                if (i % 4 == 3)
                    from = INT64_MIN;
                cr_assert_eq(ask(memory, &section, &rows, from, to, &wrong), 0);
                cr_assert(!wrong, "shape %u count %u from %lld to %lld", shape, counts[c], (long long)from, (long long)to);
            }
            cr_assert_eq(ask(memory, &section, &rows, 5, 4, &wrong), 0);
            cr_assert(!wrong);
            free(section.bytes);
            free_rows(&rows);
        }
    cr_assert_eq(memory_used_bytes(memory) < 1u << 20, true, "memory was not given back");
    memory_destroy(memory);
}

/* However rows are handed over, the section is the same, byte for byte. */
Test(index_timestamp, rows_added_by_many_give_the_same_bytes)
{
    uint64_t random = requests_seed("index_timestamp_many") | 1;
    struct memory *memory = make_memory();
    for (uint32_t shape = 0; shape < SHAPE_COUNT; shape++) {
        struct rows rows = make_rows(&random, 140000, shape);
        struct section single = {0}, many = {.random = 99};
        struct section_sink sink = {place, append, &many};
        struct ordinal_index *builder;
        build(memory, &rows, &single);
        many.identity = single.identity;
        cr_assert_eq(timestamp_builder_create(memory, rows.count, &builder), 0);
        for (uint32_t i = 0, taken; i < rows.count; i += taken) {
            uint32_t most = 1 + (uint32_t)(codec_check_random(&random) % (i % 5 ? 1500 : 70000));
            for (taken = 1; taken < most && i + taken < rows.count && rows.ordinals[i + taken] == rows.ordinals[i] + taken; taken++)
                ;
            cr_assert_eq(timestamp_index_ops.add_many(builder, rows.ordinals[i], rows.times + i, taken), 0);
        }
        cr_assert_eq(timestamp_builder_finish(builder, &many.identity, &sink, &many.root), 0);
        timestamp_builder_destroy(builder);
        cr_assert_eq(many.length, single.length, "shape %u", shape);
        cr_assert_eq(memcmp(many.bytes, single.bytes, single.length), 0, "shape %u", shape);
        free(many.bytes);
        free(single.bytes);
        free_rows(&rows);
    }
    memory_destroy(memory);
}

Test(index_timestamp, two_levels_of_directory_answers_equal_brute_force)
{
    /* More leaves than one root holds. */
    uint64_t random = 17;
    struct memory *memory;
    cr_assert_eq(memory_create(1u << 30, false, &memory), 0);
    cr_assert_eq(memory_seal(memory), 0);
    uint32_t count = (TIMESTAMP_FANOUT + 3) * TIMESTAMP_LEAF_ENTRIES + 5;
    struct rows rows = make_rows(&random, count, 0);
    struct section section = {0};
    struct section_source source = {read_part, release_part, &section};
    bool wrong;
    build(memory, &rows, &section);
    for (int i = 0; i < 6; i++) {
        uint32_t at = (uint32_t)(codec_check_random(&random) % (count - 20000));
        cr_assert_eq(ask(memory, &section, &rows, rows.times[at], rows.times[at + 19999], &wrong), 0);
        cr_assert(!wrong);
    }
    section.reads = 0;
    uint64_t counted;
    cr_assert_eq(timestamp_count(&section.identity, &section.root, &source, memory, rows.times[9], rows.times[count - 9], &counted), 0);
    cr_assert_leq(section.reads, 1 + 4 + 2, "a count reads the root, directory pages and two leaves, not %llu pages", (unsigned long long)section.reads);
    cr_assert_eq(timestamp_verify(&section.identity, &section.root, &source, memory, rows.row_count), 0);
    free(section.bytes);
    free_rows(&rows);
    memory_destroy(memory);
}

Test(index_timestamp, ascending_regular_times_cost_almost_nothing)
{
    struct memory *memory = make_memory();
    uint32_t count = 500000;
    struct rows rows = {.count = count, .row_count = count, .times = malloc(count * sizeof(int64_t)), .ordinals = malloc(count * sizeof(uint32_t))};
    struct section section = {0};
    for (uint32_t i = 0; i < count; i++) {
        rows.times[i] = 1700000000000000000 + (int64_t)i * 1000000;
        rows.ordinals[i] = i;
    }
    build(memory, &rows, &section);
    cr_assert_lt(section.length, count / 10, "%llu bytes for %u rows", (unsigned long long)section.length, count);
    free(section.bytes);
    free_rows(&rows);
    memory_destroy(memory);
}

Test(index_timestamp, bits_flipped_gives_damage_or_the_same_answer)
{
    uint64_t random = requests_seed("index_timestamp_flip") | 1;
    struct memory *memory = make_memory();
    for (uint32_t shape = 0; shape < 5; shape++) {
        struct rows rows = make_rows(&random, shape == 2 ? 5000 : 300, shape);
        struct section section = {0};
        uint32_t damaged = 0, tried = 0, step = shape == 2 ? 13 : 1;
        build(memory, &rows, &section);
        for (uint64_t at = 0; at < section.length; at += step, tried++) {
            uint8_t bit = (uint8_t)(1u << (codec_check_random(&random) >> 61));
            bool wrong;
            section.bytes[at] ^= bit;
            int result = ask(memory, &section, &rows, -5000, 40000, &wrong);
            cr_assert(result == 0 || result == MOTE_EDAMAGED, "byte %llu: %d", (unsigned long long)at, result);
            cr_assert(!wrong, "byte %llu of %llu gives a wrong answer", (unsigned long long)at, (unsigned long long)section.length);
            struct section_source source = {read_part, release_part, &section};
            damaged += timestamp_verify(&section.identity, &section.root, &source, memory, rows.row_count) == MOTE_EDAMAGED;
            section.bytes[at] ^= bit;
        }
        cr_assert_eq(damaged, tried, "verify found %u of %u faults", damaged, tried);
        free(section.bytes);
        free_rows(&rows);
    }
    memory_destroy(memory);
}

/* Pages that are whole but of another section, or whose parents lie: with the checksum made good again. */
Test(index_timestamp, foreign_identity_is_damage)
{
    uint64_t random = 3;
    struct memory *memory = make_memory();
    struct rows rows = make_rows(&random, 9000, 2);
    struct section section = {0};
    bool wrong;
    build(memory, &rows, &section);
    section.identity.section_id++;
    cr_assert_eq(ask(memory, &section, &rows, 0, 1000, &wrong), MOTE_EDAMAGED);
    section.identity.section_id--;
    section.identity.uuid[3] ^= 1;
    cr_assert_eq(ask(memory, &section, &rows, 0, 1000, &wrong), MOTE_EDAMAGED);
    section.identity.uuid[3] ^= 1;
    section.root.root_offset_bytes -= 8;
    cr_assert_eq(ask(memory, &section, &rows, 0, 1000, &wrong), MOTE_EDAMAGED);
    section.root.root_offset_bytes += 8;
    cr_assert_eq(ask(memory, &section, &rows, 0, 1000, &wrong), 0);
    struct section_source source = {read_part, release_part, &section};
    cr_assert_eq(timestamp_verify(&section.identity, &section.root, &source, memory, rows.row_count - 1), MOTE_EDAMAGED);
    free(section.bytes);
    free_rows(&rows);
    memory_destroy(memory);
}

Test(index_timestamp, builder_misused_or_without_memory_is_refused)
{
    struct memory *memory = make_memory();
    struct ordinal_index *builder;
    struct section section = {0};
    struct section_sink sink = {place, append, &section};
    cr_assert_eq(timestamp_builder_create(memory, 1ull << 33, &builder), MOTE_EINVAL);
    cr_assert_eq(timestamp_builder_create(memory, 2, &builder), 0);
    cr_assert_eq(timestamp_builder_add(builder, 5, 1), 0);
    cr_assert_eq(timestamp_builder_add(builder, 5, 1), MOTE_EINVAL);
    cr_assert_eq(timestamp_builder_add(builder, 6, 1), 0);
    cr_assert_eq(timestamp_builder_add(builder, 7, 1), MOTE_EINVAL);
    cr_assert_eq(timestamp_builder_add_many(builder, 7, (const int64_t[]){1, 2}, 2), MOTE_EINVAL);
    cr_assert_eq(timestamp_builder_add_many(builder, 7, NULL, 0), 0);
    for (int n = 0; n < 4; n++) {
        memory_fail_after(memory, n, true);
        int result = timestamp_builder_finish(builder, &section.identity, &sink, &section.root);
        memory_fail_after(memory, -1, false);
        cr_assert_eq(result, MOTE_EBUDGET, "allocation %d", n);
        section.length = 0;
    }
    cr_assert_eq(timestamp_builder_finish(builder, &section.identity, &sink, &section.root), 0);
    timestamp_builder_destroy(builder);
    free(section.bytes);
    memory_destroy(memory);
}
