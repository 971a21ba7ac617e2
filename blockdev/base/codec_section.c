/* codec_section.c: sections of bytes, as they are, constant, or compressed by LZ4 or ZSTD (codec_format.h). The compressors' state lies in
 * the caller's scratch, so that nothing is allocated. */
#define ZSTD_STATIC_LINKING_ONLY /* contexts in given memory */
#include "blockdev/base/codec_private.h"

#include <assert.h>
#include <lz4.h>
#include <stdatomic.h>
#include <zstd.h>

enum { ZSTD_LEVEL = 3, ZSTD_WINDOW_BYTES = 128 * 1024 };

static ZSTD_compressionParameters zstd_parameters(void) { return ZSTD_getCParams(ZSTD_LEVEL, ZSTD_WINDOW_BYTES, 0); }

static size_t ask_state_bytes(void)
{
    size_t compress_bytes = ZSTD_estimateCCtxSize_usingCParams(zstd_parameters()), decompress_bytes = ZSTD_estimateDCtxSize();
    size_t lz4_bytes = (size_t)LZ4_sizeofState();
    size_t most = compress_bytes > decompress_bytes ? compress_bytes : decompress_bytes;
    return ((most > lz4_bytes ? most : lz4_bytes) + 63) & ~(size_t)63;
}

/* The libraries compute their sizes anew at each call, in about a microsecond: as long as a small column takes to decode. */
size_t codec_state_bytes(void)
{
    static _Atomic size_t known_bytes; /* 0: not asked yet; every thread would find the same */
    size_t known = atomic_load_explicit(&known_bytes, memory_order_relaxed);
    if (known == 0) {
        known = ask_state_bytes();
        atomic_store_explicit(&known_bytes, known, memory_order_relaxed);
    }
    return known;
}

/* The compressed size, or 0 if it is not below capacity_bytes. */
static size_t compress_zstd(const uint8_t *data, size_t size_bytes, uint8_t *out, size_t capacity_bytes, void *state)
{
    ZSTD_compressionParameters parameters = zstd_parameters();
    ZSTD_CCtx *context = ZSTD_initStaticCCtx(state, codec_state_bytes());
    if (!context)
        return 0;
    const struct {
        ZSTD_cParameter name;
        unsigned value;
    } settings[] = {{ZSTD_c_compressionLevel, ZSTD_LEVEL},       {ZSTD_c_windowLog, parameters.windowLog},
                    {ZSTD_c_hashLog, parameters.hashLog},        {ZSTD_c_chainLog, parameters.chainLog},
                    {ZSTD_c_searchLog, parameters.searchLog},    {ZSTD_c_minMatch, parameters.minMatch},
                    {ZSTD_c_strategy, (unsigned)parameters.strategy}, {ZSTD_c_checksumFlag, 0}};
    for (size_t i = 0; i < sizeof settings / sizeof *settings; i++) {
        if (ZSTD_isError(ZSTD_CCtx_setParameter(context, settings[i].name, (int)settings[i].value)))
            return 0;
    }
    size_t compressed_bytes = ZSTD_compress2(context, out, capacity_bytes, data, size_bytes);
    return ZSTD_isError(compressed_bytes) ? 0 : compressed_bytes;
}

static bool repeats_unit(const uint8_t *data, size_t size_bytes, size_t unit_bytes)
{
    return unit_bytes > 0 && size_bytes > unit_bytes && size_bytes % unit_bytes == 0 &&
           memcmp(data, data + unit_bytes, size_bytes - unit_bytes) == 0;
}

void codec_encode_section(const uint8_t *data, size_t size_bytes, size_t unit_bytes, uint32_t compression, uint8_t *trial, void *state,
                          struct byte_writer *writer)
{
    assert(size_bytes <= CODEC_VALUE_BYTES_MAX);
    uint32_t codec = CODEC_RAW;
    const uint8_t *bytes = data;
    size_t stored_bytes = size_bytes;
    if (repeats_unit(data, size_bytes, unit_bytes)) {
        codec = CODEC_CONSTANT;
        stored_bytes = unit_bytes;
    } else if (size_bytes > 16 && compression != CODEC_TEXT_NONE) {
        size_t capacity_bytes = size_bytes - size_bytes / 32 - 1, compressed_bytes = 0; /* less is not worth decompressing */
        if (compression == CODEC_TEXT_ZSTD) {
            codec = CODEC_ZSTD;
            compressed_bytes = compress_zstd(data, size_bytes, trial, capacity_bytes, state);
        } else {
            codec = CODEC_LZ4;
            int result = LZ4_compress_fast_extState(state, (const char *)data, (char *)trial, (int)size_bytes, (int)capacity_bytes, 1);
            compressed_bytes = result > 0 ? (size_t)result : 0;
        }
        if (compressed_bytes > 0) {
            bytes = trial;
            stored_bytes = compressed_bytes;
        } else {
            codec = CODEC_RAW;
        }
    }
    write_u32(writer, codec); /* the codec and three reserved bytes */
    write_u32(writer, (uint32_t)stored_bytes);
    write_bytes(writer, bytes, stored_bytes);
}

bool codec_decode_section(struct byte_reader *reader, uint8_t *data, size_t size_bytes, void *state)
{
    uint32_t codec = read_u32(reader), stored_bytes = read_u32(reader);
    const uint8_t *bytes = read_bytes(reader, stored_bytes);
    if (!bytes || size_bytes > CODEC_VALUE_BYTES_MAX)
        return false;
    switch (codec) {
    case CODEC_RAW:
        if (stored_bytes != size_bytes)
            return false;
        if (size_bytes > 0)
            memcpy(data, bytes, size_bytes);
        return true;
    case CODEC_CONSTANT:
        if (stored_bytes == 0 || size_bytes % stored_bytes != 0)
            return false;
        for (size_t i = 0; i < size_bytes; i += stored_bytes)
            memcpy(data + i, bytes, stored_bytes);
        return true;
    case CODEC_LZ4:
        return stored_bytes <= INT32_MAX && size_bytes > 0 &&
               LZ4_decompress_safe((const char *)bytes, (char *)data, (int)stored_bytes, (int)size_bytes) == (int)size_bytes;
    case CODEC_ZSTD: {
        ZSTD_DCtx *context = ZSTD_initStaticDCtx(state, codec_state_bytes());
        return context && size_bytes > 0 && ZSTD_decompressDCtx(context, data, size_bytes, bytes, stored_bytes) == size_bytes;
    }
    default:
        return false;
    }
}
