/* sst_index_scratch.c: sections that the builder of an index puts down when its memory is full (struct section_scratch): in extents of their own, taken from free space like those of any section, which nothing on the device ever refers to.
 * They are read through the cache by the queue of the build and given back when the builder lets go of them; a crash before has nothing to clean.
 *
 * Invariant: the queue is idle when a page is read: what the section that is being written has in flight is waited for, once for each request of up to 512 KiB.
 * Threads: the building one. Failures: MOTE_ENOSPC, MOTE_EBUDGET, MOTE_EIO, and what fill returns; nothing is left of a section that failed.
 */
#include "engine/lsm/manifest.h"
#include "engine/lsm/sst_builder_private.h"

struct scratch_part {
    struct section_part part; /* first: what the builder knows */
    struct sst_scratch_sections *sections;
    struct sst_index_section section;
};

static int read_page(void *context, uint64_t offset_bytes, uint32_t length_bytes, int (*check)(const uint8_t *, uint32_t, void *), void *check_context, const uint8_t **data, void **handle)
{
    struct scratch_part *part = context;
    const struct section_source *source = &part->section.source;
    int result = part->sections->stream ? sst_stream_wait(part->sections->stream) : MOTE_OK;
    return result ? result : source->read(source->context, offset_bytes, length_bytes, check, check_context, data, handle);
}

static void release_page(void *context, void *handle)
{
    struct scratch_part *part = context;
    part->section.source.release(part->section.source.context, handle);
}

static int write_part(void *context, uint64_t bytes_max, int (*fill)(void *fill_context, const struct section_identity *identity, const struct section_sink *sink, struct section_root *root), void *fill_context,
                      struct section_part **part)
{
    struct sst_scratch_sections *sections = context;
    struct sst_section_write write = {.context = sections->context, .queue = sections->queue, .segment_id = sections->segment->record.id, .bytes_max = bytes_max, .fill = fill, .fill_context = fill_context};
    struct segment_section place;
    struct scratch_part *made = memory_alloc_zero(sections->context->memory, sizeof *made);
    if (!made)
        return MOTE_EBUDGET;
    write.section_id = manifest_take_section_id(sections->manifest);
    write.stream = &sections->stream;
    int result = sst_section_write(&write, &place);
    if (result) {
        memory_free(sections->context->memory, made);
        return result;
    }
    made->sections = sections;
    sst_index_open(sections->context, sections->queue, sections->segment, &place, sections->ops->kind, &made->section);
    made->part = (struct section_part){.identity = made->section.identity, .root = made->section.root, .source = {.read = read_page, .release = release_page, .context = made}};
    *part = &made->part;
    return MOTE_OK;
}

static void release_part(void *context, struct section_part *part)
{
    struct sst_scratch_sections *sections = context;
    struct scratch_part *made = (struct scratch_part *)(void *)part;
    extents_release_unused(sections->context->extents, made->section.place.run);
    memory_free(sections->context->memory, made);
}

void sst_scratch_sections_open(struct sst_scratch_sections *sections, struct sst_context *context, struct blockdev_queue *queue, const struct segment *segment, const struct sst_index_feed *feed)
{
    *sections = (struct sst_scratch_sections){.context = context, .queue = queue, .segment = segment, .ops = feed->ops, .manifest = feed->manifest};
    sections->scratch = (struct section_scratch){.write = write_part, .release = release_part, .context = sections};
}
