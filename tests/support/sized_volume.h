/* sized_volume.h: a volume on a simulated disk that is larger than it, for crash tests of volumes that change their size. What fails aborts (engine_fixture.h). */
#ifndef MOTE_TESTS_SUPPORT_SIZED_VOLUME_H
#define MOTE_TESTS_SUPPORT_SIZED_VOLUME_H

#include "tests/support/backup.h"

/* Fills a volume of size_bytes (backup_fill; and an empty model table "arm") and closes it cleanly; image is what its disk holds, *options what it was open with. */
void sized_volume_make(uint64_t seed, uint64_t size_bytes, uint32_t rounds, uint8_t *image, struct state *state, struct mote_options *options);
/* The size of the volume that lies on the device, by its superblock. */
uint64_t sized_volume_bytes(struct blockdev *device);

#endif
