/* peers.h: the other engines, each behind bench/engine.h, on a fresh ext4 of the same device. Built only with MOTE_BENCH_PEERS.
 *
 * What is equal: a durable put has ended when a barrier of the device covers it; the key is 16 bytes in the order (series, time, sequence), the value 112 bytes; block caches, write
 * buffers and background threads as mote has them by default (128 MiB, three of 64 MiB, two processors) or as the read workloads say. What each is tuned to stands in its `tuning`.
 */
#ifndef MOTE_BENCH_PEERS_H
#define MOTE_BENCH_PEERS_H

#include "bench/engine.h"

enum { KEY_BYTES = 16, VALUE_BYTES = ROW_BYTES - KEY_BYTES, DEFAULT_CACHE_BYTES = 128 << 20, WRITE_BUFFER_BYTES = 64 << 20, SMALL_WRITE_BUFFER_BYTES = 16 << 20, WRITE_BUFFERS = 3 };

extern const struct engine_type engine_rocksdb, engine_rocksdb_lz4, engine_leveldb, engine_lmdb, engine_sqlite, engine_file;
extern const struct filesystem filesystem_ext4;

static inline uint64_t peer_cache_bytes(const struct engine_options *options)
{
    return options->cache_bytes ? options->cache_bytes : DEFAULT_CACHE_BYTES;
}
static inline uint64_t peer_write_buffer_bytes(const struct engine_options *options)
{
    return options->memory_bytes ? SMALL_WRITE_BUFFER_BYTES : WRITE_BUFFER_BYTES;
}
static inline void peer_load_row(const void *key, const void *value, struct row *row)
{
    key_load(key, &row->key);
    __builtin_memcpy(row->values, value, VALUE_BYTES);
}

/* Everything that was written to the filesystem of this folder is durable. */
int peer_sync_filesystem(const char *folder);
/* Bytes of the blocks of all files in the folder and in the folders in it. */
int peer_space(const char *folder, uint64_t *bytes);
/* Removes a folder of files (one deep). */
int peer_remove_folder(const char *folder);

#endif
