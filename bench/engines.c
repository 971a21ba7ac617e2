/* engines.c: which engines this build of the benchmark has. The peers come only with MOTE_BENCH_PEERS (CMake), so that the ordinary build needs none of their libraries. */
#include "bench/engine.h"

#ifdef MOTE_BENCH_PEERS
#include "bench/peers/peers.h"

const struct engine_type *const engine_types[] = {&engine_mote, &engine_mote_pages, &engine_mote_log, &engine_rocksdb, &engine_rocksdb_lz4, &engine_leveldb, &engine_lmdb, &engine_sqlite, &engine_file, NULL};
const struct filesystem *const engine_filesystem = &filesystem_ext4;
#else
const struct engine_type *const engine_types[] = {&engine_mote, &engine_mote_pages, &engine_mote_log, NULL};
const struct filesystem *const engine_filesystem = NULL;
#endif
