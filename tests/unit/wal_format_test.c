/* wal_format_test.c: the frame as bytes: golden, every bit, every bound. */
#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#include "blockdev/base/bytes.h"
#include "blockdev/base/crc32c.h"
#include "include/mote.h"
#include "wal/wal.h"
#include "wal/wal_format.h"

static const uint8_t uuid[16] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
enum { FRAME_MAX = 16384 };

static struct wal_frame sample_frame(void)
{
    return (struct wal_frame){.lsn = 0x0102030405060000,
                              .incarnation = 0x1112131415161718,
                              .first_seq = 0x2122232425262728,
                              .durable_lsn = 0x0102030405050000,
                              .superblock_generation = 0x3132333435363738,
                              .catalog_version = 0x4142434445464748,
                              .batch_id = 0x5152535455565758,
                              .count = 0x61626364,
                              .payload_bytes = 5,
                              .frame_bytes = 4096,
                              .kind = WAL_FRAME_ROWS,
                              .flags = WAL_FRAME_BATCH_BEGIN | WAL_FRAME_BATCH_COMMIT,
                              .previous_crc = 0x71727374};
}

/* CRC-32C bit by bit, independent of the project's. */
static uint32_t slow_crc(uint32_t crc, const uint8_t *data, size_t size)
{
    crc = ~crc;
    for (size_t i = 0; i < size; i++) {
        crc ^= data[i];
        for (int bit = 0; bit < 8; bit++)
            crc = (crc >> 1) ^ (crc & 1 ? 0x82F63B78u : 0);
    }
    return ~crc;
}

/* Makes a changed frame's checksum right again, so that only the changed field can be what is refused. */
static void seal_again(uint8_t *data)
{
    uint32_t seed = crc32c_seed(uuid, WAL_FRAME_SEED_KIND, load_u64(data + 24), load_u64(data + 16));
    uint32_t payload_bytes = load_u32(data + 76);
    store_u32(data + 4, crc32c(seed, data + 8, 120 + (payload_bytes <= 4096 - 128 ? payload_bytes : 0)));
}

static int decode(const uint8_t *data, uint64_t size, uint64_t lsn)
{
    struct wal_frame frame;
    return wal_frame_decode(data, size, uuid, lsn, FRAME_MAX, &frame);
}

Test(wal_format, sample_has_golden_bytes)
{
    static const uint8_t golden[133] = {
        'M',  'W',  'A',  'F',  0, 0, 0, 0, 1, 0, 1, 0, 5, 0, 0, 0,
        0x18, 0x17, 0x16, 0x15, 0x14, 0x13, 0x12, 0x11, 0, 0, 6, 5, 4, 3, 2, 1,
        0x28, 0x27, 0x26, 0x25, 0x24, 0x23, 0x22, 0x21, 0, 0, 5, 5, 4, 3, 2, 1,
        0x38, 0x37, 0x36, 0x35, 0x34, 0x33, 0x32, 0x31, 0x48, 0x47, 0x46, 0x45, 0x44, 0x43, 0x42, 0x41,
        0x58, 0x57, 0x56, 0x55, 0x54, 0x53, 0x52, 0x51, 0x64, 0x63, 0x62, 0x61, 5, 0, 0, 0,
        0, 0x10, 0, 0, 0x74, 0x73, 0x72, 0x71,
        [128] = 'h', 'e', 'l', 'l', 'o',
    };
    uint8_t data[4096] = {0};
    memset(data, 0xEE, 128);
    memcpy(data + 128, "hello", 5);
    struct wal_frame frame = sample_frame();
    uint32_t crc = wal_frame_encode(data, uuid, &frame);
    uint8_t expected[133];
    memcpy(expected, golden, sizeof golden);
    store_u32(expected + 4, crc);
    cr_assert_arr_eq(data, expected, sizeof expected);
    uint32_t seed = crc32c_seed(uuid, WAL_FRAME_SEED_KIND, frame.lsn, frame.incarnation);
    cr_assert_eq(crc, slow_crc(seed, data + 8, 125));
    cr_assert_eq(crc, 0x3C79CFC0u, "crc is %08x", crc);
}

Test(wal_format, decode_returns_every_field)
{
    uint8_t data[4096] = {0};
    memcpy(data + 128, "hello", 5);
    struct wal_frame in = sample_frame(), out;
    wal_frame_encode(data, uuid, &in);
    cr_assert_eq(wal_frame_decode(data, sizeof data, uuid, in.lsn, FRAME_MAX, &out), MOTE_OK);
    cr_assert_eq(out.lsn, in.lsn);
    cr_assert_eq(out.incarnation, in.incarnation);
    cr_assert_eq(out.first_seq, in.first_seq);
    cr_assert_eq(out.durable_lsn, in.durable_lsn);
    cr_assert_eq(out.superblock_generation, in.superblock_generation);
    cr_assert_eq(out.catalog_version, in.catalog_version);
    cr_assert_eq(out.batch_id, in.batch_id);
    cr_assert_eq(out.count, in.count);
    cr_assert_eq(out.payload_bytes, in.payload_bytes);
    cr_assert_eq(out.frame_bytes, in.frame_bytes);
    cr_assert_eq(out.kind, in.kind);
    cr_assert_eq(out.flags, in.flags);
    cr_assert_eq(out.crc, in.crc);
    cr_assert_eq(out.previous_crc, in.previous_crc);
}

Test(wal_format, any_bit_flipped_is_rejected)
{
    enum { PAYLOAD = 300 };
    uint8_t data[4096] = {0};
    for (int i = 0; i < PAYLOAD; i++)
        data[128 + i] = (uint8_t)(i * 7);
    struct wal_frame frame = sample_frame();
    frame.payload_bytes = PAYLOAD;
    wal_frame_encode(data, uuid, &frame);
    cr_assert_eq(decode(data, sizeof data, frame.lsn), MOTE_OK);
    for (uint32_t bit = 0; bit < (128 + PAYLOAD) * 8; bit++) {
        data[bit / 8] ^= (uint8_t)(1u << (bit % 8));
        cr_assert_eq(decode(data, sizeof data, frame.lsn), MOTE_EDAMAGED, "bit %u", bit);
        data[bit / 8] ^= (uint8_t)(1u << (bit % 8));
    }
    for (uint32_t bit = (128 + PAYLOAD) * 8; bit < sizeof data * 8; bit += 37) {
        data[bit / 8] ^= (uint8_t)(1u << (bit % 8));
        cr_assert_eq(decode(data, sizeof data, frame.lsn), MOTE_OK, "padding is nobody's");
        data[bit / 8] ^= (uint8_t)(1u << (bit % 8));
    }
}

Test(wal_format, another_place_volume_or_owner_is_rejected)
{
    uint8_t data[4096] = {0};
    struct wal_frame frame = sample_frame(), out;
    wal_frame_encode(data, uuid, &frame);
    uint8_t other[16];
    memcpy(other, uuid, 16);
    other[15] ^= 1;
    cr_assert_eq(wal_frame_decode(data, sizeof data, other, frame.lsn, FRAME_MAX, &out), MOTE_EDAMAGED);
    cr_assert_eq(decode(data, sizeof data, frame.lsn + 4096), MOTE_EDAMAGED);
    /* A misdirected frame whose lsn was made to fit fails by the seed. */
    store_u64(data + 24, frame.lsn + 4096);
    cr_assert_eq(decode(data, sizeof data, frame.lsn + 4096), MOTE_EDAMAGED);
    store_u64(data + 24, frame.lsn);
    store_u64(data + 16, frame.incarnation + 1);
    cr_assert_eq(decode(data, sizeof data, frame.lsn), MOTE_EDAMAGED);
}

Test(wal_format, lengths_out_of_bounds_are_rejected)
{
    const struct {
        int offset, size;
        uint64_t value;
        int expected;
    } cases[] = {
        {8, 2, 1, MOTE_OK},           {8, 2, 0, MOTE_EDAMAGED},      {8, 2, 2, MOTE_EDAMAGED},          {10, 2, 0, MOTE_EDAMAGED},
        {10, 2, 5, MOTE_EDAMAGED},    {10, 2, 2, MOTE_EDAMAGED},     {80, 4, 0, MOTE_EDAMAGED},         {80, 4, 128, MOTE_EDAMAGED},
        {80, 4, 512, MOTE_OK},        {80, 4, 513, MOTE_EDAMAGED},   {80, 4, FRAME_MAX, MOTE_OK},       {80, 4, FRAME_MAX + 512, MOTE_EDAMAGED},
        {80, 4, UINT32_MAX - 511, MOTE_EDAMAGED}, {76, 4, 0, MOTE_EDAMAGED}, {76, 4, 4096 - 128, MOTE_OK}, {76, 4, 4096 - 127, MOTE_EDAMAGED},
        {76, 4, UINT32_MAX, MOTE_EDAMAGED}, {32, 8, UINT64_MAX, MOTE_EDAMAGED}, {88, 1, 1, MOTE_EDAMAGED}, {127, 1, 128, MOTE_EDAMAGED},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        uint8_t data[4096] = {0};
        struct wal_frame frame = sample_frame();
        wal_frame_encode(data, uuid, &frame);
        for (int byte = 0; byte < cases[i].size; byte++)
            data[cases[i].offset + byte] = (uint8_t)(cases[i].value >> (8 * byte));
        seal_again(data);
        cr_assert_eq(decode(data, sizeof data, frame.lsn), cases[i].expected, "case %zu", i);
    }
    uint8_t data[4096] = {0};
    struct wal_frame frame = sample_frame();
    frame.payload_bytes = 1000;
    wal_frame_encode(data, uuid, &frame);
    cr_assert_eq(decode(data, 1128, frame.lsn), MOTE_OK);
    cr_assert_eq(decode(data, 1127, frame.lsn), MOTE_EDAMAGED, "the payload must be there");
    cr_assert_eq(decode(data, 127, frame.lsn), MOTE_EDAMAGED);
    cr_assert_eq(decode(data, 0, frame.lsn), MOTE_EDAMAGED);
}

Test(wal_format, frames_without_rows_carry_nothing)
{
    for (uint32_t kind = WAL_FRAME_MARK; kind <= WAL_FRAME_END; kind++) {
        uint8_t data[4096] = {0};
        struct wal_frame frame = sample_frame();
        frame.kind = kind;
        frame.payload_bytes = 0;
        frame.count = 0;
        wal_frame_encode(data, uuid, &frame);
        cr_assert_eq(decode(data, sizeof data, frame.lsn), MOTE_OK);
        store_u32(data + 72, 1);
        seal_again(data);
        cr_assert_eq(decode(data, sizeof data, frame.lsn), MOTE_EDAMAGED, "a count");
        store_u32(data + 72, 0);
        store_u32(data + 76, 1);
        seal_again(data);
        cr_assert_eq(decode(data, sizeof data, frame.lsn), MOTE_EDAMAGED, "a payload");
    }
}

Test(wal_format, random_headers_never_run_out_of_bounds)
{
    unsigned seed = 20240607;
    for (int round = 0; round < 200000; round++) {
        /* Exactly sized, so that a sanitizer sees a read beyond. */
        size_t size = 128 + (size_t)rand_r(&seed) % 64;
        uint8_t *data = malloc(size);
        for (size_t i = 0; i < size; i++)
            data[i] = (uint8_t)rand_r(&seed);
        store_u32(data, WAL_FRAME_MAGIC);
        store_u16(data + 8, 1);
        store_u16(data + 10, (uint16_t)(1 + rand_r(&seed) % 4));
        store_u64(data + 24, 4096);
        store_u32(data + 76, (uint32_t)rand_r(&seed) % 200);
        store_u32(data + 80, ((uint32_t)rand_r(&seed) % 64) * 512);
        memset(data + 88, 0, 40);
        cr_assert_eq(decode(data, size, 4096), MOTE_EDAMAGED);
        free(data);
    }
}
