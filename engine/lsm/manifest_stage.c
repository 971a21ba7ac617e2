/* manifest_stage.c: the beginning and the two ends of an edit under way (manifest_private.h): installed, or rolled back as if it had never been. What lies between is manifest_apply.c.
 *
 * Threads: the committing thread, under the manifest's mutex. Failures: none; whatever an installation needs was allocated before.
 */
#include "engine/lsm/manifest_private.h"

#include <assert.h>

void manifest_stage_begin(struct manifest *manifest, struct stage *stage, uint32_t kind, bool recovering, const uint64_t counters[MANIFEST_COUNTER_COUNT])
{
    struct manifest_state *staged = &manifest->staged;
    struct manifest_table *tables = staged->tables;
    struct manifest_index *indexes = staged->indexes;
    struct manifest_blob *blobs = staged->blobs;
    *staged = manifest->state;
    staged->blobs = blobs;
    staged->tables = tables;
    staged->indexes = indexes;
    memcpy(tables, manifest->state.tables, manifest->state.table_count * sizeof *tables);
    memcpy(indexes, manifest->state.indexes, manifest->state.index_count * sizeof *indexes);
    memcpy(blobs, manifest->state.blobs, manifest->state.blob_count * sizeof *blobs);
    staged->next_segment_id = counters[MANIFEST_COUNTER_SEGMENT];
    staged->next_table_id = counters[MANIFEST_COUNTER_TABLE];
    staged->next_column_id = counters[MANIFEST_COUNTER_COLUMN];
    staged->next_run_id = counters[MANIFEST_COUNTER_RUN];
    staged->next_section_id = counters[MANIFEST_COUNTER_SECTION];
    *stage = (struct stage){.manifest = manifest, .state = staged, .recovering = recovering, .kind = kind, .ranges_before = staged->log_range_count,
                            .catalog_bytes = manifest->catalog_bytes};
}

static void free_vectors(struct stage *stage)
{
    struct memory *memory = stage->manifest->memory;
    struct vector *vectors[] = {&stage->changes, &stage->marked, &stage->cleared, &stage->log_freed, &stage->fresh, &stage->replaced};
    for (size_t i = 0; i < sizeof vectors / sizeof vectors[0]; i++)
        memory_free(memory, vectors[i]->items);
}

void manifest_stage_rollback(struct stage *stage)
{
    struct manifest *manifest = stage->manifest;
    struct change *changes = stage->changes.items;
    for (uint32_t i = stage->changes.count; i-- > 0;) {
        if (changes[i].added)
            manifest_delete_segment(manifest, changes[i].segment);
        else
            manifest_insert_segment(manifest, changes[i].segment);
    }
    for (uint32_t i = 0; i < stage->changes.count; i++)
        if (changes[i].added)
            manifest_release_segment(manifest, changes[i].segment);
    manifest_stage_free_blobs(stage, false);
    struct extent_run *marked = stage->marked.items;
    for (uint32_t i = 0; i < stage->marked.count; i++)
        manifest_set_owned(manifest, marked[i], false);
    struct schema **fresh = stage->fresh.items;
    for (uint32_t i = 0; i < stage->fresh.count; i++)
        schema_free(manifest->memory, fresh[i]);
    free_vectors(stage);
}

static void install_version(struct manifest *manifest, struct version *version, void (*installed)(void *context), void *context)
{
    pthread_mutex_lock(&manifest->version_mutex);
    struct version *old = manifest->current;
    manifest->current = version;
    if (installed)
        installed(context);
    pthread_mutex_unlock(&manifest->version_mutex);
    version_release(manifest, old);
}

void manifest_stage_install(struct stage *stage, struct version *version, void (*installed)(void *context), void *context)
{
    struct manifest *manifest = stage->manifest;
    assert(stage->recovering == !version);
    struct manifest_table *tables = manifest->state.tables;
    struct manifest_index *indexes = manifest->state.indexes;
    struct manifest_blob *blobs = manifest->state.blobs;
    memcpy(tables, stage->state->tables, stage->state->table_count * sizeof *tables);
    memcpy(indexes, stage->state->indexes, stage->state->index_count * sizeof *indexes);
    memcpy(blobs, stage->state->blobs, stage->state->blob_count * sizeof *blobs);
    manifest->state = *stage->state;
    manifest->state.blobs = blobs;
    manifest->state.tables = tables;
    manifest->state.indexes = indexes;
    manifest->catalog_bytes = stage->catalog_bytes;
    struct extent_run *cleared = stage->cleared.items;
    for (uint32_t i = 0; i < stage->cleared.count; i++)
        manifest_set_owned(manifest, cleared[i], false);
    /* The flags must stand before the last version that holds these segments can be released. */
    struct change *changes = stage->changes.items;
    for (uint32_t i = 0; i < stage->changes.count; i++) {
        changes[i].segment->staged = false;
        if (changes[i].added)
            continue;
        if (changes[i].successor) {
            changes[i].segment->successor = changes[i].successor;
            atomic_fetch_add_explicit(&changes[i].successor->references, 1, memory_order_relaxed);
        } else {
            changes[i].segment->dropped = true;
        }
    }
    if (version)
        install_version(manifest, version, installed, context);
    for (uint32_t i = 0; i < stage->changes.count; i++)
        if (!changes[i].added)
            manifest_release_segment(manifest, changes[i].segment);
    manifest_stage_free_blobs(stage, true);
    struct extent_run *freed = stage->log_freed.items;
    for (uint32_t i = 0; i < stage->log_freed.count && manifest->extents && !stage->recovering; i++)
        extents_free(manifest->extents, freed[i]);
    struct schema **replaced = stage->replaced.items;
    for (uint32_t i = 0; i < stage->replaced.count; i++) {
        if (stage->recovering)
            schema_free(manifest->memory, replaced[i]);
        else
            ((struct schema **)manifest->retired_schemas.items)[manifest->retired_schemas.count++] = replaced[i];
    }
    free_vectors(stage);
}
