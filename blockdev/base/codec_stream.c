/* codec_stream.c: streams of values in chunks of 1024, each with the codec that makes it smallest (codec_format.h). */
#include "blockdev/base/codec_private.h"

#include <assert.h>

/* The values' bit patterns into work->bits; 4-byte integers are sign-extended. */
static void gather_values(struct codec_work *work, enum codec_kind kind, const uint8_t *values, size_t stride_bytes, uint32_t count)
{
    switch (codec_kind_bytes(kind)) {
    case 1:
        for (uint32_t i = 0; i < count; i++, values += stride_bytes)
            work->bits[i] = *values;
        break;
    case 4:
        for (uint32_t i = 0; i < count; i++, values += stride_bytes) {
            uint32_t bits;
            memcpy(&bits, values, 4);
            work->bits[i] = kind == KIND_I32 ? (uint64_t)(int32_t)bits : bits;
        }
        break;
    default:
        for (uint32_t i = 0; i < count; i++, values += stride_bytes)
            memcpy(&work->bits[i], values, 8);
    }
}

static void scatter_values(const uint64_t *bits, enum codec_kind kind, uint8_t *values, size_t stride_bytes, uint32_t count)
{
    switch (codec_kind_bytes(kind)) {
    case 1:
        for (uint32_t i = 0; i < count; i++, values += stride_bytes)
            *values = (uint8_t)bits[i];
        break;
    case 4:
        for (uint32_t i = 0; i < count; i++, values += stride_bytes) {
            uint32_t low = (uint32_t)bits[i];
            memcpy(values, &low, 4);
        }
        break;
    default:
        if (stride_bytes == 8)
            memcpy(values, bits, (size_t)count * 8);
        else
            for (uint32_t i = 0; i < count; i++, values += stride_bytes)
                memcpy(values, &bits[i], 8);
    }
}

static void store_value(uint8_t *at, uint64_t bits, uint32_t value_bytes)
{
    if (value_bytes == 1)
        store_u8(at, (uint8_t)bits);
    else if (value_bytes == 4)
        store_u32(at, (uint32_t)bits);
    else
        store_u64(at, bits);
}

static uint64_t load_value(const uint8_t *at, uint32_t value_bytes)
{
    return value_bytes == 1 ? load_u8(at) : value_bytes == 4 ? load_u32(at) : load_u64(at);
}

/* A chunk of `codec` whose payload is the first count values as they are (RAW, CONSTANT). */
static uint32_t write_values(struct codec_work *work, uint32_t codec, uint32_t count, uint32_t value_bytes, bool narrow)
{
    struct chunk_header header = {.codec = codec, .payload_bytes = count * value_bytes, .narrow = narrow};
    codec_store_chunk_header(work->candidate, &header);
    uint8_t *at = work->candidate + CODEC_CHUNK_HEADER_BYTES;
    for (uint32_t i = 0; i < count; i++, at += value_bytes)
        store_value(at, work->bits[i], value_bytes);
    return CODEC_CHUNK_HEADER_BYTES + header.payload_bytes;
}

static bool all_equal(const uint64_t *bits, uint32_t count)
{
    uint64_t different = 0;
    for (uint32_t i = 1; i < count; i++)
        different |= bits[i] ^ bits[0];
    return different == 0;
}

static uint32_t encode_bitmap(struct codec_work *work, uint32_t count)
{
    uint32_t payload_bytes = (count + 7) / 8;
    struct chunk_header header = {.codec = CODEC_BITMAP, .payload_bytes = payload_bytes};
    codec_store_chunk_header(work->candidate, &header);
    uint8_t *at = work->candidate + CODEC_CHUNK_HEADER_BYTES;
    memset(at, 0, payload_bytes);
    for (uint32_t i = 0; i < count; i++)
        at[i / 8] = (uint8_t)(at[i / 8] | work->bits[i] << (i % 8));
    return CODEC_CHUNK_HEADER_BYTES + payload_bytes;
}

/* True if every value is a float32 exactly (so are most values that come from a sensor's float32 message); bits are then 32 wide. */
static bool narrow_doubles(struct codec_work *work, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        if (bits_of_double((double)(float)work->floats[i]) != work->bits[i])
            return false;
    }
    for (uint32_t i = 0; i < count; i++)
        work->bits[i] = bits_of_float((float)work->floats[i]);
    return true;
}

static uint32_t encode_floats(struct codec_work *work, enum codec_kind kind, uint32_t count)
{
    bool is_f64 = kind == KIND_F64, narrow = false;
    for (uint32_t i = 0; i < count; i++)
        work->floats[i] = is_f64 ? double_of_bits(work->bits[i]) : (double)float_of_bits((uint32_t)work->bits[i]);
    if (is_f64 && narrow_doubles(work, count)) {
        narrow = true;
        is_f64 = false;
    }
    uint32_t best_bytes = write_values(work, CODEC_RAW, count, is_f64 ? 8 : 4, narrow);
    return codec_encode_floats(work, count, is_f64, narrow, best_bytes);
}

static uint32_t encode_integers(struct codec_work *work, enum codec_kind kind, uint32_t count)
{
    uint32_t value_bytes = codec_kind_bytes(kind);
    struct integer_plan plan;
    codec_plan_integers(work, (const int64_t *)work->bits, count, true, &plan);
    if (plan.bytes >= count * value_bytes)
        return write_values(work, CODEC_RAW, count, value_bytes, false);
    struct chunk_header header = {.codec = plan.codec, .power = plan.power, .payload_bytes = plan.bytes};
    codec_store_chunk_header(work->candidate, &header);
    codec_write_integers(&plan, work->candidate + CODEC_CHUNK_HEADER_BYTES);
    return CODEC_CHUNK_HEADER_BYTES + plan.bytes;
}

/* One chunk into work->candidate; its size. */
static uint32_t encode_chunk(struct codec_work *work, enum codec_kind kind, uint32_t count)
{
    if (all_equal(work->bits, count))
        return write_values(work, CODEC_CONSTANT, 1, codec_kind_bytes(kind), false);
    if (kind == KIND_F32 || kind == KIND_F64)
        return encode_floats(work, kind, count);
    if (kind == KIND_U8) {
        uint64_t all = 0;
        for (uint32_t i = 0; i < count; i++)
            all |= work->bits[i];
        if (all <= 1)
            return encode_bitmap(work, count);
    }
    return encode_integers(work, kind, count);
}

void codec_encode_stream(struct codec_work *work, enum codec_kind kind, const uint8_t *values, size_t stride_bytes, size_t count,
                         struct byte_writer *writer)
{
    for (size_t i = 0; i < count && !writer->failed; i += CODEC_CHUNK_VALUES) {
        uint32_t in_chunk = count - i < CODEC_CHUNK_VALUES ? (uint32_t)(count - i) : CODEC_CHUNK_VALUES;
        gather_values(work, kind, values + i * stride_bytes, stride_bytes, in_chunk);
        uint32_t chunk_bytes = encode_chunk(work, kind, in_chunk);
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
                                    .inner = at[1] & (uint8_t)~CODEC_INNER_NARROW,
                                    .power = at[2],
                                    .exception_count = load_u16(at + 4),
                                    .payload_bytes = load_u16(at + 6),
                                    .narrow = (at[1] & CODEC_INNER_NARROW) != 0};
    bool by_inner = header->codec == CODEC_ALP || header->codec == CODEC_SCALED;
    return by_inner || (header->inner == 0 && header->exception_count == 0);
}

/* The values' bit patterns into work->bits. payload: exactly the chunk's. */
static bool decode_chunk(struct codec_work *work, enum codec_kind kind, const struct chunk_header *header, struct byte_reader *payload,
                         uint32_t count)
{
    bool is_float = kind == KIND_F32 || kind == KIND_F64;
    uint32_t value_bytes = header->narrow ? 4 : codec_kind_bytes(kind);
    if (header->narrow && kind != KIND_F64)
        return false;
    switch (header->codec) {
    case CODEC_RAW:
    case CODEC_CONSTANT: {
        uint32_t stored = header->codec == CODEC_RAW ? count : 1;
        const uint8_t *at = read_bytes(payload, (size_t)stored * value_bytes);
        if (!at || header->power != 0)
            return false;
        for (uint32_t i = 0; i < count; i++)
            work->bits[i] = load_value(at + (stored == 1 ? 0 : i * value_bytes), value_bytes);
        break;
    }
    case CODEC_BITMAP: {
        const uint8_t *at = read_bytes(payload, (count + 7) / 8);
        if (!at || kind != KIND_U8 || header->power != 0)
            return false;
        for (uint32_t i = 0; i < count; i++)
            work->bits[i] = at[i / 8] >> (i % 8) & 1;
        break;
    }
    case CODEC_FOR:
    case CODEC_DELTA:
    case CODEC_DOD:
        if (!is_float) {
            if (!codec_read_integers(payload, header->codec, header->power, count, work, (int64_t *)work->bits))
                return false;
            break;
        }
        /* fall through */
    case CODEC_ALP:
    case CODEC_SCALED:
        if (!is_float || !codec_decode_floats(work, header, payload, count, value_bytes == 8, work->bits))
            return false;
        break;
    default:
        return false;
    }
    if (header->narrow) {
        for (uint32_t i = 0; i < count; i++)
            work->bits[i] = bits_of_double((double)float_of_bits((uint32_t)work->bits[i]));
    }
    return byte_reader_left(payload) == 0;
}

bool codec_decode_stream(struct codec_work *work, enum codec_kind kind, struct byte_reader *reader, size_t count, uint8_t *values,
                         size_t stride_bytes)
{
    for (size_t i = 0; i < count; i += CODEC_CHUNK_VALUES) {
        uint32_t in_chunk = count - i < CODEC_CHUNK_VALUES ? (uint32_t)(count - i) : CODEC_CHUNK_VALUES;
        struct chunk_header header;
        if (!read_chunk_header(reader, &header))
            return false;
        const uint8_t *bytes = read_bytes(reader, header.payload_bytes);
        if (!bytes)
            return false;
        struct byte_reader payload = byte_reader_make(bytes, header.payload_bytes);
        if (!decode_chunk(work, kind, &header, &payload, in_chunk))
            return false;
        scatter_values(work->bits, kind, values + i * stride_bytes, stride_bytes, in_chunk);
    }
    return true;
}
