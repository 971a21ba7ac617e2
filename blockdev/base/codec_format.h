/* codec_format.h: the encoding of a column (codec.h), version 2. All fields little-endian; reserved fields are zero and checked.
 *
 * Column header, 16 bytes
 *   offset  size  field
 *        0     1  version        2
 *        1     1  layout         CODEC_LAYOUT_...
 *        2     1  flags          bit 0: NULLs
 *        3     1  type           enum mote_type
 *        4     4  count          values, NULLs included, at most CODEC_COUNT_MAX
 *        8     4  values_bytes   decoded: fixed types count * size of a value; text, blob: bytes of all values that are not NULL
 *       12     4  payload_bytes  what follows the header
 * Payload
 *   validity bitmap, (count + 7) / 8 bytes, bits beyond count zero; only with flag bit 0. `present` is the number of its set bits, else count
 *   SCALAR      one stream of present values (a vector of many float32: present * dimension values)
 *   COMPONENTS  one stream of present values for each component: all x, then all y, ...
 *   FIXED       one byte section: present values, one after the other
 *   VARIABLE    a stream of present lengths (uint32), then a byte section of values_bytes
 *
 * Stream: chunks of 1024 values, the last one shorter; none if there are no values. Chunk header, 8 bytes
 *        0     1  codec            enum codec_id
 *        1     1  inner            ALP, SCALED: FOR, DELTA or DOD; else 0. Bit 7, float64 only: the values are exact float32 and are coded as
 *                                  such (RAW: 4 bytes each), then widened. Bit 6, ALP and SCALED of float64 that are not so: the integers have 32 bits; ALP of
 *                                  float32 (or such): the division is of doubles
 *        2     1  power            ALP: p, 0..22 (float32 without bit 6: 0..10). Integers by FOR, DELTA, DOD: all values less the first are multiples of 10^power, 0..18,
 *                                  and were divided by it. Float bit patterns by FOR, DELTA, DOD: low zero bits that were shifted out
 *        3     1  reserved
 *        4     2  exception_count  ALP, SCALED; else 0
 *        6     2  payload_bytes    what follows this header
 * Chunk payload, n values of w bytes
 *   RAW        n * w bytes
 *   CONSTANT   w bytes
 *   BITMAP     (n + 7) / 8 bytes; of 1-byte values that are 0 or 1
 *   FOR, DELTA, DOD of integers: the integers; if power > 0 an int64 before them, origin, and x = origin + integer * 10^power
 *   ALP        the integers k by inner, then exceptions:  value = k / 10^p, one division of doubles, rounded to float32 if that is the type; float32 without
 *              bit 6: one division of float32, k and 10^p rounded to it before
 *   SCALED     s (float64), the integers by inner, exceptions:  value = k * s, one double product, rounded to float32 if that is the type
 *   exceptions exception_count positions (uint16, ascending), then as many values of w bytes; they replace what was decoded there
 *   floats by FOR, DELTA, DOD: the integer is the bit pattern, shifted right arithmetically by power, and its bits below the
 *              sign inverted if negative, so that integers sort as the floats do
 * Integers of L bits: 32 where w is 1 or 4 or bit 6 or 7 of inner is set, else 64. Fields of L bits; all arithmetic is modulo 2^L; signed at the end
 *   FOR        packed:          x[i] = z[i]
 *   DELTA      first, packed:   x[i] = x[i-1] + unzigzag(z[i]), x[-1] = first
 *   DOD        first, d, packed: d[i] = d[i-1] + unzigzag(z[i]), d[-1] = d, x[i] = x[i-1] + d[i], x[-1] = first
 *              (first and d are chosen so that the numbers at the start are like the ones that follow)
 *   64-bit integers k of ALP and SCALED are turned into doubles as codec_kernels.h says: exact up to 2^51
 * packed, n numbers z = base + q
 *   base (L bits), one width (0..L) for each group of 64 numbers, then the groups: q in width bits each, least significant bit first,
 *   a group filled up to whole bytes (its unused bits are ignored)
 *
 * Byte section: header of 8 bytes {codec (RAW, CONSTANT, LZ4, ZSTD), 3 reserved, bytes that follow (4)}. CONSTANT: the bytes that follow
 * are repeated until the section is full. LZ4: one block (LZ4 block format). ZSTD: one frame.
 */
#ifndef MOTE_BLOCKDEV_BASE_CODEC_FORMAT_H
#define MOTE_BLOCKDEV_BASE_CODEC_FORMAT_H

enum {
    CODEC_VERSION = 2,
    CODEC_LAYOUT_SCALAR = 0,
    CODEC_LAYOUT_COMPONENTS = 1,
    CODEC_LAYOUT_FIXED = 2,
    CODEC_LAYOUT_VARIABLE = 3,
    CODEC_FLAG_NULLS = 1,
    CODEC_INNER_NARROW = 0x80,
    CODEC_INNER_HALF = 0x40,
    CODEC_CHUNK_VALUES = 1024,
    CODEC_CHUNK_HEADER_BYTES = 8,
    CODEC_SECTION_HEADER_BYTES = 8,
    CODEC_GROUP_VALUES = 64,
    CODEC_GROUPS_MAX = CODEC_CHUNK_VALUES / CODEC_GROUP_VALUES,
    CODEC_ALP_POWER_MAX = 22, /* 10^22 is the largest power of ten that is exact in a double */
    CODEC_ALP_POWER_F32_MAX = 10, /* of ten, exact in a float32 */
    CODEC_TEN_POWER_MAX = 18,
};

#endif
