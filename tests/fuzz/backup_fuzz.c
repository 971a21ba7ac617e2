/* backup_fuzz.c: changed backup streams, whole ones and increments: receiving one never reads, writes or allocates beyond its bounds, and whatever it refuses leaves what was there: of a first receive nothing that can be opened, of an
 * increment the volume in its old state. The good stream is then taken, from wherever the changed one was left, and the copy holds the new state.
 *
 * A stream that differs from the good one in any bit is refused, but where its author made every checksum of the stream good again: then it may be taken, and what becomes of it can be opened and read to its end, or says what is wrong.
 *
 * Input: a byte of mode, then changes of 6 bytes: where (u32, modulo the stream) and what (xor, 1 byte; if 0, the next byte is stored). Mode bit 0: the increment. Bit 1: checksums and numbers are made good again. Bits 2..3: before that the stream is
 * cut (1), or a record is left out (2) or comes twice (3), where the first change says.
 * Build with -fsanitize=fuzzer -DMOTE_LIBFUZZER, or as a program: backup_fuzz [-n inputs] [-s seed] [file ...] */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "blockdev/base/bytes.h"
#include "blockdev/base/crc32c.h"
#include "engine/stream.h"
#include "tests/support/backup.h"
#include "tests/support/fuzz_run.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size_bytes);

enum { SIZE = 16 * 1024 * 1024, INPUT_BYTES_MAX = 64, CHANGE_BYTES = 6, RECORDS_MAX = 4096, WHOLE = 0, INCREMENT = 1 };
enum cut { CUT_NONE, CUT_SHORT, CUT_OUT, CUT_TWICE };

static struct fixture source;
static struct backup_stream good[2];
static struct state states[2];
static size_t records[2][RECORDS_MAX]; /* where they begin */
static uint32_t record_counts[2];
static uint64_t taken_count, refused_count, resumed_count;
static uint8_t *copy; /* SIZE: a volume in the state states[WHOLE], as a receive left it */

/* ---- What is good ---- */

static void find_records(unsigned which)
{
    const struct backup_stream *stream = &good[which];
    for (size_t at = 0; at < stream->size_bytes; at += STREAM_HEADER_BYTES + load_u32(stream->bytes + at + 12)) {
        require(record_counts[which] < RECORDS_MAX);
        records[which][record_counts[which]++] = at;
    }
}

static struct blockdev *make_target(bool increment)
{
    struct blockdev *device;
    const struct sim_options options = {.size_bytes = SIZE, .logical_block_bytes = 4096, .seed = 1, .initial = increment ? copy : NULL, .initial_borrowed = increment};
    must(sim_create(&options, &device));
    return device;
}

static void prepare(void)
{
    struct state_tables tables = {0};
    struct state state = {0};
    uint64_t random = 11;
    if (copy)
        return;
    fixture_sim(&source, SIZE, 1, false);
    fixture_open(&source);
    backup_fill(source.db, &tables, 9, &random, &state);
    backup_send(source.db, NULL, "b0", &good[WHOLE], NULL);
    states[WHOLE] = state;
    backup_fill(source.db, &tables, 4, &random, &state);
    backup_send(source.db, "b0", NULL, &good[INCREMENT], NULL);
    states[INCREMENT] = state;
    find_records(WHOLE);
    find_records(INCREMENT);
    struct blockdev *device = make_target(false);
    must(backup_receive(device, &good[WHOLE], NULL));
    copy = malloc(SIZE);
    require(copy != NULL);
    sim_read_content(device, false, copy);
    blockdev_close(device);
}

static void finish(void)
{
    backup_free(&good[WHOLE]);
    backup_free(&good[INCREMENT]);
    printf("%llu streams taken, %llu refused, %llu good ones taken after those\n", (unsigned long long)taken_count, (unsigned long long)refused_count, (unsigned long long)resumed_count);
    free(copy);
    copy = NULL;
    fixture_remove(&source);
}

/* ---- Changes ---- */

static void put(struct backup_stream *stream, const void *bytes, size_t size_bytes) { must(backup_write(bytes, size_bytes, stream)); }

/* The good stream, cut or with a record less or more. */
static void shape(unsigned which, enum cut cut, uint32_t place, struct backup_stream *stream)
{
    const struct backup_stream *from = &good[which];
    uint32_t record = place % record_counts[which];
    size_t begin = records[which][record], end = record + 1 < record_counts[which] ? records[which][record + 1] : from->size_bytes;
    *stream = (struct backup_stream){0};
    put(stream, from->bytes, cut == CUT_SHORT ? place % from->size_bytes : cut == CUT_OUT ? begin : cut == CUT_TWICE ? end : from->size_bytes);
    if (cut == CUT_OUT)
        put(stream, from->bytes + end, from->size_bytes - end);
    if (cut == CUT_TWICE)
        put(stream, from->bytes + begin, from->size_bytes - begin);
}

/* Numbers and checksums of records, items and the end become those of what is there, as far as it can be taken for records. */
static void seal(struct backup_stream *stream)
{
    static const uint8_t none[16];
    uint8_t id[16] = {0};
    uint32_t item_crc = 0;
    uint64_t number = 0, item_bytes = 0;
    for (size_t at = 0, next; stream->size_bytes - at >= STREAM_HEADER_BYTES; at = next, number++) {
        uint8_t *header = stream->bytes + at, *payload = header + STREAM_HEADER_BYTES;
        uint32_t kind = load_u16(header + 8), length = load_u32(header + 12);
        if (length > stream->size_bytes - at - STREAM_HEADER_BYTES)
            return;
        next = at + STREAM_HEADER_BYTES + length;
        store_u64(header + 16, number);
        if (kind == STREAM_BEGIN && number == 0 && length == STREAM_BEGIN_BYTES)
            memcpy(id, payload + 8, sizeof id);
        if (kind == STREAM_ITEM)
            item_crc = 0, item_bytes = 0;
        if (kind == STREAM_DATA && length >= 8) {
            item_crc = crc32c(item_crc, payload + 8, length - 8);
            item_bytes += length - 8;
        }
        if (kind == STREAM_ITEM_END && length == STREAM_ITEM_END_BYTES) {
            store_u64(payload, item_bytes);
            store_u32(payload + 8, item_crc);
        }
        if (kind == STREAM_END && length == STREAM_END_BYTES) {
            store_u64(payload, number);
            store_u64(payload + 8, at);
            store_u32(payload + 24, crc32c(0, stream->bytes, at));
        }
        uint32_t crc = crc32c(crc32c_seed(number == 0 ? none : id, STREAM_MAGIC, number, 0), header + 8, STREAM_HEADER_BYTES - 8);
        store_u32(header + 4, crc32c(crc, payload, length));
    }
}

/* ---- What must hold ---- */

static void expect(int result)
{
    static const int allowed[] = {MOTE_OK, MOTE_EDAMAGED, MOTE_EVERSION, MOTE_ENOSPC, MOTE_EINVAL, MOTE_ENOTSUP, MOTE_EBUDGET, MOTE_ETOOBIG, MOTE_ENOTFOUND, MOTE_ENOTABLE, MOTE_EEXISTS, MOTE_ERESTORING, MOTE_EFOREIGN};
    for (size_t i = 0; i < sizeof allowed / sizeof allowed[0]; i++)
        if (result == allowed[i])
            return;
    fprintf(stderr, "%s is no error of a hostile stream\n", mote_error_name(result));
    abort();
}

static int read_table(mote_table *table, const char *name, void *context)
{
    struct mote_chunk chunk = {0};
    mote_cursor *cursor;
    int result = mote_scan(table, NULL, &cursor);
    (void)name;
    (void)context;
    expect(result);
    while (!result) {
        result = mote_cursor_next(cursor, &chunk);
        expect(result);
        if (!result && chunk.row_count == 0)
            break;
    }
    if (cursor)
        mote_cursor_close(cursor);
    return 0;
}

/* Everything is read. */
static void read_volume(struct blockdev *device, bool read_only)
{
    struct mote_options options = source.options;
    mote_db *db;
    options.read_only = read_only;
    int result = engine_open(device, &options, &db, NULL);
    expect(result);
    if (result)
        return;
    expect(mote_table_list(db, read_table, NULL));
    engine_abandon(db);
}

/* What a refused stream left. */
static void check_left(struct blockdev *device, bool increment)
{
    struct mote_options options = source.options;
    struct mote_db *db;
    if (increment) {
        backup_expect(device, &options, true, &states[WHOLE]);
        return;
    }
    options.read_only = 1;
    int result = engine_open(device, &options, &db, NULL);
    require(result == MOTE_ERESTORING || result == MOTE_EFOREIGN);
}

static void check_resumed(struct blockdev *device, unsigned which)
{
    must(backup_receive(device, &good[which], NULL));
    backup_expect(device, &source.options, true, &states[which]);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size_bytes)
{
    struct backup_stream stream;
    if (size_bytes < 1 + CHANGE_BYTES || size_bytes > INPUT_BYTES_MAX)
        return 0;
    prepare();
    bool increment = data[0] & 1, sealed = data[0] & 2;
    unsigned which = increment ? INCREMENT : WHOLE;
    enum cut cut = (enum cut)(data[0] >> 2 & 3);
    shape(which, cut, load_u32(data + 1), &stream);
    for (size_t at = cut == CUT_NONE ? 1 : 1 + CHANGE_BYTES; at + CHANGE_BYTES <= size_bytes && stream.size_bytes > 0; at += CHANGE_BYTES) {
        uint8_t *byte = stream.bytes + load_u32(data + at) % stream.size_bytes;
        *byte = data[at + 4] ? (uint8_t)(*byte ^ data[at + 4]) : data[at + 5];
    }
    if (sealed)
        seal(&stream);
    bool same = stream.size_bytes == good[which].size_bytes && memcmp(stream.bytes, good[which].bytes, stream.size_bytes) == 0;
    struct blockdev *device = make_target(increment);
    int result = backup_receive(device, &stream, NULL);
    expect(result);
    if (same)
        require(result == MOTE_OK);
    else if (!sealed)
        require(result != MOTE_OK);
    taken_count += !result;
    refused_count += result != 0;
    resumed_count += result && !sealed;
    if (result) {
        check_left(device, increment);
        if (!sealed) /* else it may be the beginning of another stream, with an id and items of its own */
            check_resumed(device, which);
    } else {
        read_volume(device, true);
        read_volume(device, false);
    }
    blockdev_close(device);
    backup_free(&stream);
    return 0;
}

#ifndef MOTE_LIBFUZZER
/* A few changes: of any byte, or where the numbers are: in a record's header, or near the beginning of its payload, more often in what comes before the items. */
static size_t make_input(uint64_t *random, uint8_t *data)
{
    uint32_t changes = 1 + (uint32_t)(fixture_random(random) % 4);
    data[0] = (uint8_t)(fixture_random(random) & 3);
    if (fixture_random(random) % 3 == 0)
        data[0] |= (uint8_t)(fixture_random(random) % 4 << 2);
    unsigned which = data[0] & 1 ? INCREMENT : WHOLE;
    for (uint32_t i = 0; i < changes; i++) {
        uint8_t *change = data + 1 + (size_t)i * CHANGE_BYTES;
        uint64_t record = fixture_random(random) % record_counts[which];
        if (fixture_random(random) % 2)
            record = fixture_random(random) % (record_counts[which] < 8 ? record_counts[which] : 8);
        uint64_t where = fixture_random(random) % 4 == 0 ? fixture_random(random) % good[which].size_bytes : records[which][record] + fixture_random(random) % (fixture_random(random) % 2 ? 64 : 700);
        store_u32(change, (uint32_t)(where % good[which].size_bytes));
        change[4] = (uint8_t)(fixture_random(random) % 2 ? 1u << fixture_random(random) % 8 : 0);
        change[5] = (uint8_t)(fixture_random(random) % 2 ? fixture_random(random) : fixture_random(random) % 2 ? 0xff : 0);
    }
    return 1 + (size_t)changes * CHANGE_BYTES;
}

int main(int argc, char **argv)
{
    const struct fuzz_run run = {.target = LLVMFuzzerTestOneInput, .make = make_input, .count = 600, .bytes_max = INPUT_BYTES_MAX, .prepare = prepare, .finish = finish};
    return fuzz_run(&run, argc, argv);
}
#endif
