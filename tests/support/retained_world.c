/* retained_world.c: the model, and rows that come, are replaced and go (retained_world.h). */
#include "tests/support/retained_world.h"

#define NOTE_BYTES 700
#define SERIES 4

uint64_t retained_below(struct retained_world *world, uint64_t limit) { return fixture_random(&world->random) % limit; }

/* ---- The model ---- */

struct retained_entry *retained_find(struct retained_world *world, int32_t series, int64_t time_ns)
{
    uint64_t at = ((uint64_t)time_ns * 0x9E3779B97F4A7C15u + (uint64_t)series * 0xC2B2AE3D27D4EB4Fu) >> 40;
    for (;; at++) {
        struct retained_entry *entry = &world->model.entries[at % RETAINED_KEYS_MAX];
        if (!entry->used || (entry->series == series && entry->time_ns == time_ns))
            return entry;
    }
}

static bool is_pinned(const struct retained_model *model, int64_t time_ns)
{
    for (uint32_t i = 0; i < RETAINED_PINS_MAX; i++)
        if (model->pins[i].used && time_ns >= model->pins[i].from_ns && time_ns <= model->pins[i].to_ns)
            return true;
    return false;
}

bool retained_is_kept(const struct retained_model *model, const struct retained_entry *entry)
{
    for (uint32_t i = 0; i < RETAINED_PINS_MAX; i++)
        if (model->pins[i].used && entry->time_ns >= model->pins[i].from_ns && entry->time_ns <= model->pins[i].to_ns && entry->value < model->pins[i].value)
            return true;
    return false;
}

bool retained_is_shown(const struct retained_model *model, const struct retained_entry *entry) { return entry->used && entry->live && !entry->recycled && (entry->time_ns >= model->horizon_ns || is_pinned(model, entry->time_ns)); }

void retained_raise_horizon(struct retained_model *model)
{
    if (model->age_ns == 0 || model->newest_ns == INT64_MIN)
        return;
    int64_t now_ns = model->clock_ns < model->newest_ns ? model->clock_ns : model->newest_ns;
    if (now_ns - model->age_ns > model->horizon_ns)
        model->horizon_ns = now_ns - model->age_ns;
}

static int compare_entries(const void *a, const void *b)
{
    const struct retained_entry *x = a, *y = b;
    if (x->series != y->series)
        return x->series < y->series ? -1 : 1;
    return (x->time_ns > y->time_ns) - (x->time_ns < y->time_ns);
}

void retained_list_shown(struct retained_world *world)
{
    world->shown_count = 0;
    for (uint32_t i = 0; i < RETAINED_KEYS_MAX; i++)
        if (retained_is_shown(&world->model, &world->model.entries[i]))
            world->shown[world->shown_count++] = world->model.entries[i];
    qsort(world->shown, world->shown_count, sizeof *world->shown, compare_entries);
}

/* ---- Rows ---- */

static void note_time(struct retained_model *model, int64_t time_ns)
{
    if (time_ns <= model->clock_ns + model->future_ns && time_ns > model->newest_ns)
        model->newest_ns = time_ns;
}

static void append(struct retained_world *world, int32_t series, int64_t time_ns)
{
    static char note[NOTE_BYTES];
    struct retained_model *model = &world->model;
    struct retained_entry *entry = retained_find(world, series, time_ns);
    for (size_t i = 0; i + 1 < sizeof note; i++)
        note[i] = (char)(33 + fixture_random(&world->random) % 90);
    *entry = (struct retained_entry){true, true, false, series, time_ns, world->next_value};
    const struct mote_value values[] = {value_i32(series), value_timestamp(time_ns), value_i64(world->next_value++), value_text(note)};
    if (!world->write && !world->transaction) {
        must(mote_append(world->table, values, 4, NULL, NULL));
        note_time(model, time_ns);
        return;
    }
    must(world->write ? mote_write_put(world->write, world->table, values, 4) : mote_transaction_put(world->transaction, world->table, values, 4));
    world->gathered_ns[world->gathered_count++] = time_ns;
}

/* Nothing, a batch, or a transaction. */
static void begin_gathering(struct retained_world *world)
{
    uint64_t kind = retained_below(world, 3);
    world->gathered_count = 0;
    if (kind == 1)
        must(mote_write_begin(world->fixture.db, &world->write));
    if (kind == 2)
        must(mote_transaction_begin(world->fixture.db, NULL, &world->transaction));
}

/* Their times count by the clock of the commit. */
static void commit_gathered(struct retained_world *world)
{
    if (world->write)
        must(mote_write_commit(world->write, NULL, NULL));
    if (world->transaction)
        must(mote_transaction_commit(world->transaction, NULL, NULL));
    mote_write_free(world->write);
    world->write = NULL;
    world->transaction = NULL;
    for (uint32_t i = 0; i < world->gathered_count; i++)
        note_time(&world->model, world->gathered_ns[i]);
}

void retained_append_some(struct retained_world *world)
{
    uint64_t count = 1 + retained_below(world, RETAINED_ROWS_MAX);
    begin_gathering(world);
    for (uint64_t i = 0; i < count; i++) {
        uint64_t kind = retained_below(world, 100);
        int64_t time_ns = world->front_ns;
        if (kind < 80)
            world->front_ns = time_ns += (int64_t)retained_below(world, 20) * RETAINED_SECOND;
        else if (kind < 98)
            time_ns -= (int64_t)retained_below(world, kind < 95 ? 200 : 5000) * RETAINED_SECOND;
        else
            time_ns += (int64_t)retained_below(world, 100000000) * RETAINED_SECOND;
        if (kind < 80 && time_ns > world->model.clock_ns && retained_below(world, 20) != 0)
            world->model.clock_ns = time_ns; /* mostly the clock and the rows go together */
        append(world, (int32_t)retained_below(world, SERIES), time_ns);
    }
    commit_gathered(world);
}

void retained_delete_one(struct retained_world *world)
{
    retained_list_shown(world);
    if (world->shown_count == 0)
        return;
    const struct retained_entry *chosen = &world->shown[retained_below(world, world->shown_count)];
    const struct mote_value key[] = {value_i32(chosen->series), value_timestamp(chosen->time_ns)};
    must(mote_delete(world->table, key, 2, NULL, NULL));
    retained_find(world, chosen->series, chosen->time_ns)->live = false;
}

void retained_replace_one(struct retained_world *world)
{
    retained_list_shown(world);
    if (world->shown_count == 0)
        return;
    const struct retained_entry chosen = world->shown[retained_below(world, world->shown_count)];
    append(world, chosen.series, chosen.time_ns);
}
