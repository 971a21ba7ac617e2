/* lsm_sst_fault_test.c: what devices do to SSTables: every byte of a segment damaged, structures that lie though their checksum holds, writes and reads that fail, writes that are lost or land elsewhere. Never a wrong answer. */
#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "blockdev/base/errors.h"
#include "blockdev/base/units.h"
#include "engine/lsm/sst_format.h"
#include "tests/support/requests.h"
#include "tests/support/sst_world.h"

static const struct sst_world_options small = {.device_bytes = 8 * MIB_BYTES, .cache_bytes = MIB_BYTES};

/* The point read of one row. */
static int get_one(struct sst_iterator *iterator, const struct model_row *row, const struct schema *schema, bool *wrong)
{
    static uint8_t image[MOTE_ROW_BYTES_MAX];
    struct record record;
    uint32_t image_bytes;
    int got = sst_get(iterator, row->key, row->key_bytes, row->seq, &record);
    *wrong = got == 0 || (got > 0 && (record.seq != row->seq || record.kind != row->kind));
    int result = got > 0 ? sst_get_image(iterator, image, sizeof image, &image_bytes) : got;
    *wrong |= !result && row->schema == schema && (image_bytes != row->image_bytes || (image_bytes && memcmp(image, row->image, image_bytes) != 0));
    return result;
}

/* Reads forward, by seeks and backward. The result of the first call that fails, or 0; *wrong: an answer that is not the model's. */
static int read_all(struct sst_world *world, struct segment *segment, const struct schema *schema, const struct model *model, bool seeks, bool *wrong)
{
    struct sst_iterator *iterator;
    char fault[200];
    int error = 0, on;
    uint32_t at = 0;
    *wrong = false;
    sst_world_check(sst_iterator_create(&world->context, world->queue, &iterator), "iterator");
    int result = sst_iterator_open(iterator, segment, schema);
    on = result ? result : sst_first(iterator);
    for (; on > 0 && !*wrong && !error; on = sst_next(iterator), at++)
        *wrong = at >= model->count || (!sst_row_equals(iterator, schema, &model->rows[at], fault, &error) && !error);
    *wrong |= !error && on == 0 && at != model->count;
    result = error ? error : on < 0 ? on : 0;
    for (uint32_t i = 0; seeks && !result && !*wrong && i < model->count; i += 1 + model->count / 13) {
        on = sst_may_contain(iterator, model->rows[i].key, model->rows[i].key_bytes);
        *wrong = on == 0;
        on = on < 0 ? on : sst_seek(iterator, model->rows[i].key, model->rows[i].key_bytes, model->rows[i].seq);
        *wrong |= on == 0 || (on > 0 && !sst_row_equals(iterator, schema, &model->rows[i], fault, &error) && !error);
        result = error ? error : on < 0 ? on : 0;
    }
    for (uint32_t i = 0; seeks && !result && !*wrong && i < model->count; i += 1 + model->count / 13)
        result = get_one(iterator, &model->rows[i], schema, wrong);
    sst_iterator_destroy(iterator);
    return result;
}

struct times {
    uint64_t count, sum;
};

static int add_times(void *context, const int64_t *times_ns, const uint32_t *ordinals, uint32_t count)
{
    struct times *times = context;
    for (uint32_t i = 0; i < count; i++)
        times->sum += ((uint64_t)times_ns[i] + 1) * (ordinals[i] + 7);
    times->count += count;
    return 0;
}

static void count_fault(const struct mote_error *fault, void *context)
{
    cr_assert(fault->code == MOTE_EDAMAGED || fault->code == MOTE_EIO || fault->code == MOTE_EVERSION);
    cr_assert_gt(strlen(fault->message), 20);
    ++*(uint32_t *)context;
}

/* ---- Damage ---- */

/* Which bytes of the segment belong to a structure: the rest is padding that nobody reads. */
static bool in_structure(const uint8_t *bytes, uint64_t size_bytes, uint64_t at)
{
    static const uint32_t magics[] = {SST_MAGIC_BLOCK, SST_MAGIC_ROWS, SST_MAGIC_PARTITION, SST_MAGIC_FILTER, SST_MAGIC_FOOTER};
    for (uint64_t start = 0; start + 64 <= size_bytes; start += 64) {
        uint32_t length = load_u32(bytes + start + 24);
        for (uint32_t i = 0; i < 5; i++)
            if (load_u32(bytes + start) == magics[i] && load_u64(bytes + start + 16) == start && at >= start && at < start + length)
                return true;
    }
    return false;
}

static void flip_every_byte(struct sst_world *world, const struct schema *schema, const struct model *model, struct segment *segment, uint32_t step)
{
    uint64_t size = round_up(segment->record.segment_bytes, 512), device_offset = layout_extent_offset(&world->layout, segment->record.runs[0].first);
    uint8_t *bytes = requests_buffer(size, 0);
    struct times good = {0};
    uint32_t damaged = 0, tried = 0;
    bool wrong;
    cr_assert_eq(segment->record.extent_run_count, 1);
    sst_world_check(blockdev_read_range(world->queue, device_offset, bytes, size), "read");
    bool timed = sst_timestamp_search(&world->context, world->queue, segment, INT64_MIN, INT64_MAX, add_times, &good) == 0;
    for (uint64_t at = 0; at < size; at += step) {
        uint8_t bit = (uint8_t)(1u << sst_random_below(world, 8));
        uint64_t sector = round_down(at, 512);
        uint32_t faults = 0;
        bytes[at] ^= bit;
        sst_world_check(blockdev_write_range(world->queue, BLOCKDEV_SOURCE_OTHER, device_offset + sector, bytes + sector, 512), "write");
        sst_world_cold(world);
        int result = read_all(world, segment, schema, model, true, &wrong);
        cr_assert(!wrong, "byte %llu of %llu: a wrong answer", (unsigned long long)at, (unsigned long long)size);
        cr_assert(result == 0 || result == MOTE_EDAMAGED, "byte %llu: %d", (unsigned long long)at, result);
        struct times times = {0};
        int searched = timed ? sst_timestamp_search(&world->context, world->queue, segment, INT64_MIN, INT64_MAX, add_times, &times) : 0;
        cr_assert(searched == MOTE_EDAMAGED || (searched == 0 && times.count == good.count && times.sum == good.sum), "byte %llu", (unsigned long long)at);
        int verified = sst_verify(&world->context, world->queue, segment, schema, count_fault, &faults);
        cr_assert_eq(verified == MOTE_EDAMAGED, faults > 0);
        cr_assert(verified == 0 || verified == MOTE_EDAMAGED);
        bytes[at] ^= bit;
        if (in_structure(bytes, size, at))
            cr_assert_eq(verified, MOTE_EDAMAGED, "byte %llu is in a structure and no fault was found", (unsigned long long)at);
        cr_assert(result == 0 || verified != 0);
        damaged += verified != 0;
        tried++;
        sst_world_check(blockdev_write_range(world->queue, BLOCKDEV_SOURCE_OTHER, device_offset + sector, bytes + sector, 512), "write");
    }
    cr_assert_gt(damaged, tried / 2, "%u of %u", damaged, tried);
    free(bytes);
    sst_world_cold(world);
    cr_assert_eq(sst_verify(&world->context, world->queue, segment, schema, count_fault, &tried), 0);
}

Test(lsm_sst_fault, every_byte_flipped_gives_damage_or_the_same_answer)
{
    struct sst_world_options options = small;
    options.seed = requests_seed("lsm_sst_flip");
    for (uint32_t round = 0; round < 4; round++, options.seed++) {
        struct sst_world world;
        struct segment segment;
        sst_world_open(&world, &options);
        struct schema *schema = round == 0 ? sst_plain_schema(&world, 2) : sst_random_schema(&world, 5);
        struct model model = sst_random_rows(&world, schema, NULL, round == 0 ? 24 : 120, 20, 15);
        sst_world_segment(&world, schema, &model, 40 + round, round == 0 ? 8 : 16, &segment);
        flip_every_byte(&world, schema, &model, &segment, round == 0 ? 1 : 17);
        sst_model_free(&model);
        schema_free(world.memory, schema);
        sst_world_close(&world);
    }
}

/* A structure of the segment changed at random, its checksum and those of its parents made good again: a hostile image. Answers may be anything, but nothing is accessed out of bounds and errors are errors. */
Test(lsm_sst_fault, structures_that_lie_are_refused_or_bounded)
{
    struct sst_world_options options = small;
    uint32_t refused = 0;
    options.seed = requests_seed("lsm_sst_lies");
    for (uint32_t round = 0; round < 6; round++, options.seed++) {
        struct sst_world world;
        struct segment segment;
        sst_world_open(&world, &options);
        struct schema *schema = sst_random_schema(&world, 5);
        struct model model = sst_random_rows(&world, schema, NULL, 100, 40, 15);
        sst_world_segment(&world, schema, &model, 40, 16, &segment);
        uint64_t size = round_up(segment.record.segment_bytes, 512), device_offset = layout_extent_offset(&world.layout, segment.record.runs[0].first);
        uint8_t *good = requests_buffer(size, 0), *bytes = requests_buffer(size, 0);
        sst_world_check(blockdev_read_range(world.queue, device_offset, good, size), "read");
        for (uint32_t i = 0; i < 150; i++) {
            memcpy(bytes, good, size);
            struct segment lying = {.record = segment.record};
            sst_reseal(&world, bytes, size, &lying.record, sst_random(&world));
            sst_world_check(blockdev_write_range(world.queue, BLOCKDEV_SOURCE_OTHER, device_offset, bytes, size), "write");
            sst_world_cold(&world);
            bool wrong;
            struct times times = {0};
            uint32_t faults = 0;
            int result = read_all(&world, &lying, schema, &model, true, &wrong);
            cr_assert(result == 0 || result == MOTE_EDAMAGED || result == MOTE_EVERSION || result == MOTE_EBUDGET || result == MOTE_ETOOBIG, "%d", result);
            (void)sst_timestamp_search(&world.context, world.queue, &lying, INT64_MIN, INT64_MAX, add_times, &times);
            refused += sst_verify(&world.context, world.queue, &lying, schema, count_fault, &faults) == MOTE_EDAMAGED;
        }
        free(good);
        free(bytes);
        sst_model_free(&model);
        schema_free(world.memory, schema);
        sst_world_close(&world);
    }
    cr_assert_gt(refused, 400, "verify found %u lies of 900", refused);
}

/* ---- Device errors ---- */

Test(lsm_sst_fault, failed_write_names_the_extent_and_gives_the_others_back)
{
    struct sst_world_options options = small;
    options.seed = requests_seed("lsm_sst_write");
    struct sst_world world;
    sst_world_open(&world, &options);
    struct schema *schema = sst_plain_schema(&world, 10);
    struct model model = sst_random_rows(&world, schema, NULL, 3000, 100000, 0);
    struct extents_counts before, after;
    extents_get_counts(world.extents, &before);
    uint32_t skip = 0;
    for (bool failing = true; failing; skip += failing) {
        struct extent_reservation reservation;
        struct sst_builder_options builder_options = sst_world_builder(&world, schema, &reservation, 60 + skip, model.count);
        struct sst_builder *builder;
        struct segment_record record;
        faulty_clear(world.device);
        faulty_add(world.device, &(struct faulty_rule){.kind = FAULTY_ERRNO, .op_mask = 1u << BLOCKDEV_WRITE, .skip = skip, .times = 1, .system_errno = EIO});
        sst_world_check(sst_builder_create(&builder_options, &builder), "builder");
        int result = 0;
        for (uint32_t i = 0; i < model.count && !result; i++) {
            const struct model_row *row = &model.rows[i];
            result = sst_builder_add(builder, &(struct record){row->key, row->key_bytes, row->kind, row->seq}, schema, row->image, row->image_bytes, false);
        }
        if (!result)
            result = sst_builder_finish(builder, &record);
        failing = result != 0; /* else every write of the segment has had its turn */
        if (!failing) {
            sst_builder_destroy(builder);
            extents_unreserve(world.extents, &reservation);
            break;
        }
        cr_assert_eq(result, MOTE_EIO, "write %u: %d", skip, result);
        cr_assert_eq(sst_builder_finish(builder, &record), MOTE_EIO, "the error is kept");
        struct mote_error error;
        error_get(&error);
        uint32_t failed = sst_builder_failed_extent(builder);
        cr_assert_lt(failed, world.layout.extent_count);
        uint64_t offset = layout_extent_offset(&world.layout, failed);
        cr_assert(error.offset_bytes >= offset && error.offset_bytes + error.length_bytes <= offset + world.layout.extent_bytes, "the extent is not where the write failed");
        sst_builder_destroy(builder);
        extents_unreserve(world.extents, &reservation);
        extents_retire(world.extents, failed);
        extents_get_counts(world.extents, &after);
        cr_assert_eq(after.free + after.bad, before.free);
        cr_assert_eq(after.bad, skip + 1);
        cr_assert_eq(after.used, 0);
        cr_assert_eq(after.reserved, 0);
    }
    cr_assert_geq(skip, 4);
    faulty_clear(world.device);
    struct segment segment;
    bool wrong;
    sst_world_segment(&world, schema, &model, 99, 64, &segment);
    cr_assert_eq(read_all(&world, &segment, schema, &model, true, &wrong), 0);
    cr_assert(!wrong);
    sst_model_free(&model);
    schema_free(world.memory, schema);
    sst_world_close(&world);
}

Test(lsm_sst_fault, failed_reads_are_errors_and_pass)
{
    struct sst_world_options options = small;
    options.seed = requests_seed("lsm_sst_read");
    struct sst_world world;
    struct segment segment;
    bool wrong;
    sst_world_open(&world, &options);
    struct schema *schema = sst_random_schema(&world, 5);
    struct model model = sst_random_rows(&world, schema, NULL, 500, 400, 10);
    sst_world_segment(&world, schema, &model, 40, 32, &segment);
    uint32_t failed = 0;
    for (uint32_t skip = 0; skip < 30; skip++) {
        faulty_clear(world.device);
        faulty_add(world.device, &(struct faulty_rule){.kind = FAULTY_ERRNO, .op_mask = 1u << BLOCKDEV_READ, .skip = skip, .times = 1, .system_errno = skip % 2 ? EIO : ENODATA});
        sst_world_cold(&world);
        int result = read_all(&world, &segment, schema, &model, true, &wrong);
        cr_assert(!wrong);
        cr_assert(result == 0 || result == MOTE_EIO, "%d", result);
        failed += result != 0;
        faulty_clear(world.device);
        cr_assert_eq(read_all(&world, &segment, schema, &model, true, &wrong), 0, "what failed once is read again");
        cr_assert(!wrong);
    }
    cr_assert_gt(failed, 10);
    /* A misdirected or flipped read is damage. */
    for (uint32_t skip = 0; skip < 20; skip++) {
        faulty_clear(world.device);
        faulty_add(world.device, &(struct faulty_rule){.kind = FAULTY_BIT_FLIP, .op_mask = 1u << BLOCKDEV_READ, .skip = skip, .times = 1, .bit = sst_random(&world) % 4000});
        sst_world_cold(&world);
        int result = read_all(&world, &segment, schema, &model, true, &wrong);
        cr_assert(!wrong);
        cr_assert(result == 0 || result == MOTE_EDAMAGED);
    }
    sst_model_free(&model);
    schema_free(world.memory, schema);
    sst_world_close(&world);
}

Test(lsm_sst_fault, lost_and_misdirected_writes_are_damage)
{
    struct sst_world_options options = small;
    options.seed = requests_seed("lsm_sst_lost");
    uint32_t damaged = 0;
    for (uint32_t round = 0; round < 24; round++, options.seed++) {
        struct sst_world world;
        struct segment segment;
        bool wrong;
        sst_world_open(&world, &options);
        struct schema *schema = sst_plain_schema(&world, 10);
        struct model model = sst_random_rows(&world, schema, NULL, 2000, 100000, 2);
        /* An older segment lies where the new one's writes will be lost: stale, but whole, blocks. */
        if (round % 3 == 2) {
            sst_world_segment(&world, schema, &model, 5, 64, &segment);
            for (uint32_t i = 0; i < segment.record.extent_run_count; i++)
                extents_release_unused(world.extents, segment.record.runs[i]);
            extents_destroy(world.extents);
            sst_world_check(extents_create(world.memory, world.layout.extent_count, &world.extents), "extents");
            world.context.extents = world.extents;
        }
        faulty_add(world.device, &(struct faulty_rule){.kind = round % 3 == 1 ? FAULTY_MISDIRECTED : FAULTY_LOST, .op_mask = 1u << BLOCKDEV_WRITE, .skip = round / 3 % 6, .times = 1, .shift_bytes = 8192});
        sst_world_segment(&world, schema, &model, 6, 64, &segment);
        faulty_clear(world.device);
        int result = read_all(&world, &segment, schema, &model, true, &wrong);
        cr_assert(!wrong, "round %u", round);
        cr_assert(result == 0 || result == MOTE_EDAMAGED);
        uint32_t faults = 0;
        damaged += sst_verify(&world.context, world.queue, &segment, schema, count_fault, &faults) == MOTE_EDAMAGED;
        sst_model_free(&model);
        schema_free(world.memory, schema);
        sst_world_close(&world);
    }
    cr_assert_gt(damaged, 16);
}

Test(lsm_sst_fault, segment_of_another_volume_or_table_is_damage)
{
    struct sst_world_options options = small;
    options.seed = 9;
    struct sst_world world;
    struct segment segment;
    bool wrong;
    sst_world_open(&world, &options);
    struct schema *schema = sst_plain_schema(&world, 3), *other = sst_plain_schema(&world, 4);
    struct model model = sst_random_rows(&world, schema, NULL, 200, 1000, 2);
    sst_world_segment(&world, schema, &model, 6, 64, &segment);
    world.context.uuid[15] ^= 1;
    cr_assert_eq(read_all(&world, &segment, schema, &model, true, &wrong), MOTE_EDAMAGED);
    world.context.uuid[15] ^= 1;
    cr_assert_eq(read_all(&world, &segment, other, &model, true, &wrong), MOTE_EDAMAGED);
    struct segment changed = {.record = segment.record};
    changed.record.id++;
    cr_assert_eq(read_all(&world, &changed, schema, &model, true, &wrong), MOTE_EDAMAGED);
    changed.record.id--;
    changed.record.row_count++;
    cr_assert_eq(read_all(&world, &changed, schema, &model, true, &wrong), MOTE_EDAMAGED);
    changed.record.row_count--;
    changed.record.footer_offset_bytes += 64;
    cr_assert_eq(read_all(&world, &changed, schema, &model, true, &wrong), MOTE_EDAMAGED);
    cr_assert_eq(read_all(&world, &segment, schema, &model, true, &wrong), 0);
    struct mote_error error;
    (void)read_all(&world, &changed, schema, &model, true, &wrong);
    error_get(&error);
    cr_assert_str_eq(error.table, "plain");
    cr_assert_gt(error.offset_bytes, 0);
    sst_model_free(&model);
    schema_free(world.memory, schema);
    schema_free(world.memory, other);
    sst_world_close(&world);
}
