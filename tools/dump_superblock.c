/* dump_superblock.c: `mote dump PATH superblock`: every slot at both ends of the device, valid or not. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "blockdev/base/units.h"
#include "tools/dump.h"
#include "tools/output.h"

static uint64_t lifetime_bytes(const struct superblock *superblock)
{
    uint64_t total = 0;
    for (unsigned i = 0; i < BLOCKDEV_SOURCE_COUNT; i++)
        total += superblock->lifetime_written_bytes[i];
    return total;
}

static void print_slot_json(uint64_t offset_bytes, int code, const struct superblock *superblock)
{
    struct output out;
    struct json json;
    char uuid[37];
    output_open(&out, STDOUT_FILENO);
    json_begin(&json, &out);
    json_open(&json, NULL, '{');
    json_u64(&json, "offset_bytes", offset_bytes);
    json_text(&json, "result", mote_error_name(code));
    if (code == MOTE_OK) {
        tool_uuid_text(superblock->uuid, uuid);
        json_text(&json, "uuid", uuid);
        json_u64(&json, "generation", superblock->generation);
        json_u64(&json, "parent_crc", superblock->parent_crc);
        json_u64(&json, "features_compat", superblock->features_compat);
        json_u64(&json, "features_ro_compat", superblock->features_ro_compat);
        json_u64(&json, "features_incompat", superblock->features_incompat);
        json_bool(&json, "clean", superblock->clean != 0);
        json_u64(&json, "device_size_bytes", superblock->layout.device_size_bytes);
        json_u64(&json, "extent_bytes", superblock->layout.extent_bytes);
        json_u64(&json, "extent_count", superblock->layout.extent_count);
        json_u64(&json, "log_bytes_max", superblock->layout.log_bytes_max);
        json_u64(&json, "segments_max", superblock->layout.segments_max);
        json_u64(&json, "logical_block_bytes", superblock->logical_block_bytes);
        json_u64(&json, "manifest_area", superblock->manifest_area);
        json_u64(&json, "manifest_sequence", superblock->manifest_sequence);
        json_u64(&json, "wal_frame_bytes_max", superblock->wal_frame_bytes_max);
        json_u64(&json, "wal_window_bytes", superblock->wal_window_bytes);
        json_u64(&json, "barrier", superblock->barrier);
        json_text(&json, "calibrated_model", superblock->calibrated_model);
        json_u64(&json, "opens", superblock->opens);
        json_u64(&json, "lifetime_written_bytes", lifetime_bytes(superblock));
    }
    json_close(&json, '}');
    output_text(&out, "\n");
    output_close(&out);
}

static void print_slot_text(uint64_t offset_bytes, int code, const struct superblock *superblock)
{
    printf("slot at %llu: ", (unsigned long long)offset_bytes);
    if (code != MOTE_OK) {
        printf("not valid (%s)\n", mote_error_name(code));
        return;
    }
    char uuid[37];
    tool_uuid_text(superblock->uuid, uuid);
    printf("generation %llu, uuid %s, %s\n", (unsigned long long)superblock->generation, uuid,
           superblock->clean ? "clean" : "not clean");
    printf("  device %llu bytes, logical blocks of %u; %u extents of %llu bytes from %llu; log at most %llu bytes; %u "
           "segments\n",
           (unsigned long long)superblock->layout.device_size_bytes, superblock->logical_block_bytes,
           superblock->layout.extent_count, (unsigned long long)superblock->layout.extent_bytes,
           (unsigned long long)superblock->layout.extents_offset_bytes,
           (unsigned long long)superblock->layout.log_bytes_max, superblock->layout.segments_max);
    printf("  manifest area %u from sequence %llu; copies at %llu and %llu, areas of %llu bytes\n",
           superblock->manifest_area, (unsigned long long)superblock->manifest_sequence,
           (unsigned long long)superblock->layout.manifest_offset_bytes[0],
           (unsigned long long)superblock->layout.manifest_offset_bytes[1],
           (unsigned long long)superblock->layout.manifest_area_bytes);
    printf("  largest frame %u, window %llu bytes; barrier %u calibrated on \"%s\"\n", superblock->wal_frame_bytes_max,
           (unsigned long long)superblock->wal_window_bytes, superblock->barrier, superblock->calibrated_model);
    printf("  features compat %llx ro-compat %llx incompat %llx; parent checksum %08x; opened %llu times; %llu bytes "
           "written\n",
           (unsigned long long)superblock->features_compat, (unsigned long long)superblock->features_ro_compat,
           (unsigned long long)superblock->features_incompat, superblock->parent_crc,
           (unsigned long long)superblock->opens, (unsigned long long)lifetime_bytes(superblock));
}

int dump_superblock(struct dump *dump)
{
    uint64_t size_bytes = round_down(blockdev_geometry(dump->device)->size_bytes, PAGE_BYTES);
    if (size_bytes < DEVICE_BYTES_MIN)
        return tool_refuse(&dump->common, TOOL_DEVICE, 0, "%s is too small for a volume", dump->path);
    uint8_t *slot = aligned_alloc(PAGE_BYTES, SUPERBLOCK_SLOT_BYTES);
    struct superblock *superblock = tool_alloc(sizeof *superblock);
    unsigned valid = 0;
    int result = slot ? 0 : TOOL_DEVICE;
    for (unsigned i = 0; !result && i < 2 * SUPERBLOCK_SLOTS; i++) {
        uint64_t base = i < SUPERBLOCK_SLOTS ? 0 : size_bytes - SUPERBLOCK_REGION_BYTES;
        uint64_t offset_bytes = base + (uint64_t)(i % SUPERBLOCK_SLOTS) * SUPERBLOCK_SLOT_BYTES;
        int code = blockdev_read_range(dump->queue, offset_bytes, slot, SUPERBLOCK_SLOT_BYTES);
        if (code) {
            result = tool_fail(&dump->common, NULL);
            break;
        }
        code = superblock_decode(slot, offset_bytes, superblock);
        valid += code == MOTE_OK;
        if (dump->common.json)
            print_slot_json(offset_bytes, code, superblock);
        else
            print_slot_text(offset_bytes, code, superblock);
    }
    free(superblock);
    free(slot);
    if (!result && valid == 0)
        result = tool_refuse(&dump->common, TOOL_DEVICE, 0, "%s holds no mote volume", dump->path);
    return result;
}
