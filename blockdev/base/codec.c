/* codec.c: the column as a whole: header, NULLs, layout, scratch (codec.h, codec_format.h).
 *
 * Invariant: nothing is written beyond out_capacity, values_capacity or the scratch, whatever the input says. Threads: pure functions. */
#include "blockdev/base/codec_private.h"
#include "blockdev/base/errors.h"

#include <assert.h>

enum { COMPONENTS_MAX = 16, COMPONENT_ROWS_MIN = 16 };

/* The scratch: work, the compressors' state, the values that are not NULL, their lengths, a trial. */
struct scratch {
    struct codec_work *work;
    void *state;
    uint8_t *dense;
    uint8_t *lengths;
    uint8_t *trial;
};

static size_t align_up(size_t size_bytes) { return (size_bytes + 63) & ~(size_t)63; }

static size_t scratch_bytes_for(size_t count, size_t value_bytes)
{
    return 64 + align_up(sizeof(struct codec_work)) + codec_state_bytes() + 2 * align_up(value_bytes) + align_up(4 * count);
}

size_t codec_scratch_bytes(uint32_t count_max, uint32_t value_bytes_max) { return scratch_bytes_for(count_max, value_bytes_max); }

static int divide_scratch(void *memory, size_t memory_bytes, size_t count, size_t value_bytes, struct scratch *scratch)
{
    size_t needed_bytes = scratch_bytes_for(count, value_bytes);
    if (!memory || memory_bytes < needed_bytes)
        return error_set(MOTE_EBUDGET, "a codec needs %zu bytes of scratch and has %zu; raise memory_bytes", needed_bytes, memory_bytes);
    uint8_t *at = (uint8_t *)(((uintptr_t)memory + 63) & ~(uintptr_t)63);
    scratch->work = (struct codec_work *)at;
    at += align_up(sizeof(struct codec_work));
    scratch->state = at;
    at += codec_state_bytes();
    scratch->dense = at;
    at += align_up(value_bytes);
    scratch->trial = at;
    at += align_up(value_bytes);
    scratch->lengths = at;
    return MOTE_OK;
}

static bool is_variable(uint32_t type) { return type == MOTE_TYPE_TEXT || type == MOTE_TYPE_BLOB; }

size_t codec_value_bytes(uint32_t type, uint32_t dimension)
{
    bool dimension_fits = dimension >= 1 && dimension <= MOTE_VECTOR_DIMENSION_MAX;
    switch (type) {
    case MOTE_TYPE_INT64:
    case MOTE_TYPE_FLOAT64:
    case MOTE_TYPE_TIMESTAMP:
        return 8;
    case MOTE_TYPE_INT32:
    case MOTE_TYPE_FLOAT32:
        return 4;
    case MOTE_TYPE_BOOL:
        return 1;
    case MOTE_TYPE_POINT3:
        return 24;
    case MOTE_TYPE_VECTOR_F32:
        return dimension_fits ? (size_t)dimension * 4 : 0;
    case MOTE_TYPE_VECTOR_F16:
        return dimension_fits ? (size_t)dimension * 2 : 0;
    case MOTE_TYPE_VECTOR_U8:
        return dimension_fits ? (size_t)dimension : 0;
    default:
        return 0;
    }
}

/* What the streams of a type hold. Only for types that have streams of scalars. */
static enum codec_kind kind_of(uint32_t type)
{
    switch (type) {
    case MOTE_TYPE_INT32:
        return KIND_I32;
    case MOTE_TYPE_FLOAT32:
    case MOTE_TYPE_VECTOR_F32:
        return KIND_F32;
    case MOTE_TYPE_FLOAT64:
    case MOTE_TYPE_POINT3:
        return KIND_F64;
    case MOTE_TYPE_BOOL:
        return KIND_U8;
    case MOTE_TYPE_TIMESTAMP:
        return KIND_TIME;
    default:
        return KIND_I64;
    }
}

static bool layout_allowed(uint32_t type, uint32_t layout)
{
    switch (type) {
    case MOTE_TYPE_TEXT:
    case MOTE_TYPE_BLOB:
        return layout == CODEC_LAYOUT_VARIABLE;
    case MOTE_TYPE_VECTOR_F32:
        return layout <= CODEC_LAYOUT_FIXED;
    case MOTE_TYPE_POINT3:
        return layout == CODEC_LAYOUT_COMPONENTS || layout == CODEC_LAYOUT_FIXED;
    case MOTE_TYPE_VECTOR_F16:
    case MOTE_TYPE_VECTOR_U8:
        return layout == CODEC_LAYOUT_FIXED;
    default:
        return layout == CODEC_LAYOUT_SCALAR;
    }
}

size_t codec_vector_bytes(const struct codec_vector *v)
{
    if (is_variable(v->type))
        return v->count ? (size_t)v->offsets[v->count] - v->offsets[0] : 0;
    return v->count * codec_value_bytes(v->type, v->dimension);
}

size_t codec_encode_bound(const struct codec_vector *v)
{
    size_t value_bytes = codec_vector_bytes(v), chunks = v->count / CODEC_CHUNK_VALUES + 1;
    size_t bound = CODEC_HEADER_BYTES + ((size_t)v->count + 7) / 8 + CODEC_SECTION_HEADER_BYTES + value_bytes;
    if (is_variable(v->type))
        return bound + chunks * CODEC_CHUNK_HEADER_BYTES + (size_t)v->count * 4;
    /* A chunk header for each 1024 scalars, and for each component's last chunk. */
    return bound + (value_bytes / 4 / CODEC_CHUNK_VALUES + COMPONENTS_MAX + chunks * 8) * CODEC_CHUNK_HEADER_BYTES;
}

static inline bool is_present(const uint8_t *validity, size_t i) { return !validity || (validity[i / 8] >> (i % 8) & 1); }

static size_t count_present(const uint8_t *validity, size_t count)
{
    size_t present = 0;
    for (size_t i = 0; i < count; i += 8) {
        uint32_t byte = validity[i / 8];
        if (count - i < 8)
            byte &= (1u << (count - i)) - 1;
        present += (size_t)__builtin_popcount(byte);
    }
    return present;
}

static void write_validity(struct byte_writer *writer, const uint8_t *validity, size_t count)
{
    size_t bitmap_bytes = (count + 7) / 8;
    uint8_t *bitmap = write_room(writer, bitmap_bytes);
    if (!bitmap)
        return;
    memcpy(bitmap, validity, bitmap_bytes);
    if (count % 8)
        bitmap[bitmap_bytes - 1] = (uint8_t)(bitmap[bitmap_bytes - 1] & ((1u << (count % 8)) - 1));
}

/* ---- Encode ------------------------------------------------------------------------------------------------------------------ */

/* The values that are not NULL, one after the other: v's own where it has no NULL. */
static const uint8_t *gather_fixed(const struct codec_vector *v, const uint8_t *validity, size_t value_bytes, uint8_t *dense)
{
    const uint8_t *values = v->values;
    if (!validity)
        return values;
    uint8_t *at = dense;
    for (size_t i = 0; i < v->count; i++) {
        if (is_present(validity, i)) {
            memcpy(at, values + i * value_bytes, value_bytes);
            at += value_bytes;
        }
    }
    return dense;
}

/* Encodes fixed values; returns the layout. */
static uint32_t encode_fixed(const struct codec_vector *v, const uint8_t *values, size_t present, uint32_t compression, struct codec_hint *hint,
                             const struct scratch *scratch, struct byte_writer *writer)
{
    size_t value_bytes = codec_value_bytes(v->type, v->dimension);
    enum codec_kind kind = kind_of(v->type);
    bool scalar = value_bytes == codec_kind_bytes(kind) && layout_allowed(v->type, CODEC_LAYOUT_SCALAR);
    if (scalar) {
        codec_encode_stream(scratch->work, kind, values, value_bytes, present, hint, writer);
        return CODEC_LAYOUT_SCALAR;
    }
    size_t components = value_bytes / codec_kind_bytes(kind);
    if (layout_allowed(v->type, CODEC_LAYOUT_COMPONENTS) && components <= COMPONENTS_MAX && present >= COMPONENT_ROWS_MIN) {
        for (size_t c = 0; c < components; c++)
            codec_encode_stream(scratch->work, kind, values + c * codec_kind_bytes(kind), value_bytes, present, hint, writer);
        return CODEC_LAYOUT_COMPONENTS;
    }
    if (v->type == MOTE_TYPE_VECTOR_F32 && components > COMPONENTS_MAX) {
        struct byte_writer start = *writer;
        codec_encode_stream(scratch->work, kind, values, 4, present * components, hint, writer);
        if (!writer->failed && (byte_writer_size(writer) - byte_writer_size(&start)) * 4 <= present * value_bytes * 3)
            return CODEC_LAYOUT_SCALAR;
        *writer = start; /* real-valued embeddings: little is gained, and bytes decode faster */
    }
    codec_encode_section(values, present * value_bytes, value_bytes, compression, scratch->trial, scratch->state, writer);
    return CODEC_LAYOUT_FIXED;
}

/* Encodes text or blobs; returns the bytes of the values that are not NULL. */
static size_t encode_variable(const struct codec_vector *v, const uint8_t *validity, size_t present, uint32_t compression,
                              const struct scratch *scratch, struct byte_writer *writer)
{
    const uint8_t *data = v->count ? (const uint8_t *)v->values + v->offsets[0] : NULL;
    size_t data_bytes = 0, filled = 0, first_bytes = 0;
    bool equal_lengths = true;
    for (size_t i = 0; i < v->count; i++) {
        if (!is_present(validity, i))
            continue;
        uint32_t value_bytes = v->offsets[i + 1] - v->offsets[i];
        if (validity && value_bytes > 0)
            memcpy(scratch->dense + data_bytes, (const uint8_t *)v->values + v->offsets[i], value_bytes);
        memcpy(scratch->lengths + 4 * filled, &value_bytes, 4);
        first_bytes = filled ? first_bytes : value_bytes;
        equal_lengths = equal_lengths && value_bytes == first_bytes;
        data_bytes += value_bytes;
        filled++;
    }
    assert(filled == present);
    codec_encode_stream(scratch->work, KIND_U32, scratch->lengths, 4, present, NULL, writer);
    codec_encode_section(validity ? scratch->dense : data, data_bytes, equal_lengths ? first_bytes : 0, compression, scratch->trial,
                         scratch->state, writer);
    return data_bytes;
}

static int check_vector(const struct codec_vector *v)
{
    if (v->count > CODEC_COUNT_MAX)
        return error_set(MOTE_EINVAL, "a column of %u values is encoded; the most is %u", v->count, (unsigned)CODEC_COUNT_MAX);
    if (!is_variable(v->type)) {
        if (codec_value_bytes(v->type, v->dimension) == 0)
            return error_set(MOTE_EINVAL, "column type %u with dimension %u is unknown", v->type, v->dimension);
    } else {
        for (size_t i = 0; i < v->count; i++) {
            if (v->offsets[i + 1] < v->offsets[i])
                return error_set(MOTE_EINVAL, "the offsets of a text or blob column descend at value %zu", i);
        }
    }
    if (codec_vector_bytes(v) > CODEC_VALUE_BYTES_MAX)
        return error_set(MOTE_ETOOBIG, "a column of %zu bytes is encoded; the most is %u", codec_vector_bytes(v),
                         (unsigned)CODEC_VALUE_BYTES_MAX);
    return MOTE_OK;
}

int64_t codec_encode(const struct codec_vector *v, uint32_t text_compression, void *out, size_t out_capacity, void *scratch, size_t scratch_bytes)
{
    return codec_encode_hinted(v, text_compression, NULL, out, out_capacity, scratch, scratch_bytes);
}

int64_t codec_encode_hinted(const struct codec_vector *v, uint32_t text_compression, struct codec_hint *hint, void *out, size_t out_capacity, void *scratch_memory, size_t scratch_bytes)
{
    struct scratch scratch = {0};
    struct codec_hint forgotten = {0}; /* serves the chunks of this vector */
    int result = check_vector(v);
    if (result == MOTE_OK)
        result = divide_scratch(scratch_memory, scratch_bytes, v->count, codec_vector_bytes(v), &scratch);
    if (result != MOTE_OK)
        return result;
    size_t present = v->validity ? count_present(v->validity, v->count) : v->count;
    const uint8_t *validity = present < v->count ? v->validity : NULL;
    struct byte_writer writer = byte_writer_make(out, out_capacity);
    uint8_t *header = write_room(&writer, CODEC_HEADER_BYTES);
    uint32_t layout = CODEC_LAYOUT_VARIABLE;
    size_t values_bytes;
    if (validity)
        write_validity(&writer, validity, v->count);
    if (is_variable(v->type)) {
        values_bytes = encode_variable(v, validity, present, text_compression, &scratch, &writer);
    } else {
        size_t value_bytes = codec_value_bytes(v->type, v->dimension);
        const uint8_t *values = gather_fixed(v, validity, value_bytes, scratch.dense);
        layout = encode_fixed(v, values, present, text_compression, hint ? hint : &forgotten, &scratch, &writer);
        values_bytes = v->count * value_bytes;
    }
    if (writer.failed || !header)
        return error_set(MOTE_ETOOBIG, "an encoded column does not fit into %zu bytes", out_capacity);
    store_u8(header, CODEC_VERSION);
    store_u8(header + 1, (uint8_t)layout);
    store_u8(header + 2, validity ? CODEC_FLAG_NULLS : 0);
    store_u8(header + 3, (uint8_t)v->type);
    store_u32(header + 4, v->count);
    store_u32(header + 8, (uint32_t)values_bytes);
    store_u32(header + 12, (uint32_t)(byte_writer_size(&writer) - CODEC_HEADER_BYTES));
    return (int64_t)byte_writer_size(&writer);
}

/* ---- Decode ------------------------------------------------------------------------------------------------------------------ */

static int report_damage(const char *what)
{
    return error_set(MOTE_EDAMAGED, "an encoded column is damaged: %s; verify the volume and restore the range from a copy", what);
}

int codec_inspect(const void *in, size_t in_bytes, struct codec_info *info)
{
    const uint8_t *header = in;
    if (in_bytes < CODEC_HEADER_BYTES)
        return report_damage("its header is cut off");
    uint32_t layout = header[1], flags = header[2], payload_bytes = load_u32(header + 12);
    *info = (struct codec_info){.type = header[3],
                                .count = load_u32(header + 4),
                                .values_bytes = load_u32(header + 8),
                                .encoded_bytes = CODEC_HEADER_BYTES,
                                .has_nulls = (flags & CODEC_FLAG_NULLS) != 0};
    if (header[0] != CODEC_VERSION || layout > CODEC_LAYOUT_VARIABLE || (flags & ~(uint32_t)CODEC_FLAG_NULLS) != 0)
        return report_damage("its header has an unknown version, layout or flag");
    if (info->type < MOTE_TYPE_INT64 || info->type > MOTE_TYPE_POINT3 || !layout_allowed(info->type, layout))
        return report_damage("its header has an unknown type");
    if (info->count > CODEC_COUNT_MAX || info->values_bytes > CODEC_VALUE_BYTES_MAX)
        return report_damage("its header has an impossible count");
    if (payload_bytes > in_bytes - CODEC_HEADER_BYTES)
        return report_damage("it is cut off");
    info->encoded_bytes += payload_bytes;
    size_t first = CODEC_HEADER_BYTES + (info->has_nulls ? ((size_t)info->count + 7) / 8 : 0);
    info->codec = first < info->encoded_bytes ? header[first] : CODEC_RAW;
    return MOTE_OK;
}

/* Moves the present values, which lie at the front, to their rows, from the last one on so that none is overwritten before it moved. */
static void spread_fixed(uint8_t *values, size_t value_bytes, const uint8_t *validity, size_t count, size_t present)
{
    for (size_t i = count; i-- > 0;) {
        if (!is_present(validity, i)) {
            memset(values + i * value_bytes, 0, value_bytes);
        } else if (--present != i) {
            memcpy(values + i * value_bytes, values + present * value_bytes, value_bytes);
        }
    }
}

static bool decode_fixed(struct byte_reader *reader, uint32_t layout, uint32_t type, size_t value_bytes, size_t present, uint8_t *values,
                         const struct scratch *scratch)
{
    enum codec_kind kind = kind_of(type);
    size_t components = value_bytes / codec_kind_bytes(kind);
    switch (layout) {
    case CODEC_LAYOUT_SCALAR:
        return codec_decode_stream(scratch->work, kind, reader, present * components, values, codec_kind_bytes(kind));
    case CODEC_LAYOUT_COMPONENTS:
        for (size_t c = 0; c < components; c++) {
            if (!codec_decode_stream(scratch->work, kind, reader, present, values + c * codec_kind_bytes(kind), value_bytes))
                return false;
        }
        return true;
    default:
        return codec_decode_section(reader, values, present * value_bytes, scratch->state);
    }
}

static bool decode_variable(struct byte_reader *reader, const uint8_t *validity, uint32_t count, size_t present, size_t data_bytes,
                            uint8_t *values, uint32_t *offsets, const struct scratch *scratch)
{
    if (!codec_decode_stream(scratch->work, KIND_U32, reader, present, scratch->lengths, 4))
        return false;
    uint64_t end = 0;
    size_t taken = 0;
    offsets[0] = 0;
    for (size_t i = 0; i < count; i++) {
        if (is_present(validity, i)) {
            uint32_t value_bytes;
            memcpy(&value_bytes, scratch->lengths + 4 * taken++, 4);
            end += value_bytes;
        }
        if (end > data_bytes)
            return false;
        offsets[i + 1] = (uint32_t)end;
    }
    return end == data_bytes && codec_decode_section(reader, values, data_bytes, scratch->state);
}

/* Reads the bitmap into validity; false if it is cut off, has bits beyond the count, or has none that is zero. */
static bool read_validity(struct byte_reader *reader, uint8_t *validity, size_t count, size_t *present)
{
    size_t bitmap_bytes = (count + 7) / 8;
    const uint8_t *bitmap = read_bytes(reader, bitmap_bytes);
    if (!bitmap || count == 0 || (count % 8 && bitmap[bitmap_bytes - 1] >> (count % 8) != 0))
        return false;
    memcpy(validity, bitmap, bitmap_bytes);
    *present = count_present(validity, count);
    return *present < count;
}

static void set_all_valid(uint8_t *validity, size_t count)
{
    memset(validity, 0xff, (count + 7) / 8);
    if (count % 8)
        validity[count / 8] = (uint8_t)((1u << (count % 8)) - 1);
}

int codec_decode(const void *in, size_t in_bytes, uint32_t type, uint32_t dimension, uint32_t count, void *values, size_t values_capacity,
                 uint32_t *offsets, uint8_t *validity, bool *has_nulls, size_t *values_bytes, void *scratch_memory, size_t scratch_bytes)
{
    struct codec_info info = {0};
    struct scratch scratch = {0};
    int result = codec_inspect(in, in_bytes, &info);
    if (result != MOTE_OK)
        return result;
    size_t value_bytes = codec_value_bytes(type, dimension), present = count;
    if (info.type != type || info.count != count || info.values_bytes > values_capacity)
        return report_damage("it is not of the type, the count or the size that was expected");
    if (!is_variable(type) && (value_bytes == 0 || (uint64_t)info.values_bytes != (uint64_t)count * value_bytes))
        return report_damage("its size is not that of its values");
    result = divide_scratch(scratch_memory, scratch_bytes, count, info.values_bytes, &scratch);
    if (result != MOTE_OK)
        return result;
    struct byte_reader reader = byte_reader_make((const uint8_t *)in + CODEC_HEADER_BYTES, info.encoded_bytes - CODEC_HEADER_BYTES);
    scratch.work->readable_end = (const uint8_t *)in + in_bytes;
    if (info.has_nulls) {
        if (!validity || !read_validity(&reader, validity, count, &present))
            return report_damage("its validity bitmap is wrong");
    } else if (validity) {
        set_all_valid(validity, count);
    }
    const uint8_t *nulls = info.has_nulls ? validity : NULL;
    uint32_t layout = ((const uint8_t *)in)[1];
    bool decoded = is_variable(type)
                       ? decode_variable(&reader, nulls, count, present, info.values_bytes, values, offsets, &scratch)
                       : decode_fixed(&reader, layout, type, value_bytes, present, values, &scratch);
    if (!decoded || byte_reader_left(&reader) != 0)
        return report_damage("a chunk does not decode");
    if (nulls && !is_variable(type))
        spread_fixed(values, value_bytes, nulls, count, present);
    if (has_nulls)
        *has_nulls = info.has_nulls;
    if (values_bytes)
        *values_bytes = info.values_bytes;
    return MOTE_OK;
}

int codec_decode_rows(const void *in, size_t in_bytes, uint32_t type, uint32_t count, uint32_t first, uint32_t end, void *values, void *scratch_memory, size_t scratch_bytes)
{
    struct codec_info info = {0};
    struct scratch scratch = {0};
    size_t value_bytes = codec_value_bytes(type, 1);
    int result = codec_inspect(in, in_bytes, &info);
    if (result != MOTE_OK)
        return result;
    if (info.type != type || info.count != count || first >= end || end > count)
        return report_damage("it is not of the type or the count that was expected");
    if (info.has_nulls || type == MOTE_TYPE_VECTOR_F32 || value_bytes != codec_kind_bytes(kind_of(type)) || ((const uint8_t *)in)[1] != CODEC_LAYOUT_SCALAR)
        return 0;
    result = divide_scratch(scratch_memory, scratch_bytes, count, info.values_bytes, &scratch);
    if (result != MOTE_OK)
        return result;
    struct byte_reader reader = byte_reader_make((const uint8_t *)in + CODEC_HEADER_BYTES, info.encoded_bytes - CODEC_HEADER_BYTES);
    scratch.work->readable_end = (const uint8_t *)in + in_bytes;
    return codec_decode_stream_rows(scratch.work, kind_of(type), &reader, first, end, count, values, value_bytes) ? 1 : report_damage("a chunk does not decode");
}

const char *codec_name(uint32_t codec)
{
    static const char *const names[CODEC_ID_COUNT] = {"raw", "constant", "for", "delta", "dod", "alp", "scaled", "lz4", "zstd", "bitmap"};
    return codec < CODEC_ID_COUNT ? names[codec] : "?";
}
