/* format.c: making a device an empty volume, and what it refuses to destroy. See mote_format. */
#include <errno.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include "blockdev/probe.h"
#include "engine/engine_private.h"

static void describe(const struct layout *layout, const struct blockdev_geometry *geometry, const uint8_t uuid[16], struct mote_layout *out)
{
    memcpy(out->uuid, uuid, 16);
    out->device_size_bytes = layout->device_size_bytes;
    out->logical_block_bytes = geometry->logical_block_bytes;
    out->extent_count = layout->extent_count;
    out->extent_bytes = layout->extent_bytes;
    out->superblock_start_offset_bytes = 0;
    out->superblock_end_offset_bytes = layout->device_size_bytes - SUPERBLOCK_REGION_BYTES;
    out->superblock_region_bytes = SUPERBLOCK_REGION_BYTES;
    out->manifest_first_offset_bytes = layout->manifest_offset_bytes[0];
    out->manifest_second_offset_bytes = layout->manifest_offset_bytes[1];
    out->manifest_copy_bytes = 2 * layout->manifest_area_bytes;
    out->extents_offset_bytes = layout->extents_offset_bytes;
    out->log_bytes_max = layout->log_bytes_max;
    out->segments_max = layout->segments_max;
}

int format_choose_uuid(const struct mote_format_options *options, uint8_t uuid[16])
{
    static const uint8_t none[16];
    memcpy(uuid, options->uuid, sizeof none);
    if (memcmp(uuid, none, sizeof none) != 0)
        return MOTE_OK;
    if (getrandom(uuid, sizeof none, 0) != (ssize_t)sizeof none)
        return error_set(MOTE_EINTERNAL, "the kernel gives no random bytes");
    uuid[6] = (uint8_t)((uuid[6] & 0x0f) | 0x40); /* RFC 4122, version 4 */
    uuid[8] = (uint8_t)((uuid[8] & 0x3f) | 0x80);
    return MOTE_OK;
}

static int write_volume(struct blockdev *device, struct superblock *superblock)
{
    struct wear_clock unused;
    struct blockdev_queue *queue;
    struct blockdev_queue_options options = {.depth = 32};
    int result = blockdev_queue_create(device, &options, &queue);
    if (result)
        return result;
    result = superblock_format_invalidate(queue, &superblock->layout);
    if (!result)
        result = manifest_format(queue, superblock);
    if (!result)
        result = wear_write_first_superblock(&unused, device, queue, superblock);
    blockdev_queue_destroy(queue);
    return result;
}

int engine_format(struct blockdev *device, const struct mote_format_options *options, struct mote_layout *layout)
{
    const struct blockdev_geometry *geometry = blockdev_geometry(device);
    struct superblock superblock = {.generation = 1, .clean = 1, .logical_block_bytes = geometry->logical_block_bytes, .manifest_sequence = 1};
    int result = layout_compute(geometry->size_bytes, options->extent_bytes, options->segments_max, options->log_bytes_max, &superblock.layout);
    if (result)
        return result;
    result = format_choose_uuid(options, superblock.uuid);
    if (result)
        return result;
    if (layout)
        describe(&superblock.layout, geometry, superblock.uuid, layout);
    return options->dry_run ? MOTE_OK : write_volume(device, &superblock);
}

/* What is on the device may be destroyed only when the caller named it. */
int format_refuse_content(struct blockdev *device, const struct mote_format_options *options, struct mote_layout *layout)
{
    struct blockdev_content content;
    int result = blockdev_probe_content(device, &content);
    if (result)
        return result;
    if (layout)
        memcpy(layout->found, content.found, sizeof layout->found);
    const char *path = blockdev_path(device);
    if (content.mounted) {
        error_set(MOTE_EBUSY, "%s is in use at %s: unmount it first", path, content.mounted_at);
        error_add_device(path, 0, 0);
        return MOTE_EBUSY;
    }
    if (content.found[0] == 0)
        return MOTE_OK;
    if (options->force && strcmp(options->force, content.found) == 0)
        return MOTE_OK;
    if (options->force)
        error_set(MOTE_EFOREIGN, "%s holds \"%s\", not \"%.60s\": nothing was written; force \"%s\" to destroy it", path, content.found, options->force, content.found);
    else
        error_set(MOTE_EFOREIGN, "%s holds \"%s\": nothing was written; force \"%s\" to destroy it", path, content.found, content.found);
    error_add_device(path, 0, 0);
    return MOTE_EFOREIGN;
}

/* A dry run over a path that does not exist: the layout that the image would get. */
static int describe_absent(const struct mote_format_options *options, struct mote_layout *layout)
{
    struct layout computed;
    struct blockdev_geometry geometry = {.logical_block_bytes = PAGE_BYTES};
    int result = layout_compute(options->image_size_bytes, options->extent_bytes, options->segments_max, options->log_bytes_max, &computed);
    if (!result && layout)
        describe(&computed, &geometry, options->uuid, layout);
    return result;
}

static int format_existing(const char *path, const struct mote_format_options *options, struct mote_layout *layout)
{
    struct blockdev *device;
    struct blockdev_open_options how = {.read_only = options->dry_run != 0, .busy_timeout_ms = options->open_timeout_ms ? options->open_timeout_ms : BUSY_TIMEOUT_MS};
    int result = blockdev_open(path, &how, &device);
    if (result)
        return result;
    result = format_refuse_content(device, options, layout);
    if (!result)
        result = engine_format(device, options, layout);
    blockdev_close(device);
    return result;
}

int mote_format(const char *path, const struct mote_format_options *given, struct mote_layout *layout)
{
    struct mote_format_options options = MOTE_FORMAT_OPTIONS_INIT;
    struct stat status;
    if (!path)
        return error_set(MOTE_EINVAL, "the path is NULL");
    if (given && given->size_bytes < sizeof(size_t))
        return error_set(MOTE_EINVAL, "options.size_bytes is not set: begin with MOTE_FORMAT_OPTIONS_INIT");
    if (given)
        memcpy(&options, given, given->size_bytes < sizeof options ? given->size_bytes : sizeof options);
    if (layout)
        memset(layout, 0, sizeof *layout);
    bool exists = stat(path, &status) == 0;
    if (!exists && errno != ENOENT)
        return error_set_errno(MOTE_EACCESS, errno, "cannot look at %s: %s", path, strerror(errno));
    if (exists)
        return format_existing(path, &options, layout);
    if (options.image_size_bytes == 0) {
        error_set(MOTE_ENODEV, "%s does not exist: give a size to create an image file there", path);
        error_add_device(path, 0, 0);
        return MOTE_ENODEV;
    }
    int result = describe_absent(&options, layout); /* refuses sizes that cannot be formatted before a file is made */
    if (result || options.dry_run)
        return result;
    result = blockdev_image_create(path, options.image_size_bytes, options.sparse != 0, NULL, NULL);
    if (!result) {
        result = format_existing(path, &options, layout);
        if (result)
            unlink(path);
    }
    return result;
}
