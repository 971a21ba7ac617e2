/* oracle.c: the volume against the model and the promises (oracle.h). */
#include "tests/support/oracle.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "blockdev/sim.h"
#include "engine/engine_private.h"
#include "wal/wal_format.h"

/* ---- When the content is no point of the history: what differs ---- */

static const uint8_t *content_row(const struct content *content, uint32_t row, size_t *row_bytes)
{
    *row_bytes = content->row_at[row + 1] - content->row_at[row];
    return content->bytes + content->row_at[row];
}

static void add_text(struct oracle *oracle, const char *what, const char *table, const char *row)
{
    size_t length = strlen(oracle->why);
    if (length + 1 < sizeof oracle->why)
        snprintf(oracle->why + length, sizeof oracle->why - length, "\n    %s %s: %s", table, what, row);
}

/* Compares one table of the content with the model as it stands. Returns the number of differences; says some of them. */
static uint32_t compare_table(struct oracle *oracle, const struct model *model, const struct content_table *table, bool say)
{
    int number = model_find_table(model, table->schema.name);
    uint32_t differences = 0, matched = 0;
    char text[200];
    if (number < 0 || !digest_equal(schema_digest(&model->tables[number].schema), schema_digest(&table->schema))) {
        if (say)
            add_text(oracle, number < 0 ? "should not exist" : "has another definition", table->schema.name, "");
        return 1 + table->row_count;
    }
    for (uint32_t r = table->row_first; r < table->row_first + table->row_count; r++) {
        uint8_t key[MODEL_ROW_BYTES_MAX], cells[MODEL_ROW_BYTES_MAX];
        size_t row_bytes;
        const uint8_t *row = content_row(&oracle->content, r, &row_bytes);
        const struct model_row *wanted = model_find_row(model, (uint32_t)number, key, row_key(&table->schema, row, key));
        matched += wanted != NULL;
        if (wanted && model_row_now(model, (uint32_t)number, wanted, cells) == row_bytes && memcmp(cells, row, row_bytes) == 0)
            continue;
        if (say && ++differences <= 4) {
            row_describe(&table->schema, row, text, sizeof text);
            add_text(oracle, wanted ? "found" : "should not have", table->schema.name, text);
            if (wanted) {
                row_describe(&table->schema, cells, text, sizeof text);
                add_text(oracle, "wanted", table->schema.name, text);
            }
        } else if (!say) {
            differences++;
        }
    }
    uint32_t missing = model->tables[number].row_count - matched;
    if (say && missing) {
        snprintf(text, sizeof text, "%u of %u rows", missing, model->tables[number].row_count);
        add_text(oracle, "misses", table->schema.name, text);
    }
    return differences + missing;
}

static uint32_t compare_content(struct oracle *oracle, const struct model *history, uint32_t point, bool say)
{
    struct model *model = model_clone(history, point);
    uint32_t differences = 0;
    for (uint32_t t = 0; t < oracle->content.table_count; t++)
        differences += compare_table(oracle, model, &oracle->content.tables[t], say);
    for (uint32_t t = 0; t < model->table_count; t++) {
        bool found = !model->tables[t].live;
        for (uint32_t i = 0; i < oracle->content.table_count && !found; i++)
            found = strcmp(oracle->content.tables[i].schema.name, model->tables[t].schema.name) == 0;
        if (!found && say)
            add_text(oracle, "is missing", model->tables[t].schema.name, "");
        differences += found ? 0 : 1 + model->tables[t].row_count;
    }
    model_destroy(model);
    return differences;
}

/* The nearest point of the history, and how the content differs from it. */
static int explain(struct oracle *oracle, const struct model *model, const struct promise *promise)
{
    uint32_t best = 0, best_differences = UINT32_MAX;
    uint32_t earlier = model_find_digest(model, 0, oracle->content.digest);
    if (earlier != UINT32_MAX && earlier <= promise->point)
        return oracle_fail(oracle, "the content is that of point %u (seq %llu), but point %u (seq %llu) of %u was acknowledged", earlier, (unsigned long long)model_seq_at(model, earlier), promise->point,
                           (unsigned long long)model_seq_at(model, promise->point), model->op_count);
    if (earlier != UINT32_MAX)
        return oracle_fail(oracle, "the content is that of point %u, but an earlier open showed point %u and nothing was written since", earlier, promise->point);
    for (uint32_t point = 0; point <= model->op_count; point++) {
        uint32_t differences = compare_content(oracle, model, point, false);
        if (differences <= best_differences) {
            best_differences = differences;
            best = point;
        }
    }
    oracle_fail(oracle, "the content of %u rows is that of no point of the history (0 to %u, acknowledged %u); nearest is point %u (seq %llu), with %u differences", oracle->content.row_count, model->op_count,
                promise->point, best, (unsigned long long)model_seq_at(model, best), best_differences);
    compare_content(oracle, model, best, true);
    return -1;
}

/* ---- Promises ---- */

static int check_promises(struct oracle *oracle, mote_db *db, const struct promise *promise)
{
    struct mote_stats stats = {.size_bytes = sizeof stats};
    int result = mote_get_stats(db, &stats);
    if (result)
        return oracle_fail_code(oracle, result, "stats");
    if (stats.lost_range_count)
        return oracle_fail(oracle, "%llu lost ranges are recorded", (unsigned long long)stats.lost_range_count);
    if (promise->clean && (!stats.clean_open || stats.recovered_rows))
        return oracle_fail(oracle, "the volume was closed, but the open found it %s and replayed %llu rows", stats.clean_open ? "clean" : "unclean", (unsigned long long)stats.recovered_rows);
    if (stats.head_lsn < promise->head_lsn)
        return oracle_fail(oracle, "a checkpoint had moved the head to %llu, it is at %llu", (unsigned long long)promise->head_lsn, (unsigned long long)stats.head_lsn);
    return MOTE_OK;
}

/* Pending rows of each table and of all; which of the points of equal content it is, nobody can tell: one must fit. */
static int check_pending(struct oracle *oracle, mote_db *db, const struct model *model, const struct promise *promise, uint32_t *point)
{
    struct mote_stats stats = {.size_bytes = sizeof stats};
    uint64_t pending = 0, wanted = 0;
    uint32_t last = promise->exact ? promise->point : model->op_count;
    if (mote_get_stats(db, &stats) || mote_pending_updates(db, NULL, &pending))
        return oracle_fail(oracle, "pending_updates or stats failed");
    for (; *point <= last; ++*point) {
        if (!digest_equal(model->digests[*point], oracle->content.digest))
            continue;
        wanted = model_count_pending(model, *point, stats.flushed_seq, -1);
        if (wanted == pending)
            break;
    }
    if (*point > last)
        return oracle_fail(oracle, "%llu updates are pending, not %llu (flushed seq %llu)", (unsigned long long)pending, (unsigned long long)wanted, (unsigned long long)stats.flushed_seq);
    if (promise->flushed_seq > stats.flushed_seq) {
        uint64_t unflushed = model_count_pending(model, *point, stats.flushed_seq, -1) - model_count_pending(model, *point, promise->flushed_seq, -1);
        if (unflushed)
            return oracle_fail(oracle, "a flush up to seq %llu returned, but %llu of its rows are pending", (unsigned long long)promise->flushed_seq, (unsigned long long)unflushed);
    }
    for (uint32_t t = 0; t < oracle->content.table_count; t++) {
        const char *name = oracle->content.tables[t].schema.name;
        wanted = model_count_pending(model, *point, stats.flushed_seq, model_find_table_at(model, *point, name));
        int result = mote_pending_updates(db, name, &pending);
        if (result || pending != wanted)
            return oracle_fail(oracle, "%llu updates of table %s are pending, not %llu", (unsigned long long)pending, name, (unsigned long long)wanted);
    }
    return MOTE_OK;
}

int oracle_check(struct oracle *oracle, mote_db *db, const struct model *model, const struct promise *promise, bool thorough, uint32_t *point)
{
    static const uint32_t CHUNK_ROWS[] = {0, 3, 17, 64};
    if (oracle_read_content(oracle, db, CHUNK_ROWS[random_below(&oracle->random, 4)]))
        return -1;
    *point = promise->point;
    if (promise->exact ? !digest_equal(model->digests[promise->point], oracle->content.digest) : (*point = model_find_digest(model, promise->point, oracle->content.digest)) == UINT32_MAX)
        return explain(oracle, model, promise);
    if (check_promises(oracle, db, promise) || check_pending(oracle, db, model, promise, point))
        return -1;
    uint64_t visible = mote_visible_seq(db);
    if (visible < model_seq_at(model, *point))
        return oracle_fail(oracle, "rows up to seq %llu are shown, but the visible seq is %llu: seqs would be used twice", (unsigned long long)model_seq_at(model, *point), (unsigned long long)visible);
    int result = engine_check_timestamp_index(db);
    if (result)
        return oracle_fail_code(oracle, result, "the timestamp index");
    if (oracle_check_searches(oracle))
        return -1;
    if (thorough && oracle_check_reads(oracle, db, model, *point))
        return -1;
    return db->read_only ? MOTE_OK : oracle_check_space(oracle, db);
}

int oracle_check_live(struct oracle *oracle, mote_db *db, const struct model *model)
{
    struct promise promise = {.point = model->op_count, .exact = true};
    if (oracle_read_content(oracle, db, random_below(&oracle->random, 50)))
        return -1;
    if (oracle_check_searches(oracle))
        return -1;
    return digest_equal(model->digests[model->op_count], oracle->content.digest) ? MOTE_OK : explain(oracle, model, &promise);
}

/* ---- Space ---- */

static int count_run(struct oracle *oracle, uint8_t *seen, uint32_t extent_count, struct extent_run run, const char *what, uint64_t id, uint32_t *used)
{
    for (uint32_t i = run.first; i < run.first + run.count; i++) {
        if (i >= extent_count || seen[i])
            return oracle_fail(oracle, "extent %u of %s %llu is %s", i, what, (unsigned long long)id, i >= extent_count ? "outside the device" : "used twice");
        seen[i] = 1;
        ++*used;
    }
    return MOTE_OK;
}

static int count_segments(struct oracle *oracle, const struct version *version, uint8_t *seen, uint32_t extent_count, uint32_t *used)
{
    for (uint32_t t = 0; t < version->count; t++) {
        for (uint32_t s = 0; s < version->lists[t]->count; s++) {
            const struct segment_record *record = &version->lists[t]->segments[s]->record;
            for (uint32_t r = 0; r < record->extent_run_count; r++) {
                if (count_run(oracle, seen, extent_count, record->runs[r], "segment", record->id, used))
                    return -1;
            }
            if (count_run(oracle, seen, extent_count, record->timestamp.run, "section", record->timestamp.section_id, used))
                return -1;
            const struct segment *segment = version->lists[t]->segments[s];
            for (uint32_t i = 0; i < segment->index_count; i++) {
                if (count_run(oracle, seen, extent_count, segment->indexes[i].section.run, "index section", segment->indexes[i].section.section_id, used))
                    return -1;
            }
        }
    }
    return MOTE_OK;
}

int oracle_check_space(struct oracle *oracle, mote_db *db)
{
    uint32_t extent_count = db->superblock.layout.extent_count, used = 0;
    uint8_t *seen = calloc(extent_count, 1);
    struct extents_counts counts;
    struct version *version = version_acquire(db->manifest);
    int result = count_segments(oracle, version, seen, extent_count, &used);
    version_release(db->manifest, version);
    manifest_lock(db->manifest);
    const struct manifest_state *state = manifest_get_state(db->manifest);
    for (uint32_t i = 0; i < state->log_range_count && !result; i++)
        result = count_run(oracle, seen, extent_count, state->log_ranges[i].run, "the log range at", state->log_ranges[i].lsn, &used);
    for (uint32_t i = 0; i < state->blob_count && !result; i++)
        result = count_run(oracle, seen, extent_count, state->blobs[i].file->run, "blob file", state->blobs[i].file->id, &used);
    manifest_unlock(db->manifest);
    for (uint32_t i = 0; i < SPARE_RUNS && !result; i++)
        result = count_run(oracle, seen, extent_count, db->spare_runs[i], "the spare run", i, &used);
    free(seen);
    if (result)
        return result;
    extents_get_counts(db->extents, &counts);
    if (counts.free + counts.used + counts.quarantined + counts.trimming + counts.bad != counts.total || counts.total != extent_count)
        return oracle_fail(oracle, "%u free + %u used + %u quarantined + %u trimming + %u bad are not %u extents", counts.free, counts.used, counts.quarantined, counts.trimming, counts.bad, extent_count);
    if (counts.used != used || counts.reserved || counts.quarantined)
        return oracle_fail(oracle, "%u extents are referred to, but %u count as used, %u as reserved, %u as quarantined", used, counts.used, counts.reserved, counts.quarantined);
    return MOTE_OK;
}

/* ---- Numbers ---- */

void oracle_frame_facts(struct blockdev *device, const uint8_t uuid[16], struct frame_facts *facts)
{
    uint64_t size_bytes = blockdev_geometry(device)->size_bytes;
    uint8_t *image = malloc(size_bytes);
    if (!image)
        abort();
    sim_read_content(device, false, image);
    *facts = (struct frame_facts){0};
    for (uint64_t at = SUPERBLOCK_REGION_BYTES; at + PAGE_BYTES <= size_bytes; at += PAGE_BYTES) {
        struct wal_frame frame;
        if (load_u32(image + at + WAL_FRAME_AT_MAGIC) != WAL_FRAME_MAGIC)
            continue;
        uint64_t lsn = load_u64(image + at + WAL_FRAME_AT_LSN);
        if (wal_frame_decode(image + at, size_bytes - at, uuid, lsn, REQUEST_BYTES_MAX, &frame))
            continue;
        facts->frame_count++;
        if (frame.count && frame.first_seq + frame.count - 1 > facts->seq_max)
            facts->seq_max = frame.first_seq + frame.count - 1;
        if (lsn + frame.frame_bytes > facts->lsn_end_max)
            facts->lsn_end_max = lsn + frame.frame_bytes;
    }
    free(image);
}

int oracle_check_new_numbers(struct oracle *oracle, mote_db *db, const struct frame_facts *facts)
{
    uint64_t visible = mote_visible_seq(db);
    manifest_lock(db->manifest);
    const struct manifest_state *state = manifest_get_state(db->manifest);
    uint64_t first_lsn = state->incarnation_count ? state->incarnations[state->incarnation_count - 1].first_lsn : 0;
    manifest_unlock(db->manifest);
    if (visible < facts->seq_max)
        return oracle_fail(oracle, "a frame with seq %llu lies on the device, the next seq is %llu: it would be used twice", (unsigned long long)facts->seq_max, (unsigned long long)visible + 1);
    if (first_lsn < facts->lsn_end_max)
        return oracle_fail(oracle, "a frame ends at LSN %llu, the new incarnation begins at %llu: LSNs would be used twice", (unsigned long long)facts->lsn_end_max, (unsigned long long)first_lsn);
    return MOTE_OK;
}
