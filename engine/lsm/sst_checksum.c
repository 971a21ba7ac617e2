/* sst_checksum.c: the checksums of an SSTable's structures (sst_format.h). A block of columns is summed stream by stream, and its own checksum is over its head and these sums: so a stream can be trusted alone, a block as a whole, and each byte
 * is summed once.
 *
 * Invariant: nothing beyond header->length_bytes is read, whatever the bytes say. Threads: any. Failures: none.
 */
#include <assert.h>

#include "engine/lsm/sst_format.h"

static uint32_t block_crc(const uint8_t uuid[16], const struct sst_header *header, const uint8_t *data, uint32_t *stream_crcs)
{
    const uint8_t *starts = data + SST_BLOCK_HEADER_BYTES;
    uint32_t length = header->length_bytes, columns = length >= SST_BLOCK_HEADER_BYTES ? load_u32(data + 44) : 0;
    if (length < SST_BLOCK_HEADER_BYTES || columns >= (length - SST_BLOCK_HEADER_BYTES) / 4)
        return ~header->crc;
    uint32_t start = sst_streams_at(columns);
    if (start > length || load_u32(starts) != start || load_u32(starts + (columns + 2) * 4) != length)
        return ~header->crc;
    uint32_t crc = crc32c(crc32c_seed(uuid, header->magic, header->segment_id, header->offset_bytes), data + 8, start - 8);
    for (uint32_t i = 0; i < columns + 2; i++) {
        uint32_t end = load_u32(starts + (i + 1) * 4);
        uint8_t sum[4];
        if (end < start || end > length)
            return ~header->crc;
        uint32_t stream_crc = sst_stream_crc(uuid, header->segment_id, header->offset_bytes + start, data + start, end - start);
        if (stream_crcs)
            stream_crcs[i] = stream_crc;
        store_u32(sum, stream_crc);
        crc = crc32c(crc, sum, sizeof sum);
        start = end;
    }
    assert(start == length);
    return crc;
}

uint32_t sst_crc(const uint8_t uuid[16], const struct sst_header *header, const uint8_t *data, uint32_t *stream_crcs)
{
    assert(header->length_bytes >= SST_HEADER_BYTES);
    if (header->magic == SST_MAGIC_BLOCK)
        return block_crc(uuid, header, data, stream_crcs);
    return crc32c(crc32c_seed(uuid, header->magic, header->segment_id, header->offset_bytes), data + 8, header->length_bytes - 8);
}
