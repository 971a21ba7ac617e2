/* index_steps.c: sections of declared indexes that take seconds or minutes to build (struct row_index_steps): one at a time for the whole volume, in slices of a few milliseconds, by whichever worker has nothing more urgent to do, or by a caller
 * who waits for it. Flushes, checkpoints and compactions come between the slices; writers find a thread that steps aside.
 *
 * Invariants: no lock is held between slices. The segment is held, not the version, so that nothing else is kept from being freed; before each slice it is looked up, and a build whose segment or index is gone is given up. The edit
 * that publishes the section is refused where that happens in between. So a build that is given up, or fails, costs time only.
 * Memory: what is under way takes at most a sixth of the budget, and gives it back when a flush lacks memory. Threads: any. Failures: those of sst_index_work_*; MOTE_EPOISONED.
 */
#include <time.h>

#include "blockdev/base/thread.h"
#include "engine/engine_private.h"

#define MEMORY_SHARE 6u
#define SLICE_NS (4 * NS_PER_MS)
#define ASIDE_NS (100000u)
#define RETRY_COUNT 4u
#define RETRY_NS NS_PER_S
#define QUEUE_DEPTH 16u
#define WAIT_NS (5 * NS_PER_MS)
#define WAIT_MAX_NS (30 * NS_PER_S)

enum { BETTER_UNKNOWN, BETTER_NO, BETTER_DUE };

struct index_steps {
    pthread_mutex_t mutex;
    struct blockdev_queue *read_queue, *write_queue; /* made at the first use */
    /* What is under way: */
    struct sst_index_work *work; /* NULL: nothing */
    struct segment *segment;
    struct manifest_index index;
    /* After failures: */
    uint32_t write_failures;                     /* one after the other; each retires an extent */
    uint64_t failed_segment_id, failed_index_id; /* the last; the background passes over it */
    uint64_t retry_ns;                           /* not before, where memory or space lacked */
};

int index_steps_create(struct mote_db *db)
{
    db->index_steps = memory_alloc_zero(db->memory, sizeof *db->index_steps);
    if (!db->index_steps)
        return MOTE_EBUDGET;
    pthread_mutex_init(&db->index_steps->mutex, NULL);
    return MOTE_OK;
}

static void end_work(struct mote_db *db, struct index_steps *steps)
{
    sst_index_work_destroy(steps->work);
    if (steps->segment)
        segment_let_go(db->manifest, steps->segment);
    steps->work = NULL;
    steps->segment = NULL;
}

static void destroy_steps(struct mote_db *db, struct index_steps *steps)
{
    if (!steps)
        return;
    end_work(db, steps);
    if (steps->read_queue)
        blockdev_queue_destroy(steps->read_queue);
    if (steps->write_queue)
        blockdev_queue_destroy(steps->write_queue);
    pthread_mutex_destroy(&steps->mutex);
    memory_free(db->memory, steps);
}

void index_steps_destroy(struct mote_db *db)
{
    destroy_steps(db, db->index_steps);
    db->index_steps = NULL;
}

void index_steps_abandon(struct mote_db *db)
{
    struct index_steps *steps = db->index_steps;
    pthread_mutex_lock(&steps->mutex);
    if (steps->work) {
        end_work(db, steps);
        steps->retry_ns = now_ns() + RETRY_NS;
    }
    pthread_mutex_unlock(&steps->mutex);
}

static int make_queues(struct mote_db *db, struct index_steps *steps)
{
    struct blockdev_queue_options options = {.depth = QUEUE_DEPTH, .flags = BLOCKDEV_QUEUE_SHARED};
    int result = steps->read_queue ? MOTE_OK : blockdev_queue_create(db->device, &options, &steps->read_queue);
    if (!result && !steps->write_queue)
        result = blockdev_queue_create(db->device, &options, &steps->write_queue);
    return result;
}

/* ---- What is wanted ---- */

static uint64_t memory_bytes_max(const struct mote_db *db) { return memory_budget_bytes(db->memory) / MEMORY_SHARE; }

bool index_is_due(struct mote_db *db, struct blockdev_queue *queue, struct segment *segment, struct segment_index *section, const struct manifest_index *index)
{
    const struct row_index_ops *ops = sst_index_ops(&db->sst, index->kind);
    uint32_t known = atomic_load(&section->better);
    struct sst_index_section from;
    struct mote_error kept;
    bool due = false;
    if (known != BETTER_UNKNOWN || !ops || !ops->steps)
        return known == BETTER_DUE;
    int code = error_get(&kept);
    sst_index_open(&db->sst, queue, segment, &section->section, index->kind, &from);
    int result = ops->steps->due(index->options, index->options_bytes, &from.identity, &from.root, &from.source, db->memory, segment->record.row_count, memory_bytes_max(db), &due);
    if (!result)
        atomic_store(&section->better, due ? BETTER_DUE : BETTER_NO);
    if (result == MOTE_EDAMAGED || result == MOTE_EIO)
        atomic_store(&section->unusable, 1);
    if (result && code)
        error_restore(&kept);
    return !result && due;
}

static bool is_wanted(struct mote_db *db, struct index_steps *steps, const struct manifest_index *index, struct segment *segment, const struct index_build *build)
{
    if (build->segment_id_end && segment->record.id >= build->segment_id_end)
        return false;
    if (index_is_wanted(segment, index->id, build))
        return true;
    /* After a look that failed the section is wanted for that. */
    return build->best && (index_is_due(db, steps->read_queue, segment, segment_find_index(segment, index->id), index) || index_is_wanted(segment, index->id, build));
}

static bool is_asked_for(const struct manifest_index *index, const struct index_build *build) { return (!build->table_id || build->table_id == index->table_id) && (!build->index_id || build->index_id == index->id); }

static int begin_work(struct mote_db *db, struct index_steps *steps, const struct manifest_index *index, struct segment *segment, const struct schema *schema, bool best)
{
    struct sst_index_feed feed = {.ops = sst_index_ops(&db->sst, index->kind), .column_count = index->column_count};
    struct sst_index_work_options options = {
        .context = &db->sst,
        .read_queue = steps->read_queue,
        .write_queue = steps->write_queue,
        .segment = segment,
        .schema = schema,
        .options = index->options,
        .options_bytes = index->options_bytes,
        .feed = &feed,
        .section_id = manifest_take_section_id(db->manifest),
        .memory_bytes_max = best ? memory_bytes_max(db) : 0,
    };
    index_columns(schema, index, feed.columns);
    int result = sst_index_work_create(&options, &steps->work);
    if (result) {
        steps->failed_segment_id = segment->record.id;
        steps->failed_index_id = index->id;
        return result;
    }
    segment_hold(segment);
    steps->segment = segment;
    steps->index = *index;
    return MOTE_OK;
}

/* The first section that is wanted: *found, and its building is begun, if begin says so. background: but for that which failed last. */
static int find_work(struct mote_db *db, struct index_steps *steps, const struct index_build *build, bool background, bool begin, bool *found)
{
    struct manifest_index index;
    int result = MOTE_OK;
    *found = false;
    for (uint32_t n = 0; !result && !*found && index_get(db, n, &index); n++) {
        const struct row_index_ops *ops = sst_index_ops(&db->sst, index.kind);
        if (!ops || !ops->steps || !is_asked_for(&index, build))
            continue;
        result = make_queues(db, steps);
        struct version *version = version_acquire(db->manifest);
        const struct segment_list *list = version_find(version, index.table_id);
        const struct schema *schema = list ? catalog_live_schema(db, index.table_id) : NULL;
        for (uint32_t i = 0; schema && !result && !*found && i < list->count; i++) {
            struct segment *segment = list->segments[i];
            bool failed = background && segment->record.id == steps->failed_segment_id && index.id == steps->failed_index_id;
            *found = !failed && is_wanted(db, steps, &index, segment, build);
            if (*found && begin)
                result = begin_work(db, steps, &index, segment, schema, build->best);
        }
        version_release(db->manifest, version);
    }
    return result;
}

/* Whether what is under way is still of use. */
static bool is_current(struct mote_db *db, const struct index_steps *steps)
{
    struct manifest_index index = {0};
    bool declared = false, present = false;
    for (uint32_t n = 0; !declared && index_get(db, n, &index); n++)
        declared = index.id == steps->index.id;
    struct version *version = version_acquire(db->manifest);
    const struct segment_list *list = declared ? version_find(version, index.table_id) : NULL;
    for (uint32_t i = 0; list && !present && i < list->count; i++)
        present = list->segments[i]->record.id == steps->segment->record.id;
    version_release(db->manifest, version);
    return present;
}

/* ---- Slices ---- */

static int publish(struct mote_db *db, struct index_steps *steps)
{
    struct index_section section = {.segment_id = steps->segment->record.id, .index_id = steps->index.id};
    sst_index_work_take(steps->work, &section.section);
    int result = index_commit_section(db, steps->write_queue, &section);
    end_work(db, steps);
    return result;
}

static int go_on(struct mote_db *db, struct index_steps *steps, bool *finished)
{
    uint64_t begin_ns = now_ns(), aside_ns = begin_ns, now = begin_ns;
    int result = MOTE_OK;
    *finished = false;
    while (!result && !*finished && now - begin_ns < SLICE_NS) {
        result = sst_index_work_step(steps->work, finished);
        now = now_ns();
        if (now - aside_ns < ASIDE_NS || db->options.workers == MOTE_NO_THREADS)
            continue;
        thread_step_aside(); /* a commit or a producer may wait for this processor */
        aside_ns = now;
    }
    sst_index_work_rest(steps->work);
    return result;
}

static int note_failure(struct mote_db *db, struct index_steps *steps, int result)
{
    struct mote_error kept;
    error_get(&kept);
    steps->failed_segment_id = steps->segment->record.id;
    steps->failed_index_id = steps->index.id;
    end_work(db, steps);
    error_restore(&kept);
    if (result != MOTE_EIO || ++steps->write_failures >= RETRY_COUNT) {
        steps->write_failures = 0;
        return result;
    }
    steps->failed_segment_id = 0; /* again, elsewhere */
    return MOTE_OK;
}

/* Goes on with what is under way, or begins what is wanted. *did: there was something. Who waits for his own does not go on with another's once nothing of his is left. */
static int run_slice(struct mote_db *db, struct index_steps *steps, struct index_build *build, bool background, bool *did)
{
    bool finished;
    int result = MOTE_OK;
    if (steps->work && !is_current(db, steps))
        end_work(db, steps);
    *did = steps->work != NULL;
    if (!steps->work || !background)
        result = find_work(db, steps, build, background, !steps->work, did);
    if (result || !*did)
        return result;
    result = go_on(db, steps, &finished);
    if (result)
        return note_failure(db, steps, result);
    if (!finished)
        return MOTE_OK;
    build->built++;
    steps->write_failures = 0;
    return publish(db, steps);
}

/* Whether a flush lacks memory, or did a moment ago: nothing is begun then that takes some. */
static bool must_wait(struct mote_db *db, const struct index_steps *steps) { return atomic_load(&db->flushes_starved) > 0 || atomic_load(&db->flush_failure) == MOTE_EBUDGET || now_ns() < steps->retry_ns; }

static bool may_pass(int result) { return result == MOTE_EBUDGET || result == MOTE_ENOSPC; }

bool index_steps_some(struct mote_db *db, bool *again)
{
    struct index_steps *steps = db->index_steps;
    struct index_build build = {.best = true};
    bool did = false;
    if (db->worker_count == 0)
        return false; /* minutes of a caller's time are taken only where he asks for it */
    if (pthread_mutex_trylock(&steps->mutex) != 0) {
        *again = true;
        return false;
    }
    bool wait = must_wait(db, steps) || jobs_over_rate(db);
    int result = wait ? MOTE_OK : run_slice(db, steps, &build, true, &did);
    if (may_pass(result)) {
        steps->retry_ns = now_ns() + RETRY_NS;
        steps->failed_segment_id = 0;
        wait = true;
    }
    pthread_mutex_unlock(&steps->mutex);
    if (result == MOTE_EIO || result == MOTE_ENODEV || result == MOTE_EPOISONED)
        db_settle(db, result);
    *again = wait || (did && !result);
    return did && !result;
}

/* What is made soonest, beside whatever is under way. */
static int build_soonest(struct mote_db *db, struct index_build *build)
{
    struct index_steps *steps = memory_alloc_zero(db->memory, sizeof *steps);
    bool did = true;
    int result = MOTE_OK;
    if (!steps)
        return MOTE_EBUDGET;
    pthread_mutex_init(&steps->mutex, NULL);
    while (!result && did && !atomic_load(&db->poisoned))
        result = run_slice(db, steps, build, false, &did);
    destroy_steps(db, steps);
    return result;
}

int index_steps_build(struct mote_db *db, struct index_build *build)
{
    struct index_steps *steps = db->index_steps;
    uint64_t waited_ns = 0;
    uint32_t built = 0;
    bool did = true;
    int result = MOTE_OK;
    build->segment_id_end = manifest_take_segment_id(db->manifest); /* a writer who goes on makes new ones for ever */
    if (!build->best)
        return build_soonest(db, build);
    while (!result && did && !atomic_load(&db->poisoned)) {
        pthread_mutex_lock(&steps->mutex);
        bool wait = must_wait(db, steps) && db->worker_count > 0; /* by whom a flush that failed is tried again */
        if (!wait)
            result = run_slice(db, steps, build, false, &did);
        pthread_mutex_unlock(&steps->mutex);
        if (wait && waited_ns < WAIT_MAX_NS)
            nanosleep(&(struct timespec){.tv_nsec = (long)WAIT_NS}, NULL);
        else if (wait)
            result = error_set(MOTE_EBUDGET, "an index is not built because flushes lack memory; raise memory_bytes");
        waited_ns = wait ? waited_ns + WAIT_NS : 0;
        /* What was replaced is free once nothing holds it. */
        if (result == MOTE_ENOSPC && build->built > built && trim_freed(db)) {
            built = build->built;
            result = MOTE_OK;
        }
    }
    return result;
}
