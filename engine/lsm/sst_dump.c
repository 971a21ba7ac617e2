/* sst_dump.c: a segment's footer and index, or one of its blocks, in readable lines (sst.h). For operators and tests; reads through the same checks as everyone.
 *
 * Threads: one. Failures: MOTE_EIO, MOTE_EDAMAGED, MOTE_EBUDGET; MOTE_EINVAL for a block that does not exist. */
#include <inttypes.h>
#include <stdio.h>

#include "engine/lsm/sst_reader_private.h"

static void print_hex(FILE *out, const uint8_t *bytes, uint64_t size_bytes, uint64_t size_max)
{
    for (uint64_t i = 0; i < size_bytes && i < size_max; i++)
        fprintf(out, "%02x", bytes[i]);
    fprintf(out, "%s", size_bytes > size_max ? "..." : "");
}

static void print_text(FILE *out, const uint8_t *text, uint64_t size_bytes, uint64_t size_max)
{
    fputc('"', out);
    for (uint64_t i = 0; i < size_bytes && i < size_max; i++) {
        if (text[i] < 0x20 || text[i] == '"' || text[i] == '\\' || text[i] == 0x7F)
            fprintf(out, "\\x%02x", text[i]);
        else
            fputc(text[i], out);
    }
    fprintf(out, "\"%s", size_bytes > size_max ? "..." : "");
}

static void print_value(FILE *out, const struct mote_value *value)
{
    if (value->is_null) {
        fprintf(out, "NULL");
        return;
    }
    switch (value->type) {
    case MOTE_TYPE_INT64:
    case MOTE_TYPE_TIMESTAMP:
        fprintf(out, "%" PRId64, value->as.i64);
        break;
    case MOTE_TYPE_INT32:
        fprintf(out, "%" PRId32, value->as.i32);
        break;
    case MOTE_TYPE_FLOAT64:
        fprintf(out, "%.17g", value->as.f64);
        break;
    case MOTE_TYPE_FLOAT32:
        fprintf(out, "%.9g", (double)value->as.f32);
        break;
    case MOTE_TYPE_BOOL:
        fprintf(out, "%s", value->as.boolean ? "true" : "false");
        break;
    case MOTE_TYPE_TEXT:
        print_text(out, value->as.bytes.data, value->as.bytes.size_bytes, 64);
        break;
    case MOTE_TYPE_POINT3:
        fprintf(out, "(%.17g %.17g %.17g)", value->as.point[0], value->as.point[1], value->as.point[2]);
        break;
    default:
        print_hex(out, value->as.bytes.data, value->as.bytes.size_bytes, 32);
    }
}

static void print_zone(FILE *out, const char *name, const uint8_t *zone)
{
    uint32_t flags = load_u32(zone + 4);
    fprintf(out, "      %s: %u values", name, load_u32(zone));
    for (unsigned i = 0; i < 3; i++) {
        static const char *const words[3] = {"min", "max", "sum"};
        uint64_t bits = load_u64(zone + 8 + i * 8);
        double number;
        memcpy(&number, &bits, sizeof number);
        if (!(flags & (i < 2 ? SST_ZONE_RANGE : SST_ZONE_SUM)))
            continue;
        if (flags & SST_ZONE_FLOAT)
            fprintf(out, ", %s %.17g", words[i], number);
        else
            fprintf(out, ", %s %" PRId64, words[i], (int64_t)bits);
    }
    fprintf(out, "%s\n", flags & SST_ZONE_NAN ? ", some NaN" : "");
}

static void print_footer(struct sst_iterator *iterator, FILE *out)
{
    const struct sst_footer *footer = &iterator->footer;
    const struct segment_record *record = &iterator->segment->record;
    fprintf(out, "segment %" PRIu64 " table %" PRIu64 " \"%s\" schema version %u run %" PRIu64 " level %u\n", record->id, footer->table_id, iterator->schema->name, footer->schema_version, footer->run_id,
            footer->level);
    fprintf(out, "  %" PRIu64 " bytes in %u runs:", record->segment_bytes, record->extent_run_count);
    for (uint32_t i = 0; i < record->extent_run_count; i++)
        fprintf(out, " %u+%u", record->runs[i].first, record->runs[i].count);
    fprintf(out, "\n  %" PRIu64 " rows, %" PRIu64 " of them tombstones, seqs %" PRIu64 " to %" PRIu64 "\n", footer->row_count, footer->delete_count, footer->seq_min, footer->seq_max);
    if (footer->timed_count)
        fprintf(out, "  %" PRIu64 " rows with a time, %" PRId64 " to %" PRId64 "\n", footer->timed_count, footer->time_min_ns, footer->time_max_ns);
    fprintf(out, "  %u blocks in %u partitions, footer %u bytes at %" PRIu64 " checksum %08x\n", footer->block_count, footer->partition_count, record->footer_bytes, record->footer_offset_bytes,
            record->footer_crc);
    if (footer->timestamp_offset_bytes)
        fprintf(out, "  timestamp section %" PRIu64 " bytes at %" PRIu64 "%s\n", footer->timestamp_length_bytes, footer->timestamp_offset_bytes, record->timestamp.run.count ? ", replaced by a rebuilt one" : "");
}

static int print_partition(struct sst_iterator *iterator, uint32_t partition, FILE *out)
{
    struct sst_directory_entry directory;
    int result = sst_partition_pin(iterator, partition);
    if (result)
        return result;
    sst_directory_load(iterator, partition, &directory);
    fprintf(out, "  partition %u: %u bytes at %" PRIu64 " checksum %08x, filter %u bytes\n", partition, directory.partition.length_bytes, directory.partition.offset_bytes, directory.partition.crc,
            directory.filter.length_bytes);
    for (uint32_t i = 0; i < directory.block_count; i++) {
        struct sst_block_entry entry;
        sst_block_entry_load(iterator, i, &entry);
        fprintf(out, "    block %u: %u bytes%s at %" PRIu64 " checksum %08x, rows %u from %" PRIu64 ", tombstones %u, seqs %" PRIu64 " to %" PRIu64 ", keys ", directory.first_block + i, entry.header.length_bytes, entry.pages ? " of row pages" : "",
                entry.header.offset_bytes, entry.header.crc, entry.row_count, directory.first_ordinal + entry.first_ordinal, entry.delete_count, entry.seq_min, entry.seq_max);
        print_hex(out, entry.first_key, entry.first_key_bytes, 24);
        fprintf(out, " to ");
        print_hex(out, entry.last_key, entry.last_key_bytes, 24);
        fputc('\n', out);
        for (uint32_t stream = 0; entry.streams && stream < iterator->footer.column_count + 2; stream++)
            fprintf(out, "%s%u %08x", stream ? ", " : "      streams (start, checksum): ", load_u32(entry.streams + stream * SST_STREAM_BYTES), load_u32(entry.streams + stream * SST_STREAM_BYTES + 4));
        fprintf(out, "%s", entry.streams ? "\n" : "");
        for (uint32_t column = 0; column < iterator->stored_columns; column++)
            print_zone(out, iterator->schema->columns[column].name, entry.zones + column * SST_ZONE_BYTES);
    }
    return MOTE_OK;
}

/* The codec and the size of each column of the present block. */
static void print_streams(struct sst_iterator *iterator, FILE *out)
{
    const struct sst_block *block = &iterator->block;
    const uint8_t *data = iterator->block_pin.data;
    for (uint32_t i = 0; i < block->column_count + 2; i++) {
        uint32_t start = load_u32(data + SST_BLOCK_HEADER_BYTES + i * 4), end = load_u32(data + SST_BLOCK_HEADER_BYTES + (i + 1) * 4);
        const char *name = i == block->column_count ? "(seq)" : i > block->column_count ? "(kind)" : i < iterator->stored_columns ? iterator->schema->columns[i].name : "?";
        struct codec_info info;
        if (start > end || end > block->length_bytes || start == end || codec_inspect(data + start, end - start, &info))
            continue;
        fprintf(out, "  stream %u %s: %u bytes for %u, %s%s\n", i, name, end - start, info.values_bytes, codec_name(info.codec), info.has_nulls ? ", NULLs" : "");
    }
}

/* The row pages of the present block. */
static void print_units(struct sst_iterator *iterator, uint32_t index, FILE *out)
{
    struct sst_block_entry entry;
    sst_block_entry_load(iterator, index, &entry);
    for (uint32_t i = 0; i < entry.unit_count; i++) {
        struct sst_unit unit;
        sst_unit_load(&entry, i, &unit);
        fprintf(out, "  page %u: %u bytes at %" PRIu64 " checksum %08x, %u rows from seq %" PRIu64 " key ", i, unit.length_bytes, unit.offset_bytes, unit.crc, unit.row_count, unit.seq);
        print_hex(out, unit.key, unit.key_bytes, 24);
        fputc('\n', out);
    }
}

static int print_block(struct sst_iterator *iterator, uint32_t number, FILE *out)
{
    struct sst_directory_entry directory;
    uint32_t partition = 0;
    for (sst_directory_load(iterator, 0, &directory); number >= directory.first_block + directory.block_count; sst_directory_load(iterator, ++partition, &directory))
        ;
    int result = sst_enter(iterator, partition, number - directory.first_block);
    if (!result)
        result = sst_block_pin(iterator);
    if (result)
        return result;
    fprintf(out, "block %u: %u rows, %u tombstones, %u repeated keys\n", number, iterator->block.row_count, iterator->block.delete_count, iterator->block.repeat_count);
    if (iterator->block.row_pages)
        print_units(iterator, number - directory.first_block, out);
    else
        print_streams(iterator, out);
    for (uint32_t row = 0; row < iterator->block.row_count; row++) {
        struct record record;
        iterator->row = row;
        iterator->on_record = true;
        iterator->key_valid = false;
        result = sst_record_of_row(iterator, &record);
        if (result)
            return result;
        fprintf(out, "  %s seq %" PRIu64, record.kind == RECORD_DELETE ? "delete" : "put", record.seq);
        for (uint32_t column = 0; column < iterator->schema->column_count; column++) {
            struct mote_value value;
            result = sst_value(iterator, column, &value);
            if (result)
                return result;
            fprintf(out, " %s=", iterator->schema->columns[column].name);
            print_value(out, &value);
        }
        fputc('\n', out);
    }
    return MOTE_OK;
}

int sst_dump(struct sst_context *context, struct blockdev_queue *queue, struct segment *segment, const struct schema *schema, int64_t block, FILE *out)
{
    struct sst_iterator *iterator;
    int result = sst_iterator_create(context, queue, &iterator);
    if (result)
        return result;
    result = sst_iterator_open(iterator, segment, schema);
    if (!result && block >= (int64_t)iterator->footer.block_count)
        result = error_set(MOTE_EINVAL, "segment %llu has %u blocks; there is no block %lld", (unsigned long long)segment->record.id, iterator->footer.block_count, (long long)block);
    if (!result && block >= 0) {
        result = print_block(iterator, (uint32_t)block, out);
    } else if (!result) {
        print_footer(iterator, out);
        for (uint32_t i = 0; !result && i < iterator->footer.partition_count; i++)
            result = print_partition(iterator, i, out);
    }
    sst_iterator_destroy(iterator);
    return result;
}
