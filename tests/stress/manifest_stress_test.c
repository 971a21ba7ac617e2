/* manifest_stress_test.c: readers acquire and release versions while commits, rebuilt sections and snapshots of the manifest go on. No version changes under its reader, and at the end no extent is lost or freed twice. */
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

#include "tests/support/lsm_volume.h"

#define READERS 3
#define ROUNDS 1500u

struct stress {
    struct lsm_volume volume;
    uint64_t table_id;
    _Atomic uint32_t done;
    _Atomic uint64_t versions_read, faults, installs;
};

static void read_version(struct stress *stress)
{
    struct version *version = version_acquire(stress->volume.manifest);
    const struct segment_list *list = version_find(version, stress->table_id);
    uint64_t sum = 0, again = 0;
    for (uint32_t i = 0; list && i < list->count; i++)
        sum += list->segments[i]->record.id * 31 + list->segments[i]->record.timestamp.root_crc;
    for (uint32_t i = 0; list && i < list->count; i++) {
        const struct segment_record *record = &list->segments[i]->record;
        again += record->id * 31 + record->timestamp.root_crc;
        if (record->table_id != stress->table_id || (i && list->segments[i - 1]->record.run_id > record->run_id))
            atomic_fetch_add(&stress->faults, 1);
    }
    if (sum != again)
        atomic_fetch_add(&stress->faults, 1);
    atomic_fetch_add(&stress->versions_read, 1);
    version_release(stress->volume.manifest, version);
}

static void *run_reader(void *context)
{
    struct stress *stress = context;
    while (!atomic_load(&stress->done))
        read_version(stress);
    return NULL;
}

static void note_install(void *context) { atomic_fetch_add(&((struct stress *)context)->installs, 1); }

static void *run_taker(void *context)
{
    struct stress *stress = context;
    uint64_t last = 0;
    while (!atomic_load(&stress->done)) {
        uint64_t id = manifest_take_section_id(stress->volume.manifest), used, size;
        if (id <= last)
            atomic_fetch_add(&stress->faults, 1);
        last = id;
        manifest_usage(stress->volume.manifest, &used, &size);
        if (used > size || manifest_poisoned(stress->volume.manifest, NULL))
            atomic_fetch_add(&stress->faults, 1);
    }
    return NULL;
}

static void run_writer(struct stress *stress)
{
    uint64_t ids[16] = {0};
    for (uint32_t round = 0; round < ROUNDS; round++) {
        struct lsm_volume *volume = &stress->volume;
        struct manifest_edit *edit = lsm_volume_begin(volume);
        uint32_t slot = round * 7 % 16;
        if (ids[slot] && round % 3) {
            struct segment_section section = {.run = lsm_volume_extents(volume, 1), .section_id = manifest_take_section_id(volume->manifest), .length_bytes = 10, .root_crc = round};
            manifest_edit_set_timestamp(edit, ids[slot], &section);
        } else {
            struct segment_record record = lsm_volume_segment(volume, stress->table_id, 2);
            if (ids[slot])
                manifest_edit_remove_segment(edit, ids[slot]);
            manifest_edit_add_segment(edit, &record);
            ids[slot] = record.id;
        }
        lsm_volume_check(manifest_commit(edit, note_install, stress), "manifest_commit");
        if (round % 50 == 0)
            lsm_volume_check(manifest_snapshot(volume->manifest), "manifest_snapshot");
    }
}

int main(void)
{
    struct stress *stress = calloc(1, sizeof *stress);
    struct blockdev *device = lsm_volume_device(0);
    pthread_t threads[READERS + 1];
    lsm_volume_open_rw(&stress->volume, device);
    stress->table_id = lsm_volume_make_table(&stress->volume, "arm");
    for (unsigned i = 0; i <= READERS; i++)
        if (pthread_create(&threads[i], NULL, i < READERS ? run_reader : run_taker, stress))
            abort();
    run_writer(stress);
    atomic_store(&stress->done, 1);
    for (unsigned i = 0; i <= READERS; i++)
        pthread_join(threads[i], NULL);
    struct version *version = version_acquire(stress->volume.manifest);
    const struct segment_list *list = version_find(version, stress->table_id);
    uint32_t expected = 0;
    for (uint32_t i = 0; i < list->count; i++)
        expected += 2 + list->segments[i]->record.timestamp.run.count;
    version_release(stress->volume.manifest, version);
    uint64_t failed = atomic_load(&stress->faults) + (lsm_volume_used(&stress->volume) != expected) + (atomic_load(&stress->installs) != ROUNDS);
    lsm_volume_reopen(&stress->volume, "after the stress");
    failed += lsm_volume_used(&stress->volume) != expected;
    printf("%llu versions read during %u commits\n", (unsigned long long)atomic_load(&stress->versions_read), ROUNDS);
    printf("%u passed, %llu failed\n", ROUNDS, (unsigned long long)failed);
    lsm_volume_close(&stress->volume);
    blockdev_close(device);
    free(stress);
    return failed != 0;
}
