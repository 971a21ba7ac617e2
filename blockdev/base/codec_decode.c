/* codec_decode.c: the payloads of FOR, DELTA, DOD, ALP and SCALED (codec_format.h) back to values: those rows of a chunk that are wanted, straight to where the caller wants them.
 *
 * Whole groups of 64 go there from the kernels; of a group of which a part is wanted, the part is copied. The kernels read behind a group's bytes: groups at the end of what may be read are copied to where that does no harm.
 * Nothing that is read is trusted: widths, sizes and positions are bounded before use. */
#include "blockdev/base/codec_private.h"

#include <assert.h>

enum { GROUP = CODEC_GROUP_VALUES };

static inline uint32_t least_of(uint32_t a, uint32_t b) { return a < b ? a : b; }

static uint32_t group_bytes(const uint8_t *widths, uint32_t group, uint32_t count) { return (least_of(count - group * GROUP, GROUP) * widths[group] + 7) / 8; }

/* The sum of eight widths, and, in the upper bit of each byte, whether one is above width_max, at most 127. */
static inline uint32_t sum_widths(uint64_t eight, uint32_t width_max, uint64_t *above)
{
    const uint64_t ones = UINT64_C(0x0101010101010101), low = UINT64_C(0x00ff00ff00ff00ff), upper = ones << 7;
    *above |= (((eight & ~upper) + ones * (127 - width_max)) | eight) & upper;
    return (uint32_t)(((eight & low) + (eight >> 8 & low)) * UINT64_C(0x0001000100010001) >> 48);
}

/* Reads the widths, and takes the groups' bytes, if all of them are there. */
static bool take_groups(struct byte_reader *reader, uint32_t count, uint32_t width_max, struct codec_packed *packed)
{
    uint32_t groups = (count + GROUP - 1) / GROUP, sum = 0, group = 0;
    uint64_t above = 0;
    const uint8_t *widths = read_bytes(reader, groups);
    if (!widths)
        return false;
    for (; group + 8 <= groups; group += 8)
        sum += sum_widths(load_u64(widths + group), width_max, &above);
    for (; group < groups; group++)
        sum += sum_widths(widths[group], width_max, &above);
    packed->widths = widths;
    packed->in = read_bytes(reader, (size_t)(sum - widths[groups - 1]) * (GROUP / 8) + group_bytes(widths, groups - 1, count));
    return packed->in && above == 0;
}

/* The first group before end_group that the kernels cannot read where it is (end_group: none), and the copy of it and of those behind it. end: of all groups' bytes. */
static uint32_t copy_last_groups(struct codec_work *work, uint32_t count, uint32_t end_group, const struct codec_packed *packed, const uint8_t *end, const uint8_t **copy)
{
    const uint8_t *widths = packed->widths, *at = end;
    uint32_t found = (count + GROUP - 1) / GROUP;
    for (; found > 0; found--) {
        const uint8_t *start = at - group_bytes(widths, found - 1, count);
        if ((size_t)(work->readable_end - start) >= 8u * widths[found - 1] + CODEC_UNPACK_SLACK_BYTES)
            break; /* and so are those before it */
        at = start;
        end = found > end_group ? start : end; /* that of the last group that is wanted */
    }
    if (found >= end_group)
        return end_group;
    const size_t used_bytes = (size_t)(end - at), behind_bytes = 8u * widths[end_group - 1] + CODEC_UNPACK_SLACK_BYTES;
    assert(used_bytes + behind_bytes <= sizeof work->padded);
    memcpy(work->padded, at, used_bytes);
    memset(work->padded + used_bytes, 0, behind_bytes);
    *copy = work->padded;
    return found;
}

/* The wanted rows, group by group, in as few calls of the kernel as there may be. */
static void decode_groups(struct codec_work *work, bool wide, struct codec_packed *packed, const uint8_t *end, const struct chunk_rows *rows)
{
    void (*const decode)(struct codec_packed *, uint32_t, void *) = wide ? work->kernels->decode_64 : work->kernels->decode_32;
    const size_t out_bytes = wide || packed->conversion == CODEC_CONVERT_DECIMALS_F64 || packed->conversion == CODEC_CONVERT_SCALED_F64 ? 8 : 4;
    const uint32_t end_group = (rows->to + GROUP - 1) / GROUP, first_group = rows->from / GROUP;
    const uint8_t *copy = NULL;
    const uint32_t copied = copy_last_groups(work, rows->count, end_group, packed, end, &copy);
    for (uint32_t group = 0, more; group < end_group; group += more) {
        uint32_t begin = group * GROUP, limit = group < copied ? copied : end_group;
        if (group == copied)
            packed->in = copy;
        if (group < first_group) {
            more = least_of(first_group, limit) - group;
            decode(packed, more, NULL);
        } else if (begin >= rows->from && begin + GROUP <= rows->to) {
            more = least_of(rows->to / GROUP, limit) - group;
            decode(packed, more, rows->out + (begin - rows->from) * out_bytes);
        } else {
            uint32_t from = begin < rows->from ? rows->from : begin, to = least_of(begin + GROUP, rows->to);
            more = 1;
            decode(packed, 1, work->group);
            memcpy(rows->out + (from - rows->from) * out_bytes, (const uint8_t *)work->group + (from - begin) * out_bytes, (to - from) * out_bytes);
        }
    }
}

static bool read_packed(struct codec_work *work, struct byte_reader *reader, uint32_t codec, bool wide, struct codec_packed *packed, const struct chunk_rows *rows)
{
    assert(rows->count >= 1 && rows->count <= CODEC_CHUNK_VALUES && rows->from < rows->to && rows->to <= rows->count);
    packed->order = codec == CODEC_FOR ? 0 : codec == CODEC_DELTA ? 1 : 2;
    if (packed->order == 0 && codec != CODEC_FOR)
        return false;
    packed->first = packed->order == 0 ? 0 : wide ? read_u64(reader) : read_u32(reader);
    packed->first_delta = packed->order < 2 ? 0 : wide ? read_u64(reader) : read_u32(reader);
    packed->base = wide ? read_u64(reader) : read_u32(reader);
    if (!take_groups(reader, rows->count, wide ? 64 : 32, packed))
        return false;
    decode_groups(work, wide, packed, reader->at, rows);
    return true;
}

static bool is_integer_codec(uint32_t codec) { return codec == CODEC_FOR || codec == CODEC_DELTA || codec == CODEC_DOD; }

bool codec_decode_integers(struct codec_work *work, const struct chunk_header *header, struct byte_reader *reader, bool wide, const struct chunk_rows *rows)
{
    struct codec_packed packed = {.conversion = CODEC_CONVERT_NONE};
    if (header->power > CODEC_TEN_POWER_MAX || !is_integer_codec(header->codec))
        return false;
    uint64_t origin = header->power ? read_u64(reader) : 0, factor = codec_integer_powers_of_ten[header->power];
    if (!read_packed(work, reader, header->codec, wide, &packed, rows))
        return false;
    for (uint32_t i = 0; header->power && i < rows->to - rows->from; i++) {
        uint8_t *at = rows->out + (size_t)i * (wide ? 8 : 4);
        if (wide) {
            uint64_t value;
            memcpy(&value, at, 8);
            value = origin + value * factor;
            memcpy(at, &value, 8);
        } else {
            uint32_t value;
            memcpy(&value, at, 4);
            value = (uint32_t)origin + value * (uint32_t)factor;
            memcpy(at, &value, 4);
        }
    }
    return true;
}

/* The values that their integers do not give back, over what was decoded in their places. */
static bool read_exceptions(struct byte_reader *reader, uint32_t exception_count, uint32_t value_bytes, const struct chunk_rows *rows)
{
    const uint8_t *positions = read_bytes(reader, (size_t)exception_count * 2);
    const uint8_t *values = read_bytes(reader, (size_t)exception_count * value_bytes);
    if (!positions || !values)
        return false;
    if (exception_count == 0)
        return true;
    uint32_t falls = 0, e = 0;
    for (uint32_t i = 1; i < exception_count; i++)
        falls |= load_u16(positions + 2 * i) <= load_u16(positions + 2 * (i - 1));
    if (falls || load_u16(positions + 2 * (exception_count - 1)) >= rows->count)
        return false;
    while (e < exception_count && load_u16(positions + 2 * e) < rows->from)
        e++;
    for (; e < exception_count && load_u16(positions + 2 * e) < rows->to; e++) {
        const uint32_t row = load_u16(positions + 2 * e) - rows->from;
        if (value_bytes == 8) {
            uint64_t bits = load_u64(values + 8 * e);
            memcpy(rows->out + 8u * row, &bits, 8);
        } else {
            uint32_t bits = load_u32(values + 4 * e);
            memcpy(rows->out + 4u * row, &bits, 4);
        }
    }
    return true;
}

bool codec_decode_floats(struct codec_work *work, const struct chunk_header *header, struct byte_reader *reader, bool is_f64, const struct chunk_rows *rows)
{
    const bool decimals = header->codec == CODEC_ALP, scaled = header->codec == CODEC_SCALED, patterns = !decimals && !scaled, wide = is_f64 && !header->half;
    const uint32_t power = header->power, inner = patterns ? header->codec : header->inner;
    struct codec_packed packed = {.conversion = CODEC_CONVERT_PATTERNS, .shift = patterns ? power : 0};
    if (scaled)
        packed.factor = double_of_bits(read_u64(reader));
    if (header->half && (patterns || (!is_f64 && scaled)))
        return false;
    if (power > (decimals ? (is_f64 || header->half ? CODEC_ALP_POWER_MAX : CODEC_ALP_POWER_F32_MAX) : scaled ? 0 : is_f64 ? 62u : 30u) || !is_integer_codec(inner))
        return false;
    if (decimals) {
        packed.factor = codec_powers_of_ten[power];
        packed.conversion = wide || (!is_f64 && !header->half) ? CODEC_CONVERT_DECIMALS : is_f64 ? CODEC_CONVERT_DECIMALS_F64 : CODEC_CONVERT_DECIMALS_EXACT;
    } else if (scaled) {
        packed.conversion = is_f64 && !wide ? CODEC_CONVERT_SCALED_F64 : CODEC_CONVERT_SCALED;
    }
    if (header->exception_count > 0) { /* the chunk's end, from memory while its groups are decoded */
        const size_t back_bytes = header->exception_count * (is_f64 ? 10u : 6u);
        __builtin_prefetch(reader->end - (back_bytes < byte_reader_left(reader) ? back_bytes : byte_reader_left(reader)));
    }
    return read_packed(work, reader, inner, wide, &packed, rows) && read_exceptions(reader, header->exception_count, is_f64 ? 8 : 4, rows);
}
