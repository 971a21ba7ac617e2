/* sst_filter.c: see sst_filter.h. */
#include "engine/lsm/sst_filter.h"

#include <assert.h>

#include "engine/lsm/sst_builder_private.h"

uint32_t sst_filter_bytes(uint64_t key_count)
{
    uint64_t lines = divide_up(key_count * SST_FILTER_BITS_PER_KEY, SST_FILTER_LINE_BYTES * 8);
    assert(lines <= UINT32_MAX / SST_FILTER_LINE_BYTES - 1);
    return SST_FILTER_HEADER_BYTES + (uint32_t)(lines ? lines : 1) * SST_FILTER_LINE_BYTES;
}

static inline uint32_t line_of(uint64_t hash, uint32_t line_count) { return (uint32_t)(((hash >> 32) * line_count) >> 32); }

void sst_filter_build(uint8_t *filter, uint32_t filter_bytes, const uint64_t *hashes, uint32_t hash_count)
{
    uint32_t line_count = (filter_bytes - SST_FILTER_HEADER_BYTES) / SST_FILTER_LINE_BYTES;
    assert(line_count > 0);
    memset(filter, 0, filter_bytes);
    store_u64(filter + 32, hash_count);
    store_u32(filter + 40, line_count);
    store_u32(filter + 44, SST_FILTER_PROBES);
    for (uint32_t i = 0; i < hash_count; i++) {
        uint8_t *line = filter + SST_FILTER_HEADER_BYTES + (size_t)line_of(hashes[i], line_count) * SST_FILTER_LINE_BYTES;
        uint64_t bits = hashes[i] * 0x9E3779B97F4A7C15u;
        for (uint32_t probe = 0; probe < SST_FILTER_PROBES; probe++, bits >>= 9)
            line[(bits & 511) >> 3] = (uint8_t)(line[(bits & 511) >> 3] | 1u << (bits & 7));
    }
}

bool sst_filter_may_hold(const uint8_t *filter, uint32_t filter_bytes, uint64_t hash)
{
    if (filter_bytes < SST_FILTER_HEADER_BYTES + SST_FILTER_LINE_BYTES)
        return true;
    uint32_t line_count = (filter_bytes - SST_FILTER_HEADER_BYTES) / SST_FILTER_LINE_BYTES;
    const uint8_t *line = filter + SST_FILTER_HEADER_BYTES + (size_t)line_of(hash, line_count) * SST_FILTER_LINE_BYTES;
    uint64_t bits = hash * 0x9E3779B97F4A7C15u;
    unsigned held = 1;
    for (uint32_t probe = 0; probe < SST_FILTER_PROBES; probe++, bits >>= 9)
        held &= (unsigned)(line[(bits & 511) >> 3] >> (bits & 7));
    return held & 1;
}
