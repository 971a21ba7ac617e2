/* sealed.h: a volume that a seeded owner left behind, as an image in memory with everything that a test needs to damage it on purpose and to know what must then still be read: where its structures lie,
 * and its whole content, out of the model.
 *
 * A *tolerant* check accepts two things of a read: the right answer, or an error that names the range. It never accepts a wrong answer, nor that something is not found.
 *
 * Threads: one. Memory: plain malloc; aborts when there is none. */
#ifndef MOTE_TESTS_SUPPORT_SEALED_H
#define MOTE_TESTS_SUPPORT_SEALED_H

#include "tests/support/oracle.h"
#include "tests/support/workload.h"

enum region_kind { REGION_SUPERBLOCK, REGION_MANIFEST, REGION_FRAME, REGION_SEGMENT, REGION_SECTION, REGION_KINDS };

/* A structure on the device. */
struct region {
    enum region_kind kind;
    uint32_t copy;                       /* superblock, manifest: 0 or 1 */
    uint64_t offset_bytes, length_bytes; /* what a checksum covers */
    uint64_t seq_from, seq_to;           /* FRAME: of its rows; to < from: none */
    uint64_t lsn;
    bool last; /* MANIFEST: nothing follows in the chain; FRAME: nothing follows in the log */
};

struct sealed {
    uint8_t *image;
    uint64_t size_bytes;
    struct profile profile;
    struct model *model;
    struct region *regions;
    uint32_t region_count, region_capacity;
    uint64_t flushed_seq;
};

/* Lets an owner work `steps` calls, then seals what is durable. closed: it closed; else it was killed, everything acknowledged and witnessed by a mark. Failures abort with the sentence. */
void sealed_make(struct sealed *sealed, uint64_t seed, uint32_t steps, bool closed, void (*advance_clock)(int64_t ns));
void sealed_free(struct sealed *sealed);
/* A simulated disk with the image; the image must outlive it. */
struct blockdev *sealed_device(const struct sealed *sealed);
/* Overwrites length_bytes at offset_bytes of the device, whatever its logical block. */
void device_patch(struct blockdev *device, uint64_t offset_bytes, const void *bytes, uint32_t length_bytes);
void device_flip_bit(struct blockdev *device, uint64_t offset_bytes, uint32_t bit);
void device_fill(struct blockdev *device, uint64_t offset_bytes, uint32_t length_bytes, uint8_t with);

/* The model's state as content, rows in key order. */
void content_of_model(const struct model *model, struct content *content);

struct tolerance {
    uint32_t answers, errors;
};
/* Every table by scan, by get of `gets` keys a table, by time range. */
int tolerant_check(struct oracle *oracle, mote_db *db, const struct content *wanted, uint32_t gets, struct tolerance *tolerance);
/* An error that may come of damage, and names where: MOTE_OK, or -1. */
int tolerant_error(struct oracle *oracle, int code, const char *what);

#endif
