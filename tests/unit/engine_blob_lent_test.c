/* engine_blob_lent_test.c: large values that go to the device straight from the caller's memory: that any alignment and size gives the same bytes, which memory is copied, that the memory is the caller's again when the call has returned, with
 * success or without; memory that the device cannot read; barriers of a batch. */
#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#include "blockdev/faulty.h"
#include "engine/blob.h"
#include "tests/support/engine_fixture.h"
#include "tests/support/sample_table.h"

enum { MIB = 1 << 20, BYTES_MAX = 9 * MIB + 4096, MEMORY_BYTES = BYTES_MAX + 8192 };

static _Alignas(4096) uint8_t memory[MEMORY_BYTES];

struct world {
    struct fixture fixture;
    mote_table *table;
};

static void begin(struct world *world)
{
    memset(world, 0, sizeof *world);
    fixture_image(&world->fixture, 256ull << 20);
    world->fixture.options.blob_threshold_bytes = 4096;
    fixture_open_faulty(&world->fixture);
    world->table = sample_table_frames(world->fixture.db, "cam");
}

static void fill(uint8_t *bytes, uint64_t size_bytes, uint64_t seed)
{
    uint64_t state = seed * 2654435761u + 1;
    for (uint64_t i = 0; i < size_bytes; i += 8) {
        uint64_t word = fixture_random(&state);
        memcpy(bytes + i, &word, size_bytes - i < 8 ? size_bytes - i : 8);
    }
}

/* From that offset in the memory, which is another's afterwards. */
static int append(struct world *world, int64_t key, uint64_t offset_bytes, uint64_t size_bytes)
{
    struct mote_value row[2] = {value_i64(key), value_bytes(MOTE_TYPE_BLOB, memory + offset_bytes, size_bytes)};
    fill(memory + offset_bytes, size_bytes, (uint64_t)key);
    int result = mote_append(world->table, row, 2, NULL, NULL);
    memset(memory, 0xa5, sizeof memory);
    for (struct blob_io *io = world->fixture.db->blob_io; io; io = io->next)
        cr_assert_eq(blockdev_queue_inflight(io->queue), 0);
    return result;
}

static void check(struct world *world, int64_t key, uint64_t size_bytes)
{
    struct mote_value id = value_i64(key), value;
    mote_row *row = NULL;
    must(mote_get(world->table, &id, 1, &row));
    must(mote_row_value(row, 1, &value));
    fill(memory, size_bytes, (uint64_t)key);
    cr_assert_eq(value.as.bytes.size_bytes, size_bytes);
    cr_assert_eq(memcmp(value.as.bytes.data, memory, size_bytes), 0, "value %lld of %llu bytes", (long long)key, (unsigned long long)size_bytes);
    mote_row_free(row);
}

Test(engine_blob_lent, any_alignment_and_size_same_bytes)
{
    static struct world world;
    static const uint64_t offsets[] = {0, 1, 8, 512, 520, 4095, 4096};
    static const uint64_t sizes[] = {4096, 4097, 8191, 131072, 262145, MIB - 1, MIB, MIB + 512, 3 * MIB + 5, 9 * MIB + 1};
    enum { OFFSETS = sizeof offsets / sizeof *offsets, SIZES = sizeof sizes / sizeof *sizes };
    begin(&world);
    for (unsigned round = 0; round < 2; round++) { /* the second over what the first wrote */
        for (unsigned i = 0; i < OFFSETS * SIZES; i++)
            if (i % 3 || round)
                must(append(&world, i, offsets[i % OFFSETS], sizes[i / OFFSETS] - round));
        for (unsigned i = 0; i < OFFSETS * SIZES; i++)
            if (i % 3 || round)
                check(&world, i, sizes[i / OFFSETS] - round);
        must(mote_flush(world.fixture.db));
        must(mote_compact(world.fixture.db, "cam"));
    }
    for (unsigned i = 0; i < OFFSETS * SIZES; i++)
        check(&world, i, sizes[i / OFFSETS] - 1);
    fixture_remove(&world.fixture);
}

/* A delayed write is done and counted. */
static uint64_t count_writes(struct world *world, int64_t key, uint64_t offset_bytes, uint64_t size_bytes)
{
    int rule = faulty_add(world->fixture.faulty, &(struct faulty_rule){.kind = FAULTY_DELAY, .op_mask = 1u << BLOCKDEV_WRITE, .source_mask = 1u << BLOCKDEV_SOURCE_BLOB, .times = UINT64_MAX});
    must(append(world, key, offset_bytes, size_bytes));
    uint64_t count = faulty_hits(world->fixture.faulty, rule);
    faulty_clear(world->fixture.faulty);
    check(world, key, size_bytes);
    return count;
}

Test(engine_blob_lent, aligned_memory_written_in_large_requests)
{
    static struct world world;
    begin(&world);
    uint32_t align_bytes = blockdev_geometry(world.fixture.db->device)->buffer_align_bytes;
    cr_assert(align_bytes <= 4096);
    uint64_t copied = count_writes(&world, 1, 1, 512 << 10); /* by buffers of at most 256 KiB */
    cr_assert_geq(copied, 2);
    must(mote_append(world.table, (struct mote_value[]){value_i64(0), value_bytes(MOTE_TYPE_BLOB, memory, 512 << 10)}, 2, NULL, NULL)); /* the rest of a blob file of 1 MiB */
    cr_assert_eq(count_writes(&world, 2, 4096, 512 << 10), 1);
    cr_assert_eq(count_writes(&world, 3, align_bytes, 500 << 10), 1);
    cr_assert_eq(count_writes(&world, 4, 0, 4096), 1);
    fixture_remove(&world.fixture);
}

/* Mappings of devices may be read by the processor and not by another device: the kernel says EFAULT. */
Test(engine_blob_lent, memory_that_the_device_cannot_read_copied)
{
    static struct world world;
    begin(&world);
    const struct faulty_rule refused = {.kind = FAULTY_ERRNO, .op_mask = 1u << BLOCKDEV_WRITE, .source_mask = 1u << BLOCKDEV_SOURCE_BLOB, .times = 1, .system_errno = 14};
    for (unsigned skip = 0; skip < 6; skip++) {
        struct faulty_rule rule = refused;
        rule.skip = skip;
        int number = faulty_add(world.fixture.faulty, &rule);
        must(append(&world, skip, 4096, 3 * MIB + 100));
        cr_assert_eq(faulty_hits(world.fixture.faulty, number), 1);
        faulty_clear(world.fixture.faulty);
        check(&world, skip, 3 * MIB + 100);
    }
    struct faulty_rule rule = refused;
    rule.times = UINT64_MAX; /* what is copied as well: that is no matter of the memory */
    faulty_add(world.fixture.faulty, &rule);
    cr_assert_lt(append(&world, 7, 4096, MIB), 0);
    cr_assert_lt(append(&world, 7, 1, MIB), 0);
    faulty_clear(world.fixture.faulty);
    must(append(&world, 7, 4096, MIB));
    check(&world, 7, MIB);
    fixture_remove(&world.fixture);
}

/* append() looks at what is in flight when it has returned. */
Test(engine_blob_lent, write_failed_nothing_in_flight_at_return)
{
    static struct world world;
    begin(&world);
    for (unsigned skip = 0; skip < 12; skip++) {
        faulty_add(world.fixture.faulty, &(struct faulty_rule){.kind = FAULTY_ERRNO, .op_mask = 1u << BLOCKDEV_WRITE, .source_mask = 1u << BLOCKDEV_SOURCE_BLOB, .skip = skip, .times = 1, .system_errno = 5});
        faulty_add(world.fixture.faulty, &(struct faulty_rule){.kind = FAULTY_DELAY, .op_mask = 1u << BLOCKDEV_WRITE, .source_mask = 1u << BLOCKDEV_SOURCE_BLOB, .times = UINT64_MAX});
        must_fail(append(&world, skip, 0, 8 * MIB), MOTE_EIO);
        faulty_clear(world.fixture.faulty);
        must(append(&world, skip, 0, 8 * MIB - skip));
        check(&world, skip, 8 * MIB - skip);
    }
    fixture_remove(&world.fixture);
}

Test(engine_blob_lent, batch_of_values_one_barrier_beside_the_logs)
{
    static struct world world;
    struct mote_write_options options = MOTE_WRITE_OPTIONS_INIT;
    int64_t ids[16];
    uint32_t offsets[17];
    begin(&world);
    must(append(&world, 100, 0, 4096)); /* makes the file, with room for what follows */
    for (uint32_t i = 0; i < 17; i++)
        offsets[i] = i * 8192;
    for (int64_t i = 0; i < 16; i++) {
        ids[i] = i;
        fill(memory + offsets[i], 8192, (uint64_t)i);
    }
    const struct mote_column columns[] = {{.type = MOTE_TYPE_INT64, .values = ids}, {.type = MOTE_TYPE_BLOB, .values = memory, .offsets = offsets}};
    const struct mote_batch batch = {.row_count = 16, .column_count = 2, .columns = columns};
    options.durability = MOTE_DURABILITY_SYNC;
    /* The log's own are of its source. */
    int rule = faulty_add(world.fixture.faulty, &(struct faulty_rule){.kind = FAULTY_DELAY, .op_mask = 1u << BLOCKDEV_FLUSH, .source_mask = 1u << BLOCKDEV_SOURCE_OTHER, .times = UINT64_MAX});
    must(mote_append_columns(world.table, &batch, &options, NULL));
    cr_assert_eq(faulty_hits(world.fixture.faulty, rule), 1);
    faulty_clear(world.fixture.faulty);
    for (int64_t i = 0; i < 16; i++)
        check(&world, i, 8192);
    fixture_remove(&world.fixture);
}
