/* bytes.h: little-endian fields of device bytes, loaded and stored one by one; nothing on the device is ever cast to a struct.
 * Header only. load_/store_ take a pointer with room for the field, aligned or not. The bounded reader below refuses to run past
 * its end, so that no length read from a device is trusted. */
#ifndef MOTE_BLOCKDEV_BASE_BYTES_H
#define MOTE_BLOCKDEV_BASE_BYTES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
#define LE16(x) (x)
#define LE32(x) (x)
#define LE64(x) (x)
#else
#define LE16(x) __builtin_bswap16(x)
#define LE32(x) __builtin_bswap32(x)
#define LE64(x) __builtin_bswap64(x)
#endif

static inline uint8_t load_u8(const void *at) { return *(const uint8_t *)at; }
static inline uint16_t load_u16(const void *at) { uint16_t v; memcpy(&v, at, sizeof v); return LE16(v); }
static inline uint32_t load_u32(const void *at) { uint32_t v; memcpy(&v, at, sizeof v); return LE32(v); }
static inline uint64_t load_u64(const void *at) { uint64_t v; memcpy(&v, at, sizeof v); return LE64(v); }
static inline void store_u8(void *at, uint8_t v) { *(uint8_t *)at = v; }
static inline void store_u16(void *at, uint16_t v) { v = LE16(v); memcpy(at, &v, sizeof v); }
static inline void store_u32(void *at, uint32_t v) { v = LE32(v); memcpy(at, &v, sizeof v); }
static inline void store_u64(void *at, uint64_t v) { v = LE64(v); memcpy(at, &v, sizeof v); }
static inline uint64_t load_be64(const void *at) { uint64_t v; memcpy(&v, at, sizeof v); return __builtin_bswap64(LE64(v)); }
static inline void store_be64(void *at, uint64_t v) { v = LE64(__builtin_bswap64(v)); memcpy(at, &v, sizeof v); }
static inline void store_be32(void *at, uint32_t v) { v = LE32(__builtin_bswap32(v)); memcpy(at, &v, sizeof v); }
static inline uint32_t load_be32(const void *at) { uint32_t v; memcpy(&v, at, sizeof v); return __builtin_bswap32(LE32(v)); }

/* A bounded reader: after a read past the end `failed` is set for good and every read yields 0 or NULL. */
struct byte_reader {
    const uint8_t *at;
    const uint8_t *end;
    bool failed;
};

static inline struct byte_reader byte_reader_make(const void *data, size_t size_bytes)
{
    struct byte_reader reader = {(const uint8_t *)data, (const uint8_t *)data + size_bytes, false};
    return reader;
}
static inline size_t byte_reader_left(const struct byte_reader *reader) { return (size_t)(reader->end - reader->at); }
/* The next size_bytes bytes, or NULL. */
static inline const uint8_t *read_bytes(struct byte_reader *reader, size_t size_bytes)
{
    if (reader->failed || byte_reader_left(reader) < size_bytes) {
        reader->failed = true;
        return NULL;
    }
    const uint8_t *bytes = reader->at;
    reader->at += size_bytes;
    return bytes;
}
static inline uint8_t read_u8(struct byte_reader *reader) { const uint8_t *b = read_bytes(reader, 1); return b ? *b : 0; }
static inline uint16_t read_u16(struct byte_reader *reader) { const uint8_t *b = read_bytes(reader, 2); return b ? load_u16(b) : (uint16_t)0; }
static inline uint32_t read_u32(struct byte_reader *reader) { const uint8_t *b = read_bytes(reader, 4); return b ? load_u32(b) : 0; }
static inline uint64_t read_u64(struct byte_reader *reader) { const uint8_t *b = read_bytes(reader, 8); return b ? load_u64(b) : 0; }

/* A bounded writer: after a write past the end `failed` is set for good and nothing is written any more. */
struct byte_writer {
    uint8_t *start;
    uint8_t *at;
    uint8_t *end;
    bool failed;
};

static inline struct byte_writer byte_writer_make(void *data, size_t size_bytes)
{
    struct byte_writer writer = {(uint8_t *)data, (uint8_t *)data, (uint8_t *)data + size_bytes, false};
    return writer;
}
static inline size_t byte_writer_size(const struct byte_writer *writer) { return (size_t)(writer->at - writer->start); }
/* Room for size_bytes bytes, to be filled by the caller, or NULL. */
static inline uint8_t *write_room(struct byte_writer *writer, size_t size_bytes)
{
    if (writer->failed || (size_t)(writer->end - writer->at) < size_bytes) {
        writer->failed = true;
        return NULL;
    }
    uint8_t *room = writer->at;
    writer->at += size_bytes;
    return room;
}
static inline void write_bytes(struct byte_writer *writer, const void *data, size_t size_bytes)
{
    uint8_t *room = write_room(writer, size_bytes);
    if (room && size_bytes)
        memcpy(room, data, size_bytes);
}
static inline void write_u8(struct byte_writer *writer, uint8_t v) { write_bytes(writer, &v, 1); }
static inline void write_u16(struct byte_writer *writer, uint16_t v) { uint8_t *b = write_room(writer, 2); if (b) store_u16(b, v); }
static inline void write_u32(struct byte_writer *writer, uint32_t v) { uint8_t *b = write_room(writer, 4); if (b) store_u32(b, v); }
static inline void write_u64(struct byte_writer *writer, uint64_t v) { uint8_t *b = write_room(writer, 8); if (b) store_u64(b, v); }

#endif
