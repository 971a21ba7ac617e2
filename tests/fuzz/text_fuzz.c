/* text_fuzz.c: fuzz target of text sections: the input changes bytes of one of a few good sections, every checksum is made good again as a hostile author would, and then everything is read: searched by words, phrases and prefixes,
 * with and without a threshold, verified, merged. Whatever comes out is fine but for a crash, an access out of bounds, a page that stays pinned, or an error that is none of a damaged image's.
 *
 * Input: byte 0 chooses the section; then records of 6 bytes: where (4 bytes, modulo the section) and what (xor, 1 byte; if 0, the next byte is stored). A last byte of odd value: no checksum is made good.
 * With libFuzzer: clang -DMOTE_LIBFUZZER -fsanitize=fuzzer,address ... Without it the program replays the files it is given, or runs a seeded number of random inputs: text_fuzz [-n count] [-s seed] [file ...]. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "blockdev/base/errors.h"
#include "blockdev/base/memory.h"
#include "index/text_format.h"
#include "blockdev/base/bytes.h"
#include "tests/support/codec_check.h"
#include "tests/support/fuzz_run.h"
#include "tests/support/text_rig.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size_bytes);

enum { SECTIONS = 4, QUERIES = 7, ROWS_MAX = 3000 };

static const struct text_options options;
static const char *const query_bytes[QUERIES] = {"a", "a AND ab", "zz OR a OR \xE5\xB1\xB1", "\"a ab\"", "b*", "\"ab a\"* NOT (c d*)", "\xE5\xB1\xB1\xE5\xB7\x9D OR strasse"};
static struct memory *memory;
static struct text_analyser *analyser;
static struct text_query *queries[QUERIES];
static struct text_rig good[SECTIONS];
static uint32_t rows[SECTIONS], new_ordinals[ROWS_MAX];

static void check(int result)
{
    if (result) {
        fprintf(stderr, "%s\n", mote_error_name(result));
        abort();
    }
}

static void prepare(void)
{
    static const uint32_t counts[SECTIONS] = {1, 40, 600, 1500};
    uint64_t random = 12345;
    if (memory)
        return;
    check(memory_create(64u << 20, false, &memory));
    check(memory_seal(memory));
    check(text_analyser_create(memory, &options, &analyser));
    for (uint32_t i = 0; i < QUERIES; i++)
        check(text_query_parse(memory, analyser, query_bytes[i], strlen(query_bytes[i]), NULL, &queries[i]));
    for (uint32_t i = 0; i < ROWS_MAX; i++)
        new_ordinals[i] = i % 5 == 4 ? TEXT_DROPPED : i;
    for (uint32_t s = 0; s < SECTIONS; s++) {
        struct text_builder *builder;
        text_rig_init(&good[s], s + 1, s % 2);
        struct section_sink sink = text_rig_sink(&good[s]);
        check(text_builder_create(memory, analyser, &builder));
        for (uint32_t i = 0; i < counts[s]; i++) {
            struct text_rig_text text;
            text_rig_make_text(&random, 20, &text);
            check(text_builder_add(builder, i * 2, text.bytes, text.byte_count));
        }
        check(text_builder_finish(builder, &good[s].identity, &sink, &good[s].root));
        text_builder_destroy(builder);
        rows[s] = counts[s] * 2;
    }
}

static void expect(int result)
{
    if (result == 0 || result == MOTE_EDAMAGED || result == MOTE_EBUDGET || result == MOTE_ETOOBIG || result == MOTE_EVERSION || result == MOTE_EINVAL)
        return;
    fprintf(stderr, "%s is no error of a damaged image\n", mote_error_name(result));
    abort();
}

static int take_hit(void *context, uint32_t ordinal, double score, double *threshold)
{
    int64_t *last = context;
    if (ordinal <= *last || isnan(score))
        abort(); /* ordinals ascend, whatever a section says */
    *last = ordinal;
    if (score > *threshold && ordinal % 3 == 0)
        *threshold = score;
    return 0;
}

static void read_everything(struct text_rig *rig, uint32_t row_count)
{
    struct section_source source = text_rig_source(rig);
    struct text_rig out;
    text_rig_init(&out, 9, false);
    struct section_sink sink = text_rig_sink(&out);
    for (uint32_t q = 0; q < QUERIES; q++) {
        struct text_statistics statistics = {0};
        struct text_search *search;
        int result = text_search_open(queries[q], &options, &rig->identity, &rig->root, &source, memory, &search);
        expect(result);
        if (result)
            continue;
        expect(text_search_statistics(search, &statistics));
        int64_t last = -1;
        expect(text_search_run(search, &statistics, -INFINITY, take_hit, &last));
        last = -1;
        expect(text_search_run(search, &statistics, 1.0, take_hit, &last));
        text_search_close(search);
    }
    expect(text_verify(&rig->identity, &rig->root, &source, memory, row_count));
    struct section_merge_input input = {&rig->identity, &rig->root, &source, new_ordinals, row_count, 0, row_count};
    expect(text_merge(memory, &options, &input, 1, &out.identity, &sink, &out.root));
    text_rig_free(&out);
    if (rig->pinned != 0) {
        fprintf(stderr, "%llu pages stay pinned\n", (unsigned long long)rig->pinned);
        abort();
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size_bytes)
{
    if (size_bytes < 8 || size_bytes > 4096)
        return 0;
    prepare();
    uint32_t s = data[0] % SECTIONS;
    struct text_rig rig = good[s];
    uint64_t used_bytes = memory_used_bytes(memory);
    rig.bytes = malloc(rig.length);
    memcpy(rig.bytes, good[s].bytes, rig.length);
    for (size_t at = 1; at + 6 < size_bytes; at += 6) {
        uint64_t place = load_u32(data + at) % rig.length;
        rig.bytes[place] = data[at + 4] ? (uint8_t)(rig.bytes[place] ^ data[at + 4]) : data[at + 5];
    }
    if (data[size_bytes - 1] % 2 == 0)
        text_rig_reseal(&rig);
    read_everything(&rig, rows[s]);
    free(rig.bytes);
    if (memory_used_bytes(memory) != used_bytes)
        abort();
    return 0;
}

#ifndef MOTE_LIBFUZZER
enum { INPUT_BYTES_MAX = 4096 };

static uint32_t below(uint64_t *random, uint32_t limit) { return (uint32_t)(codec_check_random(random) >> 33) % limit; }

/* A few changes: anywhere, in the root, or in the leaves and skip entries, where the numbers are. */
static size_t make_input(uint64_t *random, uint8_t *data)
{
    uint32_t changes = 1 + below(random, 4);
    data[0] = (uint8_t)below(random, 256);
    const struct text_rig *rig = &good[data[0] % SECTIONS];
    for (uint32_t i = 0; i < changes; i++) {
        uint32_t where = below(random, (uint32_t)rig->length), kind = below(random, 3);
        if (kind == 0)
            where = (uint32_t)rig->root.root_offset_bytes + 48 + below(random, rig->root.root_bytes - 48);
        if (kind == 1) {
            const uint8_t *entries = rig->bytes + rig->root.root_offset_bytes + TEXT_HEADER_BYTES + TEXT_ROOT_PAYLOAD_BYTES;
            uint32_t pages = (rig->root.root_bytes - TEXT_HEADER_BYTES - TEXT_ROOT_PAYLOAD_BYTES) / TEXT_PAGE_ENTRY_BYTES;
            const uint8_t *entry = pages ? entries + (size_t)below(random, pages) * TEXT_PAGE_ENTRY_BYTES : NULL;
            if (entry)
                where = load_u32(entry) + TEXT_HEADER_BYTES + below(random, load_u32(entry + 8) - TEXT_HEADER_BYTES);
        }
        store_u32(data + 1 + i * 6, where);
        data[5 + i * 6] = (uint8_t)(below(random, 2) ? 1u << below(random, 8) : 0);
        data[6 + i * 6] = (uint8_t)(below(random, 2) ? below(random, 256) : below(random, 2) ? 0xFF : 0);
    }
    data[1 + changes * 6] = below(random, 20) == 0;
    data[2 + changes * 6] = data[1 + changes * 6];
    return 3 + changes * 6;
}

static void finish(void)
{
    for (uint32_t i = 0; i < QUERIES; i++)
        text_query_destroy(memory, queries[i]);
    for (uint32_t i = 0; i < SECTIONS; i++)
        text_rig_free(&good[i]);
    text_analyser_destroy(analyser);
    memory_destroy(memory);
}

int main(int argc, char **argv)
{
    const struct fuzz_run run = {.target = LLVMFuzzerTestOneInput, .make = make_input, .count = 3000, .bytes_max = INPUT_BYTES_MAX, .prepare = prepare, .finish = finish};
    return fuzz_run(&run, argc, argv);
}
#endif
