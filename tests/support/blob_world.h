/* blob_world.h: a table of large values and what they must be. What differs aborts (engine_fixture.h). */
#ifndef MOTE_TESTS_SUPPORT_BLOB_WORLD_H
#define MOTE_TESTS_SUPPORT_BLOB_WORLD_H

#include "tests/support/engine_fixture.h"

enum { BLOB_WORLD_KEYS = 40, BLOB_WORLD_BYTES_MAX = 3 << 20 };

/* The content of a value follows from its number and size. */
struct blob_content {
    uint64_t seed, size_bytes;
    bool there, null;
};

struct blob_world {
    struct fixture fixture;
    mote_table *table;
    struct blob_content rows[BLOB_WORLD_KEYS];
    uint64_t random, next_seed;
};

uint64_t blob_world_draw(struct blob_world *world, uint64_t below);
/* On an image file, with the table "cam": id int64 (key), frame, note text. */
void blob_world_begin(struct blob_world *world, uint64_t device_bytes, uint64_t seed);
void blob_world_make_table(struct blob_world *world, const char *name, uint32_t flags);
void blob_world_reopen_table(struct blob_world *world);
/* A new content: NULL now and then, of sizes about all limits. */
struct blob_content blob_world_draw_content(struct blob_world *world);
void blob_content_fill(uint8_t *bytes, const struct blob_content *content);
void blob_content_row(int64_t key, const struct blob_content *content, uint8_t *bytes, struct mote_value *row);
bool blob_content_is(const uint8_t *bytes, uint64_t size_bytes, const struct blob_content *content);
void blob_content_check(const struct mote_value *value, const struct blob_content *content);

/* Every row as gets, or a scan, see it at the snapshot (NULL: now). */
void blob_world_check_gets(struct blob_world *world, const mote_snapshot *snapshot, const struct blob_content *rows);
void blob_world_check_scan(struct blob_world *world, const mote_snapshot *snapshot, const struct blob_content *rows);
/* Both, of world->rows. */
void blob_world_check(struct blob_world *world);

#endif
