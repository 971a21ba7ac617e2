/* manifest_fuzz.c: hostile bytes as manifest frames: whatever a frame with a good checksum says, opening the volume gives a state or MOTE_EDAMAGED (MOTE_EBUDGET where it asks for more than the budget), and never reads, writes or allocates
 * beyond its bounds. What it does give can be snapshotted and opens again as the same.
 *
 * Input: a byte of mode, then the payload of one or two frames. Mode bit 0: the payload is a snapshot (else an edit behind the base chain). Bit 1: the input is the bytes of a whole frame, checksum and all, as they are. Bit 2: a frame of a page more. Bit
 * 3: behind a chain without the newer records. The inputs that are made here are records of every kind that there is, in half of them only the newer ones (retention, pins, named snapshots, blob files, bases, receives).
 * Build with -fsanitize=fuzzer -DMOTE_LIBFUZZER, or as a program: manifest_fuzz [-n inputs] [-s seed] [file ...]
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/lsm/manifest_format.h"
#include "tests/support/fuzz_run.h"
#include "tests/support/lsm_volume.h"

#define DEVICE_BYTES (9u << 20)
#define EXTENT_BYTES 65536u
#define PAYLOAD_BYTES_MAX (3u * PAGE_BYTES)
#define TABLES_MAX 6u
#define PAYLOADS_MAX 32u

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size_bytes);

/* How the volume was at a moment. */
struct stage {
    uint8_t *image; /* DEVICE_BYTES */
    struct manifest_frame last; /* of the chain */
    uint64_t end_bytes;
};

/* A volume with tables, segments and a log, made once: without the newer records, and with them. */
struct base {
    struct stage stages[2];
    struct blockdev *device;
    struct layout layout;
    uint8_t uuid[16];
    struct stage now;
    uint8_t payloads[PAYLOADS_MAX][PAYLOAD_BYTES_MAX]; /* the frames' payloads, to be changed, and behind them that of a snapshot of the whole state */
    uint32_t payload_bytes[PAYLOADS_MAX];
    uint32_t payload_count;
    uint32_t newer_first; /* from here on: retention, pins, named snapshots, blob files, bases, receives */
};
static struct base base;
static uint64_t accepted_count;

static void read_chain(struct blockdev_queue *queue)
{
    static _Alignas(PAGE_BYTES) uint8_t page[PAGE_BYTES];
    struct manifest_frame frame;
    for (;;) {
        lsm_volume_check(blockdev_read_range(queue, layout_manifest_offset(&base.layout, 0, 0) + base.now.end_bytes, page, PAGE_BYTES), "read");
        if (!manifest_frame_header(page, PAGE_BYTES, &frame))
            return;
        if (base.payload_count + 1 == PAYLOADS_MAX || frame.frame_bytes > PAGE_BYTES)
            abort();
        memcpy(base.payloads[base.payload_count], page + MANIFEST_HEADER_BYTES, frame.payload_bytes);
        base.payload_bytes[base.payload_count++] = frame.payload_bytes;
        base.now.last = frame;
        base.now.end_bytes += frame.frame_bytes;
    }
}

/* Two indexes of a table: one with a section of a segment, and one that is dropped again. */
static void add_indexes(struct lsm_volume *volume, uint64_t table_id, uint64_t segment_id)
{
    struct manifest_index kept = {.id = manifest_take_section_id(volume->manifest), .table_id = table_id, .name = "kept", .kind = 2, .column_count = 1, .options_bytes = 4, .options = {1, 0, 1, 0}}, dropped = kept;
    manifest_lock(volume->manifest);
    const struct manifest_state *state = manifest_get_state(volume->manifest);
    for (uint32_t i = 0; i < state->table_count; i++)
        if (state->tables[i].schema->table_id == table_id)
            kept.column_ids[0] = dropped.column_ids[0] = state->tables[i].schema->columns[0].id;
    manifest_unlock(volume->manifest);
    dropped.id = manifest_take_section_id(volume->manifest);
    strcpy(dropped.name, "dropped");
    struct manifest_edit *edit = lsm_volume_begin(volume);
    manifest_edit_add_index(edit, &kept);
    manifest_edit_add_index(edit, &dropped);
    struct index_section section = {.segment_id = segment_id, .index_id = kept.id};
    section.section = (struct segment_section){.run = lsm_volume_extents(volume, 1), .section_id = manifest_take_section_id(volume->manifest), .length_bytes = 5000, .root_offset_bytes = 4096, .root_bytes = 900, .root_crc = 7};
    manifest_edit_set_section(edit, &section);
    lsm_volume_commit(edit);
    edit = lsm_volume_begin(volume);
    manifest_edit_drop_index(edit, dropped.id);
    lsm_volume_commit(edit);
}

/* ---- The newer records: a few of each kind, some taken back ---- */

static void add_retention(struct lsm_volume *volume, uint64_t table_id)
{
    const struct manifest_retention retention = {.age_ns = 3600, .window_ns = 60, .future_ns = 7, .bytes_max = 1 << 20, .pin_bytes_max = 1 << 18, .recycle = 1};
    const struct manifest_watermark watermark = {.horizon_ns = -50, .newest_ns = 90};
    struct manifest_edit *edit = lsm_volume_begin(volume);
    manifest_edit_set_retention(edit, table_id, &retention);
    manifest_edit_set_watermark(edit, table_id, &watermark);
    manifest_edit_add_pin(edit, &(struct manifest_pin){.table_id = table_id, .from_ns = -5, .to_ns = 5, .seq = 3, .name = "crash"});
    manifest_edit_add_pin(edit, &(struct manifest_pin){.table_id = table_id, .from_ns = 6, .to_ns = 9, .seq = 4, .name = "kept"});
    lsm_volume_commit(edit);
    edit = lsm_volume_begin(volume);
    manifest_edit_remove_pin(edit, table_id, "crash");
    lsm_volume_commit(edit);
}

static void add_named(struct lsm_volume *volume)
{
    struct manifest_named monday = {.id = manifest_take_section_id(volume->manifest), .seq = 2, .taken_ns = 11, .name = "monday"}, tuesday = {.seq = 4, .taken_ns = 12, .name = "tuesday"};
    tuesday.id = manifest_take_section_id(volume->manifest);
    struct manifest_edit *edit = lsm_volume_begin(volume);
    manifest_edit_add_named(edit, &monday);
    manifest_edit_add_named(edit, &tuesday);
    lsm_volume_commit(edit);
    edit = lsm_volume_begin(volume);
    manifest_edit_drop_named(edit, monday.id);
    lsm_volume_commit(edit);
}

/* Three blob files; a segment uses two of them, the third is dropped. */
static void add_blobs(struct lsm_volume *volume, uint64_t table_id)
{
    uint64_t ids[3];
    struct manifest_edit *edit = lsm_volume_begin(volume);
    for (unsigned i = 0; i < 3; i++) {
        ids[i] = manifest_take_section_id(volume->manifest);
        manifest_edit_add_blob_file(edit, ids[i], table_id, lsm_volume_extents(volume, 1 + i % 2));
    }
    lsm_volume_commit(edit);
    struct segment_record record = lsm_volume_segment(volume, table_id, 1);
    const struct blob_use uses[] = {{record.id, ids[0], 4 * PAGE_BYTES}, {record.id, ids[1], PAGE_BYTES}};
    edit = lsm_volume_begin(volume);
    manifest_edit_add_segment(edit, &record);
    manifest_edit_set_blobs(edit, record.id, uses, 2);
    lsm_volume_commit(edit);
    edit = lsm_volume_begin(volume);
    manifest_edit_drop_blob_file(edit, ids[2]);
    lsm_volume_commit(edit);
}

static void add_backups(struct lsm_volume *volume)
{
    const struct manifest_point point = {.id = {1, 2, 3}, .flushed_seq = 4, .segment_mark = 5, .section_mark = 6}, later = {.id = {9}, .flushed_seq = 5, .segment_mark = 6, .section_mark = 7};
    struct manifest_receive receive = {.state = MANIFEST_RECEIVE_INCREMENT, .done_count = 2, .source_uuid = {7}, .point = point, .incoming = later, .journal = lsm_volume_extents(volume, 1), .journal_bytes = 900, .journal_crc = 3};
    struct manifest_edit *edit = lsm_volume_begin(volume);
    manifest_edit_add_base(edit, &(struct manifest_base){.name = "b0", .point = point, .taken_ns = 21});
    manifest_edit_add_base(edit, &(struct manifest_base){.name = "b1", .point = later, .taken_ns = 22});
    lsm_volume_commit(edit);
    edit = lsm_volume_begin(volume);
    manifest_edit_drop_base(edit, "b0");
    lsm_volume_commit(edit);
    edit = lsm_volume_begin(volume);
    manifest_edit_set_receive(edit, &receive);
    lsm_volume_commit(edit);
}

/* The whole state in one payload, as a snapshot has it. */
static void add_snapshot(struct lsm_volume *volume)
{
    struct manifest_image image = {0};
    lsm_volume_check(manifest_capture(volume->manifest, &image), "capture");
    if (image.size_bytes > PAYLOAD_BYTES_MAX)
        abort();
    memcpy(base.payloads[base.payload_count], image.bytes, image.size_bytes);
    base.payload_bytes[base.payload_count++] = image.size_bytes;
    memory_free(volume->memory, image.bytes);
    version_release(volume->manifest, image.version);
}

static void keep_stage(unsigned number)
{
    base.now.image = malloc(DEVICE_BYTES);
    if (!base.now.image)
        abort();
    sim_read_content(base.device, false, base.now.image);
    base.stages[number] = base.now;
}

static void make_base(void)
{
    struct lsm_volume volume;
    base.device = lsm_volume_sim(DEVICE_BYTES, 1, false);
    lsm_volume_format(base.device, EXTENT_BYTES, 16);
    lsm_volume_check(lsm_volume_open(&volume, base.device, TABLES_MAX, false), "open");
    uint64_t first = lsm_volume_make_table(&volume, "first"), second = lsm_volume_make_table(&volume, "second"), ids[3];
    for (unsigned i = 0; i < 3; i++)
        ids[i] = lsm_volume_add(&volume, i ? first : second);
    add_indexes(&volume, first, ids[1]);
    struct manifest_edit *edit = lsm_volume_begin(&volume);
    struct segment_section section = {.run = lsm_volume_extents(&volume, 1), .section_id = manifest_take_section_id(volume.manifest), .length_bytes = 100};
    manifest_edit_set_timestamp(edit, ids[0], &section);
    manifest_edit_begin_incarnation(edit, 17, 0, 0);
    manifest_edit_add_log_range(edit, &(struct manifest_log_range){0, lsm_volume_extents(&volume, 3)});
    manifest_edit_add_lost_range(edit, &(struct manifest_lost_range){1, 2, 3, 4});
    manifest_edit_add_bad_extent(edit, lsm_volume_extents(&volume, 1).first);
    manifest_edit_set_rowid(edit, first, 10);
    manifest_edit_remove_segment(edit, ids[2]);
    manifest_edit_drop_table(edit, second);
    manifest_edit_set_head(edit, 100);
    manifest_edit_set_flushed_seq(edit, 5);
    manifest_edit_set_clean_end(edit, 6, 7);
    lsm_volume_commit(edit);
    base.layout = volume.superblock.layout;
    memcpy(base.uuid, volume.superblock.uuid, 16);
    read_chain(volume.queue);
    keep_stage(0);
    base.newer_first = base.payload_count;
    add_retention(&volume, first);
    add_named(&volume);
    add_blobs(&volume, first);
    add_backups(&volume);
    read_chain(volume.queue);
    keep_stage(1);
    add_snapshot(&volume);
    lsm_volume_close(&volume);
}

static void write_bytes_at(struct blockdev *device, uint64_t offset_bytes, const uint8_t *bytes, uint64_t length_bytes)
{
    struct blockdev_queue_options options = {.depth = 8};
    struct blockdev_queue *queue;
    lsm_volume_check(blockdev_queue_create(device, &options, &queue), "queue");
    for (unsigned copy = 0; copy < 2; copy++)
        lsm_volume_check(blockdev_write_range(queue, BLOCKDEV_SOURCE_OTHER, layout_manifest_offset(&base.layout, copy, 0) + offset_bytes, bytes, length_bytes), "write");
    blockdev_queue_destroy(queue);
}

/* Opens the device; a state that it accepts must be whole: a snapshot of it opens as the same. */
static void try_open(struct blockdev *device)
{
    struct lsm_volume volume;
    int result = lsm_volume_open(&volume, device, TABLES_MAX, false);
    if (result) {
        if (result != MOTE_EDAMAGED && result != MOTE_EBUDGET) {
            fprintf(stderr, "opening gives %d\n", result);
            abort();
        }
        return;
    }
    accepted_count++;
    result = manifest_snapshot(volume.manifest);
    if (result) {
        fprintf(stderr, "a state that was accepted cannot be snapshotted: %d\n", result);
        abort();
    }
    char *before = lsm_volume_text(volume.manifest);
    lsm_volume_close(&volume);
    lsm_volume_check(lsm_volume_open(&volume, device, TABLES_MAX, false), "reopen");
    char *after = lsm_volume_text(volume.manifest);
    if (strcmp(before, after)) {
        fprintf(stderr, "a snapshot differs\n%s---\n%s", before, after);
        abort();
    }
    free(before);
    free(after);
    lsm_volume_close(&volume);
}

/* The number of records that the payload seems to have, so that counts are usually right. */
static uint32_t count_records(const uint8_t *payload, uint32_t payload_bytes)
{
    struct byte_reader reader = byte_reader_make(payload, payload_bytes);
    uint32_t count = 0;
    while (byte_reader_left(&reader) >= MANIFEST_RECORD_HEADER_BYTES) {
        read_u32(&reader);
        if (!read_bytes(&reader, read_u32(&reader)))
            return count + 1;
        count++;
    }
    return count;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size_bytes)
{
    static _Alignas(PAGE_BYTES) uint8_t bytes[PAYLOAD_BYTES_MAX + PAGE_BYTES];
    if (!base.device)
        make_base();
    if (size_bytes < 1 || size_bytes - 1 > PAYLOAD_BYTES_MAX)
        return 0;
    uint8_t mode = data[0];
    uint32_t payload_bytes = (uint32_t)size_bytes - 1;
    struct blockdev *device;
    struct sim_options options = {.size_bytes = DEVICE_BYTES, .logical_block_bytes = 512, .seed = 1};
    const struct stage *stage = &base.stages[mode & 8 ? 0 : 1];
    options.initial = stage->image;
    options.initial_borrowed = true;
    lsm_volume_check(sim_create(&options, &device), "sim_create");
    memset(bytes, 0, sizeof bytes);
    if (mode & 2) {
        memcpy(bytes, data + 1, payload_bytes);
        write_bytes_at(device, mode & 1 ? 0 : stage->end_bytes, bytes, sizeof bytes);
    } else {
        memcpy(bytes + MANIFEST_HEADER_BYTES, data + 1, payload_bytes);
        struct manifest_frame frame = base.now.last; /* with counters that are above all that there is */
        frame.kind = mode & 1 ? MANIFEST_FRAME_SNAPSHOT : MANIFEST_FRAME_EDIT;
        frame.sequence = mode & 1 ? 1 : stage->last.sequence + 1;
        frame.previous_crc = stage->last.crc;
        frame.payload_bytes = payload_bytes;
        frame.frame_bytes = (uint32_t)round_up(MANIFEST_HEADER_BYTES + payload_bytes, PAGE_BYTES) + (mode & 4 && payload_bytes < PAGE_BYTES ? PAGE_BYTES : 0);
        frame.record_count = count_records(data + 1, payload_bytes) + (mode >> 4 == 15);
        /* Old edits behind a forged snapshot would be damage before anything else is seen. */
        static _Alignas(PAGE_BYTES) uint8_t zeros[PAYLOADS_MAX * PAGE_BYTES];
        if (mode & 1)
            write_bytes_at(device, 0, zeros, sizeof zeros);
        manifest_frame_encode(&frame, base.uuid, 0, mode & 1 ? 0 : stage->end_bytes, bytes);
        write_bytes_at(device, mode & 1 ? 0 : stage->end_bytes, bytes, frame.frame_bytes);
    }
    try_open(device);
    blockdev_close(device);
    return 0;
}

#ifndef MOTE_LIBFUZZER
static uint64_t next_random(uint64_t *state)
{
    *state += 0x9e3779b97f4a7c15ull;
    uint64_t z = *state;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9ull;
    z = (z ^ z >> 27) * 0x94d049bb133111ebull;
    return z ^ z >> 31;
}

/* Records of the base chain's frames, shuffled together, with a few bytes changed. */
static size_t make_input(uint64_t *state, uint8_t *data)
{
    size_t size_bytes = 1;
    if (!base.device)
        make_base();
    data[0] = (uint8_t)(next_random(state) & 0xfd);
    if (next_random(state) % 16 == 0)
        data[0] |= 2;
    if (next_random(state) % 2)
        data[0] &= 0xfe;
    bool newer = next_random(state) % 2, whole = data[0] % 2 && next_random(state) % 4;
    for (uint64_t parts = whole ? 1 : 1 + next_random(state) % 4; parts > 0; parts--) {
        uint32_t first = newer ? base.newer_first : 0, which = whole ? base.payload_count - 1 : first + (uint32_t)(next_random(state) % (base.payload_count - first));
        if (size_bytes + base.payload_bytes[which] > PAYLOAD_BYTES_MAX)
            break;
        memcpy(data + size_bytes, base.payloads[which], base.payload_bytes[which]);
        size_bytes += base.payload_bytes[which];
    }
    for (uint64_t changes = next_random(state) % 5; changes > 0; changes--) {
        uint64_t where = next_random(state);
        uint8_t *at = data + 1 + where % (size_bytes - 1);
        *at = (uint8_t)(where >> 40 & 1 ? where >> 41 : *at ^ 1u << (where >> 41 & 7));
    }
    if (next_random(state) % 8 == 0)
        size_bytes -= next_random(state) % size_bytes;
    return size_bytes;
}

static void finish(void) { printf("%llu states accepted\n", (unsigned long long)accepted_count); }

int main(int argc, char **argv)
{
    const struct fuzz_run run = {.target = LLVMFuzzerTestOneInput, .make = make_input, .count = 3000, .bytes_max = PAYLOAD_BYTES_MAX + 1, .finish = finish};
    return fuzz_run(&run, argc, argv);
}
#endif
