/* spatial_page.c: pages of a spatial section from its source (spatial_format.h).
 *
 * What a page says of itself is checked each time it is pinned (the source verifies the checksum only when the bytes come from the device), and every number is bounded before it is used. A child is one level below its parent, so that
 * no chain of pages is longer than SPATIAL_LEVELS_MAX. Threads: pure but for the source. Failures: MOTE_EDAMAGED and what the source returns.
 */
#include <assert.h>

#include "blockdev/base/crc32c.h"
#include "blockdev/base/errors.h"
#include "index/spatial_private.h"

/* What a page must be. */
struct page_expected {
    const struct section_identity *identity;
    uint64_t offset_bytes;
    uint32_t crc;
};

int spatial_refuse(const struct spatial_section *section, uint64_t offset_bytes, const char *what)
{
    return error_set(MOTE_EDAMAGED, "the spatial index of segment %llu is damaged at byte %llu of its section (%s); rebuild the spatial index", (unsigned long long)section->identity->segment_id, (unsigned long long)offset_bytes, what);
}

static bool header_fits(const struct page_expected *expected, const uint8_t *page, uint32_t length_bytes)
{
    const struct section_identity *identity = expected->identity;
    return length_bytes == SPATIAL_PAGE_BYTES && load_u32(page) == SPATIAL_MAGIC && load_u32(page + 4) == expected->crc && load_u64(page + 8) == identity->segment_id && load_u64(page + 16) == identity->section_id &&
           load_u64(page + 24) == expected->offset_bytes && load_u32(page + 32) == length_bytes && load_u16(page + 36) == SPATIAL_VERSION;
}

static int check_page(const uint8_t *page, uint32_t length_bytes, void *context)
{
    const struct page_expected *expected = context;
    const struct section_identity *identity = expected->identity;
    if (!header_fits(expected, page, length_bytes) ||
        crc32c(crc32c_seed(identity->uuid, SPATIAL_MAGIC, identity->segment_id, expected->offset_bytes), page + 8, SPATIAL_PAGE_BYTES - 8) != expected->crc)
        return error_set(MOTE_EDAMAGED, "the spatial index of segment %llu fails its checksum at byte %llu of its section; rebuild the spatial index", (unsigned long long)identity->segment_id,
                         (unsigned long long)expected->offset_bytes);
    return MOTE_OK;
}

static bool lies_inside(const struct spatial_section *section, uint64_t offset_bytes)
{
    uint64_t section_bytes = section->root->length_bytes;
    return section_bytes >= SPATIAL_PAGE_BYTES && offset_bytes <= section_bytes - SPATIAL_PAGE_BYTES;
}

static int pin_page(const struct spatial_section *section, uint64_t offset_bytes, uint32_t crc, struct spatial_pin *pin)
{
    struct page_expected expected = {.identity = section->identity, .offset_bytes = offset_bytes, .crc = crc};
    if (!lies_inside(section, offset_bytes))
        return spatial_refuse(section, offset_bytes, "a page lies outside");
    int result = section->source->read(section->source->context, offset_bytes, SPATIAL_PAGE_BYTES, check_page, &expected, &pin->page, &pin->handle);
    if (result)
        return result;
    if (!header_fits(&expected, pin->page, SPATIAL_PAGE_BYTES)) {
        spatial_unpin(section, pin);
        return spatial_refuse(section, offset_bytes, "another page is there");
    }
    pin->level = load_u16(pin->page + 38);
    pin->count = load_u32(pin->page + 40);
    if (pin->level >= SPATIAL_LEVELS_MAX || pin->count > (pin->level ? (uint32_t)SPATIAL_FANOUT : (uint32_t)SPATIAL_LEAF_POINTS_MAX) || (pin->level > 0 && pin->count == 0) || load_u32(pin->page + 44) != 0) {
        spatial_unpin(section, pin);
        return spatial_refuse(section, offset_bytes, "a page that contradicts itself");
    }
    return MOTE_OK;
}

int spatial_pin_root(const struct spatial_section *section, struct spatial_pin *pin, uint64_t *rows)
{
    const struct section_root *root = section->root;
    if (root->kind != INDEX_SPATIAL || root->root_bytes != SPATIAL_PAGE_BYTES)
        return spatial_refuse(section, root->root_offset_bytes, "its root is another index's");
    int result = pin_page(section, root->root_offset_bytes, root->root_crc, pin);
    if (result)
        return result;
    *rows = load_u64(pin->page + 48);
    if (*rows > UINT32_MAX || (pin->level == 0 && *rows != pin->count)) {
        spatial_unpin(section, pin);
        return spatial_refuse(section, root->root_offset_bytes, "a root that contradicts itself");
    }
    return MOTE_OK;
}

int spatial_pin_child(const struct spatial_section *section, const struct spatial_child *child, struct spatial_pin *pin)
{
    int result = pin_page(section, child->offset_bytes, child->crc, pin);
    if (result)
        return result;
    if (pin->level != child->level || load_u64(pin->page + 48) != child->count || (pin->level == 0 && pin->count != child->count)) {
        spatial_unpin(section, pin);
        return spatial_refuse(section, child->offset_bytes, "a page that contradicts its parent");
    }
    return MOTE_OK;
}

int spatial_pin_next(const struct spatial_section *section, const struct spatial_child *child, uint64_t *pages_left, struct spatial_pin *pin)
{
    if (*pages_left == 0)
        return spatial_refuse(section, child->offset_bytes, "more pages than it has room for");
    --*pages_left;
    return spatial_pin_child(section, child, pin);
}

void spatial_unpin(const struct spatial_section *section, struct spatial_pin *pin) { section->source->release(section->source->context, pin->handle); }

int spatial_decode(const struct spatial_section *section, const struct spatial_pin *pin, struct spatial_points *points)
{
    assert(pin->level == 0);
    return spatial_leaf_decode(pin->page, points) ? MOTE_OK : spatial_refuse(section, load_u64(pin->page + 24), "a leaf that contradicts itself");
}

void spatial_announce(const struct spatial_section *section, const struct spatial_child *children, uint32_t count)
{
    struct page_expected expected[SPATIAL_FANOUT];
    struct section_page pages[SPATIAL_FANOUT];
    uint32_t announced = 0;
    assert(count <= SPATIAL_FANOUT);
    if (!section->source->prefetch || count < 2)
        return;
    for (uint32_t i = 0; i < count; i++) {
        if (!lies_inside(section, children[i].offset_bytes))
            continue;
        expected[announced] = (struct page_expected){.identity = section->identity, .offset_bytes = children[i].offset_bytes, .crc = children[i].crc};
        pages[announced] = (struct section_page){.offset_bytes = children[i].offset_bytes, .length_bytes = SPATIAL_PAGE_BYTES, .check_context = &expected[announced]};
        announced++;
    }
    section->source->prefetch(section->source->context, pages, announced, check_page);
}
