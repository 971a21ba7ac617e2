/* codec_stream.c: streams of values in chunks of 1024, each with the codec that makes it smallest (codec_format.h). */
#include "blockdev/base/codec_private.h"

#include <assert.h>

/* count values of 1 byte as 32-bit ones, of 4 or 8 bytes as they are, into whole groups, the last of which is filled up with the last value. */
static void gather_values(uint64_t *room, uint32_t value_bytes, const uint8_t *values, size_t stride_bytes, uint32_t count)
{
    uint32_t *narrow = (uint32_t *)room, places = (count + CODEC_GROUP_VALUES - 1) / CODEC_GROUP_VALUES * CODEC_GROUP_VALUES;
    if (value_bytes == 1) {
        for (uint32_t i = 0; i < count; i++)
            narrow[i] = values[i * stride_bytes];
    } else if (stride_bytes == value_bytes) {
        memcpy(room, values, (size_t)count * value_bytes);
    } else if (value_bytes == 4) {
        for (uint32_t i = 0; i < count; i++)
            memcpy(&narrow[i], values + i * stride_bytes, 4);
    } else {
        for (uint32_t i = 0; i < count; i++)
            memcpy(&room[i], values + i * stride_bytes, 8);
    }
    for (uint32_t i = count; i < places; i++) {
        if (value_bytes == 8)
            room[i] = room[count - 1];
        else
            narrow[i] = narrow[count - 1];
    }
}

/* bits: words of 32 bits, of 64 for values of 8 bytes. */
static void scatter_values(const void *bits, uint32_t value_bytes, uint8_t *values, size_t stride_bytes, uint32_t count)
{
    const uint32_t *narrow = bits;
    const uint64_t *wide = bits;
    if (value_bytes == 1) {
        for (uint32_t i = 0; i < count; i++)
            values[i * stride_bytes] = (uint8_t)narrow[i];
    } else if (stride_bytes == value_bytes) {
        memcpy(values, bits, (size_t)count * value_bytes);
    } else if (value_bytes == 4) {
        for (uint32_t i = 0; i < count; i++)
            memcpy(values + i * stride_bytes, &narrow[i], 4);
    } else {
        for (uint32_t i = 0; i < count; i++)
            memcpy(values + i * stride_bytes, &wide[i], 8);
    }
}

/* Values in memory's byte order to the device's, or back. */
static void copy_little_endian(uint8_t *to, const uint8_t *from, uint32_t count, uint32_t value_bytes)
{
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
    memcpy(to, from, (size_t)count * value_bytes);
#else
    for (uint32_t i = 0; i < count; i++)
        for (uint32_t byte = 0; byte < value_bytes; byte++)
            to[i * value_bytes + byte] = from[i * value_bytes + value_bytes - 1 - byte];
#endif
}

/* A chunk of `codec` whose payload is count values as they are in memory (RAW, CONSTANT). */
static uint32_t write_values(struct codec_work *work, uint32_t codec, const uint8_t *values, uint32_t count, uint32_t value_bytes)
{
    struct chunk_header header = {.codec = codec, .payload_bytes = count * value_bytes};
    codec_store_chunk_header(work->candidate, &header);
    copy_little_endian(work->candidate + CODEC_CHUNK_HEADER_BYTES, values, count, value_bytes);
    return CODEC_CHUNK_HEADER_BYTES + header.payload_bytes;
}

static bool all_equal(const uint8_t *values, size_t stride_bytes, uint32_t value_bytes, uint32_t count)
{
    if (stride_bytes == value_bytes)
        return memcmp(values, values + value_bytes, (size_t)(count - 1) * value_bytes) == 0;
    for (uint32_t i = 1; i < count; i++)
        if (memcmp(values, values + i * stride_bytes, value_bytes) != 0)
            return false;
    return true;
}

/* 0 if there are values other than 0 and 1. */
static uint32_t encode_bitmap(struct codec_work *work, const uint8_t *values, size_t stride_bytes, uint32_t count)
{
    uint32_t payload_bytes = (count + 7) / 8;
    struct chunk_header header = {.codec = CODEC_BITMAP, .payload_bytes = payload_bytes};
    codec_store_chunk_header(work->candidate, &header);
    uint8_t *at = work->candidate + CODEC_CHUNK_HEADER_BYTES, all = 0;
    memset(at, 0, payload_bytes);
    for (uint32_t i = 0; i < count; i++) {
        uint8_t value = values[i * stride_bytes];
        all |= value;
        at[i / 8] = (uint8_t)(at[i / 8] | (value & 1) << (i % 8));
    }
    return all <= 1 ? CODEC_CHUNK_HEADER_BYTES + payload_bytes : 0;
}

/* True if every value is a float32 exactly (so are most values that come from a sensor's float32 message); bits are then 32 wide. */
static bool narrow_doubles(struct codec_work *work, uint32_t count)
{
    uint32_t *narrow = (uint32_t *)work->quotients, places = (count + CODEC_GROUP_VALUES - 1) / CODEC_GROUP_VALUES * CODEC_GROUP_VALUES;
    for (uint32_t i = 0; i < places; i += CODEC_GROUP_VALUES) {
        uint64_t different = 0;
        for (uint32_t k = i; k < i + CODEC_GROUP_VALUES; k++) {
            float value = (float)double_of_bits(work->floats[k]);
            narrow[k] = bits_of_float(value);
            different |= bits_of_double((double)value) ^ work->floats[k];
        }
        if (different)
            return false;
    }
    work->floats = work->quotients;
    return true;
}

static uint32_t encode_integers(struct codec_work *work, const uint8_t *values, size_t stride_bytes, uint32_t value_bytes, uint32_t count)
{
    struct integer_plan plan;
    gather_values(work->integers, value_bytes, values, stride_bytes, count);
    codec_plan_integers(work, work->integers, value_bytes == 8, count, true, SECONDS_SAMPLED, &plan);
    if (plan.bytes >= count * value_bytes) {
        gather_values(work->bits, value_bytes, values, stride_bytes, count);
        if (value_bytes == 1)
            scatter_values(work->bits, 1, (uint8_t *)work->bits, 1, count);
        return write_values(work, CODEC_RAW, (const uint8_t *)work->bits, count, value_bytes);
    }
    struct chunk_header header = {.codec = plan.codec, .power = plan.power, .payload_bytes = plan.bytes};
    codec_store_chunk_header(work->candidate, &header);
    codec_write_integers(work, &plan, work->candidate + CODEC_CHUNK_HEADER_BYTES);
    return CODEC_CHUNK_HEADER_BYTES + plan.bytes;
}

/* One chunk into work->candidate; its size. */
static uint32_t encode_chunk(struct codec_work *work, enum codec_kind kind, const uint8_t *values, size_t stride_bytes, uint32_t count, struct codec_hint *hint)
{
    uint32_t value_bytes = codec_kind_bytes(kind), bitmap_bytes;
    if (all_equal(values, stride_bytes, value_bytes, count))
        return write_values(work, CODEC_CONSTANT, values, 1, value_bytes);
    if (codec_kind_is_float(kind)) {
        bool in_place = stride_bytes == value_bytes && count % CODEC_GROUP_VALUES == 0 && (uintptr_t)values % 8 == 0;
        work->floats = in_place ? (const uint64_t *)(const void *)values : work->bits;
        if (!in_place)
            gather_values(work->bits, value_bytes, values, stride_bytes, count);
        bool narrow = kind == KIND_F64 && narrow_doubles(work, count);
        return codec_encode_floats(work, count, kind == KIND_F64 && !narrow, narrow, hint);
    }
    if (kind == KIND_U8 && (bitmap_bytes = encode_bitmap(work, values, stride_bytes, count)) > 0)
        return bitmap_bytes;
    return encode_integers(work, values, stride_bytes, value_bytes, count);
}

void codec_encode_stream(struct codec_work *work, enum codec_kind kind, const uint8_t *values, size_t stride_bytes, size_t count, struct codec_hint *hint, struct byte_writer *writer)
{
    work->kernels = codec_kernels();
    for (size_t i = 0; i < count && !writer->failed; i += CODEC_CHUNK_VALUES) {
        uint32_t in_chunk = count - i < CODEC_CHUNK_VALUES ? (uint32_t)(count - i) : CODEC_CHUNK_VALUES;
        uint32_t chunk_bytes = encode_chunk(work, kind, values + i * stride_bytes, stride_bytes, in_chunk, hint);
        assert(chunk_bytes <= CODEC_CHUNK_HEADER_BYTES + in_chunk * codec_kind_bytes(kind));
        write_bytes(writer, work->candidate, chunk_bytes);
    }
}

static bool read_chunk_header(struct byte_reader *reader, struct chunk_header *header)
{
    const uint8_t *at = read_bytes(reader, CODEC_CHUNK_HEADER_BYTES);
    if (!at || at[3] != 0)
        return false;
    *header = (struct chunk_header){.codec = at[0],
                                    .inner = at[1] & (uint8_t)~(CODEC_INNER_NARROW | CODEC_INNER_HALF),
                                    .power = at[2],
                                    .exception_count = load_u16(at + 4),
                                    .payload_bytes = load_u16(at + 6),
                                    .narrow = (at[1] & CODEC_INNER_NARROW) != 0,
                                    .half = (at[1] & CODEC_INNER_HALF) != 0};
    bool by_inner = header->codec == CODEC_ALP || header->codec == CODEC_SCALED;
    return by_inner || (header->inner == 0 && header->exception_count == 0 && !header->half);
}

/* RAW and CONSTANT: values of value_bytes into words (1 byte: of 32 bits). */
static bool read_values(struct byte_reader *payload, uint32_t value_bytes, bool constant, const struct chunk_rows *rows)
{
    const uint32_t count = rows->to - rows->from;
    const uint8_t *at = read_bytes(payload, (size_t)(constant ? 1 : rows->count) * value_bytes);
    if (!at)
        return false;
    if (!constant && value_bytes > 1) {
        copy_little_endian(rows->out, at + (size_t)rows->from * value_bytes, count, value_bytes);
    } else if (value_bytes < 8) {
        uint32_t word = value_bytes == 4 ? load_u32(at) : at[0];
        for (uint32_t i = 0; i < count; i++) {
            word = constant ? word : at[rows->from + i];
            memcpy(rows->out + 4u * i, &word, 4);
        }
    } else {
        const uint64_t word = load_u64(at);
        for (uint32_t i = 0; i < count; i++)
            memcpy(rows->out + 8u * i, &word, 8);
    }
    return true;
}

static bool read_bitmap(struct byte_reader *payload, const struct chunk_rows *rows)
{
    const uint8_t *at = read_bytes(payload, (rows->count + 7) / 8);
    for (uint32_t i = rows->from; at && i < rows->to; i++) {
        uint32_t word = at[i / 8] >> (i % 8) & 1;
        memcpy(rows->out + 4u * (i - rows->from), &word, 4);
    }
    return at != NULL;
}

static bool decode_payload(struct codec_work *work, enum codec_kind kind, const struct chunk_header *header, struct byte_reader *payload, const struct chunk_rows *rows)
{
    const uint32_t value_bytes = header->narrow ? 4 : codec_kind_bytes(kind);
    switch (header->codec) {
    case CODEC_RAW:
    case CODEC_CONSTANT:
        return header->power == 0 && read_values(payload, value_bytes, header->codec == CODEC_CONSTANT, rows);
    case CODEC_BITMAP:
        return kind == KIND_U8 && header->power == 0 && read_bitmap(payload, rows);
    case CODEC_FOR:
    case CODEC_DELTA:
    case CODEC_DOD:
        return codec_kind_is_float(kind) ? codec_decode_floats(work, header, payload, value_bytes == 8, rows) : codec_decode_integers(work, header, payload, value_bytes == 8, rows);
    case CODEC_ALP:
    case CODEC_SCALED:
        return codec_kind_is_float(kind) && codec_decode_floats(work, header, payload, value_bytes == 8, rows);
    default:
        return false;
    }
}

/* The values' bit patterns as words to rows->out. payload: exactly the chunk's. */
static bool decode_chunk(struct codec_work *work, enum codec_kind kind, const struct chunk_header *header, struct byte_reader *payload, const struct chunk_rows *rows)
{
    if (!header->narrow)
        return decode_payload(work, kind, header, payload, rows) && byte_reader_left(payload) == 0;
    struct chunk_rows halves = *rows;
    halves.out = (uint8_t *)work->integers;
    if (kind != KIND_F64 || !decode_payload(work, kind, header, payload, &halves) || byte_reader_left(payload) != 0)
        return false;
    const float *floats = (const float *)(const void *)work->integers;
    for (uint32_t i = 0; i < rows->to - rows->from; i++) {
        double value = (double)floats[i];
        memcpy(rows->out + 8u * i, &value, 8);
    }
    return true;
}

bool codec_decode_stream_rows(struct codec_work *work, enum codec_kind kind, struct byte_reader *reader, size_t first, size_t end, size_t count, uint8_t *values, size_t stride_bytes)
{
    const uint32_t value_bytes = codec_kind_bytes(kind);
    const bool in_place = value_bytes > 1 && stride_bytes == value_bytes; /* the values are words, one after the other */
    assert(first <= end && end <= count);
    work->kernels = codec_kernels();
    for (size_t i = 0; i < end; i += CODEC_CHUNK_VALUES) {
        uint32_t in_chunk = count - i < CODEC_CHUNK_VALUES ? (uint32_t)(count - i) : CODEC_CHUNK_VALUES;
        struct chunk_header header;
        if (!read_chunk_header(reader, &header))
            return false;
        const uint8_t *bytes = read_bytes(reader, header.payload_bytes);
        if (!bytes)
            return false;
        if (i + in_chunk <= first)
            continue;
        struct byte_reader payload = byte_reader_make(bytes, header.payload_bytes);
        struct chunk_rows rows = {.count = in_chunk, .from = first > i ? (uint32_t)(first - i) : 0, .to = end - i < in_chunk ? (uint32_t)(end - i) : in_chunk};
        uint8_t *to = values + (i + rows.from - first) * stride_bytes;
        rows.out = in_place ? to : (uint8_t *)work->bits;
        if (!decode_chunk(work, kind, &header, &payload, &rows))
            return false;
        if (!in_place)
            scatter_values(work->bits, value_bytes, to, stride_bytes, rows.to - rows.from);
    }
    return true;
}

bool codec_decode_stream(struct codec_work *work, enum codec_kind kind, struct byte_reader *reader, size_t count, uint8_t *values, size_t stride_bytes)
{
    return codec_decode_stream_rows(work, kind, reader, 0, count, count, values, stride_bytes);
}
