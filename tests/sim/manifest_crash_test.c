/* manifest_crash_test.c: power cuts at every event of a random life of the manifest, with every policy of the simulated disk; recovery itself is cut again.
 *
 * The oracle: after commit k the state's text is texts[k], and mark 1 says which commit was acknowledged last. Whatever a cut leaves must open as texts[acknowledged] or texts[acknowledged + 1] (the commit under way), and what one
 * open has shown every later open shows too. Usage: manifest_crash_test [first seed [number of seeds]]
 * MOTE_TEST_SCALE (percent, default 100) thins the images out.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/support/lsm_volume.h"

#define DEVICE_BYTES (9u << 20)
#define EXTENT_BYTES 65536u
#define COMMITS 90u
#define TABLES_MAX 5u
#define SEGMENTS_MAX 16u

static uint64_t passed, failed, images;
static uint64_t scale_percent = 100; /* of the images, chosen by a hash: MOTE_TEST_SCALE */

static uint64_t next_random(uint64_t *state)
{
    *state += 0x9e3779b97f4a7c15ull;
    uint64_t z = *state;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9ull;
    z = (z ^ z >> 27) * 0x94d049bb133111ebull;
    return z ^ z >> 31;
}

struct life {
    struct lsm_volume volume;
    struct blockdev *device;
    uint64_t random, seed;
    uint64_t tables[TABLES_MAX];
    uint32_t table_count, made;
    char *texts[COMMITS + 1];
    uint64_t first_event;
};

static uint32_t pick(struct life *life, uint32_t below) { return (uint32_t)(next_random(&life->random) % below); }

static struct segment *random_segment(struct life *life, struct version *version)
{
    uint32_t count = 0, at;
    for (uint32_t i = 0; i < version->count; i++)
        count += version->lists[i]->count;
    if (!count)
        return NULL;
    at = pick(life, count);
    for (uint32_t i = 0; i < version->count; at -= version->lists[i]->count, i++)
        if (at < version->lists[i]->count)
            return version->lists[i]->segments[at];
    return NULL;
}

static void put_table(struct life *life, struct manifest_edit *edit)
{
    char name[32];
    snprintf(name, sizeof name, "table%u", life->made++);
    struct schema *schema = lsm_volume_schema(&life->volume, name);
    manifest_edit_put_table(edit, schema, life->made, life->made);
    life->tables[life->table_count++] = schema->table_id;
    schema_free(life->volume.memory, schema);
}

/* The log: a new range, and now and then a new head and incarnation. */
static void change_log(struct life *life, struct manifest_edit *edit)
{
    const struct manifest_state *state = manifest_get_state(life->volume.manifest);
    uint64_t end = 0;
    if (state->log_range_count)
        end = state->log_ranges[state->log_range_count - 1].lsn + state->log_ranges[state->log_range_count - 1].run.count * (uint64_t)EXTENT_BYTES;
    if (state->log_range_count > 3)
        manifest_edit_set_head(edit, state->log_ranges[2].lsn + pick(life, 1000));
    else if (state->log_range_count && pick(life, 3) == 0)
        manifest_edit_begin_incarnation(edit, next_random(&life->random), end, end - pick(life, EXTENT_BYTES));
    manifest_edit_add_log_range(edit, &(struct manifest_log_range){end, lsm_volume_extents(&life->volume, 1)});
}

static void change_something(struct life *life, struct manifest_edit *edit, struct version *version)
{
    const struct manifest_state *state = manifest_get_state(life->volume.manifest);
    struct segment *segment = random_segment(life, version);
    switch (pick(life, 9)) {
    case 0:
        if (segment)
            manifest_edit_remove_segment(edit, segment->record.id);
        break;
    case 1:
        if (segment) {
            struct segment_section section = {.run = lsm_volume_extents(&life->volume, 1), .section_id = manifest_take_section_id(life->volume.manifest), .length_bytes = 1000 + pick(life, 1000)};
            manifest_edit_set_timestamp(edit, segment->record.id, &section);
        }
        break;
    case 2:
        if (life->table_count < TABLES_MAX)
            put_table(life, edit);
        else
            manifest_edit_drop_table(edit, life->tables[--life->table_count]);
        break;
    case 3: change_log(life, edit); break;
    case 4:
        for (uint32_t i = 150 * pick(life, 2); i-- > 0;) /* more than a page */
            manifest_edit_add_lost_range(edit, &(struct manifest_lost_range){i, 2 * i, i, 3 * i + state->sequence});
        break;
    case 5: manifest_edit_set_clean_end(edit, pick(life, 1000), pick(life, 1000)); break;
    default:
        for (uint32_t i = 1 + pick(life, 3); i-- > 0 && state->segment_count + i < SEGMENTS_MAX;) {
            struct segment_record record = lsm_volume_segment(&life->volume, life->tables[0], 1 + pick(life, 2));
            manifest_edit_add_segment(edit, &record);
        }
    }
    manifest_edit_set_flushed_seq(edit, state->flushed_seq + pick(life, 3));
}

static void live(struct life *life)
{
    struct lsm_volume *volume = &life->volume;
    life->random = life->seed * 7919;
    life->device = lsm_volume_sim(DEVICE_BYTES, life->seed, true);
    lsm_volume_format(life->device, EXTENT_BYTES, SEGMENTS_MAX);
    lsm_volume_check(lsm_volume_open(volume, life->device, TABLES_MAX, false), "open");
    extents_set_trim(volume->extents, false);
    life->first_event = sim_event_count(life->device);
    life->texts[0] = lsm_volume_text(volume->manifest);
    for (uint32_t k = 1; k <= COMMITS; k++) {
        struct manifest_edit *edit;
        struct version *version = version_acquire(volume->manifest);
        lsm_volume_check(manifest_edit_begin(volume->manifest, &edit), "edit");
        if (k == 1)
            put_table(life, edit);
        else
            change_something(life, edit, version);
        lsm_volume_check(manifest_commit(edit, NULL, NULL), "commit");
        version_release(volume->manifest, version);
        /* Before the mark: whoever was told of the commit can have seen its text. */
        life->texts[k] = lsm_volume_text(volume->manifest);
        sim_mark(life->device, 1, k);
        uint32_t extra = pick(life, 40);
        if (extra == 0)
            lsm_volume_check(manifest_snapshot(volume->manifest), "snapshot");
        if (extra == 1)
            lsm_volume_check(manifest_write_superblock(volume->manifest), "superblock");
    }
    lsm_volume_close(volume);
}

static void report(const struct life *life, uint64_t event, int policy, uint32_t index, const char *what)
{
    struct mote_error error;
    mote_last_error(&error);
    failed++;
    if (failed <= 10)
        printf("seed %llu event %llu policy %d index %u: %s (%s)\n", (unsigned long long)life->seed, (unsigned long long)event, policy, index, what, error.message);
}

/* Opens the device and compares with texts[from..to]; *found is the one that it is. */
static bool opens_as(struct life *life, struct blockdev *device, uint64_t from, uint64_t to, uint64_t *found)
{
    struct lsm_volume volume;
    if (lsm_volume_open(&volume, device, TABLES_MAX, false))
        return false;
    char *text = lsm_volume_text(volume.manifest);
    bool right = false;
    for (uint64_t k = from; k <= to && k <= COMMITS && !right; k++) {
        right = !strcmp(text, life->texts[k]);
        *found = k;
    }
    free(text);
    lsm_volume_close(&volume);
    return right;
}

/* Cuts the recovery of one image at each of its events. */
static void cut_recovery(struct life *life, struct blockdev *recorded, uint64_t shown, uint64_t event, int policy, uint32_t index)
{
    uint64_t count = sim_event_count(recorded), found;
    for (uint64_t e = 0; e < count; e++) {
        bool barrier;
        if (!sim_event_is_cut(recorded, e, &barrier))
            continue;
        static const enum sim_crash_policy policies[] = {SIM_CRASH_NONE, SIM_CRASH_TORN, SIM_CRASH_TORN};
        for (uint32_t p = 0; p < 3; p++) {
            struct blockdev *device;
            lsm_volume_check(sim_create_from_crash(recorded, e, policies[p], 0, e * 3 + p, NULL, &device), "sim_create_from_crash");
            images++;
            if (opens_as(life, device, shown, shown, &found))
                passed++;
            else
                report(life, event, policy, index, "a recovery that was cut shows another state");
            blockdev_close(device);
        }
    }
}

/* After recovery the manifest must go on: one more commit, and it is there. */
static bool goes_on(struct blockdev *device)
{
    struct lsm_volume volume;
    struct manifest_edit *edit;
    lsm_volume_check(lsm_volume_open(&volume, device, TABLES_MAX, false), "open");
    uint64_t seq = manifest_get_state(volume.manifest)->flushed_seq + 1000;
    lsm_volume_check(manifest_edit_begin(volume.manifest, &edit), "edit");
    manifest_edit_set_flushed_seq(edit, seq);
    bool right = !manifest_commit(edit, NULL, NULL);
    lsm_volume_close(&volume);
    if (lsm_volume_open(&volume, device, TABLES_MAX, false))
        return false;
    right = right && manifest_get_state(volume.manifest)->flushed_seq == seq;
    lsm_volume_close(&volume);
    return right;
}

static void check_image(struct life *life, uint64_t event, enum sim_crash_policy policy, uint32_t index, uint64_t seed)
{
    uint64_t choice = event * 31 + policy * 7 + index + seed;
    if (next_random(&choice) % 100 >= scale_percent)
        return;
    uint64_t acknowledged = sim_mark_at(life->device, event, 1), shown = 0;
    struct sim_options options = {.logical_block_bytes = 512, .seed = seed, .reorder = true, .record = true};
    struct blockdev *device;
    lsm_volume_check(sim_create_from_crash(life->device, event, policy, index, seed, &options, &device), "sim_create_from_crash");
    images++;
    if (!opens_as(life, device, acknowledged, acknowledged + 1, &shown)) {
        report(life, event, (int)policy, index, "the state is that of no commit that it may be");
    } else {
        passed++;
        if (images % 31 == 0)
            cut_recovery(life, device, shown, event, (int)policy, index);
        if (images % 5 == 0) {
            if (goes_on(device))
                passed++;
            else
                report(life, event, (int)policy, index, "the manifest does not go on after recovery");
        }
    }
    blockdev_close(device);
}

static void run_seed(uint64_t seed)
{
    struct life *life = calloc(1, sizeof *life);
    life->seed = seed;
    live(life);
    uint64_t count = sim_event_count(life->device);
    for (uint64_t event = life->first_event; event < count; event++) {
        bool barrier;
        if (!sim_event_is_cut(life->device, event, &barrier))
            continue;
        uint32_t unflushed = sim_unflushed_count(life->device, event);
        check_image(life, event, SIM_CRASH_NONE, 0, event);
        check_image(life, event, SIM_CRASH_ALL, 0, event);
        for (uint32_t i = 0; i < 2 && unflushed; i++)
            check_image(life, event, SIM_CRASH_TORN, 0, event * 8 + i);
        for (uint32_t i = 0; i < unflushed && i < 6; i++) {
            check_image(life, event, SIM_CRASH_LOSE_ONE, i, event);
            check_image(life, event, SIM_CRASH_KEEP_ONE, i, event);
        }
    }
    for (uint32_t k = 0; k <= COMMITS; k++)
        free(life->texts[k]);
    blockdev_close(life->device);
    free(life);
}

int main(int argc, char **argv)
{
    uint64_t first = argc > 1 ? strtoull(argv[1], NULL, 10) : 1, count = argc > 2 ? strtoull(argv[2], NULL, 10) : 2;
    const char *scale = getenv("MOTE_TEST_SCALE");
    if (scale && strtoull(scale, NULL, 10))
        scale_percent = strtoull(scale, NULL, 10);
    for (uint64_t seed = first; seed < first + count; seed++)
        run_seed(seed);
    printf("seeds %llu to %llu, %llu crash images, %llu %% of the cuts\n", (unsigned long long)first, (unsigned long long)(first + count - 1), (unsigned long long)images, (unsigned long long)scale_percent);
    printf("%llu passed, %llu failed\n", (unsigned long long)passed, (unsigned long long)failed);
    return failed != 0;
}
