/* dump_tables.c: `mote dump PATH manifest`, `sst` and `block`: the manifest's frames and state, segments, and what lies
 * in one of them. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "tools/dump.h"
#include "tools/number.h"
#include "index/index.h"

static void print_manifest_frame(void *context, unsigned copy, unsigned area, uint64_t offset_bytes, uint64_t sequence,
                                 uint64_t generation, uint32_t kind, uint32_t length_bytes, bool valid)
{
    uint64_t *frames = context;
    ++*frames;
    printf("copy %u area %c  at %" PRIu64 "  sequence %" PRIu64 "  generation %" PRIu64 "  kind %u  %u bytes  %s\n",
           copy, area ? 'B' : 'A', offset_bytes, sequence, generation, kind, length_bytes,
           valid ? "valid" : "NOT VALID");
}

int dump_manifest(struct dump *dump)
{
    int result = dump_open_manifest(dump);
    if (!dump->memory)
        return result;
    uint64_t frames = 0;
    /* The walk needs no usable state, so that a damaged manifest can still be looked at. */
    if (manifest_walk(dump->queue, dump->memory, &dump->superblock, print_manifest_frame, &frames) && !result)
        result = tool_fail(&dump->common, NULL);
    printf("%" PRIu64 " frames\n", frames);
    if (dump->manifest)
        manifest_dump(dump->manifest, stdout);
    return result;
}

static const char *table_name(const struct dump *dump, uint64_t table_id, const struct schema **schema)
{
    const struct manifest_state *state = manifest_get_state(dump->manifest);
    for (uint32_t i = 0; i < state->table_count; i++) {
        if (state->tables[i].schema->table_id == table_id) {
            if (schema)
                *schema = state->tables[i].schema;
            return state->tables[i].schema->name;
        }
    }
    return "?";
}

static void print_segment(const struct dump *dump, const struct segment_record *record)
{
    printf("segment %" PRIu64 "  table %s  level %u run %" PRIu64 "  rows %" PRIu64 " (%" PRIu64
           " tombstones)  blocks %u  %" PRIu64 " bytes  seq %" PRIu64 " to %" PRIu64,
           record->id, table_name(dump, record->table_id, NULL), record->level, record->run_id, record->row_count,
           record->delete_count, record->block_count, record->segment_bytes, record->seq_min, record->seq_max);
    if (record->time_min <= record->time_max)
        printf("  time %" PRId64 " to %" PRId64, record->time_min, record->time_max);
    printf("  extents");
    for (uint32_t i = 0; i < record->extent_run_count && i < SEGMENT_RUNS_MAX; i++)
        printf(" %u+%u", record->runs[i].first, record->runs[i].count);
    printf("\n");
}

static struct segment *find_segment(const struct version *version, uint64_t id)
{
    for (uint32_t list = 0; list < version->count; list++) {
        for (uint32_t i = 0; i < version->lists[list]->count; i++) {
            if (version->lists[list]->segments[i]->record.id == id)
                return version->lists[list]->segments[i];
        }
    }
    return NULL;
}

static int print_one(struct dump *dump, struct segment *segment, int64_t block)
{
    struct sst_context context = {.device = dump->device,
                                  .memory = dump->memory,
                                  .cache = dump->cache,
                                  .extents = dump->extents,
                                  .layout = &dump->superblock.layout,
                                  .timestamps = &timestamp_index_ops};
    memcpy(context.uuid, dump->superblock.uuid, sizeof context.uuid);
    const struct schema *schema = NULL;
    table_name(dump, segment->record.table_id, &schema);
    if (!schema)
        return tool_refuse(&dump->common, TOOL_REFUSED, 0, "segment %" PRIu64 " belongs to no table",
                           segment->record.id);
    print_segment(dump, &segment->record);
    return sst_dump(&context, dump->queue, segment, schema, block, stdout) ? tool_fail(&dump->common, NULL) : 0;
}

int dump_sst(struct dump *dump, const char *segment_text, const char *block_text)
{
    int64_t id = 0, block = -1;
    if (segment_text && (!number_parse_int64(segment_text, strlen(segment_text), &id) || id < 0))
        return tool_refuse(&dump->common, TOOL_USAGE, 0, "\"%s\": expected a segment's id", segment_text);
    if (block_text && (!number_parse_int64(block_text, strlen(block_text), &block) || block < 0))
        return tool_refuse(&dump->common, TOOL_USAGE, 0, "\"%s\": expected a block's number", block_text);
    int result = dump_open_manifest(dump);
    if (result)
        return result;
    struct version *version = version_acquire(dump->manifest);
    if (segment_text) {
        struct segment *segment = find_segment(version, (uint64_t)id);
        result = segment ? print_one(dump, segment, block)
                         : tool_refuse(&dump->common, TOOL_REFUSED, 0,
                                       "there is no segment %" PRId64 "; `mote dump PATH sst` lists them", id);
    } else {
        for (uint32_t list = 0; list < version->count; list++) {
            for (uint32_t i = 0; i < version->lists[list]->count; i++)
                print_segment(dump, &version->lists[list]->segments[i]->record);
        }
    }
    version_release(dump->manifest, version);
    return result;
}
