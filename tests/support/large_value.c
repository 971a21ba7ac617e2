/* large_value.c: see large_value.h. */
#include "tests/support/large_value.h"

#include "engine/blob.h"
#include "engine/get_private.h"

/* The page of the value that holds the byte. */
static struct blob_piece find_page(const struct blob_reference *reference, uint64_t byte)
{
    uint64_t page = byte / PAGE_BYTES;
    struct blob_piece piece;
    require(byte < reference->length_bytes);
    for (uint32_t i = 0;; page -= piece.page_count, i++) {
        require(i < reference->piece_count);
        blob_reference_piece(reference, i, &piece);
        if (page < piece.page_count)
            return (struct blob_piece){piece.file_id, piece.first_page + (uint32_t)page, 1};
    }
}

static struct blob_piece find_byte(mote_table *table, int64_t key, uint32_t column, uint64_t byte)
{
    struct mote_value id = value_i64(key), value;
    struct blob_reference reference = {0};
    mote_row *row = NULL;
    must(mote_get(table, &id, 1, &row));
    row_value(row->schema, row->image_schema, row->image, column, &value);
    require(blob_reference_decode(value.as.bytes.data, value.as.bytes.size_bytes, &reference));
    const struct blob_piece piece = find_page(&reference, byte);
    mote_row_free(row);
    return piece;
}

uint64_t large_value_file_id(mote_table *table, int64_t key, uint32_t column, uint64_t byte) { return find_byte(table, key, column, byte).file_id; }

void large_value_flip(mote_table *table, int64_t key, uint32_t column, uint64_t byte, uint8_t mask)
{
    _Alignas(PAGE_BYTES) uint8_t page[PAGE_BYTES];
    const struct blob_piece piece = find_byte(table, key, column, byte);
    uint64_t device_bytes;
    must(blobs_locate(table->db, &piece, &device_bytes));
    must(blockdev_read_range(table->db->queue, device_bytes, page, sizeof page));
    page[byte % PAGE_BYTES] ^= mask;
    must(blockdev_write_range(table->db->queue, BLOCKDEV_SOURCE_OTHER, device_bytes, page, sizeof page));
}
